"""The writer with its real sealing child."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import read_manifest
from orderbooks_spider.archive.runs import RunFile
from orderbooks_spider.archive.sealer import child_command, child_environment
from orderbooks_spider.archive.state import FeedHead, last_seq, open_feeds
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.clock import NS
from orderbooks_spider.config import Archive
from orderbooks_spider.errors import StorageError
from orderbooks_spider.items import BOOKS
from orderbooks_spider.pipelines.feed import RowExporter
from tests.archives import COLLECTOR, DOWN, START_NS, UP, Collector, collect, plan, poll, small_archive


def stored_rows(root: Path, feed: str) -> list[bytes]:
    files = sorted((root / "raw/polymarket" / feed).rglob("*.jsonl.gz"))
    return [line for path in files for line in gzip.decompress(path.read_bytes()).splitlines(keepends=True)]


def journals(root: Path) -> list[Path]:
    return sorted(root.rglob("polymarket_books*.journal"))


def sealing_children() -> list[int]:
    """Children of this process that run the sealer."""
    pids = []
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            with contextlib.suppress(OSError):
                if b"archive.sealer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    pids.append(int(pid))
    return pids


def test_every_row_is_sealed_once(tmp_path: Path) -> None:
    """Rules A2 to A4: what was appended stands in sealed files, byte for byte, and nothing else is left."""
    rows = small_archive(tmp_path)
    assert sorted(stored_rows(tmp_path, BOOKS)) == sorted(rows)
    kinds = {found.kind for found in layout.walk_raw(tmp_path)}
    assert kinds == {"sealed", "sums"}


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    """The day's SHA256SUMS checks with the tool that every operator has."""
    small_archive(tmp_path)
    sums = sorted(tmp_path.rglob("SHA256SUMS.c0"))
    assert len(sums) == 2
    for path in sums:
        subprocess.run(["sha256sum", "--check", "--strict", path.name], cwd=path.parent, check=True)


def test_manifests_are_a_chain_and_the_head_is_found(tmp_path: Path) -> None:
    """Rule A8: each manifest holds the digest of the one before, and the next run goes on from the last."""
    rows = small_archive(tmp_path)
    paths = sorted((tmp_path / "manifests/polymarket/books").rglob("*.json"))
    before, seq = None, 1
    for path in paths:
        manifest, sha256 = read_manifest(path)
        assert manifest.previous_manifest_sha256 == before
        assert manifest.seq is not None
        assert manifest.seq.first == seq
        before, seq = sha256, manifest.seq.last + 1
    assert len(paths) == 3
    last_due_ns = max(json.loads(row)["due_ns"] for row in rows)
    assert open_feeds(tmp_path, COLLECTOR)[BOOKS] == FeedHead(len(rows) + 1, before, last_due_ns)
    assert last_seq(tmp_path, BOOKS, COLLECTOR) == len(rows)
    assert open_feeds(tmp_path, "other")[BOOKS] == FeedHead(1, None)


def test_manifest_says_what_the_rows_say(tmp_path: Path) -> None:
    """Rule A18: counts, times and percentiles of a manifest are those of its rows."""
    small_archive(tmp_path, moments=10)
    path = next((tmp_path / "manifests/polymarket/books").rglob("*.json"))
    manifest = json.loads(path.read_text())
    assert list(manifest)[:4] == ["schema", "venue", "feed", "environment"]
    assert manifest["rows"] == 20
    assert manifest["tokens"] == {UP: 10, DOWN: 10}
    assert manifest["results"] == {"ok": 20}
    assert manifest["status_codes"] == {"200": 20}
    assert manifest["requests"] == 20
    assert manifest["latency_ms"] == {"p50": 44.0, "p95": 44.0, "p99": 44.0, "max": 44.0}
    assert manifest["lateness_ms"]["p99"] == 1.0
    assert manifest["venue_hash"] == {"agrees": 20, "disagrees": 0, "not_checkable": 0}
    assert manifest["grid"]["interval_ns"] == NS
    assert sum(member["rows"] for member in manifest["members"]) == 20
    assert manifest["recovered"] == []


def test_run_manifest_lists_what_the_run_sealed(tmp_path: Path) -> None:
    """A run manifest names every segment with its digests, and keeps keys it does not know (A17)."""
    small_archive(tmp_path)
    path = next(layout.runs_folder(tmp_path).glob("*.json"))
    run = RunFile.read(path)
    feeds = sorted(entry.feed for entry in run.manifest.segments)
    assert feeds == ["books", "books", "books", "events", "events"]
    assert run.manifest.stop_reason == "finished"
    path.write_bytes(path.read_bytes().replace(b'"schema"', b'"later_key": [1], "schema"', 1))
    RunFile.read(path).save()
    assert json.loads(path.read_text())["later_key"] == [1]


