"""Replayed recordings: found through Gamma, served byte for byte, and logged."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.sandbox.books import rehashed
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sandbox.replay import Replay
from tests.payloads import recorded
from tests.test_sandbox_routes import asked, fetch

if TYPE_CHECKING:
    from pathlib import Path

SLUG = "btc-updown-5m-1776328500"
NAME = f"rest_book_replay_{SLUG}.jsonl.gz"
START_NS = 1_795_392_000 * NS + 400_000_000


def sha256(text: bytes) -> str:
    """Digest in hex."""
    return hashlib.sha256(text).hexdigest()


def slices(line: bytes) -> list[bytes]:
    """The texts of the two books of a recorded line, cut out by hand."""
    inside = line[line.index(b'"books":[') + 9 : line.rindex(b"]}")]
    first, found, second = inside.partition(b'},{"market"')
    assert found
    return [first + b"}", b'{"market"' + second]


def made_book(token: str, stamp: int, market: str = "0xaa") -> bytes:
    """A small book, spelled with a space that no encoder would put there."""
    book = {"market": market, "asset_id": token, "timestamp": str(stamp), "hash": "", "bids": [], "asks": []}
    return rehashed(book).replace(b'"bids":[]', b'"bids": []')


def write_lines(path: Path, lines: list[bytes]) -> Path:
    """A plain recording."""
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_recorded_books_are_served_verbatim_at_their_pace() -> None:
    """At the time of each recorded line both tokens' texts are the recorded bytes."""
    path = recorded(f"derived/{NAME}")
    lines = gzip.decompress(path.read_bytes()).splitlines()
    replay = Replay([path], START_NS)
    (market,) = replay.listed(START_NS)
    begin_ns = START_NS // NS * NS
    first_ms = json.loads(lines[0])["t_ms"]
    for line in lines:
        now_ns = begin_ns + (json.loads(line)["t_ms"] - first_ms) * 1_000_000
        served = [replay.text(market, index, now_ns) for index in (0, 1)]
        assert [sha256(text or b"") for text in served] == [sha256(text) for text in slices(line)]


def test_a_replayed_market_starts_with_the_server() -> None:
    """The window begins in the server's first second with its real length, and the slug tells that start."""
    replay = Replay([recorded(f"derived/{NAME}")], START_NS)
    (market,) = replay.listed(START_NS)
    assert market.slug == f"btc-updown-5m-{START_NS // NS}"
    assert SLUG in market.title
    assert market.start_ns == START_NS // NS * NS
    assert market.end_ns - market.start_ns == 300 * NS
    assert replay.by_token(market.token_ids[1], START_NS) is market


def test_recordings_replay_side_by_side() -> None:
    """Two recordings start together, each as a market of its own with its own slug."""
    names = [f"derived/rest_book_replay_btc-updown-5m-{epoch}.jsonl.gz" for epoch in (1776323400, 1776328500)]
    replay = Replay([recorded(name) for name in names], START_NS)
    markets = replay.listed(START_NS)
    assert len({market.slug for market in markets}) == len({market.condition_id for market in markets}) == 2
    assert all(market.slug == f"btc-updown-5m-{market.start_ns // NS}" for market in markets)
    assert all(replay.text(market, 0, START_NS) for market in markets)


def test_after_the_last_line_the_book_stays_five_seconds(tmp_path: Path) -> None:
    """The last text is served for five more seconds, then the market is closed."""
    lines = [b'{"t_ms":%d,"recv_ms":1,"books":[%s]}' % (t, made_book("7", t)) for t in (1000, 4000)]
    replay = Replay([write_lines(tmp_path / "some.jsonl", lines)], START_NS)
    (market,) = replay.listed(START_NS)
    assert market.life.closed_ns == START_NS // NS * NS + 8 * NS
    assert replay.text(market, 0, market.life.closed_ns - 1) == made_book("7", 4000)


