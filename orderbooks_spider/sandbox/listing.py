"""Gamma's keyset lists: filters, order, pages, and the traps of the real endpoints.

``cursor`` is ignored, so a client that sends it sees page 1 for ever; ``next_cursor`` is absent on
the last page; ``offset`` is refused; without ``closed`` only closed markets come (as reported of
the older endpoints), so clients must say which they want. Section 2.1 of the fact sheet.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS, parse_utc

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

    from orderbooks_spider.sandbox.markets import Market

_ORDERS: dict[str, Callable[[Market], int]] = {
    "id": lambda market: int(market.event_id),
    "createdAt": lambda market: market.life.created_ns,
    "startDate": lambda market: market.life.created_ns,
    "startTime": lambda market: market.start_ns,
    "endDate": lambda market: market.end_ns,
}
_TIMES: dict[str, Callable[[Market], int]] = {
    "start_date": lambda market: market.life.created_ns + 60 * NS,
    "start_time": lambda market: market.start_ns,
    "end_date": lambda market: market.end_ns,
}
_NAMES: dict[str, Callable[[Market], tuple[str, ...]]] = {
    "id": lambda market: (market.event_id, market.gamma_id),
    "slug": lambda market: (market.slug,),
    "series_id": lambda market: (market.series.id,),
    "condition_ids": lambda market: (market.condition_id,),
    "question_ids": lambda market: (market.question_id,),
    "clob_token_ids": lambda market: market.token_ids,
}


class QueryError(ValueError):
    """A parameter that the real endpoint refuses with status 422."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; no cursor on the last one."""

    markets: list[Market]
    next_cursor: str | None


def page_of(markets: list[Market], query: MultiMapping[str], now_ns: int, most: int) -> Page:
    """Filter, order and cut *markets* as *query* asks.

    Args:
        markets: all that exist now.
        query: the request's parameters; unknown ones are ignored, as the venue does.
        now_ns: decides which markets Gamma shows as closed.
        most: the greatest ``limit`` of this endpoint.

    Raises:
        QueryError: a parameter has no meaning here; its text goes into the answer.

    """
    if "offset" in query:
        raise QueryError("offset is not allowed on keyset endpoints")
    limit = _limit(query, most)
    kept = _filtered(markets, query, now_ns)
    order = query.get("order", "createdAt")
    if order not in _ORDERS:
        raise QueryError(f"order {order!r} is not valid")
    value = _ORDERS[order]
    down = "order" in query and query.get("ascending", "true") == "false"
    rows = sorted(((value(market), market.slug, market) for market in kept), reverse=down, key=_row_key)
    after = query.get("after_cursor")
    if after:
        place = _decode_cursor(after)
        rows = [row for row in rows if (_row_key(row) < place if down else _row_key(row) > place)]
    cursor = _encode_cursor(rows[limit - 1]) if len(rows) > limit else None
    return Page([row[2] for row in rows[:limit]], cursor)


def _row_key(row: tuple[int, str, Market]) -> tuple[int, str]:
    return row[0], row[1]


def _limit(query: MultiMapping[str], most: int) -> int:
    text = query.get("limit", "20")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise QueryError(f"limit must be between 1 and {most}")
    return int(text)


def _filtered(markets: list[Market], query: MultiMapping[str], now_ns: int) -> list[Market]:
    closed = _flag(query, "closed", default=True)
    kept = [market for market in markets if (now_ns >= market.life.resolved_ns) is closed]
    for name, names_of in _NAMES.items():
        wanted = set(query.getall(name, []))
        if len(wanted) > 100 and name == "condition_ids":
            raise QueryError("condition_ids must have at most 100 items")
        if wanted:
            kept = [market for market in kept if not wanted.isdisjoint(names_of(market))]
    for name, time_of in _TIMES.items():
        least, greatest = _time(query, f"{name}_min"), _time(query, f"{name}_max")
        if least is not None:
            kept = [market for market in kept if time_of(market) >= least]
        if greatest is not None:
            kept = [market for market in kept if time_of(market) <= greatest]
    return kept


def _flag(query: MultiMapping[str], name: str, *, default: bool) -> bool:
    text = query.get(name)
    if text is None:
        return default
    if text not in {"true", "false"}:
        raise QueryError(f"{name} must be true or false")
    return text == "true"


def _time(query: MultiMapping[str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return parse_utc(text)
    except ValueError as error:
        raise QueryError(f"{name} must be an ISO 8601 time") from error


def _encode_cursor(row: tuple[int, str, Market]) -> str:
    return base64.urlsafe_b64encode(json.dumps([row[0], row[1]]).encode()).decode()


def _decode_cursor(text: str) -> tuple[int, str]:
    try:
        value, slug = json.loads(base64.urlsafe_b64decode(text.encode()))
        return int(value), str(slug)
    except (ValueError, TypeError) as error:
        raise QueryError("after_cursor is not valid") from error
