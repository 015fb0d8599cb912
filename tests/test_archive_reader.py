"""The reader: every row once, in time order, from sealed and open segments."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.archive.reader import rows
from orderbooks_spider.clock import NS
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import BOOKS, EVENTS
from tests.archives import DOWN, PHASE_NS, START_NS, UP, Collector, collect, poll, small_archive

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_come_in_time_order_once(tmp_path: Path) -> None:
    """Lines stand by token in blocks; the reader gives them by time, each with its place."""
    stored = small_archive(tmp_path)
    read = list(rows(tmp_path, BOOKS))
    assert [row.text for row in read] == stored
    assert [row.time_ns for row in read] == sorted(row.time_ns for row in read)
    assert read[0].file.endswith("polymarket_books_20260416T083500Z_c0_run1.jsonl.gz")
    assert (read[0].member, read[0].line) == (0, 0)
    assert read[0].value()["token_id"] == UP
    assert [row.value()["event"] for row in rows(tmp_path, EVENTS)] == ["run_start", "plan", "run_stop"]


def test_late_rows_are_merged_into_their_place(tmp_path: Path) -> None:
    """Rows that stand in a later block, and in a later segment, still come at their time."""

    async def scenario() -> list[bytes]:
        collector = Collector(tmp_path)
        collector.open()
        moments = [(token, moment) for moment in range(30) for token in (UP, DOWN)]
        keyed = list(enumerate(moments))
        noise = random.Random(7)
        late = sorted(keyed, key=lambda pair: pair[0] + noise.choice([0, 0, 0, 12]))
        stored = {}
        for number, (token, moment) in late:
            collector.clock.now_ns = max(collector.clock.now_ns, START_NS + moment * NS)
            stored[number] = collector.write(poll(token, moment))
            await collector.tick()
        await collector.close()
        return [stored[number] for number in sorted(stored)]

    stored = asyncio.run(scenario())
    assert [row.text for row in rows(tmp_path, BOOKS)] == stored


def test_a_span_is_half_open(tmp_path: Path) -> None:
    """``start <= time < end``, to the nanosecond."""
    small_archive(tmp_path)
    start, end = START_NS + 9 * NS + PHASE_NS, START_NS + 12 * NS + PHASE_NS
    moments = [(row.time_ns - START_NS) // NS for row in rows(tmp_path, BOOKS, start, end)]
    assert moments == [9, 9, 10, 10, 11, 11]
    assert len(list(rows(tmp_path, BOOKS, start + 1, end + 1))) == 6


def test_open_segments_are_read_too(tmp_path: Path) -> None:
    """What a running collector has stored can be read at once, without touching it."""
    collector = Collector(tmp_path)
    stored = asyncio.run(collect(collector, 25, stop=False))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert [row.text for row in rows(tmp_path, BOOKS)] == stored
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    collector.abandon()


def test_absent_segment_is_an_error_unless_allowed(tmp_path: Path) -> None:
    """Nobody reads across an offloaded segment without saying so."""
    small_archive(tmp_path)
    sorted((tmp_path / "raw/polymarket/books").rglob("*.gz"))[1].unlink()
    with pytest.raises(ArchiveError, match="expected the segment of"):
        list(rows(tmp_path, BOOKS))
    assert len(list(rows(tmp_path, BOOKS, allow_absent=True))) == 30


def test_damaged_member_is_an_error(tmp_path: Path) -> None:
    """A member that does not hold its rows stops the reader; it gives no half block."""
    small_archive(tmp_path)
    path = min((tmp_path / "raw/polymarket/books").rglob("*.gz"))
    content = bytearray(path.read_bytes())
    content[-20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="run verify"):
        list(rows(tmp_path, BOOKS))
