"""Which slots were planned, and what became of those without a row: against slot-by-slot reckoning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider import cadence
from orderbooks_spider.archive.manifest import Grid
from orderbooks_spider.archive.planned import PlanDetail
from orderbooks_spider.clock import NS
from orderbooks_spider.config import Shard
from orderbooks_spider.normalize.planned import accounted_until, stretches
from orderbooks_spider.normalize.polls import derived_polls
from orderbooks_spider.normalize.view import LeftOut, Run
from orderbooks_spider.universe import Window, owns

if TYPE_CHECKING:
    from collections.abc import Sequence

CONDITIONS = ["0x" + digit * 64 for digit in "abc"]
Slot = tuple[str, str, int]
"""(collector, token, due)."""


def grid(interval_ns: int = NS, lead: float = 60.0, linger: float = 30.0, buckets: int = 20) -> Grid:
    return Grid(
        interval_ns=interval_ns,
        phase_buckets=buckets,
        lead_seconds=lead,
        linger_seconds=linger,
        timeout_seconds=5.0,
        mode="book",
    )


def run(begin: int, end: int, run_id: str = "a", **changes: object) -> Run:
    """A run of ``c0`` that stopped cleanly, or as *changes* say."""
    made = Run(
        collector_id="c0",
        run_id=run_id,
        environment="sandbox",
        started_ns=begin,
        last_known_ns=end,
        owed_until_ns=end,
        grid=grid(),
        shard=Shard(),
        windows=("5m",),
        plans=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def market(start: int, end: int, condition: str = CONDITIONS[0], label: str = "5m") -> Window:
    tokens = (("Up", f"{condition[2]}1"), ("Down", f"{condition[2]}2"))
    return Window(f"btc-updown-5m-{start}", condition, label, start, end, tokens)


def plan(of: Window, from_ns: int, until_ns: int, on: Grid | None = None) -> PlanDetail:
    interval_ns, phase_ns = step_of(on or grid(), of.condition_id)
    tokens = [token for _, token in of.tokens]
    return PlanDetail(of.condition_id, tokens, from_ns, until_ns, interval_ns, phase_ns)


def step_of(on: Grid, condition: str) -> tuple[int, int]:
    steps = cadence.Grid(on.interval_ns, on.phase_buckets)
    return steps.interval_ns, steps.phase_ns(steps.bucket(condition))


def planned(
    runs: Sequence[Run], markets: Sequence[Window], left_out: Sequence[LeftOut] = ()
) -> dict[Slot, str]:
    """Every planned slot with its result, spread out from the stretches; none occurs twice."""
    found: dict[Slot, str] = {}
    for stretch in stretches(runs, markets, left_out):
        for _, token in stretch.market.tokens:
            for k in stretch.slots:
                slot = stretch.collector_id, token, k * stretch.interval_ns + stretch.phase_ns
                assert slot not in found
                found[slot] = stretch.result
    return found


# The slow way, one instant after the other.


def reckoned(runs: Sequence[Run], markets: Sequence[Window], until: int) -> dict[Slot, str]:
    """What the rules of docs/ORDERBOOK_SCHEMA.md say, for every nanosecond up to *until*."""
    found: dict[Slot, str] = {}
    for collector in sorted({run.collector_id for run in runs}):
        own = [run for run in runs if run.collector_id == collector]
        for each in markets:
            for now in range(until):
                result = _reckon(own, each, now)
                if result is not None:
                    found |= {(collector, token, now): result for _, token in each.tokens}
    return found


def _reckon(runs: list[Run], of: Window, now: int) -> str | None:
    for one in runs:
        for each in one.plans:
            there = each.condition_id == of.condition_id and each.from_ns <= now < each.until_ns
            if there and now < one.owed_until_ns:
                return "missing" if now % each.interval_ns == each.phase_ns else None
    if now >= max(one.last_known_ns for one in runs):
        return None  # nobody knows yet
    # Whose settings hold: the last run that had begun, none before what was known of those before it.
    holder = None
    for number, one in enumerate(runs):
        known = max((other.last_known_ns for other in runs[:number]), default=0)
        if now >= max(one.started_ns, known):
            holder = one
    if holder is None:
        return None
    assert holder.grid is not None
    interval_ns, phase_ns = step_of(holder.grid, of.condition_id)
    lead, linger = round(holder.grid.lead_seconds * NS), round(holder.grid.linger_seconds * NS)  # type: ignore[operator]
    ours = owns(holder.shard, of.condition_id)
    followed = holder.windows is None or of.label in holder.windows
    in_span = of.start_ns - lead <= now < of.end_ns + linger
    if not (ours and followed and in_span and now % interval_ns == phase_ns):
        return None
    promised = any(
        each.condition_id == of.condition_id and each.from_ns <= now < each.until_ns for each in holder.plans
    )
    return "process_down" if promised or now >= holder.last_known_ns else "not_discovered"


UNTIL = 90


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Run], list[Window]]:
    """Some markets, and one or two collectors that started, planned and died as they like."""
    moment = st.integers(0, UNTIL - 10)
    markets = [
        market(start, start + draw(st.integers(1, 40)), condition, draw(st.sampled_from(["5m", "15m"])))
        for condition, start in zip(CONDITIONS, draw(st.lists(moment, max_size=3)), strict=False)
    ]
    runs: list[Run] = []
    for collector in draw(st.sampled_from([["c0"], ["c0", "c1"]])):
        starts = sorted(draw(st.lists(moment, min_size=1, max_size=3, unique=True)))
        for number, (start, following) in enumerate(zip(starts, [*starts[1:], UNTIL], strict=True)):
            # Mostly before the next start; a clock that was set back may make it later.
            end = min(draw(st.integers(start, following + 3)), UNTIL)
            seconds = st.integers(0, 15).map(lambda ns: ns / NS)
            on = grid(draw(st.integers(1, 7)), draw(seconds), draw(seconds), draw(st.integers(1, 4)))
            plans = tuple(
                plan(each, low, low + draw(st.integers(1, 30)), on)
                for each in markets
                if draw(st.booleans())
                for low in [draw(st.integers(start, max(start, end)))]
            )
            runs.append(
                run(
                    start, end, f"{collector}r{number}",
                    collector_id=collector, grid=on, plans=plans,
                    owed_until_ns=draw(st.integers(start, max(start, end))),
                    shard=draw(st.sampled_from([Shard(), Shard(index=0, count=2), Shard(index=1, count=2)])),
                    windows=draw(st.sampled_from([None, ("5m",), ("5m", "15m")])),
                )
            )  # fmt: skip
    return runs, markets


@settings(deadline=None)
@given(history=histories())
def test_planned_slots_are_those_reckoned_one_by_one(history: tuple[list[Run], list[Window]]) -> None:
    """Whatever runs, grids, shards, plans and deaths: the same slots with the same results."""
    runs, markets = history
    assert planned(runs, markets) == reckoned(runs, markets, UNTIL + 40)


# The cases that coverage hangs on, each by itself.

START = 1_776_328_500 * NS
END = START + 300 * NS
MARKET = market(START, END)
INTERVAL, PHASE = step_of(grid(), MARKET.condition_id)


def at(seconds: float) -> int:
    return START + round(seconds * NS)


def counted(found: dict[Slot, str], token: str = "a1") -> dict[str, int]:
    results = [result for (_, name, _), result in found.items() if name == token]
    return {result: results.count(result) for result in sorted(set(results))}


def test_market_that_nobody_polled_is_planned_whole() -> None:
    """A window that passed while no process ran counts with every slot, once its record is there."""
    runs = [run(at(-5000), at(-4000)), run(at(4000), at(5000), "b")]
    assert counted(planned(runs, [MARKET])) == {"process_down": 390}


def test_kill_loses_what_was_under_way() -> None:
    """After a SIGKILL the slots behind the last provable one are down, not missing, and none is left out."""
    killed = run(at(0), at(100), owed_until_ns=at(94), plans=(plan(MARKET, at(0), at(330)),))
    runs = [killed, run(at(130), at(330), "b", plans=(plan(MARKET, at(132), at(330)),))]
    found = planned(runs, [MARKET])
    assert counted(found) == {"missing": 94 + 198, "process_down": 36, "not_discovered": 2}
    assert {result for (_, _, due), result in found.items() if at(94) <= due < at(130)} == {"process_down"}


def test_archive_that_ends_with_a_kill_ends_at_its_last_word() -> None:
    """Of a run that was killed last, nothing is planned behind the last moment that is known of it."""
    found = planned([run(at(0), at(100), owed_until_ns=at(94))], [MARKET])
    assert max(due for _, _, due in found) < at(100)
    assert accounted_until([run(0, 7), run(3, 5, "b")]) == {"c0": 7}


def test_late_discovery_is_no_excuse() -> None:
    """Slots between a run's start and the plan of the market were planned by the grid, and not polled."""
    found = planned([run(at(0), at(200), plans=(plan(MARKET, at(50), at(330)),))], [MARKET])
    assert counted(found) == {"missing": 150, "not_discovered": 50}


