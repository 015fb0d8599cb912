"""How the pictures look, and how a figure becomes part of a page: the same bytes for the same numbers.

Colours are those of Okabe and Ito, which people with any colour vision tell apart.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from orderbooks_spider.clock import NS
from orderbooks_spider.report.texts import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from orderbooks_spider.report.axis import Axis
    from orderbooks_spider.report.day import Day

BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILLION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
GREY: Final = "#8c8c8c"
FAULT_COLOURS: Final = {"us": BLUE, "unknown": GREY, "network": PURPLE, "venue": ORANGE}
FEED_COLOURS: Final = {"books": BLUE, "markets": ORANGE, "events": GREEN}

WIDTH: Final = 11.0
"""Inches of a picture; the page scales it to its own width."""
_DPI: Final = 160
"""Of the parts that are drawn as pixels."""
_TICKS: Final = 13
"""At most so many on a time axis."""
_TICK_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800)
_STYLE: Final[dict[Any, Any]] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#606060",
    "axes.grid": True,
    "axes.labelcolor": "#303030",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "text.parse_math": False,
    "xtick.color": "#404040",
    "xtick.labelsize": 8.5,
    "ytick.color": "#404040",
    "ytick.labelsize": 8.5,
}


def draw(name: str, height: float, paint: Callable[[Figure], None]) -> str:
    """The picture called *name*, *height* inches high, as an ``<svg>`` element for a page."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {"svg.hashsalt": name})
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        content = io.StringIO()
        unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", dpi=_DPI, metadata=unsaid)
    return _embedded(name, content.getvalue())


def _embedded(name: str, svg: str) -> str:
    """*svg* without its prologue and size, and with ids that no other picture of the page has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href=")#', rf"\1#{name}-", svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg).rstrip()


def set_time_axis(axes: Axes, axis: Axis, day: Day) -> None:
    """Label columns of *axis* as times of *day*."""
    width_s = (axis.until_ns - axis.from_ns) // NS
    step_s = next((step for step in _TICK_STEPS if width_s <= step * (_TICKS - 1)), _TICK_STEPS[-1])
    first_s = -((axis.from_ns - day.from_ns) // NS // -step_s) * step_s
    last_s = (axis.until_ns - day.from_ns) // NS
    seconds = range(first_s, last_s + 1, step_s)
    origin_s = (axis.from_ns - day.from_ns) // NS
    columns = [(second - origin_s) * NS / axis.step_ns for second in seconds]
    axes.xaxis.set_major_locator(FixedLocator(columns))
    axes.xaxis.set_major_formatter(FixedFormatter([_clock_text(second, step_s) for second in seconds]))
    axes.set_xlim(0, axis.columns)


def _clock_text(second: int, step_s: int) -> str:
    text = f"{second // 3600:02d}:{second // 60 % 60:02d}"
    return text if step_s % 60 == 0 else f"{text}:{second % 60:02d}"


def set_log_ns(axes: Axes, low_ns: float, high_ns: float) -> None:
    """A logarithmic x axis of durations, labelled 1 ms, 10 ms and so on; a short one also 2 ms and 5 ms."""
    steps = (1, 2, 5) if high_ns < 100 * low_ns else (1,)
    axes.set_xscale("log")
    axes.set_xlim(low_ns, high_ns)
    axes.xaxis.set_major_locator(FixedLocator([step * 10**power for power in range(3, 13) for step in steps]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(round(value))))
