"""``soak.py report`` end to end: exact slots by fault, what is unexplained or not shown, and its words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from orderbooks_spider.clock import NS
from orderbooks_spider.soak.gate import judge, status_of, verdict
from orderbooks_spider.soak.measure import measure
from orderbooks_spider.soak.page import PICTURES, render
from orderbooks_spider.soak.record import Start
from orderbooks_spider.soak.report import SoakReport, report_on
from tests import soak
from tests.day_archive import due_times, span
from tests.soak_numbers import WELL

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.soak.measure import Measured
    from tests.soak import Folder

STEM = "soak_test_2026-04-16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """One archive with its dataset, for many soaks."""
    return soak.make_folder(tmp_path_factory.mktemp("soak"))


@pytest.fixture(scope="module")
def found(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The soak as it was run."""
    return measure(folder.soak(tmp_path_factory.mktemp("found") / "out"), workers=1)


def rules(made: Any) -> dict[str, str]:
    """Status by rule."""
    return {judged.rule: judged.status for judged in made.report.rules}


def slots_in(seconds: range) -> int:
    """How many slots of both tokens are due in those seconds after the begin, by the grid alone."""
    from_ns, until_ns = soak.BEGIN_NS + seconds.start * NS, soak.BEGIN_NS + seconds.stop * NS
    return 2 * sum(len(due_times(market, from_ns, until_ns)) for market in soak.markets())


def test_report_is_made_as_an_operator_does(folder: Folder, tmp_path: Path) -> None:
    """A soak whose every rule passes exits 0, and leaves a page, its pictures and its numbers."""
    out, reports = folder.soak(tmp_path / "out"), tmp_path / "reports"
    done = soak.run_report(out, reports)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"PASS (sandbox): {reports / STEM}.md\n"
    page = (reports / f"{STEM}.md").read_text("utf-8")
    numbers = json.loads((reports / f"{STEM}.json").read_bytes())
    assert "**PASS (sandbox)**" in page
    assert (numbers["verdict"], numbers["soak"]["commit"]) == ("PASS (sandbox)", soak.record().commit)
    linked = re.findall(r"!\[.*\]\((.*)\)", page)
    assert linked == [f"{STEM}/{name}.svg" for name in PICTURES]
    for link in linked:
        assert ET.parse(reports / link).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert soak.report(out, reports).returncode == 0, "the same soak may be reported again"


def test_report_of_another_soak_is_kept(folder: Folder, tmp_path: Path) -> None:
    """A report is never replaced by that of another soak; the line says what to do."""
    assert soak.report(folder.soak(tmp_path / "one"), tmp_path / "reports").returncode == 0
    other = folder.soak(tmp_path / "other", soak.record(commit="ffff"))
    before = (tmp_path / "reports" / f"{STEM}.md").read_bytes()
    done = soak.report(other, tmp_path / "reports")
    assert done.returncode == 2
    assert "is the report of another soak" in done.stderr
    assert "--date" in done.stderr
    assert (tmp_path / "reports" / f"{STEM}.md").read_bytes() == before
    assert soak.report(other, tmp_path / "reports", "--date", "2026-04-17").returncode == 0


def test_each_fault_has_exactly_its_slots(found: Measured) -> None:
    """What each fault cost is what the grid has in its time; nothing is counted twice or left over."""
    costs = {cost.kind: cost for cost in found.soak.costs}
    assert costs["outage"].causes == {"connection/ClientConnectorError": slots_in(soak.OUTAGE)}
    refused, paused = slots_in(soak.THROTTLE), slots_in(soak.PAUSED)
    assert costs["throttle"].causes == {"skipped/paused": paused, "throttled": refused}
    assert costs["slow"].slots == slots_in(soak.SLOW)
    assert costs["kill"].causes == {"process_down": slots_in(range(120, 123))}
    assert [costs[kind].slots for kind in ("start", "stop", "upload_outage")] == [0, 0, 0]
    lost = found.soak.slots.planned - found.soak.slots.answered
    assert sum(cost.slots for cost in found.soak.costs) == found.soak.explained == lost > 0
    assert found.soak.unexplained == found.soak.ours == 0


