"""Books by the column equal books one by one, whatever the venue sends."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.bodies import BodyReader
from orderbooks_spider.normalize.books import Books
from orderbooks_spider.normalize.checks import BY_NAME
from orderbooks_spider.normalize.recorded import PollRow, Recorded
from tests import slow_books
from tests.archives import DOWN, START_NS, UP, book_body, book_text, poll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orderbooks_spider.items import PollItem

FILE = "raw/polymarket/books/segment.jsonl.gz"


def normalised(members: Sequence[Sequence[PollItem]], interval_ns: int | None = NS) -> list[dict[str, Any]]:
    """The rows of ``books`` that the polls of a segment become, given by gzip member."""
    recorded, bodies = Recorded(FILE), BodyReader()
    for items in members:
        rows = [msgspec.json.decode(msgspec.json.encode(item), type=PollRow) for item in items]
        recorded.add(rows)
        bodies.add(rows)
    polls, found = recorded.finish(), bodies.finish()
    parts = [] if found is None else list(Books(polls, found, interval_ns).tables())
    table = pa.concat_tables([tables.BOOKS.schema.empty_table(), *parts])
    table.validate(full=True)
    return [slow_books.shown(row) for row in table.to_pylist()]


def assert_equal(members: Sequence[Sequence[PollItem]], interval_ns: int | None = NS) -> list[dict[str, Any]]:
    """Both ways give the same rows; returns them."""
    for number, item in enumerate((item for items in members for item in items), 1):
        item.seq, item.run_id, item.collector_id, item.environment = number, "run1", "c0", "sandbox"
    seen, expected = normalised(members, interval_ns), slow_books.rows(members, interval_ns)
    assert len(seen) == len(expected)
    for one, other in zip(seen, expected, strict=True):
        assert {key: one[key] for key in other} == other
    return seen


# What a venue may send, and what it should not.

PRICES = st.one_of(
    st.integers(1, 99).map(lambda cents: f"0.{cents:02d}".rstrip("0")),
    st.integers(1, 999).map(lambda mills: f"0.{mills:03d}"),
    st.sampled_from(["0", "1", "0.5000", "00.5", "0.12345", "99999.9999", "100000", "-0.1", "-99999"]),
    st.sampled_from(
        ["", ".5", "5.", ".", "1e-2", "0,5", "half", "0.5 ", "0.1.2", "\u0660.\u0665", "0.5\\u0030"]
    ),
)
SIZES = st.one_of(
    st.integers(0, 10**7).map(str),
    st.decimals(0, 10**6, places=2).map(str),
    st.decimals(0, 10**12, places=6).map(str),
    st.sampled_from(["0", "0.000000", "0.0000001", "999999999999.999999", "1000000000000", "999999999999"]),
    st.sampled_from(["-3", "-0", "1E3", "", "12.3400000000", "000000000000000012", "nan", "1" * 30]),
)
NEAT_PRICES = st.integers(1, 99).map(lambda cents: f"0.{cents:02d}".rstrip("0"))
NEAT_SIZES = st.decimals(min_value=1, max_value=10**5, places=2).map(lambda size: f"{size.normalize():f}")


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Bids and asks: mostly as the venue sends them, sometimes in any order and with any text."""
    if draw(st.integers(0, 3)):
        cents = draw(st.lists(NEAT_PRICES, unique=True, max_size=8))
        cut = draw(st.integers(0, len(cents)))
        ordered = sorted(cents, key=float)
        sized = [(price, draw(NEAT_SIZES)) for price in ordered]
        return sized[:cut], sized[cut:][::-1]
    some = st.lists(st.tuples(PRICES, SIZES), max_size=5)
    return draw(some), draw(some)


