"""Recovery: after any crash every whole row is sealed, once, and nothing is made up."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import ArchiveLock
from orderbooks_spider.archive.manifest import read_manifest
from orderbooks_spider.archive.members import encode_member
from orderbooks_spider.archive.recovery import NO_WORD, recover
from orderbooks_spider.archive.runs import RunFile
from orderbooks_spider.archive.sealer import child_environment
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.items import BOOKS
from tests.archives import COLLECTOR, START_NS, Collector, ManualClock, collect, event, small_archive

REPOSITORY = Path(__file__).resolve().parents[1]
NAMES = layout.Segment(Path(), BOOKS, "20260416T083500Z", COLLECTOR, "run1")


def segment(root: Path) -> layout.Segment:
    return layout.Segment(root, BOOKS, NAMES.time, COLLECTOR, NAMES.run_id)


def line(seq: int, token: str = "1", body: str = "") -> bytes:
    value = {"seq": seq, "due_ns": START_NS + seq, "token_id": token, "body": body, "environment": "sandbox"}
    return msgspec.json.encode(value) + b"\n"


def sealed_rows(root: Path, feed: str = BOOKS) -> list[bytes]:
    files = sorted((root / "raw/polymarket" / feed).rglob("*.jsonl.gz"))
    return [row for path in files for row in gzip.decompress(path.read_bytes()).splitlines(keepends=True)]


def leftovers(root: Path) -> list[str]:
    return [found.path.name for found in layout.walk_raw(root) if found.kind in {"part", "journal"}]


def crashed_archive(root: Path, moments: int = 25) -> list[bytes]:
    """What a killed run leaves: sealed segments, a .part and journals."""
    collector = Collector(root)
    rows = asyncio.run(collect(collector, moments, stop=False))
    collector.abandon()
    return rows


def leave_cut_anywhere(root: Path, bodies: list[str], tokens: list[str], data: st.DataObject) -> list[bytes]:
    """A segment in three blocks that a crash cut anywhere; the rows that must come back."""
    names = segment(root)
    names.folder.mkdir(parents=True)
    rows = [line(seq, tokens[seq - 1], body) for seq, body in enumerate(bodies, 1)]
    first, second = sorted((data.draw(st.integers(0, len(rows))), data.draw(st.integers(0, len(rows)))))
    blocks = [rows[:first], rows[first:second], rows[second:]]
    # Block 1 is in the .part; block 2 is in a member under way and in its journal; block 3 is growing.
    part = encode_member(blocks[0]) if blocks[0] else b""
    member = encode_member(blocks[1]) if blocks[1] else b""
    cut = data.draw(st.one_of(st.sampled_from([0, len(member)]), st.integers(0, len(member))))
    names.part.write_bytes(part + member[:cut])
    names.journal(2).write_bytes(b"".join(blocks[1]))
    growing = b"".join(blocks[2])
    cut = data.draw(st.one_of(st.just(len(growing)), st.integers(0, len(growing))))
    names.journal(3).write_bytes(growing[:cut])
    whole = [row for index, row in enumerate(blocks[2]) if len(b"".join(blocks[2][: index + 1])) <= cut]
    return [*blocks[0], *blocks[1], *whole]


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.text(max_size=30), min_size=1, max_size=12),
    tokens=st.lists(st.sampled_from("123"), min_size=12, max_size=12),
    data=st.data(),
)
def test_any_rows_cut_anywhere_come_back(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[str], tokens: list[str], data: st.DataObject
) -> None:
    """Rule A6: whatever the rows and wherever the crash cut, recovery invents, loses and doubles none."""
    root = tmp_path_factory.mktemp("archive")
    expected = leave_cut_anywhere(root, bodies, tokens, data)
    recover(root, COLLECTOR, ManualClock())

    assert sorted(sealed_rows(root)) == sorted(expected)
    assert leftovers(root) == []
    assert [action for action in recover(root, COLLECTOR, ManualClock()) if action.changed] == []


def test_killed_run_is_sealed_and_verifies(tmp_path: Path) -> None:
    """Rule A6: what a killed collector left is sealed, chained and clean, and the run is closed."""
    rows = crashed_archive(tmp_path)
    assert leftovers(tmp_path)
    actions = recover(tmp_path, COLLECTOR, ManualClock())
    assert sorted(sealed_rows(tmp_path)) == sorted(rows)
    assert {action.what for action in actions} == {"sealed", "run_closed"}
    report = verify(tmp_path)
    assert report.problems == []
    run = RunFile.read(next(layout.runs_folder(tmp_path).glob("*.json"))).manifest
    assert run.stop_reason == NO_WORD
    assert sum(entry.rows for entry in run.segments if entry.feed == BOOKS) == len(rows)


def test_recovered_manifest_is_that_of_a_clean_seal(tmp_path: Path) -> None:
    """Rule A6: recovery writes what the seal would have written, and says that it did."""
    small_archive(tmp_path / "clean", moments=10)
    crashed_archive(tmp_path / "crashed", moments=10)
    recover(tmp_path / "crashed", COLLECTOR, ManualClock())
    clean, crashed = (
        read_manifest(next((tmp_path / name / "manifests/polymarket/books").rglob("*.json")))[0]
        for name in ("clean", "crashed")
    )
    assert clean.recovered == []
    assert "sealed after a crash" in crashed.recovered[0]
    for key in (
        "file",
        "rows",
        "seq",
        "tokens",
        "grid",
        "config_sha256",
        "venue_hash",
        "environment",
        "run_id",
    ):
        assert getattr(clean, key) == getattr(crashed, key)


def test_next_run_recovers_and_goes_on(tmp_path: Path) -> None:
    """A new run after a crash seals what was left, and its seq and chain go on where that ends."""
    crashed_archive(tmp_path, moments=12)
    clock = ManualClock(START_NS + 40 * 1_000_000_000)
    asyncio.run(collect(Collector(tmp_path, run_id="run2", clock=clock), 12))
    report = verify(tmp_path)
    assert report.problems == []
    assert report.quality.results == {"ok": 48}


@pytest.mark.parametrize("missing", ["newest", "every"])
def test_sealed_file_without_manifest_gets_one(tmp_path: Path, missing: str) -> None:
    """Rule A4: a kill between rename and manifest is finished by recovery."""
    small_archive(tmp_path)
    manifests = sorted((tmp_path / "manifests/polymarket/books").rglob("*.json"))
    for path in manifests[-1:] if missing == "newest" else manifests:
        path.unlink()
    for path in layout.runs_folder(tmp_path).glob("*.json"):
        run = RunFile.read(path)
        run.manifest.segments = []
        run.save()
    actions = recover(tmp_path, COLLECTOR, ManualClock())
    assert "manifest_written" in {action.what for action in actions}
    assert verify(tmp_path).problems == []


def test_lost_manifest_inside_the_chain_is_reported_not_faked(tmp_path: Path) -> None:
    """Rule A8: a link that later links depend on cannot be made again; nothing is changed."""
    small_archive(tmp_path)
    path = sorted((tmp_path / "manifests/polymarket/books").rglob("*.json"))[1]
    path.unlink()
    actions = recover(tmp_path, COLLECTOR, ManualClock())
    assert [(action.what, action.changed) for action in actions] == [("refused", False)]
    assert not path.exists()


def test_leftover_without_run_manifest_is_sealed_from_its_rows(tmp_path: Path) -> None:
    """Where the run's manifest is gone, the rows themselves say environment, run and collector."""
    rows = crashed_archive(tmp_path, moments=5)
    for path in layout.runs_folder(tmp_path).glob("*.json"):
        path.unlink()
    recover(tmp_path, COLLECTOR, ManualClock())
    manifest, _ = read_manifest(next((tmp_path / "manifests/polymarket/books").rglob("*.json")))
    assert (manifest.rows, manifest.environment, manifest.grid) == (len(rows), "sandbox", None)
    assert verify(tmp_path).problems == []


