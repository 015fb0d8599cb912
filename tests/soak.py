"""The folder of a soak, made without waiting: a real archive and dataset, and a record and samples beside.

A collector is killed two minutes after its start and comes back; the venue is away, refuses and is slow for
a while each.  25 minutes of five-minute windows, over a full hour.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orderbooks_spider.archive.layout import offload_folder
from orderbooks_spider.archive.offloaded import Receipt, UploadManifest, write_record
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import Archive
from orderbooks_spider.normalize.sources import look_at
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at
from orderbooks_spider.soak.record import (
    RECORD_FILE,
    SAMPLES_FILE,
    Fault,
    Sample,
    SoakRecord,
    Start,
    Upload,
)
from scripts.soak import main
from tests import day_archive
from tests.archives import Collector, ManualClock, event
from tests.dataset import normalize

if TYPE_CHECKING:
    from orderbooks_spider.sandbox.markets import Market

PROJECT = Path(__file__).resolve().parents[1]
BEGIN_NS: Final = parse_utc("2026-04-16T08:39:50Z")
KILLED_NS: Final = BEGIN_NS + 120 * NS
BACK_NS: Final = KILLED_NS + 3 * NS
END_NS: Final = BEGIN_NS + 1500 * NS
PIDS: Final = (4711, 4712)

OUTAGE: Final = range(400, 430)
THROTTLE: Final = range(700, 705)
SLOW: Final = range(1000, 1010)
PAUSED: Final = range(705, 720)
"""Seconds after the begin; the pause after the refusals is their aftermath."""


def fault(kind: Any, begin_second: float, end_second: float, detail: str = "as planned") -> Fault:
    """A scheduled fault, by seconds after the begin."""
    begin_ns, end_ns = (BEGIN_NS + round(second * NS) for second in (begin_second, end_second))
    return Fault(kind=kind, detail=detail, begin_ns=begin_ns, end_ns=end_ns)


FAULTS: Final = [
    fault("kill", 120, 120),
    fault("outage", OUTAGE.start, OUTAGE.stop),
    fault("throttle", THROTTLE.start, THROTTLE.stop),
    fault("slow", SLOW.start, SLOW.stop),
    fault("upload_outage", 1200, 1300),
]


def record(**changes: Any) -> SoakRecord:
    """What was run, as the schedule has it."""
    made = SoakRecord(
        environment="sandbox",
        speed=1.0,
        commit="0123456789abcdef0123456789abcdef01234567",
        begin_ns=BEGIN_NS,
        end_ns=END_NS,
        config="soak.test.yaml",
        attached=False,
        faults=FAULTS,
        starts=[
            Start(pid=PIDS[0], begin_ns=BEGIN_NS, end_ns=KILLED_NS, exit_status=-9),
            Start(pid=PIDS[1], begin_ns=BACK_NS, end_ns=END_NS, exit_status=0),
        ],
        uploads=[
            Upload(begin_ns=BEGIN_NS + 1250 * NS, exit_status=69, detail="the remote is away"),
            Upload(begin_ns=END_NS - NS, exit_status=0, detail=""),
        ],
    )
    return msgspec.structs.replace(made, **changes)


def samples() -> list[Sample]:
    """One each ten seconds: memory that settles, a loop that is held up now and then."""
    found = []
    for number in range(150):
        at_ns = BEGIN_NS + (10 * number + 5) * NS
        alive_s = (at_ns - (BEGIN_NS if at_ns < KILLED_NS else BACK_NS)) / NS
        found.append(
            Sample(
                at_ns=at_ns,
                pid=PIDS[at_ns >= KILLED_NS],
                rss_bytes=round(100e6 - 20e6 / (1 + alive_s / 30) + number % 3 * 2e5),
                cpu_seconds=alive_s * 0.04,
                open_files=31 + number % 2,
                sockets=12,
                archive_bytes=40_000 * number,
                disk_free_bytes=50_000_000_000 - 40_000 * number,
                loop_lag_ms=None if number == 0 else 2.0 + number % 7 * 3,
                polls=None,
                children_rss_bytes=60_000_000 if number % 25 == 0 else 0,
            )
        )
    return found


@dataclass(frozen=True)
class Folder:
    """An archive and its dataset, which many soaks of the tests share."""

    archive: Path
    dataset: Path

    def soak(self, out: Path, made: SoakRecord | None = None, taken: list[Sample] | None = None) -> Path:
        """The folder of a soak with this record and these samples, and with links to archive and dataset."""
        out.mkdir(parents=True)
        (out / "archive").symlink_to(self.archive)
        (out / "dataset").symlink_to(self.dataset)
        (out / RECORD_FILE).write_bytes(msgspec.json.encode(made or record()))
        if taken is None:
            taken = samples()
        if taken:
            lines = [msgspec.json.encode(sample) + b"\n" for sample in taken]
            (out / SAMPLES_FILE).write_bytes(b"".join(lines))
        return out


def make_folder(folder: Path) -> Folder:
    """The archive, uploaded, and its dataset."""
    archive = folder / "archive"
    archive.mkdir(parents=True)
    asyncio.run(_both_runs(archive))
    _pretend_upload(archive)
    dataset = normalize(archive, folder / "dataset")
    assert dataset.done.returncode == 0, dataset.done.stderr
    return Folder(archive, dataset.out)


def went_wrong(due_ns: int) -> dict[str, Any] | None:
    """What became of the polls of that second."""
    second = (due_ns - BEGIN_NS) // NS
    if second in OUTAGE:
        return {"result": "connection", "reason": "ClientConnectorError"}
    if second in THROTTLE:
        return {"result": "throttled", "status": 429}
    if second in PAUSED:
        return {"result": "skipped", "reason": "paused"}
    if second in SLOW:
        return {"result": "timeout"} if second % 2 else {"result": "skipped", "reason": "in_flight"}
    return None


def markets() -> list[Market]:
    """Five-minute markets with slots in that time."""
    seconds = range(BEGIN_NS // NS - 600, END_NS // NS + 600, 300)
    every = [make_market(1, SERIES[0], window_at(SERIES[0].kind, second)) for second in seconds]
    return [one for one in every if day_archive.span(one)[0] < END_NS and day_archive.span(one)[1] > BEGIN_NS]


async def _both_runs(root: Path) -> None:
    settings = Archive(fsync_seconds=1, block_seconds=60, rotate_seconds=3600)
    first = Collector(root, "run1", ManualClock(BEGIN_NS), settings)
    first.open()
    await _run(first, BEGIN_NS, KILLED_NS)
    first.abandon()
    second = Collector(root, "run2", ManualClock(BACK_NS), settings)
    second.open()
    await _run(second, BACK_NS, END_NS)
    second.write(event("run_stop", END_NS, slots_done_until_ns=END_NS))
    await second.close()


async def _run(collector: Collector, from_ns: int, until_ns: int) -> None:
    books = MovingBooks(Spot(1))
    for market in markets():
        collector.write(day_archive.record_of(market, from_ns))
        collector.write(day_archive.plan_of(market, from_ns))
    day_archive.write_host(collector, from_ns)
    slots = [
        (due_ns, market, side)
        for market in markets()
        for due_ns in day_archive.due_times(market, from_ns, until_ns)
        for side in (0, 1)
    ]
    for due_ns, market, side in sorted(slots, key=lambda slot: (slot[0], slot[1].slug, slot[2])):
        if due_ns - collector.clock.now_ns > 30 * NS:
            collector.clock.now_ns = due_ns
            await collector.tick()
        collector.write(day_archive.poll_of(books, market, side, due_ns, went_wrong(due_ns)))
    collector.clock.now_ns = until_ns
    day_archive.write_host(collector, until_ns - NS)


def _pretend_upload(root: Path) -> None:
    """The upload manifest of a run that proved every sealed segment."""
    at = iso_utc(END_NS)
    receipts = [
        Receipt(
            file=segment.names.file,
            kind="segment",
            bytes=segment.manifest.bytes,
            sha256=segment.manifest.sha256,
            hash_kind="sha256",
            remote_hash=segment.manifest.sha256,
            proven_by="listing",
            proven_at_utc=at,
            remote_id=None,
        )
        for segment in look_at([root]).segments
    ]
    made = UploadManifest(
        environment="sandbox",
        started_utc=at,
        finished_utc=at,
        destination="test:orderbooks",
        rclone_version="v1.60.1",
        files=receipts,
        problems=[],
        complete=True,
        planned_files=len(receipts),
        planned_bytes=sum(receipt.bytes for receipt in receipts),
        proven_bytes=sum(receipt.bytes for receipt in receipts),
        rclone_exit_codes=[0],
        heads={},
    )
    offload_folder(root).mkdir(parents=True)
    write_record(offload_folder(root) / "20260416T090450Z_upload_0123abcd.json", made)


def report(out: Path, reports: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``soak.py report`` does, in this process: another one would take seconds for its imports."""
    words = _words(out, reports, *arguments)
    with redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()) as complained:
        code = main(words)
    return subprocess.CompletedProcess(words, code, said.getvalue(), complained.getvalue())


def run_report(out: Path, reports: Path) -> subprocess.CompletedProcess[str]:
    """Run it as an operator does; a warning would be an error."""
    return subprocess.run(
        [sys.executable, "scripts/soak.py", *_words(out, reports)],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )  # fmt: skip


def _words(out: Path, reports: Path, *more: str) -> list[str]:
    return ["report", str(out), "--reports", str(reports), "--workers", "1", *more]
