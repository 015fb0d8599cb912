"""Archives in, dataset out: what is new is normalised, what is known is kept, all of it is written down.

Phase 1 does a task per segment, anywhere; phase 2 follows here.  Only segments and hours whose inputs
have changed since the manifest of the dataset was written are made again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import ConfigError, LockedError
from orderbooks_spider.normalize import manifest
from orderbooks_spider.normalize.files import TEMPORARY
from orderbooks_spider.normalize.manifest import Normalization
from orderbooks_spider.normalize.pools import begun
from orderbooks_spider.normalize.sources import look_at
from orderbooks_spider.normalize.tables import TABLES
from orderbooks_spider.normalize.tasks import Done, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orderbooks_spider.normalize.sources import Sources
    from orderbooks_spider.normalize.tasks import DerivedHour, Input, Output


INTERRUPTED: Final = "the last run was interrupted: run it again"


class Progress(Protocol):
    """Is told how far each step is."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """*step* is ``segments`` (in compressed bytes) or ``hours``."""


def normalise_archives(
    roots: Sequence[Path],
    out: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Normalization:
    """Bring the dataset under *out* up to date with the archives under *roots*.

    Its ``errors`` say what could not be used; everything else is there.

    Args:
        roots: archive roots of different collectors.
        out: the dataset; made where it does not exist.
        workers: processes; by default one per core.
        scheduler: address of a Dask scheduler to use instead.
        progress: is called as work is done.

    Raises:
        ArchiveError: a root holds no archive, or the dataset's manifest cannot be read.
        ConfigError: the roots do not go together, or not with this dataset.
        LockedError: another process works on this dataset.
        StorageError: the dataset cannot be written.

    """
    sources = look_at(list(dict.fromkeys(root.resolve() for root in roots)))
    for root in roots:
        _check_apart(root, out)
    with _lock(out):
        made = Normalization(environment=sources.environment, versions=manifest.versions())
        before = manifest.read(out)
        if before is not None:
            _check_fits(before, sources, out)
        known = _Known(out, made, before)
        made.derived = [known.hours[hour_ns] for hour_ns in sorted(known.hours)]
        made.errors = [INTERRUPTED]
        done, tasks = _plan(sources, out, known)
        try:
            with begun(tasks, workers or os.cpu_count() or 1, scheduler) as results:
                # They bring Polars, which takes a while to import; the workers begin meanwhile.
                from orderbooks_spider.normalize.derive import derive  # noqa: PLC0415
                from orderbooks_spider.normalize.view import build_view  # noqa: PLC0415

                _phase_1(tasks, done, results, progress)
            view = build_view(sources, out, done)
            through = None if progress is None else partial(progress, "hours")
            made.derived = derive(out, view, known.hours, through)
            made.errors = _errors(sources, done, made.derived)
        finally:  # what is done is done, also when a worker was killed or somebody lost patience
            made.segments = [item for _, item in sorted(done.items()) if item.error is None]
            made.add_up()
            manifest.write(out, made)
        _remove_stale(out, before, made)
        return made


class _Known:
    """What an earlier run has made and what still holds: same versions, and its files are there."""

    def __init__(self, out: Path, made: Normalization, before: Normalization | None) -> None:
        self.segments: dict[Input, Done] = {}
        self.hours: dict[int, DerivedHour] = {}
        if before is None or (before.versions, before.dataset_schema) != (made.versions, made.dataset_schema):
            return
        self.segments = {done.input: done for done in before.segments if _all_there(out, done.outputs)}
        self.hours = {hour.hour_ns: hour for hour in before.derived if _all_there(out, hour.outputs)}


def _all_there(out: Path, outputs: Iterable[Output]) -> bool:
    for output in outputs:
        try:
            if (out / output.file).stat().st_size != output.bytes:
                return False
        except FileNotFoundError:
            return False
    return True


def _plan(sources: Sources, out: Path, known: _Known) -> tuple[dict[str, Done], list[Task]]:
    """Segments that are done, or cannot be; and the tasks for the others."""
    done: dict[str, Done] = {}
    tasks = []
    for segment in sources.segments:
        wanted, path = segment.input, segment.names.sealed
        if wanted in known.segments:
            done[wanted.file] = known.segments[wanted]
        elif path.exists():
            tasks.append(Task(root=str(segment.names.root.resolve()), out=str(out.resolve()), input=wanted))
        else:
            text = (
                f"{wanted.file}: expected the segment of its manifest, saw no file: fetch it from the remote"
            )
            done[wanted.file] = Done(input=wanted, error=text)
    return done, tasks


def _phase_1(
    tasks: Sequence[Task], done: dict[str, Done], results: Iterable[Done], progress: Progress | None
) -> None:
    """Collect the *results* of *tasks* into *done*."""
    total, so_far = sum(task.input.bytes for task in tasks), 0
    for result in results:
        done[result.input.file] = result
        so_far += result.input.bytes
        if progress is not None:
            progress("segments", so_far, total)


def _errors(sources: Sources, done: dict[str, Done], derived: Iterable[DerivedHour]) -> list[str]:
    found = [*sources.errors, *(item.error for _, item in sorted(done.items()) if item.error is not None)]
    return found + [problem for hour in derived for problem in hour.problems]


def _remove_stale(out: Path, before: Normalization | None, made: Normalization) -> None:
    """Remove files that the dataset held and does not hold any more, and what a killed run began."""
    kept = {output.file for output in made.outputs()}
    for output in before.outputs() if before is not None else ():
        if output.file not in kept:
            durable.unlink(out / output.file)
    for table in TABLES:
        for path in (out / table).rglob(f"*{TEMPORARY}"):
            durable.unlink(path)


def _check_apart(root: Path, out: Path) -> None:
    """The dataset may lie beside an archive's folders, never in them."""
    inner = out.resolve()
    if inner == root.resolve() or any(
        inner.is_relative_to(root.resolve() / name) for name in ("raw", "manifests", "state")
    ):
        raise ConfigError(f"--out: {out} is part of the archive {root}: give a folder of its own")


def _check_fits(before: Normalization, sources: Sources, out: Path) -> None:
    """The dataset must be one of these archives and no others."""
    if before.environment != sources.environment:
        raise ConfigError(
            f"--out: {out} holds {before.environment} evidence and the roots hold {sources.environment}: "
            "give another folder (rule A16)"
        )
    here = {segment.names.file for segment in sources.segments} | sources.unreadable
    for done in before.segments:
        if done.input.file not in here:
            raise ConfigError(
                f"--out: {out} was made also from {done.input.file}, which no given root has: give all roots "
                "that it was made from, or another folder"
            )


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Keep other processes away from *out* meanwhile."""
    path = out / "manifests" / "normalization.lock"
    durable.makedirs(path.parent)
    with durable.naming(path, "open the lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(f"{out}: another process is normalising into it") from error
    else:
        yield
    finally:
        os.close(descriptor)
