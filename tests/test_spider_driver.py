"""The poll driver in simulated time: stalls, clock steps, storage pauses, slow answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.config import Config, Polling
from orderbooks_spider.gate import TurnedAwayError
from orderbooks_spider.items import EventItem, PollItem, rows_of
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.run import Run
from orderbooks_spider.spiders.driver import PollDriver
from orderbooks_spider.spiders.fetch import LATE
from orderbooks_spider.universe import Universe, Window
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orderbooks_spider.gate import Gate
    from orderbooks_spider.items import Row, Rows
    from orderbooks_spider.polymarket.endpoints import Ask

BEGIN_NS = parse_utc("2026-11-23T12:00:00Z")
BODY = b'{"market":"0x1","asset_id":"%s","timestamp":"1","hash":"","bids":[],"asks":[]}'


class Venue:
    """Answers every poll with a book after *delay_seconds* of simulated time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.delay_seconds = 0.0
        self.status = 200
        self.headers: dict[str, str] = {}
        self.polled: list[int] = []
        self.closed = False

    async def fetch(self, ask: Ask, gate: Gate) -> Answer:
        """Answer one poll."""
        try:
            await gate.passed()
        except TurnedAwayError:
            return Answer(ask=ask, request_id="", failure=LATE)
        sent_ns = self.clock.wall_ns()
        self.polled.append(sent_ns)
        if self.delay_seconds:
            await self.clock.sleep(self.delay_seconds)
        return Answer(
            ask=ask,
            request_id=str(len(self.polled)),
            sent_ns=sent_ns,
            received_ns=self.clock.wall_ns(),
            elapsed_ns=round(self.delay_seconds * NS),
            status=self.status,
            headers=self.headers,
            body=BODY % ask.params["token_id"].encode() if self.status == 200 else b'{"error":"no"}',
        )


class Bench:
    """A driver over some markets, with its rows in a list; the budget is of requests in ten seconds."""

    def __init__(self, hours: float = 3, markets: int = 1, budget_requests: int = 750) -> None:
        self.clock = FakeClock(BEGIN_NS)
        self.venue = Venue(self.clock)
        self.rows: list[PollItem] = []
        self.events: list[EventItem] = []
        self.moves: list[tuple[int, Callable[[], None]]] = []
        polling = Polling(interval_seconds=1, phase_buckets=4, budget_fraction=budget_requests / 1500)
        self.run = Run(Config(environment="sandbox", polling=polling), self.clock, BEGIN_NS)
        self.universe = Universe(Grid(polling.interval_ns, 4), polling, self.run.config.shard)
        self.driver = PollDriver(self.run, self.universe, self.venue, self.emit)  # type: ignore[arg-type]
        self.windows = [
            Window(
                market_slug=f"m{market}",
                condition_id=f"0x{market}",
                label="1h",
                start_ns=BEGIN_NS,
                end_ns=BEGIN_NS + round(hours * 3600 * NS),
                tokens=(("Up", f"{2 * market - 1}"), ("Down", f"{2 * market}")),
            )
            for market in range(1, markets + 1)
        ]

    async def emit(self, item: Row | Rows) -> None:
        """Keep rows; move the clock where a test asked for it after so many."""
        for row in rows_of(item):
            if isinstance(row, PollItem):
                self.rows.append(row)
            elif isinstance(row, EventItem):
                self.events.append(row)
        if self.moves and len(self.rows) >= self.moves[0][0]:
            self.moves.pop(0)[1]()

    def poll(self, seconds: float, beside: Coroutine[None, None, None] | None = None) -> None:
        """Run for *seconds* of wall time by the clock's own count, and *beside* along with it."""

        async def job() -> None:
            task = asyncio.ensure_future(beside) if beside else None
            self.driver.begin()
            for window in self.windows:
                self.universe.add(window, self.driver.next_due_ns)
            await self.driver.run(BEGIN_NS + round(seconds * NS))
            if task:
                await task

        asyncio.run(job())

    def slots(self) -> Counter[tuple[str, int]]:
        """(token, due) of the rows."""
        return Counter((row.token_id, row.due_ns) for row in self.rows)

    def owed(self, until_ns: int) -> Counter[tuple[str, int]]:
        """(token, due) of every grid point from the begin up to *until_ns*."""
        grid = Grid(NS, 4)
        owed: Counter[tuple[str, int]] = Counter()
        for window in self.windows:
            bucket = grid.bucket(window.condition_id)
            dues = [grid.due_ns(slot, bucket) for slot in grid.slots(BEGIN_NS, until_ns, bucket)]
            owed.update((token_id, due_ns) for due_ns in dues for _, token_id in window.tokens)
        return owed

    def driver_due_ns(self, slots: int) -> int:
        """When the first market is due, so many slots after the begin."""
        grid = Grid(NS, 4)
        bucket = grid.bucket(self.windows[0].condition_id)
        return grid.due_ns(grid.first_slot(BEGIN_NS, bucket) + slots, bucket)

    def reasons(self) -> Counter[tuple[str, str | None]]:
        """How many rows ended how."""
        return Counter((row.result, row.reason) for row in self.rows)


