"""The polling grid: which slot is due when.  Pure arithmetic in integer nanoseconds of UTC.

A market's tokens are due at ``k * interval + phase``, where the phase follows from the condition id
alone.  So every run, and every reader, lists the same slots.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Grid:
    """``interval_ns`` between two slots of a token, cut into ``buckets`` phases."""

    interval_ns: int
    buckets: int

    def bucket(self, condition_id: str) -> int:
        """The phase bucket of a market, 0 to ``buckets - 1``: stable across runs and machines."""
        digest = hashlib.sha256(condition_id.encode("ascii")).digest()
        return int.from_bytes(digest[:8], "big") % self.buckets

    def phase_ns(self, bucket: int) -> int:
        """How long after ``k * interval_ns`` a bucket is due."""
        return bucket * self.interval_ns // self.buckets

    def due_ns(self, slot: int, bucket: int) -> int:
        """When *slot* of *bucket* is due."""
        return slot * self.interval_ns + self.phase_ns(bucket)

    def first_slot(self, from_ns: int, bucket: int) -> int:
        """The first slot of *bucket* that is due at or after *from_ns*."""
        return -((self.phase_ns(bucket) - from_ns) // self.interval_ns)

    def slots(self, from_ns: int, until_ns: int, bucket: int) -> range:
        """The slots of *bucket* with ``from_ns <= due < until_ns``."""
        return range(self.first_slot(from_ns, bucket), self.first_slot(until_ns, bucket))

    def first_tick(self, from_ns: int) -> int:
        """The first tick at or after *from_ns*; tick ``k * buckets + b`` is slot k of bucket b."""
        slot = from_ns // self.interval_ns
        for bucket in range(self.buckets):
            if self.due_ns(slot, bucket) >= from_ns:
                return slot * self.buckets + bucket
        return (slot + 1) * self.buckets

    def split(self, tick: int) -> tuple[int, int]:
        """(slot, bucket) of a tick."""
        return divmod(tick, self.buckets)

    def tick_due_ns(self, tick: int) -> int:
        """When a tick is due; grows with the tick."""
        return self.due_ns(*self.split(tick))


class Budget:
    """Our own rate limit: at most *limit* sends in any span of *window_ns*.

    A sliding log of the send times is exact where a token bucket would let a burst pass on top of the
    steady rate; the venue's own limits are per ten sliding seconds.
    """

    def __init__(self, limit: int, window_ns: int) -> None:
        self.limit = max(1, limit)
        self._window_ns = window_ns
        self._sent: list[int] = [-window_ns - 1] * self.limit
        self._next = 0

    def take(self, now_ns: int) -> bool:
        """Whether one more may be sent at *now_ns* (monotonic); counts it if so."""
        if now_ns - self._sent[self._next] < self._window_ns:
            return False
        self._sent[self._next] = now_ns
        self._next = (self._next + 1) % self.limit
        return True


def fair_order(count: int, slot: int) -> Iterator[int]:
    """Positions ``0 .. count-1`` from a start that moves by one each slot.

    Where the budget ends inside a bucket, those left out are others each time.
    """
    start = slot % count if count else 0
    yield from range(start, count)
    yield from range(start)
