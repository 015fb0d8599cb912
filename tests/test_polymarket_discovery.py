from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.polymarket.gamma import PAGES_AT_MOST
from orderbooks_spider.polymarket.look_back import FOLLOW_NS
from tests.fake_clock import FakeClock
from tests.small_gamma import SERIES_ID, START, Gamma, discover, run, seen, slug_at

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.discovery import Discovery


@pytest.fixture
def gamma() -> Gamma:
    """A Gamma without markets, at the start of a window."""
    return Gamma(FakeClock(START * NS))


def pass_once(gamma: Gamma) -> Discovery:
    """A discovery that has made its first pass."""
    discovery = discover(gamma)
    run(discovery)
    return discovery


def test_open_markets_of_the_horizon_are_sighted_once(gamma: Gamma) -> None:
    """A pass finds every open market of the next two hours, and the next pass reports nothing twice."""
    for minutes in (0, 5, 115, 200):
        gamma.open_market(minutes)
    discovery = discover(gamma)
    found = run(discovery)
    assert seen(found) == [slug_at(0), slug_at(5), slug_at(115)]
    assert (found.reached, found.failed, found.urgent, found.refusals) == (True, 0, False, [])
    assert all(each.market.market_slug in each.answer.body.decode() for each in found.sightings)
    assert run(discovery).sightings == []


def test_pages_are_followed_by_after_cursor(gamma: Gamma) -> None:
    """A listing of several pages is read to its end, each page asked for once by ``after_cursor``."""
    gamma.page_size = 2
    for minutes in range(0, 25, 5):
        gamma.open_market(minutes)
    assert len(run(discover(gamma)).sightings) == 5
    pages = gamma.asks("/events/keyset", closed="false", series_id=SERIES_ID)
    assert [ask.params.get("after_cursor") for ask in pages] == [None, "2", "4"]


def test_listing_without_end_is_left(gamma: Gamma) -> None:
    """A listing is left when its cursor repeats, and after more pages than a sound one ever has."""
    gamma.page_size = 1
    for minutes in range(0, 5 * PAGES_AT_MOST + 15, 5):
        gamma.open_market(minutes)
    assert len(run(discover(gamma)).sightings) == PAGES_AT_MOST
    assert len(gamma.asks("/events/keyset", closed="false")) == PAGES_AT_MOST
    gamma.asked.clear()
    gamma.repeats_cursor = True
    run(discover(gamma))
    assert len(gamma.asks("/events/keyset", closed="false")) == 2


def test_refused_filters_are_left_out(gamma: Gamma) -> None:
    """Where the venue refuses the date filters the listing is asked for without, from then on."""
    gamma.refuses_dates = True
    gamma.open_market(0)
    gamma.open_market(600)
    discovery = discover(gamma)
    assert seen(run(discovery)) == [slug_at(0), slug_at(600)]
    gamma.asked.clear()
    run(discovery)
    listings = gamma.asks("/events/keyset", closed="false")
    assert [sorted(ask.params) for ask in listings] == [["closed", "limit", "series_id"]]