def test_hour_without_trouble_has_every_slot_once() -> None:
    """An hour at one second is 3,600 answered rows for each token, all due on the grid."""
    bench = Bench()
    bench.poll(3600)
    assert bench.slots() == bench.owed(BEGIN_NS + 3600 * NS)
    assert bench.reasons() == {("ok", None): 7200}


@pytest.mark.parametrize("leap", [3600.0, 240.0, 2.0])
def test_clock_stepped_forward_owes_late_rows(leap: float) -> None:
    """Slots that a forward step jumps over are rows ``skipped/late``; the step is an event; none is twice."""
    bench = Bench()
    bench.moves = [(20, lambda: bench.clock.step_wall(leap))]
    bench.poll(leap + 60)
    assert bench.slots() == bench.owed(BEGIN_NS + round((leap + 60) * NS))
    assert bench.reasons()["skipped", "late"] == pytest.approx(2 * leap, abs=4)
    (event,) = bench.events
    assert event.event == "clock_step"
    assert event.detail["step_ns"] == pytest.approx(leap * NS, rel=0.01)


@pytest.mark.parametrize("leap", [3600.0, 240.0, 2.0])
def test_clock_stepped_back_visits_no_slot_twice(leap: float) -> None:
    """After a backward step nothing is polled until the clock has passed the last slot again."""
    bench = Bench()
    bench.moves = [(20, lambda: bench.clock.step_wall(-leap))]
    bench.poll(60)
    assert bench.slots() == bench.owed(BEGIN_NS + 60 * NS)
    assert bench.reasons() == {("ok", None): 120}
    (event,) = bench.events
    assert event.event == "clock_step"
    assert bench.clock.monotonic_ns() >= leap * NS


def test_small_drift_is_no_step() -> None:
    """A clock that is slewed by some milliseconds is followed without an event."""
    bench = Bench()
    bench.moves = [(rows, lambda: bench.clock.step_wall(0.1)) for rows in range(10, 100, 10)]
    bench.poll(60)
    assert bench.slots() == bench.owed(BEGIN_NS + 60 * NS)
    assert bench.events == []


def test_stalled_loop_skips_and_does_not_catch_up() -> None:
    """Slots that passed during a stall are ``late`` rows; no stale poll is sent after it."""
    bench = Bench()
    bench.moves = [(20, lambda: bench.clock.advance(30))]
    bench.poll(120)
    assert bench.slots() == bench.owed(BEGIN_NS + 120 * NS)
    late = bench.reasons()["skipped", "late"]
    assert 56 <= late <= 62
    assert len(bench.venue.polled) == 240 - late


