"""Recorded markets through the archive into the dataset: every number is that of the recorded text."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest

from orderbooks_spider.archive.verify import verify
from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.items import PollItem
from orderbooks_spider.sandbox.child import SandboxChild
from tests import slow_books
from tests.archives import Collector, event, poll
from tests.collector import PATIENCE_SECONDS
from tests.collector import Collector as RealCollector
from tests.dataset import Dataset, normalize
from tests.payloads import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLUGS = ("btc-updown-5m-1776323400", "btc-updown-5m-1776328500", "btc-updown-5m-1776329100")
GRID = Grid(NS, 20)
VALUES = (
    "bids", "asks", "best_bid_price", "best_bid_size", "best_ask_price", "best_ask_size", "bid_levels",
    "ask_levels", "bid_depth", "ask_depth_5c", "mid", "spread", "hash_state", "ts_event_ns",
)  # fmt: skip
"""Columns that follow from the text of the book alone."""


class Line(msgspec.Struct):
    """One line of a recording: the books of both tokens at one time."""

    t_ms: int
    books: list[msgspec.Raw]


class Named(msgspec.Struct):
    """Whose book a text is."""

    market: str
    asset_id: str


def recorded_lines(slug: str) -> list[Line]:
    """The recording of one market."""
    path = recorded(f"derived/rest_book_replay_{slug}.jsonl.gz")
    return [msgspec.json.decode(line, type=Line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def polls(slug: str) -> Iterator[PollItem]:
    """The recording as answered polls, each in the slot of its time."""
    start_ns = int(slug.rpartition("-")[2]) * NS
    tokens: list[str] = []
    taken: set[int] = set()
    for line in recorded_lines(slug):
        names = [msgspec.json.decode(book, type=Named) for book in line.books]
        tokens = tokens or [name.asset_id for name in names]
        bucket = GRID.bucket(names[0].market)
        slot = GRID.first_slot(line.t_ms * 1_000_000, bucket)
        if slot in taken:
            continue
        taken.add(slot)
        for book, name in zip(line.books, names, strict=True):
            due_ns = GRID.due_ns(slot, bucket)
            received_ns = due_ns + 50_000_000
            yield poll(
                name.asset_id, 0,
                slot=slot, due_ns=due_ns, sent_ns=due_ns + 2_000_000, received_ns=received_ns,
                collected_at_utc=iso_utc(received_ns), request_id=f"{slug}-{slot}-{name.asset_id[:6]}",
                market_slug=slug, condition_id=name.market,
                outcome="Up" if name.asset_id == tokens[0] else "Down",
                window_start=iso_utc(start_ns), window_end=iso_utc(start_ns + 300 * NS),
                body=bytes(book).decode(),
            )  # fmt: skip


async def collect(collector: Collector, items: list[PollItem]) -> None:
    """Write *items* as a collector would have, in the order of their due times, and stop cleanly."""
    collector.clock.now_ns = items[0].due_ns
    collector.open()
    collector.write(event("run_start", collector.clock.now_ns))
    for item in items:
        if item.received_ns is not None and item.received_ns > collector.clock.now_ns:
            collector.clock.now_ns = item.received_ns
        collector.write(item)
        await collector.tick()
    end_ns = items[-1].due_ns + NS
    collector.write(event("run_stop", end_ns, slots_done_until_ns=end_ns))
    await collector.close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three recorded markets in sealed segments."""
    root = tmp_path_factory.mktemp("recorded") / "archive"
    root.mkdir()
    items = sorted((item for slug in SLUGS for item in polls(slug)), key=lambda item: item.due_ns)
    settings = msgspec.structs.replace(Collector(root).settings, block_seconds=120.0, rotate_seconds=3600.0)
    asyncio.run(collect(Collector(root, settings=settings), items))
    return root


@pytest.fixture(scope="module")
def dataset(archive: Path) -> Dataset:
    """What is made of them."""
    made = normalize(archive, archive.parent / "out")
    assert made.done.returncode == 0, made.done.stderr
    return made


def members(path: Path) -> list[list[PollItem]]:
    """The rows of a segment by gzip member."""
    data, found = path.read_bytes(), []
    while data:
        inflate = zlib.decompressobj(31)
        lines = inflate.decompress(data).splitlines()
        found.append([msgspec.json.decode(line, type=PollItem) for line in lines])
        data = inflate.unused_data
    return found


