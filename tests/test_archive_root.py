"""A root is for live or for sandbox evidence, and remembers it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.archive.root import MARKER, claim_environment
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_root_is_claimed_once(tmp_path: Path) -> None:
    """Rule A16: the first collector decides; the other kind is refused, and nothing changes."""
    claim_environment(tmp_path, "sandbox")
    claim_environment(tmp_path, "sandbox")
    with pytest.raises(ConfigError, match="holds sandbox evidence and environment is live"):
        claim_environment(tmp_path, "live")
    assert (tmp_path / MARKER).read_text(encoding="ascii") == "sandbox\n"


def test_collectors_that_start_together_agree(tmp_path: Path) -> None:
    """However many collectors claim a new root at once, one kind gets it, and only the others are refused."""

    def claim(root: Path, environment: str) -> str | None:
        try:
            claim_environment(root, environment)
        except ConfigError:
            return None
        return environment

    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            root = tmp_path / str(number)
            root.mkdir()
            claims = list(pool.map(lambda kind, root=root: claim(root, kind), ["live", "sandbox"] * 4))
            kept = (root / MARKER).read_text(encoding="ascii").strip()
            assert claims == [kind if kind == kept else None for kind in ["live", "sandbox"] * 4]
            assert len(list((root / MARKER).parent.iterdir())) == 1
