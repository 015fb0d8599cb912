#!/usr/bin/env python3
"""How fast does verify read a large segment, and how much memory does it take?

Makes one sealed hour of at least 1 GB of text through the archive's own functions, then runs
scripts/verify_archive.py on it as a child and watches its peak memory.  Two cases: answered polls
(large rows), and skipped polls only (the most rows that a gigabyte can hold).

Examples:
  python bench/verify.py
  python bench/verify.py --gigabytes 0.1 --json verify.json

Exit codes: 0 below 200 MB, 1 above or not verified clean.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from orderbooks_spider.archive.layout import Segment
from orderbooks_spider.archive.manifest import Grid
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.archive.sealer import BlockJob, SealInfo, SealJob, run_job
from orderbooks_spider.archive.segment import BlockInfo
from orderbooks_spider.clock import NS, compact_utc, iso_utc, parse_utc
from orderbooks_spider.config import Polling
from orderbooks_spider.items import BOOKS, PollItem
from orderbooks_spider.sandbox.books import MovingBooks
from orderbooks_spider.sandbox.markets import make_market
from orderbooks_spider.sandbox.noise import Spot
from orderbooks_spider.sandbox.windows import SERIES, window_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERIFY = Path(__file__).resolve().parents[1] / "scripts/verify_archive.py"
LIMIT_MB = 200
START_NS = parse_utc("2026-04-16T08:00:00Z")
BLOCKS, BLOCK_SECONDS, WINDOW_SECONDS = 60, 60, 300


def answered(tokens: int) -> Callable[[int, int], PollItem]:
    """Polls with the books of the sandbox; each market's five minutes are played over and over."""
    books = MovingBooks(Spot(1))
    windows = [window_at("5m", 1_790_000_100 + number * WINDOW_SECONDS) for number in range(tokens // 2)]
    markets = [make_market(1, SERIES[0], window) for window in windows]
    texts = [
        [
            (books.text(market, side, market.start_ns + second * NS) or b"").decode()
            for second in range(WINDOW_SECONDS)
        ]
        for market in markets
        for side in (0, 1)
    ]
    ids = [msgspec.json.decode(found[0], type=dict[str, Any]) for found in texts]

    def make(token: int, second: int) -> PollItem:
        due_ns = _due(token, second)
        item = _poll(ids[token]["asset_id"], ids[token]["market"], due_ns, "ok")
        item.sent_ns, item.received_ns, item.elapsed_ns = due_ns + 900_000, due_ns + 45_000_000, 44_100_000
        item.collected_at_utc, item.status = iso_utc(item.received_ns), 200
        item.method, item.url, item.params = "GET", "http://127.0.0.1/book", {"token_id": item.token_id}
        item.headers = {"server": "sandbox", "content-type": "application/json"}
        item.request_id = f"bench-{token}-{second}"
        item.body = texts[token][second % WINDOW_SECONDS]
        return item

    return make


def skipped(token: int, second: int) -> PollItem:
    """A poll that was not sent: the smallest row."""
    item = _poll(str(10**76 + token), f"0x{token // 2:064x}", _due(token, second), "skipped")
    item.reason = "budget"
    return item


def _due(token: int, second: int) -> int:
    return START_NS + second * NS + token // 2 % 20 * NS // 20


def _poll(token_id: str, condition_id: str, due_ns: int, result: str) -> PollItem:
    return PollItem(
        run_id="bench",
        collector_id="c0",
        slot=due_ns // NS,
        due_ns=due_ns,
        result=result,
        market_slug=f"btc-updown-5m-{condition_id[2:12]}",
        condition_id=condition_id,
        token_id=token_id,
        outcome="Up",
        window_start="2026-04-16T08:00:00Z",
        window_end="2026-04-16T09:00:00Z",
        collector="orderbooks_spider",
        collector_version="0.1.0",
        environment="sandbox",
    )


def write_segment(root: Path, tokens: int, make: Callable[[int, int], PollItem]) -> int:
    """One sealed hour of *tokens*, in blocks of a minute; returns its bytes of text."""
    names = Segment(root, BOOKS, compact_utc(START_NS), "c0", "bench")
    names.folder.mkdir(parents=True)
    manifest = RunManifest(
        run_id="bench",
        collector_id="c0",
        environment="sandbox",
        started_utc=iso_utc(START_NS),
        grid=Grid.of(Polling()),
        collector="orderbooks_spider",
        collector_version="0.1.0",
    )
    run = RunFile.create(root, manifest, compact_utc(START_NS))
    size = seq = 0
    encode = msgspec.json.Encoder().encode

    def rows(block: int) -> Iterator[bytes]:
        nonlocal seq
        for second in range(block * BLOCK_SECONDS, (block + 1) * BLOCK_SECONDS):
            for token in range(tokens):
                item = make(token, second)
                seq += 1
                item.seq = seq
                yield encode(item) + b"\n"

    where: dict[str, Any] = {"root": str(root), "stem": names.stem}
    written = 0
    for block in range(BLOCKS):
        journal = names.journal(block + 1)
        with journal.open("wb") as file:
            size += sum(file.write(row) for row in rows(block))
        made = run_job(BlockJob(journals=[journal.name], expected_bytes=written, **where))
        assert isinstance(made, BlockInfo)
        written = made.part_bytes
    job = SealJob(
        journals=[],
        sealed_at_utc=iso_utc(START_NS),
        previous_manifest_sha256=None,
        context=manifest.context(),
        expected_bytes=written,
        **where,
    )
    info = run_job(job)
    assert isinstance(info, SealInfo)
    run.add(info)
    run.save()
    return size


def watch(root: Path) -> tuple[int, float, float]:
    """Exit code of verify, its seconds, and its peak memory in MB."""
    command = [sys.executable, str(VERIFY), str(root)]
    begin, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        # Not RUSAGE_CHILDREN: it counts what this process held when it forked.
        status = Path(f"/proc/{child.pid}/status")
        while child.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
            peak = max(peak, int(found[1])) if found else peak
            time.sleep(0.02)
    return child.returncode, time.perf_counter() - begin, peak * 1024 / 1e6


def main() -> int:
    """Make and verify both segments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.0, metavar="N", help="of text, at least")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    result, fine = {}, True
    print(f"{'case':<12}{'rows':>12}{'MB text':>10}{'MB file':>10}{'seconds':>10}{'MB/s':>8}{'peak MB':>10}")
    seconds = BLOCKS * BLOCK_SECONDS
    for name, row_bytes in (("answered", 4_950), ("skipped", 780)):
        tokens = max(2, 2 * round(arguments.gigabytes * 1.1e9 / row_bytes / seconds / 2))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            text = write_segment(root, tokens, answered(tokens) if name == "answered" else skipped)
            (sealed,) = root.rglob("*.jsonl.gz")
            file = sealed.stat().st_size
            code, took, peak = watch(root)
        fine &= code == 0 and peak < LIMIT_MB
        result[name] = {"rows": tokens * seconds, "text_bytes": text, "file_bytes": file, "exit_code": code}
        result[name] |= {"seconds": round(took, 1), "mb_per_second": round(text / 1e6 / took, 1)}
        result[name] |= {"peak_mb": round(peak, 1)}
        speed = f"{took:>10.1f}{text / 1e6 / took:>8.1f}{peak:>10.1f}"
        print(f"{name:<12}{tokens * seconds:>12,}{text / 1e6:>10.1f}{file / 1e6:>10.1f}{speed}")
        if code != 0:
            print(f"verify ended with {code}", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
