"""One discovery pass: raw Gamma answers and market records to the ``markets`` feed, and a list beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orderbooks_spider import __version__
from orderbooks_spider.archive.durable import atomic_write
from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket.discovery import Discovery
from orderbooks_spider.polymarket.market_list import LIST_FILE, Origin, artefacts
from orderbooks_spider.spiders.base import ArchiveSpider
from orderbooks_spider.spiders.fetch import Fetcher

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.polymarket.endpoints import Ask
    from orderbooks_spider.polymarket.gamma import Pass

logger = logging.getLogger(__name__)


class PolymarketMarketsSpider(ArchiveSpider):
    """Lists the BTC up/down markets of the next hours once, and ends."""

    name = "polymarket_markets"

    fetcher: Fetcher

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Check the config file before anything is sent or written.

        Raises:
            ConfigError: the file cannot be used.

        """
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.fetcher = Fetcher(crawler, spider.run.run_id)
        return spider

    async def run_job(self) -> None:
        """Run the pass and write its rows and files."""
        await self.event("run_start", seconds=None)
        found = await Discovery(self.run.config, self.run.clock, self._fetch_and_keep).run_pass()
        for sighting in found.sightings:
            await self.keep_sighting(sighting)
        for refusal in found.refusals:
            await self.keep_refusal(refusal)
        self._write_list(found)

    async def end_job(self) -> None:
        """Let nothing more be sent."""
        self.fetcher.close()
        failure = str(self.run.failure) if self.run.failure else None
        await self.event("run_stop", slots_done_until_ns=None, failure=failure)

    async def _fetch_and_keep(self, ask: Ask) -> Answer:
        answer = await self.fetcher.fetch(ask)
        if answer.sent_ns is not None:
            await self.keep_answer(answer)
        return answer

    def _write_list(self, found: Pass) -> None:
        """Write the three discovery files; a pass that reached nobody leaves the older list alone."""
        if not found.reached:
            self.run.failure = VenueError(f"{self.run.config.venue.gamma_url} gave no usable answer")
            logger.error("%s", self.run.failure)
            return
        folder = Path(self.run.config.archive.root) / "discovery"
        origin = Origin(
            run_id=self.run.run_id,
            collector_version=__version__,
            environment=self.run.config.environment,
            gamma_url=self.run.config.venue.gamma_url,
            fetched_ns=self.run.clock.wall_ns(),
        )
        for name, data in artefacts(found, origin).items():
            atomic_write(folder / name, data)
        logger.info("%d markets listed in %s", len(found.sightings), folder / LIST_FILE)
