"""What uploads and purges say to people, line by line; 80 columns but for names."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orderbooks_spider.archive.offloaded import Finding
    from orderbooks_spider.offload.purge import Purge
    from orderbooks_spider.offload.upload import Upload

WIDTH = 80


def upload_plan(upload: Upload, *, execute: bool) -> Iterator[str]:
    """What :meth:`Upload.look` found."""
    rclone, plan = upload.rclone, upload.plan
    yield f"archive      {upload.root} ({plan.environment or 'no segments yet'})"
    yield f"destination  {rclone.destination} (rclone {rclone.version})"
    yield f"proven       {plan.proven_segments:,} segments by earlier runs"
    if upload.proven:
        yield f"there        {_sum(item.bytes for item in upload.proven)}, not recorded yet, proven just now"
    yield f"to send      {_sum(item.size for item in upload.to_send)}"
    if not execute:
        yield from (f"  {item.size:>13,}  {item.file}" for item in upload.to_send)


def upload_end(upload: Upload, *, execute: bool) -> Iterator[str]:
    """How it went."""
    yield from problems(upload.problems)
    yield from (f"✗ {failure}" for failure in upload.failures)
    if upload.record is not None:
        yield f"record       {upload.record.relative_to(upload.root)}"
    for chain, sha256 in upload.plan.heads.items() if execute else ():
        yield f"head {chain}"
        yield f"     {sha256}"
    if not execute:
        yield "dry run: nothing was sent; --execute sends it"
    elif upload.complete and not upload.proven:
        yield f"nothing to send: all that is here was proven at {upload.rclone.destination} before"
    elif upload.complete and upload.record is None:
        yield "PROVEN, BUT NOT WRITTEN DOWN HERE: the next run looks again"
    elif upload.complete:
        yield f"PROVEN: {_sum(item.bytes for item in upload.proven)} at {upload.rclone.destination}"
    else:
        yield (
            f"NOT ALL PROVEN: {len(upload.problems):,} problems, {len(upload.failures):,} failures; "
            "nothing local was removed"
        )


def purge_plan(purge: Purge, *, execute: bool) -> Iterator[str]:
    """What :meth:`Purge.look` found."""
    rclone = purge.rclone
    yield f"archive      {purge.root} ({purge.environment or 'nothing to purge'})"
    yield f"destination  {rclone.destination} (rclone {rclone.version})"
    yield f"kept         {purge.younger:,} segments sealed within {purge.older_than_days:g} days"
    yield f"kept         {purge.unproven:,} older segments that no upload proved there"
    yield f"to remove    {_sum(item.bytes for item in purge.removable)}, each proven there again just now"
    if not execute:
        yield from (f"  {item.bytes:>13,}  {item.file}" for item in purge.removable)


def purge_end(purge: Purge, *, execute: bool) -> Iterator[str]:
    """How it went."""
    yield from problems(purge.problems)
    if purge.record is not None:
        yield f"record       {purge.record.relative_to(purge.root)}"
    if not execute:
        yield "dry run: nothing was removed; --execute removes it"
    elif purge.record is not None:
        yield f"REMOVED: {_sum(item.bytes for item in purge.removable)}; their manifests stay"
    else:
        yield "nothing was removed"


def problems(found: Iterable[Finding]) -> Iterator[str]:
    """Each with what was expected, what was seen and what to do."""
    for problem in found:
        yield f"✗ {problem.file}"
        for label, said in (
            ("what", problem.what),
            ("expected", problem.expected),
            ("seen", problem.seen),
            ("do", problem.advice),
        ):
            yield from textwrap.wrap(
                said, WIDTH, initial_indent=f"  {label:9}", subsequent_indent=" " * 11, break_on_hyphens=False
            )


def _sum(sizes: Iterable[int]) -> str:
    every = list(sizes)
    return f"{len(every):,} files, {sum(every):,} bytes"
