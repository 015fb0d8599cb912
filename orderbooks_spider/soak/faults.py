"""Injects a plan's faults, each when it is due, and keeps the account of what was really done."""

from __future__ import annotations

import http.client
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive.durable import free_bytes
from orderbooks_spider.errors import OrderbooksError
from orderbooks_spider.sandbox.plan import Match, Plan, Rule
from orderbooks_spider.soak.plan import (
    ClockStep,
    DiskFull,
    Kill,
    Outage,
    Slow,
    Throttle,
    UploadOutage,
    end_seconds,
)
from orderbooks_spider.soak.record import NOT_INJECTED, Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orderbooks_spider.sandbox.child import SandboxChild
    from orderbooks_spider.simulated_clock import SimulatedClock, Timekeeper
    from orderbooks_spider.soak.plan import PlannedFault, VenueFault
    from orderbooks_spider.soak.remote import RemoteStore
    from orderbooks_spider.soak.supervisor import Supervisor

COLLECTOR, EXCHANGE = "collector", "exchange"
"""The two processes that live in simulated time."""
CONTROL_SECONDS = 10.0
MOST_BALLAST_BYTES = 32_000_000_000
"""More than that is asked of nobody's disk."""


class Ballast:
    """A file that takes the disk's free space down below what the collector wants."""

    def __init__(self, file: Path, min_free_bytes: int) -> None:
        self._file = file
        self._least = min_free_bytes

    def lay(self) -> str:
        """Take the space; what was done."""
        free = free_bytes(self._file.parent)
        size = free - self._least // 100 * 99  # well below, so that nobody's deleted file ends the spell
        if size > MOST_BALLAST_BYTES:
            return f"{NOT_INJECTED}{size:,} bytes of ballast would be needed; use a smaller file system"
        try:
            with self._file.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            self.lift()
            return f"{NOT_INJECTED}{size:,} bytes of ballast: {error.strerror}"
        return f"{size:,} bytes of ballast: {free - size:,} free, archive.min_free_bytes is {self._least:,}"

    def lift(self) -> None:
        """Give it back."""
        self._file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Targets:
    """What faults are done to."""

    exchange: SandboxChild
    timekeeper: Timekeeper
    supervisor: Supervisor
    ballast: Ballast
    store: RemoteStore


class Faults:
    """The schedule; *clock* is the archive's, *changed* is told of each beginning and end."""

    def __init__(
        self,
        planned: Sequence[PlannedFault],
        targets: Targets,
        clock: SimulatedClock,
        changed: Callable[[str], None],
    ) -> None:
        self.done: list[Fault] = []
        self._planned = deque(sorted(planned, key=lambda fault: fault.at))
        self._targets = targets
        self._clock = clock
        self._changed = changed
        self._open: list[tuple[PlannedFault, int]] = []
        """What lasts, with its place in :attr:`done`."""

    def turn(self, elapsed_seconds: float) -> None:
        """Begin and end what is due *elapsed_seconds* after the soak's start."""
        for fault, place in list(self._open):
            if elapsed_seconds >= end_seconds(fault):
                self._end(fault, place)
        while self._planned and elapsed_seconds >= self._planned[0].at:
            self._begin(self._planned.popleft())

    def end(self) -> None:
        """End whatever lasts."""
        for fault, place in list(self._open):
            self._end(fault, place)

    def _begin(self, fault: PlannedFault) -> None:
        kind: FaultKind = fault.__struct_config__.tag  # type: ignore[assignment]
        begin_ns = self._clock.wall_ns()
        detail = self._do(fault)
        self.done.append(Fault(kind=kind, detail=detail, begin_ns=begin_ns, end_ns=begin_ns))
        if not isinstance(fault, Kill) and not detail.startswith(NOT_INJECTED):
            self._open.append((fault, len(self.done) - 1))
        self._changed(f"{kind}: {detail}")

    def _end(self, fault: PlannedFault, place: int) -> None:
        self._open.remove((fault, place))
        before_ns = self._clock.wall_ns()
        self._undo(fault)
        # A clock set back: slots up to where it stood were visited while it was wrong.
        end_ns = max(before_ns, self._clock.wall_ns())
        self.done[place] = msgspec.structs.replace(self.done[place], end_ns=end_ns)
        self._changed(f"{self.done[place].kind} over")

    def _do(self, fault: PlannedFault) -> str:
        targets = self._targets
        match fault:
            case Kill():
                return targets.supervisor.kill()
            case Outage() | Throttle() | Slow():
                return self._tell_exchange(fault)
            case ClockStep(step_seconds=seconds):
                targets.timekeeper.step(COLLECTOR, seconds)
                return f"wall clock of the collector off by {seconds:+g} s"
            case DiskFull():
                return targets.ballast.lay()
            case UploadOutage():
                targets.store.close()
                missing = targets.store.missing
                return "remote store not served" if missing is None else f"{NOT_INJECTED}{missing}"

    def _undo(self, fault: PlannedFault) -> None:
        targets = self._targets
        match fault:
            case Outage() | Throttle() | Slow():
                self._tell_exchange(None)
            case ClockStep():
                targets.timekeeper.step(COLLECTOR, 0)
            case DiskFull():
                targets.ballast.lift()
            case UploadOutage():
                targets.store.open()
            case Kill():
                pass

    def _tell_exchange(self, fault: VenueFault | None) -> str:
        """Replace the exchange's fault plan; what it now does.

        Raises:
            OrderbooksError: the exchange does not take it.

        """
        rules = []
        if fault is not None:
            # The order-book routes alone, but for an outage.
            match_ = Match() if isinstance(fault, Outage) else Match(path="/book*")
            rules = [Rule(fault=fault.answer, match=match_)]
        port = self._targets.exchange.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CONTROL_SECONDS)
        try:
            connection.request("POST", "/_sandbox/faults", msgspec.json.encode(Plan(faults=rules)))
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise OrderbooksError(f"the sandbox exchange cannot be told of a fault: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise OrderbooksError(f"the sandbox exchange refuses a fault: {said.decode(errors='replace')}")
        return "" if fault is None else msgspec.json.encode(fault.answer).decode()
