"""The arithmetic of a soak's report: slopes, processes, holes, deaths, schedules, windows, uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.archive.offloaded import UploadManifest, write_record
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.soak.record import Fault, Sample, Start
from orderbooks_spider.soak.samples import (
    DAY_NS,
    MB,
    deaths_of,
    lag_of,
    processes_of,
    sampling_of,
    slope,
    uptime_of,
)
from orderbooks_spider.soak.schedule import KINDS, RESTART_SECONDS, explained_by, spans_of
from orderbooks_spider.soak.stored import uploads_of
from orderbooks_spider.soak.windows import demanded_slugs
from tests.soak import BEGIN_NS, END_NS, record

if TYPE_CHECKING:
    from pathlib import Path

SLACK_NS = 6 * NS
Slots = list[tuple[float, str, str | None]]
"""Second after the begin, result, reason."""
HOUR_NS = 3600 * NS


def sample(at_s: float, **changes: Any) -> Sample:
    """A look so many seconds after the begin."""
    values: dict[str, Any] = {
        "at_ns": BEGIN_NS + round(at_s * NS), "pid": 1, "rss_bytes": 100 * MB, "cpu_seconds": 0.0,
        "open_files": 30, "sockets": 9, "archive_bytes": 0, "disk_free_bytes": 1, "loop_lag_ms": 1.0,
        "polls": None, "children_rss_bytes": 0,
    }  # fmt: skip
    return Sample(**values | changes)


def no_polls(from_ns: int, until_ns: int) -> int:
    """Twenty polls a second."""
    return 20 * (until_ns - from_ns) // NS


@given(
    rise=st.floats(-50, 50),
    start=st.floats(0, 1000),
    count=st.integers(2, 700),
    outliers=st.lists(st.tuples(st.floats(0, 1), st.floats(-1e4, 1e4)), max_size=10),
)
def test_slope_of_a_line_ignores_outliers(
    rise: float, start: float, count: int, outliers: list[tuple[float, float]]
) -> None:
    """The fitted slope is that of the line, also with some samples far off it."""
    times = np.linspace(0, 1, count)
    values = start + rise * times
    for place, off in outliers[: count // 20]:
        values[int(place * (count - 1))] += off
    found = slope(times, values)
    assert found == pytest.approx(rise, abs=1e-5), "most pairs are without an outlier, and all those agree"


def test_slope_of_clean_line_is_exact() -> None:
    """A line has its own slope, and points at one time have none."""
    times = np.arange(1000) / 1000
    assert slope(times, 3 + 8 * times) == pytest.approx(8)
    assert slope(np.zeros(5), np.arange(5.0)) is None
    assert slope(np.array([]), np.array([])) is None


def test_growth_is_fitted_behind_the_warm_up_and_per_start() -> None:
    """What a start allocates once is no growth; a short life is not fitted; each start has its own line."""
    starts = [
        Start(pid=1, begin_ns=BEGIN_NS, end_ns=BEGIN_NS + 900 * NS, exit_status=-9),
        Start(pid=2, begin_ns=BEGIN_NS + 900 * NS, end_ns=None, exit_status=None),
    ]
    taken = [sample(second, pid=1) for second in range(0, 900, 10)]
    for second in range(900, 8200, 10):
        alive = second - 900
        megabytes = 60 + 40 * min(alive / 500, 1) + alive / 3600
        taken.append(sample(second, pid=2, rss_bytes=round(megabytes * MB), cpu_seconds=alive * 0.25))
    short, long = processes_of(record(starts=starts, end_ns=BEGIN_NS + 8200 * NS), taken, no_polls)
    assert (short.fitted_seconds, short.growth_mb, short.samples) == (None, None, 90)
    assert long.mb_per_day == pytest.approx(24, rel=0.01)
    assert long.growth_mb == pytest.approx((long.fitted_seconds or 0) / 3600, rel=0.01)
    assert long.mb_per_100k_polls == pytest.approx(100_000 / 20 / 3600, rel=0.01)
    assert (long.files_growth, long.largest_files) == (0, 30)
    assert (long.sockets_growth, long.largest_sockets) == (0, 9)
    assert long.cpu_share == pytest.approx(0.25)


def test_lives_follow_from_samples_where_no_start_is_recorded() -> None:
    """Each process id is a life of its own."""
    taken = [sample(0, pid=5), sample(10, pid=5), sample(20, pid=6)]
    found = processes_of(record(starts=[]), taken, no_polls)
    assert [(each.pid, each.samples, each.begin_ns) for each in found] == [
        (5, 2, BEGIN_NS), (6, 1, BEGIN_NS + 20 * NS),
    ]  # fmt: skip


def test_hole_counts_both_ends() -> None:
    """Nobody looking at the begin or the end is a hole too; in an accelerated soak it is shorter in truth."""
    made = record(end_ns=BEGIN_NS + 100 * NS)
    assert sampling_of(made, [sample(70)]).real_longest_hole_seconds == 70
    assert sampling_of(made, [sample(10), sample(60)]).real_longest_hole_seconds == 50
    fast = record(end_ns=BEGIN_NS + 100 * NS, speed=10.0)
    assert sampling_of(fast, [sample(70)]).real_longest_hole_seconds == 7
    assert sampling_of(made, []).real_longest_hole_seconds is None


@given(lags=st.lists(st.none() | st.floats(0, 1e4), max_size=50))
def test_lag_is_nearest_rank_of_what_is_known(lags: list[float | None]) -> None:
    """Percentiles are values that were seen, in order; samples without one do not count."""
    known = [lag for lag in lags if lag is not None]
    found = lag_of([sample(0, loop_lag_ms=lag) for lag in lags])
    assert found.samples == len(known)
    if known:
        assert found.p50_ms is not None
        assert found.p99_ms is not None
        assert {found.p50_ms, found.p99_ms} <= set(known)
        assert found.p50_ms <= found.p99_ms <= (found.max_ms or 0) == max(known)
    else:
        assert (found.p50_ms, found.p99_ms, found.max_ms) == (None, None, None)


def test_only_the_planned_stop_is_no_death() -> None:
    """Whatever ends before, or ends badly, or ends while it was only watched, has died."""
    first = Start(pid=1, begin_ns=BEGIN_NS, end_ns=BEGIN_NS + NS, exit_status=0)
    last = Start(pid=2, begin_ns=BEGIN_NS + NS, end_ns=END_NS, exit_status=0)
    assert deaths_of(record(starts=[first, last])) == [(first, last)]
    assert deaths_of(record(starts=[last])) == []
    assert deaths_of(record(starts=[last], attached=True)) == [(last, None)]
    bad = Start(pid=2, begin_ns=BEGIN_NS, end_ns=END_NS, exit_status=74)
    assert deaths_of(record(starts=[bad])) == [(bad, None)]
    runs = Start(pid=2, begin_ns=BEGIN_NS, end_ns=None, exit_status=None)
    assert deaths_of(record(starts=[runs], attached=True)) == []


def test_uptime_counts_time_with_a_process() -> None:
    """Lives are cut to the soak; one that goes on lasts to its end."""
    half = (END_NS - BEGIN_NS) // 2
    early = Start(pid=1, begin_ns=BEGIN_NS - HOUR_NS, end_ns=BEGIN_NS + half // 2, exit_status=-9)
    late = Start(pid=2, begin_ns=END_NS - half, end_ns=None, exit_status=None)
    assert uptime_of(record(starts=[early, late])) == pytest.approx(0.75)
    assert uptime_of(record(starts=[])) is None


# Schedules.


def explain(
    faults: list[Fault], slots: Slots, answers: dict[int, int] | None = None, **changes: Any
) -> list[str]:
    """The kind of fault that explains each slot (second, result, reason); empty: none does."""
    spans = spans_of(record(faults=faults, **{"starts": []} | changes), SLACK_NS, 0, answers or {})
    rows = [(BEGIN_NS + round(second * NS), result, reason) for second, result, reason in slots]
    schema = {"due_ns": pl.Int64, "result": pl.String, "reason": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    numbers = frame.with_columns(span=explained_by(spans))["span"].to_list()
    return [spans[number].kind.name if number >= 0 else "" for number in numbers]


def fault(kind: Any, begin_s: float, end_s: float) -> Fault:
    """A fault of the schedule."""
    return Fault(
        kind=kind, detail="", begin_ns=BEGIN_NS + round(begin_s * NS), end_ns=BEGIN_NS + round(end_s * NS)
    )


def test_slot_is_explained_up_to_the_stated_aftermath() -> None:
    """Just within slack and aftermath a slot is explained, just beyond it is not."""
    after = 6 + 60 + 2
    due = [93.9, 94.0, 150.0, 200.0 + after, 200.1 + after]
    slots: Slots = [(second, "throttled", None) for second in due]
    assert explain([fault("throttle", 100, 200)], slots) == ["", "throttle", "throttle", "throttle", ""]


def test_aftermath_of_a_kill_grows_with_the_speed() -> None:
    """A start takes real seconds, which are longer on a clock that runs fast."""
    last = RESTART_SECONDS * 10 + 6
    slots: Slots = [
        (last, "process_down", None),
        (last + 1, "process_down", None),
    ]
    assert explain([fault("kill", 0, 0)], slots, speed=10.0) == ["kill", ""]
    assert explain([fault("kill", 0, 0)], slots, speed=1.0) == ["", ""]


@given(
    kind=st.sampled_from([kind for kind in KINDS if kind.name not in {"start", "stop"}]),
    result=st.sampled_from(
        ["no_book", "throttled", "http_error", "timeout", "connection", "invalid_body", "skipped",
         "process_down", "not_discovered", "missing"]
    ),
    reason=st.sampled_from(
        [None, "paused", "late", "in_flight", "budget", "disk_full", "truncated", "shutdown"]
    ),
    second=st.integers(0, 300),
)  # fmt: skip
def test_only_a_cause_that_fits_is_explained(kind: Any, result: str, reason: str | None, second: int) -> None:
    """Within a fault, exactly the causes of its kind are explained; missing rows never are."""
    fits = {result, f"{result}/{reason}"} & set(kind.causes)
    during = 100 <= second <= 200
    (said,) = explain([fault(kind.name, 100, 200)], [(second, result, reason)])
    if during:
        assert said == (kind.name if fits else "")
    assert said in {"", kind.name}
    assert result != "missing" or said == ""


def test_fault_comes_before_an_aftermath() -> None:
    """A slot that lies in one fault and behind another counts for the one that it lies in, once."""
    faults = [fault("outage", 0, 100), fault("slow", 110, 200)]
    slots: Slots = [
        (90, "timeout", None),
        (105, "timeout", None),
        (120, "timeout", None),
    ]
    assert explain(faults, slots) == ["outage", "outage", "slow"]


def test_first_answer_ends_the_aftermath_of_a_start() -> None:
    """A minute behind the first answer, and the slack, nothing is put down to the kill any more."""
    slots: Slots = [(20 + 60 + 6, "not_discovered", None), (20 + 60 + 7, "not_discovered", None)]
    answers = {BEGIN_NS: BEGIN_NS + 20 * NS}
    assert explain([fault("kill", 0, 0)], slots, answers, speed=30.0) == ["kill", ""]
    assert explain([fault("kill", 0, 0)], slots, {}, speed=30.0) == ["kill", "kill"]


def test_latest_aftermath_counts() -> None:
    """What follows a kill is the kill's, also where an earlier aftermath still lasts."""
    slots: Slots = [
        (110, "not_discovered", None),
        (119, "not_discovered", None),
        (121, "not_discovered", None),
    ]
    faults = [fault("outage", 50, 100), fault("kill", 120, 120)]
    assert explain(faults, slots) == ["outage", "outage", "kill"]


