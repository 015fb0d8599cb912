"""When the venue asks us to wait, or slows us down without a word: pure, in monotonic nanoseconds."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from orderbooks_spider.clock import NS, parse_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

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


SPAN_NS = 10 * NS
"""Latency is judged by the median of such spans: the venue's limits are per ten seconds."""
CALM_SPANS = 30
"""The usual latency and load are the medians of so many calm spans, five minutes."""
CALM_SPANS_NEEDED = 3
SLOW_SPANS_NEEDED = 2
SLOW_FACTOR = 3
SLOW_LEAST_NS = 50_000_000
"""A span is slow above this multiple of the usual latency, and this much above it."""
LOAD_FACTOR = 1.25
"""A span with more answers than this multiple of the usual was slowed by our own load, perhaps."""
NEW_NORMAL_SPANS = 60
"""After so many slow spans, ten minutes, the slowness is the venue's new usual latency."""


class LatencyWatch:
    """Notices rising latency at constant load.

    Over its limit the venue delays requests before it refuses any (fact sheet, section 8), so slow
    answers are the first sign of it.  They are only a sign: a slow venue or network looks the same.
    """

    def __init__(self) -> None:
        self._began_ns: int | None = None
        self._latencies: list[int] = []
        self._calm: deque[tuple[int, int]] = deque(maxlen=CALM_SPANS)
        """(median latency, answers) of the last calm spans."""
        self._slow_spans = 0

    def add(self, elapsed_ns: int, now_ns: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Note an answer, or a timeout; yields (event, detail) where a span ends that changes the picture."""
        if self._began_ns is None:
            self._began_ns = now_ns
        if now_ns - self._began_ns >= SPAN_NS:
            yield from self._judge(round(statistics.median_low(self._latencies)), len(self._latencies))
            self._began_ns, self._latencies = now_ns, []
        self._latencies.append(elapsed_ns)

    def _judge(self, median_ns: int, answers: int) -> Iterator[tuple[str, dict[str, Any]]]:
        if len(self._calm) < CALM_SPANS_NEEDED:
            self._calm.append((median_ns, answers))
            return
        usual_ns = statistics.median_low(latency for latency, _ in self._calm)
        load = statistics.median_low(count for _, count in self._calm)
        slow = median_ns > max(SLOW_FACTOR * usual_ns, usual_ns + SLOW_LEAST_NS)
        suspected = self._slow_spans >= SLOW_SPANS_NEEDED
        detail = {"median_ns": median_ns, "answers": answers, "usual_ns": usual_ns, "usual_answers": load}
        if not slow or self._slow_spans >= NEW_NORMAL_SPANS:
            if suspected:
                yield "throttle_over", detail | {"slow_for_ns": self._slow_spans * SPAN_NS}
            if slow:
                self._calm.clear()
            self._slow_spans = 0
            self._calm.append((median_ns, answers))
        elif suspected or answers <= LOAD_FACTOR * load:
            self._slow_spans += 1
            if self._slow_spans == SLOW_SPANS_NEEDED:
                yield "throttle_suspected", detail
