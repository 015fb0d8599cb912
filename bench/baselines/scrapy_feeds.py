#!/usr/bin/env python3
"""Baseline: the usual Scrapy way, requests through the scheduler, callbacks, and a gzip feed export.

Scrapy's default settings but for the log level (the default writes two lines a poll) and two consoles
that are no part of the question.

Examples:
  python bench/baselines/scrapy_feeds.py --url http://127.0.0.1:8089 --tokens ids.txt --seconds 60 --out .
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import scrapy
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.http import JsonRequest
from scrapy.spidermiddlewares.httperror import HttpError

from bench.baselines.script import TIMEOUT_SECONDS, WORKERS, Job, beats, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.http import Response
    from twisted.python.failure import Failure

BATCH_ITEMS = 500_000
"""Rows of a file: about an hour at 150 polls a second."""


class BooksSpider(scrapy.Spider):
    """Polls each group of tokens again and again."""

    name = "books"

    def __init__(self, asked: Job) -> None:
        super().__init__()
        self._job = asked
        self._busy: set[str] = set()
        self._turn = itertools.cycle(asked.groups)
        self._until = 0.0

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """Yield requests: on time, or without an interval a few, whose callbacks yield the next."""
        begin = time.monotonic()
        self._until = begin + self._job.seconds
        if not self._job.interval:
            for group in itertools.islice(self._turn, WORKERS):
                yield self._request(group)
            return
        for due, groups in beats(self._job, begin):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for group in groups:
                if group[0] not in self._busy:
                    self._busy.add(group[0])
                    yield self._request(group)

    def parse(self, response: Response, tokens: list[str]) -> Iterator[Any]:
        """Make the row of an answer."""
        yield from self._done(tokens, status=response.status, body=response.text)

    def failed(self, failure: Failure) -> Iterator[Any]:
        """Make the row of a failure; Scrapy counts other answers than 200 as one."""
        tokens = failure.request.cb_kwargs["tokens"]  # type: ignore[attr-defined]
        if isinstance(failure.value, HttpError):
            response = failure.value.response
            return self._done(tokens, status=response.status, body=response.text)
        return self._done(tokens, error=repr(failure.value))

    def _request(self, tokens: list[str]) -> scrapy.Request:
        rest: dict[str, Any] = {
            "cb_kwargs": {"tokens": tokens},
            "errback": self.failed,
            "dont_filter": True,
        }
        if self._job.batched:
            return JsonRequest(
                f"{self._job.url}/books", data=[{"token_id": token} for token in tokens], **rest
            )
        return scrapy.Request(f"{self._job.url}/book?token_id={tokens[0]}", **rest)

    def _done(self, tokens: list[str], **outcome: Any) -> Iterator[Any]:
        name = tokens[0] if len(tokens) == 1 else tokens
        yield {"time": datetime.now(UTC).isoformat(), "token_id": name, **outcome}
        self._busy.discard(tokens[0])
        if not self._job.interval and time.monotonic() < self._until:
            yield self._request(next(self._turn))


def main() -> None:
    """Run the spider as Scrapy's documentation shows it for a script."""
    asked = job()
    settings = {
        "LOG_LEVEL": "INFO",
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "DOWNLOAD_TIMEOUT": TIMEOUT_SECONDS,
        "FEEDS": {
            f"{asked.out}/books_%(batch_time)s_%(batch_id)d.jsonl.gz": {
                "format": "jsonlines",
                "encoding": "utf-8",
                "batch_item_count": BATCH_ITEMS,
                "postprocessing": ["scrapy.extensions.postprocessing.GzipPlugin"],
                "gzip_compresslevel": asked.gzip_level,
            }
        },
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(BooksSpider, asked=asked)
    process.start()


if __name__ == "__main__":
    main()
