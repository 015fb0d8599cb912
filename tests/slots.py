"""The slots that a run planned, and those that have rows: computed here apart from our verifier."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.collector import Collector


def planned_slots(collector: Collector) -> Counter[tuple[str, int]]:
    """(token, due) pairs that the plan events and the run's end say must have a row."""
    (stop,) = collector.events("run_stop")
    planned: Counter[tuple[str, int]] = Counter()
    for plan in collector.events("plan"):
        interval_ns, phase_ns = plan["interval_ns"], plan["phase_ns"]
        until_ns = min(plan["until_ns"], stop["slots_done_until_ns"])
        first = -((phase_ns - plan["from_ns"]) // interval_ns)
        for due_ns in range(first * interval_ns + phase_ns, until_ns, interval_ns):
            planned.update((token_id, due_ns) for token_id in plan["tokens"])
    return planned


def recorded_slots(collector: Collector) -> Counter[tuple[str, int]]:
    """(token, due) pairs of the rows."""
    return Counter((row["token_id"], row["due_ns"]) for row in collector.rows("books"))
