#!/usr/bin/env python3
"""List the BTC up/down markets once: raw answers and records to the archive, a list to ROOT/discovery.

Writes polymarket_btc_markets_latest.json, polymarket_btc_markets_manifest.json and
polymarket_btc_markets.md.  The same pass as `scrapy crawl polymarket_markets`.

Examples:
  python scripts/discover_polymarket_btc_markets.py --config config/polymarket_collector.example.yaml
  python scripts/discover_polymarket_btc_markets.py --config config/polymarket_collector.sandbox.yaml

Exit codes: 0 listed, 78 bad config, 75 archive locked by another process, 74 storage failed,
70 the venue gave no usable answer, or an internal error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.config import load
from orderbooks_spider.errors import EXIT_OK, OrderbooksError
from orderbooks_spider.polymarket.market_list import TABLE_FILE
from orderbooks_spider.spiders.crawl import run_spider
from orderbooks_spider.spiders.polymarket_markets import PolymarketMarketsSpider


def main() -> int:
    """Parse the arguments, run the pass, and show the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML config file")
    arguments = parser.parse_args()
    try:
        config = load(arguments.config)
        code = run_spider(PolymarketMarketsSpider, config=config)
        if code == EXIT_OK:
            print(f"listed in {Path(config.archive.root) / 'discovery' / TABLE_FILE}")
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
