"""Serve recorded books: their text unchanged, at their original pace, starting now.

Two kinds of file, plain or ``.gz``: lines ``{"t_ms","recv_ms","books":[…]}``, and our own raw
segments (rows with ``body``, ``token_id``, ``due_ns``, ``result``). The first line plays at the
server's start (rounded down to a second); each recorded file of the first kind starts there, while
all raw segments share one shift, so that the order among them stays.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.books import Settlement
from orderbooks_spider.sandbox.markets import Life, Market, MarketIndex, existing
from orderbooks_spider.sandbox.noise import digest, key64
from orderbooks_spider.sandbox.quotes import Quote
from orderbooks_spider.sandbox.recording import (
    LENGTH_SECONDS,
    SLUG,
    Recorded,
    merge,
    named_book,
    read_recording,
)
from orderbooks_spider.sandbox.windows import SERIES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from pathlib import Path

_LINGER_NS = 5 * NS  # so long the last book stays
_RESOLVE_NS = 60 * NS


class Replay:
    """Recorded markets as a source of both markets and books.

    Args:
        files: what to replay.
        started_ns: the server's start, UTC; the recordings begin at its second.

    Raises:
        ConfigError: a file cannot be read, or holds no books; the text names file and line.

    """

    def __init__(self, files: Sequence[Path], started_ns: int) -> None:
        self.hydration_before_start_ns: int | None = None
        self._begin_ns = started_ns - started_ns % NS
        self._index = MarketIndex()
        self._texts: dict[str, tuple[list[int], list[bytes]]] = {}
        own: dict[str, Recorded] = {}
        for path in files:
            recorded: dict[str, Recorded] = {}
            if read_recording(path, recorded):
                merge(own, recorded)
            else:
                self._take(recorded.values(), at_start=len(recorded) == 1)
        self._take(own.values(), at_start=False)

    def listed(self, now_ns: int) -> list[Market]:
        """All replayed markets."""
        return self._index.created_by(now_ns)

    def by_token(self, token_id: str, now_ns: int) -> Market | None:
        """The market of a token, or None."""
        return existing(self._index.tokens.get(token_id), now_ns)

    def by_condition(self, condition_id: str, now_ns: int) -> Market | None:
        """The market of a condition id, or None."""
        return existing(self._index.conditions.get(condition_id), now_ns)

    def by_slug(self, slug: str, now_ns: int) -> Market | None:
        """The market of a slug, or None."""
        return existing(self._index.slugs.get(slug), now_ns)

    def text(self, market: Market, token_index: int, now_ns: int) -> bytes | None:
        """Give the recorded text that was current so long after the recording's start."""
        times, texts = self._texts.get(market.token_ids[token_index], ([], []))
        place = bisect.bisect_right(times, now_ns)
        return texts[max(0, place - 1)] if texts else None

    def quote(self, market: Market, now_ns: int) -> Quote | None:
        """Best prices as recorded."""
        text = self.text(market, 0, now_ns)
        if text is None:
            return None
        book = named_book.decode(text)
        bid = round(float(book.bids[-1].price) * 1000) if book.bids else 0
        ask = round(float(book.asks[-1].price) * 1000) if book.asks else 1000
        return Quote(bid, ask, fine=bool(bid % 10 or ask % 10))

    def settlement(self, market: Market) -> Settlement:
        """Say who won by the last recorded book; dollars were not recorded, so both are 0."""
        quote = self.quote(market, market.life.closed_ns)
        return Settlement(0.0, 0.0, up_won=quote is None or quote.mid >= 0.5)

    def _take(self, recorded: Iterable[Recorded], *, at_start: bool) -> None:
        rows = list(recorded)
        if not rows:
            return
        shift = self._begin_ns - min(row.first_ns for row in rows)
        for row in rows:
            self._index.add(
                _market_of(row, shift, self._begin_ns, at_start=at_start, taken=self._index.slugs)
            )
            for token_id, texts in row.texts.items():
                self._texts[token_id] = ([t + shift for t, _ in texts], [text for _, text in texts])


def _market_of(row: Recorded, shift: int, begin_ns: int, *, at_start: bool, taken: Container[str]) -> Market:
    """Make the market of *row*; *at_start* lets its window begin with the server, to the second."""
    kind = _kind(row)
    series = next(series for series in SERIES if series.kind == kind)
    start = begin_ns if at_start else (row.first_ns if row.start_ns is None else row.start_ns) + shift
    start -= start % NS
    # The slug tells the window's start, as at the venue: a shifted window has a shifted slug. Of
    # several recordings that begin together each later one gets the next second.
    slug = _slug(row, kind, start)
    while slug in taken and slug != row.slug:
        start += NS
        slug = _slug(row, kind, start)
    known = row.end_ns - row.start_ns if row.start_ns is not None and row.end_ns is not None else None
    end = start + (known or LENGTH_SECONDS[kind] * NS)
    last = row.last_ns + shift
    first, second = _token_pair(row)
    life = Life(
        created_ns=begin_ns - series.lead_seconds * NS,
        accepting_ns=begin_ns - series.lead_seconds * NS,
        frozen_ns=last + _LINGER_NS,
        closed_ns=last + _LINGER_NS,
        resolved_ns=max(end, last) + _RESOLVE_NS,
    )
    return Market(
        series=series,
        slug=slug,
        title=f"Bitcoin Up or Down - replay of {row.slug or row.condition_id}",
        start_ns=start,
        end_ns=end,
        condition_id=row.condition_id,
        question_id="0x" + digest(0, row.condition_id, "question").hex(),
        token_ids=(first, second),
        gamma_id=str(10**9 + key64(0, slug, "market") % 10**9),
        event_id=str(10**9 + key64(0, slug, "event") % 10**9),
        life=life,
        key=key64(0, slug),
    )


def _kind(row: Recorded) -> str:
    """Give the series: by the recorded slug, else the shortest window that holds the recording."""
    found = SLUG.fullmatch(row.slug or "")
    if found:
        return found[1]
    if row.slug and row.slug.startswith("bitcoin-up-or-down-"):
        return "1d" if row.slug.startswith("bitcoin-up-or-down-on-") else "1h"
    span_s = (row.last_ns - row.first_ns) // NS
    return next((kind for kind in ("5m", "15m", "4h") if span_s <= LENGTH_SECONDS[kind]), "4h")


def _slug(row: Recorded, kind: str, start_ns: int) -> str:
    return f"btc-updown-{kind}-{start_ns // NS}" if kind in {"5m", "15m", "4h"} else row.slug or ""


def _token_pair(row: Recorded) -> tuple[str, str]:
    """Give the tokens, Up first: by the recorded outcomes, else in the order they appear."""
    tokens = sorted(row.texts, key=lambda token: row.outcomes.get(token) == "Down")
    # One side alone was recorded: the other token exists, and never has a book.
    missing = str(int.from_bytes(digest(0, row.condition_id, "other token"), "big") | 1 << 255)
    if len(tokens) == 1 and row.outcomes.get(tokens[0]) == "Down":
        return missing, tokens[0]
    return tokens[0], tokens[1] if len(tokens) > 1 else missing
