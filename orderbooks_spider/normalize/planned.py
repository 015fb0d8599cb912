"""Which slots were planned: arithmetic from windows, runs, grids and shards; no row is read here.

A collector answers for the time from the start of its first run to the last known moment of its last.
A run's settings hold until the next run starts, whether its process lived so long or not: what a dead
collector should have polled is what a reader of its archive needs to know.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

from orderbooks_spider import cadence
from orderbooks_spider.config import Polling
from orderbooks_spider.polymarket.windows import SERIES
from orderbooks_spider.universe import owns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orderbooks_spider.archive.manifest import Grid
    from orderbooks_spider.archive.planned import PlanDetail
    from orderbooks_spider.normalize.view import LeftOut, Run
    from orderbooks_spider.universe import Window

PROCESS_DOWN: Final = "process_down"
"""No process was alive, or the row was lost when it was killed."""
NOT_DISCOVERED: Final = "not_discovered"
"""A process was alive and had not planned the market."""
MISSING: Final = "missing"
"""By its run the slot ended in a row, which is not there: rule A13 is broken, or a segment left out."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Planned slots of both tokens of a market: each ``k * interval + phase`` in ``[from_ns, until_ns)``."""

    collector_id: str
    market: Window
    from_ns: int
    until_ns: int
    interval_ns: int
    phase_ns: int
    result: str
    """What became of those of them that have no raw row."""

    @property
    def slots(self) -> range:
        """The numbers k."""
        first = -((self.phase_ns - self.from_ns) // self.interval_ns)
        return range(first, -((self.phase_ns - self.until_ns) // self.interval_ns))


@dataclass(frozen=True, slots=True)
class _Reign:
    """The time for which one run's settings hold."""

    run: Run
    grid: Grid | None
    from_ns: int
    until_ns: int

    def span(self, market: Window) -> tuple[int, int]:
        """The part of it in which the market's slots were the collector's to poll; maybe empty."""
        follows = self.run.windows is None or market.label in self.run.windows
        if self.grid is None or not follows or not owns(self.run.shard, market.condition_id):
            return 0, 0
        lead_ns, linger_ns = _edges(self.grid, market.label)
        return max(self.from_ns, market.start_ns - lead_ns), min(self.until_ns, market.end_ns + linger_ns)

    def step_and_phase(self, market: Window) -> tuple[int, int]:
        """Interval and phase of the market's slots."""
        assert self.grid is not None
        grid = cadence.Grid(self.grid.interval_ns, self.grid.phase_buckets)
        return grid.interval_ns, grid.phase_ns(grid.bucket(market.condition_id))


def stretches(runs: Sequence[Run], markets: Iterable[Window], left_out: Sequence[LeftOut]) -> list[Stretch]:
    """Every planned slot of every collector, by collector, market and time.

    Args:
        runs: sorted by collector and start.
        markets: the latest record of each market.
        left_out: books segments that could not be read: what they hold of a plan is missing.

    """
    accounts = [_Account(list(own), left_out) for _, own in groupby(runs, lambda run: run.collector_id)]
    known = list(markets)
    return [stretch for account in accounts for market in known for stretch in account.of(market)]


def accounted_until(runs: Iterable[Run]) -> dict[str, int]:
    """Per collector the last known moment of its last run: slots due later are not planned."""
    until: dict[str, int] = {}
    for run in runs:
        until[run.collector_id] = max(run.last_known_ns, until.get(run.collector_id, 0))
    return until


class _Account:
    """What one collector should have polled."""

    def __init__(self, runs: list[Run], left_out: Sequence[LeftOut]) -> None:
        self._collector_id = runs[0].collector_id
        self._reigns = list(_reigns(runs))
        self._ends = [reign.until_ns for reign in self._reigns]
        edges = [
            _edges(reign.grid, label)
            for reign in self._reigns
            if reign.grid is not None
            for label in (*SERIES, "")
        ]
        self._lead_ns = max((lead_ns for lead_ns, _ in edges), default=0)
        self._linger_ns = max((linger_ns for _, linger_ns in edges), default=0)
        self._plans: defaultdict[str, list[tuple[Run, PlanDetail]]] = defaultdict(list)
        for run in runs:
            for plan in run.plans:
                self._plans[plan.condition_id].append((run, plan))
        self._left_out: defaultdict[str, list[LeftOut]] = defaultdict(list)
        for segment in left_out:
            if segment.collector_id == self._collector_id:
                self._left_out[segment.run_id].append(segment)

    def of(self, market: Window) -> Iterator[Stretch]:
        """The market's stretches in time order."""
        plans = self._plans.get(market.condition_id, [])
        spans = [(reign, *reign.span(market)) for reign in self._near(market)]
        moments = {moment for reign, *span in spans for moment in (*span, reign.run.last_known_ns)}
        for run, plan in plans:
            moments |= {plan.from_ns, plan.until_ns, run.owed_until_ns}
        for segments in self._left_out.values():
            moments |= {edge for segment in segments for edge in (segment.first_ns, segment.last_ns + 1)}

        def judged(part: tuple[int, int]) -> tuple[int, int, str] | None:
            reign = next((reign for reign, low, high in spans if low <= part[0] < high), None)
            return self._judge(market, part[0], reign, plans)

        for verdict, parts in groupby(pairwise(sorted(moments)), judged):
            if verdict is not None:
                pieces = list(parts)
                yield Stretch(self._collector_id, market, pieces[0][0], pieces[-1][1], *verdict)

    def _near(self, market: Window) -> Iterator[_Reign]:
        """The reigns that can hold slots of the market."""
        first = bisect.bisect_right(self._ends, market.start_ns - self._lead_ns)
        for reign in self._reigns[first:]:
            if reign.from_ns >= market.end_ns + self._linger_ns:
                return
            yield reign

    def _judge(
        self, market: Window, at_ns: int, reign: _Reign | None, plans: list[tuple[Run, PlanDetail]]
    ) -> tuple[int, int, str] | None:
        """Interval, phase and result of slots due at *at_ns* and without a row; ``None``: not planned."""
        there = [(run, plan) for run, plan in plans if plan.from_ns <= at_ns < plan.until_ns]
        for run, plan in there:
            if at_ns < run.owed_until_ns:
                return plan.interval_ns, plan.phase_ns, MISSING
        if reign is None:
            return None
        run = reign.run
        promised = next((plan for planner, plan in there if planner.run_id == run.run_id), None)
        step = (promised.interval_ns, promised.phase_ns) if promised else reign.step_and_phase(market)
        if self._is_left_out(run, at_ns) and (promised or not run.plans):
            return *step, MISSING
        return *step, PROCESS_DOWN if promised or at_ns >= run.last_known_ns else NOT_DISCOVERED

    def _is_left_out(self, run: Run, at_ns: int) -> bool:
        segments = self._left_out.get(run.run_id, [])
        return any(segment.first_ns <= at_ns <= segment.last_ns for segment in segments)


def _reigns(runs: list[Run]) -> Iterator[_Reign]:
    """Each run's settings hold from its start until the next run's; none begins in known time.

    A run whose grid is lost (no manifest of it is left) is taken to have had its neighbour's.
    """
    begins: list[int] = []
    known_ns = 0
    for run in runs:
        begins.append(max(run.started_ns, known_ns))
        known_ns = max(known_ns, run.last_known_ns)
    grid = next((run.grid for run in runs if run.grid is not None), None)
    for run, from_ns, until_ns in zip(runs, begins, [*begins[1:], known_ns], strict=True):
        grid = run.grid or grid
        yield _Reign(run, grid, from_ns, until_ns)


def _edges(grid: Grid, label: str) -> tuple[int, int]:
    """Lead and linger of markets of a window label."""
    polling = Polling(lead_seconds=grid.lead_seconds, linger_seconds=grid.linger_seconds)  # type: ignore[arg-type]
    return polling.lead_ns(label), polling.linger_ns
