"""What should be at the remote and is not proven there: read from the archive, nothing is asked or sent.

Sealed segments with their manifests; what is needed to verify them elsewhere (``SHA256SUMS``, run manifests);
and the mark that says live or sandbox.  Files that a collector still writes are never touched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.manifest import read_manifest
from orderbooks_spider.archive.members import CHUNK_BYTES
from orderbooks_spider.archive.offloaded import REPLACED, Finding, Kind, Offloaded
from orderbooks_spider.archive.root import MARKER
from orderbooks_spider.archive.state import newest_heads
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.archive.layout import Segment
    from orderbooks_spider.archive.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that the remote should hold, with the checksums that it must have there."""

    file: str
    kind: Kind
    size: int
    sha256: str
    md5: str
    about: str | None = None
    """Of a manifest: the file of its segment."""
    content: bytes | None = None
    """Of files that the collector replaces: what is sent is what was read here."""


@dataclass
class Plan:
    """What to send, in three steps, and what cannot be sent."""

    environment: str | None = None
    marker: list[Wanted] = field(default_factory=list)
    segments: list[Wanted] = field(default_factory=list)
    manifests: list[Wanted] = field(default_factory=list)
    companions: list[Wanted] = field(default_factory=list)
    proven_segments: int = 0
    """Proven at this destination by an earlier run, purged ones included."""
    problems: list[Finding] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> list[Wanted]:
        """Everything that is not proven yet."""
        return [*self.marker, *self.segments, *self.manifests, *self.companions]


def make_plan(root: Path, destination: str, known: Offloaded) -> Plan:
    """Read names, manifests, and the segments that are not proven at *destination*.

    Raises:
        ArchiveError: it mixes live and sandbox evidence.
        StorageError: something there cannot be read.

    """
    planner = _Planner(root, destination, known)
    planner.add_segments()
    # After the manifests: a segment that is sealed meanwhile is named by these, and sent next time.
    planner.add_companions()
    return planner.plan


class _Planner:
    """Builds one plan."""

    def __init__(self, root: Path, destination: str, known: Offloaded) -> None:
        self.plan = Plan()
        self._root = root
        self._destination = destination
        self._known = known
        self._sums: set[Path] = set()

    def add_segments(self) -> None:
        """Sealed segments with their manifests."""
        environments, links = set(), []
        for path, segment in layout.walk_manifests(self._root):
            if segment is None:
                continue  # foreign or set aside: verify names it
            try:
                manifest, sha256 = read_manifest(path)
            except ArchiveError as error:
                self.plan.problems.append(_unreadable(layout.relative(self._root, path), error))
                continue
            environments.add(manifest.environment)
            last_seq = manifest.seq.last if manifest.seq is not None else 0
            links.append((f"{segment.feed}/{segment.collector_id}", last_seq, sha256))
            self._sums.add(segment.sums)
            self._add_segment(segment, manifest)
        if len(environments) > 1:
            raise ArchiveError(
                f"{self._root}: expected live or sandbox evidence, saw both: separate them (A16)"
            )
        self.plan.environment = environments.pop() if environments else None
        self.plan.heads = newest_heads(links)

    def _add_segment(self, segment: Segment, manifest: Manifest) -> None:
        known, sha256 = self._known, manifest.sha256
        purged = known.purged_copy(segment.file, sha256) is not None and not segment.sealed.exists()
        # What was purged after an upload to another destination cannot be sent again from here.
        if purged or known.holds(segment.file, sha256, self._destination):
            self.plan.proven_segments += 1
        else:
            wanted = segment_wanted(manifest)
            problem = local_problem(self._root, wanted)
            if problem is not None:
                self.plan.problems.append(problem)
                return
            self.plan.segments.append(wanted)
        self._unless_known(self.plan.manifests, manifest_wanted(segment))

    def add_companions(self) -> None:
        """``SHA256SUMS``, run manifests, and the mark of the environment."""
        for path in sorted(self._sums):
            if path.exists():
                self._unless_known(self.plan.companions, self._small(path, "sums"))
        runs = layout.runs_folder(self._root)
        for path in sorted(runs.iterdir()) if runs.is_dir() else []:
            if layout.parse_run_manifest(path.name) is not None:
                self._unless_known(self.plan.companions, self._small(path, "run"))
        if (self._root / MARKER).exists():
            self._unless_known(self.plan.marker, self._small(self._root / MARKER, "environment"))

    def _small(self, path: Path, kind: Kind) -> Wanted:
        return _small(path, layout.relative(self._root, path), kind)

    def _unless_known(self, wanted: list[Wanted], item: Wanted) -> None:
        if not self._known.holds(item.file, item.sha256, self._destination):
            wanted.append(item)


def segment_wanted(manifest: Manifest) -> Wanted:
    """A segment as its manifest describes it."""
    return Wanted(
        file=manifest.file, kind="segment", size=manifest.bytes, sha256=manifest.sha256, md5=manifest.md5
    )


def manifest_wanted(segment: Segment) -> Wanted:
    """The manifest of a segment, as it lies here.

    Raises:
        StorageError: it cannot be read.

    """
    made = _small(segment.manifest, layout.relative(segment.root, segment.manifest), "manifest")
    return replace(made, about=segment.file)


def _small(path: Path, file: str, kind: Kind) -> Wanted:
    with durable.naming(path, "read"):
        content = path.read_bytes()
    return Wanted(
        file=file,
        kind=kind,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        content=content if kind in REPLACED else None,
    )


def local_problem(root: Path, wanted: Wanted) -> Finding | None:
    """Read a local file that never changes: what is wrong with it, if anything.

    Raises:
        StorageError: it cannot be read.

    """
    digest, size = hashlib.sha256(), 0
    path = root / wanted.file
    if not path.exists():
        return _vanished(wanted)
    with durable.naming(path, "read"), path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
            size += len(data)
    if (size, digest.hexdigest()) == (wanted.size, wanted.sha256):
        return None
    return Finding(
        file=wanted.file,
        what="the local file is not what its manifest says",
        expected=f"{wanted.size} bytes, sha256 {wanted.sha256}",
        seen=f"{size} bytes, sha256 {digest.hexdigest()}",
        advice="python scripts/verify_archive.py ROOT; restore the original from a copy",
    )


def _vanished(wanted: Wanted) -> Finding:
    return Finding(
        file=wanted.file,
        what="the local file is missing, and no record says that it was purged",
        expected=f"{wanted.size} bytes, sha256 {wanted.sha256}",
        seen="no file",
        advice="restore it from a copy, if there is one; its rows are lost otherwise",
    )


def _unreadable(file: str, error: ArchiveError) -> Finding:
    return Finding(
        file=file,
        what="an unreadable manifest; its segment is not sent",
        expected="a segment manifest",
        seen=str(error),
        advice="python scripts/verify_archive.py ROOT; restore it from a copy",
    )
