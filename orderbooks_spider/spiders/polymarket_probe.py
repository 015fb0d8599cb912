"""One probe of the venue's public sources, through the same downloader as every poll; no archive is touched.

So the rules of sending are those of the collector: only the config's hosts, only GET and ``POST /books``,
each request once, no redirect followed, the config's User-Agent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import msgspec

from orderbooks_spider import __version__
from orderbooks_spider.archive.durable import atomic_write, makedirs
from orderbooks_spider.errors import ClaimError, ConfigError, OrderbooksError, VenueError
from orderbooks_spider.polymarket.probe.page import PAGE_FILE, as_markdown
from orderbooks_spider.polymarket.probe.result import JSON_FILE, RAW_FILE, Result, as_json, raw_answers
from orderbooks_spider.polymarket.probe.survey import Survey
from orderbooks_spider.spiders.base import ArchiveSpider
from orderbooks_spider.spiders.fetch import Fetcher

if TYPE_CHECKING:
    from pathlib import Path

    from scrapy.crawler import Crawler

logger = logging.getLogger(__name__)

_NOT_KEPT = frozenset({"set-cookie"})


class PublicSourcesProbe(ArchiveSpider):
    """Asks, compares, writes its three files, and ends.

    It has no name among the project's spiders, so that no scheduler offers it: a probe is run by somebody
    who reads the page.
    """

    custom_settings = {"ITEM_PIPELINES": {}, "EXTENSIONS": {}}  # noqa: RUF012 - Scrapy's way to say it

    fetcher: Fetcher
    out: Path
    window_end: bool

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Check config and folder before anything is sent; *out* is where to write, *window_end* what to see.

        Raises:
            ConfigError: the config cannot be used, or *out* holds a probe of the other environment.
            StorageError: *out* cannot be made.

        """
        out, window_end = kwargs.pop("out"), kwargs.pop("window_end")
        spider = super().from_crawler(crawler, *args, name="polymarket_probe", **kwargs)
        spider.out, spider.window_end = out, window_end
        _check_environment(out / JSON_FILE, spider.run.config.environment)
        makedirs(out)
        spider.fetcher = Fetcher(crawler, spider.run.run_id, keep=_all_but_cookies)
        return spider

    async def run_job(self) -> None:
        """Ask, and write what was seen, also when it is cut short."""
        run = self.run
        survey = Survey(run.config, run.clock, self.fetcher.fetch, window_end=self.window_end)
        logger.info("asking at most %d requests", survey.at_most)
        try:
            try:
                await survey.run()
            finally:
                self._tell(survey)
        except OrderbooksError as error:
            run.failure = error
            logger.error("%s", error)  # noqa: TRY400 - its one line says it all
        except Exception as error:
            run.failure = OrderbooksError(f"the probe ended: {type(error).__name__}: {error}")
            logger.exception("the probe ended by an internal error")

    async def end_job(self) -> None:
        """Let nothing more be sent."""
        self.fetcher.close()

    def _tell(self, survey: Survey) -> None:
        """Write the files, and end the run with what they say.

        Raises:
            StorageError: they cannot be written.
            VenueError: no market or no book was read.
            ClaimError: a claim does not hold.

        """
        config = self.run.config
        result = Result(
            seen=survey.seen,
            gamma_url=config.venue.gamma_url,
            clob_url=config.venue.clob_url,
            user_agent=config.venue.user_agent,
            collector_version=__version__,
            started_ns=self.run.started_ns,
            ended_ns=self.run.clock.wall_ns(),
            requests=survey.sent,
            requests_at_most=survey.at_most,
        )
        raw = raw_answers(result)
        for name, data in (
            (RAW_FILE, raw), (JSON_FILE, as_json(result, raw)), (PAGE_FILE, as_markdown(result))
        ):  # fmt: skip
            atomic_write(self.out / name, data)
        page = self.out / PAGE_FILE
        logger.info("%d requests; written to %s", survey.sent, page)
        if not (result.market_read and result.book_read):
            raise VenueError(f"no market or no book could be read: see {page}")
        if refuted := result.refuted():
            raise ClaimError(f"{len(refuted)} claims do not hold: see {page}")


def _check_environment(file: Path, environment: str) -> None:
    try:
        told = msgspec.json.decode(file.read_bytes(), type=_Told).environment
    except FileNotFoundError:
        return
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file}: expected an older probe, or nothing: {error}") from error
    if told != environment:
        raise ConfigError(
            f"{file}: a {told} probe is there, and this one is {environment}: "
            "move it away, or choose another folder"
        )


class _Told(msgspec.Struct):
    environment: str


def _all_but_cookies(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _NOT_KEPT}
