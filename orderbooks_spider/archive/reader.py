"""Rows of a feed in time order, from sealed segments and from open ones.

Lines of a file are sorted by token inside a block, and a late row can stand in a later block.  So the
reader takes blocks in the order of their earliest row, and gives a row out only when no block that
is still unread can hold an earlier one.  Memory: the blocks that overlap in time, usually two.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.journal import read_journal, row_key
from orderbooks_spider.archive.manifest import Member  # noqa: TC001 - msgspec reads it
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row and where it stands."""

    time_ns: int
    """Due, or observed, or happened."""
    token_id: str
    seq: int
    collector_id: str
    file: str
    """Relative to the root."""
    member: int
    line: int
    """*member* and *line* count from 0; a journal is one member."""
    text: bytes
    """The JSON object and its ``\\n``, as stored."""

    def value(self) -> dict[str, Any]:
        """The row as a dict, keys in stored order."""
        return msgspec.json.decode(self.text, type=dict[str, Any])

    @property
    def order(self) -> tuple[int, str, str, int]:
        """Time first; the rest makes the order the same for every reader."""
        return self.time_ns, self.token_id, self.collector_id, self.seq


class _Members(msgspec.Struct, frozen=True):
    """What the reader needs of a manifest."""

    members: list[Member]


@dataclass(frozen=True)
class _Block:
    """Rows that are read together."""

    first_ns: int
    last_ns: int
    load: Callable[[], list[StoredRow]]


_manifest = msgspec.json.Decoder(_Members)


def rows(
    root: Path,
    feed: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
    *,
    allow_absent: bool = False,
) -> Iterator[StoredRow]:
    """Every row with ``start_ns <= time < end_ns``, in time order.

    A segment whose manifest is here but whose file is not (offloaded) is an error, so that nobody
    reads across it unawares; with *allow_absent* it is left out.

    Raises:
        ArchiveError: a segment is absent, or is not what its manifest says.
        StorageError: a file cannot be read.

    """
    blocks = [
        block
        for block in _blocks(root, feed, allow_absent=allow_absent)
        if (end_ns is None or block.first_ns < end_ns) and (start_ns is None or block.last_ns >= start_ns)
    ]
    for row in _merge(sorted(blocks, key=lambda block: block.first_ns)):
        if (start_ns is None or row.time_ns >= start_ns) and (end_ns is None or row.time_ns < end_ns):
            yield row


def _merge(blocks: list[_Block]) -> Iterator[StoredRow]:
    heap: list[tuple[tuple[int, str, str, int], int, StoredRow, Iterator[StoredRow]]] = []
    unread = 0
    while heap or unread < len(blocks):
        while unread < len(blocks) and (not heap or blocks[unread].first_ns <= heap[0][2].time_ns):
            loaded = iter(sorted(blocks[unread].load(), key=lambda row: row.order))
            unread += 1
            _push(heap, unread, loaded)
        if heap:
            _, number, row, rest = heapq.heappop(heap)
            yield row
            _push(heap, number, rest)


def _push(
    heap: list[tuple[tuple[int, str, str, int], int, StoredRow, Iterator[StoredRow]]],
    number: int,
    rest: Iterator[StoredRow],
) -> None:
    row = next(rest, None)
    if row is not None:
        heapq.heappush(heap, (row.order, number, row, rest))


def _blocks(root: Path, feed: str, *, allow_absent: bool) -> Iterator[_Block]:
    open_segments: dict[str, layout.Segment] = {}
    for found in layout.walk_raw(root):
        names = found.segment
        if names is not None and names.feed == feed and not names.manifest.exists():
            open_segments[names.stem] = names
    for names in open_segments.values():
        yield from _open_blocks(names)
    for path, segment in layout.walk_manifests(root):
        if segment is None or segment.feed != feed or segment.stem in open_segments:
            continue
        if not segment.sealed.exists():
            if allow_absent:
                continue
            raise ArchiveError(f"{segment.sealed}: expected the segment of {path.name}, saw no file")
        yield from _sealed_blocks(segment)


def _sealed_blocks(names: layout.Segment) -> Iterator[_Block]:
    with durable.naming(names.manifest, "read"):
        content = names.manifest.read_bytes()
    try:
        members = _manifest.decode(content).members
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{names.manifest}: expected a manifest: {error}") from error
    for index, member in enumerate(members):
        yield _Block(member.first_ns, member.last_ns, _loader(names, index, member))


def _loader(names: layout.Segment, index: int, member: Member) -> Callable[[], list[StoredRow]]:
    def load() -> list[StoredRow]:
        scan = MemberScan(names.sealed, offset=member.offset)
        lines = list(scan.lines(limit_members=1))
        if scan.broken is not None or len(lines) != member.rows:
            raise ArchiveError(
                f"{names.sealed}: member {index}: expected {member.rows} rows, saw "
                f"{scan.broken or len(lines)}; run verify"
            )
        return [_row(names, names.file, index, line.number, line.text) for line in lines]

    return load


def _open_blocks(names: layout.Segment) -> Iterator[_Block]:
    """Whole rows of a segment that is not sealed; read at once, for its files may go any moment."""
    paths = sorted(names.folder.glob(f"{names.stem}.*.jsonl.journal"))
    journals = [(path, read_journal(path).rows) for path in paths if path.exists()]
    # After the journals: what left them meanwhile is found here, twice rather than not at all.
    path = names.part if names.part.exists() else names.sealed
    seen: set[int] = set()
    if path.exists():
        scan = MemberScan(path)
        members: dict[int, list[StoredRow]] = {}
        for line in scan.lines():
            file = layout.relative(names.root, path)
            row = _row(names, file, line.member, line.number, line.text) if row_key(line.text) else None
            if row is not None:
                members.setdefault(line.member, []).append(row)
        for index, loaded in members.items():
            if index < len(scan.spans):
                seen |= {row.seq for row in loaded}
                yield _in_memory(loaded)
    for journal, content in journals:
        file = layout.relative(names.root, journal)
        fresh = [
            _row(names, file, 0, number, text)
            for number, (key, text) in enumerate(content)
            if key.seq not in seen
        ]
        if fresh:
            yield _in_memory(fresh)


def _in_memory(loaded: list[StoredRow]) -> _Block:
    times = [row.time_ns for row in loaded]
    return _Block(min(times), max(times), lambda: loaded)


def _row(names: layout.Segment, file: str, member: int, line: int, text: bytes) -> StoredRow:
    key = row_key(text)
    if key is None:
        raise ArchiveError(f"{names.root / file}: member {member} line {line}: expected a row; run verify")
    return StoredRow(key.time_ns, key.token_id or "", key.seq, names.collector_id, file, member, line, text)
