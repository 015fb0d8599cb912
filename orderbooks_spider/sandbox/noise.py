"""Repeatable noise: numbers, identifiers and a price path that are pure functions of a seed."""

from __future__ import annotations

import functools
import hashlib
import math

_MASK = (1 << 64) - 1

SIGMA = 8.9e-5
"""Standard deviation of the log price over one second: about 50 % a year."""

_FIRST_PRICE = 65_000.0
_OCTAVES = range(18)  # lattice periods of 1 s, 2 s, 4 s ... 1.5 days
_AMPLITUDE = 7.7e-5  # measured so that increments over 5 minutes have SIGMA's size
_GRID_NS = 100_000_000  # the path is looked up on this grid, so that markets share the work


def mix(*parts: int) -> int:
    """Give 64 well mixed bits of some integers (the multiply-and-shift of SplitMix64)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = ((state ^ part) * 0xBF58476D1CE4E5B9) & _MASK
        state ^= state >> 29
    state = (state * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 32)


def unit(*parts: int) -> float:
    """Give a number of [0, 1) for some integers."""
    return (mix(*parts) >> 11) / (1 << 53)


def digest(seed: int, *words: str) -> bytes:
    """Give 32 bytes for a seed and some words."""
    return hashlib.sha256("|".join((str(seed), *words)).encode()).digest()


def key64(seed: int, *words: str) -> int:
    """Give the 64-bit key from which everything random about *words* is drawn."""
    return int.from_bytes(digest(seed, *words)[:8], "big")


class Spot:
    """The BTC price in US dollars at any instant; all markets of one seed settle on the same path.

    Sum of linearly interpolated lattice noise with amplitudes growing as the root of the period,
    which makes it close to a Brownian path and lets any instant be asked for without history.
    """

    def __init__(self, seed: int) -> None:
        self._key = key64(seed, "spot")
        self._lookup = functools.lru_cache(maxsize=50_000)(self._compute)

    def at(self, t_ns: int) -> float:
        """Price in dollars at *t_ns* (UTC nanoseconds), constant within a tenth of a second."""
        return self._lookup(t_ns // _GRID_NS)

    def _compute(self, grid: int) -> float:
        seconds = grid * _GRID_NS / 1e9
        total = 0.0
        for octave in _OCTAVES:
            period = 1 << octave
            cell, inside = divmod(seconds, period)
            left = unit(self._key, octave, int(cell))
            right = unit(self._key, octave, int(cell) + 1)
            total += math.sqrt(period) * (2 * (left + (right - left) * inside / period) - 1)
        return _FIRST_PRICE * math.exp(_AMPLITUDE * total)
