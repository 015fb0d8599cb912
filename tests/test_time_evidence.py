"""What a run tells of its times: real collector, real exchange, one clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from bench.timestamps import Trip, join
from orderbooks_spider.archive.manifest import SegmentClock
from orderbooks_spider.clock import NS
from orderbooks_spider.host_clock import ClockQuality
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector
from tests.faketime import wall_clock_from
from tests.test_time_page import example

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Evidence:
    """A finished run, and what the exchange noted meanwhile."""

    collector: Collector
    served: list[dict[str, Any]]
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Some seconds of polls."""
    folder = tmp_path_factory.mktemp("time")
    log = folder / "served.jsonl"
    with SandboxChild.start(["--served-log", str(log)]) as child:
        collector = Collector(folder, child.url)
        ended = collector.run(4)
    assert ended.returncode == 0, ended.stderr
    served = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    events = sorted(collector.rows("events"), key=lambda row: row["seq"])
    return Evidence(collector, served, events)


def test_stamps_enclose_what_the_venue_did(run: Evidence) -> None:
    """No poll was sent after the venue had it, none was received before the venue had answered."""
    trips = join(run.collector.rows("books"), run.served)
    assert len(trips) > 10
    assert [trip for trip in trips if not trip.in_order] == []


def test_a_stamp_out_of_order_is_seen(run: Evidence) -> None:
    """The check can fail: a poll stamped after its request arrived is no trip in order."""
    trip = join(run.collector.rows("books"), run.served)[0]
    assert not Trip(trip.t_recv_ns + 1, trip.t_recv_ns, trip.t_send_ns, trip.received_ns).in_order
    assert not Trip(trip.sent_ns, trip.t_recv_ns, trip.t_send_ns, trip.t_send_ns - 1).in_order


def test_a_poll_that_was_not_served_is_seen(run: Evidence) -> None:
    """A row without its counterpart in the exchange's log is an error, not a pair with another poll."""
    polls = run.collector.rows("books")
    with pytest.raises(ValueError, match="not the one that was served next"):
        join([*polls, polls[0]], run.served)


def test_clock_is_read_before_the_first_poll_and_after_the_last(run: Evidence) -> None:
    """Each poll lies between two readings, even in the shortest run; the loop's lag is told at the end."""
    readings = [row for row in run.events if row["event"] == "clock_quality"]
    sent = [row["sent_ns"] for row in run.collector.rows("books")]
    received = [row["received_ns"] for row in run.collector.rows("books")]
    assert run.events[0] == readings[0]
    assert readings[0]["at_ns"] < min(sent)
    assert max(received) < readings[-1]["at_ns"]
    for row in readings:
        msgspec.convert(row["detail"], ClockQuality)
    (lag,) = run.collector.events("loop_lag")
    assert list(lag) == ["samples", "p50_ns", "p99_ns", "max_ns"]
    assert lag["samples"] > 0
    assert 0 <= lag["p50_ns"] <= lag["p99_ns"] <= lag["max_ns"]


def test_manifests_repeat_the_last_reading(run: Evidence) -> None:
    """Every manifest of a run names the newest reading of the host's clock."""
    newest = [row for row in run.events if row["event"] == "clock_quality"][-1]
    files: list[Path] = sorted((run.collector.root / "manifests/polymarket").rglob("*.json"))
    assert len(files) == 3
    for file in files:
        clock = msgspec.convert(json.loads(file.read_bytes())["clock"], SegmentClock)
        assert clock.at_ns == newest["at_ns"]
        assert newest["detail"].items() <= msgspec.to_builtins(clock).items()
    assert run.collector.verify().returncode == 0


def test_venue_dates_agree_with_the_same_clock(run: Evidence) -> None:
    """The page's cross-check by ``date`` finds no difference where exchange and collector share a clock."""
    least, most = example("ahead_of_venue")(run.collector.root, None, None)
    assert least <= 0 <= most


def test_venue_dates_show_a_clock_that_is_wrong(tmp_path: Path) -> None:
    """Where the collector's clock is five seconds ahead of the exchange's, the cross-check finds them."""
    shift = tmp_path / "shift"
    shift.write_text("+5\n", encoding="ascii")
    with SandboxChild.start() as child:
        collector = Collector(tmp_path, child.url, variables=wall_clock_from(shift))
        ended = collector.run(2)
    assert ended.returncode == 0, ended.stderr
    least, most = example("ahead_of_venue")(collector.root, None, None)
    assert least <= 5 * NS <= most
