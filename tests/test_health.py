"""The collector's own word: the health file, its log lines, and the dead man's ping."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from orderbooks_spider.archive.layout import health_file
from orderbooks_spider.clock import SystemClock
from orderbooks_spider.config import Archive, Config
from orderbooks_spider.config import Health as HealthSection
from orderbooks_spider.extensions.health import Health
from orderbooks_spider.extensions.ping import DeadManPing, with_heads
from orderbooks_spider.run import Run
from orderbooks_spider.status.beat import Beat
from orderbooks_spider.status.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "d3adb33f-secret"
HEADS = {"books": "ab" * 32, "markets": None, "events": "cd" * 32}


class Watcher(ThreadingHTTPServer):
    """Somebody who waits for pings; *status* is the answer, ``None`` means that it never comes."""

    def __init__(self, status: int | None = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.asked: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Note what was asked, and answer as told."""
        assert isinstance(self.server, Watcher)
        self.server.asked.append(self.path)
        if self.server.status is None:
            self.server.released.wait(60)
            return
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def watcher(status: int | None = 200) -> Iterator[Watcher]:
    """A watcher that serves in a thread."""
    with Watcher(status) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def run_with(url: str | None, root: Path = Path("unused")) -> Run:
    """A run that polls nobody."""
    archive = Archive(root=str(root), min_free_bytes=0)
    config = Config(environment="sandbox", health=HealthSection(ping_url=url), archive=archive)
    clock = SystemClock()
    return Run(config, clock, clock.wall_ns())


async def ping_once(ping: DeadManPing) -> None:
    """Send one and wait for its end."""
    ping.open()
    ping.send_if_due(HEADS)
    assert ping._sending is not None
    await asyncio.wait({ping._sending})
    await ping.close()


def test_ping_carries_the_heads(caplog: pytest.LogCaptureFixture) -> None:
    """One GET reaches the configured path, with each known head behind the URL's own query."""
    with watcher() as server:
        ping = DeadManPing(f"{server.url}/{SECRET}?rid=1", run_with(None))
        asyncio.run(ping_once(ping))
        assert server.asked == [f"/{SECRET}?rid=1&books/c0={'ab' * 32}&events/c0={'cd' * 32}"]
    assert (ping.told.sent, ping.told.failed, ping.told.failing) == (1, 0, None)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("status", "said"), [(404, "status 404"), (302, "status 302"), (None, "TimeoutError")]
)
def test_failing_ping_is_said_once_and_never_with_its_url(
    status: int | None, said: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, redirected or not answered in time: counted, and logged where it begins and ends."""
    monkeypatch.setattr("orderbooks_spider.extensions.ping.TIMEOUT_SECONDS", 0.5)
    caplog.set_level(logging.INFO)
    with watcher(status) as server:
        ping = DeadManPing(f"{server.url}/{SECRET}", run_with(None))
        for _ in range(2):
            ping._sent_ns = None
            asyncio.run(ping_once(ping))
        assert len(server.asked) == 2
        assert (ping.told.sent, ping.told.failed, ping.told.failing) == (0, 2, said)
        server.status = 200
        server.released.set()
        ping._sent_ns = None
        asyncio.run(ping_once(ping))
    assert (ping.told.sent, ping.told.failing) == (1, None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert said in caplog.text
    assert SECRET not in caplog.text


def test_ping_to_nobody_fails_quietly() -> None:
    """Where no server is, the ping is counted as failed by the error's name alone."""
    with watcher() as server:
        url = f"{server.url}/{SECRET}"
    ping = DeadManPing(url, run_with(None))
    asyncio.run(ping_once(ping))
    assert (ping.told.failed, ping.told.failing) == (1, "ClientConnectorError")


def test_ping_waits_its_minute() -> None:
    """A second one within the minute is not sent."""

    async def twice(ping: DeadManPing) -> None:
        await ping_once(ping)
        first = ping._sending
        ping.send_if_due(HEADS)
        assert ping._sending is first

    with watcher() as server:
        asyncio.run(twice(DeadManPing(server.url, run_with(None))))
        assert len(server.asked) == 1


def test_ping_without_a_head_is_the_url_alone() -> None:
    """Before the first seal nothing is put behind the URL."""
    assert with_heads("https://x.org/p", "c0", {"books": None}) == "https://x.org/p"


def test_health_file_is_whole_and_of_this_run(tmp_path: Path) -> None:
    """What is written reads back as the run's own word; nobody is ever shown half a file or its maker."""
    (tmp_path / "state").mkdir()
    run = run_with(f"http://127.0.0.1:9/{SECRET}", tmp_path)
    asyncio.run(Health(run)._beat())
    path = health_file(tmp_path, "c0")
    beat = msgspec.json.decode(path.read_bytes(), type=Beat)
    assert (beat.run_id, beat.state, beat.tokens, beat.undurable_seconds) == (
        run.run_id,
        "degraded",
        {},
        None,
    )
    assert [finding.name for finding in beat.findings] == ["starting"]
    assert [entry.name for entry in (tmp_path / "state").iterdir()] == [path.name]
    assert SECRET.encode() not in path.read_bytes()


def test_health_file_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its folder the file stays away with one line, and the collector goes on."""
    health = Health(run_with(None, tmp_path))
    for _ in range(3):
        asyncio.run(health._beat())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "c0.health.json" in caplog.text


def test_one_line_for_each_change_of_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells each change with its reasons, not the first moments of a run, nor what stays as it is."""
    caplog.set_level(logging.INFO)
    health = Health(run_with(None, tmp_path))
    starting, gap = Finding("degraded", "starting", "no data yet"), Finding("degraded", "gap", "no answer")
    clock = Finding("note", "clock", "nobody keeps it")
    health._say("degraded", [starting, clock])
    health._say("healthy", [clock])
    health._say("healthy", [])
    health._say("degraded", [gap, clock])
    health._say("degraded", [gap])
    health._say("healthy", [])
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "health: healthy"),
        ("WARNING", "health: healthy -> degraded: no answer"),
        ("INFO", "health: degraded -> healthy"),
    ]
