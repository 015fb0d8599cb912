"""Unbroken runs of unanswered slots, each with its causes and whose fault it was.

*slots* is a frame of one collector: ``token_id``, ``due_ns``, ``answered``, ``in_window``, ``result``,
``reason``, ``status`` and ``mid`` (null where there is no book).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.normalize.faults import FAULTS, fault_expr

LONGEST_STEP_NS: Final = HOUR_NS
"""Two slots further apart than the longest interval that a config may have are no neighbours, so whoever
knows the hour before and the hours behind an hour knows its gaps."""


def cause_expr() -> pl.Expr:
    """``result``, or ``result/reason``."""
    return pl.concat_str("result", "reason", separator="/", ignore_nulls=True)


def count_causes(slots: pl.DataFrame, by: str) -> pl.DataFrame:
    """Per value of *by* the list of structs (``cause``, ``slots``), most frequent first, then by name."""
    return (
        slots.group_by(by, cause=cause_expr())
        .agg(slots=pl.len().cast(pl.Int64))
        .sort(by, "slots", "cause", descending=[False, True, False])
        .group_by(by, maintain_order=True)
        .agg(causes=pl.struct("cause", "slots"))
    )


def gaps_between(slots: pl.DataFrame, from_ns: int, until_ns: int) -> pl.DataFrame:
    """The gaps of each token that begin in ``[from_ns, until_ns)``, by token and time.

    *slots* must hold each token's last slot of the hour before, and reach forward to the end of the gaps
    that are asked for; what lies behind its end counts as not there.
    """
    runs = _runs(slots).filter(~pl.col("answered"))
    gaps = (
        runs.group_by("run", maintain_order=True)
        .agg(
            pl.col("token_id").first(),
            from_ns=pl.col("due_ns").first(),
            until_ns=pl.col("due_ns").last(),
            slots=pl.len().cast(pl.Int64),
            in_window_slots=pl.col("in_window").sum().cast(pl.Int64),
            last_answered_ns=pl.col("due_before").first(),
            next_answered_ns=pl.col("due_behind").last(),
            mid_before=pl.col("mid_before").first(),
            mid_after=pl.col("mid_behind").last(),
        )
        .filter(pl.col("from_ns").is_between(from_ns, until_ns, closed="left"))
    )
    asked = runs.join(gaps.select("run"), on="run", how="semi")
    return (
        gaps.join(count_causes(asked, "run"), on="run", how="left", maintain_order="left")
        .join(_most_frequent_fault(asked), on="run", how="left", maintain_order="left")
        .with_columns(cause=pl.col("causes").list.first().struct.field("cause"))
        .drop("run")
    )


def _runs(slots: pl.DataFrame) -> pl.DataFrame:
    """*slots* in order, numbered by runs of equal ``answered``, each with its neighbours."""
    due, token, answered = pl.col("due_ns"), pl.col("token_id"), pl.col("answered")
    near = (token == token.shift(1)) & (due - due.shift(1) <= LONGEST_STEP_NS)
    near_behind = (token == token.shift(-1)) & (due.shift(-1) - due <= LONGEST_STEP_NS)
    begins = ~near.fill_null(value=False) | (answered != answered.shift(1))
    return slots.sort("token_id", "due_ns").with_columns(
        run=begins.cum_sum(),
        due_before=pl.when(near).then(due.shift(1)),
        mid_before=pl.when(near).then(pl.col("mid").shift(1)),
        due_behind=pl.when(near_behind).then(due.shift(-1)),
        mid_behind=pl.when(near_behind).then(pl.col("mid").shift(-1)),
    )


def _most_frequent_fault(runs: pl.DataFrame) -> pl.DataFrame:
    """Per run the fault of most of its slots; of equals the one that comes first in ``FAULTS``."""
    return (
        runs.group_by("run", fault=fault_expr())
        .agg(slots=pl.len())
        .with_columns(rank=pl.col("fault").replace_strict(FAULTS, range(len(FAULTS))))
        .sort("run", "slots", "rank", descending=[False, True, False])
        .group_by("run", maintain_order=True)
        .agg(pl.col("fault").first())
    )
