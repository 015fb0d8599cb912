"""The five BTC up/down series: when their windows start and end, and what they are called.

Facts: section 2.2 of the venue's fact sheet. 4h and 1d windows follow New York wall time, so they
are an hour shorter or longer where daylight saving changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_NEW_YORK = ZoneInfo("America/New_York")
_FIXED_SECONDS = {"5m": 300, "15m": 900, "1h": 3600}
_WALL_HOURS = {"4h": (0, 4, 8, 12, 16, 20), "1d": (12,)}


@dataclass(frozen=True, slots=True)
class Series:
    """One family of markets as ``/series`` shows it; ``lead_seconds`` is how early a market is listed."""

    id: str
    slug: str
    title: str
    kind: str
    recurrence: str
    created: str
    lead_seconds: int
    resolution_source: str


@dataclass(frozen=True, slots=True)
class Window:
    """A span that a market asks about: UTC seconds since the epoch, end exclusive."""

    start_s: int
    end_s: int


_CHAINLINK = "https://data.chain.link/streams/btc-usd-twap-60s-streams"
_BINANCE = "https://www.binance.com/en/trade/BTC_USDT"
_DAY_AHEAD = 86_040  # 23.9 hours: measured for 5m; the other lead times are not known
_TWO_DAYS_AHEAD = 163_800  # 45.5 hours: one hourly market was seen so

SERIES = (
    Series(
        id="10684",
        slug="btc-up-or-down-5m",
        title="BTC Up or Down 5m",
        kind="5m",
        recurrence="5m",
        created="2025-11-21T21:46:22.201627Z",
        lead_seconds=_DAY_AHEAD,
        resolution_source=_CHAINLINK,
    ),
    Series(
        id="10192",
        slug="btc-up-or-down-15m",
        title="BTC Up or Down 15m",
        kind="15m",
        recurrence="15m",
        created="2025-09-12T16:05:41.118204Z",
        lead_seconds=_DAY_AHEAD,
        resolution_source=_CHAINLINK,
    ),
    Series(
        id="10114",
        slug="btc-up-or-down-hourly",
        title="BTC Up or Down Hourly",
        kind="1h",
        recurrence="hourly",
        created="2025-06-23T19:12:08.524411Z",
        lead_seconds=_TWO_DAYS_AHEAD,
        resolution_source=_BINANCE,
    ),
    Series(
        id="10331",
        slug="btc-up-or-down-4h",
        title="BTC Up or Down 4h",
        kind="4h",
        recurrence="4h",
        created="2025-10-14T15:30:17.730986Z",
        lead_seconds=_DAY_AHEAD,
        resolution_source=_CHAINLINK,
    ),
    Series(
        id="41",
        slug="btc-up-or-down-daily",
        title="BTC Up or Down Daily",
        kind="1d",
        recurrence="daily",
        created="2024-08-27T14:58:30.902713Z",
        lead_seconds=_DAY_AHEAD,
        resolution_source=_BINANCE,
    ),
)


def listed_ahead(hours: float) -> tuple[Series, ...]:
    """Give the series with 5-minute markets listed so many hours ahead: 24 more tokens with each hour.

    Nothing else about a market changes. At the venue it is about 24 hours.
    """
    return tuple(
        replace(series, lead_seconds=round(hours * 3600)) if series.kind == "5m" else series
        for series in SERIES
    )


def window_at(kind: str, t_s: int) -> Window:
    """Give the window of *kind* that holds *t_s* (UTC seconds)."""
    if kind in _FIXED_SECONDS:
        length = _FIXED_SECONDS[kind]
        start = t_s - t_s % length
        return Window(start, start + length)
    today = datetime.fromtimestamp(t_s, _NEW_YORK).date()
    bounds = [
        _wall(today + timedelta(days=shift), hour) for shift in (-1, 0, 1) for hour in _WALL_HOURS[kind]
    ]
    start = max(bound for bound in bounds if bound <= t_s)
    return Window(start, min(bound for bound in bounds if bound > t_s))


def slug_of(kind: str, window: Window) -> str:
    """Give the event's slug, which is also its market's.

    The hour that is repeated when daylight saving ends would take the slug of the one before it;
    the venue adds a number to a slug that is taken, so the second becomes ``…-1am-et-2``
    (what it really does that night has not been recorded).
    """
    start = datetime.fromtimestamp(window.start_s, _NEW_YORK)
    if kind == "1h":
        again = "-2" if start.fold else ""
        return f"bitcoin-up-or-down-{_day_words(start)}-{_hour(start).lower()}-et{again}"
    if kind == "1d":
        end = datetime.fromtimestamp(window.end_s, _NEW_YORK)
        return f"bitcoin-up-or-down-on-{_day_words(end)}"
    return f"btc-updown-{kind}-{window.start_s}"


def title_of(kind: str, window: Window) -> str:
    """Give the question as people read it, in New York time."""
    start = datetime.fromtimestamp(window.start_s, _NEW_YORK)
    end = datetime.fromtimestamp(window.end_s, _NEW_YORK)
    if kind == "1d":
        return f"Bitcoin Up or Down on {end:%B} {end.day}?"
    if kind == "1h":
        return f"Bitcoin Up or Down - {start:%B} {start.day}, {_hour(start)} ET"
    return f"Bitcoin Up or Down - {start:%B} {start.day}, {_minute(start)}-{_minute(end)} ET"


def iso_seconds(t_s: int) -> str:
    """``1773307200`` -> ``2026-03-12T09:20:00Z``."""
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _wall(day: date, hour: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=_NEW_YORK).timestamp())


def _day_words(moment: datetime) -> str:
    return f"{moment:%B}-{moment.day}-{moment.year}".lower()


def _hour(moment: datetime) -> str:
    return f"{moment.hour % 12 or 12}{'AM' if moment.hour < 12 else 'PM'}"


def _minute(moment: datetime) -> str:
    return f"{moment.hour % 12 or 12}:{moment:%M}{'AM' if moment.hour < 12 else 'PM'}"
