"""Number rows and append them to their feeds; under the lock, and only after recovery.

An archive that cannot be opened ends the run before anything is sent.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import deque
from dataclasses import replace
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
from scrapy.exceptions import CloseSpider, DropItem
from scrapy.exporters import JsonLinesItemExporter

from orderbooks_spider import __version__
from orderbooks_spider.archive.durable import free_bytes
from orderbooks_spider.archive.lock import ArchiveLock
from orderbooks_spider.archive.manifest import Grid
from orderbooks_spider.archive.recovery import Action, close_runs, take_over
from orderbooks_spider.archive.root import claim_environment
from orderbooks_spider.archive.runs import RunFile, RunManifest, library_versions
from orderbooks_spider.archive.state import open_feeds
from orderbooks_spider.archive.writer import RECOVERED, FeedWriter, WriterSetup
from orderbooks_spider.clock import NS, compact_utc, iso_utc
from orderbooks_spider.errors import OrderbooksError, StorageError
from orderbooks_spider.host_clock import CLOCK_QUALITY, ClockQuality
from orderbooks_spider.items import (
    BOOKS,
    EVENTS,
    FEED_OF,
    MARKETS,
    EventItem,
    MarketItem,
    PollItem,
    Row,
    Rows,
    rows_of,
    time_of,
)
from orderbooks_spider.pipelines.stamp import COLLECTOR, StampPipeline
from orderbooks_spider.run import run_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.crawler import Crawler

    from orderbooks_spider.run import Run

Item = TypeVar("Item", PollItem, MarketItem, EventItem, Rows)

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2
"""How often the writers are asked what is due: flushes, blocks, rotations."""
SPACE_SECONDS = 1.0
"""How often the free space is looked at, and a paused storage tried again."""
ROOM_TO_RESUME = 1.05
"""Polling resumes at this multiple of ``min_free_bytes``, so that it does not flap at the edge."""
GIVE_UP_NS = 60 * NS
"""A storage that fails for so long, other than by being full, has failed for good."""
_FULL = {errno.ENOSPC, errno.EDQUOT, None}
"""``None``: a short write, the first sign of a full disk."""

archive_opened = object()
"""Scrapy signal: the archive takes rows; ``run_file`` is the run's manifest on disk."""
segment_sealed = object()
"""Scrapy signal: a segment was sealed; ``detail`` is its ``SealInfo`` as a dict."""


class RowExporter(JsonLinesItemExporter):
    """JSON Lines with msgspec as the encoder: a tenth of the parent's time a row (``bench/exporter.py``)."""

    def __init__(self, writer: FeedWriter, next_seq: int) -> None:
        super().__init__(BytesIO())  # the parent wants a file; rows go to the writer
        self.writer = writer
        self.next_seq = next_seq
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def export_item(self, item: Row) -> None:
        """Append one row, as :meth:`export_together`."""
        self.export_together((item,))

    def export_together(self, items: Sequence[Row]) -> None:
        """Append *items*, which have the same time, with the feed's next numbers in one write.

        Raises:
            StorageError: none of them is stored; their numbers are left for the next.

        """
        for seq, item in enumerate(items, self.next_seq):
            item.seq = seq
        # Of any sequence but a list msgspec 0.22 makes a copy that it never frees.
        self.writer.append(self._encode_lines([*items]), time_of(items[0]), len(items))
        self.next_seq += len(items)


