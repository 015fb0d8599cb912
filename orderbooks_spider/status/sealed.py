"""What the manifests of sealed segments say, newest first, without reading a segment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import Member, digest
from orderbooks_spider.archive.tally import Span  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Facts(msgspec.Struct, frozen=True):
    """The keys of a manifest that are counted."""

    rows: int
    bytes: int
    seq: Span | None
    time_ns: Span | None
    results: dict[str, int]
    events: dict[str, int]
    members: list[Member]


@dataclass(frozen=True)
class Sealed:
    """A sealed segment by its manifest; its file may be here or at a remote."""

    names: layout.Segment
    facts: Facts
    sha256: str
    """Digest of the manifest."""

    @property
    def last_seq(self) -> int:
        """Orders the segments of one feed and collector."""
        return self.facts.seq.last if self.facts.seq is not None else 0


@dataclass
class SealedSegments:
    """One feed's newest segments by collector, and every collector's newest of all."""

    recent: defaultdict[str, list[Sealed]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[str, Sealed] = field(default_factory=dict)
    bad: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By collector the manifests that could not be read; verify says more."""


_facts = msgspec.json.Decoder(Facts)


def sealed_segments(root: Path, feed: str, since: str, collectors: Iterable[str]) -> SealedSegments:
    """Read the manifests of the hours from *since* on (``YYYY/MM/DD/HH``), and each collector's newest one.

    Bounded by hours, not by the archive's age, but for collectors that have been silent for longer: for
    them folders are listed backwards until their last manifest turns up.
    """
    found = SealedSegments()
    wanted = set(collectors)
    for hour, folder in layout.hours_back(layout.manifest_folder(root, feed)):
        recent = hour >= since
        if not recent and wanted <= found.newest.keys():
            break
        fresh = defaultdict(list)
        for path in sorted(folder.iterdir()):
            names = layout.parse_manifest(root, path)
            if names is not None and (recent or names.collector_id not in found.newest):
                sealed = _read(path, names, found)
                if sealed is not None:
                    fresh[names.collector_id].append(sealed)
        for collector_id, segments in fresh.items():
            if recent:
                found.recent[collector_id] += segments
            last = max(segments, key=lambda item: item.last_seq)
            if collector_id not in found.newest or found.newest[collector_id].last_seq < last.last_seq:
                found.newest[collector_id] = last
    return found


def _read(path: Path, names: layout.Segment, found: SealedSegments) -> Sealed | None:
    try:
        content = path.read_bytes()
        return Sealed(names, _facts.decode(content), digest(content))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        found.bad[names.collector_id].append(f"{layout.relative(names.root, path)}: {error}")
        return None
