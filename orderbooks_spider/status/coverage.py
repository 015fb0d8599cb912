"""How many slots of a span have which end: from manifests where they tell, else from rows.

A manifest counts a whole segment; of a segment that a span cuts the members on the cut are read, and of
the others the fewer.  Where only the manifest is read, ``no_book`` counts as answered, for inside and
outside the window cannot be told apart; the dataset knows better.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.errors import StorageError
from orderbooks_spider.status.rows import MOST_BYTES, PollRow, member_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orderbooks_spider.archive.manifest import Member
    from orderbooks_spider.status.sealed import Sealed

poll_decoder = msgspec.json.Decoder(PollRow)


@dataclass
class Ends:
    """How slots ended."""

    answered: int = 0
    results: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Slots that have a row."""
        return self.results.total()

    def add(self, rows: Iterable[PollRow]) -> None:
        """Count *rows*."""
        for row in rows:
            self.answered += row.answered
            self.results[row.result] += 1


@dataclass
class Books:
    """One collector's polls of the last day."""

    open_rows: list[PollRow]
    open_whole: bool
    """Whether these are all rows that are not sealed."""
    sealed: list[Sealed]
    _members: dict[tuple[str, int], list[PollRow]] = field(default_factory=dict)
    _read_bytes: int = 0

    def ends(self, from_ns: int, until_ns: int) -> Ends | None:
        """The slots with ``from_ns <= due < until_ns``; ``None``: more would have to be read than we may."""
        if not self.open_whole and self.open_rows and min(row.due_ns for row in self.open_rows) > from_ns:
            return None
        ends = Ends()
        ends.add(row for row in self.open_rows if from_ns <= row.due_ns < until_ns)
        for sealed in self.sealed:
            when = sealed.facts.time_ns
            if when is None or when.last < from_ns or when.first >= until_ns:
                continue
            if not (from_ns <= when.first and when.last < until_ns):
                part = self._cut(sealed, from_ns, until_ns)
            else:
                part = _of(Counter(sealed.facts.results))
            if part is None:
                return None
            ends.answered += part.answered
            ends.results += part.results
        return ends

    def rows_since(self, from_ns: int) -> list[PollRow]:
        """The rows with ``due >= from_ns`` that may be read, by due time."""
        rows = [row for row in self.open_rows if row.due_ns >= from_ns]
        for sealed in self.sealed:
            members = [member for member in sealed.facts.members if member.last_ns >= from_ns]
            found = self._read(sealed, members) if members else []
            rows += [row for row in found or [] if row.due_ns >= from_ns]
        return sorted(rows, key=lambda row: (row.due_ns, row.seq))

    def _cut(self, sealed: Sealed, from_ns: int, until_ns: int) -> Ends | None:
        """The part of a segment that lies in the span."""

        def inside(row: PollRow) -> bool:
            return from_ns <= row.due_ns < until_ns

        members = sealed.facts.members
        touching = [member for member in members if member.last_ns >= from_ns and member.first_ns < until_ns]
        beyond = [member for member in members if member.first_ns < from_ns or member.last_ns >= until_ns]
        ends = Ends()
        if _rows(touching) <= _rows(beyond):
            return self._count(sealed, touching, inside, ends)
        outside = self._count(sealed, beyond, lambda row: not inside(row), ends)
        if outside is None:
            return None
        return _of(Counter(sealed.facts.results) - outside.results)

    def _count(
        self, sealed: Sealed, members: list[Member], wanted: Callable[[PollRow], bool], ends: Ends
    ) -> Ends | None:
        rows = self._read(sealed, members)
        if rows is None:
            return None
        ends.add(filter(wanted, rows))
        return ends

    def _read(self, sealed: Sealed, members: list[Member]) -> list[PollRow] | None:
        """The rows of some members; ``None`` where the file is not here, or they are too many."""
        found: list[PollRow] = []
        for member in members:
            key = sealed.names.stem, member.offset
            if key not in self._members:
                self._read_bytes += member.length
                if self._read_bytes > MOST_BYTES:
                    return None
                try:
                    self._members[key] = member_rows(sealed.names, member.offset, poll_decoder)
                except StorageError:
                    return None
            found += self._members[key]
        return found


def _of(results: Counter[str]) -> Ends:
    """Ends of which only the results are known."""
    return Ends(results["ok"] + results["no_book"], results)


def _rows(members: list[Member]) -> int:
    return sum(member.rows for member in members)
