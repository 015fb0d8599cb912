"""Pictures of books: mids of both tokens, spreads, and the depth of one market."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.report import style
from orderbooks_spider.report.books import CENTS
from orderbooks_spider.report.slots import WINDOWS
from orderbooks_spider.report.style import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from orderbooks_spider.report.axis import Axis
    from orderbooks_spider.report.books import Books, Depth
    from orderbooks_spider.report.day import Day

_UP: Final = style.SKY
_MIRRORED: Final = style.BLACK
_WIDTHS: Final = (1.3, 3.2)
"""Of the line of Up in points: over short windows the thinner, or neighbours would run together."""
_SPREAD_TICKS: Final = (0.001, 0.01, 0.1, 1.0)
_LOWEST_SPREAD: Final = 0.0005
"""A spread of zero or below is drawn here."""


def windows_in(frame: pl.DataFrame) -> list[str]:
    """The window lengths of *frame*, shortest first."""
    seen = set(frame["window"])
    return [window for window in WINDOWS if window in seen]


def draw_mids(books: Books, axis: Axis, day: Day) -> str:
    """Per window length the mid of Up, 1 - the mid of Down over it, and by how much they differ."""
    windows = windows_in(books.mids)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(
            len(windows) + 1, 1, sharex=True, height_ratios=[*(1 for _ in windows), 0.8]
        )  # fmt: skip
        for axes, window in zip(panels, windows, strict=False):
            _draw_both(axes, books.mids.filter(pl.col("window") == window), axis)
            _name(axes, window)
        most = books.differences.group_by("column").agg(pl.col("difference").max().cast(pl.Float64) * 100)
        values = np.full(axis.columns, np.nan)
        values[most["column"].to_numpy()] = most["difference"].to_numpy()
        middles = np.arange(axis.columns, dtype=np.float64) + 0.5
        _draw_line(panels[-1], middles, values, color=style.VERMILLION, width=1)
        top = max(1.2, float(np.nanmax(values, initial=0)) * 1.15)
        panels[-1].set_ylim(-top / 15, top)
        _name(panels[-1], "largest\ndifference,\ncents")
        style.set_time_axis(panels[-1], axis, day)
        figure.legend(handles=_both_names(), loc="outside upper left", ncols=2)

    return draw("mids", 0.8 + 1.05 * (len(windows) + 0.8), paint)


def _name(axes: Axes, name: str) -> None:
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _both_names() -> list[Line2D]:
    return [
        Line2D([], [], label="mid of Up", linewidth=_WIDTHS[1], color=_UP),
        Line2D([], [], label="1 - mid of Down", linewidth=0.8, color=_MIRRORED),
    ]


def _draw_both(axes: Axes, mids: pl.DataFrame, axis: Axis) -> None:
    """Both lines; they break where a column has no mid, and between markets."""
    columns = len(mids) / max(1, 2 * mids["condition_id"].n_unique())
    width = float(np.clip(columns / 8, *_WIDTHS))
    x, y = _line(mids.filter(pl.col("outcome") == OUTCOMES[0]), axis)
    _draw_line(axes, x, y, color=_UP, width=width)
    x, y = _line(mids.filter(pl.col("outcome") == OUTCOMES[1]), axis)
    _draw_line(axes, x, 1 - y, color=_MIRRORED, width=width / 4)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.5, 1])


def _draw_line(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], *, color: str, width: float
) -> None:
    """A line with a dot at each column, so that one is seen whose neighbours have no mid."""
    axes.plot(
        x, y, color=color, linewidth=width, solid_capstyle="round", marker="o", markersize=width,
        markeredgewidth=0, rasterized=True,
    )  # fmt: skip


def _line(mids: pl.DataFrame, axis: Axis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of each column against its mid, with nan where the line breaks."""
    middles = np.arange(axis.columns + 1, dtype=np.float64) + 0.5
    x: list[NDArray[np.float64]] = [np.empty(0)]
    y: list[NDArray[np.float64]] = [np.empty(0)]
    for _, market in sorted(mids.partition_by("condition_id", as_dict=True).items()):
        columns = market["column"].to_numpy()
        values = np.full(axis.columns + 1, np.nan)
        values[columns] = market["mid"].cast(pl.Float64).to_numpy()
        own = slice(columns.min(), columns.max() + 2)
        x.append(middles[own])
        y.append(values[own])  # ends with nan, for no column behind the last is the market's
    return np.concatenate(x), np.concatenate(y)


