#!/usr/bin/env python3
"""How many bytes does a poll take on disk: by line order, by gzip level, with zstd?

Recorded BTC 5-minute books of eight tokens, one poll a second each, as real rows of the feed ``books``.
Two sources: books in the shape of REST ``/book``, and raw websocket books.
Where fewer tokens were recorded, the same series are played again shifted, under other ids.

Examples:
  python bench/storage.py
  python bench/storage.py --json storage.json

Exit codes: 0 done, 2 the recorded books are not there.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import re
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import pyarrow.parquet

from bench import report
from orderbooks_spider.archive.journal import row_key
from orderbooks_spider.archive.members import LEVEL, encode_member
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.errors import EXIT_CANNOT_CHECK
from orderbooks_spider.items import PollItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).resolve().parents[2] / "shared/reference/payloads/polymarket"
TOKENS, SECONDS, BLOCK_SECONDS = 8, 300, 60
START_NS = parse_utc("2026-04-16T08:35:00Z")
ZLIB_LEVEL = 6
"""What ``gzip`` takes unless told otherwise."""
LEVELS = (1, 4, 6, 7, 8, 9)
ZSTD_LEVELS = (3, 9)

Series = list[list[str]]
"""Per recorded token, its book at each second."""


class _Replay(msgspec.Struct):
    books: list[msgspec.Raw]


class _Asset(msgspec.Struct):
    asset_id: str


def rest_books() -> Series:
    """Books as ``/book`` gives them, one a second."""
    series: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((FOLDER / "derived").glob("rest_book_replay_*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            for raw in msgspec.json.decode(line, type=_Replay).books:
                book = bytes(raw)
                series[msgspec.json.decode(book, type=_Asset).asset_id].append(book.decode())
    return [books[:SECONDS] for books in series.values() if len(books) >= SECONDS]


def websocket_books() -> Series:
    """Raw websocket messages: at each second the newest book; tokens recorded for all of the window only."""
    messages: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for path in sorted((FOLDER / "cronosvirus00").glob("*.parquet")):
        columns = ["timestamp", "asset_id", "raw_data"]
        for row in pyarrow.parquet.read_table(path, columns=columns).to_pylist():
            messages[row["asset_id"]].append((row["timestamp"], row["raw_data"]))
    return [
        list(_each_second(sorted(found)))
        for found in messages.values()
        if max(found)[0] - min(found)[0] > SECONDS - 10
    ]


def _each_second(messages: list[tuple[float, str]]) -> Iterator[str]:
    index, begin = 0, messages[0][0]
    for second in range(SECONDS):
        while index + 1 < len(messages) and messages[index + 1][0] <= begin + second:
            index += 1
        yield messages[index][1]


def play(series: Series) -> Series:
    """Eight tokens from fewer: the rest are the recorded ones, shifted in time and with other ids."""
    played = []
    for number in range(TOKENS):
        turn, which = divmod(number, len(series))
        shift = turn * SECONDS * len(series) // TOKENS
        books = series[which][shift:] + series[which][:shift]
        played.append(books if turn == 0 else [_renamed(book, number) for book in books])
    return played


def _renamed(book: str, number: int) -> str:
    ids = hashlib.sha256(str(number).encode()).hexdigest()
    asset = str(int(ids * 2, 16))[:77]
    return re.sub(r'("asset_id":\s*)"\d+"', rf'\1"{asset}"', re.sub(r"0x[0-9a-f]{64}", f"0x{ids}", book))


def rows_of(series: Series) -> list[bytes]:
    """Rows in arrival order, encoded as the collector encodes them."""
    random, encode = Random(1), msgspec.json.Encoder().encode
    rows: list[bytes] = []
    for second in range(SECONDS):
        for number, books in enumerate(series):
            due_ns = START_NS + second * NS + (number // 2) * NS // 20
            item = _poll(books[second], due_ns, random)
            item.seq = len(rows) + 1
            item.request_id = f"bench-{item.seq}"
            rows.append(encode(item) + b"\n")
    return rows


def _poll(body: str, due_ns: int, random: Random) -> PollItem:
    book: dict[str, Any] = json.loads(body)
    sent_ns = due_ns + random.randrange(300_000, 3_000_000)
    elapsed_ns = random.randrange(18_000_000, 90_000_000)
    item = PollItem(
        slot=due_ns // NS,
        due_ns=due_ns,
        sent_ns=sent_ns,
        received_ns=sent_ns + elapsed_ns + random.randrange(2_000),
        elapsed_ns=elapsed_ns,
        result="ok",
        status=200,
        method="GET",
        url="https://clob.polymarket.com/book",
        params={"token_id": book["asset_id"]},
        headers={
            "date": f"Thu, 16 Apr 2026 08:{35 + (due_ns - START_NS) // NS // 60}:{due_ns // NS % 60:02d} GMT",
            "content-type": "application/json",
            "content-encoding": "gzip",
            "server": "cloudflare",
            "cf-cache-status": "DYNAMIC",
        },
        market_slug="btc-updown-5m-1776328500",
        condition_id=book["market"],
        token_id=book["asset_id"],
        outcome="Up",
        window_start="2026-04-16T08:35:00Z",
        window_end="2026-04-16T08:40:00Z",
        body=body,
    )
    assert item.received_ns is not None
    item.collected_at_utc = iso_utc(item.received_ns)
    item.run_id, item.collector_id, item.environment = "20260416T083500Zbench", "c0", "live"
    item.collector, item.collector_version = "orderbooks_spider", "0.1.0"
    return item


def blocks_of(rows: list[bytes]) -> list[list[bytes]]:
    """The rows as the archive orders them: blocks of a minute, inside by token, time and seq (rule A3)."""
    blocks: defaultdict[int, list[bytes]] = defaultdict(list)
    for number, row in enumerate(rows):
        blocks[number // (BLOCK_SECONDS * TOKENS)].append(row)
    return [sorted(block, key=_order) for block in blocks.values()]


def _order(row: bytes) -> tuple[str, int, int]:
    key = row_key(row)
    assert key is not None
    return key.order


def variants(rows: list[bytes]) -> dict[str, tuple[list[list[bytes]], Callable[[list[bytes]], bytes]]]:
    """Name to (the pieces that are compressed each for itself, how)."""
    tokens: defaultdict[str, list[bytes]] = defaultdict(list)
    for row in rows:
        tokens[_order(row)[0]].append(row)
    blocks = blocks_of(rows)
    found: dict[str, tuple[list[list[bytes]], Callable[[list[bytes]], bytes]]] = {
        f"arrival order, one stream, gzip {ZLIB_LEVEL}": ([rows], _zlib),
        f"arrival order, one stream, zlib-ng {LEVEL}": ([rows], encode_member),
        f"a file per token, gzip {ZLIB_LEVEL}": (list(tokens.values()), _zlib),
        f"sorted 60 s blocks, gzip {ZLIB_LEVEL}": (blocks, _zlib),
    }
    found |= {f"sorted 60 s blocks, zlib-ng {level}": (blocks, _zlib_ng(level)) for level in LEVELS}
    for level in ZSTD_LEVELS:
        if (compress := zstd(level)) is not None:
            found[f"sorted 60 s blocks, zstd {level}"] = (blocks, compress)
            found[f"arrival order, one stream, zstd {level}"] = ([rows], compress)
    return found


def _zlib(lines: list[bytes]) -> bytes:
    """As ``gzip`` and Python's ``gzip`` module do it: the standard zlib."""
    return gzip.compress(b"".join(lines), ZLIB_LEVEL)


