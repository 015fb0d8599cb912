"""Find the BTC up/down markets, and follow each one until it is resolved.

A pass asks each series for its open events of the next hours, cross-checks with the slugs that the
calendar demands, and asks after ended markets.  The network is a function that is handed in: it keeps
every raw answer, and never raises.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orderbooks_spider.clock import NS, Clock, parse_utc
from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.market import Market, NotHydratedError, decode, read_market
from orderbooks_spider.polymarket.windows import SERIES, expected_slugs, window_of_slug

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from orderbooks_spider.config import Config
    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.polymarket.endpoints import Ask

    Fetch = Callable[[Ask], Awaitable[Answer]]

logger = logging.getLogger(__name__)

PAGES_AT_MOST = 20
CROSS_CHECKS_AT_MOST = 6
"""Slugs asked for one by one, per series and pass."""
FOLLOW_NS = 1800 * NS
"""After this long past its end a market that is not resolved is given up: closing took 316 s at most
in 584 recorded markets, and Gamma's row at most 385 s (fact sheet, section 2.5)."""
FOLLOW_FROM_NS = 60 * NS
"""No market was seen closed sooner at Gamma than this after its end."""
URGENT_SECONDS = 10.0
"""The pause between passes while a market that is due lacks its tokens."""

REFUSALS_REMEMBERED = 5000


@dataclass(frozen=True, slots=True)
class Sighting:
    """A market as an answer showed it, for the first time or changed."""

    market: Market
    answer: Answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """A market that is not followed, or no longer, and why."""

    market_slug: str | None
    reason: str
    answer: Answer | None
    gave_up: bool = False


@dataclass(slots=True)
class Pass:
    """What one discovery pass brought."""

    sightings: list[Sighting] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    asked: int = 0
    failed: int = 0
    urgent: bool = False
    """A market that is due soon lacks its tokens: ask again soon."""
    cut_off: bool = False
    """A request got no answer at all: what came after it was left for the next pass."""

    @property
    def reached(self) -> bool:
        """Whether the venue gave any usable answer."""
        return self.asked > self.failed


_ENDED = "ended"
"""The section of a pass that asks after ended markets; the others are windows."""


class _CutOffError(VenueError):
    """A request got no answer."""


