"""Whose fault an unanswered slot is: one table, read by people, by Python and by Polars.

Blame needs evidence: what the slot's own row cannot tell is ``unknown``, and whatever our own decision
or our own absence explains is ``us``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

Fault = Literal["us", "unknown", "network", "venue"]

FAULTS: Final[tuple[Fault, ...]] = ("us", "unknown", "network", "venue")
"""Where two have the same number of slots in a gap, the earlier one is said: it flatters us least."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Slots with this result, and one of these reasons (``None``: whatever reason is left)."""

    result: str
    reasons: tuple[str, ...] | None
    fault: Fault
    why: str


RULES: Final[tuple[Rule, ...]] = (
    Rule("no_book", None, "venue", "inside its window the market has no book at the venue"),
    Rule("throttled", None, "venue", "429, although our own budget stays below the documented limit"),
    Rule("http_error", None, "venue", "the venue or its edge answered with an error"),
    Rule("invalid_body", ("internal_error", "refused"), "us", "a bug of ours, or our own handler refused"),
    Rule("invalid_body", ("truncated",), "unknown", "the answer was cut: by the venue or on the way"),
    Rule("invalid_body", None, "venue", "status 200, and the text is no book of that token"),
    Rule("timeout", None, "unknown", "no whole answer in time: a slow venue and a slow network look alike"),
    Rule("connection", ("gaierror", "DNSError"), "network", "the venue's name could not be resolved"),
    Rule("connection", None, "unknown", "refused, reset or lost: by the venue's edge or on the way"),
    Rule("skipped", ("paused",), "venue", "the venue had asked us to wait, or kept refusing"),
    Rule("skipped", ("in_flight",), "unknown", "the poll before was not back: as a timeout"),
    Rule("skipped", None, "us", "our budget, our lateness, our disk, our stop"),
    Rule("process_down", None, "us", "no process was there to poll, or its row was lost with it"),
    Rule("not_discovered", None, "us", "a process was there, and had not planned the market yet"),
    Rule("missing", None, "us", "a raw row that must be there is not"),
)
"""The first rule that fits holds."""


def fault_of(result: str, reason: str | None, status: int | None = None) -> Fault:
    """Whose fault a slot is that was not answered; ``unknown`` for a result that no rule names.

    An ``http_error`` with status 400 to 499 refuses our request, which may be our fault: ``unknown``.
    """
    if result == "http_error" and status is not None and 400 <= status < 500:
        return "unknown"
    for rule in RULES:
        if rule.result == result and (rule.reasons is None or reason in rule.reasons):
            return rule.fault
    return "unknown"


def fault_expr() -> pl.Expr:
    """The same of the columns ``result``, ``reason`` and ``status``."""
    result, reason, status = pl.col("result"), pl.col("reason"), pl.col("status")
    fault = pl.lit("unknown")
    for rule in reversed(RULES):
        fits = result == rule.result
        if rule.reasons is not None:
            fits &= reason.is_in(list(rule.reasons)).fill_null(value=False)
        fault = pl.when(fits).then(pl.lit(rule.fault)).otherwise(fault)
    refused = (result == "http_error") & status.is_between(400, 499).fill_null(value=False)
    return pl.when(refused).then(pl.lit("unknown")).otherwise(fault)
