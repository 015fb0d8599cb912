from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.loop_lag import STEP_NS, LoopLag
from tests.fake_clock import FakeClock

STEP = STEP_NS / NS


async def watched(lag: LoopLag, clock: FakeClock, calm_and_stalls: list[tuple[int, int]]) -> None:
    """Let the watch run for some planned wakes, then stand still for some ms, again and again."""
    watch = asyncio.create_task(lag.watch())
    await asyncio.sleep(0)
    for wakes, stall_ms in calm_and_stalls:
        await clock.sleep(wakes * STEP + STEP / 2)
        clock.advance(stall_ms / 1000)
    await clock.sleep(STEP)
    watch.cancel()


def test_calm_loop_has_no_lag() -> None:
    """A loop that wakes in time gives a sample for each planned wake, all zero."""
    clock = FakeClock()
    lag = LoopLag(clock)
    asyncio.run(watched(lag, clock, [(20, 0)]))
    assert lag.take() == {"samples": 21, "p50_ns": 0, "p99_ns": 0, "max_ns": 0}


def test_stall_counts_for_each_wake_it_delayed() -> None:
    """A loop that stands still for 340 ms delays three planned wakes, each by what was left of it."""
    clock = FakeClock()
    lag = LoopLag(clock)
    asyncio.run(watched(lag, clock, [(4, 340)]))
    taken = lag.take()
    assert taken["samples"] == 8
    assert taken["max_ns"] == taken["p99_ns"] == 290_000_000
    assert taken["p50_ns"] == 0


def test_nothing_taken_is_nothing_said() -> None:
    """Without a sample there is no lag, not a lag of zero; what was taken once is gone."""
    clock = FakeClock()
    lag = LoopLag(clock)
    asyncio.run(watched(lag, clock, [(1, 0)]))
    lag.take()
    assert lag.take() == {"samples": 0, "p50_ns": None, "p99_ns": None, "max_ns": None}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2_000)), max_size=8))
def test_every_planned_wake_is_one_sample(calm_and_stalls: list[tuple[int, int]]) -> None:
    """However the loop stalls, each planned wake that has passed is counted once."""
    clock = FakeClock()
    lag = LoopLag(clock)
    asyncio.run(watched(lag, clock, calm_and_stalls))
    samples = lag.take()["samples"]
    assert samples is not None
    assert 0 <= clock.monotonic_ns() - samples * STEP_NS <= STEP_NS