def test_late_row_goes_into_the_current_segment(tmp_path: Path) -> None:
    """A row of an earlier period never reopens its segment, and rotation never goes back."""

    async def scenario() -> None:
        collector = Collector(tmp_path)
        collector.open()
        for moment in (9, 10, 9, 8):
            collector.write(poll(UP if moment != 9 else DOWN, moment, request_id=None))
        await collector.close()

    asyncio.run(scenario())
    manifests = [
        read_manifest(path)[0] for path in sorted((tmp_path / "manifests/polymarket/books").rglob("*.json"))
    ]
    assert [manifest.rows for manifest in manifests] == [1, 3]


def test_quiet_feed_is_rotated_by_the_clock(tmp_path: Path) -> None:
    """A segment is sealed some seconds after its period although no further row comes."""

    async def scenario() -> list[str]:
        collector = Collector(tmp_path)
        collector.open()
        collector.write(plan(5))
        collector.clock.now_ns += 14 * NS
        await collector.tick()
        before = list(collector.said)
        collector.clock.now_ns += 2 * NS
        await collector.tick()
        names = [name for name, _ in collector.said]
        await collector.close()
        assert before == []
        return names

    assert asyncio.run(scenario()) == ["segment_sealed"]


def test_two_segments_of_one_second_get_two_names(tmp_path: Path) -> None:
    """A name that is taken within a run gets a number; nothing is overwritten."""

    async def scenario() -> None:
        collector = Collector(tmp_path, settings=Archive(rotate_seconds=0.1, block_seconds=1))
        collector.open()
        for tenth in range(4):
            item = plan(5)
            item.at_ns = START_NS + tenth * NS // 10
            collector.write(item)
        await collector.close()

    asyncio.run(scenario())
    names = [path.name for path in sorted((tmp_path / "raw/polymarket/events").rglob("*.gz"))]
    stem = "polymarket_events_20260416T083500Z_c0_run1"
    assert names == [f"{stem}{copy}.jsonl.gz" for copy in ("-2", "-3", "-4", "")]


def test_full_block_begins_a_new_journal(tmp_path: Path) -> None:
    """``block_bytes`` ends a block without waiting for the clock."""

    async def scenario() -> int:
        collector = Collector(tmp_path, settings=Archive(block_bytes=1, rotate_seconds=3600))
        collector.open()
        for moment in range(3):
            collector.write(poll(UP, moment))
        count = len(journals(tmp_path))
        await collector.close()
        return count

    assert asyncio.run(scenario()) == 3
    manifest, _ = read_manifest(next((tmp_path / "manifests/polymarket/books").rglob("*.json")))
    assert manifest.rows == 3


def test_failing_child_loses_no_row_and_is_tried_again(tmp_path: Path) -> None:
    """A block that cannot be written is reported, its journal stays, and a later try succeeds."""

    async def scenario() -> tuple[list[bytes], list[str]]:
        collector = Collector(tmp_path)
        collector.open()
        rows = [collector.write(poll(UP, 0))]
        journal = journals(tmp_path)[0]
        obstacle = journal.with_name(journal.name.replace(".0001.jsonl.journal", ".jsonl.gz.part"))
        obstacle.mkdir()
        (obstacle / "x").touch()
        collector.clock.now_ns += 4 * NS
        await collector.tick()
        assert journal.exists()
        rows.append(collector.write(poll(UP, 1)))
        (obstacle / "x").unlink()
        obstacle.rmdir()
        collector.clock.now_ns += 4 * NS
        await collector.tick()
        await collector.close()
        return rows, [name for name, _ in collector.said]

    rows, said = asyncio.run(scenario())
    assert said == ["block_failed", "segment_sealed"]
    assert stored_rows(tmp_path, BOOKS) == rows


def test_rows_that_wait_for_a_block_are_flushed_in_time(tmp_path: Path) -> None:
    """Rule A2: while sealing fails or lags, rows of journals that wait are flushed as soon as others."""

    async def scenario() -> list[bool]:
        collector = Collector(tmp_path, settings=Archive(fsync_seconds=1, block_bytes=1, rotate_seconds=3600))
        collector.open()
        collector.write(poll(UP, 0))
        first = journals(tmp_path)[0]
        obstacle = first.with_name(first.name.replace(".0001.jsonl.journal", ".jsonl.gz.part"))
        obstacle.mkdir()
        collector.clock.now_ns += NS
        await collector.tick()
        collector.write(poll(UP, 1))
        collector.write(poll(UP, 2))
        collector.clock.now_ns += NS
        await collector.writers[BOOKS].tick()
        flushed = [journal.flushed for journal in collector.writers[BOOKS]._journals()]
        obstacle.rmdir()
        await collector.close()
        return flushed

    assert asyncio.run(scenario()) == [True, True, True]


