"""What a soak left on the disk: segments, proof by verify, receipts of uploads, growth and room."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from orderbooks_spider.archive.layout import offload_folder
from orderbooks_spider.archive.offloaded import UploadManifest, read_offloaded, read_record
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.clock import NS, parse_utc
from orderbooks_spider.items import BOOKS, FEEDS, MARKETS
from orderbooks_spider.soak.numbers import DiskUse, Feed, Proof, Uploads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from orderbooks_spider.normalize.sources import Sealed
    from orderbooks_spider.soak.record import Sample, SoakRecord

UPLOAD_LATE_SECONDS: Final = 7200.0
"""A segment sealed so long before the end must have its receipt; the timer uploads each hour."""
DAY_SECONDS: Final = 86_400
_PROBLEMS: Final = 20
"""So many problems of verify are repeated."""


def feeds_of(segments: Iterable[Sealed]) -> list[Feed]:
    """Sums by feed."""
    by_feed: defaultdict[str, list[Sealed]] = defaultdict(list)
    for segment in segments:
        by_feed[segment.names.feed].append(segment)
    return [
        Feed(
            feed=feed,
            segments=len(by_feed[feed]),
            rows=sum(segment.manifest.rows for segment in by_feed[feed]),
            bytes=sum(segment.manifest.bytes for segment in by_feed[feed]),
            largest_bytes=max(segment.manifest.bytes for segment in by_feed[feed]),
        )
        for feed in FEEDS
        if by_feed[feed]
    ]


def status_codes_of(segments: Iterable[Sealed]) -> dict[str, int]:
    """Answers to polls by HTTP status, most frequent first; rows, so a batch counts once per token."""
    return _summed(segment.manifest.status_codes for segment in segments if segment.names.feed == BOOKS)


def discovery_of(segments: Iterable[Sealed]) -> dict[str, int]:
    """Requests to Gamma by result, most frequent first."""
    return _summed(segment.manifest.results for segment in segments if segment.names.feed == MARKETS)


def _summed(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def proof_of(root: Path, segments: Iterable[Sealed], workers: int) -> Proof:
    """Verify the whole archive, every segment read.

    Args:
        root: the archive.
        segments: all of its sealed segments, whatever their time.
        workers: processes that read.

    Raises:
        ArchiveError: nothing to check is there.
        StorageError: something there cannot be read.

    """
    report = verify(root, workers=workers)
    here = [segment for segment in segments if segment.names.sealed.exists()]
    return Proof(
        problems=[f"{p.rule} {p.file}: {p.what}" for p in report.problems[:_PROBLEMS]]
        + ([f"and {more} more"] if (more := len(report.problems) - _PROBLEMS) > 0 else []),
        segments=report.segments,
        remote_segments=report.remote_segments,
        open_files=len(report.open_files),
        rows=report.rows,
        raw_bytes=report.raw_bytes,
        bytes=sum(segment.manifest.bytes for segment in here),
    )


def uploads_of(root: Path, record: SoakRecord, segments: Iterable[Sealed]) -> Uploads:
    """Runs of the uploader, and which of the soak's *segments* a remote was shown to hold.

    Where the soak did not start the uploader itself, the upload manifests of its time tell of the runs:
    only possible in real time, for they carry the host's own clock.

    Raises:
        ArchiveError: a record of an upload or a purge cannot be understood.
        StorageError: one cannot be read.

    """
    runs = [(upload.begin_ns, upload.exit_status) for upload in record.uploads] or _timed_runs(root, record)
    proven = read_offloaded(root).proven
    limit_ns = record.end_ns - round(UPLOAD_LATE_SECONDS * NS)
    if runs:
        limit_ns = max(limit_ns, runs[-1][0])
    mine = {segment.names.file: segment.manifest for segment in segments}
    has = {
        file
        for file, manifest in mine.items()
        if (held := proven.get(file)) is not None and held.proof.sha256 == manifest.sha256
    }
    due = {file for file, manifest in mine.items() if parse_utc(manifest.sealed_at_utc) < limit_ns}
    return Uploads(
        runs=len(runs),
        failed=sum(status != 0 for _, status in runs),
        last_exit_status=runs[-1][1] if runs else None,
        proven=len(has),
        due=len(due),
        overdue=sorted(due - has),
    )


def _timed_runs(root: Path, record: SoakRecord) -> list[tuple[int, int]]:
    found = []
    folder = offload_folder(root)
    for path in sorted(folder.glob("*_upload_*.json")) if record.speed == 1 and folder.is_dir() else []:
        made = read_record(path)
        if isinstance(made, UploadManifest):
            started_ns = parse_utc(made.started_utc)
            if record.begin_ns <= started_ns < record.end_ns:
                found.append((started_ns, 0 if made.complete else 1))
    return found


def disk_of(record: SoakRecord, feeds: Iterable[Feed], samples: Sequence[Sample]) -> DiskUse:
    """Growth by what was sealed, room by the samples."""
    seconds = (record.end_ns - record.begin_ns) / NS
    size = sum(feed.bytes for feed in feeds)
    per_day = round(size / seconds * DAY_SECONDS) if seconds > 0 and size else None
    free = samples[-1].disk_free_bytes if samples else None
    return DiskUse(
        archive_bytes=samples[-1].archive_bytes if samples else None,
        sealed_per_day=per_day,
        least_free_bytes=min((sample.disk_free_bytes for sample in samples), default=None),
        free_bytes=free,
        days_left=None if per_day is None or free is None else free / per_day,
    )
