"""Find the BTC up/down markets, and follow each one until it is resolved.

A pass asks each series for its open events of the next hours, cross-checks with the slugs that the
calendar demands, and asks after ended markets.  Windows that passed while nobody asked are the look
back's (``look_back.py``).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS, Clock
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.gamma import Gamma, Pass, Refusal, Sighting, SilenceError
from orderbooks_spider.polymarket.look_back import FOLLOW_NS, LookBack
from orderbooks_spider.polymarket.windows import expected_slugs

if TYPE_CHECKING:
    from orderbooks_spider.config import Config
    from orderbooks_spider.polymarket.gamma import Fetch
    from orderbooks_spider.polymarket.look_back import LookedBack
    from orderbooks_spider.polymarket.market import Market

logger = logging.getLogger(__name__)

CROSS_CHECKS_AT_MOST = 6
"""Slugs asked for one by one, per series and pass."""
FOLLOW_FROM_NS = 60 * NS
"""No market was seen closed sooner at Gamma than this after its end."""
URGENT_SECONDS = 10.0
"""The pause between passes while a market that is due lacks its tokens."""

_ENDED = "ended"
"""The section of a pass that asks after ended markets; the others are windows."""


class Discovery:
    """The discovery state of one run: what is known, and what is waited for."""

    def __init__(self, config: Config, clock: Clock, fetch: Fetch) -> None:
        self._config = config
        self._clock = clock
        self._gamma = Gamma(config, clock, fetch)
        self._unfiltered: set[str] = set()
        self._sections: list[str] = [*config.discovery.windows, _ENDED]
        self.past = LookBack(config, clock, self._gamma)
        self.markets: dict[str, Market] = {}
        """Known markets by slug; ended ones leave when they are resolved or given up."""

    async def run_pass(self) -> Pass:
        """Ask once for everything; answers are kept by the fetch function as they come.

        A section ends at the first request that gets no answer, and is asked last in the next pass; a
        pass ends at the second such section.
        """
        found = Pass()
        for section in list(self._sections):
            try:
                await self._ask_section(section, found)
            except SilenceError:
                self._sections.remove(section)
                self._sections.append(section)
                if found.cut_off:
                    break
                found.cut_off = True
        return found

    async def look_back(self) -> tuple[Pass, list[LookedBack]]:
        """Ask for windows that passed while nobody asked, and say which spans are known now.

        Apart from the passes, for markets that are to be polled now come first; asks nothing as long as
        the listings succeed.
        """
        found = Pass()
        return found, await self.past.ask(partial(self._take, found, past=True), found)

    async def _ask_section(self, section: str, found: Pass) -> None:
        if section == _ENDED:
            await self._follow_ended(found)
            return
        asked_ns = self._clock.wall_ns()
        series_id = await self._gamma.series_id(section, found)
        if await self._list_open(section, series_id, found):
            self.past.listed(section, asked_ns)
        await self._cross_check(section, found)

    def seed(self, market: Market) -> None:
        """Know *market* from a stored row."""
        self.markets[market.market_slug] = market

    def _poll_until_ns(self, market: Market) -> int:
        return market.window_end_ns + self._config.polling.linger_ns

    def _needed_ahead_ns(self, window: str) -> int:
        """How far ahead a window's markets must be known: two passes before their first slot."""
        two_passes_ns = 2 * round(self._config.discovery.interval_seconds * NS)
        return self._config.polling.lead_ns(window) + two_passes_ns

    async def _list_open(self, window: str, series_id: str, found: Pass) -> bool:
        """List a series' open events of the horizon; without the date filters where those fail.

        Whether it was listed, as far as its pages go.
        """
        now = self._clock.wall_ns()
        horizon_ns = round(self._config.discovery.horizon_seconds * NS)
        ahead_ns = max(horizon_ns, self._needed_ahead_ns(window))
        span = (now - self._config.polling.linger_ns, now + ahead_ns)
        take = partial(self._take, found)
        if window not in self._unfiltered:
            ask = endpoints.open_events(self._gamma.url, series_id, span)
            end = await self._gamma.listing(ask, take, found)
            if end != "refused":
                return end != "failed"
            logger.warning("the date filters of /events/keyset failed for %s: listing without", window)
            self._unfiltered.add(window)
        ask = endpoints.open_events(self._gamma.url, series_id, None)
        return await self._gamma.listing(ask, take, found) not in {"refused", "failed"}

    async def _cross_check(self, window: str, found: Pass) -> None:
        """Ask by slug for windows that the calendar demands soon and the listing lacked."""
        now = self._clock.wall_ns()
        linger_ns = self._config.polling.linger_ns
        slugs = expected_slugs(window, now - linger_ns, now + self._needed_ahead_ns(window))
        missing = [slug for slug in slugs if slug not in self.markets]
        for slug in missing[:CROSS_CHECKS_AT_MOST]:
            await self._gamma.event(slug, partial(self._take, found), found)
            lacked = slug in self.markets and not self.markets[slug].closed
            if lacked and window not in self._unfiltered:
                logger.warning("%s was missing in the listing of its series: listing without dates", slug)
                self._unfiltered.add(window)

    async def _follow_ended(self, found: Pass) -> None:
        """Ask after markets whose window has ended, until they are resolved or too old."""
        now = self._clock.wall_ns()
        for slug, market in list(self.markets.items()):
            if market.resolved:
                if self._poll_until_ns(market) < now:
                    del self.markets[slug]
                continue
            if now < market.window_end_ns + FOLLOW_FROM_NS:
                continue
            answer = await self._gamma.event(market.event_slug, partial(self._take, found), found)
            if not self.markets[slug].resolved and now > market.window_end_ns + FOLLOW_NS:
                reason = f"not seen resolved {FOLLOW_NS // NS} s after its end"
                found.refusals.append(Refusal(slug, reason, answer, gave_up=True))
                del self.markets[slug]

    def _take(self, found: Pass, sighting: Sighting, *, past: bool = False) -> None:
        """Note a market that is new or has changed; one too old to be followed only if it is looked for."""
        market = sighting.market
        if market.window not in self._config.discovery.windows:
            return
        if market == self.markets.get(market.market_slug):
            return
        too_old = market.window_end_ns + FOLLOW_NS < self._clock.wall_ns()
        if not too_old or market.market_slug in self.markets:
            self.markets[market.market_slug] = market
        elif not past:
            return  # some past markets keep closed=false for good
        found.sightings.append(sighting)
