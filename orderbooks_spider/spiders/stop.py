"""Stop at the first SIGTERM or SIGINT, whenever it comes, and let no further one cut the stop short."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)

STOP_CHECK_SECONDS = 0.05
"""How often a stop that came early looks whether the spider is open."""


def stop_on_signals(crawler: Crawler, crawl: asyncio.Future[None] | None = None) -> None:
    """End *crawler* by its own rules on SIGTERM or SIGINT; *crawl* is needed where it may not be open yet.

    Scrapy's handlers lose files at both ends (seen): a signal while the spider is being opened stops the
    reactor under it, and a second one skips the closing hooks.  systemd sends two to whatever runs below a
    main process that ends before it, as spiders run below scrapyd (seen).
    """
    loop = asyncio.get_event_loop()
    stops: list[asyncio.Task[None]] = []

    def ask_to_stop() -> None:
        if stops:
            logger.info("already stopping: open polls are written and files sealed")
        else:
            stops.append(loop.create_task(_stop_when_running(crawler, crawl)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)


async def _stop_when_running(crawler: Crawler, crawl: asyncio.Future[None] | None) -> None:
    while crawl is None or not crawl.done():
        if crawler._engine is not None and crawler._engine.running:  # noqa: SLF001 - no public way to ask
            await crawler.stop_async()
            return
        await asyncio.sleep(STOP_CHECK_SECONDS)
