"""What an answer of ``/book`` says, and whether the venue's own hash agrees with it.

Everything stays the string that was received: a price that went through a float would no longer
hash to what the venue published.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.book_text import cut_book

HashState = Literal["agrees", "disagrees", "unverifiable"]


class Level(msgspec.Struct, frozen=True, gc=False):
    """Price and size as received; prices are plain decimals without trailing zeros."""

    price: str
    size: str


class Book(msgspec.Struct, frozen=True, gc=False):
    """One token's book, in the venue's key order: bids ascending, asks descending, best is last.

    ``timestamp`` is the last change in ms since the epoch, as text; it is not the answer's time.
    Keys that older answers lack are ``None``: then the hash covers fewer fields (Oct. 2025 form),
    or cannot be checked.
    """

    market: str
    asset_id: str
    timestamp: str
    hash: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    min_order_size: str | None = None
    tick_size: str | None = None
    neg_risk: bool | None = None
    last_trade_price: str | None = None

    @property
    def best_bid(self) -> Level | None:
        """The highest bid, by position: the recorder keeps what came and judges elsewhere."""
        return self.bids[-1] if self.bids else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask, by position."""
        return self.asks[-1] if self.asks else None


_decoder = msgspec.json.Decoder(Book)
_encoder = msgspec.json.Encoder()


def parse_book(body: str | bytes) -> Book:
    """Read one book from the text of an answer.

    Raises:
        VenueError: it is not JSON, not a book, or nested too deeply to be one.

    """
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise VenueError(f"expected a book, saw {_start_of(body)}: {error}") from error


def venue_hash(book: Book) -> str:
    """SHA-1 over the compact JSON text of *book* with an empty hash (fact sheet, section 5).

    Covers ten fields since December 2025, nine (without ``last_trade_price``) before.

    Raises:
        VenueError: *book* lacks a field that both forms need.

    """
    if book.min_order_size is None or book.tick_size is None or book.neg_risk is None:
        raise VenueError("the hash needs min_order_size, tick_size and neg_risk")
    fields = msgspec.structs.asdict(book) | {"hash": ""}
    if book.last_trade_price is None:
        del fields["last_trade_price"]
    return hashlib.sha1(_encoder.encode(fields), usedforsecurity=False).hexdigest()


def book_hash_state(body: str | bytes) -> HashState:
    """Whether the hash inside *body* is the hash of *body*; never raises."""
    if isinstance(body, str) and (cut := cut_book(body)) is not None and cut.hash_agrees:
        return "agrees"  # by its text as it came; any other text is taken apart to be sure
    try:
        book = parse_book(body)
        return "agrees" if venue_hash(book) == book.hash else "disagrees"
    except VenueError:
        return "unverifiable"


def _start_of(body: str | bytes) -> str:
    return repr(body[:40])
