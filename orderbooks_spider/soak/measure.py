"""From a soak's folder to its numbers: the archive, the dataset, what was run, and the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from msgspec.structs import replace

from orderbooks_spider.clock import NS
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.normalize.checks import CHECKS
from orderbooks_spider.normalize.sources import look_at
from orderbooks_spider.report.dataset import in_dataset
from orderbooks_spider.report.day import Day, dates_of
from orderbooks_spider.report.evidence import clock_numbers, event_counts, read_evidence
from orderbooks_spider.report.numbers import Check
from orderbooks_spider.report.slots import coverage
from orderbooks_spider.soak.account import first_answers, read_account
from orderbooks_spider.soak.numbers import Restart, Soak
from orderbooks_spider.soak.record import NOT_INJECTED, SAMPLES_FILE, read_record, read_samples
from orderbooks_spider.soak.samples import deaths_of, lag_of, processes_of, sampling_of, uptime_of
from orderbooks_spider.soak.schedule import SETTLE_SECONDS, moments_of, spans_of
from orderbooks_spider.soak.stored import (
    discovery_of,
    disk_of,
    feeds_of,
    proof_of,
    status_codes_of,
    uploads_of,
)
from orderbooks_spider.soak.windows import covers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orderbooks_spider.normalize.sources import Sealed, Sources
    from orderbooks_spider.report.dataset import DayTables
    from orderbooks_spider.report.evidence import Event
    from orderbooks_spider.soak.account import Account
    from orderbooks_spider.soak.record import Sample, SoakRecord, Start


@dataclass(frozen=True, slots=True)
class Measured:
    """A soak's numbers, and what its pictures are drawn from."""

    soak: Soak
    record: SoakRecord
    samples: list[Sample]
    account: Account


@dataclass(frozen=True, slots=True)
class _Read:
    """What lies in the folders of a soak and concerns its time."""

    record: SoakRecord
    samples: list[Sample]
    sources: Sources
    tables: list[DayTables]
    segments: list[Sealed]
    """With rows of its time."""
    events: list[Event]
    problems: list[str]

    @property
    def slack_ns(self) -> int:
        """How long a poll may be under way: the longest timeout and interval of the runs."""
        grids = [segment.manifest.grid for segment in self.segments]
        known = [round(grid.timeout_seconds * NS) + grid.interval_ns for grid in grids if grid is not None]
        return max(known, default=0)

    def tokens_at_once(self, planned: int) -> float | None:
        """How many tokens *planned* slots are, on average over the soak."""
        intervals = [grid.interval_ns for segment in self.segments if (grid := segment.manifest.grid)]
        if not intervals:
            return None
        return planned * max(intervals) / (self.record.end_ns - self.record.begin_ns)

    @property
    def largest_step_ns(self) -> int:
        """Of the clock, without sign."""
        return abs(clock_numbers(self.events).largest_step_ns or 0)


def measure(out: Path, workers: int) -> Measured:
    """Measure the soak of the folder *out*.

    Args:
        out: holds ``archive``, ``dataset`` and ``soak.json``; and ``samples.jsonl``, without which what only
            samples show stays unknown.
        workers: processes that verify.

    Raises:
        ArchiveError: a file cannot be understood, or there is no archive.
        ConfigError: archive, dataset and record do not go together.
        StorageError: a file cannot be read.

    """
    archive = out / "archive"
    read = _read(out, archive)
    record = read.record
    died = [start.end_ns for start, _ in deaths_of(record) if start.end_ns is not None]
    answers = first_answers(read.tables, list(dict.fromkeys([*moments_of(record), *died])))
    stops = [event.at_ns for event in read.events if event.event == "run_stop"]
    spans = spans_of(record, read.slack_ns, read.largest_step_ns, answers, max(stops, default=None))
    account = read_account(read.tables, record.begin_ns, record.end_ns, spans)
    soak = _soak(read, account, answers, archive, workers)
    return Measured(soak, record, read.samples, account)


def _read(out: Path, archive: Path) -> _Read:
    record = _cut(read_record(out))
    samples = read_samples(out) if (out / SAMPLES_FILE).exists() else []
    sources = look_at([archive.resolve()])
    if sources.environment != record.environment:
        raise ConfigError(
            f"{out}: its record says {record.environment}, and {archive} holds evidence of kind "
            f"{sources.environment}: give the archive of this soak"
        )
    days = [Day.parse(date) for date in dates_of([(record.begin_ns, record.end_ns - 1)])]
    tables = [in_dataset(sources, day, out / "dataset") for day in days]
    evidence = [read_evidence(sources, day) for day in days]
    told = [line for day in tables for line in day.problems]
    told += [line for day in evidence for line in day.problems]
    segments = {segment.names.file: segment for day in evidence for segment in day.segments}
    return _Read(
        record=record,
        samples=[sample for sample in samples if record.begin_ns <= sample.at_ns <= record.end_ns],
        sources=sources,
        tables=tables,
        segments=[segment for segment in segments.values() if _touches(segment, record)],
        events=[e for day in evidence for e in day.events if record.begin_ns <= e.at_ns < record.end_ns],
        problems=list(dict.fromkeys(told)),
    )


