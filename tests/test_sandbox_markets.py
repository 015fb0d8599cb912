"""The life of a market by a clock that the test holds, through the routes without a network."""

from __future__ import annotations

import json
from typing import Any

from multidict import MultiDict

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import ClockMarkets, Market, PerMarket, make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.routes import Routes
from orderbooks_spider.sandbox.windows import SERIES, listed_ahead, window_at

SERIES_5M = SERIES[0]
START_S = 1_795_392_000
MARKET = make_market(3, SERIES_5M, window_at("5m", START_S))
HOUR = 3600 * NS


def routes(gap_ns: int | None = None) -> Routes:
    """A sandbox's answers; time is an argument of each question."""
    return Routes(3, ClockMarkets(3, gap_ns), MovingBooks(Spot(3)))


def ask(sandbox: Routes, now_ns: int, path: str, **query: str) -> tuple[int, Any]:
    """Status and decoded body of a GET."""
    answer = sandbox.answer(path, MultiDict(query), None, now_ns)
    return answer.status, json.loads(answer.body)


def row(sandbox: Routes, now_ns: int) -> dict[str, Any]:
    """MARKET as its event shows it."""
    status, event = ask(sandbox, now_ns, f"/events/slug/{MARKET.slug}")
    assert status == 200
    found: dict[str, Any] = event["markets"][0]
    return found


def book_status(sandbox: Routes, now_ns: int, index: int = 0) -> int:
    """Status of ``/book`` for a token of MARKET."""
    return ask(sandbox, now_ns, "/book", token_id=MARKET.token_ids[index])[0]


def many(first: int = 0) -> list[Market]:
    """Five hundred 5-minute markets."""
    numbers = range(first, first + 500)
    return [make_market(3, SERIES_5M, window_at("5m", START_S + 300 * number)) for number in numbers]


def test_a_market_does_not_exist_before_it_is_listed() -> None:
    """Before its creation a market is unknown to Gamma and to the CLOB."""
    before = MARKET.life.created_ns - 1
    sandbox = routes()
    assert ask(sandbox, before, f"/events/slug/{MARKET.slug}")[0] == 404
    assert ask(sandbox, before, f"/markets/{MARKET.condition_id}")[0] == 404
    assert book_status(sandbox, before) == 404


def test_a_fresh_market_has_no_tokens_and_no_book() -> None:
    """Between creation and orders the row lacks token ids, the CLOB shows nameless tokens and 404."""
    sandbox = routes()
    now = MARKET.life.created_ns + NS
    assert "clobTokenIds" not in row(sandbox, now)
    assert row(sandbox, now)["acceptingOrders"] is False
    assert book_status(sandbox, now) == 404
    clob = ask(sandbox, now, f"/markets/{MARKET.condition_id}")[1]
    assert [token["token_id"] for token in clob["tokens"]] == ["", ""]
    assert clob["enable_order_book"] is False


def test_an_open_market_has_tokens_and_books_long_before_its_window() -> None:
    """Once orders are accepted both tokens have a book."""
    sandbox = routes()
    now = MARKET.life.accepting_ns
    assert json.loads(row(sandbox, now)["clobTokenIds"]) == list(MARKET.token_ids)
    assert [book_status(sandbox, now, index) for index in (0, 1)] == [200, 200]


def test_the_hydration_gap_can_be_put_near_the_window() -> None:
    """A plan's gap keeps token ids and books away until so long before the window."""
    sandbox = routes(gap_ns=20 * NS)
    early, late = MARKET.start_ns - 21 * NS, MARKET.start_ns - 20 * NS
    assert "clobTokenIds" not in row(sandbox, early)
    assert book_status(sandbox, early) == 404
    assert "clobTokenIds" in row(sandbox, late)
    assert book_status(sandbox, late) == 200


def test_a_closed_market_loses_its_book_before_gamma_says_so() -> None:
    """Books end at the closing; Gamma's row still reads open until its own, later update."""
    sandbox = routes()
    assert book_status(sandbox, MARKET.life.closed_ns - 1) == 200
    assert book_status(sandbox, MARKET.life.closed_ns) == 404
    assert row(sandbox, MARKET.life.closed_ns)["closed"] is False
    assert ask(sandbox, MARKET.life.closed_ns, f"/markets/{MARKET.condition_id}")[1]["closed"] is True


def test_a_resolved_market_reads_like_a_recorded_one() -> None:
    """After the update the row tells outcome and closing time, and the flags that stay true stay true."""
    found = row(routes(), MARKET.life.resolved_ns)
    assert found["closed"] is True
    assert found["acceptingOrders"] is False
    assert json.loads(found["outcomePrices"]) in (["1", "0"], ["0", "1"])
    assert found["umaResolutionStatus"] == "resolved"
    assert found["automaticallyResolved"] is True
    assert (found["active"], found["archived"], found["enableOrderBook"]) == (True, False, True)
    assert parse_utc(found["closedTime"]) == MARKET.life.closed_ns // NS * NS
    assert found["closedTime"][10] == " "
    assert found["closedTime"].endswith("+00")


def test_strike_and_settlement_appear_at_their_times() -> None:
    """``priceToBeat`` comes with the window, ``finalPrice`` with the resolution; both decide the outcome."""
    sandbox = routes()
    path = f"/events/slug/{MARKET.slug}"
    assert "eventMetadata" not in ask(sandbox, MARKET.start_ns - 1, path)[1]
    assert set(ask(sandbox, MARKET.start_ns, path)[1]["eventMetadata"]) == {"priceToBeat"}
    event = ask(sandbox, MARKET.life.resolved_ns, path)[1]
    up_won = event["eventMetadata"]["finalPrice"] >= event["eventMetadata"]["priceToBeat"]
    assert json.loads(event["markets"][0]["outcomePrices"]) == (["1", "0"] if up_won else ["0", "1"])


