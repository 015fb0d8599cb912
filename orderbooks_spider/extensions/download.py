"""The download handler: the last code before the socket and the first after it.

It stamps a request here because nothing waits between this point and the socket, and because the
middlewares have not yet taken ``Content-Encoding`` away.  It refuses whatever the collector must
never send, and it never sends anything twice: Twisted's pool would repeat a request whose kept-alive
connection was reset, and the row would say ``ok`` for two polls (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.exceptions import IgnoreRequest

from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

SENT_NS = "sent_ns"
RECEIVED_NS = "received_ns"
ELAPSED_NS = "elapsed_ns"
RECEIVED_HEADERS = "received_headers"
"""Keys of ``request.meta`` that the handler fills."""


class StampingDownloadHandler(HTTP11DownloadHandler):
    """HTTP/1.1 with stamps, without silent repeats, and only to the configured hosts."""

    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._pool.retryAutomatically = False
        run = run_of(crawler.settings)
        self._hosts = run.config.hosts
        self._clock = run.clock

    async def download_request(self, request: Request) -> Response:
        """Send *request* and stamp it, whatever comes of it.

        Raises:
            IgnoreRequest: its host is not in the config, or it is neither GET nor ``POST /books``.

        """
        self._refuse_foreign(request)
        meta = request.meta
        meta[SENT_NS] = self._clock.wall_ns()
        started_ns = self._clock.monotonic_ns()
        try:
            response = await super().download_request(request)
        finally:
            meta[ELAPSED_NS] = self._clock.monotonic_ns() - started_ns
            meta[RECEIVED_NS] = self._clock.wall_ns()
        meta[RECEIVED_HEADERS] = response.headers.copy()
        return response

    def _refuse_foreign(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.netloc not in self._hosts:
            raise IgnoreRequest(f"{parts.netloc} is not a host of the config")
        if request.method != "GET" and not (request.method == "POST" and parts.path == "/books"):
            raise IgnoreRequest(f"{request.method} {parts.path} is never sent")
