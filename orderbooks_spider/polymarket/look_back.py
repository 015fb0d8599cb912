"""After an outage: ask for the windows that passed meanwhile, and record them.

A market that is in no record has no planned slots, so coverage would read too high without it.  What
is known is written down after each pass (event ``discovered``), and a later run goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS, Clock, iso_utc
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.gamma import SilenceError
from orderbooks_spider.polymarket.windows import ended_slugs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orderbooks_spider.config import Config
    from orderbooks_spider.polymarket.gamma import Gamma, Pass, Sighting

logger = logging.getLogger(__name__)

DISCOVERED = "discovered"
"""The event row that says up to where markets are known."""
LOOKED_BACK = "looked_back"
"""The event row of one :class:`LookedBack`."""

FOLLOW_NS = 1800 * NS
"""After this long past its end a market that is not resolved is given up: closing took 316 s at most
in 584 recorded markets, and Gamma's row at most 385 s (fact sheet, section 2.5).  A run looks back at
least so far, to follow what an earlier one followed."""
SPAN_NS = 86_400 * NS
"""Asked about at once: a day has 288 five-minute windows, less than a page."""
SPANS_AT_MOST = 7
"""Spans per window length and round: a collector that was away for months catches up by and by."""
SLUGS_AT_MOST = 6
"""Windows per span that are asked for one by one, where the listings lack them."""


@dataclass(frozen=True, slots=True)
class LookedBack:
    """What is known now of the windows of one length that ended in ``[from_ns, until_ns)``."""

    window: str
    from_ns: int
    until_ns: int
    found: int
    """Windows that the venue showed."""
    missing: int | None
    """Windows that the calendar demands and the venue did not show; ``None``: it cannot tell."""
    cut_off: bool
    """A listing had no end, so there may be more."""


@dataclass(slots=True)
class _Reach:
    """How far the windows of one length are known."""

    complete_ns: int
    """Those that ended before are recorded, or were looked for."""
    listed_ns: int | None = None
    """When the open ones were last asked for, and listed whole."""
    owed: bool = True
    """Some may have passed unseen between the two."""


class LookBack:
    """What passed unseen, per window length: since an earlier run, or since the listings failed."""

    def __init__(self, config: Config, clock: Clock, gamma: Gamma) -> None:
        self._clock = clock
        self._gamma = gamma
        # A market is known two passes before its first slot: a shorter gap has hidden none.
        self._two_passes_ns = 2 * round(config.discovery.interval_seconds * NS)
        from_ns = clock.wall_ns() - FOLLOW_NS
        self._reaches = {str(window): _Reach(from_ns) for window in config.discovery.windows}
        self._warned: set[str] = set()

    @property
    def complete_until_ns(self) -> dict[str, int]:
        """Per window length: every window that ended before is recorded, or was looked for."""
        return {window: reach.complete_ns for window, reach in self._reaches.items()}

    def resume(self, complete_until_ns: Mapping[str, int]) -> None:
        """Go on where an earlier run ended, and take up again what it was following then."""
        now = self._clock.wall_ns()
        for window, reach in self._reaches.items():
            reach.complete_ns = min(complete_until_ns.get(window, now), now) - FOLLOW_NS

    def listed(self, window: str, asked_ns: int) -> None:
        """Note that all open events were listed, asked for at *asked_ns*."""
        reach = self._reaches[window]
        gap_ns = asked_ns - reach.complete_ns
        reach.listed_ns = asked_ns
        reach.owed = gap_ns > (0 if reach.owed else self._two_passes_ns)  # below 0: the clock was set back
        if not reach.owed:
            reach.complete_ns = asked_ns

    async def ask(self, take: Callable[[Sighting], None], found: Pass) -> list[LookedBack]:
        """Look back as far as is owed, oldest first; what fails is tried again in the next round."""
        done: list[LookedBack] = []
        try:
            for window, reach in self._reaches.items():
                for _ in range(SPANS_AT_MOST):
                    if not reach.owed or reach.listed_ns is None:
                        break
                    span = reach.complete_ns, min(reach.complete_ns + SPAN_NS, reach.listed_ns)
                    looked = await self._look(window, span, take, found)
                    if looked is None:
                        break
                    done.append(looked)
                    reach.complete_ns, reach.owed = looked.until_ns, looked.until_ns < reach.listed_ns
        except SilenceError:
            found.cut_off = True
        return done

    async def _look(
        self, window: str, span: tuple[int, int], take: Callable[[Sighting], None], found: Pass
    ) -> LookedBack | None:
        """Ask for the windows that ended in *span*; ``None``, and none is taken, if an answer failed."""
        sightings: list[Sighting] = []

        def note(sighting: Sighting) -> None:
            market = sighting.market
            if market.window == window and span[0] <= market.window_end_ns < span[1]:
                sightings.append(sighting)

        series_id = await self._gamma.series_id(window, found)
        cut_off = False
        # Open ones first: what closes in between stands in both lists, not in none.
        for closed in (False, True):
            ask = endpoints.ended_events(self._gamma.url, series_id, span, closed=closed)
            end = await self._gamma.listing(ask, note, found)
            if end in {"refused", "failed"}:
                self._warn(window, span)
                return None
            cut_off |= end == "endless"
        due = ended_slugs(window, *span)
        for slug in _lacking(due, sightings)[:SLUGS_AT_MOST]:
            await self._gamma.event(slug, note, found)
        for sighting in sightings:
            take(sighting)
        self._warned.discard(window)
        shown = len({sighting.market.market_slug for sighting in sightings})
        missing = None if due is None else len(_lacking(due, sightings))
        if missing or cut_off:
            text = "%s windows that ended %s to %s: the venue shows %d, the calendar has %s more, cut off: %s"
            logger.warning(text, window, *map(iso_utc, span), shown, missing, cut_off)
        return LookedBack(window, *span, shown, missing, cut_off)

    def _warn(self, window: str, span: tuple[int, int]) -> None:
        """One line until it succeeds; what is not known shows in the ``discovered`` rows too."""
        if window not in self._warned:
            self._warned.add(window)
            text = "%s windows that ended %s to %s cannot be looked for: the venue refuses; trying again"
            logger.warning(text, window, *map(iso_utc, span))


def _lacking(due: list[str] | None, sightings: list[Sighting]) -> list[str]:
    """Those of the slugs *due* that were not sighted."""
    seen = {sighting.market.market_slug for sighting in sightings}
    return [slug for slug in due or () if slug not in seen]
