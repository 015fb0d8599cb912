"""The gate of a soak: each rule on its limit and beyond, what is not shown, and the words of a verdict."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.report.numbers import Coverage
from orderbooks_spider.soak.gate import RULES, Judged, Status, judge, status_of, verdict
from orderbooks_spider.soak.numbers import Lag, Sampling, Soak
from tests import soak_page
from tests.soak_numbers import (
    BEGIN_NS,
    DAY_S,
    DISK,
    HASH,
    PROCESS,
    PROOF,
    RESTART,
    STRETCH,
    TIMES,
    UPLOADS,
    WELL,
    WINDOW,
)


def changed(made: Any, **keys: Any) -> Any:
    """The same but for *keys*."""
    return msgspec.structs.replace(made, **keys)


def states(soak: Soak) -> dict[str, Status]:
    """What each rule says."""
    return {judged.rule: judged.status for judged in judge(soak)}


def process(**keys: Any) -> dict[str, Any]:
    """Changes one process among two."""
    return {"processes": [PROCESS, changed(PROCESS, **keys)]}


def test_a_good_day_passes_live() -> None:
    """A day at the venue in real time with all evidence is the only thing that passes live."""
    assert set(states(WELL).values()) == {"PASS"}
    assert verdict(WELL, judge(WELL)) == "PASS (live)"


@pytest.mark.parametrize(
    ("keys", "rule", "status"),
    [
        ({"end_ns": BEGIN_NS + DAY_S * NS - 1}, "duration", "FAIL"),
        ({"speed": 2.0}, "duration", "FAIL"),
        ({"environment": "sandbox", "end_ns": BEGIN_NS + 60 * NS}, "duration", "PASS"),
        ({"first_due_ns": BEGIN_NS + 120 * NS}, "whole", "PASS"),
        ({"first_due_ns": BEGIN_NS + 121 * NS}, "whole", "NOT SHOWN"),
        ({"last_due_ns": BEGIN_NS + (DAY_S - 121) * NS}, "whole", "NOT SHOWN"),
        ({"first_due_ns": None, "last_due_ns": None}, "whole", "NOT SHOWN"),
        ({"problems": ["a segment is gone"]}, "evidence", "FAIL"),
        ({"proof": changed(PROOF, problems=["A5 x: altered"])}, "verify", "FAIL"),
        ({"proof": changed(PROOF, rows=0)}, "verify", "NOT SHOWN"),
        ({"unexplained": 1, "unexplained_examples": [STRETCH]}, "unexplained", "FAIL"),
        ({"slots": Coverage(planned=0, answered=0)}, "unexplained", "NOT SHOWN"),
        ({"ours": 10}, "ours", "PASS"),
        ({"ours": 11}, "ours", "FAIL"),
        ({"slots": Coverage(planned=0, answered=0)}, "ours", "NOT SHOWN"),
        ({"scheduled": True}, "injected", "PASS"),
        ({"scheduled": True, "not_injected": ["disk_full: not injected: no room"]}, "injected", "NOT SHOWN"),
        ({"slots": Coverage(planned=10_000, answered=9_900)}, "coverage", "PASS"),
        ({"slots": Coverage(planned=10_000, answered=9_899)}, "coverage", "FAIL"),
        ({"slots": Coverage(planned=10_000, answered=4_950), "explained": 5_000}, "coverage", "PASS"),
        ({"slots": Coverage(planned=10_000, answered=4_949), "explained": 5_000}, "coverage", "FAIL"),
        ({"slots": Coverage(planned=9, answered=0), "explained": 9}, "coverage", "NOT SHOWN"),
        ({"windows": [changed(WINDOW, absent=["btc-updown-5m-1"])]}, "windows", "FAIL"),
        ({"windows": [changed(WINDOW, demanded=None)]}, "windows", "NOT SHOWN"),
        ({"windows": [changed(WINDOW, demanded=0)]}, "windows", "NOT SHOWN"),
        ({"windows": []}, "windows", "NOT SHOWN"),
        ({"checks": [changed(HASH, flagged=1)]}, "hash", "FAIL"),
        ({"checks": [changed(HASH, counted=0)]}, "hash", "NOT SHOWN"),
        ({"checks": []}, "hash", "NOT SHOWN"),
        ({"restarts": [RESTART]}, "deaths", "PASS"),
        ({"restarts": [changed(RESTART, scheduled=False)]}, "deaths", "FAIL"),
        ({"processes": []}, "deaths", "NOT SHOWN"),
        ({"restarts": [changed(RESTART, real_seconds=30.0)]}, "restart", "PASS"),
        ({"restarts": [RESTART, changed(RESTART, real_seconds=30.1)]}, "restart", "FAIL"),
        ({"restarts": [changed(RESTART, real_seconds=None)]}, "restart", "FAIL"),
        ({"processes": []}, "restart", "NOT SHOWN"),
        ({"sampling": Sampling(samples=9, real_longest_hole_seconds=300.0)}, "sampled", "PASS"),
        ({"sampling": Sampling(samples=9, real_longest_hole_seconds=301.0)}, "sampled", "NOT SHOWN"),
        ({"sampling": Sampling(samples=0, real_longest_hole_seconds=None)}, "sampled", "NOT SHOWN"),
        (process(growth_mb=10.0), "memory", "PASS"),
        (process(growth_mb=10.1), "memory", "FAIL"),
        (process(growth_mb=10.1, fitted_seconds=float(DAY_S)), "memory", "PASS"),
        (process(growth_mb=16.1, fitted_seconds=float(DAY_S)), "memory", "FAIL"),
        ({"processes": [changed(PROCESS, growth_mb=None, fitted_seconds=None)]}, "memory", "NOT SHOWN"),
        ({"processes": []}, "memory", "NOT SHOWN"),
        (process(files_growth=10.0), "files", "PASS"),
        (process(files_growth=10.1), "files", "FAIL"),
        ({"processes": [changed(PROCESS, files_growth=None)]}, "files", "NOT SHOWN"),
        (process(sockets_growth=30.0), "sockets", "PASS"),
        (process(sockets_growth=30.1), "sockets", "FAIL"),
        ({"tokens_at_once": None}, "sockets", "NOT SHOWN"),
        ({"processes": [changed(PROCESS, sockets_growth=None)]}, "sockets", "NOT SHOWN"),
        (process(cpu_share=0.5), "cpu", "PASS"),
        (process(cpu_share=0.51), "cpu", "FAIL"),
        ({"processes": [changed(PROCESS, cpu_share=None)]}, "cpu", "NOT SHOWN"),
        ({"lateness": changed(TIMES, p99_ns=100_000_000)}, "lateness", "PASS"),
        ({"lateness": changed(TIMES, p99_ns=101_000_000)}, "lateness", "FAIL"),
        ({"lateness": changed(TIMES, p99_ns=2_400_000_000), "speed": 24.0}, "lateness", "PASS"),
        ({"lateness": changed(TIMES, p99_ns=2_500_000_000), "speed": 24.0}, "lateness", "FAIL"),
        ({"lateness": changed(TIMES, p99_ns=None)}, "lateness", "NOT SHOWN"),
        ({"loop_lag": Lag(samples=9, p50_ms=1, p99_ms=500.0, max_ms=900)}, "loop_lag", "PASS"),
        ({"loop_lag": Lag(samples=9, p50_ms=1, p99_ms=500.1, max_ms=900)}, "loop_lag", "FAIL"),
        ({"loop_lag": Lag(samples=0, p50_ms=None, p99_ms=None, max_ms=None)}, "loop_lag", "NOT SHOWN"),
        ({"uploads": changed(UPLOADS, overdue=["a file"])}, "upload", "FAIL"),
        ({"uploads": changed(UPLOADS, runs=0)}, "upload", "NOT SHOWN"),
        ({"uploads": changed(UPLOADS, due=0)}, "upload", "NOT SHOWN"),
        ({"disk": changed(DISK, days_left=2.0)}, "disk", "PASS"),
        ({"disk": changed(DISK, days_left=1.9)}, "disk", "FAIL"),
        ({"disk": changed(DISK, days_left=None)}, "disk", "NOT SHOWN"),
    ],
)
def test_rule_at_its_limit(keys: dict[str, Any], rule: str, status: Status) -> None:
    """On the limit a rule passes, beyond it fails, and without its evidence it does not pass either."""
    assert states(changed(WELL, **keys))[rule] == status


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_every_rule_is_tried_beyond_its_limit(rule: str) -> None:
    """Each rule of the gate stands in the list above with a case that does not pass."""
    cases = test_rule_at_its_limit.pytestmark[0].args[1]
    assert any(name == rule and status != "PASS" for _, name, status in cases)


@given(found=st.lists(st.sampled_from(get_args(Status)), min_size=1))
def test_worst_rule_decides(found: list[Status]) -> None:
    """One FAIL fails; without one, what is not shown keeps the whole from passing."""
    judged = [Judged(rule="r", limit="", measured="", status=status, reason="") for status in found]
    expected = "FAIL" if "FAIL" in found else "NOT SHOWN" if "NOT SHOWN" in found else "PASS"
    assert status_of(judged) == expected


@given(
    speed=st.sampled_from([1.0, 2.5, 24.0]),
    hours=st.integers(1, 100),
    environment=st.sampled_from(["sandbox", "live"]),
)
def test_only_a_day_in_real_time_passes_live(speed: float, hours: int, environment: str) -> None:
    """No sandbox soak of any length or speed says live, and no live one passes that is short or fast."""
    end_ns = BEGIN_NS + hours * 3600 * NS
    soak = changed(WELL, environment=environment, speed=speed, end_ns=end_ns, last_due_ns=end_ns)
    said = verdict(soak, judge(soak))
    assert ("live" in said) == (environment == "live")
    assert (said == "PASS (live)") == (environment == "live" and speed == 1 and hours >= 24)
    assert ("accelerated" in said) == (speed != 1)


def test_verdicts_of_the_sandbox() -> None:
    """The words that checkpoint records may use for simulated soaks."""
    simulated = changed(WELL, environment="sandbox")
    assert verdict(simulated, judge(simulated)) == "PASS (sandbox)"
    fast = changed(simulated, speed=24.0)
    assert verdict(fast, judge(fast)) == "PASS (sandbox, accelerated 24x)"


def test_page_says_what_the_code_says() -> None:
    """Rules, limits and what faults explain stand in the methodology as the code has them."""
    page = soak_page.PAGE.read_text("utf-8")
    assert page == soak_page.fresh(), "run: PYTHONPATH=. python tests/soak_page.py"
