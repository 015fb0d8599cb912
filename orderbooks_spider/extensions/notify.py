"""Tell the service manager how the collector is: started, alive and storing, stopping.

The watchdog is fed while *the loop is alive and what was stored is durable*; nothing else can be mended by
a restart.  A venue that is away is no reason, nor is a full disk for which polling pauses.
Where nobody listens (no ``NOTIFY_SOCKET``) the extension is off.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Self

from scrapy import signals
from scrapy.exceptions import NotConfigured

from orderbooks_spider.clock import NS
from orderbooks_spider.run import job_begins, job_ends, run_of
from orderbooks_spider.sd_notify import READY, STOPPING, WATCHDOG, ServiceManager, extend_timeout, status

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from orderbooks_spider.run import Run

logger = logging.getLogger(__name__)

UNWATCHED_SECONDS = 10.0
"""How often the status is told where no watchdog sets the pace."""
SEALING_SECONDS = 120.0
"""What is asked for when the job has ended: the last blocks are compressed and sealed (seconds, mostly)."""


class Notify:
    """Feeds the watchdog three times in its period, each time with one line of status."""

    def __init__(self, manager: ServiceManager, run: Run) -> None:
        self._manager = manager
        self._run = run
        watchdog_ns = manager.watchdog_ns
        self._interval_ns = round(UNWATCHED_SECONDS * NS) if watchdog_ns is None else watchdog_ns // 3
        self._patience_ns = self._interval_ns + round(run.config.archive.fsync_seconds * NS)
        self._telling: asyncio.Task[None] | None = None
        self._stopping = False
        self._unheard = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the job.

        Raises:
            NotConfigured: nobody listens.

        """
        manager = ServiceManager.of(os.environ)
        if manager is None:
            raise NotConfigured
        notify = cls(manager, run_of(crawler.settings))
        crawler.signals.connect(notify.job_begins, signal=job_begins)
        crawler.signals.connect(notify.job_ends, signal=job_ends)
        crawler.signals.connect(notify.spider_closed, signal=signals.spider_closed)
        return notify

    def job_begins(self) -> None:
        """The archive is open and polling begins, whether or not the venue is there."""
        self._send(READY, status(f"run {self._run.run_id} begins"))
        self._telling = asyncio.create_task(self._tell())

    def job_ends(self) -> None:
        """Nothing more is sent to the venue; the files are sealed now."""
        self._stopping = True
        self._send(STOPPING, extend_timeout(SEALING_SECONDS), *self._lines())

    def spider_closed(self) -> None:
        """Every file is sealed, or left to recovery."""
        if self._telling is not None:
            self._telling.cancel()

    async def _tell(self) -> None:
        while True:
            self._send(*self._lines())
            await asyncio.sleep(self._interval_ns / NS)

    def _lines(self) -> list[str]:
        run = self._run
        if self._stopping:
            return [WATCHDOG, status("stopping: sealing files")]
        silent_ns = run.clock.monotonic_ns() - run.durable_ns
        if silent_ns > self._patience_ns:
            return [status(f"run {run.run_id}: nothing was made durable for {silent_ns / NS:.0f} s")]
        if run.storage_pause is not None:
            return [WATCHDOG, status(f"run {run.run_id}: polling pauses, storage: {run.storage_pause}")]
        polls = run.tally.results
        return [
            WATCHDOG,
            status(f"run {run.run_id}: {polls.total()} slots this minute, {polls['ok']} answered"),
        ]

    def _send(self, *assignments: str) -> None:
        """Send, and say once when nobody hears: the manager's ear is no reason to lose a poll."""
        try:
            self._manager.send(*assignments)
        except OSError as error:
            if not self._unheard:
                logger.warning("the service manager does not hear: %s: %s", self._manager.address, error)
            self._unheard = True
        else:
            self._unheard = False
