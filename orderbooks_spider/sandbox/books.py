"""Moving order books in the venue's exact text, as pure functions of seed, market and time.

Shape and movement follow recorded BTC 5-minute books: every cent has a level, sizes grow towards
the ends, changes come every 30-200 ms and touch few levels, mostly near the best prices.
Down is the mirror of Up: price 1-p, sides exchanged, same sizes, same time, same last trade price.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orderbooks_spider.sandbox.ladder import Ladder
from orderbooks_spider.sandbox.markets import PerMarket
from orderbooks_spider.sandbox.quotes import Quote, Quotes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orderbooks_spider.sandbox.markets import Market
    from orderbooks_spider.sandbox.noise import Spot

BOOK_KEYS = (
    "market",
    "asset_id",
    "timestamp",
    "hash",
    "bids",
    "asks",
    "min_order_size",
    "tick_size",
    "neg_risk",
    "last_trade_price",
)
"""The keys of a book in the order of the wire, which is also the order that is hashed."""

_SWEEP_FROM = 1000  # moving books in memory, 45 KB each; a forgotten one is computed again from nothing


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a market asks about: dollars at its window's start and end, and who won."""

    price_to_beat: float
    final_price: float
    up_won: bool


class BookSource(Protocol):
    """Who knows the books: a random walk, or a recording."""

    def text(self, market: Market, token_index: int, now_ns: int) -> bytes | None:
        """Give the book's JSON text at *now_ns*, or None when there is no book."""

    def quote(self, market: Market, now_ns: int) -> Quote | None:
        """Best prices of the Up token."""

    def settlement(self, market: Market) -> Settlement:
        """Say how the market ends."""


def compact(value: Any) -> bytes:
    """Encode *value* as JSON the way the venue does: no spaces, keys in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def summary_hash(book: Mapping[str, Any]) -> str:
    """SHA-1 of a book with an empty ``hash`` (section 5 of the fact sheet), 40 hex digits.

    Keys that *book* lacks are left out, which gives the form used before ``last_trade_price`` came.
    """
    payload = {key: book[key] for key in BOOK_KEYS if key in book}
    payload["hash"] = ""
    return hashlib.sha1(compact(payload), usedforsecurity=False).hexdigest()


def rehashed(book: Mapping[str, Any]) -> bytes:
    """Encode a changed book with the hash that belongs to it."""
    return compact({**book, "hash": summary_hash(book)})


class MovingBooks:
    """The books of all markets of one seed, each encoded once per change."""

    def __init__(self, spot: Spot) -> None:
        self._spot = spot
        self._moving: PerMarket[_MovingBook] = PerMarket(_SWEEP_FROM)

    def text(self, market: Market, token_index: int, now_ns: int) -> bytes | None:
        """Give the book's JSON text at *now_ns*; whether the market is open is asked elsewhere."""
        moving = self._moving.get(market)
        if moving is None:
            moving = _MovingBook(market, Quotes(market, self._spot))
            self._moving.put(market, moving, now_ns)
        return moving.texts(now_ns)[token_index]

    def quote(self, market: Market, now_ns: int) -> Quote | None:
        """Best prices of the Up token."""
        return Quotes(market, self._spot).at(now_ns)

    def settlement(self, market: Market) -> Settlement:
        """Both prices on the path; a tie counts as Up, as in the venue's rules."""
        start, end = self._spot.at(market.start_ns), self._spot.at(market.end_ns)
        return Settlement(start, end, up_won=end >= start)


class _MovingBook:
    """Both tokens' texts of one market, kept until the next change."""

    def __init__(self, market: Market, quotes: Quotes) -> None:
        self._market = market
        self._quotes = quotes
        self._ladder = Ladder(market.key)
        self._at_ms = -1
        self._texts = (b"", b"")

    def texts(self, now_ns: int) -> tuple[bytes, bytes]:
        step = self._quotes.step(now_ns)
        if step.at_ms != self._at_ms:
            quote = self._quotes.at(step.at_ms * 1_000_000)
            up, down = self._ladder.sides(quote, step)
            first, second = self._market.token_ids
            trade = self._quotes.last_trade(step)
            rest = (
                f'"min_order_size":"5","tick_size":"{quote.tick_text}","neg_risk":false,'
                f'"last_trade_price":"{trade}"}}'
            )
            self._texts = (
                self._text(first, step.at_ms, up, rest),
                self._text(second, step.at_ms, down, rest),
            )
            self._at_ms = step.at_ms
        return self._texts

    def _text(self, token_id: str, at_ms: int, sides: tuple[str, str], rest: str) -> bytes:
        head = (
            f'{{"market":"{self._market.condition_id}","asset_id":"{token_id}","timestamp":"{at_ms}","hash":"'
        )
        tail = f'","bids":[{sides[0]}],"asks":[{sides[1]}],{rest}'
        digest = hashlib.sha1((head + tail).encode(), usedforsecurity=False).hexdigest()
        return f"{head}{digest}{tail}".encode()
