"""The tables of the page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from orderbooks_spider.report.texts import NONE, cents, clock, percent, time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orderbooks_spider.report.numbers import DayReport

    Cells = Sequence[str]

_UNKNOWN: Final = "not known"
_MINUTELY: Final = {"clock_quality", "loop_lag"}


def tables(report: DayReport) -> Iterator[str]:
    """The summary."""
    yield '<div class="tables">'
    header: Cells = ("", "planned", "answered", "coverage")
    yield from _table("Coverage", header, _coverage_rows(report), numbers=(1, 2, 3))
    header = ("", "polls", "p50", "p95", "p99", "max")
    yield from _table("Times", header, _time_rows(report), numbers=(1, 2, 3, 4, 5))
    header = ("", "markets", "coverage", "spread p50", "p90")
    yield from _table("Window lengths", header, _window_rows(report), numbers=(1, 2, 3, 4))
    yield from _table("Books", ("", ""), _book_rows(report))
    yield from _table("Archive and host", ("", ""), _host_rows(report))
    header = ("check", "made on", "found", "unverifiable")
    yield from _table("Checks on books", header, _check_rows(report), numbers=(1, 2, 3))
    yield "</div>"
    if report.longest_gaps:
        header = ("from", "until", "slots", "market", "token", "cause", "fault")
        yield from _table("Longest gaps", header, _gap_rows(report), numbers=(2,), codes=(3,))


def made_from(report: DayReport) -> Iterator[str]:
    """Runs, versions and files."""
    header = ("collector", "run", "started", "stopped", "why", "version")
    yield from _table("Runs", header, _run_rows(report))
    made = ", ".join(f"{escape(name)} {escape(version)}" for name, version in report.made_with.items())
    yield f'<h2>Made from</h2><p class="soft">Tables and pictures by {made}.</p>'
    yield f"<details><summary>{len(report.sources):,} sealed segments with their SHA-256</summary>"
    rows = [(source.file, f"{source.rows:,}", source.sha256) for source in report.sources]
    yield from _rows(("file", "rows", "sha256"), rows, numbers=(1,), codes=(0, 2))
    yield "</details>"


def _coverage_rows(report: DayReport) -> Iterator[Cells]:
    named = {
        "all slots": report.slots,
        "inside the windows": report.in_window,
        "while the mid moved fast": report.when["fast"],
        "while it stood calm": report.when["calm"],
        "while the venue was slow": report.when["slow_venue"],
    }
    for name, coverage in named.items():
        yield name, f"{coverage.planned:,}", f"{coverage.answered:,}", percent(coverage)
    derived = report.slots.planned - report.recorded
    yield "planned, with no row of their own", f"{derived:,}", "", ""


def _time_rows(report: DayReport) -> Iterator[Cells]:
    for name, times in (("lateness", report.lateness), ("latency", report.latency)):
        ranks = (times.p50_ns, times.p95_ns, times.p99_ns, times.max_ns)
        yield name, f"{times.polls:,}", *map(time, ranks)


def _book_rows(report: DayReport) -> Iterator[Cells]:
    yield "venue's hash", _counts(report.hash)
    yield "Up/Down mirror", _counts(report.mirror)
    mids = report.mirrored_mids
    largest = f", largest difference {cents(mids.largest_difference)}" if mids.pairs else ""
    yield "mid of Up equals 1 - mid of Down", f"{mids.equal:,} of {mids.pairs:,} slots{largest}"


def _window_rows(report: DayReport) -> Iterator[Cells]:
    for each in report.windows:
        spreads = cents(each.spread_p50), cents(each.spread_p90)
        yield each.window, f"{each.markets:,}", percent(each.slots), *spreads


def _host_rows(report: DayReport) -> Iterator[Cells]:
    clock, lag = report.clock, report.loop_lag
    rows, size = (sum(getattr(each, what) for each in report.stored) for what in ("rows", "bytes"))
    yield "stored", f"{rows:,} rows, {size:,} bytes"
    yield "clock readings, by the kernel's state", _counts(clock.states)
    yield "readings without a bound", f"{clock.without_bound:,}"
    yield "largest bound of the others", time(clock.worst_bound_ns)
    largest = f", largest {time(clock.largest_step_ns)}" if clock.steps else ""
    yield "steps of the wall clock", f"{clock.steps:,}{largest}"
    yield "loop lag, the worst minute's p99", time(lag.worst_p99_ns)
    yield "loop lag, max", time(lag.max_ns)
    yield "other events", _counts({n: count for n, count in report.events.items() if n not in _MINUTELY})


def _gap_rows(report: DayReport) -> Iterator[Cells]:
    for gap in report.longest_gaps:
        what = gap.market_slug, gap.outcome, gap.cause, gap.fault
        yield clock(gap.from_ns), clock(gap.until_ns), f"{gap.slots:,}", *what


def _check_rows(report: DayReport) -> Iterator[Cells]:
    for check in report.checks:
        yield check.check, f"{check.counted:,}", f"{check.flagged:,}", f"{check.unverifiable:,}"


def _run_rows(report: DayReport) -> Iterator[Cells]:
    for run in report.runs:
        times = [_UNKNOWN if text is None else text[:19] for text in (run.started_utc, run.stopped_utc)]
        rest = run.stop_reason or _UNKNOWN, run.collector_version or _UNKNOWN
        yield run.collector_id, run.run_id, *times, *rest


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or NONE


def _table(
    title: str, header: Cells, rows: Iterable[Cells], numbers: Sequence[int] = (), codes: Sequence[int] = ()
) -> Iterator[str]:
    yield f"<section><h2>{title}</h2>"
    yield from _rows(header, rows, numbers, codes)
    yield "</section>"


def _rows(
    header: Cells, rows: Iterable[Cells], numbers: Sequence[int] = (), codes: Sequence[int] = ()
) -> Iterator[str]:
    """A table of texts; *numbers* are its right-aligned columns, *codes* those of names to be copied."""
    kinds = dict.fromkeys(codes, ' class="code"') | dict.fromkeys(numbers, ' class="right"')
    marks = [kinds.get(place, "") for place in range(len(header))]
    yield "<table>"
    if any(header):
        cells = zip(header, marks, strict=True)
        yield f"<tr>{''.join(f'<th{mark}>{name}</th>' for name, mark in cells)}</tr>"
    for row in rows:
        cells = zip(row, marks, strict=True)
        yield f"<tr>{''.join(f'<td{mark}>{escape(cell)}</td>' for cell, mark in cells)}</tr>"
    yield "</table>"
