"""Small archives for tests, made through the real writer and its real sealing child."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive.lock import ArchiveLock
from orderbooks_spider.archive.manifest import Grid
from orderbooks_spider.archive.recovery import Action, close_runs, take_over
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.archive.sealer import SealInfo
from orderbooks_spider.archive.state import open_feeds
from orderbooks_spider.archive.writer import RECOVERED, FeedWriter, WriterSetup
from orderbooks_spider.clock import NS, compact_utc, iso_utc, parse_utc
from orderbooks_spider.config import Archive, Polling
from orderbooks_spider.items import BOOKS, EVENTS, MARKETS, EventItem, MarketItem, PollItem, time_of
from orderbooks_spider.polymarket.book import Book, Level, venue_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START_NS = parse_utc("2026-04-16T08:35:00Z")
INTERVAL_NS = NS
CONDITION = "0x" + "ab" * 32
SLUG = "btc-updown-5m-1776328500"
UP, DOWN = "1" * 77, "2" * 77
PHASE_NS = 7 * INTERVAL_NS // 20
COLLECTOR = "c0"


class ManualClock:
    """Time that moves only when it is told to."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        """Now."""
        return self.now_ns

    def monotonic_ns(self) -> int:
        """The same now: this clock never steps by itself."""
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        """Pass at once."""
        self.now_ns += round(seconds * NS)
        await asyncio.sleep(0)

    async def sleep_exactly(self, seconds: float) -> None:
        """Pass at once."""
        await self.sleep(seconds)

    def timer_seconds(self, seconds: float) -> float:
        """The same."""
        return seconds


def book_body(token_id: str, moment: int) -> str:
    """The text of an answer: one moving book seen from either token, with the venue's own hash."""
    cents = 40 + moment % 20
    up = token_id == UP
    bids = [(cents - 2, "30"), (cents - 1, "12.5")] if up else [(98 - cents, "7"), (99 - cents, "100")]
    asks = [(cents + 2, "7"), (cents + 1, "100")] if up else [(102 - cents, "30"), (101 - cents, "12.5")]
    book = Book(
        market=CONDITION,
        asset_id=token_id,
        timestamp=str((START_NS + moment * NS) // 1_000_000),
        hash="",
        bids=tuple(Level(f"0.{price}", size) for price, size in bids),
        asks=tuple(Level(f"0.{price}", size) for price, size in asks),
        min_order_size="5",
        tick_size="0.01",
        neg_risk=False,
        last_trade_price="0.500",
    )
    return msgspec.json.encode(msgspec.structs.replace(book, hash=venue_hash(book))).decode()


def book_text(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]], token: str = UP, **changes: Any
) -> str:
    """A book in the venue's form with its right hash; *changes* are made before hashing."""
    book: dict[str, Any] = {
        "market": CONDITION,
        "asset_id": token,
        "timestamp": str(START_NS // 1_000_000),
        "hash": "",
        "bids": [{"price": price, "size": size} for price, size in bids],
        "asks": [{"price": price, "size": size} for price, size in asks],
        "min_order_size": "5",
        "tick_size": "0.01",
        "neg_risk": False,
        "last_trade_price": "0.500",
    } | changes
    book = {key: value for key, value in book.items() if value is not None}
    text = json.dumps(book, separators=(",", ":"))
    return text.replace('"hash":""', f'"hash":"{hashlib.sha1(text.encode()).hexdigest()}"', 1)


def poll(token_id: str, moment: int, **changes: Any) -> PollItem:
    """An answered poll of the slot *moment* intervals after the start."""
    due_ns = START_NS + moment * INTERVAL_NS + PHASE_NS
    received_ns = due_ns + 45_000_000
    item = PollItem(
        slot=due_ns // INTERVAL_NS,
        due_ns=due_ns,
        sent_ns=due_ns + 1_000_000,
        received_ns=received_ns,
        elapsed_ns=44_000_000,
        collected_at_utc=iso_utc(received_ns),
        result="ok",
        status=200,
        method="GET",
        url="http://127.0.0.1/book",
        params={"token_id": token_id},
        request_id=hashlib.sha256(f"{token_id}{moment}".encode()).hexdigest()[:16],
        headers={"server": "sandbox"},
        market_slug=SLUG,
        condition_id=CONDITION,
        token_id=token_id,
        outcome="Up" if token_id == UP else "Down",
        window_start="2026-04-16T08:35:00Z",
        window_end="2026-04-16T08:40:00Z",
        body=book_body(token_id, moment),
    )
    for key, value in changes.items():
        setattr(item, key, value)
    return item


def event(name: str, at_ns: int, **detail: Any) -> EventItem:
    """An event row."""
    return EventItem(event=name, at_ns=at_ns, at_utc=iso_utc(at_ns), detail=detail)


def plan(until_moment: int, from_moment: int = 0) -> EventItem:
    """The event row that says: these slots of both tokens are owed."""
    return event(
        "plan",
        START_NS + from_moment * NS,
        condition_id=CONDITION,
        market_slug=SLUG,
        tokens=[UP, DOWN],
        from_ns=START_NS + from_moment * INTERVAL_NS,
        until_ns=START_NS + until_moment * INTERVAL_NS,
        interval_ns=INTERVAL_NS,
        phase_ns=PHASE_NS,
    )


@dataclass
class Collector:
    """A run of a collector without a network: lock, recovery, writers, as the pipelines do it."""

    root: Path
    run_id: str = "run1"
    clock: ManualClock = field(default_factory=ManualClock)
    settings: Archive = field(
        default_factory=lambda: Archive(fsync_seconds=1, block_seconds=3, rotate_seconds=10)
    )
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    collector_id: str = COLLECTOR

    def open(self) -> None:
        """Take the lock, recover, write the run manifest, open the feeds."""
        self.lock = ArchiveLock.acquire(self.root, self.collector_id, self.run_id)
        self.recovered, self.inherited = take_over(self.root, self.collector_id, self.clock)
        manifest = RunManifest(
            run_id=self.run_id,
            collector_id=self.collector_id,
            environment="sandbox",
            started_utc=iso_utc(self.clock.now_ns),
            collector="orderbooks_spider",
            collector_version="0.1.0",
            versions={"python": "3"},
            config_sha256=hashlib.sha256(b"{}").hexdigest(),
            grid=Grid.of(Polling()),
        )
        self.run_file = RunFile.create(self.root, manifest, compact_utc(self.clock.now_ns))
        setup = WriterSetup(
            self.root, self.settings, self.clock, manifest.context(), self._on_event, self.lock
        )
        heads = open_feeds(self.root, self.collector_id)
        self.next_seq = {feed: head.next_seq for feed, head in heads.items()}
        left = {BOOKS: self.inherited}
        if self.inherited:
            self.next_seq[BOOKS] = self.inherited[-1].next_seq
        self.writers = {
            feed: FeedWriter(feed, setup, head.manifest_sha256, left.get(feed, []))
            for feed, head in heads.items()
        }

    def write(self, item: PollItem | MarketItem | EventItem) -> bytes:
        """Stamp and append one row; returns its bytes."""
        feed = {PollItem: BOOKS, MarketItem: MARKETS, EventItem: EVENTS}[type(item)]
        item.run_id, item.collector_id, item.seq = self.run_id, self.collector_id, self.next_seq[feed]
        item.collector, item.collector_version, item.environment = "orderbooks_spider", "0.1.0", "sandbox"
        row = msgspec.json.encode(item) + b"\n"
        self.writers[feed].append(row, time_of(item))
        self.next_seq[feed] += 1
        return row

    async def tick(self) -> None:
        """Let every writer do what is due, to its end."""
        for writer in self.writers.values():
            await writer.tick()
            await writer.drain()

    async def close(self) -> None:
        """Seal all and finish the run manifest."""
        for feed in (BOOKS, MARKETS, EVENTS):
            await self.writers[feed].close()
        self.run_file.manifest.stopped_utc = iso_utc(self.clock.now_ns)
        self.run_file.manifest.stop_reason = "finished"
        self.run_file.save()
        self.lock.release()

    def abandon(self) -> None:
        """End as a killed process does: nothing is sealed, only the lock goes."""
        self.lock.release()

    def _on_event(self, name: str, detail: dict[str, Any]) -> None:
        self.said.append((name, detail))
        if name == RECOVERED:
            self.recovered.append(msgspec.convert(detail, Action))
            if not self.writers[detail["feed"]].inherits:
                self.recovered += close_runs(self.root, self.collector_id, self.run_id)
        if name == "segment_sealed":
            self.run_file.add(msgspec.convert(detail, SealInfo))


async def collect(
    collector: Collector,
    moments: int,
    *,
    stop: bool = True,
    change: Callable[[PollItem], PollItem | None] | None = None,
) -> list[bytes]:
    """Poll both tokens for *moments* slots and stop cleanly (or leave it open); the poll rows' bytes.

    *change* may alter each poll, or leave it out with ``None``.
    """
    rows: list[bytes] = []
    first = (collector.clock.now_ns - START_NS) // NS
    collector.open()
    collector.write(event("run_start", collector.clock.now_ns, pid=1))
    collector.write(plan(first + moments, first))
    for moment in range(first, first + moments):
        collector.clock.now_ns = START_NS + moment * NS + PHASE_NS + 50_000_000
        for token_id in (UP, DOWN):
            item = poll(token_id, moment)
            kept = change(item) if change is not None else item
            if kept is not None:
                rows.append(collector.write(kept))
        await collector.tick()
    collector.clock.now_ns = START_NS + (first + moments) * NS
    if stop:
        stopped = event("run_stop", collector.clock.now_ns, slots_done_until_ns=collector.clock.now_ns)
        collector.write(stopped)
        await collector.close()
    return rows


def small_archive(
    root: Path, moments: int = 25, change: Callable[[PollItem], PollItem | None] | None = None
) -> list[bytes]:
    """A clean archive of one run: three segments of polls and more of events, all sealed."""
    root.mkdir(parents=True, exist_ok=True)
    return asyncio.run(collect(Collector(root), moments, change=change))
