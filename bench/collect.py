#!/usr/bin/env python3
"""What does an archived poll cost: this collector beside what one would write instead?

Baselines (bench/baselines/): Scrapy with callbacks and a gzip feed export, an asyncio script with httpx,
one with aiohttp.  All write gzip JSON Lines; all ask one sandbox exchange for the same tokens; each has one
core for itself (and its children), the sandbox has another.  CPU is user + system of the process and of the
children that it waited for, so the collector pays for sealing; the sandbox's CPU is not counted.  Polls are
counted in the files: `ok` rows, or rows with status 200.

Two load points, tools by turns in each round:
  steady      150 tokens each second, everybody on a fixed schedule.
  saturation  as much as one core can do.  The baselines run in the way that suits them best: a few polls
              always open, the next as soon as one is back, no clock to keep.  The collector keeps its grid,
              at the highest rate at which it skips no slot and all its work, sealing included, fits into
              the time of the run: that rate is searched first.  So the ratio is no better than the truth.

Each number is the difference between a run of --seconds and a run of one second, so nobody pays for
imports, discovery or closing.  The collector seals a block twice a run; an operator's, once a minute.

Examples:
  python bench/collect.py
  python bench/collect.py --tls --json collect.json
  python bench/collect.py --mode books
  python bench/collect.py --quick
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.collectors import Load, collect, run_script
from bench.field import Finished, Venue, venue

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    Tool = Callable[[Load, Venue], "Run"]

OURS = "this collector"
BASELINES = {
    "Scrapy feed export": ("scrapy_feeds", 1),
    "httpx script": ("httpx_script", 20),
    "aiohttp script": ("aiohttp_script", 1),
}
"""Script, and into how many parts of the second it spreads its polls: what costs it least CPU (measured)."""
SHORT_SECONDS = 1.0
PROBE_SECONDS = 10.0
QUICK_SECONDS = 3.0
STEP = 0.96
"""The search ends within such a step of the truth."""
BOOKS_BUCKETS = 4
"""Phase buckets of ``books`` mode: 600 tokens each, so that most requests are full."""


@dataclass(frozen=True)
class Point:
    """A load point: what this collector polls how often, and whether the baselines do the same."""

    name: str
    load: Load
    full_speed: bool = False
    """The baselines go as fast as they can; the collector's interval is searched."""


STEADY = Point("steady", Load(tokens=150, seconds=30))
SATURATION = Point("saturation", Load(tokens=816, seconds=30), full_speed=True)
BOOKS = Point("saturation, POST /books", Load(tokens=2400, seconds=30, batch=100), full_speed=True)


@dataclass(frozen=True)
class Run:
    """One run of a tool."""

    finished: Finished
    polls: int
    file_bytes: int
    skips: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """What a round says of a tool; ``polls`` and what follows ``venue_busy`` are of the long run alone."""

    polls: int
    cpu_ms: float
    per_second: float
    core_busy: float
    venue_busy: float
    peak_mb: float
    bytes_per_poll: float
    skips: dict[str, int]


def run_ours(load: Load, where: Venue) -> Run:
    """Run the collector."""
    buckets = 20 if load.batch == 1 else BOOKS_BUCKETS
    done = collect(load, where, block_seconds=load.seconds / 2, buckets=buckets)
    polls = sum(poll.result == "ok" for poll in done.polls)
    return Run(done.finished, polls, done.file_bytes, dict(done.skips))


def run_baseline(script: tuple[str, int], gzip_level: int, load: Load, where: Venue) -> Run:
    """Run one of the scripts."""
    name, parts = script
    done = run_script(name, load, where, gzip_level=gzip_level, parts=parts)
    return Run(done.finished, sum(poll.books for poll in done.polls), done.file_bytes, {})


def cost(tool: Tool, load: Load, where: Venue) -> Cost:
    """Measure the difference between a long and a short run of *tool*."""
    short = tool(replace(load, seconds=SHORT_SECONDS), where)
    long = tool(load, where)
    seconds = load.seconds - SHORT_SECONDS
    polls = long.polls - short.polls
    cpu = long.finished.cpu_seconds - short.finished.cpu_seconds
    return Cost(
        polls=long.polls,
        cpu_ms=cpu / polls * 1000,
        per_second=polls / seconds,
        core_busy=cpu / seconds,
        venue_busy=(long.finished.venue_cpu_seconds - short.finished.venue_cpu_seconds) / seconds,
        peak_mb=long.finished.peak_mb,
        bytes_per_poll=long.file_bytes / long.polls,
        skips=long.skips,
    )


def highest_rate(load: Load, where: Venue) -> float:
    """Search the rate that the collector can just keep: up as its CPU allows, then down until all is well."""
    rate = load.tokens / 2.0

    def room() -> float:
        """How much faster it might go; 0: it skipped slots, or its work did not fit into the time."""
        probe = replace(load, interval=load.tokens / rate, seconds=PROBE_SECONDS)
        found = cost(run_ours, probe, where)
        say(f"search: {rate:,.0f} polls/s, core {found.core_busy:.0%} busy, skipped {found.skips}")
        if found.skips or found.core_busy > 1:
            return 0.0
        return min(2.0, max(1 / STEP, 1 / found.core_busy))

    while factor := room() or room():  # a second try: something else may have had the core
        rate *= factor
    rate *= STEP
    while not (room() or room()):
        rate *= STEP
    return rate


