"""The bounded cycle for cron and containers: its steps, its exit code, and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PROJECT, Collector, finish

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = PROJECT / "scripts" / "run_polymarket_collector_cycle.sh"


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the cycle with this Python as the ``python3`` on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["sh", str(SCRIPT), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PATH": path},
    )  # fmt: skip


def cycle(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the cycle to its end."""
    return finish(start(*arguments))


@pytest.fixture
def embedded(tmp_path: Path) -> Collector:
    """A collector whose config starts the sandbox exchange by itself."""
    return Collector(tmp_path, "sandbox")


@pytest.fixture(scope="module")
def venue() -> Iterator[SandboxChild]:
    """A sandbox exchange for collectors that share it."""
    with SandboxChild.start() as child:
        yield child


def test_a_cycle_collects_verifies_and_normalises(embedded: Collector, tmp_path: Path) -> None:
    """Each step is named, the archive is clean, the dataset is there, and the exit code is 0."""
    dataset = tmp_path / "dataset"
    ended = cycle(
        "--config", str(embedded.config_file), "--seconds", "3", "--dataset", str(dataset)
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    steps = [line for line in ended.stdout.splitlines() if line.startswith("== ")]
    assert steps == ["== collect for 3 s", f"== verify {embedded.root}", f"== normalise into {dataset}"]
    assert "CLEAN" in ended.stdout
    assert embedded.results()["ok", None] > 0
    assert list((dataset / "books").rglob("*.parquet"))


def test_a_cycle_leaves_a_locked_archive_alone(venue: SandboxChild, tmp_path: Path) -> None:
    """While another process collects, the cycle names it and ends with 75, verifying nothing."""
    collector = Collector(tmp_path, venue.url)
    holder = collector.start()
    collector.wait_for_rows(holder, "books", 1)
    ended = cycle("--config", str(collector.config_file), "--seconds", "3")
    holder.terminate()
    assert finish(holder).returncode == 0
    assert ended.returncode == 75
    assert str(holder.pid) in ended.stderr
    assert "== verify" not in ended.stdout


def test_a_problem_in_the_archive_is_the_exit_code(embedded: Collector, tmp_path: Path) -> None:
    """A segment altered in an earlier cycle makes this one end with 1, and no dataset is made of it."""
    arguments = ["--config", str(embedded.config_file), "--seconds", "2"]
    assert cycle(*arguments).returncode == 0
    segment = next(embedded.root.rglob("*books*.jsonl.gz"))
    segment.write_bytes(segment.read_bytes()[:-1])
    ended = cycle(*arguments, "--dataset", str(tmp_path / "dataset"))
    assert ended.returncode == 1, ended.stderr
    assert "no dataset is made" in ended.stderr
    assert not (tmp_path / "dataset").exists()


def test_a_stopped_cycle_seals_and_says_so(embedded: Collector) -> None:
    """SIGTERM to the script reaches the collector, which seals; the cycle ends with 143."""
    process = start("--config", str(embedded.config_file), "--seconds", "600")
    while not list(embedded.lines("books")):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.returncode == 143, ended.stderr
    assert "is sealed, and not verified" in ended.stderr
    assert not list(embedded.root.rglob("*.journal"))
    assert embedded.verify().returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, "--config FILE is needed"),
        (["--config"], 2, "--config needs a value"),
        (["--conf", "x"], 2, "unknown argument: --conf"),
        (["--config", "absent.yaml", "--seconds", "1"], 78, "absent.yaml"),
        (["--config", "absent.yaml", "--seconds", "soon"], 2, "soon"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], code: int, named: str) -> None:
    """What cannot be used ends the cycle before anything is collected, with the line that says why."""
    ended = cycle(*arguments)
    assert ended.returncode == code
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr
