"""The names of a probe's requests, as the page shows them."""

from __future__ import annotations

from typing import Final

from orderbooks_spider.polymarket.windows import SERIES

TIME: Final = "the venue's clock"
SERIES_ID: Final = {window: f"id of the {window} series" for window in SERIES}
LISTING: Final = "open events of the 5m series"
SEVERAL: Final = "open events of all five series in one call"
PAGE_ONE: Final = "page one, of two events"
PAGE_TWO: Final = "page two, by after_cursor"
PAGE_TWO_BY_CURSOR: Final = "page two, by cursor"
WITHOUT_CLOSED: Final = "events without closed"
BY_SLUG: Final = {window: f"{window} event by slug" for window in ("5m", "15m", "4h")}
"""The window lengths whose slugs the calendar gives."""
UNKNOWN_SLUG: Final = "event by an unknown slug"
CLOB_MARKET: Final = "the CLOB's market"
BOOK: Final = "book"
BOOK_AGAIN: Final = "book, again"
BOOK_THIRD: Final = "book, a third time"
OTHER_BOOK: Final = "book of the other token"
UNKNOWN_BOOK: Final = "book of an unknown token"
BOOKS: Final = "books"
BOOKS_TURNED: Final = "books, turned round"
BOOKS_TWICE: Final = "books, one token twice, one unknown"
ENDED_EVENT: Final = "ended event by slug"
ENDED_LISTING: Final = "open events at its end"
ENDED_BOOK: Final = "book of the ended market"

LISTINGS: Final = (LISTING, SEVERAL, PAGE_ONE, PAGE_TWO, PAGE_TWO_BY_CURSOR, WITHOUT_CLOSED)
OPEN_EVENTS: Final = (LISTING, SEVERAL, *BY_SLUG.values())
"""Where open events, and the markets in them, are read from."""
SAME_BOOK: Final = (BOOK, BOOK_AGAIN, BOOK_THIRD)
ONE_BOOK: Final = (*SAME_BOOK, OTHER_BOOK, UNKNOWN_BOOK)
BATCHES: Final = (BOOKS, BOOKS_TURNED)
ENDED: Final = (ENDED_EVENT, ENDED_LISTING, ENDED_BOOK)