def test_unusable_pieces_are_kept_with_a_reason(tmp_path: Path) -> None:
    """Rule A15: an empty .part and a journal without a whole row are set aside, not deleted."""
    names = segment(tmp_path)
    names.folder.mkdir(parents=True)
    names.part.touch()
    names.journal(1).write_bytes(b'{"seq":1,"bo')
    recover(tmp_path, COLLECTOR, ManualClock())
    kept = {path.name: path.read_bytes() for path in names.folder.iterdir()}
    assert kept[f"{names.journal(1).name}.torn"] == b'{"seq":1,"bo'
    assert kept[f"{names.part.name}.orphan"] == b""
    assert len([name for name in kept if name.endswith(".reason.json")]) == 2
    assert leftovers(tmp_path) == []


def test_contradicting_journal_is_set_aside_and_the_rest_sealed(tmp_path: Path) -> None:
    """A journal that says something else under a seq that is taken is kept as an orphan."""
    names = segment(tmp_path)
    names.folder.mkdir(parents=True)
    names.part.write_bytes(encode_member([line(1), line(2)]))
    names.journal(2).write_bytes(line(2, body="other"))
    names.journal(3).write_bytes(line(3))
    actions = recover(tmp_path, COLLECTOR, ManualClock())
    assert [action.what for action in actions] == ["orphaned", "sealed"]
    assert sealed_rows(tmp_path) == [line(1), line(2), line(3)]