def test_watched_collector_has_no_planned_start() -> None:
    """What a collector loses at a start that the soak did not make is its own fault."""
    starts = [Start(pid=1, begin_ns=BEGIN_NS, end_ns=END_NS, exit_status=0)]
    slots: Slots = [
        (1, "not_discovered", None),
        (1499.5, "skipped", "shutdown"),
    ]
    assert explain([], slots, starts=starts) == ["start", "stop"]
    assert explain([], slots, starts=starts, attached=True) == ["", ""]


def test_stop_counts_from_when_it_was_asked_for() -> None:
    """Sealing comes between the stop and the end of the process: slots before the stop are the stop's."""
    made = record(faults=[], starts=[Start(pid=1, begin_ns=BEGIN_NS, end_ns=END_NS, exit_status=0)])
    for asked_ns, expected in ((END_NS - 20 * NS, END_NS - 20 * NS - SLACK_NS), (None, END_NS - SLACK_NS)):
        stop = next(s for s in spans_of(made, SLACK_NS, 0, {}, asked_ns) if s.kind.name == "stop")
        assert (stop.from_ns, stop.end_ns) == (expected, END_NS)


def test_steps_of_the_clock_explain_as_long_as_they_are() -> None:
    """The largest step that the archive tells widens the time on both sides."""
    steps = [fault("clock_step", 100, 100)]
    (narrow,), (wide,) = (
        spans_of(record(faults=steps, starts=[]), SLACK_NS, step, {}) for step in (0, 40 * NS)
    )
    assert (narrow.from_ns - wide.from_ns, wide.until_ns - narrow.until_ns) == (40 * NS, 40 * NS)


