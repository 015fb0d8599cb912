"""Verify: each kind of damage is found by the right rule, by the real command."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import describe, digest, encode_manifest, read_manifest
from orderbooks_spider.archive.members import encode_member
from orderbooks_spider.archive.runs import RunFile
from orderbooks_spider.archive.venue_check import hash_state
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.clock import NS
from orderbooks_spider.items import BOOKS, PollItem
from tests.archives import DOWN, START_NS, UP, Collector, ManualClock, collect, small_archive

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/verify_archive.py"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean") / "archive"
    small_archive(root)
    return root


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def books(root: Path, index: int = 1) -> layout.Segment:
    """The sealed book segment number *index*."""
    found = [item.segment for item in layout.walk_raw(root) if item.kind == "sealed"]
    return [names for names in found if names is not None and names.feed == BOOKS][index]


def reseal(root: Path, index: int, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """A forger's work: change rows and make manifests, chain, sums and run manifest fit again."""
    names = books(root, index)
    lines = gzip.decompress(names.sealed.read_bytes()).splitlines(keepends=True)
    names.sealed.write_bytes(encode_member(change(lines)))
    described = describe(names.sealed, hash_state)
    value = json.loads(names.manifest.read_bytes())
    value |= json.loads(encode_manifest_of(described))
    names.manifest.write_bytes(json.dumps(value).encode())
    before = digest(names.manifest.read_bytes())
    pairs = (line.split("  ") for line in names.sums.read_text().splitlines())
    sums = {pair[1]: pair[0] for pair in pairs}
    sums[names.name_in_sums] = described.sha256
    names.sums.write_text("".join(f"{value}  {key}\n" for key, value in sums.items()))
    for later in range(index + 1, 3):
        manifest = books(root, later).manifest
        value = json.loads(manifest.read_bytes()) | {"previous_manifest_sha256": before}
        manifest.write_bytes(json.dumps(value).encode())
        before = digest(manifest.read_bytes())
    for path in layout.runs_folder(root).glob("*.json"):
        kept = RunFile.read(path)
        kept.manifest.segments = [
            msgspec.structs.replace(
                entry,
                sha256=digest((root / entry.file).read_bytes()),
                manifest_sha256=digest(_manifest_of(root, entry.file).read_bytes()),
            )
            for entry in kept.manifest.segments
        ]
        kept.save()


def _manifest_of(root: Path, file: str) -> Path:
    names = layout.parse_stem(root, Path(file).name.removesuffix(layout.SEALED))
    assert names is not None
    return names.manifest


def test_clean_archive_is_clean(clean: Path) -> None:
    """A clean archive gives exit 0, a tick on every rung, and lines of at most 80 columns."""
    code, out, err = run(clean)
    assert (code, err) == (0, "")
    assert out.count("✓") == 11
    assert "✗" not in out
    assert "CLEAN: 5 segments, 53 rows" in out.splitlines()[-1]
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("archive "))


def test_report_for_programs(clean: Path) -> None:
    """``--json`` holds rungs, problems, quality and the chain heads; several roots are a line each."""
    code, out, _ = run(clean, clean, "--json")
    reports = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(reports) == 2
    assert reports[0]["schema"] == "orderbooks.verify/1"
    assert [rung["problems"] for rung in reports[0]["rungs"]] == [0] * 11
    assert reports[0]["quality"]["venue_hash"] == {"agrees": 50, "disagrees": 0, "not_checkable": 0}
    assert reports[0]["quality"]["mirror"] == {"agrees": 50, "disagrees": 0, "unverifiable": 0}
    newest = books(clean, 2).manifest
    assert reports[0]["heads"]["books/c0"] == digest(newest.read_bytes())


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x01
    path.write_bytes(content)


def edit_manifest(root: Path, index: int, **changes: Any) -> None:
    path = books(root, index).manifest
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | changes).encode())


