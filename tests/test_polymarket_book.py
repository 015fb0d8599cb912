from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.book import HashState, book_hash_state, parse_book, venue_hash
from tests import payloads

STATES = set(get_args(HashState))
OLD_FORM = "9 fields, no last_trade_price"

KEYS = (
    "market", "asset_id", "timestamp", "hash", "bids", "asks",
    "min_order_size", "tick_size", "neg_risk", "last_trade_price",
)  # fmt: skip
"""The order in which the venue hashes."""

NUMBERS = st.decimals(0, 10**6, places=2).map(str)
LEVELS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5).map(
    lambda levels: [{"price": price, "size": size} for price, size in levels]
)
UNSIGNED = st.fixed_dictionaries(
    {
        "market": st.from_regex(r"0x[0-9a-f]{64}", fullmatch=True),
        "asset_id": st.from_regex(r"[0-9]{1,78}", fullmatch=True),
        "timestamp": st.integers(10**12, 10**13).map(str),
        "hash": st.just(""),
        "bids": LEVELS,
        "asks": LEVELS,
        "min_order_size": NUMBERS,
        "tick_size": NUMBERS,
        "neg_risk": st.booleans(),
    },
    optional={"last_trade_price": NUMBERS | st.just("")},
)
"""Books as the venue hashes them, before the hash is put in."""


def compact(book: Any) -> str:
    """The JSON text of *book* as the venue writes it."""
    return json.dumps(book, separators=(",", ":"))


def signed(fields: dict[str, Any]) -> dict[str, Any]:
    """*fields* in the venue's order with the hash of their text, made without the code under test."""
    unsigned = {key: fields[key] for key in KEYS if key in fields}
    return unsigned | {"hash": hashlib.sha1(compact(unsigned).encode()).hexdigest()}


def example() -> dict[str, Any]:
    """A small sound book of the newer form."""
    return signed(
        {
            "market": "0x" + "ab" * 32,
            "asset_id": "123",
            "timestamp": "1776328503018",
            "hash": "",
            "bids": [{"price": "0.4", "size": "110000"}, {"price": "0.45", "size": "7.52"}],
            "asks": [{"price": "0.5", "size": "1260"}, {"price": "0.46", "size": "12.5"}],
            "min_order_size": "5",
            "tick_size": "0.01",
            "neg_risk": False,
            "last_trade_price": "0.450",
        }
    )


def test_hash_vectors_agree() -> None:
    """Every book whose hash was recomputed elsewhere, of both forms, agrees here."""
    vectors = payloads.hash_vectors()
    assert {variant for variant, _ in vectors} == {OLD_FORM, "10"}
    assert [book_hash_state(text) for _, text in vectors] == ["agrees"] * 11


def test_recorded_books_agree() -> None:
    """All recorded books agree with the venue's hash, as bytes and as text."""
    texts = payloads.books()
    assert len(texts) == 1203
    assert [text for text in texts if book_hash_state(text) != "agrees"] == []
    assert {book_hash_state(text.decode()) for text in texts[:50]} == {"agrees"}


def test_one_changed_digit_disagrees() -> None:
    """Whichever digit of the levels of a recorded book is changed, the hash no longer agrees."""
    text = payloads.books()[0].decode()
    levels = range(text.index('"bids"'), text.index('"min_order_size"'))
    digits = [place for place in levels if text[place].isdigit()]
    changed = [text[:place] + str(9 - int(text[place])) + text[place + 1 :] for place in digits]
    assert len(changed) > 500
    assert {book_hash_state(other) for other in changed} == {"disagrees"}


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_reordered_levels_disagree(side: str) -> None:
    """A recorded book whose levels were sorted the other way round no longer agrees."""
    book = json.loads(payloads.books()[0])
    book[side].reverse()
    assert book_hash_state(compact(book)) == "disagrees"


@pytest.mark.parametrize("field", ["price", "size", "last_trade_price"])
def test_number_that_went_through_a_float_disagrees(field: str) -> None:
    """A number that was read as a float and written again no longer agrees where its text changed."""
    book = example()
    assert book_hash_state(compact(book)) == "agrees"
    if field == "last_trade_price":
        book[field] = str(float(book[field]))
    for level in book["bids"] if field != "last_trade_price" else []:
        level[field] = f"{float(level[field]):.3f}"
    assert book_hash_state(compact(book)) == "disagrees"


