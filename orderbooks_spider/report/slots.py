"""What became of the day's planned slots: coverage, causes, gaps, times; from the table ``polls``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from orderbooks_spider.normalize.faults import fault_expr
from orderbooks_spider.normalize.gaps import cause_expr, gaps_between
from orderbooks_spider.normalize.quality import nearest_rank
from orderbooks_spider.polymarket.windows import SERIES
from orderbooks_spider.report.numbers import Bin, Cause, Coverage, Distribution, Gap, GapLength

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orderbooks_spider.report.axis import Axis
    from orderbooks_spider.report.dataset import DayTables
    from orderbooks_spider.report.day import Day

TOKEN: Final = ["collector_id", "token_id"]
_MARKET: Final = [
    "market_slug", "window", "condition_id", "outcome", "window_start_ns", "window_end_ns"
]  # fmt: skip
_COLUMNS: Final = [
    *TOKEN, *_MARKET, "due_ns", "lateness_ns", "elapsed_ns", "result", "reason", "status", "in_window",
    "answered", "recorded",
]  # fmt: skip

OTHER: Final = "other"
WINDOWS: Final = (*SERIES, OTHER)
"""Window lengths in the order of the page; the last where the slug does not tell it."""

ANSWERED: Final = "answered"
CLASSES: Final = (
    ANSWERED, "skipped", "told to wait", "no answer", "bad answer", "no book", "process down",
    "not discovered", "missing",
)  # fmt: skip
"""How the coverage picture tells slots apart."""

LONGEST: Final = 10
"""So many of the longest gaps are listed."""
GAP_LENGTHS: Final = (1, 2, 10, 60, 600)
"""Gaps are counted by number of slots: from each of these up to the next."""
_EDGES_NS: Final = [round(10_000 * 10 ** (number / 10)) for number in range(121)]
"""Upper edges of the histograms' bins, from 10 µs on, ten a decade; the first also takes what is negative
after a clock step."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The sums over a day."""

    tokens: pl.DataFrame
    """One row per token and collector: market columns, ``first_ns``, ``last_ns``, ``recorded``, and
    ``planned`` and ``answered`` slots, these also ``in_window_*``."""
    cells: pl.DataFrame
    """``collector_id``, ``token_id``, ``column``, ``class``, ``slots``."""
    causes: pl.DataFrame
    """``answered``, ``cause``, ``fault``, ``slots``."""
    gaps: pl.DataFrame
    """As the table ``gaps``, cut at midnight, without lists of causes."""
    lateness: Distribution
    latency: Distribution

    @property
    def results(self) -> dict[str, int]:
        """Slots by ``result/reason``, most frequent first."""
        rows = self.causes.group_by("cause").agg(pl.col("slots").sum())
        return dict(rows.sort("slots", "cause", descending=[True, False]).iter_rows())

    @property
    def unanswered(self) -> list[Cause]:
        """Why slots have no answer, most frequent first."""
        rows = self.causes.filter(~pl.col("answered")).select(Cause.__struct_fields__)
        return [Cause(**row) for row in rows.iter_rows(named=True)]

    @property
    def gap_lengths(self) -> list[GapLength]:
        """How many gaps have so many slots, by fault."""
        lower = pl.lit(GAP_LENGTHS[0])
        for length in GAP_LENGTHS[1:]:
            lower = pl.when(pl.col("slots") >= length).then(pl.lit(length)).otherwise(lower)
        counts = self.gaps.group_by("fault", lower.alias("from_slots")).agg(gaps=pl.len())
        rows = counts.sort("from_slots", "fault").select(GapLength.__struct_fields__)
        return [GapLength(**row) for row in rows.iter_rows(named=True)]

    @property
    def longest_gaps(self) -> list[Gap]:
        """The gaps with most slots."""
        names = self.tokens.select(*TOKEN, "market_slug", "outcome")
        order = {
            "slots": True,
            "from_ns": False,
            "market_slug": False,
            "outcome": True,
            "collector_id": False,
        }
        rows = self.gaps.join(names, on=TOKEN).sort(list(order), descending=list(order.values()))
        return [Gap(**row) for row in rows.head(LONGEST).select(Gap.__struct_fields__).iter_rows(named=True)]


def read_slots(tables: DayTables, axis: Axis) -> Slots:
    """Add up the day's ``polls``; the cells are those of *axis*."""
    tokens, cells, causes, near, times = [], [], [], [], []
    for hour in tables.slots("polls", _COLUMNS):
        tokens.append(_tokens(hour))
        cells.append(_cells(hour, axis))
        causes.append(_causes(hour))
        near.append(_around_gaps(hour))
        times.append(hour.select("lateness_ns", "elapsed_ns"))
    every = pl.concat(times)
    return Slots(
        tokens=_add_up(tokens),
        cells=pl.concat(cells),
        causes=pl.concat(causes)
        .group_by("answered", "cause", "fault")
        .agg(pl.col("slots").sum())
        .sort("slots", "cause", "fault", descending=[True, False, False]),
        gaps=_gaps(pl.concat(near), tables.day),
        lateness=distribution(every["lateness_ns"]),
        latency=distribution(every["elapsed_ns"]),
    )


