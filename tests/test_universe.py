from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS
from orderbooks_spider.config import Polling, Shard
from orderbooks_spider.universe import Universe, Window, owns

START = 1_776_323_400 * NS
END = START + 300 * NS
GRID = Grid(interval_ns=NS, buckets=20)


def condition(number: int) -> str:
    """A made-up condition id."""
    return "0x" + hashlib.sha256(str(number).encode()).hexdigest()


def window(number: int = 1, start_ns: int = START, label: str = "5m") -> Window:
    """A five-minute market with its two tokens."""
    return Window(
        market_slug=f"btc-updown-5m-{start_ns // NS}",
        condition_id=condition(number),
        label=label,
        start_ns=start_ns,
        end_ns=start_ns + 300 * NS,
        tokens=(("Up", f"{number}01"), ("Down", f"{number}02")),
    )


def universe(polling: Polling | None = None, shard: Shard | None = None) -> Universe:
    """An empty universe on the test grid, 60 s of lead and 30 s of linger."""
    return Universe(GRID, polling or Polling(), shard or Shard())


@given(number=st.integers(0, 500), late_ns=st.integers(-600 * NS, 400 * NS))
def test_due_exactly_inside_the_plan(number: int, late_ns: int) -> None:
    """A token is due at every grid point from lead (or now) up to the end of linger, and at no other."""
    planned = universe()
    now = START + late_ns
    planned.add(window(number), now)
    bucket = GRID.bucket(condition(number))
    from_ns, until_ns = max(START - 60 * NS, now), END + 30 * NS
    near = [GRID.due_ns(slot, bucket) for slot in range(START // NS - 700, END // NS + 100)]
    due = [moment for moment in near if planned.due(bucket, moment)]
    assert due == [moment for moment in near if from_ns <= moment < until_ns]


def test_due_at_the_exact_bounds() -> None:
    """A slot due exactly when the plan begins is polled, one due exactly when it ends is not."""
    planned = universe()
    bucket = GRID.bucket(condition(1))
    plan = planned.add(window(start_ns=GRID.due_ns(START // NS, bucket)), 0)
    assert plan is not None
    moments = (plan.from_ns - 1, plan.from_ns, plan.until_ns - 1, plan.until_ns)
    assert [len(planned.due(bucket, moment)) for moment in moments] == [0, 2, 2, 0]


def test_due_only_in_its_own_bucket() -> None:
    """A market is polled in one phase bucket and in no other."""
    planned = universe()
    planned.add(window(), 0)
    buckets = [bucket for bucket in range(20) if planned.due(bucket, START)]
    assert buckets == [GRID.bucket(condition(1))]


def test_tokens_of_a_market_are_adjacent() -> None:
    """The two tokens of a market are polled back to back, Up first, however many share the bucket."""
    planned = universe()
    for number in range(200):
        planned.add(window(number), 0)
    for bucket in range(20):
        tokens = planned.due(bucket, START)
        pairs = list(zip(tokens[::2], tokens[1::2], strict=True))
        assert [up.plan for up, _ in pairs] == [down.plan for _, down in pairs]
        assert {(up.outcome, down.outcome) for up, down in pairs} <= {("Up", "Down")}
    assert sum(len(planned.due(bucket, START)) for bucket in range(20)) == 400


def test_lead_by_window() -> None:
    """A table of leads is heeded window by window, with 60 s for a window that it lacks."""
    planned = universe(Polling(lead_seconds={"5m": 10, "1h": 600}))
    plans = [planned.add(window(number, label=label), 0) for number, label in enumerate(("5m", "1h", "1d"))]
    assert [START - plan.from_ns for plan in plans if plan] == [10 * NS, 600 * NS, 60 * NS]


def test_plan_tells_its_market() -> None:
    """A plan carries what a row needs: slug, condition id and the window's bounds as text."""
    plan = universe().add(window(), 0)
    assert plan is not None
    assert plan.market_slug == "btc-updown-5m-1776323400"
    assert (plan.window_start, plan.window_end) == (
        "2026-04-16T07:10:00.000000Z",
        "2026-04-16T07:15:00.000000Z",
    )
    assert [(token.outcome, token.token_id, token.plan) for token in plan.tokens] == [
        ("Up", "101", plan),
        ("Down", "102", plan),
    ]


def test_a_market_is_planned_once() -> None:
    """Discovery sees a market every minute; its slots stay planned once."""
    planned = universe()
    first = planned.add(window(), START)
    assert first is not None
    assert [planned.add(window(), START + late) for late in (0, 5 * NS)] == [None, None]
    assert len(planned) == 1
    assert len(planned.due(first.bucket, GRID.due_ns(START // NS + 9, first.bucket))) == 2


def test_a_market_that_is_over_is_not_planned() -> None:
    """A market with no slot left gets no plan."""
    planned = universe()
    assert planned.add(window(), END + 30 * NS) is None
    assert (len(planned), list(planned.plans)) == (0, [])


def test_ended_markets_are_dropped() -> None:
    """A plan goes once nothing of it can be due, not before, and leaves the others alone."""
    planned = universe()
    old, new = planned.add(window(1), 0), planned.add(window(2, END), 0)
    assert old is not None
    planned.drop_ended(old.until_ns - 1)
    assert list(planned.plans) == [old, new]
    planned.drop_ended(old.until_ns)
    assert list(planned.plans) == [new]
    assert planned.due(old.bucket, START) == []


def test_dropped_market_is_not_planned_again() -> None:
    """A market seen once more after its plan was dropped has no slot left, so none is polled twice."""
    planned = universe()
    planned.add(window(), 0)
    planned.drop_ended(END + 30 * NS)
    assert planned.add(window(), END + 30 * NS) is None


def share(index: int, count: int, markets: range) -> set[int]:
    """Which markets one of *count* collectors takes."""
    planned = universe(shard=Shard(index=index, count=count))
    return {number for number in markets if planned.add(window(number), 0)}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_market_has_one_shard(count: int) -> None:
    """Shards together take every market, each exactly once, in about equal parts."""
    markets = range(700)
    shares = [share(index, count, markets) for index in range(count)]
    assert Counter(number for part in shares for number in part) == Counter(markets)
    assert min(map(len, shares)) > 0.7 * len(markets) / count


CONDITIONS = st.lists(st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()), max_size=20)


def owner(condition_id: str, count: int) -> int:
    """The shard of a market, which is exactly one."""
    (index,) = (index for index in range(count) if owns(Shard(index=index, count=count), condition_id))
    return index


@given(conditions=CONDITIONS, count=st.integers(1, 12))
def test_a_new_shard_moves_markets_to_itself_only(conditions: list[str], count: int) -> None:
    """Whatever the ids, each market has one shard; one shard more takes some of them and moves no other."""
    for condition_id in conditions:
        assert owner(condition_id, count + 1) in {owner(condition_id, count), count}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_new_shard_takes_its_share(count: int) -> None:
    """Adding a collector moves about one market in n to it."""
    markets = range(1200)
    expected = len(markets) / (count + 1)
    assert 0.8 * expected < len(share(count, count + 1, markets)) < 1.2 * expected
