"""Full, read-only and broken disks: polling pauses, says so, resumes by itself; sealed files stay whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector, finish
from tests.slots import planned_slots, recorded_slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.table import FaultTable

SMALL = 12_000_000
"""Bytes of the file system: room for some seconds of polls."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxChild]:
    """One exchange for all."""
    with SandboxChild.start() as child:
        yield child


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own at the archive's place."""
    place = tmp_path / "archive"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs root, to mount a small tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all but *leave* bytes of the free space."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, state.f_bavail * state.f_frsize - leave))
    return ballast


def wait_for_line(process: subprocess.Popen[str], text: str, log: Path) -> None:
    """Wait until the collector's log has *text*; it must not end before."""
    while text not in log.read_text(encoding="utf-8"):
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended with {process.returncode}: {log.read_text(encoding='utf-8')}")


def start(collector: Collector, log: Path) -> subprocess.Popen[str]:
    """Start the collector with its log in a file, so that it can be followed."""
    with log.open("wb") as file:
        return collector.start(stderr=file)


@pytest.mark.parametrize("least", [0, 4_000_000])
def test_full_disk_pauses_and_resumes(
    least: int, disk: Path, tmp_path: Path, sandbox: SandboxChild, fault_table: FaultTable
) -> None:
    """Without room polling pauses, and goes on by itself when there is room; every slot has its row (A2)."""
    collector = Collector(tmp_path, sandbox.url, {"archive": {"min_free_bytes": least}})
    log = tmp_path / "log"
    process = start(collector, log)
    collector.wait_for_rows(process, "books", 20)
    ballast = fill(disk, leave=0 if least == 0 else least // 2)
    wait_for_line(process, "polling pauses, storage:", log)
    stored = set(collector.lines("books"))
    time.sleep(1)  # a second has slots of every token
    ballast.unlink()
    wait_for_line(process, "polling resumes", log)
    collector.wait_for_rows(process, "books", len(stored) + 40)
    process.terminate()
    assert finish(process).returncode == 0, log.read_text(encoding="utf-8")
    after = list(collector.lines("books"))
    assert stored <= set(after)
    assert recorded_slots(collector) == planned_slots(collector)
    assert collector.results()["skipped", "disk_full"] > 0
    pauses = len(collector.events("storage_paused"))
    # Without a threshold what a sealed block frees is room enough to try again.
    assert pauses == len(collector.events("storage_resumed"))
    assert pauses == 1 or least == 0
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout
    kind = "disk full (ENOSPC)" if least == 0 else "below min_free_bytes"
    fault_table.record(kind, tried=1, acknowledged=len(after), lost=0, damaged=0)


@pytest.mark.parametrize("error", ["EIO", "EROFS"])
def test_failing_writes_pause_and_resume(
    error: str, tmp_path: Path, sandbox: SandboxChild, fault_table: FaultTable
) -> None:
    """While the disk refuses writes nothing is sent; when it takes them again nothing stored is missing."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian package strace)")
    # A long block: the journal that strace watches stays the same one.
    collector = Collector(tmp_path, sandbox.url, {"archive": {"block_seconds": 600}})
    log = tmp_path / "log"
    process = start(collector, log)
    collector.wait_for_rows(process, "books", 20)
    (journal,) = (collector.root / "raw" / "polymarket" / "books").rglob("*.journal")
    inject = ["-e", "trace=write", "-e", f"inject=write:error={error}", "-P", str(journal)]
    breaker = subprocess.Popen(
        ["strace", "-f", "-qq", *inject, "-p", str(process.pid)], stderr=subprocess.DEVNULL
    )
    wait_for_line(process, "polling pauses, storage:", log)
    stored = set(collector.lines("books"))
    breaker.terminate()
    breaker.wait()
    wait_for_line(process, "polling resumes", log)
    collector.wait_for_rows(process, "books", len(stored) + 20)
    process.terminate()
    assert finish(process).returncode == 0
    after = list(collector.lines("books"))
    assert stored <= set(after)
    assert recorded_slots(collector) == planned_slots(collector)
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout
    fault_table.record(f"writes fail ({error})", tried=1, acknowledged=len(after), lost=0, damaged=0)


@pytest.mark.slow
def test_disk_that_stays_broken_ends_the_run(
    tmp_path: Path, sandbox: SandboxChild, fault_table: FaultTable
) -> None:
    """A disk that refuses writes for a minute, without being full, ends the run with 74 (A2)."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (Debian package strace)")
    collector = Collector(tmp_path, sandbox.url, {"archive": {"block_seconds": 600}})
    log = tmp_path / "log"
    process = start(collector, log)
    collector.wait_for_rows(process, "books", 20)
    journals = [item for path in collector.root.rglob("*.journal") for item in ("-P", str(path))]
    inject = ["-e", "trace=write", "-e", "inject=write:error=EIO", *journals]
    breaker = subprocess.Popen(
        ["strace", "-f", "-qq", *inject, "-p", str(process.pid)], stderr=subprocess.DEVNULL
    )
    wait_for_line(process, "polling pauses, storage:", log)
    stored = set(collector.lines("books"))
    ended = finish(process)
    breaker.wait()
    said = log.read_text(encoding="utf-8")
    assert ended.returncode == 74, said
    assert "storage failed, stopping:" in said
    after = list(collector.lines("books"))
    assert stored <= set(after)
    fault_table.record("disk broken for good", tried=1, acknowledged=len(after), lost=0, damaged=0)
