"""Status beside real collectors: well, killed, cut off from the sandbox exchange, short of room."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.status.report import ArchiveReport
from tests.collector import PATIENCE_SECONDS, PROJECT, Collector, finish
from tests.test_health import SECRET, watcher
from tests.test_spider_outage import answer_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUICK: dict[str, dict[str, Any]] = {"polling": {"timeout_seconds": 1}}
"""A slot counts once its timeout has passed."""
OUTAGE = "- {match: {path: /book}, fault: {kind: edge_html, status: 502}}"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxChild]:
    """One exchange for all tests of this file."""
    with SandboxChild.start() as child:
        yield child


def status(collector: Collector) -> tuple[int, ArchiveReport]:
    """The command's exit code and what it said; until a first run has begun, the code alone counts."""
    command = [sys.executable, "scripts/status.py", str(collector.root), "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if not done.stdout:
        assert "no data yet" in done.stderr
        time.sleep(0.2)
        return status(collector)
    report = msgspec.json.decode(done.stdout, type=ArchiveReport)
    assert done.returncode == report.exit_code
    return done.returncode, report


def wait_for(
    collector: Collector, process: subprocess.Popen[str], wanted: Callable[[int, ArchiveReport], bool]
) -> ArchiveReport:
    """Ask until *wanted*, while the collector lives."""
    report = None
    for _ in range(3 * PATIENCE_SECONDS):
        code, report = status(collector)
        if wanted(code, report):
            return report
        assert process.poll() is None, finish(process).stderr
        time.sleep(0.2)
    process.kill()
    raise AssertionError(f"{report}\n{finish(process).stderr}")


def names(report: ArchiveReport) -> set[str]:
    """The findings of the root and its one collector, but for the note that this host's clock may earn."""
    (collector,) = report.collectors
    return {finding.name for finding in (*report.findings, *collector.findings)} - {"clock"}


def test_healthy_then_killed_then_back(sandbox: SandboxChild, tmp_path: Path) -> None:
    """Well while it runs, down after SIGKILL with the dead pid, and then just the dead slots are missing."""
    collector = Collector(tmp_path, sandbox.url, QUICK | {"archive": {"rotate_seconds": 2}})
    process = collector.start()
    report = wait_for(collector, process, lambda code, _: code == 0)
    (one,) = report.collectors
    assert (one.pid, one.environment, names(report)) == (process.pid, "sandbox", set())
    assert one.spans["5 min"].coverage == one.spans["24 h"].coverage == 1.0
    assert all(token.seconds is not None and token.cause is None for token in one.tokens)
    process.kill()
    finish(process)
    code, report = status(collector)
    (one,) = report.collectors
    assert (code, [finding.name for finding in one.findings]) == (2, ["not_running"])
    assert f"pid {process.pid} of run {one.run_id} is gone without a word" in one.findings[0].text
    process = collector.start()
    first_run = one.run_id
    report = wait_for(collector, process, lambda _, seen: _settled(seen, first_run))
    (one,) = report.collectors
    assert one.spans["24 h"].no_row == one.spans["5 min"].no_row == _dead_slots(collector)
    assert one.spans["5 min"].planned == (one.spans["5 min"].answered or 0) + _dead_slots(collector)
    process.send_signal(signal.SIGTERM)
    assert finish(process).returncode == 0
    code, report = status(collector)
    assert code == 2
    assert "has ended (shutdown)" in report.collectors[0].findings[0].text


@pytest.mark.slow
def test_ping_of_a_healthy_collector(sandbox: SandboxChild, tmp_path: Path) -> None:
    """Once healthy it pings with the heads of its chains, and its URL is in no file and no log line."""
    with watcher() as outside:
        ping = {"ping_url": f"{outside.url}/{SECRET}"}
        collector = Collector(tmp_path, sandbox.url, {"archive": {"rotate_seconds": 2}, "health": ping})
        said = collector.run(14)
    assert said.returncode == 0, said.stderr
    (asked,) = outside.asked
    pairs = [pair.partition("=") for pair in asked.removeprefix(f"/{SECRET}?").split("&")]
    manifests = (collector.root / "manifests" / "polymarket").rglob("*.json")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests}
    assert {"books/c0", "events/c0"} <= {chain for chain, _, _ in pairs}
    assert {sha256 for _, _, sha256 in pairs} <= digests
    assert SECRET not in said.stdout + said.stderr
    for path in collector.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert SECRET.encode() not in (gzip.decompress(content) if path.suffix == ".gz" else content), path
    assert collector.verify().returncode == 0


