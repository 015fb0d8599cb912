"""The main job from end to end: real collector, real sandbox exchange, real files."""

from __future__ import annotations

import hashlib
import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.items import PollItem
from orderbooks_spider.polymarket.book import book_hash_state
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector, finish
from tests.payloads import recorded
from tests.slots import planned_slots, recorded_slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxChild]:
    """One exchange without faults for the tests that need none."""
    with SandboxChild.start() as child:
        yield child


def served_bodies(log: Path) -> Counter[str]:
    """SHA-256 of every book that the exchange's own log says it sent."""
    digests: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["path"] == "/book" and entry["status"] == 200:
            digests[entry["sha256"]] += 1
        elif entry["path"] == "/books" and entry["status"] == 200:
            digests.update(digest for _, digest in entry["sha256"])
    return digests


def stored_bodies(rows: list[dict[str, Any]]) -> Counter[str]:
    """SHA-256 of every stored text."""
    return Counter(hashlib.sha256(row["body"].encode()).hexdigest() for row in rows if row["result"] == "ok")


@pytest.mark.parametrize("mode", ["book", "books"])
def test_run_records_every_planned_slot_once(mode: str, sandbox: SandboxChild, tmp_path: Path) -> None:
    """Every planned slot of a quiet run is one answered row, and the archive verifies."""
    collector = Collector(tmp_path, sandbox.url, {"polling": {"mode": mode}})
    ended = collector.run(4)
    assert ended.returncode == 0, ended.stderr
    assert recorded_slots(collector) == planned_slots(collector)
    assert sum(recorded_slots(collector).values()) > 20
    assert set(collector.results()) == {("ok", None)}
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_rows_have_the_contract_keys_in_order(sandbox: SandboxChild, tmp_path: Path) -> None:
    """A row on disk has exactly the documented keys, in the documented order."""
    collector = Collector(tmp_path, sandbox.url)
    assert collector.run(2).returncode == 0
    for row in collector.rows("books"):
        assert list(row) == [field for field in PollItem.__dataclass_fields__]  # noqa: C416 - order matters
        assert row["environment"] == "sandbox"
        assert row["due_ns"] <= row["sent_ns"] < row["received_ns"]


@pytest.mark.parametrize("mode", ["book", "books"])
def test_stored_bodies_are_the_served_bytes(mode: str, tmp_path: Path) -> None:
    """Each text in the archive is, byte for byte, one that the exchange sent; none is missing."""
    log = tmp_path / "served.jsonl"
    collector = Collector(tmp_path, "", {"polling": {"mode": mode}})
    with SandboxChild.start(["--served-log", str(log)]) as child:
        collector.url = child.url
        assert collector.run(3).returncode == 0
    rows = collector.rows("books")
    served, stored = served_bodies(log), stored_bodies(rows)
    assert stored - served == Counter()
    in_flight = sum(row["reason"] == "shutdown" for row in rows)
    assert (served - stored).total() <= in_flight
    assert {book_hash_state(row["body"]) for row in rows if row["result"] == "ok"} == {"agrees"}


def test_recorded_books_come_through_unchanged(tmp_path: Path) -> None:
    """Replayed real books are archived byte for byte, and every venue hash agrees with its own text."""
    recording = recorded("derived/rest_book_replay_btc-updown-5m-1776328500.jsonl.gz")
    log = tmp_path / "served.jsonl"
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--replay", str(recording), "--served-log", str(log)]) as child:
        collector.url = child.url
        ended = collector.run(8)
        assert ended.returncode == 0, ended.stderr
    rows = [row for row in collector.rows("books") if row["result"] == "ok"]
    assert len(rows) > 20
    assert stored_bodies(rows) - served_bodies(log) == Counter()
    assert {book_hash_state(row["body"]) for row in rows} == {"agrees"}
    assert collector.verify().returncode == 0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_cleanly_though_the_venue_hangs(sign: signal.Signals, tmp_path: Path) -> None:
    """A stop signal does not wait for a silent venue: open polls get their row, files are sealed."""
    plan = tmp_path / "faults.yaml"
    plan.write_text("- {match: {path: /book}, fault: {kind: hang}}\n", encoding="utf-8")
    # Were open polls waited for, this would take an hour.
    collector = Collector(tmp_path, "", {"polling": {"timeout_seconds": 3600}})
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        ended = collector.run_until("books", 12, sign)
    assert ended.returncode == 0, ended.stderr
    assert set(collector.results()) == {("skipped", "in_flight"), ("skipped", "shutdown")}
    assert recorded_slots(collector) == planned_slots(collector)
    assert not list(collector.root.rglob("*.journal"))
    assert collector.verify().returncode == 0


@pytest.mark.parametrize("early", [True, False])
def test_signals_at_bad_moments_lose_nothing(early: bool, sandbox: SandboxChild, tmp_path: Path) -> None:
    """A stop while the archive is being opened, or asked for twice, still seals every file."""
    collector = Collector(tmp_path, sandbox.url)
    process = collector.start()
    if early:
        while not collector.root.exists():
            assert process.poll() is None
    else:
        collector.wait_for_rows(process, "books", 5)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    assert not list(collector.root.rglob("*.journal"))
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout


