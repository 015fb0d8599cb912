"""Which windows a soak covered from open to close, and which the calendar demands and it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from orderbooks_spider.polymarket.windows import ended_slugs, window_of_slug
from orderbooks_spider.report.slots import WINDOWS, coverage
from orderbooks_spider.soak.numbers import WindowCover

if TYPE_CHECKING:
    from collections.abc import Collection


def covers_of(tokens: pl.DataFrame, begin_ns: int, end_ns: int) -> list[WindowCover]:
    """One line per window length, shortest first.

    Args:
        tokens: of an :class:`~orderbooks_spider.soak.account.Account`.
        begin_ns: begin of the soak.
        end_ns: its end.

    """
    named = tokens.with_columns(pl.col("window").fill_null(WINDOWS[-1]))
    return [
        _cover(window, mine, begin_ns, end_ns)
        for window in WINDOWS
        if len(mine := named.filter(pl.col("window") == window))
    ]


def _cover(window: str, tokens: pl.DataFrame, begin_ns: int, end_ns: int) -> WindowCover:
    whole = pl.col("window_start_ns") >= begin_ns, pl.col("window_end_ns") <= end_ns
    both = pl.col("opens").fill_null(value=False) & pl.col("closes").fill_null(value=False)
    markets = (
        tokens.filter(*whole)
        .group_by("condition_id")
        .agg(
            open_to_close=both.all() & (pl.len() >= 2),
            complete=(pl.col("in_window_answered") == pl.col("in_window_planned")).all() & (pl.len() >= 2),
        )
    )
    demanded = demanded_slugs(window, begin_ns, end_ns)
    return WindowCover(
        window=window,
        markets=tokens["condition_id"].n_unique(),
        whole=len(markets),
        open_to_close=int(markets["open_to_close"].sum()),
        complete=int((markets["open_to_close"] & markets["complete"]).sum()),
        demanded=None if demanded is None else len(demanded),
        absent=sorted(_absent(demanded or (), set(tokens["market_slug"]))),
        in_window=coverage(tokens, "in_window_"),
    )


def demanded_slugs(window: str, begin_ns: int, end_ns: int) -> list[str] | None:
    """Slugs of the windows that begin and end within the time; ``None``: slugs do not follow the calendar."""
    ended = ended_slugs(window, begin_ns, end_ns + 1)
    if ended is None:
        return None
    starts = {slug: window_of_slug(slug) for slug in ended}
    return [slug for slug, found in starts.items() if found is not None and (found[1] or 0) >= begin_ns]


def _absent(demanded: Collection[str], seen: set[str]) -> set[str]:
    return set(demanded) - seen
