"""The manifest of a sealed segment: a link of its feed's chain, and what its rows add up to.

Built only from the sealed file and the run's context, so that recovery writes what a clean seal would
have written, but for the readings of the host's clock, which are event rows.  Once written a segment
manifest never changes: the next one holds its hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from orderbooks_spider.archive import durable
from orderbooks_spider.archive.journal import row_key
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.archive.tally import CountedRow, Counts, Tally, counted_row
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.host_clock import ClockQuality, Nanoseconds

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.archive.layout import Segment
    from orderbooks_spider.archive.tally import HashCheck
    from orderbooks_spider.config import Polling

SCHEMA = "orderbooks.manifest/1"


Step = Annotated[int, msgspec.Meta(gt=0, lt=2**62)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """The arithmetic of the planned slots: a token is due at ``k * interval + phase``."""

    interval_ns: Step
    phase_buckets: Step
    lead_seconds: Seconds | dict[str, Seconds]
    linger_seconds: Seconds
    timeout_seconds: Seconds
    mode: str

    @classmethod
    def of(cls, polling: Polling) -> Grid:
        """The grid that the config's ``polling`` section asks for."""
        lead = polling.lead_seconds
        return cls(
            interval_ns=polling.interval_ns,
            phase_buckets=polling.phase_buckets,
            lead_seconds={str(key): float(value) for key, value in lead.items()}
            if isinstance(lead, dict)
            else float(lead),
            linger_seconds=float(polling.linger_seconds),
            timeout_seconds=float(polling.timeout_seconds),
            mode=polling.mode,
        )


class SegmentClock(ClockQuality, frozen=True, kw_only=True):
    """The newest reading of the host's clock while a segment was open, and the worst of all."""

    at_ns: int
    """When it was read."""
    worst_bound_ns: Nanoseconds | None
    """Largest ``bound_ns`` of the readings; ``None``: one of them had none."""

    @classmethod
    def of(cls, at_ns: int, quality: ClockQuality) -> Self:
        """What a single reading says."""
        return cls(**msgspec.structs.asdict(quality), at_ns=at_ns, worst_bound_ns=quality.bound_ns)

    def then(self, newer: SegmentClock) -> SegmentClock:
        """The same after another reading."""
        one, other = self.worst_bound_ns, newer.worst_bound_ns
        worst = None if one is None or other is None else max(one, other)
        return msgspec.structs.replace(newer, worst_bound_ns=worst)


class ManifestContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows do not say about the run that wrote them; kept in the run manifest too."""

    environment: str
    collector_id: str
    run_id: str
    collector: str | None = None
    collector_version: str | None = None
    versions: dict[str, str] = {}
    config_sha256: str | None = None
    grid: Grid | None = None


class Member(msgspec.Struct, frozen=True):
    """A gzip member: bytes ``[offset, offset + length)`` hold *rows* lines of these times."""

    offset: int
    length: int
    rows: int
    first_ns: int
    last_ns: int


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed file, read once."""

    bytes: int
    sha256: str
    md5: str
    members: list[Member]
    counts: Counts
    opened_ns: int
    """Time of the row with the lowest seq, which named the file."""
    first_row: ManifestContext
    """What that row itself says about its run."""


class Manifest(Counts, frozen=True, kw_only=True):
    """One sealed segment; on disk these keys come before those of :class:`Counts`."""

    schema: str = SCHEMA
    venue: str
    feed: str
    environment: str
    collector_id: str
    run_id: str
    file: str
    """Relative to the archive root."""
    bytes: int
    sha256: str
    md5: str
    members: list[Member]
    grid: Grid | None
    collector: str | None
    collector_version: str | None
    versions: dict[str, str]
    config_sha256: str | None
    clock: SegmentClock | None
    """``None`` where recovery sealed the segment."""
    recovered: list[str]
    """What recovery did to the segment; empty for a clean seal."""
    sealed_at_utc: str
    previous_manifest_sha256: str | None


