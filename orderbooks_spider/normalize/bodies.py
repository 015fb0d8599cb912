"""The bodies of a segment's answered polls as columns: what each book says, and all its levels.

Bodies are cut and their numbers read by the column; a body that is not in the venue's own form is decoded
on its own (some ten times slower) and joins the same columns, so that both ways end in the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from orderbooks_spider.errors import VenueError
from orderbooks_spider.normalize.fixed import NONE
from orderbooks_spider.normalize.levels import Side, price_of, side_of_levels, side_of_texts, size_of
from orderbooks_spider.polymarket.book import Book, parse_book, venue_hash
from orderbooks_spider.polymarket.book_text import cut_book

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderbooks_spider.normalize.fixed import Integers
    from orderbooks_spider.normalize.recorded import PollRow
    from orderbooks_spider.polymarket.book_text import BookText

TOGETHER: Final = 256
"""Books whose levels are read together: their columns stay in the processor's cache (measured)."""
AGREES, DISAGREES, UNVERIFIABLE = 0, 1, 2
"""A state as a number in a column."""
STATES: Final = ("agrees", "disagrees", "unverifiable")
_MS: Final = 1_000_000
_MS_DIGITS: Final = 13
"""Of a time in ms; with more it would not fit 64 bits of ns."""


@dataclass(frozen=True)
class Bodies:
    """All books of a segment in the order read; entry ``i`` of every column and side is one book."""

    columns: dict[str, Integers]
    """By name: ``row`` (in file order), ``readable``, ``hash_state``, ``ts_event_ns``, ``neg_risk``,
    ``min_order_size``, ``tick_size``, ``last_trade_price``, and ``odd``: one of these does not fit."""
    hashes: pa.Array
    bids: Side
    asks: Side


class BodyReader:
    """Takes the rows of one segment as they are read."""

    def __init__(self) -> None:
        self._rows = 0
        self._columns: defaultdict[str, list[Integers]] = defaultdict(list)
        self._hashes: list[pa.Array] = []
        self._bids: list[Side] = []
        self._asks: list[Side] = []

    def add(self, rows: Sequence[PollRow]) -> None:
        """Read the bodies of the answered polls among the next *rows*."""
        for begin in range(0, len(rows), TOGETHER):
            plain: list[tuple[int, PollRow]] = []
            texts: list[BookText] = []
            for number, row in enumerate(rows[begin : begin + TOGETHER], self._rows + begin):
                if row.result != "ok":
                    continue
                text = cut_book(row.body) if row.body is not None and row.body_encoding is None else None
                if text is not None and text.token_id == row.token_id:
                    plain.append((number, row))
                    texts.append(text)
                else:
                    self._decode(number, row)
            self._take(plain, texts)
        self._rows += len(rows)

    def finish(self) -> Bodies | None:
        """Everything read; ``None`` when there was no answered poll."""
        if not self._hashes:
            return None
        bids, self._bids = Side.concat(self._bids), []  # one side after the other: they are large
        asks, self._asks = Side.concat(self._asks), []
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        return Bodies(columns, pa.concat_arrays(self._hashes), bids, asks)

    def _take(self, rows: list[tuple[int, PollRow]], texts: list[BookText]) -> None:
        """Read the levels of *texts* at once; where one of them is odd, halve until it stands alone."""
        if not texts:
            return
        bids = side_of_texts([text.bids for text in texts], descending=True)
        asks = side_of_texts([text.asks for text in texts], descending=False) if bids else None
        if bids is not None and asks is not None:
            states = [AGREES if text.hash_agrees else DISAGREES for text in texts]
            self._note([number for number, _ in rows], texts, states)
            self._bids.append(bids)
            self._asks.append(asks)
        elif len(texts) == 1:
            self._decode(*rows[0])
        else:
            half = len(texts) // 2
            self._take(rows[:half], texts[:half])
            self._take(rows[half:], texts[half:])

    def _decode(self, number: int, row: PollRow) -> None:
        """Read one body by the decoder, whatever its form."""
        book = _decoded(row)
        state = UNVERIFIABLE if book is None else _hash_state(book)
        self._note([number], [book or _NO_BOOK], [state], readable=book is not None)
        self._bids.append(side_of_levels(book.bids if book else (), descending=True))
        self._asks.append(side_of_levels(book.asks if book else (), descending=False))

    def _note(
        self,
        rows: list[int],
        books: Sequence[Book | BookText],
        hash_states: list[int],
        *,
        readable: bool = True,
    ) -> None:
        """Keep what *books* say besides their levels."""
        times = np.array([_nanoseconds(book.timestamp) for book in books])
        settings = [_settings(book.min_order_size, book.tick_size, book.last_trade_price) for book in books]
        min_order_size, tick_size, last_trade_price, odd = np.array(settings, np.int64).T
        columns = {
            "row": np.array(rows),
            "readable": np.full(len(rows), int(readable)),
            "hash_state": np.array(hash_states),
            "ts_event_ns": times,
            "neg_risk": np.array([NONE if book.neg_risk is None else int(book.neg_risk) for book in books]),
            "min_order_size": min_order_size,
            "tick_size": tick_size,
            "last_trade_price": last_trade_price,
            "odd": odd | (times == NONE),
        }
        for name, column in columns.items():
            self._columns[name].append(column)
        self._hashes.append(pa.array([book.hash if readable else None for book in books], pa.string()))


_NO_BOOK: Final = Book(market="", asset_id="", timestamp="", hash="", bids=(), asks=())
"""Stands where the body is none."""


def _decoded(row: PollRow) -> Book | None:
    """The book in the row's body; ``None`` where it is none, or another token's."""
    if row.body is None or row.body_encoding is not None:
        return None
    try:
        book = parse_book(row.body)
    except VenueError:
        return None
    return book if book.asset_id == row.token_id else None


def _hash_state(book: Book) -> int:
    try:
        return AGREES if venue_hash(book) == book.hash else DISAGREES
    except VenueError:
        return UNVERIFIABLE


def _nanoseconds(timestamp: str) -> int:
    """The venue's time; ``NONE`` where it is none or does not fit."""
    if len(timestamp) <= _MS_DIGITS and timestamp.isascii() and timestamp.isdigit():
        return int(timestamp) * _MS
    return NONE


@lru_cache(maxsize=10_000)
def _settings(
    min_order_size: str | None, tick_size: str | None, last_trade_price: str | None
) -> tuple[int, int, int, bool]:
    """The three as numbers, and whether one of them is there and does not fit; they change seldom."""
    last_trade_price = last_trade_price or None  # "": no trade yet
    size = NONE if min_order_size is None else size_of(min_order_size)
    tick = NONE if tick_size is None else price_of(tick_size)
    last = NONE if last_trade_price is None else price_of(last_trade_price)
    pairs = ((min_order_size, size), (tick_size, tick), (last_trade_price, last))
    return size, tick, last, any(text is not None and value == NONE for text, value in pairs)
