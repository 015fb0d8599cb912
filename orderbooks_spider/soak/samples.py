"""What the samples of a soak say: memory, files and CPU of each life of the collector, loop lag, holes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from orderbooks_spider.clock import NS
from orderbooks_spider.soak.numbers import Lag, Process, Sampling
from orderbooks_spider.soak.record import Start
from orderbooks_spider.tally import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from orderbooks_spider.soak.record import Sample, SoakRecord

WARM_UP_SECONDS: Final = 600.0
"""On the archive's clock: what a process allocates once (imports, first books, first pass) is no leak."""
LEAST_SECONDS: Final = 600.0
LEAST_SAMPLES: Final = 20
"""Behind the warm-up; with less a slope says nothing."""
_POINTS: Final = 240
"""A slope is fitted over so many medians of neighbouring samples at most: pairs grow as its square."""
MB: Final = 1_000_000
DAY_NS: Final = 86_400 * NS


def slope(times: NDArray[np.float64], values: NDArray[np.float64]) -> float | None:
    """The median of the slopes between all pairs of points (Theil and Sen); ``None``: no two times differ.

    Unlike a least-squares line it does not follow single outliers, such as a sample taken during a seal.
    """
    if len(times) > _POINTS:
        parts = np.array_split(np.arange(len(times)), _POINTS)
        times = np.array([np.median(times[part]) for part in parts])
        values = np.array([np.median(values[part]) for part in parts])
    first, second = np.triu_indices(len(times), k=1)
    apart = times[second] - times[first]
    known = apart > 0  # a clock that was set back is no time that passed
    if not known.any():
        return None
    return float(np.median((values[second] - values[first])[known] / apart[known]))


def processes_of(
    record: SoakRecord, samples: Sequence[Sample], polls_between: Callable[[int, int], int]
) -> list[Process]:
    """The collector's lives, in order; *polls_between* counts rows of polls due in a time.

    Where no start is recorded, the process ids of the samples tell the lives.
    """
    first_ns: dict[int, int] = {}
    for sample in samples:
        first_ns.setdefault(sample.pid, sample.at_ns)
    starts = record.starts or [
        Start(pid=pid, begin_ns=at_ns, end_ns=None, exit_status=None) for pid, at_ns in first_ns.items()
    ]
    return [
        _process(start, [sample for sample in samples if sample.pid == start.pid], polls_between)
        for start in starts
    ]


def _process(start: Start, samples: Sequence[Sample], polls_between: Callable[[int, int], int]) -> Process:
    first = samples[0] if samples else None
    last = samples[-1] if samples else None
    settled = [sample for sample in samples if sample.at_ns >= start.begin_ns + WARM_UP_SECONDS * NS]
    span_ns = settled[-1].at_ns - settled[0].at_ns if settled else 0
    fits = span_ns >= LEAST_SECONDS * NS and len(settled) >= LEAST_SAMPLES
    memory = files = sockets = polls = None
    if fits:
        days = np.array([(sample.at_ns - settled[0].at_ns) / DAY_NS for sample in settled])
        memory = slope(days, np.array([sample.rss_bytes / MB for sample in settled]))
        files = slope(days, np.array([float(sample.open_files) for sample in settled]))
        sockets = slope(days, np.array([float(sample.sockets) for sample in settled]))
        polls = polls_between(settled[0].at_ns, settled[-1].at_ns)
    span_days = span_ns / DAY_NS
    return Process(
        pid=start.pid,
        begin_ns=start.begin_ns,
        end_ns=start.end_ns,
        exit_status=start.exit_status,
        samples=len(samples),
        first_rss_bytes=None if first is None else first.rss_bytes,
        last_rss_bytes=None if last is None else last.rss_bytes,
        largest_rss_bytes=max((sample.rss_bytes for sample in samples), default=None),
        largest_children_bytes=max((sample.children_rss_bytes for sample in samples), default=None),
        fitted_seconds=span_ns / NS if fits else None,
        polls=polls,
        growth_mb=None if memory is None else memory * span_days,
        mb_per_day=memory,
        mb_per_100k_polls=memory * span_days / polls * 100_000 if memory is not None and polls else None,
        files_growth=None if files is None else files * span_days,
        largest_files=max((sample.open_files for sample in samples), default=None),
        sockets_growth=None if sockets is None else sockets * span_days,
        largest_sockets=max((sample.sockets for sample in samples), default=None),
        cpu_share=_cpu_share(samples),
    )


def _cpu_share(samples: Sequence[Sample]) -> float | None:
    if not samples or samples[-1].at_ns <= samples[0].at_ns:
        return None
    seconds = (samples[-1].at_ns - samples[0].at_ns) / NS
    return (samples[-1].cpu_seconds - samples[0].cpu_seconds) / seconds


def sampling_of(record: SoakRecord, samples: Sequence[Sample]) -> Sampling:
    """How well the samples cover the soak."""
    if not samples:
        return Sampling(samples=0, real_longest_hole_seconds=None)
    times = [record.begin_ns, *(sample.at_ns for sample in samples), record.end_ns]
    longest_ns = max(behind - before for before, behind in pairwise(times))
    return Sampling(samples=len(samples), real_longest_hole_seconds=longest_ns / NS / record.speed)


def lag_of(samples: Sequence[Sample]) -> Lag:
    """The distribution of the loop lags that samples carry."""
    known = sorted(sample.loop_lag_ms for sample in samples if sample.loop_lag_ms is not None)
    return Lag(
        samples=len(known),
        p50_ms=_rank(known, 0.50),
        p99_ms=_rank(known, 0.99),
        max_ms=known[-1] if known else None,
    )


def _rank(ordered: Sequence[float], part: float) -> float | None:
    """Nearest rank."""
    place = percentile(list(range(len(ordered))), part)
    return None if place is None else ordered[place]


def deaths_of(record: SoakRecord) -> list[tuple[Start, Start | None]]:
    """Each start that ended before the soak did, with the one behind it.

    The last start of a collector that the soak itself stopped is no death.
    """
    starts = record.starts
    deaths = []
    for number, start in enumerate(starts):
        behind = starts[number + 1] if number + 1 < len(starts) else None
        asked = behind is None and not record.attached and start.exit_status == 0
        if start.end_ns is not None and not asked:
            deaths.append((start, behind))
    return deaths


def uptime_of(record: SoakRecord) -> float | None:
    """Share of the soak in which one of the recorded processes was there."""
    if not record.starts or record.end_ns <= record.begin_ns:
        return None
    lived_ns = 0
    for start in record.starts:
        end_ns = record.end_ns if start.end_ns is None else min(start.end_ns, record.end_ns)
        lived_ns += max(0, end_ns - max(start.begin_ns, record.begin_ns))
    return lived_ns / (record.end_ns - record.begin_ns)
