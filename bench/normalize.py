#!/usr/bin/env python3
"""How fast do books become a dataset, against what a reader would write instead?

An hour of the sandbox's books, sealed by the archive's own functions, goes through every contestant in
turns, each in a process of its own on one core; what counts is CPU time, imports left out.

  gunzip      only unpacks the file: the bound that no reader of gzip passes
  normalise   one task of the dataset: all columns, all levels, all checks
  duckdb      a hand-written query for the same numbers and levels, without hash, mirror or any check
  pandas      json.loads of each row and each body, then pandas: numbers as floats, no levels
  python      the same in a plain loop that writes csv

`--workers` also runs the script over four such hours with one worker and with two, by the clock;
`--day` runs it over a day of 20 tokens at a poll a second (1.7 million books) and watches its memory.

Examples:
  python bench/normalize.py
  python bench/normalize.py --turns 7 --workers --day --json normalize.json

Exit codes: 0 every target met that was measured; 1 one is not (15,000 books/s a core, 5 times python,
as fast as duckdb, 1.7 times with two workers, a day below 600 MB); 2 a contestant failed.
"""

from __future__ import annotations

import argparse
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

from bench.baselines import readers
from bench.hours import HOUR_SECONDS, answered, write_hours

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = PROJECT / "scripts/normalize_polymarket_orderbooks.py"
TOKENS = 20
DAY_HOURS, HOURS_FOR_WORKERS = 24, 4
BOOKS_PER_SECOND, TIMES_PYTHON, TIMES_DUCKDB, TIMES_WORKERS, DAY_MB = 15_000, 5.0, 1.0, 1.7, 600


def in_turns(root: Path, turns: int) -> dict[str, list[float]]:
    """CPU seconds of each contestant, a value per turn."""
    seconds: dict[str, list[float]] = {name: [] for name in readers.CONTESTANTS}
    for _ in range(turns):
        for name, took in seconds.items():
            with tempfile.TemporaryDirectory() as out:
                command = [sys.executable, "-m", "bench.baselines.readers", name, str(root), out]
                done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
            took.append(float(done.stdout))
    return seconds


def show_turns(seconds: dict[str, list[float]], books: int) -> dict[str, Any]:
    """Print the table: medians, and ratios turn by turn with their spread."""
    result: dict[str, Any] = {}
    print(f"{books:,} books, {len(seconds['gunzip'])} turns; normalise is so many times as fast:")
    print(f"{'':<12}{'books/s':>10}{'us/book':>9}{'median':>9}{'lowest':>9}{'highest':>9}")
    for name, took in seconds.items():
        middle = statistics.median(took)
        ratios = sorted(other / own for other, own in zip(took, seconds["normalise"], strict=True))
        result[name] = {"seconds": took, "books_per_second": round(books / middle), "ratios": ratios}
        ratio = statistics.median(ratios)
        print(
            f"{name:<12}{books / middle:>10,.0f}{middle / books * 1e6:>9.1f}"
            f"{ratio:>9.2f}{ratios[0]:>9.2f}{ratios[-1]:>9.2f}"
        )
    return result


def by_workers(root: Path, turns: int) -> dict[str, list[float]]:
    """Seconds by the clock of the script with one worker and with two, in turns."""
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(turns):
        for workers, took in seconds.items():
            with tempfile.TemporaryDirectory() as out:
                begin = time.perf_counter()
                subprocess.run(command(root, Path(out), workers), check=True, stdout=subprocess.DEVNULL)
                took.append(time.perf_counter() - begin)
    return seconds


def command(root: Path, out: Path, workers: str) -> list[str]:
    """How an operator runs it."""
    return [sys.executable, str(SCRIPT), "--root", str(root), "--out", str(out), "--workers", workers]


def day(root: Path) -> dict[str, Any]:
    """Seconds by the clock and peak memory (MB) of a day, one worker: it works in the script's process."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        child = subprocess.Popen(command(root, Path(out), "1"), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - begin
        size = sum(path.stat().st_size for path in Path(out).rglob("*.parquet"))
    raw = sum(path.stat().st_size for path in root.rglob("*.jsonl.gz"))
    books = TOKENS * HOUR_SECONDS * DAY_HOURS
    peak = usage.ru_maxrss * 1024 / 1e6
    print(f"\na day of {TOKENS} tokens: {books:,} books in {took:.0f} s, {books / took:,.0f} books/s;")
    print(f"peak {peak:.0f} MB; {raw / 1e6:.0f} MB of segments, {size / 1e6:.0f} MB of dataset")
    return {
        "books": books,
        "seconds": round(took, 1),
        "peak_mb": round(peak, 1),
        "exit_code": child.returncode,
    }


def main() -> int:
    """Measure what is asked for, print it, judge it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="how often (default 5)")
    parser.add_argument("--tokens", type=int, default=TOKENS, metavar="N", help="of the hour (default 20)")
    parser.add_argument("--workers", action="store_true", help="also one worker against two")
    parser.add_argument("--day", action="store_true", help="also a day of 20 tokens (minutes)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    try:
        met = _measure(options, result)
    except subprocess.CalledProcessError as error:
        print(
            f"{' '.join(map(str, error.cmd))} ended with {error.returncode}\n{error.stderr or ''}",
            file=sys.stderr,
        )
        return 2
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for target, is_met in met.items():
        print(f"{'met' if is_met else 'NOT MET':<8}{target}")
    return 0 if all(met.values()) else 1


def _measure(options: argparse.Namespace, result: dict[str, Any]) -> dict[str, bool]:
    """Fill *result*; returns which targets are met."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_hours(root, options.tokens, 1, answered(options.tokens))
        found = show_turns(in_turns(root, options.turns), options.tokens * HOUR_SECONDS)
    result["turns"] = found
    speed = found["normalise"]["books_per_second"]
    ratio = {name: statistics.median(found[name]["ratios"]) for name in ("python", "duckdb")}
    met = {
        f"{BOOKS_PER_SECOND:,} books/s a core: {speed:,}": speed >= BOOKS_PER_SECOND,
        f"{TIMES_PYTHON:g} times python: {ratio['python']:.1f}": ratio["python"] >= TIMES_PYTHON,
        f"as fast as duckdb: {ratio['duckdb']:.2f}": ratio["duckdb"] >= TIMES_DUCKDB,
    }
    if options.workers:
        with tempfile.TemporaryDirectory() as folder:
            write_hours(Path(folder), options.tokens, HOURS_FOR_WORKERS, answered(options.tokens))
            result["workers"] = seconds = by_workers(Path(folder), options.turns)
        gains = sorted(one / two for one, two in zip(seconds["1"], seconds["2"], strict=True))
        gain = statistics.median(gains)
        print(f"\ntwo workers against one: {gain:.2f} times ({gains[0]:.2f} to {gains[-1]:.2f})")
        met[f"{TIMES_WORKERS} times with two workers: {gain:.2f}"] = gain >= TIMES_WORKERS
    if options.day:
        with tempfile.TemporaryDirectory() as folder:
            write_hours(Path(folder), TOKENS, DAY_HOURS, answered(TOKENS))
            result["day"] = day(Path(folder))
        peak = result["day"]["peak_mb"]
        met[f"a day below {DAY_MB} MB: {peak}"] = peak < DAY_MB and result["day"]["exit_code"] == 0
    return met


if __name__ == "__main__":
    sys.exit(main())
