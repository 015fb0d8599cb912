"""The dead man's ping: a GET to the configured URL once a minute, only while the collector is healthy.

Whoever waits for it raises the alarm when it stays away, whatever the reason.  It carries the heads of the
manifest chains, so that they are kept outside this host; their form is that of ``verify --expect-head``.
The URL may be a secret: neither it nor the text of an error, which may quote it, is ever logged or stored.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.status.beat import Ping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orderbooks_spider.run import Run

INTERVAL_SECONDS = 60.0
TIMEOUT_SECONDS = 3.0

logger = logging.getLogger(__name__)


class DeadManPing:
    """Sends beside everything else; whatever goes wrong is counted, and logged where it begins and ends."""

    def __init__(self, url: str, run: Run) -> None:
        self.told = Ping()
        """What the health file says of it."""
        self._url = url
        self._clock = run.clock
        self._collector_id = run.config.archive.collector_id
        self._user_agent = run.config.venue.user_agent
        self._session: aiohttp.ClientSession | None = None
        self._sending: asyncio.Task[None] | None = None
        self._sent_ns: int | None = None

    def open(self) -> None:
        """Read the roots of trust now, which takes milliseconds, and not while polls are due."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(), force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            headers={"User-Agent": self._user_agent},
        )

    async def close(self) -> None:
        """End what is under way."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        if self._session is not None:
            await self._session.close()

    def send_if_due(self, heads: Mapping[str, str | None]) -> None:
        """Send one if the last was sent a minute ago; does not wait for it.

        *heads* is the digest of each feed's newest manifest, ``None`` before the first.
        """
        now_ns = self._clock.monotonic_ns()
        if self._sent_ns is not None and now_ns - self._sent_ns < INTERVAL_SECONDS * NS:
            return
        self._sent_ns = now_ns
        self._sending = asyncio.create_task(self._send(with_heads(self._url, self._collector_id, heads)))

    async def _send(self, url: str) -> None:
        assert self._session is not None
        try:
            async with self._session.get(URL(url, encoded=True), allow_redirects=False) as answer:
                failure = None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            failure = type(error).__name__
        self._note(failure)

    def _note(self, failure: str | None) -> None:
        before, self.told.failing = self.told.failing, failure
        if failure is None:
            self.told.sent += 1
            self.told.last_ok_utc = iso_utc(self._clock.wall_ns())
            if before is not None:
                logger.info("the health ping is answered again")
        else:
            self.told.failed += 1
            if before is None:
                logger.warning("the health ping fails (%s): the watcher will think us dead", failure)


def with_heads(url: str, collector_id: str, heads: Mapping[str, str | None]) -> str:
    """*url* with ``FEED/COLLECTOR=SHA256`` of each known head behind its query."""
    known = [f"{feed}/{collector_id}={sha256}" for feed, sha256 in heads.items() if sha256 is not None]
    if not known:
        return url
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(known)}"
