"""The raw rows of a ``books`` segment as columns, and from them the recorded part of ``polls``."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orderbooks_spider.clock import parse_utc
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.fixed import NONE, integers
from orderbooks_spider.polymarket.windows import window_of_slug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderbooks_spider.normalize.fixed import Flags, Integers


class PollRow(msgspec.Struct, gc=False):
    """The keys of a raw row that the dataset needs."""

    run_id: str
    collector_id: str
    seq: int
    slot: int
    due_ns: int
    sent_ns: int | None
    received_ns: int | None
    elapsed_ns: int | None
    result: str
    reason: str | None
    status: int | None
    request_id: str | None
    batch: int | None
    venue: str
    market_slug: str
    condition_id: str
    token_id: str
    outcome: str
    window_start: str
    window_end: str
    environment: str
    body: str | None
    body_encoding: str | None


class Subject(NamedTuple):
    """What the rows of one token and run have in common."""

    environment: str
    venue: str
    collector_id: str
    run_id: str
    market_slug: str
    condition_id: str
    token_id: str
    outcome: str
    window_start: str
    window_end: str


_SUBJECT_COLUMNS: Final = Subject._fields[:8]
"""All but the texts of the window, which become times."""
_NUMBERS: Final = ("seq", "slot", "due_ns", "sent_ns", "received_ns", "elapsed_ns", "status", "batch")
_WORDS: Final = ("result", "reason", "request_id")
_POSITIONS: Final = ("raw_member", "raw_line")
poll_row = msgspec.json.Decoder(PollRow)


class Recorded:
    """The rows of one segment, without their bodies, in file order."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._parts: defaultdict[str, list[Integers]] = defaultdict(list)
        self._subjects: dict[Subject, int] = {}
        self._words: dict[str, dict[str | None, int]] = {name: {} for name in _WORDS}
        self._members = 0

    def add(self, rows: Sequence[PollRow]) -> None:
        """Take the rows of the next member.

        Raises:
            ArchiveError: a number is none that a clock gives.

        """
        try:
            for name in _NUMBERS:
                values = [getattr(row, name) for row in rows]
                column = np.array([NONE if value is None else value for value in values], np.int64)
                self._parts[name].append(column)
        except OverflowError as error:
            where = f"{self._file}: member {self._members}"
            raise ArchiveError(f"{where}: {name}: expected a number below 2^63; run verify") from error
        for name, known in self._words.items():
            words = [known.setdefault(getattr(row, name), len(known)) for row in rows]
            self._parts[name].append(np.array(words, np.int64))
        subjects = [self._subjects.setdefault(_subject(row), len(self._subjects)) for row in rows]
        self._parts["subject"].append(np.array(subjects, np.int64))
        self._parts["raw_member"].append(np.full(len(rows), self._members))
        self._parts["raw_line"].append(np.arange(len(rows)))
        self._members += 1

    def finish(self) -> Polls:
        """All rows, in the order of the tables.

        Raises:
            ArchiveError: a window's text is no time.

        """
        columns = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        words = {name: list(known) for name, known in self._words.items()}
        return Polls(self._file, list(self._subjects), words, columns)


class Polls:
    """The rows of one segment as sortable columns."""

    def __init__(
        self,
        file: str,
        subjects: list[Subject],
        words: dict[str, list[str | None]],
        columns: dict[str, Integers],
    ) -> None:
        self._file = file
        self._words = {name: pa.array(known, pa.string()) for name, known in words.items()}
        self._named = {
            name: pa.array([getattr(subject, name) for subject in subjects], pa.string())
            for name in _SUBJECT_COLUMNS
        }
        self._named["window"] = pa.array([_label(subject.market_slug) for subject in subjects], pa.string())
        self._columns = columns
        spans = [(_time(file, subject.window_start), _time(file, subject.window_end)) for subject in subjects]
        subject = columns["subject"]
        self.window_start_ns = np.array([start for start, _ in spans], np.int64)[subject]
        self.window_end_ns = np.array([end for _, end in spans], np.int64)[subject]
        self.token = _ranks([subject.token_id for subject in subjects])[subject]
        """A number per token, in the order of their ids."""
        self.market = _ranks([subject.condition_id for subject in subjects])[subject]
        """A number per market."""
        self.order = np.lexsort((columns["seq"], columns["due_ns"], self.token))
        """Positions of the rows in the order of the tables."""

    def __getitem__(self, name: str) -> Integers:
        """A column in file order, ``NONE`` for null."""
        return self._columns[name]

    @property
    def in_window(self) -> Flags:
        """Whether each row is due inside its market's window."""
        due = self["due_ns"]
        return (self.window_start_ns <= due) & (due < self.window_end_ns)

    def results(self) -> dict[str, int]:
        """How many rows had each result."""
        words: list[str] = self._words["result"].to_pylist()
        numbers = np.bincount(self["result"], minlength=len(words))
        return dict(sorted(zip(words, numbers.tolist(), strict=True)))

    def common(self, rows: Integers) -> dict[str, pa.Array]:
        """The columns that ``books`` and ``polls`` share, of *rows*, in that order."""
        subjects = pa.array(self["subject"][rows])
        found = {name: words.take(subjects) for name, words in self._named.items()}
        found["window_start_ns"] = pa.array(self.window_start_ns[rows])
        found["window_end_ns"] = pa.array(self.window_end_ns[rows])
        for name in ("slot", "due_ns", "sent_ns", "received_ns", "elapsed_ns", "seq"):
            found[name] = integers(self[name][rows], pa.int64())
        found["raw_file"] = pa.array([self._file], pa.string()).take(pa.array(np.zeros(len(rows), np.int64)))
        for name in _POSITIONS:
            found[name] = integers(self[name][rows], pa.int32())
        return found

    def table(self, rows: Integers) -> pa.Table:
        """The rows of ``polls``."""
        due, sent = self["due_ns"][rows], self["sent_ns"][rows]
        inside = self.in_window[rows]
        found = self.common(rows)
        found["lateness_ns"] = integers(np.where(sent == NONE, NONE, sent - due), pa.int64())
        for name in _WORDS:
            found[name] = self._words[name].take(pa.array(self[name][rows]))
        found["status"] = integers(self["status"][rows], pa.int32())
        found["batch"] = integers(self["batch"][rows], pa.int32())
        found["in_window"] = pa.array(inside)
        no_book = pc.and_(pc.equal(found["result"], "no_book"), pa.array(~inside))
        found["answered"] = pc.or_(pc.equal(found["result"], "ok"), no_book)
        found["recorded"] = pa.array(np.ones(len(rows), np.bool_))
        return fitting(tables.POLLS, found)


def fitting(table: tables.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """*columns* as a table with its schema."""
    return pa.table([columns[name] for name in table.schema.names], schema=table.schema)


def _ranks(texts: Sequence[str]) -> Integers:
    """Per text its place among all of them, equal texts at one."""
    places = {text: place for place, text in enumerate(sorted(set(texts)))}
    return np.array([places[text] for text in texts], np.int64)


def _subject(row: PollRow) -> Subject:
    return Subject(
        row.environment, row.venue, row.collector_id, row.run_id, row.market_slug,
        row.condition_id, row.token_id, row.outcome, row.window_start, row.window_end,
    )  # fmt: skip


def _label(slug: str) -> str | None:
    """Length of the market's window, by its slug."""
    window = window_of_slug(slug)
    return None if window is None else window[0]


def _time(file: str, text: str) -> int:
    try:
        return parse_utc(text)
    except ValueError as error:
        raise ArchiveError(f"{file}: window: expected a time, saw {text!r}; run verify") from error
