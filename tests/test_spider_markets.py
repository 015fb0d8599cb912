"""One discovery pass from end to end, and the files that it leaves."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.polymarket.market import from_record
from orderbooks_spider.polymarket.windows import SERIES, expected_slugs
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS = {"discovery": {"windows": list(SERIES)}}


def test_pass_lists_every_window_of_the_horizon(tmp_path: Path) -> None:
    """The list holds every window that the calendar demands for the next two hours, with both tokens."""
    collector = Collector(tmp_path, "sandbox", WINDOWS)
    now_ns = SystemClock().wall_ns()
    ended = collector.crawl(spider="polymarket_markets")
    assert ended.returncode == 0, ended.stderr
    folder = collector.root / "discovery"
    listed = json.loads((folder / "polymarket_btc_markets_latest.json").read_text(encoding="utf-8"))
    assert listed["environment"] == "sandbox"
    slugs = {record["market_slug"] for record in listed["markets"]}
    for window in ("5m", "15m", "4h"):
        assert set(expected_slugs(window, now_ns + 60 * NS, now_ns + 7000 * NS)) <= slugs
    assert {record["window"] for record in listed["markets"]} == set(SERIES)
    for record in listed["markets"]:
        assert record["outcomes"] == ["Up", "Down"]
        assert len(set(record["token_ids"])) == 2
        assert record["fetched_at_utc"].endswith("Z")


def test_manifest_of_the_list_holds_its_digests(tmp_path: Path) -> None:
    """The discovery manifest names the other two files with size and SHA-256, and counts the markets."""
    collector = Collector(tmp_path, "sandbox", WINDOWS)
    assert collector.crawl(spider="polymarket_markets").returncode == 0
    folder = collector.root / "discovery"
    manifest = json.loads((folder / "polymarket_btc_markets_manifest.json").read_text(encoding="utf-8"))
    assert {entry["file"] for entry in manifest["files"]} == {
        "polymarket_btc_markets_latest.json",
        "polymarket_btc_markets.md",
    }
    for entry in manifest["files"]:
        data = (folder / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest["markets"] == sum(manifest["by_window"].values()) > 20


def test_records_name_the_answers_they_were_read_from(tmp_path: Path) -> None:
    """Each market row points by request id to a stored raw answer that holds its slug."""
    collector = Collector(tmp_path, "sandbox")
    assert collector.crawl(spider="polymarket_markets").returncode == 0
    rows = collector.rows("markets")
    answers = {row["request_id"]: row["body"] for row in rows if row["kind"] == "answer"}
    markets = [row for row in rows if row["kind"] == "market"]
    assert markets
    for row in markets:
        assert f'"{row["market_slug"]}"' in answers[row["request_id"]]
        assert from_record(row["market"]).condition_id == row["condition_id"]
    assert collector.verify().returncode == 0


@pytest.mark.parametrize("script", [True, False])
def test_silent_venue_leaves_the_older_list(script: bool, tmp_path: Path) -> None:
    """A pass that reaches nobody keeps the list of the last good one."""
    with SandboxChild.start() as child:
        collector = Collector(tmp_path, child.url)
        assert collector.crawl(spider="polymarket_markets").returncode == 0
    path = collector.root / "discovery" / "polymarket_btc_markets_latest.json"
    before = path.read_bytes()
    if script:
        ended = collector.discover()
        assert ended.returncode == 70
        assert "gave no usable answer" in ended.stderr
    else:
        collector.crawl(spider="polymarket_markets")
    assert path.read_bytes() == before
