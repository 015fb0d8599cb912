"""The download handler: the last code before the socket and the first after it.

It stamps a request here because nothing waits between this point and the socket.  The response has the
body as the venue meant it, decompressed; the headers as they came are in ``request.meta``, for Scrapy's
own header type would cost every poll more than its row does.  It refuses whatever the collector must
never send, and it never sends anything twice: aiohttp, as Twisted, repeats a request whose kept-alive
connection was reset, and the row would say ``ok`` for two polls (measured).

Why aiohttp and not Scrapy's default handler: ``docs/decisions/0004-polls-go-through-aiohttp.md``.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.exceptions import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
)
from scrapy.http import Response
from yarl import URL

from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler

SENT_NS = "sent_ns"
RECEIVED_NS = "received_ns"
ELAPSED_NS = "elapsed_ns"
RECEIVED_HEADERS = "received_headers"
"""Keys of ``request.meta`` that the handler fills."""
GATE = "gate"
"""Key of ``request.meta`` that it reads: a :class:`Gate` or ``None``."""

TRUNCATED = "dataloss"
"""Flag of a response of which only a part arrived; Scrapy's word for it."""


class ForeignRequestError(IgnoreRequest):
    """A request that this project never sends."""


class AnswerTooLargeError(DownloadCancelledError):
    """More bytes than ``DOWNLOAD_MAXSIZE`` came; the rest was not read."""


class StampingDownloadHandler(BaseDownloadHandler):
    """HTTP/1.1 with stamps, without silent repeats, and only to the configured hosts."""

    lazy = True  # the session wants a running loop

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        run = run_of(crawler.settings)
        timeout_seconds = run.clock.timer_seconds(run.config.polling.timeout_seconds)
        self._hosts = run.config.hosts
        self._clock = run.clock
        self._max_bytes = crawler.settings.getint("DOWNLOAD_MAXSIZE")
        self._session = aiohttp.ClientSession(
            # No limit of connections: a poll that waited for one would be stamped before it was sent.
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            headers={
                "User-Agent": run.config.venue.user_agent,
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
            },
            skip_auto_headers=("Content-Type",),
            middlewares=(_send_once,),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def download_request(self, request: Request) -> Response:
        """Send *request* and stamp it, whatever comes of it.

        Raises:
            TurnedAwayError: its slot had passed before the gate opened; nothing was sent.
            ForeignRequestError: its host is not in the config, or it is neither GET nor ``POST /books``.
            DownloadTimeoutError: no whole answer came in time.
            AnswerTooLargeError: the answer is larger than any of the venue's.
            DownloadFailedError: the connection failed; its cause says how.

        """
        url = URL(request.url, encoded=True)
        self._refuse_foreign(request.method, url)
        exchange = self._session.request(
            request.method,
            url,
            data=request.body or None,
            headers=request.headers.to_tuple_list(),
            allow_redirects=False,
        )
        meta = request.meta
        try:
            if (gate := meta[GATE]) is not None:
                await gate.passed()
        except BaseException:
            exchange.close()
            raise
        meta[SENT_NS] = self._clock.wall_ns()
        started_ns = self._clock.monotonic_ns()
        try:
            async with exchange as answer:
                meta[RECEIVED_HEADERS] = answer.headers
                body, whole = await self._read(answer)
        except TimeoutError as error:
            raise DownloadTimeoutError(str(error)) from error
        except (aiohttp.ClientError, HttpProcessingError) as error:
            raise DownloadFailedError(str(error)) from error
        finally:
            meta[ELAPSED_NS] = self._clock.monotonic_ns() - started_ns
            meta[RECEIVED_NS] = self._clock.wall_ns()
        flags = [] if whole else [TRUNCATED]
        return Response(request.url, status=answer.status, body=body, flags=flags)

    async def _read(self, answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
        """The body and whether it is whole: what arrived of a truncated answer is kept."""
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in answer.content.iter_any():
                size += len(piece)
                if size > self._max_bytes:
                    raise AnswerTooLargeError(f"more than {self._max_bytes:,} bytes")
                pieces.append(piece)
        except aiohttp.ClientPayloadError:
            return b"".join(pieces), False
        return b"".join(pieces), True

    def _refuse_foreign(self, method: str, url: URL) -> None:
        if url.raw_authority not in self._hosts:
            raise ForeignRequestError(f"{url.raw_authority} is not a host of the config")
        if method != "GET" and not (method == "POST" and url.path == "/books"):
            raise ForeignRequestError(f"{method} {url.path} is never sent")


async def _send_once(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
    """Let a lost connection be the answer's end: aiohttp would send a GET again on a new one."""
    try:
        response: aiohttp.ClientResponse = await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DownloadFailedError(str(error)) from error
    return response
