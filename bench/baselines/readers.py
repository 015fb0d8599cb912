"""The contestants of ``bench/normalize.py``: each turns one sealed hour into numbers, in its own way.

``python -m bench.baselines.readers NAME ROOT OUT`` prints the CPU seconds that it took, imports left out.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb as engine
import pandas as pd  # type: ignore[import-untyped]
from zlib_ng import zlib_ng

from orderbooks_spider.normalize.segments import normalise as do_task
from orderbooks_spider.normalize.sources import look_at
from orderbooks_spider.normalize.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Levels = list[tuple[Any, Any]]
KEYS = (
    "environment", "venue", "collector_id", "run_id", "seq", "market_slug", "condition_id", "token_id",
    "outcome", "slot", "due_ns", "sent_ns", "received_ns", "elapsed_ns",
)  # fmt: skip
"""Taken over from the raw row."""


def gunzip(path: Path, _root: Path, _out: Path) -> None:
    """Unpack by the fastest that there is, and throw away."""
    data = path.read_bytes()
    while data:
        inflate = zlib_ng.decompressobj(16 + zlib_ng.MAX_WBITS)
        inflate.decompress(data)
        data = inflate.unused_data


def normalise(_path: Path, root: Path, out: Path) -> None:
    """The task of the dataset."""
    (segment,) = look_at([root]).segments
    done = do_task(Task(root=str(root), out=str(out), input=segment.input))
    assert done.error is None, done.error


# DuckDB, on one thread.  Its decimals round what does not fit, where the dataset says so.

LEVEL = {"price": "DECIMAL(9,4)", "size": "DECIMAL(18,6)"}


def duckdb(path: Path, _root: Path, out: Path) -> None:
    """The columns of ``books`` but for the checks."""
    texts = ("timestamp", "hash", "min_order_size", "tick_size", "last_trade_price")
    book: dict[str, Any] = dict.fromkeys(texts, "VARCHAR")
    book |= {"bids": [LEVEL], "asks": [LEVEL], "neg_risk": "BOOLEAN"}
    numbers = ("seq", "slot", "due_ns", "sent_ns", "received_ns", "elapsed_ns")
    keys = {key: "BIGINT" if key in numbers else "VARCHAR" for key in KEYS}
    near = ", ".join(
        f"list_sum([l.size FOR l IN book.{side}s IF abs(l.price - {side}.price) <= 0.0{cents}])"
        f" AS {side}_depth_{cents}c"
        for side in ("bid", "ask")
        for cents in (1, 2, 5)
    )
    columns = f"""
        {", ".join(KEYS)}, regexp_extract(market_slug, 'updown-([0-9]+[mhd])', 1) AS "window",
        epoch_ns(window_start::TIMESTAMPTZ) AS window_start_ns,
        epoch_ns(window_end::TIMESTAMPTZ) AS window_end_ns,
        book.timestamp::BIGINT * 1000000 AS ts_event_ns,
        bid.price AS best_bid_price, bid.size AS best_bid_size, ask.price AS best_ask_price,
        ask.size AS best_ask_size, ((bid.price + ask.price) / 2)::DECIMAL(10,5) AS mid,
        ask.price - bid.price AS spread, len(book.bids) AS bid_levels, len(book.asks) AS ask_levels,
        list_sum([l.size FOR l IN book.bids]) AS bid_depth,
        list_sum([l.size FOR l IN book.asks]) AS ask_depth, {near},
        list_reverse_sort(book.bids) AS bids, list_sort(book.asks) AS asks,
        nullif(book.last_trade_price, '')::DECIMAL(9,4) AS last_trade_price,
        book.tick_size::DECIMAL(9,4) AS tick_size, book.min_order_size::DECIMAL(18,6) AS min_order_size,
        book.neg_risk AS neg_risk, book.hash AS venue_hash,
        (book.bids, book.asks) <> lag((book.bids, book.asks)) OVER (PARTITION BY token_id ORDER BY due_ns)
            AS changed
    """
    _query(path, out, keys | {"window_start": "VARCHAR", "window_end": "VARCHAR"}, book, columns)


def duckdb_quick(path: Path, _root: Path, out: Path) -> None:
    """Best prices, counts and depths only."""
    columns = """
        token_id, due_ns, sent_ns, received_ns, bid.price AS best_bid, bid.size AS bid_size,
        ask.price AS best_ask, ask.size AS ask_size, len(book.bids) AS bid_levels,
        len(book.asks) AS ask_levels, list_sum([l.size FOR l IN book.bids]) AS bid_depth,
        list_sum([l.size FOR l IN book.asks]) AS ask_depth
    """
    keys = {"token_id": "VARCHAR", "due_ns": "BIGINT", "sent_ns": "BIGINT", "received_ns": "BIGINT"}
    _query(path, out, keys, {"bids": [LEVEL], "asks": [LEVEL]}, columns)


def _query(path: Path, out: Path, keys: dict[str, str], book: dict[str, Any], columns: str) -> None:
    types = ", ".join(
        f"{key}: '{kind}'" for key, kind in (keys | {"result": "VARCHAR", "body": "VARCHAR"}).items()
    )
    engine.execute("SET threads = 1")
    engine.execute(f"""
        COPY (
            WITH answered AS (
                SELECT *, from_json(body, '{json.dumps(book)}') AS book
                FROM read_json('{path}', format = 'newline_delimited', columns = {{{types}}})
                WHERE result = 'ok'
            ), best AS (
                SELECT *, list_max(book.bids) AS bid, list_min(book.asks) AS ask FROM answered
            )
            SELECT {columns} FROM best ORDER BY token_id, due_ns
        ) TO '{out / "books.parquet"}' (FORMAT parquet, COMPRESSION zstd)
    """)


# Python: a loop over json.


def python(path: Path, _root: Path, out: Path) -> None:
    """The columns of ``books`` but for the checks, exact, as csv."""
    _write(out, _rows(path))


def python_quick(path: Path, _root: Path, out: Path) -> None:
    """Best prices, counts and depths only, as floats."""
    _write(out, _quick_rows(path))


def pandas(path: Path, _root: Path, out: Path) -> None:
    """The rows of ``python`` as a frame, sorted, as Parquet."""
    frame = pd.DataFrame(list(_rows(path))).sort_values(["token_id", "due_ns"])
    frame.to_parquet(out / "books.parquet", compression="zstd")


def _write(out: Path, rows: Iterator[dict[str, Any]]) -> None:
    with (out / "books.csv").open("w", encoding="utf-8", newline="") as file:
        first = next(rows)
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)


def _answered(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["result"] == "ok":
                yield row, json.loads(row["body"])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    before: dict[str, tuple[Levels, Levels]] = {}
    for row, book in _answered(path):
        token = row["token_id"]
        bids, asks = (
            sorted(((Decimal(v["price"]), Decimal(v["size"])) for v in book[side]), reverse=side == "bids")
            for side in ("bids", "asks")
        )
        bid: tuple[Any, Any] = bids[0] if bids else (None, None)
        ask: tuple[Any, Any] = asks[0] if asks else (None, None)
        last = before.get(token)
        before[token] = bids, asks
        yield {key: row[key] for key in KEYS} | {
            "window": row["market_slug"].split("-")[2],
            "window_start_ns": int(datetime.fromisoformat(row["window_start"]).timestamp()) * 10**9,
            "window_end_ns": int(datetime.fromisoformat(row["window_end"]).timestamp()) * 10**9,
            "ts_event_ns": int(book["timestamp"]) * 10**6,
            "best_bid_price": bid[0], "best_bid_size": bid[1],
            "best_ask_price": ask[0], "best_ask_size": ask[1],
            "mid": (bid[0] + ask[0]) / 2 if bids and asks else None,
            "spread": ask[0] - bid[0] if bids and asks else None,
            **_side("bid", bids), **_side("ask", asks),
            "last_trade_price": Decimal(book["last_trade_price"]) if book["last_trade_price"] else None,
            "tick_size": Decimal(book["tick_size"]), "min_order_size": Decimal(book["min_order_size"]),
            "neg_risk": book["neg_risk"], "venue_hash": book["hash"],
            "changed": None if last is None else last != (bids, asks),
        }  # fmt: skip


def _side(name: str, side: Levels) -> dict[str, Any]:
    found: dict[str, Any] = {f"{name}s": side, f"{name}_levels": len(side)}
    found[f"{name}_depth"] = sum((size for _, size in side), Decimal(0))
    for cents in (1, 2, 5):
        near = (size for price, size in side if abs(price - side[0][0]) <= Decimal(cents) / 100)
        found[f"{name}_depth_{cents}c"] = sum(near, Decimal(0))
    return found


def _quick_rows(path: Path) -> Iterator[dict[str, Any]]:
    for row, book in _answered(path):
        found = {key: row[key] for key in ("token_id", "due_ns", "sent_ns", "received_ns")}
        for name, pick in (("bid", max), ("ask", min)):
            side = [(float(level["price"]), float(level["size"])) for level in book[f"{name}s"]]
            found[f"best_{name}"], found[f"{name}_size"] = pick(side) if side else (None, None)
            found[f"{name}_levels"], found[f"{name}_depth"] = len(side), sum(size for _, size in side)
        yield found


CONTESTANTS: dict[str, Callable[[Path, Path, Path], None]] = {
    contestant.__name__: contestant
    for contestant in (gunzip, normalise, duckdb, pandas, python, duckdb_quick, python_quick)
}


def main() -> None:
    """Run one contestant."""
    name, root, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    (path,) = root.rglob("*.jsonl.gz")
    begin = time.process_time()
    CONTESTANTS[name](path, root, out)
    print(time.process_time() - begin)


if __name__ == "__main__":
    main()
