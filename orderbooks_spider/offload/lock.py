"""One upload or purge per archive at a time: two at once make files of the same name on Drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import ArchiveLock

if TYPE_CHECKING:
    from pathlib import Path


def take_lock(root: Path, what: str) -> ArchiveLock:
    """Take the lock for *what*, ``upload`` or ``purge``; rclone must share its descriptor.

    Raises:
        LockedError: another process has it; the text names its pid.
        StorageError: the lock file cannot be made or written.

    """
    return ArchiveLock.take(layout.offload_lock(root), "an upload or purge is run", what)
