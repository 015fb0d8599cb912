"""How good the host's clock is, by the kernel's own account; ``clock.py`` alone asks what time it is.

The kernel keeps the account that its time daemon gives it, and ages it: ``adjtimex(2)`` with no mode set
reads it and needs no privilege.  ``docs/TIME.md`` says what can be concluded from it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Annotated, Literal

import msgspec

CLOCK_QUALITY = "clock_quality"
"""The event row that holds a reading."""

ClockState = Literal[
    "ok", "insert_leap", "delete_leap", "in_leap_second", "leap_wait", "error", "unknown"
]  # fmt: skip
_STATES: tuple[ClockState, ...] = ("ok", "insert_leap", "delete_leap", "in_leap_second", "leap_wait", "error")
"""By the number that the call returns, ``TIME_OK`` to ``TIME_ERROR``."""

STA_PLL = 0x0001
STA_UNSYNC = 0x0040
STA_NANO = 0x2000
_PPM_SCALE = 1 << 16

Nanoseconds = Annotated[int, msgspec.Meta(ge=0)]


class ClockQuality(msgspec.Struct, frozen=True, kw_only=True):
    """One reading; every value is ``None`` where ``state`` is ``unknown``, and ``reason`` says why."""

    state: ClockState
    """``error`` is the kernel's word for not synchronised."""
    synchronised: bool | None = None
    """Whether ``STA_UNSYNC`` is clear: somebody vouches for the errors below."""
    offset_ns: int | None = None
    """Correction that is still being slewed in."""
    max_error_ns: Nanoseconds | None = None
    """What the daemon said last, and 500 µs for each second since, up to 16 s (``kernel/time/ntp.c``)."""
    estimated_error_ns: Nanoseconds | None = None
    frequency_ppm: float | None = None
    """Correction of the oscillator's rate."""
    status: int | None = None
    """The ``STA_*`` bits."""
    tai_offset_seconds: int | None = None
    """TAI minus UTC; 0: nobody told the kernel."""
    reason: str | None = None

    @property
    def bound_ns(self) -> int | None:
        """The clock was at most so far from UTC; ``None`` where nobody vouches for that.

        A client that steers the kernel's own loop and writes 0 for both errors (systemd-timesyncd does,
        ``manager_adjust_clock``) has measured none: ``max_error_ns`` then counts the time since its last
        answer and leaves out the way to its server.
        """
        if not self.synchronised or self.offset_ns is None or self.max_error_ns is None:
            return None
        if self.status is not None and self.status & STA_PLL and self.estimated_error_ns == 0:
            return None
        return self.max_error_ns + abs(self.offset_ns)


class Timex(ctypes.Structure):
    """``struct timex`` of 64-bit Linux: ``adjtimex(2)``, ``linux/timex.h``."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),  # not read: the time comes from a Clock
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("_reserved", ctypes.c_int * 11),
    )


def read_clock_quality() -> ClockQuality:
    """Ask the kernel; some microseconds.  Never raises: what cannot be read is ``unknown``."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return _unknown(f"adjtimex is read on 64-bit Linux only, this is {sys.platform}")
    timex = Timex(modes=0)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError) as error:
        return _unknown(f"no adjtimex: {error}")
    if state < 0:
        return _unknown(f"adjtimex: {os.strerror(ctypes.get_errno())}")
    return quality_of(state, timex)


def quality_of(state: int, timex: Timex) -> ClockQuality:
    """What the kernel's answer says; *state* is what the call returned."""
    if state >= len(_STATES):
        return _unknown(f"adjtimex: expected a state of 0 to {len(_STATES) - 1}, saw {state}")
    return ClockQuality(
        state=_STATES[state],
        synchronised=not timex.status & STA_UNSYNC,
        offset_ns=timex.offset * (1 if timex.status & STA_NANO else 1000),
        max_error_ns=timex.maxerror * 1000,
        estimated_error_ns=timex.esterror * 1000,
        frequency_ppm=timex.freq / _PPM_SCALE,
        status=timex.status,
        tai_offset_seconds=timex.tai,
    )


def _unknown(reason: str) -> ClockQuality:
    return ClockQuality(state="unknown", reason=reason)
