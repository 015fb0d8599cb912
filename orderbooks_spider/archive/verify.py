"""Proves an archive rung by rung, from cheap to dear, and collects every problem.

Integrity first (a problem is exit 1), then quality (counted, never an exit 1).  Offline; each
segment is read once as a stream, several at a time.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import inventory, planned
from orderbooks_spider.archive.findings import (
    INVESTIGATE,
    QUICK,
    RESTORE,
    RULES,
    Problem,
    Problems,
    Rung,
    printable,
)
from orderbooks_spider.archive.rows import SegmentReport, check_segment
from orderbooks_spider.archive.state import newest_heads
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.errors import EXIT_OK, EXIT_PROBLEMS, ArchiveError, StorageError
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.workers import worker_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from orderbooks_spider.archive.inventory import Described, Inventory
    from orderbooks_spider.archive.planned import PlanEvent, Run

    Fetch = Callable[[list[Described]], Iterator[list[Described]]]
    """Brings purged segments back, some at a time: each lies below its ``names.root`` until the next."""

SCHEMA = "orderbooks.verify/1"
SMALL_BYTES = 3_000_000
"""Below this much compressed data starting workers takes longer than reading."""
_EXAMPLES = 5


class RungReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one rung went."""

    rung: Rung
    rule: str
    title: str
    checked: int
    unit: str
    problems: int
    skipped: bool = False


class Quality(msgspec.Struct, kw_only=True):
    """Counted, not judged."""

    results: dict[str, int] = {}
    venue_hash: dict[str, int] = {}
    mirror: dict[str, int] = {}
    examples: list[str] = []


class RootReport(msgspec.Struct, kw_only=True):
    """What verify found in one root."""

    schema: str = SCHEMA
    root: str
    exit_code: int
    rungs: list[RungReport]
    problems: list[Problem]
    quality: Quality
    open_files: list[str]
    """Not sealed yet, and not checked: a running collector writes them."""
    set_aside: dict[str, int]
    segments: int
    remote_segments: int
    """Not here and not read: purged, with a record that a remote held each with its checksum."""
    fetched_segments: int
    """Purged, fetched from the remote and read like all others."""
    rows: int
    raw_bytes: int
    heads: dict[str, str]
    """``feed/collector`` to the digest of its newest manifest: keep it elsewhere, it proves the tail."""


def verify(  # noqa: PLR0913 - each is an option of the command
    root: Path,
    *,
    quick: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    expect_heads: Mapping[str, str] | None = None,
    require_local: bool = False,
    fetch: Fetch | None = None,
) -> RootReport:
    """Climb the ladder for one archive; *progress* is told (compressed bytes done, of all).

    A segment that was purged with a record counts as remote, not as missing (rule A20); *require_local*
    says otherwise, and *fetch* brings it back for as long as it is read.

    *expect_heads* are chain heads (``feed/collector`` to digest) that an earlier report gave and that
    were kept elsewhere: only they show that no tail was removed and no chain made anew.

    Raises:
        ArchiveError: nothing to check is there.
        StorageError: something there cannot be read.

    """
    if not root.is_dir():
        raise ArchiveError(f"{root}: expected an archive root, saw no folder")
    problems = Problems()
    found = inventory.take(root, problems, require_local=require_local)
    if found.is_empty and not problems.listed:
        raise ArchiveError(f"{root}: nothing to check: no segments and no manifests")
    inventory.check_heads(found, expect_heads or {}, problems)
    checker = _Contents(problems)
    if not quick:
        purged = [item for item in found.described if item.at_remote is not None] if fetch else []
        present = [item for item in found.described if item.is_here]
        total = sum(item.manifest.bytes for item in [*present, *purged])
        done = 0
        for items in chain([present], fetch(purged) if fetch else ()):
            for item, report in _read_all(items, workers if total > SMALL_BYTES else 1):
                checker.add(item, report)
                done += item.manifest.bytes
                if progress is not None:
                    progress(done, total)
        checker.not_fetched(purged)
        checker.across_segments(found)
    return _report(found, problems, checker, quick=quick)


