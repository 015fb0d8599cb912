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
    """When the open ones were last asked for, and listed."""
    owed: bool = True
    """Some may have passed unseen between the two."""

    def owe(self, since_ns: int) -> None:
        """Look back to what was listed last, and to what was not resolved then."""
        self.complete_ns, self.owed = since_ns - FOLLOW_NS, True


class LookBack:
    """What passed unseen, per window length: since an earlier run, or since the listings failed."""

    def __init__(self, config: Config, clock: Clock, gamma: Gamma) -> None:
        self._clock = clock
        self._gamma = gamma
        # A market is known two passes before its first slot: a shorter gap has hidden none.
        self._two_passes_ns = 2 * round(config.discovery.interval_seconds * NS)
        self._reaches = {str(window): _Reach(0) for window in config.discovery.windows}
        self._refused: set[str] = set()
        self.resume({})

    @property
    def complete_until_ns(self) -> dict[str, int]:
        """Per window length: every window that ended before is recorded, or was looked for."""
        return {window: reach.complete_ns for window, reach in self._reaches.items()}

    def resume(self, complete_until_ns: Mapping[str, int]) -> None:
        """Go on where an earlier run ended; what it did not follow begins now."""
        now = self._clock.wall_ns()
        for window, reach in self._reaches.items():
            reach.owe(min(complete_until_ns.get(window, now), now))

    def listed(self, window: str, asked_ns: int) -> None:
        """Note that the open events were listed, asked for at *asked_ns*."""
        reach = self._reaches[window]
        reach.listed_ns = asked_ns
        if not reach.owed and asked_ns - reach.complete_ns > self._two_passes_ns:
            reach.owe(reach.complete_ns)
        elif not reach.owed or asked_ns < reach.complete_ns:  # the latter: the clock was set back
            reach.complete_ns, reach.owed = asked_ns, False

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
        # Open ones first: what closes in between stands in both lists, not in none.
        asks = [
            endpoints.ended_events(self._gamma.url, series_id, span, closed=closed)
            for closed in (False, True)
        ]
        ends = [await self._gamma.listing(ask, note, found) for ask in asks]
        if {"refused", "failed"} & set(ends):
            self._say_refused(window, span)
            return None
        due = ended_slugs(window, *span)
        for slug in _lacking(due, sightings)[:SLUGS_AT_MOST]:
            await self._gamma.event(slug, note, found)
        for sighting in sightings:
            take(sighting)
        shown = len({sighting.market.market_slug for sighting in sightings})
        missing = None if due is None else len(_lacking(due, sightings))
        looked = LookedBack(window, *span, shown, missing, cut_off="endless" in ends)
        self._say_done(looked)
        return looked

    def _say_refused(self, window: str, span: tuple[int, int]) -> None:
        """One line until it succeeds; what is not known shows in the ``discovered`` rows too."""
        if window not in self._refused:
            self._refused.add(window)
            text = "%s windows that ended %s to %s cannot be looked for: the venue refuses; trying again"
            logger.warning(text, window, *map(iso_utc, span))

    def _say_done(self, looked: LookedBack) -> None:
        self._refused.discard(looked.window)
        lacks = [f"the calendar has {looked.missing} more"] if looked.missing else []
        lacks += ["a listing had no end"] if looked.cut_off else []
        if lacks:
            text = "%s windows that ended %s to %s: the venue showed %d, but %s"
            span = iso_utc(looked.from_ns), iso_utc(looked.until_ns)
            logger.warning(text, looked.window, *span, looked.found, " and ".join(lacks))


def _lacking(due: list[str] | None, sightings: list[Sighting]) -> list[str]:
    """Those of the slugs *due* that were not sighted."""
    seen = {sighting.market.market_slug for sighting in sightings}
    return [slug for slug in due or () if slug not in seen]
