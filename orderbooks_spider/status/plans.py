"""Which slots were planned, by the ``plan`` rows of the events feed: pure arithmetic."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive.planned import Owed, PlanDetail, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Plan(PlanDetail, frozen=True):
    """``detail`` of a ``plan`` row with the market's name."""

    market_slug: str = ""

    def slots(self, from_ns: int, until_ns: int) -> int:
        """How many slots its tokens have in ``[from_ns, until_ns)``."""
        low, high = max(from_ns, self.from_ns), min(until_ns, self.until_ns)
        if low >= high:
            return 0
        step, phase = self.interval_ns, self.phase_ns
        return len(self.tokens) * count(Owed("", self.condition_id, "", low, high, step, phase))


def settled(plans: Iterable[Plan]) -> list[Plan]:
    """The same without overlaps: where a later run planned a market again, its plan holds from then on.

    A plan outlives its run: what a dead collector should have polled is what its operator must see.
    """
    by_market: defaultdict[str, list[Plan]] = defaultdict(list)
    for plan in plans:
        by_market[plan.condition_id].append(plan)
    kept: list[Plan] = []
    for versions in by_market.values():
        versions.sort(key=lambda plan: plan.from_ns)
        ends = [plan.from_ns for plan in versions[1:]]
        for plan, end_ns in zip(versions, [*ends, versions[-1].until_ns], strict=True):
            if (until_ns := min(plan.until_ns, end_ns)) > plan.from_ns:
                kept.append(msgspec.structs.replace(plan, until_ns=until_ns))
    return kept


def planned(plans: Iterable[Plan], from_ns: int, until_ns: int) -> int:
    """Slots of settled *plans* with ``from_ns <= due < until_ns``."""
    return sum(plan.slots(from_ns, until_ns) for plan in plans)


def unplanned_ns(plans: Sequence[Plan], from_ns: int, until_ns: int) -> int:
    """How much of the span no plan covers: nobody knew of a market then."""
    bare_ns, reached_ns = 0, from_ns
    for plan in sorted(plans, key=lambda plan: plan.from_ns):
        if plan.from_ns > reached_ns:
            bare_ns += max(0, min(plan.from_ns, until_ns) - reached_ns)
        reached_ns = max(reached_ns, min(plan.until_ns, until_ns))
    return bare_ns + max(0, until_ns - reached_ns)
