"""Watches a collector that somebody else started, live or sandbox: samples, lives, and then the account."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.clock import NS, SystemClock, iso_utc
from orderbooks_spider.config import load
from orderbooks_spider.errors import EXIT_INTERRUPTED, ConfigError
from orderbooks_spider.soak.frame import LOOK_SECONDS, Interrupted, account, commit, make_folder
from orderbooks_spider.soak.record import SoakRecord, Start, write_record
from orderbooks_spider.soak.sample import Every, Sampler, is_running

if TYPE_CHECKING:
    from collections.abc import Callable


class _Holder(msgspec.Struct, frozen=True):
    """What is read of the collector's lock file."""

    pid: int


def attach(config_file: str, out: Path, seconds: float, every: float, say: Callable[[str], None]) -> int:
    """Watch the collector of *config_file* for *seconds*, a sample *every* so many; the exit code.

    Raises:
        ConfigError: the config cannot be used, *out* is in use, or no such collector ever ran here.
        StorageError: *out* cannot be made.

    """
    config = load(config_file)
    root, collector_id = Path(config.archive.root).resolve(), config.archive.collector_id
    if not layout.lock_file(root, collector_id).exists():
        raise ConfigError(f"{config_file}: archive.root: no collector {collector_id!r} ever ran in {root}")
    make_folder(out)
    (out / "archive").symlink_to(root)
    clock, interrupted = SystemClock(), Interrupted()
    begun_ns, begin_ns = clock.monotonic_ns(), clock.wall_ns()
    record = SoakRecord(
        environment=config.environment, speed=1.0, commit=commit(), begin_ns=begin_ns, end_ns=begin_ns,
        config=Path(config_file).name, attached=True, faults=[], starts=[], uploads=[],
    )  # fmt: skip
    sampler, due = Sampler(out, root, collector_id, clock), Every(every, first=0)
    with interrupted.listening(), closing(sampler):
        while not interrupted.seen and (elapsed := (clock.monotonic_ns() - begun_ns) / NS) < seconds:
            pid, now_ns = _running(root, collector_id), clock.wall_ns()
            if _follow(record.starts, pid, now_ns):
                say(f"{iso_utc(now_ns)[:19]} collector {'gone' if pid is None else pid}")
            if due.has_come(elapsed):
                sampler.take(pid)
                write_record(out, msgspec.structs.replace(record, end_ns=now_ns))
            time.sleep(LOOK_SECONDS)
        write_record(out, msgspec.structs.replace(record, end_ns=clock.wall_ns()))
        if interrupted.seen:
            return EXIT_INTERRUPTED
        return account(root, out, interrupted, say)


def _running(root: Path, collector_id: str) -> int | None:
    """The process that wrote the lock file last, if it lives."""
    try:
        text = layout.lock_file(root, collector_id).read_bytes()
        pid = msgspec.json.decode(text, type=_Holder).pid
    except (OSError, msgspec.MsgspecError):
        return None
    return pid if is_running(pid) else None


def _follow(starts: list[Start], pid: int | None, now_ns: int) -> bool:
    """Note a life that began or ended; whether one did.  How it ended only its own supervisor knows."""
    running = starts[-1] if starts and starts[-1].end_ns is None else None
    if pid == (None if running is None else running.pid):
        return False
    if running is not None:
        starts[-1] = msgspec.structs.replace(running, end_ns=now_ns)
    if pid is not None:
        starts.append(Start(pid=pid, begin_ns=now_ns, end_ns=None, exit_status=None))
    return True
