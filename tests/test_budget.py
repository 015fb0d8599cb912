from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.budget import Budget, Turns
from orderbooks_spider.clock import NS

ARRIVALS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), max_size=200)


@given(limit=st.integers(3, 12), window=st.integers(1, 300), arrivals=ARRIVALS)
def test_budget_is_exact(limit: int, window: int, arrivals: list[tuple[int, int]]) -> None:
    """No window holds more sends than the limit, and none is refused while its window has room."""
    budget = Budget(limit, window)
    sent: list[int] = []
    now = 0
    for gap, count in arrivals:
        now += gap
        recent = sum(now - window < moment for moment in sent)
        fits = recent + count <= limit
        assert budget.take(count, now) == fits
        sent += [now] * count if fits else []
    fullest = max((sum(start <= moment < start + window for moment in sent) for start in sent), default=0)
    assert fullest <= limit


@pytest.mark.parametrize("limit", [0, -3, 1])
def test_budget_lets_one_pass_at_least(limit: int) -> None:
    """However small the limit, one send a window is allowed: a collector that never polls is of no use."""
    budget = Budget(limit, 10)
    assert [budget.take(1, now) for now in (0, 9, 10, 11)] == [True, False, True, False]


def test_more_than_the_limit_pass_where_nothing_was_sent() -> None:
    """A market's two requests are sent together even where only one a window is allowed."""
    budget = Budget(1, 10)
    assert [budget.take(2, now) for now in (0, 9, 10)] == [True, False, True]


def turns_of(limit: int, costs: dict[str, int], intervals: int) -> list[frozenset[str]]:
    """Who has a turn in each of some intervals of a second."""
    turns = Turns(Budget(limit, 10 * NS), NS)
    chosen = []
    for _ in range(intervals):
        chosen.append(turns.choose(costs))
        for unit in sorted(chosen[-1]):
            turns.polled(unit)
    return chosen


@given(units=st.integers(2, 60), limit=st.integers(1, 300), cost=st.integers(1, 3))
def test_everybody_has_as_many_turns(units: int, limit: int, cost: int) -> None:
    """Where not all fit, no unit gets two turns more than another, and none is starved."""
    costs = {str(unit): cost for unit in range(units)}
    chosen = turns_of(limit, costs, 400)
    counted = Counter(unit for turn in chosen for unit in turn)
    counts = [counted[unit] for unit in costs]
    assert max(counts) - min(counts) <= 1


@given(units=st.integers(2, 60), limit=st.integers(1, 300), cost=st.integers(1, 3))
def test_turns_use_the_budget_and_no_more(units: int, limit: int, cost: int) -> None:
    """In the long run the turns come to the budget, or to everybody where it is large enough."""
    costs = {str(unit): cost for unit in range(units)}
    intervals = 400
    requests = sum(len(turn) * cost for turn in turns_of(limit, costs, intervals))
    wanted = min(limit / 10, units * cost) * intervals
    assert requests <= wanted + cost
    assert requests >= wanted - cost - limit / 10


def test_turns_are_spread_and_not_saved_up() -> None:
    """Half the budget needed is every second interval for each, not five seconds on and five off."""
    chosen = turns_of(75 * 10, {str(unit): 2 for unit in range(75)}, 20)
    assert {len(turn) for turn in chosen} <= {37, 38}
    for earlier, later in zip(chosen, chosen[2:], strict=False):
        assert len(earlier & later) >= 36


def test_newcomer_is_polled_first() -> None:
    """A market that was never polled has waited longest."""
    turns = Turns(Budget(10, 10 * NS), NS)
    for _ in range(7):
        for unit in turns.choose({"a": 1, "b": 1}):
            turns.polled(unit)
    assert turns.choose({"a": 1, "b": 1, "new": 1}) == {"new"}
