"""What only the venue's own field names can tell about a stored body: its hash, its mirror image.

The one place where the archive meets the ``polymarket`` package; everything else in the archive
takes these functions as parameters.
"""

from __future__ import annotations

import hashlib
import re
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

_PLAIN_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,18})?")

hash_state = book_hash_state
"""``agrees``, ``disagrees`` or ``unverifiable`` for one body."""


@dataclass(frozen=True, slots=True)
class BookFacts:
    """What one body tells: whether its hash holds, and what the book looks like."""

    hash_state: HashState
    venue_time: str
    shape: bytes | None
    """Equal for equal books; ``None`` where a price is no plain decimal number."""


def book_facts(body: str, *, from_other_side: bool = False) -> BookFacts | None:
    """Read *body* once for all checks; ``None`` when it is no book.

    *from_other_side* gives the shape as the market's other token must show it: price p is 1 - p, bids
    are asks, sizes are the same.
    """
    try:
        book = parse_book(body)
    except VenueError:
        return None
    shape: bytes | None
    try:
        bids, asks = (book.asks, book.bids) if from_other_side else (book.bids, book.asks)
        index = 1 if from_other_side else 0
        shape = hashlib.blake2b(
            f"{_side(bids, index)}|{_side(asks, index)}".encode(), digest_size=16
        ).digest()
    except InvalidOperation:
        shape = None
    return BookFacts(_state(book), book.timestamp, shape)


def _state(book: Book) -> HashState:
    try:
        return "agrees" if venue_hash(book) == book.hash else "disagrees"
    except VenueError:
        return "unverifiable"


def _side(levels: Sequence[Level], index: int) -> str:
    """One side as text, in an order that does not depend on how it was sent."""
    return ",".join(
        sorted(
            f"{_price(level.price)[index]}:{size.rstrip('0').rstrip('.') if '.' in size else size}"
            for level in levels
            for size in (level.size,)
        )
    )


@lru_cache(maxsize=20_000)
def _price(text: str) -> tuple[str, str]:
    """A price and its complement to one, both without trailing zeros; prices are few."""
    if _PLAIN_DECIMAL.fullmatch(text) is None:
        raise InvalidOperation(text)
    price = Decimal(text)
    return f"{price.normalize():f}", f"{(1 - price).normalize():f}"
