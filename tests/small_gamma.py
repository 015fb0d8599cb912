"""A small Gamma in memory, and discovery against it in simulated time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import parse
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.polymarket.discovery import Discovery

if TYPE_CHECKING:
    from orderbooks_spider.polymarket.endpoints import Ask
    from orderbooks_spider.polymarket.gamma import Pass
    from tests.fake_clock import FakeClock

START = 1_776_323_400
"""Start of a five-minute window; the clock of each test begins here."""
SERIES_ID = "777"


def slug_at(minutes: int) -> str:
    """The slug of the window that starts *minutes* after START."""
    return f"btc-updown-5m-{START + 60 * minutes}"


@dataclass
class Gamma:
    """A small Gamma in memory: its events, listed in pages, and the ways in which it misbehaves."""

    clock: FakeClock
    page_size: int = 500
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    refuses_dates: bool = False
    repeats_cursor: bool = False
    broken: dict[str, tuple[int | None, bytes]] = field(default_factory=dict)
    """Status (``None``: no answer at all) and body by the start of a path."""
    asked: list[Ask] = field(default_factory=list)

    def open_market(self, minutes: int, **changes: Any) -> dict[str, Any]:
        """List the window that starts *minutes* after START; returns the market, to be changed later."""
        start, slug = START + 60 * minutes, slug_at(minutes)
        market = {
            "id": str(start),
            "slug": slug,
            "question": "Bitcoin Up or Down",
            "conditionId": f"0x{start:064x}",
            "eventStartTime": iso_utc(start * NS),
            "endDate": iso_utc((start + 300) * NS),
            "outcomes": '["Up", "Down"]',
            "outcomePrices": '["0.505", "0.495"]',
            "clobTokenIds": json.dumps([f"{start}001", f"{start}002"]),
            "closed": False,
        } | changes
        times = {"startTime": market["eventStartTime"], "endDate": market["endDate"]}
        self.events[slug] = {"slug": slug, "closed": market["closed"], "markets": [market], **times}
        return market

    def resolve(self, minutes: int) -> None:
        """Close a market with Up as the winner."""
        self.events[slug_at(minutes)]["closed"] = True
        self.events[slug_at(minutes)]["markets"][0].update(closed=True, outcomePrices='["1", "0"]')

    async def fetch(self, ask: Ask) -> Answer:
        """Answer as the venue would."""
        self.asked.append(ask)
        path = ask.url.removeprefix("https://gamma-api.polymarket.com")
        for start, (status, body) in self.broken.items():
            if path.startswith(start):
                failure = ("connection", "refused") if status is None else None
                return Answer(ask=ask, request_id="r", status=status, body=body, failure=failure)
        status, content = self._content(path, ask.params)
        return Answer(ask=ask, request_id="r", status=status, body=json.dumps(content).encode())

    def _content(self, path: str, params: dict[str, str]) -> tuple[int, Any]:
        if path == "/series":
            return 200, [{"slug": "other", "id": "1"}, {"slug": params["slug"], "id": SERIES_ID}]
        if path == "/events/keyset":
            return self._page(params)
        slug = path.removeprefix("/events/slug/")
        return (200, self.events[slug]) if slug in self.events else (404, {"error": "event not found"})

    def _page(self, params: dict[str, str]) -> tuple[int, Any]:
        if self.refuses_dates and {"end_date_min", "end_date_max", "start_time_max"} & set(params):
            return 422, {"type": "validation error", "error": "invalid date"}
        earliest = parse_utc(params.get("end_date_min", "1970-01-01T00:00:00Z"))
        latest_end = parse_utc(params.get("end_date_max", "2100-01-01T00:00:00Z"))
        latest = parse_utc(params.get("start_time_max", "2100-01-01T00:00:00Z"))
        listed = [
            event
            for slug, event in sorted(self.events.items())
            if slug not in self.unlisted
            and event["closed"] == (params["closed"] == "true")
            and earliest <= parse_utc(event["endDate"]) <= latest_end
            and parse_utc(event["startTime"]) <= latest
        ]
        first = int(params.get("after_cursor", "0"))
        last = first + self.page_size
        page = {"events": listed[first:last]}
        if self.repeats_cursor or last < len(listed):
            return 200, page | {"next_cursor": "0" if self.repeats_cursor else str(last)}
        return 200, page

    def asks(self, path: str, **params: str) -> list[Ask]:
        """What was asked at a path, with these parameters."""
        return [ask for ask in self.asked if path in ask.url and params.items() <= ask.params.items()]


def discover(gamma: Gamma, *windows: str, lead: float = 60) -> Discovery:
    """The discovery of one run that follows five-minute windows, or those named."""
    raw = {"discovery": {"windows": list(windows) or ["5m"]}, "polling": {"lead_seconds": lead}}
    return Discovery(parse(raw, source="test"), gamma.clock, gamma.fetch)


def run(discovery: Discovery) -> Pass:
    """One pass."""
    return asyncio.run(discovery.run_pass())


def seen(found: Pass) -> list[str]:
    """The slugs that a pass sighted, in time order."""
    return sorted(sighting.market.market_slug for sighting in found.sightings)
