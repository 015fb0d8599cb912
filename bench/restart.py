#!/usr/bin/env python3
"""How long does a collector wait for what a killed one left, before it polls again?

A run is left open at the end of an hour; then its archive is taken over as the next run does it, which
looks at the ends of the open segment and seals it beside its polling, and in turns recovered whole, as
`scripts/recover_archive.py` does it and the collector where something needs repair.

Examples:
  python bench/restart.py
  python bench/restart.py --tokens 20 150 --turns 3
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.hours import HOUR_SECONDS, answered, write_open_hour
from orderbooks_spider.archive.recovery import recover, take_over
from orderbooks_spider.clock import SystemClock

WAYS = ("taken over", "recovered whole")


def seconds(left: Path, way: str) -> float:
    """Time of one start on a copy of what was *left*."""
    with tempfile.TemporaryDirectory(dir=left.parent) as folder:
        root = shutil.copytree(left, Path(folder, "archive"))
        begin = time.perf_counter()
        if way == "taken over":
            _, inherited = take_over(root, "c0", SystemClock())
            assert len(inherited) == 1
        else:
            recover(root, "c0", SystemClock())
        return time.perf_counter() - begin


def main() -> None:
    """Measure, print and write."""
    parser = report.parser(__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[20, 100], help="at a poll a second")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    machine, restarts = report.print_machine(), []
    rows = []
    for tokens in options.tokens:
        with tempfile.TemporaryDirectory() as folder:
            left = Path(folder, "left")
            left.mkdir()
            write_open_hour(left, tokens, answered(tokens))
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(options.turns):
                for way in WAYS:
                    found[way].append(seconds(left, way))
        summaries = {way: report.summary(times) for way, times in found.items()}
        restarts.append({"rows": tokens * HOUR_SECONDS} | summaries)
        rows.append((f"{tokens * HOUR_SECONDS:,}", *(report.spread(found[way]) for way in WAYS)))
    report.print_table(("rows of the open hour", *(f"{way}, s" for way in WAYS)), rows)
    report.write_json(options.json, {"machine": machine, "restarts": restarts})


if __name__ == "__main__":
    main()
