"""A universe of more than 2,000 tokens: batches, turns, and each slot once."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector, finish
from tests.slots import planned_slots, recorded_slots

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

AHEAD_HOURS = 90
LARGE: dict[str, dict[str, Any]] = {
    "discovery": {"windows": ["5m"], "interval_seconds": 60, "horizon_seconds": AHEAD_HOURS * 3600},
    "archive": {"block_seconds": 5},
}


def collected(folder: Path, seconds: int, **polling: float | str) -> Collector:
    """A bounded run on one core against a sandbox with more than 2,000 tokens listed."""
    lead = {"lead_seconds": AHEAD_HOURS * 3600, "interval_seconds": 1, "timeout_seconds": 5}
    with SandboxChild.start(["--listed-ahead-hours", str(AHEAD_HOURS)]) as child:
        collector = Collector(folder, child.url, {**LARGE, "polling": {**lead, **polling}})
        process = collector.start("--seconds", str(seconds))
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    return collector


def test_two_thousand_tokens_in_batches(tmp_path: Path) -> None:
    """2,000 tokens at one second on one core: each slot once, a request never above its batch size."""
    collector = collected(tmp_path, 20, mode="books", budget_fraction=1, batch_tokens=500)
    rows = collector.rows("books")
    assert len({row["token_id"] for row in rows}) > 2000
    assert recorded_slots(collector) == planned_slots(collector)
    assert {row["result"] for row in rows} <= {"ok", "skipped"}
    assert sum(row["result"] == "ok" for row in rows) > 2000
    requests: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["request_id"] is not None:
            requests[row["request_id"]].append(row)
    for together in requests.values():
        assert len(together) == together[0]["batch"] <= 500
        assert len({row["received_ns"] for row in together}) == 1
    assert collector.verify().returncode == 0


def test_two_thousand_tokens_under_the_single_book_limit(tmp_path: Path) -> None:
    """Where 150 requests a second are far too few, every token still has its turn and each slot its row."""
    collector = collected(tmp_path, 40, mode="book", budget_fraction=1)
    assert recorded_slots(collector) == planned_slots(collector)
    assert collector.events("budget_exceeded")
    polled = Counter(row["token_id"] for row in collector.rows("books") if row["sent_ns"] is not None)
    planned = {token_id for token_id, _ in planned_slots(collector)}
    assert set(polled) == planned
    assert max(polled.values()) - min(polled.values()) <= 2
    sent = sorted(row["sent_ns"] for row in collector.rows("books") if row["sent_ns"] is not None)
    assert all(later - sent[place] > 9_900_000_000 for place, later in enumerate(sent[1500:]))
    assert collector.verify().returncode == 0
