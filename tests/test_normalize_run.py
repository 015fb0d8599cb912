"""The dataset as a whole: the same bytes however it is made, only what is new, nothing for a bad input."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
import zlib
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.archive.lock import ArchiveLock
from orderbooks_spider.clock import NS, iso_utc
from orderbooks_spider.items import MarketItem
from orderbooks_spider.normalize.files import TEMPORARY
from orderbooks_spider.normalize.run import normalise_archives
from orderbooks_spider.normalize.tables import TABLES
from orderbooks_spider.polymarket.market import read_market
from tests.archives import (
    COLLECTOR,
    INTERVAL_NS,
    PHASE_NS,
    START_NS,
    UP,
    Collector,
    ManualClock,
    book_text,
    collect,
    small_archive,
)
from tests.dataset import PROJECT, SCRIPT, Dataset, Tables, normalize, start
from tests.test_polymarket_market import raw_market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orderbooks_spider.items import PollItem
    from orderbooks_spider.polymarket.market import Market


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean archive with three segments of polls; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("archive") / "root"
    small_archive(root)
    return root


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(archive, tmp_path / "root"))


def small(root: Path, run_id: str, collector_id: str) -> Path:
    """Three slots of a collector of its own."""
    root.mkdir()
    asyncio.run(collect(Collector(root, run_id, collector_id=collector_id), 3))
    return root


def made(root: Path, out: Path) -> Tables:
    """The dataset of *root*, made in this process; there must be nothing to complain of."""
    assert normalise_archives([root], out, workers=1).errors == []
    return Tables(out)


def snapshot(out: Path) -> dict[str, tuple[int, bytes]]:
    """Time of the last change and content of every file."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def contents(out: Path) -> dict[str, bytes]:
    """Content of every file."""
    return {name: content for name, (_, content) in snapshot(out).items()}


def segments(root: Path) -> list[Path]:
    """The sealed segments of polls."""
    return sorted((root / "raw/polymarket/books").rglob("*.gz"))


def sha256(content: bytes) -> str:
    """Digest in hex."""
    return hashlib.sha256(content).hexdigest()


# The same bytes.


def test_workers_do_not_change_a_byte(archive: Path, tmp_path: Path) -> None:
    """Two folders, one worker and two: every file, the manifest too, is the same."""
    outs = [tmp_path / workers for workers in ("1", "2")]
    for out in outs:
        process = start(archive, out, "--workers", out.name)
        _, complained = process.communicate(timeout=120)
        assert (process.returncode, complained) == (0, "")
    assert contents(outs[0]) == contents(outs[1])
    assert len(Tables(outs[0]).digests()) > 5


def test_workers_start_before_what_they_do_not_need() -> None:
    """The script, which every worker imports again, brings neither Polars nor what reads segments."""
    script = SCRIPT.removesuffix(".py").replace("/", ".")
    asked = f"import sys, {script}; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], cwd=PROJECT, capture_output=True, check=True)
    assert not {b"polars", b"orderbooks_spider.normalize.segments"} & set(said.stdout.split())


def test_cluster_does_not_change_a_byte(archive: Path, tmp_path: Path) -> None:
    """The workers of a Dask cluster make the same files."""
    distributed = pytest.importorskip("distributed", reason="needs: pip install distributed")
    made(archive, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        page = normalise_archives([archive], tmp_path / "there", scheduler=cluster.scheduler_address)
    assert page.errors == []
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_cluster_without_this_project_is_refused(archive: Path, tmp_path: Path) -> None:
    """A worker that cannot import the project would keep its tasks for ever: it is named, and 78."""
    distributed = pytest.importorskip("distributed", reason="needs: pip install distributed")
    said = tmp_path / "scheduler.json"
    words = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(said)]
    with dask("scheduler", str(PROJECT), *words, "--port", "0"), dask("worker", "", *words, "--no-nanny"):
        with distributed.Client(scheduler_file=str(said), set_as_default=False) as client:
            client.wait_for_workers(1)
            address = client.scheduler.address
        line = complaint(normalize(archive, tmp_path / "out", "--scheduler", address), 78)
    assert "expected orderbooks_spider 0.1.0 as here, saw none at tcp://127.0.0.1:" in line


