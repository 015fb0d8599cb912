"""Which unanswered slots a scheduled fault explains: by when they were due, and by their cause.

A slot is explained if its cause fits the kind of fault and it was due within the fault, shortly before (a
poll that was under way when the fault began) or in the aftermath that is stated here.  Nothing else is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from orderbooks_spider.clock import NS
from orderbooks_spider.soak.record import NOT_INJECTED
from orderbooks_spider.throttle import LONGEST_PAUSE_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orderbooks_spider.soak.record import SoakRecord

RESTART_SECONDS: Final = 30.0
"""Real seconds from a death of the collector, or from its first start, to its first answer."""
DISCOVERY_SECONDS: Final = 60.0
"""On the archive's clock: behind the first answer the markets of the other windows may be found so late."""
SETTLE_SECONDS: Final = 2.0
"""Real seconds in which a process notices what has changed."""
_PAUSE: Final = LONGEST_PAUSE_NS / NS


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of fault explains."""

    name: str
    causes: tuple[str, ...]
    """``result/reason``; a result alone stands for all its reasons."""
    after_seconds: float
    """Aftermath on the archive's clock."""
    after_real_seconds: float
    """And on the host's own clock, on top: in an accelerated soak it takes longer by the archive's."""
    why: str


KINDS: Final = (
    Kind(
        "start", ("not_discovered", "skipped/late"), 0, RESTART_SECONDS,
        "the planned start: slots count from it on, and the markets are to be found first; ends a minute "
        "behind the first answer",
    ),
    Kind(
        "stop", ("skipped/shutdown", "process_down"), 0, SETTLE_SECONDS,
        "the planned end: polls under way are given up",
    ),
    Kind(
        "kill", ("process_down", "not_discovered", "skipped/shutdown", "skipped/late"), 0, RESTART_SECONDS,
        "no process until the next one has found the markets; ends a minute behind the first answer",
    ),
    Kind(
        "outage",
        ("connection", "timeout", "http_error", "invalid_body/truncated", "skipped/in_flight",
         "skipped/paused", "not_discovered"),
        _PAUSE, SETTLE_SECONDS,
        "the venue does not answer; a 503 may ask to wait, and discovery tries again within a minute",
    ),
    Kind(
        "throttle", ("throttled", "skipped/paused"), _PAUSE, SETTLE_SECONDS,
        "429, and the pause that it asks for",
    ),
    Kind(
        "slow", ("timeout", "skipped/in_flight"), 0, SETTLE_SECONDS,
        "answers take longer than the timeout, or than the interval",
    ),
    Kind(
        "clock_step", ("skipped/late", "not_discovered"), 0, SETTLE_SECONDS,
        "slots that the clock jumped over: as long before and after as the largest step in the archive",
    ),
    Kind(
        "disk_full", ("skipped/disk_full", "not_discovered"), 0, SETTLE_SECONDS,
        "storage takes no rows, and polling pauses",
    ),
    Kind("upload_outage", (), 0, 0, "the uploader alone meets it: no slot may be lost"),
)  # fmt: skip
"""In the order of the page."""
_BY_NAME: Final = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Span:
    """A fault, or a planned start or stop, with the time in which it may cost slots."""

    kind: Kind
    detail: str
    begin_ns: int
    end_ns: int
    from_ns: int
    until_ns: int
    """Due times, both included."""

    def within(self) -> pl.Expr:
        """Whether it explains a slot (``due_ns``, ``result``, ``reason``) that was due while it lasted."""
        return self._fits(self.begin_ns, self.end_ns)

    def behind(self) -> pl.Expr:
        """Whether it explains a slot in its aftermath."""
        return self._fits(self.end_ns, self.until_ns)

    def before(self) -> pl.Expr:
        """Whether it explains a slot whose poll was under way when it began."""
        return self._fits(self.from_ns, self.begin_ns)

    def _fits(self, low_ns: int, high_ns: int) -> pl.Expr:
        cause = pl.lit(value=False)
        for name in self.kind.causes:
            result, _, reason = name.partition("/")
            one = pl.col("result") == result
            cause |= one & pl.col("reason").eq_missing(pl.lit(reason)) if reason else one
        return pl.col("due_ns").is_between(low_ns, high_ns) & cause


def moments_of(record: SoakRecord) -> list[int]:
    """Moments from which on a collector has to come (back), so that its first answer bounds an aftermath."""
    kills = [fault.begin_ns for fault in record.faults if fault.kind == "kill"]
    return kills if record.attached or not record.starts else [record.starts[0].begin_ns, *kills]


def spans_of(
    record: SoakRecord,
    slack_ns: int,
    largest_step_ns: int,
    first_answers: Mapping[int, int],
    asked_to_stop_ns: int | None = None,
) -> list[Span]:
    """What the schedule of a soak may explain, in order of time.

    Args:
        record: what was run; a collector that was only watched has no planned start or stop.
        slack_ns: how long a poll may be under way, which is a timeout and an interval.
        largest_step_ns: the largest step of the clock, without sign, that the archive's rows tell.
        first_answers: for each of :func:`moments_of` the due time of the first answered slot from then on.
        asked_to_stop_ns: when the last run says that it stopped; its process ends only when its files are
            sealed, which in an accelerated soak is long after.

    """
    found: list[tuple[str, str, int, int]] = [
        (fault.kind, fault.detail, fault.begin_ns, fault.end_ns)
        for fault in record.faults
        if not fault.detail.startswith(NOT_INJECTED)
    ]
    if not record.attached and record.starts:
        first, last = record.starts[0], record.starts[-1]
        found.append(("start", "first start of the collector", first.begin_ns, first.begin_ns))
        if last.end_ns is not None and last.exit_status == 0:
            asked_ns = last.end_ns if asked_to_stop_ns is None else min(asked_to_stop_ns, last.end_ns)
            found.append(("stop", "stopped as asked", asked_ns, last.end_ns))
    spans = []
    for name, detail, begin_ns, end_ns in found:
        kind = _BY_NAME[name]
        around_ns = slack_ns + (largest_step_ns if name == "clock_step" else 0)
        until_ns = end_ns + round((kind.after_seconds + kind.after_real_seconds * record.speed) * NS)
        if name in {"start", "kill"} and begin_ns in first_answers:
            until_ns = min(until_ns, first_answers[begin_ns] + round(DISCOVERY_SECONDS * NS))
        spans.append(Span(kind, detail, begin_ns, end_ns, begin_ns - around_ns, until_ns + around_ns))
    return sorted(spans, key=lambda span: (span.begin_ns, span.end_ns, span.kind.name))


def explained_by(spans: Sequence[Span]) -> pl.Expr:
    """The number of the span that explains a slot, -1: none.

    One that it lies in comes before one in whose aftermath it lies, and of these the latest counts.
    """
    numbered = list(enumerate(spans))
    claims = [(number, span.within()) for number, span in numbered]
    claims += [(number, span.behind()) for number, span in reversed(numbered)]
    claims += [(number, span.before()) for number, span in numbered]
    found = pl.lit(-1, pl.Int32)
    for number, claim in reversed(claims):
        found = pl.when(claim).then(pl.lit(number, pl.Int32)).otherwise(found)
    return found