def drop_sealed_and_manifest(root: Path, index: int) -> None:
    names = books(root, index)
    names.sealed.unlink()
    names.manifest.unlink()


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "foreign file": ("A1 layout", lambda root: (books(root).folder / "notes.txt").touch()),
    "misplaced file": (
        "A1 layout",
        lambda root: shutil.copy(books(root).sealed, books(root).folder.parent / books(root).sealed.name),
    ),
    "unreadable manifest": ("A1 layout", lambda root: books(root, 2).manifest.write_text("{")),
    "cut file": (
        "A5 sizes",
        lambda root: books(root).sealed.write_bytes(books(root).sealed.read_bytes()[:-9]),
    ),
    "grown file": (
        "A5 sizes",
        lambda root: books(root).sealed.write_bytes(books(root).sealed.read_bytes() + b"\0" * 512),
    ),
    "file removed": ("A7 completeness", lambda root: books(root).sealed.unlink()),
    "newest manifest removed": ("A7 completeness", lambda root: books(root, 2).manifest.unlink()),
    "newest segment removed": ("A7 completeness", lambda root: drop_sealed_and_manifest(root, 2)),
    "leftover journal": ("A7 completeness", lambda root: books(root).journal(9).write_bytes(b'{"seq":9}\n')),
    "leftover part": ("A7 completeness", lambda root: books(root).part.write_bytes(b"x")),
    "sums changed": ("A7 completeness", lambda root: flip(books(root).sums, 3)),
    "manifest changed": (
        "A8 chain",
        lambda root: edit_manifest(root, 0, sealed_at_utc="2026-01-01T00:00:00Z"),
    ),
    "segment removed": ("A8 chain", lambda root: drop_sealed_and_manifest(root, 1)),
    "bit flipped": ("A5 sha256", lambda root: flip(books(root).sealed, -30)),
    "bit flipped inside": ("A9 gzip", lambda root: flip(books(root).sealed, -30)),
    "newest manifest counts wrong": ("A18 manifest", lambda root: edit_manifest(root, 2, results={"ok": 99})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_by_its_rule(clean: Path, tmp_path: Path, damage: str) -> None:
    """Each kind of damage gives exit 1 and a problem of its rule, with file and advice."""
    root = tmp_path / "archive"
    shutil.copytree(clean, root)
    rule, harm = DAMAGES[damage]
    harm(root)
    code, out, err = run(root, "--json")
    report = json.loads(out)
    assert (code, err) == (1, "")
    assert rule in {f"{problem['rule']} {problem['rung']}" for problem in report["problems"]}
    assert all(problem["file"] and problem["advice"] for problem in report["problems"])


def changed(row: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(row) | changes, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


FORGERIES: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]]]] = {
    "row left out": ("A11 seq", lambda rows: rows[:5] + rows[6:]),
    "row doubled": ("A11 seq", lambda rows: [*rows, rows[-1]]),
    "slot polled twice": ("A12 slots", lambda rows: [*rows, changed(rows[0], seq=999)]),
    "off the grid": (
        "A12 slots",
        lambda rows: [changed(rows[0], due_ns=START_NS + 10**10 + 1), *rows[1:]],
    ),
    "wrong slot": ("A12 slots", lambda rows: [changed(rows[0], slot=1), *rows[1:]]),
    "planned slot gone": (
        "A13 planned",
        lambda rows: [changed(rows[0], token_id="3" * 77), *rows[1:]],
    ),
    "unknown result": ("A10 rows", lambda rows: [changed(rows[0], result="fine"), *rows[1:]]),
    "unknown reason": (
        "A10 rows",
        lambda rows: [changed(rows[0], result="skipped", reason="tired"), *rows[1:]],
    ),
    "extra key": ("A10 rows", lambda rows: [changed(rows[0], extra=1), *rows[1:]]),
    "wrong type": ("A10 rows", lambda rows: [changed(rows[0], status="200"), *rows[1:]]),
    "other environment": ("A10 rows", lambda rows: [changed(rows[0], environment="live"), *rows[1:]]),
    "other run": ("A10 rows", lambda rows: [changed(rows[0], run_id="other"), *rows[1:]]),
    "ok without body": ("A10 rows", lambda rows: [changed(rows[0], body=None), *rows[1:]]),
    "wrong receipt text": (
        "A10 rows",
        lambda rows: [changed(rows[0], collected_at_utc="2026-04-16T08:35:00.000000Z"), *rows[1:]],
    ),
    "keys in another order": (
        "A10 rows",
        lambda rows: [json.dumps(dict(reversed(json.loads(rows[0]).items()))).encode() + b"\n", *rows[1:]],
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_rows_are_found_although_every_hash_fits(clean: Path, tmp_path: Path, forgery: str) -> None:
    """Rules A10 to A13 hold by themselves: they are broken where digests and chain were made to fit."""
    root = tmp_path / "archive"
    shutil.copytree(clean, root)
    rule, change = FORGERIES[forgery]
    reseal(root, 1, change)
    found = {f"{problem.rule} {problem.rung}" for problem in verify(root, workers=1).problems}
    assert rule in found
    assert not found & {"A5 sha256", "A5 sizes", "A7 completeness", "A9 gzip", "A18 manifest"}


def test_quick_reads_no_segment(clean: Path, tmp_path: Path) -> None:
    """``--quick`` finds what names, sizes and chains tell, and says what it did not read."""
    root = tmp_path / "archive"
    shutil.copytree(clean, root)
    flip(books(root).sealed, -30)
    code, out, _ = run(root, "--quick")
    assert (code, out.count("not read (--quick)")) == (0, 7)
    books(root).sealed.unlink()
    assert run(root, "--quick")[0] == 1


def test_kept_head_proves_the_tail(clean: Path, tmp_path: Path) -> None:
    """Rule A8: with ``--expect-head`` a chain that ends before the kept head is exit 1, and says so."""
    heads = [f"{chain}={sha256}" for chain, sha256 in verify(clean).heads.items()]
    kept = [text for head in heads for text in ("--expect-head", head)]
    assert run(clean, *kept)[0] == 0
    root = tmp_path / "archive"
    shutil.copytree(clean, root)
    drop_sealed_and_manifest(root, 2)
    code, out, _ = run(root, "--quick", *kept)
    assert code == 1
    assert "A8 chain: chain books/c0" in out
    assert "the kept head is no link of this chain" in out
    assert heads[0].partition("=")[2] in out


def test_kept_head_of_another_form_is_exit_2(clean: Path) -> None:
    """A head that cannot be read, or that could belong to either of two roots, is refused (A8)."""
    for wrong in ("books/c0", "books=" + "0" * 64, "books/c0=" + "0" * 63):
        code, out, err = run(clean, "--expect-head", wrong)
        assert (code, out) == (2, "")
        assert "FEED/COLLECTOR" in err
    code, _, err = run(clean, clean, "--expect-head", "books/c0=" + "0" * 64)
    assert (code, "expected one ROOT" in err) == (2, True)


def test_what_cannot_be_checked_is_exit_2(tmp_path: Path) -> None:
    """A missing or an empty root is one line on stderr, exit 2 and no traceback."""
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        code, out, err = run(tmp_path / name)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1


def test_open_files_of_a_running_collector_are_no_problem(tmp_path: Path) -> None:
    """While the lock is held, unsealed files are open; once it is free they are left by a crash."""
    collector = Collector(tmp_path)
    asyncio.run(collect(collector, 25, stop=False))
    report = verify(tmp_path)
    assert report.problems == []
    assert report.open_files
    collector.abandon()
    assert {problem.rung for problem in verify(tmp_path).problems} == {"completeness"}


def test_missing_slot_is_found(tmp_path: Path) -> None:
    """Rule A13: a planned slot that the collector never wrote is a problem although all else fits."""

    def change(item: PollItem) -> PollItem | None:
        return None if item.token_id == DOWN and item.slot % 25 in {7, 8} else item

    small_archive(tmp_path, change=change)
    problems = verify(tmp_path).problems
    assert {problem.rung for problem in problems} == {"planned"}
    assert "2 planned slots have no row" in problems[0].what


def test_quality_is_counted_and_never_fails(tmp_path: Path) -> None:
    """A book whose hash or mirror disagrees is counted and shown, and the exit code stays 0."""

    def change(item: PollItem) -> PollItem:
        if item.token_id == UP and item.slot % 25 == 7:
            assert item.body is not None
            item.body = item.body.replace('"30"', '"31"', 1)
        return item

    small_archive(tmp_path, change=change)
    report = verify(tmp_path)
    assert report.exit_code == 0
    assert report.quality.venue_hash == {"agrees": 49, "disagrees": 1, "not_checkable": 0}
    assert report.quality.mirror == {"agrees": 48, "disagrees": 2, "unverifiable": 0}
    assert len(report.quality.examples) == 2


def test_workers_and_one_process_say_the_same(clean: Path) -> None:
    """Reading in several processes changes nothing in the report."""
    from orderbooks_spider.archive import verify as module

    alone = verify(clean, workers=1)
    items = [item for item in _described(clean) if item.is_here]
    together = [report for _, report in module._read_all(items, 2)]
    assert sum(report.rows for report in together) == alone.rows
    assert all(not report.problems for report in together)


def _described(root: Path) -> list[Any]:
    from orderbooks_spider.archive import inventory
    from orderbooks_spider.archive.findings import Problems

    return inventory.take(root, Problems()).described


def encode_manifest_of(described: Any) -> bytes:
    """The keys of a manifest that the file determines, as JSON."""
    value = msgspec.to_builtins(described)
    return json.dumps(
        value["counts"] | {key: value[key] for key in ("bytes", "sha256", "md5", "members")}
    ).encode()


def test_manifest_reads_back_as_it_was_written(clean: Path) -> None:
    """A manifest's bytes are reproducible from what it says: the chain can be recomputed."""
    path = books(clean).manifest
    assert encode_manifest(read_manifest(path)[0]) == path.read_bytes()


def merge(target: Path, *roots: Path) -> Path:
    """What an operator does: copy the folders of several roots into one."""
    for root in roots:
        for folder in ("raw", "manifests"):
            shutil.copytree(root / folder, target / folder, dirs_exist_ok=True)
    return target


@pytest.mark.parametrize("cloned", [False, True])
def test_two_collectors_under_one_id_are_named_first(tmp_path: Path, cloned: bool) -> None:
    """Merged archives of two collectors with one id, or of a clone, are told as just that, with the runs."""
    roots = tmp_path / "a", tmp_path / "b"
    begin_ns = START_NS
    if cloned:
        asyncio.run(collect(Collector(roots[0]), 12))
        shutil.copytree(*roots)
        begin_ns += 60 * NS
    for run_id, root in zip(("runa", "runb"), roots, strict=True):
        asyncio.run(collect(Collector(root, run_id, ManualClock(begin_ns)), 12))
        assert run(root)[0] == 0
    code, out, _ = run(merge(tmp_path / "merged", *roots), "--json")
    first, *_ = json.loads(out)["problems"]
    assert (code, first["file"], first["what"]) == (
        1,
        "collector c0",
        "two collectors wrote under this id (A14)",
    )
    assert "the runs runa, runb follow" in first["seen"]
