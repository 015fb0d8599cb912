"""One feed's way to disk: rows to journals at once, blocks and seals beside the event loop.

How a pipeline uses it (``lock`` held, ``take_over`` done, run manifest written)::

    heads = open_feeds(root, collector_id)                    # next seq and chain head per feed
    setup = WriterSetup(root, config.archive, clock, run.manifest.context(), on_event, lock)
    writer = FeedWriter("books", setup, heads["books"].manifest_sha256, inherited)
    writer.append(line_with_newline, item.due_ns)             # synchronous, some microseconds
    await writer.tick()                                       # about five times a second
    sealed = await writer.close()                             # seals all; list of SealInfo

- ``append`` raises ``StorageError`` when a row is *not* stored: use its ``seq`` again for the next.
- ``on_event(name, detail)`` is called on the event loop: ``segment_sealed`` (detail: the ``SealInfo``
  as a dict; then ``RunFile.add`` and ``save``), ``recovered`` (an inherited segment was sealed; detail:
  the ``Action``), ``block_failed``, ``seal_failed``, ``fsync_failed``, ``torn_set_aside``.  Close the
  events feed last; what its own ``close`` reports cannot become a row.
- A child that fails or is killed loses nothing: its journals stay, and the job is done again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.child import run_in_child
from orderbooks_spider.archive.journal import Journal
from orderbooks_spider.archive.manifest import SegmentClock
from orderbooks_spider.archive.recovery import context_of, sealed_action
from orderbooks_spider.archive.sealer import BlockJob, SealInfo, SealJob
from orderbooks_spider.archive.segment import BlockInfo
from orderbooks_spider.clock import NS, compact_utc, iso_utc
from orderbooks_spider.errors import ArchiveError, OrderbooksError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orderbooks_spider.archive.inherited import Inherited
    from orderbooks_spider.archive.lock import ArchiveLock
    from orderbooks_spider.archive.manifest import ManifestContext
    from orderbooks_spider.clock import Clock
    from orderbooks_spider.config import Archive
    from orderbooks_spider.host_clock import ClockQuality

OnEvent = Callable[[str, dict[str, Any]], None]
RECOVERED = "recovered"

GRACE_NS = 5 * NS
"""A quiet feed is rotated by the clock only so long after its period, for answers still on the way."""
_LONGEST_BACKOFF_NS = 60 * NS
_CLOSE_TRIES = 4


@dataclass(frozen=True)
class WriterSetup:
    """What the writers of all feeds of a run share."""

    root: Path
    settings: Archive
    clock: Clock
    context: ManifestContext
    on_event: OnEvent
    lock: ArchiveLock | None = None
    """Handed down to the sealing child, so that the lock outlives a killed collector."""


@dataclass
class _OpenSegment:
    """A segment that still has journals or a ``.part``."""

    names: layout.Segment
    period: tuple[int, int]
    clock: SegmentClock | None
    journal: Journal | None = None
    block_began_ns: int = 0
    """Monotonic time at which the journal was made."""
    blocks: int = 0
    rows: int = 0
    waiting: list[Journal] = field(default_factory=list)
    """Journals that take no more rows and await their block, oldest first."""
    part_bytes: int | None = 0
    """What the last block left; ``None`` after a failure: the child must look."""

    def end_block(self) -> None:
        """Let the next row begin a new journal."""
        if self.journal is not None:
            self.waiting.append(self.journal)
            self.journal = None


class FeedWriter:
    """Appends one feed's rows and seals its segments, one job after the other (rules A2 to A4, A8)."""

    def __init__(
        self, feed: str, setup: WriterSetup, chain_head: str | None, inherited: Sequence[Inherited] = ()
    ) -> None:
        layout.check_run_id(setup.context.run_id)
        self.feed = feed
        self.rows = 0
        """Rows stored since the start."""
        self.chain_head = chain_head
        """Digest of the newest manifest."""
        self._setup = setup
        self._rotate_ns = round(setup.settings.rotate_seconds * NS)
        self._grace_ns = min(GRACE_NS, self._rotate_ns)
        self._inherited = deque(inherited)
        """What an earlier run left to be sealed, before anything of this one (A8)."""
        self._current: _OpenSegment | None = None
        self._retired: deque[_OpenSegment] = deque()
        self._latest_period = (0, 0)
        self._synced_ns = self.durable_ns = setup.clock.monotonic_ns()
        """When a flush was last begun; and when the last one was begun that left no row behind."""
        self._disk = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None
        self._failures = 0
        self._not_before_ns = 0
        self._sealed_at_close: list[SealInfo] = []
        self._closed = False
        self._newest_reading: SegmentClock | None = None

    def append(self, lines: bytes, time_ns: int, rows: int = 1) -> None:
        r"""Store *rows* rows in one write, each a JSON object and ``\n``, filed under *time_ns* (UTC).

        Raises:
            StorageError: none of them is stored.

        """
        if self._closed:
            raise StorageError(f"{self.feed}: cannot write: the feed is closed")
        segment = self._segment_for(time_ns)
        try:
            if segment.journal is None or not segment.journal.usable:
                self._begin_block(segment)
            journal = segment.journal
            assert journal is not None
            journal.append(lines, rows)
        except StorageError:
            if segment.rows == 0:
                self._drop_unused(segment)
            raise
        segment.rows += rows
        self.rows += rows
        if journal.bytes >= self._setup.settings.block_bytes:
            segment.end_block()

    def note_clock(self, at_ns: int, quality: ClockQuality) -> None:
        """Take a reading of the host's clock, for the manifests of this segment and the next."""
        reading = self._newest_reading = SegmentClock.of(at_ns, quality)
        if self._current is not None:
            before = self._current.clock
            self._current.clock = reading if before is None else before.then(reading)

    @property
    def inherits(self) -> bool:
        """Whether segments of an earlier run still wait for their seal."""
        return bool(self._inherited)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` has begun: no row is taken any more."""
        return self._closed

    @property
    def unsealed_rows(self) -> int:
        """Rows in journals that no block has taken yet."""
        return sum(journal.rows for journal in self._journals())

    def _journals(self) -> list[Journal]:
        """Journals that no block has taken yet, oldest first."""
        segments = [*self._retired, *([self._current] if self._current else [])]
        return [
            journal
            for segment in segments
            for journal in (*segment.waiting, segment.journal)
            if journal is not None
        ]

    async def tick(self) -> None:
        """Do what is due by time: rotate, end a block, flush (in a thread), start a sealing job."""
        clock, settings = self._setup.clock, self._setup.settings
        now, current = clock.monotonic_ns(), self._current
        if current is not None:
            if layout.period(clock.wall_ns() - self._grace_ns, self._rotate_ns) > current.period:
                self._retire()
            elif current.journal and now - current.block_began_ns >= settings.block_seconds * NS:
                current.end_block()
        if now - self._synced_ns >= settings.fsync_seconds * NS:
            self._synced_ns = now
            await self._sync()
        self._start_work()

    async def close(self) -> list[SealInfo]:
        """Seal everything; returns what was sealed meanwhile.

        When sealing keeps failing, gives up after some tries and leaves the journals to recovery;
        every failure was reported through ``on_event``.
        """
        self._closed = True
        self._retire()
        for attempt in range(_CLOSE_TRIES):
            self._not_before_ns = 0
            self._start_work()
            await self.drain()
            if not (self._inherited or self._retired):
                break
            if attempt + 1 < _CLOSE_TRIES:
                await self._setup.clock.sleep(0.2 * 2**attempt)
        return self._sealed_at_close

    async def drain(self) -> None:
        """Wait until no sealing job runs."""
        if self._work is not None:
            await self._work

    def _segment_for(self, time_ns: int) -> _OpenSegment:
        """The open segment, or a new one when the row's period is later; never goes back."""
        period = layout.period(time_ns, self._rotate_ns)
        current = self._current
        if current is not None and period <= current.period:
            return current
        if current is not None:
            self._retire()
        self._latest_period = max(period, self._latest_period)
        self._current = _OpenSegment(self._free_name(time_ns), self._latest_period, self._newest_reading)
        return self._current

    def _free_name(self, time_ns: int) -> layout.Segment:
        context, copy = self._setup.context, 1
        while True:
            names = layout.Segment(
                self._setup.root, self.feed, compact_utc(time_ns), context.collector_id, context.run_id, copy
            )
            if not names.files_on_disk() and all(names.stem != other.names.stem for other in self._retired):
                return names
            copy += 1

    def _begin_block(self, segment: _OpenSegment) -> None:
        segment.end_block()
        journal = Journal(segment.names.journal(segment.blocks + 1), self._setup.root)
        segment.blocks += 1
        segment.journal = journal
        segment.block_began_ns = self._setup.clock.monotonic_ns()

    def _drop_unused(self, segment: _OpenSegment) -> None:
        """End a segment that is named after a row which it does not hold (rule A1)."""
        if segment.blocks:
            self._retire()  # the child removes the journal
        else:
            self._current = None

    def _retire(self) -> None:
        if self._current is not None:
            self._current.end_block()
            self._retired.append(self._current)
            self._current = None

    async def _sync(self) -> None:
        """Flush what is stored, oldest first: journals that wait while sealing lags are owed it too."""
        begun_ns, whole = self._setup.clock.monotonic_ns(), True
        async with self._disk:
            for journal in self._journals():
                try:
                    if journal.usable and not journal.flushed:
                        await asyncio.to_thread(journal.sync)
                except StorageError as error:
                    # Never a second fsync on this descriptor: it would lie.  The next row begins a
                    # new journal, and the child reads this one again.
                    whole = False
                    self._setup.on_event("fsync_failed", {"feed": self.feed, "error": str(error)})
        if whole:
            self.durable_ns = begun_ns

    def _start_work(self) -> None:
        idle = self._work is None or self._work.done()
        if idle and self._has_work() and self._setup.clock.monotonic_ns() >= self._not_before_ns:
            self._work = asyncio.get_running_loop().create_task(self._do_jobs())

    def _has_work(self) -> bool:
        waiting = self._current is not None and bool(self._current.waiting)
        return bool(self._inherited or self._retired) or waiting

    async def _do_jobs(self) -> None:
        """Run jobs until none is due, strictly one after the other: each seal is a link (A8)."""
        while self._inherited:
            try:
                await self._seal_inherited(self._inherited[0])
            except (ArchiveError, StorageError) as error:
                self._put_off("seal_failed", self._inherited[0].names, error)
                return
            self._failures = 0
        while self._has_work():
            segment = self._retired[0] if self._retired else self._current
            assert segment is not None
            batch, is_last = self._batch(segment)
            sealing = is_last and segment is not self._current
            try:
                await self._finish_journals(batch)
                if sealing:
                    await self._seal(segment, batch)
                else:
                    await self._block(segment, batch)
            except StorageError as error:
                segment.part_bytes = None
                self._put_off("seal_failed" if sealing else "block_failed", segment.names, error)
                return
            self._failures = 0

    def _put_off(self, event: str, names: layout.Segment, error: OrderbooksError) -> None:
        """Try the job again later, and say so."""
        self._failures += 1
        pause_ns = min(_LONGEST_BACKOFF_NS, NS * 2**self._failures // 2)
        self._not_before_ns = self._setup.clock.monotonic_ns() + pause_ns
        self._setup.on_event(event, {"feed": self.feed, "segment": names.stem, "error": str(error)})

    def _batch(self, segment: _OpenSegment) -> tuple[list[Journal], bool]:
        """The next journals of *segment*, and whether they are its last.

        After failures journals pile up; one job takes a full block at most, for the child's memory.
        """
        limit, total = self._setup.settings.block_bytes, 0
        batch: list[Journal] = []
        for journal in segment.waiting:
            if batch and total + journal.bytes > limit:
                return batch, False
            batch.append(journal)
            total += journal.bytes
        return batch, True

    async def _finish_journals(self, batch: list[Journal]) -> None:
        async with self._disk:
            for journal in batch:
                try:
                    await asyncio.to_thread(journal.finish)
                except StorageError as error:
                    self._setup.on_event("fsync_failed", {"feed": self.feed, "error": str(error)})

    async def _block(self, segment: _OpenSegment, batch: list[Journal]) -> None:
        job = BlockJob(
            root=str(self._setup.root),
            stem=segment.names.stem,
            journals=[journal.path.name for journal in batch],
            expected_bytes=segment.part_bytes,
        )
        info = await self._in_child(job)
        assert isinstance(info, BlockInfo)
        segment.part_bytes = info.part_bytes
        segment.waiting = segment.waiting[len(batch) :]
        self._report_torn(segment.names, info.set_aside)

    async def _seal(self, segment: _OpenSegment, batch: list[Journal]) -> None:
        job = SealJob(
            root=str(self._setup.root),
            stem=segment.names.stem,
            journals=[journal.path.name for journal in batch],
            expected_bytes=segment.part_bytes,
            sealed_at_utc=iso_utc(self._setup.clock.wall_ns()),
            previous_manifest_sha256=self.chain_head,
            context=self._setup.context,
            clock=segment.clock,
        )
        info = await self._in_child(job)
        assert isinstance(info, SealInfo)
        self._retired.popleft()
        self._report_torn(segment.names, info.set_aside)
        if info.rows:
            self.chain_head = info.manifest_sha256
            if self._closed:
                self._sealed_at_close.append(info)
            self._setup.on_event("segment_sealed", msgspec.structs.asdict(info))

    async def _seal_inherited(self, inherited: Inherited) -> None:
        names = inherited.names
        job = SealJob(
            root=str(self._setup.root),
            stem=names.stem,
            journals=[path.name for path in inherited.journals],
            sealed_at_utc=iso_utc(self._setup.clock.wall_ns()),
            previous_manifest_sha256=self.chain_head,
            context=await asyncio.to_thread(context_of, names),
            recovered=[inherited.note],
        )
        info = await self._in_child(job)
        assert isinstance(info, SealInfo)
        self._inherited.popleft()
        self._report_torn(names, info.set_aside)
        if info.rows:
            self.chain_head = info.manifest_sha256
        self._setup.on_event(RECOVERED, msgspec.to_builtins(sealed_action(inherited, info.rows)))

    async def _in_child(self, job: BlockJob | SealJob) -> BlockInfo | SealInfo:
        lock = self._setup.lock
        return await run_in_child(job, () if lock is None else (lock.descriptor,))

    def _report_torn(self, names: layout.Segment, files: list[str]) -> None:
        if files:
            detail = {"feed": self.feed, "segment": names.stem, "files": files}
            self._setup.on_event("torn_set_aside", detail)
