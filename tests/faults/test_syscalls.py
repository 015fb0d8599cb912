"""Lives that are killed at, or refused, each of their system calls in turn; then one that must go on."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.clock import NS
from tests.archives import START_NS
from tests.faults import crashed, lives, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tests.faults.table import FaultTable

MOMENTS = 8
SEED = 20260416
SAMPLE = 3
"""Faults of a kind in the short form."""
WORKERS = 2
KILLED = ("openat", "mkdir", "write", "ftruncate", "truncate", "fsync", "fdatasync", "rename", "unlink")
NO_ROOM = ("openat", "mkdir", "write", "fsync", "fdatasync", "rename")
BROKEN = ("openat", "mkdir", "write", "ftruncate", "truncate", "fsync", "fdatasync", "rename", "unlink")

needs_strace = pytest.mark.skipif(trace.why_not() is not None, reason=str(trace.why_not()))
LENGTHS = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
LIVES = pytest.mark.parametrize("life", ["first_life", "second_life"])


@dataclass(frozen=True)
class Place:
    """One system call of a life: the *number*-th of its name on its file by one thread."""

    call: str
    file: str
    """Relative to the archive root."""
    number: int


@dataclass(frozen=True)
class Try:
    """One fault."""

    name: str
    command: Callable[[Path, Path], list[str]]
    """What brings it about in the archive root given, with a log file."""
    limit: int = 0
    """How many bytes files may have; 0: any number."""


@dataclass(frozen=True)
class Outcome:
    """What came of a fault."""

    name: str
    met: bool
    """Whether it happened: threads and children take turns in other ways each time."""
    rows: int
    verdict: lives.Verdict


@dataclass
class Scene:
    """A life that is run again and again, each time with another fault."""

    before: Path
    """The archive at its start."""
    told: lives.Told
    """What lives before it said."""
    life: Callable[[Path], list[str]]
    """Its command for an archive root."""
    places: list[Place]

    def go(self, root: Path, fault: Try) -> Outcome:
        """Live with a fault, let the next life recover and go on, and judge."""
        log = root.with_name(f"{root.name}.log")
        shutil.copytree(self.before, root)
        told = self.told.born(0)
        sealed = lives.sealed_files(root)
        command = self.life(root)
        command[5] = str(fault.limit)
        lives.run(told, command, fault.command(root, log), may_die=True)
        sealed |= lives.sealed_files(root)
        lives.run(told, lives.command(root, "runlast", 500, 1))
        verdict = lives.judge(root, told, told.acknowledged, sealed)
        shutil.rmtree(root)
        met = fault.limit > 0 or trace.happened(log)
        return Outcome(fault.name, met, len(told.acknowledged), verdict)


def scene(folder: Path, told: lives.Told, run_id: str, start: int, moments: int) -> Scene:
    """Record the life once, for the places of its calls; its archive is below *folder*."""
    root, before, log = folder / "archive", folder / "before", folder / "log"
    shutil.copytree(root, before)
    lives.run(lives.Told(), lives.command(root, run_id, start, moments), trace.recording(log))
    count: defaultdict[tuple[int, str, Path], int] = defaultdict(int)
    places: dict[Place, None] = {}
    for call in trace.calls(log, root):
        if call.path != trace.SAID:
            count[call.thread, call.name, call.path] += 1
            number = count[call.thread, call.name, call.path]
            places[Place(call.name, str(call.path.relative_to(root)), number)] = None
    life = partial(_command, run_id, start, moments)
    return Scene(before, told, life, list(places))


def _command(run_id: str, start: int, moments: int, root: Path) -> list[str]:
    return lives.command(root, run_id, start, moments)


@pytest.fixture(scope="module")
def first_life(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """From an empty folder to the clean end, over two rotations."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "archive").mkdir()
    return scene(folder, lives.Told(), "run1", 0, MOMENTS)


