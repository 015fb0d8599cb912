"""How good an hour was, per token: coverage, times, checks, and coverage when it mattered.

Polls are not missing at random: a fast market and a slow venue often come together.  So coverage is
also told of the minutes in which the mid moved most and least, and of those in which the venue was
slowest.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from orderbooks_spider.normalize.checks import CHECKS
from orderbooks_spider.normalize.gaps import count_causes

MINUTE_NS: Final = 60_000_000_000
_COUNTS: Final = ("counted", "flagged", "unverifiable")


def quality_of(slots: pl.DataFrame) -> pl.DataFrame:
    """One row per token of *slots*, which are all slots of one hour and collector.

    Columns of *slots*: ``token_id``, ``due_ns``, ``answered``, ``in_window``, ``result``, ``reason``,
    ``lateness_ns``, ``elapsed_ns``, and ``mid``, ``flags``, ``unverifiable`` of the book (null: none).
    """
    timed = slots.sort("token_id", "due_ns").with_columns(minute=pl.col("due_ns") // MINUTE_NS)
    judged = timed.join(_moves(timed), on=["token_id", "minute"], how="left", maintain_order="left").join(
        _slow_minutes(timed), on="minute", how="left", maintain_order="left"
    )
    causes = count_causes(slots.filter(~pl.col("answered")), "token_id")
    return (
        judged.group_by("token_id", maintain_order=True)
        .agg(*_coverage(), *_times(), pl.col("flags").count().cast(pl.Int64).alias("books"), *_checks())
        .join(causes, on="token_id", how="left", maintain_order="left")
        .with_columns(
            *(_rate(name) for name in ("", "in_window_", "fast_", "calm_", "slow_venue_")),
            unanswered=pl.col("causes").fill_null(pl.lit([], causes.schema["causes"])),
            checks=pl.concat_list(_check_struct(check.name) for check in CHECKS),
        )
    )


def nearest_rank(name: str, percent: int) -> pl.Expr:
    """The smallest value with at least *percent* of the values at or below it; null where there are none."""
    values = pl.col(name).drop_nulls().sort()
    rank = (values.len().cast(pl.Int64) * percent + 99) // 100
    return values.get(rank - 1, null_on_oob=True)


def _coverage() -> list[pl.Expr]:
    """Planned and answered slots: all, inside the window, and of the minutes that were told apart."""
    whole = pl.lit(value=True)
    parts = {"": whole, "in_window_": pl.col("in_window")}
    parts |= {f"{name}_": pl.col(name).fill_null(value=False) for name in ("fast", "calm", "slow_venue")}
    return [
        (part & slots).sum().cast(pl.Int64).alias(f"{name}{what}")
        for name, part in parts.items()
        for what, slots in (("planned", pl.col("answered").is_not_null()), ("answered", pl.col("answered")))
    ]


def _rate(name: str) -> pl.Expr:
    planned, answered = pl.col(f"{name}planned"), pl.col(f"{name}answered")
    return pl.when(planned > 0).then(answered / planned).alias(f"{name}coverage")


def _times() -> list[pl.Expr]:
    return [
        nearest_rank(column, percent).alias(f"{name}_{'max' if percent == 100 else f'p{percent}'}_ns")
        for column, name, percents in (
            ("lateness_ns", "lateness", (50, 99, 100)),
            ("elapsed_ns", "latency", (50, 95, 99, 100)),
        )
        for percent in percents
    ]


def _checks() -> list[pl.Expr]:
    """Per check: books it was made on, those it flagged, and those it could not be made on."""
    book = pl.col("flags").is_not_null()
    made: list[pl.Expr] = []
    for check in CHECKS:
        unverifiable = (pl.col("unverifiable") & check.mask) != 0
        flagged = (pl.col("flags") & check.mask) != 0
        values = (book & ~unverifiable, flagged, unverifiable)
        made += [
            value.sum().cast(pl.Int64).alias(f"{check.name}.{name}")
            for name, value in zip(_COUNTS, values, strict=True)
        ]
    return made


def _check_struct(check: str) -> pl.Expr:
    counts = [pl.col(f"{check}.{name}").alias(name) for name in _COUNTS]
    counted, flagged, _ = counts
    rate = pl.when(counted > 0).then(flagged / counted).alias("rate")
    return pl.struct(pl.lit(check).alias("check"), *counts, rate)


def _moves(timed: pl.DataFrame) -> pl.DataFrame:
    """Per token and minute whether the mid moved far or little, against the hour's other minutes.

    A minute's move is the range of the mid in it.  A slot without a mid lies between the mid before and
    the one behind: so a minute of a gap gets the move across the gap, and never looks calm for want of
    books.
    """
    mid = pl.col("mid").to_physical().cast(pl.Int64)
    before, behind = mid.forward_fill().over("token_id"), mid.backward_fill().over("token_id")
    return (
        timed.with_columns(before=before, behind=behind)
        .group_by("token_id", "minute", maintain_order=True)
        .agg(
            move=pl.max_horizontal(pl.col("before", "behind").max())
            - pl.min_horizontal(pl.col("before", "behind").min())
        )
        .select(
            "token_id",
            "minute",
            fast=pl.col("move") > _tercile(2).over("token_id"),
            calm=pl.col("move") <= _tercile(1).over("token_id"),
        )
    )


def _tercile(third: int) -> pl.Expr:
    """The move at or below which *third* thirds of the minutes lie (nearest rank)."""
    moves = pl.col("move").drop_nulls().sort()
    return moves.get((moves.len().cast(pl.Int64) * third + 2) // 3 - 1, null_on_oob=True)


def _slow_minutes(timed: pl.DataFrame) -> pl.DataFrame:
    """Whether a minute belongs to the slowest tenth of the hour's, by its median latency over all tokens.

    Minutes in which nothing was sent because the venue had asked us to wait are slow too.
    """
    paused = ((pl.col("result") == "skipped") & (pl.col("reason") == "paused")).any()
    minutes = timed.group_by("minute").agg(median=nearest_rank("elapsed_ns", 50), paused=paused)
    slow = pl.col("median") >= nearest_rank("median", 90)
    return minutes.select(
        "minute", slow_venue=pl.when(pl.col("median").is_null()).then("paused").otherwise(slow)
    )
