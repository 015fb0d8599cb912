"""The dataset's own files, read again by what is made of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import polars as pl

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.normalize.tasks import Output

_DAMAGED: Final = "not what was written"


def read_table(out: Path, output: Output, columns: list[str]) -> pl.DataFrame:
    """*columns* of a file that was written before.

    Raises:
        ArchiveError: it is damaged.
        StorageError: it cannot be read.

    """
    path = out / output.file
    with durable.naming(path, "read"):
        try:
            frame = pl.read_parquet(path, columns=columns, hive_partitioning=False, glob=False)
        except pl.exceptions.ComputeError as error:
            raise ArchiveError(f"{path}: {_DAMAGED}: {error}; delete it and run again") from error
    return frame.select(columns)


def check_digest(out: Path, output: Output) -> None:
    """Hold a file that was written before to its digest.

    Raises:
        ArchiveError: it is damaged, or gone.
        StorageError: it cannot be read.

    """
    path = out / output.file
    if not path.exists():
        raise ArchiveError(f"{path}: expected a file of the dataset, saw none; normalise again")
    with durable.naming(path, "read"), path.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != output.sha256:
        text = f"{path}: {_DAMAGED}: expected sha256 {output.sha256}, saw {seen}"
        raise ArchiveError(f"{text}; delete it and normalise again")
