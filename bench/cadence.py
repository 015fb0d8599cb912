#!/usr/bin/env python3
"""How late are polls, how long do answers take, what is skipped, while blocks and segments are sealed?

The collector runs at several rates, one poll a second of each token, on one core with its sealing children;
the sandbox exchange has another.  Blocks of 60 s, and segments that rotate often enough for two rotations in
a run (both sooner in short runs).  Lateness is sent - due; latency is up to the last byte, so the sandbox's
share is in it.  The first two seconds, with discovery and new connections, are left out.

With --baseline the aiohttp script of bench/baselines/ polls as many tokens as often, spread over the second
as the collector's grid is, so that it is not late by its own crowd.

Examples:
  python bench/cadence.py
  python bench/cadence.py --loads 150:600 --baseline --json cadence.json
  python bench/cadence.py --quick
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.collectors import WARM_UP_SECONDS, Load, collect, run_script
from bench.field import Venue, venue

if TYPE_CHECKING:
    from collections.abc import Sequence

LOADS = ((20, 120.0), (150, 600.0), (400, 120.0))
QUICK = ((20, 5.0),)
BLOCK_SECONDS = 60.0
ROTATIONS = 2
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass(frozen=True)
class Cadence:
    """What a run of a tool showed."""

    tool: str
    rate: int
    seconds: float
    polls: int
    lateness_ms: dict[str, float]
    latency_ms: dict[str, float]
    skips: dict[str, int]
    segments: int


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Nearest rank."""
    ranked = sorted(values)
    return {name: ranked[math.ceil(len(ranked) * share) - 1] for name, share in PERCENTILES.items()}


def ours(rate: int, seconds: float, where: Venue) -> Cadence:
    """Run the collector and read lateness and latency from its rows."""
    rotate_seconds = seconds / (ROTATIONS + 1)
    done = collect(
        Load(rate, seconds),
        where,
        block_seconds=min(BLOCK_SECONDS, rotate_seconds),
        rotate_seconds=rotate_seconds,
    )
    sent = [poll for poll in done.settled if poll.sent_ns is not None]
    return Cadence(
        tool="this collector",
        rate=rate,
        seconds=seconds,
        polls=len(sent),
        lateness_ms=percentiles([((poll.sent_ns or 0) - poll.due_ns) / 1e6 for poll in sent]),
        latency_ms=percentiles([(poll.elapsed_ns or 0) / 1e6 for poll in sent]),
        skips=dict(done.skips),
        segments=done.segments,
    )


def baseline(rate: int, seconds: float, where: Venue) -> Cadence:
    """Run the aiohttp script; a poll that it left out has no row, so it is counted as missing."""
    done = run_script("aiohttp_script", Load(rate, seconds), where, parts=20)
    settled = done.polls[rate * WARM_UP_SECONDS :]
    missing = rate * int(seconds) - len(done.polls)
    return Cadence(
        tool="aiohttp script",
        rate=rate,
        seconds=seconds,
        polls=len(settled),
        lateness_ms=percentiles([poll.late_ms for poll in settled]),
        latency_ms=percentiles([poll.took_ms for poll in settled]),
        skips={"missing": missing} if missing else {},
        segments=0,
    )


def print_tables(found: list[Cadence]) -> None:
    """Print lateness with what was sealed and skipped meanwhile, then latency."""
    report.print_table(
        ["late by, ms", "polls/s", *PERCENTILES, "polls", "skipped", "segments"],
        [
            [*_cells(one, one.lateness_ms), f"{one.polls:,}", _skipped(one), str(one.segments)]
            for one in found
        ],
    )
    report.print_table(
        ["answered after, ms", "polls/s", *PERCENTILES], [_cells(one, one.latency_ms) for one in found]
    )


def _cells(one: Cadence, times: dict[str, float]) -> list[str]:
    return [one.tool, str(one.rate), *(f"{value:.2f}" for value in times.values())]


def _skipped(one: Cadence) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in one.skips.items()) or "0"


def _load(text: str) -> tuple[int, float]:
    """Read ``RATE:SECONDS``; two tokens are a market."""
    rate, seconds = text.split(":")
    if int(rate) < 2 or int(rate) % 2:
        raise ValueError(text)
    return int(rate), float(seconds)


def main() -> int:
    """Run each load, print the table, write the JSON."""
    parser = report.parser(__doc__)
    parser.add_argument(
        "--loads",
        type=_load,
        nargs="+",
        default=LOADS,
        metavar="RATE:SECONDS",
        help="polls a second (even), and for how long (default 20:120 150:600 400:120)",
    )
    parser.add_argument("--baseline", action="store_true", help="the aiohttp script at each load, too")
    parser.add_argument("--quick", action="store_true", help="one load for seconds: does it run?")
    arguments = parser.parse_args()
    loads = QUICK if arguments.quick else arguments.loads
    machine = report.print_machine()
    found: list[Cadence] = []
    with venue(max(rate for rate, _ in loads)) as where:
        for rate, seconds in loads:
            found.append(ours(rate, seconds, where))
            if arguments.baseline:
                found.append(baseline(rate, seconds, where))
    print_tables(found)
    report.write_json(arguments.json, {"machine": machine, "runs": [asdict(one) for one in found]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
