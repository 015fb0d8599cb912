"""A look at an archive from outside: every number against the rows themselves, and archives in any state."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.reader import rows
from orderbooks_spider.archive.state import open_feeds
from orderbooks_spider.clock import NS
from orderbooks_spider.config import Archive
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import BOOKS, EVENTS, MARKETS
from orderbooks_spider.status import rows as status_rows
from orderbooks_spider.status import text
from orderbooks_spider.status.collector import _span
from orderbooks_spider.status.files import CollectorFiles
from orderbooks_spider.status.look import look
from orderbooks_spider.status.plans import Plan, planned, settled, unplanned_ns
from orderbooks_spider.status.sealed import sealed_segments
from tests.archives import INTERVAL_NS, PHASE_NS, START_NS, Collector, ManualClock, collect, event, poll

if TYPE_CHECKING:
    from orderbooks_spider.items import PollItem
    from orderbooks_spider.status.report import ArchiveReport, CollectorReport

MOMENTS = 40
PROJECT = Path(__file__).resolve().parents[1]


def mixed(item: PollItem) -> PollItem:
    """Polls of every kind: answered, failed, and without a book inside the window."""
    moment = (item.due_ns - PHASE_NS - START_NS) // NS
    if moment % 7 == 3:
        item.result, item.reason, item.body, item.status = "timeout", "DownloadTimeoutError", None, None
    elif moment % 11 == 5:
        item.result, item.reason = "throttled", "venue_error"
    return item


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive whose collector was killed: sealed segments, a ``.part`` and journals of each feed."""
    root = tmp_path_factory.mktemp("growing")
    collector = Collector(root)
    asyncio.run(collect(collector, MOMENTS, stop=False, change=mixed))
    collector.abandon()
    return root


def at(root: Path, seconds: float) -> ArchiveReport:
    """A look so many seconds after the start of the archives of these tests."""
    return look(root, ManualClock(START_NS + round(seconds * NS)))


def only(report: ArchiveReport) -> CollectorReport:
    """The report of the one collector."""
    (collector,) = report.collectors
    return collector


def files_of(root: Path, now_ns: int) -> CollectorFiles:
    """The one collector's files, looked at then."""
    feeds = {feed: sealed_segments(root, feed, "", ["c0"]) for feed in (BOOKS, MARKETS, EVENTS)}
    return CollectorFiles(root, "c0", feeds, now_ns, running=False)


@given(until=st.integers(0, (MOMENTS + 20) * 20), length=st.integers(1, MOMENTS * 20))
def test_spans_count_what_the_rows_say(until: int, length: int, growing: Path) -> None:
    """For any span, planned, answered and each result are those of the plan and of the rows inside it."""
    step_ns = NS // 20
    until_ns = START_NS + until * step_ns
    files = files_of(growing, until_ns)
    files.until_ns = until_ns
    seen = _span(files, length * step_ns)
    from_ns = until_ns - length * step_ns
    inside = [row.value() for row in rows(growing, BOOKS, from_ns, until_ns)]
    grid = range(START_NS + PHASE_NS, START_NS + MOMENTS * INTERVAL_NS, INTERVAL_NS)
    due = 2 * sum(from_ns <= due_ns < until_ns for due_ns in grid)
    assert seen.results == Counter(row["result"] for row in inside)
    assert seen.answered == seen.results.get("ok", 0)
    assert (seen.planned, seen.no_row) == (due, due - len(inside))


def test_killed_collector_is_down_and_its_dead_slots_are_counted(tmp_path: Path) -> None:
    """Slots planned after the last row have no row; the process is named, and so is how long it is gone."""
    collector = Collector(tmp_path)
    asyncio.run(_until_death(collector, lived=20, planned_moments=60))
    report = at(tmp_path, 40)
    one = only(report)
    assert (report.state, report.exit_code) == ("down", 2)
    assert [finding.name for finding in one.findings] == ["not_running"]
    assert f"of run {collector.run_id} is gone without a word" in one.findings[0].text
    minutes = one.spans["5 min"]
    # Slots up to a timeout (5 s) and a second before the look have their rows, or never will.
    assert (minutes.planned, minutes.answered, minutes.no_row) == (2 * 34, 2 * 20, 2 * 14)
    assert [(token.cause, token.seconds) for token in one.tokens] == [("process_down", 20.65)] * 2
    (gap,) = one.vitals.gaps
    assert (gap.cause, gap.tokens, gap.from_ns) == ("process_down", 2, START_NS + 20 * NS + PHASE_NS)


