"""Event rows about time: how good the host's clock is, and how late the event loop wakes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import msgspec

from orderbooks_spider.clock import SystemClock
from orderbooks_spider.host_clock import CLOCK_QUALITY, read_clock_quality
from orderbooks_spider.loop_lag import LOOP_LAG, LoopLag
from orderbooks_spider.run import job_begins, job_ends

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy.crawler import Crawler

    WriteEvent = Callable[..., Awaitable[None]]

INTERVAL_SECONDS = 60.0


class ClockWatch:
    """Writes ``clock_quality`` before the first poll, then both rows each minute and after the last poll.

    It watches the host, also where the run's own clock is a simulated one.
    """

    def __init__(self) -> None:
        self._lag = LoopLag(SystemClock())
        self._ending = asyncio.Event()
        self._sampling: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the job: only while it lasts can rows be written."""
        watch = cls()
        crawler.signals.connect(watch.job_begins, signal=job_begins)
        crawler.signals.connect(watch.job_ends, signal=job_ends)
        return watch

    async def job_begins(self, write_event: WriteEvent) -> None:
        """Write the first row, and begin the minutes."""
        await _write_quality(write_event)
        self._sampling = asyncio.create_task(self._lag.watch())
        self._writing = asyncio.create_task(self._write_minutes(write_event))

    async def job_ends(self) -> None:
        """Write the last rows."""
        self._ending.set()
        if self._sampling is not None:
            self._sampling.cancel()
        if self._writing is not None:
            await self._writing

    async def _write_minutes(self, write_event: WriteEvent) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), INTERVAL_SECONDS)
            await _write_quality(write_event)
            await write_event(LOOP_LAG, **self._lag.take())


async def _write_quality(write_event: WriteEvent) -> None:
    await write_event(CLOCK_QUALITY, **msgspec.to_builtins(read_clock_quality()))
