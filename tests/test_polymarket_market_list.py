from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.items import MarketItem, PollItem
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.polymarket.endpoints import Ask
from orderbooks_spider.polymarket.gamma import Pass, Refusal, Sighting
from orderbooks_spider.polymarket.market import Market, read_market
from orderbooks_spider.polymarket.market_file import read_market_file
from orderbooks_spider.polymarket.market_list import (
    LIST_FILE,
    MANIFEST_FILE,
    TABLE_FILE,
    Origin,
    artefacts,
    status_of,
)

if TYPE_CHECKING:
    from pathlib import Path

START = 1_776_323_400
GAMMA = "https://gamma-api.polymarket.com"
ORIGIN = Origin("run-1", "0.1.0", "sandbox", GAMMA, (START + 10) * NS)


def market(start: int = START, **changes: Any) -> Market:
    """A five-minute market, read as Gamma shows it."""
    raw = {
        "id": "1",
        "slug": f"btc-updown-5m-{start}",
        "question": "Bitcoin Up or Down",
        "conditionId": f"0x{start:064x}",
        "eventStartTime": iso_utc(start * NS),
        "endDate": iso_utc((start + 300) * NS),
        "outcomes": '["Up", "Down"]',
        "clobTokenIds": f'["{start}0000000001", "{start}0000000002"]',
        "closed": False,
    }
    return read_market(raw | changes)


def sighting(seen: Market, received_ns: int | None = None) -> Sighting:
    """A market as a listing showed it."""
    ask = Ask(f"{GAMMA}/events/keyset")
    return Sighting(seen, Answer(ask=ask, request_id="r", status=200, received_ns=received_ns))


def row(seen: Market, **changes: Any) -> bytes:
    """A row of the markets feed."""
    item = MarketItem(kind="market", observed_ns=1, market=seen.record())
    for key, value in changes.items():
        setattr(item, key, value)
    return msgspec.json.encode(item)


CLOSED = market(closed=True)
RESOLVED = market(closed=True, outcomePrices='["0", "1"]')


@pytest.mark.parametrize(
    ("seen", "seconds", "status"),
    [
        (market(), -1, "upcoming"),
        (market(), 0, "open"),
        (market(), 299, "open"),
        (market(), 300, "ended"),
        (CLOSED, 100, "closed"),
        (RESOLVED, 100, "resolved"),
    ],
)
def test_status_by_time_and_flags(seen: Market, seconds: int, status: str) -> None:
    """A market's status follows the clock until the venue closes it."""
    assert status_of(seen, (START + seconds) * NS) == status


def test_list_holds_each_market_once_in_time_order() -> None:
    """The list has the last state of each market, by window start, with source and time of its answer."""
    later, first = market(START + 300), market()
    found = Pass([sighting(later), sighting(first), sighting(RESOLVED, (START + 5) * NS)])
    listed = json.loads(artefacts(found, ORIGIN)[LIST_FILE])
    assert [(each["market_slug"], each["status"]) for each in listed["markets"]] == [
        (RESOLVED.market_slug, "resolved"),
        (later.market_slug, "upcoming"),
    ]
    assert [each["fetched_at_utc"] for each in listed["markets"]] == [
        "2026-04-16T07:10:05.000000Z",
        "2026-04-16T07:10:10.000000Z",
    ]
    assert {each["source"] for each in listed["markets"]} == {f"{GAMMA}/events/keyset"}
    assert (listed["schema"], listed["environment"]) == ("orderbooks.discovery/1", "sandbox")


