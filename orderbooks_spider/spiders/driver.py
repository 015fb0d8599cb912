"""The poll driver: visits every tick of the grid once, and ends every planned slot in one row."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.cadence import Budget, Grid, fair_order
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.items import EventItem, PollItem
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.polymarket.answers import (
    Answer,
    result_of,
    result_of_book,
    split_books,
    text_of,
)
from orderbooks_spider.throttle import HostPause, retry_after_ns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orderbooks_spider.run import Run
    from orderbooks_spider.spiders.fetch import Fetcher
    from orderbooks_spider.universe import Token, Universe

    Emit = Callable[[PollItem | EventItem], Awaitable[None]]

logger = logging.getLogger(__name__)

STEP_NS = 250_000_000
"""A wall clock that moves this much against the monotonic one has stepped."""
NAP_SECONDS = 1.0
"""The longest sleep: the wall clock may step meanwhile."""


class PollDriver:
    """Polls what is due, until it is stopped."""

    def __init__(self, run: Run, universe: Universe, fetcher: Fetcher, emit: Emit) -> None:
        config, clock = run.config, run.clock
        polling = config.polling
        self._run = run
        self._polling = polling
        self._clob_url = config.venue.clob_url
        self._clock = clock
        self._grid = Grid(polling.interval_ns, polling.phase_buckets)
        self._universe = universe
        self._fetcher = fetcher
        self._emit = emit
        self._pause = HostPause()
        limit = endpoints.BOOK_LIMIT if polling.mode == "book" else endpoints.BOOKS_LIMIT
        self._budget = Budget(int(limit * polling.budget_fraction), endpoints.LIMIT_WINDOW_NS)
        self._late_ns = polling.interval_ns // 2
        self._open: set[asyncio.Task[None]] = set()
        self._offset_ns = clock.wall_ns() - clock.monotonic_ns()
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
            await self._wait_until(due_ns)
            tick, self._tick = self._tick, self._tick + 1
            if self._run.storage_pause is not None:
                self._owe(tick)
                continue
            if self._owed and self._settling is None:
                self._settling = asyncio.create_task(self._settle())
            await self._visit(tick, due_ns)
            if not self._owed and tick % self._grid.buckets == 0:
                self._universe.drop_ended(due_ns)
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
            for token in self._universe.due(bucket, due_ns):
                await self._emit(_row(token, slot, due_ns, "skipped", "disk_full"))
            if rest := range(tick + 1, self._owed[0].stop):
                self._owed[0] = rest
            else:
                self._owed.popleft()
            await asyncio.sleep(0)  # an hour of ticks must not delay the polls of this second
        self._settling = None

    async def _wait_until(self, due_ns: int) -> None:
        """Follow the wall clock: the wait is computed anew after every nap."""
        while (wait_ns := due_ns - self._clock.wall_ns()) > 0:
            await self._clock.sleep(min(wait_ns / NS, NAP_SECONDS))
            await self._watch_clock()

    async def _watch_clock(self) -> None:
        offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        step_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        if abs(step_ns) > STEP_NS:
            logger.warning(
                "the wall clock stepped by %.3f s; the next poll is due at %s",
                step_ns / NS,
                iso_utc(self.next_due_ns),
            )
            await self._event("clock_step", {"step_ns": step_ns, "next_due_ns": self.next_due_ns})

    async def _visit(self, tick: int, due_ns: int) -> None:
        """Send or skip each token of the tick's bucket."""
        slot, bucket = self._grid.split(tick)
        tokens = self._universe.due(bucket, due_ns)
        if not tokens:
            return
        late = self._clock.wall_ns() - due_ns > self._late_ns
        skipped: list[tuple[Token, str]] = []
        ready: list[Token] = []
        for token in tokens:
            if late or token.in_flight or self._pause.holds(self._clock.monotonic_ns()):
                reason = "late" if late else "in_flight" if token.in_flight else "paused"
                skipped.append((token, reason))
            else:
                ready.append(token)
        for batch in self._batches(ready, slot):
            if self._budget.take(self._clock.monotonic_ns()):
                self._send(batch, slot, due_ns)
            else:
                skipped.extend((token, "budget") for token in batch)
        for token, reason in skipped:
            await self._emit(_row(token, slot, due_ns, "skipped", reason))
        if late:
            await asyncio.sleep(0)  # after a long stall there are many of these; let answers in between

    def _batches(self, ready: list[Token], slot: int) -> list[list[Token]]:
        """One token a request, or in ``books`` mode as many as fit, in an order that is fair over slots."""
        size = 1 if self._polling.mode == "book" else self._polling.batch_tokens
        batches = [ready[start : start + size] for start in range(0, len(ready), size)]
        return [batches[position] for position in fair_order(len(batches), slot)]

    def _send(self, tokens: list[Token], slot: int, due_ns: int) -> None:
        for token in tokens:
            token.in_flight = True
        task = asyncio.create_task(self._poll(tokens, slot, due_ns))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _poll(self, tokens: list[Token], slot: int, due_ns: int) -> None:
        """Poll; a bug on the way costs this slot its book, never its row nor the token its future."""
        try:
            await (self._poll_one if self._polling.mode == "book" else self._poll_batch)(tokens, slot, due_ns)
        except Exception:
            logger.exception("a poll failed by an internal error")
            for token in tokens:
                if token.in_flight:
                    token.in_flight = False
                    await self._emit(_row(token, slot, due_ns, "invalid_body", "internal_error"))

    async def _poll_one(self, tokens: list[Token], slot: int, due_ns: int) -> None:
        (token,) = tokens
        answer = await self._fetcher.fetch(endpoints.book(self._clob_url, token.token_id))
        result, reason = result_of(answer)
        if result == "ok":
            result, reason = result_of_book(answer.body, token.token_id)
        await self._heed(answer)
        item = _row(token, slot, due_ns, result, reason)
        _fill(item, answer, answer.body)
        token.in_flight = False
        await self._emit(item)

    async def _poll_batch(self, tokens: list[Token], slot: int, due_ns: int) -> None:
        token_ids = [token.token_id for token in tokens]
        answer = await self._fetcher.fetch(endpoints.books(self._clob_url, token_ids))
        await self._heed(answer)
        result, reason = result_of(answer)
        texts: dict[str, bytes] | None = None
        if result == "ok":
            try:
                texts = split_books(answer.body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                result, reason = "invalid_body", "not_a_list_of_books"
        for position, token in enumerate(tokens):
            # An answer that is no list of books is kept whole, once: on the first token's row.
            text = answer.body if texts is None and position == 0 else b""
            if texts is not None:
                text = texts.get(token.token_id, b"")
                result, reason = (
                    result_of_book(text, token.token_id)
                    if token.token_id in texts
                    else ("no_book", "left_out")
                )
            item = _row(token, slot, due_ns, result, reason)
            item.params = {"token_id": token.token_id}
            item.batch = len(tokens)
            _fill(item, answer, text)
            token.in_flight = False
            await self._emit(item)

    async def _heed(self, answer: Answer) -> None:
        """Leave the host alone when it refuses (429, or 503 with ``Retry-After``)."""
        asked = answer.headers.get("retry-after")
        now_ns = self._clock.monotonic_ns()
        if answer.status == 429 or (answer.status == 503 and asked is not None):
            if self._pause.refused(retry_after_ns(asked, self._clock.wall_ns()), now_ns):
                detail = {"status": answer.status, "retry_after": asked}
                await self._event("throttled", detail | {"pause_ns": self._pause.until_ns - now_ns})
        elif answer.status == 200:
            self._pause.answered()

    async def _event(self, event: str, detail: dict[str, Any]) -> None:
        await self._emit(EventItem(event=event, at_ns=self._clock.wall_ns(), detail=detail))


def _row(token: Token, slot: int, due_ns: int, result: str, reason: str | None) -> PollItem:
    plan = token.plan
    return PollItem(
        slot=slot,
        due_ns=due_ns,
        result=result,
        reason=reason,
        market_slug=plan.market_slug,
        condition_id=plan.condition_id,
        token_id=token.token_id,
        outcome=token.outcome,
        window_start=plan.window_start,
        window_end=plan.window_end,
    )


def _fill(item: PollItem, answer: Answer, body: bytes) -> None:
    """Put what *answer* tells of the request onto the row; *body* is this token's part of it."""
    item.sent_ns = answer.sent_ns
    item.received_ns = answer.received_ns
    item.elapsed_ns = answer.elapsed_ns
    item.status = answer.status
    item.method = answer.ask.method
    item.url = answer.ask.url
    item.params = item.params or answer.ask.params
    item.request_id = answer.request_id
    item.headers = answer.headers or None
    item.body, item.body_encoding = text_of(body)
