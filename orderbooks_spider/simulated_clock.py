"""A clock that runs at a multiple of real time, the same in several processes, and waits for them.

A soak simulates a day in under an hour with it.  Three rules:

- *One time for all.*  A :class:`Timekeeper` writes the time into a file of each process, some thousand
  times a second; the processes map their file and read on between two writes.
- *It waits.*  At thirty times the speed a loop that stands still for 20 ms would be 0.6 s late, and skip
  slots that no real collector skips.  So each process shows that its event loop turns, and while one
  does not, time stands still: the machine's haste is not the collector's lateness.  It does not wait for
  a process that is gone, nor at the speed of real time.
- *Steps move the wall clock only*, and only that of the process whose file says so.

A collector takes this clock from an environment variable, and then refuses every venue but the sandbox
exchange on loopback.  libfaketime was measured and not taken: with a rate its monotonic clock steps with
the wall clock (by 3,600 s of 3,600), and a child's time is ahead of its parent's by 0.7 s.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
import time
from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO, Self

from orderbooks_spider.clock import NS, TIMER_SECONDS, Clock, SystemClock
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

VARIABLE = "ORDERBOOKS_SIMULATED_CLOCK"
"""Names the file that a process takes its time from."""

FASTEST = 100.0


class _Place(IntEnum):
    """Where what is in a file, of so many 64-bit numbers; each is written and read in one piece."""

    BEGUN = 0
    """Number of the write that was begun last: read last."""
    TIME_NS = 1
    REAL_NS = 2
    """Real monotonic time at which the time was that."""
    SPEED_MILLI = 3
    RUNS = 4
    """0: time stands still."""
    REACH_NS = 5
    """So far, in real time, a reader goes on by itself."""
    STEP_NS = 6
    DONE = 7
    """Number of the write that was ended last: read first."""
    TURN_NS = 8
    """Written by the reader: real monotonic time of its loop's last turn; 0: nobody waits for it."""


_WRITE_SECONDS = 0.0005
_TURN_SECONDS = 0.001
_REACH_NS = 2_000_000
"""So far a reader goes on by itself after a write: the timekeeper may be kept waiting, too."""
_STILL_NS = 2_500_000
"""A loop that has not turned for so long is kept from its work, and time waits."""
_GONE_NS = NS
"""After so long nobody waits any more: the process was killed, or does hang."""
_FOR_EVER_NS = 1 << 62
_TOLD = slice(_Place.TIME_NS, _Place.DONE)
_BYTES = 8 * len(_Place)


def _numbers(file: BinaryIO) -> memoryview[int]:
    """The numbers of an open file, shared with whoever maps it too."""
    return memoryview(mmap.mmap(file.fileno(), _BYTES)).cast("q")


