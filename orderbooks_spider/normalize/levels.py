"""The levels of many books in flat columns: read from text, put best first, summed and compared.

Book ``i`` of a side owns ``counts[i]`` consecutive levels.  Prices and sizes are scaled integers
(:mod:`fixed`), so every sum and comparison here is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from orderbooks_spider.normalize.fixed import MARGIN, NONE, fixed, fixed_column
from orderbooks_spider.normalize.tables import PRICE, PRICE_SCALE, SIZE, SIZE_SCALE
from orderbooks_spider.polymarket.book_text import LEVEL_BEGINS, LEVEL_BETWEEN, LEVEL_ENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderbooks_spider.normalize.fixed import Bytes, Flags, Integers
    from orderbooks_spider.polymarket.book import Level

ONE: Final = 10**PRICE_SCALE
"""The price of a share that has won."""
PRICE_LIMIT: Final = 10**PRICE.precision
SIZE_LIMIT: Final = 10**SIZE.precision
_LAST: Final = 2**63 - 1
_QUOTE: Final = ord('"')
_QUOTES: Final = 8
"""In the text of a level: two names, two values."""


@dataclass(frozen=True)
class Side:
    """Bids or asks of many books, best level first; ``NONE`` where a value does not fit its type."""

    counts: Integers
    prices: Integers
    sizes: Integers

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The books of all *parts*, in order."""
        return cls(
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.prices for part in parts]),
            np.concatenate([part.sizes for part in parts]),
        )

    @cached_property
    def begins(self) -> Integers:
        """Where each book's levels begin."""
        return np.cumsum(self.counts) - self.counts

    @property
    def books(self) -> Integers:
        """The book of each level."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def incomplete(self) -> Flags:
        """Per book whether a price or a size is missing."""
        return self.any((self.prices == NONE) | (self.sizes == NONE))

    def take(self, books: Integers) -> Side:
        """The side of *books*, in that order."""
        counts = self.counts[books]
        behind = np.cumsum(counts)
        total = int(behind[-1]) if len(behind) else 0
        at = np.repeat(self.begins[books] - (behind - counts), counts) + np.arange(total)
        return Side(counts, self.prices[at], self.sizes[at])

    def any(self, found: Flags) -> Flags:
        """Per book whether *found* holds for one of its levels."""
        result = np.zeros(len(self.counts), np.bool_)
        if found.any():
            filled = self.counts > 0
            result[filled] = np.logical_or.reduceat(found, self.begins[filled])
        return result

    def best(self, values: Integers) -> Integers:
        """Per book the value of its first level; ``NONE`` where it has none."""
        first = np.full(len(self.counts), NONE)
        filled = self.counts > 0
        first[filled] = values[self.begins[filled]]
        return first

    def depth(self, chosen: Flags | None = None) -> Integers:
        """Per book the sum of its sizes, of *chosen* levels only; ``NONE`` where it does not fit a size.

        Without levels it is 0; every size must be there.
        """
        sizes = self.sizes if chosen is None else np.where(chosen, self.sizes, 0)
        sums = np.zeros(len(self.counts), np.int64)
        filled = self.counts > 0
        if not filled.any():
            return sums
        begins = self.begins[filled]
        largest = max(int(sizes.max()), -int(sizes.min()))
        if largest * int(self.counts.max()) < SIZE_LIMIT:
            sums[filled] = np.add.reduceat(sizes, begins)
        else:  # Python's integers, which do not overflow
            exact = np.add.reduceat(sizes.astype(object), begins)
            sums[filled] = [value if abs(value) < SIZE_LIMIT else NONE for value in exact]
        return sums


def side_of_texts(texts: Sequence[str], *, descending: bool) -> Side | None:
    """The side that *texts* say, a text per book with its levels as the venue writes them (or empty).

    ``None`` where any of them is not written in that form, or holds a number that needs :func:`fixed`.
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    # The venue sends the best level last: joined from the last book on, one flip puts it first.
    full = [text for text in reversed(texts) if text]
    found = _read(",".join(full).encode())
    if found is None:
        return None
    begins, prices, sizes = found
    starts = np.cumsum([0, *(len(text) + 1 for text in full[:-1])])[: len(full)]
    firsts = np.searchsorted(begins, starts)
    if full and (begins[np.minimum(firsts, len(begins) - 1)] != starts).any():
        return None  # a level would reach from one book into the next
    counts = np.zeros(len(texts), np.int64)
    counts[lengths > 0] = np.diff(firsts, append=len(begins))[::-1]
    return _best_first(Side(counts, prices[::-1], sizes[::-1]), descending=descending)


