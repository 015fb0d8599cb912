"""When the venue asks us to wait: pure, in monotonic nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from orderbooks_spider.clock import NS, parse_utc

FIRST_PAUSE_NS = 1 * NS
LONGEST_PAUSE_NS = 60 * NS
"""Bounds of our own pause where a 429 names no time: doubled while refusals go on."""
LONGEST_HEEDED_NS = 600 * NS
"""A longer ``Retry-After`` is cut to this: ten minutes later one poll asks again."""


def retry_after_ns(value: str | None, wall_ns: int) -> int | None:
    """The wait that a ``Retry-After`` asks for, as seconds or a date; ``None`` if unreadable (RFC 9110)."""
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            return int(value) * NS
        return max(0, parse_utc(parsedate_to_datetime(value).isoformat()) - wall_ns)
    except (TypeError, ValueError):
        return None


@dataclass(slots=True)
class HostPause:
    """Whether the order-book host is left alone for now, and since how many refusals."""

    until_ns: int = 0
    refusals: int = 0

    def holds(self, monotonic_ns: int) -> bool:
        """Whether nothing may be sent now."""
        return monotonic_ns < self.until_ns

    def refused(self, asked_ns: int | None, monotonic_ns: int) -> bool:
        """Note a refusal that asked to wait *asked_ns*; ``True`` if this began a pause."""
        began = not self.holds(monotonic_ns)
        if began:
            self.refusals += 1
        own_ns = min(FIRST_PAUSE_NS << min(max(self.refusals - 1, 0), 10), LONGEST_PAUSE_NS)
        # Nothing, or less than our shortest pause (a date that our clock has passed), is no guidance.
        if asked_ns is None or asked_ns < FIRST_PAUSE_NS:
            wait_ns = own_ns
        else:
            wait_ns = min(asked_ns, LONGEST_HEEDED_NS)
        self.until_ns = max(self.until_ns, monotonic_ns + wait_ns)
        return began

    def answered(self) -> None:
        """Note an answer: the next pause starts short again."""
        self.refusals = 0
