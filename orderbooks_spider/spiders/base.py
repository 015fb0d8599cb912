"""What both spiders share: the config, the run, and the way a row reaches the pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec
from scrapy import Spider, signals

from orderbooks_spider.config import Config, Venue, read_config
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.items import EventItem, MarketItem
from orderbooks_spider.polymarket.answers import Answer, result_of, text_of
from orderbooks_spider.run import SETTING, Run, job_begins, job_ends
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.simulated_clock import VARIABLE, SimulatedClock, clock_of, let_time_wait
from orderbooks_spider.spiders.stop import stop_on_signals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler

    from orderbooks_spider.items import Row, Rows
    from orderbooks_spider.polymarket.gamma import Refusal, Sighting


class ArchiveSpider(Spider):
    """A spider that writes to the archive: one object is one run."""

    run: Run

    @classmethod
    def from_crawler(
        cls, crawler: Crawler, *args: Any, config: Config | str | None = None, **kwargs: Any
    ) -> Self:
        """Read the config file; ``ORDERBOOKS_CONFIG`` where *config* is not given, else the live example.

        Raises:
            ConfigError: the file cannot be used.

        """
        spider = super().from_crawler(crawler, *args, **kwargs)
        chosen = config if isinstance(config, Config) else read_config(config)
        clock = clock_of()
        if isinstance(clock, SimulatedClock) and not (chosen.environment == "sandbox" and chosen.on_loopback):
            raise ConfigError(
                f"{VARIABLE}: a simulated clock is for environment: sandbox with venue URLs on 127.0.0.1 only"
            )
        spider.run = Run(_with_sandbox(chosen, crawler), clock, clock.wall_ns())
        crawler.settings.set(SETTING, spider.run, priority="spider")
        return spider

    async def start(self) -> AsyncIterator[Any]:
        """Run the job; rows go to the pipelines from where they arise, so nothing is yielded."""
        self.run.begin()
        let_time_wait(self.run.clock)
        stop_on_signals(self.crawler)  # under `scrapy crawl` and scrapyd too
        try:
            await self.crawler.signals.send_catch_log_async(job_begins, write_event=self.event)
            await self.run_job()
        finally:
            try:
                await self.end_job()
            finally:  # whatever a bug there does, the pipelines must not wait for ever
                await self.crawler.signals.send_catch_log_async(job_ends)
                self.run.end()
        if False:  # what makes this an asynchronous generator, as Scrapy wants it
            yield

    async def run_job(self) -> None:
        """Do what the spider is for, until done or cancelled."""
        raise NotImplementedError

    async def end_job(self) -> None:
        """Write what is still owed; runs however :meth:`run_job` ended."""

    async def emit(self, item: Row | Rows) -> None:
        """Send a row, or some, through the pipelines."""
        await self.crawler.engine.scraper.start_itemproc_async(item, response=None)

    async def event(self, event: str, **detail: Any) -> None:
        """Write an event row."""
        await self.emit(EventItem(event=event, at_ns=self.run.clock.wall_ns(), detail=detail))

    async def keep_answer(self, answer: Answer) -> None:
        """Write a raw Gamma answer as it came."""
        result, reason = result_of(answer)
        body, encoding = text_of(answer.body)
        await self.emit(
            MarketItem(
                kind="answer",
                observed_ns=answer.received_ns or self.run.clock.wall_ns(),
                sent_ns=answer.sent_ns,
                received_ns=answer.received_ns,
                elapsed_ns=answer.elapsed_ns,
                result=result,
                reason=reason,
                status=answer.status,
                method=answer.ask.method,
                url=answer.ask.url,
                params=answer.ask.params or None,
                request_id=answer.request_id,
                headers=answer.headers or None,
                body=body,
                body_encoding=encoding,
            )
        )

    async def keep_sighting(self, sighting: Sighting) -> None:
        """Write a market record; ``request_id`` names the answer it was read from."""
        market, answer = sighting.market, sighting.answer
        await self.emit(
            MarketItem(
                kind="market",
                observed_ns=answer.received_ns or self.run.clock.wall_ns(),
                url=answer.ask.url,
                request_id=answer.request_id,
                market_slug=market.market_slug,
                condition_id=market.condition_id,
                market=market.record(),
            )
        )

    async def keep_refusal(self, refusal: Refusal) -> None:
        """Write that a market is not followed, or no longer, and why."""
        answer = refusal.answer
        await self.emit(
            MarketItem(
                kind="gave_up" if refusal.gave_up else "refused",
                observed_ns=(answer.received_ns if answer else None) or self.run.clock.wall_ns(),
                reason=refusal.reason,
                request_id=answer.request_id if answer else None,
                market_slug=refusal.market_slug,
            )
        )


def _with_sandbox(config: Config, crawler: Crawler) -> Config:
    """Start the embedded sandbox exchange if the config asks for it, and put its address in."""
    if not config.venue.embedded:
        return config
    child = SandboxChild.start()
    crawler.signals.connect(child.stop, signal=signals.engine_stopped, weak=False)
    venue = Venue(gamma_url=child.url, clob_url=child.url, user_agent=config.venue.user_agent)
    return msgspec.structs.replace(config, venue=venue)
