"""The quality of an hour against the same sums in plain Python."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.normalize.checks import CHECKS
from orderbooks_spider.normalize.quality import quality_of

SCHEMA: dict[str, Any] = {
    "token_id": pl.String,
    "due_ns": pl.Int64,
    "answered": pl.Boolean,
    "in_window": pl.Boolean,
    "result": pl.String,
    "reason": pl.String,
    "lateness_ns": pl.Int64,
    "elapsed_ns": pl.Int64,
    "mid": pl.Decimal(10, 5),
    "flags": pl.Int32,
    "unverifiable": pl.Int32,
}
BITS = sum(check.mask for check in CHECKS)
STEP_NS = 20 * NS
Row = dict[str, Any]


@st.composite
def hours(draw: st.DrawFn) -> pl.DataFrame:
    """Some minutes of two tokens at three slots a minute."""
    rows: list[tuple[Any, ...]] = []
    nanoseconds = st.none() | st.integers(0, 9)
    for token, k in itertools.product(("1", "2"), range(draw(st.integers(1, 24)))):
        due_ns = k * STEP_NS + 5
        if draw(st.booleans()):
            unverifiable = draw(st.integers(0, BITS)) & BITS
            flags = draw(st.integers(0, BITS)) & BITS & ~unverifiable
            mid = draw(st.none() | st.integers(1, 9).map(lambda cents: Decimal(cents) / 100))
            took = draw(st.integers(0, 9))
            rows.append(
                (token, due_ns, True, draw(st.booleans()), "ok", None, 1, took, mid, flags, unverifiable)
            )
        else:
            reason = draw(st.sampled_from(["late", "paused", "budget"]))
            times = draw(nanoseconds), draw(nanoseconds)
            rows.append(
                (token, due_ns, False, draw(st.booleans()), "skipped", reason, *times, None, None, None)
            )
    return pl.DataFrame(draw(st.permutations(rows)), schema=SCHEMA, orient="row")


def rank(values: list[int], part: float) -> int | None:
    """The smallest value with at least *part* of the values at or below it."""
    ordered = sorted(values)
    return next(
        (value for number, value in enumerate(ordered, 1) if number >= part * len(ordered) - 1e-9), None
    )


def reckoned(rows: list[Row], slow: set[int]) -> Row:
    """The quality of one token's *rows*, in time order."""
    moves = _moves(rows)
    low, high = (rank([move for move in moves.values() if move is not None], part) for part in (1 / 3, 2 / 3))
    judged = {
        "": rows,
        "in_window_": [row for row in rows if row["in_window"]],
        "fast_": [row for row in rows if (move := moves[_minute(row)]) is not None and move > (high or 0)],
        "calm_": [row for row in rows if (move := moves[_minute(row)]) is not None and move <= (low or 0)],
        "slow_venue_": [row for row in rows if _minute(row) in slow],
    }
    found: Row = {}
    for name, part in judged.items():
        answered = sum(row["answered"] for row in part)
        found |= {f"{name}planned": len(part), f"{name}answered": answered}
        found[f"{name}coverage"] = answered / len(part) if part else None
    lateness = [row["lateness_ns"] for row in rows if row["lateness_ns"] is not None]
    latency = [row["elapsed_ns"] for row in rows if row["elapsed_ns"] is not None]
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        found[f"lateness_{name}_ns"] = rank(lateness, share)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        found[f"latency_{name}_ns"] = rank(latency, share)
    causes = Counter(f"{row['result']}/{row['reason']}" for row in rows if not row["answered"])
    ordered = sorted(causes.items(), key=lambda pair: (-pair[1], pair[0]))
    found["unanswered"] = [{"cause": cause, "slots": slots} for cause, slots in ordered]
    books = [row for row in rows if row["flags"] is not None]
    found["books"] = len(books)
    found["checks"] = [
        {
            "check": check.name,
            "counted": counted,
            "flagged": flagged,
            "unverifiable": sum(bool(row["unverifiable"] & check.mask) for row in books),
            "rate": flagged / counted if counted else None,
        }
        for check in CHECKS
        for counted in [sum(not row["unverifiable"] & check.mask for row in books)]
        for flagged in [sum(bool(row["flags"] & check.mask) for row in books)]
    ]
    return found


