"""A stop at the moment when a request is about to begin."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PATIENCE_SECONDS, PROJECT, Collector

if TYPE_CHECKING:
    from pathlib import Path

BEGINS_WHILE_STOPPING = """
import asyncio, sys
from orderbooks_spider.config import read_config
from orderbooks_spider.polymarket.endpoints import Ask
from orderbooks_spider.spiders.crawl import run_spider
from orderbooks_spider.spiders.polymarket_books import PolymarketBooksSpider

class Stopped(PolymarketBooksSpider):
    async def run_job(self):
        ask = Ask(self.run.config.venue.clob_url + "/time")
        self.stopping = asyncio.create_task(self.crawler.stop_async())  # its first step comes before theirs
        self.asked = [asyncio.create_task(self.fetcher.fetch(ask)) for _ in range(2)]
        await asyncio.Event().wait()  # until the stop cancels this job

    async def end_job(self):
        await super().end_job()
        for answer in await asyncio.gather(*self.asked):
            print(*answer.failure, answer.sent_ns)

raise SystemExit(run_spider(Stopped, read_config(sys.argv[1])))
"""


def test_request_that_begins_while_stopping_is_not_sent(tmp_path: Path) -> None:
    """A poll whose turn comes between the stop and the end of the job is our shutdown, not a fault."""
    with SandboxChild.start() as child:
        collector = Collector(tmp_path, child.url)
        ended = subprocess.run(
            [sys.executable, "-c", BEGINS_WHILE_STOPPING, str(collector.config_file)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["skipped shutdown None"] * 2, ended.stderr
