"""``docs/ORDERBOOK_SCHEMA.md`` against the code, against files, and its queries against the raw rows."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.normalize.files import partition
from orderbooks_spider.normalize.tables import TABLES
from orderbooks_spider.polymarket.book import parse_book
from tests import schema_page

if TYPE_CHECKING:
    from tests.collector import Collector
    from tests.dataset import Dataset

QUERIES = ("as_of", "depth", "coverage", "pairs", "gaps")
TOOLS = ("duckdb", "polars", "pandas")
Rows = list[tuple[Any, ...]]


def test_page_says_what_the_code_says() -> None:
    """Columns, flags and faults on the page are those of the code, word for word."""
    page = schema_page.PAGE.read_text("utf-8")
    fresh = schema_page.with_parts(page, schema_page.parts())
    assert page == fresh, "run: PYTHONPATH=. python tests/schema_page.py"


def test_names_elsewhere_are_ours() -> None:
    """Every column in the comparison with other vendors exists."""
    page = schema_page.PAGE.read_text("utf-8")
    section = page.partition("## Names elsewhere\n")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    named = {name for first in firsts for name in re.findall(r"`(\w+)`", first)}
    assert len(named) >= 10
    assert named <= {column.name for table in TABLES.values() for column in table.columns}


@pytest.mark.parametrize("table", TABLES)
def test_files_have_the_columns_of_the_page(killed: tuple[Collector, Dataset], table: str) -> None:
    """Names, types, order and nulls of every file are those of the page; rows lie in their hour, in order."""
    files = killed[1].files(table)
    assert files
    for file in files:
        stored = pq.read_table(file, partitioning=None)
        assert pq.read_schema(file).equals(TABLES[table].schema)
        hours = {time // HOUR_NS * HOUR_NS for time in stored[TABLES[table].time].to_pylist()}
        assert [partition(hour) for hour in hours] == [f"{file.parent.parent.name}/{file.parent.name}"]
        keys = list(zip(*(stored[name].to_pylist() for name in TABLES[table].order), strict=True))
        assert keys == sorted(keys)
        for column in TABLES[table].columns:
            assert column.null or stored[column.name].null_count == 0


def test_tools_find_date_and_hour_in_the_path(killed: tuple[Collector, Dataset]) -> None:
    """Each of the three tools gives the partition as the columns ``date`` and ``hour``."""
    pandas = pytest.importorskip("pandas")
    polls = f"{killed[1].out}/polls"
    by_duckdb = duckdb.execute("SELECT * FROM read_parquet($1) LIMIT 1", [f"{polls}/*/*/*.parquet"])
    assert {"date", "hour"} <= {column[0] for column in by_duckdb.description}
    assert {"date", "hour"} <= set(pl.scan_parquet(polls).collect_schema().names())
    assert {"date", "hour"} <= set(pandas.read_parquet(polls).columns)


def blocks() -> dict[tuple[str, str], str]:
    """The page's queries by question and tool."""
    section = schema_page.PAGE.read_text("utf-8").partition("## Queries\n")[2]
    found = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    names = [(query, tool) for query in QUERIES for tool in TOOLS]
    assert len(found) == len(names)
    for (_, tool), block in zip(names, found, strict=True):
        assert f"import {tool}" in block
    return dict(zip(names, found, strict=True))


def answer(query: str, tool: str, **given: Any) -> Rows:
    """What a query finds; missing values as ``None``, whatever the tool calls them."""
    names: dict[str, Any] = dict(given)
    exec(blocks()[query, tool], names)
    return [
        tuple(None if str(value) in {"nan", "<NA>"} else value for value in row) for row in names["found"]
    ]


