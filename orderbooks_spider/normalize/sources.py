"""What lies in the archives that are read: sealed segments by their manifests, runs, what is still open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import Manifest, read_manifest
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.errors import ArchiveError, ConfigError
from orderbooks_spider.items import BOOKS, EVENTS
from orderbooks_spider.normalize.tasks import Input, without_root

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    """One line for each manifest that cannot be used."""
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
    # Open files first: what is sealed meanwhile is then found sealed too.
    for item in layout.walk_raw(root):
        names = item.segment
        if names is not None and item.kind in {"part", "journal"} and names.feed in {BOOKS, EVENTS}:
            found.open_runs.add((names.collector_id, names.run_id))
    manifests = 0
    for path, segment in layout.walk_manifests(root):
        if segment is None:
            continue  # foreign or set aside: verify names it
        manifests += 1
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
    if not manifests:
        raise ArchiveError(
            f"{root}: expected an archive root, saw no sealed segments "
            "(a running collector seals at each full UTC hour and when it stops)"
        )
    _read_runs(root, found)


def _read_runs(root: Path, found: Sources) -> None:
    folder = layout.runs_folder(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if layout.parse_run_manifest(path.name) is None:
            continue
        try:
            found.runs.append(RunFile.read(path).manifest)
        except ArchiveError as error:
            found.errors.append(without_root(str(error), str(root)))
