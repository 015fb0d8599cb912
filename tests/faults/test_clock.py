"""A host whose wall clock is set while the collector runs: real process, real steps, by libfaketime."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.sandbox.child import SandboxChild
from tests.collector import Collector, finish
from tests.faketime import wall_clock_from
from tests.slots import planned_slots, recorded_slots

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.table import FaultTable


@pytest.mark.parametrize("step", ["+3600", "+300", "-3"])
def test_stepped_clock_loses_no_slot(step: str, tmp_path: Path, fault_table: FaultTable) -> None:
    """After a step of the wall clock every planned slot has one row, and the step is an event (A12, A13)."""
    shift = tmp_path / "shift"
    shift.write_text("+0\n", encoding="ascii")
    sections: dict[str, dict[str, Any]] = {"discovery": {"windows": ["1d"]}, "polling": {"lead_seconds": 0}}
    with SandboxChild.start() as child:
        collector = Collector(tmp_path, child.url, sections, variables=wall_clock_from(shift))
        process = collector.start()
        collector.wait_for_rows(process, "books", 10)
        shift.write_text(f"{step}\n", encoding="ascii")
        jumped = max(0, int(step)) * 4
        collector.wait_for_rows(process, "books", 30 + jumped)
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
    assert ended.returncode == 0, ended.stderr
    rows = recorded_slots(collector)
    fault_table.record("wall clock stepped", 1, rows.total(), (planned_slots(collector) - rows).total(), 0)
    assert rows == planned_slots(collector)
    (event,) = collector.events("clock_step")
    assert event["step_ns"] == pytest.approx(int(step) * 10**9, abs=10**8)
    verified = collector.verify()
    assert verified.returncode == 0, verified.stdout
