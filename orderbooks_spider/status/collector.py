"""One collector of a root, looked at from outside: what its files add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import Holder, last_holder
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import Polling
from orderbooks_spider.errors import OrderbooksError, StorageError
from orderbooks_spider.host_clock import CLOCK_QUALITY
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.pulse import TokenPulse
from orderbooks_spider.status.beat import Beat, least_gap_ns
from orderbooks_spider.status.coverage import Books, poll_decoder
from orderbooks_spider.status.plans import Plan, planned, settled, unplanned_ns
from orderbooks_spider.status.report import CollectorReport, SpanReport, TokenReport
from orderbooks_spider.status.rows import EventRow, Row, member_rows, open_rows, open_segments
from orderbooks_spider.status.verdict import judge, state_of
from orderbooks_spider.status.vitals import Vitals, gaps_of
from orderbooks_spider.status.words import span
from orderbooks_spider.tally import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orderbooks_spider.status.rows import PollRow
    from orderbooks_spider.status.sealed import SealedSegments

MINUTES_NS = 300 * NS
DAY_NS = 24 * layout.HOUR_NS
SPANS_NS = {"5 min": MINUTES_NS, "1 h": layout.HOUR_NS, "24 h": DAY_NS}
MARGIN_NS = NS
"""Beside the polls' timeout: by then each slot has its row."""

_event_decoder = msgspec.json.Decoder(EventRow)
_beat_decoder = msgspec.json.Decoder(Beat)


@dataclass
class CollectorFiles:
    """What lies in *root* of one collector; each thing is read when it is first asked for."""

    root: Path
    collector_id: str
    feeds: Mapping[str, SealedSegments]
    now_ns: int
    running: bool
    unreadable: list[str] = field(default_factory=list)

    @cached_property
    def run(self) -> RunManifest | None:
        """The run that began last."""
        paths = layout.run_manifests(self.root, self.collector_id)
        return self._run(paths[-1]) if paths else None

    @cached_property
    def first_ns(self) -> int | None:
        """When its first run began."""
        paths = layout.run_manifests(self.root, self.collector_id)
        run = self._run(paths[0]) if paths else None
        return None if run is None else parse_utc(run.started_utc)

    @cached_property
    def holder(self) -> Holder | None:
        """Who holds its lock, or held it last."""
        return last_holder(self.root, self.collector_id)

    @cached_property
    def beat(self) -> Beat | None:
        """What it said of itself last, in the run that began last."""
        path = layout.health_file(self.root, self.collector_id)
        try:
            beat = _beat_decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable.append(f"{layout.relative(self.root, path)}: {error}")
            return None
        run_id = self.holder.run_id if self.holder is not None else beat.run_id
        return beat if beat.run_id == run_id else None

    @cached_property
    def interval_ns(self) -> int:
        """The grid's step."""
        grid = self.run.grid if self.run is not None else None
        return Polling().interval_ns if grid is None else grid.interval_ns

    @cached_property
    def until_ns(self) -> int:
        """Slots due before have their rows, where a process lives to write them."""
        grid = self.run.grid if self.run is not None else None
        timeout = Polling().timeout_seconds if grid is None else grid.timeout_seconds
        return self.now_ns - round(timeout * NS) - MARGIN_NS

    @cached_property
    def books(self) -> Books:
        """Its polls of the last day."""
        rows, whole = self._open_rows(BOOKS, poll_decoder)
        unsealed = {names.stem for names in self._open(BOOKS)}
        sealed = [item for item in self._sealed(BOOKS) if item.names.stem not in unsealed]
        return Books(rows, whole, sealed)

    @cached_property
    def events(self) -> list[EventRow]:
        """Event rows of the last two days, by time; those at a remote are left out."""
        rows, _ = self._open_rows(EVENTS, _event_decoder)
        unsealed = {names.stem for names in self._open(EVENTS)}
        for item in self._sealed(EVENTS):
            if item.names.stem not in unsealed and item.facts.events.keys() & {"plan", CLOCK_QUALITY}:
                for member in item.facts.members:
                    try:
                        rows += member_rows(item.names, member.offset, _event_decoder)
                    except StorageError as error:
                        if item.names.sealed.exists():
                            self.unreadable.append(str(error))
        return sorted(rows, key=lambda row: row.seq)

    @cached_property
    def plans(self) -> list[Plan]:
        """Which slots were planned."""
        found = []
        for row in self.events:
            if row.event == "plan":
                try:
                    found.append(msgspec.convert(row.detail, Plan))
                except msgspec.ValidationError as error:
                    self.unreadable.append(f"plan row, seq {row.seq}: {error}")
        return settled(found)

    @cached_property
    def last_heard_ns(self) -> int | None:
        """The last sign of life: a row, or the health file."""
        times = [row.due_ns for row in self.books.open_rows] + [row.at_ns for row in self.events]
        newest = [found.newest.get(self.collector_id) for found in self.feeds.values()]
        times += [item.facts.time_ns.last for item in newest if item is not None and item.facts.time_ns]
        times += [self.beat.written_ns] if self.beat is not None else []
        return max(times, default=None)

    def _run(self, path: Path) -> RunManifest | None:
        try:
            return RunFile.read(path).manifest
        except OrderbooksError as error:
            self.unreadable.append(str(error))
            return None

    def _sealed(self, feed: str) -> list[Any]:
        return self.feeds[feed].recent.get(self.collector_id, [])

    def _open(self, feed: str) -> list[layout.Segment]:
        return self._unsealed.get(feed, [])

    @cached_property
    def _unsealed(self) -> dict[str, list[layout.Segment]]:
        """Segments without a manifest in the hours of the last day, oldest first."""
        since = hour_of(self.now_ns - DAY_NS)
        found: dict[str, list[layout.Segment]] = {}
        for feed in (BOOKS, EVENTS):
            for hour, folder in layout.hours_back(layout.feed_folder(self.root, feed)):
                if hour < since:
                    break
                own = [
                    names
                    for names in open_segments(folder, self.root)
                    if names.collector_id == self.collector_id
                ]
                found[feed] = [*own, *found.get(feed, [])]
        return found

    def _open_rows(self, feed: str, decoder: msgspec.json.Decoder[Row]) -> tuple[list[Row], bool]:
        rows: list[Row] = []
        whole = True
        for names in self._open(feed):
            more, all_of_it = open_rows(names, decoder)
            rows += more
            whole &= all_of_it
        return rows, whole


def report_of(files: CollectorFiles, *, others_run: bool) -> CollectorReport:
    """All about one collector; *others_run*: the root has another one that runs."""
    run, holder, beat = files.run, files.holder, files.beat
    tokens = _tokens(files)
    lateness = _lateness(files)
    spans = {name: _span(files, length_ns) for name, length_ns in SPANS_NS.items()}
    vitals = _vitals(files, tokens, lateness, spans["5 min"])
    findings = judge(vitals)
    clock = next((row for row in reversed(files.events) if row.event == CLOCK_QUALITY), None)
    return CollectorReport(
        collector_id=files.collector_id,
        state=state_of(findings),
        findings=findings,
        retired=others_run and _is_retired(files),
        vitals=vitals,
        environment=None if run is None else run.environment,
        pid=None if holder is None else holder.pid,
        host=None if holder is None else holder.host,
        run_id=run.run_id if run is not None else holder.run_id if holder is not None else None,
        started_utc=None if run is None else run.started_utc,
        spans=spans,
        tokens=_token_reports(files, tokens),
        lateness_p50_ms=_milliseconds(percentile(lateness, 0.5)),
        clock=None if clock is None else clock.detail | {"at_utc": iso_utc(clock.at_ns)},
        heads={
            feed: found.newest[files.collector_id].sha256 if files.collector_id in found.newest else None
            for feed, found in files.feeds.items()
        },
        collector_version=None if run is None else run.collector_version,
        versions={} if run is None else run.versions,
        config_sha256=None if run is None else run.config_sha256,
        ping=None if beat is None else beat.ping,
        unreadable=[
            *files.unreadable,
            *(bad for f in files.feeds.values() for bad in f.bad[files.collector_id]),
        ],
    )


def hour_of(ns: int) -> str:
    """``2026/04/16/08``: the folder of an instant, which orders as time does."""
    text = iso_utc(max(0, ns))
    return f"{text[0:4]}/{text[5:7]}/{text[8:10]}/{text[11:13]}"


def _vitals(
    files: CollectorFiles, tokens: dict[str, TokenPulse], lateness: list[int], minutes: SpanReport
) -> Vitals:
    beat, run = files.beat, files.run
    clock = next((row.detail for row in reversed(files.events) if row.event == CLOCK_QUALITY), {})
    planned, answered = _counted(minutes, beat)
    uptime = None if run is None or not files.running else (files.now_ns - parse_utc(run.started_utc)) / NS
    return Vitals(
        running=files.running,
        ended="" if files.running else _ended(files),
        uptime_seconds=uptime,
        beat_seconds=None if beat is None else max(0.0, (files.now_ns - beat.written_ns) / NS),
        undurable_seconds=None if beat is None else beat.undurable_seconds,
        planned=planned,
        answered=answered,
        throttled=minutes.results.get("throttled", 0),
        gaps=gaps_of(tokens.values(), files.interval_ns, least_gap_ns(files.interval_ns)),
        lateness_p99_ms=_milliseconds(percentile(lateness, 0.99)),
        problems=beat.problems if beat is not None and files.running else {},
        clock_synchronised=clock.get("synchronised"),
    )


