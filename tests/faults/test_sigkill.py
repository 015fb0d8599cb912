"""The real collector, killed at random instants on one archive root, again and again."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.archive.verify import verify
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PROJECT, Collector, finish
from tests.faults import lives

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.faults.table import FaultTable

SEED = 20260416
IN_A_ROW = 3
"""Kills before recovery runs undisturbed; the next start of the collector recovers in between."""
MODES = ("book", "books")
"""How books are asked for; each mode has its own archive."""


def sections(mode: str) -> dict[str, dict[str, Any]]:
    """Of a config under which much happens in a second."""
    return {
        "polling": {"mode": mode, "interval_seconds": 0.1, "timeout_seconds": 1, "budget_fraction": 100},
        "archive": {"fsync_seconds": 0.1, "block_seconds": 0.3, "rotate_seconds": 1},
    }


Row = tuple[str, bytes]
"""Feed and the line as stored."""


@dataclass
class Ordeal:
    """One archive root, and what is known of it without its own recovery and reader."""

    collector: Collector
    log: Path
    """What the exchange served, to all collectors."""
    choice: random.Random
    seen: set[Row] = field(default_factory=set)
    """Rows that stood on the disk after some kill."""
    sealed: dict[str, str] = field(default_factory=dict)
    in_flight: int = 0
    """How many polls the kills so far may have cut off."""
    kills: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    _read: set[Path] = field(default_factory=set)

    @property
    def root(self) -> Path:
        """The archive root."""
        return self.collector.root

    def kill_once(self) -> None:
        """Start the collector, kill it at a random instant, and note what stands on the disk."""
        log_end = self.log.stat().st_size
        process = self.collector.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.choice.choice([self.choice.uniform(0.2, 1.5), self.choice.uniform(1.5, 5)]))
        if self.kills == 0:  # on a busy machine a start takes seconds: one kill at least must meet rows
            self.collector.wait_for_rows(process, "books", 1)
        children = _children(process.pid) if self.choice.random() < 0.3 else []
        process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        ended = finish(process)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        self.kills += 1
        self.in_flight += len({token_id for token_id, _ in _served(self.log, log_end)})
        # At once, while a sealing child may still be at work, and again when nobody writes any more.
        self.note_rows()
        self.wait_for_the_child()
        self.note_rows()

    def wait_for_the_child(self) -> None:
        """The sealing child shares the lock: who gets it writes alone."""
        path = self.root / "state/c0.lock"
        if path.exists():
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)

    def note_rows(self) -> None:
        """Read every whole row, in the direction in which rows move, so that none is missed."""
        raw = self.root / "raw/polymarket"
        for suffix in (".journal", ".part", ".gz"):
            for path in sorted(raw.rglob(f"*{suffix}")):
                if path not in self._read:
                    feed = path.relative_to(raw).parts[0]
                    with contextlib.suppress(FileNotFoundError):
                        self.seen.update((feed, line) for line in _whole_rows(path))
                if suffix == ".gz":
                    self._read.add(path)
        self.sealed |= lives.sealed_files(self.root)

    def recover_and_compare(self) -> None:
        """Recover in a clean process; everything seen must be there once, and nothing else."""
        for script in ("recover_archive.py", "verify_archive.py"):
            done = subprocess.run(
                [sys.executable, f"scripts/{script}", str(self.root)],
                cwd=PROJECT, capture_output=True, text=True, check=False, timeout=lives.PATIENCE_SECONDS,
            )  # fmt: skip
            if done.returncode != 0 and self.seen:
                self.wrong.append(f"{script}: {done.stdout[-2000:]}{done.stderr[-500:]}")
        stored = Counter(_sealed_rows(self.root))
        self.lost += sum(stored[row] != 1 for row in self.seen)
        self.wrong += [f"seen on no disk: {row}" for row in stored.keys() - self.seen]
        self.wrong += [f"seq of {feed}: {seqs[:9]}" for feed, seqs in _seqs(stored) if seqs != _counted(seqs)]
        sealed = lives.sealed_files(self.root)
        self.wrong += [f"changed: {file}" for file in self.sealed if sealed.get(file) != self.sealed[file]]

    def bodies(self) -> Counter[str]:
        """Digest of every stored answer."""
        rows = (msgspec.json.decode(line) for feed, line in _sealed_rows(self.root) if feed == "books")
        texts = (row["body"] for row in rows if row["result"] == "ok")
        return Counter(hashlib.sha256(text.encode()).hexdigest() for text in texts)


def _children(pid: int) -> list[int]:
    """The children of a process, its sealing children above all."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def _whole_rows(path: Path) -> Iterator[bytes]:
    """Whole lines of a journal, and of the whole members of a gzip file."""
    content = path.read_bytes()
    if path.suffix == ".journal":
        yield from content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        return
    while content:
        inflate = zlib.decompressobj(31)
        text = inflate.decompress(content)
        if not inflate.eof:
            return
        yield from text.splitlines(keepends=True)
        content = inflate.unused_data


