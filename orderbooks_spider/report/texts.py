"""Numbers as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS, iso_utc

if TYPE_CHECKING:
    from decimal import Decimal

    from orderbooks_spider.report.numbers import Coverage

NONE = "none"


def duration(ns: int) -> str:
    """``1500000`` -> ``1.5 ms``: three digits, and the unit that suits them."""
    for unit, size in (("s", NS), ("ms", 1_000_000), ("µs", 1000)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}" if abs(ns) < 1000 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns} ns"


def time(ns: int | None) -> str:
    """A duration that there may not be."""
    return NONE if ns is None else duration(ns)


def clock(time_ns: int) -> str:
    """The time of the day: ``08:35:03``."""
    return iso_utc(time_ns)[11:19]


def percent(coverage: Coverage) -> str:
    """``99.93 %``: rounded down, so that 100 % is said of nothing less."""
    if not coverage.planned:
        return NONE
    return f"{coverage.answered * 10_000 // coverage.planned / 100:.2f} %"


def cents(price: Decimal | None) -> str:
    """``0.0150`` -> ``1.5 ¢``."""
    return NONE if price is None else f"{(price * 100).normalize():f} ¢"
