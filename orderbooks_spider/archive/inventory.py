"""The cheap rungs of verify: what lies in an archive, by names, sizes, manifests and chains."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orderbooks_spider.archive import companions, layout, manifest
from orderbooks_spider.archive.findings import INVESTIGATE, RECOVER, RESTORE
from orderbooks_spider.archive.lock import holder_of
from orderbooks_spider.archive.manifest import Manifest, read_manifest
from orderbooks_spider.archive.offloaded import Offloaded, read_offloaded
from orderbooks_spider.archive.state import FIRST_SEQ
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orderbooks_spider.archive.findings import Problems
    from orderbooks_spider.archive.layout import Segment
    from orderbooks_spider.archive.offloaded import Held


@dataclass
class Described:
    """A segment with its manifest."""

    names: Segment
    manifest: Manifest
    sha256: str
    """Digest of the manifest's bytes: the next link holds it."""
    is_here: bool
    """Whether the sealed file lies here."""
    at_remote: Held | None = None
    """Where a purge record says that it went; only of a file that is not here."""


@dataclass
class Inventory:
    """An archive root by its names."""

    root: Path
    described: list[Described] = field(default_factory=list)
    open_files: list[str] = field(default_factory=list)
    """Files that a running collector has not sealed yet."""
    set_aside: Counter[str] = field(default_factory=Counter)
    """Torn and orphaned pieces that lie beside, each with its reason."""
    files: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing of an archive is here."""
        return self.files == 0 and not self.described


def take(root: Path, problems: Problems, *, require_local: bool = False) -> Inventory:
    """Climb the rungs that read no segment; with *require_local* a purged segment is missing.

    Raises:
        StorageError: a folder or a manifest cannot be read.

    """
    found = Inventory(root)
    # Raw files first: what is sealed meanwhile then shows up as described, not as lost.
    raw = list(layout.walk_raw(root))
    live = {item.segment.collector_id for item in raw if item.segment is not None}
    live = {collector_id for collector_id in live if holder_of(root, collector_id) is not None}
    _read_manifests(found, problems)
    described = {item.names.stem for item in found.described}
    for item in raw:
        _file(found, item, described, live, problems)
    purged = _read_offloaded(root, problems)
    for segment in found.described:
        _size(segment, purged, problems, require_local=require_local)
    companions.check_sums(found, raw, live, problems)
    companions.check_runs(found, live, problems)
    _chains(found, problems)
    return found


def check_heads(found: Inventory, kept: Mapping[str, str], problems: Problems) -> None:
    """Rule A8 against a removed tail: each head that was kept elsewhere is a link of its chain.

    *kept* is ``feed/collector`` to the digest that verify printed before; the chain may have grown.
    """
    links: defaultdict[str, set[str]] = defaultdict(set)
    for item in found.described:
        links[f"{item.names.feed}/{item.names.collector_id}"].add(item.sha256)
    for chain, sha256 in sorted(kept.items()):
        if sha256 not in links[chain]:
            problems.add(
                "chain", f"chain {chain}", "the kept head is no link of this chain",
                expected=f"a manifest with sha256 {sha256}",
                seen=f"{len(links[chain])} manifests, none of them with it: the newest were removed, or "
                "the chain was made anew",
                advice=RESTORE,
            )  # fmt: skip


def _read_manifests(found: Inventory, problems: Problems) -> None:
    for path, segment in layout.walk_manifests(found.root):
        file = layout.relative(found.root, path)
        if segment is None:
            if path.name.endswith((layout.ORPHAN, layout.REASON, layout.TEMPORARY)):
                found.set_aside["manifest"] += 1
            else:
                problems.add_foreign(file)
            continue
        try:
            made, sha256 = read_manifest(path)
        except ArchiveError as error:
            problems.add(
                "layout", file, "unreadable manifest",
                expected=f"a manifest of schema {manifest.SCHEMA}", seen=error, advice=RESTORE,
            )  # fmt: skip
            continue
        said_file = (made.feed, made.collector_id, made.run_id, made.file)
        named = (segment.feed, segment.collector_id, segment.run_id, segment.file)
        if said_file != named:
            problems.add(
                "layout", file, "the manifest is about another segment",
                expected=named, seen=said_file, advice=INVESTIGATE,
            )  # fmt: skip
            continue
        found.described.append(Described(segment, made, sha256, segment.sealed.exists()))


def _file(
    found: Inventory, item: layout.Found, described: set[str], live: set[str], problems: Problems
) -> None:
    file = layout.relative(found.root, item.path)
    if item.kind in {"torn", "orphan", "temporary"}:
        found.set_aside[item.kind] += 1
    if item.kind == "foreign":
        problems.add_foreign(file)
    if item.segment is None:
        return
    found.files += 1
    if item.kind == "sealed" and item.segment.stem in described:
        return
    if item.segment.collector_id in live:
        found.open_files.append(file)
    elif item.path.exists():
        sealed = item.kind == "sealed"
        problems.add(
            "completeness", file, "a sealed file without manifest" if sealed else "an unsealed file",
            expected="a manifest" if sealed else "sealed segments only, as nobody writes here",
            seen="none" if sealed else "open, or left by a crash",
            advice=RECOVER,
        )  # fmt: skip


def _read_offloaded(root: Path, problems: Problems) -> Offloaded:
    def unreadable(path: Path, error: ArchiveError) -> None:
        problems.add(
            "layout", layout.relative(root, path), "unreadable record of an upload or a purge",
            expected="a record", seen=error, advice=RESTORE,
        )  # fmt: skip

    return read_offloaded(root, unreadable)


def _size(item: Described, known: Offloaded, problems: Problems, *, require_local: bool) -> None:
    try:
        size = item.names.sealed.stat().st_size
    except FileNotFoundError:
        item.is_here = False
        purged = known.purged_copy(item.names.file, item.manifest.sha256)
        if purged is not None and not require_local:
            item.at_remote = purged
            return
        problems.add(
            "completeness", item.names.file, "a manifest without its file",
            expected=f"{item.manifest.bytes} bytes, sha256 {item.manifest.sha256}",
            seen="no file" if purged is None else f"no file: purged, {purged.destination} held it then",
            advice=RESTORE,
        )  # fmt: skip
        return
    if size != item.manifest.bytes:
        problems.add(
            "sizes", item.names.file, "the size differs from the manifest",
            expected=f"{item.manifest.bytes} bytes", seen=f"{size} bytes", advice=RESTORE,
        )  # fmt: skip


def _forks(chains: Mapping[tuple[str, str], list[Described]], problems: Problems) -> None:
    """A manifest with two followers: two collectors wrote under one id, and their archives were merged."""
    rivals: defaultdict[str, set[str]] = defaultdict(set)
    for (_, collector), chain in chains.items():
        followers: defaultdict[str | None, set[str]] = defaultdict(set)
        for item in chain:
            followers[item.manifest.previous_manifest_sha256].add(item.names.run_id)
        for runs in followers.values():
            rivals[collector] |= runs if len(runs) > 1 else set()
    for collector, runs in rivals.items():
        if runs:
            problems.add(
                "layout", f"collector {collector}", "two collectors wrote under this id (A14)",
                expected="one chain of manifests per feed and collector id",
                seen=f"chains that part: the runs {', '.join(sorted(runs))} follow one and the same point",
                advice="take the merged archives apart again, by run id, and verify each on its own; from "
                "now on give every collector its own archive.collector_id",
            )  # fmt: skip


def _chains(found: Inventory, problems: Problems) -> None:
    """Each manifest holds the digest of the one before; seq goes on without a gap (A8, A11)."""
    chains: dict[tuple[str, str], list[Described]] = defaultdict(list)
    environments = {item.manifest.environment for item in found.described}
    for item in found.described:
        chains[item.names.feed, item.names.collector_id].append(item)
    _forks(chains, problems)
    for chain in chains.values():
        chain.sort(key=lambda item: item.manifest.seq.first if item.manifest.seq else 0)
        before: str | None = None
        next_seq = FIRST_SEQ
        for item in chain:
            file = layout.relative(found.root, item.names.manifest)
            seq, previous = item.manifest.seq, item.manifest.previous_manifest_sha256
            if previous != before:
                problems.add(
                    "chain", file, "the manifest before this one is missing or was changed",
                    expected=f"previous manifest {previous or 'none: the first of the chain'}",
                    seen=before or "none", advice=RESTORE,
                )  # fmt: skip
            if seq is not None and seq.first != next_seq:
                problems.add(
                    "chain", file, "rows are missing or doubled before this segment",
                    expected=f"first seq {next_seq}", seen=f"first seq {seq.first}", advice=RESTORE,
                )  # fmt: skip
            before, next_seq = item.sha256, seq.last + 1 if seq is not None else next_seq
    if len(environments) > 1:
        problems.add(
            "layout", "manifests", "live and simulated evidence in one root (A16)",
            expected="one environment", seen=", ".join(sorted(environments)),
            advice="move the sandbox files to a root of their own",
        )  # fmt: skip
