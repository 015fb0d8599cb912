"""The numbers of the page, as its JSON holds them: times in ns, sizes in bytes, ``null`` where unknown."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 - msgspec reads it
from typing import Final

import msgspec

SCHEMA: Final = "orderbooks.day_report/1"


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Answered and planned slots."""

    planned: int
    answered: int


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Unanswered slots of one cause (``result/reason``) and fault."""

    cause: str
    fault: str
    slots: int


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """An unbroken run of unanswered slots, cut at midnight."""

    collector_id: str
    market_slug: str
    outcome: str
    from_ns: int
    until_ns: int
    """Due times of its first and last slot."""
    slots: int
    cause: str
    """The most frequent one."""
    fault: str


class GapLength(msgspec.Struct, frozen=True, kw_only=True):
    """How many gaps have so many slots, up to the next length of ``GAP_LENGTHS``."""

    from_slots: int
    fault: str
    gaps: int


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Polls with a value below ``below_ns`` and in no bin before."""

    below_ns: int
    polls: int


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Nearest-rank percentiles over the polls that have the value, and its histogram."""

    polls: int
    p50_ns: int | None
    p95_ns: int | None
    p99_ns: int | None
    max_ns: int | None
    bins: list[Bin]
    """Ten a decade; those without polls are left out."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check over the day's books; bits and meanings in ``ORDERBOOK_SCHEMA.md``."""

    check: str
    counted: int
    flagged: int
    unverifiable: int


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """Mid of Up against 1 - mid of Down, in slots inside the window that have both."""

    pairs: int
    equal: int
    largest_difference: Decimal | None


class WindowLength(msgspec.Struct, frozen=True, kw_only=True):
    """All markets with windows of one length."""

    window: str
    markets: int
    slots: Coverage
    in_window: Coverage
    spreads: int
    """Books inside the window with both sides."""
    spread_p50: Decimal | None
    spread_p90: Decimal | None


class TokenCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """One token and collector."""

    collector_id: str
    market_slug: str
    outcome: str
    token_id: str
    slots: Coverage


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks of one feed that begin in one hour, as they lie compressed in sealed segments."""

    hour_ns: int
    feed: str
    rows: int
    bytes: int


class ClockNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """The host's clock by the kernel's own account (``TIME.md``)."""

    readings: int
    states: dict[str, int]
    without_bound: int
    """Readings of which nobody vouches how far the clock was from UTC."""
    worst_bound_ns: int | None
    """Largest bound of the others."""
    steps: int
    largest_step_ns: int | None


class LoopLagNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """How late the event loop woke."""

    samples: int
    worst_p99_ns: int | None
    """Largest of the minutes' p99."""
    max_ns: int | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One life of a collector that has rows of this day."""

    collector_id: str
    run_id: str
    started_utc: str | None
    stopped_utc: str | None
    stop_reason: str | None
    collector_version: str | None
    config_sha256: str | None
    interval_ns: int | None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed segment with rows of this day."""

    file: str
    rows: int
    bytes: int
    sha256: str


class Busiest(msgspec.Struct, frozen=True, kw_only=True):
    """The market whose books changed most often for the length of its window."""

    market_slug: str
    window: str
    changed: int
    """Polls inside the window that saw another book than the one before."""


class DayReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is said about one day; key order is the order on disk."""

    schema: str = SCHEMA
    date: str
    environment: str
    collectors: list[str]
    first_due_ns: int
    last_due_ns: int
    markets: int
    tokens: int
    slots: Coverage
    in_window: Coverage
    recorded: int
    """Slots with a raw row; the others follow from the plan."""
    results: dict[str, int]
    """Slots by ``result/reason``."""
    unanswered: list[Cause]
    faults: dict[str, int]
    """Unanswered slots by fault."""
    gaps: int
    gap_lengths: list[GapLength]
    longest_gaps: list[Gap]
    lateness: Distribution
    latency: Distribution
    when: dict[str, Coverage]
    """In minutes in which the mid moved most (``fast``) and least (``calm``), and the venue was slowest."""
    books: int
    hash: dict[str, int]
    mirror: dict[str, int]
    checks: list[Check]
    mirrored_mids: Mirror
    busiest: Busiest | None
    windows: list[WindowLength]
    token_coverage: list[TokenCoverage]
    stored: list[Stored]
    clock: ClockNumbers
    loop_lag: LoopLagNumbers
    events: dict[str, int]
    runs: list[Run]
    made_with: dict[str, str]
    """Versions of the program and libraries that made the tables and the pictures."""
    sources: list[Source]
    problems: list[str]
