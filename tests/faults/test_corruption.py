"""Corruptions of a finished archive: verify reports each, and names the rule (A1, A5, A7 to A13, A18)."""

from __future__ import annotations

import shutil
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from orderbooks_spider.archive import layout, verify_text
from orderbooks_spider.archive.manifest import digest
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.errors import OrderbooksError
from tests.faults.corruption_table import HEADING, CorruptionTable, table_of, with_section
from tests.faults.corruptions import BLUNT
from tests.faults.damaged import Damaged, busy_archive
from tests.faults.forgeries import FORGED, HIDDEN, STRANGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FOUND = BLUNT | FORGED
FEW, MANY = 1, 20
"""Copies damaged per kind: in each run, and with ``--full``."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corruption") / "archive"
    busy_archive(root)
    return root


@pytest.fixture
def table(request: pytest.FixtureRequest) -> CorruptionTable:
    return table_of(request.config)


def damaged(clean: Path, copy: Path, seed: str, harm: Callable[[Damaged], object]) -> Path:
    """A copy with one damage, the same for the same seed."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(clean, copy)
    harm(Damaged(copy, Random(seed)))
    return copy


def first_rung(root: Path, heads: Mapping[str, str] | None = None) -> str | None:
    """The first rule and rung that verify names; ``None`` for an archive that it finds clean."""
    try:
        report = verify(root, workers=1, expect_heads=heads)
    except OrderbooksError:
        return "cannot check"
    assert msgspec.json.encode(report)
    assert "\n".join(verify_text.lines(report)).encode()
    return f"{report.problems[0].rule} {report.problems[0].rung}" if report.exit_code else None


def find(clean: Path, copy: Path, table: CorruptionTable, kind: str, seeds: range) -> None:
    """Damage copies in one way and verify them; every one must be reported."""
    missed = []
    for seed in seeds:
        first = first_rung(damaged(clean, copy, f"{kind} {seed}", FOUND[kind]))
        table.record(kind, first)
        if first is None:
            missed.append(seed)
    assert missed == []


def uncover(clean: Path, copy: Path, table: CorruptionTable, kind: str, seeds: range) -> None:
    """Damage copies so that nothing contradicts; only the kept heads may show it."""
    heads = verify(clean, workers=1).heads
    for seed in seeds:
        root = damaged(clean, copy, f"{kind} {seed}", HIDDEN[kind])
        alone, with_heads = first_rung(root), first_rung(root, heads)
        table.record(f"{kind} †", with_heads)
        assert (alone, with_heads) == (None, "A8 chain")


def test_archive_under_attack_is_clean_and_large_enough(clean: Path) -> None:
    """What is damaged below was whole: two runs, and at least four segments of each feed (A8)."""
    report = verify(clean, workers=1)
    assert report.problems == []
    names = [segment for _, segment in layout.walk_manifests(clean) if segment is not None]
    assert {item.run_id for item in names} == {"run1", "run2"}
    assert all(sum(item.feed == feed for item in names) >= 4 for feed in ("books", "events", "markets"))


@pytest.mark.parametrize("kind", FOUND)
def test_corruption_is_found(clean: Path, tmp_path: Path, table: CorruptionTable, kind: str) -> None:
    """Rules A1, A5, A7 to A13 and A18: a corruption of each kind is reported, and verify never stumbles."""
    find(clean, tmp_path / "copy", table, kind, range(FEW))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOUND)
def test_corruptions_by_the_thousand(clean: Path, tmp_path: Path, table: CorruptionTable, kind: str) -> None:
    """Rules A1, A5, A7 to A13 and A18: none of many corruptions of each kind goes unseen."""
    find(clean, tmp_path / "copy", table, kind, range(FEW, FEW + MANY))


@pytest.mark.parametrize("kind", HIDDEN)
def test_kept_head_shows_what_the_archive_cannot(
    clean: Path, tmp_path: Path, table: CorruptionTable, kind: str
) -> None:
    """Rule A8: a removed tail or a chain made anew is clean by itself, and a problem with the kept head."""
    uncover(clean, tmp_path / "copy", table, kind, range(FEW))


@pytest.mark.slow
@pytest.mark.parametrize("kind", HIDDEN)
def test_kept_head_shows_it_each_time(clean: Path, tmp_path: Path, table: CorruptionTable, kind: str) -> None:
    """Rule A8: the same for many removed tails and rewritten chains."""
    uncover(clean, tmp_path / "copy", table, kind, range(FEW, FEW + MANY))


@pytest.mark.parametrize("feed", ["books", "events", "markets"])
def test_head_stays_good_while_the_chain_grows(clean: Path, feed: str) -> None:
    """Rule A8: every head that the chain ever had is still one of its links."""
    manifests = [path for path, names in layout.walk_manifests(clean) if names and names.feed == feed]
    heads = [digest(path.read_bytes()) for path in manifests]
    assert all(first_rung(clean, {f"{feed}/c0": head}) is None for head in heads)
    assert first_rung(clean, {f"{feed}/c1": heads[0]}) == "A8 chain"


@pytest.mark.parametrize("key", ["stop_reason", "stopped_utc", "counts"])
def test_how_a_run_ended_is_not_proven(clean: Path, tmp_path: Path, key: str) -> None:
    """What the contract says of run manifests: their stop and counts are no part of any chain (A8)."""
    heads = verify(clean, workers=1).heads

    def change(d: Damaged) -> None:
        for path in layout.runs_folder(d.root).iterdir():
            d.edit_json(
                path, lambda run: run.__setitem__(key, {"edited": 1} if key == "counts" else "edited")
            )

    assert first_rung(damaged(clean, tmp_path / "copy", key, change), heads) is None


@pytest.mark.parametrize("kind", STRANGE)
def test_verify_never_stumbles(clean: Path, tmp_path: Path, kind: str) -> None:
    """Rule A10: whatever a row or a manifest holds, verify ends with a report that can be printed."""
    for seed in range(12):
        first_rung(damaged(clean, tmp_path / "copy", f"{kind} {seed}", STRANGE[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", STRANGE)
def test_verify_never_stumbles_by_the_hundred(clean: Path, tmp_path: Path, kind: str) -> None:
    """Rule A10: the same for many more."""
    for seed in range(12, 200):
        first_rung(damaged(clean, tmp_path / "copy", f"{kind} {seed}", STRANGE[kind]))


def test_only_the_own_section_of_the_report_is_written() -> None:
    """Writing the table of corruptions leaves whatever else the report holds."""
    section = f"{HEADING}\n\nnew\n"
    assert with_section("", section) == section
    assert with_section("# Faults\n\n| a |\n", section) == f"# Faults\n\n| a |\n\n{section}"
    old = f"# Faults\n\n{HEADING}\n\nold\n\n## Other\n\nkept\n"
    assert with_section(old, section) == f"# Faults\n\n{section}\n## Other\n\nkept\n"