def test_slots_are_those_of_the_grid(found: Measured) -> None:
    """Every slot that the grid has within the soak is counted once, with a row or without."""
    planned = slots_in(range(1500))
    assert (found.soak.slots.planned, found.soak.first_due_ns is not None) == (planned, True)
    assert sum(found.soak.results.values()) == planned
    assert int(found.account.minutes["slots"].sum()) == planned
    assert found.soak.recorded == planned - slots_in(range(120, 123))
    assert found.account.polls_between(soak.BEGIN_NS - 60 * NS, soak.END_NS + NS) == found.soak.recorded


@pytest.mark.parametrize("kind", ["kill", "outage", "throttle", "slow"])
def test_unexplained_slot_fails(folder: Folder, tmp_path: Path, kind: str) -> None:
    """Without its fault in the schedule each of its slots is unexplained, and named; the soak fails."""
    faults = [fault for fault in soak.FAULTS if fault.kind != kind]
    measured = measure(folder.soak(tmp_path / "out", soak.record(faults=faults)), workers=1)
    made = report_on(measured, "2026-04-16")
    cost = {
        "kill": slots_in(range(120, 123)),
        "outage": slots_in(soak.OUTAGE),
        "throttle": slots_in(soak.THROTTLE) + slots_in(soak.PAUSED),
        "slow": slots_in(soak.SLOW),
    }[kind]
    assert measured.soak.unexplained == cost
    assert sum(each.slots for each in measured.soak.unexplained_examples) == cost
    assert rules(made)["unexplained"] == "FAIL"
    assert made.report.verdict == "FAIL (sandbox)"
    assert f"**Unexplained: {cost:,}**" in made.files[made.page].decode()


def test_cause_must_fit_the_fault(folder: Folder, tmp_path: Path) -> None:
    """A refused connection within a throttle storm is not explained by it."""
    faults = [soak.fault("throttle", soak.OUTAGE.start, soak.OUTAGE.stop), *soak.FAULTS[2:], soak.FAULTS[0]]
    measured = measure(folder.soak(tmp_path / "out", soak.record(faults=faults)), workers=1)
    assert measured.soak.unexplained == slots_in(soak.OUTAGE)


def test_fault_that_was_not_made_explains_nothing(folder: Folder, tmp_path: Path) -> None:
    """A planned fault that could not be injected keeps the schedule from being shown."""
    absent = soak.fault("disk_full", 900, 900, "not injected: no room for the ballast")
    out = folder.soak(tmp_path / "out", soak.record(faults=[*soak.FAULTS, absent]))
    made = report_on(measure(out, workers=1), "2026-04-16")
    assert rules(made)["injected"] == "NOT SHOWN"
    assert made.report.verdict == "NOT SHOWN (sandbox)"
    assert "disk_full" not in {cost.kind for cost in made.report.soak.costs}


def test_without_a_schedule_causes_stand_for_themselves(folder: Folder, tmp_path: Path) -> None:
    """Nothing is unexplained then, each cause has its party, and what we lost ourselves is limited."""
    alone = soak.record(faults=[], attached=True)
    measured = measure(folder.soak(tmp_path / "out", alone), workers=1)
    made = report_on(measured, "2026-04-16")
    assert (measured.soak.unexplained, measured.soak.costs) == (0, [])
    assert measured.soak.ours == slots_in(range(120, 123))
    assert {(each.cause, each.fault) for each in measured.soak.unanswered} >= {
        ("process_down", "us"), ("throttled", "venue"), ("timeout", "unknown"),
    }  # fmt: skip
    found = rules(made)
    assert (found["unexplained"], found["ours"], found["deaths"]) == ("PASS", "FAIL", "FAIL")


def test_missing_samples_are_not_shown(folder: Folder, tmp_path: Path) -> None:
    """A soak without samples makes a report whose rules about the process say NOT SHOWN; exit code 1."""
    done = soak.report(folder.soak(tmp_path / "out", taken=[]), tmp_path / "reports")
    assert done.returncode == 1, done.stderr
    not_shown = {line.split(":")[0] for line in done.stdout.splitlines()[:-1]}
    assert not_shown == {
        f"NOT SHOWN {rule}" for rule in ("sampled", "memory", "files", "sockets", "cpu", "loop_lag", "disk")
    }
    assert done.stdout.splitlines()[-1].startswith("NOT SHOWN (sandbox): ")
    drawn = {path.stem for path in (tmp_path / "reports" / STEM).iterdir()}
    assert drawn == {"coverage"}


