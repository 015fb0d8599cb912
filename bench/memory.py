#!/usr/bin/env python3
"""Does the collector's memory grow with the polls that it has archived?

The real collector polls the sandbox exchange at a high rate, with a block every ten seconds and a new segment
each minute, so that everything that lives longer than a row is made and dropped many times.  Memory is
sampled ten times a second and put beside the polls that had been answered by then, as the archive tells.
The sealing children live for seconds: they are shown apart, at their largest.

Examples:
  python bench/memory.py
  python bench/memory.py --polls 500000 --json memory.json
  python bench/memory.py --quick

"""

from __future__ import annotations

import bisect
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.collectors import Collected, Load, collect
from bench.field import venue

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS = 600
CHECKPOINTS = (10_000, 100_000, 500_000)
QUICK = 1_200
BLOCK_SECONDS, ROTATE_SECONDS = 10.0, 60.0
SLOPE_PER = 100_000


@dataclass(frozen=True)
class Point:
    """Memory when so many polls were archived, in MB."""

    polls: int
    own: float
    children: float


def points_of(done: Collected) -> list[Point]:
    """Each sample of the run with the polls that were answered by then."""
    answered = sorted(poll.received_ns for poll in done.polls if poll.result == "ok" and poll.received_ns)
    return [
        Point(bisect.bisect_right(answered, moment.wall_ns), moment.own, moment.children)
        for moment in done.finished.moments
        if moment.own  # the last sample may meet a process that has just ended
    ]


def at(points: Sequence[Point], polls: int) -> Point:
    """What held when *polls* were reached: own memory then, and the largest children up to then."""
    until = next((number for number, point in enumerate(points) if point.polls >= polls), len(points) - 1)
    most = max(point.children for point in points[: until + 1])
    return Point(points[until].polls, points[until].own, most)


def slope(points: Sequence[Point], from_polls: int) -> float:
    """MB per 100,000 polls by least squares, from *from_polls* to the last poll."""
    last = points[-1].polls
    kept = [point for point in points if from_polls <= point.polls < last]
    line = statistics.linear_regression([point.polls for point in kept], [point.own for point in kept])
    return line.slope * SLOPE_PER


def main() -> int:
    """Run, print the table, write the JSON."""
    parser = report.parser(__doc__)
    parser.add_argument("--polls", type=int, default=100_000, metavar="N", help="how many (default 100000)")
    parser.add_argument("--rate", type=float, default=600, metavar="N", help="polls a second (default 600)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} polls: does it run?")
    arguments = parser.parse_args()
    polls = QUICK if arguments.quick else arguments.polls
    machine = report.print_machine()
    load = Load(TOKENS, seconds=1.03 * polls / arguments.rate + 3, interval=TOKENS / arguments.rate)
    with venue(TOKENS) as where:
        done = collect(load, where, block_seconds=BLOCK_SECONDS, rotate_seconds=ROTATE_SECONDS)
    points = points_of(done)
    checkpoints = [count for count in CHECKPOINTS if count < polls] + [polls]
    found = [at(points, count) for count in checkpoints]
    growth = slope(points, min(checkpoints[0], polls // 2))
    report.print_table(
        ["polls archived", "collector MB", "largest children so far MB"],
        [[f"{one.polls:,}", f"{one.own:.1f}", f"{one.children:.1f}"] for one in found],
    )
    print(f"slope: {growth:+.2f} MB per {SLOPE_PER:,} polls, with {done.segments} segments")
    print(f"slots skipped: {dict(done.skips) or 0}")
    result = {"machine": machine, "rate": arguments.rate, "points": [asdict(one) for one in found]}
    result |= {"mb_per_100k_polls": growth, "segments": done.segments, "skips": dict(done.skips)}
    report.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
