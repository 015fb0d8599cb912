#!/usr/bin/env python3
"""Make the samples of checkpoints 4 and 5: a short archive, its dataset, and a manifest of each.

The collector writes ROOT/live_sample/ (ROOT is archive.root of the config), the dataset goes to
ROOT/normalized_sample/, and ROOT/manifests/ gets orderbook_collector_sample_manifest.json and
orderbook_normalization_sample_manifest.json.  Paths in them are relative to the sample's folder.

Examples:
  python scripts/make_samples.py --config config/polymarket_collector.sample.yaml
  python scripts/make_samples.py --config my.yaml --seconds 600

Exit codes: 0 both samples are there, verified clean and whole; 1 the archive or the dataset has a problem;
78 bad config, or samples are there already; others as of the collector.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.archive import verify_text
from orderbooks_spider.archive.durable import atomic_write
from orderbooks_spider.archive.sample import (
    SAMPLE_FOLDER,
    SAMPLE_SECONDS,
    sample_config,
    write_sample_manifest,
)
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.config import load, positive_seconds
from orderbooks_spider.errors import EXIT_OK, EXIT_PROBLEMS, ConfigError, OrderbooksError
from orderbooks_spider.normalize import manifest, text
from orderbooks_spider.normalize.run import normalise_archives
from orderbooks_spider.spiders.crawl import run_spider
from orderbooks_spider.spiders.polymarket_books import PolymarketBooksSpider

DATASET = "normalized_sample"
DATASET_MANIFEST = "manifests/orderbook_normalization_sample_manifest.json"


def main() -> int:
    """Collect, verify, normalise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the collector's YAML config file")
    parser.add_argument(
        "--seconds", type=positive_seconds, default=SAMPLE_SECONDS, metavar="N",
        help=f"how long (default {SAMPLE_SECONDS:g})",
    )  # fmt: skip
    options = parser.parse_args()
    try:
        config = load(options.config)
        root = Path(config.archive.root)
        check_absent([root / SAMPLE_FOLDER, root / DATASET])
        code = run_spider(PolymarketBooksSpider, config=sample_config(config), seconds=options.seconds)
        if code != EXIT_OK:
            return code
        pages = [write_sample_manifest(config), root / DATASET_MANIFEST]
        report = verify(root / SAMPLE_FOLDER)
        made = normalise_archives([root / SAMPLE_FOLDER], root / DATASET)
        atomic_write(pages[1], (root / DATASET / manifest.FILE).read_bytes())
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for line in [*verify_text.lines(report), "", *text.table_lines(made), *made.errors, ""]:
        print(line)
    for page in pages:
        print(f"{config.environment} sample: {page}")
    return report.exit_code or (EXIT_PROBLEMS if made.errors else EXIT_OK)


def check_absent(folders: list[Path]) -> None:
    """Samples are made whole: what is there is neither added to nor removed.

    Raises:
        ConfigError: one of *folders* exists.

    """
    for folder in folders:
        if folder.exists():
            raise ConfigError(
                f"{folder}: a sample is there already: move it away, or set archive.root to another folder"
            )


if __name__ == "__main__":
    sys.exit(main())
