"""What an operator meets: bad input in one clear line, honest exit codes, a venue that is not there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.config import Config, read_config
from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import PROJECT, Collector, finish

if TYPE_CHECKING:
    from pathlib import Path


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def complaint(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line that a user reads: never a traceback."""
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.strip() and " INFO " not in line]
    return line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("polling: {interval_seconds: fast}", "polling.interval_seconds"),
        ("pollling: {}", "did you mean 'polling'"),
        ("polling: {mode: stream}", "polling.mode"),
        ("- a list", "expected a mapping"),
        ("a: b: c", "not YAML"),
        ("environment: live\npolling: {budget_fraction: 3}", "polling.budget_fraction"),
    ],
)
def test_bad_config_is_one_line_and_78(text: str, named: str, tmp_path: Path) -> None:
    """A config that cannot be used ends with 78 and one line that names file and key."""
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "scripts/collect_polymarket_orderbooks.py", "--config", str(path)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 78
    line = complaint(ended)
    assert named in line
    assert "bad.yaml" in line


def test_missing_config_is_one_line_and_78(tmp_path: Path) -> None:
    """A config file that is not there ends with 78 and its name."""
    path = tmp_path / "absent.yaml"
    command = [sys.executable, "scripts/collect_polymarket_orderbooks.py", "--config", str(path)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    assert "absent.yaml" in complaint(ended)


@pytest.mark.parametrize(
    ("venue", "asked"), [("http://127.0.0.1:9", "127.0.0.1:9"), ("sandbox", "a sandbox exchange of its own")]
)
def test_check_config_says_what_it_means(venue: str, asked: str, tmp_path: Path) -> None:
    """``--check-config`` reads the file, sends nothing, writes nothing, and exits 0."""
    collector = Collector(tmp_path, venue)
    ended = finish(collector.start("--check-config"))
    assert ended.returncode == 0
    assert "sandbox, book every 0.5 s, windows 5m" in ended.stdout
    assert f", asking {asked} as " in ended.stdout
    assert not collector.root.exists()


def test_unusable_root_is_one_line_and_74(tmp_path: Path) -> None:
    """A root that cannot be made ends with 74 and the path, before anything is sent."""
    collector = Collector(tmp_path, "http://127.0.0.1:9")
    collector.root.write_text("a file where the folder should be", encoding="utf-8")
    ended = collector.run(5)
    assert ended.returncode == 74
    assert str(collector.root) in complaint(ended)


def test_unwritable_root_is_one_line_and_74(tmp_path: Path) -> None:
    """A place where nobody may make a folder, not even root, ends with 74 and the path."""
    collector = Collector(tmp_path, "http://127.0.0.1:9", {"archive": {"root": "/proc/orderbooks"}})
    ended = collector.run(5)
    assert ended.returncode == 74, ended.stderr
    assert "/proc/orderbooks" in complaint(ended)


def test_live_and_sandbox_never_share_a_root(tmp_path: Path) -> None:
    """A root that holds sandbox evidence refuses a live run with 78, and stays as it is."""
    with SandboxChild.start() as child:
        collector = Collector(tmp_path, child.url)
        assert collector.run(2).returncode == 0
        before = sorted(path.name for path in (collector.root / "raw").rglob("*"))
        collector.environment = "live"
        ended = collector.run(2)
    assert ended.returncode == 78
    assert "holds sandbox evidence" in complaint(ended)
    assert sorted(path.name for path in (collector.root / "raw").rglob("*")) == before


def outlives(collector: Collector, warning: str) -> list[dict[str, Any]]:
    """Start, wait for three answers or failures from Gamma, stop; give the ``universe_empty`` events."""
    process = collector.start()
    collector.wait_for_rows(process, "markets", 4)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    warnings = [line for line in ended.stderr.splitlines() if " WARNING " in line]
    assert len([line for line in warnings if warning in line]) == 1
    return collector.events("universe_empty")


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "https://gamma-api.invalid"])
def test_unreachable_venue_is_retried_for_ever(address: str, tmp_path: Path) -> None:
    """A venue that cannot be reached is one warning and one event; the process goes on trying."""
    collector = Collector(tmp_path, address.format(port=free_port()))
    events = outlives(collector, "gives no usable answer")
    assert [event["markets"] for event in events] == [0]
    results = [row["result"] for row in collector.rows("markets")]
    assert set(results[:-1]) == {"connection"}
    assert results[-1] in {"connection", "skipped"}  # the last may have been on its way at the stop
    assert collector.verify().returncode == 0