def _counted(minutes: SpanReport, beat: Beat | None) -> tuple[int | None, int]:
    """Planned and answered slots by the rows; where these are too many, by the collector's own word."""
    if minutes.answered is not None:
        return minutes.planned, minutes.answered
    if beat is None:
        return None, 0
    return sum(one.slots for one in beat.last_minutes), sum(one.answered for one in beat.last_minutes)


def _ended(files: CollectorFiles) -> str:
    run, holder = files.run, files.holder
    heard = files.last_heard_ns
    ago = "" if heard is None else f", last heard of {span((files.now_ns - heard) / NS)} ago"
    if run is None or (holder is not None and holder.run_id not in {run.run_id, ""}):
        return f"pid {holder.pid} is gone before its run began" if holder else "no process collects"
    if run.stopped_utc is None and run.stop_reason is None:
        who = f"pid {holder.pid} of run {run.run_id}" if holder is not None else f"run {run.run_id}"
        return f"{who} is gone without a word{ago}"
    return f"run {run.run_id} has ended ({run.stop_reason}){ago}"


def _is_retired(files: CollectorFiles) -> bool:
    run, heard = files.run, files.last_heard_ns
    ended = run is not None and run.stopped_utc is not None
    return not files.running and ended and (heard is None or files.now_ns - heard > DAY_NS)


def _span(files: CollectorFiles, length_ns: int) -> SpanReport:
    until_ns = files.until_ns
    from_ns = until_ns - length_ns
    if length_ns == DAY_NS:
        from_ns -= from_ns % layout.HOUR_NS  # on an hour few segments are cut
    ends = files.books.ends(from_ns, until_ns)
    by_plan = planned(files.plans, from_ns, until_ns)
    # Plans may lie at a remote; each row is a planned slot all the same.
    count = by_plan if ends is None else max(by_plan, ends.rows)
    began_ns = max(from_ns, files.first_ns or until_ns)
    return SpanReport(
        from_utc=iso_utc(from_ns),
        until_utc=iso_utc(until_ns),
        planned=count,
        answered=None if ends is None else ends.answered,
        coverage=ends.answered / count if ends is not None and count else None,
        results={} if ends is None else dict(sorted(ends.results.items())),
        no_row=None if ends is None else count - ends.rows,
        unplanned_seconds=round(unplanned_ns(files.plans, began_ns, until_ns) / NS, 3)
        if began_ns < until_ns
        else 0.0,
    )


def _lateness(files: CollectorFiles) -> list[int]:
    rows = files.books.rows_since(files.until_ns - MINUTES_NS)
    return sorted(row.sent_ns - row.due_ns for row in rows if row.sent_ns is not None)


def _milliseconds(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e6, 3)


def _tokens(files: CollectorFiles) -> dict[str, TokenPulse]:
    """The tokens with a slot just before ``until_ns``, followed back five minutes, or an hour if need be."""
    until_ns, step_ns = files.until_ns, files.interval_ns
    polled = {
        token_id: plan
        for plan in files.plans
        if plan.from_ns <= until_ns - step_ns and until_ns <= plan.until_ns
        for token_id in plan.tokens
    }
    found = _follow(polled, files.books.rows_since(until_ns - MINUTES_NS))
    if any(token.answered_ns is None for token in found.values()):
        found = _follow(polled, files.books.rows_since(until_ns - layout.HOUR_NS))
    absent = "no_row" if files.running else "process_down"
    for token_id, token in found.items():
        if token.due_ns < until_ns - 2 * step_ns:
            since_ns = max(token.due_ns + step_ns, polled[token_id].from_ns, until_ns - layout.HOUR_NS)
            if token.gap_from_ns is None:
                token.gap_from_ns, token.gap_cause = since_ns, absent
            token.due_ns = until_ns - step_ns
    return found


def _follow(polled: Mapping[str, Plan], rows: list[PollRow]) -> dict[str, TokenPulse]:
    found = {token_id: TokenPulse(plan.market_slug, None) for token_id, plan in polled.items()}
    for row in rows:
        token = found.get(row.token_id)
        if token is not None:
            token.outcome = row.outcome
            token.add(row.due_ns, row.cause, answered=row.answered)
    return found


def _token_reports(files: CollectorFiles, tokens: dict[str, TokenPulse]) -> list[TokenReport]:
    reports = [
        TokenReport(
            token_id=token_id,
            market_slug=token.market_slug,
            outcome=token.outcome,
            last_book_utc=None if token.answered_ns is None else iso_utc(token.answered_ns),
            seconds=None if token.answered_ns is None else round((files.now_ns - token.answered_ns) / NS, 3),
            cause=token.gap_cause,
        )
        for token_id, token in tokens.items()
    ]
    return sorted(reports, key=lambda item: (item.market_slug, item.outcome or ""))
