"""The examples of ``docs/DATA_CONTRACT.md`` read one sealed file alike, each run as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orderbooks_spider.archive.reader import rows
from orderbooks_spider.config import Archive
from orderbooks_spider.items import BOOKS, PollItem
from tests.archives import START_NS, UP, Collector, collect

CONTRACT = Path(__file__).resolve().parents[1] / "docs/DATA_CONTRACT.md"
MOMENTS, ANSWERED = 90, 70
Book = tuple[int, str, str | None]


def examples() -> dict[str, str]:
    """The code blocks of the section on reading, by the tool that they show."""
    section = CONTRACT.read_text("utf-8").partition("## Reading it\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```(?:sh|python)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    tools = ("zcat", "orderbooks_spider", "pandas", "polars", "duckdb")
    return {next(tool for tool in tools if tool in block): block for block in blocks}


def _with_gaps(item: PollItem) -> PollItem:
    """What types are guessed wrongly from: later rows without times, headers and body."""
    if item.slot >= START_NS // 10**9 + ANSWERED and item.token_id == UP:
        item.result, item.reason = "skipped", "in_flight"
        item.sent_ns = item.received_ns = item.elapsed_ns = item.status = None
        item.collected_at_utc = item.headers = item.body = item.request_id = None
    elif item.slot % 7 == 0:
        item.body = (item.body or "") + ' \t"quoted" \\u20ac € 𝄞'
    return item


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with one sealed file of polls."""
    folder = tmp_path_factory.mktemp("reading")
    collector = Collector(folder, settings=Archive(block_seconds=30, rotate_seconds=3600))
    asyncio.run(collect(collector, MOMENTS, change=_with_gaps))
    return folder


@pytest.fixture(scope="module")
def path(root: Path) -> str:
    (sealed,) = (root / "raw/polymarket/books").rglob("*.jsonl.gz")
    return str(sealed)


@pytest.fixture(scope="module")
def expected(root: Path) -> list[Book]:
    """What was recorded, in the order of time and token."""
    found = [(row.time_ns, row.token_id, row.value()["body"]) for row in rows(root, BOOKS)]
    assert len(found) == 2 * MOMENTS
    assert sum(body is None for _, _, body in found) == MOMENTS - ANSWERED
    return found


def run(block: str, **given: Any) -> list[tuple[Any, ...]]:
    """What an example leaves in ``books``; missing texts become ``None`` whatever the tool calls them."""
    names: dict[str, Any] = dict(given)
    exec(block, names)
    return [
        (int(due_ns), token_id, body if isinstance(body, str) else None)
        for due_ns, token_id, body in names["books"]
    ]


def test_every_tool_has_its_example() -> None:
    """The contract shows how to read a file with each of five tools."""
    assert set(examples()) == {"zcat", "orderbooks_spider", "pandas", "polars", "duckdb"}


def test_zcat_shows_the_stored_rows(path: str, expected: list[Book]) -> None:
    """Rules A9 and A10: without any of our code a sealed file is lines of JSON, bodies unchanged."""
    if shutil.which("zcat") is None:
        pytest.skip("no zcat here: it comes with the package gzip")
    done = subprocess.run(
        ["/bin/sh", "-c", examples()["zcat"]],
        env=os.environ | {"path": path},
        capture_output=True,
        check=True,
    )
    books = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted((row["due_ns"], row["token_id"], row["body"]) for row in books) == expected


def test_our_reader_gives_time_order(root: Path, expected: list[Book]) -> None:
    """The reader's example gives every row of the feed once, in time order."""
    everything = {"start_ns": 0, "end_ns": 2**63 - 1}
    assert run(examples()["orderbooks_spider"], root=str(root), **everything) == expected


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
def test_library_reads_the_same(path: str, expected: list[Book], library: str) -> None:
    """Rule A10: a library that is told the types gives equal rows, nanoseconds and bodies."""
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library}")
    assert run(examples()[library], path=path) == expected
