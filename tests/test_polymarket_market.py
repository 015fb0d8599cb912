from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.market import (
    Market,
    NotHydratedError,
    decode,
    from_record,
    read_market,
)
from tests import payloads

START = 1_776_323_400
SLUG = f"btc-updown-5m-{START}"
UP, DOWN = "1" * 77, "2" * 77


def raw_market(**changes: Any) -> dict[str, Any]:
    """An open 5-minute market as Gamma shows it; a change to ``...`` leaves the key out."""
    raw = {
        "id": "260654",
        "slug": SLUG,
        "question": "Bitcoin Up or Down - April 16, 3:10AM-3:15AM ET",
        "conditionId": "0x" + "ab" * 32,
        "eventStartTime": "2026-04-16T07:10:00Z",
        "endDate": "2026-04-16T07:15:00Z",
        "startDate": "2026-04-15T07:19:00.123456Z",
        "outcomes": '["Up", "Down"]',
        "outcomePrices": '["0.505", "0.495"]',
        "clobTokenIds": json.dumps([UP, DOWN]),
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "negRisk": False,
        "orderPriceMinTickSize": "0.01",
        "orderMinSize": 5,
    } | changes
    return {key: value for key, value in raw.items() if value is not ...}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from([SLUG, "[]", '["Up"]', "[" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_recorded_closed_markets_are_read() -> None:
    """All markets of a recorded day are read, each resolved with one winner, each in its slug's window."""
    markets = [read_market(raw) for raw in payloads.closed_markets()]
    assert len(markets) == 292
    assert {market.resolved for market in markets} == {True}
    assert {market.outcome_prices for market in markets} == {("1", "0"), ("0", "1")}
    assert [market.window_start_ns for market in markets] == [
        int(market.market_slug[-10:]) * NS for market in markets
    ]
    assert {market.window_end_ns - market.window_start_ns for market in markets} == {300 * NS}
    assert len({token for market in markets for token in market.token_ids}) == 584


@pytest.mark.parametrize("name", payloads.OPEN_MARKETS)
def test_recorded_open_markets_are_read(name: str) -> None:
    """Recorded open markets are read with their tokens, and their moving prices left out."""
    raw = payloads.market(name)
    market = read_market(raw)
    assert list(market.token_ids) == json.loads(raw["clobTokenIds"])
    assert (market.window, market.closed, market.resolved) == ("5m", False, False)
    assert (market.tick_size, market.min_order_size, market.outcome_prices) == ("0.01", "5", None)


@pytest.mark.parametrize("name", payloads.ODD_MARKETS)
def test_recorded_other_markets_are_refused(name: str) -> None:
    """Recorded markets of other questions are refused by their slug."""
    raw = payloads.market(name)
    with pytest.raises(VenueError, match="not the slug of a BTC up/down market") as caught:
        read_market(raw)
    assert str(caught.value).startswith(raw["slug"])


def test_recorded_other_event_is_refused() -> None:
    """Every market inside a recorded event of another question is refused, too."""
    events = decode(payloads.recorded(payloads.OTHER_EVENTS).read_bytes())
    inner = [(raw, event) for event in events for raw in event["markets"]]
    assert inner != []
    for raw, event in inner:
        with pytest.raises(VenueError, match="not the slug"):
            read_market(raw, event)


def test_market_becomes_a_window() -> None:
    """The universe gets slug, condition id, window and the tokens by label, Up first."""
    window = read_market(raw_market()).pollable
    assert (window.market_slug, window.condition_id, window.label) == (SLUG, "0x" + "ab" * 32, "5m")
    assert (window.start_ns, window.end_ns) == (START * NS, (START + 300) * NS)
    assert window.tokens == (("Up", UP), ("Down", DOWN))


@given(swapped=st.booleans(), listed=st.booleans())
def test_tokens_and_prices_are_paired_by_label(swapped: bool, listed: bool) -> None:
    """Whichever outcome stands first, in JSON text or as a list, Up keeps its token and its price."""
    lists = {"outcomes": ["Up", "Down"], "clobTokenIds": [UP, DOWN], "outcomePrices": ["1", "0"]}
    order = {key: value[::-1] if swapped else value for key, value in lists.items()}
    fields = order if listed else {key: json.dumps(value) for key, value in order.items()}
    market = read_market(raw_market(closed=True, **fields))
    assert (market.outcomes, market.token_ids, market.outcome_prices) == (
        ("Up", "Down"),
        (UP, DOWN),
        ("1", "0"),
    )


@pytest.mark.parametrize("tokens", [..., None, "", "[]", "null", '["", ""]', [], '["' + UP + '", ""]'])
def test_market_without_tokens_is_asked_again(tokens: Any) -> None:
    """A market whose tokens are not there yet is told apart from a market that is wrong."""
    with pytest.raises(NotHydratedError, match=f"{SLUG}: clobTokenIds"):
        read_market(raw_market(clobTokenIds=tokens))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("slug", ...),
        ("slug", 7),
        ("slug", "eth-updown-5m-1776323400"),
        ("id", 260654),
        ("id", ...),
        ("question", ""),
        ("conditionId", ...),
        ("conditionId", "0xab"),
        ("conditionId", "0x" + "ab" * 33),
        ("conditionId", ["0x" + "ab" * 32]),
        ("eventStartTime", "soon"),
        ("eventStartTime", ...),
        ("eventStartTime", 1776323400),
        ("eventStartTime", "2026-04-16T07:05:00Z"),
        ("eventStartTime", "2026-04-16T07:10:00"),
        ("eventStartTime", "9999-12-31T23:59:59-12:00"),
        ("endDate", ...),
        ("endDate", {}),
        ("endDate", "2026-04-16T07:20:00Z"),
        ("endDate", "2026-04-16T07:05:00Z"),
        ("outcomes", ...),
        ("outcomes", '["Yes", "No"]'),
        ("outcomes", '["Up", "Up"]'),
        ("outcomes", '["Up", "Down", "Flat"]'),
        ("outcomes", '["Up"'),
        ("outcomes", "[" * 100_000),
        ("outcomes", '{"Up": 1}'),
        ("outcomes", 5),
        ("clobTokenIds", json.dumps([UP])),
        ("clobTokenIds", json.dumps([UP, UP])),
        ("clobTokenIds", json.dumps([UP, DOWN, "3"])),
        ("clobTokenIds", json.dumps([UP, "0x12"])),
        ("clobTokenIds", json.dumps([1, 2])),
        ("clobTokenIds", json.dumps([UP, "9" * 79])),
    ],
)
def test_malformed_field_is_named(key: str, value: Any) -> None:
    """A field that is missing or malformed refuses the market, and the reason names market and field."""
    with pytest.raises(VenueError) as caught:
        read_market(raw_market(**{key: value}))
    slug = SLUG if key != "slug" else str(value if value is not ... else "a market")
    assert str(caught.value).startswith(slug)
    assert key in str(caught.value)
    assert not isinstance(caught.value, NotHydratedError)


