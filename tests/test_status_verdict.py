"""The verdict at each threshold: on the line, just beyond it, and that nothing else moves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.pulse import OPENS
from orderbooks_spider.status import verdict
from orderbooks_spider.status.verdict import EXIT_CODES, Finding, judge, judge_disk, judge_offload, state_of
from orderbooks_spider.status.vitals import Disk, Gap, Offload, Vitals

PAGE = Path(__file__).resolve().parents[1] / "docs" / "OPERATIONS.md"
WELL = Vitals(
    running=True,
    uptime_seconds=3600,
    beat_seconds=5,
    undurable_seconds=0.2,
    planned=1000,
    answered=1000,
    lateness_p99_ms=4.0,
    clock_synchronised=True,
)
NAMES = {
    "not_running", "beat", "durable", "starting", "nothing_planned", "coverage", "gap", "throttled",
    "lateness", "clock", "disk_space", "disk_days", "offload",
}  # fmt: skip
"""Of findings; those of open problems are the names of their event rows."""
GAP = Gap(cause="timeout/DownloadTimeoutError", from_ns=0, seconds=12, tokens=2, markets=["m"])


def changed(**keys: Any) -> Vitals:
    """A well collector but for *keys*."""
    return msgspec.structs.replace(WELL, **keys)


@pytest.mark.parametrize(
    ("keys", "state", "names"),
    [
        ({}, "healthy", []),
        ({"running": False}, "down", ["not_running"]),
        ({"beat_seconds": 30.0}, "healthy", []),
        ({"beat_seconds": 30.1}, "degraded", ["beat"]),
        ({"beat_seconds": 60.0}, "degraded", ["beat"]),
        ({"beat_seconds": 60.1}, "down", ["beat"]),
        ({"beat_seconds": None}, "healthy", []),
        ({"undurable_seconds": 10.0}, "healthy", []),
        ({"undurable_seconds": 10.1}, "degraded", ["durable"]),
        ({"undurable_seconds": 120.0}, "degraded", ["durable"]),
        ({"undurable_seconds": 120.1}, "down", ["durable"]),
        ({"answered": 900}, "healthy", []),
        ({"answered": 899}, "degraded", ["coverage"]),
        ({"planned": 0, "answered": 0}, "degraded", ["nothing_planned"]),
        ({"planned": None, "answered": 0}, "healthy", []),
        ({"planned": 0, "answered": 0, "uptime_seconds": 119.9}, "degraded", ["starting"]),
        ({"planned": 0, "answered": 0, "uptime_seconds": 120.0}, "degraded", ["nothing_planned"]),
        ({"gaps": [GAP]}, "degraded", ["gap"]),
        ({"throttled": 1}, "degraded", ["throttled"]),
        ({"lateness_p99_ms": 250.0}, "healthy", []),
        ({"lateness_p99_ms": 250.1}, "degraded", ["lateness"]),
        ({"lateness_p99_ms": None}, "healthy", []),
        ({"problems": {"storage_paused": "no room"}}, "degraded", ["storage_paused"]),
        ({"problems": {"seal_failed books": "no room"}}, "degraded", ["seal_failed"]),
        ({"clock_synchronised": False}, "healthy", ["clock"]),
        ({"clock_synchronised": None}, "healthy", []),
        ({"throttled": 3, "beat_seconds": 90.0}, "down", ["beat", "throttled"]),
    ],
)
def test_collector_at_each_threshold(keys: dict[str, Any], state: str, names: list[str]) -> None:
    """A number on its threshold is well, one beyond it is named, and the worst finding is the state."""
    findings = judge(changed(**keys))
    assert (state_of(findings), [finding.name for finding in findings]) == (state, names)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"free_bytes": 1500, "min_free_bytes": 1000}, []),
        ({"free_bytes": 1499, "min_free_bytes": 1000}, ["disk_space"]),
        ({"free_bytes": 0, "min_free_bytes": 0}, []),
        ({"free_bytes": 0, "min_free_bytes": None}, []),
        ({"free_bytes": 9999, "days_left": 2.0}, []),
        ({"free_bytes": 9999, "days_left": 1.9}, ["disk_days"]),
        ({"free_bytes": 1, "min_free_bytes": 1, "days_left": 0.0}, ["disk_space", "disk_days"]),
    ],
)
def test_disk_at_each_threshold(keys: dict[str, Any], names: list[str]) -> None:
    """Little room degrades, however it is measured; it is never down."""
    findings = judge_disk(Disk(**keys))
    assert [finding.name for finding in findings] == names
    assert state_of(findings) == ("degraded" if names else "healthy")


@pytest.mark.parametrize(
    ("in_use", "seconds", "state"),
    [
        (True, 86_400.0, "healthy"),
        (True, 86_401.0, "degraded"),
        (True, None, "healthy"),
        (False, 1e9, "healthy"),
    ],
)
def test_offload_at_its_threshold(in_use: bool, seconds: float | None, state: str) -> None:
    """Segments that wait for a day degrade, but only where offloading is in use at all."""
    waiting = Offload(segments=3, bytes=3000, oldest_seconds=seconds, in_use=in_use)
    assert state_of(judge_offload(waiting)) == state


def test_exit_codes() -> None:
    """0 healthy, 1 degraded, 2 down."""
    assert EXIT_CODES == {"healthy": 0, "degraded": 1, "down": 2}


def test_whatever_the_venue_does_is_never_down() -> None:
    """No answer at all, refusals and open problems leave a living collector degraded: no restart helps."""
    worst = changed(
        answered=0, throttled=1000, gaps=[GAP], lateness_p99_ms=1e9, problems=dict.fromkeys(OPENS, "")
    )
    assert state_of(judge(worst)) == "degraded"


VITALS = st.builds(
    Vitals,
    running=st.booleans(),
    uptime_seconds=st.none() | st.floats(0, 1e7),
    beat_seconds=st.none() | st.floats(0, 1e4),
    undurable_seconds=st.none() | st.floats(0, 1e4),
    planned=st.none() | st.integers(0, 10_000),
    answered=st.integers(0, 10_000),
    throttled=st.integers(0, 100),
    gaps=st.lists(st.just(GAP), max_size=2),
    lateness_p99_ms=st.none() | st.floats(0, 1e4),
    problems=st.dictionaries(st.sampled_from(sorted(OPENS)), st.text(max_size=5), max_size=3),
    clock_synchronised=st.none() | st.booleans(),
)


@given(vitals=VITALS)
def test_any_numbers_get_one_verdict_with_reasons(vitals: Vitals) -> None:
    """Whatever the numbers: who does not run is down, and healthy is exactly who has no finding but notes."""
    findings = judge(vitals)
    state = state_of(findings)
    assert vitals.running or state == "down"
    assert (state == "healthy") == all(finding.level == "note" for finding in findings)
    assert all(finding.text and finding.name in NAMES | OPENS for finding in findings)


@given(vitals=VITALS, more=st.integers(0, 5000))
def test_more_answers_never_harm(vitals: Vitals, more: int) -> None:
    """With more slots answered and all else equal the state is as good or better."""
    better = msgspec.structs.replace(vitals, answered=vitals.answered + more)
    assert EXIT_CODES[state_of(judge(better))] <= EXIT_CODES[state_of(judge(vitals))]


@given(findings=st.lists(st.builds(Finding, st.sampled_from(["note", "degraded", "down"]))))
def test_state_is_the_worst_finding(findings: list[Finding]) -> None:
    """One worse finding outweighs any number of better ones."""
    ranks = {"note": 0, "degraded": 1, "down": 2}
    assert EXIT_CODES[state_of(findings)] == max((ranks[finding.level] for finding in findings), default=0)


def test_each_finding_and_threshold_is_explained() -> None:
    """The operator's page has a row for each finding, and each threshold with its value."""
    page = PAGE.read_text("utf-8")
    for name in NAMES | OPENS:
        assert f"| `{name}` |" in page, name
    for name, value in vars(verdict).items():
        if name.isupper() and type(value) in {int, float}:
            assert f"`{name}` = {value:g}" in page, name
