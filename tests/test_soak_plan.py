"""Plans of soaks: what the shipped ones promise, and the one line that a slip of the pen gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.soak.plan import end_seconds, read_plan
from orderbooks_spider.soak.record import FaultKind
from orderbooks_spider.soak.supervisor import RESTART_SECONDS

PROJECT = Path(__file__).resolve().parents[1]
PLANS = sorted((PROJECT / "config").glob("soak.*.yaml"))
DAY = PROJECT / "config/soak.day.yaml"
SOUND: dict[str, Any] = {"seconds": 100, "speed": 10}


def written(folder: Path, **keys: Any) -> Path:
    """A plan that is sound but for *keys*."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(SOUND | keys), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shipped_plan_has_each_kind_of_fault(path: Path) -> None:
    """Every plan that is shipped can be read, and breaks everything that can be broken."""
    kinds = {fault.__struct_config__.tag for fault in read_plan(path).faults}
    assert kinds == set(get_args(FaultKind))


def test_day_covers_a_utc_day() -> None:
    """The simulated day begins before a midnight and ends after the next, all of it in the past."""
    plan = read_plan(DAY)
    now_ns = parse_utc("2026-11-23T12:00:00Z")
    begin_ns = plan.begin_ns(now_ns)
    end_ns = begin_ns + round(plan.seconds * NS)
    assert begin_ns < parse_utc("2026-11-22T00:00:00Z") - 300 * NS
    assert parse_utc("2026-11-23T00:00:00Z") + 30 * NS < end_ns < now_ns
    assert [fault.__struct_config__.tag for fault in plan.faults].count("kill") == 2
    longest = {type(fault).__name__: end_seconds(fault) - fault.at for fault in plan.faults}
    assert (longest["Outage"], longest["Slow"]) == (600, 3600)


def test_plan_without_begin_starts_now(tmp_path: Path) -> None:
    """Without ``begins`` the exchange's clock starts at the host's time."""
    assert read_plan(written(tmp_path)).begin_ns(123) == 123


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"second": 5}, "unknown field `second`"),
        ({"seconds": 0}, "`$.seconds`"),
        ({"speed": 0.5}, "`$.speed`"),
        ({"begins": "24:00"}, "`$.begins`"),
        ({"begins": "10:00", "speed": 1}, "begins: at speed 1"),
        ({"faults": [{"kind": "flood", "at": 1}]}, "Invalid value 'flood' - at `$.faults[0].kind`"),
        ({"faults": [{"kind": "outage", "at": 1}]}, "missing required field `seconds` - at `$.faults[0]`"),
        ({"faults": [{"kind": "outage", "at": 99, "seconds": 2}]}, "faults[0]: expected to end by 100"),
        ({"faults": [{"kind": "clock_step", "at": 1, "seconds": 1, "step_seconds": 1e6}]}, "step_seconds"),
        (
            {"faults": [{"kind": "outage", "at": 1, "seconds": 9}, {"kind": "kill", "at": 10}]},
            "faults[1].at: expected more than 10",
        ),
        ({"collector": {"polling": {"mode": "x"}}}, "collector: polling.mode"),
        ({"collector": {"venue": {"gamma_url": "sandbox", "clob_url": "sandbox"}}}, "collector.venue: "),
        ({"collector": {"archive": {"root": "elsewhere"}}}, "collector.archive.root: "),
    ],
)
def test_wrong_plan_names_file_and_key(keys: dict[str, Any], words: str, tmp_path: Path) -> None:
    """A plan that cannot be run is refused in one line with its file, the key and what was expected."""
    path = written(tmp_path, **keys)
    with pytest.raises(ConfigError) as error:
        read_plan(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\xff", b"seconds: [", b"[]"])
def test_no_plan_is_told_so(content: bytes, tmp_path: Path) -> None:
    """A file that is no plan at all, or is not there, is named."""
    path = tmp_path / "plan.yaml"
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        read_plan(path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        read_plan(path)


def test_upload_outage_may_last_through_others(tmp_path: Path) -> None:
    """What happens to the remote store costs no slot, so other faults may happen meanwhile."""
    faults = [
        {"kind": "upload_outage", "at": 1, "seconds": 50},
        {"kind": "kill", "at": 10},
        {"kind": "slow", "at": 40, "seconds": 30},
    ]
    assert len(read_plan(written(tmp_path, faults=faults)).faults) == 3


def test_restart_waits_as_the_unit_says() -> None:
    """The soak starts a dead collector again as soon as its systemd unit would."""
    unit = (PROJECT / "systemd/polymarket-orderbook-collector.service").read_text("utf-8")
    assert f"RestartSec={round(RESTART_SECONDS * 1000)}ms\n" in unit
    assert "RestartPreventExitStatus=78\n" in unit