PUT_IN = ("", '"', ",", "{", "}", "[", "]", ":", "0", "9", ".", "-", "\\", " ", "\u00e9", '","size":"')
OTHER_FORMS: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(json.loads(text), indent=1),
    lambda text: json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")),
    lambda text: re.sub(r'("price":"[^"]*"),("size":"[^"]*")', r"\2,\1", text),
    lambda text: text.replace("{", '{"more":[1],', 2),
    lambda text: text.replace('{"price"', '{"orders":"3","price"', 1),
    lambda text: text.replace('"price":"0', '"price":"\\u0030', 1),
    lambda text: text.replace("0", "1", 1),
)
"""The same book in other JSON, and another book under the same hash."""


@st.composite
def bodies(draw: st.DrawFn, token: str) -> str | None:
    """A body, mostly sound."""
    bids, asks = draw(sides())
    changes: dict[str, Any] = {}
    if draw(st.integers(0, 2)):
        changes["timestamp"] = str(START_NS // 1_000_000 + draw(st.integers(-40_000, 3000)))
    if draw(st.integers(0, 4)) == 0:
        key = draw(
            st.sampled_from(["tick_size", "min_order_size", "last_trade_price", "timestamp", "neg_risk"])
        )
        texts: st.SearchStrategy[Any] = st.sampled_from(
            ["0.001", "0.0025", "", "0", "abc", "1.000001", "5" * 14]
        )
        changes[key] = draw(
            st.none() if key == "neg_risk" else texts if key == "timestamp" else st.none() | texts
        )
    text = book_text(bids, asks, token, **changes)
    if draw(st.integers(0, 1)):
        return text
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from([None, "", "[]", "{", '{"bids":[]}', text.replace(token, "9")]))
    if draw(st.booleans()):  # anything at any place
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.sampled_from(PUT_IN)) + text[at + draw(st.integers(0, 3)) :]
    return draw(st.sampled_from(OTHER_FORMS))(text)