@contextmanager
def dask(what: str, project: str, *words: str) -> Iterator[None]:
    """A scheduler or worker in a process of its own, away from the project, which *project* may show it."""
    command = [sys.executable, "-P", "-m", f"distributed.cli.dask_{what}", *words]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": project}, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_second_run_touches_nothing(archive: Path, tmp_path: Path) -> None:
    """Where nothing is new no file is written, not even with the same content."""
    before = snapshot(made(archive, tmp_path / "out").out)
    assert snapshot(made(archive, tmp_path / "out").out) == before


def test_new_segments_leave_old_files_alone(tmp_path: Path) -> None:
    """A later run of the collector adds its files; the end is what a fresh dataset of all would be."""
    root = tmp_path / "root"
    small_archive(root, 12)
    before = snapshot(made(root, tmp_path / "out").out)
    clock = ManualClock(START_NS + 40 * NS)
    asyncio.run(collect(Collector(root, "run2", clock), 5))
    after = snapshot(made(root, tmp_path / "out").out)
    old = {name for name in before if name.startswith(("books/", "polls/")) and "derived" not in name}
    assert len(old) == 4
    assert {name: after[name] for name in old} == {name: before[name] for name in old}
    assert contents(tmp_path / "out") == contents(made(root, tmp_path / "fresh").out)


def test_missing_output_is_made_again(archive: Path, tmp_path: Path) -> None:
    """A file that somebody removed or cut is there again after the next run, and no other is touched."""
    out = made(archive, tmp_path / "out").out
    before = snapshot(out)
    gone, cut = sorted((out / "books").rglob("*.parquet"))[:2]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    made(archive, out)
    assert contents(out) == {name: content for name, (_, content) in before.items()}


# What the files are.


def test_damaged_output_is_named(archive: Path, tmp_path: Path) -> None:
    """A file of the dataset that cannot be read ends with 2 and its name; once deleted it is made again."""
    out = made(archive, tmp_path / "out").out
    path = next((out / "polls").rglob("polymarket_*.parquet"))
    path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree(out / "quality")  # or nobody would have a reason to read it
    line = complaint(normalize(archive, out), 2)
    assert line.startswith(f"{path}: not what was written: ")
    path.unlink()
    made(archive, out)
    assert contents(out) == contents(made(archive, tmp_path / "fresh").out)


def test_any_name_of_a_folder_will_do(archive: Path, tmp_path: Path) -> None:
    """Blanks, brackets and stars in a path are taken as they are, and change no byte."""
    folder = tmp_path / "my [1] data *?"
    root = Path(shutil.copytree(archive, folder / "root"))
    assert contents(made(root, folder / "out").out) == contents(made(archive, tmp_path / "out").out)


def test_files_follow_schema_and_partition(archive: Path, tmp_path: Path) -> None:
    """Each file has its table's schema, its rows belong to the hour of its folder and stand in order."""
    dataset = made(archive, tmp_path / "out")
    for name, table in TABLES.items():
        for path in dataset.files(name):
            schema = pq.read_schema(path)
            assert (schema.remove_metadata(), schema.metadata) == (table.schema, None)
            group = pq.read_metadata(path).row_group(0)
            assert {group.column(number).compression for number in range(group.num_columns)} == {"ZSTD"}
            rows = pl.read_parquet(path, hive_partitioning=False)
            hours = pl.from_epoch(rows[table.time], "ns").dt.strftime("date=%F/hour=%H").unique()
            assert [path.parent] == [dataset.out / name / hour for hour in hours]
            assert rows.equals(rows.sort(table.order))


ENDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ok", {}),
    ("no_book", {"reason": "not_found", "status": 404}),
    ("throttled", {"status": 429}),
    ("timeout", {"received_ns": None, "status": None, "body": None}),
    (
        "skipped",
        {"reason": "budget", "sent_ns": None, "received_ns": None, "elapsed_ns": None, "status": None},
    ),
)