def describe(path: Path, hash_check: HashCheck) -> Description:
    """Read the sealed file *path* once, as a stream, and say all that it determines.

    Raises:
        ArchiveError: it is not whole gzip members of whole rows.
        StorageError: it cannot be read.

    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    scan = MemberScan(path, (sha256, md5))
    tally = Tally(hash_check)
    times: list[tuple[int, int]] = []
    for line in scan.lines():
        row = _counted(line.text)
        if row is None:
            where = f"member {line.member} line {line.number}"
            raise ArchiveError(f"{path}: {where}: expected a row, saw {line.text[:60]!r}")
        tally.add(row)
        if line.number == 0:
            times.append((row.time_ns, row.time_ns))
        else:
            low, high = times[-1]
            times[-1] = (min(low, row.time_ns), max(high, row.time_ns))
    if scan.broken is not None:
        raise ArchiveError(f"{path}: expected whole gzip members only: {scan.broken}")
    first = tally.first_row
    if first is None:
        raise ArchiveError(f"{path}: expected rows, saw none")
    return Description(
        bytes=scan.good_end,
        sha256=sha256.hexdigest(),
        md5=md5.hexdigest(),
        members=[
            Member(span.offset, span.length, span.rows, *when)
            for span, when in zip(scan.spans, times, strict=True)
        ],
        counts=tally.counts(),
        opened_ns=first.time_ns,
        first_row=ManifestContext(
            environment=first.environment or "unknown",
            collector_id=first.collector_id or "unknown",
            run_id=first.run_id or "unknown",
            collector=first.collector,
            collector_version=first.collector_version,
        ),
    )


def _counted(line: bytes) -> CountedRow | None:
    """What is counted of a row; a key of a wrong type must not keep a segment open (verify names it)."""
    try:
        return counted_row.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        key = row_key(line)
    return None if key is None else CountedRow(**msgspec.structs.asdict(key))


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The circumstances of a seal, which the file does not show."""

    context: ManifestContext | None
    """``None``: the run's manifest is gone, and the first row speaks for the run."""
    previous: str | None
    sealed_at_utc: str
    recovered: list[str]
    clock: SegmentClock | None


def build(segment: Segment, description: Description, sealed: Seal) -> Manifest:
    """Put together what the file determines and what the run knew."""
    context = sealed.context or description.first_row
    return Manifest(
        venue="polymarket",
        feed=segment.feed,
        environment=context.environment,
        collector_id=segment.collector_id,
        run_id=segment.run_id,
        file=segment.file,
        bytes=description.bytes,
        sha256=description.sha256,
        md5=description.md5,
        members=description.members,
        grid=context.grid,
        collector=context.collector,
        collector_version=context.collector_version,
        versions=context.versions,
        config_sha256=context.config_sha256,
        clock=sealed.clock,
        recovered=sealed.recovered,
        sealed_at_utc=sealed.sealed_at_utc,
        previous_manifest_sha256=sealed.previous,
        **msgspec.structs.asdict(description.counts),
    )


def encode_manifest(made: Manifest) -> bytes:
    """The bytes on disk: who and which file first, then what the rows add up to."""
    values = msgspec.structs.asdict(made)
    counted = Counts.__struct_fields__
    own = {key: values[key] for key in Manifest.__struct_fields__ if key not in counted}
    return encode(own | {key: values[key] for key in counted})


def encode(value: object) -> bytes:
    """Indented JSON and a line end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def digest(content: bytes) -> str:
    """What the next manifest, a run manifest or an upload receipt holds of this one."""
    return hashlib.sha256(content).hexdigest()


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest and the digest of its bytes.

    Raises:
        ArchiveError: it is not a manifest of this schema.
        StorageError: it cannot be read.

    """
    with durable.naming(path, "read"):
        content = path.read_bytes()
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"{path}: expected a manifest: {error}") from error
    if manifest.schema != SCHEMA:
        raise ArchiveError(f"{path}: expected schema {SCHEMA}, saw {manifest.schema!r}")
    return manifest, digest(content)


def write_sums(path: Path, name: str, sha256: str) -> None:
    """Add or correct one line of ``SHA256SUMS``; the rest stays, sorted by name.

    Raises:
        StorageError: it cannot be read or written.

    """
    lines = {} if not path.exists() else read_sums(path)
    if lines.get(name) == sha256:
        return
    lines[name] = sha256
    durable.atomic_write(path, b"".join(f"{lines[key]}  {key}\n".encode() for key in sorted(lines)))


def read_sums(path: Path) -> dict[str, str]:
    """File name (relative to the folder) to SHA-256; lines of another form are left out."""
    with durable.naming(path, "read"):
        text = path.read_text(encoding="utf-8", errors="replace")
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}