def _read_all(items: list[Described], workers: int | None) -> Iterator[tuple[Described, SegmentReport]]:
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        yield from ((item, _check(item)) for item in items)
        return
    with worker_pool(workers) as pool:
        try:
            yield from zip(items, pool.map(_check, items), strict=True)
        except BrokenProcessPool as error:
            raise StorageError("a reading process was killed (memory?): try --workers 1") from error


def _check(item: Described) -> SegmentReport:
    return check_segment(item.names.root, item.names.stem, item.manifest)


class _Contents:
    """What the segments' reports say together: seq, slots and plans across segments."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._seqs: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
        self._slots: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
        self._plans: defaultdict[str, list[PlanEvent]] = defaultdict(list)
        self._last_due: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._slack: dict[tuple[str, str], int] = {}
        self.counters: dict[str, Counter[str]] = {
            name: Counter() for name in ("results", "venue_hash", "mirror")
        }
        self.examples: list[str] = []
        self.read: set[str] = set()
        """Stems of the segments that were read."""
        self.rows = self.raw_bytes = self.polls = self.owed = 0

    def add(self, item: Described, report: SegmentReport) -> None:
        """Take one segment's report."""
        collector = item.names.collector_id
        self.read.add(item.names.stem)
        self._problems.extend(report.problems)
        self._seqs[item.names.feed, collector] += report.seq_runs
        for token, runs in report.slots.items():
            self._slots[collector, token] += runs
        for run_id, due in report.last_due.items():
            self._last_due[collector, run_id] = max(due, self._last_due[collector, run_id])
            if (grid := item.manifest.grid) is not None:
                self._slack[collector, run_id] = round(grid.timeout_seconds * 1e9) + grid.interval_ns
        # Polls and events are flushed apart: after a power loss run_stop may be there and its polls not.
        self._plans[collector] += [
            event for event in report.plan_events if event.event != "run_stop" or not item.manifest.recovered
        ]
        if item.names.feed == BOOKS:
            for name, counter in self.counters.items():
                counter.update(getattr(report, name))
        self.examples = (self.examples + report.examples)[:_EXAMPLES]
        self.rows += report.rows
        self.raw_bytes += report.raw_bytes
        self.polls += report.rows if item.names.feed == BOOKS else 0

    def not_fetched(self, purged: Iterable[Described]) -> None:
        """Rule A20: what was purged is at the remote."""
        for item in purged:
            if item.names.stem not in self.read and item.at_remote is not None:
                self._problems.add(
                    "completeness", item.names.file, "a purged segment could not be fetched",
                    expected=f"{item.manifest.bytes} bytes at {item.at_remote.destination}", seen="no file",
                    advice=RESTORE,
                )  # fmt: skip

    def across_segments(self, found: Inventory) -> None:
        """Rules A11 to A13 over the whole root."""
        for (feed, collector), runs in self._seqs.items():
            for seq in planned.shared(runs):
                said = {"expected": "each seq once", "seen": "in two segments", "advice": INVESTIGATE}
                self._problems.add("seq", f"{feed} of {collector}", f"seq {seq} occurs twice", **said)
            self._seq_gaps(feed, collector, runs, found)
        for (_, token), runs in self._slots.items():
            for due in planned.shared(runs):
                what = f"slot of token {token} due {due} stands in two segments"
                said = {"expected": "one row per token and due time", "seen": "two", "advice": INVESTIGATE}
                self._problems.add("slots", BOOKS, what, **said)
        for collector, events in self._plans.items():
            unread = [
                item
                for item in found.described
                if item.at_remote is not None and item.names.stem not in self.read
                if (item.names.feed, item.names.collector_id) == (BOOKS, collector)
            ]
            self._planned(collector, events, unread)

    def _seq_gaps(self, feed: str, collector: str, runs: list[Run], found: Inventory) -> None:
        """Gaps that no missing segment explains: those have been reported."""
        absent = [
            (item.manifest.seq.first, item.manifest.seq.last, 1)
            for item in found.described
            if (item.names.feed, item.names.collector_id) == (feed, collector)
            if item.names.stem not in self.read
            if item.manifest.seq is not None
        ]
        reached = 0
        for first, last, _ in sorted([*runs, *absent]):
            if first > reached + 1:
                expected = f"seq {reached + 1}" + (f" to {first - 1}" if first > reached + 2 else "")
                self._problems.add(
                    "seq", f"{feed} of {collector}", "rows are missing",
                    expected=expected, seen=f"after {reached} comes {first}", advice=RESTORE,
                )  # fmt: skip
            reached = max(reached, last)

    def _planned(self, collector: str, events: Iterable[PlanEvent], unread: list[Described]) -> None:
        """Rule A13, but for the time of purged segments, which only ``fetch`` shows."""
        limits = {
            run_id: due - self._slack.get((holder, run_id), 0)
            for (holder, run_id), due in self._last_due.items()
            if holder == collector
        }
        owed, bad = planned.owed_slots(events, limits)
        for text in bad:
            said = {"expected": "the keys of docs/DATA_CONTRACT.md", "seen": text, "advice": INVESTIGATE}
            self._problems.add("planned", EVENTS, "a plan cannot be read", **said)
        for item in owed:
            self.owed += planned.count(item)
            runs = [
                *self._slots.get((collector, item.token_id), []),
                *planned.granted(item, _times(unread, item.token_id)),
            ]
            for first, last, slots in planned.missing(item, runs):
                self._problems.add(
                    "planned", f"run {item.run_id} of {collector}",
                    f"token {item.token_id}: {slots} planned slots have no row",
                    expected=f"rows due {iso_utc(first)} to {iso_utc(last)}", seen="none",
                    advice="look for a missing segment of that time; else it is a fault of the collector",
                )  # fmt: skip


