"""What a killed run left is sealed beside the next one's polling: the same bytes, and nothing lost."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import read_manifest
from orderbooks_spider.archive.members import MemberScan, encode_member, last_member
from orderbooks_spider.archive.recovery import recover, take_over
from orderbooks_spider.archive.runs import RunFile
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.items import BOOKS
from tests.archives import COLLECTOR, DOWN, START_NS, UP, Collector, ManualClock, collect, plan, poll
from tests.test_archive_recovery import (
    crashed_archive,
    leave_cut_anywhere,
    leftovers,
    line,
    sealed_rows,
    segment,
)

if TYPE_CHECKING:
    from pathlib import Path

HEADER = encode_member([b"x\n"])[:10]


def next_run(root: Path, moment: int, run_id: str = "run2") -> Collector:
    """A run that begins *moment* seconds after the first one did."""
    return Collector(root, run_id=run_id, clock=ManualClock(START_NS + moment * 1_000_000_000))


async def open_and_close(collector: Collector) -> None:
    """A run without a row of its own."""
    collector.open()
    await collector.close()


def books_of(root: Path) -> list[bytes]:
    """The sealed segments of ``books``, in the order of their names."""
    return [path.read_bytes() for path in sorted((root / "raw/polymarket/books").rglob("*.jsonl.gz"))]


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.text(max_size=30), min_size=1, max_size=12),
    tokens=st.lists(st.sampled_from("123"), min_size=12, max_size=12),
    data=st.data(),
)
def test_any_rows_cut_anywhere_come_back(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[str], tokens: list[str], data: st.DataObject
) -> None:
    """Rule A6: whatever the rows and wherever the crash cut, the next run loses and doubles none."""
    root = tmp_path_factory.mktemp("archive")
    expected = leave_cut_anywhere(root, bodies, tokens, data)
    asyncio.run(open_and_close(next_run(root, 60)))

    assert sorted(sealed_rows(root)) == sorted(expected)
    assert leftovers(root) == []
    assert [action for action in recover(root, COLLECTOR, ManualClock()) if action.changed] == []


def test_sealed_beside_is_as_sealed_before(tmp_path: Path) -> None:
    """The next run makes the files and manifests that recovery would have made, and says the same."""
    crashed_archive(tmp_path / "before", moments=8)
    shutil.copytree(tmp_path / "before", tmp_path / "beside")
    actions = recover(tmp_path / "before", COLLECTOR, ManualClock())
    collector = next_run(tmp_path / "beside", 60)
    asyncio.run(open_and_close(collector))
    assert len(collector.inherited) == 1
    assert books_of(tmp_path / "beside") == books_of(tmp_path / "before")
    one, other = (
        read_manifest(next((tmp_path / name / "manifests/polymarket/books").rglob("*.json")))[0]
        for name in ("before", "beside")
    )
    assert msgspec.structs.replace(other, sealed_at_utc=one.sealed_at_utc) == one
    assert {(action.what, action.file, action.detail) for action in collector.recovered} == {
        (action.what, action.file, action.detail) for action in actions
    }


def test_next_run_polls_before_the_seal_and_goes_on(tmp_path: Path) -> None:
    """Rows of the next run are numbered on and stored while those before are not sealed yet."""
    crashed_archive(tmp_path, moments=12)
    collector = next_run(tmp_path, 40)
    asyncio.run(collect(collector, 12))
    assert collector.inherited
    assert collector.inherited[0].names.run_id == "run1"
    report = verify(tmp_path)
    assert report.problems == []
    assert report.quality.results == {"ok": 48}
    read = (RunFile.read(path).manifest for path in layout.run_manifests(tmp_path, COLLECTOR))
    runs = {run.run_id: run for run in read}
    for run_id in ("run1", "run2"):
        assert sum(entry.rows for entry in runs[run_id].segments if entry.feed == BOOKS) == 24


def test_run_killed_before_the_seal_leaves_both_to_the_next(tmp_path: Path) -> None:
    """Killed again before anything was sealed, two runs are inherited, in their order."""
    crashed_archive(tmp_path, moments=5)
    second = next_run(tmp_path, 40)
    second.open()
    second.write(plan(45, 40))
    rows = [second.write(poll(token_id, moment)) for moment in range(40, 45) for token_id in (UP, DOWN)]
    second.abandon()
    third = next_run(tmp_path, 80, "run3")
    asyncio.run(collect(third, 5))
    assert [left.names.run_id for left in third.inherited] == ["run1", "run2"]
    assert set(rows) <= set(sealed_rows(tmp_path))
    assert verify(tmp_path).problems == []


def leave(root: Path, part: bytes | None, journals: list[bytes]) -> layout.Segment:
    """A segment as a killed run may leave it."""
    names = segment(root)
    names.folder.mkdir(parents=True)
    if part is not None:
        names.part.write_bytes(part)
    for block, content in enumerate(journals, 2):
        names.journal(block).write_bytes(content)
    return names


FIRST, SECOND = encode_member([line(1), line(2)]), encode_member([line(3), line(4)])


@pytest.mark.parametrize(
    ("part", "journals"),
    [
        (FIRST + SECOND[:-9], [line(3) + line(4)]),  # a member was under way
        (FIRST + b"\0" * 30, [line(3)]),
        (b"", [line(1)]),
        (FIRST, [line(3)[:-5]]),  # a torn row
        (FIRST, [line(4)]),  # a gap, as after a power loss
        (FIRST, [line(3), line(5)]),
        (FIRST, [line(2, body="other"), line(3)]),  # a contradiction
        (FIRST + SECOND, [line(2), line(5)]),  # which of the members holds it?
        (SECOND, []),  # not behind what is sealed
        (None, [line(3)]),
        (None, [b""]),
        (encode_member([line(1), b"no row\n"]), []),
    ],
)
def test_what_needs_repair_is_recovered_before_polling(
    tmp_path: Path, part: bytes | None, journals: list[bytes]
) -> None:
    """Anything but a kill between two steps is looked at as a whole, as if no run were waiting."""
    one, other = tmp_path / "one", tmp_path / "other"
    leave(one, part, journals)
    shutil.copytree(one, other)
    actions, inherited = take_over(one, COLLECTOR, ManualClock())
    assert inherited == []
    alike = recover(other, COLLECTOR, ManualClock())
    assert [(it.what, it.file, it.rows) for it in actions] == [(it.what, it.file, it.rows) for it in alike]
    assert sealed_rows(one) == sealed_rows(other)
    assert leftovers(one) == leftovers(other)


@pytest.mark.parametrize(
    ("part", "journals", "next_seq"),
    [
        (FIRST + SECOND, [line(3) + line(4), line(5)], 6),  # killed before the journal went
        (FIRST, [line(3), b""], 4),
        (FIRST, [], 3),
        (None, [line(2) + line(1)], 3),
    ],
)
def test_kill_between_two_steps_is_inherited(
    tmp_path: Path, part: bytes | None, journals: list[bytes], next_seq: int
) -> None:
    """A segment that is whole at its ends is left to the next run, and nothing of it is changed."""
    names = leave(tmp_path, part, journals)
    before = {path.name: path.read_bytes() for path in names.folder.iterdir()}
    actions, inherited = take_over(tmp_path, COLLECTOR, ManualClock())
    assert (actions, [left.next_seq for left in inherited]) == ([], [next_seq])
    assert inherited[0].last_ns == START_NS + next_seq - 1
    assert {path.name: path.read_bytes() for path in names.folder.iterdir()} == before
    asyncio.run(open_and_close(next_run(tmp_path, 60)))
    assert sealed_rows(tmp_path) == [line(seq) for seq in range(1, next_seq)]


def test_damage_between_the_ends_is_found_by_the_seal(tmp_path: Path) -> None:
    """What the ends do not show is kept beside with a reason, and verify says which rows are missing."""
    damaged = bytearray(SECOND)
    damaged[-6] ^= 1  # its checksum
    names = leave(tmp_path, FIRST + damaged + encode_member([line(5)]), [])
    collector = next_run(tmp_path, 60)
    collector.open()
    row = collector.write(poll(UP, 60))
    asyncio.run(collector.close())
    assert len(collector.inherited) == 1
    assert sealed_rows(tmp_path) == [line(1), line(2), row]
    torn = names.folder / f"{names.part.name}.torn"
    assert torn.read_bytes() == damaged + encode_member([line(5)])
    assert torn.with_name(f"{torn.name}.reason.json").exists()
    gap = next(problem for problem in verify(tmp_path).problems if problem.rule == "A11")
    assert "6" in str(gap)


def test_member_at_the_end_is_found_from_behind(tmp_path: Path) -> None:
    """Also where chance put a header into compressed bytes, or between two chunks that are read."""
    path = tmp_path / "some"
    rows = [HEADER + b"%d\n" % number for number in range(200)]
    path.write_bytes(FIRST + encode_member(rows, level=0))
    scan = MemberScan(path)
    assert [row.text for row in scan.lines()][2:] == rows
    assert path.read_bytes().count(HEADER) == 202
    assert last_member(path) is None  # more chance than it looks through
    path.write_bytes(FIRST + encode_member(rows[:2], level=0))
    assert last_member(path) == rows[:2]
    for size in range((1 << 20) - 12, (1 << 20) + 12):
        last = encode_member([bytes(size - 46) + b"\n"], level=0)
        path.write_bytes(FIRST + last)
        assert last_member(path) == [bytes(size - 46) + b"\n"]


def test_file_without_a_whole_member_has_no_last_one(tmp_path: Path) -> None:
    """Nothing, or a member cut anywhere."""
    path = tmp_path / "some"
    for length in range(len(FIRST)):
        path.write_bytes(FIRST[:length])
        assert last_member(path) is None
        path.write_bytes(SECOND + FIRST[:length])
        assert last_member(path) == ([line(3), line(4)] if length == 0 else None)
