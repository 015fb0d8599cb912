from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.clock import NS
from orderbooks_spider.polymarket.windows import SERIES, expected_slugs, window_of_slug
from tests import payloads

MOMENTS = st.integers(1_700_000_000 * NS, 2_000_000_000 * NS)


def utc(month: int, day: int, hour: int) -> int:
    """Seconds of an hour of 2026, UTC."""
    return int(datetime(2026, month, day, hour, tzinfo=UTC).timestamp())


def starts(slugs: list[str]) -> list[int]:
    """The epochs that slugs tell."""
    return [int(slug.rsplit("-", 1)[1]) for slug in slugs]


@pytest.mark.parametrize(("window", "length"), [("5m", 300), ("15m", 900)])
@given(from_ns=MOMENTS, span_ns=st.integers(1, 7200 * NS))
def test_short_windows_are_multiples_of_their_length(
    window: str, length: int, from_ns: int, span_ns: int
) -> None:
    """Slugs of 5m and 15m windows are exactly those whose window overlaps the span."""
    until_ns = from_ns + span_ns
    near = range(from_ns // NS // length * length - length, until_ns // NS + 2 * length, length)
    overlapping = [start for start in near if start * NS < until_ns and (start + length) * NS > from_ns]
    slugs = expected_slugs(window, from_ns, until_ns)
    assert slugs == [f"btc-updown-{window}-{start}" for start in overlapping]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        # Standard time until 2 a.m. (UTC-5), then daylight time (UTC-4): the night window has 3 hours.
        ((3, 8), [(3, 8, 5), (3, 8, 8), (3, 8, 12), (3, 8, 16), (3, 8, 20), (3, 9, 0), (3, 9, 4)]),
        # Daylight time until 2 a.m., then standard time: the night window has 5 hours.
        ((11, 1), [(11, 1, 4), (11, 1, 9), (11, 1, 13), (11, 1, 17), (11, 1, 21), (11, 2, 1), (11, 2, 5)]),
        ((7, 7), [(7, 7, 4), (7, 7, 8), (7, 7, 12), (7, 7, 16), (7, 7, 20), (7, 8, 0), (7, 8, 4)]),
        ((1, 7), [(1, 7, 5), (1, 7, 9), (1, 7, 13), (1, 7, 17), (1, 7, 21), (1, 8, 1), (1, 8, 5)]),
    ],
    ids=["clocks go forward", "clocks go back", "summer", "winter"],
)
def test_four_hour_windows_follow_new_york(
    day: tuple[int, int], expected: list[tuple[int, int, int]]
) -> None:
    """Four-hour windows start at 0, 4, 8 ... of Eastern wall time, on the days of change too."""
    seconds = [utc(*moment) for moment in expected]
    assert day == expected[0][:2]
    slugs = expected_slugs("4h", seconds[0] * NS, (seconds[-1] + 1) * NS)
    assert starts(slugs) == seconds


def test_four_hour_slug_of_the_fact_sheet() -> None:
    """The slug that a client recorded for 8 p.m. Eastern is the computed one."""
    start_ns = 1_786_838_400 * NS
    assert expected_slugs("4h", start_ns, start_ns + 1) == ["btc-updown-4h-1786838400"]


def eastern_offset(moment: datetime) -> int:
    """Hours from UTC to Eastern time in 2026, by the rule of the law: the code's zone file is not asked."""
    summer = datetime(2026, 3, 8, 7, tzinfo=UTC) <= moment < datetime(2026, 11, 1, 6, tzinfo=UTC)
    return -4 if summer else -5


YEAR = [datetime(2026, 1, 1, 5, tzinfo=UTC) + timedelta(hours=hour) for hour in range(364 * 24)]
FOUR_HOUR_STARTS = [
    int(moment.timestamp())
    for moment in YEAR
    if (moment + timedelta(hours=eastern_offset(moment))).hour % 4 == 0
]


def test_four_hour_windows_of_a_year() -> None:
    """Over a year the windows are those of the wall clock by the law, one after the other."""
    slugs = expected_slugs("4h", FOUR_HOUR_STARTS[0] * NS, FOUR_HOUR_STARTS[-1] * NS + 1)
    assert starts(slugs) == FOUR_HOUR_STARTS


