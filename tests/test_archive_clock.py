"""What a segment's manifest says of the host's clock."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.archive.manifest import Manifest, SegmentClock, read_manifest
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.clock import NS
from orderbooks_spider.host_clock import ClockQuality
from orderbooks_spider.items import BOOKS
from tests.archives import START_NS, UP, Collector, poll, small_archive

if TYPE_CHECKING:
    from pathlib import Path

LOST = ClockQuality(state="error", synchronised=False, offset_ns=0, max_error_ns=16 * NS, status=64)


def within(bound_ns: int) -> ClockQuality:
    """A reading of a clock that is at most so far from UTC."""
    return ClockQuality(state="ok", synchronised=True, offset_ns=0, max_error_ns=bound_ns, status=0)


def manifest_files(root: Path) -> list[Path]:
    """The manifests of the polls, in the order of their times."""
    return sorted((root / "manifests/polymarket/books").rglob("*.json"))


def manifests(root: Path) -> list[Manifest]:
    return [read_manifest(path)[0] for path in manifest_files(root)]


def record(root: Path) -> Collector:
    """Three segments of one poll each, a second before a reading; one reading before the first."""
    collector = Collector(root)
    collector.open()
    writer = collector.writers[BOOKS]
    writer.note_clock(START_NS, within(5_000_000))
    for moment, reading in ((0, within(2_000_000)), (10, within(1_000_000)), (20, LOST)):
        collector.write(poll(UP, moment))
        writer.note_clock(START_NS + (moment + 1) * NS, reading)
    return collector


def test_manifest_holds_the_newest_and_the_worst_reading(tmp_path: Path) -> None:
    """The newest while the segment was open; the worst of those and the one before, none if one had none."""
    asyncio.run(record(tmp_path).close())
    clocks = [manifest.clock for manifest in manifests(tmp_path)]
    assert [clock and (clock.at_ns - START_NS, clock.worst_bound_ns) for clock in clocks] == [
        (NS, 5_000_000),
        (11 * NS, 2_000_000),
        (21 * NS, None),
    ]
    assert clocks[2] == SegmentClock.of(START_NS + 21 * NS, LOST)
    assert verify(tmp_path).problems == []


def test_recovered_segment_names_no_reading(tmp_path: Path) -> None:
    """What recovery seals has ``clock`` null: the readings of a dead run are its event rows."""
    record(tmp_path).abandon()
    survivor = Collector(tmp_path, run_id="run2")
    survivor.open()
    asyncio.run(survivor.close())
    for manifest in manifests(tmp_path):
        assert manifest.recovered
        assert manifest.clock is None


@pytest.mark.parametrize(
    "clock",
    [
        {"state": "fine"},
        {"state": "ok", "synchronised": True},
        {"state": "ok", "at_ns": START_NS, "worst_bound_ns": -1},
        "good",
    ],
)
def test_clock_of_another_form_is_found(clock: Any, tmp_path: Path) -> None:
    """Rule A1: a manifest whose ``clock`` is not of the documented form is no manifest."""
    small_archive(tmp_path, 1)
    path = manifest_files(tmp_path)[-1]
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"clock": clock}), encoding="utf-8")
    found = [problem for problem in verify(tmp_path).problems if problem.what == "unreadable manifest"]
    assert [problem.rule for problem in found] == ["A1"]
    assert "clock" in found[0].seen
