"""Journals into gzip members, and the sealing of a whole file (rules A3, A4).

Every step can be killed and done again: a journal is removed only when its rows stand in a member
that was flushed to the disk.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.journal import RowKey, read_journal, row_key
from orderbooks_spider.archive.members import LEVEL, MemberScan, encode_member
from orderbooks_spider.errors import ArchiveError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class BlockInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some journals."""

    part_bytes: int
    """Length of the ``.part`` afterwards: the next block expects to find it so."""
    rows: int
    """Rows written as one new member; 0 when all of them were there before."""
    known_rows: int = 0
    """Rows that a former, killed attempt had written already."""
    set_aside: list[str] = []
    """Files with torn bytes that were kept beside."""
    salvaged_rows: int = 0
    """Rows read back from a member that was cut."""


def append_block(
    part: Path, journals: Sequence[Path], *, expected_bytes: int | None = None, level: int = LEVEL
) -> BlockInfo:
    """Append the rows of *journals* to *part* as one sorted member, then remove the journals.

    *expected_bytes* is the length that the last block left: when the file has it, nothing of these
    journals can be in it and it is not read.  ``None`` or another length: it is read and repaired.

    Raises:
        ArchiveError: a row's seq stands in *part* with other bytes; nothing was changed.
        StorageError: the disk refused; *part* is as before, the journals are all there.

    """
    size = part.stat().st_size if part.exists() else 0
    retried = size != expected_bytes
    known: dict[int, bytes] = {}
    set_aside: list[str] = []
    if retried and size > 0:
        size, known, set_aside = _repair(part)
    rescue = layout.rescue_journal(part)
    rescued = [rescue] if retried and rescue.exists() and rescue not in journals else []
    rows: dict[int, tuple[RowKey, bytes]] = {}
    dropped = salvaged = 0
    for journal in (*journals, *rescued):
        if retried and not journal.exists():
            continue  # the former attempt proved its rows and removed it
        content = read_journal(journal)
        if content.torn_at is not None:
            reason = "bytes that are no whole row: a crash or a full disk cut the last write"
            set_aside.append(keep_beside(journal, content.torn, content.torn_at, reason))
        for key, line in content.rows:
            if _is_known(key, line, known, rows, journal):
                dropped += 1
            else:
                rows[key.seq] = (key, line)
                salvaged += journal == rescue
    ordered = sorted(rows.values(), key=lambda row: row[0].order)
    if ordered:
        size = _append(part, size, encode_member((line for _, line in ordered), level))
    elif known:
        # The former attempt may have been killed before its flush.
        durable.fsync_file(part)
    _remove((*journals, *rescued), part.parent)
    return BlockInfo(
        part_bytes=size,
        rows=len(ordered),
        known_rows=dropped,
        set_aside=set_aside,
        salvaged_rows=salvaged,
    )


def seal(part: Path, final: Path) -> None:
    """Rule A4: once this returns, *final* is whole and named, as far as the disk keeps its word.

    Raises:
        ArchiveError: *final* exists; a sealed file is never replaced.
        StorageError: the disk refused.

    """
    if final.exists():
        raise ArchiveError(f"{final}: expected no such file before sealing {part.name}, but it exists")
    durable.fsync_file(part)
    durable.move(part, final)


def keep_beside(path: Path, content: bytes, offset: int, reason: str) -> str:
    """Rule A15: keep unusable *content* of *path* as ``.torn`` with its reason; returns the name."""
    copy = 1
    while True:
        number = f"-{copy}" if copy > 1 else ""
        torn = path.with_name(f"{path.name}{number}{layout.TORN}")
        if not torn.exists() or torn.read_bytes() == content:
            break
        copy += 1
    durable.atomic_write(torn, content)
    write_reason(torn, reason, came_from=path.name, offset=offset)
    return torn.name


def write_reason(path: Path, reason: str, *, came_from: str, offset: int) -> None:
    """Say beside the file *path* why it was set aside."""
    content = path.read_bytes()
    note = {
        "reason": reason,
        "file": came_from,
        "offset": offset,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n"
    durable.atomic_write(path.with_name(path.name + layout.REASON), text)


def _repair(part: Path) -> tuple[int, dict[int, bytes], list[str]]:
    """Cut *part* behind its last whole member, after keeping a copy of the rest.

    Returns its length, the SHA-256 of each row by seq (the rows of a large file must not all stay
    in memory), and the files set aside.
    """
    scan = MemberScan(part)
    rows: dict[int, bytes] = {}
    member: list[bytes] = []
    index = 0
    for line in scan.lines():
        # Lines are only believed once their member's checksum has been seen.
        if line.member != index:
            rows.update(_digests(member))
            member, index = [], line.member
        member.append(line.text)
    if index < len(scan.spans):
        rows.update(_digests(member))
        member = []
    if scan.broken is None:
        return scan.good_end, rows, []
    with durable.naming(part, "read"), part.open("rb") as file:
        file.seek(scan.good_end)
        torn = file.read()
    aside = keep_beside(part, torn, scan.good_end, scan.broken)
    # What was inflated before a cut is true; what came before a wrong byte may not be.
    whole = [line for line in member if scan.cut and row_key(line) is not None]
    rescue = layout.rescue_journal(part)
    if whole and not rescue.exists():
        durable.atomic_write(rescue, b"".join(whole))
    durable.truncate(part, scan.good_end)
    return scan.good_end, rows, [aside]


def _digests(lines: Sequence[bytes]) -> dict[int, bytes]:
    return {key.seq: hashlib.sha256(line).digest() for line in lines if (key := row_key(line)) is not None}


def _is_known(
    key: RowKey, line: bytes, known: dict[int, bytes], rows: dict[int, tuple[RowKey, bytes]], journal: Path
) -> bool:
    """Whether the row is stored already; the same seq with other bytes is an error."""
    here = known.get(key.seq)
    earlier = rows.get(key.seq)
    if here is None and earlier is None:
        return False
    if (here is None or here == hashlib.sha256(line).digest()) and (earlier is None or earlier[1] == line):
        return True
    raise ArchiveError(f"{journal}: seq {key.seq}: expected the bytes stored before, saw others")


def _append(part: Path, size: int, member: bytes) -> int:
    """Write *member* behind the *size* bytes of *part* and flush; returns the new length."""
    is_new = not part.exists()
    with durable.naming(part, "append a block"):
        descriptor = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with durable.naming(part, "append a block"):
            durable.write_all(descriptor, member)
        durable.fsync_descriptor(descriptor, part)
    except StorageError:
        # A full disk: give the room back; the rows are still in their journals.
        with durable.naming(part, "take a half block back"):
            os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)
    if is_new:
        durable.fsync_folder(part.parent)
    return size + len(member)


def _remove(journals: Sequence[Path], folder: Path) -> None:
    for journal in journals:
        durable.unlink(journal)
    if journals:
        durable.fsync_folder(folder)
