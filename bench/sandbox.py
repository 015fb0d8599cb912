"""How fast the sandbox exchange answers, and how well its books compress: ``python bench/sandbox.py``.

One table: requests a second, CPU seconds of the server, CPU ms a request; then the gzip ratio of one
market polled each second (recorded 5-minute books reach 17 to 21).
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sandbox.markets import make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

CONNECTIONS = 16
BATCH = 500


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far, from ``/proc``."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(work: Callable[[], Awaitable[int]], seconds: float, workers: int) -> tuple[int, int, float]:
    """Call *work* from some workers for so long; give calls, bytes and the seconds it took."""
    calls = size = 0
    begin = time.perf_counter()

    async def worker() -> None:
        nonlocal calls, size
        while time.perf_counter() - begin < seconds:
            answered = await work()
            size += answered  # apart from the await: others add in between
            calls += 1

    await asyncio.gather(*(worker() for _ in range(workers)))
    return calls, size, time.perf_counter() - begin


async def tokens_of(session: aiohttp.ClientSession, url: str) -> list[str]:
    """Give all tokens that have a book now, those of the next windows first."""
    query = {"closed": "false", "limit": "500", "order": "endDate", "ascending": "true"}
    async with session.get(f"{url}/events/keyset", params=query) as answer:
        events = (await answer.json())["events"]
    texts = (event["markets"][0].get("clobTokenIds", "[]") for event in events)
    return [token for text in texts for token in json.loads(text)]


async def measure(sandbox: SandboxChild, seconds: float) -> None:
    """Run the cases one after the other and print their rows."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        tokens = await tokens_of(session, sandbox.url)
        everyone: Iterator[str] = itertools.cycle(tokens)
        first: Iterator[str] = itertools.cycle(tokens[:2])
        batches = itertools.cycle(
            [
                json.dumps([{"token_id": t} for t in tokens[i : i + BATCH]])
                for i in range(0, len(tokens), BATCH)
            ]
        )

        async def book(source: Iterator[str]) -> int:
            async with session.get(f"{sandbox.url}/book?token_id={next(source)}") as answer:
                answer.raise_for_status()
                return len(await answer.read())

        async def four_batches() -> int:
            size = 0
            for _ in range(4):
                async with session.post(f"{sandbox.url}/books", data=next(batches)) as answer:
                    size += len(await answer.read())
            return size

        async def listing() -> int:
            async with session.get(f"{sandbox.url}/events/keyset?closed=false&limit=500") as answer:
                return len(await answer.read())

        cases: list[tuple[str, Callable[[], Awaitable[int]], int]] = [
            ("GET /book, two tokens", lambda: book(first), CONNECTIONS),
            (f"GET /book, {len(tokens)} tokens in turn", lambda: book(everyone), CONNECTIONS),
            (f"4 x POST /books of <= {BATCH}", four_batches, 1),
            ("GET /events/keyset, one page", listing, 1),
        ]
        print(f"{'case':36} {'calls/s':>9} {'MB/s':>7} {'CPU s':>7} {'CPU ms/call':>12}")
        for name, work, workers in cases:
            before = cpu_seconds(sandbox.process.pid)
            calls, size, took = await load(work, seconds, workers)
            used = cpu_seconds(sandbox.process.pid) - before
            rates = f"{calls / took:9.1f} {size / took / 1e6:7.1f}"
            print(f"{name:36} {rates} {used:7.2f} {used / calls * 1000:12.3f}")


def compression() -> float:
    """Gzip ratio (level 6) of one token of ten markets, polled each second of their windows."""
    books = MovingBooks(Spot(1))
    plain = packed = 0
    for number in range(10):
        market = make_market(1, SERIES[0], window_at("5m", 1_790_000_100 + number * 300))
        texts = [books.text(market, 0, market.start_ns + second * NS) or b"" for second in range(300)]
        whole = b"\n".join(texts)
        plain += len(whole)
        packed += len(gzip.compress(whole, 6))
    return plain / packed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="how long each case runs")
    args = parser.parse_args()
    with SandboxChild.start() as sandbox:
        asyncio.run(measure(sandbox, args.seconds))
    print(f"gzip ratio of one token polled each second: {compression():.1f}")


if __name__ == "__main__":
    main()
