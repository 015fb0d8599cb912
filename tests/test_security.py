"""What the collector lets in and out: no socket that listens, no way to a host that the config lacks."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector, finish
from tests.slots import planned_slots, recorded_slots
from tests.test_sandbox_routes import fetch
from tests.test_spider_outage import answer_with

LISTENS = "0A"
"""``TCP_LISTEN`` in ``/proc/net/tcp`` (``include/net/tcp_states.h``)."""
ACCEPTS = 0x00010000
"""``__SO_ACCEPTCON``, the flag of a listening Unix socket in ``/proc/net/unix`` (``proc_pid_net(5)``)."""


def open_doors(pid: int) -> list[str]:
    """The sockets of a process through which anybody could speak to it first."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = descriptor.readlink().name
        except FileNotFoundError:
            continue  # closed meanwhile
        inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    doors = []
    for kind in ("tcp", "tcp6", "udp", "udp6", "unix"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text("ascii").splitlines()[1:]:
            words = line.split()
            inode, is_open = words[9] if kind != "unix" else words[6], True
            if kind.startswith("tcp"):
                is_open = words[3] == LISTENS
            elif kind == "unix":
                is_open = bool(int(words[3], 16) & ACCEPTS)
            if inode in inodes and is_open:
                doors.append(f"{kind} {words[1]}")
    return doors


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [pid, *(member for child in children for member in family(int(child)))]


def test_nothing_listens_while_the_collector_runs(tmp_path: Path) -> None:
    """Neither it nor a child that seals has a door of any kind, while it polls and seals."""
    with SandboxChild.start() as venue:
        assert open_doors(venue.process.pid), "the check sees a server's door"
        collector = Collector(tmp_path, venue.url, {"archive": {"rotate_seconds": 1}})
        process = collector.start()
        seen: set[int] = set()
        while len(seen) < 4:  # itself and three sealing children
            try:
                members = family(process.pid)
                doors = {pid: open_doors(pid) for pid in members}
            except (FileNotFoundError, ProcessLookupError):
                assert process.poll() is None, finish(process).stderr
                continue  # a child has ended
            assert not any(doors.values()), doors
            seen.update(members)
        collector.wait_for_rows(process, "books", 20)
        assert open_doors(process.pid) == []
        process.send_signal(signal.SIGTERM)
        assert finish(process).returncode == 0


@pytest.mark.parametrize("feed", ["books", "markets"])
def test_redirect_to_another_host_is_refused(feed: str, tmp_path: Path) -> None:
    """The row says that it was a redirect and where to, the other host hears nothing, the run goes on."""
    path = "/book" if feed == "books" else "/*"
    with SandboxChild.start() as venue, SandboxChild.start() as other:
        target = f"{other.url}/book"
        answer_with(
            venue, f"- {{match: {{path: '{path}'}}, fault: {{kind: redirect, location: '{target}'}}}}"
        )
        collector = Collector(tmp_path, venue.url)
        ended = collector.run(3)
        heard = fetch(other.url, "/_sandbox/stats").json["requests"]
    assert ended.returncode == 0, ended.stderr
    asked = [row for row in collector.rows(feed) if row["sent_ns"] is not None]
    assert asked
    ends = {(row["result"], row["reason"], row["status"], row["headers"]["location"]) for row in asked}
    assert ends == {("http_error", "redirect", 302, target)}
    assert not heard
    assert recorded_slots(collector) == planned_slots(collector)
