"""Run a spider through Scrapy's API and tell honestly how it ended.

`scrapy crawl` exits 0 even when ``start()`` raised, so operators and units use the scripts, and the
scripts use this.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.settings import Settings

from orderbooks_spider.errors import EXIT_INTERNAL, EXIT_OK, OrderbooksError
from orderbooks_spider.run import SETTING, run_of
from orderbooks_spider.spiders.stop import stop_on_signals

if TYPE_CHECKING:
    from orderbooks_spider.config import Config
    from orderbooks_spider.spiders.base import ArchiveSpider

logger = logging.getLogger(__name__)

_CHATTY = ("scrapy.utils.log", "scrapy.crawler", "scrapy.middleware", "scrapy.addons", "scrapy.core.engine")
"""Scrapy's start-up banner and versions: the run manifest has them, the operator's log need not."""


def run_spider(spider_class: type[ArchiveSpider], config: Config, **arguments: Any) -> int:
    """Crawl until done, stopped by SIGTERM or SIGINT, or failed; the exit code says which."""
    settings = Settings()
    settings.setmodule("orderbooks_spider.settings", priority="project")
    process = _quiet_process(settings)
    crawler = process.create_crawler(spider_class)
    task = process.crawl(crawler, config=config, **arguments)
    stop_on_signals(crawler, task)
    process.start(install_signal_handlers=False)
    failure = run_of(crawler.settings).failure if SETTING in crawler.settings else None
    if failure is not None:
        return failure.exit_code  # said when it happened
    error = task.exception() if task.done() and not task.cancelled() else None
    if error is None:
        return EXIT_OK
    if isinstance(error, OrderbooksError):
        logger.error("%s", error)
        return error.exit_code
    logger.error("the crawl failed: %s: %s", type(error).__name__, error)
    return EXIT_INTERNAL


def _quiet_process(settings: Settings) -> AsyncCrawlerProcess:
    """A process without Scrapy's banner; its set-up of logging resets levels that were set before."""
    logging.disable(logging.INFO)
    try:
        process = AsyncCrawlerProcess(settings)
    finally:
        logging.disable(logging.NOTSET)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return process
