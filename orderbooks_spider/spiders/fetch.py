"""Send one ask through Scrapy's downloader and say what became of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from scrapy import Request
from scrapy.exceptions import DownloadCancelledError, DownloadTimeoutError, IgnoreRequest

from orderbooks_spider.extensions.download import ELAPSED_NS, RECEIVED_HEADERS, RECEIVED_NS, SENT_NS
from orderbooks_spider.polymarket.answers import Answer, kept

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Headers, Response

    from orderbooks_spider.config import Config
    from orderbooks_spider.polymarket.endpoints import Ask

SHUTDOWN = ("skipped", "shutdown")


class Fetcher:
    """Asks become answers; ``request_id`` is unique within the run."""

    def __init__(self, crawler: Crawler, config: Config, run_id: str) -> None:
        self._crawler = crawler
        self._timeout = config.polling.timeout_seconds
        self._headers = {
            "User-Agent": config.venue.user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        self._ids = (f"{run_id}-{number}" for number in itertools.count(1))
        self._waiting: set[asyncio.Task[Any]] = set()
        self.closed = False

    def close(self) -> frozenset[asyncio.Task[Any]]:
        """Send nothing more, and end what is open as ``skipped/shutdown``; returns the callers told so.

        Only tasks that wait for the venue are cancelled: one that has not begun, or is already
        writing its row, goes on by itself.
        """
        self.closed = True
        for task in self._waiting:
            task.cancel()
        return frozenset(self._waiting)

    async def fetch(self, ask: Ask) -> Answer:
        """Send *ask* once.  A caller cancelled by :meth:`close` gets an answer all the same: a row is owed.

        Raises:
            asyncio.CancelledError: the caller was cancelled by somebody else.

        """
        request_id = next(self._ids)
        if self.closed:
            return Answer(ask=ask, request_id=request_id, failure=SHUTDOWN)
        request = self._request(ask)
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            response = await self._crawler.engine.download_async(request)
        except asyncio.CancelledError:
            if not self.closed:
                raise
            return self._answer(ask, request_id, request, failure=SHUTDOWN)
        except Exception as error:  # noqa: BLE001 - whatever the downloader raises is this poll's result
            return self._answer(ask, request_id, request, failure=_failure_of(error))
        finally:
            self._waiting.discard(task)
        return self._answer(ask, request_id, request, response=response)

    def _request(self, ask: Ask) -> Request:
        query = f"?{urlencode(ask.params)}" if ask.params else ""
        headers = self._headers | ({"Content-Type": "application/json"} if ask.body else {})
        return Request(
            ask.url + query,
            method=ask.method,
            body=ask.body,
            headers=headers,
            meta={"download_timeout": self._timeout},
            dont_filter=True,
        )

    def _answer(
        self,
        ask: Ask,
        request_id: str,
        request: Request,
        *,
        response: Response | None = None,
        failure: tuple[str, str] | None = None,
    ) -> Answer:
        meta = request.meta
        answered = response is not None or failure != SHUTDOWN
        return Answer(
            ask=ask,
            request_id=request_id,
            sent_ns=meta.get(SENT_NS),
            received_ns=meta.get(RECEIVED_NS) if answered else None,
            elapsed_ns=meta.get(ELAPSED_NS) if answered else None,
            status=response.status if response is not None else None,
            headers=kept(_plain(meta[RECEIVED_HEADERS])) if response is not None else {},
            body=response.body if response is not None else b"",
            truncated=response is not None and "dataloss" in response.flags,
            failure=failure,
        )


def _plain(headers: Headers) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in headers.items()
    }


def _failure_of(error: Exception) -> tuple[str, str]:
    """(result, reason) of what the downloader raised; the reason is the innermost error's name."""
    if isinstance(error, DownloadTimeoutError):
        return "timeout", type(error).__name__
    if isinstance(error, DownloadCancelledError | IgnoreRequest):
        return "invalid_body", "too_large" if "larger" in str(error) or "exceeded" in str(
            error
        ) else "refused"
    return "connection", _innermost(error)


def _innermost(error: BaseException) -> str:
    """Twisted wraps the cause of a failed response in lists of failures."""
    cause = error.__cause__ or error
    reasons = getattr(cause, "reasons", None)
    while reasons:
        cause = reasons[0].value
        reasons = getattr(cause, "reasons", None)
    return type(cause).__name__
