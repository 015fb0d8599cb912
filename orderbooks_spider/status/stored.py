"""What lies on the disk: room, growth, and what no remote is known to hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.clock import NS
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import FEEDS
from orderbooks_spider.status.vitals import Disk, Offload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from orderbooks_spider.status.sealed import Sealed


class _Index(msgspec.Struct, frozen=True):
    """The keys of ``state/offloaded.json`` that are read: its files by name."""

    files: dict[str, msgspec.Raw]


_index = msgspec.json.Decoder(_Index)

DAY_SECONDS = 86_400
LEAST_SECONDS = 3600.0
"""A forecast needs so much sealed time."""


def disk_of(root: Path, sealed: Iterable[Sealed], min_free_bytes: int | None) -> Disk:
    """Free space, and for how long it lasts at the pace of *sealed*, all feeds of the last day.

    Raises:
        StorageError: the file system does not answer.

    """
    free = durable.free_bytes(root)
    timed = [(item.facts.time_ns, item.facts.bytes) for item in sealed if item.facts.time_ns is not None]
    begin_ns = min((when.first for when, _ in timed), default=0)
    seconds = (max((when.last for when, _ in timed), default=0) - begin_ns) / NS
    per_day = days = None
    if seconds >= LEAST_SECONDS:
        per_day = round(sum(size for _, size in timed) / seconds * DAY_SECONDS)
        days = max(0, free - (min_free_bytes or 0)) / per_day if per_day else None
    return Disk(free_bytes=free, min_free_bytes=min_free_bytes, bytes_per_day=per_day, days_left=days)


def offload_of(root: Path, now_ns: int) -> Offload:
    """Sealed files here that the index of offloaded files does not name.

    Bounded by what the disk holds: names and sizes, no content.

    Raises:
        ArchiveError: the index cannot be understood.
        StorageError: it cannot be read.

    """
    proven = _proven(root)
    segments = size = 0
    oldest_ns: int | None = None
    for file, state in _sealed_files(root):
        if proven is not None and file in proven:
            continue
        segments += 1
        size += state.st_size
        oldest_ns = state.st_mtime_ns if oldest_ns is None else min(oldest_ns, state.st_mtime_ns)
    return Offload(
        segments=segments,
        bytes=size,
        oldest_seconds=None if oldest_ns is None else max(0.0, (now_ns - oldest_ns) / NS),
        in_use=proven is not None,
    )


def _proven(root: Path) -> Collection[str] | None:
    """Files that a remote was shown to hold; ``None``: nothing was ever offloaded."""
    path = layout.offload_index(root)
    if not path.exists():
        return None
    with durable.naming(path, "read"):
        content = path.read_bytes()
    try:
        return _index.decode(content).files.keys()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: expected the index of offloaded files: {error}") from error


def _sealed_files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for feed in FEEDS:
        for folder, _, names in os.walk(layout.feed_folder(root, feed)):
            for name in names:
                if name.endswith(layout.SEALED):
                    path = os.path.join(folder, name)  # noqa: PTH118 - half the time of a Path each
                    try:
                        yield os.path.relpath(path, root).replace(os.sep, "/"), os.stat(path)  # noqa: PTH116
                    except FileNotFoundError:
                        continue  # purged meanwhile
