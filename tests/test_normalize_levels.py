"""The fast reader of levels beside a slow one: the same levels, or it refuses; it never guesses."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderbooks_spider.normalize.fixed import LONGEST, NONE
from orderbooks_spider.normalize.levels import Side, side_of_levels, side_of_texts
from orderbooks_spider.normalize.tables import PRICE_SCALE, SIZE_SCALE
from orderbooks_spider.polymarket.book import Level
from tests import slow_books

Pairs = list[tuple[str, str]]

PRICES = st.integers(1, 999).map(lambda mills: f"{mills / 1000:.3f}") | st.sampled_from(["0.5", "1", "0"])
SIZES = st.decimals(0, 10**6, places=2).map(str) | st.integers(0, 10**7).map(str)
NEAT = st.integers(0, 3).flatmap(
    lambda size: st.lists(st.tuples(PRICES, SIZES), min_size=size, max_size=size)
)
ODD = st.sampled_from(
    ["", "-1", "1e-2", ".5", "5.", "0.12345", "1000000", "1234567890123", "0.1234567", "half", "NaN"]
)


def plain(levels: Pairs) -> str:
    """The venue's own form."""
    return json.dumps([{"price": price, "size": size} for price, size in levels], separators=(",", ":"))[1:-1]


PIECES = re.compile(r'"[^"]*"|.')
PUT_IN = st.sampled_from(
    ["{", "}", ",", ":", '"', '"price"', '"size"', '"sizf"', '"0.1"', "0", " ", "\\", "[", "\u00e9"]
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Levels of one side in the venue's form; at times a level is odd, or pieces are moved or lost."""
    levels = draw(NEAT)
    if levels and draw(st.integers(0, 3)) == 0:
        levels[draw(st.integers(0, len(levels) - 1))] = draw(st.tuples(ODD | PRICES, ODD | SIZES))
    pieces = PIECES.findall(plain(levels))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(pieces)))
        pieces[at : at + draw(st.integers(0, 2))] = draw(st.lists(PUT_IN, max_size=2))
    return "".join(pieces)


def slow(text: str) -> Pairs | None:
    """The levels that ``json`` finds; ``None`` where *text* is not the venue's own form of levels."""
    try:
        found = json.loads(f"[{text}]")
        levels = [(level["price"], level["size"]) for level in found]
    except (ValueError, TypeError, KeyError):
        return None
    return levels if plain(levels) == text else None


def short(text: str, scale: int) -> bool:
    """Whether the column reader may take this number; any other needs the slow path."""
    matched = re.fullmatch(r"[0-9]+(?:\.([0-9]+))?", text)
    return matched is not None and len(text) <= LONGEST and len(matched[1] or "") <= scale


def pairs(side: Side) -> list[slow_books.Levels]:
    """Per book its levels as decimals."""

    def value(scaled: int, scale: int) -> Decimal | None:
        return None if scaled == NONE else Decimal(scaled).scaleb(-scale)

    levels = [
        (value(price, PRICE_SCALE), value(size, SIZE_SCALE))
        for price, size in zip(side.prices.tolist(), side.sizes.tolist(), strict=True)
    ]
    begins = side.begins.tolist()
    return [levels[begin : begin + count] for begin, count in zip(begins, side.counts.tolist(), strict=True)]


def expected(levels: Pairs, *, descending: bool) -> slow_books.Levels:
    """The same by ``decimal``, best first."""
    name = "bids" if descending else "asks"
    return slow_books.levels({name: [{"price": price, "size": size} for price, size in levels]}, name)


@settings(max_examples=300, deadline=None)
@given(books=st.lists(texts(), min_size=1, max_size=3), descending=st.booleans())
def test_fast_reader_takes_the_venues_form_and_no_other(books: list[str], descending: bool) -> None:
    """Whole texts in the venue's own form with short plain numbers are read exactly; all else is refused."""
    said = [slow(text) for text in books]
    levels = [level for side in said for level in side or ()]
    fits = None not in said and all(
        short(price, PRICE_SCALE) and Decimal(price) < 10**5 and short(size, SIZE_SCALE)
        for price, size in levels
    )
    found = side_of_texts(books, descending=descending)
    assert (found is not None) == fits
    if found is not None:
        assert pairs(found) == [expected(side or [], descending=descending) for side in said]


