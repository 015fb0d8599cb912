"""Ask the venue each question once: a fixed plan, spaced, never repeated, at most so many requests.

The network is a function that is handed in and never raises, as for discovery (``gamma.py``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orderbooks_spider.clock import NS, Clock
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.polymarket.endpoints import Ask
from orderbooks_spider.polymarket.probe import steps
from orderbooks_spider.polymarket.probe.seen import (
    NOT_ASKED,
    Asked,
    Look,
    Seen,
    event_of,
    object_of,
    readable,
    value_of,
)
from orderbooks_spider.polymarket.windows import SERIES, expected_slugs, window_of_slug

if TYPE_CHECKING:
    from orderbooks_spider.config import Config
    from orderbooks_spider.polymarket.gamma import Fetch
    from orderbooks_spider.polymarket.market import Market

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5
"""Between two requests: a hundredth of the least limit that is documented for these routes."""
REQUESTS_AT_MOST: Final = 31
LOOKS_AFTER_SECONDS: Final = (3, 8, 14, 25, 45, 75, 120, 180, 240, 330)
"""Looks at a window after its end: closing took 15 s to 316 s on 584 recorded markets."""
REQUESTS_AT_MOST_WITH_END: Final = REQUESTS_AT_MOST + 3 * len(LOOKS_AFTER_SECONDS)

_AHEAD_NS: Final = 30 * 60 * NS
"""The span of the listings: enough for a market of each length, and few answers' bytes."""
_REFUSALS: Final = frozenset({403, 429, 503})
_SILENT_AT_MOST: Final = 2
"""So many requests in a row without an answer, and the host is left alone."""
_BATCH_MARKETS: Final = 4
_UNKNOWN_ID: Final = "1"
_UNKNOWN_SLUG: Final = "btc-updown-5m-4102444800"  # the year 2100


