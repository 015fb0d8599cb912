"""The numbers of a soak's report, as its JSON holds them: times in ns on the archive's clock, sizes in bytes.

``null`` is what nothing shows.  Seconds whose name begins with ``real_`` passed on the host's own clock; in
an accelerated soak all others are the exchange's.
"""

from __future__ import annotations

import msgspec

from orderbooks_spider.report.numbers import (  # noqa: TC001 - msgspec reads them
    Cause,
    Check,
    ClockNumbers,
    Coverage,
    Distribution,
)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduled fault, or a planned start or stop, with the unanswered slots that it explains."""

    kind: str
    detail: str
    begin_ns: int
    end_ns: int
    slots: int
    causes: dict[str, int]
    """Slots by ``result/reason``, most frequent first."""
    first_due_ns: int | None
    last_due_ns: int | None


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Unanswered slots of one token and cause that nothing explains."""

    market_slug: str
    outcome: str
    cause: str
    slots: int
    from_ns: int
    until_ns: int
    """Due times of the first and last of them."""


class WindowCover(msgspec.Struct, frozen=True, kw_only=True):
    """The markets of one window length."""

    window: str
    markets: int
    whole: int
    """Markets whose window begins and ends within the soak."""
    open_to_close: int
    """Of those: first and last slot of the window answered, for both tokens."""
    complete: int
    """Of those: every slot of the window answered."""
    demanded: int | None
    """Windows that the calendar demands within the soak; ``None``: it cannot tell for this length."""
    absent: list[str]
    """Slugs of those that have no slot."""
    in_window: Coverage


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """Sealed segments of one feed with rows of the soak."""

    feed: str
    segments: int
    rows: int
    bytes: int
    largest_bytes: int


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What verify found in the whole archive."""

    problems: list[str]
    segments: int
    remote_segments: int
    open_files: int
    rows: int
    raw_bytes: int
    """Uncompressed bytes of the segments that were read."""
    bytes: int
    """Their compressed bytes."""


class Uploads(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of the uploader during the soak, and what a remote was shown to hold."""

    runs: int
    failed: int
    last_exit_status: int | None
    proven: int
    """Segments of the soak with a receipt."""
    due: int
    """Segments of the soak that were sealed early enough to have one."""
    overdue: list[str]
    """Those among them that have none."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One life of the collector, by its samples."""

    pid: int
    begin_ns: int
    end_ns: int | None
    exit_status: int | None
    samples: int
    first_rss_bytes: int | None
    last_rss_bytes: int | None
    largest_rss_bytes: int | None
    largest_children_bytes: int | None
    fitted_seconds: float | None
    """Seconds behind the warm-up that slopes were fitted over; ``None``: too few to say anything."""
    polls: int | None
    """Rows of polls in that time."""
    growth_mb: float | None
    """Fitted slope times that time."""
    mb_per_day: float | None
    mb_per_100k_polls: float | None
    files_growth: float | None
    """Open files, in the same way."""
    largest_files: int | None
    sockets_growth: float | None
    largest_sockets: int | None
    cpu_share: float | None
    """CPU seconds per second of the archive's clock."""


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """From a death of the collector to its first answer."""

    died_ns: int
    exit_status: int | None
    scheduled: bool
    next_start_ns: int | None
    answered_ns: int | None
    """Due time of the first answered slot behind the death."""
    real_seconds: float | None
    """From the death to that slot."""
    dead_slots: dict[str, int]
    """Unanswered slots of that time by cause."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How well the samples cover the soak."""

    samples: int
    real_longest_hole_seconds: float | None
    """Longest time without a sample, the ends of the soak included."""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """Worst lateness of the event loop within a minute, over all samples; real milliseconds."""

    samples: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class DiskUse(msgspec.Struct, frozen=True, kw_only=True):
    """Growth and room."""

    archive_bytes: int | None
    """By the last sample."""
    sealed_per_day: int | None
    """Bytes of sealed segments per day of the archive's clock."""
    least_free_bytes: int | None
    free_bytes: int | None
    """By the last sample."""
    days_left: float | None
    """For so long that room lasts at that growth, if nothing is purged."""


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is measured of one soak; the gate reads nothing else."""

    environment: str
    speed: float
    commit: str
    config: str
    attached: bool
    scheduled: bool
    """Whether faults were injected by a schedule."""
    begin_ns: int
    end_ns: int
    first_due_ns: int | None
    last_due_ns: int | None
    """Due times of the first and the last slot of the soak that the dataset holds."""
    collectors: list[str]
    markets: int
    tokens: int
    tokens_at_once: float | None
    """Polled tokens, on average over the soak; ``None``: the grid is not known."""
    slots: Coverage
    in_window: Coverage
    recorded: int
    """Slots with a raw row; the others follow from the plan."""
    snapshots: int
    """Slots with a book."""
    results: dict[str, int]
    """All slots by ``result/reason``."""
    unanswered: list[Cause]
    explained: int
    """Unanswered slots that the schedule, the planned start or the planned stop explains."""
    unexplained: int
    unexplained_examples: list[Stretch]
    ours: int
    """Slots that are our fault and no part of a schedule."""
    costs: list[Cost]
    not_injected: list[str]
    """Planned faults that could not be made, and why."""
    windows: list[WindowCover]
    discovery: dict[str, int]
    """Requests to Gamma by result."""
    status_codes: dict[str, int]
    """Answers to polls by HTTP status."""
    events: dict[str, int]
    lateness: Distribution
    latency: Distribution
    checks: list[Check]
    """Of the UTC hours that the soak touches."""
    feeds: list[Feed]
    proof: Proof
    uploads: Uploads
    processes: list[Process]
    restarts: list[Restart]
    uptime: float | None
    """Share of the soak in which a process was there; ``None``: no start is recorded."""
    sampling: Sampling
    loop_lag: Lag
    disk: DiskUse
    clock: ClockNumbers
    problems: list[str]
    """What could not be used, or is missing."""

    @property
    def seconds(self) -> float:
        """Length on the archive's clock."""
        return (self.end_ns - self.begin_ns) / 1e9
