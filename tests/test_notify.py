"""What the service manager hears: a real collector, and a real socket in the place of the manager's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Self

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sd_notify import ServiceManager, extend_timeout, status
from tests.collector import PATIENCE_SECONDS, Collector, finish
from tests.test_commands import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def variables(self, watchdog_seconds: float) -> dict[str, str]:
        """What the manager puts into the environment."""
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(watchdog_seconds * 1e6))}

    def hear(self) -> list[str]:
        """The next datagram."""
        return self._socket.recv(4096).decode().split("\n")

    def hear_until(self, wanted: str) -> list[list[str]]:
        """Every datagram up to the first with *wanted* in it."""
        heard = [self.hear()]
        while not any(wanted in line for line in heard[-1]):
            heard.append(self.hear())
        return heard

    def heard_nothing(self) -> bool:
        """Whether no datagram waits."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A manager that listens below *tmp_path*."""
    with Manager(str(tmp_path / "notify")) as listening:
        yield listening


def watched(tmp_path: Path, url: str, manager: Manager, archive: dict[str, float] | None = None) -> Collector:
    """A collector that *manager* watches, and that flushes often."""
    sections = {"archive": {"fsync_seconds": 0.1} | (archive or {})}
    return Collector(tmp_path, url, sections, variables=manager.variables(watchdog_seconds=1.5))


def test_a_life_is_told_from_ready_to_stopping(tmp_path: Path, manager: Manager) -> None:
    """READY comes first and once, then the watchdog is fed with a status, then STOPPING asks for time."""
    with SandboxChild.start() as venue:
        collector = watched(tmp_path, venue.url, manager)
        process = collector.start()
        first = manager.hear()
        heard = manager.hear_until("answered") + manager.hear_until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        heard += manager.hear_until("STOPPING=1")
        ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    assert first[0] == "READY=1"
    assert not any("READY=1" in lines for lines in heard)
    assert all(lines[-1].startswith("STATUS=") for lines in heard)
    assert heard[-1] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=120000000", "WATCHDOG=1", heard[-1][-1]]
    assert collector.verify().returncode == 0


def test_ready_means_that_the_archive_is_open(tmp_path: Path, manager: Manager) -> None:
    """A collector that finds its archive locked leaves with 75 and never says READY."""
    with SandboxChild.start() as venue:
        holder = Collector(tmp_path, venue.url)
        holding = holder.start()
        holder.wait_for_rows(holding, "events", 1)
        ended = finish(watched(tmp_path, venue.url, manager).start())
        holding.terminate()
        assert finish(holding).returncode == 0
    assert ended.returncode == 75, ended.stderr
    assert manager.heard_nothing()


def test_a_dead_venue_is_no_reason_to_be_restarted(tmp_path: Path, manager: Manager) -> None:
    """With nobody at the venue's address the collector is ready, and the watchdog is fed on and on."""
    collector = watched(tmp_path, f"http://127.0.0.1:{free_port()}", manager)
    process = collector.start()
    assert manager.hear()[0] == "READY=1"
    collector.wait_for_rows(process, "markets", 3)
    for _ in range(5):
        manager.hear_until("WATCHDOG=1")
    process.terminate()
    assert finish(process).returncode == 0


def test_a_full_disk_is_no_reason_to_be_restarted(tmp_path: Path, manager: Manager) -> None:
    """While polling pauses for want of space the watchdog is fed, and the status says why."""
    with SandboxChild.start() as venue:
        collector = watched(tmp_path, venue.url, manager, {"min_free_bytes": 1 << 60})
        process = collector.start()
        for _ in range(3):
            assert "WATCHDOG=1" in manager.hear_until("polling pauses, storage:")[-1]
        process.terminate()
        assert finish(process).returncode == 0


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (package: strace)")
def test_a_frozen_writer_starves_the_watchdog(tmp_path: Path, manager: Manager) -> None:
    """While no flush comes back the loop says so and feeds nothing; when flushes work again it does."""
    inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=600000000"]
    with SandboxChild.start() as venue:
        collector = watched(tmp_path, venue.url, manager, {"block_seconds": 600})
        process = collector.start()
        manager.hear_until("answered")
        freezer = subprocess.Popen(
            ["strace", "-f", "-qq", *inject, "-p", str(process.pid)], stderr=subprocess.DEVNULL
        )
        frozen = manager.hear_until("nothing was made durable")[-1:] + [manager.hear() for _ in range(5)]
        freezer.kill()
        freezer.wait()
        thawed = manager.hear_until("WATCHDOG=1")[-1]
        process.terminate()
        ended = finish(process)
    assert all("nothing was made durable" in lines[0] for lines in frozen)
    assert not any("WATCHDOG=1" in lines for lines in frozen)
    assert "answered" in thawed[-1]
    assert ended.returncode == 0, ended.stderr
    assert collector.verify().returncode == 0


def test_a_manager_that_is_gone_costs_one_line(tmp_path: Path) -> None:
    """A socket where nobody listens is one warning, and every poll is recorded all the same."""
    with SandboxChild.start() as venue:
        collector = Collector(tmp_path, venue.url, variables={"NOTIFY_SOCKET": str(tmp_path / "gone")})
        collector.variables["WATCHDOG_USEC"] = "300000"
        ended = collector.run(2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("the service manager does not hear") == 1
    assert collector.results()["ok", None] > 0


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"WATCHDOG_USEC": "30000000"}],
)
def test_where_nobody_listens_nothing_is_told(environment: dict[str, str]) -> None:
    """Without a socket of ours in the environment there is no manager."""
    assert ServiceManager.of(environment) is None


@pytest.mark.parametrize(
    ("more", "expected_ns"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30_000_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30_000_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_only_where_it_says_so(more: dict[str, str], expected_ns: int | None) -> None:
    """The period is read as microseconds; none, a senseless one and another process's are none."""
    manager = ServiceManager.of({"NOTIFY_SOCKET": "/run/notify"} | more)
    assert manager is not None
    assert manager.watchdog_ns == expected_ns


def test_an_abstract_address_is_reached() -> None:
    """``@name`` is a socket without a file, as containers hand it on."""
    with Manager(f"@orderbooks-test-{os.getpid()}") as listening:
        heard = ServiceManager.of(listening.variables(1))
        assert heard is not None
        heard.send("READY=1", status("two\nlines"), extend_timeout(1.5))
        assert listening.hear() == ["READY=1", "STATUS=two lines", "EXTEND_TIMEOUT_USEC=1500000"]
