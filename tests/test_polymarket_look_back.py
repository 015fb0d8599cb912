"""Windows that passed while nobody listed them are recorded afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.config import parse
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.polymarket.discovery import Discovery
from orderbooks_spider.polymarket.gamma import PAGES_AT_MOST
from orderbooks_spider.polymarket.look_back import FOLLOW_NS, SLUGS_AT_MOST, SPAN_NS, SPANS_AT_MOST
from orderbooks_spider.sandbox.exchange import Exchange, Setup
from tests.fake_clock import FakeClock
from tests.small_gamma import START, Gamma, discover, run, seen, slug_at

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.endpoints import Ask
    from orderbooks_spider.polymarket.gamma import Pass
    from orderbooks_spider.polymarket.look_back import LookedBack

HALF_HOUR = FOLLOW_NS // NS


@pytest.fixture
def gamma() -> Gamma:
    """A Gamma that has shown every five-minute window of the last ten hours; the last is not resolved."""
    gamma = Gamma(FakeClock(START * NS))
    for minutes in range(-600, 0, 5):
        gamma.open_market(minutes)
    for minutes in range(-600, -5, 5):
        gamma.resolve(minutes)
    return gamma


def look_back(discovery: Discovery) -> tuple[Pass, list[LookedBack]]:
    """One round of looking back."""
    return asyncio.run(discovery.look_back())


def pass_and_look_back(discovery: Discovery) -> list[LookedBack]:
    """A pass, and what the round behind it looked back over."""
    run(discovery)
    return look_back(discovery)[1]


def test_first_run_looks_back_half_an_hour(gamma: Gamma) -> None:
    """A run on an empty archive records the windows of the last half hour, each once, and says so."""
    discovery = discover(gamma)
    assert seen(run(discovery)) == [slug_at(-5)]
    found, (span,) = look_back(discovery)
    assert seen(found) == [slug_at(minutes) for minutes in range(-35, -5, 5)]
    assert (span.window, span.found, span.missing, span.cut_off) == ("5m", 6, 0, False)
    assert (span.from_ns, span.until_ns) == ((START - HALF_HOUR) * NS, START * NS)


@pytest.mark.parametrize("hours", [0, 1, 7])
def test_later_run_looks_back_to_the_earlier_one(gamma: Gamma, hours: int) -> None:
    """Every window since the earlier run is recorded, with those that it was following at its end."""
    discovery = discover(gamma)
    discovery.past.resume({"5m": (START - 3600 * hours) * NS})
    run(discovery)
    found, (span,) = look_back(discovery)
    assert seen(found) == [slug_at(minutes) for minutes in range(-60 * hours - 35, -5, 5)]
    assert span.found == 12 * hours + 6
    assert all(sighting.market.resolved for sighting in found.sightings)


def test_window_that_is_not_closed_yet_is_recorded(gamma: Gamma) -> None:
    """A window that has just ended, in no listing of a pass, is found by looking back, and is followed."""
    gamma.clock.advance(60)
    discovery = discover(gamma)
    assert slug_at(-5) not in seen(run(discovery))
    assert slug_at(-5) in seen(look_back(discovery)[0])
    gamma.resolve(-5)
    assert seen(run(discovery)) == [slug_at(-5)]


OUTAGES = [(None, b""), (503, b"<html>"), (429, b""), (200, b"<html>"), (200, b"{}"), (422, b"{}")]


@pytest.mark.parametrize("broken", OUTAGES)
def test_outage_within_a_run_hides_no_window(gamma: Gamma, broken: tuple[int | None, bytes]) -> None:
    """After hours without a good listing each window that passed meanwhile is recorded once."""
    for minutes in range(0, 600, 5):
        gamma.open_market(minutes)
    discovery = discover(gamma)
    pass_and_look_back(discovery)
    known = set(discovery.markets)
    gamma.broken["/"] = broken
    for _ in range(5):
        gamma.clock.advance(3600)
        assert pass_and_look_back(discovery) == []
    gamma.broken.clear()
    for minutes in range(0, 295, 5):
        gamma.resolve(minutes)
    sightings = [*run(discovery).sightings]
    found, (span,) = look_back(discovery)
    recorded = Counter(each.market.market_slug for each in [*sightings, *found.sightings])
    passed = {slug_at(minutes) for minutes in range(0, 295, 5)}
    assert passed - set(recorded) == set()
    assert {recorded[slug] for slug in passed} == {1}
    assert passed - known
    assert (span.from_ns, span.until_ns) == ((START - HALF_HOUR) * NS, (START + 5 * 3600) * NS)
    assert span.missing == 0
    assert pass_and_look_back(discovery) == []


def test_short_gap_is_not_looked_back_over(gamma: Gamma) -> None:
    """As long as passes succeed, and after a single failed one, nothing is asked about the past."""
    discovery = discover(gamma)
    pass_and_look_back(discovery)
    for seconds in (60, 60, 110, 60):
        gamma.clock.advance(seconds)
        gamma.asked.clear()
        assert pass_and_look_back(discovery) == []
        assert gamma.asks("/events/keyset", closed="true") == []
    assert discovery.past.complete_until_ns == {"5m": gamma.clock.wall_ns()}


@pytest.mark.parametrize("broken", OUTAGES)
def test_failed_look_back_is_tried_again(gamma: Gamma, broken: tuple[int | None, bytes]) -> None:
    """A look back that fails takes nothing, leaves the past unknown, and is made up for later."""
    discovery = discover(gamma)
    run(discovery)
    gamma.broken["/events"] = broken
    found, spans = look_back(discovery)
    assert (found.sightings, spans) == ([], [])
    assert discovery.past.complete_until_ns == {"5m": (START - HALF_HOUR) * NS}
    gamma.broken.clear()
    gamma.clock.advance(60)
    run(discovery)
    found, (span,) = look_back(discovery)
    assert seen(found) == [slug_at(minutes) for minutes in range(-35, -5, 5)]
    assert (span.from_ns, span.until_ns) == ((START - HALF_HOUR) * NS, (START + 60) * NS)


def test_nothing_is_looked_back_over_before_the_first_listing(gamma: Gamma) -> None:
    """While the open events cannot be listed nothing is asked about the past."""
    gamma.broken["/events"] = 503, b""
    discovery = discover(gamma)
    run(discovery)
    gamma.broken.clear()
    assert look_back(discovery)[1] == []


def test_refused_dates_are_said_once(gamma: Gamma, caplog: pytest.LogCaptureFixture) -> None:
    """Where the venue refuses the filters the operator is told once, and the past stays unknown."""
    gamma.refuses_dates = True
    discovery = discover(gamma)
    for _ in range(3):
        assert pass_and_look_back(discovery) == []
    assert sum("cannot be looked for" in message for message in caplog.messages) == 1
    assert discovery.past.complete_until_ns == {"5m": (START - HALF_HOUR) * NS}


def test_pages_of_the_past_are_followed(gamma: Gamma) -> None:
    """A span of many pages is read to its end."""
    gamma.page_size = 7
    discovery = discover(gamma)
    discovery.past.resume({"5m": (START - 9 * 3600) * NS})
    (span,) = pass_and_look_back(discovery)
    assert (span.found, span.missing, span.cut_off) == (9 * 12 + 6, 0, False)


@pytest.mark.parametrize("repeats", [True, False])
def test_listing_without_end_is_said(gamma: Gamma, repeats: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A span whose listing has no end is left with a row and a warning that say so, not tried for ever."""
    gamma.page_size, gamma.repeats_cursor = 1, repeats
    discovery = discover(gamma)
    discovery.past.resume({"5m": (START - 9 * 3600) * NS})
    (span,) = pass_and_look_back(discovery)
    assert span.cut_off
    assert span.found == (1 if repeats else PAGES_AT_MOST) + SLUGS_AT_MOST
    assert span.missing == 9 * 12 + 6 - span.found
    assert any(f"{span.missing} more" in message for message in caplog.messages)
    assert discovery.past.complete_until_ns == {"5m": START * NS}