def side_of_levels(book: Sequence[Level], *, descending: bool) -> Side:
    """The side of one book, from its decoded levels."""
    prices = np.array([price_of(level.price) for level in book], np.int64)
    sizes = np.array([size_of(level.size) for level in book], np.int64)
    return _best_first(Side(np.array([len(book)]), prices, sizes), descending=descending)


def price_of(text: str) -> int:
    """A price, scaled; ``NONE`` where it does not fit."""
    value = fixed(text, PRICE_SCALE, PRICE.precision)
    return NONE if value is None else value


def size_of(text: str) -> int:
    """A size, scaled; ``NONE`` where it does not fit."""
    value = fixed(text, SIZE_SCALE, SIZE.precision)
    return NONE if value is None else value


def same(left: Side, one: Integers, right: Side, other: Integers, *, mirrored: bool = False) -> Flags:
    """Whether book ``one[i]`` of *left* has the levels of book ``other[i]`` of *right*.

    *mirrored*: price p in one is 1 - p in the other.
    """
    result: Flags = left.counts[one] == right.counts[other]
    kept = np.flatnonzero(result & (left.counts[one] > 0))
    if not len(kept):
        return result
    here, there = left.take(one[kept]), right.take(other[kept])
    wanted = ONE - there.prices if mirrored else there.prices
    result[kept] = ~here.any((here.prices != wanted) | (here.sizes != there.sizes))
    return result


def _read(text: bytes) -> tuple[Integers, Integers, Integers] | None:
    """Where each of the joined levels begins, its price and its size; ``None`` unless *text* is only that."""
    padded = bytes(MARGIN) + text + bytes(MARGIN)
    buffer = np.frombuffer(padded, np.uint8)
    quotes = np.flatnonzero(buffer == _QUOTE)
    levels, odd = divmod(len(quotes), _QUOTES)
    if odd:
        return None
    if not levels:
        return None if text else (quotes, quotes, quotes)
    at = quotes.reshape(levels, _QUOTES)
    begin, price, between, size, end = at[:, 0] - 1, at[:, 2] + 1, at[:, 3], at[:, 6] + 1, at[:, 7]
    # Where the quotes stand is known; what stands between them is compared, a word for each piece.
    fits = (
        text.startswith(LEVEL_BEGINS)
        and text.endswith(LEVEL_ENDS)
        and bool((price - begin == len(LEVEL_BEGINS)).all())
        and bool((size - between == len(LEVEL_BETWEEN)).all())
        and bool((begin[1:] - end[:-1] == len(LEVEL_ENDS) + 1).all())
        and _holds(buffer, begin + 1, LEVEL_BEGINS[1:-1])
        and _holds(buffer, between + 1, LEVEL_BETWEEN[1:-1])
        and _holds(buffer, end[:-1], LEVEL_ENDS + b"," + LEVEL_BEGINS[:1])
    )
    if not fits:
        return None
    prices, good_prices = fixed_column(buffer, between, between - price, PRICE_SCALE)
    sizes, good_sizes = fixed_column(buffer, end, end - size, SIZE_SCALE)
    if not (good_prices.all() and good_sizes.all() and int(prices.max()) < PRICE_LIMIT):
        return None
    return begin - MARGIN, prices, sizes


def _holds(text: Bytes, places: Integers, word: bytes) -> bool:
    """Whether *word*, of 4 or 8 bytes, stands at each of *places*."""
    kind = np.dtype(f"u{len(word)}")
    words = np.ndarray((len(text) - len(word) + 1,), kind, text, 0, (1,))
    return bool((words[places] == np.frombuffer(word, kind)).all())


def _best_first(side: Side, *, descending: bool) -> Side:
    """Put each book's best price first, and of equal prices the larger size; ``NONE`` last."""
    before, behind = side.prices[:-1], side.prices[1:]
    unordered = before <= behind if descending else before >= behind
    firsts = side.begins[(side.counts > 0) & (side.begins > 0)]
    unordered[firsts - 1] = False
    unordered |= before == NONE
    if not unordered.any():
        return side
    odd = side.any(np.append(unordered, False))
    levels = np.flatnonzero(np.repeat(odd, side.counts))
    keys = np.where(side.prices == NONE, _LAST, -side.prices if descending else side.prices)
    sizes = np.where(side.sizes == NONE, _LAST, -side.sizes)
    order = levels[np.lexsort((sizes[levels], keys[levels], side.books[levels]))]
    prices, moved = side.prices.copy(), side.sizes.copy()
    prices[levels], moved[levels] = side.prices[order], side.sizes[order]
    return Side(side.counts, prices, moved)
