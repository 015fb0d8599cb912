"""Pictures of slots: which were answered, why the others were not, and how late and slow polls were."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from orderbooks_spider.normalize.faults import FAULTS
from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.report import style
from orderbooks_spider.report.slots import ANSWERED, CLASSES, GAP_LENGTHS, TOKEN, WINDOWS
from orderbooks_spider.report.style import draw
from orderbooks_spider.report.texts import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from orderbooks_spider.report.axis import Axis
    from orderbooks_spider.report.day import Day
    from orderbooks_spider.report.numbers import Cause, Distribution, GapLength
    from orderbooks_spider.report.slots import Slots

COLOURS: Final = {
    ANSWERED: "#d3e5f3",
    "skipped": style.BLUE,
    "told to wait": style.ORANGE,
    "no answer": style.VERMILLION,
    "bad answer": style.PURPLE,
    "no book": style.YELLOW,
    "process down": "#1a1a1a",
    "not discovered": style.GREY,
    "missing": style.GREEN,
}
_LEAST_TINT: Final = 0.55
"""How much of its colour a column has in which a single slot was lost."""
_ROW_INCHES: Final = 0.17


def lanes(tokens: pl.DataFrame) -> pl.DataFrame:
    """``row`` of each token in the coverage picture, and that row's ``label``.

    Markets of one collector and window length follow each other in a lane as long as they do not
    overlap; each lane has a row for Up and one for Down.
    """
    markets = tokens.group_by("collector_id", "window", "condition_id").agg(
        pl.col("first_ns").min(), pl.col("last_ns").max()
    )
    rank = pl.col("window").replace_strict(WINDOWS, range(len(WINDOWS)), return_dtype=pl.Int64)
    ranked = markets.with_columns(rank=rank).sort("collector_id", "rank", "first_ns", "condition_id")
    ends: dict[tuple[str, int], list[int]] = {}
    places = []
    for row in ranked.iter_rows(named=True):
        own = ends.setdefault((row["collector_id"], row["rank"]), [])
        lane = next((number for number, end_ns in enumerate(own) if end_ns < row["first_ns"]), len(own))
        own[lane : lane + 1] = [row["last_ns"]]
        places.append((row["collector_id"], row["condition_id"], row["rank"], lane))
    schema = {"collector_id": pl.String, "condition_id": pl.String, "rank": pl.Int64, "lane": pl.Int64}
    placed = tokens.join(
        pl.DataFrame(places, schema=schema, orient="row"), on=["collector_id", "condition_id"], how="left"
    )
    down = (pl.col("outcome") != OUTCOMES[0]).alias("down")
    several = tokens["collector_id"].n_unique() > 1
    who = pl.concat_str("collector_id", pl.lit(" ")) if several else pl.lit("")
    return placed.select(
        *TOKEN,
        "first_ns",
        label=pl.concat_str(who, "window", pl.lit(" "), "outcome"),
        row=pl.struct("collector_id", "rank", "lane", down).rank("dense") - 1,
    )


def draw_coverage(slots: Slots, axis: Axis, day: Day) -> str:
    """Token by time; the colour says what became of the slots."""
    placed = lanes(slots.tokens)
    labels = dict(placed.select("row", "label").unique("row").sort("row").iter_rows())
    image = _cells_image(slots.cells.join(placed, on=TOKEN), axis, len(labels))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(
            image, aspect="auto", interpolation="nearest", extent=(0, axis.columns, len(labels), 0), zorder=2
        )
        starts = placed.filter(pl.col("first_ns") > axis.from_ns)
        axes.vlines(
            starts.select(axis.column("first_ns"))["first_ns"], starts["row"], starts["row"] + 1,
            color="white", linewidth=0.6, zorder=3, rasterized=True,
        )  # fmt: skip
        axes.hlines(range(1, len(labels)), 0, axis.columns, color="white", linewidth=1.2, zorder=3)
        axes.set_yticks([row + 0.5 for row in labels], list(labels.values()))
        axes.tick_params(axis="y", length=0, labelsize=min(8.5, 300 / max(len(labels), 1)))
        axes.grid(visible=False, axis="y")
        style.set_time_axis(axes, axis, day)
        seen = set(slots.cells["class"])
        patches = [Patch(color=COLOURS[name], label=name) for name in CLASSES if name in seen]
        figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), handlelength=1)

    return draw("coverage", max(1.6, len(labels) * _ROW_INCHES + 0.9), paint)


def _cells_image(cells: pl.DataFrame, axis: Axis, rows: int) -> NDArray[np.float64]:
    """RGBA of each row and column: the most frequent class that is no answer, fuller the more was lost."""
    lost = pl.col("class") != ANSWERED
    shares = (
        cells.group_by("row", "column", "class")
        .agg(pl.col("slots").sum())
        .with_columns(
            lost=pl.col("slots").filter(lost).sum().over("row", "column"),
            all=pl.col("slots").sum().over("row", "column"),
            rank=pl.col("class").replace_strict(list(CLASSES), list(range(len(CLASSES)))),
        )
        .sort("slots", "rank", descending=[True, True])
        .sort(lost, descending=True, maintain_order=True)
        .unique(["row", "column"], keep="first", maintain_order=True)
    )
    palette = np.array([to_rgb(COLOURS[name]) for name in CLASSES])
    share = shares["lost"].to_numpy() / shares["all"].to_numpy()
    tint = np.where(share > 0, _LEAST_TINT + (1 - _LEAST_TINT) * share, 1)[:, None]
    colours = 1 - tint + tint * palette[shares["rank"].to_numpy()]  # with white, which keeps the hue
    image = np.zeros((rows, axis.columns, 4))
    image[shares["row"], shares["column"]] = np.column_stack([colours, np.ones(len(colours))])
    return image


def draw_gaps(causes: Sequence[Cause], lengths: Sequence[GapLength]) -> str:
    """Slots lost by cause, and gaps by length; the colour says whose fault."""

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        _draw_causes(left, causes)
        _draw_lengths(right, lengths)
        seen = {cause.fault for cause in causes}
        patches = [
            Patch(color=style.FAULT_COLOURS[fault], label=f"fault: {fault}")
            for fault in FAULTS
            if fault in seen
        ]
        figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), handlelength=1)

    return draw("gaps", max(2.1, 1.0 + 0.26 * len(causes)), paint)


def _draw_causes(axes: Axes, causes: Sequence[Cause]) -> None:
    """A bar for each cause."""
    axes.set_title("unanswered slots by cause")
    bars = axes.barh(
        range(len(causes)),
        [cause.slots for cause in causes],
        color=[style.FAULT_COLOURS[cause.fault] for cause in causes],
        height=0.7,
    )
    axes.bar_label(bars, [f"{cause.slots:,}" for cause in causes], padding=3, fontsize=8.5)
    axes.set_yticks(range(len(causes)), [cause.cause for cause in causes])
    axes.set_ylim(max(len(causes), 4) - 0.4, -0.6)
    axes.set_xlim(0, max(cause.slots for cause in causes) * 1.14)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _draw_lengths(axes: Axes, lengths: Sequence[GapLength]) -> None:
    """Bars of gaps by number of slots, stacked by fault."""
    axes.set_title("gaps by number of slots")
    base = np.zeros(len(GAP_LENGTHS))
    for fault in FAULTS:
        counts = np.array(
            [sum(n.gaps for n in lengths if (n.from_slots, n.fault) == (low, fault)) for low in GAP_LENGTHS]
        )
        axes.bar(range(len(GAP_LENGTHS)), counts, bottom=base, color=style.FAULT_COLOURS[fault], width=0.7)
        base = base + counts
    for number, total in enumerate(base):
        if total:
            axes.text(number, total, f"{total:,.0f}", ha="center", va="bottom", fontsize=8.5)
    names = [f"{low}-{high - 1}" if high - low > 1 else f"{low}" for low, high in pairwise(GAP_LENGTHS)]
    names.append(f"{GAP_LENGTHS[-1]}+")
    axes.set_xticks(range(len(GAP_LENGTHS)), names)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, max(base.max(), 1) * 1.15)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def draw_times(lateness: Distribution, latency: Distribution) -> str:
    """How many polls were so late, and took so long; both axes logarithmic."""

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        _draw_distribution(panels[0], lateness, "lateness: sent after due", style.BLUE)
        _draw_distribution(panels[1], latency, "latency: from sending to the answer or failure", style.GREEN)
        panels[0].set_ylabel("polls")

    return draw("times", 2.9, paint)


def _draw_distribution(axes: Axes, times: Distribution, title: str, colour: str) -> None:
    axes.set_title(f"{title} ({times.polls:,} polls)")
    if not times.bins:
        axes.set_axis_off()
        return
    edges = np.array([each.below_ns for each in times.bins], dtype=float)
    lower = edges / 10**0.1
    axes.bar(
        lower,
        [each.polls for each in times.bins],
        width=edges - lower,
        align="edge",
        color=colour,
        alpha=0.75,
    )
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(each.polls for each in times.bins) * 6)
    style.set_log_ns(axes, lower[0] / 1.3, edges[-1] * 2.5)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    named = (("p50", times.p50_ns), ("p95", times.p95_ns), ("p99", times.p99_ns), ("max", times.max_ns))
    for number, (name, value) in enumerate(named):
        if value is not None and value > 0:
            axes.axvline(value, color="#303030", linewidth=0.9, linestyle=(0, (4, 2)))
            axes.annotate(
                f"{name} {duration(value)}", (value, 0.985 - 0.085 * number),
                xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
                fontsize=8, va="top", ha="left",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
            )  # fmt: skip