@pytest.fixture(scope="module")
def raw(killed: tuple[Collector, Dataset]) -> Rows:
    """(row, best bid, best ask, bid depth within a cent) of every answered poll, from the raw text."""
    found = []
    for row in killed[0].rows("books"):
        if row["result"] != "ok":
            continue
        book = parse_book(row["body"].encode())
        bids = {Decimal(level.price): Decimal(level.size) for level in book.bids}
        asks = {Decimal(level.price): Decimal(level.size) for level in book.asks}
        best = max(bids, default=None)
        near = sum(
            (size for price, size in bids.items() if best is not None and best - price <= Decimal("0.01")),
            Decimal(0),
        )
        found.append((row, best, min(asks, default=None), near))
    assert found
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_book_as_known_at_a_time(killed: tuple[Collector, Dataset], raw: Rows, tool: str) -> None:
    """The as-of query gives per token the last book that had been received by then, and never a later one."""
    received = sorted(row["received_ns"] for row, *_ in raw)
    for t_ns in (received[0] - 1, received[0], received[len(received) // 2], received[-1] + 1):
        last: dict[str, tuple[Any, ...]] = {}
        for row, bid, ask, _ in sorted(raw, key=lambda found: found[0]["received_ns"]):
            if row["received_ns"] <= t_ns:
                last[row["token_id"]] = (row["token_id"], row["received_ns"], bid, ask)
        assert answer("as_of", tool, out=str(killed[1].out), t_ns=t_ns) == sorted(last.values())


@pytest.mark.parametrize("tool", TOOLS)
def test_book_is_not_shown_across_a_gap(killed: tuple[Collector, Dataset], raw: Rows, tool: str) -> None:
    """A minute after the last book the as-of query shows nothing."""
    t_ns = max(row["received_ns"] for row, *_ in raw) + 120 * 10**9
    assert answer("as_of", tool, out=str(killed[1].out), t_ns=t_ns) == []


@pytest.mark.parametrize("tool", TOOLS)
def test_spread_and_depth_over_a_window(killed: tuple[Collector, Dataset], raw: Rows, tool: str) -> None:
    """The window's spread and depth are those of the raw books, with the slots that have none counted."""
    polls = killed[1].read("polls")
    dues = sorted(set(polls["due_ns"]))
    from_ns, until_ns = dues[len(dues) // 4], dues[-len(dues) // 4]
    inside = polls.filter(pl.col("due_ns").is_between(from_ns, until_ns, closed="left"))
    expected = []
    for token in sorted(set(inside["token_id"])):
        books = [
            found
            for found in raw
            if found[0]["token_id"] == token and from_ns <= found[0]["due_ns"] < until_ns
        ]
        spreads = [ask - bid for _, bid, ask, _ in books if bid is not None and ask is not None]
        planned = len(inside.filter(pl.col("token_id") == token))
        mean = float(sum(spreads)) / len(spreads) if spreads else None
        depth = float(sum(found[3] for found in books)) / len(books) if books else None
        expected.append((token, planned, len(books), max(spreads, default=None), mean, depth))
    found = answer("depth", tool, out=str(killed[1].out), from_ns=from_ns, until_ns=until_ns)
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    assert [row[4:] for row in found] == [pytest.approx(row[4:]) for row in expected]


@pytest.mark.parametrize("tool", TOOLS)
def test_coverage_per_token_and_hour(killed: tuple[Collector, Dataset], tool: str) -> None:
    """Coverage made from polls is that of quality."""
    quality = killed[1].read("quality").select("token_id", "hour_ns", "planned", "answered")
    assert answer("coverage", tool, out=str(killed[1].out)) == quality.rows()


@pytest.mark.parametrize("tool", TOOLS)
def test_up_and_down_side_by_side(killed: tuple[Collector, Dataset], raw: Rows, tool: str) -> None:
    """Each slot in which both tokens of a market were answered is one pair; equal venue times are told."""
    by_slot = {
        (row["due_ns"], row["condition_id"], row["outcome"]): (row, bid, ask) for row, bid, ask, _ in raw
    }
    expected = []
    for due_ns, condition_id, outcome in sorted(by_slot):
        down = by_slot.get((due_ns, condition_id, "Down"))
        if outcome == "Up" and down is not None:
            row, bid, _ = by_slot[due_ns, condition_id, "Up"]
            times = [msgspec.json.decode(found["body"])["timestamp"] for found in (row, down[0])]
            expected.append((due_ns, condition_id, bid, down[2], times[0] == times[1]))
    assert expected
    assert answer("pairs", tool, out=str(killed[1].out)) == expected


@pytest.mark.parametrize("tool", TOOLS)
def test_gaps_that_touch_an_interval(killed: tuple[Collector, Dataset], tool: str) -> None:
    """Gaps that begin before the interval and reach into it are found, others not."""
    gaps = killed[1].read("gaps")
    begins, ends = gaps["from_ns"].to_list(), gaps["until_ns"].to_list()
    for from_ns, until_ns in ((max(ends), max(ends) + 1), (min(begins), min(begins) + 1), (0, 1)):
        touching = gaps.filter((pl.col("from_ns") < until_ns) & (pl.col("until_ns") >= from_ns))
        expected = touching.select("token_id", "from_ns", "until_ns", "slots", "cause", "fault").rows()
        assert answer("gaps", tool, out=str(killed[1].out), from_ns=from_ns, until_ns=until_ns) == expected