def _settled(report: ArchiveReport, first_run: str | None) -> bool:
    """Whether a second run has its slots, and they count already."""
    (one,) = report.collectors
    polled = bool(one.tokens) and all(token.cause is None for token in one.tokens)
    return one.run_id != first_run and polled and (one.vitals.uptime_seconds or 0) > 6


def _dead_slots(collector: Collector) -> int:
    """Grid points between the last row of the first run and the first of the second, token by token."""
    rows = collector.rows("books")
    first_run = min(rows, key=lambda row: row["due_ns"])["run_id"]
    dead = 0
    for token_id in {row["token_id"] for row in rows}:
        own = [row for row in rows if row["token_id"] == token_id]
        last = max((row["due_ns"] for row in own if row["run_id"] == first_run), default=None)
        first = min((row["due_ns"] for row in own if row["run_id"] != first_run), default=None)
        if last is not None and first is not None:
            dead += (first - last) // (NS // 2) - 1
    return dead


def test_venue_outage_is_a_gap_with_its_cause(sandbox: SandboxChild, tmp_path: Path) -> None:
    """Without the venue the living collector is degraded, never down, and the gap closes with the outage."""
    collector = Collector(tmp_path, sandbox.url, QUICK)
    process = collector.start()
    try:
        wait_for(collector, process, lambda code, _: code == 0)
        answer_with(sandbox, OUTAGE)
        report = wait_for(
            collector, process, lambda _, seen: any(gap.tokens == 4 for gap in seen.collectors[0].vitals.gaps)
        )
        (one,) = report.collectors
        (gap,) = one.vitals.gaps
        assert (report.exit_code, gap.cause, gap.tokens) == (1, "http_error/edge_html", 4)
        assert names(report) == {"gap", "coverage"}
        assert all(token.cause == "http_error/edge_html" for token in one.tokens)
        # A market whose polling began in the outage has no book yet.
        books = [parse_utc(token.last_book_utc) for token in one.tokens if token.last_book_utc is not None]
        assert max(books) < gap.from_ns
        answer_with(sandbox, "[]")
        report = wait_for(collector, process, lambda _, seen: not seen.collectors[0].vitals.gaps)
        assert names(report) == {"coverage"}
    finally:
        answer_with(sandbox, "[]")
        process.send_signal(signal.SIGTERM)
        assert finish(process).returncode == 0


@pytest.mark.slow
def test_outage_is_over_when_the_minutes_are_good_again(tmp_path: Path) -> None:
    """After the outage exit code 0 comes back, and the log has one line for each change."""
    collector = Collector(tmp_path, "", QUICK)
    with SandboxChild.start() as venue:
        collector.url = venue.url
        process = collector.start()
        wait_for(collector, process, lambda code, _: code == 0)
        time.sleep(12)  # the collector judges itself every ten seconds
        answer_with(venue, OUTAGE)
        wait_for(collector, process, lambda _, seen: bool(seen.collectors[0].vitals.gaps))
        time.sleep(12)
        answer_with(venue, "[]")
        wait_for(collector, process, lambda code, _: code == 0)
        time.sleep(12)
        process.send_signal(signal.SIGTERM)
        said = finish(process).stderr
    changes = [line.partition("health: ")[2] for line in said.splitlines() if "health: " in line]
    assert [change.partition(":")[0] for change in changes] == [
        "healthy", "healthy -> degraded", "degraded -> healthy"
    ]  # fmt: skip


def test_disk_nearly_full_is_degraded_and_silent(sandbox: SandboxChild, tmp_path: Path) -> None:
    """Close to ``min_free_bytes`` the collector polls on, says so, and sends no ping."""
    least = round(shutil.disk_usage(tmp_path).free / 1.2)
    with watcher() as outside:
        sections = QUICK | {"archive": {"min_free_bytes": least}, "health": {"ping_url": outside.url}}
        collector = Collector(tmp_path, sandbox.url, sections)
        process = collector.start()
        report = wait_for(collector, process, lambda _, seen: names(seen) == {"disk_space"})
        assert (report.exit_code, report.disk.min_free_bytes) == (1, least)
        report = wait_for(collector, process, lambda _, seen: bool(seen.collectors[0].vitals.answered > 20))
        assert report.collectors[0].vitals.problems == {}
        process.send_signal(signal.SIGTERM)
        said = finish(process)
    assert (said.returncode, outside.asked) == (0, [])
    assert "health: degraded: " in said.stderr
