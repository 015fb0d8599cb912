"""One writer per archive root and collector id (rule A14), and one uploader per root, by ``flock``.

The sealing child inherits the descriptor, so a collector that was killed still holds the lock until
its child has finished: no recovery ever meets a file that is being written.
"""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.errors import LockedError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_TRIES_ALIVE = 3
"""Against a reader that holds the lock for the moment of its question."""
_TRIES_DEAD = 600
"""A dead collector's child may still be sealing: give it 30 s."""
_PAUSE_SECONDS = 0.05


class Holder(msgspec.Struct, frozen=True):
    """Who holds, or last held, a lock."""

    pid: int
    run_id: str
    host: str


@dataclass(frozen=True)
class ArchiveLock:
    """The held lock; released by :meth:`release`, or by the end of the process and its child."""

    path: Path
    descriptor: int

    @classmethod
    def acquire(cls, root: Path, collector_id: str, run_id: str) -> Self:
        """Take the lock.

        Raises:
            LockedError: another process has it; the text names its pid.
            StorageError: the lock file cannot be made or written.

        """
        return cls.take(layout.lock_file(root, collector_id), f"collector {collector_id!r} is run", run_id)

    @classmethod
    def take(cls, path: Path, busy: str, run_id: str) -> Self:
        """Take the lock of the file *path*; *busy* says what the holder does, as in ``… by pid 7``.

        Raises:
            LockedError: another process has it; the text names its pid.
            StorageError: the lock file cannot be made or written.

        """
        durable.makedirs(path.parent)
        with durable.naming(path, "open the lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _wait(descriptor, path, busy)
            holder = Holder(os.getpid(), run_id, os.uname().nodename)
            with durable.naming(path, "write the lock"):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, msgspec.json.encode(holder) + b"\n", 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def release(self) -> None:
        """Let the next writer in; a stale file is harmless."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder_of(root: Path, collector_id: str) -> Holder | None:
    """Who writes now; ``None`` when nobody does.  Asks without making or changing anything."""
    try:
        descriptor = os.open(layout.lock_file(root, collector_id), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(descriptor) or Holder(0, "", "")
    else:
        return None
    finally:
        os.close(descriptor)


def is_running(root: Path, collector_id: str) -> bool:
    """Whether a collector writes now, as far as this host can tell; a dead one's sealing child is none."""
    holder = holder_of(root, collector_id)
    return holder is not None and not _is_dead(holder)


def last_holder(root: Path, collector_id: str) -> Holder | None:
    """Who holds the lock or held it last; ``None`` where nobody ever did, or the file says nothing."""
    try:
        descriptor = os.open(layout.lock_file(root, collector_id), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, busy: str) -> None:
    pause = threading.Event()
    tries = 0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _read(descriptor)
            tries += 1
            if tries > (_TRIES_DEAD if holder is not None and _is_dead(holder) else _TRIES_ALIVE):
                who = "another process" if holder is None else f"pid {holder.pid} on {holder.host}"
                raise LockedError(f"{path}: {busy} by {who}") from error
            pause.wait(_PAUSE_SECONDS)
        else:
            return


def _is_dead(holder: Holder) -> bool:
    """Whether the pid is gone from this very host; elsewhere nobody can say.

    The kernel is asked and not ``/proc``, which a hardened unit hides from other units (``ProtectProc=``).
    """
    if holder.host != os.uname().nodename:
        return False
    try:
        os.kill(holder.pid, 0)
    except PermissionError:
        return False  # another user's, and there
    except (ProcessLookupError, OverflowError):
        return True
    return False


def _read(descriptor: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