def test_window_must_be_the_slug_s() -> None:
    """A window of the right length that starts at another time than its slug says is refused."""
    moved = raw_market(eventStartTime="2026-04-16T07:05:00Z", endDate="2026-04-16T07:10:00Z")
    with pytest.raises(
        VenueError, match=f"{SLUG}: eventStartTime: expected the slug's epoch, saw 2026-04-16"
    ):
        read_market(moved)


def test_malformed_event_slug_is_refused() -> None:
    """An event's slug, by which the market is asked after later, is a text or the market's own."""
    with pytest.raises(VenueError, match="slug: expected a text, saw 7"):
        read_market(raw_market(), {"slug": 7})
    assert read_market(raw_market(), {}).event_slug == SLUG
    assert read_market(raw_market(), {"slug": "another"}).event_slug == "another"


@given(raw=st.dictionaries(st.text(), JSON, max_size=6))
def test_arbitrary_object_is_refused(raw: dict[str, Any]) -> None:
    """An object that only by chance comes from Gamma is refused with a reason, never with a crash."""
    with pytest.raises(VenueError):
        read_market(raw)


@given(key=st.sampled_from(sorted([*raw_market(), "events", "closedTime"])), value=JSON, event=JSON)
def test_one_arbitrary_field_never_crashes(key: str, value: Any, event: Any) -> None:
    """A market with one field replaced by anything is a sound market or is refused with a reason."""
    event_fields = event if isinstance(event, dict) else {"eventMetadata": event, "startTime": event}
    raw = raw_market(closed=True) | {key: value}
    for arguments in ((raw,), (raw, event_fields)):
        try:
            market = read_market(*arguments)
        except VenueError:
            continue
        assert from_record(market.record()) == market


