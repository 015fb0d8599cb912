"""Ask Gamma, and read the markets in whatever it answers; only its silence is an exception.

What is asked for, and what becomes of the markets, is said in ``discovery.py`` and ``look_back.py``.
The network is a function that is handed in: it keeps every raw answer, and never raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from orderbooks_spider.clock import NS, Clock, parse_utc
from orderbooks_spider.errors import VenueError
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.market import Market, NotHydratedError, decode, read_market
from orderbooks_spider.polymarket.windows import SERIES, window_of_slug

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from orderbooks_spider.config import Config
    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.polymarket.endpoints import Ask

    Fetch = Callable[[Ask], Awaitable[Answer]]

PAGES_AT_MOST = 20
REFUSALS_REMEMBERED = 5000


@dataclass(frozen=True, slots=True)
class Sighting:
    """A market as an answer showed it."""

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
    """What a round of questions brought."""

    sightings: list[Sighting] = field(default_factory=list)
    """Markets seen for the first time, or changed."""
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


class SilenceError(VenueError):
    """A request got no answer: against a silent venue each further one only waits for its own timeout."""


ListingEnd = Literal["whole", "refused", "failed", "endless"]
"""``refused``: the parameters (400, 422); ``failed``: an answer was no page; ``endless``: left after
:data:`PAGES_AT_MOST` pages, or because a cursor came again."""


class Gamma:
    """Requests and answers of one run; each market found is handed to a *take* function at once."""

    def __init__(self, config: Config, clock: Clock, fetch: Fetch) -> None:
        self.url = config.venue.gamma_url
        self._config = config
        self._clock = clock
        self._fetch = fetch
        self._series_ids: dict[str, str] = {}
        self._refused: set[tuple[str | None, str]] = set()

    async def series_id(self, window: str, found: Pass) -> str:
        """The id that the venue gives for a series, asked once; the fact sheet's where it does not say."""
        if window not in self._series_ids:
            series = SERIES[window]
            try:
                answer = await self._ask(endpoints.series_by_slug(self.url, series.slug), found)
            except SilenceError:
                return series.fallback_id
            if not answer.usable:
                return series.fallback_id
            self._series_ids[window] = _id_of_series(answer, series.slug) or series.fallback_id
        return self._series_ids[window]

    async def listing(self, ask: Ask, take: Callable[[Sighting], None], found: Pass) -> ListingEnd:
        """Follow the pages of a listing.

        Raises:
            SilenceError: a page got no answer; the markets of the pages before were taken.

        """
        first, cursors = ask, set[str]()
        for _ in range(PAGES_AT_MOST):
            answer = await self._ask(ask, found)
            if answer.status in {400, 422}:
                return "refused"
            page = self._page(answer, found) or {}
            events = page.get("events")
            if not isinstance(events, list):
                return "failed"
            for event in events:
                self._read(event, answer, take, found)
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str) or not cursor:
                return "whole"
            if cursor in cursors:
                return "endless"  # it would go round for ever
            cursors.add(cursor)
            ask = endpoints.after(first, cursor)
        return "endless"

    async def event(self, slug: str, take: Callable[[Sighting], None], found: Pass) -> Answer:
        """One event, asked for by its slug.

        Raises:
            SilenceError: there was no answer.

        """
        answer = await self._ask(endpoints.event_by_slug(self.url, slug), found)
        self._read(self._page(answer, found), answer, take, found)
        return answer

    async def _ask(self, ask: Ask, found: Pass) -> Answer:
        answer = await self._fetch(ask)
        found.asked += 1
        found.failed += not (answer.usable or answer.status == 404)
        if answer.status is None:
            raise SilenceError(f"{ask.url}: no answer")
        return answer

    def _page(self, answer: Answer, found: Pass) -> dict[str, Any] | None:
        """The object in an answer; ``None``, with a refusal where there was a body, if it is none."""
        if not answer.usable:
            return None
        try:
            page = decode(answer.body)
        except VenueError as error:
            found.failed += 1
            self._refuse(found, Refusal(None, f"{answer.ask.url}: {error}", answer))
            return None
        if isinstance(page, dict):
            return page
        self._refuse(found, Refusal(None, f"{answer.ask.url}: expected an object", answer))
        return None

    def _read(self, event: Any, answer: Answer, take: Callable[[Sighting], None], found: Pass) -> None:
        """Take the markets inside *event*; those that cannot be followed are refused with the reason."""
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
                take(Sighting(market, answer))

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
