"""The report for people: 80 columns, the verdict first, then why, then the numbers."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from orderbooks_spider.status.words import size, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.status.report import ArchiveReport, CollectorReport, SpanReport, TokenReport
    from orderbooks_spider.status.verdict import Finding

WIDTH = 80
_MARKS = {"note": "·", "degraded": "!", "down": "✗"}


def lines(report: ArchiveReport) -> Iterator[str]:
    """Everything about one root, line by line."""
    yield f"{report.state.upper()}  {report.root}  {report.at_utc[:19]}Z"
    yield from _findings(report.findings)
    for collector in report.collectors:
        yield ""
        yield from _collector(collector)
    disk, offload = report.disk, report.offload
    yield ""
    left = "not known yet (less than an hour is sealed)"
    if disk.bytes_per_day is not None:
        days = "-" if disk.days_left is None else f"{disk.days_left:.1f}"
        left = f"{days} days left at {size(disk.bytes_per_day)} a day"
    yield _row("disk", f"{size(disk.free_bytes)} free, {left}")
    waiting = f"{offload.segments:,} segments, {size(offload.bytes)}"
    if offload.segments:
        waiting += f", oldest {span(offload.oldest_seconds)}"
    yield _row("not offloaded", waiting + ("" if offload.in_use else " (nothing was ever offloaded)"))


def _collector(report: CollectorReport) -> Iterator[str]:
    state = "retired" if report.retired else report.state
    yield f"collector {report.collector_id}: {state}"
    yield from _findings(report.findings)
    vitals = report.vitals
    if vitals.running:
        beat = "" if vitals.beat_seconds is None else f", health file {span(vitals.beat_seconds)} old"
        yield _row("process", f"pid {report.pid} on {report.host}, up {span(vitals.uptime_seconds)}{beat}")
    started = "-" if report.started_utc is None else f"{report.started_utc[:19]}Z"
    yield _row("run", f"{report.run_id or '-'} ({report.environment or '-'}), started {started}")
    for name, counted in report.spans.items():
        yield _row(f"coverage {name}", _coverage(counted))
    yield _row("lateness", _lateness(report))
    refused = [f"{name} {counted.results.get('throttled', 0)}" for name, counted in report.spans.items()]
    yield _row("429s", ", ".join(refused))
    for gap in vitals.gaps:
        since = f"{span(gap.seconds)}, {gap.cause}, {gap.tokens} tokens of {len(gap.markets)} markets"
        yield _row("open gap", since)
    yield _row("clock", _clock(report))
    for token in report.tokens:
        yield _row("last book", _token(token))
    if not report.tokens:
        yield _row("last book", "no token is polled now")
    libraries = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield from _wrapped("version", f"{report.collector_version or '-'} ({libraries})")
    for feed, sha256 in report.heads.items():
        yield _row(f"head {feed}", sha256 or "none sealed yet")
    for problem in report.unreadable:
        yield from _wrapped("unreadable", problem)


def _findings(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        yield from textwrap.wrap(
            f"{_MARKS[finding.level]} {finding.text}", WIDTH, initial_indent="  ", subsequent_indent="    "
        )


def _coverage(counted: SpanReport) -> str:
    if counted.answered is None:
        return f"not counted: too many rows to read each minute ({counted.planned:,} planned)"
    if counted.coverage is None:
        return "no data yet: no slot was planned"
    text = f"{counted.coverage:7.2%}  {counted.answered:,} of {counted.planned:,}"
    others = {name: count for name, count in counted.results.items() if name != "ok"}
    if counted.no_row:
        others["no row"] = counted.no_row
    if others:
        text += "; " + ", ".join(f"{name} {count:,}" for name, count in others.items())
    if counted.unplanned_seconds >= 60:
        text += f"; nothing planned for {span(counted.unplanned_seconds)}"
    return text


def _lateness(report: CollectorReport) -> str:
    if report.lateness_p50_ms is None or report.vitals.lateness_p99_ms is None:
        return "no data yet"
    return f"p50 {report.lateness_p50_ms:.1f} ms, p99 {report.vitals.lateness_p99_ms:.1f} ms (5 min)"


def _clock(report: CollectorReport) -> str:
    if report.clock is None:
        return "not known"
    text = "synchronised" if report.clock.get("synchronised") else "NOT synchronised"
    error = report.clock.get("max_error_ns")
    if report.clock.get("synchronised") and error is not None:
        text += f", error at most {error / 1e6:.1f} ms by the kernel"
    return f"{text} ({report.clock['at_utc'][:19]}Z)"


def _token(token: TokenReport) -> str:
    # Outcomes stand in rows: of a token without one only the id is known.
    name = f"{token.market_slug} {token.outcome or f'token …{token.token_id[-6:]}'}"
    if token.seconds is None:
        return f"{name}: none within the hour" + (f" ({token.cause})" if token.cause else "")
    return f"{name}: {span(token.seconds)} ago" + (f", since then {token.cause}" if token.cause else "")


def _row(name: str, text: str) -> str:
    return f"  {name:<15} {text}"


def _wrapped(name: str, text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=_row(name, ""), subsequent_indent=" " * 18, break_on_hyphens=False
    )
