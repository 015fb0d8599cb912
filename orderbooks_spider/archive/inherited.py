"""A segment that a killed run left open and that needs no repair: to be sealed beside the polling.

Sealing reads every row of the segment, up to an hour of them; polls must not wait for it.  So only its
ends are looked at before the polling: the first member, the last one, and the journals.  Where they show
anything but a kill between two rows or two steps of a block, recovery looks at the whole at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orderbooks_spider.archive.journal import RowKey, read_journal, row_key
from orderbooks_spider.archive.members import MemberScan, last_member

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orderbooks_spider.archive.layout import Segment

JOURNAL_BYTES = 64_000_000
"""Journals that together are larger are recovered in pieces, for the memory of a small host."""


@dataclass(frozen=True)
class Inherited:
    """An open segment of an earlier run, whole as far as its ends show."""

    names: Segment
    journals: tuple[Path, ...]
    """Oldest first."""
    first_seq: int
    next_seq: int
    """Behind its last row."""
    last_ns: int
    """The latest time of the rows looked at: due, observed or happened, UTC."""
    note: str
    """What its manifest will say about its sealing."""


@dataclass
class _Rows:
    """Rows that were looked at."""

    lines: dict[int, bytes]
    last_ns: int = 0

    def add(self, key: RowKey, line: bytes) -> bool:
        """Take a row; whether it fits: its seq is new, or stands there with the same bytes."""
        self.last_ns = max(self.last_ns, key.time_ns)
        return self.lines.setdefault(key.seq, line) == line

    def take(self, lines: Iterable[bytes]) -> bool:
        """Take whole rows; whether all are, and fit."""
        keys = ((row_key(line), line) for line in lines)
        return all(key is not None and self.add(key, line) for key, line in keys)


def look(names: Segment, journals: list[Path], note: str) -> Inherited | None:
    """What is inherited of an unsealed segment; ``None``: it needs the whole recovery.

    Raises:
        StorageError: a file cannot be read.

    """
    described = names.sealed.exists() or names.manifest.exists()
    if described or sum(path.stat().st_size for path in journals) > JOURNAL_BYTES:
        return None
    first_seq: int | None = None
    rows = _Rows({})
    if names.part.exists():
        first_seq = _first_seq(names.part)
        end = last_member(names.part)
        if first_seq is None or end is None or not rows.take(end):
            return None
    stored = set(rows.lines)
    for path in journals:
        content = read_journal(path)
        if content.torn_at is not None or not all(rows.add(key, line) for key, line in content.rows):
            return None
    lowest, behind = min(rows.lines, default=0), max(rows.lines, default=0) + 1
    # With a gap, or with rows in journals that a member before the last may hold, more must be read.
    if behind - lowest != len(rows.lines) or (stored and lowest not in stored):
        return None
    return Inherited(names, tuple(journals), first_seq or lowest, behind, rows.last_ns, note)


def _first_seq(part: Path) -> int | None:
    """The lowest seq of the first member, so of all: members are written in the order of their blocks."""
    scan = MemberScan(part)
    keys = [row_key(line.text) for line in scan.lines(limit_members=1)]
    whole = [key.seq for key in keys if key is not None]
    return min(whole) if scan.broken is None and whole and len(whole) == len(keys) else None
