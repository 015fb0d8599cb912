"""Phase 2: what follows from the rows and the plan together.  Planned slots without a row, gaps, quality.

One UTC hour and collector at a time.  An hour is made again only where something that it was made from
has changed: its own inputs, those of the hour before, and those of the hours into which its last gaps
reach.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.files import write_table
from orderbooks_spider.normalize.gaps import gaps_between
from orderbooks_spider.normalize.inputs import Inputs
from orderbooks_spider.normalize.planned import MISSING
from orderbooks_spider.normalize.quality import quality_of
from orderbooks_spider.normalize.tasks import DerivedHour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orderbooks_spider.normalize.inputs import HourOfSlots
    from orderbooks_spider.normalize.tables import Table
    from orderbooks_spider.normalize.tasks import Output
    from orderbooks_spider.normalize.view import ArchiveView


def derive(
    out: Path,
    view: ArchiveView,
    before: Mapping[int, DerivedHour],
    progress: Callable[[int, int], None] | None = None,
) -> list[DerivedHour]:
    """Make what is not made yet or has changed; *before* is what the last call returned.

    Args:
        out: where phase 1 has written ``books`` and ``polls``, and where the new files go.
        view: what the archives say besides their rows.
        before: by hour; an hour whose inputs have not changed is taken over as it is.
        progress: is told (hours of a collector done, of all that are to be made).

    Raises:
        StorageError: a file cannot be written.

    """
    inputs = Inputs(out, view)
    kept = {
        hour_ns: old
        for hour_ns in inputs.hours
        if (old := before.get(hour_ns)) is not None
        and old.inputs_sha256 == inputs.digest(hour_ns, old.reach_ns)
    }
    stale = [hour_ns for hour_ns in inputs.hours if hour_ns not in kept]
    todo = [(who, hour_ns) for who in inputs.collectors for hour_ns in stale if inputs.has(who, hour_ns)]
    made: defaultdict[int, list[_Made]] = defaultdict(list)
    for number, (collector_id, hour_ns) in enumerate(todo, 1):
        made[hour_ns].append(_make(out, inputs, collector_id, hour_ns))
        if progress is not None:
            progress(number, len(todo))
    for hour_ns in stale:
        reach_ns = max((part.reach_ns for part in made[hour_ns]), default=hour_ns)
        outputs = [output for part in made[hour_ns] for output in part.outputs]
        kept[hour_ns] = DerivedHour(
            hour_ns=hour_ns,
            reach_ns=reach_ns,
            inputs_sha256=inputs.digest(hour_ns, reach_ns),
            outputs=sorted(outputs, key=lambda output: output.file),
            problems=inputs.problems[hour_ns] + [line for part in made[hour_ns] for line in part.problems],
        )
    return [kept[hour_ns] for hour_ns in inputs.hours]


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made for one hour of one collector."""

    reach_ns: int
    outputs: list[Output]
    problems: list[str]


def _make(out: Path, inputs: Inputs, collector_id: str, hour_ns: int) -> _Made:
    hour = inputs.hour(collector_id, hour_ns)
    gaps, reach_ns = _gaps(inputs, collector_id, hour_ns)
    outputs = _write(out, tables.POLLS, f"derived_{collector_id}", hour.derived)
    outputs += _write(out, tables.GAPS, collector_id, _named(gaps, hour, inputs.who(collector_id)))
    quality = quality_of(hour.slots).with_columns(hour_ns=pl.lit(hour_ns, pl.Int64))
    outputs += _write(out, tables.QUALITY, collector_id, _named(quality, hour, inputs.who(collector_id)))
    return _Made(reach_ns, outputs, list(_problems(hour, collector_id)))


def _gaps(inputs: Inputs, collector_id: str, hour_ns: int) -> tuple[pl.DataFrame, int]:
    """The gaps that begin in the hour, and the last hour into which they were followed."""
    reach_ns = hour_ns
    before = inputs.hour(collector_id, hour_ns - HOUR_NS).slots
    # Each token's last slot before the hour says whether a gap goes on, and what was known before one.
    last = before.filter(pl.col("due_ns") == pl.col("due_ns").max().over("token_id"))
    slots = pl.concat([last, inputs.hour(collector_id, hour_ns).slots])
    closed: list[pl.DataFrame] = []
    while True:
        found = gaps_between(slots, hour_ns, hour_ns + HOUR_NS)
        # A neighbour is at most an hour away, so it can be due in the next hour only behind these.
        goes_on = pl.col("next_answered_ns").is_null() & (pl.col("until_ns") >= reach_ns)
        tokens = found.filter(goes_on)["token_id"].implode()
        is_open = pl.col("token_id").is_in(tokens)
        closed.append(found.filter(~is_open))
        if tokens.list.len().item() == 0:
            return pl.concat(closed), reach_ns
        reach_ns += HOUR_NS
        slots = pl.concat([slots, inputs.hour(collector_id, reach_ns).slots]).filter(is_open)


def _named(rows: pl.DataFrame, hour: HourOfSlots, who: Mapping[str, str]) -> pl.DataFrame:
    """*rows* with the columns that say whose slots they are about."""
    constant = {name: pl.lit(value) for name, value in who.items()}
    return rows.join(hour.markets, on="token_id", how="left", maintain_order="left").with_columns(**constant)


def _write(out: Path, table: Table, name: str, rows: pl.DataFrame) -> list[Output]:
    """Write *rows*; what they do not say (the raw row of a derived slot) is null."""
    unsaid = [column for column in table.schema.names if column not in rows.columns]
    rows = rows.with_columns(**{column: pl.lit(None) for column in unsaid})
    return write_table(out, table, name, rows.select(table.schema.names).to_arrow())


def _problems(hour: HourOfSlots, collector_id: str) -> Iterator[str]:
    missing = (
        hour.derived.filter(pl.col("result") == MISSING)
        .group_by("market_slug")
        .agg(slots=pl.len(), first=pl.col("due_ns").min(), last=pl.col("due_ns").max())
        .sort("market_slug")
    )
    for slug, slots, first, last in missing.rows():
        yield (
            f"{collector_id}: {slots} slots of {slug}, due {iso_utc(first)} to {iso_utc(last)}, have no raw "
            "row although a run owed them (rule A13): run verify, and look for a missing segment"
        )
    if hour.doubles:
        yield (
            f"{collector_id}: {hour.doubles} raw rows of the hour repeat a slot that has one (rule A12); the "
            "one with the lowest seq counts: run verify"
        )