def _sealed_rows(root: Path) -> Iterator[Row]:
    for path in sorted((root / "raw/polymarket").rglob("*.jsonl.gz")):
        feed = path.relative_to(root).parts[2]
        yield from ((feed, line) for line in gzip.decompress(path.read_bytes()).splitlines(keepends=True))


def _seqs(rows: Iterable[Row]) -> Iterator[tuple[str, list[int]]]:
    feeds: dict[str, list[int]] = {}
    for feed, line in rows:
        feeds.setdefault(feed, []).append(msgspec.json.decode(line)["seq"])
    yield from ((feed, sorted(seqs)) for feed, seqs in feeds.items())


def _counted(seqs: list[int]) -> list[int]:
    return list(range(1, len(seqs) + 1))


def _served(log: Path, offset: int = 0) -> Iterator[tuple[str, str]]:
    """Token and digest of the books that were sent whole, from *offset* of the exchange's log on."""
    with log.open("rb") as file:
        file.seek(offset)
        entries = [json.loads(line) for line in file.read().splitlines()]
    for entry in entries:
        if entry["status"] == 200 and entry["path"] == "/book":
            yield entry["token_id"], entry["sha256"]
        elif entry["status"] == 200:
            yield from map(tuple, entry["sha256"])


def go_through(folder: Path, mode: str, kills: int) -> Ordeal:
    """Kill a collector of its own exchange so many times."""
    folder.mkdir()
    log = folder / "served.jsonl"
    with SandboxChild.start(["--served-log", str(log)]) as exchange:
        ordeal = Ordeal(
            Collector(folder, exchange.url, sections(mode)), log, random.Random(f"{SEED} {kills} {mode}")
        )
        while ordeal.kills < kills:
            for _ in range(min(IN_A_ROW, kills - ordeal.kills)):
                ordeal.kill_once()
            ordeal.recover_and_compare()
    served = Counter(digest for _, digest in _served(log))
    missing = sum((served - ordeal.bodies()).values())
    if missing > ordeal.in_flight:
        ordeal.wrong.append(f"{missing} served books are not stored, {ordeal.in_flight} polls were in flight")
    return ordeal


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_collector_loses_no_row(kills: int, tmp_path: Path, fault_table: FaultTable) -> None:
    """Rules A2, A6, A11: killed anywhere, also in recovery, every row that was written is stored once."""
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(go_through, tmp_path / mode, mode, kills) for mode in MODES]
        ordeals = [run.result() for run in runs]
    rows = sum(len(ordeal.seen) for ordeal in ordeals)
    lost = sum(ordeal.lost for ordeal in ordeals)
    wrong = [text for ordeal in ordeals for text in ordeal.wrong]
    damaged = sum(bool(verify(ordeal.root, workers=1).problems or ordeal.wrong) for ordeal in ordeals)
    fault_table.record("SIGKILL of the collector", 2 * kills, rows, lost, damaged)
    assert not wrong, wrong[:5]
    assert not lost
