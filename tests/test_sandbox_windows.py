"""Windows of the five series, above all on the two days when New York changes its clocks."""

from __future__ import annotations

import itertools
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from orderbooks_spider.sandbox.windows import Window, slug_of, title_of, window_at

NEW_YORK = ZoneInfo("America/New_York")


def at(*fields: int, fold: int = 0) -> int:
    """UTC seconds of a New York wall time."""
    return int(datetime(*fields, tzinfo=NEW_YORK, fold=fold).timestamp())  # type: ignore[arg-type, misc]


def windows_of(kind: str, begin: int, end: int) -> list[Window]:
    """All windows of a kind from *begin* on, until *end*."""
    found = [window_at(kind, begin)]
    while found[-1].end_s < end:
        found.append(window_at(kind, found[-1].end_s))
    return found


@pytest.mark.parametrize("kind", ["5m", "15m", "1h", "4h", "1d"])
@pytest.mark.parametrize("day", [(2026, 3, 7), (2026, 10, 31)])
def test_windows_join_without_gap_or_overlap(kind: str, day: tuple[int, int, int]) -> None:
    """Each window starts where the one before it ends, also across a change of the clocks."""
    begin = at(*day)
    found = windows_of(kind, begin, begin + 3 * 86_400)
    assert all(left.end_s == right.start_s for left, right in itertools.pairwise(found))
    assert all(window_at(kind, window.end_s - 1) == window for window in found)


def test_4h_windows_follow_the_wall_clock_when_it_springs_forward() -> None:
    """On 2026-03-08 the window from midnight to 4 AM lasts three hours, the others four."""
    found = windows_of("4h", at(2026, 3, 8), at(2026, 3, 9))
    assert [(window.end_s - window.start_s) // 3600 for window in found] == [3, 4, 4, 4, 4, 4]
    assert {datetime.fromtimestamp(window.start_s, NEW_YORK).hour for window in found} == {
        0,
        4,
        8,
        12,
        16,
        20,
    }


def test_4h_windows_follow_the_wall_clock_when_it_falls_back() -> None:
    """On 2026-11-01 the window from midnight to 4 AM lasts five hours."""
    found = windows_of("4h", at(2026, 11, 1), at(2026, 11, 2))
    assert [(window.end_s - window.start_s) // 3600 for window in found] == [5, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 8), 23), ((2026, 11, 1), 25), ((2026, 6, 15), 24)])
def test_daily_windows_last_from_noon_to_noon(day: tuple[int, int, int], hours: int) -> None:
    """A daily window ends at noon of the day in its slug, and is longer or shorter by the hour changed."""
    window = window_at("1d", at(*day, 11, 59))
    assert window.end_s == at(*day, 12)
    assert window.end_s - window.start_s == hours * 3600
    month = datetime(*day, tzinfo=NEW_YORK).strftime("%B").lower()
    assert slug_of("1d", window) == f"bitcoin-up-or-down-on-{month}-{day[2]}-{day[0]}"


def test_hourly_slugs_stay_unique_when_an_hour_comes_twice() -> None:
    """The hour repeated on 2026-11-01 has its own slug, and none is named for the hour missing in March."""
    autumn = [slug_of("1h", window) for window in windows_of("1h", at(2026, 11, 1), at(2026, 11, 2))]
    assert len(autumn) == len(set(autumn)) == 25
    assert "bitcoin-up-or-down-november-1-2026-1am-et" in autumn
    spring = [slug_of("1h", window) for window in windows_of("1h", at(2026, 3, 8), at(2026, 3, 9))]
    assert len(spring) == 23
    assert "bitcoin-up-or-down-march-8-2026-2am-et" not in spring


def test_slugs_and_titles_read_as_recorded_ones() -> None:
    """Slugs and titles equal those of recorded markets of the same windows."""
    recorded = window_at("5m", 1_773_307_200)
    assert slug_of("5m", recorded) == "btc-updown-5m-1773307200"
    assert title_of("5m", recorded) == "Bitcoin Up or Down - March 12, 5:20AM-5:25AM ET"
    four_hours = Window(1_786_838_400, 1_786_852_800)
    assert window_at("4h", 1_786_838_400) == four_hours
    assert slug_of("4h", four_hours) == "btc-updown-4h-1786838400"
    midnight = window_at("1h", at(2026, 7, 7))
    assert slug_of("1h", midnight) == "bitcoin-up-or-down-july-7-2026-12am-et"
