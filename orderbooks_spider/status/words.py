"""Spans of time and sizes, as people read them."""

from __future__ import annotations


def span(seconds: float | None) -> str:
    """``95`` -> ``1 min 35 s``; two units at most."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    for unit, part, name, below in ((86_400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def size(count: float) -> str:
    """``1234567`` -> ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
