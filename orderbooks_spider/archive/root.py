"""What an archive root is told once: whether it holds live or sandbox evidence."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKER = "state/environment"


def claim_environment(root: Path, environment: str) -> None:
    """Mark *root* as ``live`` or ``sandbox`` at its first use; the two never share one root.

    Raises:
        ConfigError: the root holds evidence of the other kind.
        StorageError: the mark cannot be read or written.

    """
    path = root / MARKER
    durable.makedirs(path.parent)
    with _alone(path.parent):
        with durable.naming(path, "read"):
            claimed = path.read_text(encoding="ascii").strip() if path.exists() else None
        if claimed is None:
            durable.atomic_write(path, f"{environment}\n".encode("ascii"))
        elif claimed != environment:
            raise ConfigError(
                f"archive.root: {root} holds {claimed} evidence and environment is {environment}: "
                "use another root"
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other collectors of the root out: those that start together must not overwrite each other."""
    with durable.naming(folder, "open"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with durable.naming(folder, "lock"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
