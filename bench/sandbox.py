"""How fast does the sandbox exchange answer, and how much does it hold?

Requests a second and CPU of the server over http, https, and https with gzip; how long its start and the
first answer for every book take, and its memory then.  Last the gzip ratio of one market polled each second
(recorded 5-minute books reach 17 to 21).

Client and server share the machine: `CPU ms/call` is the server's alone, calls a second are both.

Examples:
  python bench/sandbox.py
  python bench/sandbox.py --listed-ahead-hours 420 --json sandbox.json

"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import json
import os
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.certificates import make_certificates
from orderbooks_spider.clock import NS, SystemClock, iso_utc
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sandbox.markets import make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Call = Callable[[], Awaitable[int]]

CONNECTIONS = 16
BATCH = 100
TRANSPORTS = ("http", "https", "https+gzip")


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far, from ``/proc``."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> int:
    """Memory of a process, from ``/proc``."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


class Client:
    """What is asked of one sandbox; each call gives the bytes of a body as they came over the wire."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.tokens: list[str] = []

    async def find_tokens(self) -> None:
        """Learn all tokens that have a book now and during the run, those of the next windows first."""
        end = iso_utc(SystemClock().wall_ns() + 600 * NS)
        query = {
            "closed": "false",
            "limit": "500",
            "order": "endDate",
            "ascending": "true",
            "end_date_min": end,
        }
        while True:
            async with self._session.get(f"{self._url}/events/keyset", params=query) as answer:
                page = await answer.json()
            texts = (event["markets"][0].get("clobTokenIds", "[]") for event in page["events"])
            self.tokens += [token for text in texts for token in json.loads(text)]
            if "next_cursor" not in page:
                return
            query["after_cursor"] = page["next_cursor"]

    async def first_pass(self) -> float:
        """Ask once for every book; give the seconds it took."""
        begin = time.perf_counter()
        for body in self._batches():
            await self._call("POST", "/books", body)
        return time.perf_counter() - begin

    async def compress(self) -> None:
        """Let the sandbox compress from now on."""
        await self._call("POST", "/_sandbox/faults", "compress: true")

    def cases(self) -> list[tuple[str, Call, int]]:
        """Name, call and number of workers of each case."""
        batches = itertools.cycle(self._batches())
        page = "/events/keyset?closed=false&limit=500"
        return [
            ("GET /book, two tokens", self._book(self.tokens[:2]), CONNECTIONS),
            ("GET /book, all in turn", self._book(self.tokens), CONNECTIONS),
            (f"POST /books of {BATCH}", lambda: self._call("POST", "/books", next(batches)), 2),
            ("GET /events/keyset, 500", lambda: self._call("GET", page), 1),
        ]

    def _book(self, tokens: list[str]) -> Call:
        source = itertools.cycle(tokens)
        return lambda: self._call("GET", f"/book?token_id={next(source)}")

    def _batches(self) -> list[str]:
        groups = (self.tokens[i : i + BATCH] for i in range(0, len(self.tokens), BATCH))
        return [json.dumps([{"token_id": token} for token in group]) for group in groups]

    async def _call(self, method: str, path: str, body: str | None = None) -> int:
        async with self._session.request(method, self._url + path, data=body) as answer:
            answer.raise_for_status()
            return len(await answer.read())


async def load(call: Call, seconds: float, workers: int) -> tuple[int, int, float]:
    """Make calls from some workers for so long; give calls, bytes and the seconds it took."""
    calls = size = 0
    begin = time.perf_counter()

    async def worker() -> None:
        nonlocal calls, size
        while time.perf_counter() - begin < seconds:
            answered = await call()
            size += answered  # apart from the await: others add in between
            calls += 1

    await asyncio.gather(*(worker() for _ in range(workers)))
    return calls, size, time.perf_counter() - begin


async def measured(pid: int, client: Client, seconds: float) -> list[dict[str, Any]]:
    """Run the cases one after the other; print and give their rows."""
    rows: list[dict[str, Any]] = []
    print(f"{'':24} {'calls/s':>9} {'MB/s':>7} {'KB/call':>8} {'CPU ms/call':>12}")
    for name, call, workers in client.cases():
        before = cpu_seconds(pid)
        calls, size, took = await load(call, seconds, workers)
        cpu_ms = (cpu_seconds(pid) - before) / calls * 1000
        rows.append(
            {"case": name, "calls_per_second": calls / took, "bytes": size, "cpu_ms_per_call": cpu_ms}
        )
        sizes = f"{size / took / 1e6:7.1f} {size / calls / 1000:8.1f}"
        print(f"{name:24} {calls / took:9.1f} {sizes} {cpu_ms:12.3f}")
    return rows


async def measure(
    sandbox: SandboxChild, trust: ssl.SSLContext, transport: str, seconds: float
) -> dict[str, Any]:
    """Ask one sandbox everything; give what came of it."""
    pid = sandbox.process.pid
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trust)
    # Left packed, because unpacking would be the client's work, and what counts is what the wire carries.
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        client = Client(session, sandbox.url)
        await client.find_tokens()
        found: dict[str, Any] = {"tokens": len(client.tokens), "mb_before_books": resident_mb(pid)}
        found["first_pass_seconds"] = await client.first_pass()
        found["mb_with_books"] = resident_mb(pid)
        print(
            f"{len(client.tokens)} tokens, {found['mb_before_books']} MB; every book once: "
            f"{found['first_pass_seconds']:.1f} s, then {found['mb_with_books']} MB"
        )
        if transport == "https+gzip":
            await client.compress()
        return found | {"transport": transport, "cases": await measured(pid, client, seconds)}


def transports(arguments: list[str], seconds: float) -> list[dict[str, Any]]:
    """Measure each transport against a sandbox of its own."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        trust = ssl.create_default_context(cafile=str(certificates.authority))
        for transport in TRANSPORTS:
            more = [] if transport == "http" else certificates.arguments
            begin = time.perf_counter()
            with SandboxChild.start([*arguments, *more]) as sandbox:
                started = time.perf_counter() - begin
                print(f"\n{transport}: serves after {started:.1f} s", end="; ")
                row = asyncio.run(measure(sandbox, trust, transport, seconds))
            found.append(row | {"start_seconds": started})
    return found


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


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, metavar="N", help="how long each case runs")
    parser.add_argument(
        "--listed-ahead-hours", metavar="H", help="as the sandbox's option: 24 tokens an hour"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    ahead = arguments.listed_ahead_hours
    found = transports(["--listed-ahead-hours", ahead] if ahead else [], arguments.seconds)
    ratio = compression()
    print(f"\ngzip ratio of one token polled each second: {ratio:.1f}")
    if arguments.json:
        text = json.dumps({"transports": found, "gzip_ratio": ratio}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