def _minute(row: Row) -> int:
    return int(row["due_ns"]) // (60 * NS)


def _moves(rows: list[Row]) -> dict[int, int | None]:
    """Per minute the range of the mid; a slot without one lies between those around it."""
    seen: dict[int, list[Decimal]] = {_minute(row): [] for row in rows}
    for number, row in enumerate(rows):
        before = [one["mid"] for one in rows[: number + 1] if one["mid"] is not None]
        behind = [one["mid"] for one in rows[number:] if one["mid"] is not None]
        seen[_minute(row)] += before[-1:] + behind[:1]
    return {minute: int((max(mids) - min(mids)) * 100_000) if mids else None for minute, mids in seen.items()}


def _slow_minutes(rows: list[Row]) -> set[int]:
    """The slowest tenth by median latency, and those in which we only waited as asked."""
    minutes = {_minute(row): [one for one in rows if _minute(one) == _minute(row)] for row in rows}
    medians = {
        minute: statistics.median_low(took)
        for minute, part in minutes.items()
        if (took := [row["elapsed_ns"] for row in part if row["elapsed_ns"] is not None])
    }
    limit = rank(list(medians.values()), 0.9)
    slow = {minute for minute, median in medians.items() if limit is not None and median >= limit}
    paused = {minute for minute, part in minutes.items() if any(row["reason"] == "paused" for row in part)}
    return slow | (paused - set(medians))


@settings(deadline=None)
@given(hour=hours())
def test_quality_is_what_the_rows_add_up_to(hour: pl.DataFrame) -> None:
    """Coverage, causes, times, checks and the told-apart minutes of each token are those of its rows."""
    rows = sorted(hour.to_dicts(), key=lambda row: (row["token_id"], row["due_ns"]))
    slow = _slow_minutes(rows)
    expected = {
        token: reckoned(list(part), slow)
        for token, part in itertools.groupby(rows, lambda row: row["token_id"])
    }
    found = {row["token_id"]: row for row in quality_of(hour).to_dicts()}
    assert found.keys() == expected.keys()
    for token, values in expected.items():
        assert {name: found[token][name] for name in values} == values


def test_hour_without_an_answer_covers_nothing() -> None:
    """A token of which no book came has coverage 0, and is never left out."""
    row = ("1", 5, False, True, "process_down", None, None, None, None, None, None)
    (found,) = quality_of(pl.DataFrame([row], schema=SCHEMA, orient="row")).to_dicts()
    assert (found["planned"], found["coverage"], found["fast_coverage"]) == (1, 0.0, None)


def test_hour_without_slots_has_no_row() -> None:
    """Where nothing was due there is nothing to judge."""
    assert quality_of(pl.DataFrame(schema=SCHEMA)).is_empty()


def test_gap_across_a_move_is_not_calm() -> None:
    """Minutes without a book between two different mids count as fast, not as calm for want of books."""
    mids = {0: "0.50", 1: "0.50", 2: "0.50", 3: None, 4: "0.60", 5: "0.60", 6: "0.60"}
    rows = [
        ("1", minute * 60 * NS, mid is not None, True, "ok", None, 1, 1, mid and Decimal(mid), 0, 0)
        for minute, mid in mids.items()
    ]
    (found,) = quality_of(pl.DataFrame(rows, schema=SCHEMA, orient="row")).to_dicts()
    assert (found["fast_planned"], found["fast_coverage"]) == (1, 0.0)
    assert (found["calm_planned"], found["calm_coverage"]) == (6, 1.0)
