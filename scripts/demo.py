#!/usr/bin/env python3
"""Collect from the sandbox exchange, verify, normalise, and show one screen of what came out.

`sh scripts/demo.sh` makes the environment and calls this.

Examples:
  python scripts/demo.py
  python scripts/demo.py --seconds 20

Exit code: 0 only if the archive has no integrity problem and all of it was normalised; otherwise that
of the step that failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.archive import verify_text
from orderbooks_spider.archive.summary import Summary, newest_run, summarise
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.config import load, positive_seconds
from orderbooks_spider.errors import EXIT_OK, EXIT_PROBLEMS, OrderbooksError
from orderbooks_spider.normalize import text
from orderbooks_spider.normalize.run import normalise_archives
from orderbooks_spider.spiders.crawl import run_spider
from orderbooks_spider.spiders.polymarket_books import PolymarketBooksSpider

PROJECT = Path(__file__).resolve().parents[1]
DATASET = "dataset"
"""Where the tables go, below the archive's root: one folder holds all that the demo makes."""
CONFIG = PROJECT / "config" / "polymarket_collector.sandbox.yaml"


def main() -> int:
    """Run the four steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=positive_seconds, default=60, metavar="N", help="how long (default 60)"
    )
    seconds = parser.parse_args().seconds
    try:
        config = load(CONFIG)
        root = Path(config.archive.root)
        print(f"== collect for {seconds:g} s from the sandbox exchange into {root}/", flush=True)
        code = run_spider(PolymarketBooksSpider, config=config, seconds=seconds)
        if code != EXIT_OK:
            return code
        print("\n== verify", flush=True)
        report = verify(root)
        for line in verify_text.lines(report):
            print(line)
        print("\n== normalise", flush=True)
        made = normalise_archives([root], root / DATASET)
        for line in [*text.table_lines(made), *made.errors]:
            print(line)
        print("gaps: planned slots without an answer, those before the first listing included")
        print("\n== summary of this run")
        for line in summary_lines(summarise(root, newest_run(root)), root):
            print(line)
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return report.exit_code or (EXIT_PROBLEMS if made.errors else EXIT_OK)


def summary_lines(summary: Summary, root: Path) -> list[str]:
    """One screen, at most 80 columns."""
    coverage = "-" if summary.coverage is None else f"{summary.coverage:.2%}"
    others = {name: count for name, count in sorted(summary.results.items()) if name != "ok"}
    hashes = summary.hashes
    size = f"{summary.bytes / max(1, summary.rows):.0f} a row"
    rows = {
        "environment": f"{summary.run.environment} (simulated: shows how it works, not the market)",
        "markets": f"{len(summary.markets)} ({len(summary.tokens)} tokens)",
        "slots planned": f"{summary.planned:,}",
        "slots answered": f"{summary.answered:,}, coverage {coverage}",
        "other results": ", ".join(f"{name} {count}" for name, count in others.items()) or "none",
        "lateness": _times(summary.lateness(0.5), summary.lateness(0.99), "sent after due"),
        "latency": _times(summary.latency(0.5), summary.latency(0.99), "answered after sent"),
        "rows": f"{summary.rows:,} in {summary.bytes:,} bytes, {size}",
        "venue hashes": f"{hashes['agrees']:,} agree, {hashes['disagrees']:,} disagree",
        "dataset": f"{root / DATASET}/",
        "run manifest": f"{root}/manifests/runs/*_{summary.run.run_id}.json",
    }
    lines = [f"{name:<16}{value}" for name, value in rows.items()]
    feeds = root / "raw" / "polymarket"
    return [*lines, f"files in {feeds}/:"] + [f"  {path.relative_to(feeds)}" for path in summary.files]


def _times(middle: int | None, high: int | None, what: str) -> str:
    if middle is None or high is None:
        return "-"
    return f"p50 {middle / 1e6:.1f} ms, p99 {high / 1e6:.1f} ms ({what})"


if __name__ == "__main__":
    sys.exit(main())
