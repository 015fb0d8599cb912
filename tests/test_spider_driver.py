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
from orderbooks_spider.items import EventItem, PollItem
from orderbooks_spider.polymarket.answers import Answer
from orderbooks_spider.run import Run
from orderbooks_spider.spiders.driver import PollDriver
from orderbooks_spider.universe import Universe, Window
from tests.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from orderbooks_spider.items import MarketItem
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

    async def fetch(self, ask: Ask) -> Answer:
        """Answer one poll."""
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
    """A driver over one market, with its rows in a list."""

    def __init__(self, hours: float = 3) -> None:
        self.clock = FakeClock(BEGIN_NS)
        self.venue = Venue(self.clock)
        self.rows: list[PollItem] = []
        self.events: list[EventItem] = []
        self.moves: list[tuple[int, Callable[[], None]]] = []
        polling = Polling(interval_seconds=1, phase_buckets=4)
        self.run = Run(Config(environment="sandbox", polling=polling), self.clock, BEGIN_NS)
        self.universe = Universe(Grid(polling.interval_ns, 4), polling, self.run.config.shard)
        self.driver = PollDriver(self.run, self.universe, self.venue, self.emit)  # type: ignore[arg-type]
        self.window = Window(
            market_slug="m",
            condition_id="0x1",
            label="1h",
            start_ns=BEGIN_NS,
            end_ns=BEGIN_NS + round(hours * 3600 * NS),
            tokens=(("Up", "1"), ("Down", "2")),
        )

    async def emit(self, item: PollItem | EventItem | MarketItem) -> None:
        """Keep a row; move the clock where a test asked for it after so many rows."""
        if isinstance(item, PollItem):
            self.rows.append(item)
        elif isinstance(item, EventItem):
            self.events.append(item)
        if self.moves and len(self.rows) >= self.moves[0][0]:
            self.moves.pop(0)[1]()

    def poll(self, seconds: float) -> None:
        """Run for *seconds* of wall time by the clock's own count."""

        async def job() -> None:
            self.driver.begin()
            self.universe.add(self.window, self.driver.next_due_ns)
            await self.driver.run(BEGIN_NS + round(seconds * NS))

        asyncio.run(job())

    def slots(self) -> Counter[tuple[str, int]]:
        """(token, due) of the rows."""
        return Counter((row.token_id, row.due_ns) for row in self.rows)

    def owed(self, until_ns: int) -> Counter[tuple[str, int]]:
        """(token, due) of every grid point from the begin up to *until_ns*."""
        grid = Grid(NS, 4)
        bucket = grid.bucket("0x1")
        dues = [grid.due_ns(slot, bucket) for slot in grid.slots(BEGIN_NS, until_ns, bucket)]
        return Counter((token_id, due_ns) for due_ns in dues for token_id in ("1", "2"))

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
