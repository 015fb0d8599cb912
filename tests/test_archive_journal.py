"""The journal: a row is stored whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.archive.journal import Journal, read_journal, row_key
from orderbooks_spider.archive.sealer import child_environment
from orderbooks_spider.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from orderbooks_spider.archive.journal import Journal
from orderbooks_spider.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
root = Path(sys.argv[1])
journal = Journal(root / "a.jsonl.journal", root)
row = b'{"seq":1,"body":"' + b"x" * 60 + b'"}\\n'
journal.append(row)
for _ in range(2):
    try:
        journal.append(row)
    except StorageError as error:
        print(error)
assert (journal.rows, journal.bytes, journal.usable) == (1, len(row), True)
journal.append(b'{"seq":2}\\n')
try:
    journal.append(b'{"seq":3}\\n' * 2, 2)  # room for one of them
except StorageError as error:
    print(error)
journal.sync()
"""


def test_short_write_leaves_no_half_row(tmp_path: Path) -> None:
    """Rule A2: where the disk takes only a part of a write, no row and no byte of it stays."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    content = read_journal(tmp_path / "a.jsonl.journal")
    assert done.stdout.count("cannot write") == 3
    assert [key.seq for key, _ in content.rows] == [1, 2]
    assert content.torn == b""


def test_journal_is_never_opened_again(tmp_path: Path) -> None:
    """Rule A6: a name that exists is an error: a new process never appends to an old journal."""
    path = tmp_path / "a.jsonl.journal"
    Journal(path, tmp_path).close()
    with pytest.raises(StorageError, match="File exists"):
        Journal(path, tmp_path)


def test_failed_flush_ends_the_journal(tmp_path: Path) -> None:
    """After a flush that failed the journal takes no more rows: a second fsync would lie."""
    journal = Journal(tmp_path / "a.jsonl.journal", tmp_path)
    journal.append(b'{"seq":1}\n')
    read_end, write_end = os.pipe()
    os.dup2(write_end, journal._descriptor)  # a pipe cannot be flushed: EINVAL, from the real system call
    with pytest.raises(StorageError, match="cannot flush"):
        journal.sync()
    assert not journal.usable
    with pytest.raises(StorageError, match="closed"):
        journal.append(b'{"seq":2}\n')
    journal.finish()
    for descriptor in (read_end, write_end):
        os.close(descriptor)


@given(
    rows=st.lists(st.binary(max_size=20).map(lambda body: body.hex()), min_size=1, max_size=5), data=st.data()
)
def test_cut_journal_keeps_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], data: st.DataObject
) -> None:
    """Rule A6: a journal cut at any byte gives every whole row and the torn rest, nothing else."""
    lines = [f'{{"seq":{seq},"body":"{body}"}}\n'.encode() for seq, body in enumerate(rows, 1)]
    content = b"".join(lines)
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("cut") / "j"
    path.write_bytes(content[:cut])
    whole = [line for index, line in enumerate(lines) if len(b"".join(lines[: index + 1])) <= cut]
    read = read_journal(path)
    assert [line for _, line in read.rows] == whole
    assert b"".join(whole) + read.torn == content[:cut]


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}\n", b"[1]\n", b'{"seq":"1"}\n', b'{"seq":1,"a":"\x00"}\n', b"\x00" * 50]
)
def test_line_without_seq_or_json_is_no_row(line: bytes) -> None:
    """A line is a row only as a JSON object with an integer seq; zeros after a power loss are none."""
    assert row_key(line) is None