class FeedPipeline:
    """Holds the archive open for one run: lock, recovery, and a writer per feed."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._run = run_of(crawler.settings)
        self._root = Path(self._run.config.archive.root)
        self._stamp = StampPipeline.from_crawler(crawler)
        self._feeds: dict[str, RowExporter] = {}
        self._lock: ArchiveLock | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._owed: deque[Row] = deque()
        """Rows that wait for the storage, in order: what was on its way when it failed."""
        self._paused_ns = 0
        self._last_error: StorageError | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._closing_runs: asyncio.Future[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Take the run from the settings."""
        return cls(crawler)

    def open_spider(self) -> None:
        """Lock the root, take over what an earlier run left, and go on where the chains end.

        Raises:
            CloseSpider: the archive cannot be used; the run's ``failure`` says why.

        """
        try:
            self._open()
        except OrderbooksError as error:
            self._run.failure = error
            logger.error("%s", error)  # noqa: TRY400 - one line for the operator, not a traceback
            if self._lock is not None:
                self._lock.release()
            raise CloseSpider("archive_not_usable") from error
        self._ticking = asyncio.ensure_future(self._tick())

    def process_item(self, item: Item) -> Item:
        """Append the rows to their feeds; while storage fails they wait and come first when it works again.

        Raises:
            DropItem: the archive is not open.

        """
        if not self._feeds:
            raise DropItem("the archive is not open")
        rows = rows_of(item)
        for _, together in groupby(rows, lambda row: (type(row), time_of(row))):
            self._store(tuple(together))
        for row in rows:
            if isinstance(row, EventItem) and row.event == CLOCK_QUALITY:
                self._note_clock(row)
        return item

    async def close_spider(self) -> None:
        """Wait for the last row, seal every feed, and let the next writer in."""
        if self._lock is None or self._ticking is None:
            return
        await self._run.ended()
        self._ticking.cancel()
        self._settle()
        if self._owed:
            logger.error("%d rows could not be stored: %s", len(self._owed), self._last_error)
        # The events feed last: what the others' seals report are its rows.
        for feed in (BOOKS, MARKETS, EVENTS):
            if feed == EVENTS and self._closing_runs is not None:
                await self._closing_runs
            await self._feeds[feed].writer.close()
        self._lock.release()

    def _open(self) -> None:
        run, archive = self._run, self._run.config.archive
        self._lock = ArchiveLock.acquire(self._root, archive.collector_id, run.run_id)
        claim_environment(self._root, run.config.environment)
        recovered, inherited = take_over(self._root, archive.collector_id, run.clock)
        manifest = _describe(run)
        run_file = RunFile.create(self._root, manifest, compact_utc(run.started_ns))
        heads = open_feeds(self._root, archive.collector_id)
        if inherited:
            last_ns = max(heads[BOOKS].last_ns, *(left.last_ns for left in inherited))
            heads[BOOKS] = replace(heads[BOOKS], next_seq=inherited[-1].next_seq, last_ns=last_ns)
        run.visited_until_ns = heads[BOOKS].last_ns
        setup = WriterSetup(self._root, archive, run.clock, manifest.context(), self._on_event, self._lock)
        for feed, head in heads.items():
            left = inherited if feed == BOOKS else []
            writer = FeedWriter(feed, setup, head.manifest_sha256, left)
            self._feeds[feed] = RowExporter(writer, head.next_seq)
            run.pulse.heads[feed] = head.manifest_sha256
        for action in recovered:
            self._tell(action)
        self._note_durable()
        self._crawler.signals.send_catch_log(archive_opened, run_file=run_file)

    async def _tick(self) -> None:
        looked_ns = 0
        while True:
            if self._run.clock.monotonic_ns() - looked_ns >= SPACE_SECONDS * NS:
                looked_ns = self._run.clock.monotonic_ns()
                self._watch_storage()
            await self._run.clock.sleep(TICK_SECONDS)
            for exporter in self._feeds.values():
                try:
                    await exporter.writer.tick()
                except StorageError as error:
                    self._last_error = error
                    self._pause(str(error))
                except Exception:  # a bug here must not end the flushing of every row to come
                    logger.exception("the %s feed failed by an internal error", exporter.writer.feed)
            self._note_durable()

    def _note_durable(self) -> None:
        """Say how far rows are durable; a pause is no standstill, for storage is tried again and again."""
        run = self._run
        flushed_ns = min(exporter.writer.durable_ns for exporter in self._feeds.values())
        run.durable_ns = flushed_ns if run.storage_pause is None else run.clock.monotonic_ns()

    def _store(self, rows: Sequence[Row]) -> None:
        """Append rows of one kind and time, or keep them behind those that wait already."""
        for row in rows:
            self._run.pulse.add(row)
        if not self._owed:
            try:
                self._feeds[FEED_OF[type(rows[0])]].export_together(rows)
            except StorageError as error:
                self._last_error = error
                self._owed.extend(rows)
                self._pause(str(error))
        else:
            self._owed.extend(rows)

    def _note_clock(self, item: EventItem) -> None:
        """What the row says goes into the manifests of all feeds."""
        quality = msgspec.convert(item.detail, ClockQuality)
        for exporter in self._feeds.values():
            exporter.writer.note_clock(item.at_ns, quality)

    def _settle(self) -> bool:
        """Append the rows that wait; whether none is left."""
        while self._owed:
            item = self._owed[0]
            try:
                self._feeds[FEED_OF[type(item)]].export_item(item)
            except StorageError as error:
                self._last_error = error
                return False
            self._owed.popleft()
        return True

    def _watch_storage(self) -> None:
        """Pause below ``min_free_bytes``; resume where there is room and the rows that wait fit."""
        least = self._run.config.archive.min_free_bytes
        try:
            free = free_bytes(self._root)
        except StorageError as error:
            self._last_error = error
            self._pause(str(error))
            return
        if self._run.storage_pause is None:
            if free < least:
                self._last_error = None
                self._pause(f"{free:,} bytes free, archive.min_free_bytes is {least:,}")
        elif free >= least * ROOM_TO_RESUME and self._settle():
            self._resume(free)
        elif self._failed_for_good():
            self._fail(self._last_error)

    def _pause(self, reason: str) -> None:
        """Let nothing more be sent: one line, one event row (which may have to wait itself)."""
        if self._run.storage_pause is None:
            self._run.storage_pause = reason
            self._paused_ns = self._run.clock.monotonic_ns()
            logger.error("polling pauses, storage: %s", reason)
            self._write_event("storage_paused", {"reason": reason})

    def _resume(self, free: int) -> None:
        lasted_ns = self._run.clock.monotonic_ns() - self._paused_ns
        self._run.storage_pause = None
        logger.warning("polling resumes after %.0f s: storage takes rows again", lasted_ns / NS)
        self._write_event("storage_resumed", {"paused_for_ns": lasted_ns, "free_bytes": free})

    def _failed_for_good(self) -> bool:
        """Whether waiting longer is no use: an input/output error or a read-only file system stays."""
        cause = self._last_error.__cause__ if self._last_error is not None else None
        full = self._last_error is None or getattr(cause, "errno", None) in _FULL
        return not full and self._run.clock.monotonic_ns() - self._paused_ns > GIVE_UP_NS

    def _on_event(self, event: str, detail: dict[str, Any]) -> None:
        """Note what a writer reports: as a row where that is still possible, and in the run manifest."""
        if event == RECOVERED:
            self._on_inherited_sealed(msgspec.convert(detail, Action), self._feeds[detail["feed"]].writer)
            return
        if event == "segment_sealed":
            self._crawler.signals.send_catch_log(segment_sealed, detail=detail)
            logger.info("sealed %s: %d rows, %d bytes", detail["feed"], detail["rows"], detail["bytes"])
        else:
            logger.warning("%s: %s", event, detail)
        if detail.get("feed") != EVENTS or not self._feeds[EVENTS].writer.closed:
            self._write_event(event, detail)

    def _tell(self, action: Action) -> None:
        logger.warning("recovery: %s %s: %s", action.what.replace("_", " "), action.file, action.detail)
        self._write_event(RECOVERED, msgspec.to_builtins(action))

    def _on_inherited_sealed(self, action: Action, writer: FeedWriter) -> None:
        """Say what recovery did beside the polling; behind the last segment the earlier runs are closed."""
        self._tell(action)
        self._run.pulse.heads[writer.feed] = writer.chain_head
        if not writer.inherits:
            self._closing_runs = asyncio.ensure_future(self._close_runs())

    async def _close_runs(self) -> None:
        root, collector_id = self._root, self._run.config.archive.collector_id
        try:
            actions = await asyncio.to_thread(close_runs, root, collector_id, self._run.run_id)
        except OrderbooksError as error:
            logger.warning("recovery: the runs before this one are not closed: %s", error)
        else:
            for action in actions:
                self._tell(action)

    def _write_event(self, event: str, detail: dict[str, Any]) -> None:
        item = EventItem(event=event, at_ns=self._run.clock.wall_ns(), detail=detail)
        self._store((self._stamp.process_item(item),))

    def _fail(self, error: StorageError | None) -> None:
        """Storage has failed for good: end the run; what is stored is intact."""
        if self._stopping is None and error is not None:
            self._run.failure = error
            logger.error("storage failed, stopping: %s", error)
            self._stopping = asyncio.ensure_future(self._crawler.engine.stop_async())


def _describe(run: Run) -> RunManifest:
    """What the archive keeps of *run* besides its rows."""
    config = run.config
    return RunManifest(
        run_id=run.run_id,
        collector_id=config.archive.collector_id,
        environment=config.environment,
        started_utc=iso_utc(run.started_ns),
        collector=COLLECTOR,
        collector_version=__version__,
        versions=library_versions(),
        config_sha256=config.sha256(),
        config=config.told(),
        grid=Grid.of(config.polling),
    )
