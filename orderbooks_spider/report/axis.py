"""The time axis of a picture: equal columns, none of which lies in two hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from orderbooks_spider.clock import NS

COLUMNS: Final = 720
"""A picture over time has at most so many columns: two minutes each over a whole day."""
_STEPS: Final = tuple(
    seconds * NS for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
)
"""Widths of a column; each divides an hour, so that no column lies in two hours."""


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
