"""What the log says: one summary a minute, and nothing per request or row."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Self

from scrapy import signals
from scrapy.logformatter import LogFormatter

from orderbooks_spider.clock import NS
from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from orderbooks_spider.clock import Clock
    from orderbooks_spider.tally import Tally

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0


class QuietLogFormatter(LogFormatter):
    """No line for a request or a row: at 20 polls a second they would bury what matters."""

    def crawled(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Say nothing."""

    def scraped(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Say nothing."""


class MinuteLog:
    """Logs what the last minute's polls came to."""

    def __init__(self, tally: Tally, clock: Clock) -> None:
        self._tally = tally
        self._clock = clock
        self._since_ns = clock.monotonic_ns()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read the run's tally."""
        run = run_of(crawler.settings)
        extension = cls(run.tally, run.clock)
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signal=signals.spider_closed)
        return extension

    def spider_opened(self) -> None:
        """Begin the minutes."""
        self._task = asyncio.ensure_future(self._log_minutes())

    def spider_closed(self) -> None:
        """Log what is left of the last minute."""
        if self._task is not None:
            self._task.cancel()
        self._log()

    async def _log_minutes(self) -> None:
        while True:
            await self._clock.sleep(INTERVAL_SECONDS)
            self._log()

    def _log(self) -> None:
        minute = self._tally.take()
        if minute.results:
            now_ns = self._clock.monotonic_ns()
            seconds, self._since_ns = (now_ns - self._since_ns) / NS, now_ns
            logger.info("last %.0f s: %s", seconds, minute.line())
