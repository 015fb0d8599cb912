"""An archive over midnight with several markets: moving books, every kind of gap, a kill and a new start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from orderbooks_spider import cadence
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import Archive, Polling
from orderbooks_spider.items import MarketItem, PollItem
from orderbooks_spider.polymarket import market as records
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import Market, make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at
from tests.archives import Collector, ManualClock, event

if TYPE_CHECKING:
    from pathlib import Path

POLLING: Final = Polling()
GRID: Final = cadence.Grid(POLLING.interval_ns, POLLING.phase_buckets)
MIDNIGHT_NS: Final = parse_utc("2026-04-17T00:00:00Z")
START_NS: Final = MIDNIGHT_NS - 70 * NS
KILLED_NS: Final = MIDNIGHT_NS - 15 * NS
BACK_NS: Final = MIDNIGHT_NS + 10 * NS
END_NS: Final = MIDNIGHT_NS + 60 * NS
DATES: Final = ("2026-04-16", "2026-04-17")

_WENT_WRONG: Final[dict[int, dict[str, Any]]] = {
    3: {"result": "timeout"},
    4: {"result": "timeout"},
    9: {"result": "throttled", "status": 429},
    10: {"result": "skipped", "reason": "paused"},
    11: {"result": "skipped", "reason": "paused"},
    17: {"result": "http_error", "reason": "edge_html", "status": 502},
    22: {"result": "connection", "reason": "ClientOSError"},
    28: {"result": "skipped", "reason": "late"},
    33: {"result": "no_book", "reason": "not_found", "status": 404},
    90: {"result": "invalid_body", "reason": "truncated", "status": 200, "body": "{"},
}
"""By second after the start: what became of all polls of that second."""


def markets() -> list[Market]:
    """The markets whose slots lie in the archive's time, of two window lengths."""
    seconds = range(START_NS // NS - 300, END_NS // NS + 300, 60)
    windows = {(series, window_at(series.kind, second)) for series in SERIES[:2] for second in seconds}
    every = [make_market(1, series, window) for series, window in windows]
    return sorted(
        (one for one in every if span(one)[0] < END_NS and span(one)[1] > START_NS), key=lambda one: one.slug
    )


def span(market: Market) -> tuple[int, int]:
    """From the lead to the linger of *market*."""
    return market.start_ns - POLLING.lead_ns(market.series.kind), market.end_ns + POLLING.linger_ns


def due_times(market: Market, from_ns: int, until_ns: int) -> list[int]:
    """When the slots of *market* in that time are due."""
    low, high = span(market)
    phase_ns = GRID.phase_ns(GRID.bucket(market.condition_id))
    first = from_ns // NS * NS + phase_ns
    return [due for due in range(first, until_ns, NS) if max(low, from_ns) <= due < min(high, until_ns)]


def day_archive(root: Path) -> None:
    """Two runs, killed before midnight and started again after it, and what they polled."""
    root.mkdir(parents=True)
    asyncio.run(_both_runs(root))


async def _both_runs(root: Path) -> None:
    first = _collector(root, "run1", START_NS)
    first.open()
    await _run(first, START_NS, KILLED_NS)
    first.abandon()
    second = _collector(root, "run2", BACK_NS)
    second.open()
    await _run(second, BACK_NS, END_NS)
    second.write(event("run_stop", END_NS, slots_done_until_ns=END_NS))
    await second.close()


def _collector(root: Path, run_id: str, now_ns: int) -> Collector:
    settings = Archive(fsync_seconds=1, block_seconds=20, rotate_seconds=3600)
    return Collector(root, run_id, ManualClock(now_ns), settings)


async def _run(collector: Collector, from_ns: int, until_ns: int) -> None:
    books = MovingBooks(Spot(1))
    for market in markets():
        collector.write(record_of(market, from_ns))
        collector.write(plan_of(market, from_ns))
    write_host(collector, from_ns)
    slots = [
        (due_ns, market, side)
        for market in markets()
        for due_ns in due_times(market, from_ns, until_ns)
        for side in (0, 1)
    ]
    for due_ns, market, side in sorted(slots, key=lambda slot: (slot[0], slot[1].slug, slot[2])):
        if due_ns - collector.clock.now_ns > 10 * NS:
            collector.clock.now_ns = due_ns
            await collector.tick()
        went_wrong = _WENT_WRONG.get((due_ns - START_NS) // NS)
        collector.write(poll_of(books, market, side, due_ns, went_wrong))
    collector.clock.now_ns = until_ns
    write_host(collector, until_ns - NS)


def write_host(collector: Collector, at_ns: int) -> None:
    """The event rows of a minute about clock and loop."""
    clock = {
        "state": "ok",
        "synchronised": True,
        "offset_ns": -50_000,
        "max_error_ns": 1_200_000,
        "status": 0,
    }
    collector.write(event("clock_quality", at_ns, **clock))
    collector.write(event("loop_lag", at_ns, samples=600, p50_ns=100_000, p99_ns=900_000, max_ns=4_000_000))


def poll_of(
    books: MovingBooks, market: Market, side: int, due_ns: int, went_wrong: dict[str, Any] | None
) -> PollItem:
    """A poll that was answered, or changed by the keys of *went_wrong*."""
    sent_ns = due_ns + 300_000 + due_ns % 977 * 1000
    elapsed_ns = 40_000_000 + due_ns // NS % 89 * 1_000_000 + side * 1000
    token_id = market.token_ids[side]
    item = PollItem(
        slot=due_ns // NS,
        due_ns=due_ns,
        sent_ns=sent_ns,
        received_ns=sent_ns + elapsed_ns,
        elapsed_ns=elapsed_ns,
        collected_at_utc=iso_utc(sent_ns + elapsed_ns),
        result="ok",
        status=200,
        method="GET",
        url="http://127.0.0.1/book",
        params={"token_id": token_id},
        request_id=f"{due_ns}-{token_id[:8]}",
        headers={"server": "sandbox"},
        market_slug=market.slug,
        condition_id=market.condition_id,
        token_id=token_id,
        outcome=records.OUTCOMES[side],
        window_start=iso_utc(market.start_ns),
        window_end=iso_utc(market.end_ns),
    )
    if went_wrong is None:
        # A little later for Down, so that now and then it sees the next book.
        text = books.text(market, side, due_ns + 20_000_000 + side * 15_000_000)
        item.body = None if text is None else text.decode()
        return item
    if went_wrong["result"] == "skipped":
        item.sent_ns = item.elapsed_ns = item.method = item.url = item.params = item.request_id = None
    if went_wrong.get("status") is None:
        item.received_ns = item.collected_at_utc = item.status = item.headers = None
    for key, value in went_wrong.items():
        setattr(item, key, value)
    return item


def record_of(market: Market, now_ns: int) -> MarketItem:
    """The row that says what is known of *market*."""
    values: dict[str, Any] = dict.fromkeys(records.Market.__dataclass_fields__)
    values |= {
        "market_slug": market.slug,
        "event_slug": market.slug,
        "question": market.title,
        "condition_id": market.condition_id,
        "gamma_id": market.gamma_id,
        "window": market.series.kind,
        "window_start_ns": market.start_ns,
        "window_end_ns": market.end_ns,
        "outcomes": records.OUTCOMES,
        "token_ids": market.token_ids,
        "closed": False,
    }
    return MarketItem(
        kind="market",
        observed_ns=now_ns,
        observed_at=iso_utc(now_ns),
        market_slug=market.slug,
        condition_id=market.condition_id,
        market=records.Market(**values).record(),
    )


def plan_of(market: Market, now_ns: int) -> Any:
    """The event row that promises the slots of *market* from now on."""
    low, high = span(market)
    return event(
        "plan",
        now_ns,
        condition_id=market.condition_id,
        market_slug=market.slug,
        tokens=list(market.token_ids),
        from_ns=max(low, now_ns),
        until_ns=high,
        interval_ns=GRID.interval_ns,
        phase_ns=GRID.phase_ns(GRID.bucket(market.condition_id)),
    )
