"""What the newest event row of a name says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.last_event import last_event
from orderbooks_spider.clock import NS
from orderbooks_spider.errors import ArchiveError
from tests.archives import START_NS, Collector, ManualClock, event, small_archive

if TYPE_CHECKING:
    from pathlib import Path


async def write_events(root: Path, run_id: str, start_ns: int, numbers: range) -> None:
    """A run whose event rows ``step`` carry *numbers*, a row each second, sealed every ten seconds."""
    collector = Collector(root, run_id, ManualClock(start_ns))
    collector.open()
    for number in numbers:
        collector.write(event("step", collector.clock.now_ns, number=number))
        collector.clock.now_ns += NS
        await collector.tick()
    await collector.close()


def test_newest_row_counts(tmp_path: Path) -> None:
    """The newest row of the name is found, over segments and runs, whatever else was written since."""
    small_archive(tmp_path)
    assert last_event(tmp_path, "c0", "step") is None
    asyncio.run(write_events(tmp_path, "run2", START_NS + 60 * NS, range(25)))
    assert last_event(tmp_path, "c0", "step") == {"number": 24}
    asyncio.run(write_events(tmp_path, "run3", START_NS + 120 * NS, range(0)))
    assert last_event(tmp_path, "c0", "step") == {"number": 24}
    assert last_event(tmp_path, "c1", "step") is None


def test_newest_row_is_newest_by_seq(tmp_path: Path) -> None:
    """A clock that was set back hides no later row: seq tells what came last."""
    asyncio.run(write_events(tmp_path, "run1", START_NS + 86_400 * NS, range(5)))
    asyncio.run(write_events(tmp_path, "run2", START_NS, range(5, 8)))
    assert last_event(tmp_path, "c0", "step") == {"number": 7}


def test_absent_segment_is_an_error(tmp_path: Path) -> None:
    """Where the row's segment was moved away the error names it, and no older row is taken for the newest."""
    asyncio.run(write_events(tmp_path, "run1", START_NS, range(25)))
    *_, newest = (found.path for found in layout.walk_raw(tmp_path) if found.kind == "sealed")
    newest.unlink()
    with pytest.raises(ArchiveError, match=newest.name):
        last_event(tmp_path, "c0", "step")
