#!/usr/bin/env python3
"""What does it cost to turn a row into a line: Scrapy's JSON Lines exporter beside ours?

Both get the same item with a book of the sandbox's size; rounds alternate, the median counts.

Examples:
  python bench/exporter.py
  python bench/exporter.py --rows 20000 --json exporter.json
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
from scrapy.exporters import JsonLinesItemExporter

from bench import report
from orderbooks_spider.clock import SystemClock
from orderbooks_spider.items import PollItem

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS = 85
ROUNDS = 5


def item_with_book() -> PollItem:
    """A row as the collector makes it: about 3.5 KB of body."""
    levels = [{"price": f"0.{number:02d}", "size": f"{number * 17}.5"} for number in range(1, LEVELS)]
    body = msgspec.json.encode({"market": "0x" + "a" * 64, "bids": levels}).decode()
    return PollItem(
        seq=1,
        slot=1,
        due_ns=1,
        result="ok",
        headers={"content-type": "application/json", "server": "x"},
        params={"token_id": "7" * 77},
        market_slug="btc-updown-5m-1776328500",
        condition_id="0x" + "b" * 64,
        token_id="7" * 77,
        outcome="Up",
        window_start="",
        window_end="",
        body=body,
    )


def micros(export: Callable[[PollItem], object], rows: int) -> float:
    """Microseconds a row."""
    item, clock = item_with_book(), SystemClock()
    began_ns = clock.monotonic_ns()
    for _ in range(rows):
        export(item)
    return (clock.monotonic_ns() - began_ns) / rows / 1000


def main() -> int:
    """Measure and print the table."""
    parser = report.parser(__doc__)
    parser.add_argument("--rows", type=int, default=5000, metavar="N", help="rows a round (default 5000)")
    arguments = parser.parse_args()
    encode = msgspec.json.Encoder().encode
    ways: dict[str, Callable[[PollItem], object]] = {
        "JsonLinesItemExporter": JsonLinesItemExporter(io.BytesIO()).export_item,
        "msgspec encoder": lambda item: encode(item) + b"\n",
    }
    machine = report.print_machine()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(micros(way, arguments.rows))
    slow, fast = found.values()
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    report.print_table(
        ["way", "µs a row"],
        [[name, report.spread(values, ".1f")] for name, values in found.items()]
        + [["ratio", report.spread(ratios, ".1f")]],
    )
    result: dict[str, Any] = {name: report.summary(values) for name, values in found.items()}
    report.write_json(arguments.json, {"machine": machine, "ratio": report.summary(ratios)} | result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
