"""The list of markets that one discovery pass found, as JSON for programs and Markdown for people."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import iso_utc

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.gamma import Pass
    from orderbooks_spider.polymarket.market import Market

LIST_FILE = "polymarket_btc_markets_latest.json"
MANIFEST_FILE = "polymarket_btc_markets_manifest.json"
TABLE_FILE = "polymarket_btc_markets.md"


@dataclass(frozen=True, slots=True)
class Origin:
    """Which run listed the markets, when (UTC ns), and from where."""

    run_id: str
    collector_version: str
    environment: str
    gamma_url: str
    fetched_ns: int


def status_of(market: Market, now_ns: int) -> str:
    """``upcoming``, ``open`` (inside its window), ``ended``, ``closed`` or ``resolved``, by time first."""
    if market.resolved:
        return "resolved"
    if market.closed:
        return "closed"
    if now_ns < market.window_start_ns:
        return "upcoming"
    return "open" if now_ns < market.window_end_ns else "ended"


def artefacts(found: Pass, origin: Origin) -> dict[str, bytes]:
    """The three files by name; the manifest carries the digests of the other two."""
    markets = sorted(
        {sighting.market.condition_id: sighting for sighting in found.sightings}.values(),
        key=lambda sighting: (sighting.market.window_start_ns, sighting.market.market_slug),
    )
    records = [
        sighting.market.record()
        | {
            "status": status_of(sighting.market, origin.fetched_ns),
            "source": sighting.answer.ask.url,
            "fetched_at_utc": iso_utc(sighting.answer.received_ns or origin.fetched_ns),
        }
        for sighting in markets
    ]
    head = {
        "schema": "orderbooks.discovery/1",
        "venue": "polymarket",
        "environment": origin.environment,
        "run_id": origin.run_id,
        "collector_version": origin.collector_version,
        "source": origin.gamma_url,
        "fetched_at_utc": iso_utc(origin.fetched_ns),
    }
    files = {
        LIST_FILE: _pretty(head | {"markets": records}),
        TABLE_FILE: _table(head, records).encode(),
    }
    manifest = head | {
        "requests": found.asked,
        "requests_failed": found.failed,
        "markets": len(records),
        "by_window": dict(sorted(Counter(record["window"] for record in records).items())),
        "by_status": dict(sorted(Counter(record["status"] for record in records).items())),
        "refused": [
            {"market_slug": refusal.market_slug, "reason": refusal.reason} for refusal in found.refusals
        ],
        "files": [
            {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ],
    }
    return files | {MANIFEST_FILE: _pretty(manifest)}


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _table(head: dict[str, str], records: list[dict[str, Any]]) -> str:
    lines = [
        "# BTC up/down markets",
        "",
        f"Environment: {head['environment']}.",
        f"Listed at {head['fetched_at_utc']} from {head['source']} by run {head['run_id']}.",
        "Token ids are cut; the JSON file beside this one has them whole.",
        "",
        "| window | status | from | to | market | condition id | Up token | Down token |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        up, down = (f"{token_id[:8]}…" for token_id in record["token_ids"])
        lines.append(
            f"| {record['window']} | {record['status']} | {record['window_start'][:16]}Z "
            f"| {record['window_end'][:16]}Z | {record['market_slug']} "
            f"| {record['condition_id'][:10]}… | {up} | {down} |"
        )
    return "\n".join(lines) + "\n"
