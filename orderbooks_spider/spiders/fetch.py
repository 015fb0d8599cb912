"""Send one ask through Scrapy's downloader and say what became of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from scrapy import Request
from scrapy.exceptions import DownloadTimeoutError

from orderbooks_spider.extensions.download import (
    ELAPSED_NS,
    GATE,
    RECEIVED_HEADERS,
    RECEIVED_NS,
    SENT_NS,
    TRUNCATED,
    AnswerTooLargeError,
    ForeignRequestError,
)
from orderbooks_spider.gate import TurnedAwayError
from orderbooks_spider.polymarket.answers import Answer, kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import CIMultiDictProxy
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from orderbooks_spider.gate import Gate
    from orderbooks_spider.polymarket.endpoints import Ask

DOWNLOAD_SLOT = "venue"
"""One slot for both hosts, whose name Scrapy then need not read from each URL; it queues nothing."""
SHUTDOWN = ("skipped", "shutdown")
LATE = ("skipped", "late")


class Fetcher:
    """Asks become answers; ``request_id`` is unique within the run."""

    def __init__(
        self, crawler: Crawler, run_id: str, keep: Callable[[dict[str, str]], dict[str, str]] = kept
    ) -> None:
        self._crawler = crawler
        self._keep = keep
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

    async def fetch(self, ask: Ask, gate: Gate | None = None) -> Answer:
        """Send *ask* once, when the *gate* opens.

        A caller cancelled by :meth:`close` gets an answer all the same: a row is owed.
        Between a stop and :meth:`close` lies a turn of the event loop: a request begun in it would meet an
        engine that has already ended its slot, whose bookkeeping then fails with AlreadyCalledError (seen).

        Raises:
            asyncio.CancelledError: the caller was cancelled by somebody else.

        """
        request_id = next(self._ids)
        if self.closed or not self._crawler.engine.running:
            return Answer(ask=ask, request_id=request_id, failure=SHUTDOWN)
        request = self._request(ask)
        request.meta[GATE] = gate
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            response = await self._crawler.engine.download_async(request)
        except asyncio.CancelledError:
            if not self.closed:
                raise
            return self._answer(ask, request_id, request, failure=SHUTDOWN)
        except TurnedAwayError:
            return self._answer(ask, request_id, request, failure=LATE)
        except Exception as error:  # noqa: BLE001 - whatever the downloader raises is this poll's result
            return self._answer(ask, request_id, request, failure=_failure_of(error))
        finally:
            self._waiting.discard(task)
        return self._answer(ask, request_id, request, response=response)

    def _request(self, ask: Ask) -> Request:
        query = f"?{urlencode(ask.params, doseq=True)}" if ask.params else ""
        return Request(
            ask.url + query,
            method=ask.method,
            body=ask.body,
            headers={"Content-Type": "application/json"} if ask.body else None,
            meta={"download_slot": DOWNLOAD_SLOT, "verbatim_url": True},
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
            headers=self._keep(_plain(meta[RECEIVED_HEADERS])) if response is not None else {},
            body=response.body if response is not None else b"",
            truncated=response is not None and TRUNCATED in response.flags,
            failure=failure,
        )


def _plain(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        plain[key] = f"{plain[key]}, {value}" if key in plain else value
    return plain


def _failure_of(error: Exception) -> tuple[str, str]:
    """(result, reason) of what the downloader raised; the reason is the innermost error's name."""
    if isinstance(error, DownloadTimeoutError):
        return "timeout", type(error).__name__
    if isinstance(error, ForeignRequestError):
        return "invalid_body", "refused"
    if isinstance(error, AnswerTooLargeError):
        return "invalid_body", "too_large"
    return "connection", _innermost(error)


def _innermost(error: BaseException) -> str:
    """The name of the first cause: what the operating system or TLS said, where it said something."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