LEVEL = '{"price":"0.1","size":"2"}'
CHANGED = (
    ("price", "prise"), ("size", "sizf"), (':"0', ': "0'), ('","', '", "'), ('","', '";"'), ("{", "{ "),
    ("}", " }"), ("{", "["), ("}", "]"), ("{", ""), ("}", ""), (":", ";"), ('"}', "}"), ('"2"', "2"),
    ("0.1", "\\u0030.1"), ('{"price":"0.1",', '{"price":"0.1","price":"0.1",'), ('"2"', '"2","size":"2"'),
    ('"2"', '"2","orders":"3"'), ("0.1", ""), ("0.1", "."), ("0.1", "1."), ("0.1", ".1"), ("0.1", "1.1.1"),
    ("0.1", "-1"), ("0.1", "+1"), ("0.1", "1e1"), ("0.1", "0,1"), ("0.1", "0.00001"), ("0.1", "100000"),
    ("0.1", "99999999.9"), ("0.1", "1_0"), ("0.1", "1234567890123"), ("0.1", "\u0661"), ("0.1", "0x1"),
    ('"2"', '""'), ('"2"', '"2."'), ('"2"', '"2 "'), ('"2"', '"2.0000001"'), ('"2"', '"0000000000002"'),
    ('"2"', '"Infinity"'),
)  # fmt: skip
BETWEEN = ("", ";", ",,", ", ", " ,", ",{", "},", "\n")
WHOLE = (
    '{"size":"2","price":"0.1"}', '{"price":"0.1"}', "{}", "null", '"0.1"', " ", ",", "{" + LEVEL,
    LEVEL + "}",
)  # fmt: skip
HOSTILE = (
    *(LEVEL.replace(old, new) for old, new in CHANGED),
    *(LEVEL + between + LEVEL for between in BETWEEN),
    *WHOLE,
)
"""None is levels in the venue's own form with short plain numbers that fit."""


@pytest.mark.parametrize("text", HOSTILE)
def test_fast_reader_refuses(text: str) -> None:
    """What is written in any other way is left to the slow path, alone and between sound books."""
    assert side_of_texts([LEVEL, "", LEVEL], descending=True) is not None
    for books in ([text], [LEVEL, text], [text, LEVEL], [LEVEL, text, LEVEL], ["", text, ""]):
        assert side_of_texts(books, descending=True) is None


@pytest.mark.parametrize("cut", range(1, len(LEVEL)))
def test_level_belongs_to_one_book(cut: int) -> None:
    """Two texts that are levels only when joined, whichever way, are levels of neither."""
    for joined in (LEVEL, f"{LEVEL},{LEVEL}"):
        parts = joined[:cut].removesuffix(","), joined[cut:].removeprefix(",")
        assert side_of_texts(parts, descending=True) is None
        assert side_of_texts(parts[::-1], descending=True) is None


@settings(deadline=None)
@given(levels=NEAT | st.lists(st.tuples(ODD | PRICES, ODD | SIZES), max_size=6), descending=st.booleans())
@example(levels=[("x", "1"), ("0.5", "1")], descending=False)
@example(levels=[("0.5", "x"), ("0.5", "1")], descending=False)
def test_slow_path_reads_any_level(levels: Pairs, descending: bool) -> None:
    """Decoded levels keep every value that fits, lose none and are put best first, whatever they are."""
    side = side_of_levels([Level(price, size) for price, size in levels], descending=descending)
    assert pairs(side) == [expected(levels, descending=descending)]


def test_depth_beyond_64_bits_is_exact() -> None:
    """Sums that 64 bits do not hold are added by Python's integers: too deep is null, never wrapped."""
    largest = "999999999999.999999"
    side = side_of_levels([Level(f"0.{cents:02d}", largest) for cents in range(1, 21)], descending=True)
    assert side.depth().tolist() == [NONE]
    mixed = side_of_levels([Level("0.5", largest), Level("0.4", f"-{largest}")], descending=True)
    assert mixed.depth().tolist() == [0]
