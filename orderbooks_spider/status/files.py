"""What lies in a root of one collector, read from outside; bounded by time, not by the archive's age."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import Holder, last_holder
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import Polling
from orderbooks_spider.errors import OrderbooksError, StorageError
from orderbooks_spider.host_clock import CLOCK_QUALITY
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.status.beat import Beat
from orderbooks_spider.status.coverage import Books, poll_decoder
from orderbooks_spider.status.plans import Plan, settled
from orderbooks_spider.status.rows import EventRow, Row, member_rows, open_rows, open_segments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orderbooks_spider.status.sealed import Sealed, SealedSegments

DAY_NS = 24 * layout.HOUR_NS
MARGIN_NS = NS
"""Beside the polls' timeout: by then each slot has its row."""

_event_decoder = msgspec.json.Decoder(EventRow)
_beat_decoder = msgspec.json.Decoder(Beat)


@dataclass
class CollectorFiles:
    """What lies in *root* of one collector; each thing is read when it is first asked for."""

    root: Path
    collector_id: str
    feeds: Mapping[str, SealedSegments]
    now_ns: int
    running: bool
    unreadable: list[str] = field(default_factory=list)

    @cached_property
    def run(self) -> RunManifest | None:
        """The run that began last."""
        paths = layout.run_manifests(self.root, self.collector_id)
        return self._run(paths[-1]) if paths else None

    @cached_property
    def first_ns(self) -> int | None:
        """When its first run began."""
        paths = layout.run_manifests(self.root, self.collector_id)
        run = self._run(paths[0]) if paths else None
        return None if run is None else parse_utc(run.started_utc)

    @cached_property
    def holder(self) -> Holder | None:
        """Who holds its lock, or held it last."""
        return last_holder(self.root, self.collector_id)

    @cached_property
    def beat(self) -> Beat | None:
        """What it said of itself last, in the run that began last."""
        path = layout.health_file(self.root, self.collector_id)
        try:
            beat = _beat_decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable.append(f"{layout.relative(self.root, path)}: {error}")
            return None
        run_id = self.holder.run_id if self.holder is not None else beat.run_id
        return beat if beat.run_id == run_id else None

    @cached_property
    def interval_ns(self) -> int:
        """The grid's step."""
        grid = self.run.grid if self.run is not None else None
        return Polling().interval_ns if grid is None else grid.interval_ns

    @cached_property
    def until_ns(self) -> int:
        """Slots due before have their rows, where a process lives to write them."""
        grid = self.run.grid if self.run is not None else None
        timeout = Polling().timeout_seconds if grid is None else grid.timeout_seconds
        return self.now_ns - round(timeout * NS) - MARGIN_NS

    @cached_property
    def books(self) -> Books:
        """Its polls of the last day."""
        rows, whole = self._open_rows(BOOKS, poll_decoder)
        unsealed = {names.stem for names in self._open(BOOKS)}
        sealed = [item for item in self._sealed(BOOKS) if item.names.stem not in unsealed]
        return Books(rows, whole, sealed)

    @cached_property
    def events(self) -> list[EventRow]:
        """Event rows of the last two days, by time; those at a remote are left out."""
        rows, _ = self._open_rows(EVENTS, _event_decoder)
        unsealed = {names.stem for names in self._open(EVENTS)}
        for item in self._sealed(EVENTS):
            if item.names.stem not in unsealed and item.facts.events.keys() & {"plan", CLOCK_QUALITY}:
                for member in item.facts.members:
                    try:
                        rows += member_rows(item.names, member.offset, _event_decoder)
                    except StorageError as error:
                        if item.names.sealed.exists():
                            self.unreadable.append(str(error))
        return sorted(rows, key=lambda row: row.seq)

    @cached_property
    def plans(self) -> list[Plan]:
        """Which slots were planned."""
        found = []
        for row in self.events:
            if row.event == "plan":
                try:
                    found.append(msgspec.convert(row.detail, Plan))
                except msgspec.ValidationError as error:
                    self.unreadable.append(f"plan row, seq {row.seq}: {error}")
        return settled(found)

    @cached_property
    def last_heard_ns(self) -> int | None:
        """The last sign of life: a row, or the health file."""
        times = [row.due_ns for row in self.books.open_rows] + [row.at_ns for row in self.events]
        newest = [found.newest.get(self.collector_id) for found in self.feeds.values()]
        times += [item.facts.time_ns.last for item in newest if item is not None and item.facts.time_ns]
        times += [self.beat.written_ns] if self.beat is not None else []
        return max(times, default=None)

    def _run(self, path: Path) -> RunManifest | None:
        try:
            return RunFile.read(path).manifest
        except OrderbooksError as error:
            self.unreadable.append(str(error))
            return None

    def _sealed(self, feed: str) -> list[Sealed]:
        return self.feeds[feed].recent.get(self.collector_id, [])

    def _open(self, feed: str) -> list[layout.Segment]:
        return self._unsealed.get(feed, [])

    @cached_property
    def _unsealed(self) -> dict[str, list[layout.Segment]]:
        """Segments without a manifest in the hours of the last day, oldest first."""
        since = hour_of(self.now_ns - DAY_NS)
        found: dict[str, list[layout.Segment]] = {}
        for feed in (BOOKS, EVENTS):
            for hour, folder in layout.hours_back(layout.feed_folder(self.root, feed)):
                if hour < since:
                    break
                own = [
                    names
                    for names in open_segments(folder, self.root)
                    if names.collector_id == self.collector_id
                ]
                found[feed] = [*own, *found.get(feed, [])]
        return found

    def _open_rows(self, feed: str, decoder: msgspec.json.Decoder[Row]) -> tuple[list[Row], bool]:
        rows: list[Row] = []
        whole = True
        for names in self._open(feed):
            more, all_of_it = open_rows(names, decoder)
            rows += more
            whole &= all_of_it
        return rows, whole


def hour_of(ns: int) -> str:
    """``2026/04/16/08``: the folder of an instant, which orders as time does."""
    text = iso_utc(max(0, ns))
    return f"{text[0:4]}/{text[5:7]}/{text[8:10]}/{text[11:13]}"