def test_journal_beside_its_sealed_file_goes_only_when_proven(tmp_path: Path) -> None:
    """A journal is removed when the sealed file holds its rows, and set aside when it does not."""
    small_archive(tmp_path, moments=5)
    names = next(found.segment for found in layout.walk_raw(tmp_path) if found.kind == "sealed")
    assert names is not None
    stored = gzip.decompress(names.sealed.read_bytes())
    names.journal(1).write_bytes(stored)
    names.journal(2).write_bytes(line(999))
    recover(tmp_path, COLLECTOR, ManualClock())
    assert not names.journal(1).exists()
    assert names.journal(2).with_name(names.journal(2).name + ".orphan").read_bytes() == line(999)


def test_rows_behind_a_gap_are_set_aside(tmp_path: Path) -> None:
    """Rule A2: what a power loss left behind rows that it took is kept beside, and the chain goes on."""
    names = segment(tmp_path)
    names.folder.mkdir(parents=True)
    names.journal(1).write_bytes(line(1) + line(2) + bytes(40) + line(3)[40:] + line(4))
    names.journal(2).write_bytes(line(5) + line(6))
    actions = recover(tmp_path, COLLECTOR, ManualClock())
    assert sealed_rows(tmp_path) == [line(1), line(2)]
    assert [action.what for action in actions][-1] == "sealed"
    kept = {path.name: path.read_bytes() for path in names.folder.iterdir()}
    assert kept[f"{names.journal(1).name}.torn"] == line(4)
    assert kept[f"{names.journal(2).name}.orphan"] == line(5) + line(6)
    assert leftovers(tmp_path) == []
    assert [action for action in recover(tmp_path, COLLECTOR, ManualClock()) if action.changed] == []


def test_nothing_is_left_of_a_segment_behind_a_gap(tmp_path: Path) -> None:
    """Rule A2: a segment whose first rows are lost is set aside whole; the next run takes their seq."""
    names = segment(tmp_path)
    names.folder.mkdir(parents=True)
    names.journal(1).write_bytes(line(2) + line(3))
    actions = recover(tmp_path, COLLECTOR, ManualClock())
    assert [(action.what, action.changed) for action in actions] == [("set_aside", True)]
    assert (sealed_rows(tmp_path), leftovers(tmp_path)) == ([], [])


def test_run_stop_that_outlived_its_polls_is_no_gap(tmp_path: Path) -> None:
    """Rule A13: after a power loss run_stop may be there without the last polls, which are not owed then."""
    collector = Collector(tmp_path)
    asyncio.run(collect(collector, 5, stop=False))
    collector.write(event("run_stop", collector.clock.now_ns, slots_done_until_ns=collector.clock.now_ns))
    collector.abandon()
    polls = min(found.path for found in layout.walk_raw(tmp_path) if found.kind == "journal")
    content = polls.read_bytes().splitlines(keepends=True)
    polls.write_bytes(b"".join(content[:-2]))
    recover(tmp_path, COLLECTOR, ManualClock())
    assert verify(tmp_path).problems == []


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from archives import Collector, collect
root, moment = Path(sys.argv[1]), int(sys.argv[2])
def change(item):
    if item.slot % 1000 == moment and item.outcome == "Down":
        os.kill(os.getpid(), signal.SIGKILL)
    print(item.token_id[0], item.due_ns, flush=True)
    return item
asyncio.run(collect(Collector(root), 30, change=change))
"""


def test_killed_process_loses_no_row(tmp_path: Path) -> None:
    """Rule A2: after SIGKILL every row whose append returned is in the archive."""
    first = START_NS // 1_000_000_000 % 1000
    root = tmp_path / "archive"
    root.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(first + 23), str(REPOSITORY / "tests")],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with ArchiveLock.acquire(root, COLLECTOR, "recover"):
        recover(root, COLLECTOR, ManualClock())
    rows = [msgspec.json.decode(row) for row in sealed_rows(root)]
    stored = sorted(f"{row['token_id'][0]} {row['due_ns']}" for row in rows)
    # The kill came before the next row was announced: all that were are stored.
    assert stored == sorted(done.stdout.splitlines())
    assert verify(root).problems == []


def test_script_recovers_and_says_so(tmp_path: Path) -> None:
    """The command seals what a crash left, has nothing to do the second time, and knows its exit codes."""
    crashed_archive(tmp_path)

    def run(root: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPOSITORY / "scripts/recover_archive.py"), str(root)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)

    first, second = run(tmp_path), run(tmp_path)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "sealed" in first.stdout
    assert second.stdout == "c0: nothing to do\n"
    nowhere = run(tmp_path / "nowhere")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    with ArchiveLock.acquire(tmp_path, COLLECTOR, "busy"):
        busy = run(tmp_path)
    assert busy.returncode == 75
    assert f"pid {os.getpid()}" in busy.stderr
