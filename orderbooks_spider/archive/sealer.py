"""The sealing child: ``python -m orderbooks_spider.archive.sealer``, one job on stdin, one line back.

A process of its own, because compression in the collector's process delays polls (76 ms measured in
a thread, none here).  Imports stay light: its start and its memory count on a small host.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from orderbooks_spider.archive import durable, layout, manifest, venue_check
from orderbooks_spider.archive.manifest import (  # noqa: TC001 - msgspec reads them
    ManifestContext,
    SegmentClock,
)
from orderbooks_spider.archive.members import LEVEL
from orderbooks_spider.archive.segment import BlockInfo, append_block, seal, write_reason
from orderbooks_spider.errors import ArchiveError, StorageError

NICENESS = 10


class BlockJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="block"):
    """Turn journals into one member of the segment's ``.part``."""

    root: str
    stem: str
    journals: list[str]
    """Names inside the segment's folder, oldest first."""
    expected_bytes: int | None = None
    level: int = LEVEL


class SealJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="seal"):
    """The same with what is left, then seal the file and write its manifest."""

    root: str
    stem: str
    journals: list[str]
    sealed_at_utc: str
    previous_manifest_sha256: str | None
    context: ManifestContext | None
    clock: SegmentClock | None = None
    expected_bytes: int | None = None
    recovered: list[str] = []
    level: int = LEVEL


Job = BlockJob | SealJob


class SealInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed segment; ``rows`` 0 and empty texts: there was nothing to seal."""

    feed: str
    rows: int
    file: str = ""
    sha256: str = ""
    bytes: int = 0
    manifest: str = ""
    """Relative to the archive root."""
    manifest_sha256: str = ""
    last_seq: int = 0
    set_aside: list[str] = []
    salvaged_rows: int = 0
    recovered: list[str] = []


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The one line on stdout."""

    ok: bool
    error: str | None = None
    block: BlockInfo | None = None
    seal: SealInfo | None = None


def run_job(job: Job) -> BlockInfo | SealInfo:
    """Do *job* here and now; killed anywhere, it can be done again.

    Raises:
        ArchiveError: what lies there contradicts itself.
        StorageError: the disk refused.

    """
    segment = layout.parse_stem(Path(job.root), job.stem)
    if segment is None:
        raise ArchiveError(f"expected the stem of a segment, saw {job.stem!r}")
    journals = [segment.folder / name for name in job.journals]
    if isinstance(job, BlockJob):
        return append_block(segment.part, journals, expected_bytes=job.expected_bytes, level=job.level)
    return _seal(job, segment, journals)


def _seal(job: SealJob, segment: layout.Segment, journals: list[Path]) -> SealInfo:
    block = BlockInfo(part_bytes=0, rows=0)
    if not segment.sealed.exists():
        block = append_block(segment.part, journals, expected_bytes=job.expected_bytes, level=job.level)
        if block.part_bytes == 0:
            if segment.part.exists():
                orphan(segment.part, "an open segment without a whole row")
            return SealInfo(feed=segment.feed, rows=0, set_aside=block.set_aside)
        seal(segment.part, segment.sealed)
    recovered = list(job.recovered)
    if recovered and block.set_aside:
        recovered += [f"set aside {name}" for name in block.set_aside]
    if recovered and block.salvaged_rows:
        recovered.append(f"read {block.salvaged_rows} rows back from a cut member")
    made, made_sha256 = _write_manifest(job, segment, recovered)
    return SealInfo(
        feed=segment.feed,
        rows=made.rows,
        file=made.file,
        sha256=made.sha256,
        bytes=made.bytes,
        manifest=layout.relative(segment.root, segment.manifest),
        manifest_sha256=made_sha256,
        last_seq=made.seq.last if made.seq else 0,
        set_aside=block.set_aside,
        salvaged_rows=block.salvaged_rows,
        recovered=made.recovered,
    )


def _write_manifest(
    job: SealJob, segment: layout.Segment, recovered: list[str]
) -> tuple[manifest.Manifest, str]:
    """Describe the sealed file; sums first, so that a manifest proves that all is done."""
    if segment.manifest.exists():
        return manifest.read_manifest(segment.manifest)
    made = manifest.build(
        segment,
        manifest.describe(segment.sealed, venue_check.hash_state),
        manifest.Seal(
            context=job.context,
            previous=job.previous_manifest_sha256,
            sealed_at_utc=job.sealed_at_utc,
            recovered=recovered,
            clock=job.clock,
        ),
    )
    manifest.write_sums(segment.sums, segment.name_in_sums, made.sha256)
    content = manifest.encode_manifest(made)
    durable.atomic_write(segment.manifest, content)
    return made, manifest.digest(content)


def orphan(path: Path, reason: str) -> str:
    """Rule A15: take an unusable file out of the way, with its reason; returns the new name."""
    copy = 1
    target = path.with_name(f"{path.name}{layout.ORPHAN}")
    while target.exists():
        copy += 1
        target = path.with_name(f"{path.name}-{copy}{layout.ORPHAN}")
    durable.move(path, target)
    write_reason(target, reason, came_from=path.name, offset=0)
    return target.name


def child_environment() -> dict[str, str]:
    """Environment in which a child imports what this process can, from an egg too."""
    paths = [path or str(Path.cwd()) for path in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def child_command() -> list[str]:
    """How to start the child; ``-S``: the paths are given, so no site start-up is needed."""
    return [sys.executable, "-S", "-m", "orderbooks_spider.archive.sealer"]


def main() -> int:
    """Run the job on stdin; the exit code is 0 when its result says ok."""
    os.nice(NICENESS)
    try:
        result = run_job(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
        outcome = (
            Outcome(ok=True, block=result) if isinstance(result, BlockInfo) else Outcome(ok=True, seal=result)
        )
    except (ArchiveError, StorageError, msgspec.MsgspecError) as error:
        outcome = Outcome(ok=False, error=str(error))
    except (OSError, MemoryError) as error:
        outcome = Outcome(ok=False, error=f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