def draw_spreads(books: Books, axis: Axis, day: Day) -> str:
    """Per window length the median spread over time, with the band from p10 to p90; logarithmic."""
    windows = windows_in(books.spreads)
    widest = max(books.spreads["p90"].to_list(), default=0)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(windows), 1, sharex=True, squeeze=False)[:, 0]
        for axes, window in zip(panels, windows, strict=True):
            _draw_spread(axes, books.spreads.filter(pl.col("window") == window), axis)
            _name(axes, window)
            axes.set_yscale("log")
            axes.set_ylim(_LOWEST_SPREAD * 0.9, max(0.15, widest * 1.3))
            axes.yaxis.set_major_locator(FixedLocator(list(_SPREAD_TICKS)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} ¢"))
        style.set_time_axis(panels[-1], axis, day)
        handles = [
            Line2D([], [], color=style.BLUE, linewidth=1.1, label="median"),
            Patch(color=style.SKY, alpha=0.6, label="from p10 to p90"),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)

    return draw("spreads", 0.8 + 0.75 * len(windows), paint)


def _draw_spread(axes: Axes, spreads: pl.DataFrame, axis: Axis) -> None:
    x = np.arange(axis.columns + 1)
    p10, p50, p90 = (np.full(axis.columns + 1, np.nan) for _ in range(3))
    for name, values in (("p10", p10), ("p50", p50), ("p90", p90)):
        values[spreads["column"].to_numpy()] = np.maximum(spreads[name].to_numpy(), _LOWEST_SPREAD)
    axes.fill_between(
        x, p10, p90, step="post", color=style.SKY, alpha=0.6, linewidth=0.8, rasterized=True
    )  # fmt: skip
    axes.step(x, p50, where="post", color=style.BLUE, linewidth=1.1, rasterized=True)


def draw_depth(depth: Depth, day: Day) -> str:
    """Price by time of one market's Up token; the colour is the size on a logarithmic scale."""
    sizes = depth.levels["size"].to_numpy()
    low = float(np.quantile(sizes, 0.02))
    norm = LogNorm(low, max(float(sizes.max()), 10 * low))

    def paint(figure: Figure) -> None:
        parts = figure.subplot_mosaic(
            [["book", "bids", "asks"], ["mids", ".", "."]],
            width_ratios=[1, 0.012, 0.012],
            height_ratios=[4, 1.25],
        )
        parts["book"].set_facecolor("#f4f4f4")
        for side, colours in (("bids", "Blues"), ("asks", "Oranges")):
            image = parts["book"].imshow(
                _size_image(depth, side), cmap=_upper(colours), norm=norm, aspect="auto", origin="lower",
                interpolation="nearest", extent=(0, depth.axis.columns, -0.005, 1.005),
            )  # fmt: skip
            bar = figure.colorbar(
                image, cax=parts[side], format=FuncFormatter(lambda size, _: f"{size:,.6g}")
            )
            bar.outline.set_visible(False)
            parts[side].set_title(side, fontsize=8, loc="center", rotation=90)
        parts["bids"].tick_params(which="both", right=False, labelright=False)
        parts["asks"].set_ylabel("shares")
        parts["book"].grid(visible=False)
        parts["book"].set_ylabel("price of Up")
        parts["book"].tick_params(labelbottom=False)
        _draw_both(parts["mids"], depth.mids.with_columns(condition_id=pl.lit("")), depth.axis)
        parts["mids"].set_ylabel("mid")
        for name in ("book", "mids"):
            style.set_time_axis(parts[name], depth.axis, day)
            for edge_ns in depth.window_ns:
                if depth.axis.from_ns < edge_ns < depth.axis.until_ns:
                    place = (edge_ns - depth.axis.from_ns) / depth.axis.step_ns
                    parts[name].axvline(place, color=style.BLACK, linewidth=1, linestyle=(0, (3, 2)))
        figure.legend(handles=_both_names(), loc="outside lower left", ncols=2)

    return draw("depth", 4.9, paint)


def _upper(name: str) -> mpl.colors.Colormap:
    """A colour map without its palest part, so that a small size is still seen."""
    whole = mpl.colormaps[name]
    return mpl.colors.ListedColormap(whole(np.linspace(0.22, 1, 256)))


def _size_image(depth: Depth, side: str) -> NDArray[np.float64]:
    image = np.full((CENTS, depth.axis.columns), np.nan)
    mine = depth.levels.filter(pl.col("side") == side)
    image[mine["cent"].to_numpy(), mine["column"].to_numpy()] = mine["size"].to_numpy()
    return image
