"""Phase 1: one sealed segment in, its rows of the dataset out.  A task runs wherever it is sent.

The segment is believed only after its bytes have the digest of its manifest.  What cannot be used is
named and left out; the other segments do not notice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import ArchiveError, OrderbooksError
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.bodies import BodyReader
from orderbooks_spider.normalize.books import AT_ONCE, Books
from orderbooks_spider.normalize.files import PartitionedWriter, write_table
from orderbooks_spider.normalize.markets import read_markets
from orderbooks_spider.normalize.plans import write_plans
from orderbooks_spider.normalize.raw import read_members
from orderbooks_spider.normalize.recorded import Recorded, poll_row
from orderbooks_spider.normalize.tasks import Done, without_root

if TYPE_CHECKING:
    from orderbooks_spider.normalize.recorded import Polls
    from orderbooks_spider.normalize.tasks import Input, Output, Task


def normalise(task: Task) -> Done:
    """Do *task*; a segment that cannot be used becomes an error, not an exception."""
    path = Path(task.root) / task.input.file
    try:
        _check_digest(path, task.input)
        if task.input.feed == BOOKS:
            return _polls_and_books(task, path)
        if task.input.feed == EVENTS:
            outputs = [write_plans(Path(task.out), task.stem, path)]
        else:
            data = read_markets(path, task.input.file)
            outputs = write_table(Path(task.out), tables.MARKETS, task.stem, data)
    except OrderbooksError as error:
        return Done(input=task.input, error=without_root(str(error), task.root))
    return Done(input=task.input, outputs=outputs)


def _check_digest(path: Path, said: Input) -> None:
    with durable.naming(path, "read"), path.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != said.sha256:
        text = f"{path}: expected the sha256 of its manifest, {said.sha256}, saw {seen}"
        raise ArchiveError(f"{text}; restore it from a copy, or run verify")


def _polls_and_books(task: Task, path: Path) -> Done:
    recorded, bodies = Recorded(task.input.file), BodyReader()
    for rows in read_members(path, poll_row):
        recorded.add(rows)
        bodies.add(rows)
    polls = recorded.finish()
    outputs = _write_polls(task, polls)
    checks: Counter[str] = Counter()
    found = bodies.finish()
    if found is not None:
        books = Books(polls, found, task.input.interval_ns)
        with PartitionedWriter(Path(task.out), tables.BOOKS, task.stem) as writer:
            for part in books.tables():
                writer.write(part)
            outputs += writer.finish()
        checks = books.checks
    return Done(
        input=task.input, outputs=outputs, results=polls.results(), checks=dict(sorted(checks.items()))
    )


def _write_polls(task: Task, polls: Polls) -> list[Output]:
    with PartitionedWriter(Path(task.out), tables.POLLS, task.stem) as writer:
        for begin in range(0, len(polls.order), AT_ONCE):
            writer.write(polls.table(polls.order[begin : begin + AT_ONCE]))
        return writer.finish()
