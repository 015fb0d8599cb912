"""What an archive says of a day besides its polls: files, runs, and how good the host's clock was.

From the manifests of sealed segments, run manifests, and the rows of the ``events`` feed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.errors import StorageError
from orderbooks_spider.host_clock import CLOCK_QUALITY, ClockQuality
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.loop_lag import LOOP_LAG
from orderbooks_spider.report.dataset import touches
from orderbooks_spider.report.day import dates_of
from orderbooks_spider.report.numbers import ClockNumbers, LoopLagNumbers, Run, Source, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orderbooks_spider.normalize.sources import Sealed, Sources
    from orderbooks_spider.report.day import Day


class Event(msgspec.Struct, frozen=True):
    """The keys of an event row that are read."""

    event: str
    at_ns: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One day."""

    segments: list[Sealed]
    """With rows of the day, by file."""
    events: list[Event]
    problems: list[str]
    """Event segments that cannot be read."""

    @property
    def interval_ns(self) -> int:
        """The longest interval of the day's grids."""
        grids = [segment.manifest.grid for segment in self.segments]
        return max((grid.interval_ns for grid in grids if grid is not None), default=1)


def read_evidence(sources: Sources, day: Day) -> Evidence:
    """Read the manifests and the event rows of *day*."""
    segments = [segment for segment in sources.segments if touches(segment, day)]
    events: list[Event] = []
    problems: list[str] = []
    for segment in segments:
        if segment.names.feed == EVENTS:
            scan = MemberScan(segment.names.sealed)
            why: object = None
            try:
                events += [event for event in _events(scan) if day.holds(event.at_ns)]
            except (StorageError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                why = error
            if (why := why or scan.broken) is not None:
                problems.append(f"{segment.names.sealed}: events are left out: {why}")
    return Evidence(segments, events, problems)


_event = msgspec.json.Decoder(Event)


def _events(scan: MemberScan) -> Iterator[Event]:
    for line in scan.lines():
        yield _event.decode(line.text)


def dates_with_polls(sources: Sources) -> list[str]:
    """The dates of sealed polls."""
    spans = [segment.manifest.time_ns for segment in sources.segments if segment.names.feed == BOOKS]
    return dates_of([(span.first, span.last) for span in spans if span is not None])


def sources_of(segments: Iterable[Sealed]) -> list[Source]:
    """What the page was made from."""
    return [
        Source(
            file=segment.names.file,
            rows=segment.manifest.rows,
            bytes=segment.manifest.bytes,
            sha256=segment.manifest.sha256,
        )
        for segment in segments
    ]


def stored_by_hour(segments: Iterable[Sealed], day: Day) -> list[Stored]:
    """Rows and bytes by hour and feed."""
    sums: Counter[tuple[int, str, str]] = Counter()
    for segment in segments:
        for member in segment.manifest.members:
            if day.holds(member.first_ns):
                key = member.first_ns // HOUR_NS * HOUR_NS, segment.names.feed
                sums.update({(*key, "rows"): member.rows, (*key, "bytes"): member.length})
    found = []
    for hour_ns, feed in sorted({key[:2] for key in sums}):
        rows, size = sums[hour_ns, feed, "rows"], sums[hour_ns, feed, "bytes"]
        found.append(Stored(hour_ns=hour_ns, feed=feed, rows=rows, bytes=size))
    return found


def runs_of(sources: Sources, segments: Iterable[Sealed]) -> list[Run]:
    """The runs that wrote the segments; without its manifest a run is told by its segments."""
    said = {(run.collector_id, run.run_id): run for run in sources.runs}
    written = {(one.names.collector_id, one.names.run_id): one.manifest for one in segments}
    found = []
    for key, manifest in sorted(written.items()):
        run = said.get(key)
        grid = manifest.grid if run is None else run.grid
        found.append(
            Run(
                collector_id=key[0],
                run_id=key[1],
                started_utc=None if run is None else run.started_utc,
                stopped_utc=None if run is None else run.stopped_utc,
                stop_reason=None if run is None else run.stop_reason,
                collector_version=manifest.collector_version,
                config_sha256=manifest.config_sha256,
                interval_ns=None if grid is None else grid.interval_ns,
            )
        )
    return sorted(found, key=lambda run: (run.started_utc or "", run.collector_id, run.run_id))


def clock_numbers(events: Iterable[Event]) -> ClockNumbers:
    """How far the host's clock can be trusted (``TIME.md``)."""
    rows = list(events)
    readings = [msgspec.convert(row.detail, ClockQuality) for row in rows if row.event == CLOCK_QUALITY]
    bounds = [bound for reading in readings if (bound := reading.bound_ns) is not None]
    steps = [int(row.detail["step_ns"]) for row in rows if row.event == "clock_step"]
    return ClockNumbers(
        readings=len(readings),
        states=dict(sorted(Counter(reading.state for reading in readings).items())),
        without_bound=len(readings) - len(bounds),
        worst_bound_ns=max(bounds, default=None),
        steps=len(steps),
        largest_step_ns=max(steps, key=abs, default=None),
    )


def loop_lag_numbers(events: Iterable[Event]) -> LoopLagNumbers:
    """How late the event loop woke."""
    lags = [row.detail for row in events if row.event == LOOP_LAG]
    return LoopLagNumbers(
        samples=sum(lag["samples"] for lag in lags),
        worst_p99_ns=max((lag["p99_ns"] for lag in lags if lag["p99_ns"] is not None), default=None),
        max_ns=max((lag["max_ns"] for lag in lags if lag["max_ns"] is not None), default=None),
    )


def event_counts(events: Iterable[Event]) -> dict[str, int]:
    """Event rows by name."""
    return dict(sorted(Counter(row.event for row in events).items()))
