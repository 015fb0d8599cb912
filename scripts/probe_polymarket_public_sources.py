#!/usr/bin/env python3
"""Ask the venue's public sources some 30 questions, and compare the answers with what the pages claim.

Writes polymarket_public_sources_probe_v1.md (read this one), .json and .raw.jsonl.gz.  Two requests a second,
none repeated, to the two hosts of the config; it takes about 20 s.

Examples:
  python scripts/probe_polymarket_public_sources.py --config config/polymarket_collector.sandbox.yaml
  python scripts/probe_polymarket_public_sources.py --config my.yaml --window-end

Exit codes: 0 a market and a book were read, and no claim is refuted; 1 they were read, and a claim does not
hold (the page lists it); 70 no market or no book could be read (the page says why), or an internal error;
74 the files cannot be written; 78 bad config, or the files of the other environment are there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.config import load
from orderbooks_spider.errors import OrderbooksError
from orderbooks_spider.spiders.crawl import run_spider
from orderbooks_spider.spiders.polymarket_probe import PublicSourcesProbe

OUT = Path("data/probes")


def main() -> int:
    """Parse the arguments, ask, and let the exit code say what came of it."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML config file")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help=f"where to write (default {OUT})"
    )
    parser.add_argument(
        "--window-end",
        action="store_true",
        help="also wait for the end of the present 5-minute window and watch it close: up to 11 minutes and "
        "30 requests more",
    )
    options = parser.parse_args()
    try:
        config = load(options.config)
        return run_spider(PublicSourcesProbe, config=config, out=options.out, window_end=options.window_end)
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
