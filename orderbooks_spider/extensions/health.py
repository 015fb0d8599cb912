"""The collector's own word about its health: the health file, one log line per change, and the ping.

What is said and when it is healthy is decided in ``orderbooks_spider/status/``.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from orderbooks_spider.archive.durable import free_bytes, replace_unflushed
from orderbooks_spider.archive.layout import health_file
from orderbooks_spider.errors import StorageError
from orderbooks_spider.extensions.ping import DeadManPing
from orderbooks_spider.run import job_begins, job_ends, run_of
from orderbooks_spider.status.beat import INTERVAL_SECONDS, beat_of, vitals_of
from orderbooks_spider.status.verdict import judge, judge_disk, state_of
from orderbooks_spider.status.vitals import Disk

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from orderbooks_spider.run import Run
    from orderbooks_spider.status.verdict import Finding, State

logger = logging.getLogger(__name__)


class Health:
    """Judges the run every ten seconds while its job lasts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._root = Path(run.config.archive.root)
        self._path = health_file(self._root, run.config.archive.collector_id)
        self._state: State | None = None
        self._unwritten = False
        self._beating: asyncio.Task[None] | None = None
        url = run.config.health.ping_url
        self._ping = None if url is None else DeadManPing(url, run)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the job: before it nobody holds the archive."""
        health = cls(run_of(crawler.settings))
        crawler.signals.connect(health.job_begins, signal=job_begins)
        crawler.signals.connect(health.job_ends, signal=job_ends)
        return health

    async def job_begins(self) -> None:
        """Begin to beat."""
        if self._ping is not None:
            self._ping.open()
        self._beating = asyncio.create_task(self._beat_on())

    async def job_ends(self) -> None:
        """Tell the last numbers of the run."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
            await self._beat()
        if self._ping is not None:
            await self._ping.close()

    async def _beat_on(self) -> None:
        while True:
            try:
                await self._beat()
            except Exception:  # a bug here must not end what tells of all others
                logger.exception("the health of the run could not be told")
            await self._run.clock.sleep(INTERVAL_SECONDS)

    async def _beat(self) -> None:
        disk = await asyncio.to_thread(self._look_at_disk)  # the system may make us wait for either
        vitals = vitals_of(self._run)
        findings = [*judge(vitals), *([] if disk is None else judge_disk(disk))]
        state = state_of(findings)
        self._say(state, findings)
        if self._ping is not None and state == "healthy":
            self._ping.send_if_due(self._run.pulse.heads)
        ping = None if self._ping is None else self._ping.told
        content = msgspec.json.encode(beat_of(self._run, vitals, state, findings, ping))
        await asyncio.to_thread(self._write, content)

    def _look_at_disk(self) -> Disk | None:
        try:
            free = free_bytes(self._root)
        except StorageError:
            return None  # the feed pipeline meets it too, and pauses
        return Disk(free_bytes=free, min_free_bytes=self._run.config.archive.min_free_bytes)

    def _write(self, content: bytes) -> None:
        try:
            replace_unflushed(self._path, content)
            self._unwritten = False
        except StorageError as error:
            if not self._unwritten:
                logger.warning("health file not written: %s", error)
            self._unwritten = True

    def _say(self, state: State, findings: list[Finding]) -> None:
        """One line where the state changes; a run that has only begun is not worth one."""
        names = {finding.name for finding in findings if finding.level != "note"}
        if state == self._state or (self._state is None and names == {"starting"}):
            return
        before, self._state = self._state, state
        why = "; ".join(finding.text for finding in findings if finding.level == state)
        change = state if before is None else f"{before} -> {state}"
        logger.log(
            logging.INFO if state == "healthy" else logging.WARNING,
            "health: %s", f"{change}: {why}" if why else change,
        )  # fmt: skip
