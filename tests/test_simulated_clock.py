"""The clock of a simulated day: one time for all processes, which waits for them and steps only as asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.errors import EXIT_CONFIG, ConfigError
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.simulated_clock import VARIABLE, SimulatedClock, Timekeeper, clock_of
from tests.collector import Collector, finish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGIN_NS = 1_776_328_500 * NS
SPEED = 20.0


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Timekeeper]:
    """A timekeeper of two processes."""
    files = {name: tmp_path / name for name in ("collector", "exchange")}
    with Timekeeper(files, BEGIN_NS, SPEED) as made:
        yield made


def test_time_begins_as_told_and_runs_fast(keeper: Timekeeper) -> None:
    """A sleep of a minute of this clock passes a minute here, and less outside."""
    clock, real = keeper.clock("collector"), SystemClock()
    real_ns, begun_ns = real.monotonic_ns(), clock.wall_ns()
    assert begun_ns >= BEGIN_NS
    asyncio.run(clock.sleep(60))
    assert clock.wall_ns() - begun_ns >= 60 * NS
    assert real.monotonic_ns() - real_ns < clock.wall_ns() - begun_ns
    assert clock.timer_seconds(60) == 60 / SPEED


def test_time_never_goes_back(keeper: Timekeeper) -> None:
    """However often two processes read, the time of each only grows, and both are in one stretch of it."""
    clocks = [keeper.clock("collector"), keeper.clock("exchange")]
    read = [clock.monotonic_ns() for _ in range(20_000) for clock in clocks]
    for own in (read[::2], read[1::2]):
        assert own == sorted(own)
    assert read[-2] > read[0]


def test_step_moves_one_wall_clock(keeper: Timekeeper) -> None:
    """A step is seen by the wall clock of its process alone, at once, and can be taken back."""
    stepped, other = keeper.clock("collector"), keeper.clock("exchange")
    for seconds in (3600.0, -90.0, 0.0):
        keeper.step("collector", seconds)
        assert stepped.wall_ns() - stepped.monotonic_ns() == pytest.approx(seconds * NS, abs=NS // 2)
        assert other.wall_ns() == pytest.approx(other.monotonic_ns(), abs=NS // 2)


def test_time_waits_for_loop_that_stands_still(keeper: Timekeeper) -> None:
    """While a loop that takes part is blocked, time stands still; a loop that is gone is not waited for."""
    clock = keeper.clock("collector")

    async def blocked() -> int:
        clock.attend()
        await asyncio.sleep(0.05)
        before_ns = clock.monotonic_ns()
        threading.Event().wait(0.4)  # of real time: eight seconds of this clock
        return clock.monotonic_ns() - before_ns

    assert asyncio.run(blocked()) < 4 * NS
    asyncio.run(keeper.clock("exchange").sleep(5))


def test_real_time_waits_for_nobody(tmp_path: Path) -> None:
    """At the speed of real time a blocked loop is late, as on a real host."""
    with Timekeeper({"collector": tmp_path / "collector"}, BEGIN_NS, 1.0) as keeper:
        clock = keeper.clock("collector")

        async def blocked() -> int:
            clock.attend()
            before_ns = clock.monotonic_ns()
            threading.Event().wait(0.2)
            return clock.monotonic_ns() - before_ns

        assert asyncio.run(blocked()) >= 0.2 * NS


def test_other_process_reads_same_time(keeper: Timekeeper) -> None:
    """A child process that is given the variable is in the same time as its parent."""
    code = "from orderbooks_spider.simulated_clock import clock_of; print(clock_of().wall_ns())"
    before_ns = keeper.clock("exchange").wall_ns()
    done = subprocess.run(
        [sys.executable, "-c", code], env=keeper.variables("exchange") | {"PYTHONPATH": "."},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert before_ns < int(done.stdout) < keeper.clock("exchange").wall_ns()


@pytest.mark.parametrize("speed", [0.5, 101])
def test_speed_has_bounds(speed: float, tmp_path: Path) -> None:
    """Slower than real time, or faster than a host could follow, is refused."""
    with pytest.raises(ConfigError, match="speed: expected 1 to 100"):
        Timekeeper({"collector": tmp_path / "collector"}, BEGIN_NS, speed)


def test_host_clock_unless_told(tmp_path: Path) -> None:
    """Without the variable a process has the host's clock; with a file that is none it is told so."""
    assert isinstance(clock_of({}), SystemClock)
    with pytest.raises(ConfigError, match=VARIABLE):
        clock_of({VARIABLE: str(tmp_path / "absent")})
    (tmp_path / "short").write_bytes(b"1")
    with pytest.raises(ConfigError, match=VARIABLE):
        SimulatedClock(tmp_path / "short")


@pytest.mark.parametrize(
    ("environment", "url"),
    [("live", "http://127.0.0.1:9"), ("sandbox", "http://192.0.2.1"), ("sandbox", "sandbox")],
)
def test_collector_refuses_simulated_clock_elsewhere(
    environment: str, url: str, keeper: Timekeeper, tmp_path: Path
) -> None:
    """With a simulated clock a collector asks nobody but a sandbox on loopback, and writes nothing."""
    collector = Collector(tmp_path, url, environment=environment, variables=keeper.variables("collector"))
    ended = finish(collector.start("--seconds", "1"))
    assert ended.returncode == EXIT_CONFIG
    assert "a simulated clock is for environment: sandbox" in ended.stderr
    assert not (collector.root / "raw").exists()


def test_collector_runs_in_simulated_time(keeper: Timekeeper, tmp_path: Path) -> None:
    """Exchange and collector agree on the time: every poll of two simulated minutes is answered."""
    with SandboxChild.start(variables=keeper.variables("exchange")) as sandbox:
        sections = {"polling": {"interval_seconds": 1, "timeout_seconds": 30}}
        collector = Collector(tmp_path, sandbox.url, sections, variables=keeper.variables("collector"))
        ended = collector.run(120)
    assert ended.returncode == 0, ended.stderr
    rows = collector.rows("books")
    assert rows
    assert all(abs(row["due_ns"] - BEGIN_NS) < 3600 * NS for row in rows)
    (result, count), *others = collector.results().most_common()
    assert (result, count > 200, others) == (("ok", None), True, [])
