from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import parse
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.polymarket.discovery import FOLLOW_NS, PAGES_AT_MOST, Discovery, Pass
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.endpoints import Ask

START = 1_776_323_400
"""Start of a five-minute window; the clock of each test begins here."""
SERIES_ID = "777"


def slug_at(minutes: int) -> str:
    """The slug of the window that starts *minutes* after START."""
    return f"btc-updown-5m-{START + 60 * minutes}"


@dataclass
class Gamma:
    """A small Gamma in memory: its events, listed in pages, and the ways in which it misbehaves."""

    clock: FakeClock
    page_size: int = 500
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    refuses_dates: bool = False
    repeats_cursor: bool = False
    broken: dict[str, tuple[int | None, bytes]] = field(default_factory=dict)
    """Status (``None``: no answer at all) and body by the start of a path."""
    asked: list[Ask] = field(default_factory=list)

    def open_market(self, minutes: int, **changes: Any) -> dict[str, Any]:
        """List the window that starts *minutes* after START; returns the market, to be changed later."""
        start, slug = START + 60 * minutes, slug_at(minutes)
        market = {
            "id": str(start),
            "slug": slug,
            "question": "Bitcoin Up or Down",
            "conditionId": f"0x{start:064x}",
            "eventStartTime": iso_utc(start * NS),
            "endDate": iso_utc((start + 300) * NS),
            "outcomes": '["Up", "Down"]',
            "outcomePrices": '["0.505", "0.495"]',
            "clobTokenIds": json.dumps([f"{start}001", f"{start}002"]),
            "closed": False,
        } | changes
        times = {"startTime": market["eventStartTime"], "endDate": market["endDate"]}
        self.events[slug] = {"slug": slug, "closed": market["closed"], "markets": [market], **times}
        return market

    def resolve(self, minutes: int) -> None:
        """Close a market with Up as the winner."""
        self.events[slug_at(minutes)]["closed"] = True
        self.events[slug_at(minutes)]["markets"][0].update(closed=True, outcomePrices='["1", "0"]')

    async def fetch(self, ask: Ask) -> Answer:
        """Answer as the venue would."""
        self.asked.append(ask)
        path = ask.url.removeprefix("https://gamma-api.polymarket.com")
        for start, (status, body) in self.broken.items():
            if path.startswith(start):
                failure = ("connection", "refused") if status is None else None
                return Answer(ask=ask, request_id="r", status=status, body=body, failure=failure)
        status, content = self._content(path, ask.params)
        return Answer(ask=ask, request_id="r", status=status, body=json.dumps(content).encode())

    def _content(self, path: str, params: dict[str, str]) -> tuple[int, Any]:
        if path == "/series":
            return 200, [{"slug": "other", "id": "1"}, {"slug": params["slug"], "id": SERIES_ID}]
        if path == "/events/keyset":
            return self._page(params)
        slug = path.removeprefix("/events/slug/")
        return (200, self.events[slug]) if slug in self.events else (404, {"error": "event not found"})

    def _page(self, params: dict[str, str]) -> tuple[int, Any]:
        if self.refuses_dates and {"end_date_min", "start_time_max"} & set(params):
            return 422, {"type": "validation error", "error": "invalid date"}
        earliest = parse_utc(params.get("end_date_min", "1970-01-01T00:00:00Z"))
        latest = parse_utc(params.get("start_time_max", "2100-01-01T00:00:00Z"))
        listed = [
            event
            for slug, event in sorted(self.events.items())
            if slug not in self.unlisted
            and event["closed"] == (params["closed"] == "true")
            and parse_utc(event["endDate"]) >= earliest
            and parse_utc(event["startTime"]) <= latest
        ]
        first = int(params.get("after_cursor", "0"))
        last = first + self.page_size
        page = {"events": listed[first:last]}
        if self.repeats_cursor or last < len(listed):
            return 200, page | {"next_cursor": "0" if self.repeats_cursor else str(last)}
        return 200, page

    def asks(self, path: str, **params: str) -> list[Ask]:
        """What was asked at a path, with these parameters."""
        return [ask for ask in self.asked if path in ask.url and params.items() <= ask.params.items()]


@pytest.fixture
def gamma() -> Gamma:
    """A Gamma without markets, at the start of a window."""
    return Gamma(FakeClock(START * NS))


def discover(gamma: Gamma, *windows: str, lead: float = 60) -> Discovery:
    """The discovery of one run that follows five-minute windows, or those named."""
    raw = {"discovery": {"windows": list(windows) or ["5m"]}, "polling": {"lead_seconds": lead}}
    return Discovery(parse(raw, source="test"), gamma.clock, gamma.fetch)


def run(discovery: Discovery) -> Pass:
    """One pass."""
    return asyncio.run(discovery.run_pass())


def pass_once(gamma: Gamma) -> Discovery:
    """A discovery that has made its first pass."""
    discovery = discover(gamma)
    run(discovery)
    return discovery


def seen(found: Pass) -> list[str]:
    """The slugs that a pass sighted, in time order."""
    return sorted(sighting.market.market_slug for sighting in found.sightings)


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


def test_restart_looks_back(gamma: Gamma) -> None:
    """A new run sees the markets that closed in the last half hour, so that it can follow them."""
    for minutes in (-60, -20, -10):
        gamma.open_market(minutes, closed=True, outcomePrices="[]")
    discovery = discover(gamma)
    assert seen(run(discovery)) == [slug_at(-20), slug_at(-10)]
    gamma.resolve(-10)
    assert seen(run(discovery)) == [slug_at(-10)]
    assert len(gamma.asks("/events/keyset", closed="true")) == 1


@pytest.mark.parametrize("broken", [(None, b""), (503, b""), (200, b"<html>"), (422, b"{}")])
def test_looking_back_is_tried_until_answered(gamma: Gamma, broken: tuple[int | None, bytes]) -> None:
    """A run that starts during an outage looks back once the venue answers."""
    gamma.open_market(-10, closed=True, outcomePrices="[]")
    gamma.broken["/events"] = broken
    discovery = discover(gamma)
    assert run(discovery).sightings == []
    gamma.broken.clear()
    assert seen(run(discovery)) == [slug_at(-10)]


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
