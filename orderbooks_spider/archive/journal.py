"""The plain file that a row reaches first, by ``write(2)`` at once, so a kill loses none (rule A2)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


class RowKey(msgspec.Struct, frozen=True):
    """What orders and identifies a row of any feed; decoding it also checks the line's JSON."""

    seq: int
    token_id: str | None = None
    due_ns: int | None = None
    observed_ns: int | None = None
    at_ns: int | None = None

    @property
    def time_ns(self) -> int:
        """Due, or observed, or happened; 0 for a row that has none (which verify reports)."""
        for value in (self.due_ns, self.observed_ns, self.at_ns):
            if value is not None:
                return value
        return 0

    @property
    def order(self) -> tuple[str, int, int]:
        """The order inside a block: gzip finds a token's previous book within its 32 KB (rule A3)."""
        return self.token_id or "", self.time_ns, self.seq


_row_key = msgspec.json.Decoder(RowKey)


def row_key(line: bytes) -> RowKey | None:
    """The key of a line, or ``None`` when the line is not a whole row."""
    try:
        return _row_key.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Journal:
    """An append-only file of whole rows; made new, never opened again (rule A6)."""

    def __init__(self, path: Path, root: Path) -> None:
        """Create *path*.

        Raises:
            StorageError: it exists already, or cannot be made.

        """
        self.path = path
        self.bytes = 0
        self.rows = 0
        self.synced_bytes = 0
        self.usable = True
        self._root = root
        self._name_is_durable = False
        with durable.naming(path, "make the journal"):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)

    def append(self, lines: bytes, rows: int = 1) -> None:
        r"""Store *rows* rows, each ending in ``\n``; when this returns, only a power loss can take them.

        Raises:
            StorageError: none of them is stored, and no part of them stays in the file; where even
                that fails, ``usable`` turns false and the torn end is set aside at the next block.

        """
        if not self.usable:
            raise StorageError(f"{self.path}: cannot write: the journal is closed")
        try:
            written = os.write(self._descriptor, lines)
        except OSError as error:
            self._take_back()
            raise StorageError(f"{self.path}: cannot write: {error.strerror or error}") from error
        if written != len(lines):
            self._take_back()
            raise StorageError(f"{self.path}: cannot write: {written} of {len(lines)} bytes were taken")
        self.bytes += written
        self.rows += rows

    @property
    def flushed(self) -> bool:
        """Whether a power loss could take nothing of it."""
        return self._name_is_durable and self.synced_bytes == self.bytes

    def sync(self) -> None:
        """Make every row so far durable; may run in a thread beside :meth:`append`.

        Raises:
            StorageError: rows since the last success may be lost by a power loss; ``usable`` is
                false: a second fsync on this descriptor would lie.

        """
        reached = self.bytes
        try:
            if not self._name_is_durable:
                durable.fsync_names(self.path.parent, self._root)
                self._name_is_durable = True
            if reached > self.synced_bytes:
                durable.fdatasync(self._descriptor, self.path)
        except StorageError:
            self.usable = False
            raise
        self.synced_bytes = reached

    def finish(self) -> None:
        """Flush, unless a flush failed before, and close; runs in a thread.

        Raises:
            StorageError: as :meth:`sync`; the file is closed all the same.

        """
        try:
            if self.usable:
                self.sync()
        finally:
            self.close()

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        self.usable = False
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.bytes)
        except OSError:
            self.usable = False


@dataclass(frozen=True)
class JournalContent:
    """What a journal file holds."""

    rows: list[tuple[RowKey, bytes]]
    """Whole rows in file order, each with its ``\\n``."""
    torn: bytes
    """Everything else, which a crash or a full disk cut."""
    torn_at: int | None
    """Offset of the first torn byte."""


def read_journal(path: Path) -> JournalContent:
    r"""Split a journal into whole rows and torn rest.

    A line is whole when it ends in ``\n`` and is a JSON object with an integer ``seq``.

    Raises:
        StorageError: the file cannot be read.

    """
    rows: list[tuple[RowKey, bytes]] = []
    torn: list[bytes] = []
    torn_at: int | None = None
    offset = 0
    with durable.naming(path, "read"), path.open("rb") as lines:
        for line in lines:
            key = row_key(line) if line.endswith(b"\n") else None
            if key is None:
                torn.append(line)
                torn_at = offset if torn_at is None else torn_at
            else:
                rows.append((key, line))
            offset += len(line)
    return JournalContent(rows, b"".join(torn), torn_at)