def test_numbers_instead_of_texts_are_no_book() -> None:
    """A book rewritten with JSON numbers is not taken for the venue's: nothing could verify it."""
    book = example()
    book["bids"] = [{key: float(value) for key, value in level.items()} for level in book["bids"]]
    assert book_hash_state(compact(book)) == "unverifiable"


def test_white_space_is_not_hashed() -> None:
    """The hash covers the values in their order, however the answer was laid out."""
    assert book_hash_state(json.dumps(example(), indent=2)) == "agrees"


@given(unsigned=UNSIGNED)
def test_hash_is_sha1_of_compact_text(unsigned: dict[str, Any]) -> None:
    """Of any book, old form or new, the hash is the SHA-1 of its compact text with an empty hash."""
    book = signed(unsigned)
    assert venue_hash(parse_book(compact(book))) == book["hash"]
    assert book_hash_state(compact(book)) == "agrees"


@given(unsigned=UNSIGNED)
def test_parsing_changes_no_value(unsigned: dict[str, Any]) -> None:
    """Every value of a book stays the text that came."""
    book = parse_book(compact(unsigned))
    assert {key: getattr(book, key) for key in unsigned if key not in {"bids", "asks"}} == {
        key: value for key, value in unsigned.items() if key not in {"bids", "asks"}
    }
    for side in ("bids", "asks"):
        levels = [{"price": level.price, "size": level.size} for level in getattr(book, side)]
        assert levels == unsigned[side]


@pytest.mark.parametrize("field", ["min_order_size", "tick_size", "neg_risk"])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_book_without_a_hashed_field_is_unverifiable(field: str, how: str) -> None:
    """A book that lacks what the hash covers is still read, but its hash is not judged."""
    book: dict[str, Any] = example() | {field: None}
    if how == "absent":
        del book[field]
    assert parse_book(compact(book)).asset_id == "123"
    assert book_hash_state(compact(book)) == "unverifiable"
    with pytest.raises(VenueError, match="min_order_size, tick_size and neg_risk"):
        venue_hash(parse_book(compact(book)))


def test_recorded_book_of_2024_is_unverifiable() -> None:
    """The shape of 2024, with fewer fields, is read and said to be unverifiable."""
    text = payloads.recorded(payloads.BOOK_OF_2024).read_bytes()
    assert parse_book(text).bids != ()
    assert book_hash_state(text) == "unverifiable"


@pytest.mark.parametrize("field", ["market", "asset_id", "timestamp", "hash", "bids", "asks"])
def test_book_without_an_essential_field_is_refused(field: str) -> None:
    """What lacks a field that every book has is no book, and the error names the field."""
    book = example()
    del book[field]
    with pytest.raises(VenueError, match=f"expected a book.*{field}"):
        parse_book(compact(book))


def test_recorded_best_levels_are_the_last() -> None:
    """In every recorded book the best levels by price are the ones the code takes by position."""
    for text in payloads.books():
        book = parse_book(text)
        bids, asks = ([Decimal(level.price) for level in side] for side in (book.bids, book.asks))
        assert (book.best_bid and Decimal(book.best_bid.price)) == max(bids, default=None)
        assert (book.best_ask and Decimal(book.best_ask.price)) == min(asks, default=None)


def test_empty_side_has_no_best() -> None:
    """A side without levels has no best level, rather than a made-up one."""
    book = parse_book(compact(example() | {"bids": [], "asks": []}))
    assert (book.best_bid, book.best_ask) == (None, None)


@given(body=st.binary() | st.text(st.characters()))
def test_hash_state_never_raises(body: bytes | str) -> None:
    """Whatever stands in a row, the state of its hash can be told."""
    assert book_hash_state(body) in STATES


@pytest.mark.parametrize("body", ["[" * 100_000, b'{"bids":' * 100_000, "\ud800", b"\xff", b""])
def test_hostile_text_is_unverifiable(body: bytes | str) -> None:
    """Deep nesting, half a surrogate and broken bytes are no book, and no crash."""
    assert book_hash_state(body) == "unverifiable"
    with pytest.raises(VenueError, match="expected a book"):
        parse_book(body)
