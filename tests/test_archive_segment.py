"""Blocks and seals: members are deterministic, and every step can be killed and done again."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider.archive.members import MemberScan, encode_member
from orderbooks_spider.archive.segment import append_block, seal
from orderbooks_spider.errors import ArchiveError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

STEM = "polymarket_books_20260416T083500Z_c0_r1"


def row(seq: int, token: str = "1", due: int | None = None, body: str = "") -> bytes:
    value = {"seq": seq, "token_id": token, "due_ns": seq if due is None else due, "body": body}
    return msgspec.json.encode(value) + b"\n"


def journal(folder: Path, block: int, *rows: bytes) -> Path:
    path = folder / f"{STEM}.{block:04d}.jsonl.journal"
    path.write_bytes(b"".join(rows))
    return path


def part_of(folder: Path) -> Path:
    return folder / f"{STEM}.jsonl.gz.part"


def stored(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def test_member_bytes_are_pinned() -> None:
    """Rule A3: equal rows give equal bytes: no time, no name, a fixed OS byte."""
    member = encode_member([b'{"seq":1}\n', b'{"seq":2}\n'])
    assert member[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert member == encode_member([b'{"seq":1}\n{"seq":2}\n'])
    assert gzip.decompress(member) == b'{"seq":1}\n{"seq":2}\n'


@given(blocks=st.lists(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5), max_size=5))
def test_scan_finds_every_member(tmp_path_factory: pytest.TempPathFactory, blocks: list[list[bytes]]) -> None:
    """Rule A9: reading back gives the lines and the places of all members, whatever the lines hold."""
    lines = [[raw.replace(b"\n", b" ") + b"\n" for raw in block] for block in blocks]
    members = [encode_member(block) for block in lines]
    path = tmp_path_factory.mktemp("scan") / "a"
    path.write_bytes(b"".join(members))
    scan = MemberScan(path)
    assert [line.text for line in scan.lines()] == [line for block in lines for line in block]
    assert [(span.length, span.rows) for span in scan.spans] == [
        (len(member), len(block)) for member, block in zip(members, lines, strict=True)
    ]
    assert scan.broken is None


def test_scan_streams_lines_longer_than_a_chunk(tmp_path: Path) -> None:
    """Lines longer than the read size come out whole."""
    lines = [b"a" * 3_000_000 + b"\n", b"b\n"]
    (tmp_path / "a").write_bytes(encode_member(lines))
    assert [line.text for line in MemberScan(tmp_path / "a").lines()] == lines


def test_block_is_sorted_by_token_and_time(tmp_path: Path) -> None:
    """Rule A3: inside a block rows stand by token, time and seq, so that gzip finds the last book."""
    rows = [row(1, "b", 5), row(2, "a", 9), row(3, "a", 5), row(4, "b", 4)]
    info = append_block(part_of(tmp_path), [journal(tmp_path, 1, *rows)], expected_bytes=0)
    assert stored(part_of(tmp_path)) == [rows[2], rows[1], rows[3], rows[0]]
    assert (info.rows, info.part_bytes) == (4, part_of(tmp_path).stat().st_size)
    assert list(tmp_path.glob("*.journal")) == []


def test_kill_between_flush_and_unlink_doubles_nothing(tmp_path: Path) -> None:
    """Rule A6: journals whose rows are in the file already are removed without writing them again."""
    part = part_of(tmp_path)
    first = journal(tmp_path, 1, row(1), row(2))
    second = journal(tmp_path, 2, row(3))
    saved = [(path, path.read_bytes()) for path in (first, second)]
    append_block(part, [first, second], expected_bytes=0)
    for path, content in saved:
        path.write_bytes(content)
    third = journal(tmp_path, 3, row(4))
    info = append_block(part, [first, second, third], expected_bytes=0)
    assert (info.known_rows, info.rows) == (3, 1)
    assert stored(part) == [row(1), row(2), row(3), row(4)]


def test_kill_between_two_unlinks_loses_nothing(tmp_path: Path) -> None:
    """A journal that a killed attempt removed already is no error when the job is done again."""
    part, first, second = part_of(tmp_path), journal(tmp_path, 1, row(1)), journal(tmp_path, 2, row(2))
    content = second.read_bytes()
    append_block(part, [first, second], expected_bytes=0)
    second.write_bytes(content)
    append_block(part, [first, second], expected_bytes=None)
    assert stored(part) == [row(1), row(2)]


def test_journal_that_vanished_is_an_error(tmp_path: Path) -> None:
    """A journal that is gone although no attempt was killed is reported, not passed over."""
    part = part_of(tmp_path)
    with pytest.raises(StorageError, match="cannot read"):
        append_block(part, [tmp_path / f"{STEM}.0001.jsonl.journal"], expected_bytes=0)


def test_same_seq_with_other_bytes_is_an_error(tmp_path: Path) -> None:
    """A row that contradicts a stored one stops the block, and every file stays as it is."""
    part, first = part_of(tmp_path), journal(tmp_path, 1, row(1))
    append_block(part, [first], expected_bytes=0)
    before = part.read_bytes()
    other = journal(tmp_path, 2, row(1, body="other"))
    with pytest.raises(ArchiveError, match="seq 1"):
        append_block(part, [other], expected_bytes=None)
    assert part.read_bytes() == before
    assert other.exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_torn_member_is_done_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Rule A6: a member cut anywhere is kept as .torn and written again from its journal."""
    folder = tmp_path_factory.mktemp("torn")
    part = part_of(folder)
    append_block(part, [journal(folder, 1, row(1), row(2, "2"))], expected_bytes=0)
    good = part.read_bytes()
    member = encode_member([row(3), row(4, "2")])
    cut = data.draw(st.integers(1, len(member) - 1))
    part.write_bytes(good + member[:cut])
    info = append_block(part, [journal(folder, 2, row(3), row(4, "2"))], expected_bytes=len(good))
    assert part.read_bytes() == good + member
    assert (folder / info.set_aside[0]).read_bytes() == member[:cut]
    assert "cut after" in (folder / f"{info.set_aside[0]}.reason.json").read_text()


