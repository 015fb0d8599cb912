"""What a crash left is made whole: journals and ``.part`` files sealed, missing manifests written.

Runs under the collector's lock, at its start or from ``scripts/recover_archive.py``.  Killed anywhere
it can be run again; a second run does nothing.  Only journals are ever removed, and only when their
rows stand in a flushed member (rules A6, A15).
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from orderbooks_spider.archive import durable, layout, state
from orderbooks_spider.archive.inherited import JOURNAL_BYTES, Inherited, look
from orderbooks_spider.archive.journal import read_journal, row_key
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.archive.offloaded import read_offloaded
from orderbooks_spider.archive.runs import RunFile, SealedSegment
from orderbooks_spider.archive.sealer import BlockJob, SealInfo, SealJob, orphan, run_job
from orderbooks_spider.archive.segment import keep_beside
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import BOOKS, FEEDS

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.archive.manifest import ManifestContext
    from orderbooks_spider.clock import Clock

NO_WORD = "not recorded: the run ended without a word"

What = Literal[
    "sealed", "manifest_written", "set_aside", "orphaned", "run_closed", "refused", "no_file", "foreign"
]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that recovery did, or found and left alone."""

    what: What
    file: str
    """Relative to the archive root."""
    detail: str
    rows: int = 0
    feed: str | None = None
    changed: bool = True
    """False: reported only."""


@dataclass
class _Leftover:
    """The files of a segment that is not both sealed and described."""

    names: layout.Segment
    journals: dict[int, Path] = field(default_factory=dict)
    first_seq: int = 0

    @property
    def ordered_journals(self) -> list[Path]:
        return [self.journals[block] for block in sorted(self.journals)]

    @property
    def is_here(self) -> bool:
        """Whether anything of it is left to seal or to describe."""
        return bool(self.journals) or self.names.part.exists() or self.names.sealed.exists()


def recover(root: Path, collector_id: str, clock: Clock) -> list[Action]:
    """Make the archive of one collector whole; the caller holds its lock.

    Raises:
        StorageError: the disk refused; run it again when it does not.

    """
    return _recover(root, collector_id, clock, [])


def take_over(root: Path, collector_id: str, clock: Clock) -> tuple[list[Action], list[Inherited]]:
    """As :func:`recover`, but leave the polls that need no repair to the next run, which polls meanwhile.

    That run seals them in their order before anything of its own, and then closes the runs.

    Raises:
        StorageError: the disk refused; run it again when it does not.

    """
    inherited: list[Inherited] = []
    return _recover(root, collector_id, clock, inherited, put_off=True), inherited


def _recover(
    root: Path, collector_id: str, clock: Clock, inherited: list[Inherited], *, put_off: bool = False
) -> list[Action]:
    actions: list[Action] = []
    _set_bad_manifests_aside(root, collector_id, actions)
    leftovers = _find(root, collector_id, actions)
    heads = state.open_feeds(root, collector_id)
    if put_off:
        inherited += _inheritable(
            [item for item in leftovers if item.names.feed == BOOKS], heads[BOOKS].next_seq
        )
        known = {item.names.stem for item in inherited}
        leftovers = [item for item in leftovers if item.names.stem not in known]
    for leftover in leftovers:
        leftover.first_seq = _first_seq(leftover)
    broken: set[str] = set()  # feeds with a segment that stays without manifest: what follows is not judged
    for leftover in sorted(leftovers, key=lambda item: (item.names.feed, item.first_seq)):
        head = heads[leftover.names.feed]
        if 0 < leftover.first_seq < head.next_seq and not leftover.names.manifest.exists():
            what = (
                f"its rows begin with seq {leftover.first_seq}, but manifests reach seq {head.next_seq - 1}: "
                "it cannot be linked any more; restore its manifest from a copy"
            )
            file = next(iter(leftover.names.files_on_disk()))
            actions.append(_action("refused", root, file, what, changed=False))
            continue
        if leftover.names.feed not in broken:
            _set_unlinked_aside(leftover, head.next_seq, actions)
        if not leftover.is_here:
            continue
        sealed = _seal(leftover, head.manifest_sha256, clock, actions)
        if sealed is None and not leftover.names.manifest.exists():
            broken.add(leftover.names.feed)
        if sealed is not None and sealed.rows:
            heads[leftover.names.feed] = state.FeedHead(sealed.last_seq + 1, sealed.manifest_sha256)
    return actions if inherited else [*actions, *close_runs(root, collector_id)]


