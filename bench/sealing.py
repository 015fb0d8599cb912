#!/usr/bin/env python3
"""What does sealing cost the event loop: in a child process, or in a thread?

A probe wakes each millisecond and notes how late it was, while the same rows are sealed again and
again (sorted, compressed, read back, described): alternately with nothing to do, in the `nice` child
that the collector uses, and in a thread.

Examples:
  python bench/sealing.py
  python bench/sealing.py --rows 12000 --rounds 7
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from bench import report
from orderbooks_spider.archive.child import run_in_child
from orderbooks_spider.archive.journal import Journal
from orderbooks_spider.archive.layout import Segment
from orderbooks_spider.archive.manifest import ManifestContext
from orderbooks_spider.archive.sealer import SealJob, run_job
from orderbooks_spider.clock import NS, SystemClock, parse_utc
from orderbooks_spider.items import BOOKS, PollItem
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import ClockMarkets
from orderbooks_spider.sandbox.noise import Spot

BEGIN_NS = parse_utc("2026-11-23T12:00:00Z")
PROBE_SECONDS = 0.001
WAYS = ("idle", "child", "thread")


def rows_of_books(count: int) -> list[bytes]:
    """Poll rows with the sandbox's moving books: both tokens of ten markets, each second."""
    markets = ClockMarkets(1).listed(BEGIN_NS)[:10]
    books = MovingBooks(Spot(1))
    encode = msgspec.json.Encoder().encode
    rows: list[bytes] = []
    while len(rows) < count:
        second, position = divmod(len(rows), 2 * len(markets))
        market, index = markets[position // 2], position % 2
        due_ns = BEGIN_NS + second * NS
        body = books.text(market, index, due_ns)
        item = PollItem(
            seq=len(rows) + 1,
            slot=due_ns // NS,
            due_ns=due_ns,
            result="ok",
            market_slug=market.slug,
            condition_id=market.condition_id,
            token_id=market.token_ids[index],
            outcome=("Up", "Down")[index],
            window_start="",
            window_end="",
            body=body.decode() if body is not None else None,
        )
        rows.append(encode(item) + b"\n")
    return rows


async def lags_during(way: str, rows: list[bytes], root: Path) -> list[float]:
    """How late the probe was, in ms, while one segment was sealed in this *way*."""
    names = Segment(root, BOOKS, "20261123T120000Z", "c0", "bench")
    journal = Journal(names.journal(1), root)
    for row in rows:
        journal.append(row)
    journal.finish()
    job = SealJob(
        root=str(root),
        stem=names.stem,
        journals=[journal.path.name],
        expected_bytes=0,
        sealed_at_utc="2026-11-23T13:00:00Z",
        previous_manifest_sha256=None,
        context=ManifestContext(environment="sandbox", collector_id="c0", run_id="bench"),
    )
    lags: list[float] = []
    gc.collect()
    gc.freeze()
    probing = asyncio.create_task(_probe(lags))
    if way == "child":
        await run_in_child(job)
    elif way == "thread":
        await asyncio.to_thread(run_job, job)
    else:
        await asyncio.sleep(1.0)
    probing.cancel()
    shutil.rmtree(root / "raw")
    return lags


async def _probe(lags: list[float]) -> None:
    clock = SystemClock()
    while True:
        before_ns = clock.monotonic_ns()
        await asyncio.sleep(PROBE_SECONDS)
        lags.append((clock.monotonic_ns() - before_ns) / 1e6 - PROBE_SECONDS * 1000)


def measure(rows: list[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Median over the rounds of each way's p99 and maximum lag, in ms."""
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                found[way].append(sorted(asyncio.run(lags_during(way, rows, Path(folder)))))
    return {
        way: {
            "p50_ms": statistics.median(lags[len(lags) // 2] for lags in runs),
            "p99_ms": statistics.median(lags[int(len(lags) * 0.99)] for lags in runs),
            "max_ms": statistics.median(lags[-1] for lags in runs),
            "worst_ms": max(lags[-1] for lags in runs),
        }
        for way, runs in found.items()
    }


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = report.parser(__doc__)
    parser.add_argument(
        "--rows", type=int, default=6000, metavar="N", help="rows of the segment (default 6000)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="alternating rounds (default 5)")
    arguments = parser.parse_args()
    machine = report.print_machine()
    rows = rows_of_books(arguments.rows)
    print(f"segment: {len(rows):,} rows, {sum(map(len, rows)) / 1e6:.1f} MB; probe each 1 ms\n")
    result = measure(rows, arguments.rounds)
    report.print_table(
        ["while", *(name.replace("_", " ") for name in result["idle"])],
        [[way, *(f"{value:.2f}" for value in numbers.values())] for way, numbers in result.items()],
    )
    report.write_json(arguments.json, {"machine": machine, "ways": result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
