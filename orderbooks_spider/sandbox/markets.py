"""Markets by the clock: which exist at an instant, their identifiers and the stages of their life.

Stages and delays: section 2.5 of the venue's fact sheet. Everything about a market follows from
the seed and its slug, so two sandboxes with one seed agree without talking to each other.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.noise import digest, key64, unit
from orderbooks_spider.sandbox.windows import SERIES, Series, Window, slug_of, title_of, window_at

Value = TypeVar("Value")

HISTORY_NS = 3 * 86_400 * NS
"""How long a market stays listed after its window, so that a late pass can still ask for it."""


@dataclass(frozen=True, slots=True)
class Life:
    """The stages of a market, UTC nanoseconds.

    Listed at *created*; orders (and so books and token ids) from *accepting*; the book's last
    change is before *frozen*; the CLOB closes it at *closed*; Gamma's row says so at *resolved*.
    """

    created_ns: int
    accepting_ns: int
    frozen_ns: int
    closed_ns: int
    resolved_ns: int


@dataclass(frozen=True, slots=True)
class Market:
    """One question with its two tokens, Up first."""

    series: Series
    slug: str
    title: str
    start_ns: int
    end_ns: int
    condition_id: str
    question_id: str
    token_ids: tuple[str, str]
    gamma_id: str
    event_id: str
    life: Life
    key: int = field(repr=False)


class MarketSource(Protocol):
    """Who knows the markets: the clock, or a recording."""

    hydration_before_start_ns: int | None

    def listed(self, now_ns: int) -> list[Market]:
        """Markets that Gamma shows at *now_ns*, in the order they were created."""

    def by_token(self, token_id: str, now_ns: int) -> Market | None:
        """The market of a token, or None."""

    def by_condition(self, condition_id: str, now_ns: int) -> Market | None:
        """The market of a condition id, or None."""

    def by_slug(self, slug: str, now_ns: int) -> Market | None:
        """The market of a slug, or None."""


def hydrated_ns(market: Market, before_start_ns: int | None) -> int:
    """When token ids and book appear: with the orders, or *before_start_ns* before the window."""
    if before_start_ns is None:
        return market.life.accepting_ns
    return max(market.life.accepting_ns, market.start_ns - before_start_ns)


def existing(market: Market | None, now_ns: int) -> Market | None:
    """Give *market* back only if it was created by *now_ns* (a clock may have stepped back)."""
    return market if market is not None and market.life.created_ns <= now_ns else None


def make_market(seed: int, series: Series, window: Window) -> Market:
    """Derive a market from the seed and its window."""
    slug = slug_of(series.kind, window)
    first, second = (_token_id(seed, slug, label) for label in ("up", "down"))
    key = key64(seed, slug)
    return Market(
        series=series,
        slug=slug,
        title=title_of(series.kind, window),
        start_ns=window.start_s * NS,
        end_ns=window.end_s * NS,
        condition_id="0x" + digest(seed, slug, "condition").hex(),
        question_id="0x" + digest(seed, slug, "question").hex(),
        token_ids=(first, second),
        gamma_id=_gamma_id(seed, slug, "market"),
        event_id=_gamma_id(seed, slug, "event"),
        life=_life(series, window, key),
        key=key,
    )


def _life(series: Series, window: Window, key: int) -> Life:
    created = window.start_s * NS - series.lead_seconds * NS + int(unit(key, 1) * 90 * NS)
    end = window.end_s * NS
    draw = unit(key, 2)
    # Measured on 584 markets: minimum 15 s, median 19-21 s, 95 % within 52 s.
    closing = 15 + 10 * draw if draw < 0.5 else 20 + 32 * (2 * draw - 1) ** 3
    return Life(
        created_ns=created,
        accepting_ns=created + int((9 + 7 * unit(key, 3)) * NS),
        frozen_ns=end + int((2 + 3 * unit(key, 4)) * NS),
        closed_ns=end + int(closing * NS),
        resolved_ns=end + int((60 + 120 * unit(key, 5)) * NS),
    )


def _token_id(seed: int, slug: str, label: str) -> str:
    # The top bit is set because ids seen have 77 or 78 digits.
    return str(int.from_bytes(digest(seed, slug, label), "big") | 1 << 255)


def _gamma_id(seed: int, slug: str, word: str) -> str:
    return str(10**9 + int.from_bytes(digest(seed, slug, word)[:5], "big") % (9 * 10**9))


class MarketIndex:
    """Markets found by slug, token and condition; kept in the order they were created."""

    def __init__(self) -> None:
        self._ordered: list[tuple[int, str, Market]] = []
        self.slugs: dict[str, Market] = {}
        self.tokens: dict[str, Market] = {}
        self.conditions: dict[str, Market] = {}

    def add(self, market: Market) -> None:
        """Take *market* in."""
        bisect.insort(self._ordered, (market.life.created_ns, market.slug, market), key=lambda row: row[:2])
        self.slugs[market.slug] = market
        self.conditions[market.condition_id] = market
        for token_id in market.token_ids:
            self.tokens[token_id] = market

    def drop_ended_before(self, t_ns: int) -> None:
        """Forget markets that ended before *t_ns*, so that memory stays bounded for months."""
        for market in [row[2] for row in self._ordered if row[2].end_ns < t_ns]:
            del self.slugs[market.slug], self.conditions[market.condition_id]
            for token_id in market.token_ids:
                del self.tokens[token_id]
        self._ordered = [row for row in self._ordered if row[2].end_ns >= t_ns]

    def created_by(self, now_ns: int) -> list[Market]:
        """Markets created at or before *now_ns*."""
        until = bisect.bisect_right(self._ordered, now_ns, key=lambda row: row[0])
        return [row[2] for row in self._ordered[:until]]


class PerMarket(Generic[Value]):
    """A value for each market that was asked for; those of resolved markets go when many have gathered.

    However many markets are open, none is pushed out by another one; and months do not fill the memory.
    """

    def __init__(self, sweep_from: int) -> None:
        self._sweep_from = self._sweep_at = sweep_from
        self._values: dict[str, tuple[Market, Value]] = {}

    def get(self, market: Market) -> Value | None:
        """The value of *market*, if one is known."""
        known = self._values.get(market.slug)
        return known[1] if known else None

    def put(self, market: Market, value: Value, now_ns: int) -> None:
        """Keep *value*, and at times forget what is not asked for any more."""
        if len(self._values) >= self._sweep_at:
            open_now = {slug: row for slug, row in self._values.items() if now_ns < row[0].life.resolved_ns}
            self._values = open_now
            self._sweep_at = max(self._sweep_from, 2 * len(open_now))
        self._values[market.slug] = market, value


class ClockMarkets:
    """The five series, rolled forward by whatever time the caller names.

    Args:
        seed: what all identifiers and delays follow from.
        hydration_before_start_ns: keeps token ids and books away until so long before a window.
        series: the series, five minutes among them listed further ahead where a crowd is wanted.

    """

    def __init__(
        self,
        seed: int,
        hydration_before_start_ns: int | None = None,
        series: tuple[Series, ...] = SERIES,
    ) -> None:
        self.hydration_before_start_ns = hydration_before_start_ns
        self._seed = seed
        self._series = series
        self._index = MarketIndex()
        self._next: dict[str, Market] = {}
        self._pruned_ns = 0

    def listed(self, now_ns: int) -> list[Market]:
        """Markets that Gamma shows at *now_ns*; a step back of the clock hides, never forgets."""
        self._roll(now_ns)
        return self._index.created_by(now_ns)

    def by_token(self, token_id: str, now_ns: int) -> Market | None:
        """The market of a token, or None."""
        self._roll(now_ns)
        return existing(self._index.tokens.get(token_id), now_ns)

    def by_condition(self, condition_id: str, now_ns: int) -> Market | None:
        """The market of a condition id, or None."""
        self._roll(now_ns)
        return existing(self._index.conditions.get(condition_id), now_ns)

    def by_slug(self, slug: str, now_ns: int) -> Market | None:
        """The market of a slug, or None."""
        self._roll(now_ns)
        return existing(self._index.slugs.get(slug), now_ns)

    def _roll(self, now_ns: int) -> None:
        for series in self._series:
            following = self._next.get(series.id)
            if following is None:
                following = self._market(series, (now_ns - HISTORY_NS) // NS)
            while following.life.created_ns <= now_ns:
                self._index.add(following)
                following = self._market(series, following.end_ns // NS)
            self._next[series.id] = following
        if now_ns - self._pruned_ns > HISTORY_NS // 24:
            self._index.drop_ended_before(now_ns - HISTORY_NS)
            self._pruned_ns = now_ns

    def _market(self, series: Series, t_s: int) -> Market:
        return make_market(self._seed, series, window_at(series.kind, t_s))
