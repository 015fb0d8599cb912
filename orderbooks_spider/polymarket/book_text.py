"""The text of a book as the venue writes it, cut without decoding; for many books a second.

Only the venue's own form is taken: compact JSON, keys in its order, nothing escaped.  Any other text
is ``None`` here and is read by :func:`orderbooks_spider.polymarket.book.parse_book` instead.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

LEVEL_BEGINS: Final = b'{"price":"'
LEVEL_BETWEEN: Final = b'","size":"'
LEVEL_ENDS: Final = b'"}'
"""A level is price and size between these; levels are joined by one comma."""

_HEAD = re.compile(
    r'\{"market":"0x[0-9a-fA-F]{1,64}","asset_id":"([0-9]{1,78})","timestamp":"([0-9]{1,13})"'
    r',"hash":"([0-9a-f]{40})","bids":\['
).match
_BETWEEN = '],"asks":['
_TAIL = re.compile(
    r'\],"min_order_size":"([0-9.]*)","tick_size":"([0-9.]*)","neg_risk":(true|false)'
    r'(?:,"last_trade_price":"([0-9.]*)")?\}'
).fullmatch


class BookText(NamedTuple):
    """The pieces of one book's text; ``bids`` and ``asks`` are levels in the venue's order, or empty."""

    token_id: str
    timestamp: str
    hash: str
    hash_agrees: bool
    bids: str
    asks: str
    min_order_size: str
    tick_size: str
    neg_risk: bool
    last_trade_price: str | None


def cut_book(body: str) -> BookText | None:
    """Cut *body* into its pieces; the insides of ``bids`` and ``asks`` are not looked at.

    Where those hold nothing but levels with plain decimals, the pieces are what ``parse_book`` gives and
    ``hash_agrees`` is what ``venue_hash`` says: in this form the text with the hash taken out is the
    text that the venue hashed.
    """
    head = _HEAD(body)
    if head is None:
        return None
    bids_end = body.find(_BETWEEN, head.end())
    asks_begin = bids_end + len(_BETWEEN)
    asks_end = body.find("]", asks_begin)
    if bids_end < 0 or asks_end < 0:
        return None
    tail = _TAIL(body, asks_end)
    if tail is None or not body.isascii():
        return None
    token_id, timestamp, venue_hash = head.groups()
    begin, end = head.span(3)
    digest = hashlib.sha1((body[:begin] + body[end:]).encode("ascii"), usedforsecurity=False)
    min_order_size, tick_size, neg_risk, last_trade_price = tail.groups()
    return BookText(
        token_id,
        timestamp,
        venue_hash,
        digest.hexdigest() == venue_hash,
        body[head.end() : bids_end],
        body[asks_begin:asks_end],
        min_order_size,
        tick_size,
        neg_risk == "true",
        last_trade_price,
    )
