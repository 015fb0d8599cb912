"""What the archives say besides their rows: runs, plans, market windows; phase 2's picture of the world."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import polars as pl

from orderbooks_spider.archive.planned import PlanDetail, RunStop
from orderbooks_spider.archive.tally import Span
from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.config import Shard
from orderbooks_spider.items import BOOKS, EVENTS, FEEDS
from orderbooks_spider.normalize.plans import PLANS, read_plans
from orderbooks_spider.normalize.written import read_table
from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.universe import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orderbooks_spider.archive.manifest import Grid
    from orderbooks_spider.archive.planned import PlanEvent
    from orderbooks_spider.archive.runs import RunManifest
    from orderbooks_spider.normalize.sources import Sealed, Sources
    from orderbooks_spider.normalize.tasks import Done, Output

_Settings = TypeVar("_Settings")


@dataclass(frozen=True, slots=True)
class Run:
    """One life of one collector, as its manifests and event rows tell it.  Times are UTC ns."""

    collector_id: str
    run_id: str
    environment: str
    started_ns: int
    last_known_ns: int
    """It was alive in ``[started_ns, last_known_ns)``; later slots of a run that still goes on are not
    judged yet."""
    owed_until_ns: int
    """A planned slot that was due before has a row, or the row is missing (rule A13)."""
    grid: Grid | None
    """``None``: its run manifest is lost."""
    shard: Shard
    windows: tuple[str, ...] | None
    """Window lengths that it follows; ``None``: its settings do not say."""
    plans: tuple[PlanDetail, ...]
    """Its ``plan`` events, in ``seq`` order."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sealed ``books`` segment that could not be normalised: the rows of its slots are missing."""

    file: str
    collector_id: str
    run_id: str
    first_ns: int
    """Due time of its first row."""
    last_ns: int


@dataclass(frozen=True, slots=True)
class ArchiveView:
    """All roots together."""

    environment: str
    runs: tuple[Run, ...]
    """By collector and start."""
    markets: tuple[Window, ...]
    """The latest record of each condition id, over all roots."""
    outputs: tuple[Output, ...]
    """Every file of ``books`` and ``polls`` that phase 1 has written, now or before; by name."""
    left_out: tuple[LeftOut, ...]


def build_view(sources: Sources, out: Path, done: Mapping[str, Done]) -> ArchiveView:
    """Put together what phase 2 needs; *done* is, by file, what became of every segment.

    Raises:
        ArchiveError: a file of phase 1 is not what was written.
        StorageError: it cannot be read.

    """
    outputs = sorted((output for item in done.values() for output in item.outputs), key=lambda o: o.file)
    left_out = [
        LeftOut(item.names.file, item.names.collector_id, item.names.run_id, span.first, span.last)
        for item in sources.segments
        if item.names.feed == BOOKS and done[item.names.file].error is not None
        if (span := item.manifest.time_ns) is not None
    ]
    return ArchiveView(
        environment=sources.environment,
        runs=tuple(_runs(sources, out, done)),
        markets=tuple(_markets(out, [output for output in outputs if output.table == "markets"])),
        outputs=tuple(output for output in outputs if output.table in {"books", "polls"}),
        left_out=tuple(left_out),
    )


def _markets(out: Path, outputs: Iterable[Output]) -> Iterator[Window]:
    """The latest record of each market."""
    columns = ["condition_id", "observed_ns", "market_slug", "window", "window_start_ns", "window_end_ns"]
    tokens = ["up_token_id", "down_token_id"]
    frames = [read_table(out, output, [*columns, *tokens, "kind"]) for output in outputs]
    if not frames:
        return
    records = (
        pl.concat(frames).filter(pl.col("kind") == "market").sort("condition_id", "observed_ns", *tokens)
    )
    for row in records.unique("condition_id", keep="last", maintain_order=True).iter_rows(named=True):
        yield Window(
            market_slug=row["market_slug"],
            condition_id=row["condition_id"],
            label=row["window"],
            start_ns=row["window_start_ns"],
            end_ns=row["window_end_ns"],
            tokens=tuple(zip(OUTCOMES, (row[name] for name in tokens), strict=True)),
        )


def _runs(sources: Sources, out: Path, done: Mapping[str, Done]) -> list[Run]:
    segments: defaultdict[tuple[str, str], list[Sealed]] = defaultdict(list)
    for segment in sources.segments:
        segments[segment.names.collector_id, segment.names.run_id].append(segment)
    said = {(run.collector_id, run.run_id): run for run in sources.runs}
    runs = []
    for key in said.keys() | segments.keys():
        events = [event for segment in segments[key] for event in _events(out, segment, done)]
        one = _OneRun(key, said.get(key), segments[key], sorted(events, key=lambda event: event.seq))
        if not one.only_discovered:
            runs.append(one.told(is_open=key in sources.open_runs))
    return sorted(runs, key=lambda run: (run.collector_id, run.started_ns, run.run_id))


