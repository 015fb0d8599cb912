"""What a collector wrote last about a thing: how a run goes on where an earlier one ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.archive.tally import Span  # noqa: TC001 - msgspec reads it
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import EVENTS

if TYPE_CHECKING:
    from pathlib import Path


class _Manifest(msgspec.Struct, frozen=True):
    """What a manifest says about the event rows of its segment."""

    seq: Span | None
    events: dict[str, int] = {}


class _EventRow(msgspec.Struct, frozen=True):
    """What is read of an event row."""

    seq: int
    event: str
    detail: dict[str, Any]


_manifest = msgspec.json.Decoder(_Manifest)
_row = msgspec.json.Decoder(_EventRow)


def last_event(root: Path, collector_id: str, name: str) -> dict[str, Any] | None:
    """``detail`` of the newest sealed event row called *name*; ``None`` if there is none.

    Raises:
        ArchiveError: the row's segment is not here, or it or a manifest cannot be understood.
        StorageError: a file cannot be read.

    """
    newest: tuple[int, layout.Segment] | None = None
    for path, segment in layout.walk_manifests(root):
        if segment is None or (segment.feed, segment.collector_id) != (EVENTS, collector_id):
            continue
        with durable.naming(path, "read"):
            content = path.read_bytes()
        try:
            manifest = _manifest.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ArchiveError(f"{path}: expected a manifest: {error}") from error
        last_seq = manifest.seq.last if manifest.seq is not None else 0
        if manifest.events.get(name) and (newest is None or last_seq > newest[0]):
            newest = last_seq, segment
    return None if newest is None else _last_row(newest[1].sealed, name).detail


def _last_row(sealed: Path, name: str) -> _EventRow:
    if not sealed.exists():
        raise ArchiveError(f"{sealed}: expected the segment of a manifest, saw no file")
    try:
        rows = [_row.decode(line.text) for line in MemberScan(sealed).lines()]
        return max((row for row in rows if row.event == name), key=lambda row: row.seq)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ArchiveError(f"{sealed}: expected a {name} row: {error}") from error
