"""What the kernel says of a running collector: memory, processor time, open files; and of its disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive.durable import free_bytes
from orderbooks_spider.archive.layout import health_file
from orderbooks_spider.clock import NS
from orderbooks_spider.soak.record import SAMPLES_FILE, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.clock import Clock

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Every:
    """Says each time that *seconds* have passed, from *first* on; ``None``: never."""

    def __init__(self, seconds: float | None, first: float | None) -> None:
        self._seconds = seconds
        self._next = first

    def has_come(self, elapsed_seconds: float) -> bool:
        """Whether it is time, *elapsed_seconds* after the start."""
        if self._seconds is None or self._next is None or elapsed_seconds < self._next:
            return False
        self._next += ((elapsed_seconds - self._next) // self._seconds + 1) * self._seconds
        return True


class Sampler:
    """Writes samples of the collector of the archive at *root* into the soak's folder *out*."""

    def __init__(self, out: Path, root: Path, collector_id: str, clock: Clock) -> None:
        self._file = (out / SAMPLES_FILE).open("ab")
        self._root = root
        self._collector_id = collector_id
        self._clock = clock

    def take(self, pid: int | None) -> Sample | None:
        """Take one of the process *pid*; ``None``: it is not there."""
        if pid is None:
            return None
        sample = take_sample(pid, self._root, self._collector_id, self._clock.wall_ns())
        if sample is not None:
            self._file.write(msgspec.json.encode(sample) + b"\n")
            self._file.flush()
        return sample

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def take_sample(pid: int, root: Path, collector_id: str, at_ns: int) -> Sample | None:
    """Look at the collector *pid* and its archive; ``None``: it is not there any more.

    Raises:
        StorageError: the archive's file system cannot be asked.

    """
    if not is_running(pid):
        return None
    try:
        rss_bytes, cpu_seconds = _rss_bytes(pid), _cpu_seconds(pid)
        open_files, sockets = _descriptors(pid)
    except (OSError, IndexError):
        return None
    beat = _beat(root, collector_id)
    lag_ns = (beat.loop_lag or {}).get("max_ns") if beat is not None else None
    return Sample(
        at_ns=at_ns,
        pid=pid,
        rss_bytes=rss_bytes,
        cpu_seconds=cpu_seconds,
        open_files=open_files,
        sockets=sockets,
        archive_bytes=folder_bytes(root),
        disk_free_bytes=free_bytes(root),
        loop_lag_ms=None if lag_ns is None else lag_ns / 1_000_000,
        polls=None if beat is None else beat.polls(at_ns),
        children_rss_bytes=sum(map(_rss_of_child, children(pid))),
    )


def is_running(pid: int) -> bool:
    """Whether the process is there, and not only its end that nobody has noticed yet."""
    try:
        return _stat(pid)[0] not in {"Z", "X"}
    except (OSError, IndexError):
        return False


def children(pid: int) -> list[int]:
    """The processes that *pid* has started and that still run."""
    try:
        told = [path.read_text() for path in (_PROC / str(pid) / "task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for text in told for child in text.split()]


def folder_bytes(folder: Path) -> int:
    """Sizes of all files below *folder*; what vanishes meanwhile does not count."""
    return sum(_sizes(folder))


class _Minute(msgspec.Struct, frozen=True):
    slots: int


class _Beat(msgspec.Struct, frozen=True):
    """What is read of the health file."""

    written_ns: int
    last_minutes: list[_Minute]
    loop_lag: dict[str, Any] | None

    def polls(self, at_ns: int) -> int | None:
        """Slots of the last whole minute; ``None`` before there is one, or where the file is old."""
        if abs(at_ns - self.written_ns) > 60 * NS or len(self.last_minutes) < 2:
            return None
        return self.last_minutes[-2].slots


def _beat(root: Path, collector_id: str) -> _Beat | None:
    try:
        return msgspec.json.decode(health_file(root, collector_id).read_bytes(), type=_Beat)
    except (OSError, msgspec.MsgspecError):
        return None


def _rss_bytes(pid: int) -> int:
    return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES


def _rss_of_child(pid: int) -> int:
    try:
        return _rss_bytes(pid)
    except (OSError, IndexError):
        return 0


def _cpu_seconds(pid: int) -> float:
    """User and system time, with that of its children that have ended; ``proc(5)``, fields 14 to 17."""
    return sum(map(int, _stat(pid)[11:15])) / _TICKS


def _stat(pid: int) -> list[str]:
    """``proc(5)``, ``stat``, from field 3 on, the state: the name before it may hold blanks."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _descriptors(pid: int) -> tuple[int, int]:
    """Open files and sockets, by what ``/proc/PID/fd`` links to."""
    targets = [_target(path) for path in (_PROC / str(pid) / "fd").iterdir()]
    sockets = sum(target.startswith("socket:") for target in targets)
    return len(targets) - sockets - targets.count(""), sockets


def _target(descriptor: Path) -> str:
    """What the link says; empty where it was closed meanwhile."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""


def _sizes(folder: Path) -> Iterator[int]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
                else:
                    yield _size(entry)
    except FileNotFoundError:
        return


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
