"""Give each row what only the run knows: who wrote it, its number in the feed, its ISO times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from orderbooks_spider import __version__
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.items import EventItem, MarketItem, PollItem
from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

Item = TypeVar("Item", PollItem, MarketItem, EventItem)

COLLECTOR = "orderbooks_spider"


class StampPipeline:
    """Stamps rows of any feed; the feed pipeline numbers them."""

    def __init__(self, run_id: str, collector_id: str, environment: str) -> None:
        self._run_id = run_id
        self._collector_id = collector_id
        self._environment = environment

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Take the run from the settings."""
        run = run_of(crawler.settings)
        return cls(run.run_id, run.config.archive.collector_id, run.config.environment)

    def process_item(self, item: Item) -> Item:
        """Fill the fields that start as ``None``."""
        item.run_id = self._run_id
        item.collector_id = self._collector_id
        item.collector = COLLECTOR
        item.collector_version = __version__
        item.environment = self._environment
        if isinstance(item, PollItem):
            if item.received_ns is not None:
                item.collected_at_utc = iso_utc(item.received_ns)
        elif isinstance(item, MarketItem):
            item.observed_at = iso_utc(item.observed_ns)
        else:
            item.at_utc = iso_utc(item.at_ns)
        return item
