"""The checks on a book: their bits, their meanings and their limits, and how results become bit masks.

A row has two masks with the same bits: ``flags`` says which checks found something, ``unverifiable``
which could not be made on this row.  A check with neither bit was made and found nothing.
"""
# ruff: noqa: E501 - one line per check, as in the table that this is

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from orderbooks_spider.clock import NS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orderbooks_spider.normalize.fixed import Flags

GHOST_BID: Final = "0.01"
GHOST_ASK: Final = "0.99"
UNCHANGED_NS: Final = 30 * NS
"""In 50 recorded 5-minute markets no book stood still for longer than 13.8 s."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check; ``bit`` counts from 0 and never changes its meaning within a schema version."""

    bit: int
    name: str
    doc: str
    unverifiable: str = ""
    """When it cannot be made; empty: it always can."""

    @property
    def mask(self) -> int:
        """The bit as a number."""
        return 1 << self.bit


_NO_BOTH: Final = "a side has no best price"
_NO_BOOK: Final = "the body is no book"
_NO_BEFORE: Final = "no readable book of the token before it in the segment"
_NO_NUMBER: Final = "a level's value does not fit the type, and no other level is flagged"

CHECKS: Final = (
    Check(0, "unreadable", "the body is no book of this token"),
    Check(1, "unrepresentable", "a value is no plain decimal or has more digits than its type: it is null, the raw text keeps it", _NO_BOOK),
    Check(2, "hash", "the venue's hash is not the hash of the stored text", "a field that the hash covers is missing, or " + _NO_BOOK),
    Check(3, "mirror", "the market's other token shows another book at the same venue time", "no single book of the other token with that venue time in the same gzip member"),
    Check(4, "empty", "no level on either side", _NO_BOOK),
    Check(5, "one_sided", "levels on one side only", _NO_BOOK),
    Check(6, "crossed", "best bid above best ask", _NO_BOTH),
    Check(7, "locked", "best bid equal to best ask", _NO_BOTH),
    Check(8, "ghost", f"best bid at most {GHOST_BID} and best ask at least {GHOST_ASK}", _NO_BOTH),
    Check(9, "off_tick", "a price that is no multiple of the tick size, or not between 0 and 1", "no tick size; " + _NO_NUMBER),
    Check(10, "duplicate_level", "a price twice on one side", _NO_NUMBER),
    Check(11, "non_positive_size", "a size of zero or below", _NO_NUMBER),
    Check(12, "venue_time_back", "venue time before that of the token's previous book", "a venue time is missing, or " + _NO_BEFORE),
    Check(13, "venue_time_ahead", "venue time later than the receipt", "a time is missing"),
    Check(14, "unchanged_long", f"venue time more than {UNCHANGED_NS // NS} s before the receipt", "a time is missing"),
    Check(15, "tick_size_changed", "another tick size than in the token's previous book", "a tick size is missing, or " + _NO_BEFORE),
    Check(16, "outside_window", "due outside the market's window"),
    Check(17, "late", "sent more than half an interval after it was due", "the grid or the time of sending is not known"),
)  # fmt: skip

BY_NAME: Final = {check.name: check for check in CHECKS}


class Marks:
    """The two masks of many rows."""

    def __init__(self, rows: int) -> None:
        self.flags: NDArray[np.int32] = np.zeros(rows, np.int32)
        self.unverifiable: NDArray[np.int32] = np.zeros(rows, np.int32)

    def mark(self, name: str, found: Flags, possible: Flags | None = None) -> None:
        """Note the rows on which check *name* found something, and those on which it was possible."""
        mask = np.int32(BY_NAME[name].mask)
        if possible is not None:
            found = found & possible
            self.unverifiable |= np.where(possible, np.int32(0), mask)
        self.flags |= np.where(found, mask, np.int32(0))

    def counts(self) -> Counter[str]:
        """Rows per ``<check>/flagged`` and ``<check>/unverifiable``."""
        masks = {"flagged": self.flags, "unverifiable": self.unverifiable}
        return Counter(
            {
                f"{check.name}/{kind}": int(np.count_nonzero(mask & check.mask))
                for check in CHECKS
                for kind, mask in masks.items()
            }
        )
