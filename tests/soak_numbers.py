"""Numbers of a soak that passes: a day at the venue, for tests that change one of them."""

from __future__ import annotations

from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.report.numbers import Check, ClockNumbers, Coverage, Distribution
from orderbooks_spider.soak.numbers import (
    DiskUse,
    Feed,
    Lag,
    Process,
    Proof,
    Restart,
    Sampling,
    Soak,
    Stretch,
    Uploads,
    WindowCover,
)

BEGIN_NS = parse_utc("2026-04-16T00:00:00Z")
DAY_S = 86_400
TIMES = Distribution(
    polls=1000, p50_ns=1_000_000, p95_ns=2_000_000, p99_ns=3_000_000, max_ns=9_000_000, bins=[]
)
PROCESS = Process(
    pid=7, begin_ns=BEGIN_NS, end_ns=None, exit_status=None, samples=1440, first_rss_bytes=90_000_000,
    last_rss_bytes=100_000_000, largest_rss_bytes=101_000_000, largest_children_bytes=60_000_000,
    fitted_seconds=DAY_S / 2, polls=800_000, growth_mb=1.0, mb_per_day=2.0, mb_per_100k_polls=0.1,
    files_growth=0.0, largest_files=40, sockets_growth=0.0, largest_sockets=30, cpu_share=0.04,
)  # fmt: skip
RESTART = Restart(
    died_ns=BEGIN_NS, exit_status=-9, scheduled=True, next_start_ns=BEGIN_NS, answered_ns=BEGIN_NS,
    real_seconds=3.0, dead_slots={},
)  # fmt: skip
WINDOW = WindowCover(
    window="5m", markets=290, whole=288, open_to_close=288, complete=288, demanded=288, absent=[],
    in_window=Coverage(planned=900, answered=900),
)  # fmt: skip
STRETCH = Stretch(market_slug="m", outcome="Up", cause="timeout", slots=1, from_ns=0, until_ns=0)
UPLOADS = Uploads(runs=24, failed=0, last_exit_status=0, proven=60, due=60, overdue=[])
DISK = DiskUse(archive_bytes=1, sealed_per_day=1, least_free_bytes=9, free_bytes=9, days_left=9.0)
PROOF = Proof(
    problems=[], segments=70, remote_segments=0, open_files=3, rows=2000, raw_bytes=9000, bytes=300
)  # fmt: skip
HASH = Check(check="hash", counted=990, flagged=0, unverifiable=0)
WELL = Soak(
    environment="live",
    speed=1.0,
    commit="abc",
    config="collector.yaml",
    attached=True,
    scheduled=False,
    begin_ns=BEGIN_NS,
    end_ns=BEGIN_NS + DAY_S * NS,
    first_due_ns=BEGIN_NS,
    last_due_ns=BEGIN_NS + DAY_S * NS - NS,
    collectors=["c0"],
    markets=400,
    tokens=800,
    tokens_at_once=20.0,
    slots=Coverage(planned=10_000, answered=9_990),
    in_window=Coverage(planned=9000, answered=8995),
    recorded=10_000,
    snapshots=9_990,
    results={"ok": 9_990, "timeout": 10},
    unanswered=[],
    explained=0,
    unexplained=0,
    unexplained_examples=[],
    ours=0,
    costs=[],
    not_injected=[],
    windows=[WINDOW],
    discovery={"ok": 100},
    status_codes={"200": 9_990},
    events={},
    lateness=TIMES,
    latency=TIMES,
    checks=[HASH],
    feeds=[Feed(feed="books", segments=24, rows=10_000, bytes=1000, largest_bytes=100)],
    proof=PROOF,
    uploads=UPLOADS,
    processes=[PROCESS],
    restarts=[],
    uptime=1.0,
    sampling=Sampling(samples=1440, real_longest_hole_seconds=60.0),
    loop_lag=Lag(samples=1440, p50_ms=4.0, p99_ms=20.0, max_ms=80.0),
    disk=DISK,
    clock=ClockNumbers(
        readings=1440, states={"ok": 1440}, without_bound=0, worst_bound_ns=1, steps=0, largest_step_ns=None
    ),
    problems=[],
)
"""A day at the venue that passes."""
