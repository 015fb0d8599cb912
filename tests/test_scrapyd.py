"""The collector under a real scrapyd, from deploy to cancel (docs/SCRAPYD_DEPLOYMENT.md)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.archive.lock import holder_of
from tests.collector import PROJECT, Collector
from tests.scrapyd_server import LOGIN, PATIENCE_SECONDS, Scrapyd, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("scrapyd", reason="scrapyd is absent: sh scripts/python_env.sh --tests brings it")


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    """A config that lets the collector start the sandbox exchange itself, from inside the egg."""
    return Collector(tmp_path, "sandbox", {"archive": {"fsync_seconds": 0.2}})


@pytest.fixture
def scrapyd(tmp_path: Path) -> Iterator[Scrapyd]:
    """A running scrapyd with the project deployed."""
    server = Scrapyd(tmp_path / "scrapyd")
    server.set_up()
    try:
        server.start()
        deployed = server.deploy()
        assert json.loads(deployed.stdout)["spiders"] == 2, deployed.stderr
        yield server
    finally:
        server.close()


def wait_for_rows(scrapyd: Scrapyd, collector: Collector, more: int, job: str = "") -> None:
    """Wait until *more* polls are on disk than now."""
    wanted = len(collector.rows("books")) + more
    wait_for(lambda: len(collector.rows("books")) >= wanted, f"{wanted} rows", lambda: scrapyd.job_log(job))


def assert_clean(collector: Collector) -> None:
    """The verifier finds nothing wrong, and there is something to verify."""
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert collector.results()["ok", None] > 0


def assert_refused(scrapyd: Scrapyd, job: str, holder: int) -> None:
    """*job* ended by itself, and its log says in one line who holds the archive."""
    scrapyd.wait_until(job, "finished")
    said = scrapyd.job_log(job)
    assert f"collector 'c0' is run by pid {holder} on " in said
    assert "Traceback" not in said


def test_deploy_schedule_cancel(scrapyd: Scrapyd, collector: Collector) -> None:
    """Deployed as an egg it collects, refuses a second job of its archive, and when cancelled seals all."""
    with pytest.raises(urllib.error.HTTPError, match="401"):
        scrapyd.get("daemonstatus.json", login=(LOGIN[0], "wrong"))
    with pytest.raises(urllib.error.HTTPError, match="401"):
        scrapyd.get("daemonstatus.json", login=None)

    job = scrapyd.schedule(collector.config_file)
    pid = scrapyd.wait_until(job, "running")["pid"]
    wait_for_rows(scrapyd, collector, 20, job)
    assert_refused(scrapyd, scrapyd.schedule(collector.config_file), pid)
    wait_for(lambda: any(collector.root.rglob("*.part")), "a block", lambda: scrapyd.job_log(job))
    assert [entry["id"] for entry in scrapyd.jobs("running")] == [job]

    assert scrapyd.cancel(job)["prevstate"] == scrapyd.cancel(job)["prevstate"] == "running"
    scrapyd.wait_until(job, "finished")
    assert [stop["failure"] for stop in collector.events("run_stop")] == [None]
    assert not [path for path in collector.root.rglob("*") if path.suffix in {".journal", ".part"}]
    assert_clean(collector)


def test_config_needs_login(tmp_path: Path) -> None:
    """As shipped the config lets nobody start scrapyd without a name and a password."""
    server = Scrapyd(tmp_path / "scrapyd")
    server.set_up()
    (server.home / ".scrapyd.conf").unlink()
    started = subprocess.run(
        [sys.executable, "-m", "scrapyd", "--pidfile="],
        cwd=server.folder, env=server.environment, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert started.returncode != 0
    assert "SCRAPYD_USERNAME" in started.stdout + started.stderr


@pytest.mark.slow
def test_deploy_leaves_running_job_alone(scrapyd: Scrapyd, collector: Collector) -> None:
    """A deploy beside a running job is another egg: the job goes on, and its children too."""
    job = scrapyd.schedule(collector.config_file)
    scrapyd.wait_until(job, "running")
    wait_for_rows(scrapyd, collector, 20, job)
    before = scrapyd.get("listversions.json?project=orderbooks")["versions"]
    (scrapyd.folder / "checkout/orderbooks_spider/new_module.py").write_text('"""New."""\n', "utf-8")
    deployed = scrapyd.deploy()
    assert deployed.returncode == 0, deployed.stderr
    after = scrapyd.get("listversions.json?project=orderbooks")["versions"]
    assert len(after) == len(before) + 1
    wait_for_rows(scrapyd, collector, 20, job)
    scrapyd.cancel(job)
    scrapyd.wait_until(job, "finished")
    assert_clean(collector)


@pytest.mark.slow
def test_orphan_is_not_joined_by_second(scrapyd: Scrapyd, collector: Collector) -> None:
    """SIGTERM leaves the spider running; the job that the next scrapyd starts is refused by the lock."""
    scrapyd.stop()
    with (scrapyd.home / ".scrapyd.conf").open("a", encoding="utf-8") as config:
        config.write("max_proc = 1\n")  # so that the second job waits in the queue
    scrapyd.start()
    job = scrapyd.schedule(collector.config_file)
    orphan = scrapyd.wait_until(job, "running")["pid"]
    scrapyd.orphans.append(orphan)
    wait_for_rows(scrapyd, collector, 20, job)
    waiting = scrapyd.schedule(collector.config_file)
    assert [entry["id"] for entry in scrapyd.jobs("pending")] == [waiting]

    scrapyd.stop(signal.SIGTERM)
    wait_for_rows(scrapyd, collector, 20, job)
    scrapyd.start()
    assert_refused(scrapyd, waiting, orphan)
    wait_for_rows(scrapyd, collector, 20, job)

    os.kill(orphan, signal.SIGTERM)
    wait_for(lambda: holder_of(collector.root, "c0") is None, "the lock", scrapyd.log)
    assert len(collector.events("run_start")) == len(collector.events("run_stop")) == 1
    assert_clean(collector)


@pytest.mark.slow
def test_stop_of_the_service_seals(scrapyd: Scrapyd, collector: Collector) -> None:
    """SIGTERM to scrapyd and twice to all below it, as systemd sends it, leaves a sealed archive."""
    scrapyd.schedule(collector.config_file)
    wait_for(lambda: bool(scrapyd.jobs("running")), "the job", scrapyd.log)
    entry = scrapyd.jobs("running")[0]
    wait_for_rows(scrapyd, collector, 20, entry["id"])
    scrapyd.orphans.append(entry["pid"])
    below = Path(f"/proc/{entry['pid']}/task/{entry['pid']}/children").read_text("utf-8").split()
    for _ in range(2):  # once at the stop, and once more when scrapyd itself has ended
        for pid in [entry["pid"], *map(int, below)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        scrapyd.stop()
    wait_for(lambda: holder_of(collector.root, "c0") is None, "the lock", scrapyd.log)
    assert [stop["failure"] for stop in collector.events("run_stop")] == [None]
    assert_clean(collector)


@pytest.mark.slow
def test_killed_spider_is_recovered_by_next(scrapyd: Scrapyd, collector: Collector) -> None:
    """After SIGKILL scrapyd starts nothing; the timer's command does, and nothing stored is lost."""
    condition, start = unit_commands(scrapyd, collector.config_file)
    assert run(scrapyd, condition) == 0
    assert run(scrapyd, start) == 0
    wait_for(lambda: bool(scrapyd.jobs("running")), "the job", scrapyd.log)
    entry = scrapyd.jobs("running")[0]
    wait_for_rows(scrapyd, collector, 20, entry["id"])
    assert run(scrapyd, condition) == 1, "it runs already"
    stored = {(row["token_id"], row["due_ns"]) for row in collector.rows("books")}

    os.kill(entry["pid"], signal.SIGKILL)
    scrapyd.wait_until(entry["id"], "finished")
    assert run(scrapyd, condition) == 0
    assert run(scrapyd, start) == 0
    wait_for(lambda: bool(scrapyd.jobs("running")), "the job", scrapyd.log)
    again = scrapyd.jobs("running")[0]["id"]
    wait_for_rows(scrapyd, collector, 20, again)
    scrapyd.cancel(again)
    scrapyd.wait_until(again, "finished")
    assert stored <= {(row["token_id"], row["due_ns"]) for row in collector.rows("books")}
    assert_clean(collector)


