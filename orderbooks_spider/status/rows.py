"""Rows of one segment, read while it may be growing, being sealed, or on its way to a remote.

Bounded: of a growing file the newest ``MOST_BYTES`` are read, and nothing but the keys that are counted.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.errors import StorageError
from orderbooks_spider.items import is_answered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orderbooks_spider.archive.layout import Segment

MOST_BYTES = 32_000_000
"""Compressed; an hour of 16 tokens at 1 s is about 12 MB."""
_MEMBER_BEGINS = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The header of every member that the collector writes (``archive/members.py``)."""


class PollRow(msgspec.Struct, frozen=True):
    """What is read of a poll row."""

    seq: int
    due_ns: int
    result: str
    token_id: str
    market_slug: str
    outcome: str
    window_start: str
    window_end: str
    sent_ns: int | None = None
    reason: str | None = None

    @property
    def cause(self) -> str:
        """``result/reason``."""
        return self.result if self.reason is None else f"{self.result}/{self.reason}"

    @property
    def answered(self) -> bool:
        """Whether the slot counts as covered."""
        return is_answered(self.result, self.due_ns, self.window_start, self.window_end)


class EventRow(msgspec.Struct, frozen=True):
    """What is read of an event row."""

    seq: int
    event: str
    at_ns: int
    detail: dict[str, Any]


class _Numbered(Protocol):
    @property
    def seq(self) -> int: ...


Row = TypeVar("Row", bound=_Numbered)


def open_rows(names: Segment, decoder: msgspec.json.Decoder[Row]) -> tuple[list[Row], bool]:
    """The rows of a segment that is not sealed, by ``seq``, and whether these are all.

    Journals are read before the file that they go into, so that a row which moves meanwhile is found twice
    (and counted once) rather than not at all.
    """
    found: dict[int, Row] = {}
    for path in sorted(names.folder.glob(f"{names.stem}.*.jsonl.journal")):
        with contextlib.suppress(OSError):  # it has moved
            _add(found, path.read_bytes().splitlines(), decoder)
    whole = True
    for path in (names.part, names.sealed):
        offset = _tail(path)
        if offset is not None:
            whole &= offset == 0
            with contextlib.suppress(StorageError):
                _add(found, (line.text for line in MemberScan(path, offset=offset).lines()), decoder)
    return [found[seq] for seq in sorted(found)], whole


def member_rows(names: Segment, offset: int, decoder: msgspec.json.Decoder[Row]) -> list[Row]:
    """The rows of the member at *offset* of a sealed segment.

    Raises:
        StorageError: the file cannot be read, or is no longer here.

    """
    found: dict[int, Row] = {}
    lines = MemberScan(names.sealed, offset=offset).lines(limit_members=1)
    _add(found, (line.text for line in lines), decoder)
    return list(found.values())


def open_segments(folder: Path, root: Path) -> Iterator[Segment]:
    """The segments of an hour's folder that have a journal or a ``.part``, or no manifest."""
    try:
        found = [layout.parse(root, path) for path in sorted(folder.iterdir())]
    except OSError:  # purged, or not made yet
        return
    names = {item.segment.stem: item.segment for item in found if item.segment is not None}
    yield from (segment for segment in names.values() if not segment.manifest.exists())


def _add(found: dict[int, Row], lines: Iterable[bytes], decoder: msgspec.json.Decoder[Row]) -> None:
    for line in lines:
        # The line or the member that is being written just now is cut; verify judges everything else.
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            row = decoder.decode(line)
            found[row.seq] = row


def _tail(path: Path) -> int | None:
    """Where to begin so that at most ``MOST_BYTES`` are read; ``None``: there is no such file."""
    try:
        size = path.stat().st_size
        if size <= MOST_BYTES:
            return 0
        with path.open("rb") as file:
            file.seek(size - MOST_BYTES)
            begins = file.read().find(_MEMBER_BEGINS)
    except OSError:
        return None
    return size if begins < 0 else size - MOST_BYTES + begins