@st.composite
def segments(draw: st.DrawFn) -> list[list[PollItem]]:
    """Some members of polls of both tokens of a market; mirrored at times."""
    members = []
    for _ in range(draw(st.integers(1, 3))):
        items = []
        for moment in draw(st.lists(st.integers(0, 20), max_size=6, unique=True)):
            for token in (UP, DOWN):
                text = book_body(token, moment // 2) if draw(st.booleans()) else draw(bodies(token))
                item = poll(token, moment, body=text)
                if draw(st.integers(0, 9)) == 0:
                    item.result, item.body = "timeout", None
                if draw(st.integers(0, 9)) == 0:
                    item.sent_ns = item.due_ns + draw(st.sampled_from([0, NS // 2, NS // 2 + 1]))
                items.append(item)
        members.append(items)
    return members


@settings(max_examples=150, deadline=None)
@given(segments(), st.sampled_from([NS, None]))
def test_columns_equal_decimals(members: list[list[PollItem]], interval_ns: int | None) -> None:
    """Every column of every row is what json and decimal alone make of the same polls."""
    assert_equal(members, interval_ns)


# Each check by hand: a case where it finds something, one just beside it, one where it cannot be made.


def polls(*texts: str, **changes: Any) -> list[PollItem]:
    """Answers of one token, a slot each; the last is judged."""
    return [poll(UP, moment, body=text, **changes) for moment, text in enumerate(texts)]


def at(milliseconds: int) -> str:
    """A sound book with a venue time so long after the start."""
    return book_text(BIDS, ASKS, timestamp=str(START_NS // 1_000_000 + milliseconds))


BIDS, ASKS = [("0.4", "1")], [("0.6", "1")]
SOUND = book_text(BIDS, ASKS)
DUE_NS = poll(UP, 0).due_ns
RECEIVED_MS = ((poll(UP, 0).received_ns or 0) - START_NS) // 1_000_000
CASES: dict[str, tuple[list[PollItem], list[PollItem], list[PollItem] | None]] = {
    "unreadable": (polls("{"), polls(SOUND), None),
    "unrepresentable": (polls(book_text([("0.12345", "1")], ASKS)), polls(SOUND), polls("{")),
    "hash": (
        polls(SOUND.replace('"0.4"', '"0.3"')),
        polls(SOUND),
        polls(book_text(BIDS, ASKS, tick_size=None)),
    ),
    "mirror": (
        [poll(DOWN, 0), poll(UP, 0, body=book_body(UP, 0).replace('"30"', '"31"'))],
        [poll(DOWN, 0), poll(UP, 0)],
        [poll(DOWN, 1), poll(UP, 0)],
    ),
    "empty": (polls(book_text([], [])), polls(book_text(BIDS, [])), polls("{")),
    "one_sided": (polls(book_text([], ASKS)), polls(book_text([], [])), polls("{")),
    "crossed": (polls(book_text(ASKS, BIDS)), polls(book_text(BIDS, BIDS)), polls(book_text(BIDS, []))),
    "locked": (polls(book_text(BIDS, BIDS)), polls(book_text(ASKS, BIDS)), polls(book_text([], ASKS))),
    "ghost": (
        polls(book_text([("0.01", "1")], [("0.99", "1")])),
        polls(book_text([("0.02", "1")], [("0.99", "1")])),
        polls(book_text([], [("0.99", "1")])),
    ),
    "off_tick": (
        polls(book_text([("0.405", "1")], ASKS)),
        polls(book_text([("0.405", "1")], ASKS, tick_size="0.005")),
        polls(book_text(BIDS, ASKS, tick_size=None)),
    ),
    "duplicate_level": (
        polls(book_text([("0.4", "1"), ("0.40", "2")], ASKS)),
        polls(book_text([("0.4", "1")], [("0.4", "1")])),
        polls(book_text([("0.4", "1"), ("0.40001", "2")], ASKS)),
    ),
    "non_positive_size": (
        polls(book_text([("0.4", "0")], ASKS)),
        polls(book_text([("0.4", "0.000001")], ASKS)),
        polls(book_text([("0.4", "0.0000001")], ASKS)),
    ),
    "venue_time_back": (polls(at(0), at(-1)), polls(at(0), at(0)), polls("{", at(0))),
    "venue_time_ahead": (
        polls(at(RECEIVED_MS + 1)),
        polls(at(RECEIVED_MS)),
        polls(book_text(BIDS, ASKS, timestamp="soon")),
    ),
    "unchanged_long": (
        polls(at(RECEIVED_MS - 30_001)),
        polls(at(RECEIVED_MS - 30_000)),
        polls(SOUND, received_ns=None),
    ),
    "tick_size_changed": (
        polls(SOUND, book_text(BIDS, ASKS, tick_size="0.001")),
        polls(SOUND, book_text(BIDS, ASKS, tick_size="0.010")),
        polls(SOUND),
    ),
    "outside_window": ([poll(UP, 300)], [poll(UP, 299)], None),
    "late": (
        polls(SOUND, sent_ns=DUE_NS + NS // 2 + 1),
        polls(SOUND, sent_ns=DUE_NS + NS // 2),
        polls(SOUND, sent_ns=None),
    ),
}


@pytest.mark.parametrize("check", BY_NAME)
def test_check_finds_passes_and_cannot_be_made(check: str) -> None:
    """Every check finds its case, leaves the one beside it alone, and says unverifiable where it is blind."""
    states = (True, False, None)
    for items, state in zip(CASES[check], states, strict=True):
        if items is not None:
            rows = [row for row in assert_equal([items]) if row["token_id"] == UP]
            assert rows[-1]["checks"][check] is state


# Single cases, by hand.

D = Decimal


def one(text: str | None, **changes: Any) -> dict[str, Any]:
    """The row of a single poll with this body."""
    (row,) = assert_equal([[poll(UP, 0, body=text, **changes)]])
    return row


def test_levels_in_reverse_order() -> None:
    """The best level is found by price: a book whose levels come best first gives the same row."""
    bids, asks = [("0.01", "9"), ("0.4", "7"), ("0.41", "5.5")], [("0.99", "3"), ("0.6", "2"), ("0.43", "1")]
    usual, reversed_ = one(book_text(bids, asks)), one(book_text(bids[::-1], asks[::-1]))
    assert (usual["best_bid_price"], usual["best_bid_size"]) == (D("0.41"), D("5.5"))
    assert (usual["best_ask_price"], usual["mid"], usual["spread"]) == (D("0.43"), D("0.42"), D("0.02"))
    assert usual["bids"] == [(D("0.41"), D("5.5")), (D("0.4"), D(7)), (D("0.01"), D(9))]
    assert not usual["checks"]["ghost"]
    assert {key: reversed_[key] for key in usual if key != "venue_hash"} == {
        key: usual[key] for key in usual if key != "venue_hash"
    }


def test_one_sided_book() -> None:
    """A side without levels has no best price and no depth, and what needs both sides is unverifiable."""
    row = one(book_text([("0.97", "10"), ("0.98", "20")], []))
    assert (row["best_bid_price"], row["best_ask_price"], row["best_ask_size"]) == (D("0.98"), None, None)
    assert (row["mid"], row["spread"], row["ask_levels"], row["ask_depth"]) == (None, None, 0, 0)
    assert (row["bid_depth"], row["bid_depth_1c"], row["asks"]) == (30, 30, [])
    checks = row["checks"]
    assert (checks["one_sided"], checks["empty"], checks["crossed"], checks["ghost"]) == (
        True,
        False,
        None,
        None,
    )


def test_empty_book() -> None:
    """A book without levels is a book: its depth is zero, its prices are null, its hash is checked."""
    row = one(book_text([], []))
    assert (row["bid_levels"], row["bid_depth"], row["best_bid_price"], row["bids"]) == (0, 0, None, [])
    assert (row["checks"]["empty"], row["checks"]["one_sided"], row["hash_state"]) == (True, False, "agrees")


def test_finer_tick() -> None:
    """Prices of a tick of 0.001 keep their digits, and the middle of an odd sum is exact."""
    levels = [("0.963", "1.000001"), ("0.964", "2")], [("0.97", "5"), ("0.967", "0.5")]
    row = one(book_text(*levels, tick_size="0.001"))
    assert (row["best_bid_price"], row["best_ask_price"], row["mid"]) == (D("0.964"), D("0.967"), D("0.9655"))
    assert (row["bid_depth"], row["tick_size"], row["checks"]["off_tick"]) == (
        D("3.000001"),
        D("0.001"),
        False,
    )
    assert one(book_text(*levels, tick_size="0.01"))["checks"]["off_tick"] is True
    finest = one(book_text([("0.0001", "1")], [("0.0002", "1")], tick_size="0.0001"))
    assert finest["mid"] == D("0.00015")


def test_value_with_too_many_digits() -> None:
    """A value that does not fit is null and flagged, never rounded; what hangs on it is null too."""
    row = one(book_text([("0.41", "1"), ("0.42", "0.0000001")], [("0.43", "1")]))
    assert row["bids"] == [(D("0.42"), None), (D("0.41"), D(1))]
    assert (row["best_bid_price"], row["best_bid_size"], row["bid_depth"]) == (D("0.42"), None, None)
    assert (row["checks"]["unrepresentable"], row["hash_state"], row["ask_depth"]) == (True, "agrees", 1)
    row = one(book_text([("0.41", "1"), ("0.41999", "1")], []))
    assert (row["best_bid_price"], row["bids"][-1]) == (None, (None, D(1)))
    row = one(book_text([("-99999", "1")], [("99999", "1")]))
    assert (row["spread"], row["mid"], row["checks"]["unrepresentable"]) == (None, 0, True)
    row = one(book_text([("0.4", "999999999999.5"), ("0.5", "999999999999.5")], []))
    largest = D("999999999999.5")
    assert (row["bid_depth"], row["bid_depth_5c"], row["best_bid_size"]) == (None, largest, largest)


def test_body_that_is_no_book() -> None:
    """An answer that cannot be read keeps its row, says so, and claims nothing else."""
    for text in ("{", "[1]", book_text([], [], DOWN), None):
        row = one(text)
        assert row["checks"]["unreadable"] is True
        assert {row[key] for key in ("bids", "bid_levels", "bid_depth", "venue_hash", "ts_event_ns")} == {
            None
        }
        assert (row["hash_state"], row["checks"]["empty"], row["changed"]) == ("unverifiable", None, None)
    assert one(book_text([], []), body_encoding="base64")["checks"]["unreadable"] is True


def test_no_trade_yet_is_no_odd_value() -> None:
    """An empty last trade price means that there was none: null, and nothing to flag."""
    row = one(book_text(BIDS, ASKS, last_trade_price=""))
    assert (row["last_trade_price"], row["checks"]["unrepresentable"], row["hash_state"]) == (
        None,
        False,
        "agrees",
    )


def test_level_reaching_into_next_book() -> None:
    """Texts that are levels only when two books are joined are not read as levels of either."""
    halves = ['[{"price":"0.1"]', '["size":"2"}]']
    for pair in (halves, halves[::-1]):
        texts = [book_text([], []).replace('"bids":[]', f'"bids":{half}') for half in pair]
        rows = assert_equal([[poll(UP, moment, body=text) for moment, text in enumerate(texts)]])
        assert [row["bid_levels"] for row in rows] == [None, None]


def test_mirror_needs_equal_venue_times() -> None:
    """The two tokens' books are compared at equal venue times only, each showing a single book then."""
    agrees = [poll(UP, 0), poll(DOWN, 0)]
    states = [row["mirror_state"] for row in assert_equal([agrees])]
    assert states == ["agrees", "agrees"]
    differs = [poll(UP, 0), poll(DOWN, 0, body=book_body(DOWN, 0).replace('"7"', '"8"'))]
    assert [row["mirror_state"] for row in assert_equal([differs])] == ["disagrees", "disagrees"]
    later = [poll(UP, 0), poll(DOWN, 1)]
    assert {row["mirror_state"] for row in assert_equal([later])} == {"unverifiable"}
    apart = [[poll(UP, 0)], [poll(DOWN, 0)]]
    assert {row["mirror_state"] for row in assert_equal(apart)} == {"unverifiable"}
    two_books = [poll(UP, 0), poll(UP, 1, body=book_body(UP, 0).replace('"30"', '"31"')), poll(DOWN, 0)]
    assert {row["mirror_state"] for row in assert_equal([two_books])} == {"unverifiable"}


def test_changes_are_against_previous_book() -> None:
    """`changed`, steps of the tick size and a venue clock that goes back look at the last readable book."""
    texts = [
        book_text([("0.4", "1")], []),
        book_text([("0.40", "1.0")], []),
        "{",
        book_text([("0.4", "2")], [], timestamp=str(START_NS // 1_000_000 - 1)),
        book_text([("0.4", "2")], [], timestamp=str(START_NS // 1_000_000 - 1), tick_size="0.001"),
    ]
    # A late row stands in a later member: its due time decides, not its place.
    items = [poll(UP, moment, body=text) for moment, text in enumerate(texts)]
    rows = assert_equal([[items[0], items[3], items[4]], [items[1], items[2]]])
    assert [row["changed"] for row in rows] == [None, False, None, True, False]
    assert [row["checks"]["venue_time_back"] for row in rows] == [None, False, None, True, False]
    assert [row["checks"]["tick_size_changed"] for row in rows] == [None, False, None, False, True]


def test_missing_venue_time_stays_missing() -> None:
    """Where the venue gives no time the column is null, whatever the host's clock says."""
    row = one(book_text([("0.4", "1")], [], timestamp="soon"))
    assert row["ts_event_ns"] is None
    checks = row["checks"]
    assert (checks["venue_time_ahead"], checks["unchanged_long"], checks["unrepresentable"]) == (
        None,
        None,
        True,
    )


def test_large_segment_equals_small_ones() -> None:
    """Reading, shaping and comparing in portions changes nothing: many books, odd ones among them."""
    items = [poll(token, moment) for moment in range(1200) for token in (UP, DOWN)]
    for number in (0, 300, 301, 1111, 2399):
        items[number].body = (items[number].body or "").replace('"price":"', '"price": "')
    assert_equal([items[:700], items[700:]])