def test_window_that_no_listing_shows_is_asked_for_by_slug(gamma: Gamma) -> None:
    """What the calendar demands and the listings lack is asked for one by one, and counted if unknown."""
    del gamma.events[slug_at(-15)]
    gamma.unlisted = {slug_at(-20)}
    discovery = discover(gamma)
    run(discovery)
    found, (span,) = look_back(discovery)
    assert slug_at(-20) in seen(found)
    assert (span.found, span.missing) == (5, 1)


def test_long_absence_is_caught_up_with_by_and_by(gamma: Gamma) -> None:
    """A collector that was away for ten days asks day by day, some days a round, the oldest first."""
    discovery = discover(gamma)
    away_ns = 10 * SPAN_NS - FOLLOW_NS
    discovery.past.resume({"5m": START * NS - away_ns})
    first = pass_and_look_back(discovery)
    second = look_back(discovery)[1]
    assert (len(first), len(second), look_back(discovery)[1]) == (SPANS_AT_MOST, 10 - SPANS_AT_MOST, [])
    spans = [*first, *second]
    assert [span.until_ns for span in spans[:-1]] == [span.from_ns for span in spans[1:]]
    assert (spans[0].from_ns, spans[-1].until_ns) == (START * NS - 10 * SPAN_NS, START * NS)
    assert sum(span.found for span in spans) == 119


