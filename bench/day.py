#!/usr/bin/env python3
"""What do the pictures of a day cost, and do they fit on a small machine?

Whole hours of the sandbox's books, 20 tokens at a poll a second, are sealed by the archive's own
functions; `report_day.py` then reports on them, with one worker, which works in its own process.

  day alone       normalises the day into a temporary folder first, as an operator without a dataset does
  from a dataset  is given what normalize made

Target: a day (1.7 million polls) in less than 800 MB, so that a machine with 1 GB can do it.

Examples:
  python bench/day.py
  python bench/day.py --hours 1 --json day.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.hours import HOUR_SECONDS, START_NS, answered, write_hours
from orderbooks_spider.clock import iso_utc

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
TOKENS, DAY_HOURS = 20, 24


def run(script: str, *arguments: str) -> dict[str, float]:
    """Run a script as an operator does; its seconds by the clock and its peak memory."""
    begin = time.perf_counter()
    command = [sys.executable, str(SCRIPTS / script), *arguments, "--workers", "1"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, child.returncode
    return {"seconds": time.perf_counter() - begin, "peak_mb": usage.ru_maxrss * 1024 / 1e6}


def measure(folder: Path) -> dict[str, Any]:
    """Both ways to the page of the archive in *folder*."""
    root, dataset, page = (str(folder / name) for name in ("archive", "dataset", "page.html"))
    words = [root, "--date", iso_utc(START_NS)[:10], "--out", page]
    found: dict[str, Any] = {"day alone": run("report_day.py", *words)}
    run("normalize_polymarket_orderbooks.py", "--root", root, "--out", dataset)
    found["from a dataset"] = run("report_day.py", *words, "--dataset", dataset)
    found["page_mb"] = Path(page).stat().st_size / 1e6
    return found


def main() -> int:
    """Measure, and print a table."""
    parser = report.parser(__doc__)
    parser.add_argument("--hours", type=int, default=DAY_HOURS, metavar="N", help="of the day (default 24)")
    options = parser.parse_args()
    machine = report.print_machine()
    with tempfile.TemporaryDirectory() as folder:
        write_hours(Path(folder, "archive"), TOKENS, options.hours, answered(TOKENS))
        found = measure(Path(folder))
    polls = TOKENS * HOUR_SECONDS * options.hours
    rows = [
        (
            way,
            f"{polls:,}",
            f"{found[way]['seconds']:.0f}",
            f"{found[way]['peak_mb']:.0f}",
            f"{found['page_mb']:.1f}",
        )
        for way in ("day alone", "from a dataset")
    ]
    report.print_table(("report_day.py", "polls", "seconds", "peak MB", "MB of page"), rows)
    report.write_json(options.json, {"machine": machine, "polls": polls} | found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
