"""Archives of whole hours for benchmarks, made through the archive's own functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive.layout import HOUR_NS, Segment
from orderbooks_spider.archive.manifest import Grid
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.archive.sealer import BlockJob, SealInfo, SealJob, run_job
from orderbooks_spider.archive.segment import BlockInfo
from orderbooks_spider.clock import NS, compact_utc, iso_utc, parse_utc
from orderbooks_spider.config import Polling
from orderbooks_spider.items import BOOKS, PollItem
from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_NS = parse_utc("2026-04-16T00:00:00Z")
BLOCK_SECONDS, HOUR_SECONDS, WINDOW_SECONDS = 60, 3600, 300


def answered(tokens: int) -> Callable[[int, int], PollItem]:
    """Polls with the books of the sandbox; each market's five minutes are played over and over."""
    books = MovingBooks(Spot(1))
    windows = [window_at("5m", 1_790_000_100 + number * WINDOW_SECONDS) for number in range(tokens // 2)]
    markets = [make_market(1, SERIES[0], window) for window in windows]
    texts = [
        [
            (books.text(market, side, market.start_ns + second * NS) or b"").decode()
            for second in range(WINDOW_SECONDS)
        ]
        for market in markets
        for side in (0, 1)
    ]
    ids = [msgspec.json.decode(found[0], type=dict[str, Any]) for found in texts]

    def make(token: int, second: int) -> PollItem:
        due_ns = _due(token, second)
        item = _poll(ids[token]["asset_id"], ids[token]["market"], due_ns, "ok")
        item.outcome = OUTCOMES[token % 2]
        item.sent_ns, item.received_ns, item.elapsed_ns = due_ns + 900_000, due_ns + 45_000_000, 44_100_000
        item.collected_at_utc, item.status = iso_utc(item.received_ns), 200
        item.method, item.url, item.params = "GET", "http://127.0.0.1/book", {"token_id": item.token_id}
        item.headers = {"server": "sandbox", "content-type": "application/json"}
        item.request_id = f"bench-{token}-{second}"
        item.body = texts[token][second % WINDOW_SECONDS]
        return item

    return make


def skipped(token: int, second: int) -> PollItem:
    """A poll that was not sent: the smallest row."""
    item = _poll(str(10**76 + token), f"0x{token // 2:064x}", _due(token, second), "skipped")
    item.reason = "budget"
    return item


def _due(token: int, second: int) -> int:
    return START_NS + second * NS + token // 2 % 20 * NS // 20


def _poll(token_id: str, condition_id: str, due_ns: int, result: str) -> PollItem:
    return PollItem(
        run_id="bench",
        collector_id="c0",
        slot=due_ns // NS,
        due_ns=due_ns,
        result=result,
        market_slug=f"btc-updown-5m-{condition_id[2:12]}",
        condition_id=condition_id,
        token_id=token_id,
        outcome="Up",
        window_start=iso_utc(START_NS),
        window_end=iso_utc(START_NS + 24 * HOUR_NS),
        collector="orderbooks_spider",
        collector_version="0.1.0",
        environment="sandbox",
    )


def write_hours(root: Path, tokens: int, hours: int, make: Callable[[int, int], PollItem]) -> int:
    """Sealed hours of *tokens*, a poll a second, in blocks of a minute; returns their bytes of text."""
    run = _begin_run(root)
    size, before = 0, None
    for hour in range(hours):
        written, info = _write_hour(root, hour, tokens, make, before, run)
        size += written
        before = info.manifest_sha256
        run.add(info)
    run.save()
    return size


def write_open_hour(root: Path, tokens: int, make: Callable[[int, int], PollItem]) -> None:
    """Leave the first hour of *tokens* as a run that is killed at its end: the last minute in a journal."""
    _begin_run(root)
    _write_blocks(_names(root, 0), 0, tokens, make, open_blocks=1)


def _begin_run(root: Path) -> RunFile:
    manifest = RunManifest(
        run_id="bench",
        collector_id="c0",
        environment="sandbox",
        started_utc=iso_utc(START_NS),
        grid=Grid.of(Polling()),
        collector="orderbooks_spider",
        collector_version="0.1.0",
    )
    return RunFile.create(root, manifest, compact_utc(START_NS))


def _names(root: Path, hour: int) -> Segment:
    return Segment(root, BOOKS, compact_utc(START_NS + hour * HOUR_NS), "c0", "bench")


def _write_hour(  # noqa: PLR0913, PLR0917 - a link of the chain
    root: Path,
    hour: int,
    tokens: int,
    make: Callable[[int, int], PollItem],
    before: str | None,
    run: RunFile,
) -> tuple[int, SealInfo]:
    names = _names(root, hour)
    size, written = _write_blocks(names, hour, tokens, make)
    job = SealJob(
        root=str(root),
        stem=names.stem,
        journals=[],
        sealed_at_utc=iso_utc(START_NS),
        previous_manifest_sha256=before,
        context=run.manifest.context(),
        expected_bytes=written,
    )
    info = run_job(job)
    assert isinstance(info, SealInfo)
    return size, info


def _write_blocks(
    names: Segment, hour: int, tokens: int, make: Callable[[int, int], PollItem], open_blocks: int = 0
) -> tuple[int, int]:
    """Bytes of text, and of the ``.part``; the last *open_blocks* stay in their journals."""
    names.folder.mkdir(parents=True)
    encode = msgspec.json.Encoder().encode

    def rows(begin: int) -> Iterator[bytes]:
        for second in range(begin, begin + BLOCK_SECONDS):
            for token in range(tokens):
                item = make(token, second)
                item.seq = second * tokens + token + 1
                yield encode(item) + b"\n"

    size = written = 0
    blocks = HOUR_SECONDS // BLOCK_SECONDS
    for block in range(blocks):
        journal = names.journal(block + 1)
        with journal.open("wb") as file:
            size += sum(file.write(row) for row in rows(hour * HOUR_SECONDS + block * BLOCK_SECONDS))
        if block < blocks - open_blocks:
            where = {"root": str(names.root), "stem": names.stem}
            made = run_job(BlockJob(journals=[journal.name], expected_bytes=written, **where))
            assert isinstance(made, BlockInfo)
            written = made.part_bytes
    return size, written
