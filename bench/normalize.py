#!/usr/bin/env python3
"""How fast do books become a dataset, against what a reader would write instead?

An hour of the sandbox's books, sealed by the archive's own functions, goes through every contestant in
turns, each in a process of its own on one core; what counts is CPU time, imports left out.

  gunzip        only unpacks the file: the bound that no reader of gzip passes
  normalise     one task of the dataset: tables books and polls, with every check
  duckdb        a hand-written query: the columns of books without hash, mirror, flags and lineage
  pandas        json.loads of each row and each body, decimals, a frame: the same columns
  python        the same in a plain loop that writes csv
  duckdb_quick  best prices, counts and depths only: what one writes for a first look
  python_quick  the same as floats in a plain loop

`--workers` makes the dataset of twelve such hours with one worker and with two instead, in turns, by the
clock, and says how long each step takes (seven minutes, with the machine to itself);
`--day` runs the script over a day of 20 tokens at a poll a second (1.7 million books) instead and watches
its memory.  `--readers` does the contest beside them.

Targets: 15,000 books/s a core, 5 times python, as fast as duckdb, 1.7 times with two workers, a day in
less than 600 MB.

Examples:
  python bench/normalize.py
  python bench/normalize.py --workers
  python bench/normalize.py --turns 7 --readers --workers --day --json normalize.json
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report, stages
from bench.baselines import readers
from bench.hours import HOUR_SECONDS, answered, write_hours

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = PROJECT / "scripts/normalize_polymarket_orderbooks.py"
TOKENS, DAY_HOURS, HOURS_FOR_WORKERS = 20, 24, 12


def contest(root: Path, turns: int) -> dict[str, list[float]]:
    """CPU seconds of each contestant, a value per turn."""
    seconds: dict[str, list[float]] = {name: [] for name in readers.CONTESTANTS}
    for _ in range(turns):
        for name, took in seconds.items():
            with tempfile.TemporaryDirectory() as out:
                words = [sys.executable, "-m", "bench.baselines.readers", name, str(root), out]
                done = subprocess.run(words, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
            took.append(float(done.stdout))
    return seconds


def print_contest(seconds: dict[str, list[float]], books: int) -> dict[str, Any]:
    """Speeds, and turn by turn how many times as fast normalise is; returns them for JSON."""
    result, rows = {}, []
    for name, took in seconds.items():
        speeds = [books / one for one in took]
        times = [other / own for other, own in zip(took, seconds["normalise"], strict=True)]
        result[name] = {"books_per_second": report.summary(speeds), "times": report.summary(times)}
        each = statistics.median(took) / books * 1e6
        rows.append((name, report.spread(speeds, ",.0f"), f"{each:.1f}", report.spread(times)))
    header = ("reader", "books/s of CPU", "us a book", "normalise is so many times as fast")
    report.print_table(header, rows)
    return result


def by_workers(root: Path, turns: int) -> dict[str, list[dict[str, float]]]:
    """What a run takes with one worker and with two, in turns; without pandas, as an operator has it."""
    runs: dict[str, list[dict[str, float]]] = {"1": [], "2": []}
    with tempfile.TemporaryDirectory() as hidden:
        Path(hidden, "pandas.py").write_text("raise ImportError\n", encoding="utf-8")
        for _ in range(turns):
            for workers, found in runs.items():
                with tempfile.TemporaryDirectory() as out:
                    found.append(one_run(root, out, workers, os.environ | {"PYTHONPATH": hidden}))
    return runs


def one_run(root: Path, out: str, workers: str, environment: dict[str, str]) -> dict[str, float]:
    """Seconds by the clock, whole and of each step, and CPU seconds of all processes."""
    words = [sys.executable, "-m", "bench.stages", str(root), out, workers]
    begin = time.perf_counter()
    with subprocess.Popen(words, cwd=PROJECT, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    end = time.perf_counter()
    assert child.returncode == 0, child.returncode
    moments = json.loads(said) | {"end": end}
    found, before = {"seconds": end - begin, "cpu": usage.ru_utime + usage.ru_stime}, begin
    for step in stages.STEPS:
        found[step], before = moments[step] - before, moments[step]
    return found


def print_workers(runs: dict[str, list[dict[str, float]]], books: int) -> dict[str, Any]:
    """Speeds by the clock, where the time goes, and what the second worker brings."""
    gains = [one["seconds"] / two["seconds"] for one, two in zip(runs["1"], runs["2"], strict=True)]
    shown = ("seconds", *stages.STEPS, "cpu")
    rows, result = [], {"gain": report.summary(gains)}
    for workers, found in runs.items():
        speeds = [books / one["seconds"] for one in found]
        columns = {name: [one[name] for one in found] for name in shown}
        cells = [format(statistics.median(values), ".2f") for values in columns.values()]
        rows.append((workers, report.spread(speeds, ",.0f"), *cells))
        values = {"books_per_second": speeds} | columns
        result[workers] = {name: report.summary(several) for name, several in values.items()}
    report.print_table(("workers", "books/s by the clock", *shown[:-1], "CPU seconds"), rows)
    print(f"gain: {report.spread(gains)}\n")
    return result


def day(root: Path, books: int) -> dict[str, Any]:
    """A day with one worker, which works in the script's own process; its time and peak memory."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        child = subprocess.Popen(script(root, out, "1"), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - begin
        assert child.returncode == 0, child.returncode
        made = sum(path.stat().st_size for path in Path(out).rglob("*.parquet"))
    sealed = sum(path.stat().st_size for path in root.rglob("*.jsonl.gz"))
    found = {"books": books, "seconds": took, "peak_mb": usage.ru_maxrss * 1024 / 1e6}
    found |= {"segments_mb": sealed / 1e6, "dataset_mb": made / 1e6}
    report.print_table(
        ("books", "seconds", "books/s by the clock", "peak MB", "MB of segments", "MB of dataset"),
        [
            (
                f"{books:,}", f"{took:.0f}", f"{books / took:,.0f}", f"{found['peak_mb']:.0f}",
                f"{found['segments_mb']:.0f}", f"{found['dataset_mb']:.0f}",
            )
        ],
    )  # fmt: skip
    return found


