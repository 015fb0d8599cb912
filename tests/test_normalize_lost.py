"""What was lost shows: a killed collector's downtime, and a raw row that somebody deleted."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.items import EVENTS
from orderbooks_spider.sandbox.child import SandboxChild
from tests import archives
from tests.archives import INTERVAL_NS, PHASE_NS, SLUG, START_NS, UP, collect, small_archive
from tests.collector import Collector, finish
from tests.dataset import Dataset, normalize
from tests.test_archive_recovery import sealed_rows

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.items import PollItem

INTERVAL = NS // 2
LEAD = 300 * NS
"""As in the collector's test config, with no linger."""


def runs_of(collector: Collector) -> list[dict[str, Any]]:
    """The run manifests in the order of their starts."""
    found = [
        pl.read_json(path).select("run_id", "started_utc").row(0, named=True)
        for path in sorted((collector.root / "manifests/runs").glob("*.json"))
    ]
    return sorted(found, key=lambda run: run["started_utc"])


def grid_slots(collector: Collector, from_ns: int, until_ns: int) -> set[tuple[str, int]]:
    """Every slot that the grid has in the span for the markets that were recorded, one by one."""
    grid = Grid(INTERVAL, 20)
    records = {
        row["condition_id"]: row["market"] for row in collector.rows("markets") if row["kind"] == "market"
    }
    slots = set()
    for condition_id, market in records.items():
        phase = grid.phase_ns(grid.bucket(condition_id))
        begin = max(from_ns, market["window_start_ns"] - LEAD)
        end = min(until_ns, market["window_end_ns"])
        for k in range(begin // INTERVAL - 1, end // INTERVAL + 2):
            if begin <= k * INTERVAL + phase < end:
                slots |= {(token, k * INTERVAL + phase) for token in market["token_ids"]}
    return slots


def test_killed_collector_leaves_no_slot_out(killed: tuple[Collector, Dataset]) -> None:
    """From the first start to the last stop every grid slot is in polls once, whatever happened to it."""
    collector, dataset = killed
    (stop,) = collector.events("run_stop")
    started = parse_utc(runs_of(collector)[0]["started_utc"])
    expected = grid_slots(collector, started, stop["slots_done_until_ns"])
    polls = dataset.read("polls")
    assert sorted(polls.select("token_id", "due_ns").rows()) == sorted(expected)
    raw = {(row["token_id"], row["due_ns"]): row for row in collector.rows("books")}
    assert set(polls.filter("recorded").select("token_id", "due_ns").rows()) == raw.keys()


def test_downtime_is_ours_and_lowers_coverage(killed: tuple[Collector, Dataset]) -> None:
    """Between the kill and the next start all slots are process_down, in polls, gaps and quality alike."""
    collector, dataset = killed
    first, second = runs_of(collector)
    rows = collector.rows("books")
    last_ns = max(row["received_ns"] or row["due_ns"] for row in rows if row["run_id"] == first["run_id"])
    polls = dataset.read("polls")
    derived = polls.filter(~pl.col("recorded"))
    between = derived.filter(pl.col("due_ns").is_between(last_ns + 1, parse_utc(second["started_utc"]) - 1))
    assert len(between) > 0
    assert set(between["result"]) == {"process_down"}
    assert set(derived["result"]) <= {"process_down", "not_discovered"}
    answered = sum(row["result"] == "ok" for row in rows)
    quality = dataset.read("quality")
    assert (quality["planned"].sum(), quality["answered"].sum()) == (len(polls), answered)
    assert answered < len(polls)
    gaps = dataset.read("gaps")
    assert gaps["slots"].sum() == len(polls) - answered
    spans = between.group_by("token_id").agg(low=pl.col("due_ns").min(), high=pl.col("due_ns").max())
    both = gaps.join(spans, on="token_id")
    outage = both.filter(pl.col("from_ns") <= pl.col("low"), pl.col("until_ns") >= pl.col("high"))
    assert sorted(outage["token_id"]) == sorted(spans["token_id"])
    assert set(outage["fault"]) == {"us"}


def test_running_collector_is_judged_as_far_as_it_is_sealed(tmp_path: Path) -> None:
    """Beside a running collector nothing looks lost; once it has stopped, a rerun equals a fresh run."""
    with SandboxChild.start() as sandbox:
        collector = Collector(tmp_path, sandbox.url, {"archive": {"rotate_seconds": 2}})
        process = collector.start()
        collector.wait_for_rows(process, "books", 1)
        while len(list((collector.root / "manifests/polymarket/books").rglob("*.json"))) < 3:
            collector.wait_for_rows(process, "books", len(collector.rows("books")) + 1)
        running = normalize(collector.root, tmp_path / "out")
        process.send_signal(signal.SIGTERM)
        assert finish(process).returncode == 0
    assert running.done.returncode == 0, running.done.stderr
    polls = running.read("polls")
    assert polls["recorded"].any()
    assert set(polls.filter(~pl.col("recorded"))["result"]) <= {"not_discovered"}
    again, fresh = normalize(collector.root, tmp_path / "out"), normalize(collector.root, tmp_path / "fresh")
    assert again.done.returncode == fresh.done.returncode == 0
    assert again.digests() == fresh.digests()
    assert len(again.read("polls")) > len(polls)


def test_polls_sealed_before_their_events_are_not_missing(tmp_path: Path) -> None:
    """Of a running collector, polls may be sealed further than events: those are rows, once, and no gap."""
    root = tmp_path / "archive"
    asyncio.run(collect(archives.Collector(root), 25, stop=False))
    due = [msgspec.json.decode(row)["due_ns"] for row in sealed_rows(root)]
    events = [msgspec.json.decode(row)["at_ns"] for row in sealed_rows(root, EVENTS)]
    assert 0 < max(events) < max(due) - 8 * NS
    running = normalize(root, tmp_path / "out")
    assert running.done.returncode == 0, running.done.stderr
    assert sorted(running.read("polls")["due_ns"]) == sorted(due)


def test_discovery_pass_alone_plans_nothing(tmp_path: Path) -> None:
    """The time between a discovery pass and the collector's start is no downtime."""
    with SandboxChild.start() as sandbox:
        collector = Collector(tmp_path, sandbox.url)
        assert collector.discover().returncode == 0
        assert collector.run(2).returncode == 0
    _, second = runs_of(collector)
    polls = normalize(collector.root, tmp_path / "out").read("polls")
    assert len(polls)
    assert (polls["due_ns"] >= parse_utc(second["started_utc"])).all()


def test_deleted_row_shows_in_polls_gaps_and_quality(tmp_path: Path) -> None:
    """One raw row less in a segment: a missing slot, a gap, a coverage below 1, a line and exit code 1."""
    gone_ns = START_NS + 7 * INTERVAL_NS + PHASE_NS

    def without(item: PollItem) -> PollItem | None:
        return None if (item.token_id, item.due_ns) == (UP, gone_ns) else item

    small_archive(tmp_path / "archive", change=without)
    dataset = normalize(tmp_path / "archive", tmp_path / "out")
    assert dataset.done.returncode == 1
    assert f"1 slots of {SLUG}" in dataset.done.stderr
    assert "polls: 49 ok, 1 planned without a row, see gaps\n" in dataset.done.stdout
    assert dataset.done.stdout.endswith(", 1 problem\n")
    lost = dataset.read("polls").filter(~pl.col("recorded"))
    assert lost.select("token_id", "due_ns", "result", "answered").rows() == [(UP, gone_ns, "missing", False)]
    (gap,) = dataset.read("gaps").to_dicts()
    assert (gap["token_id"], gap["from_ns"], gap["until_ns"], gap["cause"]) == (
        UP,
        gone_ns,
        gone_ns,
        "missing",
    )
    assert (gap["last_answered_ns"], gap["next_answered_ns"]) == (
        gone_ns - INTERVAL_NS,
        gone_ns + INTERVAL_NS,
    )
    quality = dataset.read("quality").select("planned", "answered", "coverage").rows()
    assert sorted(quality) == [(25, 24, 24 / 25), (25, 25, 1.0)]


def test_slots_of_a_damaged_segment_are_missing(tmp_path: Path) -> None:
    """A segment that cannot be believed is left out: its slots are missing, those of the others are there."""
    small_archive(tmp_path / "archive")
    segments = sorted((tmp_path / "archive/raw/polymarket/books").rglob("*.gz"))
    assert len(segments) == 3
    with segments[1].open("r+b") as file:
        file.seek(40)
        file.write(b"damaged")
    dataset = normalize(tmp_path / "archive", tmp_path / "out")
    assert dataset.done.returncode == 1
    assert segments[1].name in dataset.done.stderr
    polls = dataset.read("polls")
    missing = polls.filter(pl.col("result") == "missing")
    assert len(polls) == 50
    assert 0 < len(missing) == 50 - polls["recorded"].sum()
    assert dataset.read("gaps")["slots"].to_list() == [len(missing) // 2] * 2
    assert dataset.read("quality")["answered"].sum() == polls["recorded"].sum()


def test_whole_archive_has_no_gap(tmp_path: Path) -> None:
    """Where every planned slot was answered, coverage is 1, no slot is derived and there is no gap."""
    small_archive(tmp_path / "archive")
    dataset = normalize(tmp_path / "archive", tmp_path / "out")
    assert dataset.done.returncode == 0, dataset.done.stderr
    assert "polls: 50 ok\n" in dataset.done.stdout
    assert dataset.read("quality")["coverage"].to_list() == [1.0, 1.0]
    assert dataset.read("polls")["recorded"].all()
    assert dataset.files("gaps") == []
