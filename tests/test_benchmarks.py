"""The benchmarks run, and what they write can be read: the numbers themselves are no test's business."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.baselines.script import Job, beats
from bench.cadence import percentiles
from bench.collectors import ScriptPoll, ScriptRow
from bench.memory import Point, at, slope
from tests.payloads import recorded

pytestmark = pytest.mark.slow  # each starts exchanges and collectors: minutes in all

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 600
"""Only against a benchmark that would hang for ever."""


def run(words: str, folder: Path) -> dict[str, Any]:
    """Run a benchmark and give its JSON."""
    path = folder / "found.json"
    command = [sys.executable, *f"bench/{words}".split(), "--json", str(path)]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| --- | ---: |" in done.stdout
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", "--tls", "--mode books"])
def test_collect_archives_polls_with_every_tool(words: str, tmp_path: Path) -> None:
    """Each tool archives books at each load point, and each baseline has its ratio."""
    found = run(f"collect.py --quick {words}", tmp_path)
    assert len(found["points"]) == (1 if "books" in words else 2)
    for point in found["points"]:
        most = point["load"]["tokens"] * point["load"]["seconds"]
        polls = {name: costs[0]["polls"] for name, costs in point["tools"].items()}
        assert min(polls.values()) > 0, polls
        assert point["full_speed"] or max(polls.values()) <= most, polls
        assert set(point["ratios"]) == set(polls) - {"this collector"}


@pytest.mark.slow
def test_status_costs_are_measured(tmp_path: Path) -> None:
    """A look counts the hour's rows, open or sealed, and beats are watched beside a loop without them."""
    found = run("status.py --quick", tmp_path)
    assert found["looks"]["open"]["rows"] == found["looks"]["sealed"]["rows"] > 0
    assert [bool(one["beats"]) for one in found["beats"]] == [False, True] * 2
    assert all(one["samples"] > 0 for one in found["beats"])


@pytest.mark.slow
def test_cadence_shows_collector_beside_script(tmp_path: Path) -> None:
    """Both are measured at the load, with percentiles that grow, and the collector's segment rotates."""
    ours, script = run("cadence.py --quick --baseline", tmp_path)["runs"]
    assert ours["segments"] > 2
    for one in (ours, script):
        assert one["polls"] > 0
        assert list(one["latency_ms"].values()) == sorted(one["latency_ms"].values())


@pytest.mark.slow
def test_memory_shows_collector_at_each_checkpoint(tmp_path: Path) -> None:
    """The collector's memory is known when the polls were reached."""
    (point,) = run("memory.py --quick", tmp_path)["points"]
    assert point["polls"] >= 1200
    assert point["own"] > 0


def test_storage_shows_what_sorting_saves(tmp_path: Path) -> None:
    """Recorded books take less than half the bytes in sorted blocks."""
    recorded("derived")
    measured = run("storage.py --rounds 1", tmp_path)["REST books"]["measured"]
    sizes = {line["variant"]: line["bytes_per_row"] for line in measured}
    assert sizes["sorted 60 s blocks, gzip 6"] < sizes["arrival order, one stream, gzip 6"] / 2


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("day.py --hours 1", {"machine", "day alone", "from a dataset"}),
        ("discovery.py --hours 0.1", {"requests", "sealed_bytes_per_24h"}),
        ("exporter.py --rows 50", {"machine", "ratio", "msgspec encoder"}),
        pytest.param(
            "normalize.py --turns 1 --tokens 2 --readers --workers",
            {"machine", "readers", "workers"},
            marks=pytest.mark.slow,
        ),
        ("restart.py --tokens 2 --turns 1", {"machine", "restarts"}),
        ("sealing.py --rows 200 --rounds 1", {"machine", "ways"}),
        ("verify.py --gigabytes 0.001", {"machine", "answered", "skipped"}),
    ],
)
def test_benchmark_writes_its_numbers(words: str, keys: set[str], tmp_path: Path) -> None:
    """A small run ends well, prints a table and writes the numbers under their names."""
    assert keys <= set(run(words, tmp_path))


@given(
    tokens=st.integers(1, 60), parts=st.sampled_from([1, 7, 20]), interval=st.sampled_from([0.5, 1.0, 2.0])
)
def test_script_polls_every_group_once_an_interval(tokens: int, parts: int, interval: float) -> None:
    """However a script spreads its polls, each group is due once in each interval, until the end."""
    groups = [[str(number)] for number in range(tokens)]
    job = Job("", groups, interval, parts, seconds=4.0, out=Path(), gzip_level=9)
    due = [(when, group[0]) for when, part in beats(job, 100.0) for group in part]
    assert all(100.0 <= when < 104.0 for when, _ in due)
    for group in groups:
        times = [when for when, name in due if name == group[0]]
        assert len(times) == round(4.0 / interval)
        assert [later - one for one, later in itertools.pairwise(times)] == pytest.approx(
            [interval] * (len(times) - 1)
        )


@pytest.mark.parametrize(
    ("row", "books"),
    [
        (ScriptRow("1", status=200, body='{"asset_id": "1"}'), 1),
        (ScriptRow("1", status=404, body='{"error": "none"}'), 0),
        (ScriptRow("1"), 0),
        (ScriptRow(["1", "2"], status=200, body='[{"asset_id": "2"}]'), 1),
    ],
)
def test_baseline_row_counts_books_that_came(row: ScriptRow, books: int) -> None:
    """Only an answered poll counts as archived, and an answer for many tokens with the books in it."""
    assert ScriptPoll.of(row).books == books


def test_percentiles_are_values_that_were_seen() -> None:
    """Nearest rank: no number that was not measured."""
    assert percentiles(range(1, 1001)) == {"p50": 500, "p99": 990, "p99.9": 999, "max": 1000}
    assert set(percentiles([7.0]).values()) == {7.0}


def test_spread_shows_median_and_ends() -> None:
    """One value stands alone; several show their ends where they differ as printed."""
    assert report.spread([2.0]) == "2.00"
    assert report.spread([3.0, 1.0, 2.0]) == "2.00 (1.00..3.00)"
    assert report.spread([2.001, 2.002]) == "2.00"


def test_memory_slope_is_growth_per_hundred_thousand_polls() -> None:
    """A megabyte each 10,000 polls is ten per 100,000; the run's start is left out."""
    points = [Point(polls, 50 + polls / 10_000, polls / 50_000) for polls in range(0, 110_000, 1000)]
    points[0] = Point(0, 500, 0)
    assert slope(points, 10_000) == pytest.approx(10)
    assert at(points, 50_000) == Point(50_000, 55, 1)
