"""What the baselines share: command line and schedule; and the two asyncio scripts, their loop and files.

Only the standard library, so that a script's memory and start are its HTTP client's and not ours.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    Fetch = Callable[[list[str]], Awaitable[tuple[int, str]]]
    """Token ids to the answer's status and text."""
    PollOne = Callable[..., Coroutine[Any, Any, None]]

WORKERS = 8
"""Requests at once where there is no interval; more make no script faster here, and httpx slower."""
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Job:
    """What a script is asked to do; ``interval`` 0: as fast as it can."""

    url: str
    groups: list[list[str]]
    """Token ids; each group is one request."""
    interval: float
    parts: int
    """The interval is cut into so many parts, each with its share of the tokens."""
    seconds: float
    out: Path
    gzip_level: int

    @property
    def batched(self) -> bool:
        """Whether requests are ``POST /books`` for many tokens, or ``GET /book`` for one."""
        return len(self.groups[0]) > 1


def job() -> Job:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="where the venue is")
    parser.add_argument("--tokens", type=Path, required=True, help="file with a token id a line")
    parser.add_argument("--batch", type=int, default=1, help="tokens a request")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between polls; 0: no pause")
    parser.add_argument("--parts", type=int, default=1, help="spread the tokens over the interval")
    parser.add_argument("--seconds", type=float, required=True, help="how long to poll")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--gzip-level", type=int, default=9, help="default 9, as Python's")
    given = parser.parse_args()
    tokens = given.tokens.read_text(encoding="ascii").split()
    groups = [tokens[start : start + given.batch] for start in range(0, len(tokens), given.batch)]
    return Job(
        url=given.url,
        groups=groups,
        interval=given.interval,
        parts=given.parts,
        seconds=given.seconds,
        out=given.out,
        gzip_level=given.gzip_level,
    )


class Rows:
    """Rows as JSON Lines, a gzip file an hour."""

    def __init__(self, folder: Path, level: int) -> None:
        self._folder = folder
        self._level = level
        self._hour = ""
        self._file: TextIO | None = None

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; in a new hour to a new file."""
        hour = row["time"][:13]
        if self._file is None or hour != self._hour:
            self.close()
            path = self._folder / f"books_{hour}.jsonl.gz"
            self._file = gzip.open(path, "at", self._level, encoding="utf-8")  # noqa: SIM115 - open for an hour
            self._hour = hour
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()


def beats(job: Job, begin: float) -> Iterator[tuple[float, list[list[str]]]]:
    """When each part is due (monotonic), and its groups; the two tokens of a market stay together."""
    for beat in itertools.count():
        due = begin + beat * job.interval / job.parts
        if due >= begin + job.seconds:
            return
        part = beat % job.parts
        yield due, [group for number, group in enumerate(job.groups) if number // 2 % job.parts == part]


async def poll(job: Job, fetch: Fetch, errors: tuple[type[Exception], ...]) -> None:
    """Poll all groups for so long; a poll that raises one of *errors* is a row as well."""
    rows = Rows(job.out, job.gzip_level)

    async def poll_one(tokens: list[str], due: float | None = None) -> None:
        sent = time.monotonic()
        row: dict[str, Any] = {"time": "", "token_id": tokens[0] if len(tokens) == 1 else tokens}
        if due is not None:
            row["late_ms"] = (sent - due) * 1000
        try:
            row["status"], row["body"] = await fetch(tokens)
        except errors as error:
            row["error"] = f"{type(error).__name__}: {error}"
        row["took_ms"] = (time.monotonic() - sent) * 1000
        row["time"] = datetime.now(UTC).isoformat()
        rows.write(row)

    try:
        await (_on_time(job, poll_one) if job.interval else _at_full_speed(job, poll_one))
    finally:
        rows.close()


async def _on_time(job: Job, poll_one: PollOne) -> None:
    """Poll each group when it is due; one that still waits for its answer sits this one out."""
    latest: dict[str, asyncio.Task[None]] = {}
    for due, groups in beats(job, time.monotonic()):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        for group in groups:
            last = latest.get(group[0])
            if last is None or last.done():
                latest[group[0]] = asyncio.create_task(poll_one(group, due))
    await asyncio.gather(*latest.values())


async def _at_full_speed(job: Job, poll_one: PollOne) -> None:
    """Several workers, each with its next poll as soon as it has an answer."""
    until = time.monotonic() + job.seconds
    turn = itertools.cycle(job.groups)

    async def work() -> None:
        while time.monotonic() < until:
            await poll_one(next(turn))

    await asyncio.gather(*(work() for _ in range(WORKERS)))