@pytest.fixture(scope="module")
def second_life(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Recovery of what a killed life left, and some rows more."""
    folder = tmp_path_factory.mktemp("second")
    told = crashed.archive(folder / "archive")
    return scene(folder, told.born(START_NS + 100 * NS), "run2", 100, 2)


def tries(places: Collection[Place], calls: tuple[str, ...], fault: str, *, stays: bool = False) -> list[Try]:
    """*fault* once at each place of *calls*, and if it *stays* also from there on."""
    made = []
    for place in places:
        if place.call in calls:
            goes_on = Place(place.call, place.file, place.number + 1) in places
            made += [_try(place, fault, when) for when in (("", "+") if stays and goes_on else ("",))]
    return made


def _try(place: Place, fault: str, when: str) -> Try:
    fault = f"{fault}:when={place.number}{when}"
    return Try(f"{place.call} on {place.file}: {fault}", partial(_injected, place, fault))


def _injected(place: Place, fault: str, root: Path, log: Path) -> list[str]:
    return trace.injecting(place.call, root / place.file, fault, log)


def go_through(chosen: list[Try], scene: Scene, tmp_path: Path, table: FaultTable, kind: str) -> None:
    """Try them all, two at a time; add to the table; fail on what is lost or wrong."""

    def one(numbered: tuple[int, Try]) -> Outcome:
        number, fault = numbered
        return scene.go(tmp_path / f"archive{number}", fault)

    with ThreadPoolExecutor(WORKERS) as pool:
        ended = list(pool.map(one, enumerate(chosen)))
    met = [outcome for outcome in ended if outcome.met]
    lost = sum(len(outcome.verdict.lost) for outcome in ended)
    damaged = sum(outcome.verdict.damaged for outcome in ended)
    table.record(kind, len(met), sum(outcome.rows for outcome in met), lost, damaged)
    assert not lost + damaged, lives.say_wrong((outcome.name, outcome.verdict) for outcome in ended)
    missed = [outcome.name for outcome in ended if not outcome.met]
    assert len(missed) <= len(ended) / 2, missed


def some(all_of_them: list[Try], *, every: bool) -> list[Try]:
    """All, or a sample by seed."""
    return all_of_them if every else random.Random(SEED).sample(all_of_them, SAMPLE)


@needs_strace
@LENGTHS
@LIVES
def test_killed_at_a_system_call(
    life: str, every: bool, request: pytest.FixtureRequest, tmp_path: Path, fault_table: FaultTable
) -> None:
    """Rules A2, A6: a kill of the collector or its child before any call loses no acknowledged row."""
    scene: Scene = request.getfixturevalue(life)
    chosen = some(tries(scene.places, KILLED, "signal=KILL"), every=every)
    go_through(chosen, scene, tmp_path, fault_table, "SIGKILL at a system call")


@needs_strace
@LENGTHS
@LIVES
def test_no_room_at_a_system_call(
    life: str, every: bool, request: pytest.FixtureRequest, tmp_path: Path, fault_table: FaultTable
) -> None:
    """Rules A2, A5: ENOSPC once or from any call on refuses rows, and harms none that was taken."""
    scene: Scene = request.getfixturevalue(life)
    faults = tries(scene.places, NO_ROOM, "error=ENOSPC", stays=True)
    go_through(some(faults, every=every), scene, tmp_path, fault_table, "ENOSPC at a system call")


@needs_strace
@LENGTHS
@LIVES
def test_disk_error_at_a_system_call(
    life: str, every: bool, request: pytest.FixtureRequest, tmp_path: Path, fault_table: FaultTable
) -> None:
    """Rules A2, A5: EIO once or from any call on, in a flush above all, harms no row that was taken."""
    scene: Scene = request.getfixturevalue(life)
    faults = tries(scene.places, BROKEN, "error=EIO", stays=True)
    go_through(some(faults, every=every), scene, tmp_path, fault_table, "EIO at a system call")


@needs_strace
@LENGTHS
def test_row_is_taken_in_part(
    every: bool, first_life: Scene, tmp_path: Path, fault_table: FaultTable
) -> None:
    """Rule A2: a row of which the system says it took two bytes is refused, and none of it stays."""
    journals = [place for place in first_life.places if place.file.endswith(".journal")]
    faults = tries(journals, ("write",), "retval=2", stays=True)
    go_through(some(faults, every=every), first_life, tmp_path, fault_table, "short write of a row")


@LENGTHS
def test_files_cannot_grow(every: bool, tmp_path: Path, fault_table: FaultTable) -> None:
    """Rules A2, A9: a write that is taken in part, as on a full disk, leaves no part of a row behind."""
    (tmp_path / "before").mkdir()
    life = partial(_command, "run1", 0, MOMENTS)
    scene = Scene(tmp_path / "before", lives.Told(), life, [])
    limits = [*range(1, 2000, 67), *range(2000, 40_000, 487)]
    faults = [Try(f"files of {limit} bytes", lambda *_: [], limit) for limit in limits]
    go_through(some(faults, every=every), scene, tmp_path, fault_table, "short write: no file may grow")