def test_cut_member_without_journal_gives_its_whole_rows_back(tmp_path: Path) -> None:
    """Rule A6: where the journal is gone too, whole rows before the cut are read back, none is invented."""
    noise = random.Random(1)
    rows = [row(seq, body=noise.randbytes(500).hex()) for seq in range(1, 20)]
    member = encode_member(rows)
    part_of(tmp_path).write_bytes(member[: len(member) // 2])
    info = append_block(part_of(tmp_path), [], expected_bytes=None)
    kept = stored(part_of(tmp_path))
    assert 0 < len(kept) < len(rows)
    assert kept == rows[: len(kept)]
    assert info.salvaged_rows == len(kept)


@pytest.mark.parametrize("tail", [b"\x00" * 4096, b"garbage", encode_member([row(9)])[:-8] + b"\x00" * 8])
def test_wrong_bytes_are_set_aside_and_not_believed(tmp_path: Path, tail: bytes) -> None:
    """Zeros after a power loss, garbage and a member with a wrong checksum give no rows."""
    part = part_of(tmp_path)
    good = encode_member([row(1)])
    part.write_bytes(good + tail)
    info = append_block(part, [], expected_bytes=None)
    assert part.read_bytes() == good
    assert (tmp_path / info.set_aside[0]).read_bytes() == tail
    assert info.salvaged_rows == 0


def test_second_torn_piece_does_not_replace_the_first(tmp_path: Path) -> None:
    """Rule A15: evidence of one crash is not overwritten by the next."""
    part, good = part_of(tmp_path), encode_member([row(1)])
    for tail in (b"first", b"second"):
        part.write_bytes(good + tail)
        append_block(part, [], expected_bytes=None)
    assert sorted(path.read_bytes() for path in tmp_path.glob("*.torn")) == [b"first", b"second"]


def test_sealed_file_is_never_replaced(tmp_path: Path) -> None:
    """Rule A5: sealing onto an existing file is an error."""
    part, final = part_of(tmp_path), tmp_path / f"{STEM}.jsonl.gz"
    part.write_bytes(encode_member([row(1)]))
    final.write_bytes(b"old")
    with pytest.raises(ArchiveError, match="expected no such file"):
        seal(part, final)
    assert final.read_bytes() == b"old"