def test_units_are_understood(tmp_path: Path) -> None:
    """Of systemd there is no complaint about a key or value of the units, and both are well shut in."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is absent: apt-get install systemd")
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(PROJECT / "systemd/scrapyd", units)
    shutil.copytree("/lib/systemd/system", tmp_path / "lib/systemd/system", symlinks=True)
    for program in ("opt/orderbooks/app/.venv/bin/scrapyd", "bin/sh"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).write_text("#!/bin/sh\n", "utf-8")
        (tmp_path / program).chmod(0o755)
    names = sorted(path.name for path in units.iterdir())
    assert names == ["scrapyd-collect.service", "scrapyd-collect.timer", "scrapyd.service"]
    verified = analyze("verify", "--man=no", f"--root={tmp_path}", *names)
    assert (verified.returncode, verified.stderr) == (0, "")
    for name in (name for name in names if name.endswith(".service")):
        judged = analyze("security", "--offline=yes", "--threshold=15", str(units / name))
        assert judged.returncode == 0, judged.stdout.splitlines()[-1]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``systemd-analyze``."""
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )


def unit_commands(scrapyd: Scrapyd, config: Path) -> tuple[str, str]:
    """The two lines of the unit that schedules, with the test's port and config in them."""
    unit = (PROJECT / "systemd/scrapyd/scrapyd-collect.service").read_text("utf-8")
    unit = unit.replace(":6800/", f":{scrapyd.port}/").replace("/etc/orderbooks/collector.yaml", str(config))
    found = dict(line.split("=", 1) for line in unit.splitlines() if line.startswith("Exec"))
    return found["ExecCondition"], found["ExecStart"]


def run(scrapyd: Scrapyd, command: str) -> int:
    """The exit code of a unit's line, run as the user whose home holds the login."""
    if shutil.which("curl") is None:
        pytest.skip("curl is absent: apt-get install curl")
    return subprocess.run(
        shlex.split(command),
        env=scrapyd.environment,
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    ).returncode
