"""From archives to the report of a day: numbers first, then pictures of them, then the page."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Final

import polars as pl

from orderbooks_spider.archive.manifest import encode
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.normalize.faults import FAULTS
from orderbooks_spider.normalize.sources import look_at
from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.report.axis import Axis
from orderbooks_spider.report.books import read_books, read_depth
from orderbooks_spider.report.dataset import in_dataset, make_dataset
from orderbooks_spider.report.day import DAY_NS
from orderbooks_spider.report.draw_books import draw_depth, draw_mids, draw_spreads
from orderbooks_spider.report.draw_slots import draw_coverage, draw_gaps, draw_times
from orderbooks_spider.report.draw_stored import draw_stored
from orderbooks_spider.report.evidence import (
    clock_numbers,
    dates_with_polls,
    event_counts,
    loop_lag_numbers,
    read_evidence,
    runs_of,
    sources_of,
    stored_by_hour,
)
from orderbooks_spider.report.numbers import Coverage, DayReport, TokenCoverage, WindowLength
from orderbooks_spider.report.page import render
from orderbooks_spider.report.slots import WINDOWS, coverage, read_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orderbooks_spider.normalize.sources import Sources
    from orderbooks_spider.report.books import Books, Depth
    from orderbooks_spider.report.dataset import DayTables
    from orderbooks_spider.report.day import Day
    from orderbooks_spider.report.evidence import Evidence
    from orderbooks_spider.report.slots import Slots

_DATES_NAMED: Final = 40
"""An error lists so many of the archive's last dates."""


@dataclass(frozen=True, slots=True)
class Made:
    """The report, as it is written to two files."""

    html: bytes
    json: bytes
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was read of a day; the tables may be gone."""

    sources: Sources
    tables: DayTables
    evidence: Evidence
    axis: Axis
    slots: Slots
    when: dict[str, Coverage]
    books: Books
    depth: Depth | None

    @property
    def day(self) -> Day:
        """Which day."""
        return self.tables.day


def make_report(  # noqa: PLR0913 - what the command line says
    roots: Sequence[Path],
    day: Day,
    *,
    scratch: Path,
    dataset: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Made:
    """Report on *day*.

    Args:
        roots: archive roots of different collectors.
        day: the day.
        scratch: an empty folder; holds the day's tables unless there is a *dataset*.
        dataset: what normalize made of these archives.
        workers: processes that make the day's tables.
        progress: is told (bytes of segments normalised, of all).

    Raises:
        ArchiveError: a root holds no archive, or nothing was planned on that day.
        ConfigError: the roots or the dataset do not go together.
        StorageError: a file cannot be read or written.

    """
    sources = look_at(list(dict.fromkeys(root.resolve() for root in roots)))
    if dataset is None:
        tables = make_dataset(sources, day, scratch, workers, progress)
    else:
        tables = in_dataset(sources, day, dataset)
    found = read_day(sources, tables)
    report = numbers(found)
    return Made(
        html=render(report, pictures(found, report)).encode(), json=encode(report), problems=report.problems
    )


def read_day(sources: Sources, tables: DayTables) -> Findings:
    """Read the tables and the events of a day.

    Raises:
        ArchiveError: nothing was planned on that day.

    """
    day, evidence = tables.day, read_evidence(sources, tables.day)
    due = pl.col("due_ns")
    first_ns, last_ns = (
        pl.concat(tables.scans("polls")).select(first=due.min(), last=due.max()).collect().row(0)
    )
    if first_ns is None:
        raise ArchiveError(_nothing_on(day, dates_with_polls(sources)))
    if last_ns - first_ns > DAY_NS // 2:
        first_ns, last_ns = day.from_ns, day.until_ns - 1
    axis = Axis.over(first_ns, last_ns, evidence.interval_ns)
    slots, books = read_slots(tables, axis), read_books(tables, axis)
    depth = None
    if len(books.markets):
        up, down = _tokens_of(slots, books.markets["condition_id"][0])
        depth = read_depth(tables, up, down, evidence.interval_ns)
    return Findings(sources, tables, evidence, axis, slots, _when(tables), books, depth)


def _nothing_on(day: Day, dates: list[str]) -> str:
    more = "" if len(dates) <= _DATES_NAMED else f"{len(dates) - _DATES_NAMED} earlier days, "
    known = ", ".join(dates[-_DATES_NAMED:]) or "no day"
    return f"--date: nothing was recorded or planned on {day.date}; there are polls of {more}{known}"


def _tokens_of(slots: Slots, condition_id: str) -> tuple[str, str]:
    """The market's tokens; one of which there are no slots is an empty text."""
    mine = slots.tokens.filter(pl.col("condition_id") == condition_id)
    ids = dict(mine.select("outcome", "token_id").iter_rows())
    return ids.get(OUTCOMES[0], ""), ids.get(OUTCOMES[1], "")


