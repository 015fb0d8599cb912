"""The run manifest: written when a run starts, again at each seal, and when it stops.

It holds what rows do not say (settings, versions, grid), so that recovery can write the manifests
that a killed run could not.
"""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.archive import durable, layout, manifest
from orderbooks_spider.archive.manifest import Grid, ManifestContext
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.archive.sealer import SealInfo

SCHEMA = "orderbooks.run/1"
_LIBRARIES = ("scrapy", "twisted", "aiohttp", "msgspec", "zlib-ng")


class SealedSegment(msgspec.Struct, frozen=True):
    """A segment that the run sealed, or that was sealed for it by recovery."""

    feed: str
    file: str
    rows: int
    sha256: str
    manifest_sha256: str


class RunManifest(msgspec.Struct, kw_only=True):
    """One life of one collector process; key order is the order on disk."""

    schema: str = SCHEMA
    run_id: str
    collector_id: str
    environment: str
    started_utc: str
    stopped_utc: str | None = None
    stop_reason: str | None = None
    """``None`` while it runs, and after a crash until recovery has seen it."""
    collector: str | None = None
    collector_version: str | None = None
    versions: dict[str, str] = {}
    config_sha256: str | None = None
    config: dict[str, Any] = {}
    """The effective settings, but for what may be a secret (``Config.told``)."""
    grid: Grid | None = None
    counts: dict[str, int] = {}
    segments: list[SealedSegment] = []

    def context(self) -> ManifestContext:
        """What the segment manifests of this run take from here."""
        return ManifestContext(
            environment=self.environment,
            collector_id=self.collector_id,
            run_id=self.run_id,
            collector=self.collector,
            collector_version=self.collector_version,
            versions=self.versions,
            config_sha256=self.config_sha256,
            grid=self.grid,
        )


@dataclass
class RunFile:
    """A run manifest and its place on disk."""

    path: Path
    manifest: RunManifest
    _unknown: dict[str, Any] = field(default_factory=dict)
    """Keys of a later version, kept when the file is written again (rule A17)."""
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def create(cls, root: Path, run: RunManifest, started_compact_utc: str) -> RunFile:
        """Write the manifest of a run that starts now (*started_compact_utc*: ``20260416T083503Z``).

        Raises:
            StorageError: it cannot be written.

        """
        path = layout.run_manifest(root, started_compact_utc, run.collector_id, run.run_id)
        made = cls(path, run)
        made.save()
        return made

    @classmethod
    def read(cls, path: Path) -> RunFile:
        """Read one back.

        Raises:
            ArchiveError: it is not a run manifest.
            StorageError: it cannot be read.

        """
        with durable.naming(path, "read"):
            content = path.read_bytes()
        try:
            run = msgspec.json.decode(content, type=RunManifest)
            every = msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ArchiveError(f"{path}: expected a run manifest: {error}") from error
        known = set(RunManifest.__struct_fields__)
        return cls(path, run, {key: value for key, value in every.items() if key not in known})

    def add(self, sealed: SealInfo) -> None:
        """Note a sealed segment; :meth:`save` makes it stay."""
        entry = SealedSegment(sealed.feed, sealed.file, sealed.rows, sealed.sha256, sealed.manifest_sha256)
        self.manifest.segments = [*self.manifest.segments, entry]

    def save(self) -> None:
        """Replace the file; may run in a thread.

        Raises:
            StorageError: it cannot be written; the old one is still there.

        """
        with self._busy:
            content = manifest.encode({**msgspec.to_builtins(self.manifest), **self._unknown})
            durable.atomic_write(self.path, content)


def library_versions() -> dict[str, str]:
    """What the manifests name: Python and the libraries that touch a row."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
