"""Healthy, degraded or down: a pure function of the numbers, and the only place that knows a threshold.

- **down**: nothing more is recorded, and only a restart or a repair on this host changes that.
- **degraded**: recording goes on, or comes back by itself; somebody should look.
- **healthy**: neither; notes are worth reading all the same.

So a supervisor may restart what is down and must leave alone what is degraded: a dead venue is cured by no
restart, and a full disk only loses the rows that wait for room.  ``docs/OPERATIONS.md`` explains each
finding by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from orderbooks_spider.status.words import size, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orderbooks_spider.status.vitals import Disk, Offload, Vitals

BEAT_LATE_SECONDS = 30.0
BEAT_LOST_SECONDS = 60.0
"""Age of a health file that is written every ten seconds."""
FLUSH_LATE_SECONDS = 10.0
FLUSH_LOST_SECONDS = 120.0
START_SECONDS = 120.0
"""A collector may take so long to its first slot: discovery comes before it."""
COVERAGE = 0.9
"""Least share of the last five minutes' slots."""
GAP_SECONDS = 10.0
GAP_SLOTS = 3
"""A token without an answer for both of these has a gap; less is counted by coverage."""
LATENESS_P99_MS = 250.0
THROTTLED = 1
"""Refusals in five minutes; our own budget is half the documented limit."""
FREE_RATIO = 1.5
"""Free space as a multiple of ``archive.min_free_bytes``, below which polling pauses."""
DISK_DAYS = 2.0
OFFLOAD_LATE_SECONDS = 86_400.0
"""A sealed segment without proof for so long, where offloading is in use."""

Level = Literal["note", "degraded", "down"]
State = Literal["healthy", "degraded", "down"]
EXIT_CODES: dict[State, int] = {"healthy": 0, "degraded": 1, "down": 2}


class Finding(msgspec.Struct, frozen=True):
    """One reason for a verdict; *name* is its row in ``docs/OPERATIONS.md``."""

    level: Level
    name: str
    text: str


def state_of(findings: Iterable[Finding]) -> State:
    """The worst of *findings*; healthy where there is none but notes."""
    levels = {finding.level for finding in findings}
    if "down" in levels:
        return "down"
    return "degraded" if "degraded" in levels else "healthy"


def judge(vitals: Vitals) -> list[Finding]:
    """What follows from a collector's numbers."""
    if not vitals.running:
        return [Finding("down", "not_running", vitals.ended or "no process collects")]
    return [*_process(vitals), *_polls(vitals), *_problems(vitals)]


def judge_disk(disk: Disk) -> list[Finding]:
    """What follows from the room that is left."""
    found = []
    if disk.min_free_bytes and disk.free_bytes < FREE_RATIO * disk.min_free_bytes:
        text = (
            f"{size(disk.free_bytes)} free; polling pauses below {size(disk.min_free_bytes)} "
            "(archive.min_free_bytes)"
        )
        found.append(Finding("degraded", "disk_space", text))
    if disk.days_left is not None and disk.days_left < DISK_DAYS:
        text = f"the disk lasts {disk.days_left:.1f} days more, expected {DISK_DAYS:g}"
        found.append(Finding("degraded", "disk_days", text))
    return found


def judge_offload(offload: Offload) -> list[Finding]:
    """What follows from segments that no remote is known to hold."""
    late = offload.oldest_seconds is not None and offload.oldest_seconds > OFFLOAD_LATE_SECONDS
    if not (offload.in_use and late):
        return []
    text = (
        f"{offload.segments} segments ({size(offload.bytes)}) are not proven at the remote, the oldest "
        f"sealed {span(offload.oldest_seconds)} ago, expected within {span(OFFLOAD_LATE_SECONDS)}"
    )
    return [Finding("degraded", "offload", text)]


def _process(vitals: Vitals) -> Iterator[Finding]:
    """Whether it lives, and what it stores is kept."""
    for name, seconds, late, lost, text in (
        (
            "beat", vitals.beat_seconds, BEAT_LATE_SECONDS, BEAT_LOST_SECONDS,
            "the process holds its lock and has said nothing for {}: it is frozen, or its disk is",
        ),
        (
            "durable", vitals.undurable_seconds, FLUSH_LATE_SECONDS, FLUSH_LOST_SECONDS,
            "stored rows have not reached the disk for {} longer than they should",
        ),
    ):  # fmt: skip
        if seconds is not None and seconds > late:
            yield Finding("down" if seconds > lost else "degraded", name, text.format(span(seconds)))


def _polls(vitals: Vitals) -> Iterator[Finding]:
    """Whether the slots of the last minutes were answered, and in time."""
    if vitals.planned == 0:
        yield _nothing_planned(vitals)
    elif vitals.planned is not None and (coverage := vitals.answered / vitals.planned) < COVERAGE:
        text = f"{coverage:.1%} of the last 5 minutes' slots were answered, expected {COVERAGE:.0%}"
        yield Finding("degraded", "coverage", text)
    for gap in vitals.gaps:
        text = f"{gap.tokens} tokens without an answer for {span(gap.seconds)}: {gap.cause}"
        yield Finding("degraded", "gap", text)
    if vitals.throttled >= THROTTLED:
        text = f"the venue refused {vitals.throttled} polls of the last 5 minutes (429)"
        yield Finding("degraded", "throttled", text)
    if vitals.lateness_p99_ms is not None and vitals.lateness_p99_ms > LATENESS_P99_MS:
        text = f"polls leave {vitals.lateness_p99_ms:.0f} ms late (p99), expected {LATENESS_P99_MS:.0f} ms"
        yield Finding("degraded", "lateness", text)


def _nothing_planned(vitals: Vitals) -> Finding:
    if vitals.uptime_seconds is not None and vitals.uptime_seconds < START_SECONDS:
        return Finding("degraded", "starting", f"no data yet: started {span(vitals.uptime_seconds)} ago")
    return Finding("degraded", "nothing_planned", "no slot was planned in the last 5 minutes")


def _problems(vitals: Vitals) -> Iterator[Finding]:
    """What its own event rows began and did not end, and its clock."""
    for name, text in vitals.problems.items():
        yield Finding("degraded", name.split()[0], f"{name.replace('_', ' ')}: {text}")
    if vitals.clock_synchronised is False:
        text = "the kernel says that nobody keeps this host's clock: times have no bound (docs/TIME.md)"
        yield Finding("note", "clock", text)
