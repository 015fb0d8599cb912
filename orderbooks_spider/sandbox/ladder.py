"""The levels of one market's book: which prices have one, its size, and when the size changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orderbooks_spider.sandbox.noise import mix, unit

if TYPE_CHECKING:
    from orderbooks_spider.sandbox.quotes import Quote, Step

MAX_LEVELS = 99
"""Levels over both sides; recorded 5-minute books hold 55 to 99, rarely some more."""

_PRICES = tuple(f"0.{milli:03d}".rstrip("0") for milli in range(1000))
_KEEP_SIDES = 64
_FINE_REACH = 12  # how many thousandths beside the best price can have a level

# Distance from the best price in cents (at most), and after how many steps such a size changes.
# Chosen so that one poll a second sees about as much change as in recorded books.
_PACES = ((1, 2), (4, 5), (12, 24), (100, 200))
_PACE_AT = tuple(next(steps for reach, steps in _PACES if cents <= reach) for cents in range(101))


class Ladder:
    """Both sides of one market at a step; unchanged levels keep their encoded text."""

    def __init__(self, key: int) -> None:
        self._key = key
        self._fragments: dict[int, tuple[int, str, str]] = {}
        self._offsets: dict[int, int] = {}
        self._sides: dict[tuple[int, int, bool], list[int]] = {}
        self._absent = 0.4 * unit(key, 20) ** 4  # most markets have a level at nearly every cent

    def sides(self, quote: Quote, step: Step) -> tuple[tuple[str, str], tuple[str, str]]:
        """Give (bids, asks) of Up and of Down, each as the inside of a JSON array, worst first."""
        bids = list(self._prices(quote.bid, -1, fine=quote.fine)) if quote.bid else []
        asks = list(self._prices(quote.ask, 1, fine=quote.fine)) if quote.ask < 1000 else []
        # Too many: the level next to the worst one goes, as the outermost cent always has one.
        while len(bids) + len(asks) > MAX_LEVELS:
            (bids if len(bids) > len(asks) else asks).pop(1)
        number = step.number
        bid_texts = [self._fragment(milli, (quote.bid - milli) // 10, number) for milli in bids]
        ask_texts = [self._fragment(milli, (milli - quote.ask) // 10, number) for milli in asks]
        up = (",".join([text[1] for text in bid_texts]), ",".join([text[1] for text in ask_texts]))
        down = (",".join([text[2] for text in ask_texts]), ",".join([text[2] for text in bid_texts]))
        return up, down

    def _prices(self, best: int, away: int, *, fine: bool) -> list[int]:
        """Prices in thousandths from the worst to *best*; *away* is -1 for bids, +1 for asks."""
        known = self._sides.get((best, away, fine))
        if known is not None:
            return known
        if len(self._sides) >= _KEEP_SIDES:
            self._sides.clear()
        near = [best]
        if fine:
            reach = (best + away * i for i in range(1, _FINE_REACH))
            near += [milli for milli in reach if 0 < milli < 1000 and self._present(milli, 0.3)]
        edge = near[-1]
        first = edge // 10 * 10 if away < 0 else -(-edge // 10) * 10
        if first == edge:
            first += away * 10
        absent = max(self._absent, 0.2 if fine else 0.0)
        cents = range(first, 0 if away < 0 else 1000, away * 10)
        far = [milli for milli in cents if milli in (10, 990) or self._present(milli, absent)]
        found = self._sides[best, away, fine] = (near + far)[::-1]
        return found

    def _present(self, milli: int, absent: float) -> bool:
        return unit(self._key, 21, milli) >= absent

    def _fragment(self, milli: int, distance: int, number: int) -> tuple[int, str, str]:
        pace = _PACE_AT[distance]
        offset = self._offsets.get(milli)
        if offset is None:
            offset = self._offsets[milli] = mix(self._key, 22, milli)
        state = (number + offset % pace) // pace * len(_PACES) * 200 + pace
        known = self._fragments.get(milli)
        if known is None or known[0] != state:
            size = self._size(milli, state)
            text = f'","size":"{size}"}}'
            up, down = f'{{"price":"{_PRICES[milli]}{text}', f'{{"price":"{_PRICES[1000 - milli]}{text}'
            known = self._fragments[milli] = (state, up, down)
        return known

    def _size(self, milli: int, state: int) -> str:
        """Give the size in shares: large at the ends, with decimals in a quarter of the cases."""
        edge = min(milli, 1000 - milli) / 10
        usual = (220 + 15_000 * math.exp(-edge / 3)) * (0.6 + 1.2 * unit(self._key, 23, milli))
        draw = mix(self._key, 24, milli, state)
        whole = max(5, int(usual + (draw % 41 - 20) * usual / 200))
        hundredths = (draw >> 16) % 100 if (draw >> 8) % 4 == 0 else 0
        return f"{whole}.{hundredths:02d}".rstrip("0") if hundredths else str(whole)