def test_a_closed_event_moves_from_one_list_to_the_other() -> None:
    """``closed=false`` shows the event until its row is updated, ``closed=true`` from then on."""
    sandbox = routes()
    for now, closed in ((MARKET.life.resolved_ns - 1, "false"), (MARKET.life.resolved_ns, "true")):
        for flag in ("true", "false"):
            listed = ask(sandbox, now, "/events/keyset", slug=MARKET.slug, closed=flag)[1]["events"]
            assert bool(listed) is (flag == closed)


def test_delays_lie_where_they_were_measured() -> None:
    """Over many markets each delay stays in its measured range, and closing has its median near 20 s."""
    lives = [(market, market.life) for market in many()]
    accepting = [(life.accepting_ns - life.created_ns) / NS for _, life in lives]
    closing = sorted((life.closed_ns - market.end_ns) / NS for market, life in lives)
    resolving = [(life.resolved_ns - market.end_ns) / NS for market, life in lives]
    frozen = [(life.frozen_ns - market.end_ns) / NS for market, life in lives]
    lead = [(market.start_ns - life.created_ns) / HOUR for market, life in lives]
    assert min(accepting) >= 9
    assert max(accepting) <= 16
    assert closing[0] >= 15
    assert closing[-1] <= 52
    assert 18 <= closing[250] <= 22
    assert min(resolving) >= 60
    assert max(resolving) <= 180
    assert max(frozen) <= 5
    assert min(lead) >= 23.8
    assert max(lead) <= 24


def test_ids_have_the_venues_form_and_are_unique() -> None:
    """Condition ids are 0x and 64 hex digits, token ids 77 or 78 decimal digits, and none comes twice."""
    markets = many()
    tokens = {token for market in markets for token in market.token_ids}
    assert len(tokens) == 2 * len(markets)
    assert {len(token) for token in tokens} <= {77, 78}
    assert all(int(token) < 1 << 256 for token in tokens)
    assert {len(market.condition_id) for market in markets} == {66}
    assert len({market.gamma_id for market in markets}) == len(markets)


def test_the_seed_decides_all_identifiers() -> None:
    """One seed gives one market, another seed another."""
    window = window_at("5m", START_S)
    assert make_market(3, SERIES_5M, window) == MARKET
    other = make_market(4, SERIES_5M, window)
    assert other.slug == MARKET.slug
    assert other.condition_id != MARKET.condition_id
    assert not set(other.token_ids) & set(MARKET.token_ids)


def test_as_many_markets_are_open_as_at_the_venue() -> None:
    """About 290 markets of 5 minutes and 96 of 15 are open at any time, of every series at least one."""
    sandbox = routes()
    counts = {
        series.kind: len(
            ask(sandbox, MARKET.start_ns, "/events/keyset", closed="false", limit="500", series_id=series.id)[
                1
            ]["events"]
        )
        for series in SERIES
    }
    assert 285 <= counts["5m"] <= 292
    assert 95 <= counts["15m"] <= 99
    assert counts["1h"] >= 24
    assert counts["4h"] >= 6
    assert counts["1d"] >= 1


def test_a_crowd_has_the_same_markets_listed_earlier() -> None:
    """Listed 72 hours ahead, three times as many 5-minute markets are open, and only their listing moved."""
    crowd, usual = ClockMarkets(3, series=listed_ahead(72)), ClockMarkets(3)
    now = MARKET.start_ns
    ahead = [m for m in crowd.listed(now) if m.series.kind == "5m" and m.start_ns > now]
    assert 860 <= len(ahead) <= 864
    assert usual.by_slug(ahead[-1].slug, now) is None
    others = [[m for m in source.listed(now) if m.series.kind != "5m"] for source in (crowd, usual)]
    assert others[0] == others[1]
    later = now + 60 * HOUR
    for market in ahead[::100]:
        known = usual.by_slug(market.slug, later)
        assert known is not None
        assert (known.token_ids, known.condition_id, known.key) == (
            market.token_ids,
            market.condition_id,
            market.key,
        )
        assert known.life.closed_ns == market.life.closed_ns
        assert known.life.created_ns - market.life.created_ns == 72 * HOUR - SERIES_5M.lead_seconds * NS


def test_what_is_kept_of_open_markets_is_never_pushed_out() -> None:
    """However many markets are open, each keeps its value; those of resolved ones go in time."""
    kept: PerMarket[int] = PerMarket(sweep_from=10)
    markets = many()
    for number, market in enumerate(markets):
        kept.put(market, number, START_S * NS)
    assert [kept.get(market) for market in markets] == list(range(500))
    for market in many(first=500):
        kept.put(market, 0, markets[-1].life.resolved_ns)
    assert all(kept.get(market) is None for market in markets)


def test_memory_stays_bounded_over_months() -> None:
    """Markets that ended long ago are forgotten while time goes on."""
    markets = ClockMarkets(3)
    first = len(markets.listed(MARKET.start_ns))
    for day in range(1, 40, 2):
        last = len(markets.listed(MARKET.start_ns + day * 24 * HOUR))
    assert last < first * 1.3
    assert markets.by_slug(MARKET.slug, MARKET.start_ns + 40 * 24 * HOUR) is None


def test_a_step_back_of_the_clock_hides_what_is_not_yet_listed() -> None:
    """After a step back, markets created later are unknown again, and the others are all there."""
    markets = ClockMarkets(3)
    before = markets.listed(MARKET.start_ns)
    newest = markets.listed(MARKET.start_ns + HOUR)[-1]
    assert markets.listed(MARKET.start_ns) == before
    assert markets.by_slug(newest.slug, MARKET.start_ns) is None