def test_html_from_gamma_is_kept_and_survived(tmp_path: Path) -> None:
    """An edge page instead of JSON is stored as it came, and discovery goes on asking."""
    plan = tmp_path / "faults.yaml"
    plan.write_text(
        "- match: {path: /events/keyset}\n  fault: {kind: edge_html, status: 503}\n"
        "- match: {path: /series}\n  fault: {kind: edge_html, status: 503}\n",
        encoding="utf-8",
    )
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        process = collector.start()
        collector.wait_for_rows(process, "markets", 5)
        process.terminate()
        assert finish(process).returncode == 0
    rows = [row for row in collector.rows("markets") if row["status"] == 503]
    assert {row["reason"] for row in rows} == {"edge_html"}
    assert all("<html" in row["body"].lower() for row in rows)


def test_empty_universe_keeps_the_process_alive(tmp_path: Path) -> None:
    """Without any market to poll the collector says so once and goes on looking."""
    plan = tmp_path / "faults.yaml"
    rules = [
        f"- match: {{path: {path}}}\n  fault: {{kind: status, status: {status}, body: '{body}'}}"
        for path, status, body in [
            ("/events/keyset", 200, '{"events":[]}'),
            ("/events/slug/*", 404, '{"type":"not found error","error":"slug not found"}'),
        ]
    ]
    plan.write_text("\n".join(rules) + "\n", encoding="utf-8")
    collector = Collector(tmp_path, "")
    with SandboxChild.start(["--faults", str(plan)]) as child:
        collector.url = child.url
        assert len(outlives(collector, "no market to poll")) == 1
    assert collector.rows("books") == []


def test_scrapy_knows_the_project() -> None:
    """``scrapy list`` and ``scrapy check`` work from the project's folder with no flag."""
    listed = subprocess.run(
        [sys.executable, "-m", "scrapy", "list"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == ["polymarket_books", "polymarket_markets"]
    subprocess.run([sys.executable, "-m", "scrapy", "check"], cwd=PROJECT, capture_output=True, check=True)


def test_scrapy_crawl_works_with_the_embedded_sandbox(tmp_path: Path) -> None:
    """``scrapy crawl`` with the shipped sandbox config starts its own exchange and records books."""
    collector = Collector(tmp_path, "sandbox")
    ended = collector.crawl("-a", "seconds=3")
    assert ended.returncode == 0
    assert collector.results()["ok", None] > 0, ended.stderr
    assert collector.verify().returncode == 0


def test_environment_names_the_config(tmp_path: Path) -> None:
    """``ORDERBOOKS_CONFIG`` is read where ``-a config`` is absent."""
    collector = Collector(tmp_path, "sandbox")
    ended = subprocess.run(
        [sys.executable, "-m", "scrapy", "crawl", "polymarket_books", "-a", "seconds=2"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
        env=os.environ | {"ORDERBOOKS_CONFIG": str(collector.config_file)},
    )  # fmt: skip
    assert ended.returncode == 0
    assert collector.results()["ok", None] > 0, ended.stderr


@pytest.mark.parametrize("seconds", ["0", "-3", "soon", "inf"])
def test_senseless_duration_is_refused(seconds: str, tmp_path: Path) -> None:
    """``seconds`` that is no positive number is one line, before anything is written."""
    collector = Collector(tmp_path, "sandbox")
    ended = collector.crawl("-a", f"seconds={seconds}")
    assert ended.returncode != 0
    assert f"seconds: expected a positive number, saw {seconds!r}" in ended.stderr
    assert not collector.root.exists()


@pytest.mark.parametrize("seconds", ["0", "soon", "nan"])
def test_senseless_argument_says_what_was_expected(seconds: str) -> None:
    """The script's line about ``--seconds`` says what a duration is, not how it is checked."""
    ended = subprocess.run(
        [sys.executable, "scripts/collect_polymarket_orderbooks.py", "--config", "x", "--seconds", seconds],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"argument --seconds: expected a positive number, saw {seconds!r}\n")


def read_config_as_nobody(folder: Path) -> None:
    """Stand in *folder* as somebody who may not enter it, and ask for the config that nobody named."""
    os.environ.pop("ORDERBOOKS_CONFIG", None)
    os.chdir(folder)
    folder.chmod(0)
    if os.geteuid() == 0:
        os.setuid(65534)
    assert read_config(None) == Config()


def test_no_config_is_looked_for_where_nobody_may_look(tmp_path: Path) -> None:
    """`runuser` in root's home leaves another user in a folder closed to it: the defaults hold there."""
    closed = tmp_path / "closed"
    closed.mkdir()
    child = multiprocessing.get_context("fork").Process(target=read_config_as_nobody, args=(closed,))
    child.start()
    child.join()
    assert child.exitcode == 0