def test_a_failed_flush_is_not_durable(tmp_path: Path) -> None:
    """Rule A2: ``durable_ns`` stays where the last whole flush began, and moves on with the next."""

    async def scenario() -> list[int]:
        collector = Collector(tmp_path, settings=Archive(fsync_seconds=1, block_seconds=600))
        collector.open()
        writer = collector.writers[BOOKS]
        seconds: list[int] = []
        for broken in (False, True, False):
            collector.write(poll(UP, len(seconds)))
            if broken:
                reading, writing = os.pipe()  # nothing that could be flushed: EINVAL
                os.dup2(writing, writer._journals()[-1]._descriptor)
                os.close(reading)
                os.close(writing)
            collector.clock.now_ns += NS
            await writer.tick()
            seconds.append((collector.clock.monotonic_ns() - writer.durable_ns) // NS)
        await collector.close()
        return seconds

    assert asyncio.run(scenario()) == [0, 1, 0]


def test_refused_row_names_no_segment(tmp_path: Path) -> None:
    """Rule A1: a segment has the time of a row that it holds, also when the disk refused an earlier one."""

    async def scenario() -> None:
        collector = Collector(tmp_path)
        collector.open()
        folder = tmp_path / "raw/polymarket/books/2026/04/16/08"
        folder.mkdir(parents=True)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(StorageError):
            collector.write(poll(UP, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        collector.write(poll(UP, 2))
        await collector.close()

    asyncio.run(scenario())
    (path,) = (tmp_path / "raw/polymarket/books").rglob("*.gz")
    assert "20260416T083502Z" in path.name
    assert verify(tmp_path).problems == []


def test_rows_that_share_a_write_are_stored_together(tmp_path: Path) -> None:
    """Rules A2, A11: of two rows in one write both are stored or none, and a refused seq is used again."""
    stamps = {"run_id": "run1", "collector_id": COLLECTOR, "environment": "sandbox"}
    stamps |= {"collector": "orderbooks_spider", "collector_version": "0.1.0"}

    async def scenario() -> None:
        collector = Collector(tmp_path)
        collector.open()
        exporter = RowExporter(collector.writers[BOOKS], collector.next_seq[BOOKS])
        answer = [poll(token_id, 0, **stamps) for token_id in (UP, DOWN)]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(msgspec.json.encode(answer[0])) + 200, limits[1]))
        with pytest.raises(StorageError):
            exporter.export_together(answer)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        exporter.export_together([poll(token_id, 1, **stamps) for token_id in (UP, DOWN)])
        await collector.close()

    asyncio.run(scenario())
    rows = [json.loads(row) for row in stored_rows(tmp_path, BOOKS)]
    assert {(row["token_id"], row["seq"]) for row in rows} == {(UP, 1), (DOWN, 2)}
    assert verify(tmp_path).problems == []


def test_storing_rows_keeps_no_memory(tmp_path: Path) -> None:
    """A collector runs for months: what a stored row took while it was stored is free again."""

    async def scenario() -> int:
        collector = Collector(tmp_path)
        collector.open()
        exporter = RowExporter(collector.writers[BOOKS], 1)
        row = poll(UP, 0)
        for number in range(2000):
            if number == 1000:
                before = sys.getallocatedblocks()
            exporter.export_together((row,))
        grown = sys.getallocatedblocks() - before
        collector.abandon()
        return grown

    assert asyncio.run(scenario()) < 100


def test_killed_child_loses_no_row(tmp_path: Path) -> None:
    """A child that is killed at work is replaced by another, and every row is sealed once."""

    async def kill_children() -> None:
        killed: set[int] = set()
        while len(killed) < 2:
            await asyncio.sleep(0.01)
            for pid in await asyncio.to_thread(sealing_children):
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)

    async def scenario() -> tuple[list[bytes], list[str]]:
        collector = Collector(tmp_path)
        collector.open()
        rows = [collector.write(poll(UP, moment)) for moment in range(50)]
        killer = asyncio.create_task(kill_children())
        await collector.close()
        await killer
        return rows, [name for name, _ in collector.said]

    rows, said = asyncio.run(scenario())
    assert said.count("seal_failed") == 2
    assert sorted(stored_rows(tmp_path, BOOKS)) == sorted(rows)


def test_append_after_close_is_refused(tmp_path: Path) -> None:
    """A row that comes too late is an error for its sender, not a silent loss."""

    async def scenario() -> None:
        collector = Collector(tmp_path)
        await collect(collector, 1)
        with pytest.raises(StorageError, match="the feed is closed"):
            collector.write(poll(UP, 2))

    asyncio.run(scenario())


def test_sealing_child_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    """The child answers every job with one JSON line, also when it cannot do it."""
    jobs: list[Any] = [
        b"nonsense",
        msgspec.json.encode({"kind": "block", "root": str(tmp_path), "stem": "bad", "journals": []}),
    ]
    for job in jobs:
        done = subprocess.run(
            child_command(), input=job, env=child_environment(), capture_output=True, check=False
        )
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["ok"], done.stderr) == (1, False, b"")
        assert answer["error"]