@pytest.mark.parametrize(
    ("closed", "prices", "resolved"),
    [
        (True, '["1", "0"]', True),
        (True, '["0", "1"]', True),
        (True, '["0.5", "0.5"]', True),
        (True, '["0.505", "0.495"]', False),
        (True, '["1", "1"]', False),
        (True, "[]", False),
        (True, ..., False),
        (True, '["1"]', False),
        (False, '["1", "0"]', False),
        (None, '["1", "0"]', False),
    ],
)
def test_resolved_needs_closing_and_settled_prices(closed: Any, prices: Any, resolved: bool) -> None:
    """A market is resolved once it is closed and its prices say who won."""
    assert read_market(raw_market(closed=closed, outcomePrices=prices)).resolved == resolved


def test_start_may_stand_in_the_event() -> None:
    """The window's start is taken from the event where the market lacks it, nested or around it."""
    event = {"slug": SLUG, "startTime": "2026-04-16T07:10:00Z"}
    inside = read_market(raw_market(eventStartTime=..., events=[event]))
    around = read_market(raw_market(eventStartTime=...), event)
    assert inside == around == read_market(raw_market())


@pytest.mark.parametrize(("hours", "known"), [(3, True), (4, True), (5, True), (2, False), (6, False)])
def test_four_hour_window_may_be_an_hour_off(hours: int, known: bool) -> None:
    """A four-hour window may have three or five hours, when the clocks change, and no other length."""
    start = 1_772_946_000  # 2026-03-08T05:00:00Z
    raw = raw_market(
        slug=f"btc-updown-4h-{start}",
        eventStartTime="2026-03-08T05:00:00Z",
        endDate=f"2026-03-08T{5 + hours:02}:00:00Z",
    )
    if known:
        assert read_market(raw).window == "4h"
    else:
        with pytest.raises(VenueError, match="endDate - eventStartTime: expected a 4h window"):
            read_market(raw)


@given(integers=st.integers(0, 10**30), fraction=st.from_regex(r"[0-9]{0,25}[1-9]0{0,3}", fullmatch=True))
def test_digits_of_the_strike_survive(integers: int, fraction: str) -> None:
    """Strike and settlement keep every digit that Gamma sent, beyond what a float holds."""
    text = f"{integers}.{fraction}"
    metadata = f'{{"eventMetadata": {{"priceToBeat": {text}, "finalPrice": {integers}}}}}'
    market = read_market(raw_market(), decode(metadata.encode()))
    assert (market.price_to_beat, market.final_price) == (text, str(integers))


def test_record_round_trip_through_json() -> None:
    """A market stored as a row's record is read back equal, with its window also as text."""
    for raw in [raw_market(), *payloads.closed_markets()]:
        market = read_market(raw)
        record = msgspec.json.decode(msgspec.json.encode(market.record()))
        assert from_record(record) == market
    assert read_market(raw_market()).record()["window_start"] == "2026-04-16T07:10:00.000000Z"


@pytest.mark.parametrize("changes", [{"closed": "yes"}, {"token_ids": ["1"]}, {"window_start_ns": "7"}])
def test_record_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    """A record with a wrong field is refused, and the error names market and field."""
    record = read_market(raw_market()).record() | changes
    with pytest.raises(VenueError, match=rf"{SLUG}: .*{next(iter(changes))}"):
        from_record(record)


def test_prices_of_an_open_market_change_nothing() -> None:
    """Two looks at an open market that differ in prices and volumes alone are equal values."""
    moved = raw_market(outcomePrices='["0.9", "0.1"]', volume="77", liquidity="1", updatedAt="now")
    assert read_market(raw_market()) == read_market(moved)
    assert read_market(raw_market()) != read_market(raw_market(orderPriceMinTickSize="0.001"))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": NaN}', b"[" * 100_000, b'"\xff"', b'{"a"'])
def test_body_that_is_no_json(body: bytes) -> None:
    """A body that is not JSON is refused with the start of what came."""
    with pytest.raises(VenueError, match="expected JSON, saw b"):
        decode(body)


def test_market_has_no_default() -> None:
    """Every field of a market is given by the answer, so that none is filled in unseen."""
    assert set(read_market(raw_market()).record()) - {"window_start", "window_end"} == set(
        Market.__dataclass_fields__
    )
