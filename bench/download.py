#!/usr/bin/env python3
"""What does one poll cost on its way through Scrapy, by download handler and event loop?

Each child process sends the same GETs for one book through ``engine.download_async``, with the
project's settings, to a sandbox exchange on loopback; only the handler (or the loop) differs.  Start-up
is not counted: the child measures its own CPU (user and system) from the first request to the last.
Rounds alternate; the table gives medians, and per round the ratio to Scrapy's default handler.

Examples:
  python bench/download.py
  python bench/download.py --requests 20000 --rounds 5 --json download.json
  pip install uvloop && python bench/download.py --uvloop

"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.settings import Settings

from orderbooks_spider.clock import SystemClock
from orderbooks_spider.config import Config, Venue
from orderbooks_spider.run import SETTING, Run
from orderbooks_spider.sandbox.child import SandboxChild

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEFAULT = "scrapy.core.downloader.handlers.http11.HTTP11DownloadHandler"
OURS = "orderbooks_spider.extensions.download.StampingDownloadHandler"
ABREAST = 16
"""Requests on their way at once, as in a busy tick."""


def cpu_seconds() -> float:
    """User and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class LoadSpider(Spider):
    """Sends *count* requests and prints the CPU milliseconds that one took."""

    name = "load"

    async def start(self) -> AsyncIterator[Any]:
        """Warm up with a tenth, then measure."""
        await self._send(self.count // 10)
        before = cpu_seconds()
        await self._send(self.count)
        print(json.dumps((cpu_seconds() - before) / self.count * 1000), flush=True)
        if False:  # what makes this an asynchronous generator, as Scrapy wants it
            yield

    async def _send(self, count: int) -> None:
        engine = self.crawler.engine
        assert engine is not None

        async def one_after_the_other() -> None:
            for _ in range(count // ABREAST):
                request = Request(
                    self.url,
                    meta={"download_slot": "venue", "verbatim_url": True, "gate": None},
                    dont_filter=True,
                )
                response = await engine.download_async(request)
                assert response.status == 200

        await asyncio.gather(*(one_after_the_other() for _ in range(ABREAST)))


def child(handler: str, loop: str, url: str, count: int) -> None:
    """Run the spider in this process."""
    settings = Settings()
    settings.setmodule("orderbooks_spider.settings", priority="project")
    settings.setdict(
        {
            "DOWNLOAD_HANDLERS": {"http": handler},
            "ASYNCIO_EVENT_LOOP": loop or None,
            "EXTENSIONS": {},
            "ITEM_PIPELINES": {},
            "LOG_LEVEL": "WARNING",
        },
        priority="cmdline",
    )
    address = url.partition("/book")[0]
    config = Config(environment="sandbox", venue=Venue(gamma_url=address, clob_url=address))
    settings.set(SETTING, Run(config, SystemClock(), 0), priority="cmdline")
    process = AsyncCrawlerProcess(settings)
    process.crawl(LoadSpider, url=url, count=count)
    process.start()


def measured(handler: str, loop: str, url: str, count: int) -> float:
    """CPU milliseconds per request of one child process."""
    command = [sys.executable, __file__, "--child", handler, loop, url, "--requests", str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def book_url(exchange: str) -> str:
    """The address of an open market's book."""
    with urllib.request.urlopen(f"{exchange}/events/keyset?closed=false&series_id=10684&limit=5") as answer:
        events = json.load(answer)["events"]
    token_id = json.loads(events[0]["markets"][0]["clobTokenIds"])[0]
    return f"{exchange}/book?token_id={token_id}"


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=8000, help="per child (default 8000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uvloop", action="store_true", help="also with uvloop, which must be installed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child, args.requests)
        return 0
    variants = {"Scrapy's default (Twisted)": (DEFAULT, ""), "ours (aiohttp)": (OURS, "")}
    if args.uvloop:
        variants["ours, uvloop"] = (OURS, "uvloop.Loop")
    found: dict[str, list[float]] = {name: [] for name in variants}
    exchange = SandboxChild.start()
    try:
        url = book_url(exchange.url)
        for _ in range(args.rounds):
            for name, (handler, loop) in variants.items():
                found[name].append(measured(handler, loop, url, args.requests))
    finally:
        exchange.stop()
    base = found["Scrapy's default (Twisted)"]
    print("| handler | CPU ms per request | ratio to the default | ratios, least to most |")
    print("|---|---:|---:|---|")
    for name, values in found.items():
        ratios = sorted(value / first for value, first in zip(values, base, strict=True))
        print(
            f"| {name} | {statistics.median(values):.3f} | {statistics.median(ratios):.2f} "
            f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
