"""Pictures of a soak over time, with its faults behind them: memory, coverage, loop lag, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator

from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.report import style
from orderbooks_spider.report.draw_slots import COLOURS
from orderbooks_spider.report.slots import ANSWERED, CLASSES
from orderbooks_spider.report.style import draw
from orderbooks_spider.soak.account import MINUTE_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from orderbooks_spider.soak.record import Fault, Sample, SoakRecord

FAULT_COLOURS: Final = {
    "kill": style.BLACK,
    "outage": style.VERMILLION,
    "throttle": style.ORANGE,
    "slow": style.PURPLE,
    "clock_step": style.SKY,
    "disk_full": style.GREEN,
    "upload_outage": "#8c510a",
}
_SHADE: Final = 0.16
_STRIP: Final = 0.96
"""Above this part of the height the faults stand in full colour."""
_THIN: Final = 0.003
"""No fault is drawn narrower than this part of the picture."""
_TICKS: Final = 13
_STEPS: Final = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400)
"""Seconds between the labels of the time axis."""
_MB: Final = 1_000_000
_GB: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """What all pictures share: the time of the soak, its faults, and the starts of the collector."""

    begin_ns: int
    end_ns: int
    faults: Sequence[Fault]
    starts_ns: Sequence[int]
    """Starts behind the first."""

    @classmethod
    def of(cls, record: SoakRecord) -> Frame:
        """Of what was run."""
        return cls(
            record.begin_ns, record.end_ns, record.faults, [start.begin_ns for start in record.starts[1:]]
        )

    def place(self, time_ns: int) -> float:
        """Seconds since the begin."""
        return (time_ns - self.begin_ns) / NS

    def set_up(self, axes: Axes, ticks_at_most: int = _TICKS) -> None:
        """Time axis, faults and restarts."""
        width = self.place(self.end_ns)
        step = next((step for step in _STEPS if width <= step * (ticks_at_most - 1)), _STEPS[-1])
        first = -(-self.begin_ns // (step * NS)) * step
        ticks = range(first, self.end_ns // NS + 1, step)
        axes.xaxis.set_major_locator(FixedLocator([tick - self.begin_ns / NS for tick in ticks]))
        axes.xaxis.set_major_formatter(FixedFormatter([_label(tick) for tick in ticks]))
        axes.set_xlim(0, width)
        for fault in sorted(self.faults, key=lambda fault: fault.begin_ns - fault.end_ns):
            low, colour = self.place(fault.begin_ns), FAULT_COLOURS[fault.kind]
            high = max(self.place(fault.end_ns), low + width * _THIN)
            axes.axvspan(low, high, color=colour, alpha=_SHADE, linewidth=0, zorder=0)
            axes.axvspan(low, high, ymin=_STRIP, color=colour, linewidth=0, zorder=4)
        for start_ns in self.starts_ns:
            axes.axvline(
                self.place(start_ns), color=style.BLACK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1
            )

    def legend(self, figure: Figure, handles: Sequence[Patch] = ()) -> None:
        """What the colours of the picture mean above it, those of the faults below."""
        kinds = {fault.kind for fault in self.faults}
        faults = [
            Patch(color=colour, label=f"fault: {kind.replace('_', ' ')}")
            for kind, colour in FAULT_COLOURS.items()
            if kind in kinds
        ]
        if handles:
            figure.legend(handles=list(handles), loc="outside upper left", ncols=len(handles), handlelength=1)
        if faults:
            figure.legend(handles=faults, loc="outside lower left", ncols=len(faults), handlelength=1)


def _label(second: int) -> str:
    """``08:35``, and the date at midnight."""
    text = iso_utc(second * NS)
    return text[5:10] if second % 86_400 == 0 else text[11:16]


def draw_memory(frame: Frame, samples: Sequence[Sample]) -> str:
    """Resident memory of each life of the collector, and of its children."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_title("resident memory, MB")
        frame.set_up(axes)
        for pid in dict.fromkeys(sample.pid for sample in samples):
            mine = [sample for sample in samples if sample.pid == pid]
            at = [frame.place(sample.at_ns) for sample in mine]
            children = [sample.children_rss_bytes / _MB for sample in mine]
            axes.plot(at, children, color=style.SKY, linewidth=0.9, zorder=2)
            axes.plot(
                at, [sample.rss_bytes / _MB for sample in mine], color=style.BLUE, linewidth=1.6, zorder=3,
                marker="." if len(mine) == 1 else "",
            )  # fmt: skip
        axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
        frame.legend(
            figure,
            [Patch(color=style.BLUE, label="collector"), Patch(color=style.SKY, label="its children")],
        )

    return draw("memory", 3.0, paint)


