"""Remove local segments that the remote is shown to hold again now; their manifests stay (rule A20).

The record is on the disk before the first file goes, so that no crash leaves an absence without its reason.
``events`` stay: they are small, the next start of the collector reads them, and verify needs their plans.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.manifest import read_manifest
from orderbooks_spider.archive.offloaded import (
    Finding,
    PurgeRecord,
    Receipt,
    read_offloaded,
    write_index,
    write_record,
)
from orderbooks_spider.clock import NS, compact_utc, iso_utc, parse_utc
from orderbooks_spider.errors import EXIT_OK, EXIT_PROBLEMS, ArchiveError
from orderbooks_spider.items import BOOKS, MARKETS
from orderbooks_spider.offload.plan import Wanted, local_problem, manifest_wanted, segment_wanted
from orderbooks_spider.offload.proof import prove

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.archive.manifest import Manifest
    from orderbooks_spider.clock import Clock
    from orderbooks_spider.offload.rclone import Rclone

FEEDS = (BOOKS, MARKETS)
_DAY_NS = 86_400 * NS


@dataclass
class Purge:
    """A run of the purge over one archive; the caller holds the lock."""

    root: Path
    rclone: Rclone
    clock: Clock
    older_than_days: float
    """Since a segment was sealed."""
    removable: list[Receipt] = field(default_factory=list)
    younger: int = 0
    unproven: int = 0
    """Old enough, and not proven at this destination by any upload."""
    problems: list[Finding] = field(default_factory=list)
    record: Path | None = None
    environment: str | None = None

    @property
    def exit_code(self) -> int:
        """Problems are files that stay because something contradicts their proof."""
        return EXIT_PROBLEMS if self.problems else EXIT_OK

    def look(self) -> None:
        """Find out what may go: asks the remote, changes nothing.

        Raises:
            ArchiveError: no archive is there, or a manifest or record in it cannot be understood.
            ConfigError: rclone knows no such remote.
            RemoteError: the remote does not answer, or refuses.
            StorageError: something local cannot be read.

        """
        if not (self.root / "raw").is_dir():
            raise ArchiveError(f"{self.root}: expected an archive (a folder with raw/ in it)")
        candidates = self._candidates()
        seen = prove([item for pair in candidates for item in pair], self.rclone, self.clock)
        again = {proof.file: proof for proof in seen.proven}
        self.problems += seen.problems
        self.problems += [_gone(item) for item in seen.absent]
        for segment, manifest in candidates:
            if segment.file not in again or manifest.file not in again:
                continue
            problem = local_problem(self.root, segment)
            if problem is None:
                self.removable.append(again[segment.file])
            else:
                self.problems.append(problem)

    def remove(self) -> None:
        """Write the record, then remove what :meth:`look` found.

        Raises:
            StorageError: the record cannot be written (nothing is removed then), or a file not removed.

        """
        if not self.removable:
            return
        now_ns = self.clock.wall_ns()
        path = layout.offload_record(self.root, compact_utc(now_ns), "purge", uuid.uuid4().hex[:8])
        record = PurgeRecord(
            environment=self.environment,
            started_utc=iso_utc(now_ns),
            finished_utc=iso_utc(self.clock.wall_ns()),
            destination=self.rclone.destination,
            rclone_version=self.rclone.version,
            older_than_days=self.older_than_days,
            removed_bytes=sum(proof.bytes for proof in self.removable),
            files=self.removable,
            problems=self.problems,
        )
        write_record(path, record)
        self.record = path
        folders = set()
        for proof in self.removable:
            local = self.root / proof.file
            durable.unlink(local)
            folders.add(local.parent)
        for folder in sorted(folders):
            durable.fsync_folder(folder)
        write_index(self.root)

    def _candidates(self) -> list[tuple[Wanted, Wanted]]:
        """Segments that are here, old enough and proven by an upload, each with its manifest."""
        known = read_offloaded(self.root)
        limit_ns = self.clock.wall_ns() - round(self.older_than_days * _DAY_NS)
        found: list[tuple[Wanted, Wanted]] = []
        for path, segment in layout.walk_manifests(self.root):
            if segment is None or segment.feed not in FEEDS or not segment.sealed.exists():
                continue
            manifest, sha256 = read_manifest(path)
            self.environment = manifest.environment
            if _sealed_ns(path, manifest) > limit_ns:
                self.younger += 1
            elif known.holds(segment.file, manifest.sha256, self.rclone.destination) and known.holds(
                layout.relative(self.root, path), sha256, self.rclone.destination
            ):
                found.append((segment_wanted(manifest), manifest_wanted(segment)))
            else:
                self.unproven += 1
        return found


def _sealed_ns(path: Path, manifest: Manifest) -> int:
    try:
        return parse_utc(manifest.sealed_at_utc)
    except ValueError as error:
        raise ArchiveError(
            f"{path}: sealed_at_utc: expected a UTC time, saw {manifest.sealed_at_utc!r}"
        ) from error


def _gone(item: Wanted) -> Finding:
    return Finding(
        file=item.file,
        what="an upload proved it at the remote, and it is not there now",
        expected=f"{item.size} bytes, sha256 {item.sha256}",
        seen="no file",
        advice="the local copy stays; find out who removed it there",
    )
