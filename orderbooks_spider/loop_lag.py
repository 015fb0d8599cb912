"""How late the event loop wakes a task that asked for a certain moment: what every poll suffers too."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS
from orderbooks_spider.tally import percentile

if TYPE_CHECKING:
    from orderbooks_spider.clock import Clock

LOOP_LAG = "loop_lag"
"""The event row that holds what :meth:`LoopLag.take` gives."""

STEP_NS = NS // 10
"""Planned wakes are so far apart."""


class LoopLag:
    """Compares planned with actual wakes, by the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lags_ns = array("q")

    async def watch(self) -> None:
        """Sample until cancelled.

        Wakes are planned on a grid, and a stall counts for each wake that it delayed: taken from one
        wake to the next, a loop that stands still for a second would be one bad sample in a thousand.
        """
        planned_ns = self._clock.monotonic_ns() + STEP_NS
        while True:
            await self._clock.sleep((planned_ns - self._clock.monotonic_ns()) / NS)
            now_ns = self._clock.monotonic_ns()
            late_ns = range(now_ns - planned_ns, -1, -STEP_NS)
            self._lags_ns.extend(late_ns)
            planned_ns += len(late_ns) * STEP_NS

    def take(self) -> dict[str, int | None]:
        """Samples since the last call, and their nearest-rank percentiles in ns; ``None`` of none."""
        ordered, self._lags_ns = sorted(self._lags_ns), array("q")
        return {
            "samples": len(ordered),
            "p50_ns": percentile(ordered, 0.50),
            "p99_ns": percentile(ordered, 0.99),
            "max_ns": percentile(ordered, 1),
        }
