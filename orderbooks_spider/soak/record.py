"""What a soak writes about itself: ``soak.json``, what was run, and ``samples.jsonl``, what was measured.

All times are wall time of the archive's clock, in nanoseconds since the epoch: in an accelerated soak
that is the exchange's time, of which ``speed`` seconds pass in a real one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from pathlib import Path

RECORD_FILE = "soak.json"
SAMPLES_FILE = "samples.jsonl"

NOT_INJECTED: Final = "not injected: "
"""How the detail of a planned fault begins that could not be made; it explains nothing."""

RECORD_SCHEMA = "orderbooks.soak/1"
SAMPLE_SCHEMA = "orderbooks.soak_sample/1"

FaultKind = Literal["kill", "outage", "throttle", "slow", "clock_step", "disk_full", "upload_outage"]
_T = TypeVar("_T")


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Base: read-only, and written with names."""


class Fault(_Entry, frozen=True, kw_only=True):
    """A fault as it was injected; ``begin_ns == end_ns`` for what happens in a moment."""

    kind: FaultKind
    detail: str
    begin_ns: int
    end_ns: int


class Start(_Entry, frozen=True, kw_only=True):
    """One life of the collector; *exit_status* as a shell's, a signal negative, None while it runs."""

    pid: int
    begin_ns: int
    end_ns: int | None
    exit_status: int | None


class Upload(_Entry, frozen=True, kw_only=True):
    """One run of the uploader."""

    begin_ns: int
    exit_status: int
    detail: str


class SoakRecord(_Entry, frozen=True, kw_only=True):
    """What was run, against what, at which speed, and what was done to it."""

    schema: str = RECORD_SCHEMA
    environment: Literal["sandbox", "live"]
    speed: float
    """Seconds of the archive's clock in a real second, at most: its clock waits while the machine is busy.

    1.0 is real time.  A real millisecond of latency is so many of the archive's.
    """
    commit: str
    begin_ns: int
    end_ns: int
    config: str
    attached: bool
    faults: list[Fault]
    starts: list[Start]
    uploads: list[Upload]


class Sample(_Entry, frozen=True, kw_only=True):
    """One look at the collector's process and at its disk."""

    schema: str = SAMPLE_SCHEMA
    at_ns: int
    pid: int
    rss_bytes: int
    cpu_seconds: float
    open_files: int
    """Descriptors that are no sockets."""
    sockets: int
    """Mostly connections to the venue."""
    archive_bytes: int
    disk_free_bytes: int
    loop_lag_ms: float | None
    """Worst lateness of the event loop in the last minute by the health file, real milliseconds."""
    polls: int | None
    """Slots of the last whole minute by the health file."""
    children_rss_bytes: int


def write_record(out: Path, record: SoakRecord) -> None:
    """Write ``soak.json`` into the folder *out*, whole or not at all."""
    path = out / RECORD_FILE
    waiting = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    waiting.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    waiting.replace(path)


def read_record(out: Path) -> SoakRecord:
    """Read ``soak.json`` of the folder *out*.

    Raises:
        ArchiveError: it is missing, or not what its schema says.

    """
    path = out / RECORD_FILE
    return _decoded(_read(path), SoakRecord, RECORD_SCHEMA, str(path))


def read_samples(out: Path) -> list[Sample]:
    """Read ``samples.jsonl`` of the folder *out*; a last line that a dead run left torn is passed over.

    Raises:
        ArchiveError: it is missing, or a line is not what its schema says.

    """
    path = out / SAMPLES_FILE
    lines = _read(path).rpartition(b"\n")[0].splitlines()
    return [
        _decoded(line, Sample, SAMPLE_SCHEMA, f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror}; expected what a soak wrote") from error


def _decoded(text: bytes, kind: type[_T], schema: str, source: str) -> _T:
    try:
        found = msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{source}: {error}") from error
    seen = getattr(found, "schema", None)
    if seen != schema:
        raise ArchiveError(f"{source}: schema: expected {schema!r}, saw {seen!r}")
    return found
