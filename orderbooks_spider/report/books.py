"""What the day's books say: checks, mids, spreads; and the book of the busiest market over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from orderbooks_spider.normalize.checks import CHECKS
from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.report.axis import Axis
from orderbooks_spider.report.numbers import Busiest, Check, Mirror
from orderbooks_spider.report.slots import OTHER

if TYPE_CHECKING:
    from decimal import Decimal

    from orderbooks_spider.report.dataset import DayTables

_COLUMNS: Final = [
    "market_slug", "window", "condition_id", "outcome", "window_start_ns", "window_end_ns", "mid", "spread",
    "hash_state", "mirror_state", "changed", "flags", "unverifiable",
]  # fmt: skip
_MARKET: Final = ["condition_id", "market_slug", "window", "window_start_ns", "window_end_ns"]
_SLOT: Final = ["collector_id", "condition_id", "due_ns"]
"""A slot of both tokens."""
_STATES: Final = ("agrees", "disagrees", "unverifiable")
CENTS: Final = 101
"""Rows of a depth picture: prices 0.00 to 1.00."""


@dataclass(frozen=True, slots=True)
class Books:
    """The sums over a day; prices inside the markets' windows."""

    count: int
    hash: dict[str, int]
    mirror: dict[str, int]
    checks: list[Check]
    mirrored: Mirror
    markets: pl.DataFrame
    """``condition_id``, ``market_slug``, ``window``, ``changed``; busiest first."""
    mids: pl.DataFrame
    """``window``, ``condition_id``, ``outcome``, ``column``, ``mid``: the last in the column."""
    differences: pl.DataFrame
    """``window``, ``column``, ``difference``: the largest between Up and 1 - Down of one slot."""
    spreads: pl.DataFrame
    """``window``, ``column``, and the spread's ``p10``, ``p50``, ``p90``."""
    spread_counts: pl.DataFrame
    """``window``, ``spread``, ``books``."""

    def spreads_in(self, window: str) -> int:
        """How many books of windows of that length have a spread."""
        return int(self.spread_counts.filter(pl.col("window") == window)["books"].sum())

    def spread_rank(self, window: str, percent: int) -> Decimal | None:
        """Nearest-rank percentile of the spreads of windows of that length."""
        mine = self.spread_counts.filter(pl.col("window") == window).sort("spread")
        rank = -(-mine["books"].sum() * percent // 100)
        found = mine.filter(pl.col("books").cum_sum() >= rank)["spread"]
        return found[0] if len(found) else None

    @property
    def busiest(self) -> Busiest | None:
        """The market whose books changed most often for the length of its window."""
        if self.markets.is_empty():
            return None
        return Busiest(**self.markets.select(Busiest.__struct_fields__).row(0, named=True))


def read_books(tables: DayTables, axis: Axis) -> Books:
    """Add up the day's ``books``; columns are those of *axis*."""
    hours = [_Hour.of(hour, axis) for hour in tables.slots("books", _COLUMNS)]
    state = pl.concat(hour.states for hour in hours)
    differences = pl.concat(hour.differences for hour in hours)
    length = pl.col("window_end_ns") - pl.col("window_start_ns")
    return Books(
        count=int(state["books"].sum()),
        hash=_count(state, "hash_state"),
        mirror=_count(state, "mirror_state"),
        checks=_checks(pl.concat(hour.checks for hour in hours).sum()),
        mirrored=_mirror(differences),
        markets=pl.concat(hour.changed for hour in hours)
        .group_by(_MARKET)
        .agg(pl.col("changed").sum())
        .sort(pl.col("changed") / length, "market_slug", "condition_id", descending=[True, False, False]),
        mids=pl.concat(hour.mids for hour in hours).sort("window", "condition_id", "outcome", "column"),
        differences=differences.group_by("window", "column").agg(pl.col("difference").max()),
        spreads=pl.concat(hour.spreads for hour in hours).sort("window", "column"),
        spread_counts=pl.concat(hour.spread_counts for hour in hours)
        .group_by("window", "spread")
        .agg(pl.col("books").sum()),
    )


@dataclass(frozen=True, slots=True)
class _Hour:
    """The same of one hour, whose columns lie in no other."""

    states: pl.DataFrame
    checks: pl.DataFrame
    changed: pl.DataFrame
    mids: pl.DataFrame
    differences: pl.DataFrame
    spreads: pl.DataFrame
    spread_counts: pl.DataFrame

    @classmethod
    def of(cls, books: pl.DataFrame, axis: Axis) -> Self:
        named = books.with_columns(pl.col("window").fill_null(OTHER), axis.column("due_ns").alias("column"))
        inside = named.filter(pl.col("due_ns").is_between("window_start_ns", "window_end_ns", closed="left"))
        priced = inside.filter(pl.col("mid").is_not_null())
        ranks = [
            pl.col("spread").cast(pl.Float64).quantile(percent / 100, "nearest").alias(f"p{percent}")
            for percent in (10, 50, 90)
        ]
        return cls(
            states=books.group_by("hash_state", "mirror_state").agg(books=pl.len().cast(pl.Int64)),
            checks=books.select(_check_sums()),
            changed=inside.group_by(_MARKET).agg(pl.col("changed").sum().cast(pl.Int64)),
            mids=priced.group_by("window", "condition_id", "outcome", "column").agg(
                pl.col("mid").sort_by("due_ns", "collector_id").last()
            ),
            differences=_differences(priced),
            spreads=priced.group_by("window", "column").agg(ranks),
            spread_counts=priced.group_by("window", "spread").agg(books=pl.len().cast(pl.Int64)),
        )


def _count(states: pl.DataFrame, name: str) -> dict[str, int]:
    counts = dict(states.group_by(name).agg(pl.col("books").sum()).iter_rows())
    return {state: counts.get(state, 0) for state in _STATES}


def _check_sums() -> list[pl.Expr]:
    masks = {"flagged": pl.col("flags"), "unverifiable": pl.col("unverifiable")}
    sums = [
        (column & check.mask != 0).sum().cast(pl.Int64).alias(f"{check.name}.{name}")
        for check in CHECKS
        for name, column in masks.items()
    ]
    return [pl.len().cast(pl.Int64).alias("books"), *sums]


def _checks(sums: pl.DataFrame) -> list[Check]:
    row = sums.row(0, named=True)
    return [
        Check(
            check=check.name,
            counted=row["books"] - row[f"{check.name}.unverifiable"],
            flagged=row[f"{check.name}.flagged"],
            unverifiable=row[f"{check.name}.unverifiable"],
        )
        for check in CHECKS
    ]


def _differences(priced: pl.DataFrame) -> pl.DataFrame:
    """``window``, ``column``, ``difference`` (|Up - (1 - Down)|), and in how many slots with both mids."""
    up, down = (priced.filter(pl.col("outcome") == name) for name in OUTCOMES)
    both = up.join(down.select(*_SLOT, "mid"), on=_SLOT, suffix="_down")
    one = pl.lit(1).cast(pl.Decimal(10, 5))
    difference = (pl.col("mid") + pl.col("mid_down") - one).abs().alias("difference")
    return both.group_by("window", "column", difference).agg(pairs=pl.len().cast(pl.Int64))


def _mirror(differences: pl.DataFrame) -> Mirror:
    return Mirror(
        pairs=int(differences["pairs"].sum()),
        equal=int(differences.filter(pl.col("difference") == 0)["pairs"].sum()),
        largest_difference=differences["difference"].max(),  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Depth:
    """The Up book of one market over its own time axis."""

    axis: Axis
    window_ns: tuple[int, int]
    """Begin and end of the market's window."""
    levels: pl.DataFrame
    """``column``, ``side`` (``bids``, ``asks``), ``cent`` (0 to 100), ``size``: of the last book in the
    column, sizes within a cent added."""
    mids: pl.DataFrame
    """``column``, ``outcome``, ``mid``: the last in the column."""


def read_depth(tables: DayTables, up: str, down: str, interval_ns: int) -> Depth | None:
    """The books of the market with these token ids over the day; ``None`` where it has none."""
    light = pl.concat(_light(tables, token) for token in (up, down))
    if light.is_empty():
        return None
    axis = Axis.over(light["due_ns"].min(), light["due_ns"].max(), interval_ns)  # type: ignore[arg-type]
    window = light.select("window_start_ns", "window_end_ns").row(0)
    light = light.with_columns(axis.column("due_ns").alias("column")).sort("due_ns", "collector_id")
    last = light.filter(pl.col("token_id") == up).unique("column", keep="last", maintain_order=True)
    books = [_last_books(hour, last) for hour in tables.scans("books")]
    return Depth(
        axis=axis,
        window_ns=window,
        levels=pl.concat(_levels(hour, side) for hour in books for side in ("bids", "asks")),
        mids=light.drop_nulls("mid")
        .group_by("outcome", "column", maintain_order=True)
        .agg(pl.col("mid").last())
        .sort("outcome", "column"),
    )


def _light(tables: DayTables, token_id: str) -> pl.DataFrame:
    """The token's books without their levels; files are in the order of tokens, so little else is read."""
    columns = ["token_id", "collector_id", "due_ns", "outcome", "mid", "window_start_ns", "window_end_ns"]
    return pl.concat(tables.scans("books")).filter(pl.col("token_id") == token_id).select(columns).collect()


def _last_books(hour: pl.LazyFrame, last: pl.DataFrame) -> pl.DataFrame:
    """``column``, ``bids``, ``asks`` of the slots in *last* that lie in this hour, each once."""
    slot = ["token_id", "collector_id", "due_ns"]
    wanted = last.lazy().select(*slot, "column")
    found = hour.filter(pl.col("token_id") == last["token_id"].first()).join(wanted, on=slot)
    levels = found.select("column", "seq", "bids", "asks").sort("column", "seq").collect()
    return levels.unique("column", keep="first", maintain_order=True)


def _levels(books: pl.DataFrame, side: str) -> pl.DataFrame:
    level = pl.col(side).struct
    return (
        books.select("column", side)
        .explode(side)
        .select(
            "column",
            side=pl.lit(side),
            cent=(level.field("price").cast(pl.Float64) * 100).round().cast(pl.Int32),
            size=level.field("size").cast(pl.Float64),
        )
        .drop_nulls()
        .filter(pl.col("size") > 0, pl.col("cent").is_between(0, CENTS - 1))
        .group_by("column", "side", "cent", maintain_order=True)
        .agg(pl.col("size").sum())
    )