def _times(unread: Iterable[Described], token_id: str) -> Iterator[tuple[int, int]]:
    """First and last due time of each segment that holds rows of the token."""
    for item in unread:
        times = item.manifest.time_ns
        if times is not None and token_id in item.manifest.tokens:
            yield times.first, times.last


def _report(found: Inventory, problems: Problems, contents: _Contents, *, quick: bool) -> RootReport:
    segments, read = len(found.described), len(contents.read)
    remote = sum(item.at_remote is not None for item in found.described)
    fetched = sum(item.at_remote is not None and item.names.stem in contents.read for item in found.described)
    checked: dict[Rung, tuple[int, str]] = {
        "layout": (found.files + segments, "files"),
        "sizes": (sum(item.is_here for item in found.described), "segments"),
        "sha256": (read, "segments"),
        "gzip": (read, "segments"),
        "manifest": (read, "segments"),
        "rows": (contents.rows, "rows"),
        "seq": (contents.rows, "rows"),
        "slots": (contents.polls, "slots"),
        "planned": (contents.owed, "slots"),
    }
    rungs = [
        RungReport(
            rung=rung,
            rule=rule,
            title=title,
            checked=checked.get(rung, (segments, "segments"))[0],
            unit=checked.get(rung, (segments, "segments"))[1],
            problems=problems.counts[rung],
            skipped=quick and rung not in QUICK,
        )
        for rung, (rule, title) in RULES.items()
    ]
    order = list(RULES)
    return RootReport(
        root=printable(str(found.root)),
        exit_code=EXIT_PROBLEMS if problems.listed else EXIT_OK,
        rungs=rungs,
        problems=sorted(problems.listed, key=lambda item: (order.index(item.rung), item.file)),
        quality=Quality(
            **{name: dict(sorted(counter.items())) for name, counter in contents.counters.items()},
            examples=contents.examples,
        ),
        open_files=found.open_files,
        set_aside=dict(found.set_aside),
        segments=segments,
        remote_segments=remote - fetched,
        fetched_segments=fetched,
        rows=contents.rows,
        raw_bytes=contents.raw_bytes,
        heads=newest_heads(
            (
                f"{item.names.feed}/{item.names.collector_id}",
                item.manifest.seq.last if item.manifest.seq is not None else 0,
                item.sha256,
            )
            for item in found.described
        ),
    )