def numbers(found: Findings) -> DayReport:
    """What the page says in figures."""
    slots, books, evidence = found.slots, found.books, found.evidence
    return DayReport(
        date=found.day.date,
        environment=found.sources.environment,
        collectors=sorted(set(slots.tokens["collector_id"])),
        first_due_ns=slots.tokens["first_ns"].min(),  # type: ignore[arg-type]
        last_due_ns=slots.tokens["last_ns"].max(),  # type: ignore[arg-type]
        markets=slots.tokens["condition_id"].n_unique(),
        tokens=slots.tokens["token_id"].n_unique(),
        slots=coverage(slots.tokens),
        in_window=coverage(slots.tokens, "in_window_"),
        recorded=int(slots.tokens["recorded"].sum()),
        results=slots.results,
        unanswered=slots.unanswered,
        faults={name: sum(each.slots for each in slots.unanswered if each.fault == name) for name in FAULTS},
        gaps=len(slots.gaps),
        gap_lengths=slots.gap_lengths,
        longest_gaps=slots.longest_gaps,
        lateness=slots.lateness,
        latency=slots.latency,
        when=found.when,
        books=books.count,
        hash=books.hash,
        mirror=books.mirror,
        checks=books.checks,
        mirrored_mids=books.mirrored,
        busiest=books.busiest,
        windows=_windows(slots, books),
        token_coverage=_token_coverage(slots),
        stored=stored_by_hour(evidence.segments, found.day),
        clock=clock_numbers(evidence.events),
        loop_lag=loop_lag_numbers(evidence.events),
        events=event_counts(evidence.events),
        runs=runs_of(found.sources, evidence.segments),
        made_with=found.tables.versions | {"matplotlib": metadata.version("matplotlib")},
        sources=sources_of(evidence.segments),
        problems=[*found.tables.problems, *evidence.problems],
    )


def pictures(found: Findings, report: DayReport) -> dict[str, str]:
    """The pictures by name; one that would be empty is left out."""
    day, axis = found.day, found.axis
    drawn = {"coverage": draw_coverage(found.slots, axis, day)}
    if report.unanswered:
        drawn["gaps"] = draw_gaps(report.unanswered, report.gap_lengths)
    if report.lateness.polls:
        drawn["times"] = draw_times(report.lateness, report.latency)
    if len(found.books.mids):
        drawn["mids"] = draw_mids(found.books, axis, day)
        drawn["spreads"] = draw_spreads(found.books, axis, day)
    if found.depth is not None and len(found.depth.levels):
        drawn["depth"] = draw_depth(found.depth, day)
    if report.stored:
        drawn["stored"] = draw_stored(report.stored, day)
    return drawn


def _when(tables: DayTables) -> dict[str, Coverage]:
    """Coverage of the minutes that ``quality`` tells apart."""
    names = ("fast", "calm", "slow_venue")
    columns = [f"{name}_{what}" for name in names for what in ("planned", "answered")]
    sums = pl.concat(tables.hours("quality", columns)).sum().row(0, named=True)
    return {
        name: Coverage(planned=sums[f"{name}_planned"], answered=sums[f"{name}_answered"]) for name in names
    }


def _windows(slots: Slots, books: Books) -> list[WindowLength]:
    """The numbers of each window length, shortest first."""
    by_length = {window: slots.tokens.filter(pl.col("window") == window) for window in WINDOWS}
    return [
        WindowLength(
            window=window,
            markets=tokens["condition_id"].n_unique(),
            slots=coverage(tokens),
            in_window=coverage(tokens, "in_window_"),
            spreads=books.spreads_in(window),
            spread_p50=books.spread_rank(window, 50),
            spread_p90=books.spread_rank(window, 90),
        )
        for window, tokens in by_length.items()
        if len(tokens)
    ]


def _token_coverage(slots: Slots) -> list[TokenCoverage]:
    return [
        TokenCoverage(
            collector_id=row["collector_id"],
            market_slug=row["market_slug"],
            outcome=row["outcome"],
            token_id=row["token_id"],
            slots=Coverage(planned=row["planned"], answered=row["answered"]),
        )
        for row in slots.tokens.iter_rows(named=True)
    ]