def measure(point: Point, tools: dict[str, Tool], rounds: int, where: Venue) -> dict[str, list[Cost]]:
    """Run all tools by turns."""
    found: dict[str, list[Cost]] = {name: [] for name in tools}
    for number in range(rounds):
        for name, tool in tools.items():
            pace = replace(point.load, interval=0) if point.full_speed and name != OURS else point.load
            found[name].append(cost(tool, pace, where))
            say(f"{point.name}, round {number + 1} of {rounds}: {name} {found[name][-1].cpu_ms:.3f} ms")
    return found


def print_point(point: Point, found: dict[str, list[Cost]]) -> None:
    """Both tables of a load point, and what a reader must know of its limits."""
    load = point.load
    pace = f"{OURS} each {load.interval:.3g} s"
    print(f"{point.name}: {load.tokens} tokens, {pace}, runs of {load.seconds:g} s\n")
    header = ["tool", "CPU ms a poll", "polls/s", "core busy", "sandbox busy", "peak MB", "bytes a poll"]
    report.print_table(header, [[name, *_cells(costs)] for name, costs in found.items()])
    header = [f"{OURS} over", "CPU a poll", "polls/s"]
    report.print_table(
        header, [[name, *map(report.spread, pair.values())] for name, pair in ratios(found).items()]
    )
    if skipped := sum(sum(one.skips.values()) for one in found[OURS]):
        print(f"{OURS} skipped {skipped} slots in these rounds\n")


def _cells(costs: list[Cost]) -> list[str]:
    patterns = {
        "cpu_ms": ".3f",
        "per_second": ",.0f",
        "core_busy": ".0%",
        "venue_busy": ".0%",
        "peak_mb": ".0f",
        "bytes_per_poll": ".0f",
    }
    return [
        report.spread([getattr(one, name) for one in costs], pattern) for name, pattern in patterns.items()
    ]


def ratios(found: dict[str, list[Cost]]) -> dict[str, dict[str, list[float]]]:
    """Ours over each baseline, round by round."""

    def over(name: str, key: str) -> list[float]:
        pairs = zip(found[OURS], found[name], strict=True)
        return [getattr(ours, key) / getattr(theirs, key) for ours, theirs in pairs]

    return {
        name: {key: over(name, key) for key in ("cpu_ms", "per_second")} for name in found if name != OURS
    }


def as_json(point: Point, found: dict[str, list[Cost]]) -> dict[str, Any]:
    """Every round's numbers and the ratios."""
    return asdict(point) | {
        "tools": {name: [asdict(one) for one in costs] for name, costs in found.items()},
        "ratios": {
            name: {key: report.summary(values) for key, values in pair.items()}
            for name, pair in ratios(found).items()
        },
    }


def say(text: str) -> None:
    """Progress, beside the tables."""
    print(text, file=sys.stderr, flush=True)


def points(arguments: Namespace) -> list[Point]:
    """The load points that the command line asks for."""
    chosen = [BOOKS] if arguments.mode == "books" else [STEADY, SATURATION]
    seconds = QUICK_SECONDS if arguments.quick else arguments.seconds
    return [replace(point, load=replace(point.load, seconds=seconds)) for point in chosen]


def main() -> int:
    """Measure each load point, print the tables, write the JSON."""
    parser = report.parser(__doc__)
    parser.add_argument("--mode", choices=("book", "books"), default="book", help="GET /book, or POST /books")
    parser.add_argument("--tls", action="store_true", help="https, and answers compressed")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="alternating rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=30, metavar="N", help="of a run (default 30)")
    parser.add_argument(
        "--gzip-level", type=int, default=9, metavar="N", help="of the baselines (default 9, as Python's)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, nothing searched: does it run?"
    )
    arguments = parser.parse_args()
    tools: dict[str, Tool] = {OURS: run_ours}
    for name, script in BASELINES.items():
        tools[name] = partial(run_baseline, script, arguments.gzip_level)
    result: dict[str, Any] = {"tls": arguments.tls, "gzip_level": arguments.gzip_level, "points": []}
    result["machine"] = report.print_machine()
    print(f"{'https, compressed' if arguments.tls else 'http'}; baselines with gzip {arguments.gzip_level}\n")
    for point in points(arguments):
        with venue(point.load.tokens, tls=arguments.tls) as where:
            if point.full_speed and not arguments.quick:
                interval = point.load.tokens / highest_rate(point.load, where)
                point = replace(point, load=replace(point.load, interval=interval))  # noqa: PLW2901 - searched
            found = measure(point, tools, 1 if arguments.quick else arguments.rounds, where)
        print_point(point, found)
        result["points"].append(as_json(point, found))
    report.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
