"""What an archive root is told once: whether it holds live or sandbox evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "state/environment"


def claim_environment(root: Path, environment: str) -> None:
    """Mark *root* as ``live`` or ``sandbox`` at its first use; the two never share one root.

    Raises:
        ConfigError: the root holds evidence of the other kind.
        StorageError: the mark cannot be read or written.

    """
    path = root / MARKER
    with durable.naming(path, "read"):
        claimed = path.read_text(encoding="ascii").strip() if path.exists() else None
    if claimed is None:
        durable.atomic_write(path, f"{environment}\n".encode("ascii"))
    elif claimed != environment:
        raise ConfigError(
            f"archive.root: {root} holds {claimed} evidence and environment is {environment}: "
            "use another root"
        )
