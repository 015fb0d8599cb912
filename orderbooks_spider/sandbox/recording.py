"""Read recordings of books, of either kind, into what was recorded of each market."""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MS = 1_000_000
SLUG = re.compile(r"btc-updown-(5m|15m|4h)-(\d{9,11})")
"""Slugs that tell kind and start of a window."""

LENGTH_SECONDS = {"5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
"""How long the windows of each kind usually are."""


class _Line(msgspec.Struct):
    """A line of either kind; which one shows by what it has."""

    t_ms: int | None = None
    books: list[msgspec.Raw] | None = None
    body: str | None = None
    body_encoding: str | None = None
    token_id: str | None = None
    due_ns: int | None = None
    result: str | None = None
    outcome: str | None = None
    market_slug: str | None = None
    window_start: str | int | None = None
    window_end: str | int | None = None


class _Level(msgspec.Struct):
    """All that quotes need of a level."""

    price: str


class NamedBook(msgspec.Struct):
    """What a recorded book says about itself."""

    market: str
    asset_id: str
    bids: list[_Level] = []
    asks: list[_Level] = []


@dataclass(slots=True)
class Recorded:
    """All that was recorded of one market; times on the recording's clock."""

    condition_id: str
    slug: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    texts: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    @property
    def first_ns(self) -> int:
        """When the first book came."""
        return min(row[0][0] for row in self.texts.values())

    @property
    def last_ns(self) -> int:
        """When the last book came."""
        return max(row[-1][0] for row in self.texts.values())


_lines = msgspec.json.Decoder(_Line)
named_book = msgspec.json.Decoder(NamedBook)


def read_recording(path: Path, into: dict[str, Recorded]) -> bool:
    """Read *path* into markets by condition id; True for a raw segment of ours.

    The texts of all books are held in memory, some 3.5 KB each.

    Raises:
        ConfigError: a line cannot be read, or there are no books; the text names file and line.

    """
    own = False
    for number, text in enumerate(_raw_lines(path), 1):
        try:
            line = _lines.decode(text)
            if line.t_ms is not None and line.books is not None:
                for raw in line.books:
                    _add(into, line.t_ms * _MS, bytes(raw), line)
            elif line.due_ns is not None:
                own = True
                if line.result == "ok" and line.body is not None:
                    _add(into, line.due_ns, _body(line.body, line.body_encoding), line)
            else:
                raise ConfigError(
                    f"replay file {path}, line {number}: neither `t_ms` and `books` nor `due_ns`"
                )
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"replay file {path}, line {number}: {error}") from error
    if not into:
        raise ConfigError(f"replay file {path}: no recorded books in it")
    _complete(into, path)
    return own


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for line in stream:
                if line.strip():
                    yield line
    except (OSError, EOFError) as error:
        raise ConfigError(f"replay file {path}: {error}") from error


def _body(text: str, encoding: str | None) -> bytes:
    return base64.b64decode(text) if encoding == "base64" else text.encode()


def _add(into: dict[str, Recorded], t_ns: int, text: bytes, line: _Line) -> None:
    named = named_book.decode(text)
    row = into.setdefault(named.market, Recorded(named.market))
    row.texts.setdefault(named.asset_id, []).append((t_ns, text))
    if line.outcome:
        row.outcomes[named.asset_id] = line.outcome
    row.slug = row.slug or line.market_slug
    row.start_ns = row.start_ns if row.start_ns is not None else _moment(line.window_start)
    row.end_ns = row.end_ns if row.end_ns is not None else _moment(line.window_end)


def _moment(value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    return parse_utc(value)


def _complete(rows: dict[str, Recorded], path: Path) -> None:
    """Sort by time; take slug and window from the file's name where the lines do not say them."""
    found = SLUG.search(path.name)
    for row in rows.values():
        for texts in row.texts.values():
            texts.sort(key=lambda item: item[0])
        if row.slug is None and found and len(rows) == 1:
            row.slug = found[0]
        named = SLUG.fullmatch(row.slug or "")
        if named and row.start_ns is None:
            row.start_ns = int(named[2]) * NS
            row.end_ns = row.start_ns + LENGTH_SECONDS[named[1]] * NS


def merge(own: dict[str, Recorded], more: dict[str, Recorded]) -> None:
    """Join what several segments recorded of the same markets, in order of time."""
    for condition_id, row in more.items():
        known = own.setdefault(condition_id, row)
        if known is not row:
            known.outcomes |= row.outcomes
            for token_id, texts in row.texts.items():
                known.texts[token_id] = sorted([*known.texts.get(token_id, []), *texts])