def test_over_http_a_replay_is_discovered_and_logged(tmp_path: Path) -> None:
    """A collector finds the market, polls recorded bytes, and the served log has their digests."""
    path = recorded(f"derived/{NAME}")
    known = {
        sha256(text) for line in gzip.decompress(path.read_bytes()).splitlines() for text in slices(line)
    }
    log = tmp_path / "served.jsonl"
    with SandboxChild.start(["--replay", str(path), "--served-log", str(log)]) as sandbox:
        events = fetch(sandbox.url, "/events/keyset", closed="false", limit=500, series_id="10684").json[
            "events"
        ]
        assert [SLUG in event["title"] for event in events] == [True]
        tokens = json.loads(events[0]["markets"][0]["clobTokenIds"])
        now = int(fetch(sandbox.url, "/time").body) * NS
        assert parse_utc(events[0]["startTime"]) <= now < parse_utc(events[0]["endDate"])
        single = fetch(sandbox.url, "/book", token_id=tokens[0])
        assert sha256(single.body) in known
        batch = fetch(sandbox.url, "/books", asked(tokens))
        missing = fetch(sandbox.url, "/book", token_id="1")
        fetch(sandbox.url, "/ok")
        plan = {"faults": [{"fault": {"kind": "truncate", "bytes": 7}, "match": {"path": "/book"}}]}
        fetch(sandbox.url, "/_sandbox/faults", json.dumps(plan).encode())
        with pytest.raises(http.client.IncompleteRead):
            fetch(sandbox.url, "/book", token_id=tokens[1])
    rows: list[dict[str, Any]] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [row["path"] for row in rows] == ["/book", "/books", "/book", "/book"]
    assert [row["status"] for row in rows] == [200, 200, 404, 200]
    assert rows[0]["sha256"] == sha256(single.body)
    assert rows[0]["token_id"] == tokens[0]
    assert rows[1]["token_id"] == tokens
    order = [book["asset_id"] for book in batch.json]
    assert [token for token, _ in rows[1]["sha256"]] == order
    assert {digest for _, digest in rows[1]["sha256"]} <= known
    assert rows[2]["sha256"] == sha256(missing.body)
    assert rows[3]["sha256"] == sha256(b'{"marke')
    assert all(row["t_recv_ns"] <= row["t_send_ns"] for row in rows)


def test_raw_segments_of_ours_are_replayed(tmp_path: Path) -> None:
    """Rows of a raw segment are served as their ``body`` was, Up and Down by outcome, in time order."""
    rows = []
    for second, token, outcome in ((2, "8", "Up"), (0, "9", "Down"), (0, "8", "Up"), (1, "9", "Down")):
        due = START_NS - 3600 * NS + second * NS
        body = made_book(token, second).decode()
        rows.append(
            {
                "due_ns": due,
                "result": "ok",
                "token_id": token,
                "outcome": outcome,
                "market_slug": "btc-updown-5m-1795388100",
                "window_start": "2026-11-22T23:15:00Z",
                "window_end": "2026-11-22T23:20:00Z",
                "body": body,
            }
        )
    rows.append({"due_ns": START_NS - 3600 * NS + 3 * NS, "result": "timeout", "token_id": "8", "body": None})
    path = tmp_path / "segment.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    replay = Replay([path], START_NS)
    (market,) = replay.listed(START_NS)
    begin = START_NS // NS * NS
    assert market.token_ids == ("8", "9")
    assert market.slug == f"btc-updown-5m-{market.start_ns // NS}"
    assert market.end_ns - market.start_ns == 300 * NS
    assert replay.text(market, 0, begin + NS) == made_book("8", 0)
    assert replay.text(market, 0, begin + 2 * NS) == made_book("8", 2)
    assert replay.text(market, 1, begin + 2 * NS) == made_book("9", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no recorded books"),
        (b"{}\n", "line 1"),
        (b'{"t_ms":1,"books":[{"market":"0x1"}]}\n', "line 1"),
        (b'{"t_ms":1,"books":[{"market":"0xaa","asset_id":"7"}]}\nnonsense\n', "line 2"),
    ],
)
def test_a_bad_recording_is_named_with_its_line(tmp_path: Path, text: bytes, said: str) -> None:
    """An unusable recording names file and line."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        Replay([path], START_NS)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
