"""The health file: what a running collector says of itself every ten seconds, ``state/<id>.health.json``.

Whoever reads it must not trust it further than its age: ``written_ns`` says when it was true.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.pulse import TokenPulse, percentile_ms
from orderbooks_spider.status.verdict import GAP_SECONDS, GAP_SLOTS, Finding, State
from orderbooks_spider.status.vitals import Vitals, gaps_of

if TYPE_CHECKING:
    from orderbooks_spider.pulse import Minute
    from orderbooks_spider.run import Run

SCHEMA = "orderbooks.health/1"
INTERVAL_SECONDS = 10.0
_FORGET_SECONDS = 30.0
"""A token without a slot for so long, and for some intervals, is polled no more."""


class BeatMinute(msgspec.Struct, frozen=True):
    """What the slots of one minute came to."""

    from_utc: str
    slots: int
    answered: int
    results: dict[str, int]
    lateness_p99_ms: int | None


class Ping(msgspec.Struct):
    """What became of the dead-man pings, without their address."""

    sent: int = 0
    failed: int = 0
    last_ok_utc: str | None = None
    failing: str | None = None
    """Why the last one failed; ``None``: it did not."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The file; key order is the order on disk."""

    schema: str = SCHEMA
    collector_id: str
    run_id: str
    environment: str
    written_ns: int
    written_utc: str
    started_utc: str
    uptime_seconds: float
    state: State
    findings: list[Finding]
    undurable_seconds: float | None
    """For so long stored rows have not been flushed, over and above ``archive.fsync_seconds``."""
    last_minutes: list[BeatMinute]
    tokens: dict[str, TokenPulse]
    """Those that are polled now; times are those of slots."""
    problems: dict[str, str]
    loop_lag: dict[str, Any] | None
    """The newest ``loop_lag`` row's detail."""
    clock: dict[str, Any] | None
    """The newest ``clock_quality`` row's detail."""
    heads: dict[str, str | None]
    """Per feed the digest of the newest manifest."""
    ping: Ping | None


def vitals_of(run: Run) -> Vitals:
    """The numbers that a collector knows of itself."""
    polling, pulse, now_ns = run.config.polling, run.pulse, run.clock.wall_ns()
    interval_ns = polling.interval_ns
    idle_ns = max(round((_FORGET_SECONDS + polling.timeout_seconds) * NS), GAP_SLOTS * interval_ns)
    pulse.drop_before(now_ns - idle_ns)
    minutes = pulse.last_minutes(now_ns)
    lateness: Counter[int] = sum((minute.lateness_ms for minute in minutes), Counter())
    clock = pulse.readings.get("clock_quality", {})
    return Vitals(
        running=True,
        uptime_seconds=(now_ns - run.started_ns) / NS,
        undurable_seconds=_undurable_seconds(run),
        planned=sum(minute.results.total() for minute in minutes),
        answered=sum(minute.answered for minute in minutes),
        throttled=sum(minute.results["throttled"] for minute in minutes),
        gaps=gaps_of(pulse.tokens.values(), interval_ns, least_gap_ns(interval_ns)),
        lateness_p99_ms=percentile_ms(lateness, 0.99),
        problems={name: problem.text for name, problem in pulse.problems.items()},
        clock_synchronised=clock.get("synchronised"),
    )


def least_gap_ns(interval_ns: int) -> int:
    """How long a token must be without an answer to have a gap."""
    return max(round(GAP_SECONDS * NS), GAP_SLOTS * interval_ns)


def beat_of(run: Run, vitals: Vitals, state: State, findings: list[Finding], ping: Ping | None) -> Beat:
    """The file's content, to be encoded before the next row changes it."""
    now_ns, pulse = run.clock.wall_ns(), run.pulse
    return Beat(
        collector_id=run.config.archive.collector_id,
        run_id=run.run_id,
        environment=run.config.environment,
        written_ns=now_ns,
        written_utc=iso_utc(now_ns),
        started_utc=iso_utc(run.started_ns),
        uptime_seconds=round((now_ns - run.started_ns) / NS, 3),
        state=state,
        findings=findings,
        undurable_seconds=vitals.undurable_seconds,
        last_minutes=[_minute(minute) for minute in pulse.last_minutes(now_ns)],
        tokens=pulse.tokens,
        problems=vitals.problems,
        loop_lag=pulse.readings.get("loop_lag"),
        clock=pulse.readings.get("clock_quality"),
        heads=dict(pulse.heads),
        ping=ping,
    )


def _undurable_seconds(run: Run) -> float | None:
    if run.durable_ns == 0:
        return None
    age_ns = run.clock.monotonic_ns() - run.durable_ns
    return round(max(0.0, age_ns / NS - run.config.archive.fsync_seconds), 3)


def _minute(minute: Minute) -> BeatMinute:
    return BeatMinute(
        iso_utc(minute.from_ns),
        minute.results.total(),
        minute.answered,
        dict(minute.results),
        percentile_ms(minute.lateness_ms, 0.99),
    )
