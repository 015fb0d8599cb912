"""Slots: each once, each on the grid, each planned one there.  Pure arithmetic on runs of due times.

A run of due times is ``(first_ns, last_ns, step_ns)``: a token polled without a gap for an hour is
one run, so memory grows with the gaps and not with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Run = tuple[int, int, int]
Moment = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Step = Annotated[int, msgspec.Meta(gt=0, lt=2**62)]


class PlanDetail(msgspec.Struct, frozen=True):
    """``detail`` of a ``plan`` event row: from here on these slots are owed."""

    condition_id: str
    tokens: list[str]
    from_ns: Moment
    until_ns: Moment
    interval_ns: Step
    phase_ns: Moment


class RunStop(msgspec.Struct, frozen=True):
    """``detail`` of ``run_stop``: every slot due before has its row."""

    slots_done_until_ns: Moment | None = None


class PlanEvent(msgspec.Struct, frozen=True):
    """One of the event rows that say which slots a run owes."""

    run_id: str
    seq: int
    event: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Owed:
    """Slots of one token that must have rows: ``from_ns <= due < until_ns`` on the grid."""

    token_id: str
    condition_id: str
    run_id: str
    from_ns: int
    until_ns: int
    interval_ns: int
    phase_ns: int


def runs_of(dues: Sequence[int], step_ns: int | None) -> tuple[list[Run], list[int]]:
    """Compress due times to runs, and list those that occur more than once.

    Without *step_ns* the smallest distance between two of them is the step.
    """
    ordered = sorted(dues)
    doubles = [due for before, due in pairwise(ordered) if before == due]
    distinct = sorted(set(ordered)) if doubles else ordered
    gaps = [after - before for before, after in pairwise(distinct)]
    step = step_ns or min(gaps, default=1)
    runs: list[Run] = []
    first = last = distinct[0] if distinct else 0
    for due in distinct[1:]:
        if due - last != step:
            runs.append((first, last, step))
            first = due
        last = due
    return ([*runs, (first, last, step)] if distinct else []), doubles


def shared(runs: Iterable[Run]) -> Iterator[int]:
    """Due times that stand in more than one of *runs*."""
    ordered = sorted(runs)
    reach: list[Run] = []
    for run in ordered:
        reach = [other for other in reach if other[1] >= run[0]]
        for other in reach:
            yield from _common(other, run)
        reach.append(run)


def _common(one: Run, other: Run) -> Iterator[int]:
    low, high = max(one[0], other[0]), min(one[1], other[1])
    sparse, dense = (one, other) if one[2] >= other[2] else (other, one)
    if sparse[2] == dense[2] and (sparse[0] - dense[0]) % sparse[2]:
        return
    start = sparse[0] + max(0, -(-(low - sparse[0]) // sparse[2])) * sparse[2]
    for due in range(start, high + 1, sparse[2]):
        if (due - dense[0]) % dense[2] == 0:
            yield due


def owed_slots(events: Iterable[PlanEvent], crash_limits: dict[str, int]) -> tuple[list[Owed], list[str]]:
    """What the runs of one collector owe, and the event rows that could not be understood.

    *crash_limits* is, per run, up to where slots must have rows when the run has no ``run_stop``: polls
    in flight at a kill have none.  A run without either owes nothing that can be shown.
    """
    by_run: dict[str, list[PlanEvent]] = {}
    for event in events:
        by_run.setdefault(event.run_id, []).append(event)
    owed: list[Owed] = []
    bad: list[str] = []
    for run_id, rows in by_run.items():
        limit = crash_limits.get(run_id, 0)
        plans: list[PlanDetail] = []
        for row in sorted(rows, key=lambda row: row.seq):
            try:
                if row.event == "plan":
                    plans.append(msgspec.convert(row.detail, PlanDetail))
                elif row.event == "run_stop":
                    limit = msgspec.convert(row.detail, RunStop).slots_done_until_ns or 0
            except msgspec.ValidationError as error:
                bad.append(f"{row.event} row, seq {row.seq}: {error}")
        owed += [
            Owed(token, plan.condition_id, run_id, plan.from_ns, until, plan.interval_ns, plan.phase_ns)
            for plan in plans
            for token in plan.tokens
            if (until := min(plan.until_ns, limit)) > plan.from_ns
        ]
    return owed, bad


def count(owed: Owed) -> int:
    """How many slots are owed."""
    first, last = _bounds(owed)
    return max(0, (last - first) // owed.interval_ns + 1)


def granted(owed: Owed, spans: Iterable[tuple[int, int]]) -> Iterator[Run]:
    """All slots that *owed* has in each span, as if they were there: rows that cannot be looked at."""
    for first, last in spans:
        start = -((owed.phase_ns - first) // owed.interval_ns) * owed.interval_ns + owed.phase_ns
        if start <= last:
            yield start, last - (last - start) % owed.interval_ns, owed.interval_ns


def missing(owed: Owed, runs: Iterable[Run]) -> Iterator[tuple[int, int, int]]:
    """Stretches of owed slots without a row: (first due, last due, slots)."""
    step = owed.interval_ns
    due, last = _bounds(owed)
    for first_there, last_there, run_step in sorted(runs):
        if last_there < due:
            continue
        if first_there > last:
            break
        if run_step != step or (first_there - owed.phase_ns) % step:
            # A run of another step (one lone row has any): look at each due time in it.
            covered = [(at, at) for at in range(first_there, last_there + 1, run_step)]
            covered = [pair for pair in covered if (pair[0] - owed.phase_ns) % step == 0]
        else:
            covered = [(first_there, last_there)]
        for low, high in covered:
            if low > due:
                end = min(low - step, last)
                yield due, end, (end - due) // step + 1
            due = max(due, high + step)
            if due > last:
                return
    if due <= last:
        yield due, last, (last - due) // step + 1


def _bounds(owed: Owed) -> tuple[int, int]:
    """First and last owed due time; the last is before the first when there is none."""
    step, phase = owed.interval_ns, owed.phase_ns
    first = -((phase - owed.from_ns) // step) * step + phase
    last = -((phase - owed.until_ns) // step) * step + phase - step
    return first, last