@given(
    from_ns=st.integers(FOUR_HOUR_STARTS[6] * NS, FOUR_HOUR_STARTS[-60] * NS),
    span_ns=st.integers(1, 100 * 3600 * NS),
)
def test_four_hour_windows_overlap_the_span(from_ns: int, span_ns: int) -> None:
    """Exactly the windows that overlap the span are expected, to the nanosecond."""
    until_ns = from_ns + span_ns
    bounds = itertools.pairwise(FOUR_HOUR_STARTS)
    overlapping = [start for start, end in bounds if start * NS < until_ns and end * NS > from_ns]
    assert starts(expected_slugs("4h", from_ns, until_ns)) == overlapping


def test_window_that_starts_within_the_last_second() -> None:
    """A span that ends half a second into a window asks for that window."""
    start = utc(7, 7, 8)
    assert starts(expected_slugs("4h", start * NS - 1, start * NS + NS // 2)) == [start - 4 * 3600, start]


@pytest.mark.parametrize("window", ["1h", "1d"])
def test_slugs_that_cannot_be_computed(window: str) -> None:
    """Hourly and daily slugs changed their form over time, so none is ever guessed."""
    assert expected_slugs(window, 0, 10**18) == []


@pytest.mark.parametrize(
    ("slug", "expected"),
    [
        ("btc-updown-5m-1773307200", ("5m", 1_773_307_200 * NS)),
        ("btc-updown-15m-1773307800", ("15m", 1_773_307_800 * NS)),
        ("btc-updown-4h-1786838400", ("4h", 1_786_838_400 * NS)),
        ("bitcoin-up-or-down-july-7-2026-12am-et", ("1h", None)),
        ("bitcoin-up-or-down-january-23-1pm-et", ("1h", None)),
        ("bitcoin-up-or-down-on-june-15-2026", ("1d", None)),
        ("bitcoin-up-or-down-on-june-15", ("1d", None)),
    ],
)
def test_slugs_of_btc_windows_are_recognised(slug: str, expected: tuple[str, int | None]) -> None:
    """Slugs of all five series, old and new forms, tell their window and what they hold of its start."""
    assert window_of_slug(slug) == expected


@pytest.mark.parametrize(
    "slug",
    [
        "eth-updown-5m-1773307200",
        "btc-updown-1m-1773307200",
        "btc-updown-5m-1773307200-2",
        "btc-updown-5m-",
        "btc-updown-5m-9999999999999999",
        "my-btc-updown-5m-1773307200",
        "bitcoin-up-or-down",
        "bitcoin-up-or-down-on-june",
        "bitcoin-up-or-down-july-7-2026-12am",
        "ethereum-up-or-down-july-7-2026-12am-et",
        "bitcoin-above-100k-on-june-15",
        "",
    ],
)
def test_unrelated_slugs_are_not(slug: str) -> None:
    """Other coins, other questions and mangled slugs are no BTC window."""
    assert window_of_slug(slug) is None


def test_recorded_slugs_are_recognised() -> None:
    """Each market of a recorded day has the slug of a 5m window at its own start."""
    markets = payloads.closed_markets()
    seen = [window_of_slug(market["slug"]) for market in markets]
    assert seen == [("5m", int(market["slug"][-10:]) * NS) for market in markets]


@given(window=st.sampled_from(["5m", "15m", "4h"]), from_ns=MOMENTS)
def test_expected_slugs_are_recognised(window: str, from_ns: int) -> None:
    """What is computed is recognised, as the same window and start."""
    slugs = expected_slugs(window, from_ns, from_ns + 1)
    assert [window_of_slug(slug) for slug in slugs] == [(window, starts(slugs)[0] * NS)]


def test_window_lengths_allow_for_the_change_of_clocks() -> None:
    """Only windows on Eastern wall time may be an hour longer or shorter."""
    hours = {name: (series.shortest_ns, series.longest_ns) for name, series in SERIES.items()}
    assert {name: (short / NS / 3600, long / NS / 3600) for name, (short, long) in hours.items()} == {
        "5m": (1 / 12, 1 / 12),
        "15m": (1 / 4, 1 / 4),
        "1h": (1, 1),
        "4h": (3, 5),
        "1d": (23, 25),
    }