@pytest.mark.parametrize("speed", [1.0, 24.0])
def test_sandbox_report_never_says_live(folder: Folder, tmp_path: Path, speed: float) -> None:
    """Simulated evidence is called sandbox at every place, and accelerated where it was."""
    made = report_on(
        measure(folder.soak(tmp_path / "out", soak.record(speed=speed)), workers=1), "2026-04-16"
    )
    for name, content in made.files.items():
        assert not re.search(rb"\blive\b", content), name
        assert b"production" not in content, name
    page = made.files[made.page].decode()
    assert page.startswith("# Soak test of 2026-04-16: sandbox\n\n**PASS (sandbox")
    assert ("accelerated 24x" in page) == ("Times, lateness and latency are the exchange's" in page)
    assert ("accelerated 24x" in page) == (speed != 1)


def test_live_report_says_so() -> None:
    """A day at the venue is called live in the title, the verdict and the text, and nowhere simulated."""
    rules_ = judge(WELL)
    made = SoakReport(
        date="2026-04-16", verdict=verdict(WELL, rules_), status=status_of(rules_), rules=rules_, host={},
        commands=[], soak=WELL,
    )  # fmt: skip
    page = render(made, {})
    assert page.startswith("# Soak test of 2026-04-16: live\n\n**PASS (live)**\n")
    assert "Recorded from the live venue.\nIt ran in real time.\n" in page
    assert "Simulated" not in page
    assert "None" not in page, "what is not known is said in words"


def test_report_names_no_host_and_no_path(folder: Folder, tmp_path: Path) -> None:
    """The page tells Python, kernel and processors, and no place on the machine."""
    out = folder.soak(tmp_path / "out")
    made = report_on(measure(out, workers=1), "2026-04-16")
    for name, content in made.files.items():
        assert str(tmp_path).encode() not in content, name
        assert str(folder.archive).encode() not in content, name
    assert set(made.report.host) >= {"Python", "Linux", "processors"}


def test_restart_is_measured_from_death_to_first_answer(found: Measured) -> None:
    """The seconds are those between the kill and the first answered slot; its dead slots are exact."""
    (restart,) = found.soak.restarts
    first = min(
        due
        for market in soak.markets()
        for due in due_times(market, soak.BACK_NS, soak.END_NS)
        if span(market)[0] <= due
    )
    assert (restart.answered_ns, restart.scheduled, restart.exit_status) == (first, True, -9)
    assert restart.real_seconds == pytest.approx((first - soak.KILLED_NS) / NS)
    assert restart.dead_slots == {"process_down": slots_in(range(120, 123))}


def test_soak_ends_with_its_planned_stop(folder: Folder, tmp_path: Path) -> None:
    """The last upload and the account, which come behind the stop, are no part of the soak."""
    late = soak.record(end_ns=soak.END_NS + 600 * NS)
    measured = measure(folder.soak(tmp_path / "out", late), workers=1)
    assert (measured.soak.end_ns, measured.soak.windows[0].absent) == (soak.END_NS, [])
    assert rules(report_on(measured, "2026-04-16"))["whole"] == "PASS"


def test_death_that_nobody_scheduled_fails(folder: Folder, tmp_path: Path) -> None:
    """A process that ends by itself fails the soak, also where it left no gap."""
    pids = soak.PIDS
    starts = [
        Start(pid=pids[0], begin_ns=soak.BEGIN_NS, end_ns=soak.KILLED_NS, exit_status=-9),
        Start(pid=pids[1], begin_ns=soak.BACK_NS, end_ns=soak.END_NS - 100 * NS, exit_status=70),
        Start(pid=1, begin_ns=soak.END_NS - 100 * NS, end_ns=soak.END_NS, exit_status=0),
    ]
    measured = measure(folder.soak(tmp_path / "out", soak.record(starts=starts)), workers=1)
    assert rules(report_on(measured, "2026-04-16"))["deaths"] == "FAIL"
    assert [restart.scheduled for restart in measured.soak.restarts] == [True, False]


