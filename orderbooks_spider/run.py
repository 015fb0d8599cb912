"""One life of one collector process: what its spider, pipelines and download handler share."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orderbooks_spider.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orderbooks_spider.clock import Clock
    from orderbooks_spider.config import Config
    from orderbooks_spider.errors import OrderbooksError

SETTING = "ORDERBOOKS_RUN"
"""The Scrapy setting under which the run is found."""

job_begins = object()
"""Scrapy signal: rows may be written from now on, events by ``write_event``; nothing has been sent yet."""
job_ends = object()
"""Scrapy signal: nothing more is sent; the handlers' rows are the run's last."""


@dataclass(slots=True)
class Run:
    """Identity, settings and end of a run."""

    config: Config
    clock: Clock
    started_ns: int
    run_id: str = field(default_factory=lambda: secrets.token_hex(4))
    tally: Tally = field(default_factory=Tally)
    failure: OrderbooksError | None = None
    """What ended the run before it was asked to stop."""
    visited_until_ns: int = 0
    """The latest slot (due, UTC) that the archive held when the run began."""
    storage_pause: str | None = None
    """Why rows cannot be stored now: nothing is sent meanwhile.  ``None``: they can."""
    durable_ns: int = 0
    """Monotonic: rows stored before it outlast a power loss; during a pause, when storage was last tried."""
    _ended: asyncio.Event | None = None

    def begin(self) -> None:
        """The spider's job starts: rows may come until :meth:`end`."""
        self._ended = asyncio.Event()

    def end(self) -> None:
        """The last row was handed over."""
        if self._ended is not None:
            self._ended.set()

    async def ended(self) -> None:
        """Wait for the last row; the pipelines close only then.  At once if the job never began."""
        if self._ended is not None:
            await self._ended.wait()


def run_of(settings: Mapping[str, Any]) -> Run:
    """The run that the spider put into Scrapy's *settings*."""
    run = settings[SETTING]
    assert isinstance(run, Run)
    return run