def test_every_column_of_recorded_books(archive: Path, dataset: Dataset) -> None:
    """Prices, sizes, depths, levels, hash, mirror and order are what json and decimal alone find."""
    segments = sorted((archive / "raw/polymarket/books").rglob("*.gz"))
    assert len(segments) > 1
    seen = [slow_books.shown(row) for row in dataset.read("books").to_dicts()]
    expected = []
    for segment in segments:
        file = segment.relative_to(archive).as_posix()
        expected += [row | {"raw_file": file} for row in slow_books.rows(members(segment), NS)]
    expected.sort(key=lambda row: (row["token_id"], row["due_ns"]))
    assert len(seen) == len(expected) > 1000
    for one, other in zip(seen, expected, strict=True):
        assert {key: one[key] for key in other} == other


def test_recorded_texts_decide(dataset: Dataset) -> None:
    """Best prices, level counts and hash state of each row follow from the recorded file itself."""
    rows = {(row["token_id"], row["venue_hash"]): row for row in dataset.read("books").to_dicts()}
    texts = [bytes(book).decode() for slug in SLUGS for line in recorded_lines(slug) for book in line.books]
    compared = 0
    for text in texts:
        name = msgspec.json.decode(text, type=Named)
        book = slow_books.read(text, name.asset_id)
        assert book is not None
        row = rows.get((name.asset_id, book["hash"]))
        if row is not None:
            compared += 1
            bids, asks = slow_books.levels(book, "bids"), slow_books.levels(book, "asks")
            assert (row["best_bid_price"], row["best_bid_size"]) == (bids[0] if bids else (None, None))
            assert (row["best_ask_price"], row["best_ask_size"]) == (asks[0] if asks else (None, None))
            assert (row["bid_levels"], row["ask_levels"]) == (len(bids), len(asks))
            assert row["hash_state"] == slow_books.hash_state(book) == "agrees"
    assert compared >= len(rows)


def test_states_are_those_that_verify_counts(archive: Path, dataset: Dataset) -> None:
    """The dataset and the verifier come to the same counts of hashes and mirrors, each on its own way."""
    quality = verify(archive).quality
    books = dataset.read("books")
    hashes, mirrors = (Counter(books[f"{name}_state"]) for name in ("hash", "mirror"))
    assert +Counter(quality.venue_hash) == hashes
    assert +Counter(quality.mirror) == mirrors
    assert mirrors["agrees"] > 0


@pytest.mark.parametrize("seconds", [6, pytest.param(330, marks=pytest.mark.slow)])
def test_replayed_markets_arrive(seconds: int, tmp_path: Path) -> None:
    """Replayed, collected, sealed, normalised: every row says of its book what the recorded text says."""
    with ExitStack() as stack:
        collectors, running = [], []
        for number, slug in enumerate(SLUGS):  # side by side: each replay begins with its exchange
            recording = recorded(f"derived/rest_book_replay_{slug}.jsonl.gz")
            child = stack.enter_context(SandboxChild.start(["--replay", str(recording)]))
            folder = tmp_path / f"c{number}"
            folder.mkdir()
            collectors.append(RealCollector(folder, child.url, {"archive": {"collector_id": folder.name}}))
            running.append(collectors[-1].start("--seconds", str(seconds)))
        said = [process.communicate(timeout=seconds + PATIENCE_SECONDS) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    others = [argument for collector in collectors[1:] for argument in ("--root", str(collector.root))]
    made = normalize(collectors[0].root, tmp_path / "out", *others)
    assert made.done.returncode == 0, made.done.stderr
    texts = {bytes(book).decode() for slug in SLUGS for line in recorded_lines(slug) for book in line.books}
    stored = [row for collector in collectors for row in collector.rows("books")]
    answered = [row for row in stored if row["result"] == "ok"]
    raw = {(row["token_id"], row["due_ns"]): row["body"] for row in answered}
    rows = [slow_books.shown(row) for row in made.read("books").to_dicts()]
    assert {(row["token_id"], row["due_ns"]) for row in rows} == raw.keys()
    assert {row["token_id"] for row in rows} == {
        msgspec.json.decode(text, type=Named).asset_id for text in texts
    }
    for row in rows:
        text = raw[row["token_id"], row["due_ns"]]
        assert text in texts
        (expected,) = slow_books.rows([[poll(row["token_id"], 0, body=text)]], NS)
        assert {key: row[key] for key in VALUES} == {key: expected[key] for key in VALUES}
