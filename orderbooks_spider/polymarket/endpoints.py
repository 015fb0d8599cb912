"""Every request this project sends: its address, its parameters, and the limit it counts against.

Only GET, and the read-only ``POST /books``.  Limits are per ten seconds and per IP (docs.polymarket.com,
"rate limits", 2026-06-18; fact sheet, section 8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from orderbooks_spider.clock import NS, iso_utc

LIMIT_WINDOW_NS = 10 * NS
BOOK_LIMIT = 1500
"""``GET /book`` requests in ten seconds."""
BOOKS_LIMIT = 500
"""``POST /books`` requests in ten seconds."""
BATCH_LIMIT = 500
"""Tokens in one ``POST /books``: 501 are refused (fact sheet, section 3.2)."""
EVENTS_PAGE = 500


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; ``params`` are its query parameters, or for ``POST`` the JSON sent."""

    url: str
    params: dict[str, Any] = field(default_factory=dict)
    method: str = "GET"
    body: bytes = b""


def book(clob_url: str, token_id: str) -> Ask:
    """The book of one token."""
    return Ask(f"{clob_url}/book", {"token_id": token_id})


def books(clob_url: str, token_ids: list[str]) -> Ask:
    """The books of up to :data:`BATCH_LIMIT` tokens; answers come in any order, some not at all."""
    body = msgspec.json.encode([{"token_id": token_id} for token_id in token_ids])
    return Ask(f"{clob_url}/books", method="POST", body=body)


def series_by_slug(gamma_url: str, slug: str) -> Ask:
    """The series with *slug*: where its id is read from."""
    return Ask(f"{gamma_url}/series", {"slug": slug})


def open_events(gamma_url: str, series_id: str | list[str], span: tuple[int, int] | None) -> Ask:
    """Open events of a series; *span* keeps those that end after its first and start before its second ns.

    Several series in one call are the probe's question, for it is not documented that they combine.

    ``closed`` is always sent: without it the older endpoint answered closed events only.
    """
    params: dict[str, Any] = {"series_id": series_id, "closed": "false", "limit": str(EVENTS_PAGE)}
    if span is not None:
        params |= {"end_date_min": _second(span[0]), "start_time_max": _second(span[1])}
    return Ask(f"{gamma_url}/events/keyset", params)


def ended_events(gamma_url: str, series_id: str, span: tuple[int, int], *, closed: bool) -> Ask:
    """Events of a series whose window ended in *span* (ns), and some seconds around it.

    Whether the venue counts the bounds in is not documented: the caller sorts out what is outside.
    """
    params = {"series_id": series_id, "closed": str(closed).lower(), "limit": str(EVENTS_PAGE)}
    dates = {"end_date_min": _second(span[0] - NS), "end_date_max": _second(span[1] + NS)}
    return Ask(f"{gamma_url}/events/keyset", params | dates)


def after(ask: Ask, cursor: str) -> Ask:
    """The next page of a keyset listing (``after_cursor``: ``cursor`` would repeat page one for ever)."""
    return Ask(ask.url, ask.params | {"after_cursor": cursor})


def event_by_slug(gamma_url: str, slug: str) -> Ask:
    """One event with its markets."""
    return Ask(f"{gamma_url}/events/slug/{slug}")


def clob_market(clob_url: str, condition_id: str) -> Ask:
    """A market as the CLOB knows it; asked by the probe only."""
    return Ask(f"{clob_url}/markets/{condition_id}")


def venue_time(clob_url: str) -> Ask:
    """The venue's clock, in whole seconds; asked by the probe only."""
    return Ask(f"{clob_url}/time")


def _second(ns: int) -> str:
    return iso_utc(ns)[:19] + "Z"
