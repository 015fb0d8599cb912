"""One writer per archive root and collector id."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import ArchiveLock, Holder, holder_of, is_running
from orderbooks_spider.archive.sealer import child_environment
from orderbooks_spider.errors import EXIT_LOCKED, LockedError

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from orderbooks_spider.archive.lock import ArchiveLock
lock = ArchiveLock.acquire(Path(sys.argv[1]), "c0", "run1")
print("held", flush=True)
sys.stdin.read()
"""

PASS_ON = """
import subprocess, sys
from pathlib import Path
from orderbooks_spider.archive.lock import ArchiveLock
lock = ArchiveLock.acquire(Path(sys.argv[1]), "c0", "run1")
subprocess.Popen(["sleep", "1"], pass_fds=(lock.descriptor,))
"""


def hold(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_process_is_told_the_holders_pid(tmp_path: Path) -> None:
    """Rule A14: the lock of a living process is refused with its pid and its own exit code."""
    with hold(tmp_path) as process:
        with pytest.raises(LockedError, match=f"pid {process.pid} ") as caught:
            ArchiveLock.acquire(tmp_path, "c0", "run2")
        assert caught.value.exit_code == EXIT_LOCKED
        assert holder_of(tmp_path, "c0") == Holder(process.pid, "run1", os.uname().nodename)
        with ArchiveLock.acquire(tmp_path, "c1", "run2"):
            pass  # another collector id is another writer
        process.kill()
    assert holder_of(tmp_path, "c0") is None


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """A stale lock file stops nobody."""
    with hold(tmp_path) as process:
        process.kill()
    assert layout.lock_file(tmp_path, "c0").exists()
    ArchiveLock.acquire(tmp_path, "c0", "run2").release()


def test_new_writer_waits_for_a_dead_ones_child(tmp_path: Path) -> None:
    """A sealing child outlives its killed collector with the lock; the next collector waits for it."""
    subprocess.run([sys.executable, "-c", PASS_ON, str(tmp_path)], env=child_environment(), check=True)
    assert holder_of(tmp_path, "c0") is not None
    ArchiveLock.acquire(tmp_path, "c0", "run2").release()


def test_asking_for_the_holder_makes_no_file(tmp_path: Path) -> None:
    """A reader changes nothing in an archive."""
    assert holder_of(tmp_path, "c0") is None
    assert list(tmp_path.iterdir()) == []


def test_a_collector_runs_whose_process_lives(tmp_path: Path) -> None:
    """Who holds the lock runs if its pid lives, another user's too; a gone or senseless one is dead."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    with ArchiveLock.acquire(tmp_path, "c0", "run") as lock:
        for pid, running in ((os.getpid(), True), (1, True), (gone.pid, False), (2**40, False)):
            holder = Holder(pid, "run", os.uname().nodename)
            os.ftruncate(lock.descriptor, 0)
            os.pwrite(lock.descriptor, msgspec.json.encode(holder), 0)
            assert is_running(tmp_path, "c0") is running, pid
