"""The server: takes a request through faults, routes and the ledger; has its own control routes.

``POST /_sandbox/faults`` replaces the fault plan (YAML or JSON body) and ``GET /_sandbox/stats``
gives counts. Both are the sandbox's own and stand outside the plan; the venue has nothing like them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from orderbooks_spider.clock import NS, Clock, SystemClock
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.sandbox.answers import Answer, error_answer, json_answer
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.faults import Asked, RuleBook, changed_answer, whole_answer
from orderbooks_spider.sandbox.ledger import Ledger
from orderbooks_spider.sandbox.markets import ClockMarkets
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.plan import (
    BookFault,
    Delay,
    Fault,
    Plan,
    Throttle,
    WholeFault,
    WireFault,
    parse_plan,
)
from orderbooks_spider.sandbox.replay import Replay
from orderbooks_spider.sandbox.routes import Routes
from orderbooks_spider.sandbox.windows import SERIES, listed_ahead
from orderbooks_spider.sandbox.wire import deliver_faulty, response_of, sent_part

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

_CONTROL = "/_sandbox/"
_BOOK_PATHS = frozenset({"/book", "/books"})


@dataclass(frozen=True, slots=True)
class Setup:
    """What a sandbox is started with."""

    seed: int = 1
    plan: Plan = Plan()  # noqa: RUF009 - frozen, so it can be shared
    replay: tuple[Path, ...] = ()
    served_log: Path | None = None
    listed_ahead_hours: float | None = None
    """How early 5-minute markets are listed: a crowd of markets, whose books are ready from the start."""


class CountingServer(web.Server):
    """aiohttp's low-level server, with connections counted and requests numbered on each."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.handle, handler_cancellation=True, access_log=None)
        self.opened = 0
        self._numbers: dict[web.RequestHandler, int] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection."""
        super().connection_made(handler, transport)
        self.opened += 1
        self._numbers[handler] = 0

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        self._numbers.pop(handler, None)

    def reused(self, handler: web.RequestHandler) -> bool:
        """Number this request; True when the connection has carried one before."""
        number = self._numbers.get(handler, 0)
        self._numbers[handler] = number + 1
        return number > 0

    @property
    def open_now(self) -> int:
        """Connections at present."""
        return len(self._numbers)


class Exchange:
    """All state of one sandbox.

    Raises:
        ConfigError: a replay file or the served log cannot be used.

    """

    def __init__(self, setup: Setup, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.ledger = Ledger(setup.served_log)
        self.routes = _routes(setup, self.clock.wall_ns())
        self.server: CountingServer | None = None
        self._crowded = setup.listed_ahead_hours is not None
        self.use(setup.plan)

    def use(self, plan: Plan) -> None:
        """Replace the fault plan; its counters start again, its times still count from the start."""
        self.rules = RuleBook(plan)
        gap = plan.hydration_gap
        before = None if gap is None else int(gap.until_before_start_seconds * NS)
        self.routes.markets.hydration_before_start_ns = before

    def make_server(self) -> CountingServer:
        """Make the aiohttp server; needs a running loop."""
        self.routes.warm(self.clock.wall_ns(), books=self._crowded)
        self.started_ns = self.clock.monotonic_ns()
        self.server = CountingServer(self)
        return self.server

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises for anything a client can send."""
        received_ns = self.clock.wall_ns()
        reused = (
            self.server is not None and request.protocol is not None and self.server.reused(request.protocol)
        )
        body = await self._body(request)
        if isinstance(body, Answer):
            return response_of(body, compress=False)
        if request.path.startswith(_CONTROL):
            return response_of(self._control(request.path, body), compress=False)
        fault = await self._fault(request, body, reused=reused)
        answer = self._answer(request, body, fault)
        wire = fault.fault if fault is not None and isinstance(fault.fault, WireFault) else None
        self._record(request, body, answer, received_ns, wire)
        if wire is not None:
            return await deliver_faulty(wire, request, answer)
        compress = self.rules.plan.compress and "gzip" in request.headers.get("Accept-Encoding", "")
        return response_of(answer, compress=compress)

    async def _body(self, request: web.BaseRequest) -> bytes | Answer | None:
        """Read the body of a POST; None for a GET; an answer for what the venue would refuse."""
        if request.method in {"GET", "HEAD"}:
            return None
        if request.method != "POST":
            return error_answer(405, "Method not allowed")
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            return error_answer(400, "Payload exceeds the limit")

    async def _fault(self, request: web.BaseRequest, body: bytes | None, *, reused: bool) -> _Chosen | None:
        """Wait as the plan says; give the fault that decides the answer."""
        if not self.rules.plan.faults:
            return None
        now_ns = self.clock.wall_ns()
        tokens = self.routes.asked_tokens(request.query, body) if request.path in _BOOK_PATHS else []
        indexes = (self.routes.token_index(token, now_ns) for token in tokens)
        asked = Asked(
            path=request.path,
            method=request.method,
            host=request.host.rpartition(":")[0] or request.host,
            token_indexes=frozenset(index for index in indexes if index is not None),
            reused=reused,
            elapsed_seconds=(self.clock.monotonic_ns() - self.started_ns) / NS,
        )
        for rule, wait_seconds in self.rules.select(asked):
            if wait_seconds:
                await self.clock.sleep(wait_seconds)
            if not isinstance(rule.fault, Delay | Throttle):
                return _Chosen(rule.fault, rule.match.token_index)
        return None

    def _answer(self, request: web.BaseRequest, body: bytes | None, chosen: _Chosen | None) -> Answer:
        now_ns = self.clock.wall_ns()
        if chosen is not None and isinstance(chosen.fault, WholeFault):
            return whole_answer(chosen.fault, now_ns)
        answer = self.routes.answer(request.path, request.query, body, now_ns)
        if chosen is not None and isinstance(chosen.fault, BookFault) and answer.status == 200:
            return changed_answer(chosen.fault, chosen.token_index, answer)
        return answer

    def _record(
        self,
        request: web.BaseRequest,
        body: bytes | None,
        answer: Answer,
        received_ns: int,
        wire: WireFault | None,
    ) -> None:
        sent = answer.body if wire is None else sent_part(wire, answer.body)
        path = _counted(request.path)
        if sent is None:
            self.ledger.unanswered[path] += 1
            return
        self.ledger.count(path, answer.status)
        if request.path in _BOOK_PATHS:
            tokens = self.routes.asked_tokens(request.query, body)
            asked = {
                "t_recv_ns": received_ns,
                "t_send_ns": self.clock.wall_ns(),
                "path": request.path,
                "token_id": tokens if body is not None else "".join(tokens[:1]),
            }
            self.ledger.note(asked, answer, sent)

    def _control(self, path: str, body: bytes | None) -> Answer:
        if path == "/_sandbox/faults" and body is not None:
            try:
                plan = parse_plan(body, "in the request")
            except ConfigError as error:
                return error_answer(400, str(error))
            self.use(plan)
            return json_answer({"rules": len(plan.faults)})
        if path == "/_sandbox/stats" and body is None:
            return json_answer(self._stats())
        return error_answer(404, "the sandbox has no such control route")

    def _stats(self) -> dict[str, object]:
        server = self.server
        return {
            "requests": self.ledger.by_path(),
            "unanswered": dict(self.ledger.unanswered),
            "faults": dict(self.rules.fired),
            "connections": {
                "opened": server.opened if server else 0,
                "open": server.open_now if server else 0,
            },
        }


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The fault of a request, and the only token that it is meant for."""

    fault: Fault
    token_index: int | None


def _routes(setup: Setup, now_ns: int) -> Routes:
    if setup.replay:
        replay = Replay(setup.replay, now_ns)
        return Routes(setup.seed, replay, replay)
    series = listed_ahead(setup.listed_ahead_hours) if setup.listed_ahead_hours else SERIES
    markets = ClockMarkets(setup.seed, series=series)
    return Routes(setup.seed, markets, MovingBooks(Spot(setup.seed)))


def _counted(path: str) -> str:
    """Give the path under which a request is counted: identifiers are folded."""
    parts = path.split("/")
    if len(parts) == 4 and parts[2] == "slug":
        return "/".join([*parts[:3], "{slug}"])
    if len(parts) == 3 and parts[1] == "markets" and parts[2] != "keyset":
        return "/markets/{condition_id}"
    return path