def test_slow_answer_blocks_only_its_own_token() -> None:
    """While a token's poll is on its way its next slots are ``in_flight`` rows; nothing queues."""
    bench = Bench()
    bench.venue.delay_seconds = 2.5
    bench.poll(60)
    assert bench.slots() == bench.owed(BEGIN_NS + 60 * NS)
    assert bench.reasons() == {("ok", None): 40, ("skipped", "in_flight"): 80}


def test_refusals_are_answered_with_growing_pauses() -> None:
    """A venue that keeps refusing is asked less and less often, and each slot still has its row."""
    bench = Bench()
    bench.venue.status = 429
    bench.poll(600)
    assert bench.slots() == bench.owed(BEGIN_NS + 600 * NS)
    assert len(bench.venue.polled) < 60
    assert {event.event for event in bench.events} == {"throttled"}


def test_retry_after_is_heeded_to_the_second() -> None:
    """With ``Retry-After: 90`` nothing is sent for ninety seconds."""
    bench = Bench()
    bench.venue.status, bench.venue.headers = 429, {"retry-after": "90"}
    bench.poll(200)
    times = sorted(bench.venue.polled)
    gaps = [after - before for before, after in pairwise(times) if after - before > NS]
    assert gaps
    assert all(gap >= 90 * NS for gap in gaps)


def test_storage_pause_owes_rows_that_are_written_after_it() -> None:
    """While rows cannot be stored nothing is sent; afterwards each missed slot is a ``disk_full`` row."""
    bench = Bench()

    def pause() -> None:
        bench.run.storage_pause = "full"
        asyncio.get_running_loop().create_task(resume())

    async def resume() -> None:
        await bench.clock.sleep(30)
        bench.run.storage_pause = None

    bench.moves = [(20, pause)]
    bench.poll(120)
    assert bench.slots() == bench.owed(BEGIN_NS + 120 * NS)
    assert 56 <= bench.reasons()["skipped", "disk_full"] <= 62


def test_run_goes_on_after_the_slots_of_an_earlier_one() -> None:
    """A run whose clock is behind the archive's last slot begins after it: no slot is stored twice."""
    bench = Bench()
    bench.run.visited_until_ns = BEGIN_NS + 30 * NS
    bench.poll(60)
    assert min(row.due_ns for row in bench.rows) > BEGIN_NS + 30 * NS


def test_stall_at_the_gate_sends_nothing_stale() -> None:
    """A loop that stalls while requests stand ready turns them away as ``late`` rows."""
    bench = Bench()
    due_ns = bench.driver_due_ns(slots=30)

    async def stall() -> None:
        await bench.clock.sleep((due_ns - BEGIN_NS - 5_000_000) / NS)  # within the driver's 15 ms ahead
        bench.clock.advance(2)

    bench.poll(60, stall())
    assert bench.slots() == bench.owed(BEGIN_NS + 60 * NS)
    late = [row for row in bench.rows if row.reason == "late"]
    assert {row.due_ns for row in late} == {due_ns, due_ns + NS}
    assert all(row.sent_ns is None for row in late)
    assert max(sent_ns % NS for sent_ns in bench.venue.polled) - due_ns % NS < NS // 2


def test_universe_over_budget_takes_turns() -> None:
    """With a budget for a third of the requests each market is polled each third slot; it is said once."""
    bench = Bench(markets=6, budget_requests=40)
    bench.poll(300)
    assert bench.slots().total() == 2 * 6 * 300
    assert set(bench.reasons()) == {("ok", None), ("skipped", "budget")}
    polled = Counter(row.token_id for row in bench.rows if row.result == "ok")
    assert len(polled) == 12
    assert max(polled.values()) - min(polled.values()) <= 2
    assert 0.95 * 300 * 4 <= sum(polled.values()) <= 300 * 4 + 40
    for market in range(6):  # both outcomes of a market are polled in the same slots, or neither
        up, down = (
            {row.slot for row in bench.rows if row.token_id == token and row.result == "ok"}
            for token in (f"{2 * market + 1}", f"{2 * market + 2}")
        )
        assert up == down
        assert max(after - before for before, after in pairwise(sorted(up))) <= 4
    (event,) = bench.events
    assert event.event == "budget_exceeded"
    assert event.detail == {"requests_needed": 12, "requests_allowed": 4.0}


