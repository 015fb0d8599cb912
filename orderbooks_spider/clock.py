"""Wall and monotonic time behind one ``Clock``; the only module that asks the system for the time.

Wall time says *when* (UTC, integer nanoseconds since the epoch), monotonic time says *how long*.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

NS = 1_000_000_000
"""Nanoseconds in a second."""

TIMER_SECONDS = 0.0015
"""How late a timer of the event loop may be on an idle machine."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the collector and the sandbox ask of time."""

    def wall_ns(self) -> int:
        """UTC now, nanoseconds since the epoch; may step."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary moment; never steps."""

    async def sleep(self, seconds: float) -> None:
        """Let *seconds* of this clock pass, and perhaps a millisecond or two more."""

    async def sleep_exactly(self, seconds: float) -> None:
        """Let *seconds* of this clock pass, for the price of some processor time."""

    def timer_seconds(self, seconds: float) -> float:
        """How long a timer of the event loop, and so of any library, takes for *seconds* of this clock."""


class SystemClock:
    """The host's clocks."""

    def wall_ns(self) -> int:
        """``CLOCK_REALTIME``."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """``CLOCK_MONOTONIC``."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)

    async def sleep_exactly(self, seconds: float) -> None:
        """Sleep, and at the end ask the clock again and again while the loop serves everybody else.

        Timers of the event loop count in whole milliseconds, rounded up (``epoll_wait(2)``).
        """
        end_ns = self.monotonic_ns() + round(seconds * NS)
        if seconds > TIMER_SECONDS:
            await asyncio.sleep(seconds - TIMER_SECONDS)
        while self.monotonic_ns() < end_ns:  # noqa: ASYNC110 - nobody but the clock knows the moment
            await asyncio.sleep(0)

    def timer_seconds(self, seconds: float) -> float:
        """The same: timers follow the host's clock."""
        return seconds


def iso_utc(ns: int) -> str:
    """``1776328503018000000`` -> ``2026-04-16T08:35:03.018000Z`` (microseconds, always six digits)."""
    seconds, rest = divmod(ns, NS)
    return f"{_iso_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=64)
def _iso_second(seconds: int) -> str:
    """Text of a whole second, of which many rows share the few latest."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def compact_utc(ns: int) -> str:
    """``1776328503018000000`` -> ``20260416T083503Z``: the form in file names."""
    return (_EPOCH + timedelta(seconds=ns // NS)).strftime("%Y%m%dT%H%M%SZ")


def parse_utc(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 text with a zone.

    Takes the venue's three forms: ``2026-03-12T09:20:00Z``, the same with a fraction, and
    ``2026-06-08 00:00:16+00`` (``closedTime``).

    Raises:
        ValueError: *text* is not a time, has no zone, or lies outside the years 1 to 9999.

    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        delta = moment.astimezone(UTC) - _EPOCH
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from error
    return (delta.days * 86_400 + delta.seconds) * NS + delta.microseconds * 1000
