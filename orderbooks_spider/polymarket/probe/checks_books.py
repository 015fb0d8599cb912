"""Claims about the CLOB: one book, many, their fields and times, its limits."""

from __future__ import annotations

import re
import statistics
from decimal import Decimal
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS
from orderbooks_spider.polymarket.answers import result_of, result_of_book
from orderbooks_spider.polymarket.book import book_hash_state
from orderbooks_spider.polymarket.probe import steps
from orderbooks_spider.polymarket.probe.seen import (
    Finding,
    NotShownError,
    Seen,
    books_of,
    object_of,
    said,
    value_of,
)

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.polymarket.book import Book, Level

BOOK_KEYS = (
    "market", "asset_id", "timestamp", "hash", "bids", "asks", "min_order_size", "tick_size", "neg_risk",
    "last_trade_price",
)  # fmt: skip
"""The keys of a book in the order that its hash is made of."""
CLOCK_SECONDS = 2.0
"""How far the venue's clock may seem off: the answer's second is cut, and the host's clock errs too."""

_PLAIN = re.compile(r"(0|[1-9]\d*)(\.\d*[1-9])?")
_CACHED = {"HIT", "STALE", "UPDATING", "REVALIDATED"}
"""Values of ``cf-cache-status`` of answers that came from the cache (Cloudflare's pages)."""
_CACHE_HEADERS = ("age", "cf-cache-status", "cache-control")


def one_book(seen: Seen) -> Finding:
    """A token's book comes with status 200, and is one."""
    answer = seen.answer(steps.BOOK)
    if not answer.usable:
        return Finding(said(answer), agree=False)
    result, reason = result_of_book(answer.body, answer.ask.params["token_id"])
    text = f"{answer.status}: {len(answer.body):,} bytes, {result}" + (f" ({reason})" if reason else "")
    return Finding(text, result == "ok")


def names_its_market(seen: Seen) -> Finding:
    """``market`` is the condition id, ``asset_id`` the token asked for."""
    market = seen.market
    answers = [answer for step in (*steps.SAME_BOOK, steps.OTHER_BOOK) for answer in seen.of(step)]
    asked = [(book, answer) for answer in answers for book in books_of(answer)]
    if market is None or not asked:
        raise NotShownError("no answer held a book")
    good = sum(
        book.market == market.condition_id and book.asset_id == answer.ask.params["token_id"]
        for book, answer in asked
    )
    return Finding(f"{good} of {len(asked)} books", good == len(asked))


def worst_first(seen: Seen) -> Finding:
    """Bids rise, asks fall, and the last of each do not cross."""
    books = seen.books()
    good = sum(_in_order(book) for book in books)
    return Finding(f"{good} of {len(books)} books", good == len(books))


def hashes(seen: Seen) -> Finding:
    """The hash can be computed again from the text."""
    states = [book_hash_state(text.decode()) for text in seen.raw_books()]
    agree = states.count("agrees")
    return Finding(f"{agree} of {len(states)} agree", agree == len(states))


def mirror(seen: Seen) -> Finding:
    """The two tokens' books at one venue time are each other's mirror, with one last trade price."""
    pairs = [
        (one, other)
        for one, other in combinations(set(seen.books()), 2)
        if (one.market, one.timestamp) == (other.market, other.timestamp) and one.asset_id != other.asset_id
    ]
    if not pairs:
        raise NotShownError("no two books of a market carried the same venue time")
    good = sum(
        _mirrored(one, other) and one.last_trade_price == other.last_trade_price for one, other in pairs
    )
    return Finding(f"{good} of {len(pairs)} pairs of one venue time", good == len(pairs))


def unknown_token(seen: Seen) -> Finding:
    """A token without a book is a 404 with the venue's error text."""
    answer = seen.answer(steps.UNKNOWN_BOOK)
    return Finding(said(answer), result_of(answer) == ("no_book", "not_found"))


def many_books(seen: Seen) -> Finding:
    """A batch answers an array of books."""
    answer = seen.answer(steps.BOOKS)
    asked, got = tokens_asked(answer), tokens_in(answer)
    if got is None:
        return Finding(said(answer), agree=False)
    good = len(books_of(answer)) == len(got) > 0 and set(got) <= set(asked)
    return Finding(
        f"{answer.status}: {len(got)} books for {len(asked)} tokens, {len(answer.body):,} bytes", good
    )