def _events(out: Path, segment: Sealed, done: Mapping[str, Done]) -> Iterator[PlanEvent]:
    for output in done[segment.names.file].outputs:
        if output.table == PLANS:
            for event in read_plans(out, output):
                # After a power loss run_stop may be there and its polls not: they are flushed apart.
                if event.event != "run_stop" or not segment.manifest.recovered:
                    yield event


@dataclass(frozen=True)
class _OneRun:
    """What is known of one run; without its manifest its segments speak for it."""

    key: tuple[str, str]
    said: RunManifest | None
    segments: Sequence[Sealed]
    events: Sequence[PlanEvent]

    def told(self, *, is_open: bool) -> Run:
        plans = [event.detail for event in self.events if event.event == "plan"]
        last_known_ns = self._last_known_ns(is_open=is_open)
        return Run(
            collector_id=self.key[0],
            run_id=self.key[1],
            environment=self.said.environment if self.said else self.segments[0].manifest.environment,
            started_ns=self._started_ns,
            last_known_ns=last_known_ns,
            # Of an open run nothing is judged behind what is known of it, be it recorded or not.
            owed_until_ns=min(self._owed_until_ns, last_known_ns) if is_open else self._owed_until_ns,
            grid=self._grid,
            shard=self._setting("shard", Shard) or Shard(),
            windows=(self._setting("discovery", _Discovery) or _Discovery()).windows,
            plans=tuple(msgspec.convert(detail, PlanDetail) for detail in plans),
        )

    @property
    def only_discovered(self) -> bool:
        """Whether it was a single discovery pass: it says at its end that it had no slots."""
        stops = [event.detail for event in self.events if event.event == "run_stop"]
        return bool(stops) and stops[-1].get("slots_done_until_ns") is None and self._span(BOOKS) is None

    @property
    def _started_ns(self) -> int:
        if self.said is not None:
            return parse_utc(self.said.started_utc)
        return min((span.first for feed in FEEDS if (span := self._span(feed)) is not None), default=0)

    def _last_known_ns(self, *, is_open: bool) -> int:
        spans = {feed: self._span(feed) for feed in FEEDS}
        if is_open:  # up to where what was planned is sealed, and also a row that came late
            planned_ns = self._started_ns if (span := spans[EVENTS]) is None else span.last + 1
            return max(self._started_ns, min(self._owed_until_ns, planned_ns))
        times = [span.last + 1 for span in spans.values() if span is not None]
        if self._stopped_ns is not None:
            times = [self._stopped_ns, *(span.last + 1 for span in [spans[BOOKS]] if span is not None)]
        return max(times, default=self._started_ns)

    @property
    def _owed_until_ns(self) -> int:
        """Rule A13: up to the word of ``run_stop``; without it polls under way at the end have no row."""
        if self._stopped_ns is not None:
            return self._stopped_ns
        books, grid = self._span(BOOKS), self._grid
        if books is None or grid is None:
            return self._started_ns
        return books.last - round(grid.timeout_seconds * NS) - grid.interval_ns

    @property
    def _stopped_ns(self) -> int | None:
        stops = [msgspec.convert(event.detail, RunStop) for event in self.events if event.event == "run_stop"]
        return stops[-1].slots_done_until_ns if stops else None

    @property
    def _grid(self) -> Grid | None:
        if self.said is not None and self.said.grid is not None:
            return self.said.grid
        return next((segment.manifest.grid for segment in self.segments if segment.manifest.grid), None)

    def _span(self, feed: str) -> Span | None:
        """Times of the first and the last sealed row of *feed*."""
        spans = [item.manifest.time_ns for item in self.segments if item.names.feed == feed]
        known = [span for span in spans if span is not None]
        return Span(min(s.first for s in known), max(s.last for s in known)) if known else None

    def _setting(self, section: str, kind: type[_Settings]) -> _Settings | None:
        """A section of the config that the run manifest holds; ``None`` where it holds none."""
        raw: Any = self.said.config.get(section) if self.said is not None else None
        try:
            return None if raw is None else msgspec.convert(raw, kind)
        except msgspec.ValidationError:
            return None


class _Discovery(msgspec.Struct, frozen=True):
    windows: tuple[str, ...] | None = None