def _cut(record: SoakRecord) -> SoakRecord:
    """The record up to the planned stop: the last upload and the account come behind it."""
    if record.attached or not record.starts or deaths_of(record)[-1:] == [(record.starts[-1], None)]:
        return record
    stopped_ns = record.starts[-1].end_ns
    return record if stopped_ns is None else replace(record, end_ns=min(record.end_ns, stopped_ns))


def _touches(segment: Sealed, record: SoakRecord) -> bool:
    span = segment.manifest.time_ns
    return span is not None and span.first < record.end_ns and span.last >= record.begin_ns


def _soak(read: _Read, account: Account, answers: Mapping[int, int], archive: Path, workers: int) -> Soak:
    record, tokens, feeds = read.record, account.tokens, feeds_of(read.segments)
    answered, span, result = pl.col("answered"), pl.col("span"), pl.col("result")
    scheduled = bool(record.faults)
    first, last = tokens["first_ns"].min(), tokens["last_ns"].max()
    return Soak(
        environment=record.environment,
        speed=record.speed,
        commit=record.commit,
        config=record.config,
        attached=record.attached,
        scheduled=scheduled,
        begin_ns=record.begin_ns,
        end_ns=record.end_ns,
        first_due_ns=first,  # type: ignore[arg-type]
        last_due_ns=last,  # type: ignore[arg-type]
        collectors=sorted(set(tokens["collector_id"])),
        markets=tokens["condition_id"].n_unique(),
        tokens=tokens["token_id"].n_unique(),
        tokens_at_once=read.tokens_at_once(coverage(tokens).planned),
        slots=coverage(tokens),
        in_window=coverage(tokens, "in_window_"),
        recorded=int(tokens["recorded"].sum()),
        snapshots=account.slots_where(answered & (result == "ok")),
        results=account.results,
        unanswered=account.unanswered,
        explained=account.slots_where(~answered & (span >= 0)),
        unexplained=int(account.unexplained(scheduled=scheduled)["slots"].sum()),
        unexplained_examples=account.examples(scheduled=scheduled),
        ours=account.slots_where(~answered & (span < 0) & (pl.col("fault") == "us")),
        costs=account.costs,
        not_injected=[
            f"{fault.kind}: {fault.detail}"
            for fault in record.faults
            if fault.detail.startswith(NOT_INJECTED)
        ],
        windows=covers_of(tokens, record.begin_ns, record.end_ns),
        discovery=discovery_of(read.segments),
        status_codes=status_codes_of(read.segments),
        events=event_counts(read.events),
        lateness=account.lateness,
        latency=account.latency,
        checks=_checks(read.tables, record),
        feeds=feeds,
        proof=proof_of(archive.resolve(), read.sources.segments, workers),
        uploads=uploads_of(archive.resolve(), record, read.segments),
        processes=processes_of(record, read.samples, account.polls_between),
        restarts=[_restart(read, account, answers, *death) for death in deaths_of(record)],
        uptime=uptime_of(record),
        sampling=sampling_of(record, read.samples),
        loop_lag=lag_of(read.samples),
        disk=disk_of(record, feeds, read.samples),
        clock=clock_numbers(read.events),
        problems=read.problems,
    )


def _checks(tables: Iterable[DayTables], record: SoakRecord) -> list[Check]:
    """Sums of ``quality`` over the UTC hours that the soak touches."""
    hour_ns = 3600 * NS
    first_ns, last_ns = record.begin_ns // hour_ns * hour_ns, record.end_ns - 1
    sums = {check.name: [0, 0, 0] for check in CHECKS}
    for day in tables:
        for hour in day.hours("quality", ["hour_ns", "checks"]):
            mine = hour.filter(pl.col("hour_ns").is_between(first_ns, last_ns))
            rows = mine.select(pl.col("checks").explode()).drop_nulls().unnest("checks")
            sum_up = pl.col("counted", "flagged", "unverifiable").sum()
            for name, *counts in rows.group_by("check").agg(sum_up).iter_rows():
                sums[name] = [one + other for one, other in zip(sums[name], counts, strict=True)]
    return [
        Check(check=name, counted=counted, flagged=flagged, unverifiable=unverifiable)
        for name, (counted, flagged, unverifiable) in sums.items()
    ]


def _restart(
    read: _Read, account: Account, answers: Mapping[int, int], start: Start, behind: Start | None
) -> Restart:
    """One death, and what it cost until the first answer."""
    record, died_ns = read.record, start.end_ns or 0
    answered_ns = answers.get(died_ns)
    near_ns = round(SETTLE_SECONDS * record.speed * NS)
    scheduled = any(
        fault.kind == "kill" and abs(fault.begin_ns - died_ns) <= near_ns for fault in record.faults
    )
    until_ns = record.end_ns if answered_ns is None else answered_ns
    lost = account.lost.filter(pl.col("due_ns").is_between(died_ns - read.slack_ns, until_ns))
    sums = lost.group_by("cause").agg(pl.col("slots").sum())
    causes = sums.sort("slots", "cause", descending=[True, False])
    return Restart(
        died_ns=died_ns,
        exit_status=start.exit_status,
        scheduled=scheduled,
        next_start_ns=None if behind is None else behind.begin_ns,
        answered_ns=answered_ns,
        real_seconds=None if answered_ns is None else (answered_ns - died_ns) / NS / record.speed,
        dead_slots=dict(causes.iter_rows()),
    )