def collectors(root: Path) -> list[str]:
    """Every collector id that has files here."""
    found = {item.segment.collector_id for item in layout.walk_raw(root) if item.segment is not None}
    found |= {segment.collector_id for _, segment in layout.walk_manifests(root) if segment is not None}
    return sorted(found)


def _find(root: Path, collector_id: str, actions: list[Action]) -> list[_Leftover]:
    leftovers: dict[str, _Leftover] = {}
    for found in layout.walk_raw(root):
        names = found.segment
        if found.kind == "foreign":
            actions.append(_action("foreign", root, found.path, "not a name of this archive", changed=False))
        if names is None or names.collector_id != collector_id or names.feed not in FEEDS:
            continue
        if found.kind != "sealed" or not names.manifest.exists():
            leftover = leftovers.setdefault(names.stem, _Leftover(names))
            if found.kind == "journal" and found.block is not None:
                leftover.journals[found.block] = found.path
    absent = [
        segment
        for _, segment in layout.walk_manifests(root)
        if segment is not None and segment.collector_id == collector_id and not segment.sealed.exists()
    ]
    # A record that cannot be read is verify's to name; it must not keep the collector from its start.
    purged = read_offloaded(root, lambda _path, _error: None).purged if absent else {}
    actions += [
        _action("no_file", root, segment.manifest, "its segment is not here", changed=False)
        for segment in absent
        if segment.file not in purged
    ]
    return list(leftovers.values())


def _inheritable(leftovers: list[_Leftover], next_seq: int) -> list[Inherited]:
    """The leftovers of a feed, oldest first, if none of them needs more than its seal."""
    looks = [look(item.names, item.ordered_journals, _note(item)) for item in leftovers]
    found = sorted((item for item in looks if item is not None), key=lambda item: item.first_seq)
    for item in found:
        if item.first_seq != next_seq:
            return []
        next_seq = item.next_seq
    if len(found) < len(leftovers):
        return []
    for item in found:  # no later row may outlast them in a power loss (A2)
        for path in item.journals:
            durable.fsync_file(path)
        durable.fsync_folder(item.names.folder)
    return found


def _first_seq(leftover: _Leftover) -> int:
    """The lowest seq of its rows; 0 when it has none."""
    seqs = [key.seq for path in leftover.ordered_journals for key, _ in read_journal(path).rows]
    for path in (leftover.names.part, leftover.names.sealed):
        if path.exists():
            lines = MemberScan(path).lines()
            seqs += [key.seq for line in lines if (key := row_key(line.text)) is not None]
    return min(seqs, default=0)


def _set_unlinked_aside(leftover: _Leftover, next_seq: int, actions: list[Action]) -> None:
    """Rule A2: a power loss may take rows and leave later ones, which nothing can link any more (A11).

    What remains is what a kill some moments earlier would have left.
    """
    names = leftover.names
    if names.sealed.exists():
        return
    lines = MemberScan(names.part).lines() if names.part.exists() else ()
    here = {key.seq for line in lines if (key := row_key(line.text)) is not None}
    if max(here, default=0) >= next_seq + len(here):
        return  # blocks are flushed in order, so no power loss left this: verify says what is missing
    seqs = {path: [key.seq for key, _ in read_journal(path).rows] for path in leftover.ordered_journals}
    here = here.union(*seqs.values())
    lost = next(seq for seq in itertools.count(next_seq) if seq not in here)
    reason = f"rows behind a gap: seq {lost} is not here, as after a power loss, and they cannot be linked"
    for block, path in sorted(leftover.journals.items()):
        if max(seqs[path], default=0) > lost:
            _report_aside(leftover, [_cut_behind(path, lost, reason)], actions)
            if not path.exists():
                del leftover.journals[block]


