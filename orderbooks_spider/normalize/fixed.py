"""Decimal texts to scaled integers, one by one and by the column; no float ever.

``0.0225`` at scale 4 is 225.  A text that is no plain decimal number, or has more digits than the type
holds, has no value: it is never rounded.  Trailing zeros are no digits.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Bytes = NDArray[np.uint8]
    Words = NDArray[np.uint64]

NONE: Final = -(2**63)
"""Stands for "no value" in integer columns, until they become Arrow arrays."""

_PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
LONGEST: Final = 12
"""Characters up to which a number is read by the column: at any scale up to 6 it fits 64 bits."""
MARGIN: Final = 16
"""Bytes that must lie before the first number of a column and behind the last."""

# Eight characters of a number are one word, the first of them in its lowest byte.
_POWERS = 10 ** np.arange(7, dtype=np.int64)
_KEPT = np.array([2**64 - 2 ** (64 - 8 * count) for count in range(9)], np.uint64)
"""Masks of a word's last 0 to 8 characters."""
_BYTE, _TOP = np.uint64(8), np.uint64(56)
_ZEROS, _DOTS = (np.uint64(int.from_bytes(bytes([byte]) * 8)) for byte in (ord("0"), ord("0") ^ ord(".")))
_SEVEN, _OVER_NINE, _HIGH = (np.uint64(int.from_bytes(bytes([byte]) * 8)) for byte in (0x7F, 0x76, 0x80))
_PLACES = np.uint64(0x0706050403020100)


@lru_cache(maxsize=10_000)
def fixed(text: str, scale: int, digits: int) -> int | None:
    """*text* times ``10 ** scale``; ``None`` where it is no plain decimal of at most *digits* digits."""
    matched = _PLAIN.fullmatch(text)
    if matched is None:
        return None
    sign, whole, fraction = matched.groups(default="")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    if len(fraction) > scale or len(whole) > digits:
        return None
    value = int("0" + whole + fraction.ljust(scale, "0"))
    return None if value >= 10**digits else -value if sign else value


def fixed_column(text: Bytes, ends: Integers, lengths: Integers, scale: int) -> tuple[Integers, Flags]:
    """The numbers that end before *ends* in *text* times ``10 ** scale``, and which of them can be believed.

    A number is taken where it is ``digits`` or ``digits.digits``, at most :data:`LONGEST` characters with
    at most *scale* digits behind the dot; for any other :func:`fixed` must be asked.  Eight characters are
    read at once; a byte at a time takes twice as long (measured).
    """
    words = np.ndarray((len(text) - 7,), "<u8", text, 0, (1,))
    low = (words[ends - 8] ^ _ZEROS) & _KEPT[np.minimum(lengths, 8)]  # digits as 0 to 9, nothing as 0
    rest = low ^ _DOTS
    dots = ~(((rest & _SEVEN) + _SEVEN) | rest | _SEVEN)  # the high bit of each byte that holds a dot
    dot = dots >> np.uint64(7)
    behind = ((dot * _PLACES) >> _TOP).astype(np.int64)  # digits behind a single dot
    dotted = dots != 0
    good = (lengths > 0) & (lengths <= LONGEST) & (behind <= scale)
    good &= ~dotted | ((behind > 0) & (behind + 1 < lengths))
    # Characters before the first dot move up by one into its place; a second one is no digit.
    closed = ((low & (dot - np.uint64(1))) << _BYTE) | (low & ~((dot << _BYTE) - np.uint64(1)))
    low = np.where(dotted, closed, low)
    values = np.zeros(len(ends), np.int64)
    if lengths.max(initial=0) > 8:
        high = (words[ends - 16] ^ _ZEROS) & _KEPT[np.clip(lengths - 8, 0, 8)]
        low |= np.where(dotted, high >> _TOP, np.uint64(0))
        high = np.where(dotted, high << _BYTE, high)
        good &= _all_digits(high)
        values += _eight_digits(high) * 10**8
    good &= _all_digits(low)
    values += _eight_digits(low)
    return values * _POWERS[np.clip(scale - behind, 0, scale)], good


def _all_digits(words: Words) -> Flags:
    found: Flags = ((words + _OVER_NINE) | words) & _HIGH == 0
    return found


def _eight_digits(words: Words) -> Integers:
    """The number that eight digits make: neighbours first, then pairs, then fours."""
    pairs = (words * np.uint64(10) + (words >> _BYTE)) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    eight = (fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return eight.astype(np.int64)


def decimals(values: Integers, kind: pa.Decimal128Type) -> pa.Array:
    """Scaled integers as an Arrow array of *kind*, ``NONE`` as null; they must fit."""
    words = np.empty((len(values), 2), np.int64)  # little endian 128 bits: low word, sign
    words[:, 0] = values
    words[:, 1] = values >> 63
    return pa.Array.from_buffers(kind, len(values), [_valid(values), pa.py_buffer(words)])


def decimals_of(values: Iterable[int | None], kind: pa.Decimal128Type) -> pa.Array:
    """The same of single values."""
    return decimals(np.array([NONE if value is None else value for value in values], np.int64), kind)


def integers(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Integers as an Arrow array of *kind*, ``NONE`` as null."""
    array = pa.Array.from_buffers(pa.int64(), len(values), [_valid(values), pa.py_buffer(values)])
    return array.cast(kind)


def _valid(values: Integers) -> pa.Buffer | None:
    """Arrow's bitmap of values that are there; ``None``: all of them."""
    missing = values == NONE
    if not missing.any():
        return None
    return pa.py_buffer(np.packbits(~missing, bitorder="little"))
