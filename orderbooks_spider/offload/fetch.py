"""Brings purged segments back to be read, a bounded number of bytes at a time."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.errors import RemoteError
from orderbooks_spider.offload.destination import read_destination
from orderbooks_spider.offload.rclone import NO_FOLDER, Rclone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.archive.inventory import Described

BATCH_BYTES = 256_000_000
"""On the disk at once, in the folder for temporary files; a single segment may be larger."""


def fetch_purged(items: list[Described]) -> Iterator[list[Described]]:
    """Give the segments back in batches, each below a temporary root; what is not there is left out.

    Raises:
        ConfigError: a record names a destination that is none, or one that rclone does not know.
        RemoteError: a remote does not answer, or refuses.

    """
    for destination, batch in _batches(items):
        # A record is a file that anybody may have written: its destination is checked like an argument.
        rclone = Rclone(read_destination(destination, batch[0].names.root))
        with tempfile.TemporaryDirectory(prefix="orderbooks-fetch-") as folder:
            ended = rclone.fetch((item.names.file for item in batch), Path(folder))
            if ended.code not in {0, NO_FOLDER}:
                raise RemoteError(f"cannot fetch from {destination}: {ended.meaning}")
            moved = [replace(item, names=replace(item.names, root=Path(folder))) for item in batch]
            yield [item for item in moved if item.names.sealed.exists()]


def _batches(items: list[Described]) -> Iterator[tuple[str, list[Described]]]:
    by_destination: dict[str, list[Described]] = {}
    for item in items:
        if item.at_remote is not None:
            by_destination.setdefault(item.at_remote.destination, []).append(item)
    for destination, wanted in by_destination.items():
        batch: list[Described] = []
        for item in wanted:
            if batch and sum(other.manifest.bytes for other in [*batch, item]) > BATCH_BYTES:
                yield destination, batch
                batch = []
            batch.append(item)
        yield destination, batch
