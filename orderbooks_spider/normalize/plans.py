"""What runs announced, kept beside the dataset: the ``plan`` and ``run_stop`` rows of an events segment.

Phase 2 needs them whenever an hour is made again, also after the raw segments have been offloaded.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from orderbooks_spider.archive import durable
from orderbooks_spider.archive.planned import PlanDetail, PlanEvent, RunStop
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.normalize.raw import place, read_members
from orderbooks_spider.normalize.tasks import Output

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "manifests/plans"
PLANS: Final = "plans"
_EVENTS: Final[dict[str, type[PlanDetail | RunStop]]] = {"plan": PlanDetail, "run_stop": RunStop}
_event = msgspec.json.Decoder(PlanEvent)
_events = msgspec.json.Decoder(list[PlanEvent])


def write_plans(out: Path, stem: str, path: Path) -> Output:
    """Keep the plan events of the sealed segment *path* under *out*.

    Raises:
        ArchiveError: a line is no event row.
        StorageError: it cannot be read, or the file cannot be written.

    """
    found: list[PlanEvent] = []
    for member, events in enumerate(read_members(path, _event)):
        for line, event in enumerate(events):
            if event.event not in _EVENTS:
                continue
            try:
                msgspec.convert(event.detail, _EVENTS[event.event])
            except msgspec.ValidationError as error:
                where = place(path, member, line)
                raise ArchiveError(f"{where}: {event.event}: {error}; run verify") from error
            found.append(event)
    content = msgspec.json.encode(found) + b"\n"
    file = f"{FOLDER}/{stem}.json"
    durable.atomic_write(out / file, content)
    digest = hashlib.sha256(content).hexdigest()
    return Output(table=PLANS, file=file, hour_ns=0, rows=len(found), bytes=len(content), sha256=digest)


def read_plans(out: Path, output: Output) -> list[PlanEvent]:
    """What :func:`write_plans` kept.

    Raises:
        ArchiveError: the file is not what was written.
        StorageError: it cannot be read.

    """
    path = out / output.file
    with durable.naming(path, "read"):
        content = path.read_bytes()
    try:
        return _events.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: expected plan events: {error}; delete it and run again") from error
