"""The report of a soak as Markdown: verdict and rules first, then what they were judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orderbooks_spider.clock import iso_utc
from orderbooks_spider.report.texts import NONE, duration, percent, time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orderbooks_spider.soak.numbers import Process, Restart, Soak
    from orderbooks_spider.soak.report import SoakReport

_ENVIRONMENTS: Final = {
    "sandbox": "Simulated: the venue was the sandbox exchange. "
    "This shows how recording works, not what the market did.",
    "live": "Recorded from the live venue.",
}
PICTURES: Final = {
    "coverage": ("What became of every planned slot?",
                 "Above all slots of each minute, below those without an answer, on a scale of their own."),
    "memory": ("Does memory grow?", "A line for each life of the collector; dashed: it came back."),
    "loop_lag": ("Was the event loop held up?", "Real milliseconds on a logarithmic scale."),
    "disk": ("How fast does the disk fill?", "Left what the archive takes, right what is left."),
}  # fmt: skip
"""Heading and caption by name, in the order of the page."""
_KINDS_OF_ERRORS: Final = ("http_error", "timeout", "connection", "invalid_body")


def render(report: SoakReport, pictures: Mapping[str, str]) -> str:
    """The page.

    Args:
        report: the numbers, and what the gate says of them.
        pictures: links to the pictures, relative to the page, by name.

    """
    soak = report.soak
    parts = (
        _head(report),
        _gate(report),
        _slots(soak),
        _schedule(soak),
        _unexplained(soak),
        _figure("coverage", pictures),
        _windows(soak),
        _restarts(soak),
        _memory(soak),
        _figure("memory", pictures),
        _figure("loop_lag", pictures),
        _requests(soak),
        _quality(soak),
        _files(soak),
        _figure("disk", pictures),
        _problems(soak),
        _not_shown(soak),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _head(report: SoakReport) -> Iterator[str]:
    soak = report.soak
    yield f"# Soak test of {report.date}: {soak.environment}"
    yield ""
    yield f"**{report.verdict}**"
    yield ""
    yield _ENVIRONMENTS[soak.environment]
    if soak.speed == 1:
        yield "It ran in real time."
    else:
        yield f"It was accelerated: up to {soak.speed:g} seconds of the exchange passed in each real one."
        yield "Times, lateness and latency are the exchange's, except where they are called real."
    yield ""
    yield from _table(
        ("", ""),
        (
            ("from, until (UTC)", f"{_at(soak.begin_ns)} to {_at(soak.end_ns)}"),
            ("length", f"{soak.seconds / 3600:.2f} h"),
            ("how", "watched a running collector" if soak.attached else "started and stopped the collector"),
            ("commit", f"`{soak.commit}`"),
            ("config", f"`{soak.config}`"),
            ("host", ", ".join(f"{name} {value}" for name, value in report.host.items())),
        ),
    )
    yield "```sh"
    yield from report.commands
    yield "```"
    yield ""


def _gate(report: SoakReport) -> Iterator[str]:
    yield "## Gate"
    yield ""
    yield "The verdict follows from these rules alone; `docs/METHODOLOGY.md` has them."
    yield ""
    header = ("rule", "passes with", "measured", "result", "reason")
    rows = ((j.rule, j.limit, j.measured, f"**{j.status}**", j.reason) for j in report.rules)
    yield from _table(header, rows)


def _slots(soak: Soak) -> Iterator[str]:
    yield "## Slots"
    yield ""
    lost, inside = soak.slots.planned - soak.slots.answered, soak.in_window
    yield from _table(
        ("", ""),
        (
            ("planned slots", f"{soak.slots.planned:,}"),
            ("answered", f"{soak.slots.answered:,}, {percent(soak.slots)}"),
            ("inside the windows", f"{inside.answered:,} of {inside.planned:,}, {percent(inside)}"),
            ("snapshots (books)", f"{soak.snapshots:,}"),
            ("without an answer", f"{lost:,}"),
            ("of these explained by the schedule or the planned start and stop", f"{soak.explained:,}"),
            ("unexplained", f"{soak.unexplained:,}"),
            ("planned, with no row of their own", f"{soak.slots.planned - soak.recorded:,}"),
            ("markets, tokens", f"{soak.markets:,}, {soak.tokens:,}"),
            ("uptime", NONE if soak.uptime is None else f"{soak.uptime:.3%}"),
            (
                "lateness p50, p99, max",
                _ranks(soak.lateness.p50_ns, soak.lateness.p99_ns, soak.lateness.max_ns),
            ),
            ("latency p50, p99, max", _ranks(soak.latency.p50_ns, soak.latency.p99_ns, soak.latency.max_ns)),
        ),
    )
    if soak.unanswered:
        yield "Slots without an answer, by cause and by whose fault it is (`docs/ORDERBOOK_SCHEMA.md`):"
        yield ""
        rows = ((f"`{each.cause}`", each.fault, f"{each.slots:,}") for each in soak.unanswered)
        yield from _table(("cause", "fault", "slots"), rows, right=(2,))


def _schedule(soak: Soak) -> Iterator[str]:
    yield "## What was done to it"
    yield ""
    if not soak.scheduled:
        yield "No faults were scheduled, so the causes above stand for themselves."
    else:
        yield "A slot counts for a fault if it was due within it, shortly before or in its aftermath,"
        yield "and if its cause fits (`docs/METHODOLOGY.md`)."
        yield from (f"- {line}" for line in soak.not_injected)
    yield ""
    rows = (
        (
            cost.kind.replace("_", " "),
            cost.detail,
            _at(cost.begin_ns),
            _seconds((cost.end_ns - cost.begin_ns) / 1e9),
            f"{cost.slots:,}",
            _counts(cost.causes),
            NONE
            if cost.first_due_ns is None or cost.last_due_ns is None
            else f"{_clock(cost.first_due_ns)} to {_clock(cost.last_due_ns)}",
        )
        for cost in soak.costs
    )
    if soak.costs:
        header = ("what", "detail", "from (UTC)", "for", "slots lost", "causes", "due")
        yield from _table(header, rows, right=(4,))


def _unexplained(soak: Soak) -> Iterator[str]:
    yield f"**Unexplained: {soak.unexplained:,}**"
    yield ""
    if soak.unexplained_examples:
        rows = (
            (
                f"`{each.market_slug}`",
                each.outcome,
                f"`{each.cause}`",
                f"{each.slots:,}",
                f"{_at(each.from_ns)} to {_clock(each.until_ns)}",
            )
            for each in soak.unexplained_examples
        )
        yield from _table(("market", "token", "cause", "slots", "due (UTC)"), rows, right=(3,))


def _figure(name: str, pictures: Mapping[str, str]) -> Iterator[str]:
    if name in pictures:
        heading, caption = PICTURES[name]
        yield f"### {heading}"
        yield ""
        yield caption
        yield ""
        yield f"![{heading}]({pictures[name]})"
        yield ""


def _windows(soak: Soak) -> Iterator[str]:
    yield "## Windows"
    yield ""
    yield "Whole: begins and ends within the soak."
    yield "Open to close: both tokens answered in the first and last slot of the window; complete: in all."
    yield ""
    rows = (
        (
            each.window,
            f"{each.markets:,}",
            f"{each.whole:,}",
            f"{each.open_to_close:,}",
            f"{each.complete:,}",
            "not known" if each.demanded is None else f"{each.demanded:,}",
            f"{len(each.absent):,}",
            percent(each.in_window),
        )
        for each in soak.windows
    )
    header = (
        "window", "markets", "whole", "open to close", "complete", "demanded by the calendar", "absent",
        "coverage inside",
    )  # fmt: skip
    yield from _table(header, rows, right=range(1, 8))


def _restarts(soak: Soak) -> Iterator[str]:
    yield "## Restarts"
    yield ""
    if not soak.restarts:
        yield "The collector did not die."
        yield ""
        return
    header = (
        "died (UTC)",
        "exit",
        "scheduled",
        "next start",
        "first answered slot",
        "real seconds",
        "dead slots",
    )
    yield from _table(header, map(_restart_row, soak.restarts), right=(5,))


def _restart_row(each: Restart) -> Sequence[str]:
    return (
        _at(each.died_ns),
        "not known" if each.exit_status is None else str(each.exit_status),
        "yes" if each.scheduled else "**no**",
        NONE if each.next_start_ns is None else _clock(each.next_start_ns),
        NONE if each.answered_ns is None else _clock(each.answered_ns),
        NONE if each.real_seconds is None else f"{each.real_seconds:.1f}",
        _counts(each.dead_slots),
    )


def _memory(soak: Soak) -> Iterator[str]:
    yield "## The process"
    yield ""
    yield "Slopes are medians of the slopes between all pairs of samples, behind a warm-up, per start."
    yield ""
    header = (
        "pid", "from (UTC)", "samples", "MB first", "last", "largest", "children at most", "fitted over",
        "MB grown", "MB a day", "MB per 100,000 polls", "files at most", "files grown",
        "sockets at most", "sockets grown", "CPU share",
    )  # fmt: skip
    yield from _table(header, map(_process_row, soak.processes), right=range(2, 16))
    lag = soak.loop_lag
    ranks = ", ".join(
        NONE if value is None else f"{value:.1f} ms" for value in (lag.p50_ms, lag.p99_ms, lag.max_ms)
    )
    yield f"Event loop, worst lateness of a minute, {lag.samples:,} samples, real p50, p99, max: {ranks}."
    yield ""


def _process_row(each: Process) -> Sequence[str]:
    sizes = each.first_rss_bytes, each.last_rss_bytes, each.largest_rss_bytes, each.largest_children_bytes
    fitted = NONE if each.fitted_seconds is None else _seconds(each.fitted_seconds)
    return (
        str(each.pid),
        _at(each.begin_ns),
        f"{each.samples:,}",
        *(NONE if size is None else f"{size / 1e6:.1f}" for size in sizes),
        fitted,
        _signed(each.growth_mb),
        _signed(each.mb_per_day),
        _signed(each.mb_per_100k_polls, 2),
        NONE if each.largest_files is None else str(each.largest_files),
        _signed(each.files_growth),
        NONE if each.largest_sockets is None else str(each.largest_sockets),
        _signed(each.sockets_growth),
        NONE if each.cpu_share is None else f"{each.cpu_share:.3f}",
    )


def _requests(soak: Soak) -> Iterator[str]:
    yield "## Requests"
    yield ""
    errors = {
        cause: slots for cause, slots in soak.results.items() if cause.partition("/")[0] in _KINDS_OF_ERRORS
    }
    waited = {name: slots for name, slots in soak.results.items() if name in {"throttled", "skipped/paused"}}
    rows = (
        ("slots by result", _counts(soak.results)),
        ("API errors", _counts(errors)),
        ("throttling", f"{_counts(waited)}; {soak.events.get('throttled', 0):,} pauses"),
        ("answers by HTTP status", _counts(soak.status_codes)),
        ("requests to Gamma", _counts(soak.discovery)),
        ("event rows", _counts(soak.events)),
    )
    yield from _table(("", ""), rows)


def _quality(soak: Soak) -> Iterator[str]:
    yield "## Data quality"
    yield ""
    yield "Checks on the books of the UTC hours that the soak touches, by the table `quality`."
    yield ""
    rows = (
        (f"`{each.check}`", f"{each.counted:,}", f"{each.flagged:,}", f"{each.unverifiable:,}")
        for each in soak.checks
    )
    yield from _table(("check", "made on", "found", "unverifiable"), rows, right=(1, 2, 3))
    clock = soak.clock
    bound = time(clock.worst_bound_ns)
    yield f"Host clock: {_counts(clock.states)}; largest bound {bound}, {clock.without_bound:,} without one."
    yield f"Steps of the clock: {clock.steps:,}."
    yield ""


def _files(soak: Soak) -> Iterator[str]:
    yield "## Files, upload, disk"
    yield ""
    feeds = (
        (each.feed, f"{each.segments:,}", f"{each.rows:,}", f"{each.bytes:,}", f"{each.largest_bytes:,}")
        for each in soak.feeds
    )
    yield from _table(("feed", "segments", "rows", "bytes", "largest"), feeds, right=(1, 2, 3, 4))
    proof, uploads, disk = soak.proof, soak.uploads, soak.disk
    ratio = f"{proof.raw_bytes / proof.bytes:.1f}" if proof.bytes else NONE
    last = NONE if uploads.last_exit_status is None else str(uploads.last_exit_status)
    checked = f"{len(proof.problems):,} problems, {proof.rows:,} rows, {proof.segments:,} segments"
    rows = (
        ("verify, the whole archive", checked),
        ("not read: remote segments, open files", f"{proof.remote_segments:,}, {proof.open_files:,}"),
        ("compression", f"{proof.raw_bytes:,} bytes of text in {proof.bytes:,}: {ratio} to 1"),
        ("runs of the uploader", f"{uploads.runs:,}, {uploads.failed:,} failed, the last ended with {last}"),
        ("segments proven at the remote", f"{uploads.proven:,}"),
        ("without a receipt, of those that need one", f"{len(uploads.overdue):,} of {uploads.due:,}"),
        ("archive on the disk", _size(disk.archive_bytes)),
        ("sealed per day of the archive's clock", _size(disk.sealed_per_day)),
        ("free space at the end, least", f"{_size(disk.free_bytes)}, {_size(disk.least_free_bytes)}"),
        ("the disk lasts", NONE if disk.days_left is None else f"{disk.days_left:,.1f} days more"),
    )
    yield from _table(("", ""), rows)


def _problems(soak: Soak) -> Iterator[str]:
    if soak.problems or soak.proof.problems:
        yield "## What could not be used"
        yield ""
        yield from (f"- {line}" for line in [*soak.problems, *soak.proof.problems])
        yield ""


def _not_shown(soak: Soak) -> Iterator[str]:
    yield "## What this does not show"
    yield ""
    if soak.environment == "sandbox":
        yield "- How the real venue and the network behave: the exchange ran on this host, over loopback."
    if soak.speed != 1:
        yield "- How late polls leave on a busy host: the exchange's clock waits while a loop stands still."
    if soak.seconds < 86_400:
        yield "- A whole day."
    yield "- What a book did between two polls."
    yield "- A window that neither the calendar demands nor discovery saw."
    yield "- What happens after longer than this."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> Iterator[str]:
    """A table; columns *right* are numbers."""
    numbers = set(right)
    yield _line(header)
    yield _line(["---:" if place in numbers else "---" for place in range(len(header))])
    yield from map(_line, rows)
    yield ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _at(time_ns: int) -> str:
    return iso_utc(time_ns)[:19].replace("T", " ")


def _clock(time_ns: int) -> str:
    return iso_utc(time_ns)[11:19]


def _seconds(seconds: float) -> str:
    """``0 s``, ``90 s``, ``10.0 min``, ``1.50 h``."""
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _ranks(*values: int | None) -> str:
    return ", ".join(NONE if value is None else duration(value) for value in values)


def _signed(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:+.{digits}f}"


def _size(size: int | None) -> str:
    return NONE if size is None else f"{size / 1e6:,.1f} MB"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} `{name}`" for name, count in counts.items()) or NONE