def _cut_behind(journal: Path, seq: int, reason: str) -> str:
    """Keep the rows behind *seq* beside, and take them out of *journal*; the name of the copy."""
    beyond = next(line for key, line in read_journal(journal).rows if key.seq > seq)
    with durable.naming(journal, "read"):
        content = journal.read_bytes()
    offset = content.index(beyond)
    if offset == 0:
        return orphan(journal, reason)
    name = keep_beside(journal, content[offset:], offset, reason)
    durable.truncate(journal, offset)
    return name


def _seal(leftover: _Leftover, previous: str | None, clock: Clock, actions: list[Action]) -> SealInfo | None:
    """Seal one leftover, or write the manifest of a sealed one."""
    names, root = leftover.names, leftover.names.root
    was_sealed = names.sealed.exists()
    if was_sealed:
        _clear_beside_sealed(leftover, actions)
        if names.manifest.exists():
            return None
        note = "its manifest was missing"
    else:
        note = _note(leftover)
        _append_groups(leftover, actions)
    job = SealJob(
        root=str(root),
        stem=names.stem,
        journals=[],
        sealed_at_utc=iso_utc(clock.wall_ns()),
        previous_manifest_sha256=previous,
        context=context_of(names),
        recovered=[note, *(f"set aside {name}" for name in _set_aside_names(leftover))],
    )
    try:
        info = run_job(job)
    except ArchiveError as error:
        # A sealed file that cannot be read is kept under its name: verify says what is wrong with it.
        actions.append(_action("refused", root, names.sealed, str(error), changed=False))
        return None
    assert isinstance(info, SealInfo)
    _report_aside(leftover, info.set_aside, actions)
    if info.rows == 0:
        actions.append(_action("orphaned", root, names.part, "an open segment without a whole row"))
        return None
    what: What = "manifest_written" if was_sealed else "sealed"
    actions.append(_action(what, root, names.sealed, note, rows=info.rows, feed=names.feed))
    return info


def _append_groups(leftover: _Leftover, actions: list[Action]) -> None:
    """Journals into members, some at once; one that contradicts the rest is set aside whole."""
    group: list[Path] = []
    size = 0
    for journal in leftover.ordered_journals:
        length = journal.stat().st_size
        if group and size + length > JOURNAL_BYTES:
            _append(leftover, group, actions)
            group, size = [], 0
        group.append(journal)
        size += length
    # Also without journals: the .part itself may end in a torn member.
    _append(leftover, group, actions)


def _append(leftover: _Leftover, journals: list[Path], actions: list[Action]) -> None:
    names = leftover.names
    job = BlockJob(root=str(names.root), stem=names.stem, journals=[path.name for path in journals])
    try:
        info = run_job(job)
    except ArchiveError as error:
        if len(journals) == 1:
            name = orphan(journals[0], str(error))
            actions.append(_action("orphaned", names.root, names.folder / name, str(error)))
            return
        for journal in journals:
            _append(leftover, [journal], actions)
        return
    assert not isinstance(info, SealInfo)
    _report_aside(leftover, info.set_aside, actions)


def _clear_beside_sealed(leftover: _Leftover, actions: list[Action]) -> None:
    """Journals beside a sealed file go when it holds their rows; anything else is set aside."""
    names, reason = leftover.names, "the segment is sealed already and has other rows"
    unusable: list[Path] = [names.part] if names.part.exists() else []
    if leftover.journals:
        digests = {hashlib.sha256(line.text).digest() for line in MemberScan(names.sealed).lines()}
        for journal in leftover.ordered_journals:
            content = read_journal(journal)
            known = all(hashlib.sha256(line).digest() in digests for _, line in content.rows)
            if known and not content.torn:
                durable.fsync_file(names.sealed)
                durable.unlink(journal)
                durable.fsync_folder(names.folder)
            else:
                unusable.append(journal)
    moved = (names.folder / orphan(path, reason) for path in unusable)
    actions.extend(_action("orphaned", names.root, path, reason) for path in moved)


