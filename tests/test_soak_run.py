"""Soaks as an operator runs them: real exchange, collector, uploader and faults; every slot is explained."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.errors import EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_OK, EXIT_REMOTE
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.soak.record import Fault, SoakRecord, read_record, read_samples
from tests.collector import PATIENCE_SECONDS, PROJECT, Collector, finish

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 10.0
"""Real seconds in which a collector is up and knows its markets, on a busy machine."""
LONGEST_PAUSE_SECONDS = 60.0
"""How long the collector leaves a host alone that refuses (``throttle.py``)."""
EXPLAINS: dict[str, tuple[frozenset[str], float]] = {
    # What a fault can make of a slot, and for how many seconds after its end.
    "outage": (frozenset({"connection/ConnectionResetError", "skipped/in_flight"}), 2),
    "throttle": (frozenset({"throttled/venue_error", "skipped/paused"}), LONGEST_PAUSE_SECONDS),
    "slow": (frozenset({"skipped/in_flight"}), 2),
    "clock_step": (frozenset({"skipped/late"}), 0),
    "disk_full": (frozenset({"skipped/disk_full"}), 5),
}


@dataclass
class Soak:
    """A folder that a soak filled."""

    out: Path
    done: subprocess.CompletedProcess[str]

    @property
    def record(self) -> SoakRecord:
        """``soak.json``."""
        return read_record(self.out)

    def faults(self, kind: str) -> list[Fault]:
        """The faults of one kind."""
        return [fault for fault in self.record.faults if fault.kind == kind]

    def polls(self) -> pl.DataFrame:
        """The dataset's planned slots."""
        return pl.read_parquet(self.out / "dataset" / "polls" / "**" / "*.parquet", hive_partitioning=False)

    def unanswered(self) -> Iterator[tuple[str, int]]:
        """Cause and due time (ns) of every planned slot without an answer."""
        rows = self.polls().filter(~pl.col("answered")).select("result", "reason", "due_ns")
        for result, reason, due_ns in rows.iter_rows():
            yield result if reason is None else f"{result}/{reason}", due_ns

    def spans(self) -> Iterator[tuple[frozenset[str], int, int]]:
        """Causes that are to be expected, from and until (ns)."""
        record = self.record
        for fault in record.faults:
            causes, after = EXPLAINS.get(fault.kind, (frozenset(), 0))
            # Polls that are due or on their way when it begins may feel it.
            yield causes, fault.begin_ns - 2 * NS, fault.end_ns + round(after * NS)
        up_ns = round(START_SECONDS * record.speed * NS)
        absent = frozenset({"process_down", "not_discovered"})
        yield absent, record.begin_ns, record.begin_ns + up_ns
        # What is under way when it is stopped as asked.
        yield frozenset({"skipped/shutdown"}), record.end_ns - up_ns, record.end_ns
        for kill in self.faults("kill"):
            # Polls under way when it was killed have no row either.
            yield absent, kill.begin_ns - 30 * NS, kill.end_ns + up_ns

    def unexplained(self) -> Counter[tuple[str, str]]:
        """Slots that no fault of the record explains: cause, minute."""
        spans = list(self.spans())
        return Counter(
            (cause, iso_utc(due_ns)[:16])
            for cause, due_ns in self.unanswered()
            if not any(cause in causes and begin <= due_ns <= end for causes, begin, end in spans)
        )


def command(*arguments: str | Path) -> list[str | Path]:
    """The operator's command."""
    return [sys.executable, PROJECT / "scripts" / "soak.py", *arguments]


def run(plan: Path, out: Path) -> Soak:
    """Run a plan to its end."""
    done = subprocess.run(
        command("run", "--plan", plan, "--out", out), capture_output=True, text=True, check=False
    )
    return Soak(out, done)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Soak:
    """The smallest shipped soak.  To be read only."""
    if shutil.which("rclone") is None:
        pytest.skip("needs rclone (Debian package rclone)")
    return run(PROJECT / "config/soak.test.yaml", tmp_path_factory.mktemp("soak") / "out")


def test_soak_ends_whole_and_verified(short: Soak) -> None:
    """A soak with every kind of fault ends with a dataset and an archive that verifies clean."""
    assert short.done.returncode == EXIT_OK, short.done.stdout + short.done.stderr
    assert "verify ended with 0: CLEAN" in short.done.stdout
    assert "normalise ended with 0" in short.done.stdout


def test_every_unanswered_slot_is_explained(short: Soak) -> None:
    """Each planned slot without an answer lies in a fault of the record, with a cause that fits."""
    assert short.unexplained() == Counter()
    causes = Counter(cause for cause, _ in short.unanswered())
    for kind, (expected, _) in EXPLAINS.items():
        assert sum(causes[cause] for cause in expected) > 0, f"no slot felt the {kind}"
    assert causes["process_down"] > 0
    assert short.polls()["answered"].sum() > causes.total()


def test_record_tells_what_was_done(short: Soak) -> None:
    """Every planned fault was injected, the collector lived twice, and the first life was killed."""
    record = short.record
    assert (record.environment, record.speed, record.attached) == ("sandbox", 30.0, False)
    assert record.config == "soak.test.yaml"
    assert Counter(fault.kind for fault in record.faults).keys() == {*EXPLAINS, "kill", "upload_outage"}
    assert not [fault for fault in record.faults if fault.detail.startswith("not injected")]
    assert [start.exit_status for start in record.starts] == [-signal.SIGKILL, EXIT_OK]
    assert record.end_ns - record.begin_ns >= 600 * NS
    (step,) = short.faults("clock_step")
    assert step.end_ns - step.begin_ns >= 49 * NS


