"""What only the venue's own field names can tell about a stored body: its hash, its mirror image.

The one place where the archive meets the ``polymarket`` package; everything else in the archive
takes these functions as parameters.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING

from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.book import HashState, book_hash_state, parse_book, venue_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderbooks_spider.polymarket.book import Book, Level

__all__ = ["BookFacts", "HashState", "book_facts", "hash_state"]

hash_state = book_hash_state
"""``agrees``, ``disagrees`` or ``unverifiable`` for one body."""


@dataclass(frozen=True, slots=True)
class BookFacts:
    """What one body tells: whether its hash holds, and the book in two fingerprints."""

    hash_state: HashState
    venue_time: str
    own: bytes | None
    """``None`` where a price or size is no decimal number."""
    mirror: bytes | None
    """Equals the other token's ``own`` when both show one book: price p is 1 - p, bids are asks."""


def book_facts(body: str) -> BookFacts | None:
    """Read *body* once for all checks; ``None`` when it is no book."""
    try:
        book = parse_book(body)
    except VenueError:
        return None
    own: bytes | None
    mirror: bytes | None
    try:
        own = _digest(_side(book.bids, mirrored=False), _side(book.asks, mirrored=False))
        mirror = _digest(_side(book.asks, mirrored=True), _side(book.bids, mirrored=True))
    except InvalidOperation:
        own = mirror = None
    return BookFacts(_state(book), book.timestamp, own, mirror)


def _state(book: Book) -> HashState:
    try:
        return "agrees" if venue_hash(book) == book.hash else "disagrees"
    except VenueError:
        return "unverifiable"


def _side(levels: Sequence[Level], *, mirrored: bool) -> str:
    """One side as text, in an order that does not depend on how it was sent."""
    index = 1 if mirrored else 0
    return ",".join(sorted(f"{_price(level.price)[index]}:{_plain(level.size)}" for level in levels))


def _digest(bids: str, asks: str) -> bytes:
    return hashlib.blake2b(f"{bids}|{asks}".encode(), digest_size=16).digest()


@lru_cache(maxsize=20_000)
def _price(text: str) -> tuple[str, str]:
    """A price and its complement to one, both without trailing zeros; prices are few."""
    price = Decimal(text)
    return _plain(str(price)), _plain(str(1 - price))


def _plain(number: str) -> str:
    """``100.50`` and ``100.5`` are one number."""
    return number.rstrip("0").rstrip(".") if "." in number else number
