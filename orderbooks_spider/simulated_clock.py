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
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

from orderbooks_spider.clock import NS, TIMER_SECONDS, Clock, SystemClock
from orderbooks_spider.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

VARIABLE = "ORDERBOOKS_SIMULATED_CLOCK"
"""Names the file that a process takes its time from."""

FASTEST = 100.0

_TIME = struct.Struct("@qqqdqqq")
"""Version; time; real monotonic time at which that was so; rate; longest reach; step; version again."""
_TURN = struct.Struct("@q")
"""Real monotonic time of the loop's last turn; 0: nobody waits for this process."""
_SIZE = _TIME.size + _TURN.size

_WRITE_SECONDS = 0.0005
_TURN_SECONDS = 0.001
_REACH_NS = 4_000_000
"""So far a reader goes on by itself after a write: the timekeeper may be kept waiting, too."""
_STILL_NS = 4_000_000
"""A loop that has not turned for so long is kept from its work, and time waits."""
_GONE_NS = NS
"""After so long nobody waits any more: the process was killed, or does hang."""
_FOR_EVER_NS = 1 << 62


class SimulatedClock:
    """What a process reads of the timekeeper's time.

    Raises:
        ConfigError: the file cannot be read, or is not a timekeeper's.

    """

    def __init__(self, path: Path | str) -> None:
        try:
            with open(path, "r+b") as file:  # noqa: PTH123 - the name may come from the environment
                self._shared = mmap.mmap(file.fileno(), _SIZE)
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
        while True:
            version, time_ns, real_ns, rate, reach_ns, self._step_ns, again = _TIME.unpack_from(self._shared)
            if version == again != 0:  # else in the middle of a write, which begins by zeroing all
                break
        self.speed = abs(rate)
        since_ns = min(self._real.monotonic_ns() - real_ns, reach_ns)
        now_ns: int = time_ns + int(since_ns * max(rate, 0.0))
        self._latest_ns = max(self._latest_ns, now_ns)
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
        """From now on time waits for the running event loop."""
        _TURN.pack_into(self._shared, _TIME.size, self._real.monotonic_ns())
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
        self._speed = speed
        self._real = SystemClock()
        self._version = 0
        self._time_ns, self._real_ns, self._rate = begin_ns, self._real.monotonic_ns(), speed
        self._reach_ns = _FOR_EVER_NS if speed == 1 else _REACH_NS
        self._steps_ns = dict.fromkeys(files, 0)
        self._shared: dict[str, mmap.mmap] = {}
        for name, path in files.items():
            path.write_bytes(bytes(_SIZE))
            with path.open("r+b") as file:
                self._shared[name] = mmap.mmap(file.fileno(), _SIZE)
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
                # The sign says that time stands still; the readers still learn the speed.
                self._rate = -self._speed if self._is_waiting() else self._speed
                self._write()
            time.sleep(_WRITE_SECONDS)

    def _advance(self) -> None:
        """Where the readers are by now is where the next stretch begins."""
        now_ns = self._real.monotonic_ns()
        since_ns = min(now_ns - self._real_ns, self._reach_ns)
        self._time_ns += int(since_ns * max(self._rate, 0.0))
        self._real_ns = now_ns

    def _is_waiting(self) -> bool:
        turns = (_TURN.unpack_from(shared, _TIME.size)[0] for shared in self._shared.values())
        return any(_STILL_NS < self._real_ns - turn_ns < _GONE_NS for turn_ns in turns if turn_ns)

    def _write(self) -> None:
        self._version += 1
        for name, shared in self._shared.items():
            told = (self._time_ns, self._real_ns, self._rate, self._reach_ns, self._steps_ns[name])
            _TIME.pack_into(shared, 0, self._version, *told, self._version)


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
