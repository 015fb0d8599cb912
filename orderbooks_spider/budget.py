"""Our own rate limit, and whose turn it is where not all can be polled.  Pure; times are monotonic ns."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

Unit = TypeVar("Unit", bound="Hashable")


class Budget:
    """At most *limit* sends in any span of *window_ns*.

    A sliding log of the send times is exact where a token bucket would let a burst pass on top of the
    steady rate; the venue's own limits are per ten sliding seconds.
    """

    def __init__(self, limit: int, window_ns: int) -> None:
        self.limit = max(1, limit)
        self.window_ns = window_ns
        self._sent = array("q", [-window_ns - 1]) * self.limit
        self._next = 0

    def take(self, count: int, at_ns: int) -> bool:
        """Whether *count* more may be sent at *at_ns* (monotonic); counts them if so.

        More than the whole limit at once pass where the log is empty: they could never pass otherwise.
        """
        places = min(count, self.limit)
        at_ns = max(at_ns, self._sent[self._next - 1])
        if at_ns - self._sent[(self._next + places - 1) % self.limit] < self.window_ns:
            return False
        for _ in range(places):
            self._sent[self._next] = at_ns
            self._next = (self._next + 1) % self.limit
        return True


class Turns:
    """Spreads a budget that is too small evenly: who has waited longest is polled next.

    Without it the sliding log would let everybody poll for some seconds and nobody for the rest of
    its window.
    """

    def __init__(self, budget: Budget, interval_ns: int) -> None:
        self._allowance = budget.limit * interval_ns / budget.window_ns
        self._credit = 0.0
        self._last: dict[Hashable, int] = {}
        self._turn: dict[Hashable, tuple[int, int]] = {}
        """(rank, requests) of those who were chosen and have not been polled yet."""
        self._ranks = 0

    @property
    def allowance(self) -> float:
        """Requests per interval."""
        return self._allowance

    def choose(self, costs: Mapping[Unit, int]) -> frozenset[Unit]:
        """Whose turn it is in this interval, of all that are due in it (requests by unit)."""
        # What an interval leaves over is kept for the next one, but never saved up for a burst.
        self._credit = min(self._credit, max(costs.values(), default=0)) + self._allowance
        self._last = {unit: self._last.get(unit, 0) for unit in costs}
        waiting = sorted(costs, key=self._last.__getitem__)
        chosen: list[Unit] = []
        room = self._credit
        for unit in waiting:
            if costs[unit] > room:
                break
            room -= costs[unit]
            chosen.append(unit)
        self._turn = {unit: (self._ranks + place, costs[unit]) for place, unit in enumerate(chosen, start=1)}
        self._ranks += len(chosen)
        return frozenset(chosen)

    def polled(self, unit: Hashable) -> None:
        """Note that *unit* had the turn that it was chosen for; who is refused keeps its place."""
        if unit in self._turn:
            self._last[unit], cost = self._turn.pop(unit)
            self._credit -= cost
