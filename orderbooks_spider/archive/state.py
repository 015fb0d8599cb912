"""Where each feed of a collector stands: the next ``seq`` and the head of its manifest chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.manifest import digest
from orderbooks_spider.archive.tally import Span  # noqa: TC001 - msgspec reads it
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import FEEDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FIRST_SEQ = 1


class Link(msgspec.Struct, frozen=True):
    """The keys of a segment manifest that make the chain."""

    feed: str
    collector_id: str
    run_id: str
    file: str
    rows: int
    sha256: str
    seq: Span | None
    time_ns: Span | None
    previous_manifest_sha256: str | None


@dataclass(frozen=True)
class FeedHead:
    """Where to go on."""

    next_seq: int = FIRST_SEQ
    manifest_sha256: str | None = None
    """Digest of the newest manifest; ``None`` before the first."""
    last_ns: int = 0
    """The latest time of a row (due, observed or happened), UTC; 0 before the first."""


_link = msgspec.json.Decoder(Link)


def open_feeds(root: Path, collector_id: str) -> dict[str, FeedHead]:
    """The head of every feed, from the manifests; call it after ``recover`` and under the lock.

    Raises:
        ArchiveError: a manifest cannot be understood.
        StorageError: a manifest cannot be read.

    """
    heads = dict.fromkeys(FEEDS, FeedHead())
    for link, sha256 in links(root, collector_id):
        after = link.seq.last + 1 if link.seq is not None else FIRST_SEQ
        head = heads.get(link.feed)
        if head is None:
            continue
        last_ns = max(head.last_ns, link.time_ns.last if link.time_ns is not None else 0)
        if after > head.next_seq:
            head = FeedHead(after, sha256)
        heads[link.feed] = replace(head, last_ns=last_ns)
    return heads


def last_seq(root: Path, feed: str, collector_id: str) -> int:
    """The highest sealed ``seq`` of a feed; 0 when nothing is sealed."""
    return open_feeds(root, collector_id)[feed].next_seq - 1


def links(root: Path, collector_id: str) -> Iterator[tuple[Link, str]]:
    """Every manifest of a collector with the digest of its bytes, in path order.

    Raises:
        ArchiveError: a manifest cannot be understood.
        StorageError: a manifest cannot be read.

    """
    for path, segment in layout.walk_manifests(root):
        if segment is not None and segment.collector_id == collector_id:
            yield read_link(path)


def newest_heads(manifests: Iterable[tuple[str, int, str]]) -> dict[str, str]:
    """Per chain, ``feed/collector``, the digest of its newest manifest; from (chain, last seq, digest)."""
    newest: dict[str, tuple[int, str]] = {}
    for chain, last_seq, sha256 in manifests:
        newest[chain] = max(newest.get(chain, (0, "")), (last_seq, sha256))
    return {chain: newest[chain][1] for chain in sorted(newest)}


def read_link(path: Path) -> tuple[Link, str]:
    """One manifest as a link of its chain.

    Raises:
        ArchiveError: the manifest cannot be understood.
        StorageError: the manifest cannot be read.

    """
    with durable.naming(path, "read"):
        content = path.read_bytes()
    try:
        return _link.decode(content), digest(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"{path}: expected a manifest: {error}") from error
