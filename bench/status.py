#!/usr/bin/env python3
"""What does a look at an archive cost each minute, and what does the health file cost the collector?

The look: an hour of polls that is still open, the worst case, then the same hour sealed.
The beat: a run that follows many tokens writes its health file twenty times as often as it does in life,
beside a watch on how late the event loop wakes; and the same without it.

Examples:
  python bench/status.py
  python bench/status.py --quick --json status.json

Exit code: 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import report
from bench.hours import HOUR_SECONDS, START_NS, answered, write_hours
from orderbooks_spider.archive.layout import MANIFEST
from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.config import Archive, Config
from orderbooks_spider.extensions.health import Health
from orderbooks_spider.loop_lag import LoopLag
from orderbooks_spider.run import Run
from orderbooks_spider.status.look import look

if TYPE_CHECKING:
    from orderbooks_spider.items import PollItem

TOKENS_OF_A_VPS = 16
"""About what all BTC windows take at once."""


class _Then(SystemClock):
    """The host's clock with another date."""

    def wall_ns(self) -> int:
        """A second behind the hour."""
        return START_NS + (HOUR_SECONDS + 1) * NS


def open_again(root: Path) -> None:
    """Take the seal off the books segment: the hour is still being written."""
    (sealed,) = root.rglob("*books*.jsonl.gz")
    (manifest,) = root.rglob(f"*books*{MANIFEST}")
    manifest.rename(root / "manifest.away")
    sealed.rename(sealed.with_name(f"{sealed.name}.part"))


def seal_again(root: Path) -> None:
    """Undo :func:`open_again`."""
    (part,) = root.rglob("*.part")
    sealed = part.with_name(part.name.removesuffix(".part"))
    part.rename(sealed)
    place = root / "manifests" / sealed.parent.relative_to(root / "raw")
    (root / "manifest.away").rename(place / sealed.name.replace(".jsonl.gz", MANIFEST))


def look_costs(root: Path) -> dict[str, Any]:
    """Seconds of processor time, and what was counted."""
    begin = time.process_time()
    (collector,) = look(root, _Then()).collectors
    took = time.process_time() - begin
    return {"cpu_seconds": took, "rows": sum(collector.spans["1 h"].results.values())}


async def beat_costs(tokens: int, seconds: float, *, beats: bool) -> dict[str, Any]:
    """How late the loop wakes with or without beats, and the longest that one held the loop."""
    make = answered(min(tokens, 32))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "state").mkdir()
        clock = SystemClock()
        run = Run(Config(environment="sandbox", archive=Archive(root=folder)), clock, clock.wall_ns())
        now_ns = clock.wall_ns()
        for token in range(tokens):
            item: PollItem = make(token % 32, 0)
            item.token_id, item.due_ns, item.sent_ns = f"{token:077}", now_ns, now_ns + token
            run.pulse.add(item)
        health = Health(run)
        lag = LoopLag(clock)
        watch = asyncio.create_task(lag.watch())
        until = time.monotonic() + seconds
        begin, count = time.process_time(), 0
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            if beats:
                await health._beat()  # noqa: SLF001 - what the extension does every ten seconds
                count += 1
        cpu = time.process_time() - begin
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
    return {"tokens": tokens, "beats": count, "cpu_ms": cpu * 1e3, **lag.take()}


def main() -> int:
    """Measure both."""
    parser = report.parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller hour and shorter watches")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": report.print_machine()}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tokens = 2 if arguments.quick else TOKENS_OF_A_VPS
        text_bytes = write_hours(root, tokens, 1, answered(tokens))
        looks = {}
        for state, change in (("open", open_again), ("sealed", seal_again)):
            change(root)
            looks[state] = look_costs(root) | {"text_bytes": text_bytes}
    result["looks"] = looks
    lines = [
        [name, f"{found['rows']:,}", f"{text_bytes / 1e6:,.0f}", f"{found['cpu_seconds']:.2f}"]
        for name, found in looks.items()
    ]
    report.print_table(["an hour of polls", "rows of 1 h", "MB text", "CPU s a look"], lines)
    seconds = 2.0 if arguments.quick else 10.0
    result["beats"] = [
        asyncio.run(beat_costs(count, seconds, beats=beats))
        for count in (TOKENS_OF_A_VPS, 2000)
        for beats in (False, True)
    ]
    report.print_table(
        ["tokens followed", "beats", "CPU ms in all", "loop lag p50 ms", "p99 ms", "max ms"],
        [
            [f"{found['tokens']:,}", f"{found['beats']}", f"{found['cpu_ms']:.0f}"]
            + [f"{(found[key] or 0) / 1e6:.2f}" for key in ("p50_ns", "p99_ns", "max_ns")]
            for found in result["beats"]
        ],
    )
    report.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
