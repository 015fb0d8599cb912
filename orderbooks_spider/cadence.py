"""The polling grid: which slot is due when.  Pure arithmetic in integer nanoseconds of UTC.

A market's tokens are due at ``k * interval + phase``, where the phase follows from the condition id
alone.  So every run, and every reader, lists the same slots.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


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