def all_books(seen: Seen) -> Finding:
    """Every open market's token has its book in a batch."""
    seen.usable(steps.BOOKS)
    missing, count = 0, 0
    for step in steps.BATCHES:
        asked, got = tokens_asked(seen.usable(step)), tokens_in(seen.usable(step))
        count += len(asked)
        missing += len(set(asked) - set(got or ()))
    return Finding(f"{count - missing} of {count} tokens of open markets answered", not missing)


def left_out(seen: Seen) -> Finding:
    """A token without a book is left out."""
    answer = seen.usable(steps.BOOKS_TWICE)
    unknown = tokens_asked(answer)[-1]
    got = tokens_in(answer)
    if got is None:
        raise NotShownError(said(answer))
    return Finding(
        f"{answer.status}: the unknown token {'answered' if unknown in got else 'left out'}",
        unknown not in got,
    )


def another_order(seen: Seen) -> Finding:
    """The order of the answer is not that of the request."""
    kept = 0
    for step in steps.BATCHES:
        answer = seen.usable(step)
        got = tokens_in(answer)
        if not got or len(got) < 2:
            raise NotShownError(f"too few books to tell an order: {said(answer)}")
        kept += got == [token for token in tokens_asked(answer) if token in got]
    return Finding(f"the request's order in {kept} of {len(steps.BATCHES)} answers", not kept)


def answered_once(seen: Seen) -> Finding:
    """A token asked for twice is answered once."""
    answer = seen.usable(steps.BOOKS_TWICE)
    times = (tokens_in(answer) or []).count(tokens_asked(answer)[0])
    if not times:
        raise NotShownError(f"the token was not answered at all: {said(answer)}")
    return Finding("answered once" if times == 1 else f"answered {times} times", times == 1)


def last_trade(seen: Seen) -> Finding:
    """A book names the last trade's price, or an empty text."""
    prices = [book.last_trade_price for book in seen.books()]
    good = sum(price is not None and re.fullmatch(r"(\d*\.?\d+)?", price) is not None for price in prices)
    seen_prices = ", ".join(sorted({repr(price) for price in prices})[:3])
    return Finding(f"{good} of {len(prices)} books: {seen_prices}", good == len(prices))


def none_refused(seen: Seen) -> Finding:
    """At this pace nothing is refused."""
    answers = [asked.answer for asked in seen.asked if asked.answer.status is not None]
    if not answers:
        raise NotShownError("nothing was answered")
    refused = [str(answer.status) for answer in answers if answer.status in {403, 429, 503}]
    milliseconds = [(answer.elapsed_ns or 0) / 1e6 for answer in answers]
    latency = f"latency median {statistics.median(milliseconds):.0f} ms, at most {max(milliseconds):.0f} ms"
    return Finding(f"{len(answers)} answers, {len(refused)} refused; {latency}", not refused)


def no_limit_headers(seen: Seen) -> Finding:
    """Reads carry no header about limits."""
    answers = [asked.answer for asked in seen.asked if asked.answer.status is not None]
    if not answers:
        raise NotShownError("nothing was answered")
    names = sorted(
        {name for answer in answers for name in answer.headers if "ratelimit" in name.replace("-", "")}
    )
    return Finding(f"{len(answers)} answers: {', '.join(names) or 'none'}", not names)


def book_fields(seen: Seen) -> Finding:
    """A book has ten keys in the order of its hash."""
    orders = [tuple(msgspec.json.decode(text)) for text in seen.raw_books()]
    good = sum(order == BOOK_KEYS for order in orders)
    other = next((f"; one has {', '.join(order)}" for order in orders if order != BOOK_KEYS), "")
    return Finding(f"{good} of {len(orders)} books{other}", good == len(orders))


def texts(seen: Seen) -> Finding:
    """Numbers are plain decimals as text; ``neg_risk`` is the only value that is no text."""
    raws = [msgspec.json.decode(text) for text in seen.raw_books()]
    good = sum(_all_texts(raw) for raw in raws)
    return Finding(f"{good} of {len(raws)} books", good == len(raws))


