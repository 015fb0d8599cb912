"""The numbers that a verdict is made of, the collector's own or a look from outside; ``None``: not known."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orderbooks_spider.pulse import TokenPulse


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that are polled now and have been without an answer, for one cause."""

    cause: str
    """``result/reason`` of the first slot without an answer, or ``process_down``, ``no_row``."""
    from_ns: int
    """The earliest of those slots."""
    seconds: float
    """How long the longest has lasted."""
    tokens: int
    markets: list[str]


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """One collector, now.  Counts are of the last five minutes."""

    running: bool
    ended: str = ""
    """How it ended, where it does not run."""
    uptime_seconds: float | None = None
    beat_seconds: float | None = None
    """Age of the health file."""
    undurable_seconds: float | None = None
    """For so long stored rows have not been flushed, over and above ``archive.fsync_seconds``."""
    planned: int | None = 0
    """``None``: nobody could count."""
    answered: int = 0
    throttled: int = 0
    gaps: list[Gap] = []
    lateness_p99_ms: float | None = None
    problems: dict[str, str] = {}
    clock_synchronised: bool | None = None


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The file system of the archive root."""

    free_bytes: int
    min_free_bytes: int | None = None
    """The largest ``archive.min_free_bytes`` of the root's collectors."""
    bytes_per_day: int | None = None
    """Sealed per day, by the last day; ``None``: less than an hour is sealed."""
    days_left: float | None = None
    """Until polling pauses, if nothing is purged."""


class Offload(msgspec.Struct, frozen=True, kw_only=True):
    """Sealed segments that lie here without proof that a remote holds them."""

    segments: int
    bytes: int
    oldest_seconds: float | None
    """Since the oldest was sealed."""
    in_use: bool
    """Whether anything was ever offloaded from this root."""


def gaps_of(tokens: Iterable[TokenPulse], interval_ns: int, least_ns: int) -> list[Gap]:
    """The open gaps that have lasted *least_ns* and more, by cause, longest first."""
    by_cause: defaultdict[str, list[TokenPulse]] = defaultdict(list)
    for token in tokens:
        if token.gap_from_ns is not None and token.due_ns + interval_ns - token.gap_from_ns >= least_ns:
            by_cause[token.gap_cause or "unknown"].append(token)
    found = [_gap(cause, members, interval_ns) for cause, members in by_cause.items()]
    return sorted(found, key=lambda gap: (-gap.seconds, gap.cause))


def _gap(cause: str, tokens: list[TokenPulse], interval_ns: int) -> Gap:
    longest_ns = max(token.due_ns + interval_ns - (token.gap_from_ns or 0) for token in tokens)
    return Gap(
        cause=cause,
        from_ns=min(token.gap_from_ns or 0 for token in tokens),
        seconds=longest_ns / 1e9,
        tokens=len(tokens),
        markets=sorted({token.market_slug for token in tokens}),
    )