def test_token_without_a_row_is_told_by_its_id(tmp_path: Path) -> None:
    """Windows that began after the death have tokens whose outcome no row tells: each keeps its own line."""
    asyncio.run(_until_death(Collector(tmp_path), lived=0, planned_moments=60))
    report = at(tmp_path, 40)
    shown = [line for line in text.lines(report) if "last book" in line]
    assert len(set(shown)) == len(only(report).tokens) == 2
    for line, token in zip(shown, only(report).tokens, strict=True):
        assert line.endswith(f" token …{token.token_id[-6:]}: none within the hour (process_down)")


async def _until_death(collector: Collector, *, lived: int, planned_moments: int) -> None:
    """Poll for a while of a longer plan, and end as a killed process does."""
    from tests.archives import DOWN, UP, plan

    collector.open()
    collector.write(event("run_start", START_NS, seconds=None))
    collector.write(plan(planned_moments))
    for moment in range(lived):
        collector.clock.now_ns = START_NS + moment * NS + PHASE_NS + 50_000_000
        for token_id in (UP, DOWN):
            collector.write(poll(token_id, moment))
        await collector.tick()
    collector.abandon()


def test_running_collector_and_an_outage(tmp_path: Path) -> None:
    """While the lock is held the same archive is judged by its slots: gap, cause, coverage, refusals."""

    def refused(item: PollItem) -> PollItem:
        if item.due_ns - PHASE_NS - START_NS >= 20 * NS:
            item.result, item.reason = "connection", "ConnectionRefusedError"
        return item

    collector = Collector(tmp_path)
    asyncio.run(collect(collector, 60, stop=False, change=refused))
    try:
        report = at(tmp_path, 60)
    finally:
        collector.abandon()
    one = only(report)
    assert report.exit_code == 1
    assert {finding.name for finding in one.findings} == {"coverage", "gap"}
    (gap,) = one.vitals.gaps
    assert (gap.cause, gap.seconds, gap.tokens) == ("connection/ConnectionRefusedError", 40.0, 2)
    assert one.vitals.uptime_seconds == 60
    assert one.lateness_p50_ms == one.vitals.lateness_p99_ms == 1.0
    shown = "\n".join(text.lines(report))
    assert "2 tokens without an answer for 40 s: connection/ConnectionRefusedError" in shown


def test_heads_are_those_of_the_chain(growing: Path) -> None:
    """Each feed's head is the digest that the next seal will hold; a feed without a seal has none."""
    heads = open_feeds(growing, "c0")
    assert only(at(growing, 45)).heads == {feed: head.manifest_sha256 for feed, head in heads.items()}
    assert heads[BOOKS].manifest_sha256 is not None
    assert heads[MARKETS].manifest_sha256 is None


def test_heads_of_a_collector_that_is_long_silent(growing: Path) -> None:
    """A year later nothing is recent any more, and the heads are still found."""
    late, soon = (only(at(growing, seconds)) for seconds in (365 * 86_400, 45))
    assert late.heads == soon.heads
    assert late.spans["24 h"].coverage is None
    assert "no data yet: no slot was planned" in "\n".join(text.lines(at(growing, 365 * 86_400)))


def test_archive_of_which_everything_was_purged(growing: Path, tmp_path: Path) -> None:
    """With manifests alone the day is still counted, nothing waits for an upload, and the heads stay."""
    root = tmp_path / "purged"
    shutil.copytree(growing, root)
    shutil.rmtree(root / "raw")
    report = at(root, 45)
    one = only(report)
    sealed = sum(item.facts.rows for item in sealed_segments(root, BOOKS, "", ["c0"]).recent["c0"])
    day = one.spans["24 h"]
    assert (day.planned, sum(day.results.values())) == (sealed, sealed)
    assert one.heads == only(at(growing, 45)).heads
    assert (report.offload.segments, report.state, one.unreadable) == (0, "down", [])


