"""Whether the two tokens of a market show one book, seen from both sides.

Two requests are not one instant: only books with the same venue time are compared, and only where each
token shows a single book at that time.  As verify does, books are compared within one gzip member, which
holds about a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from orderbooks_spider.normalize.bodies import AGREES, DISAGREES, UNVERIFIABLE
from orderbooks_spider.normalize.fixed import NONE
from orderbooks_spider.normalize.levels import same

if TYPE_CHECKING:
    from orderbooks_spider.normalize.bodies import Bodies
    from orderbooks_spider.normalize.fixed import Flags, Integers
    from orderbooks_spider.normalize.recorded import Polls

AT_ONCE: Final = 512
"""Pairs that are compared together."""
_TOKENS: Final = 2


def mirror_states(polls: Polls, bodies: Bodies) -> Integers:
    """A state per book; a book without venue time or with a value that does not fit is unverifiable."""
    said, states = bodies.columns, np.full(len(bodies.columns["row"]), UNVERIFIABLE)
    complete = ~(bodies.bids.incomplete | bodies.asks.incomplete)
    books = np.flatnonzero((said["ts_event_ns"] != NONE) & complete)
    if not len(books):
        return states
    row, time = said["row"][books], said["ts_event_ns"][books]
    member, market, token = polls["raw_member"][row], polls.market[row], polls.token[row]
    order = np.lexsort((token, time, market, member))
    books = books[order]
    new_group = _changes(member[order], market[order], time[order])
    new_token = new_group | _changes(token[order])
    group = np.cumsum(new_group) - 1
    # Every book is compared with the first of its token, and the two firsts with each other.
    first = np.maximum.accumulate(np.where(new_token, np.arange(len(books)), 0))
    paired = np.bincount(group, new_token) == _TOKENS
    again = np.flatnonzero(~new_token & paired[group])
    single = paired.copy()
    single[group[again[~_equal(bodies, books[first[again]], books[again], mirrored=False)]]] = False
    one = np.flatnonzero(new_group)[single]
    other = np.flatnonzero(new_token & ~new_group & single[group])
    found = np.full(len(paired), UNVERIFIABLE)
    found[single] = np.where(_equal(bodies, books[one], books[other], mirrored=True), AGREES, DISAGREES)
    states[books] = found[group]
    return states


def _changes(*columns: Integers) -> Flags:
    """Where any of *columns* differs from the row before; the first row does."""
    changed = np.zeros(len(columns[0]), np.bool_)
    changed[0] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _equal(bodies: Bodies, one: Integers, other: Integers, *, mirrored: bool) -> Flags:
    """Whether book ``one[i]`` and book ``other[i]`` are the same, or the same seen from both sides."""
    bids, asks = bodies.bids, bodies.asks
    equal = np.zeros(len(one), np.bool_)
    for begin in range(0, len(one), AT_ONCE):
        left, right = one[begin : begin + AT_ONCE], other[begin : begin + AT_ONCE]
        found = same(bids, left, asks if mirrored else bids, right, mirrored=mirrored)
        found &= same(asks, left, bids if mirrored else asks, right, mirrored=mirrored)
        equal[begin : begin + AT_ONCE] = found
    return equal
