"""The dataset's files: their names, how they are written, and that equal tables give equal bytes.

``OUT/<table>/date=YYYY-MM-DD/hour=HH/<name>.parquet``; date and hour are in the path alone.
No time and no path of the machine is written into a file, and every setting that shapes its bytes is
fixed here; the version of the library that writes them stands in the dataset's manifest.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orderbooks_spider.archive import durable
from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.clock import iso_utc

if TYPE_CHECKING:
    from types import TracebackType

    from orderbooks_spider.normalize.tables import Table

SUFFIX: Final = ".parquet"
TEMPORARY: Final = ".parquet.tmp"
ROW_GROUP: Final = 8192
"""Rows that are read together: some hours of one token at a poll a second, some 10 MB of levels."""
ZSTD_LEVEL: Final = 3


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    table: str
    file: str
    """Relative to OUT, with forward slashes."""
    hour_ns: int
    """Begin of the UTC hour of its rows."""
    rows: int
    bytes: int
    sha256: str


def partition(hour_ns: int) -> str:
    """``date=2026-04-16/hour=08`` of the UTC hour that begins at *hour_ns*."""
    text = iso_utc(hour_ns)
    return f"date={text[:10]}/hour={text[11:13]}"


def write_table(out: Path, table: Table, name: str, data: pa.Table) -> list[Output]:
    """Write *data* (columns by name, any order of rows), one file per UTC hour of its rows.

    Raises:
        StorageError: a file cannot be written.
        pyarrow.ArrowInvalid, ValueError: *data* does not fit the table's schema.

    """
    fitting = data.select(table.schema.names).cast(table.schema)
    ordered = fitting.sort_by([(column, "ascending") for column in table.order])
    with PartitionedWriter(out, table, name) as writer:
        writer.write(ordered)
        return writer.finish()


class PartitionedWriter:
    """Writes rows that are already in the table's order to the files of their hours.

    A file appears under its name when all are complete; leaving the context before removes what was begun.
    """

    def __init__(self, out: Path, table: Table, name: str) -> None:
        self._out = out
        self._table = table
        self._name = name
        self._hours: dict[int, _HourFile] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for hour in self._hours.values():
                stack.callback(hour.discard)

    def write(self, data: pa.Table) -> None:
        """Append rows that have the table's schema.

        Raises:
            StorageError: a file cannot be written.

        """
        hours = data[self._table.time].to_numpy() // HOUR_NS
        for hour in np.unique(hours).tolist():
            if hour not in self._hours:
                path = PurePosixPath(self._table.name, partition(hour * HOUR_NS), self._name + SUFFIX)
                self._hours[hour] = _HourFile(self._out / path, self._table.schema)
            mine = hours == hour
            self._hours[hour].append(data if mine.all() else data.filter(pa.array(mine)))

    def finish(self) -> list[Output]:
        """Give the files their names; returns them by hour.

        Raises:
            StorageError: a file cannot be completed.

        """
        for _, file in sorted(self._hours.items()):
            file.close()
        return [
            Output(
                table=self._table.name,
                file=file.path.relative_to(self._out).as_posix(),
                hour_ns=hour * HOUR_NS,
                rows=file.rows,
                bytes=file.temporary.stat().st_size,
                sha256=file.publish(),
            )
            for hour, file in sorted(self._hours.items())
        ]


class _HourFile:
    """One Parquet file under its temporary name; rows wait until they fill a row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        # A name of its own: a worker may outlive a killed parent and meet the next run here.
        self.temporary = path.with_name(f"{path.stem}.{secrets.token_hex(4)}{TEMPORARY}")
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        durable.makedirs(path.parent)
        with durable.naming(self.temporary, "write"):
            self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
                self.temporary, schema, **_settings(schema)
            )

    def append(self, data: pa.Table) -> None:
        self._waiting.append(data)
        self._waiting_rows += data.num_rows
        self.rows += data.num_rows
        if self._waiting_rows >= ROW_GROUP:
            waiting = pa.concat_tables(self._waiting)
            whole = self._waiting_rows // ROW_GROUP * ROW_GROUP
            self._write(waiting.slice(0, whole))
            self._waiting = [waiting.slice(whole)]
            self._waiting_rows -= whole

    def close(self) -> None:
        if self._waiting_rows:
            self._write(pa.concat_tables(self._waiting))
        self._waiting = []
        assert self._writer is not None
        with durable.naming(self.temporary, "write"):
            self._writer.close()
        self._writer = None

    def publish(self) -> str:
        """Flush, rename; the SHA-256 of the bytes."""
        with durable.naming(self.temporary, "read"), self.temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        durable.fsync_file(self.temporary)
        durable.move(self.temporary, self.path)
        return digest

    def discard(self) -> None:
        """Remove what was not published."""
        if self._writer is not None:
            self._writer.close()
        durable.unlink(self.temporary)

    def _write(self, data: pa.Table) -> None:
        assert self._writer is not None
        with durable.naming(self.temporary, "write"):
            self._writer.write_table(data, row_group_size=ROW_GROUP)


def _settings(schema: pa.Schema) -> dict[str, object]:
    """What shapes the bytes.  Levels are smaller and faster plain than with dictionaries (measured)."""
    return {
        "version": "2.6",
        "data_page_version": "1.0",
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": [field.name for field in schema if pa.types.is_string(field.type)],
        "store_schema": False,
        "store_decimal_as_integer": True,
    }
