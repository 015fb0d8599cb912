"""A clock that tests move: sleeping takes no real time."""

from __future__ import annotations

import asyncio
import heapq

from orderbooks_spider.clock import NS

HOPS = 4
"""Turns of the loop before time moves on: whoever was set off before has begun its own sleep by then."""


class FakeClock:
    """Time passes only in :meth:`sleep` and :meth:`advance`; sleepers wake in the order of their ends."""

    def __init__(self, wall_ns: int = 0) -> None:
        self._monotonic_ns = 0
        self._offset_ns = wall_ns
        self._wakes: list[tuple[int, int]] = []
        self._sleeps = 0

    def wall_ns(self) -> int:
        """UTC now, as set."""
        return self._monotonic_ns + self._offset_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds since the clock was made."""
        return self._monotonic_ns

    async def sleep(self, seconds: float) -> None:
        """Move time on by *seconds*, once no other sleeper has to wake before."""
        self._sleeps += 1
        wake = (self._monotonic_ns + max(0, round(seconds * NS)), self._sleeps)
        heapq.heappush(self._wakes, wake)
        try:
            first_for = 0
            while first_for < HOPS:
                await asyncio.sleep(0)
                first_for = first_for + 1 if self._wakes[0] == wake else 0
            self._monotonic_ns = max(self._monotonic_ns, wake[0])
        finally:
            self._wakes.remove(wake)
            heapq.heapify(self._wakes)

    async def sleep_exactly(self, seconds: float) -> None:
        """Sleep: this clock is never late."""
        await self.sleep(seconds)

    def timer_seconds(self, seconds: float) -> float:
        """The same: nothing real waits for this clock."""
        return seconds

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass on both clocks."""
        self._monotonic_ns += round(seconds * NS)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back, as an operator or NTP may."""
        self._offset_ns += round(seconds * NS)