def test_copied_archive_without_state(growing: Path, tmp_path: Path) -> None:
    """``raw/`` and ``manifests/`` alone are enough to look at."""
    root = tmp_path / "copy"
    shutil.copytree(growing, root, ignore=shutil.ignore_patterns("state"))
    one = only(at(root, 45))
    assert (one.pid, one.state) == (None, "down")
    assert one.spans["24 h"].answered == only(at(growing, 45)).spans["24 h"].answered


def test_root_without_an_archive(tmp_path: Path) -> None:
    """No folder and an empty one are no data yet, in one line, and exit code 2."""
    for root in (tmp_path / "absent", tmp_path):
        with pytest.raises(ArchiveError, match="no data yet"):
            look(root, ManualClock())
    done = status(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def status(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the operator's command."""
    command = [sys.executable, "scripts/status.py", str(root), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)


def test_run_that_has_only_begun(tmp_path: Path) -> None:
    """A collector without a row yet is degraded for two minutes, with words for it, and then for good."""
    collector = Collector(tmp_path)
    collector.open()
    try:
        for seconds, name in ((5, "starting"), (300, "nothing_planned")):
            report = at(tmp_path, seconds)
            assert [finding.name for finding in only(report).findings] == [name]
            assert "no data yet: no slot was planned" in "\n".join(text.lines(report))
    finally:
        collector.abandon()


def test_clock_is_told_and_judged(tmp_path: Path) -> None:
    """The newest reading shows; a clock that nobody keeps is a note, not a fault."""
    collector = Collector(tmp_path)
    asyncio.run(collect(collector, 20, stop=False))
    try:
        assert only(at(tmp_path, 20)).clock is None
        for kept in (True, False):
            quality = {"state": "ok", "synchronised": kept, "max_error_ns": 1_200_000, "offset_ns": 0}
            collector.write(event("clock_quality", START_NS + 20 * NS, **quality))
            report = at(tmp_path, 20)
            assert only(report).state == "healthy"
            assert [f.name for f in only(report).findings] == ([] if kept else ["clock"])
            shown = "\n".join(text.lines(report))
            assert ("error at most 1.2 ms" in shown, "NOT synchronised" in shown) == (kept, not kept)
    finally:
        collector.abandon()


def test_several_collectors_and_a_retired_one(tmp_path: Path) -> None:
    """The worst collector gives the state; one that ended as asked a day ago is not judged beside others."""
    asyncio.run(collect(Collector(tmp_path, run_id="old", collector_id="c1"), 5))
    clock = ManualClock(START_NS + 100_000 * NS)
    running = Collector(tmp_path, run_id="new", collector_id="c2", clock=clock)
    asyncio.run(collect(running, 0, stop=False))
    try:
        report = at(tmp_path, 100_010)
        assert [(one.collector_id, one.retired) for one in report.collectors] == [("c1", True), ("c2", False)]
        assert report.state == "degraded"
        asyncio.run(collect(Collector(tmp_path, run_id="third", collector_id="c3", clock=clock), 5))
        report = at(tmp_path, 100_020)
        assert [one.state for one in report.collectors] == ["down", "degraded", "down"]
        assert [one.retired for one in report.collectors] == [True, False, False]
        assert report.state == "down"
        assert "run third has ended (finished)" in report.collectors[2].findings[0].text
    finally:
        running.abandon()


def test_offload_counts_what_is_not_proven(growing: Path, tmp_path: Path) -> None:
    """Without an index every sealed segment waits; with one, those that it does not name."""
    root = tmp_path / "archive"
    shutil.copytree(growing, root)
    sealed = sorted(root.rglob("*.jsonl.gz"))
    assert (at(root, 45).offload.segments, at(root, 45).offload.in_use) == (len(sealed), False)
    proven = [layout.relative(root, path) for path in sealed[1:]]
    index = {"schema": "orderbooks.offloaded/1", "files": {file: {"sha256": "ab"} for file in proven}}
    layout.offload_index(root).write_bytes(msgspec.json.encode(index))
    offload = at(root, 45).offload
    assert (offload.segments, offload.bytes, offload.in_use) == (1, sealed[0].stat().st_size, True)
    layout.offload_index(root).write_text("[]")
    with pytest.raises(ArchiveError, match="index of offloaded files"):
        at(root, 45)


def test_forecast_needs_an_hour_and_then_counts_the_days(tmp_path: Path) -> None:
    """Days left are the room above ``min_free_bytes`` over the sealed bytes of a day, all feeds."""
    collector = Collector(tmp_path, settings=Archive(fsync_seconds=1, block_seconds=60, rotate_seconds=3600))
    asyncio.run(collect(collector, 5))
    disk = at(tmp_path, 45).disk
    assert (disk.bytes_per_day, disk.days_left) == (None, None)
    later = Collector(tmp_path, run_id="run2", clock=ManualClock(START_NS + 2 * 3600 * NS))
    asyncio.run(collect(later, 5))
    disk = at(tmp_path, 2 * 3600 + 45).disk
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl.gz"))
    assert disk.bytes_per_day == pytest.approx(size * 12, rel=0.01)
    assert disk.days_left == pytest.approx(disk.free_bytes / (disk.bytes_per_day or 1))


def test_only_the_newest_rows_of_a_huge_open_file_are_read(
    growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the tail is read from a member on, and spans that reach further are not counted."""
    part = next(growing.rglob("*books*.jsonl.gz.part"))
    monkeypatch.setattr(status_rows, "MOST_BYTES", part.stat().st_size - 1)
    one = only(at(growing, 60))
    assert one.spans["24 h"].answered is None
    assert one.spans["24 h"].coverage is None
    assert "not counted" in "\n".join(text.lines(at(growing, 60)))


def test_torn_and_foreign_files_are_no_reason_to_fail(growing: Path, tmp_path: Path) -> None:
    """A cut member, a cut line and a broken manifest are left out or named; the rest is counted."""
    root = tmp_path / "archive"
    shutil.copytree(growing, root)
    before = only(at(root, 45)).spans["24 h"]
    part, journal = next(root.rglob("*books*.part")), next(root.rglob("*books*.journal"))
    with part.open("ab") as file:
        file.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01")
    with journal.open("ab") as file:
        file.write(b'{"schema":"orderbooks.poll/1","seq":99999,"due_')
    (part.parent / "notes.txt").write_text("mine")
    assert only(at(root, 45)).spans["24 h"] == before
    broken = next((root / "manifests" / "polymarket" / "books").rglob("*.json"))
    broken.write_text("{}")
    one = only(at(root, 45))
    (said,) = one.unreadable
    assert broken.name in said


PLANS = st.lists(
    st.builds(
        Plan,
        condition_id=st.sampled_from(["a", "b"]),
        tokens=st.just(["1", "2"]),
        from_ns=st.integers(0, 60),
        until_ns=st.integers(0, 60),
        interval_ns=st.integers(1, 7),
        phase_ns=st.integers(0, 6),
    ),
    max_size=4,
)


@given(plans=PLANS, low=st.integers(0, 60), length=st.integers(0, 60))
def test_planned_slots_by_counting_them(plans: list[Plan], low: int, length: int) -> None:
    """At any instant the latest plan of a market that has begun holds; slots and bare time follow from it."""
    kept = settled(plans)

    def slots_due(now: int) -> int:
        due = 0
        for condition_id in ("a", "b"):
            begun = [plan for plan in plans if plan.condition_id == condition_id and plan.from_ns <= now]
            latest: Any = max(begun, key=lambda plan: plan.from_ns, default=None)
            rivals = [plan for plan in begun if latest is not None and plan.from_ns == latest.from_ns]
            holds = rivals[-1] if rivals else None
            if holds is not None and now < holds.until_ns:
                due += 2 * ((now - holds.phase_ns) % holds.interval_ns == 0)
        return due

    assert planned(kept, low, low + length) == sum(map(slots_due, range(low, low + length)))
    bare = sum(not any(p.from_ns <= now < p.until_ns for p in kept) for now in range(low, low + length))
    assert unplanned_ns(kept, low, low + length) == bare
