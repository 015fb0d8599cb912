"""Give each row what only the run knows: who wrote it, its number in the feed, its ISO times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from orderbooks_spider import __version__
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.items import EventItem, MarketItem, PollItem, Row, Rows, rows_of
from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

Item = TypeVar("Item", PollItem, MarketItem, EventItem, Rows)

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
        for row in rows_of(item):
            self._stamp(row)
        return item

    def _stamp(self, row: Row) -> None:
        row.run_id = self._run_id
        row.collector_id = self._collector_id
        row.collector = COLLECTOR
        row.collector_version = __version__
        row.environment = self._environment
        if isinstance(row, PollItem):
            if row.received_ns is not None:
                row.collected_at_utc = iso_utc(row.received_ns)
        elif isinstance(row, MarketItem):
            row.observed_at = iso_utc(row.observed_ns)
        else:
            row.at_utc = iso_utc(row.at_ns)