def test_polls_say_what_the_raw_rows_say(tmp_path: Path) -> None:
    """Every column of every recorded poll is that of its row; `no_book` answers outside the window only."""
    end_ns = START_NS + 10 * NS

    def ended(item: PollItem) -> PollItem:
        item.result, keys = ENDS[item.slot % len(ENDS)]
        item.window_end, item.batch = iso_utc(end_ns), item.slot % 3 or None
        for key, value in keys.items():
            setattr(item, key, value)
        return item

    root = tmp_path / "root"
    small_archive(root, 20, change=ended)
    texts = [line for path in segments(root) for line in gzip.decompress(path.read_bytes()).splitlines()]
    raw = {(row["token_id"], row["due_ns"]): row for row in map(json.loads, texts)}
    rows = made(root, tmp_path / "out").read("polls").to_dicts()
    assert len(rows) == len(raw) == 40
    for row in rows:
        said = raw[row["token_id"], row["due_ns"]]
        inside = row["due_ns"] < end_ns
        told = {
            "window": "5m",
            "window_start_ns": START_NS,
            "window_end_ns": end_ns,
            "lateness_ns": None if said["sent_ns"] is None else said["sent_ns"] - said["due_ns"],
            "in_window": inside,
            "answered": said["result"] == "ok" or (said["result"] == "no_book" and not inside),
            "recorded": True,
        }
        places = {"raw_file", "raw_member", "raw_line"}
        expected = {name: said[name] for name in row.keys() - told.keys() - places} | told
        assert {name: row[name] for name in expected} == expected


def test_late_row_goes_to_its_own_hour(tmp_path: Path) -> None:
    """A segment that holds rows of two hours gives two files, each with its hour's rows."""
    root, before_ns = tmp_path / "root", START_NS // HOUR_NS * HOUR_NS

    def late(item: PollItem) -> PollItem:
        if item.due_ns == START_NS + 3 * INTERVAL_NS + PHASE_NS:
            item.due_ns, item.slot = before_ns - NS + PHASE_NS, before_ns // NS - 1
        return item

    small_archive(root, 5, change=late)
    page = normalise_archives([root], tmp_path / "out", workers=1)
    rows = {output.hour_ns: output.rows for output in page.outputs() if output.table == "books"}
    assert rows == {before_ns - HOUR_NS: 2, before_ns: 8}


