"""A process whose wall clock is set from a file while it runs, by libfaketime."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDERS = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime")


def wall_clock_from(shift: Path) -> dict[str, str]:
    """Environment of a process whose wall clock is ahead by what *shift* says, ``+5`` for five seconds.

    Skips the test where libfaketime is not installed.
    """
    found = [Path(folder) / "libfaketimeMT.so.1" for folder in FOLDERS]
    library = next((path for path in found if path.exists()), None)
    if library is None:
        pytest.skip("needs libfaketime (Debian package faketime)")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