def _set_bad_manifests_aside(root: Path, collector_id: str, actions: list[Action]) -> None:
    """A manifest that cannot be read is renamed, so that it can be written again or reported."""
    for path, segment in layout.walk_manifests(root):
        if segment is None or segment.collector_id != collector_id:
            continue
        try:
            state.read_link(path)
        except ArchiveError as error:
            actions.append(_action("orphaned", root, path.parent / orphan(path, str(error)), str(error)))


def context_of(names: layout.Segment) -> ManifestContext | None:
    """What the run manifest says about the run of a segment; ``None`` when it is not there."""
    pattern = f"*_{names.collector_id}_{names.run_id}.json"
    for path in sorted(layout.runs_folder(names.root).glob(pattern)):
        try:
            return RunFile.read(path).manifest.context()
        except ArchiveError:
            continue
    return None


def close_runs(root: Path, collector_id: str, current_run_id: str | None = None) -> list[Action]:
    """Give runs that stopped without a word their full list of segments and a stop reason.

    Raises:
        ArchiveError: a manifest cannot be understood.
        StorageError: the disk refused.

    """
    actions: list[Action] = []
    by_run: dict[str, list[SealedSegment]] = {}
    for link, sha256 in state.links(root, collector_id):
        entry = SealedSegment(link.feed, link.file, link.rows, link.sha256, sha256)
        by_run.setdefault(link.run_id, []).append(entry)
    for path in sorted(layout.runs_folder(root).glob(f"*_{collector_id}_*.json")):
        try:
            run = RunFile.read(path)
        except ArchiveError as error:
            actions.append(_action("foreign", root, path, str(error), changed=False))
            continue
        manifest = run.manifest
        known = {entry.file for entry in manifest.segments}
        missing = [entry for entry in by_run.get(manifest.run_id, []) if entry.file not in known]
        silent = manifest.stopped_utc is None and manifest.stop_reason is None
        if manifest.run_id == current_run_id or not (missing or silent):
            continue
        manifest.segments = [*manifest.segments, *missing]
        manifest.stop_reason = NO_WORD if silent else manifest.stop_reason
        run.save()
        actions.append(_action("run_closed", root, path, manifest.stop_reason or "segments added"))
    return actions


def _note(leftover: _Leftover) -> str:
    parts = ["its .part"] if leftover.names.part.exists() else []
    count = len(leftover.journals)
    parts += [f"{count} journal{'s' if count > 1 else ''}"] if count else []
    return f"sealed after a crash, from {' and '.join(parts) or 'nothing'}"


def _set_aside_names(leftover: _Leftover) -> list[str]:
    """Torn and unusable pieces that lie beside, from this or a former attempt."""
    pattern = f"{leftover.names.stem}.*"
    names = (path.name for path in sorted(leftover.names.folder.glob(pattern)))
    return [name for name in names if name.endswith((layout.TORN, layout.ORPHAN))]


def _report_aside(leftover: _Leftover, files: list[str], actions: list[Action]) -> None:
    for name in files:
        reason = "bytes that are no whole row or member; the reason lies beside"
        actions.append(_action("set_aside", leftover.names.root, leftover.names.folder / name, reason))


def sealed_action(inherited: Inherited, rows: int) -> Action:
    """What recovery would have said of a segment that the next run has sealed."""
    names = inherited.names
    return _action("sealed", names.root, names.sealed, inherited.note, rows=rows, feed=names.feed)


def _action(  # noqa: PLR0913 - a flat record
    what: What,
    root: Path,
    path: Path,
    detail: str,
    *,
    rows: int = 0,
    feed: str | None = None,
    changed: bool = True,
) -> Action:
    file = layout.relative(root, path)
    return Action(what=what, file=file, detail=detail, rows=rows, feed=feed, changed=changed)
