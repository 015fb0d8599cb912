"""Markets read back from a stored file: a ``markets`` feed segment, or a discovery snapshot."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from zlib import error as ZlibError  # noqa: N812 - zlib's only exception is not spelled as a class

import msgspec

from orderbooks_spider.errors import ConfigError, VenueError
from orderbooks_spider.polymarket.market import Market, from_record


def read_market_file(path: str) -> list[Market]:
    """The last record of each market in *path*: ``.jsonl`` or ``.jsonl.gz`` rows, or ``{"markets": [...]}``.

    Raises:
        ConfigError: the file cannot be read, or holds no market; the text names it.

    """
    try:
        data = Path(path).read_bytes()
        text = gzip.decompress(data) if path.endswith(".gz") else data
        records = _records(text)
        markets = {market.condition_id: market for market in map(from_record, records)}
    except (
        OSError,
        EOFError,
        ZlibError,
        ValueError,
        RecursionError,
        msgspec.MsgspecError,
        VenueError,
    ) as error:
        raise ConfigError(f"markets: {path}: expected stored market records: {error}") from error
    if not markets:
        raise ConfigError(f"markets: {path}: holds no market record")
    return list(markets.values())


class _Row(msgspec.Struct):
    """A feed row, as far as it matters here; rows of the other feeds have no ``kind``."""

    kind: str = ""
    market: dict[str, Any] | None = None


class _Snapshot(msgspec.Struct):
    markets: list[dict[str, Any]]


def _records(text: bytes) -> list[dict[str, Any]]:
    """The market records of feed rows (``kind`` is ``market``), or of one snapshot object."""
    lines = [line for line in text.splitlines() if line.startswith(b'{"schema"')]
    if not lines:
        return msgspec.json.decode(text, type=_Snapshot).markets
    rows = [msgspec.json.decode(line, type=_Row) for line in lines]
    return [row.market for row in rows if row.kind == "market" and row.market is not None]
