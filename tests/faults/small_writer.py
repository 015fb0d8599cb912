"""A short life of a collector without a network; ``lives.py`` starts it as a process of its own.

Arguments: ROOT RUN_ID START MOMENTS, the last two in seconds of the fake clock.

Real lock, recovery, writers and sealing children, driven as the pipelines drive them; time is the
fake clock's, so each life makes the same rows and names.  What happened stands on stdout, one
unbuffered line each:

- ``opened``: lock, recovery and run manifest are done;
- ``try FEED SEQ SHA256 CLOCK_NS``: before a row is appended;
- ``ack FEED SEQ``: its append returned;
- ``tick CLOCK_NS``: a tick that began at this time returned, for every feed;
- ``closed``: every feed is sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive.root import claim_environment
from orderbooks_spider.clock import NS
from orderbooks_spider.config import Archive
from orderbooks_spider.errors import OrderbooksError, StorageError
from orderbooks_spider.items import BOOKS, EVENTS, EventItem
from tests.archives import COLLECTOR, DOWN, PHASE_NS, START_NS, UP, Collector, ManualClock, event, plan, poll

if TYPE_CHECKING:
    from orderbooks_spider.items import PollItem

FSYNC_SECONDS = 1.0
SETTINGS = Archive(fsync_seconds=FSYNC_SECONDS, block_seconds=2, rotate_seconds=5)
WIDE = 9000
"""Blanks behind each third body: rows longer than a page of the file system."""


def say(*words: object) -> None:
    """One line in one write: it is out when this returns."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


@dataclass
class Life(Collector):
    """A run that announces its rows and outlives a failing disk, as the feed pipeline does."""

    owed: deque[PollItem | EventItem] = field(default_factory=deque)
    """Rows that were refused, and those behind them, in order."""

    def append(self, item: PollItem | EventItem) -> None:
        """Write *item*, behind those that wait."""
        self.owed.append(item)
        if len(self.owed) == 1:
            self.settle()

    def settle(self) -> None:
        """Write the rows that wait, until one is refused; its number goes to the next that is not."""
        while self.owed:
            item = self.owed[0]
            feed = EVENTS if isinstance(item, EventItem) else BOOKS
            item.run_id, item.collector_id, item.seq = self.run_id, COLLECTOR, self.next_seq[feed]
            item.collector, item.collector_version, item.environment = "orderbooks_spider", "0.1.0", "sandbox"
            digest = hashlib.sha256(msgspec.json.encode(item) + b"\n").hexdigest()
            say("try", feed, item.seq, digest, self.clock.now_ns)
            try:
                self.write(item)
            except StorageError:
                return
            say("ack", feed, item.seq)
            self.owed.popleft()

    async def pulse(self, *, wait: bool) -> None:
        """One tick of every feed, as the pipeline does it; *wait* for the sealing work too."""
        self.settle()
        now_ns, sealed = self.clock.now_ns, len(self.run_file.manifest.segments)
        for writer in self.writers.values():
            await writer.tick()
            if wait:
                await writer.drain()
        say("tick", now_ns)
        if len(self.run_file.manifest.segments) > sealed:
            with contextlib.suppress(StorageError):  # recovery completes the list
                self.run_file.save()


async def live(life: Life, moments: int) -> None:
    """Poll both tokens each second, then stop as asked."""
    claim_environment(life.root, "sandbox")
    life.open()
    say("opened")
    first = (life.clock.now_ns - START_NS) // NS
    life.append(event("run_start", life.clock.now_ns, pid=1))
    life.append(plan(first + moments, first))
    for moment in range(first, first + moments):
        for token_id in (UP, DOWN):
            item = poll(token_id, moment)
            if moment % 3 == 0 and item.body is not None:
                item.body += " " * WIDE
            life.clock.now_ns = START_NS + moment * NS + PHASE_NS + 50_000_000
            life.append(item)
        if moment < first + moments - 1:
            # At some times the sealing lags behind the rows, at some it does not.
            await life.pulse(wait=moment % 6 > 3)
            life.clock.now_ns += NS // 2
            await life.pulse(wait=False)
    life.clock.now_ns = START_NS + (first + moments) * NS
    life.append(event("run_stop", life.clock.now_ns, slots_done_until_ns=life.clock.now_ns))
    await life.pulse(wait=False)
    life.settle()
    await life.close()
    say("closed")


def main() -> int:
    """Live; the exit code of a disk that refuses the opening or the end is 74."""
    root, run_id, start, moments = sys.argv[1:5]
    clock = ManualClock(START_NS + int(start) * NS)
    life = Life(Path(root), run_id=run_id, clock=clock, settings=SETTINGS)
    try:
        asyncio.run(live(life, int(moments)))
    except OrderbooksError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
