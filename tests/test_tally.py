from __future__ import annotations

from dataclasses import fields
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.items import (
    FEED_OF,
    FEEDS,
    RESULTS,
    EventItem,
    MarketItem,
    PollItem,
    time_of,
)
from orderbooks_spider.tally import Tally, percentile

POLL_KEYS = (
    "schema run_id collector_id seq slot due_ns sent_ns received_ns elapsed_ns collected_at_utc result "
    "reason status method url params request_id batch headers venue market_slug condition_id token_id "
    "outcome window_start window_end collector collector_version environment body body_encoding"
)
"""The contract of a raw row, in the order on disk."""


def poll(
    result: str = "ok",
    reason: str | None = None,
    *,
    due_ns: int = 0,
    sent_ns: int | None = None,
    elapsed_ns: int | None = None,
) -> PollItem:
    """A row of one token."""
    return PollItem(
        slot=1,
        due_ns=due_ns,
        sent_ns=sent_ns,
        elapsed_ns=elapsed_ns,
        result=result,
        reason=reason,
        market_slug="btc-updown-5m-1776323400",
        condition_id="0x" + "0" * 64,
        token_id="1",
        outcome="Up",
        window_start="2026-04-16T07:10:00.000000Z",
        window_end="2026-04-16T07:15:00.000000Z",
    )


def test_poll_row_has_the_keys_of_the_contract() -> None:
    """A poll row's keys, and their order, are those that readers were promised."""
    assert " ".join(field.name for field in fields(PollItem)) == POLL_KEYS
    assert poll().schema == "orderbooks.poll/1"


def test_each_item_has_its_feed_and_its_time() -> None:
    """Every kind of row goes to one feed, filed under the time that is its own."""
    market, event = MarketItem(kind="answer", observed_ns=7), EventItem(event="run_start", at_ns=9)
    rows: list[PollItem | MarketItem | EventItem] = [poll(due_ns=5, sent_ns=6), market, event]
    assert [FEED_OF[type(row)] for row in rows] == list(FEEDS)
    assert [time_of(row) for row in rows] == [5, 7, 9]
    assert (market.schema, event.schema) == ("orderbooks.market/1", "orderbooks.event/1")


def test_event_details_are_not_shared() -> None:
    """Two events never write into one another's detail."""
    first, second = EventItem(event="a", at_ns=0), EventItem(event="b", at_ns=0)
    first.detail["x"] = 1
    assert second.detail == {}


@given(values=st.lists(st.integers(), min_size=1), percent=st.integers(1, 100))
def test_percentile_is_nearest_rank(values: list[int], percent: int) -> None:
    """It is the smallest value with at least that part of all values at or below it."""
    found = percentile(sorted(values), percent / 100)
    assert found is not None
    enough = Fraction(percent, 100) * len(values)
    assert sum(value <= found for value in values) >= enough
    assert sum(value < found for value in values) < enough


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (99, 99), (100, 99), (101, 100), (200, 198)])
def test_percentile_99_of_counted_values(count: int, expected: int) -> None:
    """Of a hundred values the 99th is the p99, not the largest."""
    assert percentile(list(range(1, count + 1)), 0.99) == expected


def test_percentile_of_nothing() -> None:
    """Without values there is no percentile, rather than a zero."""
    assert percentile([], 0.5) is None


def test_tally_counts_each_row() -> None:
    """Results and reasons are counted by row, times only of rows that have them."""
    tally = Tally()
    tally.add(poll(due_ns=100, sent_ns=130, elapsed_ns=50))
    tally.add(poll("skipped", "budget"))
    tally.add(poll("skipped", "budget"))
    tally.add(poll("timeout", "TimeoutError", due_ns=100, sent_ns=107))
    assert tally.results == {"ok": 1, "skipped": 2, "timeout": 1}
    assert tally.reasons == {"skipped/budget": 2, "timeout/TimeoutError": 1}
    assert (list(tally.lateness_ns), list(tally.latency_ns)) == ([30, 7], [50])


@given(results=st.lists(st.sampled_from(RESULTS)), cut=st.integers(0, 50))
def test_taking_loses_and_doubles_nothing(results: list[str], cut: int) -> None:
    """Two takings together hold what one would have held, and after them nothing is left."""
    whole, parted = Tally(), Tally()
    for result in results:
        whole.add(poll(result, sent_ns=1))
    for result in results[:cut]:
        parted.add(poll(result, sent_ns=1))
    first = parted.take()
    for result in results[cut:]:
        parted.add(poll(result, sent_ns=1))
    second = parted.take()
    assert first.results + second.results == whole.results
    assert first.lateness_ns + second.lateness_ns == whole.lateness_ns
    assert parted.take() == Tally()


def test_line_says_what_happened() -> None:
    """The minute line tells slots, answers, reasons in a fixed order, lateness and latency."""
    tally = Tally()
    tally.add(poll(sent_ns=2_500_000, elapsed_ns=40_000_000))
    tally.add(poll("throttled", "venue_error"))
    tally.add(poll("skipped", "paused"))
    assert tally.line() == (
        "3 slots, 1 answered (skipped/paused 1, throttled/venue_error 1), "
        "lateness p99 2.5 ms, latency p99 40.0 ms"
    )


def test_line_of_an_idle_minute() -> None:
    """A minute without polls says so and names no times."""
    assert Tally().line() == "0 slots, 0 answered"