def draw_coverage(frame: Frame, minutes: pl.DataFrame) -> str:
    """Slots by what became of them, minute by minute; below the same without those that were answered."""
    seen = [name for name in CLASSES if name in set(minutes["class"])]
    stacks = _stacks(minutes, seen, frame)
    edges = [
        frame.place(frame.begin_ns // MINUTE_NS * MINUTE_NS + MINUTE_NS * n)
        for n in range(stacks.shape[1] + 1)
    ]

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        lost = [name for name in seen if name != ANSWERED]
        for axes, names in ((above, seen), (below, lost)):
            frame.set_up(axes)
            base = np.zeros(stacks.shape[1])
            for name in names:
                top = base + stacks[seen.index(name)]
                axes.stairs(
                    top, edges, baseline=base, fill=True, color=COLOURS[name], linewidth=0, zorder=2,
                    rasterized=True,
                )  # fmt: skip
                base = top
            axes.set_ylim(0, max(float(base.max(initial=0)), 1) * 1.12)
            axes.yaxis.set_major_formatter("{x:,.0f}")
        above.set_title("planned slots a minute")
        below.set_title("those of them without an answer")
        frame.legend(figure, [Patch(color=COLOURS[name], label=name) for name in seen])

    return draw("coverage", 4.4, paint)


def _stacks(minutes: pl.DataFrame, classes: Sequence[str], frame: Frame) -> np.ndarray:
    """Slots of each class (row) and minute (column)."""
    first = frame.begin_ns // MINUTE_NS
    stacks = np.zeros((len(classes), (frame.end_ns - 1) // MINUTE_NS - first + 1))
    for minute_ns, name, slots in minutes.select("minute_ns", "class", "slots").iter_rows():
        stacks[classes.index(name), minute_ns // MINUTE_NS - first] += slots
    return stacks


def draw_lag(frame: Frame, samples: Sequence[Sample]) -> str:
    """Worst lateness of the event loop in the minute before each sample."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_title("event loop, worst lateness in the minute before, ms")
        frame.set_up(axes)
        known = [(frame.place(s.at_ns), s.loop_lag_ms) for s in samples if s.loop_lag_ms is not None]
        at, lags = [place for place, _ in known], [max(lag, 0.1) for _, lag in known]
        axes.plot(
            at, lags, color=style.BLUE, linewidth=0, marker=".", markersize=3.5, zorder=3, rasterized=True
        )
        axes.set_yscale("log")
        axes.set_ylim(min([1.0, *lags]) / 1.5, max([100.0, *lags]) * 2)
        axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.minorticks_off()
        frame.legend(figure)

    return draw("loop_lag", 2.7, paint)


def draw_disk(frame: Frame, samples: Sequence[Sample]) -> str:
    """Size of the archive, and free space."""

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        at = [frame.place(sample.at_ns) for sample in samples]
        left.set_title("archive on the disk, MB")
        left.plot(at, [sample.archive_bytes / _MB for sample in samples], color=style.BLUE, zorder=3)
        right.set_title("free space, GB")
        right.plot(at, [sample.disk_free_bytes / _GB for sample in samples], color=style.GREEN, zorder=3)
        for axes in (left, right):
            frame.set_up(axes, _TICKS // 2 + 1)
            axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
            axes.yaxis.set_major_formatter("{x:,.6g}")
        frame.legend(figure)

    return draw("disk", 2.8, paint)


def pictures(record: SoakRecord, samples: Sequence[Sample], minutes: pl.DataFrame) -> dict[str, str]:
    """The pictures by name; one that would be empty is left out."""
    frame, drawn = Frame.of(record), {}
    if len(minutes):
        drawn["coverage"] = draw_coverage(frame, minutes)
    if samples:
        drawn["memory"] = draw_memory(frame, samples)
        drawn["disk"] = draw_disk(frame, samples)
    if any(sample.loop_lag_ms is not None for sample in samples):
        drawn["loop_lag"] = draw_lag(frame, samples)
    return drawn
