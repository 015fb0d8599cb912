"""Where the tables of one day come from: a dataset that is there, or one that is made of that day alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from orderbooks_spider.errors import ConfigError
from orderbooks_spider.items import BOOKS
from orderbooks_spider.normalize import manifest
from orderbooks_spider.normalize.derive import derive
from orderbooks_spider.normalize.pools import begun
from orderbooks_spider.normalize.tables import TABLES
from orderbooks_spider.normalize.tasks import Done, Task
from orderbooks_spider.normalize.view import build_view
from orderbooks_spider.normalize.written import check_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from orderbooks_spider.normalize.sources import Sealed, Sources
    from orderbooks_spider.normalize.tasks import DerivedHour
    from orderbooks_spider.normalize.view import ArchiveView, Run
    from orderbooks_spider.report.day import Day


@dataclass(frozen=True, slots=True)
class DayTables:
    """The tables of one day; memory holds an hour at a time."""

    out: Path
    day: Day
    versions: dict[str, str]
    """Of the program and libraries that made them."""
    problems: list[str]
    """What could not be used, or is missing: a line each."""

    def files(self, table: str) -> list[list[Path]]:
        """The files of *table*, hour by hour."""
        hours = sorted((self.out / table / f"date={self.day.date}").glob("hour=*"))
        return [sorted(hour.glob("*.parquet")) for hour in hours]

    def hours(self, table: str, columns: list[str]) -> Iterator[pl.DataFrame]:
        """The rows of each hour, in time order of the hours; a frame without rows where there are none."""
        for hour in self.scans(table):
            yield hour.select(columns).collect()

    def slots(self, table: str, columns: list[str]) -> Iterator[pl.DataFrame]:
        """The same of ``books`` or ``polls``, each slot once: of two rows that with the lower ``seq``."""
        key = ["collector_id", "token_id", "due_ns"]
        for hour in self.hours(table, list(dict.fromkeys([*key, "seq", *columns]))):
            yield hour.sort(*key, "seq").unique(key, keep="first", maintain_order=True)

    def scans(self, table: str) -> list[pl.LazyFrame]:
        """The same, not read yet and with all columns."""
        hours = [pl.scan_parquet(files, hive_partitioning=False, glob=False) for files in self.files(table)]
        return hours or [pl.DataFrame(TABLES[table].schema.empty_table()).lazy()]


def in_dataset(sources: Sources, day: Day, out: Path) -> DayTables:
    """The tables of *day* in the dataset *out* that normalize made of these archives.

    Raises:
        ArchiveError: the manifest of the dataset cannot be read, or a file of the day is not what it says.
        ConfigError: it is not there, or segments of that day are not in it.
        StorageError: a file of that day cannot be read.

    """
    made = manifest.read(out)
    if made is None:
        raise ConfigError(f"--dataset: {out} has no {manifest.FILE}: expected what normalize made")
    known = {done.input for done in made.segments}
    failed = []
    for segment in sources.segments:
        if not touches(segment, day) or segment.input in known:
            continue
        told = [line for line in made.errors if segment.names.file in line]
        if not told:
            raise ConfigError(
                f"--dataset: {out} does not hold {segment.names.file} as it is now: run normalize again"
            )
        failed += told
    for output in made.outputs():
        if output.table in TABLES and day.holds(output.hour_ns):
            check_digest(out, output)
    return DayTables(out, day, made.versions, _problems(sources, failed, made.derived, day))


def make_dataset(
    sources: Sources, day: Day, out: Path, workers: int, progress: Callable[[int, int], None] | None = None
) -> DayTables:
    """Make the tables of *day* under *out*; polls of other days are not read.

    What was planned is told by the whole archives (runs, plans, markets), so that the rows are those that
    a dataset of everything has on that day.

    Args:
        sources: the archives.
        day: the day.
        out: an empty folder.
        workers: processes.
        progress: is told (compressed bytes of segments done, of all).

    Raises:
        StorageError: a file cannot be written, or a worker was killed.

    """
    tasks, done = [], {}
    for segment in sources.segments:
        wanted, path = segment.input, segment.names.sealed
        if segment.names.feed == BOOKS and not touches(segment, day):
            done[wanted.file] = Done(input=wanted)
        elif path.exists():
            tasks.append(Task(root=str(segment.names.root.resolve()), out=str(out.resolve()), input=wanted))
        else:
            error = "expected the segment of its manifest, saw no file: fetch it from the remote"
            done[wanted.file] = Done(input=wanted, error=f"{wanted.file}: {error}")
    total = sum(task.input.bytes for task in tasks)
    so_far = 0
    with begun(tasks, workers, None) as ended:
        for result in ended:
            done[result.input.file] = result
            so_far += result.input.bytes
            if progress is not None:
                progress(so_far, total)
    hours = derive(out, _during(build_view(sources, out, done), day), {})
    results = [done[segment.names.file] for segment in sources.segments if touches(segment, day)]
    failed = [result.error for result in results if result.error is not None]
    return DayTables(out, day, manifest.versions(), _problems(sources, failed, hours, day))


def touches(segment: Sealed, day: Day) -> bool:
    """Whether *segment* has rows of *day*."""
    span = segment.manifest.time_ns
    return span is not None and day.touches(span.first, span.last)


def _problems(sources: Sources, failed: list[str], hours: Iterable[DerivedHour], day: Day) -> list[str]:
    """Manifests that cannot be read, segments of the day that could not be used, and rows it misses."""
    missing = [line for hour in hours if day.holds(hour.hour_ns) for line in hour.problems]
    return [*sources.errors, *failed, *missing]


def _during(view: ArchiveView, day: Day) -> ArchiveView:
    """*view* with every run cut to the day, so that nothing outside it is planned.

    A run that ended before keeps its last known moment: until the next one starts no process was alive.
    """

    def cut(time_ns: int) -> int:
        return min(max(time_ns, day.from_ns), day.until_ns)

    def cut_run(run: Run) -> Run:
        plans = [
            msgspec.structs.replace(plan, from_ns=cut(plan.from_ns), until_ns=cut(plan.until_ns))
            for plan in run.plans
        ]
        return replace(
            run,
            started_ns=cut(run.started_ns),
            last_known_ns=min(run.last_known_ns, day.until_ns),
            owed_until_ns=min(run.owed_until_ns, day.until_ns),
            plans=tuple(plan for plan in plans if plan.from_ns < plan.until_ns),
        )

    return replace(view, runs=tuple(cut_run(run) for run in view.runs))
