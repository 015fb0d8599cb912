"""The report on one collector: what its files add up to, and the verdict on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orderbooks_spider.archive import layout
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.host_clock import CLOCK_QUALITY
from orderbooks_spider.pulse import TokenPulse
from orderbooks_spider.status.beat import least_gap_ns
from orderbooks_spider.status.files import DAY_NS
from orderbooks_spider.status.plans import planned, unplanned_ns
from orderbooks_spider.status.report import CollectorReport, SpanReport, TokenReport
from orderbooks_spider.status.verdict import judge, state_of
from orderbooks_spider.status.vitals import Vitals, gaps_of
from orderbooks_spider.status.words import span
from orderbooks_spider.tally import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orderbooks_spider.status.beat import Beat
    from orderbooks_spider.status.files import CollectorFiles
    from orderbooks_spider.status.plans import Plan
    from orderbooks_spider.status.rows import PollRow

MINUTES_NS = 300 * NS
SPANS_NS = {"5 min": MINUTES_NS, "1 h": layout.HOUR_NS, "24 h": DAY_NS}


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