class Discovery:
    """The discovery state of one run: what is known, and what is waited for."""

    def __init__(self, config: Config, clock: Clock, fetch: Fetch) -> None:
        self._config = config
        self._clock = clock
        self._fetch = fetch
        self._gamma = config.venue.gamma_url
        self._series_ids: dict[str, str] = {}
        self._unfiltered: set[str] = set()
        self._looked_back: set[str] = set()
        self._sections: list[str] = [*config.discovery.windows, _ENDED]
        self._refused: set[tuple[str | None, str]] = set()
        self.markets: dict[str, Market] = {}
        """Known markets by slug; ended ones leave when they are resolved or given up."""

    async def run_pass(self) -> Pass:
        """Ask once for everything; answers are kept by the fetch function as they come.

        A section ends at the first request that gets no answer, and is asked last in the next pass; a
        pass ends at the second such section.  Against a silent venue each further request would only
        wait for its own timeout.
        """
        found = Pass()
        for section in list(self._sections):
            try:
                await self._ask_section(section, found)
            except _CutOffError:
                self._sections.remove(section)
                self._sections.append(section)
                if found.cut_off:
                    break
                found.cut_off = True
        return found

    async def _ask_section(self, section: str, found: Pass) -> None:
        if section == _ENDED:
            await self._follow_ended(found)
            return
        series_id = await self._series_id(section, found)
        await self._list_open(section, series_id, found)
        await self._look_back(section, series_id, found)
        await self._cross_check(section, found)

    def seed(self, market: Market) -> None:
        """Know *market* from a stored row."""
        self.markets[market.market_slug] = market

    def _poll_span(self, market: Market) -> tuple[int, int]:
        polling = self._config.polling
        lead_ns = polling.lead_ns(market.window)
        return market.window_start_ns - lead_ns, market.window_end_ns + polling.linger_ns

    def _needed_ahead_ns(self, window: str) -> int:
        """How far ahead a window's markets must be known: two passes before their first slot."""
        two_passes_ns = 2 * round(self._config.discovery.interval_seconds * NS)
        return self._config.polling.lead_ns(window) + two_passes_ns

    async def _ask(self, ask: Ask, found: Pass) -> Answer:
        answer = await self._fetch(ask)
        found.asked += 1
        found.failed += not (answer.usable or answer.status == 404)
        if answer.status is None:
            raise _CutOffError
        return answer

    async def _series_id(self, window: str, found: Pass) -> str:
        """The id that the venue gives for a series, asked once; the fact sheet's where it does not say."""
        if window not in self._series_ids:
            series = SERIES[window]
            try:
                answer = await self._ask(endpoints.series_by_slug(self._gamma, series.slug), found)
            except _CutOffError:
                return series.fallback_id
            if not answer.usable:
                return series.fallback_id
            self._series_ids[window] = _id_of_series(answer, series.slug) or series.fallback_id
        return self._series_ids[window]

    async def _list_open(self, window: str, series_id: str, found: Pass) -> None:
        """List a series' open events of the horizon; without the date filters where those fail."""
        now = self._clock.wall_ns()
        horizon_ns = round(self._config.discovery.horizon_seconds * NS)
        ahead_ns = max(horizon_ns, self._needed_ahead_ns(window))
        span = (now - self._config.polling.linger_ns, now + ahead_ns)
        if window not in self._unfiltered:
            if await self._list(endpoints.open_events(self._gamma, series_id, span), found):
                return
            logger.warning("the date filters of /events/keyset failed for %s: listing without", window)
            self._unfiltered.add(window)
        await self._list(endpoints.open_events(self._gamma, series_id, None), found)

    async def _look_back(self, window: str, series_id: str, found: Pass) -> None:
        """Once a run: events that closed lately, so that a restart goes on following them."""
        if window in self._looked_back:
            return
        ended_after = self._clock.wall_ns() - FOLLOW_NS
        failed_before = found.failed
        listed = await self._list(endpoints.closed_events(self._gamma, series_id, ended_after), found)
        if listed and found.failed == failed_before:
            self._looked_back.add(window)

    async def _list(self, ask: Ask, found: Pass) -> bool:
        """Follow the pages of a listing; ``False`` if the venue refused the parameters (400, 422)."""
        first, cursors = ask, set[str]()
        for _ in range(PAGES_AT_MOST):
            answer = await self._ask(ask, found)
            if answer.status in {400, 422}:
                return False
            page = self._page(answer, found)
            events = page.get("events")
            for event in events if isinstance(events, list) else []:
                self._take_event(event, answer, found)
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str) or not cursor or cursor in cursors:
                return True  # a cursor that repeats would go round for ever
            cursors.add(cursor)
            ask = endpoints.after(first, cursor)
        return True

    def _page(self, answer: Answer, found: Pass) -> dict[str, Any]:
        if not answer.usable:
            return {}
        try:
            page = decode(answer.body)
        except VenueError as error:
            found.failed += 1
            self._refuse(found, Refusal(None, f"{answer.ask.url}: {error}", answer))
            return {}
        if isinstance(page, dict):
            return page
        self._refuse(found, Refusal(None, f"{answer.ask.url}: expected an object", answer))
        return {}

    async def _cross_check(self, window: str, found: Pass) -> None:
        """Ask by slug for windows that the calendar demands soon and the listing lacked."""
        now = self._clock.wall_ns()
        linger_ns = self._config.polling.linger_ns
        slugs = expected_slugs(window, now - linger_ns, now + self._needed_ahead_ns(window))
        missing = [slug for slug in slugs if slug not in self.markets]
        for slug in missing[:CROSS_CHECKS_AT_MOST]:
            answer = await self._ask(endpoints.event_by_slug(self._gamma, slug), found)
            self._take_event(self._page(answer, found), answer, found)
            if slug in self.markets and window not in self._unfiltered:
                logger.warning("%s was missing in the listing of its series: listing without dates", slug)
                self._unfiltered.add(window)

    async def _follow_ended(self, found: Pass) -> None:
        """Ask after markets whose window has ended, until they are resolved or too old."""
        now = self._clock.wall_ns()
        for slug, market in list(self.markets.items()):
            if market.resolved:
                if self._poll_span(market)[1] < now:
                    del self.markets[slug]
                continue
            if now < market.window_end_ns + FOLLOW_FROM_NS:
                continue
            answer = await self._ask(endpoints.event_by_slug(self._gamma, market.event_slug), found)
            self._take_event(self._page(answer, found), answer, found)
            if not self.markets[slug].resolved and now > market.window_end_ns + FOLLOW_NS:
                reason = f"not seen resolved {FOLLOW_NS // NS} s after its end"
                found.refusals.append(Refusal(slug, reason, answer, gave_up=True))
                del self.markets[slug]

    def _take_event(self, event: Any, answer: Answer, found: Pass) -> None:
        for raw in _markets_of(event):
            slug = raw.get("slug") if isinstance(raw.get("slug"), str) else None
            try:
                market = read_market(raw, event)
            except NotHydratedError as error:
                found.urgent |= self._due_soon(event)
                self._refuse(found, Refusal(slug, str(error), answer))
            except VenueError as error:
                self._refuse(found, Refusal(slug, str(error), answer))
            else:
                self._take_market(market, answer, found)

    def _take_market(self, market: Market, answer: Answer, found: Pass) -> None:
        if market.window not in self._config.discovery.windows:
            return
        if market == self.markets.get(market.market_slug):
            return
        too_old = market.window_end_ns + FOLLOW_NS < self._clock.wall_ns()
        if too_old and market.market_slug not in self.markets:
            return  # some past markets keep closed=false for good
        self.markets[market.market_slug] = market
        found.sightings.append(Sighting(market, answer))

    def _due_soon(self, event: dict[str, Any]) -> bool:
        """Whether an event's window is so near that its tokens are needed before the next pass."""
        known = window_of_slug(str(event.get("slug")))
        try:
            start_ns = parse_utc(str(event.get("startTime")))
        except ValueError:
            return False
        if known is None:
            return False
        now, interval_ns = self._clock.wall_ns(), round(self._config.discovery.interval_seconds * NS)
        soon = start_ns - self._config.polling.lead_ns(known[0]) <= now + interval_ns
        return soon and now < start_ns + SERIES[known[0]].longest_ns

    def _refuse(self, found: Pass, refusal: Refusal) -> None:
        """One row per market and reason, however often it is seen."""
        key = (refusal.market_slug, refusal.reason)
        if key not in self._refused:
            if len(self._refused) > REFUSALS_REMEMBERED:
                self._refused.clear()  # months of hydration gaps must not fill the memory
            self._refused.add(key)
            found.refusals.append(refusal)


def _markets_of(event: Any) -> Iterator[dict[str, Any]]:
    markets = event.get("markets") if isinstance(event, dict) else None
    for raw in markets if isinstance(markets, list) else []:
        if isinstance(raw, dict):
            yield raw


def _id_of_series(answer: Answer, slug: str) -> str | None:
    try:
        listed = decode(answer.body)
    except VenueError:
        return None
    for series in listed if isinstance(listed, list) else []:
        if isinstance(series, dict) and series.get("slug") == slug and isinstance(series.get("id"), str):
            return str(series["id"])
    return None
