from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS, Clock, SystemClock, compact_utc, iso_utc, parse_utc
from tests.fake_clock import FakeClock

LAST_NS = 253_402_300_799_999_999_000
"""9999-12-31T23:59:59.999999Z."""


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-03-12T09:20:00Z", 1_773_307_200 * NS),
        ("2026-03-11T09:29:01.328428Z", 1_773_221_341_328_428_000),
        ("2026-06-08 00:00:16+00", 1_780_876_816 * NS),
        ("2026-03-12T05:20:00-04:00", 1_773_307_200 * NS),
        ("1969-12-31T23:59:59Z", -NS),
    ],
)
def test_parse_utc_reads_venue_forms(text: str, ns: int) -> None:
    """The three forms of the venue, and any other zone, give the same nanosecond of UTC."""
    assert parse_utc(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-12T09:20:00",
        "2026-03-12",
        "soon",
        "",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
    ],
)
def test_parse_utc_refuses_what_is_no_moment(text: str) -> None:
    """A time without a zone, no time at all, or one that UTC cannot write is a ValueError."""
    with pytest.raises(ValueError, match=r"zone|isoformat|month|outside"):
        parse_utc(text)


@given(ns=st.integers(0, LAST_NS))
def test_iso_utc_round_trip(ns: int) -> None:
    """Writing a time and reading it gives its whole microseconds back, in a text of fixed width."""
    text = iso_utc(ns)
    assert parse_utc(text) == ns - ns % 1000
    assert len(text) == len("2026-04-16T08:35:03.018000Z")


@given(first=st.integers(0, LAST_NS), second=st.integers(0, LAST_NS))
def test_texts_sort_like_times(first: int, second: int) -> None:
    """A later time never has a text that sorts before an earlier one's."""
    early, late = sorted((first, second))
    assert sorted([iso_utc(late), iso_utc(early)]) == [iso_utc(early), iso_utc(late)]
    assert sorted([compact_utc(late), compact_utc(early)]) == [compact_utc(early), compact_utc(late)]


def test_utc_texts_have_the_documented_forms() -> None:
    """The forms of rows and of file names are those that the data contract shows."""
    assert iso_utc(1_776_328_503_018_000_000) == "2026-04-16T08:35:03.018000Z"
    assert compact_utc(1_776_328_503_018_000_000) == "20260416T083503Z"


def test_system_clock_asks_the_host() -> None:
    """The system clock's readings lie between two readings of the host's own clocks."""
    clock: Clock = SystemClock()
    wall, monotonic = time.time_ns(), time.monotonic_ns()
    readings = clock.wall_ns(), clock.monotonic_ns()
    assert wall <= readings[0] <= time.time_ns()
    assert monotonic <= readings[1] <= time.monotonic_ns()


def test_fake_clock_wakes_sleepers_in_order() -> None:
    """On the fake clock the shortest sleep ends first, and time ends where the longest sleep does."""
    clock = FakeClock(wall_ns=5 * NS)
    woken: list[tuple[str, int]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.wall_ns() // NS))

    async def both() -> None:
        await asyncio.gather(sleeper("long", 10), sleeper("short", 3, 4, 5), sleeper("none", 0))

    asyncio.run(both())
    assert woken == [("none", 5), ("short", 8), ("short", 12), ("long", 15), ("short", 17)]


def test_fake_clock_forgets_a_cancelled_sleeper() -> None:
    """A sleep that is cancelled holds nobody else up and moves no time."""
    clock: Clock = FakeClock()

    async def cancel_the_shorter() -> None:
        shorter = asyncio.create_task(clock.sleep(1))
        longer = asyncio.create_task(clock.sleep(100))
        await asyncio.sleep(0)
        shorter.cancel()
        await asyncio.gather(shorter, longer, return_exceptions=True)

    asyncio.run(cancel_the_shorter())
    assert clock.monotonic_ns() == 100 * NS


def test_fake_clock_steps_the_wall_alone() -> None:
    """A step moves the wall clock and leaves the monotonic one; time that passes moves both."""
    clock = FakeClock(wall_ns=100 * NS)
    clock.advance(2)
    clock.step_wall(-50)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (52 * NS, 2 * NS)