def test_killed_run_is_recovered_by_the_next(sandbox: SandboxChild, tmp_path: Path) -> None:
    """After SIGKILL the next start seals what was left, says so, and the archive verifies."""
    collector = Collector(tmp_path, sandbox.url)
    ended = collector.run_until("books", 20, signal.SIGKILL)
    assert ended.returncode == -signal.SIGKILL
    before = set(collector.lines("books"))
    assert collector.run(2).returncode == 0
    after = list(collector.lines("books"))
    assert before <= set(after)
    assert len(after) == len(set(after))
    assert collector.events("recovered")
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout


def test_run_begins_though_older_events_were_moved_away(sandbox: SandboxChild, tmp_path: Path) -> None:
    """Without the rows that say what is known a run looks back from the last slot, and says so."""
    collector = Collector(tmp_path, sandbox.url)
    assert collector.run(2).returncode == 0
    (discovered, *_) = collector.events("discovered")
    assert set(discovered["complete_until_ns"]) == {"5m"}
    for path in (collector.root / "raw/polymarket/events").rglob("*.gz"):
        path.unlink()
    ended = collector.run(2)
    assert ended.returncode == 0, ended.stderr
    assert "discovery goes on from the last recorded slot" in ended.stderr
    assert [row["window"] for row in collector.events("looked_back")] == ["5m"]


def test_second_collector_is_refused_with_the_pid(sandbox: SandboxChild, tmp_path: Path) -> None:
    """A second writer on the same root ends with 75 and one line that names the first one's pid."""
    collector = Collector(tmp_path, sandbox.url)
    first = collector.start()
    try:
        collector.wait_for_rows(first, "books", 1)
        second = collector.run(1)
        assert second.returncode == 75
        (line,) = [line for line in second.stderr.splitlines() if "ERROR" in line]
        assert str(first.pid) in line
    finally:
        first.terminate()
        finish(first)
    assert collector.verify().returncode == 0


def test_reset_connection_is_seen_and_not_repeated(tmp_path: Path) -> None:
    """A request whose kept-alive connection is reset is one failed row; the venue never sees it twice."""
    plan, log = tmp_path / "faults.yaml", tmp_path / "served.jsonl"
    plan.write_text(
        "- {match: {path: /book}, every: 5, fault: {kind: reset_after_reuse}}\n", encoding="utf-8"
    )
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--faults", str(plan), "--served-log", str(log)]) as child:
        collector.url = child.url
        assert collector.run(4).returncode == 0
    results = collector.results()
    failed = sum(count for (result, _), count in results.items() if result == "connection")
    assert failed > 0
    answered = [line for line in log.read_text(encoding="utf-8").splitlines() if '"/book"' in line]
    sent = sum(row["sent_ns"] is not None for row in collector.rows("books"))
    assert len(answered) <= sent
    assert results["ok", None] == sum(stored_bodies(collector.rows("books")).values())


def test_refusals_pause_the_host_and_then_go_on(tmp_path: Path) -> None:
    """A 429 with Retry-After is one throttled row, skips while it lasts, an event, and polls again after."""
    plan = tmp_path / "faults.yaml"
    plan.write_text(
        "- match: {path: /book}\n  times: 1\n"
        "  fault: {kind: status, status: 429, retry_after: {seconds: 2}}\n",
        encoding="utf-8",
    )
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        assert collector.run(6).returncode == 0
    results = collector.results()
    assert results["throttled", "venue_error"] == 1
    assert results["skipped", "paused"] > 0
    assert results["ok", None] > 0
    (event,) = collector.events("throttled")
    assert event["retry_after"] == "2"
    assert recorded_slots(collector) == planned_slots(collector)


def test_over_full_universe_skips_with_rows(sandbox: SandboxChild, tmp_path: Path) -> None:
    """What the budget does not allow is skipped with its row, and every token still gets its share."""
    collector = Collector(
        tmp_path, sandbox.url, {"polling": {"budget_fraction": 0.02, "interval_seconds": 0.1}}
    )
    assert collector.run(5).returncode == 0
    results = collector.results()
    assert results["skipped", "budget"] > 0
    assert results["ok", None] <= 30
    answered = Counter(row["token_id"] for row in collector.rows("books") if row["result"] == "ok")
    planned = {token_id for token_id, _ in planned_slots(collector)}
    assert set(answered) == planned
    assert recorded_slots(collector) == planned_slots(collector)


def test_stored_feed_replaces_discovery(sandbox: SandboxChild, tmp_path: Path) -> None:
    """With a stored markets feed the run polls those markets and asks Gamma nothing."""
    first = Collector(tmp_path, sandbox.url)
    assert first.run(2).returncode == 0
    (feed,) = (first.root / "raw").rglob("polymarket_markets_*.jsonl.gz")
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    second = Collector(second_folder, sandbox.url)
    ended = second.crawl("-a", "seconds=3", "-a", f"markets={feed}")
    assert ended.returncode == 0, ended.stderr
    assert second.results()["ok", None] > 0
    assert second.rows("markets") == []


def test_bodies_that_are_not_text_are_kept_as_base64(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are stored whole, as base64, and say so."""
    plan = tmp_path / "faults.yaml"
    plan.write_text("- {match: {path: /book}, fault: {kind: not_utf8}}\n", encoding="utf-8")
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        assert collector.run(2).returncode == 0
    row = next(row for row in collector.rows("books") if row["result"] == "invalid_body")
    assert row["body_encoding"] == "base64"
    with pytest.raises(UnicodeDecodeError):
        msgspec.convert(row["body"], bytes, strict=False).decode("utf-8")
