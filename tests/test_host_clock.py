from __future__ import annotations

import ctypes
import platform
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.host_clock import (
    STA_NANO,
    STA_PLL,
    STA_UNSYNC,
    ClockQuality,
    Timex,
    quality_of,
    read_clock_quality,
)

SYS_ADJTIMEX = {"x86_64": 159, "aarch64": 171}
"""Numbers of the system call, by machine."""
FREQ_AT, MAXERROR_AT, STATUS_AT, TAI_AT = 16, 24, 40, 160
"""Bytes into ``struct timex`` on a 64-bit machine."""


def chrony(**changes: int) -> Timex:
    """What the kernel says of a clock that chrony keeps, with *changes*."""
    values = {"status": STA_NANO, "maxerror": 1_200, "esterror": 35, "freq": -12 << 16, "tai": 37}
    return Timex(**(values | changes))


def test_struct_has_the_kernel_s_size() -> None:
    """The structure is as long as the kernel's, so the call writes nowhere else."""
    assert ctypes.sizeof(Timex) == 208


def test_values_come_in_nanoseconds() -> None:
    """Errors are given in ns, the rate in ppm, and nothing is left out."""
    assert quality_of(0, chrony()) == ClockQuality(
        state="ok",
        synchronised=True,
        offset_ns=0,
        max_error_ns=1_200_000,
        estimated_error_ns=35_000,
        frequency_ppm=-12.0,
        status=STA_NANO,
        tai_offset_seconds=37,
    )


@pytest.mark.parametrize(("status", "offset_ns"), [(STA_NANO, -50_000), (0, -50_000_000)])
def test_offset_has_the_unit_that_the_kernel_names(status: int, offset_ns: int) -> None:
    """The offset is in ns where ``STA_NANO`` is set and in µs where it is not."""
    assert quality_of(0, chrony(offset=-50_000, status=status)).offset_ns == offset_ns


@pytest.mark.parametrize(
    ("number", "state"),
    list(enumerate(["ok", "insert_leap", "delete_leap", "in_leap_second", "leap_wait", "error", "unknown"])),
)
def test_states_have_their_names(number: int, state: str) -> None:
    """Each state of the kernel has its name, and a number that it does not define is unknown."""
    quality = quality_of(number, chrony())
    assert quality.state == state
    assert (quality.reason is None) == (state != "unknown")


@given(max_error=st.integers(0, 16_000_000), offset=st.integers(-500_000_000, 500_000_000))
def test_bound_covers_error_and_what_is_still_to_be_slewed(max_error: int, offset: int) -> None:
    """A synchronised clock is at most its largest error and its open correction from UTC."""
    quality = quality_of(0, chrony(maxerror=max_error, offset=offset))
    assert quality.bound_ns == max_error * 1000 + abs(offset)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": STA_NANO | STA_UNSYNC},
        {"status": STA_NANO | STA_UNSYNC, "maxerror": 16_000_000},
        {"status": STA_NANO | STA_PLL, "maxerror": 500, "esterror": 0},
    ],
    ids=["flag alone", "after a step", "client without error"],
)
def test_nothing_bounds_a_clock_nobody_vouches_for(changes: dict[str, int]) -> None:
    """Unsynchronised, or kept by a client that measures no error, a clock has no bound."""
    assert quality_of(0, chrony(**changes)).bound_ns is None
    assert ClockQuality(state="unknown", reason="made up").bound_ns is None


def test_reading_survives_the_row() -> None:
    """A reading that was written to a row is read back the same."""
    quality = quality_of(0, chrony())
    assert msgspec.convert(msgspec.to_builtins(quality), ClockQuality) == quality


@pytest.mark.skipif(sys.platform != "linux", reason="the account is the Linux kernel's")
def test_reading_is_the_kernel_s_own_account() -> None:
    """On this host the reading says what the system call itself writes, byte by byte."""
    number = SYS_ADJTIMEX.get(platform.machine())
    if number is None:
        pytest.skip(f"the number of adjtimex on {platform.machine()} is not written down here")

    def raw() -> tuple[int, bytes]:
        answer = ctypes.create_string_buffer(208)
        return ctypes.CDLL(None).syscall(number, answer), answer.raw

    def told(answer: bytes, at: int, length: int) -> int:
        return int.from_bytes(answer[at : at + length], sys.byteorder, signed=True)

    while True:  # until no second ended between the calls
        (state, before), quality, (_, after) = raw(), read_clock_quality(), raw()
        if before[:STATUS_AT] == after[:STATUS_AT]:
            break
    if state < 0:
        assert quality.state == "unknown"
        return
    assert quality.max_error_ns == told(before, MAXERROR_AT, 8) * 1000
    assert quality.frequency_ppm == told(before, FREQ_AT, 8) / 65_536
    assert quality.status == told(before, STATUS_AT, 4)
    assert quality.tai_offset_seconds == told(before, TAI_AT, 4)
    assert quality.synchronised == (not told(before, STATUS_AT, 4) & STA_UNSYNC)
