"""Running counts of a collector's polls: what the minute line, the run manifest and the summary say."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderbooks_spider.items import PollItem


def percentile(ordered: list[int], fraction: float) -> int | None:
    """The nearest-rank percentile of an ascending list; ``None`` of an empty one."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def _numbers() -> array[int]:
    """Nanoseconds without an object each: thousands that live for a minute would scatter the heap."""
    return array("q")


@dataclass(slots=True)
class Tally:
    """Polls since the last :meth:`take`: planned slots by result, lateness and latency in ns."""

    results: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    lateness_ns: array[int] = field(default_factory=_numbers)
    latency_ns: array[int] = field(default_factory=_numbers)

    def add(self, item: PollItem) -> None:
        """Count one row."""
        self.results[item.result] += 1
        if item.reason is not None:
            self.reasons[f"{item.result}/{item.reason}"] += 1
        if item.sent_ns is not None:
            self.lateness_ns.append(item.sent_ns - item.due_ns)
        if item.elapsed_ns is not None:
            self.latency_ns.append(item.elapsed_ns)

    def take(self) -> Tally:
        """The counts so far; counting starts anew."""
        taken = Tally(self.results, self.reasons, self.lateness_ns, self.latency_ns)
        self.results, self.reasons = Counter(), Counter()
        self.lateness_ns, self.latency_ns = _numbers(), _numbers()
        return taken

    def line(self) -> str:
        """One line for the log."""
        planned = self.results.total()
        answered = self.results["ok"]
        text = f"{planned} slots, {answered} answered"
        others = {name: count for name, count in sorted(self.reasons.items()) if count}
        if others:
            text += " (" + ", ".join(f"{name} {count}" for name, count in others.items()) + ")"
        late, slow = (percentile(sorted(values), 0.99) for values in (self.lateness_ns, self.latency_ns))
        if late is not None:
            text += f", lateness p99 {late / 1e6:.1f} ms"
        if slow is not None:
            text += f", latency p99 {slow / 1e6:.1f} ms"
        return text