def script(root: Path, out: str, workers: str) -> list[str]:
    """How an operator runs it."""
    return [sys.executable, str(SCRIPT), "--root", str(root), "--out", out, "--workers", workers]


def main() -> int:
    """Measure what is asked for."""
    parser = report.parser(__doc__)
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="how often (default 5)")
    parser.add_argument("--tokens", type=int, default=TOKENS, metavar="N", help="of an hour (default 20)")
    parser.add_argument("--readers", action="store_true", help="the contest (default where none is named)")
    parser.add_argument("--workers", action="store_true", help="one worker against two")
    parser.add_argument("--day", action="store_true", help="a day of 20 tokens (minutes)")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": report.print_machine()}
    hour = options.tokens * HOUR_SECONDS
    if options.readers or not (options.workers or options.day):
        with tempfile.TemporaryDirectory() as folder:
            write_hours(Path(folder), options.tokens, 1, answered(options.tokens))
            result["readers"] = print_contest(contest(Path(folder), options.turns), hour)
    if options.workers:
        with tempfile.TemporaryDirectory() as folder:
            write_hours(Path(folder), options.tokens, HOURS_FOR_WORKERS, answered(options.tokens))
            runs = by_workers(Path(folder), options.turns)
            result["workers"] = print_workers(runs, hour * HOURS_FOR_WORKERS)
    if options.day:
        with tempfile.TemporaryDirectory() as folder:
            write_hours(Path(folder), TOKENS, DAY_HOURS, answered(TOKENS))
            result["day"] = day(Path(folder), TOKENS * HOUR_SECONDS * DAY_HOURS)
    report.write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