def test_grid_of_the_next_run_holds_from_its_start() -> None:
    """Where the interval changed between two runs, the downtime is counted on the grid of the one before."""
    runs = [run(at(0), at(10)), run(at(20), at(30), "b", grid=grid(NS // 2))]
    dues = [due for _, token, due in planned(runs, [MARKET]) if token == "a1"]
    assert [len([due for due in dues if low <= due < low + 10 * NS]) for low in (at(0), at(10), at(20))] == [
        10,
        10,
        20,
    ]


def test_shards_share_the_markets() -> None:
    """Two collectors with a shard each plan every market exactly once."""
    markets = [market(START, END, condition) for condition in CONDITIONS]
    halves = [
        run(at(0), at(100), collector_id=f"c{index}", shard=Shard(index=index, count=2)) for index in (0, 1)
    ]
    both = planned(halves, markets)
    whole = planned([run(at(0), at(100))], markets)
    assert {(token, due) for _, token, due in both} == {(token, due) for _, token, due in whole}
    assert len(both) == len(whole)


def test_redundant_collectors_answer_each_for_itself() -> None:
    """Two collectors of all markets have each slot once each."""
    found = planned([run(at(0), at(100)), run(at(0), at(100), collector_id="c1")], [MARKET])
    assert {who for who, _, _ in found} == {"c0", "c1"}
    assert len(found) == 2 * 2 * 100


def test_collector_owes_nothing_of_windows_it_does_not_follow() -> None:
    """A market of a window length that is not in the collector's config is not planned for it."""
    assert planned([run(at(0), at(100))], [market(START, END, label="1h")]) == {}
    assert planned([run(at(0), at(100), windows=None)], [market(START, END, label="1h")])


@pytest.mark.parametrize("with_plan", [True, False])
def test_left_out_segment_is_missing(with_plan: bool) -> None:
    """Slots of a segment that cannot be read are missing, also where nothing is known of the run's plans."""
    plans = (plan(MARKET, at(0), at(330)),) if with_plan else ()
    left_out = LeftOut("raw/x.jsonl.gz", "c0", "a", at(50), at(59))
    found = planned([run(at(0), at(100), owed_until_ns=at(0), plans=plans)], [MARKET], [left_out])
    lost = {due for (_, _, due), result in found.items() if result == "missing"}
    assert lost == set(range(at(50) + PHASE, at(59) + 1, INTERVAL))


def test_lost_run_manifest_borrows_the_neighbours_grid() -> None:
    """A run whose grid nobody knows any more is counted on the grid of the run before, or else behind."""
    lost = run(at(0), at(10), grid=None)
    other = run(at(20), at(30), "b")
    before = run(at(-20), at(-10), "b")
    assert counted(planned([lost, other], [MARKET])) == {"not_discovered": 20, "process_down": 10}
    assert counted(planned([before, lost], [MARKET])) == {"not_discovered": 20, "process_down": 10}
    assert planned([lost], [MARKET]) == {}


def test_derived_rows_are_the_planned_slots_without_a_row() -> None:
    """A slot that a raw row tells of is never derived, every other planned one is, once."""
    made = stretches([run(at(0), at(100))], [MARKET], [])
    rows = pl.DataFrame({"token_id": ["a1", "a1", "x"], "due_ns": [at(3) + PHASE, at(-70), at(3) + PHASE]})
    derived = derived_polls(made, rows)
    dues = {(token, due) for token in ("a1", "a2") for due in range(at(0) + PHASE, at(100), INTERVAL)}
    assert set(derived.select("token_id", "due_ns").rows()) == dues - {("a1", at(3) + PHASE)}
    assert len(derived) == 199
    assert derived["in_window"].all()
    assert derived.filter(pl.col("due_ns") // INTERVAL != pl.col("slot")).is_empty()
    assert derived_polls([], rows).schema == derived.schema