def test_windows_are_covered_from_open_to_close(found: Measured) -> None:
    """Whole windows are counted against the calendar, and complete ones against every slot."""
    (cover,) = found.soak.windows
    begin_s, end_s = soak.BEGIN_NS // NS, soak.END_NS // NS
    starts = [start for start in range(begin_s - begin_s % 300, end_s, 300) if start >= begin_s]
    whole = [start for start in starts if start + 300 <= end_s]
    assert (cover.window, cover.whole, cover.demanded, cover.absent) == ("5m", len(whole), len(whole), [])
    lost = {*soak.OUTAGE, *soak.THROTTLE, *soak.PAUSED, *soak.SLOW, 120, 121, 122}
    complete = [start for start in whole if not lost & set(range(start - begin_s, start - begin_s + 300))]
    assert cover.complete == len(complete) < len(whole)
    assert cover.open_to_close == len(whole)


def test_window_that_was_never_seen_fails(folder: Folder, tmp_path: Path) -> None:
    """A soak that claims a time before its archive misses the windows that the calendar demands."""
    early = soak.record(begin_ns=soak.BEGIN_NS - 900 * NS)
    measured = measure(folder.soak(tmp_path / "out", early), workers=1)
    found = rules(report_on(measured, "2026-04-16"))
    assert measured.soak.windows[0].absent
    assert (found["windows"], found["whole"]) == ("FAIL", "NOT SHOWN")


def test_files_are_those_of_the_archive(found: Measured, folder: Folder) -> None:
    """Segments, bytes and the compression ratio follow from the files, receipts from the upload manifest."""
    files = list((folder.archive / "raw").rglob("*.jsonl.gz"))
    assert sum(feed.segments for feed in found.soak.feeds) == len(files) == found.soak.uploads.proven
    assert sum(feed.bytes for feed in found.soak.feeds) == sum(path.stat().st_size for path in files)
    assert found.soak.proof.bytes == sum(path.stat().st_size for path in files)
    assert found.soak.proof.rows == sum(feed.rows for feed in found.soak.feeds)
    assert found.soak.uploads.due <= found.soak.uploads.proven
    assert (found.soak.uploads.runs, found.soak.uploads.failed) == (2, 1)


def test_checks_are_those_of_quality(found: Measured, folder: Folder) -> None:
    """The data-quality counts are the sums over the dataset's table."""
    quality = pl.concat(
        [
            pl.read_parquet(file, hive_partitioning=False)
            for file in (folder.dataset / "quality").rglob("*.parquet")
        ]
    )
    rows = quality.select(pl.col("checks").explode()).unnest("checks").filter(pl.col("check") == "hash")
    (check,) = [each for each in found.soak.checks if each.check == "hash"]
    assert (check.counted, check.flagged) == (rows["counted"].sum(), 0)
    assert check.counted == found.soak.snapshots


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: (out / "soak.json").unlink(), "soak.json"),
        (lambda out: (out / "soak.json").write_text("{}"), "soak.json"),
        (lambda out: (out / "samples.jsonl").write_text("no\n"), "samples.jsonl: line 1"),
        (lambda out: (out / "dataset").unlink(), "expected what normalize made"),
        (lambda out: (out / "archive").unlink(), "expected an archive root"),
    ],
)
def test_what_cannot_be_looked_at_ends_with_2(folder: Folder, tmp_path: Path, spoil: Any, said: str) -> None:
    """A folder that is no soak's is one line that names the file, and nothing is written."""
    out = folder.soak(tmp_path / "out")
    spoil(out)
    done = soak.report(out, tmp_path / "reports")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "reports").exists()


def test_live_record_over_a_sandbox_archive_is_refused(folder: Folder, tmp_path: Path) -> None:
    """Nobody makes simulated evidence live by what a soak's record says."""
    done = soak.report(folder.soak(tmp_path / "out", soak.record(environment="live")), tmp_path / "reports")
    assert done.returncode == 2
    assert "holds evidence of kind sandbox" in done.stderr