# Windows and uploads.


def test_calendar_demands_whole_windows_only() -> None:
    """Windows that begin before or end after the time are not demanded; a day has 288 of five minutes."""
    day_ns = BEGIN_NS // DAY_NS * DAY_NS
    every = demanded_slugs("5m", day_ns, day_ns + DAY_NS)
    assert every is not None
    assert (len(every), every[0]) == (288, f"btc-updown-5m-{day_ns // NS}")
    assert len(demanded_slugs("5m", day_ns + 1, day_ns + DAY_NS - 1) or []) == 286
    assert len(demanded_slugs("15m", day_ns, day_ns + DAY_NS) or []) == 96
    assert demanded_slugs("1h", day_ns, day_ns + DAY_NS) is None


@pytest.mark.parametrize(("complete", "failed"), [(True, 0), (False, 1)])
def test_uploads_of_others_count_by_their_manifests(tmp_path: Path, *, complete: bool, failed: int) -> None:
    """Where a timer uploads, the runs are told by the upload manifests of the soak's time."""
    folder = tmp_path / "manifests" / "offload"
    folder.mkdir(parents=True)
    for number, at_ns in enumerate((BEGIN_NS - NS, BEGIN_NS + NS, END_NS + NS)):
        made = UploadManifest(
            environment="sandbox", started_utc=iso_utc(at_ns), finished_utc=iso_utc(at_ns),
            destination="d:", rclone_version="v1", files=[], problems=[], complete=complete,
            planned_files=0, planned_bytes=0, proven_bytes=0, rclone_exit_codes=[], heads={},
        )  # fmt: skip
        write_record(folder / f"2026041{number}T000000Z_upload_0.json", made)
    found = uploads_of(tmp_path, record(uploads=[]), [])
    assert (found.runs, found.failed, found.last_exit_status) == (1, failed, failed)
    assert uploads_of(tmp_path, record(uploads=[], speed=24.0), []).runs == 0, "their times are real"
