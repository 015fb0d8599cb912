"""Rule A19: a file is at the remote when one file of its name there has our size and our checksum.

The checksum is the remote's own where it has one, SHA-256 before MD5; of a remote without any, the bytes
are read back.  A name, a size or a time proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orderbooks_spider.archive.offloaded import Finding, Receipt
from orderbooks_spider.clock import iso_utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderbooks_spider.clock import Clock
    from orderbooks_spider.offload.plan import Wanted
    from orderbooks_spider.offload.rclone import Rclone, RemoteFile


@dataclass
class Proofs:
    """What the remote was found to hold of the files that were asked for."""

    proven: list[Receipt] = field(default_factory=list)
    absent: list[Wanted] = field(default_factory=list)
    differing: list[tuple[Wanted, Finding]] = field(default_factory=list)
    """There with other content."""
    doubled: list[Finding] = field(default_factory=list)
    """There more than once."""

    @property
    def problems(self) -> list[Finding]:
        """Whatever is there and is not ours, or not ours alone."""
        return [*(problem for _, problem in self.differing), *self.doubled]


def prove(wanted: Sequence[Wanted], rclone: Rclone, clock: Clock) -> Proofs:
    """Ask the remote now for each of the *wanted* files.

    Raises:
        ConfigError: rclone knows no such remote.
        RemoteError: the remote does not answer, or refuses.

    """
    proofs = Proofs()
    if not wanted:
        return proofs
    found = rclone.listing(item.file for item in wanted)
    unhashed: list[tuple[Wanted, RemoteFile]] = []
    for item in wanted:
        entries = found.get(item.file, [])
        if not entries:
            proofs.absent.append(item)
        elif len(entries) > 1:
            proofs.doubled.append(_doubled(item, entries))
        elif entries[0].size != item.size:
            seen = f"{entries[0].size} bytes"
            proofs.differing.append((item, _differs(item, f"{item.size} bytes", seen)))
        elif {"sha256", "md5"} & entries[0].hashes.keys():
            kind: Literal["sha256", "md5"] = "sha256" if "sha256" in entries[0].hashes else "md5"
            _compare(proofs, item, entries[0], (kind, entries[0].hashes[kind]), clock)
        else:
            unhashed.append((item, entries[0]))
    if unhashed:
        read = rclone.read_back(item.file for item, _ in unhashed)
        for item, entry in unhashed:
            _compare(proofs, item, entry, ("sha256", read.get(item.file, "nothing")), clock, downloaded=True)
    return proofs


def _compare(  # noqa: PLR0913 - both sides, and how they were looked at
    proofs: Proofs,
    item: Wanted,
    entry: RemoteFile,
    seen: tuple[Literal["sha256", "md5"], str],
    clock: Clock,
    *,
    downloaded: bool = False,
) -> None:
    kind, digest = seen
    expected = item.sha256 if kind == "sha256" else item.md5
    if digest.lower() != expected:
        proofs.differing.append((item, _differs(item, f"{kind} {expected}", f"{kind} {digest}")))
        return
    proofs.proven.append(
        Receipt(
            file=item.file,
            kind=item.kind,
            bytes=item.size,
            sha256=item.sha256,
            hash_kind=kind,
            remote_hash=digest,
            proven_by="download" if downloaded else "listing",
            proven_at_utc=iso_utc(clock.wall_ns()),
            remote_id=entry.file_id,
        )
    )


def _doubled(item: Wanted, entries: Sequence[RemoteFile]) -> Finding:
    shown = ", ".join(f"{entry.size} bytes (id {entry.file_id})" for entry in entries)
    return Finding(
        file=item.file,
        what="the remote has several files of this name",
        expected="one",
        seen=f"{len(entries)}: {shown}",
        advice="look at both (`rclone lsf`, `rclone dedupe --dedupe-mode list`), and move the wrong one away",
    )


def _differs(item: Wanted, expected: str, seen: str) -> Finding:
    return Finding(
        file=item.file,
        what="the remote's file is not ours",
        expected=expected,
        seen=seen,
        advice="nothing was replaced; find out what changed it, move it away there, and upload again",
    )