def test_odd_books_keep_their_digits(tmp_path: Path) -> None:
    """Reversed, one-sided, 0.001-tick and empty books lie in the files as the venue's texts say."""
    bids, asks = [("0.4", "7"), ("0.41", "5.5")], [("0.6", "2"), ("0.43", "1.000001")]
    texts = [
        book_text(bids[::-1], asks[::-1]),
        book_text(bids, []),
        book_text([("0.963", "1")], [("0.964", "999999999999.999999")], tick_size="0.001"),
        book_text([], []),
    ]

    def with_text(item: PollItem) -> PollItem:
        item.body = texts[(item.due_ns - START_NS) // INTERVAL_NS] if item.token_id == UP else item.body
        return item

    small_archive(tmp_path / "root", len(texts), change=with_text)
    rows = made(tmp_path / "root", tmp_path / "out").read("books").filter(pl.col("token_id") == UP).to_dicts()
    assert [(row["best_bid_price"], row["best_ask_price"], row["mid"]) for row in rows] == [
        (Decimal("0.41"), Decimal("0.43"), Decimal("0.42")),
        (Decimal("0.41"), None, None),
        (Decimal("0.963"), Decimal("0.964"), Decimal("0.9635")),
        (None, None, None),
    ]
    first, one_sided, fine, empty = rows
    assert [(level["price"], level["size"]) for level in first["asks"]] == [
        (Decimal("0.43"), Decimal("1.000001")),
        (Decimal("0.6"), Decimal(2)),
    ]
    assert (one_sided["asks"], one_sided["ask_depth"], one_sided["best_ask_size"]) == ([], 0, None)
    assert (fine["best_ask_size"], fine["tick_size"]) == (Decimal("999999999999.999999"), Decimal("0.001"))
    assert (empty["bid_levels"], empty["ask_levels"], empty["bids"]) == (0, 0, [])
    assert {row["hash_state"] for row in rows} == {"agrees"}


def test_rows_name_their_place(archive: Path, tmp_path: Path) -> None:
    """File, member and line of a row lead to the raw row that it was made from."""
    for row in made(archive, tmp_path / "out").read("books").to_dicts():
        lines = _member(archive / row["raw_file"], row["raw_member"])
        raw = json.loads(lines[row["raw_line"]])
        assert (raw["seq"], raw["token_id"], raw["due_ns"]) == (row["seq"], row["token_id"], row["due_ns"])
        assert json.loads(raw["body"])["hash"] == row["venue_hash"]


def _member(path: Path, number: int) -> list[bytes]:
    data = path.read_bytes()
    for _ in range(number + 1):
        inflate = zlib.decompressobj(31)
        text = inflate.decompress(data)
        data = inflate.unused_data
    return text.splitlines()


def test_manifest_names_inputs_and_outputs(archive: Path, tmp_path: Path) -> None:
    """Each segment with its digest, each file with its digest, and sums over both; no path, no time."""
    out = made(archive, tmp_path / "out").out
    text = (out / "manifests/normalization.json").read_text(encoding="utf-8")
    page = json.loads(text)
    for done in page["segments"]:
        assert sha256((archive / done["input"]["file"]).read_bytes()) == done["input"]["sha256"]
        for output in done["outputs"]:
            assert sha256((out / output["file"]).read_bytes()) == output["sha256"]
    named = {output["file"] for part in page["segments"] + page["derived"] for output in part["outputs"]}
    assert named == {name for name in contents(out) if not name.startswith("manifests/normalization")}
    assert page["tables"]["books"]["rows"] == page["results"]["ok"] == 50
    assert page["checks"]["hash"] == {"counted": 50, "flagged": 0, "unverifiable": 0}
    assert str(tmp_path) not in text
    assert str(archive) not in text


def test_markets_say_when_they_were_known(tmp_path: Path) -> None:
    """Records and refusals become rows with the time of the observation; an outcome is in the later one."""
    open_market = read_market(raw_market())
    closed = read_market(
        raw_market(closed=True, outcomePrices='["1", "0"]', closedTime="2026-04-16 07:15:20+00")
    )
    items = [
        MarketItem(kind="answer", observed_ns=START_NS, body="{}"),
        _record(open_market, START_NS + 1),
        MarketItem(kind="refused", observed_ns=START_NS + 2, reason="no tokens", market_slug="btc-x"),
        _record(closed, START_NS + 3),
    ]
    collector = Collector(tmp_path / "root")
    collector.root.mkdir()
    asyncio.run(_write(collector, items))
    rows = made(collector.root, tmp_path / "out").read("markets").to_dicts()
    assert [(row["kind"], row["observed_ns"] - START_NS, row["resolved"]) for row in rows] == [
        ("market", 1, False),
        ("refused", 2, None),
        ("market", 3, True),
    ]
    first, refused, last = rows
    assert (first["up_outcome_price"], last["up_outcome_price"], last["down_outcome_price"]) == (
        None,
        "1",
        "0",
    )
    assert (first["up_token_id"], first["down_token_id"]) == open_market.token_ids
    assert (first["window"], first["window_start_ns"]) == ("5m", open_market.window_start_ns)
    assert (str(first["tick_size"]), str(first["min_order_size"])) == ("0.0100", "5.000000")
    assert (refused["reason"], refused["condition_id"], refused["closed"]) == ("no tokens", None, None)


def _record(market: Market, observed_ns: int) -> MarketItem:
    return MarketItem(
        kind="market", observed_ns=observed_ns, request_id="q", market=market.record(),
        market_slug=market.market_slug, condition_id=market.condition_id,
    )  # fmt: skip


async def _write(collector: Collector, items: list[MarketItem]) -> None:
    collector.open()
    for item in items:
        collector.write(item)
    await collector.close()


# Bad input.


def complaint(done: Dataset, code: int) -> str:
    """What a user reads when nothing could be made: one line, no traceback."""
    assert done.done.returncode == code, done.done.stderr
    (line,) = done.done.stderr.splitlines()
    return line


def test_damaged_segment_is_left_out_until_restored(archive: Path, copy: Path, tmp_path: Path) -> None:
    """It is named and ends with 1, the others come out; restored, it is as if it had never been damaged."""
    path = segments(copy)[1]
    good = path.read_bytes()
    path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    done = normalize(copy, tmp_path / "out")
    assert done.done.returncode == 1
    assert f"{path.relative_to(copy)}: expected the sha256 of its manifest" in done.done.stderr
    assert "Traceback" not in done.done.stderr
    assert len(done.files("books")) == len(segments(copy)) - 1
    path.write_bytes(good)
    healed = normalize(copy, tmp_path / "out")
    assert healed.done.returncode == 0
    assert contents(healed.out) == contents(made(archive, tmp_path / "fresh").out)


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A change of the second row's text."""

    def change(content: bytes) -> bytes:
        first, rest = gzip.decompress(content).split(b"\n", 1)
        return gzip.compress(first + b"\n" + rest.replace(old, new, 1))

    return change


SPOILED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "other keys": (replaced(b'"due_ns":', b'"do_ns":'), "member 0 line 1: expected a row of its feed"),
    "no JSON": (replaced(b"{", b""), "member 0 line 1: expected a row of its feed"),
    "no UTF-8": (replaced(b"btc-updown", b"btc\xff"), "member 0 line 1: expected a row of its feed"),
    "no time": (replaced(b"2026-04-16T08:35:00Z", b"soon"), "window: expected a time, saw 'soon'"),
    "huge number": (
        replaced(b'"seq":', b'"seq":99999999999999999999, "x":'),
        "member 0: seq: expected a number below 2^63",
    ),
    "cut member": (lambda content: content[:-9], "expected whole gzip members, saw one cut short"),
    "no gzip": (lambda content: content + b"more", "expected whole gzip members: "),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_segment_is_left_out(copy: Path, tmp_path: Path, name: str) -> None:
    """A sealed segment that is none is named with what was expected, and where; the others come out."""
    spoil, said = SPOILED[name]
    path = segments(copy)[0]
    reseal(path, spoil(path.read_bytes()))
    done = normalize(copy, tmp_path / "out")
    assert done.done.returncode == 1
    assert f"{path.relative_to(copy)}: {said}" in done.done.stderr
    assert len(done.files("books")) == len(segments(copy)) - 1
    assert done.read("polls")["result"].to_list().count("missing") > 0


def reseal(path: Path, content: bytes) -> None:
    """Put *content* in the place of a segment and let its manifest agree."""
    path.write_bytes(content)
    root = path.parents[7]
    manifest = Path(str(path).replace("/raw/", "/manifests/").replace(".jsonl.gz", ".manifest.json"))
    page = json.loads(manifest.read_bytes())
    page |= {"sha256": sha256(content), "bytes": len(content)}
    manifest.write_text(json.dumps(page), encoding="utf-8")
    assert root.is_dir()


def test_manifest_that_cannot_be_read_is_named(copy: Path, tmp_path: Path) -> None:
    """Its segment is not believed; it is named, the others come out, and an existing dataset still fits."""
    made(copy, tmp_path / "out")
    path = min((copy / "manifests/polymarket/books").rglob("*.json"))
    path.write_text("{", encoding="utf-8")
    done = normalize(copy, tmp_path / "out")
    assert done.done.returncode == 1
    assert f"{path.relative_to(copy)}: expected a manifest" in done.done.stderr
    assert len(done.files("books")) == len(segments(copy)) - 1


@pytest.mark.parametrize("feed", ["books", "events"])
def test_segment_without_manifest_is_named(copy: Path, tmp_path: Path, feed: str) -> None:
    """A sealed file that lost its manifest is never left out in silence; while it is sealed it is let be."""
    out = made(copy, tmp_path / "out").out
    path = min((copy / f"manifests/polymarket/{feed}").rglob("*.json"))
    path.unlink()
    file = path.relative_to(copy / "manifests").as_posix().replace(".manifest.json", ".jsonl.gz")
    done = normalize(copy, out)
    assert done.done.returncode == 1
    assert f"raw/{file}: expected a manifest of this segment, saw none" in done.done.stderr
    assert len(done.files("books")) == len(segments(copy)) - (feed == "books")
    with ArchiveLock.acquire(copy, COLLECTOR, "run2"):
        assert file not in normalize(copy, out).done.stderr


def test_offloaded_segment_stays_normalised(copy: Path, tmp_path: Path) -> None:
    """A segment that was normalised and then purged here changes nothing; one that was not is asked for."""
    before = snapshot(made(copy, tmp_path / "out").out)
    for path in (copy / "raw").rglob("*.gz"):
        path.unlink()
    assert snapshot(made(copy, tmp_path / "out").out) == before
    fresh = normalize(copy, tmp_path / "fresh")
    assert fresh.done.returncode == 1
    assert f"{path.relative_to(copy)}: expected the segment of its manifest, saw no file" in fresh.done.stderr


def test_remains_of_a_killed_run_are_removed(archive: Path, tmp_path: Path) -> None:
    """What a killed run began under a temporary name is gone after the next."""
    out = made(archive, tmp_path / "out").out
    begun = next((out / "books").rglob("*.parquet")).with_name(f"begun{TEMPORARY}")
    begun.write_bytes(b"PAR1")
    before = contents(out)
    made(archive, out)
    assert contents(out).keys() == before.keys() - {begun.relative_to(out).as_posix()}


@pytest.mark.parametrize("end", ["ctrl-c", "kill", "kill a worker"])
def test_run_that_ends_early_is_completed_by_the_next(archive: Path, tmp_path: Path, end: str) -> None:
    """However a run was ended, even with its workers still at it, the next gives a fresh run's bytes."""
    out = tmp_path / "out"
    process = start(archive, out, "--workers", "2")
    while process.poll() is None and not list(out.rglob(f"*{TEMPORARY}")):
        time.sleep(0.005)  # until a worker has begun a file, so that there is something half done
    if end == "kill a worker":
        for worker in workers(process.pid):
            os.kill(worker, signal.SIGKILL)
    elif process.poll() is None:  # as a terminal does it: to the whole group; SIGKILL to the parent alone
        interrupt = end == "ctrl-c"
        os.killpg(process.pid, signal.SIGINT) if interrupt else process.kill()
    _, said = process.communicate(timeout=120)  # to the end of every process that holds the pipes
    assert "Traceback" not in said
    codes = {"ctrl-c": {0, 130}, "kill": {0, -signal.SIGKILL}, "kill a worker": {0, 74}}
    assert process.returncode in codes[end]
    assert made(archive, out).digests() == made(archive, tmp_path / "fresh").digests()
    assert contents(out) == contents(tmp_path / "fresh")


def workers(parent: int) -> list[int]:
    """The worker processes of a run."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in lines.items() if b"spawn_main" in line]


def test_dataset_of_another_version_is_made_again(archive: Path, tmp_path: Path) -> None:
    """Files of other versions are never mixed with new ones: all are made again, to a fresh run's bytes."""
    out = made(archive, tmp_path / "out").out
    before = snapshot(out)
    page = out / "manifests/normalization.json"
    known = json.loads(page.read_bytes())
    assert known["versions"].keys() == {"orderbooks_spider", "msgspec", "numpy", "polars", "pyarrow"}
    page.write_text(json.dumps(known | {"versions": known["versions"] | {"pyarrow": "1.0"}}), "utf-8")
    after = snapshot(made(archive, out).out)
    tables = [name for name in before if name.endswith(".parquet")]
    assert all(after[name][0] > before[name][0] for name in tables)
    assert contents(out) == {name: content for name, (_, content) in before.items()}


def test_roots_that_do_not_go_together(archive: Path, copy: Path, tmp_path: Path) -> None:
    """A collector in two roots, live beside sandbox, a dataset of other archives: 78, and one line."""
    line = complaint(normalize(archive, tmp_path / "out", "--root", str(copy)), 78)
    assert "both hold books of collector 'c0'" in line
    out = made(small(tmp_path / "other", "run9", "c0"), tmp_path / "out").out
    assert "which no given root has" in complaint(normalize(archive, out), 78)
    for path in (copy / "manifests/polymarket").rglob("*.json"):
        path.write_text(path.read_text("utf-8").replace('"sandbox"', '"live"'), encoding="utf-8")
        if "/events/" in path.as_posix():
            path.unlink()
    line = complaint(normalize(copy, out), 78)
    assert "sandbox evidence" in line
    assert "live" in line
    assert "part of the archive" in complaint(normalize(archive, archive / "raw" / "x"), 78)


def test_what_cannot_be_done_is_one_line(archive: Path, tmp_path: Path) -> None:
    """Roots with nothing to read: 2; a dataset that cannot be written: 74; no scheduler there: 78."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert "saw no folder" in complaint(normalize(tmp_path / "nowhere", tmp_path / "out"), 2)
    assert "saw no sealed segments" in complaint(normalize(tmp_path / "empty", tmp_path / "out"), 2)
    begun = Collector(tmp_path / "begun")
    asyncio.run(collect(begun, 3, stop=False))
    assert "saw only files that are not sealed yet" in complaint(normalize(begun.root, tmp_path / "out"), 2)
    begun.abandon()
    bare = shutil.copytree(archive, tmp_path / "bare", ignore=shutil.ignore_patterns("*.manifest.json"))
    assert "saw segments without manifests" in complaint(normalize(bare, tmp_path / "out"), 2)
    assert not (tmp_path / "out").exists()
    assert "Not a directory" in complaint(normalize(archive, tmp_path / "file"), 74)
    line = complaint(normalize(archive, tmp_path / "out", "--scheduler", "nonsense"), 78)
    assert "no Dask scheduler at 'nonsense'" in line


def test_dataset_in_use_is_left_alone(archive: Path, tmp_path: Path) -> None:
    """Two runs never write one dataset: the second says so and ends with 75."""
    out = made(archive, tmp_path / "out").out
    before = snapshot(out)
    with (out / "manifests/normalization.lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is normalising into it" in complaint(normalize(archive, out), 75)
    assert snapshot(out) == before


def test_person_at_a_terminal_sees_progress(archive: Path, tmp_path: Path) -> None:
    """At a terminal a bar shows how far it is and how long it will take, and is gone at the end."""
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--root", str(archive), "--out", str(tmp_path / "out")],
        cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=end,
    )  # fmt: skip
    os.close(end)
    shown = b""
    with suppress(OSError):  # EIO: the last process has closed its end
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert process.wait(120) == 0
    assert re.search(rb"segments: +\d+%\|.*\[\d\d:\d\d<", shown)
    assert shown.rpartition(b"\r")[2].strip(b"\r \x1b[A") == b""


def test_archives_of_two_collectors_become_one_dataset(archive: Path, tmp_path: Path) -> None:
    """Every row of both roots is there, each under its collector; the order of the roots says nothing."""
    other = small(tmp_path / "other", "run1", "c1")
    one = normalize(archive, tmp_path / "one", "--root", str(other))
    assert one.done.returncode == 0, one.done.stderr
    counts = one.read("books").group_by("collector_id").len().sort("collector_id").rows()
    assert counts == [("c0", 50), ("c1", 6)]
    assert one.read("quality").height == 4
    two = normalize(other, tmp_path / "two", "--root", str(archive))
    assert contents(two.out) == contents(one.out)
