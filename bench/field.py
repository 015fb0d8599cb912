"""Where collectors are measured: the sandbox exchange on one core, the measured process on another.

CPU is that of the process and of all children that it waited for (``wait4``), so the collector's sealing
children count; the sandbox's CPU does not.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bench.certificates import make_certificates
from orderbooks_spider.clock import NS
from orderbooks_spider.polymarket import endpoints
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.sandbox.windows import SERIES

if TYPE_CHECKING:
    import resource
    from collections.abc import Iterator, Mapping, Sequence

PROJECT = Path(__file__).resolve().parents[1]
WINDOW_SECONDS = 300
"""All markets are 5-minute ones, so that their number follows from the lead alone."""
SAMPLE_SECONDS = 0.1
PATIENCE_SECONDS = 120
"""How long after its polls a process may take to end."""


# The venue


@dataclass(frozen=True)
class Venue:
    """A running sandbox, and what a client needs to reach it."""

    url: str
    pid: int
    free_core: int
    trusted: Mapping[str, str] = field(default_factory=dict)
    """Environment in which a client trusts its certificate."""

    def cpu_seconds(self) -> float:
        """CPU that the sandbox has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tokens(self, count: int) -> list[str]:
        """Ids of *count* tokens, those of the next windows first: what the collector polls too.

        Raises:
            ValueError: the sandbox lists fewer.

        """
        trust = ssl.create_default_context(cafile=self.trusted.get("SSL_CERT_FILE"))
        soon_ns = time.time_ns() + WINDOW_SECONDS * NS
        ask = endpoints.open_events(self.url, SERIES[0].id, (soon_ns, soon_ns + 31 * 86_400 * NS))
        found: list[str] = []
        while len(found) < count:
            with urllib.request.urlopen(f"{ask.url}?{urlencode(ask.params)}", context=trust) as answer:
                page = json.load(answer)
            for event in page["events"]:
                found += json.loads(event["markets"][0].get("clobTokenIds", "[]"))
            if "next_cursor" not in page:
                break
            ask = endpoints.after(ask, page["next_cursor"])
        if len(found) < count:
            raise ValueError(f"expected {count} tokens, the sandbox lists {len(found)}")
        return found[:count]


@contextmanager
def venue(tokens: int, *, tls: bool = False) -> Iterator[Venue]:
    """Start a sandbox that lists so many tokens; with *tls* it also compresses, as the venue does."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one core only: what is measured shares it with the sandbox", file=sys.stderr)
    hours = max(24.0, lead_seconds(tokens) / 3600 + 1)
    arguments, trusted = ["--listed-ahead-hours", str(hours)], {}
    with tempfile.TemporaryDirectory() as made:
        if tls:
            certificates = make_certificates(Path(made))
            plan = Path(made) / "plan.yaml"
            plan.write_text("compress: true\n", encoding="ascii")
            arguments += [*certificates.arguments, "--faults", str(plan)]
            trusted = certificates.trusted
        os.sched_setaffinity(0, {cores[0]})  # this process watches from the sandbox's core
        try:
            with SandboxChild.start(arguments) as child:
                yield Venue(child.url, child.process.pid, cores[-1], trusted)
        finally:
            os.sched_setaffinity(0, cores)


def lead_seconds(tokens: int) -> int:
    """The lead with which the collector polls so many tokens at any time: the current window and the next."""
    return (tokens // 2 - 1) * WINDOW_SECONDS


# The measured process


@dataclass(frozen=True)
class Moment:
    """Memory at one instant, in MB."""

    wall_ns: int
    own: float
    own_peak: float
    children: float


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    cpu_seconds: float
    """User and system, of itself and of its children."""
    venue_cpu_seconds: float
    """What the sandbox used meanwhile."""
    moments: list[Moment]

    @property
    def peak_mb(self) -> float:
        """The most that it held, or it and its children at one time."""
        return max(max(moment.own_peak, moment.own + moment.children) for moment in self.moments)


def run(command: Sequence[str], where: Venue, seconds: float) -> Finished:
    """Run *command*, which polls for *seconds*, on the venue's free core to its end.

    Raises:
        RuntimeError: it ended with another code than 0, or not at all; the text holds the end of its log.

    """
    venue_before = where.cpu_seconds()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdout=log, stderr=log, env=os.environ | where.trusted
        )
        try:
            os.sched_setaffinity(process.pid, {where.free_core})
            used, moments = _watch(process, time.monotonic() + seconds + PATIENCE_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            log.seek(0)
            raise RuntimeError(f"{command[1]} ended with {process.returncode}:\n{log.read()[-2000:]}")
    return Finished(used.ru_utime + used.ru_stime, where.cpu_seconds() - venue_before, moments)


def _watch(process: subprocess.Popen[bytes], until: float) -> tuple[resource.struct_rusage, list[Moment]]:
    """Sample the memory of *process* to its end, or kill it at *until* (monotonic)."""
    moments: list[Moment] = []
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            return used, moments
        if time.monotonic() > until:
            process.kill()
        children = sum(_memory(child)[0] for child in _children(process.pid))
        moments.append(Moment(time.time_ns(), *_memory(process.pid), children))
        time.sleep(SAMPLE_SECONDS)


def _memory(pid: int) -> tuple[float, float]:
    """Resident MB of a process, now and at most; zeros for one that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    now, most = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
    return (int(now[1]) * 1024 / 1e6, int(most[1]) * 1024 / 1e6) if now and most else (0.0, 0.0)


def _children(pid: int) -> list[int]:
    """Children that run something of their own: just after the fork one still shows its parent's memory."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text(encoding="ascii").split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [child for child in found if _command(child) != _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
