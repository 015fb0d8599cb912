"""The arithmetic of slots against the plain way of doing it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.archive.planned import Owed, PlanEvent, count, missing, owed_slots, runs_of, shared

STEP = 10
dues = st.lists(st.integers(0, 60).map(lambda slot: slot * STEP + 3), max_size=40)


@given(values=dues)
def test_runs_hold_every_due_time_once(values: list[int]) -> None:
    """Compressing and spreading out again gives the distinct due times; doubles are named."""
    runs, doubles = runs_of(values, STEP)
    spread = [due for first, last, step in runs for due in range(first, last + 1, step)]
    assert spread == sorted(set(values))
    assert sorted(doubles) == sorted(due for due in set(values) for _ in range(values.count(due) - 1))


@given(one=dues, other=dues)
def test_shared_finds_what_stands_in_two_segments(one: list[int], other: list[int]) -> None:
    """Rule A12: a due time of two segments is found, whatever the runs look like."""
    runs = [*runs_of(one, STEP)[0], *runs_of(other, STEP)[0]]
    assert sorted(set(shared(runs))) == sorted(set(one) & set(other))


@given(values=dues, start=st.integers(0, 400), length=st.integers(1, 400), step=st.sampled_from([None, STEP]))
def test_missing_finds_each_owed_slot_without_row(
    values: list[int], start: int, length: int, step: int | None
) -> None:
    """Rule A13: owed slots without a row are found, no other is."""
    owed = Owed("1", "c", "r", start, start + length, STEP, 3)
    slots = {due for due in range(3, start + length, STEP) if due >= start}
    gone = {
        due
        for first, last, _ in missing(owed, runs_of(values, step)[0])
        for due in range(first, last + 1, STEP)
    }
    assert gone == slots - set(values)
    assert count(owed) == len(slots)


def plan_event(seq: int, until_ns: int, from_ns: int = 0) -> PlanEvent:
    detail = {
        "condition_id": "c", "market_slug": "m", "tokens": ["1"],
        "from_ns": from_ns, "until_ns": until_ns, "interval_ns": STEP, "phase_ns": 3,
    }  # fmt: skip
    return PlanEvent("r", seq, "plan", detail)


def test_a_run_owes_up_to_its_end() -> None:
    """A stopped run owes up to its stop, a crashed one up to what must be back."""
    plan = plan_event(1, 1000)
    stop = PlanEvent("r", 3, "run_stop", {"slots_done_until_ns": 500})
    assert [owed.until_ns for owed in owed_slots([plan, stop], {"r": 900})[0]] == [500]
    assert [owed.until_ns for owed in owed_slots([plan], {"r": 900})[0]] == [900]
    assert owed_slots([plan], {})[0] == []


def test_plan_that_cannot_be_read_is_named() -> None:
    """A plan row without its keys is reported, and the others are still checked."""
    owed, bad = owed_slots([PlanEvent("r", 1, "plan", {}), plan_event(2, 100)], {"r": 50})
    assert len(owed) == 1
    assert "seq 1" in bad[0]


@pytest.mark.parametrize("key", ["interval_ns", "phase_ns", "from_ns", "until_ns"])
def test_plan_that_no_clock_can_keep_is_named(key: str) -> None:
    """Rule A13: a plan with a number that no clock gives is reported, and nothing is computed from it."""
    detail = {
        "condition_id": "c",
        "tokens": ["1"],
        "from_ns": 0,
        "until_ns": 90,
        "interval_ns": 10,
        "phase_ns": 3,
    }
    sound = PlanEvent("r", 1, "plan", detail)
    assert owed_slots([sound], {"r": 50}) == ([Owed("1", "c", "r", 0, 50, 10, 3)], [])
    for value in (-1, 2**63, 10**40, *([0] if key == "interval_ns" else [])):
        owed, bad = owed_slots([PlanEvent("r", 1, "plan", detail | {key: value})], {"r": 50})
        assert (owed, len(bad)) == ([], 1)