def test_uploads_fail_only_while_the_store_is_away(short: Soak) -> None:
    """Uploads fail while the remote store is away, and what they missed is sent by a later one."""
    (away,) = short.faults("upload_outage")
    failed = [upload for upload in short.record.uploads if upload.exit_status != EXIT_OK]
    assert failed
    assert {upload.exit_status for upload in failed} == {EXIT_REMOTE}
    # One that was under way when the store went away may fail, too: they begin every 150 s.
    assert all(away.begin_ns - 150 * NS <= upload.begin_ns <= away.end_ns for upload in failed)
    assert short.record.uploads[-1].exit_status == EXIT_OK
    sealed = {path.name for path in (short.out / "archive").rglob("*.jsonl.gz")}
    assert sealed
    assert sealed == {path.name for path in (short.out / "remote").rglob("*.jsonl.gz")}


def test_samples_follow_the_collector(short: Soak) -> None:
    """Samples tell memory, time, files and disk of the lives of the collector, in order of time."""
    samples, record = read_samples(short.out), short.record
    assert len(samples) >= 20
    assert {sample.pid for sample in samples} == {start.pid for start in record.starts}
    for start in record.starts:
        own = [sample for sample in samples if sample.pid == start.pid]
        assert max(sample.rss_bytes for sample in own) > 10_000_000
        assert max(sample.open_files for sample in own) > 3
        assert max(sample.sockets for sample in own) > 0
        assert own[-1].cpu_seconds > own[0].cpu_seconds
    assert samples[-1].archive_bytes > 0
    assert any(sample.polls for sample in samples)
    assert record.begin_ns < samples[0].at_ns < samples[-1].at_ns <= record.end_ns


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_soak_leaves_nothing_behind(sign: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end exchange and collector, take the ballast away, and complete the record."""
    plan = yaml.safe_load((PROJECT / "config/soak.test.yaml").read_text("utf-8"))
    plan |= {"upload_seconds": None, "faults": [{"kind": "disk_full", "at": 20, "seconds": 500}]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("run", "--plan", tmp_path / "plan.yaml", "--out", out),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "disk_full: " in line:
            break
    assert (out / "ballast").exists()
    process.send_signal(sign)
    ended = finish(process)
    assert ended.returncode == EXIT_INTERRUPTED, ended.stderr
    record = read_record(out)
    assert record.starts[0].end_ns is not None  # with 0, or by the signal while it was starting
    assert not Path("/proc", str(record.starts[0].pid)).exists()
    assert not (out / "ballast").exists()
    (fault,) = record.faults
    assert fault.begin_ns < fault.end_ns <= record.end_ns


def test_attached_soak_watches_and_injects_nothing(tmp_path: Path) -> None:
    """Attached to a collector a soak samples it, sees it end, and makes the account of its archive."""
    with SandboxChild.start() as sandbox:
        collector = Collector(tmp_path, sandbox.url)
        process = collector.start("--seconds", "6")
        collector.wait_for_rows(process, "books", 1)
        out = tmp_path / "out"
        done = subprocess.run(
            command("attach", "--config", tmp_path / "collector.yaml", "--out", out, "--seconds", "9",
                    "--sample-seconds", "1"),
            capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert finish(process).returncode == EXIT_OK
    assert done.returncode == EXIT_OK, done.stdout + done.stderr
    record = read_record(out)
    assert (record.attached, record.faults, record.environment) == (True, [], "sandbox")
    assert [start.pid for start in record.starts] == [process.pid]
    assert record.starts[0].end_ns is not None
    assert {sample.pid for sample in read_samples(out)} == {process.pid}
    assert Soak(out, done).polls()["answered"].sum() > 0
    assert (out / "archive").resolve() == collector.root.resolve()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--plan", "absent.yaml"], "cannot read the soak's plan"),
        (["run", "--plan", "config/soak.test.yaml"], "expected a new or empty folder"),
        (["attach", "--config", "{used}/collector.yaml"], "no collector 'c0' ever ran"),
    ],
)
def test_slip_of_the_pen_is_told_in_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    """What cannot be run is refused with 78 and one line, before anything is started."""
    config = f"environment: sandbox\narchive: {{root: {tmp_path}/archive}}\n"
    (tmp_path / "collector.yaml").write_text(config, encoding="utf-8")
    done = subprocess.run(
        command(*(word.format(used=tmp_path) for word in arguments), "--out", tmp_path),
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (EXIT_CONFIG, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_hours_at_the_load_of_a_day(tmp_path: Path) -> None:
    """Two hours of twenty tokens with every fault leave no slot unexplained, and verify clean."""
    soak = run(PROJECT / "config/soak.hours.yaml", tmp_path / "out")
    assert soak.done.returncode == EXIT_OK, soak.done.stdout + soak.done.stderr
    assert soak.unexplained() == Counter()
    assert soak.polls().height > 140_000
    assert [start.exit_status for start in soak.record.starts] == [-signal.SIGKILL, EXIT_OK]


def test_record_that_is_none_is_told(tmp_path: Path) -> None:
    """A folder without a soak's record, or with another's, is named with what was expected."""
    from orderbooks_spider.errors import ArchiveError

    with pytest.raises(ArchiveError, match="expected what a soak wrote"):
        read_record(tmp_path)
    wrong: dict[str, Any] = {"schema": "other/1"}
    (tmp_path / "soak.json").write_text(str(wrong).replace("'", '"'), encoding="utf-8")
    with pytest.raises(ArchiveError, match=r"soak\.json: "):
        read_record(tmp_path)