NO_PAGES = [b"<!DOCTYPE html>", b"", b"[]", b'{"events": [', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("body", NO_PAGES, ids=["html", "empty", "list", "cut", "not utf8", "deep"])
def test_answer_that_is_no_page_is_reported(gamma: Gamma, body: bytes) -> None:
    """A 200 that is no page leaves one row with the reason, and nothing known is lost."""
    gamma.open_market(0)
    discovery = pass_once(gamma)
    gamma.broken["/events"] = 200, body
    found = run(discovery)
    assert list(discovery.markets) == [slug_at(0)]
    assert {(row.market_slug, "expected" in row.reason) for row in found.refusals} == {(None, True)}
    gamma.broken.clear()
    assert (run(discovery).sightings, run(discovery).refusals) == ([], [])


@pytest.mark.parametrize("broken", [(None, b""), (503, b"<html>"), (429, b""), (403, b"<html>")])
def test_outage_loses_nothing(gamma: Gamma, broken: tuple[int | None, bytes]) -> None:
    """While the venue gives no usable answer the pass says so, and all that is known stays known."""
    gamma.open_market(0)
    discovery = pass_once(gamma)
    gamma.broken["/"] = broken
    found = run(discovery)
    assert (found.reached, found.sightings, found.refusals) == (False, [], [])
    gamma.broken.clear()
    gamma.open_market(5)
    assert (seen(run(discovery)), sorted(discovery.markets)) == ([slug_at(5)], [slug_at(0), slug_at(5)])


ODD_PAGES: list[dict[str, Any]] = [
    {"events": 5},
    {"events": {"markets": [1]}},
    {"events": [None, 7, "x", {}, {"markets": 5}, {"markets": [7]}, {"markets": [{}]}]},
    {"events": [{"markets": [{"slug": ["x"]}, {"slug": slug_at(0)}]}], "next_cursor": 5},
    {"markets": [{"slug": slug_at(0), "outcomes": '["Up", "Down"]'}], "slug": 5, "startTime": []},
]


@pytest.mark.parametrize("page", ODD_PAGES)
def test_odd_page_is_survived(gamma: Gamma, page: dict[str, Any]) -> None:
    """A page of another shape than the venue's stops nobody: what can be read of it is read."""
    gamma.broken["/events"] = 200, json.dumps(page).encode()
    assert run(discover(gamma)).sightings == []


@given(body=st.binary() | st.text().map(str.encode), status=st.sampled_from([200, 404, 422, 500, None]))
def test_random_answers_never_raise(body: bytes, status: int | None) -> None:
    """Whatever the venue answers, to whatever question, a pass ends with nothing made up."""
    gamma = Gamma(FakeClock(START * NS), broken={"/": (status, body)})
    assert run(discover(gamma, "5m", "1h", "4h")).sightings == []


def test_series_id_is_the_venue_s(gamma: Gamma) -> None:
    """Listings use the id that the venue gives for the series, asked for until it has answered."""
    gamma.broken["/series"] = None, b""
    discovery = pass_once(gamma)
    gamma.broken.clear()
    gamma.asked.clear()
    run(discovery)
    run(discovery)
    assert len(gamma.asks("/series", slug="btc-up-or-down-5m")) == 1
    assert {ask.params["series_id"] for ask in gamma.asks("/events/keyset")} == {SERIES_ID}


@pytest.mark.parametrize("answer", [(None, b""), (500, b""), (200, b"<html>"), (200, b'[{"id": 5}]')])
def test_series_id_has_a_fallback(gamma: Gamma, answer: tuple[int | None, bytes]) -> None:
    """Where the look-up of a series fails, the known id of the series is used."""
    gamma.broken["/series"] = answer
    run(discover(gamma))
    assert {ask.params["series_id"] for ask in gamma.asks("/events/keyset")} == {"10684"}


def test_market_missing_in_the_listing_is_found_by_slug(gamma: Gamma) -> None:
    """A window that the calendar demands soon and the listing lacks is asked for by its slug."""
    for minutes in (0, 5, 100):
        gamma.open_market(minutes)
    gamma.unlisted = {slug_at(0), slug_at(100)}
    gamma.clock.advance(180)
    assert seen(run(discover(gamma))) == [slug_at(0), slug_at(5)]
    assert [ask.url.rsplit("/", 1)[1] for ask in gamma.asks("/events/slug/")] == [slug_at(0)]


def test_hydration_gap_is_urgent_until_filled(gamma: Gamma) -> None:
    """A market due soon whose tokens are not there yet is one row, asks for haste, and is then found."""
    market = gamma.open_market(0, clobTokenIds="")
    discovery = discover(gamma)
    found, again = run(discovery), run(discovery)
    market["clobTokenIds"] = '["1", "2"]'
    filled = run(discovery)
    assert [(row.market_slug, row.gave_up) for row in found.refusals] == [(slug_at(0), False)]
    assert (again.refusals, filled.refusals) == ([], [])
    assert (found.urgent, again.urgent, filled.urgent) == (True, True, False)
    assert (seen(found), seen(again), seen(filled)) == ([], [], [slug_at(0)])


@pytest.mark.parametrize("minutes", [60, -10, -2000])
def test_hydration_gap_far_away_is_not_urgent(gamma: Gamma, minutes: int) -> None:
    """Tokens that are not needed before the next pass, or no longer, ask for no haste."""
    gamma.refuses_dates = True
    gamma.open_market(minutes, clobTokenIds="")
    found = run(discover(gamma))
    assert ([row.market_slug for row in found.refusals], found.urgent) == ([slug_at(minutes)], False)


def test_wrong_market_is_refused_once(gamma: Gamma) -> None:
    """A market that cannot be followed is one row with the reason, however often it is listed."""
    gamma.open_market(0, outcomes='["Yes", "No"]')
    discovery = discover(gamma)
    (refusal,) = [row for _ in range(3) for row in run(discovery).refusals]
    assert refusal.reason == f"{slug_at(0)}: outcomes: expected Up and Down, saw ['Yes', 'No']"


def test_each_change_is_one_sighting(gamma: Gamma) -> None:
    """Each change of a known market is sighted once; what moves all the time is no change."""
    market = gamma.open_market(0)
    discovery = pass_once(gamma)
    market.update(volume="7", liquidityNum=1.5, outcomePrices='["0.9", "0.1"]', bestBid=0.9, updatedAt="x")
    assert run(discovery).sightings == []
    for key, value in (("orderPriceMinTickSize", 0.001), ("acceptingOrders", False)):
        market[key] = value
        assert (len(run(discovery).sightings), len(run(discovery).sightings)) == (1, 0)
    assert discovery.markets[slug_at(0)].tick_size == "0.001"


def test_ended_market_is_followed_until_resolved(gamma: Gamma) -> None:
    """After its end a market is asked after by its slug until it is resolved, and is then forgotten."""
    gamma.open_market(0)
    discovery = pass_once(gamma)
    gamma.clock.advance(361)
    assert run(discovery).sightings == []
    gamma.resolve(0)
    assert [each.market.outcome_prices for each in run(discovery).sightings] == [("1", "0")]
    run(discovery)
    gamma.asked.clear()
    assert (run(discovery).sightings, discovery.markets) == ([], {})
    assert gamma.asks(slug_at(0)) == []


def test_market_that_is_never_resolved_is_given_up_once(gamma: Gamma) -> None:
    """Half an hour after its end an unresolved market is given up with one row, and stays given up."""
    gamma.refuses_dates = True  # so that the listing goes on showing it
    gamma.open_market(0)
    discovery = pass_once(gamma)
    gamma.clock.advance(300 + FOLLOW_NS // NS)
    assert run(discovery).refusals == []
    gamma.clock.advance(1)
    passes = [run(discovery) for _ in range(3)]
    (refusal,) = [row for found in passes for row in found.refusals]
    assert (refusal.market_slug, refusal.gave_up) == (slug_at(0), True)
    assert (discovery.markets, [found.sightings for found in passes]) == ({}, [[], [], []])


def test_market_that_has_closed_does_not_blame_the_listing(gamma: Gamma) -> None:
    """A closed market that a restart finds by its slug was rightly not among the open ones."""
    gamma.open_market(-5)
    gamma.resolve(-5)
    gamma.clock.advance(10)
    assert seen(run(discover(gamma))) == [slug_at(-5)]
    gamma.asked.clear()
    run(discover(gamma))
    assert all("end_date_min" in ask.params for ask in gamma.asks("/events/keyset"))


def test_other_windows_are_ignored(gamma: Gamma) -> None:
    """Only the windows of the config are asked for, and a stray market of another is not followed."""
    gamma.open_market(0)
    stray = gamma.open_market(0, slug=f"btc-updown-15m-{START}", endDate=iso_utc((START + 900) * NS))
    gamma.events = {"stray": gamma.events[slug_at(0)] | {"markets": [stray]}}
    found = run(discover(gamma))
    assert (found.sightings, found.refusals) == ([], [])
    assert [ask.params["slug"] for ask in gamma.asks("/series")] == ["btc-up-or-down-5m"]
    run(discover(gamma, "15m", "1h", "4h", "1d"))
    assert len({ask.params["slug"] for ask in gamma.asks("/series")}) == 5


def test_old_market_that_stays_open_is_not_followed(gamma: Gamma) -> None:
    """A past market that keeps ``closed: false`` for good is not taken up."""
    gamma.refuses_dates = True
    gamma.open_market(-600)
    assert run(discover(gamma)).sightings == []


def test_long_lead_is_looked_for_ahead(gamma: Gamma) -> None:
    """A lead longer than the horizon is heeded: markets are known before their first slot is due."""
    gamma.open_market(240)
    assert seen(run(discover(gamma, lead=14_400))) == [slug_at(240)]


def test_seeded_market_is_known(gamma: Gamma) -> None:
    """A market from a stored file is no news when it is listed unchanged, and is followed like others."""
    gamma.open_market(0)
    (market,) = pass_once(gamma).markets.values()
    second = discover(gamma)
    second.seed(market)
    assert run(second).sightings == []
    gamma.resolve(0)
    gamma.clock.advance(361)
    assert seen(run(second)) == [slug_at(0)]
