"""The dear rungs of verify for one segment: digests, members, every row, and what they add up to.

One pass over the file, as a stream.  Runs in a worker process: what it returns is small.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import layout, planned
from orderbooks_spider.archive.findings import INVESTIGATE, RESTORE, Problem, Problems, Rung
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.archive.mirror import EXAMPLES, Mirror
from orderbooks_spider.archive.planned import PlanEvent, Run
from orderbooks_spider.archive.tally import CountedRow, Counts, Tally, counted_row
from orderbooks_spider.archive.venue_check import BookFacts, book_facts
from orderbooks_spider.clock import compact_utc, iso_utc
from orderbooks_spider.items import (
    BOOKS,
    EVENT_SCHEMA,
    EVENTS,
    MARKET_SCHEMA,
    MARKETS,
    POLL_SCHEMA,
    RESULTS,
    SKIP_REASONS,
    EventItem,
    MarketItem,
    PollItem,
)

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.archive.manifest import Grid, Manifest
    from orderbooks_spider.archive.venue_check import HashState

Item = PollItem | MarketItem | EventItem

_SCHEMAS = {BOOKS: POLL_SCHEMA, MARKETS: MARKET_SCHEMA, EVENTS: EVENT_SCHEMA}
_TYPES: dict[str, type[Item]] = {BOOKS: PollItem, MARKETS: MarketItem, EVENTS: EventItem}
_DECODERS: dict[str, msgspec.json.Decoder[Item]] = {
    feed: msgspec.json.Decoder(kind) for feed, kind in _TYPES.items()
}
_KEYS = {feed: [field.name for field in dataclasses.fields(kind)] for feed, kind in _TYPES.items()}
_encode = msgspec.json.Encoder().encode
_STAMPS = ("run_id", "collector_id", "seq", "collector", "collector_version", "environment")
_OK_NEEDS = ("sent_ns", "received_ns", "elapsed_ns", "status", "body")
_PLAN_EVENTS = ("plan", "run_stop")


class SegmentReport(msgspec.Struct, kw_only=True):
    """What one segment holds."""

    file: str
    problems: list[Problem] = []
    rows: int = 0
    raw_bytes: int = 0
    seq_runs: list[Run] = []
    slots: dict[str, list[Run]] = {}
    """Token to its due times."""
    last_due: dict[str, int] = {}
    """Run id to its latest due time."""
    plan_events: list[PlanEvent] = []
    results: dict[str, int] = {}
    venue_hash: dict[str, int] = {}
    mirror: dict[str, int] = {}
    examples: list[str] = []
    """Some books whose hash or mirror disagrees."""


def check_segment(root: Path, stem: str, manifest: Manifest) -> SegmentReport:
    """Read one sealed file and compare it with its manifest and with the row schema.

    Raises:
        StorageError: it cannot be read.

    """
    names = layout.parse_stem(root, stem)
    assert names is not None
    return _Reading(names, manifest).run()


class _Reading:
    """One pass over one file."""

    def __init__(self, names: layout.Segment, manifest: Manifest) -> None:
        self._names = names
        self._manifest = manifest
        self._file = names.file
        self._problems = Problems()
        self._report = SegmentReport(file=names.file)
        self._facts: BookFacts | None = None
        self._tally = Tally(self._hash_state)
        self._seqs = array("q")
        self._dues: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self._mirror = Mirror()
        self._grid = _GridRule(manifest.grid)

    def run(self) -> SegmentReport:
        digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
        scan = MemberScan(self._names.sealed, digests.values())
        member = 0
        for line in scan.lines():
            if line.member != member:
                self._mirror.end_of_block()
                member = line.member
            self._report.rows += 1
            self._report.raw_bytes += len(line.text)
            self._line(line.text, f"member {line.member} line {line.number}")
        self._mirror.end_of_block()
        for name, digest in digests.items():
            expected = getattr(self._manifest, name)
            if digest.hexdigest() != expected:
                self._say("sha256", f"its {name} differs", expected, digest.hexdigest(), RESTORE)
        self._members(scan)
        self._sums()
        report = self._report
        report.problems = self._problems.listed
        report.seq_runs, doubles = planned.runs_of(self._seqs, 1)
        for seq in doubles:
            self._say("seq", f"seq {seq} occurs twice", "each seq once", "twice", INVESTIGATE)
        step = self._manifest.grid.interval_ns if self._manifest.grid else None
        for token, dues in self._dues.items():
            report.slots[token], twice = planned.runs_of(dues, step)
            for due in twice:
                what = f"slot of token {token} due {due} occurs twice"
                self._say("slots", what, "one row per token and due time", "more", INVESTIGATE)
        report.mirror = dict(self._mirror.counts)
        report.examples += self._mirror.examples
        return report

    def _say(self, rung: Rung, what: str, expected: object, seen: object, advice: str) -> None:
        self._problems.add(rung, self._file, what, expected=expected, seen=seen, advice=advice)

    def _members(self, scan: MemberScan) -> None:
        if scan.broken is not None:
            self._say("gzip", "not whole gzip members", "whole members to the end", scan.broken, RESTORE)
        expected = [(item.offset, item.length, item.rows) for item in self._manifest.members]
        seen = [(span.offset, span.length, span.rows) for span in scan.spans]
        if expected != seen and scan.broken is None:
            index = next(
                (i for i, pair in enumerate(zip(expected, seen, strict=False)) if pair[0] != pair[1]), -1
            )
            what = "its members are not those of the manifest"
            where = f"{len(seen)} members, first difference at {index}"
            self._say("gzip", what, f"{len(expected)} members", where, INVESTIGATE)
        for span in scan.spans:
            if span.rows == 0:
                self._say("gzip", f"an empty member at {span.offset}", "rows in each", "none", INVESTIGATE)

    def _line(self, line: bytes, where: str) -> None:
        try:
            item = _DECODERS[self._names.feed].decode(line)
            row = counted_row.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            seen = f"{line[:60]!r}: {error}"
            self._say("rows", f"{where}: no row", f"an object of {self._names.feed}", seen, INVESTIGATE)
            return
        if (number := _beyond_clock(row)) is not None:
            self._say("rows", f"{where}: {number[0]}", "0 or more, below 2^63", number[1], INVESTIGATE)
            return
        for what, wanted, found in self._faults(item, line):
            self._say("rows", f"{where}: {what}", wanted, found, INVESTIGATE)
        self._facts = None
        if isinstance(item, PollItem) and item.result == "ok" and item.body and item.body_encoding is None:
            self._facts = book_facts(item.body, from_other_side=self._mirror.is_other_side(item))
        self._tally.add(row)
        self._seqs.append(row.seq)
        if isinstance(item, PollItem):
            self._poll(item, where)
        elif isinstance(item, EventItem) and item.event in _PLAN_EVENTS:
            event = PlanEvent(item.run_id or "", item.seq or 0, item.event, item.detail)
            self._report.plan_events.append(event)

    def _poll(self, item: PollItem, where: str) -> None:
        self._dues[item.token_id].append(item.due_ns)
        run_id = item.run_id or ""
        self._report.last_due[run_id] = max(item.due_ns, self._report.last_due.get(run_id, 0))
        if (wrong := self._grid.fault(item)) is not None:
            self._say("slots", f"{where}: {wrong[0]}", wrong[1], wrong[2], INVESTIGATE)
        if item.result == "ok":
            self._mirror.add(item, self._facts, f"{self._file} {where}")
            disagrees = self._facts is not None and self._facts.hash_state == "disagrees"
            if disagrees and len(self._report.examples) < EXAMPLES:
                self._report.examples.append(f"{self._file} {where}: hash disagrees")

    def _hash_state(self, _body: str) -> HashState:
        """For the tally: the facts of this body are at hand."""
        return "unverifiable" if self._facts is None else self._facts.hash_state

    def _faults(self, item: Item, line: bytes) -> list[tuple[str, object, object]]:
        """Breaches of the row schema, as (what, expected, seen)."""
        faults: list[tuple[str, object, object]] = []
        feed, names = self._names.feed, self._names
        if line != _encode(item) + b"\n":
            keys = _keys(line)
            if keys != _KEYS[feed]:
                faults.append(("other keys, or in another order", _KEYS[feed], keys))
            if not line.endswith(b"\n"):
                faults.append(("no whole line", "a line end", line[-20:]))
        expected: dict[str, object] = {
            "schema": _SCHEMAS[feed],
            "run_id": names.run_id,
            "collector_id": names.collector_id,
            "environment": self._manifest.environment,
        }
        for key, value in expected.items():
            if getattr(item, key) != value:
                faults.append((key, value, getattr(item, key)))
        faults += [(key, "a value", None) for key in _STAMPS if getattr(item, key) is None]
        if isinstance(item, PollItem):
            faults += _poll_faults(item)
        return faults

    def _sums(self) -> None:
        counts, report = self._tally.counts(), self._report
        report.results = counts.results
        report.venue_hash = msgspec.structs.asdict(counts.venue_hash)
        first = self._tally.first_row
        if first is not None and compact_utc(first.time_ns) != self._names.time:
            what = "the name is not the time of the row that opened the segment"
            self._say("layout", what, compact_utc(first.time_ns), self._names.time, INVESTIGATE)
        if self._problems.counts:
            return  # the sums of other rows than those sealed say nothing more
        for key in Counts.__struct_fields__:
            expected, seen = getattr(self._manifest, key), getattr(counts, key)
            if expected != seen:
                self._say("manifest", f"{key} is not what the rows add up to", expected, seen, INVESTIGATE)


def _keys(line: bytes) -> list[str] | str:
    """Every key that a row says, doubled ones too; what is wrong where Python does not read it."""
    try:
        pairs: list[tuple[str, object]] = json.loads(line, object_pairs_hook=list, parse_int=str)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    return [key for key, _ in pairs]


def _beyond_clock(row: CountedRow) -> tuple[str, int] | None:
    """A number that no clock and no counter gives, and that the sums could not hold."""
    for key in ("seq", "due_ns", "observed_ns", "at_ns", "sent_ns", "received_ns", "elapsed_ns"):
        value = getattr(row, key)
        if value is not None and not 0 <= value < 2**63:
            return key, value
    return None


def _poll_faults(item: PollItem) -> list[tuple[str, object, object]]:
    faults: list[tuple[str, object, object]] = []
    if item.result not in RESULTS:
        faults.append(("result", f"one of {', '.join(RESULTS)}", item.result))
    if item.result == "skipped" and item.reason not in SKIP_REASONS:
        faults.append(("reason of a skip", f"one of {', '.join(SKIP_REASONS)}", item.reason))
    if item.result == "ok":
        faults += [(key, "a value, as result is ok", None) for key in _OK_NEEDS if getattr(item, key) is None]
    if item.received_ns is not None and item.collected_at_utc != iso_utc(item.received_ns):
        faults.append(("collected_at_utc", iso_utc(item.received_ns), item.collected_at_utc))
    return faults


class _GridRule:
    """Rule A12: due = slot * interval + one of the phases."""

    def __init__(self, grid: Grid | None) -> None:
        self._interval = grid.interval_ns if grid else None
        self._buckets = grid.phase_buckets if grid else 1

    def fault(self, item: PollItem) -> tuple[str, str, str] | None:
        """(what, expected, seen), or ``None``; a segment without a grid cannot be judged."""
        if self._interval is None:
            return None
        slot, phase = divmod(item.due_ns, self._interval)
        if slot != item.slot:
            return "slot", f"{slot}, from due_ns", str(item.slot)
        bucket = -(-phase * self._buckets // self._interval)
        if bucket * self._interval // self._buckets != phase:
            return "due_ns off the grid", f"a phase of {self._buckets}", f"{phase} ns"
        return None
