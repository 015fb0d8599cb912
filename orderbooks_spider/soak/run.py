"""Runs a soak: an exchange, a collector under supervision, faults, uploads and samples; then the account."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from orderbooks_spider.archive.durable import free_bytes
from orderbooks_spider.clock import NS, SystemClock, iso_utc
from orderbooks_spider.config import read_config
from orderbooks_spider.errors import (
    EXIT_CONFIG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PROBLEMS,
    ConfigError,
    OrderbooksError,
)
from orderbooks_spider.sandbox.child import SandboxChild
from orderbooks_spider.simulated_clock import Timekeeper
from orderbooks_spider.soak.faults import COLLECTOR, EXCHANGE, Ballast, Faults, Targets
from orderbooks_spider.soak.frame import Interrupted, account, commit, make_folder
from orderbooks_spider.soak.plan import read_plan
from orderbooks_spider.soak.record import SoakRecord, write_record
from orderbooks_spider.soak.remote import RemoteStore, Uploader
from orderbooks_spider.soak.sample import Every, Sampler
from orderbooks_spider.soak.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orderbooks_spider.soak.plan import SoakPlan

TURN_SECONDS = 0.01
"""Real time between two looks at what is due."""
ROOM_TO_RESUME = 1.05
"""The collector resumes at this multiple of ``archive.min_free_bytes`` (``pipelines/feed.py``)."""
_ENDINGS = {
    EXIT_OK: "whole",
    EXIT_PROBLEMS: "with problems, see log/ in it",
    EXIT_INTERRUPTED: "interrupted, and neither normalised nor verified",
    EXIT_CONFIG: "the collector refused its config, see log/collector.log in it",
}


def run_soak(plan_file: Path, out: Path, say: Callable[[str], None]) -> int:
    """Run the plan in *plan_file* in the new folder *out*; the command's exit code.

    Raises:
        ConfigError: the plan cannot be used, or *out* is in use.
        StorageError: *out* cannot be made.
        OrderbooksError: the exchange failed; what was collected and recorded until then is there.

    """
    plan, real, interrupted = read_plan(plan_file), SystemClock(), Interrupted()
    make_folder(out)
    for name in ("archive", "clock"):
        (out / name).mkdir()
    files = {name: out / "clock" / name for name in (COLLECTOR, EXCHANGE)}
    begun_ns = real.monotonic_ns()
    with interrupted.listening():
        with ExitStack() as stack:
            keeper = stack.enter_context(Timekeeper(files, plan.begin_ns(real.wall_ns()), plan.speed))
            log = stack.enter_context((out / "log" / "exchange.log").open("ab"))
            seed, variables = ["--seed", str(plan.seed)], keeper.variables(EXCHANGE)
            exchange = stack.enter_context(SandboxChild.start(seed, variables=variables, stderr=log))
            soak = _Soak(plan, plan_file.name, out, keeper, exchange, say)
            stack.callback(soak.close)
            code = soak.collect(interrupted)
        say(f"collected for {(real.monotonic_ns() - begun_ns) / NS / 60:.1f} real minutes")
        if code == EXIT_OK:
            code = account(out / "archive", out, interrupted, say)
    say(f"{out}: {_ENDINGS[code]}")
    return code


@dataclass
class _Soak:
    """Everything that runs at the same time, and its record."""

    plan: SoakPlan
    plan_name: str
    out: Path
    keeper: Timekeeper
    exchange: SandboxChild
    say: Callable[[str], None]
    commit: str = field(default_factory=commit)

    def __post_init__(self) -> None:
        out, log = self.out, self.out / "log"
        root, least = out / "archive", least_free_bytes(out, self.plan.room_bytes)
        config = write_config(self.plan, out, self.exchange.url, least)
        self.clock, self.truth = self.keeper.clock(COLLECTOR), self.keeper.clock(EXCHANGE)
        """The archive's wall clock; and the exchange's, which never steps."""
        self.begin_ns, self.begun_ns = self.clock.wall_ns(), self.truth.monotonic_ns()
        self.end_ns: int | None = None
        variables = self.keeper.variables(COLLECTOR)
        self.supervisor = Supervisor(config, log / "collector.log", self.clock, variables, self.changed)
        self.store = RemoteStore(out / "remote", log / "remote.log")
        self.uploader = Uploader(root, config, self.store, log / "upload.log", self.clock, self.changed)
        self.sampler = Sampler(out, root, read_config(str(config)).archive.collector_id, self.clock)
        ballast = Ballast(out / "ballast", least)
        targets = Targets(self.exchange, self.keeper, self.supervisor, ballast, self.store)
        self.faults = Faults(self.plan.faults, targets, self.clock, self.changed)

    def collect(self, interrupted: Interrupted) -> int:
        """Run to the plan's end, or until it makes no sense any more; the command's exit code so far.

        Raises:
            OrderbooksError: the exchange ended by itself, or does not take a fault.

        """
        plan = self.plan
        sample_due = Every(plan.sample_seconds, first=plan.sample_seconds)
        upload_due = Every(plan.upload_seconds, first=plan.upload_seconds)
        if plan.upload_seconds is not None:
            self.store.open()
        while (elapsed := (self.truth.monotonic_ns() - self.begun_ns) / NS) < plan.seconds:
            self.supervisor.turn()
            self.faults.turn(elapsed)
            self.uploader.turn()
            if upload_due.has_come(elapsed):
                self.uploader.start()
            if sample_due.has_come(elapsed):
                self.sampler.take(self.supervisor.pid)
            if interrupted.seen:
                return EXIT_INTERRUPTED
            if self.supervisor.refused:
                return EXIT_CONFIG
            if (code := self.exchange.process.poll()) is not None:
                raise OrderbooksError(
                    f"the sandbox exchange ended with {code}: see {self.out}/log/exchange.log"
                )
            time.sleep(TURN_SECONDS)
        self.uploader.finish()  # before the store comes back
        self.faults.end()
        self.supervisor.stop()
        self.end_ns = self.clock.wall_ns()  # the last upload belongs to no second of collecting
        if plan.upload_seconds is not None:
            self.uploader.start()
        return EXIT_OK

    def close(self) -> None:
        """End whatever still runs or lasts; safe to call after :meth:`collect`, however that ended."""
        with ExitStack() as stack:  # each is done, even if one before it fails
            stack.callback(self._write_record)
            stack.callback(self.sampler.close)
            stack.callback(self.store.close)
            stack.callback(self.uploader.finish)
            stack.callback(self.supervisor.stop)
            stack.callback(self.faults.end)

    def changed(self, what: str) -> None:
        """Say that something began or ended, and keep it."""
        self.say(f"{iso_utc(self.clock.wall_ns())[:19]} {what}")
        self._write_record()

    def _write_record(self) -> None:
        record = SoakRecord(
            environment="sandbox",
            speed=self.plan.speed,
            commit=self.commit,
            begin_ns=self.begin_ns,
            end_ns=self.end_ns or self.clock.wall_ns(),
            config=self.plan_name,
            attached=False,
            faults=self.faults.done,
            starts=self.supervisor.starts,
            uploads=self.uploader.uploads,
        )
        write_record(self.out, record)


def least_free_bytes(out: Path, room_bytes: int) -> int:
    """``archive.min_free_bytes`` that leaves the archive *room_bytes* of what is free now.

    Raises:
        ConfigError: so much is not free.

    """
    free = free_bytes(out)
    least = round((free - room_bytes) / ROOM_TO_RESUME)
    if least <= 0:
        raise ConfigError(f"{out}: expected more than room_bytes ({room_bytes:,}) free, saw {free:,}")
    return least


def write_config(plan: SoakPlan, out: Path, url: str, min_free_bytes: int) -> Path:
    """The collector's config of this soak: the plan's, with addresses, root and limit put in."""
    archive = plan.collector.get("archive", {})
    sections = plan.collector | {
        "environment": "sandbox",
        "venue": {"gamma_url": url, "clob_url": url, "user_agent": "orderbooks-archive/0.1 (sandbox soak)"},
        "archive": archive | {"root": str((out / "archive").resolve()), "min_free_bytes": min_free_bytes},
    }
    path = out / "collector.yaml"
    path.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
    return path.resolve()
