"""Picture of the archive's growth: bytes and rows of each hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Patch

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.items import FEEDS
from orderbooks_spider.report import style
from orderbooks_spider.report.style import draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from orderbooks_spider.report.day import Day
    from orderbooks_spider.report.numbers import Stored

HOURS: Final = 24


def draw_stored(stored: Sequence[Stored], day: Day) -> str:
    """Bytes and rows by hour, stacked by feed."""
    unit, size = ("MB", 1_000_000) if max(each.bytes for each in stored) >= 1_000_000 else ("kB", 1000)

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.set_title(f"{unit} in sealed segments")
        _draw_bars(left, {(each.hour_ns, each.feed): each.bytes / size for each in stored}, day)
        right.set_title("rows")
        _draw_bars(right, {(each.hour_ns, each.feed): each.rows for each in stored}, day)
        patches = [Patch(color=style.FEED_COLOURS[feed], label=feed) for feed in FEEDS]
        figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), handlelength=1)

    return draw("stored", 2.5, paint)


def _draw_bars(axes: Axes, values: Mapping[tuple[int, str], float], day: Day) -> None:
    base = np.zeros(HOURS)
    for feed in FEEDS:
        heights = np.array([values.get((day.from_ns + hour * HOUR_NS, feed), 0) for hour in range(HOURS)])
        axes.bar(np.arange(HOURS) + 0.5, heights, bottom=base, color=style.FEED_COLOURS[feed], width=0.8)
        base = base + heights
    axes.set_xlim(0, HOURS)
    axes.set_xticks(range(0, HOURS + 1, 4), [f"{hour:02d}:00" for hour in range(0, HOURS + 1, 4)])
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter("{x:,.6g}")
