"""A UTC day and its parts: hours, and the columns of a picture over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.clock import NS, iso_utc, parse_utc

DAY_NS: Final = 24 * HOUR_NS
COLUMNS: Final = 720
"""A picture over time has at most so many columns: two minutes each over a whole day."""
_STEPS: Final = tuple(
    seconds * NS for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
)
"""Widths of a column; each divides an hour, so that no column lies in two hours."""


@dataclass(frozen=True, slots=True)
class Day:
    """Midnight to midnight in UTC."""

    date: str
    """``2026-04-16``."""
    from_ns: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The day that *text* names as ``YYYY-MM-DD``.

        Raises:
            ValueError: it names none.

        """
        try:
            from_ns = parse_utc(f"{text}T00:00:00Z")
        except ValueError as error:
            raise ValueError(f"expected a day as YYYY-MM-DD, saw {text!r}") from error
        if iso_utc(from_ns)[:10] != text:
            raise ValueError(f"expected a day as YYYY-MM-DD, saw {text!r}")
        return cls(text, from_ns)

    @property
    def until_ns(self) -> int:
        """The next midnight."""
        return self.from_ns + DAY_NS

    def holds(self, time_ns: int) -> bool:
        """Whether *time_ns* lies in it."""
        return self.from_ns <= time_ns < self.until_ns

    def touches(self, first_ns: int, last_ns: int) -> bool:
        """Whether any of ``[first_ns, last_ns]`` lies in it."""
        return first_ns < self.until_ns and last_ns >= self.from_ns


def dates_of(spans: list[tuple[int, int]]) -> list[str]:
    """The dates that the spans ``[first, last]`` touch, in order."""
    days = {day for first, last in spans for day in range(first // DAY_NS, last // DAY_NS + 1)}
    return [iso_utc(day * DAY_NS)[:10] for day in sorted(days)]


@dataclass(frozen=True, slots=True)
class Axis:
    """The time axis of a picture: equal columns over ``[from_ns, until_ns)``."""

    from_ns: int
    until_ns: int
    step_ns: int

    @classmethod
    def over(cls, first_ns: int, last_ns: int, interval_ns: int) -> Self:
        """An axis that shows slots due from *first_ns* to *last_ns*, *interval_ns* apart.

        Its columns are as narrow as they may be, and never narrower than the interval, or some would
        have no slot in them.
        """
        for step_ns in _STEPS:
            from_ns, until_ns = first_ns // step_ns * step_ns, (last_ns // step_ns + 1) * step_ns
            if step_ns >= interval_ns and until_ns - from_ns <= COLUMNS * step_ns:
                break
        return cls(from_ns, until_ns, step_ns)

    @property
    def columns(self) -> int:
        """How many."""
        return (self.until_ns - self.from_ns) // self.step_ns

    def column(self, time: str) -> pl.Expr:
        """The number of the column in which the time of the frame's column *time* lies."""
        return ((pl.col(time) - self.from_ns) // self.step_ns).cast(pl.Int32)
