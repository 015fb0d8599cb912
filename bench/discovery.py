#!/usr/bin/env python3
"""How many bytes does a day of discovery take on disk, at the default config?

Runs the real discovery code against the sandbox exchange in simulated time: a pass each
``discovery.interval_seconds``, rows through the real feed writer, sealed as a collector would.

Examples:
  python bench/discovery.py
  python bench/discovery.py --hours 2
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
import msgspec
from aiohttp import web

from bench import report
from orderbooks_spider.archive.manifest import ManifestContext
from orderbooks_spider.archive.writer import FeedWriter, WriterSetup
from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.config import Config, Venue
from orderbooks_spider.items import MARKETS, MarketItem
from orderbooks_spider.polymarket.answers import Answer, kept, text_of
from orderbooks_spider.polymarket.discovery import Discovery
from orderbooks_spider.sandbox.exchange import Exchange, Setup

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.endpoints import Ask

BEGIN = "2026-11-23T00:00:00Z"


class SteppedClock:
    """Simulated time that only the loop below moves."""

    def __init__(self, wall_ns: int) -> None:
        self.now_ns = wall_ns

    def wall_ns(self) -> int:
        """UTC of the simulation."""
        return self.now_ns

    def monotonic_ns(self) -> int:
        """The same: nothing steps here."""
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        """Nobody waits for simulated time to pass by itself."""
        del seconds
        await asyncio.sleep(0)

    sleep_exactly = sleep

    def timer_seconds(self, seconds: float) -> float:
        """The same."""
        return seconds


class Day:
    """A collector's discovery, its exchange and its archive, in simulated time."""

    def __init__(self, url: str, clock: SteppedClock, session: aiohttp.ClientSession, root: Path) -> None:
        self.config = Config(environment="sandbox", venue=Venue(gamma_url=url, clob_url=url))
        self.clock = clock
        self._session = session
        self._encode = msgspec.json.Encoder().encode
        self.seen: Counter[str] = Counter()
        context = ManifestContext(environment="sandbox", collector_id="c0", run_id="bench")
        setup = WriterSetup(root, self.config.archive, clock, context, self._note)
        self.writer = FeedWriter(MARKETS, setup, None)
        self.discovery = Discovery(self.config, clock, self.fetch)

    def _note(self, event: str, detail: dict[str, Any]) -> None:
        self.seen[event] += 1
        self.seen["sealed_bytes"] += detail.get("bytes", 0)

    async def fetch(self, ask: Ask) -> Answer:
        """Ask the exchange, and keep the raw answer as the collector does."""
        async with self._session.get(ask.url, params=ask.params) as response:
            body = await response.read()
            headers = {name.lower(): value for name, value in response.headers.items()}
        number = self.seen["requests"] = self.seen["requests"] + 1
        now_ns = self.clock.wall_ns()
        answer = Answer(
            ask=ask,
            request_id=f"bench-{number}",
            sent_ns=now_ns,
            received_ns=now_ns,
            elapsed_ns=0,
            status=response.status,
            headers=kept(headers),
            body=body,
        )
        self._store(_row_of(answer))
        return answer

    async def one_pass(self) -> None:
        """Run a pass, then let its interval go by."""
        found = await self.discovery.run_pass()
        for sighting in found.sightings:
            record = sighting.market.record()
            self._store(MarketItem(kind="market", observed_ns=self.clock.wall_ns(), market=record))
            self.seen["market rows"] += 1
            self.seen["resolved"] += sighting.market.resolved
        for refusal in found.refusals:
            self._store(MarketItem(kind="refused", observed_ns=self.clock.wall_ns(), reason=refusal.reason))
            self.seen["gave up"] += refusal.gave_up
        self.clock.now_ns += round(self.config.discovery.interval_seconds * NS)
        await self.writer.tick()
        await self.writer.drain()

    def _store(self, item: MarketItem) -> None:
        self.seen["rows"] += 1
        item.seq = self.seen["rows"]
        item.run_id, item.collector_id, item.environment = "bench", "c0", "sandbox"
        item.collector, item.collector_version = "orderbooks_spider", "0.1.0"
        line = self._encode(item) + b"\n"
        self.seen["raw_bytes"] += len(line)
        self.writer.append(line, item.observed_ns)


def _row_of(answer: Answer) -> MarketItem:
    body, encoding = text_of(answer.body)
    return MarketItem(
        kind="answer",
        observed_ns=answer.received_ns or 0,
        sent_ns=answer.sent_ns,
        received_ns=answer.received_ns,
        elapsed_ns=answer.elapsed_ns,
        result="ok",
        status=answer.status,
        method=answer.ask.method,
        url=answer.ask.url,
        params=answer.ask.params or None,
        request_id=answer.request_id,
        headers=answer.headers,
        body=body,
        body_encoding=encoding,
    )


async def simulate(hours: float, root: Path) -> dict[str, int]:
    """Counts of *hours* of simulated discovery."""
    clock = SteppedClock(parse_utc(BEGIN))
    runner = web.ServerRunner(Exchange(Setup(), clock).make_server())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        day = Day(url, clock, session, root)
        until_ns = clock.now_ns + round(hours * 3600 * NS)
        while clock.now_ns < until_ns:
            await day.one_pass()
        await day.writer.close()
    await runner.cleanup()
    return dict(day.seen)


def main() -> int:
    """Simulate, print the table, write the JSON."""
    parser = report.parser(__doc__)
    parser.add_argument("--hours", type=float, default=24, metavar="N", help="simulated hours (default 24)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(simulate(arguments.hours, Path(folder)))
    per_day = seen["sealed_bytes"] * 24 / arguments.hours
    result = seen | {"hours": arguments.hours, "sealed_bytes_per_24h": round(per_day)}
    report.print_table(["what", "number"], [[name, f"{value:,}"] for name, value in result.items()])
    report.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
