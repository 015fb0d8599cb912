"""A segment of the ``markets`` feed as rows of ``markets``: records and refusals, without raw answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from orderbooks_spider.errors import ArchiveError, VenueError
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.fixed import decimals_of
from orderbooks_spider.normalize.levels import price_of, size_of
from orderbooks_spider.normalize.raw import place, read_members
from orderbooks_spider.polymarket.market import from_record

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.polymarket.market import Market

_KINDS: Final = ("market", "refused", "gave_up")
_AS_RECORDED: Final = (
    "event_slug", "question", "gamma_id", "window", "window_start_ns", "window_end_ns", "active", "closed",
    "accepting_orders", "enable_order_book", "neg_risk", "closed_time", "price_to_beat", "final_price",
    "listed_at", "resolution_source", "resolved",
)  # fmt: skip
"""Columns that are attributes of the record, under the same name."""


class MarketRow(msgspec.Struct, gc=False):
    """The keys of a raw row that the dataset needs."""

    run_id: str
    collector_id: str
    seq: int
    kind: str
    observed_ns: int
    reason: str | None
    request_id: str | None
    venue: str
    market_slug: str | None
    condition_id: str | None
    market: dict[str, Any] | None
    environment: str


_row = msgspec.json.Decoder(MarketRow)


def read_markets(path: Path, file: str) -> pa.Table:
    """The rows of the sealed segment *path*, called *file* in the dataset.

    Raises:
        ArchiveError: a line is no row of this feed, or its record is no market.
        StorageError: it cannot be read.

    """
    rows: list[dict[str, Any]] = []
    for member, found in enumerate(read_members(path, _row)):
        for line, row in enumerate(found):
            if row.kind not in _KINDS:
                continue
            try:
                record = _record(row)
            except VenueError as error:
                raise ArchiveError(f"{place(path, member, line)}: {error}; run verify") from error
            lineage = {"raw_file": file, "raw_member": member, "raw_line": line}
            rows.append(msgspec.structs.asdict(row) | record | lineage)
    columns = [_column(field, [row.get(field.name) for row in rows]) for field in tables.MARKETS.schema]
    return pa.table(columns, schema=tables.MARKETS.schema)


def _record(row: MarketRow) -> dict[str, Any]:
    """The columns that only a record fills."""
    if row.market is None:
        return {}
    market = from_record(row.market)
    found: dict[str, Any] = {name: getattr(market, name) for name in _AS_RECORDED}
    found["tick_size"] = None if market.tick_size is None else price_of(market.tick_size)
    found["min_order_size"] = None if market.min_order_size is None else size_of(market.min_order_size)
    found |= dict(zip(("up_token_id", "down_token_id"), _by_outcome(market, market.token_ids), strict=True))
    if market.outcome_prices is not None:
        names = ("up_outcome_price", "down_outcome_price")
        found |= dict(zip(names, _by_outcome(market, market.outcome_prices), strict=True))
    return found


def _by_outcome(market: Market, values: tuple[str, str]) -> tuple[str, str]:
    """The values of Up and of Down."""
    named = dict(zip(market.outcomes, values, strict=True))
    return named["Up"], named["Down"]


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    if pa.types.is_decimal(field.type):
        return decimals_of(values, field.type)
    return pa.array(values, field.type)
