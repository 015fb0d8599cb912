"""A UTC day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.clock import iso_utc, parse_utc

DAY_NS: Final = 24 * HOUR_NS


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
