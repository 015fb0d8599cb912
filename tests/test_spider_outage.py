"""Hours without a collector, or without a venue: real processes whose wall clocks are set ahead together."""

from __future__ import annotations

import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PATIENCE_SECONDS, Collector, finish
from tests.faketime import wall_clock_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOURS = 2
SECTIONS: dict[str, dict[str, Any]] = {
    # A horizon so short that most windows of the hours are not known before; few polls.
    "discovery": {"windows": ["5m", "1d"], "interval_seconds": 1, "horizon_seconds": 60},
    "polling": {"interval_seconds": 10},
}


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    """The file that says how far ahead the wall clocks of the processes are.

    They begin at one o'clock, far from noon in New York: no day's market ends in the hours of a test.
    """
    path = tmp_path / "shift"
    to_midnight = -(SystemClock().wall_ns() // NS) % 86_400
    path.write_text(f"+{to_midnight + 3600}\n", encoding="ascii")
    return path


def shift_on(shift: Path) -> None:
    """Set the clocks ahead by the hours of a test."""
    before = int(shift.read_text(encoding="ascii"))
    shift.write_text(f"+{before + HOURS * 3600}\n", encoding="ascii")


@pytest.fixture
def sandbox(shift: Path) -> Iterator[SandboxChild]:
    """An exchange whose clock follows the file."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in wall_clock_from(shift).items():
            patch.setenv(name, value)
        child = SandboxChild.start()
    with child:
        yield child


def answer_with(sandbox: SandboxChild, faults: str) -> None:
    """Replace the exchange's fault plan."""
    urllib.request.urlopen(f"{sandbox.url}/_sandbox/faults", faults.encode()).close()


def looked_back_ns(row: dict[str, Any]) -> int:
    """How long a span of five-minute windows was looked back over; 0 for any other row."""
    return row["until_ns"] - row["from_ns"] if row.get("window") == "5m" else 0


def assert_every_window_is_recorded(collector: Collector) -> None:
    """Each five-minute window that ended between the first start and the last pass has its market row."""
    events = collector.rows("events")
    begin = min(row["at_ns"] for row in events if row["event"] == "run_start") // NS
    *_, last = (row for row in events if row["event"] == "discovered")
    end = last["detail"]["complete_until_ns"]["5m"] // NS
    assert end - begin >= HOURS * 3600
    passed = {f"btc-updown-5m-{start}" for start in range(begin // 300 * 300, end - 300, 300)}
    rows = [row for row in collector.rows("markets") if row["kind"] == "market"]
    assert passed - {row["market_slug"] for row in rows} == set()
    for row in rows:
        ended = row["observed_ns"] > row["market"]["window_end_ns"]
        assert ended or row["market"]["outcome_prices"] is None
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout


def test_windows_between_two_runs_are_recorded(sandbox: SandboxChild, shift: Path, tmp_path: Path) -> None:
    """A run that starts hours after the last one records each window that passed meanwhile."""
    collector = Collector(tmp_path, sandbox.url, SECTIONS, variables=wall_clock_from(shift))
    assert collector.run(3).returncode == 0
    known = max(row["complete_until_ns"]["5m"] for row in collector.events("discovered"))
    shift_on(shift)
    ended = collector.run(4)
    assert ended.returncode == 0, ended.stderr
    assert_every_window_is_recorded(collector)
    span = max(collector.events("looked_back"), key=looked_back_ns)
    assert (span["missing"], span["cut_off"]) == (0, False)
    assert span["from_ns"] == known - 1800 * NS
    assert span["found"] >= 12 * HOURS


@pytest.mark.parametrize("restarts", [False, True])
def test_windows_of_an_outage_within_a_run_are_recorded(
    restarts: bool,
    sandbox: SandboxChild,
    shift: Path,
    tmp_path: Path,
) -> None:
    """After hours without a good listing each window is recorded, also if a restart falls into them.

    The day's market is polled on all the while: the last visited slot does not tell what is known.
    """
    collector = Collector(tmp_path, sandbox.url, SECTIONS, variables=wall_clock_from(shift))
    process = collector.start()

    def wait_for(event: str, least_ns: int = 0) -> dict[str, Any]:
        for _ in range(5 * PATIENCE_SECONDS):
            for seen in collector.events(event):
                if looked_back_ns(seen) >= least_ns:
                    return seen
            assert process.poll() is None, finish(process).stderr
            time.sleep(0.2)
        process.kill()
        raise AssertionError(f"no {event} row; {finish(process).stderr}")

    wait_for("looked_back")
    answer_with(sandbox, "- {fault: {kind: edge_html, status: 502}}")
    wait_for("universe_empty")
    shift_on(shift)
    wait_for("clock_step")
    if restarts:
        collector.wait_for_rows(process, "books", 2 * HOURS * 360)
        process.send_signal(signal.SIGTERM)
        assert finish(process).returncode == 0
        process = collector.start()
    answer_with(sandbox, "[]")
    span = wait_for("looked_back", HOURS * 3600 * NS)
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    assert span["missing"] == 0
    assert_every_window_is_recorded(collector)
