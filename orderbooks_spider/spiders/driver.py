"""The poll driver: visits every tick of the grid once, and ends every planned slot in one row."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from orderbooks_spider.budget import Budget, Turns
from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.gate import Gate
from orderbooks_spider.items import EventItem, PollItem, Rows
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.spiders.polls import Poller, row_of
from orderbooks_spider.throttle import HostPause, LatencyWatch, retry_after_ns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from orderbooks_spider.polymarket.answers import Answer
    from orderbooks_spider.run import Run
    from orderbooks_spider.spiders.fetch import Fetcher
    from orderbooks_spider.universe import Token, Universe

    Emit = Callable[[PollItem | EventItem | Rows], Awaitable[None]]
    Unit = tuple[Token, ...]
    """Tokens that are polled or skipped together: a market's, or a batch's."""

logger = logging.getLogger(__name__)

STEP_NS = 250_000_000
"""A wall clock that moves this much against the monotonic one has stepped."""
NAP_SECONDS = 1.0
"""The longest sleep: the wall clock may step meanwhile."""
AHEAD_NS = 15_000_000
"""Requests are prepared this long before they are due, and then held at the gate: their way through
Scrapy takes 0.15 ms each, which for 16 tokens of one tick was most of their lateness (measured)."""


class PollDriver:
    """Polls what is due, until it is stopped."""

    def __init__(self, run: Run, universe: Universe, fetcher: Fetcher, emit: Emit) -> None:
        config, clock = run.config, run.clock
        polling = config.polling
        self._run = run
        self._polling = polling
        self._clock = clock
        self._grid = Grid(polling.interval_ns, polling.phase_buckets)
        self._universe = universe
        self._poller = Poller(config, fetcher, emit, self._heed)
        self._emit = emit
        self._pause = HostPause()
        self._latency = LatencyWatch()
        limit = endpoints.BOOK_LIMIT if polling.mode == "book" else endpoints.BOOKS_LIMIT
        self._budget = Budget(int(limit * polling.budget_fraction), endpoints.LIMIT_WINDOW_NS)
        self._turns = Turns(self._budget, polling.interval_ns)
        self._chosen: frozenset[Unit] | None = None
        """Whose turn it is in this interval; ``None``: everybody's, the budget is large enough."""
        self._ahead_ns = min(AHEAD_NS, polling.interval_ns // polling.phase_buckets // 2)
        self._late_ns = polling.interval_ns // 2
        self._open: set[asyncio.Task[None]] = set()
        self._offset_ns = clock.wall_ns() - clock.monotonic_ns()
        self._budget_offset_ns = self._offset_ns
        """From due times to the budget's monotonic ones.  It changes only when the clock steps: following
        each slewed microsecond, a poll every ten seconds would now and then count as one too soon."""
        self._tick = 0
        self._owed: deque[range] = deque()
        """Ticks that could not be visited while storage took no rows."""
        self._settling: asyncio.Task[None] | None = None

    @property
    def done_until_ns(self) -> int:
        """Every planned slot that is due before this has its row (once no poll is open)."""
        return self._grid.tick_due_ns(self._owed[0].start if self._owed else self._tick)

    @property
    def next_due_ns(self) -> int:
        """When the next tick is due: a market planned now is owed its slots from here on."""
        return self._grid.tick_due_ns(self._tick)

    @property
    def open_polls(self) -> int:
        """Requests that are on their way."""
        return len(self._open)

    def begin(self) -> None:
        """Start at the next tick that no earlier run has visited (its clock may have been ahead)."""
        from_ns = max(self._clock.wall_ns(), self._run.visited_until_ns + 1)
        self._tick = self._grid.first_tick(from_ns)

    async def run(self, until_ns: int | None = None) -> None:
        """Visit tick after tick; returns when *until_ns* (wall) is reached and the last polls are back."""
        while until_ns is None or self.next_due_ns < until_ns:
            due_ns = self.next_due_ns
            await self._wait_until(due_ns - self._ahead_ns, self._clock.sleep)
            slot, bucket = self._grid.split(self._tick)
            if self._run.storage_pause is not None:
                self._owe(self._tick)
                self._tick += 1
                continue
            if self._owed and self._settling is None:
                self._settling = asyncio.create_task(self._settle())
            if bucket == 0:
                await self._take_turns(slot)
                if not self._owed:
                    self._universe.drop_ended(due_ns)
            self._tick += 1  # from here on its rows are owed, also when a stop cuts the wait for its time
            await self._visit(slot, bucket, due_ns)
        while self._open:
            await asyncio.wait(set(self._open))

    async def drain(self) -> None:
        """Wait until every open poll has written its row; the fetcher is closed before."""
        while self._open:
            await asyncio.wait(set(self._open))
        if self._settling is not None and self._run.storage_pause is None:
            await self._settling

    def _owe(self, tick: int) -> None:
        """Remember a tick whose rows nobody can store now."""
        if self._owed and self._owed[-1].stop == tick:
            self._owed[-1] = range(self._owed[-1].start, tick + 1)
        else:
            self._owed.append(range(tick, tick + 1))

    async def _settle(self) -> None:
        """Write the rows of the owed ticks as ``skipped/disk_full``, beside the polls that go on."""
        while self._owed and self._run.storage_pause is None:
            tick = self._owed[0].start
            slot, bucket = self._grid.split(tick)
            due_ns = self._grid.tick_due_ns(tick)
            tokens = self._universe.due(bucket, due_ns)
            await self._emit(Rows([row_of(token, slot, due_ns, "skipped", "disk_full") for token in tokens]))
            if rest := range(tick + 1, self._owed[0].stop):
                self._owed[0] = rest
            else:
                self._owed.popleft()
            await asyncio.sleep(0)  # an hour of ticks must not delay the polls of this second
        self._settling = None

    async def _wait_until(self, at_ns: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Follow the wall clock: the wait is computed anew after every nap."""
        while (wait_ns := at_ns - self._clock.wall_ns()) > 0:
            await sleep(min(wait_ns / NS, NAP_SECONDS))
            await self._watch_clock()

    async def _watch_clock(self) -> None:
        offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        step_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        if abs(step_ns) > STEP_NS:
            self._budget_offset_ns = offset_ns
            logger.warning(
                "the wall clock stepped by %.3f s; the next poll is due at %s",
                step_ns / NS,
                iso_utc(self.next_due_ns),
            )
            await self._event("clock_step", {"step_ns": step_ns, "next_due_ns": self.next_due_ns})

    async def _take_turns(self, slot: int) -> None:
        """See whether this interval's requests fit the budget; if not, say so and choose whose turn it is."""
        if self._universe.tokens <= self._turns.allowance:  # the usual case, without looking at each bucket
            costs: dict[Unit, int] = {}
        else:
            buckets = range(self._grid.buckets)
            due = (self._universe.due(bucket, self._grid.due_ns(slot, bucket)) for bucket in buckets)
            costs = {unit: self._cost(unit) for tokens in due for unit in self._units(tokens)}
        needed = sum(costs.values())
        before, fits = self._chosen, needed <= self._turns.allowance
        self._chosen = None if fits else self._turns.choose(costs)
        if fits and before is not None:
            logger.warning("the markets fit the budget again")
            await self._event("budget_suffices", {})
        elif not fits and before is None:
            detail = {"requests_needed": needed, "requests_allowed": round(self._turns.allowance, 3)}
            logger.warning(
                "%d requests are due in an interval, the budget allows %g: markets take turns, each skipped "
                "slot is a row; see polling.budget_fraction, polling.mode and shard",
                needed,
                self._turns.allowance,
            )
            await self._event("budget_exceeded", detail)

    async def _visit(self, slot: int, bucket: int, due_ns: int) -> None:
        """Send or skip each token of the tick's bucket."""
        tokens = self._universe.due(bucket, due_ns)
        if not tokens:
            return
        gate = Gate()
        skipped: list[tuple[Token, str]] = []
        try:
            skipped += self._prepare(tokens, slot, due_ns, gate)
            await self._wait_until(due_ns, self._clock.sleep_exactly)
            if not self._is_late(due_ns):
                gate.open()
        finally:
            gate.turn_away()
            if skipped:
                rows = [row_of(token, slot, due_ns, "skipped", reason) for token, reason in skipped]
                await self._emit(Rows(rows))
        if skipped:
            await asyncio.sleep(0)  # after a long stall there are many of these; let answers in between

    def _prepare(
        self, tokens: list[Token], slot: int, due_ns: int, gate: Gate
    ) -> Iterator[tuple[Token, str]]:
        """Put what will be sent before the *gate*; yields the others with the reason."""
        if self._is_late(due_ns):
            yield from ((token, "late") for token in tokens)
            return
        paused = self._pause.holds(self._clock.monotonic_ns())
        for unit in self._units(tokens):
            if paused:
                yield from ((token, "paused") for token in unit)
                continue
            ready = [token for token in unit if not token.in_flight]
            yield from ((token, "in_flight") for token in unit if token.in_flight)
            if not ready:
                continue
            has_turn = self._chosen is None or unit in self._chosen
            if has_turn and self._budget.take(self._cost(ready), due_ns - self._budget_offset_ns):
                self._turns.polled(unit)
                for request in [[token] for token in ready] if self._single else [ready]:
                    self._send(request, slot, due_ns, gate)
            else:
                yield from ((token, "budget") for token in ready)

    def _is_late(self, due_ns: int) -> bool:
        return self._clock.wall_ns() - due_ns > self._late_ns

    @property
    def _single(self) -> bool:
        return self._polling.mode == "book"

    def _cost(self, tokens: list[Token] | Unit) -> int:
        """Requests that polling *tokens* of one unit takes."""
        return len(tokens) if self._single else 1

    def _units(self, tokens: list[Token]) -> Iterator[Unit]:
        """Cut a bucket's tokens: by market, or in ``books`` mode into as many as fit one request."""
        size = self._polling.batch_tokens
        if self._single:
            yield from (plan.tokens for plan in dict.fromkeys(token.plan for token in tokens))
        else:
            yield from (tuple(tokens[start : start + size]) for start in range(0, len(tokens), size))

    def _send(self, tokens: list[Token], slot: int, due_ns: int, gate: Gate) -> None:
        for token in tokens:
            token.in_flight = True
        task = asyncio.create_task(self._poller.poll(tokens, slot, due_ns, gate))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _heed(self, answer: Answer) -> None:
        """Leave the host alone when it refuses (429, or 503 with ``Retry-After``); note when it slows."""
        asked = answer.headers.get("retry-after")
        now_ns = self._clock.monotonic_ns()
        if answer.status == 429 or (answer.status == 503 and asked is not None):
            if self._pause.refused(retry_after_ns(asked, self._clock.wall_ns()), now_ns):
                detail = {"status": answer.status, "retry_after": asked}
                await self._event("throttled", detail | {"pause_ns": self._pause.until_ns - now_ns})
        elif answer.status == 200:
            self._pause.answered()
        timed_out = answer.failure is not None and answer.failure[0] == "timeout"
        if answer.elapsed_ns is not None and (answer.status == 200 or timed_out):
            for event, detail in self._latency.add(answer.elapsed_ns, now_ns):
                logger.warning("%s: %s", event, detail)
                await self._event(event, detail)

    async def _event(self, event: str, detail: dict[str, Any]) -> None:
        await self._emit(EventItem(event=event, at_ns=self._clock.wall_ns(), detail=detail))
