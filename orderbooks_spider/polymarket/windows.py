"""The BTC up/down series, and the windows that must exist by the calendar.

Five- and fifteen-minute windows start at multiples of their length; four-hour windows follow the wall
clock of US Eastern time, so their UTC phase moves with daylight saving.  Slugs of hourly and daily
markets changed their form over time: those are found by series only (fact sheet, section 2.2).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from orderbooks_spider.clock import NS

EASTERN = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class Series:
    """A family of markets with one window length; ``fallback_id`` is used where the look-up fails."""

    window: str
    slug: str
    fallback_id: str
    shortest_ns: int
    longest_ns: int
    """Shortest and longest window: daylight saving makes a 4h or 1d window an hour shorter or longer."""


SERIES = {
    "5m": Series("5m", "btc-up-or-down-5m", "10684", 300 * NS, 300 * NS),
    "15m": Series("15m", "btc-up-or-down-15m", "10192", 900 * NS, 900 * NS),
    "1h": Series("1h", "btc-up-or-down-hourly", "10114", 3600 * NS, 3600 * NS),
    "4h": Series("4h", "btc-up-or-down-4h", "10331", 3 * 3600 * NS, 5 * 3600 * NS),
    "1d": Series("1d", "btc-up-or-down-daily", "41", 23 * 3600 * NS, 25 * 3600 * NS),
}

_SLUG_FORMS = (
    (re.compile(r"btc-updown-(5m|15m|4h)-(\d{9,11})"), None),
    (re.compile(r"bitcoin-up-or-down-on-[a-z]+-\d+(-\d{4})?"), "1d"),
    (re.compile(r"bitcoin-up-or-down-[a-z]+-\d+(-\d{4})?-\d{1,2}(am|pm)-et(-\d+)?"), "1h"),
)


def window_of_slug(slug: str) -> tuple[str, int | None] | None:
    """Window label and, where the slug tells it, the start in ns; ``None`` for any other market."""
    for form, label in _SLUG_FORMS:
        if matched := form.fullmatch(slug):
            return (label, None) if label else (matched[1], int(matched[2]) * NS)
    return None


def expected_slugs(window: str, from_ns: int, until_ns: int) -> list[str]:
    """Slugs of the windows that overlap ``[from_ns, until_ns)``; empty where slugs cannot be computed."""
    if window in {"5m", "15m"}:
        length = SERIES[window].longest_ns
        starts = range(from_ns // length * length, until_ns, length)
        return [f"btc-updown-{window}-{start // NS}" for start in starts]
    if window == "4h":
        return [f"btc-updown-4h-{start}" for start in _four_hour_starts(from_ns // NS, -(-until_ns // NS))]
    return []


def ended_slugs(window: str, from_ns: int, until_ns: int) -> list[str] | None:
    """Slugs of the windows whose end lies in ``[from_ns, until_ns)``; ``None``: they cannot be computed."""
    if window not in {"5m", "15m", "4h"}:
        return None
    open_then = set(expected_slugs(window, until_ns - 1, until_ns))
    return [slug for slug in expected_slugs(window, from_ns - 1, until_ns) if slug not in open_then]


def _four_hour_starts(from_s: int, until_s: int) -> list[int]:
    day = datetime.fromtimestamp(from_s, EASTERN).date() - timedelta(days=1)
    last = datetime.fromtimestamp(until_s, EASTERN).date()
    starts: list[int] = []
    while day <= last + timedelta(days=1):
        for hour in range(0, 24, 4):
            moment = datetime(day.year, day.month, day.day, hour, tzinfo=EASTERN)
            starts.append(int(moment.astimezone(UTC).timestamp()))
        day += timedelta(days=1)
    return [start for start, end in itertools.pairwise(starts) if start < until_s and end > from_s]
