"""Keeps a collector running as its systemd unit does: started again whatever it ended with, but for 78."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.clock import NS
from orderbooks_spider.errors import EXIT_CONFIG
from orderbooks_spider.soak.record import Start
from orderbooks_spider.soak.sample import children

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orderbooks_spider.clock import Clock

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "scripts" / "collect_polymarket_orderbooks.py"

RESTART_SECONDS = 0.5
"""``RestartSec=`` of ``systemd/polymarket-orderbook-collector.service``."""
STOP_SECONDS = 120.0
"""Real seconds from SIGTERM to SIGKILL: the unit's 45, and what the collector asks for to seal."""


class Supervisor:
    """One collector and its lives; *clock* is the archive's, *changed* is told of each start and end."""

    def __init__(
        self,
        config: Path,
        log: Path,
        clock: Clock,
        variables: Mapping[str, str],
        changed: Callable[[str], None],
    ) -> None:
        self.starts: list[Start] = []
        self._config = config
        self._log = log
        self._clock = clock
        self._variables = variables
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._start_again_ns = 0

    @property
    def pid(self) -> int | None:
        """The collector that runs now."""
        return None if self._process is None else self._process.pid

    @property
    def refused(self) -> bool:
        """Whether the collector ended with 78: its config is bad and no restart helps."""
        return bool(self.starts) and self.starts[-1].exit_status == EXIT_CONFIG

    def turn(self) -> None:
        """Notice an end; start when it is time."""
        if self._process is not None and self._process.poll() is not None:
            self._note_end(self._process.returncode)
        if self._process is None and not self.refused and self._clock.monotonic_ns() >= self._start_again_ns:
            self._start()

    def kill(self) -> str:
        """SIGKILL the collector and, as systemd does with what is left in the unit, its children."""
        if self._process is None:
            return "not injected: no collector was running"
        left = children(self._process.pid)
        self._process.kill()
        self._note_end(self._process.wait())
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"SIGKILL to the collector and {len(left)} sealing children"

    def stop(self) -> None:
        """SIGTERM, and patience while it seals."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._note_end(status)

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
                [sys.executable, SCRIPT, "--config", self._config],
                cwd=PROJECT,
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is meant for the soak
            )
        begun_ns = self._clock.wall_ns()
        self.starts.append(Start(pid=self._process.pid, begin_ns=begun_ns, end_ns=None, exit_status=None))
        self._changed(f"collector {self._process.pid} started")

    def _note_end(self, status: int) -> None:
        self._process = None
        self._start_again_ns = self._clock.monotonic_ns() + round(RESTART_SECONDS * NS)
        self.starts[-1] = msgspec.structs.replace(
            self.starts[-1], end_ns=self._clock.wall_ns(), exit_status=status
        )
        self._changed(f"collector {self.starts[-1].pid} ended with {status}")