def test_old_window_is_recorded_and_not_followed(gamma: Gamma) -> None:
    """An unresolved window of long ago is only recorded; one of the last half hour is asked after."""
    gamma.open_market(-120)
    gamma.open_market(-15)
    discovery = discover(gamma)
    discovery.past.resume({"5m": (START - 3 * 3600) * NS})
    run(discovery)
    found, _ = look_back(discovery)
    assert {slug_at(-120), slug_at(-15)} <= set(seen(found))
    gamma.asked.clear()
    run(discovery)
    assert (len(gamma.asks(slug_at(-120))), len(gamma.asks(slug_at(-15)))) == (0, 1)


def test_resolution_that_fell_into_an_outage_is_recorded(gamma: Gamma) -> None:
    """A market that had ended before the outage, and was given up in it, is seen resolved afterwards."""
    discovery = discover(gamma)
    pass_and_look_back(discovery)
    gamma.broken["/"] = 503, b"<html>"
    gamma.clock.advance(3600)
    assert [row.market_slug for row in run(discovery).refusals if row.gave_up] == [slug_at(-5)]
    gamma.broken.clear()
    gamma.resolve(-5)
    run(discovery)
    assert slug_at(-5) in seen(look_back(discovery)[0])


def test_clock_set_back_owes_nothing(gamma: Gamma) -> None:
    """A wall clock that steps back makes no negative span; one that steps ahead is looked back over."""
    discovery = discover(gamma)
    pass_and_look_back(discovery)
    gamma.clock.step_wall(-7200)
    assert pass_and_look_back(discovery) == []
    gamma.clock.step_wall(7200)
    (span,) = pass_and_look_back(discovery)
    assert span.until_ns - span.from_ns == (7200 + HALF_HOUR) * NS


def test_end_of_an_earlier_run_may_lie_in_the_future(gamma: Gamma) -> None:
    """Where the earlier run's clock was ahead, the last half hour is looked back over."""
    discovery = discover(gamma)
    discovery.past.resume({"5m": (START + 86_400) * NS})
    (span,) = pass_and_look_back(discovery)
    assert span.from_ns == (START - HALF_HOUR) * NS


class Life:
    """A collector's discovery against the real sandbox exchange, in simulated time."""

    def __init__(self, begin_ns: int) -> None:
        self.clock = FakeClock(begin_ns)
        self.exchange = Exchange(Setup(), self.clock)
        self.config = parse({"discovery": {"horizon_seconds": 600}}, source="test")
        self.down = False
        self.recorded: Counter[str] = Counter()
        self.start({})

    def start(self, known: dict[str, int]) -> None:
        """Begin a run that knows what the one before has written down."""
        self.discovery = Discovery(self.config, self.clock, self.fetch)
        self.discovery.past.resume(known)

    async def fetch(self, ask: Ask) -> Answer:
        """Answer as the exchange does, or not at all."""
        if self.down:
            return Answer(ask=ask, request_id="r", failure=("connection", "refused"))
        path, now_ns = urlsplit(ask.url).path, self.clock.wall_ns()
        answer = self.exchange.routes.answer(path, MultiDict(ask.params), None, now_ns)
        return Answer(ask=ask, request_id="r", status=answer.status, body=answer.body)

    async def live(self, minutes: int) -> None:
        """A pass each minute for so long."""
        for _ in range(minutes):
            for found in (await self.discovery.run_pass(), (await self.discovery.look_back())[0]):
                self.recorded.update(each.market.market_slug for each in found.sightings)
            self.clock.advance(60)

    def passed(self, since_ns: int) -> set[str]:
        """Slugs of the windows that ended since, by the exchange's own word."""
        now_ns = self.clock.wall_ns()
        listed = self.exchange.routes.markets.listed(now_ns)
        return {market.slug for market in listed if since_ns <= market.end_ns < now_ns}


BEGIN_NS = parse_utc("2026-11-23T10:07:31Z")


@settings(max_examples=15, deadline=None)
@given(minutes=st.integers(1, 60 * 60), restarts=st.booleans(), tries=st.integers(1, 3))
def test_every_window_of_the_exchange_is_recorded(minutes: int, restarts: bool, tries: int) -> None:
    """However long the exchange or the collector is away, no window of any length is missing afterwards."""
    life = Life(BEGIN_NS)
    asyncio.run(life.live(minutes=2))
    life.down = not restarts
    for _ in range(tries):
        life.clock.advance(60 * minutes / tries)
        if restarts:
            life.start(life.discovery.past.complete_until_ns)
        else:
            asyncio.run(life.live(minutes=1))
    life.down = False
    asyncio.run(life.live(minutes=2))
    passed = life.passed(BEGIN_NS)
    assert passed - set(life.recorded) == set()
    assert len(passed) >= (minutes - 5) // 5
