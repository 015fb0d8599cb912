#!/usr/bin/env python3
"""How near do the stamps of a poll stand to what happened at the other side?

The sandbox exchange notes when a request was in its hands (t_recv) and when the answer was made, before it
goes to the socket (t_send); the real collector polls it over loopback, by the same host clock.  Two
orderings must hold for each poll: sent_ns <= t_recv and t_send <= received_ns.  The differences hold real
work: connecting, the kernel, and the exchange's own event loop.  So they are upper bounds of how early
sent_ns and how late received_ns is.

Examples:
  python bench/timestamps.py
  python bench/timestamps.py --seconds 5 --json timestamps.json

Exit codes: 0 done, 1 a poll breaks an ordering.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from bench import report
from orderbooks_spider.archive.reader import rows
from orderbooks_spider.errors import EXIT_OK, EXIT_PROBLEMS
from orderbooks_spider.items import BOOKS
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.tally import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/collect_polymarket_orderbooks.py"
LEADS = {"5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
"""A window's length ahead: at any time this window and the next of each series, 20 tokens."""
TOKENS = 20
CASES = {"20 polls/s": 1.0, "150 polls/s": TOKENS / 150}
"""Interval in seconds by case."""
PARTS = {"min": 0.0, "p1": 0.01, "p50": 0.5, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Trip:
    """The four stamps of one answered poll, ns UTC of one clock."""

    sent_ns: int
    t_recv_ns: int
    t_send_ns: int
    received_ns: int

    @property
    def request_ns(self) -> int:
        """From the collector's stamp to the exchange's."""
        return self.t_recv_ns - self.sent_ns

    @property
    def answer_ns(self) -> int:
        """From the exchange's stamp to the collector's."""
        return self.received_ns - self.t_send_ns

    @property
    def in_order(self) -> bool:
        """Whether the collector's stamps enclose the exchange's."""
        return self.sent_ns <= self.t_recv_ns <= self.t_send_ns <= self.received_ns


def join(polls: Iterable[dict[str, Any]], served: Iterable[dict[str, Any]]) -> list[Trip]:
    """Polls that brought a book with the exchange's log of books, token by token in their orders.

    A token has one poll under way at most, so the orders agree; the digests of the bodies must too.
    What was cut off at the end of a run may stand in the log alone.

    Raises:
        ValueError: a poll has no counterpart.

    """
    books: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
    for entry in sorted(served, key=lambda entry: entry["t_recv_ns"]):
        if entry["path"] == "/book" and entry["status"] == 200:
            books[entry["token_id"]].append(entry)
    trips = []
    for poll in sorted(polls, key=lambda poll: poll["due_ns"]):
        if poll["result"] != "ok":
            continue
        token_books = books[poll["token_id"]]
        digest = hashlib.sha256(poll["body"].encode()).hexdigest()
        if not token_books or token_books[0]["sha256"] != digest:
            raise ValueError(f"seq {poll['seq']}: its body is not the one that was served next")
        entry = token_books.popleft()
        trips.append(Trip(poll["sent_ns"], entry["t_recv_ns"], entry["t_send_ns"], poll["received_ns"]))
    return trips


def collect(interval: float, seconds: float) -> list[Trip]:
    """Run the sandbox exchange and a collector, and join what both wrote."""
    with tempfile.TemporaryDirectory() as folder:
        log, root = Path(folder) / "served.jsonl", Path(folder) / "archive"
        with SandboxChild.start(["--served-log", str(log)]) as sandbox:
            config = {
                "environment": "sandbox",
                "venue": {"gamma_url": sandbox.url, "clob_url": sandbox.url},
                "discovery": {"horizon_seconds": 2 * LEADS["1d"]},
                "polling": {
                    "interval_seconds": interval,
                    "lead_seconds": LEADS,
                    "linger_seconds": 0,
                    "budget_fraction": 2,
                },
                "archive": {"root": str(root), "min_free_bytes": 0},
            }
            file = Path(folder) / "collector.yaml"
            file.write_text(yaml.safe_dump(config), encoding="utf-8")
            command = [sys.executable, str(SCRIPT), "--config", str(file), "--seconds", str(seconds)]
            subprocess.run(command, check=True, capture_output=True)
        served = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return join((row.value() for row in rows(root, BOOKS)), served)


def measure(trips: list[Trip]) -> dict[str, dict[str, float]]:
    """By direction: polls, breaches of its ordering, and nearest-rank percentiles in microseconds."""
    ways = {
        "t_recv - sent_ns": sorted(trip.request_ns for trip in trips),
        "received_ns - t_send": sorted(trip.answer_ns for trip in trips),
    }
    found: dict[str, dict[str, float]] = {}
    for way, ordered in ways.items():
        found[way] = {"polls": len(ordered), "violations": sum(value < 0 for value in ordered)}
        ranks = {part: percentile(ordered, fraction) for part, fraction in PARTS.items()}
        found[way] |= {part: value / 1000 for part, value in ranks.items() if value is not None}
    return found


def main() -> int:
    """Print the table."""
    parser = report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="how long each case runs (default 20)")
    args = parser.parse_args()
    machine = report.print_machine()
    cases = {name: measure(collect(interval, args.seconds)) for name, interval in CASES.items()}
    lines = {f"{name}, {way}": found for name, ways in cases.items() for way, found in ways.items()}
    report.print_table(
        ["µs", "polls", "violations", *PARTS],
        [[name, *(f"{value:,.0f}" for value in found.values())] for name, found in lines.items()],
    )
    report.write_json(args.json, {"machine": machine, "cases": cases})
    return EXIT_PROBLEMS if any(found["violations"] for found in lines.values()) else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
