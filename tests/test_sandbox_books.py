"""Books of the sandbox: the venue's shape, hash, mirror, and movement that can be repeated."""

from __future__ import annotations

import gzip
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.books import BOOK_KEYS, MovingBooks, compact, summary_hash
from orderbooks_spider.sandbox.markets import Market, make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at

START_S = 1_795_392_000
VECTORS = (
    Path(__file__).resolve().parents[2]
    / "shared/reference/payloads/polymarket/derived/book_hash_vectors.jsonl"
)


def market(number: int = 0, seed: int = 1) -> Market:
    """One of a row of 5-minute markets."""
    return make_market(seed, SERIES[0], window_at("5m", START_S + 300 * number))


def texts(one: Market, index: int = 0, seed: int = 1, step_ns: int = NS) -> list[bytes]:
    """The book's texts from a minute before its window to its closing."""
    books = MovingBooks(Spot(seed))
    times = range(one.start_ns - 60 * NS, one.life.closed_ns, step_ns)
    return [books.text(one, index, now) or b"" for now in times]


def decoded(one: Market, index: int = 0) -> list[dict[str, Any]]:
    """The same, as objects."""
    return [json.loads(text) for text in texts(one, index)]


def sizes(book: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Size by side and price."""
    return {(side, level["price"]): level["size"] for side in ("bids", "asks") for level in book[side]}


def test_the_hash_is_the_venues() -> None:
    """Recorded books hash to what the venue published."""
    if not VECTORS.exists():
        pytest.skip(f"no recorded payloads at {VECTORS}")
    vectors = [json.loads(line) for line in VECTORS.read_text(encoding="utf-8").splitlines()]
    assert vectors
    assert [summary_hash(vector["book"]) for vector in vectors] == [
        vector["book"]["hash"] for vector in vectors
    ]


def test_every_text_is_compact_json_in_the_venues_key_order_with_its_hash() -> None:
    """A served text is exactly the text that its hash covers."""
    for index in (0, 1):
        for text in texts(market(), index):
            book = json.loads(text)
            assert tuple(book) == BOOK_KEYS
            assert compact(book) == text
            assert book["hash"] == summary_hash(book)


def test_down_is_the_exact_mirror_of_up() -> None:
    """Down has price 1-p, sides exchanged, and the same sizes, time, tick and last trade price."""
    one = market(1)
    for up, down in zip(decoded(one, 0), decoded(one, 1), strict=True):
        for side, other in (("bids", "asks"), ("asks", "bids")):
            mirrored = [(1 - Decimal(level["price"]), level["size"]) for level in up[side]]
            assert [(Decimal(level["price"]), level["size"]) for level in down[other]] == mirrored
        for key in ("market", "timestamp", "tick_size", "last_trade_price", "min_order_size", "neg_risk"):
            assert up[key] == down[key]
        assert up["hash"] != down["hash"]


def test_levels_come_worst_first_as_plain_decimals_and_never_cross() -> None:
    """Bids ascend and asks descend, best last, without trailing zeros, on the tick, bid below ask."""
    for book in (book for number in range(4) for book in decoded(market(number))):
        bids, asks = ([Decimal(level["price"]) for level in book[side]] for side in ("bids", "asks"))
        assert bids == sorted(set(bids))
        assert asks == sorted(set(asks), reverse=True)
        if bids and asks:
            assert bids[-1] < asks[-1]
        for level in book["bids"] + book["asks"]:
            assert not level["price"].endswith("0")
            assert Decimal(level["price"]) % Decimal(book["tick_size"]) == 0
            assert Decimal(level["size"]) > 0
            assert int(Decimal(level["size"]).as_tuple().exponent) >= -2


def test_books_have_as_many_levels_as_recorded_ones() -> None:
    """Each book with both sides has 55 to 99 levels."""
    for book in (book for number in range(6) for book in decoded(market(number))):
        if book["bids"] and book["asks"]:
            assert 55 <= len(book["bids"]) + len(book["asks"]) <= 99


def test_books_change_little_between_seconds() -> None:
    """From second to second under a third of the levels change, as recorded (median 23 to 29)."""
    changes = []
    for number in range(6):
        books = decoded(market(number))[60:360]
        for left, right in itertools.pairwise(books):
            before, after = sizes(left), sizes(right)
            changes.append(sum(before.get(key) != after.get(key) for key in before.keys() | after.keys()))
    assert 8 <= sorted(changes)[len(changes) // 2] <= 33


def test_books_compress_about_as_well_as_recorded_ones() -> None:
    """One token polled each second compresses near the recorded 17 to 21 times."""
    whole = b"\n".join(text for number in range(6) for text in texts(market(number))[60:360])
    assert 14 <= len(whole) / len(gzip.compress(whole, 6)) <= 26


def test_timestamps_are_those_of_changes() -> None:
    """Times never go back, lie at most some seconds in the past, and one time has one text."""
    one = market(2)
    seen: dict[str, bytes] = {}
    last = 0
    for tenth, text in enumerate(texts(one, step_ns=NS // 10)):
        stamp = json.loads(text)["timestamp"]
        now_ms = (one.start_ns - 60 * NS) // 1_000_000 + tenth * 100
        assert seen.setdefault(stamp, text) == text
        assert last <= int(stamp) <= now_ms
        if now_ms < one.end_ns // 1_000_000:
            assert now_ms - int(stamp) < 15_000
        last = int(stamp)
    assert last * 1_000_000 <= one.life.frozen_ns


def test_most_seconds_bring_a_changed_book() -> None:
    """Polled each second, 85 to 99.9 percent of the polls see a change (94 to 99 were measured)."""
    stamps = [book["timestamp"] for book in decoded(market(3))[60:360]]
    changed = sum(left != right for left, right in itertools.pairwise(stamps))
    assert 0.85 <= changed / 299 <= 0.999


def test_prices_end_at_the_outcome() -> None:
    """The last book of a market stands at the winning end of the scale."""
    spot = Spot(1)
    for number in range(12):
        one = market(number)
        book = json.loads(MovingBooks(spot).text(one, 0, one.life.closed_ns - 1) or b"")
        if MovingBooks(spot).settlement(one).up_won:
            assert book["bids"][-1]["price"] == "0.999"
            assert book["asks"] == []
        else:
            assert book["asks"][-1]["price"] == "0.001"
            assert book["bids"] == []


def test_the_tick_becomes_fine_where_the_price_is_extreme() -> None:
    """Both tick sizes occur, the fine one only with best prices near an end."""
    ticks = set()
    for book in (book for number in range(8) for book in decoded(market(number))):
        ticks.add(book["tick_size"])
        if book["tick_size"] == "0.001" and book["bids"] and book["asks"]:
            # The tick follows the price within five seconds, so it may lag on the way back.
            assert not 0.3 < float(book["bids"][-1]["price"]) < 0.7
    assert ticks == {"0.01", "0.001"}


def test_there_is_no_last_trade_price_before_the_first_trade() -> None:
    """Hours before the window nothing was traded; at its end three decimals tell the last trade."""
    one = market()
    books = MovingBooks(Spot(1))
    early = json.loads(books.text(one, 0, one.start_ns - 3 * 3600 * NS) or b"")
    late = json.loads(books.text(one, 0, one.end_ns) or b"")
    assert early["last_trade_price"] == ""
    assert len(late["last_trade_price"]) == 5


def test_a_book_depends_on_seed_market_and_time_alone() -> None:
    """The same instant gives the same text whatever was asked before, and another seed another text."""
    one = market(4)
    in_order = texts(one)
    backwards = MovingBooks(Spot(1))
    times = list(range(one.start_ns - 60 * NS, one.life.closed_ns, NS))
    assert [backwards.text(one, 0, now) for now in reversed(times)] == in_order[::-1]
    assert texts(market(4, seed=2), seed=2)[100] != in_order[100]
