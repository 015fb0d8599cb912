"""What uploads and purges wrote down: which files a remote was shown to hold, and which left the disk.

The records under ``manifests/offload/`` are the truth: each is written once, and archives merge by copying
them too.  ``state/offloaded.json`` is what they add up to, for people and programs that only want that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.manifest import encode
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INDEX_SCHEMA = "orderbooks.offloaded/1"

Kind = Literal["segment", "manifest", "sums", "run", "environment"]
REPLACED: frozenset[Kind] = frozenset({"sums", "run"})
"""Files that grow with the archive: the remote's older copy gives way.  All others never change."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the remote holds with our checksum (rule A19)."""

    file: str
    """Relative to the archive root, and to the destination."""
    kind: Kind
    bytes: int
    sha256: str
    """Of our bytes; of a segment, what its manifest says."""
    hash_kind: Literal["sha256", "md5"]
    """What was compared; md5 where the remote, or this rclone, knows no better."""
    remote_hash: str
    proven_by: Literal["listing", "download"]
    """The remote's own checksum, or one of the bytes read back from it."""
    proven_at_utc: str
    remote_id: str | None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that keeps a file from being proven, or from being removed."""

    file: str
    what: str
    expected: str
    seen: str
    advice: str


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema"):
    environment: str | None
    started_utc: str
    finished_utc: str
    destination: str
    """A remote's name and a folder, never its settings."""
    rclone_version: str
    files: list[Receipt]
    problems: list[Finding]


class UploadManifest(_Record, frozen=True, kw_only=True, tag="orderbooks.upload/1"):
    """The upload manifest: what one run of the uploader showed to be at the remote."""

    complete: bool
    """Whether everything that was planned is proven."""
    planned_files: int
    planned_bytes: int
    proven_bytes: int
    rclone_exit_codes: list[int]
    heads: dict[str, str]
    """``feed/collector`` to the digest of its newest manifest: kept at the remote, they prove the tail."""


class PurgeRecord(_Record, frozen=True, kw_only=True, tag="orderbooks.purge/1"):
    """Segments that were removed here, each proven remote just before; written before they went."""

    older_than_days: float
    removed_bytes: int


Record = UploadManifest | PurgeRecord
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A proven file, where, and which record says so."""

    destination: str
    record: str
    proof: Receipt


@dataclass
class Offloaded:
    """What the records of one root add up to; the newest record speaks for a file."""

    proven: dict[str, Held] = field(default_factory=dict)
    """By file, uploads and purges alike: a purge proves again."""
    purged: dict[str, Held] = field(default_factory=dict)

    def holds(self, file: str, sha256: str, destination: str) -> bool:
        """Whether *destination* was shown to hold these very bytes."""
        held = self.proven.get(file)
        return held is not None and (held.proof.sha256, held.destination) == (sha256, destination)

    def purged_copy(self, file: str, sha256: str) -> Held | None:
        """Where the purged segment *file* with this digest went; ``None``: no record says that it went."""
        held = self.purged.get(file)
        return held if held is not None and held.proof.sha256 == sha256 else None


def read_offloaded(root: Path, unreadable: Callable[[Path, ArchiveError], None] | None = None) -> Offloaded:
    """Add up the records below *root*; *unreadable* is told of those that cannot be understood.

    Raises:
        ArchiveError: a record cannot be understood and nobody wants to be told.
        StorageError: a record cannot be read.

    """
    found = Offloaded()
    for path in _record_paths(root):
        try:
            record = read_record(path)
        except ArchiveError as error:
            if unreadable is None:
                raise
            unreadable(path, error)
            continue
        for proof in record.files:
            held = Held(destination=record.destination, record=layout.relative(root, path), proof=proof)
            found.proven[proof.file] = held
            if isinstance(record, PurgeRecord):
                found.purged[proof.file] = held
    return found


def read_record(path: Path) -> Record:
    """One record.

    Raises:
        ArchiveError: it is none.
        StorageError: it cannot be read.

    """
    with durable.naming(path, "read"):
        content = path.read_bytes()
    try:
        return _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"{path}: expected a record of an upload or a purge: {error}") from error


def write_record(path: Path, record: Record) -> None:
    """Make a record stay; what it allows may be done only after this has returned.

    Raises:
        StorageError: it cannot be written.

    """
    durable.atomic_write(path, encode(record))


def write_index(root: Path) -> None:
    """Bring ``state/offloaded.json`` up to date.

    Raises:
        ArchiveError: a record cannot be understood.
        StorageError: the index cannot be written.

    """
    known = read_offloaded(root)
    files = {
        file: {
            "destination": held.destination,
            "record": held.record,
            **msgspec.structs.asdict(held.proof),
            "purged": file in known.purged,
        }
        for file, held in sorted(known.proven.items())
    }
    durable.atomic_write(layout.offload_index(root), encode({"schema": INDEX_SCHEMA, "files": files}))


def _record_paths(root: Path) -> Iterator[Path]:
    """Oldest first: their names begin with the time."""
    folder = layout.offload_folder(root)
    return iter(sorted(folder.glob("*.json")) if folder.is_dir() else [])
