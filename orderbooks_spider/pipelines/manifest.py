"""Keep the run manifest: what the run sealed, what its polls came to, how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
from scrapy import signals

from orderbooks_spider.archive.sealer import SealInfo
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.errors import StorageError
from orderbooks_spider.items import FEED_OF, EventItem, MarketItem, PollItem, Rows, rows_of
from orderbooks_spider.pipelines.feed import archive_opened, segment_sealed
from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from orderbooks_spider.archive.runs import RunFile
    from orderbooks_spider.run import Run

Item = TypeVar("Item", PollItem, MarketItem, EventItem, Rows)

logger = logging.getLogger(__name__)


class ManifestPipeline:
    """Counts rows, and rewrites the run manifest at each seal and at the end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._run_file: RunFile | None = None
        self._counts: Counter[str] = Counter()
        self._saving: asyncio.Future[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to seals, and to the end: ``spider_closed`` comes after every feed is sealed."""
        pipeline = cls(run_of(crawler.settings))
        crawler.signals.connect(pipeline.archive_opened, signal=archive_opened)
        crawler.signals.connect(pipeline.segment_sealed, signal=segment_sealed)
        crawler.signals.connect(pipeline.spider_closed, signal=signals.spider_closed)
        return pipeline

    def process_item(self, item: Item) -> Item:
        """Count rows that the archive has taken."""
        for row in rows_of(item):
            self._counts[f"{FEED_OF[type(row)]}_rows"] += 1
            if isinstance(row, PollItem):
                self._counts[f"polls_{row.result}"] += 1
        return item

    def archive_opened(self, run_file: RunFile) -> None:
        """Take over the run manifest."""
        self._run_file = run_file

    def segment_sealed(self, detail: dict[str, Any]) -> None:
        """Add the segment; the file is written in a thread, for it is flushed to the disk."""
        run_file = self._run_file
        assert run_file is not None
        run_file.add(msgspec.convert(detail, SealInfo))
        run_file.manifest.counts = dict(sorted(self._counts.items()))
        if self._saving is None or self._saving.done():
            self._saving = asyncio.ensure_future(asyncio.to_thread(_save, run_file))

    async def spider_closed(self, reason: str) -> None:
        """Write how the run ended."""
        run_file = self._run_file
        if run_file is None:
            return
        if self._saving is not None:
            await self._saving
        failure = self._run.failure
        run_file.manifest.counts = dict(sorted(self._counts.items()))
        run_file.manifest.stopped_utc = iso_utc(self._run.clock.wall_ns())
        run_file.manifest.stop_reason = reason if failure is None else str(failure)
        _save(run_file)


def _save(run_file: RunFile) -> None:
    try:
        run_file.save()
    except StorageError as error:
        logger.warning("run manifest not written: %s", error)
