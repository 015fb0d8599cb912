"""The slots of an hour: those that raw rows tell of, and the planned ones that none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orderbooks_spider.normalize.planned import Stretch
    from orderbooks_spider.universe import Window

MARKET_COLUMNS: Final = {
    "market_slug": pl.String,
    "window": pl.String,
    "condition_id": pl.String,
    "token_id": pl.String,
    "outcome": pl.String,
    "window_start_ns": pl.Int64,
    "window_end_ns": pl.Int64,
}
"""What each table says of the market of a row."""

_STRETCH = MARKET_COLUMNS | {
    "first_slot": pl.Int64,
    "end_slot": pl.Int64,
    "interval_ns": pl.Int64,
    "phase_ns": pl.Int64,
    "result": pl.String,
}


def planned_slots(stretches: Iterable[Stretch]) -> pl.DataFrame:
    """One row per planned slot: market columns, ``slot``, ``due_ns``, and ``result`` if it has no row."""
    rows = [
        (*market, slots.start, slots.stop, stretch.interval_ns, stretch.phase_ns, stretch.result)
        for stretch in stretches
        if (slots := stretch.slots)
        for market in _market_rows(stretch.market)
    ]
    slot = pl.col("slot")
    return (
        pl.DataFrame(rows, schema=_STRETCH, orient="row")
        .with_columns(slot=pl.int_ranges("first_slot", "end_slot"))
        .explode("slot")
        .with_columns(due_ns=slot * pl.col("interval_ns") + pl.col("phase_ns"))
        .select(*MARKET_COLUMNS, "slot", "due_ns", "result")
    )


def market_rows(stretches: Iterable[Stretch]) -> pl.DataFrame:
    """The market columns, once for each stretch and token."""
    return pl.DataFrame(
        [row for stretch in stretches for row in _market_rows(stretch.market)],
        schema=MARKET_COLUMNS,
        orient="row",
    )


def derived_polls(stretches: Iterable[Stretch], recorded: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``polls`` of planned slots that are not in *recorded* (``token_id``, ``due_ns``).

    What a raw row would say is null or not there, and who polled is left to the caller.
    """
    due, start, end = (pl.col(name) for name in ("due_ns", "window_start_ns", "window_end_ns"))
    return (
        planned_slots(stretches)
        .join(recorded, on=["token_id", "due_ns"], how="anti")
        .with_columns(
            in_window=(due >= start) & (due < end),
            answered=pl.lit(value=False),
            recorded=pl.lit(value=False),
            reason=pl.lit(None, pl.String),
            status=pl.lit(None, pl.Int32),
            lateness_ns=pl.lit(None, pl.Int64),
            elapsed_ns=pl.lit(None, pl.Int64),
        )
        .sort("token_id", "due_ns")
    )


def _market_rows(market: Window) -> Iterator[tuple[str | int | None, ...]]:
    for outcome, token_id in market.tokens:
        yield (
            market.market_slug,
            market.label or None,
            market.condition_id,
            token_id,
            outcome,
            market.start_ns,
            market.end_ns,
        )
