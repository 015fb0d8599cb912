"""Numbers from the venue's texts: exact, or not at all; one by one and by the column alike."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderbooks_spider.normalize.fixed import LONGEST, MARGIN, NONE, decimals, fixed, fixed_column, integers
from orderbooks_spider.normalize.tables import MID, PRICE, SIZE

PLAIN = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,10})?", fullmatch=True)
NEARLY = st.from_regex(r"[-+]?[0-9_]{0,13}[.,]?[0-9eE]{0,8}[-+]?[0-9]{0,2}", fullmatch=True)
DECIMALS = st.decimals().map(str)
"""With exponents, infinities and what is no number."""
TEXTS = PLAIN | NEARLY | DECIMALS | st.text(max_size=8)


def exact(text: str, scale: int, digits: int) -> int | None:
    """What *text* is at that scale, by ``decimal`` alone; ``None`` where it is none or too long."""
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) is None:
        return None
    scaled = Decimal(text) * 10**scale  # 28 digits are kept; the strategies make no more
    return int(scaled) if scaled == int(scaled) and abs(scaled) < 10**digits else None


@settings(deadline=None)
@given(TEXTS, st.integers(0, 6), st.integers(1, 18))
@example("-0", 4, 9)
@example("0.10000", 4, 9)
@example("00012.5", 4, 9)
@example("99999.9999", 4, 9)
@example("100000", 4, 9)
def test_number_equals_decimal(text: str, scale: int, digits: int) -> None:
    """A text becomes the exact scaled integer, or nothing where it does not fit."""
    assert fixed(text, scale, digits) == exact(text, scale, digits)


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", ".5", "5.", "+1", " 1", "1 ", "1\n", "1_000", "1,5", "0x1", "1e2", "1E-2", "NaN",
     "Infinity", "1.2.3", "--1", "1-", "\u0661", "1\u00a0", "\uff11", "1\x00", "\u22121"],
)  # fmt: skip
def test_other_notations_are_no_numbers(text: str) -> None:
    """Whatever Python's own readers would forgive has no value: it is never guessed at."""
    assert fixed(text, 4, 9) is None


def test_huge_number_has_no_value() -> None:
    """A text of a million digits is refused, not computed with."""
    assert fixed("9" * 10**6, 6, 18) is None
    assert fixed("0." + "9" * 10**6, 6, 18) is None
    assert fixed("0" * 10**6 + "1." + "0" * 10**6, 6, 18) == 10**6


@settings(deadline=None)
@given(st.lists(PLAIN | NEARLY.filter(str.isascii), max_size=20), st.integers(0, 6))
@example(["123456789.12", "12345678.123", "999999999999", "0.1", "00000000000.1"], 6)
@example(["1/2", "1:2", "a.5", "1.a", "1..2", ".", "1.", ".1"], 4)
def test_column_equals_single_numbers(texts: list[str], scale: int) -> None:
    """Numbers read by the column are those read one by one; exactly the plain short ones are believed."""
    joined = bytes(MARGIN) + b"".join(text.encode() + b'"' for text in texts) + bytes(MARGIN)
    lengths = np.array([len(text) for text in texts], np.int64)
    ends = MARGIN + np.cumsum(lengths + 1) - 1
    values, good = fixed_column(np.frombuffer(joined, np.uint8), ends, lengths, scale)
    for text, value, believed in zip(texts, values.tolist(), good.tolist(), strict=True):
        plain = re.fullmatch(r"[0-9]+(\.([0-9]+))?", text)
        assert believed == (plain is not None and len(text) <= LONGEST and len(plain[2] or "") <= scale)
        assert not believed or value == exact(text, scale, 18)


@pytest.mark.parametrize("kind", [PRICE, SIZE, MID], ids=str)
@settings(deadline=None)
@given(data=st.data())
def test_arrow_decimals_are_the_integers(kind: pa.Decimal128Type, data: st.DataObject) -> None:
    """Scaled integers arrive in Arrow digit by digit, negative ones too, and a missing one is null."""
    limit = 10**kind.precision - 1
    values = data.draw(st.lists(st.none() | st.integers(-limit, limit)))
    scaled = np.array([NONE if value is None else value for value in values], np.int64)
    expected = [None if value is None else Decimal(value).scaleb(-kind.scale) for value in values]
    made = decimals(scaled, kind)
    made.validate(full=True)
    assert made.to_pylist() == expected
    assert integers(scaled, pa.int64()).to_pylist() == values
