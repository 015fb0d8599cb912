"""Where a market's price stands: steps of time, best prices, tick size, last trade."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orderbooks_spider.clock import NS
from orderbooks_spider.sandbox.noise import SIGMA, mix, unit

if TYPE_CHECKING:
    from orderbooks_spider.sandbox.markets import Market
    from orderbooks_spider.sandbox.noise import Spot

_MS = 1_000_000
_LIVELY_NS = 600 * NS  # so long before its window a market begins to trade in earnest
_QUICK_MS, _QUICK_JITTER_MS = 120, 90  # gaps of 31-209 ms between changes
_SLOW_MS, _SLOW_JITTER_MS = 3000, 2000
_QUIET_STEPS, _QUIET_SHARE = 16, 0.03  # now and then a book rests for about two seconds
_TICK_SAMPLE_NS = 5 * NS
_TRADE_STEPS = 7


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a book: its number on the market's own grid, and its time in ms (UTC)."""

    number: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Quote:
    """Best prices of the Up token in thousandths: bid 0 or ask 1000 says that the side is empty."""

    bid: int
    ask: int
    fine: bool
    """Whether the tick is 0.001 instead of 0.01."""

    @property
    def tick_text(self) -> str:
        """The tick size as in a book."""
        return "0.001" if self.fine else "0.01"

    @property
    def mid(self) -> float:
        """Middle of the best prices, 0 to 1; an empty side counts as the end of the scale."""
        return (self.bid + self.ask) / 2000


class Quotes:
    """The price of one market: the chance that the path ends above its start.

    Before the window it lies near one half. Inside, the chance follows from the distance moved and
    the time left, so it converges to the outcome by itself.
    """

    def __init__(self, market: Market, spot: Spot) -> None:
        self._market = market
        self._spot = spot

    def step(self, now_ns: int) -> Step:
        """Give the last change at or before *now_ns*; after ``frozen_ns`` nothing changes."""
        market = self._market
        now_ms = min(now_ns, market.life.frozen_ns) // _MS
        lively = market.start_ns - _LIVELY_NS
        if now_ms * _MS < lively:
            return self._step(now_ms, _SLOW_MS, _SLOW_JITTER_MS)
        found = self._step(now_ms, _QUICK_MS, _QUICK_JITTER_MS)
        block = found.number // _QUIET_STEPS
        if unit(market.key, 7, block) < _QUIET_SHARE:
            return self._numbered(block * _QUIET_STEPS, _QUICK_MS, _QUICK_JITTER_MS)
        return found

    def _step(self, now_ms: int, grid_ms: int, jitter_ms: int) -> Step:
        found = self._numbered(now_ms // grid_ms, grid_ms, jitter_ms)
        return found if found.at_ms <= now_ms else self._numbered(found.number - 1, grid_ms, jitter_ms)

    def _numbered(self, number: int, grid_ms: int, jitter_ms: int) -> Step:
        return Step(number, number * grid_ms + mix(self._market.key, 6, number) % jitter_ms)

    def at(self, t_ns: int) -> Quote:
        """Give the best prices at *t_ns*."""
        market = self._market
        t_ns = min(t_ns, market.life.frozen_ns)
        chance = self._chance(t_ns)
        settled = t_ns >= market.end_ns
        sampled = chance if settled else self._chance(t_ns - t_ns % _TICK_SAMPLE_NS)
        if sampled > 0.96 or sampled < 0.04:
            lowest, highest = (0, 999) if settled else (chance > 0.0002, 998 + (chance > 0.9998))
            bid = min(highest, max(lowest, int(chance * 1000)))
            return Quote(bid, bid + 1, fine=True)
        bid = min(98, max(1, int(chance * 100)))
        wide = bid < 98 and unit(market.key, 8, t_ns // (5 * NS)) < 0.1
        return Quote(bid * 10, (bid + 2 if wide else bid + 1) * 10, fine=False)

    def last_trade(self, step: Step) -> str:
        """Give the Up price of the last trade with three decimals, "" before the first one."""
        market = self._market
        slow = step.at_ms * _MS < market.start_ns - _LIVELY_NS
        grid_ms, jitter_ms = (_SLOW_MS, _SLOW_JITTER_MS) if slow else (_QUICK_MS, _QUICK_JITTER_MS)
        trade = self._numbered(step.number - step.number % _TRADE_STEPS, grid_ms, jitter_ms)
        if trade.at_ms * _MS < market.start_ns - int((30 + 3570 * unit(market.key, 9)) * NS):
            return ""
        quote = self.at(trade.at_ms * _MS)
        price = quote.bid if mix(market.key, 10, trade.number) & 1 else quote.ask
        return f"0.{min(999, max(1, price)):03d}"

    def _chance(self, t_ns: int) -> float:
        market = self._market
        if t_ns < market.start_ns:
            return 0.495 + 0.02 * unit(market.key, 11, t_ns // (60 * NS))
        start = self._spot.at(market.start_ns)
        moved = math.log(self._spot.at(min(t_ns, market.end_ns)) / start)
        left_s = (market.end_ns - t_ns) / NS
        if left_s <= 0:
            return 1.0 if moved >= 0 else 0.0
        return 0.5 * (1 + math.erf(moved / (SIGMA * math.sqrt(2 * left_s))))
