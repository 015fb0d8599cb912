"""Look at an archive root from outside: no process need live, nothing is written, no lock is taken.

What is read is bounded by time and not by the archive's age: the manifests of two days, the events of
these, rows that are not sealed yet and those on the edges of the spans.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.lock import is_running
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import BOOKS, EVENTS, MARKETS
from orderbooks_spider.status.collector import report_of
from orderbooks_spider.status.files import DAY_NS, CollectorFiles, hour_of
from orderbooks_spider.status.report import ArchiveReport, worst
from orderbooks_spider.status.sealed import sealed_segments
from orderbooks_spider.status.stored import disk_of, offload_of
from orderbooks_spider.status.verdict import judge_disk, judge_offload

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orderbooks_spider.clock import Clock

PLANS_NS = 52 * layout.HOUR_NS
"""Back to where a daily market that ended a day ago was planned: its day, and two hours ahead."""


def look(root: Path, clock: Clock) -> ArchiveReport:
    """Everything about *root* and each of its collectors.

    Raises:
        ArchiveError: no collector ever began a run there, or the index of offloaded files is none.
        StorageError: the root cannot be read, or the file system does not answer.

    """
    if root.exists():
        with durable.naming(root, "read"):
            os.listdir(root)  # noqa: PTH208 - what we may not read must not look like what is not there
    collectors = layout.collector_ids(root)
    if not collectors:
        raise ArchiveError(f"{root}: no data yet: no collector ever began a run here")
    now_ns = clock.wall_ns()
    running = {name for name in collectors if is_running(root, name)}
    feeds = {
        feed: sealed_segments(root, feed, hour_of(now_ns - PLANS_NS), collectors)
        for feed in (BOOKS, MARKETS, EVENTS)
    }
    files = [CollectorFiles(root, name, feeds, now_ns, name in running) for name in collectors]
    reports = [report_of(one, others_run=bool(running - {one.collector_id})) for one in files]
    since = hour_of(now_ns - DAY_NS)
    sealed = [
        item
        for found in feeds.values()
        for segments in found.recent.values()
        for item in segments
        if f"{item.names.day}/{item.names.hour}" >= since
    ]
    disk = disk_of(root, sealed, _min_free_bytes(files))
    offload = offload_of(root, now_ns)
    findings = [*judge_disk(disk), *judge_offload(offload)]
    return ArchiveReport(
        root=str(root),
        at_utc=iso_utc(now_ns),
        state=worst(findings, reports),
        findings=findings,
        disk=disk,
        offload=offload,
        collectors=reports,
    )


def _min_free_bytes(files: Iterable[CollectorFiles]) -> int | None:
    """The largest of ``archive.min_free_bytes``: whoever pauses first."""
    settings = [one.run.config.get("archive", {}) for one in files if one.run is not None]
    return max((keys["min_free_bytes"] for keys in settings if "min_free_bytes" in keys), default=None)
