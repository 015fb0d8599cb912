"""The report's arithmetic: days, time axes, lanes, texts."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.report.axis import COLUMNS, Axis
from orderbooks_spider.report.day import Day, dates_of
from orderbooks_spider.report.draw_slots import lanes
from orderbooks_spider.report.numbers import Coverage
from orderbooks_spider.report.slots import distribution
from orderbooks_spider.report.texts import cents, duration, percent, time

DAY = Day.parse("2026-04-16")
DURING = st.integers(DAY.from_ns, DAY.until_ns - 1)


def test_day_is_from_midnight_to_midnight() -> None:
    """A day holds its first nanosecond and not the next day's."""
    assert iso_utc(DAY.from_ns) == "2026-04-16T00:00:00.000000Z"
    assert [DAY.holds(t) for t in (DAY.from_ns - 1, DAY.from_ns, DAY.until_ns - 1, DAY.until_ns)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert DAY.touches(DAY.from_ns - 5, DAY.from_ns)
    assert not DAY.touches(DAY.until_ns, DAY.until_ns + 5)


@pytest.mark.parametrize("text", ["", "2026-4-16", "2026-W16-4", "20260416", "2026-04-16T00", "2026-02-30"])
def test_day_has_one_form(text: str) -> None:
    """Anything but a real date as YYYY-MM-DD is refused, and shown."""
    with pytest.raises(ValueError, match="expected a day as YYYY-MM-DD, saw"):
        Day.parse(text)


def test_dates_are_those_that_spans_touch() -> None:
    """A span over midnight counts for both days, and each day once."""
    spans = [(DAY.until_ns - 1, DAY.until_ns), (DAY.from_ns, DAY.from_ns + 1)]
    assert dates_of(spans) == ["2026-04-16", "2026-04-17"]
    assert dates_of([]) == []


@given(times=st.tuples(DURING, DURING).map(sorted), interval_ns=st.integers(NS // 20, HOUR_NS))
def test_axis_holds_every_slot_in_few_columns(times: list[int], interval_ns: int) -> None:
    """Columns are few, no narrower than the interval, inside one hour each, and hold first and last slot."""
    axis = Axis.over(times[0], times[1], interval_ns)
    assert 1 <= axis.columns <= COLUMNS
    assert HOUR_NS % axis.step_ns == axis.from_ns % axis.step_ns == axis.until_ns % axis.step_ns == 0
    assert axis.step_ns >= min(interval_ns, HOUR_NS)
    columns = pl.DataFrame({"t": times}).select(axis.column("t"))["t"]
    assert columns.to_list() == [0, axis.columns - 1]


def test_axis_of_a_day_has_columns_of_two_minutes() -> None:
    """A whole day at a poll a second is drawn in 720 columns."""
    axis = Axis.over(DAY.from_ns, DAY.until_ns - 1, NS)
    assert (axis.columns, axis.step_ns) == (720, 120 * NS)


@given(
    spans=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["5m", "1h", "other"]), DURING, DURING),
        min_size=1,
        max_size=12,
    )
)
def test_markets_of_a_lane_do_not_overlap(spans: list[tuple[str, str, int, int]]) -> None:
    """In the coverage picture no two markets share a place, and a row is of one collector and length."""
    tokens = pl.DataFrame(
        [
            {
                "collector_id": who,
                "token_id": f"{number}{outcome}",
                "window": window,
                "condition_id": str(number),
                "outcome": outcome,
                "first_ns": min(one, other),
                "last_ns": max(one, other),
            }
            for number, (who, window, one, other) in enumerate(spans)
            for outcome in ("Up", "Down")
        ]
    )
    placed = lanes(tokens).join(tokens, on=["collector_id", "token_id"])
    assert sorted(set(placed["row"])) == list(range(placed["row"].n_unique()))
    for row in placed.partition_by("row"):
        assert row.select("collector_id", "window", "outcome").n_unique() == 1
        ordered = row.sort("first_ns")
        assert (ordered["last_ns"][:-1] < ordered["first_ns"][1:]).all()


@given(values=st.lists(st.none() | st.integers(-NS, 10**14), max_size=40))
def test_histogram_counts_each_value_once(values: list[int | None]) -> None:
    """Every value that is not null is in the first bin whose edge is above it."""
    found = distribution(pl.Series("ns", values, pl.Int64))
    known = sorted(value for value in values if value is not None)
    assert (found.polls, found.max_ns) == (len(known), known[-1] if known else None)
    below = 0
    for each in found.bins:
        assert each.polls > 0
        below += each.polls
        assert below == sum(value < each.below_ns for value in known)
    assert below == len(known)


def test_texts_never_flatter() -> None:
    """A coverage is rounded down, and what there is not is called none."""
    assert percent(Coverage(planned=100_000, answered=99_999)) == "99.99 %"
    assert percent(Coverage(planned=3, answered=3)) == "100.00 %"
    assert percent(Coverage(planned=0, answered=0)) == time(None) == cents(None) == "none"


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1_500_000, "1.5 ms"), (-2_500_000_000, "-2.5 s"), (3600 * NS, "3,600 s")],
)
def test_durations_have_the_unit_that_suits_them(ns: int, text: str) -> None:
    """Three digits are enough for a person."""
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("price", "text"), [("0.0100", "1 ¢"), ("0.0005", "0.05 ¢"), ("0", "0 ¢"), ("1", "100 ¢")]
)
def test_prices_are_shown_in_cents(price: str, text: str) -> None:
    """Without zeros that say nothing."""
    assert cents(Decimal(price)) == text
