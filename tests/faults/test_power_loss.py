"""Power loss at each call of a life: what was not flushed is dropped, and the archive stays whole."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.archive.recovery import recover
from orderbooks_spider.clock import NS
from tests.archives import COLLECTOR, START_NS, ManualClock
from tests.faults import crashed, disk_model, lives, trace
from tests.faults.disk_model import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.disk_model import Survives
    from tests.faults.table import FaultTable

AFTER_NS = START_NS + 1000 * NS
SEED = 20260416
CHANCES = 4
"""Random outcomes tried at each cut in the long form."""
SAMPLE = 60
"""Cuts tried in the short form."""

pytestmark = pytest.mark.skipif(trace.why_not() is not None, reason=str(trace.why_not()))


@dataclass
class Recording:
    """A life, call by call."""

    root: Path
    """Where it had its archive."""
    before: Path
    """What was there before it."""
    heard_before: lives.Told
    calls: list[trace.Call]

    def cuts(self) -> Iterator[tuple[int, Disk, lives.Told]]:
        """Number, disk and what was said, after each beginning and end of a call; they change on the way."""
        disk = Disk(self.root, self.before)
        told = self.heard_before.born(self.heard_before.ticked_ns)
        marks = [(call.begin, 0, call) for call in self.calls] + [(call.end, 1, call) for call in self.calls]
        for number, (_, is_end, call) in enumerate(sorted(marks, key=lambda mark: mark[:2])):
            if call.path == trace.SAID:
                if is_end:
                    told.hear(call.data.decode())
                continue
            (disk.end if is_end else disk.begin)(call)
            yield number, disk, told


def record(folder: Path, run_id: str, start: int, moments: int, told: lives.Told) -> Recording:
    """Live and record it, in the archive below *folder*; *told* is what earlier lives said."""
    root, before, log = folder / "archive", folder / "before", folder / "log"
    shutil.copytree(root, before)
    lives.run(lives.Told(), lives.command(root, run_id, start, moments), trace.recording(log))
    return Recording(root, before, told, trace.calls(log, root))


@pytest.fixture(scope="module")
def first_life(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """From an empty folder to the clean end, over two rotations."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "archive").mkdir()
    return record(folder, "run1", 0, 12, lives.Told())


@pytest.fixture(scope="module")
def second_life(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Recovery of what a killed life left, and some rows more."""
    folder = tmp_path_factory.mktemp("second")
    told = crashed.archive(folder / "archive")
    return record(folder, "run2", 100, 2, told.born(START_NS + 100 * NS))


class Tries:
    """What came of the cuts, for the table and the test."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._verdicts: list[tuple[str, lives.Verdict]] = []
        self.count: Counter[str] = Counter()

    def go(self, name: str, disk: Disk, told: lives.Told, survives: Survives) -> None:
        """Cut the power, recover, and judge."""
        root = self._place / "after"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for path, content in disk.after_power_loss(survives).items():
            if content is None:
                (root / path).mkdir()
            else:
                (root / path).write_bytes(content)
        sealed = lives.sealed_files(root)
        recover(root, COLLECTOR, ManualClock(AFTER_NS))
        again = [action for action in recover(root, COLLECTOR, ManualClock(AFTER_NS)) if action.changed]
        verdict = lives.judge(root, told, told.flushed(), sealed)
        verdict.wrong += [f"done again by a second recovery: {action}" for action in again]
        self._verdicts.append((name, verdict))
        self._note(root, told, verdict)

    def _note(self, root: Path, told: lives.Told, verdict: lives.Verdict) -> None:
        stored = lives.sealed_rows(root)
        fresh = {row: told.acknowledged[row] for row in told.acknowledged.keys() - told.flushed().keys()}
        self.count["tried"] += 1
        self.count["flushed"] += len(told.flushed())
        self.count["lost"] += len(verdict.lost)
        self.count["damaged"] += verdict.damaged
        self.count["fresh"] += len(fresh)
        self.count["fresh lost"] += sum(stored[row[0], digest] == 0 for row, digest in fresh.items())

    def end(self, table: FaultTable, kind: str) -> None:
        """Add to the table, and fail on the first thing that is wrong."""
        count = self.count
        kind = f"power loss, {kind}"
        table.record(kind, count["tried"], count["flushed"], count["lost"], count["damaged"])
        table.record(f"{kind}: not flushed", count["tried"], count["fresh"], count["fresh lost"], 0)
        assert count["tried"] > 0
        assert not count["lost"] + count["damaged"], lives.say_wrong(self._verdicts)


def every_or_some(recording: Recording, *, every: bool) -> set[int]:
    """The numbers of the cuts to try."""
    numbers = [number for number, _, _ in recording.cuts()]
    return set(numbers if every else random.Random(SEED).sample(numbers, SAMPLE))


LENGTHS = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
LIVES = pytest.mark.parametrize("life", ["first_life", "second_life"])


@LENGTHS
@LIVES
def test_only_what_was_flushed_survives(
    life: str, every: bool, request: pytest.FixtureRequest, tmp_path: Path, fault_table: FaultTable
) -> None:
    """Rules A2, A4, A6: cut anywhere, rows are lost of the last flush interval only, and all verifies."""
    recording = request.getfixturevalue(life)
    chosen, tries = every_or_some(recording, every=every), Tries(tmp_path)
    for number, disk, told in recording.cuts():
        if number in chosen:
            tries.go(f"cut {number}", disk, told, disk_model.nothing_unflushed())
    tries.end(fault_table, "nothing unflushed survives")


@LENGTHS
@LIVES
def test_anything_unflushed_may_survive(
    life: str, every: bool, request: pytest.FixtureRequest, tmp_path: Path, fault_table: FaultTable
) -> None:
    """Rules A2, A4, A6: torn pages, holes and names out of order invent no row and break no chain."""
    recording = request.getfixturevalue(life)
    chosen, tries = every_or_some(recording, every=every), Tries(tmp_path)
    for number, disk, told in recording.cuts():
        if number in chosen:
            for chance in range(CHANCES if every else 1):
                choice = random.Random(f"{SEED} {number} {chance}")
                outcome = disk_model.some_unflushed if chance % 2 == 0 else disk_model.any_unflushed
                tries.go(f"cut {number} chance {chance}", disk, told, outcome(choice))
    tries.end(fault_table, "some of it survives")
