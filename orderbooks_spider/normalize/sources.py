"""What lies in the archives that are read: sealed segments by their manifests, runs, what is still open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.lock import holder_of
from orderbooks_spider.archive.manifest import Manifest, read_manifest
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.errors import ArchiveError, ConfigError
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.normalize.tasks import Input, without_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed segment with its manifest."""

    names: layout.Segment
    manifest: Manifest

    @property
    def input(self) -> Input:
        """What a task is told of it."""
        grid = self.manifest.grid
        return Input(
            feed=self.names.feed,
            file=self.names.file,
            sha256=self.manifest.sha256,
            bytes=self.manifest.bytes,
            rows=self.manifest.rows,
            interval_ns=grid.interval_ns if grid is not None and self.names.feed == BOOKS else None,
        )


@dataclass
class Sources:
    """All roots together."""

    segments: list[Sealed] = field(default_factory=list)
    """By file."""
    runs: list[RunManifest] = field(default_factory=list)
    open_runs: set[tuple[str, str]] = field(default_factory=set)
    """(collector id, run id) of runs with polls or events that are not sealed yet."""
    errors: list[str] = field(default_factory=list)
    """One line for each manifest that cannot be used, or is not there."""
    unreadable: set[str] = field(default_factory=set)
    """Files of segments whose manifests are among those."""

    @property
    def environment(self) -> str:
        """``live`` or ``sandbox``."""
        return self.segments[0].manifest.environment if self.segments else "unknown"


def look_at(roots: Sequence[Path]) -> Sources:
    """List the sealed segments and the runs of *roots*; no segment is read.

    Raises:
        ArchiveError: a root holds no archive.
        ConfigError: two roots hold the same feed of the same collector, or live and sandbox evidence.

    """
    found = Sources()
    owner: dict[tuple[str, str], Path] = {}
    for root in roots:
        before = len(found.segments)
        _look_at(root, found)
        for segment in found.segments[before:]:
            key = segment.names.collector_id, segment.names.feed
            if owner.setdefault(key, root) != root:
                raise ConfigError(
                    f"{owner[key]} and {root} both hold {key[1]} of collector {key[0]!r}: "
                    "a collector has one archive; give the whole one only"
                )
    kinds = {segment.manifest.environment: segment.names for segment in found.segments}
    if len(kinds) > 1:
        files = ", ".join(f"{names.sealed} is {kind}" for kind, names in sorted(kinds.items()))
        raise ConfigError(f"live and sandbox evidence are never mixed (rule A16): {files}")
    found.segments.sort(key=lambda segment: segment.names.file)
    found.runs.sort(key=lambda run: (run.collector_id, run.started_utc, run.run_id))
    return found


def _look_at(root: Path, found: Sources) -> None:
    if not root.is_dir():
        raise ArchiveError(f"{root}: expected an archive root, saw no folder")
    # Raw files first: what is sealed meanwhile is then found sealed too.
    files = [(item.kind, item.segment) for item in layout.walk_raw(root) if item.segment is not None]
    for kind, names in files:
        if kind in {"part", "journal"} and names.feed in {BOOKS, EVENTS}:
            found.open_runs.add((names.collector_id, names.run_id))
    described = {segment.file for segment in _read_manifests(root, found)}
    if not described:
        raise ArchiveError(f"{root}: expected an archive root, saw {_instead({kind for kind, _ in files})}")
    for kind, names in files:
        if kind == "sealed" and names.file not in described and not _is_being_sealed(names):
            found.errors.append(f"{names.file}: expected a manifest of this segment, saw none; run verify")
            found.unreadable.add(names.file)
    _read_runs(root, found)


def _read_manifests(root: Path, found: Sources) -> Iterator[layout.Segment]:
    """Take up each sealed segment by its manifest; yields all that have one, also one of no use."""
    for path, segment in layout.walk_manifests(root):
        if segment is None:
            continue  # foreign or set aside: verify names it
        yield segment
        try:
            manifest, _ = read_manifest(path)
        except ArchiveError as error:
            found.errors.append(without_root(str(error), str(root)))
            found.unreadable.add(segment.file)
            continue
        if manifest.file != segment.file:
            file = layout.relative(root, path)
            found.errors.append(f"{file}: expected the manifest of {segment.file}, saw {manifest.file}'s")
            found.unreadable.add(segment.file)
            continue
        found.segments.append(Sealed(segment, manifest))


def _instead(kinds: set[layout.Kind]) -> str:
    """What lies in an archive of which no segment can be read, and what to do."""
    if "sealed" in kinds:
        return "segments without manifests; run verify"
    if kinds:
        return (
            "only files that are not sealed yet: a collector seals at each rotation and when it stops, "
            "recover_archive.py after a crash"
        )
    return "no sealed segments"


def _is_being_sealed(names: layout.Segment) -> bool:
    """Whether a segment without a manifest may get it any moment, or has got it meanwhile."""
    return holder_of(names.root, names.collector_id) is not None or names.manifest.exists()


def _read_runs(root: Path, found: Sources) -> None:
    folder = layout.runs_folder(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if layout.parse_run_manifest(path.name) is None:
            continue
        try:
            found.runs.append(RunFile.read(path).manifest)
        except ArchiveError as error:
            found.errors.append(without_root(str(error), str(root)))
