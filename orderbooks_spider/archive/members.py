"""Gzip members: made deterministically, read as a stream, cut only between them (rules A3, A9).

Layout facts that hold for every file here: a member holds whole lines, at least one; nothing stands
between or after members.  ``zlib-ng`` alone decides the bytes: no file name, no time, a fixed OS byte.
They are read with the standard library's zlib, so that each sealed file has been opened by the zlib that
every other reader has.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from zlib_ng import zlib_ng

from orderbooks_spider.archive import durable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

LEVEL = 7
"""Of sorted blocks, with zlib-ng: the level at which more time buys little (docs/decisions/0002)."""
CHUNK_BYTES = 1 << 20
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no flags, time 0, no extra flags, OS unknown."""
_HEADERS_TRIED = 3
"""Of a file that ends in a cut member, none fits: whoever asks then reads it whole."""


class Digest(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""


@dataclass(frozen=True)
class Span:
    """Where a member lies in its file, and how many lines it holds."""

    offset: int
    length: int
    rows: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a segment; *member* and *number* count from 0."""

    member: int
    number: int
    text: bytes
    """With its ``\\n``, unless the member ends without one."""


def encode_member(lines: Iterable[bytes], level: int = LEVEL) -> bytes:
    """One gzip member of *lines*: equal lines and equal zlib-ng give equal bytes."""
    deflate = zlib_ng.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    checksum = 0
    size = 0
    parts = [_GZIP_HEADER]
    for line in lines:
        checksum = zlib.crc32(line, checksum)
        size += len(line)
        parts.append(deflate.compress(line))
    parts.append(deflate.flush())
    parts.append(checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little"))
    return b"".join(parts)


class MemberScan:
    """Streams the lines of a file and says afterwards where its whole members end.

    Lines of a member that turns out not to be whole are yielded too, as the last ones: their
    ``member`` equals ``len(scan.spans)``.  Bounded memory: one chunk in, one chunk out, one line.
    """

    def __init__(self, path: Path, digests: Iterable[Digest] = (), offset: int = 0) -> None:
        self.path = path
        self.spans: list[Span] = []
        self.good_end = offset
        """Offset behind the last whole member."""
        self.broken: str | None = None
        """Why the rest of the file is no whole member; ``None`` for a sound file."""
        self.cut = False
        """Whether the rest is the beginning of a member, so that its lines can be believed."""
        self._offset = offset
        self._digests = tuple(digests)

    def lines(self, limit_members: int | None = None) -> Iterator[Line]:
        """Yield the lines in file order, of at most *limit_members* members.

        Raises:
            StorageError: the file cannot be read.

        """
        with durable.naming(self.path, "read"), self.path.open("rb") as file:
            file.seek(self._offset)
            pending = b""
            while limit_members is None or len(self.spans) < limit_members:
                data = pending or self._read(file)
                if not data:
                    return
                pending = yield from self._member(file, data)
                if self.broken is not None:
                    while self._read(file):
                        pass
                    return

    def _read(self, file: _Readable) -> bytes:
        data = file.read(CHUNK_BYTES)
        for digest in self._digests:
            digest.update(data)
        return data

    def _member(self, file: _Readable, data: bytes) -> Generator[Line, None, bytes]:
        """Yield one member's lines; returns the bytes that follow it."""
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        index, number, taken, rest = len(self.spans), 0, 0, b""
        while not inflate.eof:
            if not data:
                data = self._read(file)
            if not data:
                self.broken = f"the member at offset {self.good_end} is cut after {taken} bytes"
                self.cut = True
                break
            try:
                text = rest + inflate.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                self.broken = f"no gzip member at offset {self.good_end}: {error}"
                break
            left = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            taken += len(data) - len(left)
            data = left
            parts = text.split(b"\n")
            rest = parts.pop()
            for part in parts:
                yield Line(index, number, part + b"\n")
                number += 1
        if rest and not self.broken:
            yield Line(index, number, rest)
            number += 1
        if not self.broken:
            self.spans.append(Span(self.good_end, taken, number))
            self.good_end += taken
        return data


def last_member(path: Path) -> list[bytes] | None:
    """The lines of the member with which a file ends; ``None`` where it does not end with a whole one.

    Found from behind by the header, which compressed bytes may hold by chance: what begins there then does
    not end with the file.

    Raises:
        StorageError: the file cannot be read.

    """
    with durable.naming(path, "read"), path.open("rb") as file:
        end = size = file.seek(0, os.SEEK_END)
        behind, tries = b"", 0
        while end > 0:
            begin = max(0, end - CHUNK_BYTES)
            file.seek(begin)
            window = file.read(end - begin) + behind  # a header may lie across two chunks
            at = window.rfind(_GZIP_HEADER)
            while at >= 0 and tries < _HEADERS_TRIED:
                scan = MemberScan(path, offset=begin + at)
                lines = [line.text for line in scan.lines()]
                if scan.broken is None and scan.good_end == size and len(scan.spans) == 1:
                    return lines
                tries += 1
                at = window.rfind(_GZIP_HEADER, 0, at + len(_GZIP_HEADER) - 1)
            if tries == _HEADERS_TRIED:
                return None
            end, behind = begin, window[: len(_GZIP_HEADER) - 1]
    return None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def segment_lines(path: Path) -> Iterator[Line]:
    """Stream the lines of a sealed file; stops silently at damage, which verify reports."""
    return MemberScan(path).lines()