class Survey:
    """One probe of the venue that *config* names; what it saw is in :attr:`seen`, also if it is cancelled."""

    def __init__(self, config: Config, clock: Clock, fetch: Fetch, *, window_end: bool) -> None:
        self.seen = Seen(config.environment)
        self.sent = 0
        self.at_most = REQUESTS_AT_MOST_WITH_END if window_end else REQUESTS_AT_MOST
        self._gamma, self._clob = config.venue.gamma_url, config.venue.clob_url
        self._clock = clock
        self._fetch = fetch
        self._window_end = window_end
        self._left_alone: dict[str, str] = {}
        self._silent: dict[str, int] = {}

    async def run(self) -> None:
        """Ask everything."""
        await self._ask(steps.TIME, endpoints.venue_time(self._clob))
        ids = await self._series()
        await self._listings(ids)
        await self._slugs()
        await self._market()
        await self._books()
        now_ns = self._clock.wall_ns()
        for ago_ns in (300 * NS, 600 * NS):
            await self._look(_window_at(now_ns - ago_ns), ids["5m"])
        if self._window_end:
            await self._wait_for_an_end(ids["5m"])

    async def _ask(self, step: str, ask: Ask) -> Answer:
        """Send *ask* after the pause, unless its host is left alone."""
        host = urlsplit(ask.url).netloc
        if self.sent >= self.at_most:
            return self._skip(step, ask, f"{self.at_most} requests are the most a probe sends")
        if host in self._left_alone:
            return self._skip(step, ask, self._left_alone[host])
        if self.sent:
            await self._clock.sleep(PAUSE_SECONDS)
        self.sent += 1
        answer = await self._fetch(ask)
        self.seen.asked.append(Asked(step, answer))
        self._silent[host] = self._silent.get(host, 0) + 1 if answer.status is None else 0
        if answer.status in _REFUSALS:
            self._left_alone[host] = f"{host} is left alone after a {answer.status}"
        elif self._silent[host] >= _SILENT_AT_MOST:
            self._left_alone[host] = (
                f"{host} is left alone after {_SILENT_AT_MOST} requests without an answer"
            )
        return answer

    def _skip(self, step: str, ask: Ask, why: str) -> Answer:
        answer = Answer(ask=ask, request_id="", failure=(NOT_ASKED, why))
        self.seen.asked.append(Asked(step, answer))
        return answer

    async def _series(self) -> dict[str, str]:
        """The id of each series, where the venue does not say the one that is documented."""
        ids = {}
        for window, series in SERIES.items():
            answer = await self._ask(
                steps.SERIES_ID[window], endpoints.series_by_slug(self._gamma, series.slug)
            )
            ids[window] = series_id_in(answer, series.slug) or series.fallback_id
        return ids

    async def _listings(self, ids: dict[str, str]) -> None:
        now_ns = self._clock.wall_ns()
        span = (now_ns, now_ns + _AHEAD_NS)
        listing = endpoints.open_events(self._gamma, ids["5m"], span)
        await self._ask(steps.LISTING, listing)
        await self._ask(steps.SEVERAL, endpoints.open_events(self._gamma, list(ids.values()), span))
        two = Ask(listing.url, listing.params | {"limit": "2"})
        page = object_of(await self._ask(steps.PAGE_ONE, two)) or {}
        cursor = page.get("next_cursor")
        pages = {steps.PAGE_TWO: "after_cursor", steps.PAGE_TWO_BY_CURSOR: "cursor"}
        for step, name in pages.items():
            ask = Ask(two.url, two.params | {name: cursor})
            if isinstance(cursor, str):
                await self._ask(step, ask)
            else:
                self._skip(step, ask, "page one gave no next_cursor")
        whatever = {"series_id": ids["5m"], "limit": "2"}
        await self._ask(steps.WITHOUT_CLOSED, Ask(listing.url, whatever))

    async def _slugs(self) -> None:
        now_ns = self._clock.wall_ns()
        for window, step in steps.BY_SLUG.items():
            slug = expected_slugs(window, now_ns, now_ns + 1)[0]
            await self._ask(step, endpoints.event_by_slug(self._gamma, slug))
        await self._ask(steps.UNKNOWN_SLUG, endpoints.event_by_slug(self._gamma, _UNKNOWN_SLUG))

    def _open_markets(self) -> list[Market]:
        """Readable markets that outlast the next questions: soonest to end first, then the shortest."""
        late_ns = self._clock.wall_ns() + 60 * NS
        markets = {market.market_slug: market for market in readable(self.seen.open_events())[0]}
        lasting = [market for market in markets.values() if market.window_end_ns > late_ns]
        return sorted(lasting, key=lambda market: (market.window_end_ns, -market.window_start_ns))

    async def _market(self) -> None:
        self.seen.market = next(iter(self._open_markets()), None)
        condition_id = self.seen.market.condition_id if self.seen.market else ""
        await self._ask_with_market(steps.CLOB_MARKET, endpoints.clob_market(self._clob, condition_id))

    async def _books(self) -> None:
        up, down = self.seen.market.token_ids if self.seen.market else ("", "")
        for step, token in (
            (steps.BOOK, up), (steps.BOOK_AGAIN, up), (steps.BOOK_THIRD, up), (steps.OTHER_BOOK, down)
        ):  # fmt: skip
            await self._ask_with_market(step, endpoints.book(self._clob, token))
        await self._ask(steps.UNKNOWN_BOOK, endpoints.book(self._clob, _UNKNOWN_ID))
        tokens = [token for market in self._open_markets()[:_BATCH_MARKETS] for token in market.token_ids]
        for step, asked in (
            (steps.BOOKS, tokens),
            (steps.BOOKS_TURNED, tokens[::-1]),
            (steps.BOOKS_TWICE, [up, down, up, _UNKNOWN_ID]),
        ):
            await self._ask_with_market(step, endpoints.books(self._clob, asked))

    async def _ask_with_market(self, step: str, ask: Ask) -> None:
        if self.seen.market is None:
            self._skip(step, ask, "no market was found to ask about")
        else:
            await self._ask(step, ask)

    async def _look(self, slug: str, series_id: str) -> Look:
        """Look at a window that has ended; its listing is asked for after its event, so the flag is older."""
        end_ns = _end_of(slug)
        event = await self._ask(steps.ENDED_EVENT, endpoints.event_by_slug(self._gamma, slug))
        ask = endpoints.ended_events(self._gamma, series_id, (end_ns, end_ns), closed=False)
        listing = await self._ask(steps.ENDED_LISTING, ask)
        markets, _ = readable([event_of(event)])
        book = endpoints.book(self._clob, markets[0].token_ids[0] if markets else "")
        step = steps.ENDED_BOOK
        answer = await self._ask(step, book) if markets else self._skip(step, book, f"no tokens of {slug}")
        self.seen.looks.append(look := Look(slug, end_ns, event, listing, answer))
        return look

    async def _wait_for_an_end(self, series_id: str) -> None:
        """Look at the window of now again and again after its end, until it is closed everywhere.

        Not where a host is left alone: there would be nothing to see.
        """
        slug = _window_at(self._clock.wall_ns())
        for seconds in LOOKS_AFTER_SECONDS:
            if self._left_alone:
                return
            wait = (_end_of(slug) - self._clock.wall_ns()) / NS + seconds
            if wait > 0:
                logger.info("waiting %.0f s: %s, %d s after its end", wait, slug, seconds)
                await self._clock.sleep(wait)
            look = await self._look(slug, series_id)
            if look.closed and look.listed is False and look.book.status == 404:
                return


def series_id_in(answer: Answer, slug: str) -> str | None:
    """The id of the series with *slug* in an answer of ``/series``."""
    listed = value_of(answer)
    for series in listed if isinstance(listed, list) else []:
        if isinstance(series, dict) and series.get("slug") == slug and isinstance(series.get("id"), str):
            return str(series["id"])
    return None


def _window_at(now_ns: int) -> str:
    """The slug of the five-minute window around an instant."""
    return expected_slugs("5m", now_ns, now_ns + 1)[0]


def _end_of(slug: str) -> int:
    known = window_of_slug(slug)
    assert known is not None
    assert known[1] is not None
    return known[1] + SERIES["5m"].longest_ns
