#!/usr/bin/env python3
"""Collect order books: the operator's entry, with honest exit codes.

The same crawl as `scrapy crawl polymarket_books`, which exits 0 even when it failed.

Examples:
  python scripts/collect_polymarket_orderbooks.py --config config/polymarket_collector.example.yaml
  python scripts/collect_polymarket_orderbooks.py --config my.yaml --check-config
  python scripts/collect_polymarket_orderbooks.py --config my.yaml --seconds 600
  python scripts/collect_polymarket_orderbooks.py --config my.yaml --sample

Exit codes: 0 stopped as asked, 78 bad config, 75 archive locked by another process,
74 storage failed for good, 70 internal error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.archive.sample import SAMPLE_SECONDS, sample_config, write_sample_manifest
from orderbooks_spider.config import load, positive_seconds
from orderbooks_spider.errors import EXIT_OK, OrderbooksError
from orderbooks_spider.spiders.crawl import run_spider
from orderbooks_spider.spiders.polymarket_books import PolymarketBooksSpider


def main() -> int:
    """Parse the arguments, run, and say how it ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML config file")
    parser.add_argument(
        "--seconds", type=positive_seconds, metavar="N", help="stop by itself after N seconds"
    )
    parser.add_argument(
        "--check-config", action="store_true", help="read the config, say what it means, and end"
    )
    parser.add_argument(
        "--sample",
        action="store_true",
        help="collect into ROOT/live_sample (300 s unless --seconds), its manifest into ROOT/manifests",
    )
    arguments = parser.parse_args()
    try:
        config = load(arguments.config)
        if arguments.check_config:
            polling, archive = config.polling, config.archive
            watcher = config.health.host
            asked = " and ".join(sorted(config.hosts)) or "a sandbox exchange of its own"
            print(
                f"{arguments.config}: ok: {config.environment}, {polling.mode} every "
                f"{polling.interval_seconds:g} s, windows {' '.join(config.discovery.windows)}, "
                f"into {archive.root}, asking {asked} "
                f"as {config.venue.user_agent!r}" + (f", pinging {watcher} while healthy" if watcher else "")
            )
            return EXIT_OK
        if not arguments.sample:
            return run_spider(PolymarketBooksSpider, config=config, seconds=arguments.seconds)
        seconds = arguments.seconds or SAMPLE_SECONDS
        code = run_spider(PolymarketBooksSpider, config=sample_config(config), seconds=seconds)
        if code == EXIT_OK:
            print(f"sample manifest: {write_sample_manifest(config)}")
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
