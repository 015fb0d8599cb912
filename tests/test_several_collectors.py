"""Several collectors that share the markets: real processes, one exchange, roots of their own or one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from shutil import copytree
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.archive.reader import rows
from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS
from orderbooks_spider.config import Shard, load
from orderbooks_spider.polymarket.market import from_record
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.universe import Universe
from tests.collector import PATIENCE_SECONDS, PROJECT, Collector, finish
from tests.slots import planned_slots, recorded_slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERVAL_SECONDS = 2
ROWS = 60
"""Polls that each collector has stored before it is stopped."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxChild]:
    """One exchange for all collectors."""
    with SandboxChild.start() as child:
        yield child


def shards(folder: Path, url: str, count: int, root: Path | None = None) -> list[Collector]:
    """Collectors c0, c1 … of so many shards, with enough markets that none is left without."""
    collectors = []
    for index in range(count):
        own = folder / f"c{index}"
        own.mkdir(parents=True)
        sections: dict[str, dict[str, Any]] = {
            "discovery": {"windows": ["5m", "15m"]},
            "polling": {"lead_seconds": 7200, "interval_seconds": INTERVAL_SECONDS},
            "archive": {"collector_id": f"c{index}", "root": str(root or own / "archive")},
            "shard": {"index": index, "count": count},
        }
        collectors.append(Collector(own, url, sections))
    return collectors


def stored(collector: Collector) -> int:
    """How many polls this one of maybe several collectors of a root has stored."""
    own = collector.sections["archive"]["collector_id"]
    return sum(row["collector_id"] == own for row in collector.rows("books"))


def start(collectors: list[Collector]) -> list[subprocess.Popen[str]]:
    """Start them together, and let each store some polls."""
    processes = [collector.start() for collector in collectors]
    wanted = [stored(collector) + ROWS for collector in collectors]
    for _ in range(5 * PATIENCE_SECONDS):
        if all(stored(collector) >= least for collector, least in zip(collectors, wanted, strict=True)):
            return processes
        for process in processes:
            assert process.poll() is None, finish(process).stderr
        time.sleep(0.2)
    for process in processes:
        process.kill()
    raise AssertionError([finish(process).stderr for process in processes])


def stop(processes: list[subprocess.Popen[str]]) -> None:
    """Stop them as an operator does."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        ended = finish(process)
        assert ended.returncode == 0, ended.stderr


def verify(*roots: Path) -> list[dict[str, Any]]:
    """The reports of the verifier over all roots, which are clean."""
    command = [sys.executable, "scripts/verify_archive.py", "--json", *map(str, roots)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def slots_of_all_markets(collector: Collector, begin_ns: int, end_ns: int) -> Counter[tuple[str, int]]:
    """(token, due) that a single collector would have polled from *begin_ns* to *end_ns*."""
    polling = load(collector.config_file).polling
    grid = Grid(polling.interval_ns, polling.phase_buckets)
    alone = Universe(grid, polling, Shard())
    for row in collector.rows("markets"):
        if row["kind"] == "market":
            alone.add(from_record(row["market"]).pollable, begin_ns)
    slots: Counter[tuple[str, int]] = Counter()
    for plan in alone.plans:
        for slot in grid.slots(plan.from_ns, min(plan.until_ns, end_ns), plan.bucket):
            slots.update((token.token_id, grid.due_ns(slot, plan.bucket)) for token in plan.tokens)
    return slots


def test_shards_hold_every_slot_once_together(sandbox: SandboxChild, tmp_path: Path) -> None:
    """Two collectors with roots of their own miss no slot and share none; their merged root is clean."""
    collectors = shards(tmp_path, sandbox.url, 2)
    stop(start(collectors))
    recorded = recorded_slots(collectors[0]) + recorded_slots(collectors[1])
    assert recorded == planned_slots(collectors[0]) + planned_slots(collectors[1])
    assert set(recorded.values()) == {1}
    events = [row for collector in collectors for row in collector.rows("events")]
    begin_ns = max(row["at_ns"] for row in events if row["event"] == "universe_found")
    begin_ns += INTERVAL_SECONDS * NS
    end_ns = min(row["detail"]["slots_done_until_ns"] for row in events if row["event"] == "run_stop")
    between = Counter(slot for slot in recorded if begin_ns <= slot[1] < end_ns)
    assert len(between) >= ROWS // 2  # the later of the two may have found its markets well after the other
    alone = slots_of_all_markets(collectors[0], begin_ns, end_ns)
    assert between == alone == slots_of_all_markets(collectors[1], begin_ns, end_ns)
    merged = tmp_path / "merged"
    for collector in collectors:
        for folder in ("raw", "manifests"):
            copytree(collector.root / folder, merged / folder, dirs_exist_ok=True)
    (report,) = verify(merged)
    assert sorted(report["heads"]) == [
        f"{feed}/c{n}" for feed in ("books", "events", "markets") for n in (0, 1)
    ]
    separate = verify(*(collector.root for collector in collectors))
    assert report["rows"] == sum(each["rows"] for each in separate)
    assert Counter((row.token_id, row.time_ns) for row in rows(merged, "books")) == recorded


def test_shards_share_a_root_and_grow(sandbox: SandboxChild, tmp_path: Path) -> None:
    """In one root each collector has its own lock, seq, chain and sums, also when two become three."""
    root = tmp_path / "archive"
    two = shards(tmp_path / "two", sandbox.url, 2, root)
    processes = start(two)
    assert len(verify(root)[0]["open_files"]) > 0
    again = two[0].run(1)
    assert again.returncode == 75
    assert f"collector 'c0' is run by pid {processes[0].pid} " in again.stderr
    stop(processes)
    verify(root)
    three = shards(tmp_path / "three", sandbox.url, 3, root)
    stop(start(three))
    (report,) = verify(root)
    assert len(report["heads"]) == 9
    for feed in ("books", "markets", "events"):
        seqs = Counter((row["collector_id"], row["seq"]) for row in two[0].rows(feed))
        assert set(seqs.values()) == {1}
        sums = {path.name for path in (root / "raw/polymarket" / feed).rglob("SHA256SUMS.*")}
        assert sums == {"SHA256SUMS.c0", "SHA256SUMS.c1", "SHA256SUMS.c2"}
    assert set(recorded_slots(two[0]).values()) == {1}
    assert all(stored(collector) >= ROWS for collector in three)
    configs = [msgspec.json.decode(path.read_bytes()) for path in (root / "manifests/runs").iterdir()]
    assert sorted((run["collector_id"], run["config"]["shard"]["count"]) for run in configs) == [
        ("c0", 2), ("c0", 3), ("c1", 2), ("c1", 3), ("c2", 3),
    ]  # fmt: skip
