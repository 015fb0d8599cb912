from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.throttle import (
    FIRST_PAUSE_NS,
    LONGEST_HEEDED_NS,
    LONGEST_PAUSE_NS,
    HostPause,
    LatencyWatch,
    retry_after_ns,
)

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
WALL_NS = int(NOW.timestamp()) * NS


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("7", 7), (" 120 ", 120), ("007", 7)])
def test_retry_after_in_seconds(value: str, seconds: int) -> None:
    """``Retry-After`` as a count of seconds is that wait."""
    assert retry_after_ns(value, WALL_NS) == seconds * NS


@given(seconds=st.integers(-100_000, 100_000))
def test_retry_after_as_a_date(seconds: int) -> None:
    """``Retry-After`` as a date is the wait until then, and none for a date gone by."""
    value = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_ns(value, WALL_NS) == max(0, seconds) * NS


def test_retry_after_example_of_the_standard() -> None:
    """The date form is read as RFC 9110 prints it."""
    assert retry_after_ns("Mon, 23 Nov 2026 01:02:03 GMT", WALL_NS) == 123 * NS


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", "-5", "1.5", "\u00b2", "9" * 5000, "Mon, 99 Nov 2026 01:02:03 GMT", "2026-11-23"],
)
def test_retry_after_unreadable(value: str | None) -> None:
    """A ``Retry-After`` that says nothing is no wait, and no crash."""
    assert retry_after_ns(value, WALL_NS) is None


@given(value=st.text(st.characters(max_codepoint=255)))
def test_retry_after_never_raises(value: str) -> None:
    """Whatever bytes the header holds, the answer is a wait of zero or more, or none."""
    wait_ns = retry_after_ns(value, WALL_NS)
    assert wait_ns is None or wait_ns >= 0


def test_no_pause_before_a_refusal() -> None:
    """Nothing holds polls back until the venue refuses one."""
    assert not HostPause().holds(0)


def test_pause_lasts_as_long_as_asked() -> None:
    """A refusal that names a wait pauses for exactly that wait."""
    pause = HostPause()
    assert pause.refused(3 * NS, 10 * NS)
    assert [pause.holds(moment) for moment in (10 * NS, 13 * NS - 1, 13 * NS)] == [True, True, False]


def test_asked_pause_is_capped() -> None:
    """A venue that asks for a year is asked again after ten minutes."""
    pause = HostPause()
    pause.refused(31_536_000 * NS, 0)
    assert pause.until_ns == LONGEST_HEEDED_NS


def test_own_pause_doubles_to_its_cap_and_starts_again() -> None:
    """Without a named wait the pauses are 1, 2, 4 ... 60 seconds, and 1 again after an answer."""
    pause, now = HostPause(), 0
    waits = []
    for _ in range(9):
        pause.refused(None, now)
        waits.append((pause.until_ns - now) // NS)
        now = pause.until_ns
    pause.answered()
    pause.refused(None, now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pause.until_ns - now == FIRST_PAUSE_NS


def test_refusals_of_one_burst_count_once() -> None:
    """Polls under way when the first refusal came begin no second pause and double nothing."""
    pause = HostPause()
    began = [pause.refused(None, moment) for moment in (0, 1000, 2000)]
    assert began == [True, False, False]
    assert pause.refusals == 1
    assert pause.until_ns == 2000 + FIRST_PAUSE_NS


def test_burst_never_shortens_a_pause() -> None:
    """A later refusal with a shorter wait leaves the longer one standing."""
    pause = HostPause()
    pause.refused(30 * NS, 0)
    pause.refused(NS, NS)
    assert pause.until_ns == 30 * NS


def test_answer_within_a_burst() -> None:
    """An answer between two refusals of a burst neither ends the pause nor upsets the next refusal."""
    pause = HostPause()
    pause.refused(None, 0)
    pause.answered()
    assert not pause.refused(None, 10)
    assert pause.until_ns == 10 + FIRST_PAUSE_NS


STEPS = st.lists(
    st.tuples(st.integers(0, 100 * NS), st.none() | st.integers(0, 2000 * NS) | st.just("answered")),
    max_size=40,
)


@given(steps=STEPS)
def test_pause_stays_in_bounds(steps: list[tuple[int, int | str | None]]) -> None:
    """Whatever comes in whatever order, no refusal pauses longer than the caps, nor ends a pause sooner."""
    pause, now = HostPause(), 0
    for gap, step in steps:
        now += gap
        before = pause.until_ns
        if isinstance(step, str):
            pause.answered()
            assert pause.until_ns == before
            continue
        pause.refused(step, now)
        longest = LONGEST_PAUSE_NS if step is None else LONGEST_HEEDED_NS
        assert before <= pause.until_ns <= max(before, now + longest)


def latencies(*spans: tuple[float, int]) -> list[tuple[float, int]]:
    """(seconds, latency in ms) of answers: each span of ten seconds has so many of such a latency."""
    return [
        (10 * index + 10 * place / count, round(milliseconds))
        for index, (milliseconds, count) in enumerate(spans)
        for place in range(count)
    ]


def told(answers: list[tuple[float, int]]) -> list[tuple[str, int]]:
    """(event, span in which it was told) of a series of answers."""
    watch = LatencyWatch()
    return [
        (event, int(seconds // 10))
        for seconds, milliseconds in answers
        for event, _ in watch.add(milliseconds * 1_000_000, round(seconds * NS))
    ]


def test_rising_latency_at_constant_load_is_suspected() -> None:
    """Answers that take ten times as long at the same load are told once, and so is their end."""
    spans = [(40, 100)] * 6 + [(400, 100)] * 6 + [(40, 100)] * 3
    assert told(latencies(*spans)) == [("throttle_suspected", 8), ("throttle_over", 13)]


def test_slowness_of_our_own_load_is_not_suspected() -> None:
    """Latency that rises together with the load says nothing about the venue."""
    assert told(latencies(*[(40, 100)] * 6, *[(400, 200)] * 6, (40, 100))) == []


@pytest.mark.parametrize("slow", [(80, 100), (119, 100)])
def test_moderate_change_is_not_suspected(slow: tuple[float, int]) -> None:
    """Less than three times the usual latency is the weather."""
    assert told(latencies(*[(40, 100)] * 6, *[slow] * 6, (40, 100))) == []


def test_fast_venue_may_be_some_milliseconds_slower() -> None:
    """Three times almost nothing is still almost nothing."""
    assert told(latencies(*[(2, 100)] * 6, *[(20, 100)] * 6, (2, 100))) == []


def test_single_slow_span_is_not_suspected() -> None:
    """One slow span alone is a hiccup."""
    assert told(latencies(*([(40, 100)] * 4 + [(900, 100)]) * 5)) == []


def test_slowness_that_stays_becomes_usual() -> None:
    """After ten slow minutes the venue is as it is: the suspicion ends, and starts anew from there."""
    spans = [(40, 100)] * 6 + [(400, 100)] * 75 + [(4000, 100)] * 5
    assert [event for event, _ in told(latencies(*spans))] == [
        "throttle_suspected", "throttle_over", "throttle_suspected",
    ]  # fmt: skip


@given(answers=st.lists(st.tuples(st.floats(0, 10_000), st.integers(0, 10_000)), max_size=300))
def test_latency_watch_takes_anything(answers: list[tuple[float, int]]) -> None:
    """Whatever answers come when, suspicions and their ends alternate."""
    events = [event for event, _ in told(sorted(answers))]
    assert all(event == ("throttle_over" if place % 2 else "throttle_suspected")
               for place, event in enumerate(events))  # fmt: skip
