"""The sandbox's objects beside recorded ones of the venue: same keys, same types, same size."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from multidict import MultiDict

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import ClockMarkets, make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.routes import Routes
from orderbooks_spider.sandbox.windows import SERIES, window_at

PAYLOADS = Path(__file__).resolve().parents[2] / "shared/reference/payloads/polymarket"
MARKET = make_market(1, SERIES[0], window_at("5m", 1_795_392_000))
OPEN_NS = MARKET.start_ns - 18 * 3600 * NS

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason=f"no recorded payloads at {PAYLOADS}")


def recorded(name: str) -> Any:
    """A payload as the venue sent it."""
    return json.loads((PAYLOADS / name).read_text(encoding="utf-8"))


def ours(path: str, now_ns: int) -> Any:
    """The sandbox's answer."""
    routes = Routes(1, ClockMarkets(1), MovingBooks(Spot(1)))
    answer = routes.answer(path, MultiDict(), None, now_ns)
    assert answer.status == 200
    return json.loads(answer.body)


def kinds(row: dict[str, Any]) -> dict[str, str]:
    """Key to JSON type; a number is a number."""
    return {
        key: "number" if type(value) in (int, float) else type(value).__name__ for key, value in row.items()
    }


def differences(real: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Keys of *real* that *made* lacks, or has with another type."""
    made_kinds = kinds(made)
    return [
        f"{key}: {kind}, ours {made_kinds.get(key)}"
        for key, kind in kinds(real).items()
        if made_kinds.get(key) != kind
    ]


GAMMA_OPEN = "nautilus_trader/crates/adapters/polymarket/test_data/gamma_market.json"


def test_an_open_market_has_all_keys_of_a_recorded_one() -> None:
    """Market, nested event and nested series have each recorded key with its recorded type."""
    real, made = recorded(GAMMA_OPEN), ours(f"/markets/slug/{MARKET.slug}", OPEN_NS)
    assert differences(real, made) == []
    assert differences(real["events"][0], made["events"][0]) == []
    assert differences(real["events"][0]["series"][0], made["events"][0]["series"][0]) == []


def test_an_open_market_is_about_as_long_as_a_recorded_one() -> None:
    """Pages weigh what they weigh at the venue, within a third."""
    real = len(json.dumps(recorded(GAMMA_OPEN), separators=(",", ":")))
    made = len(json.dumps(ours(f"/markets/slug/{MARKET.slug}", OPEN_NS), separators=(",", ":")))
    assert 0.75 <= made / real <= 1.33


def test_json_inside_strings_has_the_recorded_form() -> None:
    """Lists inside strings have a space after the comma, as recorded."""
    real, made = recorded(GAMMA_OPEN), ours(f"/markets/slug/{MARKET.slug}", OPEN_NS)
    assert made["outcomes"] == real["outcomes"]
    for key in ("clobTokenIds", "outcomePrices"):
        assert made[key] == json.dumps(json.loads(made[key]))
        assert real[key] == json.dumps(json.loads(real[key]))


def test_a_market_has_what_newer_recordings_added() -> None:
    """Fees and the price stream's configuration have the types recorded in August 2026."""
    real = recorded("excerpts/gamma_market_open_5m_2026-08-15.json")
    made = ours(f"/markets/slug/{MARKET.slug}", OPEN_NS)
    assert differences(real, made) == []
    assert made["cryptoMarketConfig"] == real["cryptoMarketConfig"]


def test_a_closed_market_has_all_keys_of_recorded_ones() -> None:
    """After its resolution a market has each key that all recorded closed markets have."""
    name = next((PAYLOADS / "ligengxin96").rglob("BTC-5m-markets-2026-06-08.jsonl.gz"))
    with gzip.open(name, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line)["raw"] for line in stream]
    always = set.intersection(*(set(row) for row in rows))
    made = ours(f"/markets/slug/{MARKET.slug}", MARKET.life.resolved_ns)
    # A price change over the last hour, and amounts of a market maker that no longer exists.
    missing = always - set(made) - {"oneHourPriceChange", "liquidityAmm"}
    assert missing == set()


def test_a_clob_market_has_all_keys_of_a_recorded_one() -> None:
    """The CLOB's record and its tokens have each recorded key with its type."""
    real = recorded("excerpts/clob_market_live_5m_2026-08-15.json")
    made = ours(f"/markets/{MARKET.condition_id}", OPEN_NS)
    assert differences(real, made) == []
    assert differences(real["tokens"][0], made["tokens"][0]) == []


def test_errors_have_the_recorded_bodies() -> None:
    """Unknown token, bad token, bad payload and ``offset`` are answered with the venue's words."""
    bodies = {json.dumps(row["body"]) for row in recorded("excerpts/error_bodies.json") if "body" in row}
    routes = Routes(1, ClockMarkets(1), MovingBooks(Spot(1)))
    too_many = json.dumps([{"token_id": str(number)} for number in range(501)]).encode()
    answers = [
        routes.answer("/book", MultiDict(token_id="12"), None, OPEN_NS),
        routes.answer("/book", MultiDict(token_id="x"), None, OPEN_NS),
        routes.answer("/books", MultiDict(), b"{}", OPEN_NS),
        routes.answer("/books", MultiDict(), too_many, OPEN_NS),
        routes.answer("/events/keyset", MultiDict(offset="1"), None, OPEN_NS),
    ]
    assert [answer.status for answer in answers] == [404, 400, 400, 400, 422]
    assert {json.dumps(json.loads(answer.body)) for answer in answers} <= bodies