def last_change(seen: Seen) -> Finding:
    """``timestamp`` is ms as text, and not after the answer."""
    ages = []
    for asked in seen.asked:
        for book in books_of(asked.answer):
            if re.fullmatch(r"\d{13}", book.timestamp) is None:
                return Finding(f"timestamp {book.timestamp!r}", agree=False)
            ages.append((asked.answer.received_ns or 0) / NS - int(book.timestamp) / 1000)
    if not ages:
        raise NotShownError("no answer held a book")
    return Finding(
        f"{len(ages)} books, changed {min(ages):.2f} s to {max(ages):.2f} s before the answer was here",
        min(ages) >= -CLOCK_SECONDS,
    )


def venue_clock(seen: Seen) -> Finding:
    """``/time`` is the second of now."""
    answer = seen.answer(steps.TIME)
    second = value_of(answer)
    if not isinstance(second, int):
        return Finding(said(answer), agree=False)
    earliest, latest = ((ns or 0) / NS for ns in (answer.sent_ns, answer.received_ns))
    agree = earliest - 1 - CLOCK_SECONDS <= second <= latest + CLOCK_SECONDS
    return Finding(f"{second}, received at {latest:.2f} by this host's clock", agree)


def not_cached(seen: Seen) -> Finding:
    """``/book`` is not answered from the edge's cache."""
    answers = [answer for step in steps.SAME_BOOK for answer in seen.of(step) if answer.usable]
    if not answers:
        raise NotShownError("no book was answered")
    values = {
        name: sorted({answer.headers.get(name, "absent") for answer in answers}) for name in _CACHE_HEADERS
    }
    text = ", ".join(f"{name} {' / '.join(found)}" for name, found in values.items())
    cached = [
        answer
        for answer in answers
        if answer.headers.get("cf-cache-status", "").upper() in _CACHED
        or answer.headers.get("age", "0") != "0"
    ]
    return Finding(f"{text}; {_repeats(answers)}", not cached)


def tokens_asked(answer: Answer) -> list[str]:
    """The tokens that a batch asked for."""
    return [item["token_id"] for item in msgspec.json.decode(answer.ask.body)]


def tokens_in(answer: Answer) -> list[str] | None:
    """The tokens of the books in a batch's answer, in its order; ``None`` if it is no array of books."""
    items = value_of(answer)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    return [str(item.get("asset_id")) for item in items]


def _repeats(answers: list[Answer]) -> str:
    """Whether a book that was asked for again had changed."""
    books = [object_of(answer) or {} for answer in answers]
    hashes, times = ({str(book.get(key)) for book in books} for key in ("hash", "timestamp"))
    return f"{len(books)} requests gave {len(hashes)} different hashes and {len(times)} different venue times"


def _in_order(book: Book) -> bool:
    bids, asks = ([Decimal(level.price) for level in side] for side in (book.bids, book.asks))
    rising = all(low < high for low, high in pairwise(bids))
    falling = all(high > low for high, low in pairwise(asks))
    return rising and falling and (not bids or not asks or bids[-1] < asks[-1])


def _mirrored(one: Book, other: Book) -> bool:
    return _levels(one.bids) == _levels(other.asks, turned=True) and _levels(one.asks) == _levels(
        other.bids, turned=True
    )


def _levels(side: tuple[Level, ...], *, turned: bool = False) -> set[tuple[Decimal, Decimal]]:
    return {
        (1 - Decimal(level.price) if turned else Decimal(level.price), Decimal(level.size)) for level in side
    }


def _all_texts(raw: dict[str, Any]) -> bool:
    plain = [raw[key] for key in raw if key not in {"bids", "asks", "neg_risk"}]
    levels = [level for side in ("bids", "asks") for level in raw[side]]
    numbers = [level[key] for level in levels for key in ("price", "size")]
    good = all(isinstance(text, str) for text in plain) and isinstance(raw.get("neg_risk"), bool)
    return good and all(_PLAIN.fullmatch(number) for number in numbers)