def coverage(tokens: pl.DataFrame, part: str = "") -> Coverage:
    """Planned and answered slots of these tokens; *part* ``in_window_``: of those inside their windows."""
    planned, answered = (int(tokens[f"{part}{what}"].sum()) for what in ("planned", "answered"))
    return Coverage(planned=planned, answered=answered)


def distribution(values: pl.Series) -> Distribution:
    """Percentiles and histogram of the values (ns) that are not null."""
    known = values.drop_nulls().alias("ns").to_frame()
    ranks = known.select(nearest_rank("ns", percent).alias(f"p{percent}") for percent in (50, 95, 99, 100))
    bins, polls = np.unique(np.searchsorted(_EDGES_NS, known["ns"], side="right"), return_counts=True)
    return Distribution(
        polls=len(known),
        **{f"{'max' if name == 'p100' else name}_ns": ranks[name].item() for name in ranks.columns},
        bins=[
            Bin(below_ns=_EDGES_NS[number], polls=count)
            for number, count in zip(bins.tolist(), polls.tolist(), strict=True)
        ],
    )


def _tokens(hour: pl.DataFrame) -> pl.DataFrame:
    answered, inside = pl.col("answered"), pl.col("in_window")
    return hour.group_by(TOKEN, maintain_order=True).agg(
        pl.col(_MARKET).last(),
        first_ns=pl.col("due_ns").min(),
        last_ns=pl.col("due_ns").max(),
        planned=pl.len().cast(pl.Int64),
        answered=answered.sum().cast(pl.Int64),
        in_window_planned=inside.sum().cast(pl.Int64),
        in_window_answered=(answered & inside).sum().cast(pl.Int64),
        recorded=pl.col("recorded").sum().cast(pl.Int64),
    )


def _add_up(tokens: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return (
        pl.concat(tokens)
        .group_by(TOKEN, maintain_order=True)
        .agg(
            pl.col(_MARKET).last(),
            pl.col("first_ns").min(),
            pl.col("last_ns").max(),
            pl.col("^.*(planned|answered|recorded)$").sum(),
        )
        .sort("window_start_ns", "market_slug", "outcome", *TOKEN)
        .with_columns(pl.col("window").fill_null(OTHER))
    )


def class_expr() -> pl.Expr:
    """The class of a slot, of :data:`CLASSES`."""
    result, waiting = pl.col("result"), pl.col("reason").eq_missing(pl.lit("paused"))
    return (
        pl.when("answered")
        .then(pl.lit(ANSWERED))
        .when((result == "throttled") | ((result == "skipped") & waiting))
        .then(pl.lit("told to wait"))
        .when(result.is_in(["timeout", "connection"]))
        .then(pl.lit("no answer"))
        .when(result.is_in(["http_error", "invalid_body"]))
        .then(pl.lit("bad answer"))
        .otherwise(result.str.replace("_", " "))
    )


def _cells(hour: pl.DataFrame, axis: Axis) -> pl.DataFrame:
    column = axis.column("due_ns").alias("column")
    return hour.group_by(*TOKEN, column, class_expr().alias("class")).agg(slots=pl.len())


def _causes(hour: pl.DataFrame) -> pl.DataFrame:
    fault = pl.when(~pl.col("answered")).then(fault_expr())
    return hour.group_by("answered", cause=cause_expr(), fault=fault).agg(slots=pl.len().cast(pl.Int64))


def _around_gaps(hour: pl.DataFrame) -> pl.DataFrame:
    """The slots without an answer, their neighbours, and each token's first and last of the hour."""
    answered = pl.col("answered")
    beside = answered & answered.shift(1).over(TOKEN) & answered.shift(-1).over(TOKEN)
    kept = hour.filter(~beside.fill_null(value=False))
    return kept.select(*TOKEN, "due_ns", "answered", "in_window", "result", "reason", "status")


def _gaps(near: pl.DataFrame, day: Day) -> pl.DataFrame:
    found = [
        gaps_between(slots.with_columns(mid=pl.lit(None, pl.Int64)), day.from_ns, day.until_ns)
        .drop("causes", "mid_before", "mid_after")
        .with_columns(collector_id=pl.lit(collector_id))
        for (collector_id,), slots in sorted(near.partition_by("collector_id", as_dict=True).items())
    ]
    return pl.concat(found)
