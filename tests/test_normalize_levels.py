"""The fast reader of levels beside a slow one: the same levels, or it refuses; it never guesses."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderbooks_spider.normalize.fixed import LONGEST, NONE
from orderbooks_spider.normalize.levels import Side, side_of_levels, side_of_texts
from orderbooks_spider.normalize.tables import PRICE_SCALE, SIZE_SCALE
from orderbooks_spider.polymarket.book import Level
from tests import slow_books

if TYPE_CHECKING:
    from collections.abc import Callable

Pairs = list[tuple[str, str]]

PRICES = st.integers(1, 999).map(lambda mills: f"{mills / 1000:.3f}") | st.sampled_from(["0.5", "1", "0"])
SIZES = st.decimals(0, 10**6, places=2).map(str) | st.integers(0, 10**7).map(str)
NEAT = st.lists(st.tuples(PRICES, SIZES), max_size=6)
ODD = st.sampled_from(
    ["", "-1", "1e-2", ".5", "5.", "0.12345", "1000000", "1234567890123", "0.1234567", "half", "NaN"]
)


def plain(levels: Pairs) -> str:
    """The venue's own form."""
    return json.dumps([{"price": price, "size": size} for price, size in levels], separators=(",", ":"))[1:-1]


OTHER_FORMS: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(json.loads(f"[{text}]"))[1:-1],
    lambda text: re.sub(r'("price":"[^"]*"),("size":"[^"]*")', r"\2,\1", text),
    lambda text: text.replace("}", ',"orders":"3"}', 1),
    lambda text: text.replace('"price"', '"price":"0.1","price"', 1),
    lambda text: text.replace('"price":"0', '"price":"\\u0030', 1),
    lambda text: text.replace("},{", "}{", 1),
    lambda text: text + ",",
    lambda text: "," + text,
)
"""Other JSON of the same levels (spaces, order of keys, more keys, escapes), and what is no JSON."""
PUT_IN = st.sampled_from(["", '"', ",", "{", "}", "0", ".", "\\", " ", "\u00e9", "]", "[", ":"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Levels of one side, mostly in the venue's form; else in another, cut, or with something put in."""
    levels = draw(NEAT)
    if levels and draw(st.integers(0, 3)) == 0:
        levels[draw(st.integers(0, len(levels) - 1))] = draw(st.tuples(ODD | PRICES, ODD | SIZES))
    text = plain(levels)
    if draw(st.integers(0, 2)) == 0:
        text = draw(st.sampled_from(OTHER_FORMS))(text)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PUT_IN) + text[at + draw(st.integers(0, 3)) :]
    return text


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
@given(books=st.lists(texts(), max_size=4), descending=st.booleans())
@example(books=['{"price":"0.1"', '"size":"2"}'], descending=True)
@example(books=['{"price":"0.1","size":"2"},', ""], descending=False)
@example(books=['{"price":"0.1","size":"2"', '"price":"0.2","size":"3"}'], descending=True)
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


@settings(deadline=None)
@given(NEAT | st.lists(st.tuples(ODD | PRICES, ODD | SIZES), max_size=6), st.booleans())
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