def _zlib_ng(level: int) -> Callable[[list[bytes]], bytes]:
    return lambda lines: encode_member(lines, level)


def zstd(level: int) -> Callable[[list[bytes]], bytes] | None:
    """Zstandard where it is installed: in Python from 3.14 on, before as Scrapy's dependency."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        library = importlib.import_module(name)
    except ImportError:
        return None

    def compress(lines: list[bytes]) -> bytes:
        packed: bytes = library.compress(b"".join(lines), level)
        return packed

    return compress


def measure(rows: list[bytes], rounds: int) -> list[dict[str, Any]]:
    """Bytes per row and CPU speed of each variant; runs take turns, so that none has a quiet machine."""
    text = sum(map(len, rows))
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    sizes: dict[str, int] = {}
    chosen = variants(rows)
    for _ in range(rounds):
        for name, (pieces, compress) in chosen.items():
            begin = time.process_time()
            sizes[name] = sum(len(compress(piece)) for piece in pieces)
            seconds[name].append(time.process_time() - begin)
    return [
        {
            "variant": name,
            "bytes_per_row": round(size / len(rows), 1),
            "ratio": round(text / size, 1),
            "mb_per_cpu_second": round(text / 1e6 / statistics.median(seconds[name]), 1),
        }
        for name, size in sizes.items()
    ]


def show(name: str, recorded: int, rows: list[bytes], measured: list[dict[str, Any]]) -> None:
    """One table."""
    text = sum(map(len, rows)) / len(rows)
    print(f"{name}: {len(rows):,} rows of {TOKENS} tokens ({recorded} recorded), {text:,.0f} bytes each\n")
    header = ["lines and compression", "bytes a row", "ratio", "MB/s of CPU"]
    report.print_table(header, [[str(value) for value in line.values()] for line in measured])


def main() -> int:
    """Measure both sources."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="alternating rounds (default 5)")
    arguments = parser.parse_args()
    if not (FOLDER / "derived").is_dir():
        print(f"no recorded books: expected ../{'/'.join(FOLDER.parts[-4:])}", file=sys.stderr)
        return EXIT_CANNOT_CHECK
    result: dict[str, Any] = {"machine": report.print_machine()}
    for name, load in (("REST books", rest_books), ("websocket books", websocket_books)):
        series = load()
        rows = rows_of(play(series))
        measured = measure(rows, arguments.rounds)
        show(name, len(series), rows, measured)
        result[name] = {"rows": len(rows), "tokens_recorded": len(series), "measured": measured}
    report.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
