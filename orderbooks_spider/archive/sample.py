"""The checkpoint 4 sample: a short archive of its own, and one manifest that says what is in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive.durable import atomic_write
from orderbooks_spider.archive.summary import Summary, newest_run, summarise
from orderbooks_spider.archive.verify import verify

if TYPE_CHECKING:
    from orderbooks_spider.config import Config

SAMPLE_SECONDS = 300.0
SAMPLE_FOLDER = "live_sample"
SAMPLE_MANIFEST = "manifests/orderbook_collector_sample_manifest.json"
SCHEMA = "orderbooks.sample/1"


def sample_config(config: Config) -> Config:
    """The same collector, writing to ``ROOT/live_sample``."""
    root = str(Path(config.archive.root) / SAMPLE_FOLDER)
    return msgspec.structs.replace(config, archive=msgspec.structs.replace(config.archive, root=root))


def write_sample_manifest(config: Config) -> Path:
    """Describe the newest run of the sample, after verifying all of it.

    Raises:
        ArchiveError: the sample holds no run, or cannot be checked.
        StorageError: the manifest cannot be written.

    """
    root = Path(config.archive.root)
    sample = root / SAMPLE_FOLDER
    summary = summarise(sample, newest_run(sample))
    described = describe(summary) | {"verify_problems": len(verify(sample).problems)}
    path = root / SAMPLE_MANIFEST
    atomic_write(path, msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n")
    return path


def describe(summary: Summary) -> dict[str, Any]:
    """Timing, markets, requests, status codes, rows and files of one run."""
    run = summary.run
    codes: Counter[str] = Counter()
    for manifest in summary.books:
        codes.update(manifest.status_codes)
    return {
        "schema": SCHEMA,
        "venue": "polymarket",
        "environment": run.environment,
        "collector": run.collector,
        "collector_version": run.collector_version,
        "config_sha256": run.config_sha256,
        "run_id": run.run_id,
        "started_utc": run.started_utc,
        "stopped_utc": run.stopped_utc,
        "stop_reason": run.stop_reason,
        "markets": sorted(summary.markets),
        "tokens": len(summary.tokens),
        "requests": sum(manifest.requests for manifest in summary.books),
        "status_codes": dict(sorted(codes.items())),
        "slots_planned": summary.planned,
        "slots_answered": summary.answered,
        "coverage": summary.coverage,
        "results": dict(sorted(summary.results.items())),
        "lateness_ns": {name: summary.lateness(part) for name, part in _PARTS.items()},
        "latency_ns": {name: summary.latency(part) for name, part in _PARTS.items()},
        "venue_hash": dict(summary.hashes),
        "poll_rows": summary.rows,
        "poll_bytes": summary.bytes,
        "files": [msgspec.to_builtins(segment) for segment in run.segments],
    }


_PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