def test_manifest_proves_and_counts() -> None:
    """The manifest has the digest of each other file, what was counted, and every refusal with its reason."""
    refused = [Refusal("odd", "odd: outcomes: ...", None)]
    found = Pass([sighting(market()), sighting(RESOLVED), sighting(market(START + 300))], refused, 7, 2)
    files = artefacts(found, ORIGIN)
    manifest = json.loads(files.pop(MANIFEST_FILE))
    assert sorted(files) == sorted([LIST_FILE, TABLE_FILE])
    assert manifest["files"] == [
        {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    counted = ("requests", "requests_failed", "markets", "by_window", "by_status")
    assert [manifest[key] for key in counted] == [7, 2, 2, {"5m": 2}, {"resolved": 1, "upcoming": 1}]
    assert manifest["refused"] == [{"market_slug": "odd", "reason": "odd: outcomes: ..."}]


def test_same_findings_give_the_same_bytes() -> None:
    """Two passes that found the same write the same files, in whatever order they found it."""
    sightings = [sighting(market(START + 300 * number)) for number in range(4)]
    assert artefacts(Pass(sightings), ORIGIN) == artefacts(Pass(sightings[::-1]), ORIGIN)


def test_table_is_for_people() -> None:
    """The table has a line for each market and says when, where and by whom it was listed."""
    table = artefacts(Pass([sighting(market()), sighting(market(START + 300))]), ORIGIN)[TABLE_FILE].decode()
    lines = [line for line in table.splitlines() if line.startswith("| 5m |")]
    assert len(lines) == 2
    assert lines[0] == (
        "| 5m | open | 2026-04-16T07:10Z | 2026-04-16T07:15Z | btc-updown-5m-1776323400 "
        "| 0x00000000… | 17763234… | 17763234… |"
    )
    assert {line.count("|") for line in table.splitlines() if line.startswith("|")} == {9}
    assert "Environment: sandbox." in table
    assert f"2026-04-16T07:10:10.000000Z from {GAMMA} by run run-1" in table


def test_nothing_found_is_said() -> None:
    """A pass that found nothing still gives files that say so."""
    files = artefacts(Pass(asked=5, failed=5), ORIGIN)
    assert json.loads(files[LIST_FILE])["markets"] == []
    assert json.loads(files[MANIFEST_FILE])["requests_failed"] == 5


def test_list_is_read_back(tmp_path: Path) -> None:
    """The list of one run seeds the next: every market is read back equal."""
    markets = [market(), market(START + 300)]
    path = tmp_path / LIST_FILE
    path.write_bytes(artefacts(Pass([sighting(seen) for seen in markets]), ORIGIN)[LIST_FILE])
    assert read_market_file(str(path)) == markets


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_feed_segment_is_read_back(suffix: str, tmp_path: Path) -> None:
    """Of a stored feed the last record of each market counts, and rows of other kinds do not."""
    rows = [row(market()), row(market(), kind="refused"), row(market(START + 300)), row(RESOLVED)]
    rows.insert(1, msgspec.json.encode(MarketItem(kind="answer", observed_ns=1, body="[]")))
    data = [b"\n".join(rows[:2]) + b"\n", b"\n".join(rows[2:]) + b"\n"]
    path = tmp_path / f"markets.{suffix}"
    path.write_bytes(b"".join(map(gzip.compress, data) if suffix.endswith("gz") else data))
    assert read_market_file(str(path)) == [RESOLVED, market(START + 300)]


POLL_ROW = PollItem(
    slot=1, due_ns=1, result="ok", market_slug="m", condition_id="c", token_id="1", outcome="Up",
    window_start="a", window_end="b",
)  # fmt: skip

NO_MARKETS = {
    "missing.jsonl": None,
    "empty.jsonl": b"",
    "text.jsonl": b"hello\n",
    "other.json": b'{"events": []}',
    "list.json": b"[]",
    "none.json": b'{"markets": null}',
    "null.json": b'{"markets": [null]}',
    "nothing.json": b'{"markets": []}',
    "wrong.json": b'{"markets": [{"market_slug": "x"}]}',
    "deep.json": b'{"markets": ' + b"[" * 100_000,
    "deeper.jsonl": b'{"schema": "", "kind": "market", "market": ' + b'{"a":' * 100_000,
    "latin.json": b'{"markets": ["\xff"]}',
    "books.jsonl": msgspec.json.encode(POLL_ROW),
    "bare.jsonl": b'{"schema": "orderbooks.market/1", "kind": "market"}',
    "torn.jsonl": row(market())[:-9],
    "plain.jsonl.gz": row(market()),
    "torn.jsonl.gz": gzip.compress(row(market()))[:-9],
    "flipped.jsonl.gz": gzip.compress(row(market()))[:30] + b"\x00" * 50,
}


@pytest.mark.parametrize("name", NO_MARKETS)
def test_file_without_markets_is_named(name: str, tmp_path: Path) -> None:
    """A file that cannot seed a run is one clear line that names it, whatever is wrong with it."""
    path, content = tmp_path / name, NO_MARKETS[name]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_market_file(str(path))
    assert str(caught.value).startswith(f"markets: {path}: ")
    assert "market record" in str(caught.value)
