from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS

GRIDS = st.builds(
    Grid, interval_ns=st.integers(50_000_000, 3600 * NS), buckets=st.integers(min_value=1, max_value=1000)
)
TIMES = st.integers(0, 4 * 10**18)
SECOND = Grid(interval_ns=NS, buckets=20)

KNOWN_BUCKETS = {
    "0x78443f961b9a65869dcb39359de9960165c7e5cbad0904eac7f29cd77872a63b": (2, 462),
    "0xc0c6407cec278c626c1a129615d1b2a84bf263e833c90885c9a48753752942c6": (14, 134),
    "0x6fa121d31b5ed65b5c34b32ae646e4751b37ffd49c3cbcc379b055e22e27094c": (11, 811),
    "0x9bf175d7c7b49a4eb91b2cc6f0e4a53677f13e2efbb7ee079ed5640bd421e25b": (10, 110),
}
"""Buckets of 20 and of 1000: archives were planned with these, so they may never change."""


@pytest.mark.parametrize("condition_id", KNOWN_BUCKETS)
def test_bucket_of_known_markets(condition_id: str) -> None:
    """A market's bucket is the one that stored archives were planned with."""
    buckets = tuple(Grid(NS, count).bucket(condition_id) for count in (20, 1000))
    assert buckets == KNOWN_BUCKETS[condition_id]


def test_buckets_spread_evenly() -> None:
    """Each of 20 buckets gets its share of many markets, within four standard deviations."""
    counts = Counter(SECOND.bucket(f"0x{number:064x}") for number in range(20_000))
    assert sorted(counts) == list(range(20))
    assert max(abs(count - 1000) for count in counts.values()) < 4 * 31


@given(grid=GRIDS, slot=st.integers(0, 10**10), data=st.data())
def test_due_time_is_on_the_grid(grid: Grid, slot: int, data: st.DataObject) -> None:
    """A slot is due at ``k * interval + bucket * interval / buckets``, before the next slot begins."""
    bucket = data.draw(st.integers(0, grid.buckets - 1))
    due = grid.due_ns(slot, bucket)
    assert due // grid.interval_ns == slot
    assert due % grid.interval_ns == bucket * grid.interval_ns // grid.buckets


@given(grid=GRIDS, from_ns=TIMES, data=st.data())
def test_first_slot_is_the_first(grid: Grid, from_ns: int, data: st.DataObject) -> None:
    """The first slot is due at or after the moment, and the one before it was due earlier."""
    bucket = data.draw(st.integers(0, grid.buckets - 1))
    slot = grid.first_slot(from_ns, bucket)
    assert grid.due_ns(slot - 1, bucket) < from_ns <= grid.due_ns(slot, bucket)


@given(grid=GRIDS, from_ns=TIMES, span=st.integers(0, 100), data=st.data())
def test_slots_are_half_open(grid: Grid, from_ns: int, span: int, data: st.DataObject) -> None:
    """Slots lie in ``[from, until)``, none is left out, and two adjoining spans share none."""
    bucket = data.draw(st.integers(0, grid.buckets - 1))
    middle_ns = from_ns + span * grid.interval_ns // 10
    until_ns = middle_ns + span * grid.interval_ns // 7
    near = range(from_ns // grid.interval_ns - 1, until_ns // grid.interval_ns + 2)
    inside = [slot for slot in near if from_ns <= grid.due_ns(slot, bucket) < until_ns]
    assert list(grid.slots(from_ns, until_ns, bucket)) == inside
    parts = [*grid.slots(from_ns, middle_ns, bucket), *grid.slots(middle_ns, until_ns, bucket)]
    assert parts == inside


def test_slots_at_their_exact_bounds() -> None:
    """A slot due exactly at the start counts, one due exactly at the end does not."""
    due = SECOND.due_ns(7, 3)
    assert due == 7_150_000_000
    assert list(SECOND.slots(due, due + 2 * NS, 3)) == [7, 8]
    assert list(SECOND.slots(due + 1, due + 2 * NS + 1, 3)) == [8, 9]
    assert list(SECOND.slots(due, due, 3)) == []


@given(grid=GRIDS, from_ns=TIMES, count=st.integers(1, 300))
def test_ticks_list_every_slot_once_in_due_order(grid: Grid, from_ns: int, count: int) -> None:
    """Ticks from a moment on are all slots of all buckets due from then, each once, in due order."""
    first = grid.first_tick(from_ns)
    ticks = range(first, first + count)
    dues = [grid.tick_due_ns(tick) for tick in ticks]
    assert dues == sorted(set(dues))
    until_ns = grid.tick_due_ns(first + count)
    planned = {
        (slot, bucket) for bucket in range(grid.buckets) for slot in grid.slots(from_ns, until_ns, bucket)
    }
    assert [grid.split(tick) for tick in ticks] == sorted(planned, key=lambda at: grid.due_ns(*at))