class SimulatedClock:
    """What a process reads of the timekeeper's time.

    Raises:
        ConfigError: the file cannot be read, or is not a timekeeper's.

    """

    def __init__(self, path: Path | str) -> None:
        try:
            with open(path, "r+b") as file:  # noqa: PTH123 - the name may come from the environment
                self._shared = _numbers(file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{VARIABLE}: {path}: expected the file of a timekeeper: {error}") from error
        self._real = SystemClock()
        self._latest_ns: int = 0
        self._step_ns: int = 0
        self.speed = 1.0
        self.monotonic_ns()

    def wall_ns(self) -> int:
        """UTC of the simulation; may step."""
        return self.monotonic_ns() + self._step_ns

    def monotonic_ns(self) -> int:
        """The same without the steps."""
        shared = self._shared
        while True:
            done = shared[_Place.DONE]
            time_ns, real_ns, milli, runs, reach_ns, self._step_ns = shared[_TOLD].tolist()
            if done == shared[_Place.BEGUN]:
                break
        self.speed = milli / 1000
        since_ns = min(self._real.monotonic_ns() - real_ns, reach_ns)
        self._latest_ns = max(self._latest_ns, time_ns + runs * since_ns * milli // 1000)
        return self._latest_ns

    def timer_seconds(self, seconds: float) -> float:
        """*seconds* of this clock in real ones."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Sleep until *seconds* have passed here, however long that takes."""
        end_ns = self.monotonic_ns() + round(seconds * NS)
        await asyncio.sleep(seconds / self.speed)
        while (left_ns := end_ns - self.monotonic_ns()) > 0:  # noqa: ASYNC110 - only the clock knows
            await asyncio.sleep(left_ns / NS / self.speed)

    async def sleep_exactly(self, seconds: float) -> None:
        """Sleep, and at the end ask again and again, as the host's clock does."""
        end_ns = self.monotonic_ns() + round(seconds * NS)
        while (left_ns := end_ns - self.monotonic_ns()) > 0:  # noqa: ASYNC110 - only the clock knows
            await asyncio.sleep(max(0.0, left_ns / NS / self.speed - TIMER_SECONDS))

    def attend(self) -> None:
        """From now on time waits for the running event loop; real time does not."""
        if self.speed == 1:
            return
        self._shared[_Place.TURN_NS] = self._real.monotonic_ns()
        asyncio.get_running_loop().call_later(_TURN_SECONDS, self.attend)


class Timekeeper:
    """Writes the time into *files*, from *begin_ns* (UTC) on and at *speed*, until closed.

    Raises:
        ConfigError: *speed* is not from 1 to 100.

    """

    def __init__(self, files: Mapping[str, Path], begin_ns: int, speed: float) -> None:
        if not 1 <= speed <= FASTEST:
            raise ConfigError(f"speed: expected 1 to {FASTEST:g}, saw {speed:g}")
        self.files = dict(files)
        self._real = SystemClock()
        self._milli = round(speed * 1000)
        self._writes = 0
        self._time_ns, self._real_ns, self._runs = begin_ns, self._real.monotonic_ns(), 1
        self._reach_ns = _FOR_EVER_NS if speed == 1 else _REACH_NS
        self._steps_ns = dict.fromkeys(files, 0)
        self._shared: dict[str, memoryview[int]] = {}
        for name, path in files.items():
            path.write_bytes(bytes(_BYTES))
            with path.open("r+b") as file:
                self._shared[name] = _numbers(file)
        self._lock = threading.Lock()
        self._write()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="timekeeper", daemon=True)
        if speed != 1:  # the speed of real time waits for nobody, and needs nobody to keep it
            self._thread.start()

    def clock(self, name: str) -> SimulatedClock:
        """The clock that the process called *name* reads."""
        return SimulatedClock(self.files[name])

    def variables(self, name: str) -> dict[str, str]:
        """Environment of the process called *name*."""
        return {VARIABLE: str(self.files[name])}

    def step(self, name: str, seconds: float) -> None:
        """Let the wall clock of *name* be ahead of the others by *seconds*; 0 sets it right."""
        with self._lock:
            self._steps_ns[name] = round(seconds * NS)
            self._advance()
            self._write()

    def close(self) -> None:
        """Let time stand still for good."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _keep(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                self._advance()
                self._runs = 0 if self._is_waiting() else 1
                self._write()
            time.sleep(_WRITE_SECONDS)

    def _advance(self) -> None:
        """Where the readers are by now is where the next stretch begins."""
        now_ns = self._real.monotonic_ns()
        since_ns = min(now_ns - self._real_ns, self._reach_ns)
        self._time_ns += self._runs * since_ns * self._milli // 1000
        self._real_ns = now_ns

    def _is_waiting(self) -> bool:
        turns = (shared[_Place.TURN_NS] for shared in self._shared.values())
        return any(_STILL_NS < self._real_ns - turn_ns < _GONE_NS for turn_ns in turns if turn_ns)

    def _write(self) -> None:
        self._writes += 1
        for name, shared in self._shared.items():
            shared[_Place.BEGUN] = self._writes
            shared[_Place.TIME_NS] = self._time_ns
            shared[_Place.REAL_NS] = self._real_ns
            shared[_Place.SPEED_MILLI] = self._milli
            shared[_Place.RUNS] = self._runs
            shared[_Place.REACH_NS] = self._reach_ns
            shared[_Place.STEP_NS] = self._steps_ns[name]
            shared[_Place.DONE] = self._writes


def clock_of(environment: Mapping[str, str] = os.environ) -> Clock:
    """The clock of this process: the host's, unless a soak gave it another.

    Raises:
        ConfigError: the variable names no timekeeper's file.

    """
    path = environment.get(VARIABLE)
    return SimulatedClock(path) if path else SystemClock()


def let_time_wait(clock: Clock) -> None:
    """Let a simulated *clock* wait for the running event loop; the host's waits for nobody."""
    if isinstance(clock, SimulatedClock):
        clock.attend()