def test_budget_holds_in_every_ten_seconds() -> None:
    """However the turns fall, no ten seconds hold more requests than the budget."""
    bench = Bench(markets=6, budget_requests=40)
    bench.poll(120)
    times = sorted(bench.venue.polled)
    assert all(later - earlier >= 10 * NS for earlier, later in zip(times, times[40:], strict=False))


def test_budget_may_be_used_to_the_last_request() -> None:
    """A universe that needs just the budget is polled whole, also while the clock is slewed."""
    bench = Bench(markets=6, budget_requests=120)
    bench.moves = [(rows, lambda: bench.clock.step_wall(0.0004)) for rows in range(10, 1400, 10)]
    bench.poll(120)
    assert bench.reasons() == {("ok", None): 12 * 120}
    assert bench.events == []


def test_outage_is_followed_by_the_grid_and_no_burst() -> None:
    """After a venue that hung for a minute each token is polled at its next slot, and nothing twice."""
    bench = Bench(markets=4)
    bench.venue.delay_seconds = 5

    async def recover() -> None:
        await bench.clock.sleep(60)
        bench.venue.delay_seconds = 0

    bench.poll(120, recover())
    assert bench.slots() == bench.owed(BEGIN_NS + 120 * NS)
    by_second = Counter(sent_ns // NS for sent_ns in bench.venue.polled)
    assert max(by_second.values()) <= 8
    after = [row for row in bench.rows if row.due_ns > BEGIN_NS + 66 * NS]
    assert {row.result for row in after} == {"ok"}


def test_refusals_end_at_once_when_the_venue_answers() -> None:
    """The first slot after a pause is polled, by every token, at its own place on the grid."""
    bench = Bench(markets=4)
    bench.venue.status, bench.venue.headers = 429, {"retry-after": "20"}

    async def recover() -> None:
        await bench.clock.sleep(10)
        bench.venue.status = 200

    bench.poll(60, recover())
    assert bench.slots() == bench.owed(BEGIN_NS + 60 * NS)
    (event,) = bench.events
    resumed_ns = event.at_ns + 20 * NS
    assert {row.result for row in bench.rows if row.due_ns > resumed_ns + NS} == {"ok"}
    by_second = Counter(sent_ns // NS for sent_ns in bench.venue.polled)
    assert max(by_second.values()) <= 8


def test_slower_answers_at_the_same_load_are_an_event() -> None:
    """A venue that begins to delay is told as ``throttle_suspected``, with what was usual before."""
    bench = Bench()
    bench.venue.delay_seconds = 0.04

    async def slow_down() -> None:
        await bench.clock.sleep(60)
        bench.venue.delay_seconds = 0.4

    bench.poll(120, slow_down())
    (event,) = bench.events
    assert event.event == "throttle_suspected"
    assert event.detail["usual_ns"] == 40_000_000
    assert event.detail["median_ns"] == 400_000_000


def test_stop_while_a_tick_waits_for_its_time_loses_no_row() -> None:
    """Slots that were skipped ahead of their time have their rows when a stop comes before it."""
    bench = Bench()
    bench.venue.delay_seconds = 20
    due_ns = bench.driver_due_ns(slots=10)

    async def stopped() -> None:
        bench.driver.begin()
        bench.universe.add(bench.windows[0], bench.driver.next_due_ns)
        running = asyncio.ensure_future(bench.driver.run())
        await bench.clock.sleep((due_ns - BEGIN_NS - 5_000_000) / NS)  # within the driver's 15 ms ahead
        running.cancel()
        await asyncio.wait({running})
        await bench.driver.drain()

    asyncio.run(stopped())
    assert bench.driver.done_until_ns > due_ns
    assert bench.slots() == bench.owed(bench.driver.done_until_ns)
    assert bench.reasons() == {("ok", None): 2, ("skipped", "in_flight"): 20}
