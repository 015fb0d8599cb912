"""This collector and the baselines: how a bench runs them, and what it reads of the rows that they wrote.

Everything that is counted is counted in the files.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec
import yaml

from bench.field import WINDOW_SECONDS, lead_seconds, run
from orderbooks_spider.clock import NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.field import Finished, Venue

HERE = Path(__file__).resolve().parent
SCRIPT = "scripts/collect_polymarket_orderbooks.py"
Row = TypeVar("Row")

WARM_UP_SECONDS = 2
"""The first seconds of a run tell nothing of lateness: discovery and new connections fall there."""


@dataclass(frozen=True)
class Load:
    """Who polls what: each of so many tokens every *interval* seconds, *batch* tokens a request."""

    tokens: int
    seconds: float
    interval: float = 1.0
    batch: int = 1


class Poll(msgspec.Struct):
    """What is read of a row of this collector."""

    due_ns: int
    sent_ns: int | None
    received_ns: int | None
    elapsed_ns: int | None
    result: str
    reason: str | None


@dataclass(frozen=True)
class Collected:
    """A run of this collector and its polls, in no order."""

    finished: Finished
    polls: list[Poll]
    segments: int
    file_bytes: int

    @property
    def settled(self) -> list[Poll]:
        """The polls that were due after the warm-up; those that the end of the run cut off are left out."""
        from_ns = min((poll.due_ns for poll in self.polls), default=0) + WARM_UP_SECONDS * NS
        return [poll for poll in self.polls if poll.due_ns >= from_ns and poll.reason != "shutdown"]

    @property
    def skips(self) -> Counter[str]:
        """Slots after the warm-up that were not polled, by reason."""
        return Counter(poll.reason or "" for poll in self.settled if poll.result == "skipped")


def collect(
    load: Load, where: Venue, *, block_seconds: float = 60, rotate_seconds: float = 3600, buckets: int = 20
) -> Collected:
    """Run the operator's script with a config for *load*, and read its archive."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        lead = lead_seconds(load.tokens)
        config = {
            "environment": "sandbox",
            "venue": {"gamma_url": where.url, "clob_url": where.url},
            # One pass finds all windows of the run.
            "discovery": {
                "windows": ["5m"],
                "interval_seconds": 3600,
                "horizon_seconds": lead + load.seconds + WINDOW_SECONDS,
            },
            "polling": {
                "mode": "book" if load.batch == 1 else "books",
                "interval_seconds": load.interval,
                "lead_seconds": lead,
                "linger_seconds": 0,
                "budget_fraction": 20,  # out of the way: 3,000 polls or 1,000 batches a second
                "batch_tokens": load.batch,
                "phase_buckets": buckets,
            },
            "archive": {
                "root": str(folder / "archive"),
                "block_seconds": block_seconds,
                "rotate_seconds": rotate_seconds,
                "min_free_bytes": 0,
            },
        }
        path = folder / "collector.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        words = [SCRIPT, "--config", str(path), "--seconds", str(load.seconds)]
        finished = run([sys.executable, *words], where, load.seconds)
        files = list((folder / "archive/raw/polymarket/books").rglob("*.jsonl.gz"))
        polls = [poll for file in files for poll in _rows(file, Poll)]
        return Collected(finished, polls, len(files), sum(file.stat().st_size for file in files))


class ScriptRow(msgspec.Struct):
    """A row of a baseline."""

    token_id: str | list[str]
    late_ms: float | None = None
    took_ms: float | None = None
    status: int | None = None
    body: str = ""


@dataclass(frozen=True)
class ScriptPoll:
    """What is kept of a row of a baseline."""

    late_ms: float
    took_ms: float
    books: int

    @classmethod
    def of(cls, row: ScriptRow) -> Self:
        """Count the books that came: none, the one, or as many as there are in the list."""
        books = 0
        if row.status == 200 and row.body:
            books = 1 if isinstance(row.token_id, str) else len(msgspec.json.decode(row.body))
        return cls(row.late_ms or 0.0, row.took_ms or 0.0, books)


@dataclass(frozen=True)
class Scripted:
    """A run of a baseline and its polls, in the order of their answers."""

    finished: Finished
    polls: list[ScriptPoll]
    file_bytes: int


def run_script(name: str, load: Load, where: Venue, *, gzip_level: int = 9, parts: int = 1) -> Scripted:
    """Run ``bench/baselines/<name>.py`` with the tokens that the collector would poll, and read its files."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ids = folder / "tokens.txt"
        ids.write_text("\n".join(where.tokens(load.tokens)), encoding="ascii")
        options = {
            "--url": where.url,
            "--tokens": ids,
            "--batch": load.batch,
            "--interval": load.interval,
            "--parts": parts,
            "--seconds": load.seconds,
            "--gzip-level": gzip_level,
            "--out": folder,
        }
        words = [str(word) for pair in options.items() for word in pair]
        command = [sys.executable, str(HERE / f"baselines/{name}.py"), *words]
        finished = run(command, where, load.seconds)
        files = sorted(folder.glob("*.jsonl.gz"))
        polls = [ScriptPoll.of(row) for file in files for row in _rows(file, ScriptRow)]
        return Scripted(finished, polls, sum(file.stat().st_size for file in files))


def _rows(file: Path, kind: type[Row]) -> Iterator[Row]:
    decode = msgspec.json.Decoder(kind).decode
    with gzip.open(file) as lines:
        yield from map(decode, lines)
