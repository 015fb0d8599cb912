"""The books of a segment as rows of ``books``: best prices, depths, checks.  No text is read here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.bodies import DISAGREES, STATES, UNVERIFIABLE
from orderbooks_spider.normalize.checks import GHOST_ASK, GHOST_BID, UNCHANGED_NS, Marks
from orderbooks_spider.normalize.fixed import NONE, decimals, integers
from orderbooks_spider.normalize.levels import ONE, PRICE_LIMIT, Side, price_of, same
from orderbooks_spider.normalize.mirror import mirror_states
from orderbooks_spider.normalize.recorded import fitting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.normalize.bodies import Bodies
    from orderbooks_spider.normalize.fixed import Flags, Integers
    from orderbooks_spider.normalize.recorded import Polls

AT_ONCE: Final = 1024
"""Rows that are shaped together: bounds the memory, and stays near the processor's cache."""
CENTS: Final = (1, 2, 5)
_CENT: Final = ONE // 100
_STATES: Final = pa.array(STATES)


class Books:
    """The books of one segment, in the order of the table."""

    def __init__(self, polls: Polls, bodies: Bodies, interval_ns: int | None) -> None:
        self._polls = polls
        self._bodies = bodies
        self._interval_ns = interval_ns
        rank = np.empty_like(polls.order)
        rank[polls.order] = np.arange(len(rank))
        said = bodies.columns | {"mirror_state": mirror_states(polls, bodies)}
        self._book = np.argsort(rank[said["row"]])
        """Per row of the table its book, counted as they were read."""
        self._said = {name: column[self._book] for name, column in said.items()}
        self._before = self._previous()
        self.checks: Counter[str] = Counter()
        """``<check>/flagged`` and ``<check>/unverifiable`` over the rows made so far."""

    def tables(self) -> Iterator[pa.Table]:
        """The rows, some at a time."""
        for begin in range(0, len(self._book), AT_ONCE):
            yield self._table(slice(begin, begin + AT_ONCE))

    def _previous(self) -> Integers:
        """Per row the row of the token's previous readable book; -1: none."""
        token = self._polls.token[self._said["row"]]
        read = np.flatnonzero(self._said["readable"])
        goes_on = token[read[1:]] == token[read[:-1]]
        before = np.full(len(token), -1)
        before[read[1:][goes_on]] = read[:-1][goes_on]
        return before

    def _table(self, part: slice) -> pa.Table:
        said = {name: column[part] for name, column in self._said.items()}
        book, readable = self._book[part], said["readable"] == 1
        bids = Shape(self._bodies.bids.take(book), descending=True)
        asks = Shape(self._bodies.asks.take(book), descending=False)
        marks = Marks(len(book))
        _mark_book(marks, said, bids, asks)
        _mark_levels(marks, said, bids, asks)
        self._mark_times(marks, said, self._before[part])
        self.checks += marks.counts()
        found = self._polls.common(said["row"])
        found |= _venue_columns(said, self._bodies.hashes.take(pa.array(book)))
        found |= _prices(bids, asks) | bids.columns("bid", readable) | asks.columns("ask", readable)
        found["changed"] = self._changed(readable, part)
        found["flags"], found["unverifiable"] = pa.array(marks.flags), pa.array(marks.unverifiable)
        return fitting(tables.BOOKS, found)

    def _changed(self, readable: Flags, part: slice) -> pa.Array:
        """Whether each book differs from the one before it; null where there is none."""
        before = self._before[part]
        known = readable & (before >= 0)
        book, earlier = self._book[part][known], self._book[before[known]]
        equal = np.zeros(len(known), np.bool_)
        equal[known] = same(self._bodies.bids, book, self._bodies.bids, earlier)
        equal[known] &= same(self._bodies.asks, book, self._bodies.asks, earlier)
        return pa.array(~equal, mask=~known)

    def _mark_times(self, marks: Marks, said: dict[str, Integers], before: Integers) -> None:
        """The checks that look at times, and at the book before."""
        rows = said["row"]
        due, sent, received = (self._polls[name][rows] for name in ("due_ns", "sent_ns", "received_ns"))
        venue, tick = said["ts_event_ns"], said["tick_size"]
        earlier = {
            name: np.where(before < 0, NONE, self._said[name][before])
            for name in ("ts_event_ns", "tick_size")
        }
        timed = (venue != NONE) & (earlier["ts_event_ns"] != NONE)
        marks.mark("venue_time_back", venue < earlier["ts_event_ns"], timed)
        dated = (venue != NONE) & (received != NONE)
        marks.mark("venue_time_ahead", venue > received, dated)
        marks.mark("unchanged_long", received - venue > UNCHANGED_NS, dated)
        stepped = (tick != NONE) & (earlier["tick_size"] != NONE)
        marks.mark("tick_size_changed", tick != earlier["tick_size"], stepped)
        marks.mark("outside_window", ~self._polls.in_window[rows])
        interval_ns = self._interval_ns
        judged = (sent != NONE) & (interval_ns is not None)
        marks.mark("late", sent - due > (interval_ns or 0) // 2, judged)


class Shape:
    """What one side of some books comes to, per book."""

    def __init__(self, side: Side, *, descending: bool) -> None:
        self.side = side
        self._sign = -1 if descending else 1
        self.unpriced = side.any(side.prices == NONE)
        self.unsized = side.any(side.sizes == NONE)
        self.incomplete = self.unpriced | self.unsized
        self.best_price = np.where(self.unpriced, NONE, side.best(side.prices))
        self.best_size = np.where(self.unpriced, NONE, side.best(side.sizes))
        self.depths = {"depth": self._depth()}
        away = (side.prices - np.repeat(side.best(side.prices), side.counts)) * self._sign
        for cents in CENTS:
            self.depths[f"depth_{cents}c"] = self._depth(away <= cents * _CENT)
        too_deep = np.any([depth == NONE for depth in self.depths.values()], axis=0)
        self.too_deep = ~self.incomplete & too_deep
        self.non_positive = side.any((side.sizes <= 0) & (side.sizes != NONE))

    @property
    def twice(self) -> Flags:
        """Whether a price stands twice; equal ones stand side by side."""
        prices = self.side.prices
        again = np.zeros(len(prices), np.bool_)
        again[1:] = (prices[1:] == prices[:-1]) & (prices[1:] != NONE)
        filled = self.side.counts > 0
        again[self.side.begins[filled]] = False
        return self.side.any(again)

    def off_tick(self, tick: Integers) -> Flags:
        """Whether a price is no multiple of *tick* (per book), or not between 0 and 1."""
        prices = self.side.prices
        step = np.repeat(np.maximum(tick, 1), self.side.counts)
        return self.side.any((prices != NONE) & ((prices % step != 0) | (prices <= 0) | (prices >= ONE)))

    def columns(self, name: str, readable: Flags) -> dict[str, pa.Array]:
        """The columns of this side, *name* is ``bid`` or ``ask``."""
        side = self.side
        found = {
            f"{name}_{what}": decimals(np.where(readable, depth, NONE), tables.SIZE)
            for what, depth in self.depths.items()
        }
        found[f"best_{name}_price"] = decimals(self.best_price, tables.PRICE)
        found[f"best_{name}_size"] = decimals(self.best_size, tables.SIZE)
        found[f"{name}_levels"] = integers(np.where(readable, side.counts, NONE), pa.int32())
        pairs = [decimals(side.prices, tables.PRICE), decimals(side.sizes, tables.SIZE)]
        level = pa.StructArray.from_arrays(pairs, fields=list(tables.LEVELS.value_type))
        offsets = np.concatenate([side.begins, [len(side.prices)]]).astype(np.int32)
        found[f"{name}s"] = pa.ListArray.from_arrays(
            pa.array(offsets), level, type=tables.LEVELS, mask=None if readable.all() else pa.array(~readable)
        )
        return found

    def _depth(self, chosen: Flags | None = None) -> Integers:
        return np.where(self.incomplete, NONE, self.side.depth(chosen))


def _both(bids: Shape, asks: Shape) -> Flags:
    """Where both sides have a best price."""
    found: Flags = (bids.best_price != NONE) & (asks.best_price != NONE)
    return found


def _mark_book(marks: Marks, said: dict[str, Integers], bids: Shape, asks: Shape) -> None:
    """The checks that look at one book alone."""
    readable = said["readable"] == 1
    full = [side.side.counts > 0 for side in (bids, asks)]
    odd = bids.incomplete | asks.incomplete | bids.too_deep | asks.too_deep
    odd |= _both(bids, asks) & (np.abs(asks.best_price - bids.best_price) >= PRICE_LIMIT)
    marks.mark("unreadable", ~readable)
    marks.mark("unrepresentable", odd | (said["odd"] == 1), readable)
    for name in ("hash", "mirror"):
        state = said[f"{name}_state"]
        marks.mark(name, state == DISAGREES, state != UNVERIFIABLE)
    marks.mark("empty", ~full[0] & ~full[1], readable)
    marks.mark("one_sided", full[0] != full[1], readable)


def _mark_levels(marks: Marks, said: dict[str, Integers], bids: Shape, asks: Shape) -> None:
    """The checks that look at prices and sizes."""
    readable, tick, both = said["readable"] == 1, said["tick_size"], _both(bids, asks)
    marks.mark("crossed", bids.best_price > asks.best_price, both)
    marks.mark("locked", bids.best_price == asks.best_price, both)
    ghost = (bids.best_price <= price_of(GHOST_BID)) & (asks.best_price >= price_of(GHOST_ASK))
    marks.mark("ghost", ghost, both)
    priced, sized = ~(bids.unpriced | asks.unpriced), ~(bids.unsized | asks.unsized)
    off_tick = bids.off_tick(tick) | asks.off_tick(tick)
    marks.mark("off_tick", off_tick, readable & (tick > 0) & (off_tick | priced))
    twice = bids.twice | asks.twice
    marks.mark("duplicate_level", twice, readable & (twice | priced))
    none = bids.non_positive | asks.non_positive
    marks.mark("non_positive_size", none, readable & (none | sized))


def _prices(bids: Shape, asks: Shape) -> dict[str, pa.Array]:
    """What both best prices together give."""
    both = _both(bids, asks)
    spread = np.where(both, asks.best_price - bids.best_price, NONE)
    mid = np.where(both, (asks.best_price + bids.best_price) * 5, NONE)  # half, and one digit more
    return {
        "spread": decimals(np.where(np.abs(spread) < PRICE_LIMIT, spread, NONE), tables.PRICE),
        "mid": decimals(mid, tables.MID),
    }


def _venue_columns(said: dict[str, Integers], hashes: pa.Array) -> dict[str, pa.Array]:
    """What the venue says besides the levels, and whether it holds."""
    risk = said["neg_risk"]
    return {
        "ts_event_ns": integers(said["ts_event_ns"], pa.int64()),
        "last_trade_price": decimals(said["last_trade_price"], tables.PRICE),
        "tick_size": decimals(said["tick_size"], tables.PRICE),
        "min_order_size": decimals(said["min_order_size"], tables.SIZE),
        "neg_risk": pa.array(risk == 1, mask=risk == NONE),
        "venue_hash": hashes,
        "hash_state": _STATES.take(pa.array(said["hash_state"])),
        "mirror_state": _STATES.take(pa.array(said["mirror_state"])),
    }
