"""Gaps against a plain walk over the slots, and whose fault they are."""

from __future__ import annotations

import itertools
from collections import Counter
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.items import RESULTS, SKIP_REASONS
from orderbooks_spider.normalize.faults import FAULTS, RULES, fault_expr, fault_of
from orderbooks_spider.normalize.gaps import gaps_between
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.answers import Answer, result_of

SCHEMA: dict[str, Any] = {
    "token_id": pl.String,
    "due_ns": pl.Int64,
    "answered": pl.Boolean,
    "in_window": pl.Boolean,
    "result": pl.String,
    "reason": pl.String,
    "status": pl.Int32,
    "mid": pl.Decimal(10, 5),
}
OUTCOMES = [
    ("ok", None, 200),
    ("timeout", "DownloadTimeoutError", None),
    ("skipped", "late", None),
    ("skipped", "paused", None),
    ("http_error", "venue_error", 503),
    ("http_error", "venue_error", 400),
    ("connection", "gaierror", None),
    ("process_down", None, None),
]
STEP = HOUR_NS // 4


@st.composite
def slots(draw: st.DrawFn) -> pl.DataFrame:
    """Slots of two tokens, a quarter of an hour apart, some not planned at all, in any order."""
    rows = [
        (
            token,
            k * STEP + 3,
            result == "ok",
            draw(st.booleans()),
            result,
            reason,
            status,
            Decimal(draw(st.integers(1, 99))) / 100 if result == "ok" and draw(st.booleans()) else None,
        )
        for token in ("1", "2")
        for k in range(40)
        if draw(st.integers(0, 5))
        for result, reason, status in [draw(st.sampled_from([OUTCOMES[0], *OUTCOMES]))]
    ]
    return pl.DataFrame(draw(st.permutations(rows)), schema=SCHEMA, orient="row")


def walked(frame: pl.DataFrame, from_ns: int, until_ns: int) -> list[dict[str, Any]]:
    """The gaps as a person would find them, slot after slot."""
    found = []
    ordered = sorted(frame.to_dicts(), key=lambda row: (row["token_id"], row["due_ns"]))
    for token, group in itertools.groupby(ordered, lambda row: row["token_id"]):
        before: dict[str, Any] | None = None
        gap: list[dict[str, Any]] = []
        for row in [*group, None]:
            last = gap[-1] if gap else before
            far = row is None or (last is not None and row["due_ns"] - last["due_ns"] > HOUR_NS)
            if gap and (row is None or far or row["answered"]):
                found.append(_gap(token, gap, before, None if far else row))
                gap = []
            if far:
                before = None
            if row is not None and row["answered"]:
                before = row
            elif row is not None:
                gap.append(row)
    return [gap for gap in found if from_ns <= gap["from_ns"] < until_ns]


def _gap(
    token: str, gap: list[dict[str, Any]], before: dict[str, Any] | None, behind: dict[str, Any] | None
) -> dict[str, Any]:
    names = ["/".join(filter(None, (row["result"], row["reason"]))) for row in gap]
    faults = Counter(fault_of(row["result"], row["reason"], row["status"]) for row in gap)
    causes = sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "token_id": token,
        "from_ns": gap[0]["due_ns"],
        "until_ns": gap[-1]["due_ns"],
        "slots": len(gap),
        "in_window_slots": sum(row["in_window"] for row in gap),
        "last_answered_ns": before and before["due_ns"],
        "next_answered_ns": behind and behind["due_ns"],
        "mid_before": before and before["mid"],
        "mid_after": behind and behind["mid"],
        "causes": [{"cause": cause, "slots": count} for cause, count in causes],
        "fault": min(faults, key=lambda fault: (-faults[fault], FAULTS.index(fault))),
        "cause": causes[0][0],
    }


@settings(deadline=None)
@given(frame=slots(), bounds=st.tuples(st.integers(-1, 41), st.integers(-1, 41)))
def test_gaps_are_those_that_a_walk_finds(frame: pl.DataFrame, bounds: tuple[int, int]) -> None:
    """Every unbroken run of unanswered slots is one gap, with its neighbours, causes and fault."""
    from_ns, until_ns = (bound * STEP for bound in bounds)
    assert gaps_between(frame, from_ns, until_ns).to_dicts() == walked(frame, from_ns, until_ns)


@settings(deadline=None)
@given(frame=slots())
def test_hour_before_and_behind_tell_an_hours_gaps(frame: pl.DataFrame) -> None:
    """Gaps of an hour need one hour before it, however far back the slots go."""
    whole = gaps_between(frame, 4 * HOUR_NS, 5 * HOUR_NS)
    near = frame.filter(pl.col("due_ns") >= 3 * HOUR_NS)
    assert gaps_between(near, 4 * HOUR_NS, 5 * HOUR_NS).equals(whole)


def test_every_end_of_a_poll_has_its_rule() -> None:
    """Each result that a poll can have is blamed by a rule, and no rule is about anything else."""
    derived = {"process_down", "not_discovered", "missing"}
    assert {rule.result for rule in RULES} == {*RESULTS, *derived} - {"ok"}
    assert {rule.fault for rule in RULES} == set(FAULTS)
    named = {reason for rule in RULES if rule.result == "skipped" for reason in rule.reasons or ()}
    assert named <= set(SKIP_REASONS)
    last = {rule.result: rule for rule in RULES}
    assert all(rule.reasons is None for rule in last.values()), "the last rule of a result takes what is left"


@pytest.mark.parametrize(
    ("result", "reason", "status", "fault"),
    [
        ("skipped", "paused", None, "venue"),
        ("skipped", "budget", None, "us"),
        ("skipped", "in_flight", None, "unknown"),
        ("timeout", "DownloadTimeoutError", None, "unknown"),
        ("connection", "gaierror", None, "network"),
        ("connection", "ConnectionLost", None, "unknown"),
        ("http_error", "edge_html", 502, "venue"),
        ("http_error", "venue_error", 401, "unknown"),
        ("http_error", None, None, "venue"),
        ("throttled", "edge_html", 429, "venue"),
        ("no_book", "not_found", 404, "venue"),
        ("invalid_body", "truncated", 200, "unknown"),
        ("invalid_body", "internal_error", None, "us"),
        ("invalid_body", "not_json", 200, "venue"),
        ("process_down", None, None, "us"),
        ("something_new", "x", None, "unknown"),
    ],
)
def test_blame(result: str, reason: str | None, status: int | None, fault: str) -> None:
    """Who is blamed, by the row alone and by the column expression alike."""
    assert fault_of(result, reason, status) == fault
    frame = pl.DataFrame(
        [(result, reason, status)],
        schema={name: SCHEMA[name] for name in ("result", "reason", "status")},
        orient="row",
    )
    assert frame.select(fault_expr()).item() == fault


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"status": 200, "truncated": True}, "unknown"),
        ({"status": 404, "body": b'{"error":"No orderbook exists"}'}, "venue"),
        ({"status": 404, "body": b"<html>"}, "unknown"),
        ({"status": 429}, "venue"),
        ({"status": 520, "body": b"<html>"}, "venue"),
        ({"failure": ("connection", "gaierror")}, "network"),
    ],
)
def test_answers_are_blamed_under_the_names_that_their_reader_gives(
    answer: dict[str, Any], fault: str
) -> None:
    """The rules know results and reasons by the names that the reader of answers writes into rows."""
    seen = Answer(ask=endpoints.book("http://127.0.0.1", "1"), request_id="r", **answer)
    assert fault_of(*result_of(seen), seen.status) == fault
