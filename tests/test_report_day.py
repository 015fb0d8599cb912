"""``report_day.py`` end to end: its numbers against the raw rows, its page in a browser, its errors."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from itertools import groupby
from typing import TYPE_CHECKING, Any

import matplotlib.image
import msgspec
import numpy as np
import pytest

from orderbooks_spider.archive.manifest import encode
from orderbooks_spider.cadence import Grid
from orderbooks_spider.clock import NS, iso_utc, parse_utc
from orderbooks_spider.config import Polling
from orderbooks_spider.errors import ArchiveError, ConfigError
from orderbooks_spider.normalize.faults import fault_of
from orderbooks_spider.normalize.run import normalise_archives
from orderbooks_spider.polymarket.book import parse_book, venue_hash
from orderbooks_spider.report.draw_slots import COLOURS
from orderbooks_spider.report.page import render
from orderbooks_spider.report.slots import GAP_LENGTHS
from orderbooks_spider.report.words import NOT_SHOWN, PICTURES
from orderbooks_spider.sandbox.child import SandboxChild
from tests import day_archive
from tests.archives import small_archive
from tests.collector import Collector
from tests.dataset import Dataset, normalize
from tests.day_report import PROJECT, DayReport, counted_here, made_here, report_day, show

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]
DAY_NS = 24 * 3600 * NS


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs over midnight, with every kind of gap."""
    root = tmp_path_factory.mktemp("midnight") / "archive"
    day_archive.day_archive(root)
    return root


@pytest.fixture(scope="module")
def dataset(archive: Path) -> Dataset:
    """What normalize makes of all of it."""
    made = normalize(archive, archive.parent / "out")
    assert made.done.returncode == 0, made.done.stderr
    return made


@pytest.fixture(scope="module")
def reports(archive: Path, dataset: Dataset) -> dict[str, DayReport]:
    """The report of each of its days: the first normalises it alone, the second is given the dataset."""
    folder = archive.parent / "pages"
    given = ("--workers", "2"), ("--dataset", str(dataset.out))
    made = {
        date: report_day(archive, date, folder / f"{date}.html", *arguments)
        for date, arguments in zip(day_archive.DATES, given, strict=True)
    }
    for report in made.values():
        assert (report.done.returncode, report.done.stderr) == (0, "")
    return made


@pytest.fixture(scope="module")
def live_like(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collector, Row]:
    """A real collector's archive of some seconds, and the numbers of its (last) day."""
    folder = tmp_path_factory.mktemp("collected")
    with SandboxChild.start() as sandbox:
        collector = Collector(folder, sandbox.url)
        assert collector.run(4).returncode == 0
    date = iso_utc(max(row["due_ns"] for row in collector.rows("books")))[:10]
    return collector, json.loads(encode(counted_here(collector.root, date)))


# The numbers, counted again from the raw files.


def raw_rows(root: Path, feed: str, date: str) -> list[Row]:
    """The rows of a feed that belong to a day."""
    from_ns = parse_utc(f"{date}T00:00:00Z")
    rows = []
    for path in sorted((root / "raw" / "polymarket" / feed).rglob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            row = json.loads(line)
            if from_ns <= row.get("due_ns", row.get("at_ns", row.get("observed_ns"))) < from_ns + DAY_NS:
                rows.append(row)
    return rows


def in_window(row: Row) -> bool:
    """Whether the slot lies inside its market's window."""
    return bool(parse_utc(row["window_start"]) <= row["due_ns"] < parse_utc(row["window_end"]))


def is_answered(row: Row) -> bool:
    """By the glossary."""
    return bool(row["result"] == "ok" or (row["result"] == "no_book" and not in_window(row)))


def cause(row: Row) -> str:
    """``result/reason``."""
    return f"{row['result']}/{row['reason']}" if row["reason"] else str(row["result"])


def rank(values: list[Any], percent: int) -> Any:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else None


_NOT_POLLED: Row = dict.fromkeys(("reason", "status", "sent_ns", "elapsed_ns"))


def down_slots(date: str) -> list[Row]:
    """The slots of the day for which no process lived, as rows."""
    return [
        _NOT_POLLED
        | {
            "due_ns": due_ns,
            "token_id": token_id,
            "condition_id": market.condition_id,
            "window_start": iso_utc(market.start_ns),
            "window_end": iso_utc(market.end_ns),
            "result": "process_down",
        }
        for market in day_archive.markets()
        for due_ns in day_archive.due_times(market, day_archive.KILLED_NS, day_archive.BACK_NS)
        for token_id in market.token_ids
        if iso_utc(due_ns)[:10] == date
    ]


def undiscovered_slots(collector: Collector, date: str) -> list[Row]:
    """The slots of the day that were due after the start and before discovery knew their market, as rows."""
    (manifest,) = (collector.root / "manifests/runs").glob("*.json")
    started_ns = parse_utc(json.loads(manifest.read_bytes())["started_utc"])
    markets = {row["condition_id"]: row["market"] for row in collector.rows("markets") if row["market"]}
    polling = Polling(interval_seconds=0.5, lead_seconds=300)
    grid = Grid(polling.interval_ns, polling.phase_buckets)
    found = []
    for plan in collector.events("plan"):
        market = markets[plan["condition_id"]]
        phase_ns = grid.phase_ns(grid.bucket(plan["condition_id"]))
        from_ns = max(started_ns, market["window_start_ns"] - polling.lead_ns("5m"))
        first = -((phase_ns - from_ns) // grid.interval_ns)
        for due_ns in range(first * grid.interval_ns + phase_ns, plan["from_ns"], grid.interval_ns):
            told = {key: market[key] for key in ("window_start", "window_end", "condition_id")}
            told |= {"due_ns": due_ns, "result": "not_discovered"}
            found += [_NOT_POLLED | told | {"token_id": token_id} for token_id in plan["tokens"]]
    return [row for row in found if iso_utc(row["due_ns"])[:10] == date]


def gaps_of(rows: list[Row]) -> list[list[Row]]:
    """Unbroken runs of unanswered slots, walked one by one."""
    ordered = sorted(rows, key=lambda row: (row["token_id"], row["due_ns"]))
    runs = groupby(ordered, key=lambda row: (row["token_id"], is_answered(row)))
    return [list(run) for (_, answered), run in runs if not answered]


def check_slots(numbers: Row, recorded: list[Row], derived: list[Row]) -> None:
    """Coverage, causes, gaps and times are those of the rows."""
    rows = recorded + derived
    inside = [row for row in rows if in_window(row)]
    assert numbers["slots"] == {"planned": len(rows), "answered": sum(map(is_answered, rows))}
    assert numbers["in_window"] == {"planned": len(inside), "answered": sum(map(is_answered, inside))}
    assert numbers["recorded"] == len(recorded)
    assert numbers["markets"] == len({row["condition_id"] for row in rows})
    assert numbers["tokens"] == len({row["token_id"] for row in rows})
    assert numbers["results"] == Counter(map(cause, rows))
    assert (numbers["first_due_ns"], numbers["last_due_ns"]) == (
        min(row["due_ns"] for row in rows),
        max(row["due_ns"] for row in rows),
    )
    lost = [row for row in rows if not is_answered(row)]
    faults = Counter((cause(row), fault_of(row["result"], row["reason"], row["status"])) for row in lost)
    assert {(each["cause"], each["fault"]): each["slots"] for each in numbers["unanswered"]} == faults
    assert sum(numbers["faults"].values()) == len(lost)
    gaps = gaps_of(rows)
    assert numbers["gaps"] == len(gaps)
    lengths = Counter(max(low for low in GAP_LENGTHS if low <= len(gap)) for gap in gaps)
    assert {
        low: sum(n["gaps"] for n in numbers["gap_lengths"] if n["from_slots"] == low) for low in lengths
    } == lengths
    longest = sorted((len(gap) for gap in gaps), reverse=True)[:10]
    assert [gap["slots"] for gap in numbers["longest_gaps"]] == longest
    sent = [row["sent_ns"] - row["due_ns"] for row in rows if row["sent_ns"] is not None]
    took = [row["elapsed_ns"] for row in rows if row["elapsed_ns"] is not None]
    for name, values in (("lateness", sent), ("latency", took)):
        found = numbers[name]
        ranks = {f"p{percent}_ns": rank(values, percent) for percent in (50, 95, 99)}
        assert {key: found[key] for key in ranks} == ranks
        assert (found["polls"], found["max_ns"]) == (len(values), max(values))
        below = [sum(value < each["below_ns"] for value in values) for each in found["bins"]]
        assert np.cumsum([each["polls"] for each in found["bins"]]).tolist() == below
    tokens = Counter((row["token_id"], is_answered(row)) for row in rows)
    for each in numbers["token_coverage"]:
        answered, unanswered = (tokens[each["token_id"], state] for state in (True, False))
        assert each["slots"] == {"planned": answered + unanswered, "answered": answered}
    assert len(numbers["token_coverage"]) == numbers["tokens"]


def check_books(numbers: Row, recorded: list[Row]) -> None:
    """Hashes, mids and spreads are those of the stored texts."""
    books = [(row, parse_book(row["body"].encode())) for row in recorded if row["result"] == "ok"]
    hashes = Counter("agrees" if venue_hash(book) == book.hash else "disagrees" for _, book in books)
    assert numbers["books"] == len(books)
    assert numbers["hash"] == {"agrees": 0, "disagrees": 0, "unverifiable": 0} | hashes
    assert sum(numbers["mirror"].values()) == len(books)
    mids: dict[tuple[str, int], dict[str, Decimal]] = {}
    spreads: dict[str, list[Decimal]] = {}
    for row, book in books:
        if not in_window(row) or not book.bids or not book.asks:
            continue
        bid = max(Decimal(level.price) for level in book.bids)
        ask = min(Decimal(level.price) for level in book.asks)
        mids.setdefault((row["condition_id"], row["due_ns"]), {})[row["outcome"]] = (bid + ask) / 2
        label = re.search(r"-(5m|15m)-", row["market_slug"])
        assert label is not None
        spreads.setdefault(label[1], []).append(ask - bid)
    differences = [abs(both["Up"] + both["Down"] - 1) for both in mids.values() if len(both) == 2]
    found = numbers["mirrored_mids"]
    assert (found["pairs"], found["equal"]) == (len(differences), differences.count(Decimal(0)))
    assert (Decimal(found["largest_difference"]) if differences else None) == max(differences, default=None)
    for each in numbers["windows"]:
        mine = spreads.get(each["window"], [])
        assert each["spreads"] == len(mine)
        for percent in (50, 90):
            value = each[f"spread_p{percent}"]
            assert (None if value is None else Decimal(value)) == rank(mine, percent)
    checks = {each["check"]: each for each in numbers["checks"]}
    outside = sum(not in_window(row) for row, _ in books)
    assert checks["outside_window"]["flagged"] == outside
    assert all(each["counted"] + each["unverifiable"] == len(books) for each in checks.values())
    assert checks["mirror"]["unverifiable"] == numbers["mirror"]["unverifiable"]


def check_files(numbers: Row, root: Path, date: str) -> None:
    """Files, bytes, rows, events and the host's clock are those of the archive."""
    for source in numbers["sources"]:
        content = (root / source["file"]).read_bytes()
        assert source["sha256"] == hashlib.sha256(content).hexdigest()
        assert (source["bytes"], source["rows"]) == (len(content), gzip.decompress(content).count(b"\n"))
    for feed in ("books", "markets", "events"):
        rows = raw_rows(root, feed, date)
        assert sum(each["rows"] for each in numbers["stored"] if each["feed"] == feed) == len(rows)
    assert sum(each["bytes"] for each in numbers["stored"]) == sum(
        each["bytes"] for each in numbers["sources"]
    )
    events = raw_rows(root, "events", date)
    assert numbers["events"] == Counter(row["event"] for row in events)
    lags = [row["detail"] for row in events if row["event"] == "loop_lag"]
    assert numbers["loop_lag"]["samples"] == sum(lag["samples"] for lag in lags)
    assert numbers["loop_lag"]["max_ns"] == max((lag["max_ns"] for lag in lags), default=None)
    readings = [row["detail"] for row in events if row["event"] == "clock_quality"]
    assert numbers["clock"]["states"] == Counter(reading["state"] for reading in readings)


@pytest.mark.parametrize("date", day_archive.DATES)
def test_numbers_are_those_of_the_raw_rows(archive: Path, reports: dict[str, DayReport], date: str) -> None:
    """Each day's JSON is what a walk over its raw rows and the grid of the downtime counts."""
    numbers, recorded = reports[date].numbers, raw_rows(archive, "books", date)
    derived = down_slots(date)
    assert recorded
    assert derived
    check_slots(numbers, recorded, derived)
    check_books(numbers, recorded)
    check_files(numbers, archive, date)
    assert (numbers["environment"], numbers["collectors"]) == ("sandbox", ["c0"])
    assert numbers["clock"]["worst_bound_ns"] == 1_250_000
    assert numbers["problems"] == []


def test_numbers_of_a_real_run_are_those_of_its_rows(live_like: tuple[Collector, Row]) -> None:
    """What a real collector recorded from the sandbox is counted as its raw rows are."""
    collector, found = live_like
    recorded = raw_rows(collector.root, "books", found["date"])
    check_slots(found, recorded, undiscovered_slots(collector, found["date"]))
    check_books(found, recorded)
    check_files(found, collector.root, found["date"])


# Ways to the same page.


def test_same_input_gives_the_same_bytes(
    archive: Path, dataset: Dataset, reports: dict[str, DayReport]
) -> None:
    """With or without a dataset, in any number of processes and any folder, both files are the same."""
    first, second = day_archive.DATES
    again = {first: made_here(archive, first, dataset.out), second: made_here(archive, second)}
    for date, report in reports.items():
        assert (again[date].html, again[date].json) == report.digest


def test_nothing_is_left_beside_the_page(reports: dict[str, DayReport]) -> None:
    """The folder, which the command made, holds pages and numbers and no remains of the work."""
    folder = reports[day_archive.DATES[0]].page.parent
    expected = {f"{date}.{kind}" for date in day_archive.DATES for kind in ("html", "json")}
    assert {path.name for path in folder.iterdir()} == expected


# The page.


class Page(HTMLParser):
    """What stands on the page: tags, ids, text; and that each tag that was opened is closed."""

    VOID = frozenset({"meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.references: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag, and whatever it refers to."""
        self.tags[tag] += 1
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            elif name in {"href", "xlink:href", "src"}:
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """``<use/>`` closes itself."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """It must be the last one opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text, also that of the style."""
        self.words += data


def test_page_holds_everything_and_asks_for_nothing(reports: dict[str, DayReport]) -> None:
    """No script, nothing from elsewhere: references go to the page's own parts, and each id is there once."""
    html = reports[day_archive.DATES[0]].html
    page = Page(html)
    assert page.open == []
    assert "<script" not in html.lower()
    assert not re.search(r"\son\w+=", html)
    addresses = set(re.findall(r"https?://[^\"'\s<>]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in html
    assert set(page.ids.values()) == {1}
    for reference in page.references + [f"#{name}" for name in re.findall(r"url\(#([^)]+)\)", html)]:
        assert reference.startswith("data:image/png;base64,") or reference.removeprefix("#") in page.ids
    assert page.tags["svg"] == len(PICTURES)
    assert len(html) < 3_000_000


def test_page_says_what_it_is_and_what_it_does_not_show(reports: dict[str, DayReport]) -> None:
    """Environment, collector, runs, versions, digests and limits stand on the page, as in the JSON."""
    date = day_archive.DATES[1]
    page, numbers = Page(reports[date].html), reports[date].numbers
    expected = [date, "sandbox", "Simulated", "c0", f"{numbers['slots']['planned']:,}", *NOT_SHOWN]
    expected += [words.question for words in PICTURES.values()]
    expected += [source["sha256"] for source in numbers["sources"]]
    expected += [f"{name} {version}" for name, version in numbers["made_with"].items()]
    expected += [run["run_id"] for run in numbers["runs"]]
    assert [text for text in expected if text not in page.words] == []
    assert {run["run_id"] for run in numbers["runs"]} == {"run2"}


def test_text_from_elsewhere_is_shown_as_text(archive: Path) -> None:
    """Markup in whatever a venue, an operator or a file name brings stands escaped on the page."""
    markup = '<b class="x">btc</b>$x^2$&amp;'
    ours = {"date", "schema", "spread_p50", "spread_p90", "largest_difference"}

    def marked(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: marked(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [marked(each, name) for each in value]
        return markup if isinstance(value, str) and name not in ours else value

    found = counted_here(archive, day_archive.DATES[1])
    texts = marked(msgspec.to_builtins(found))
    texts |= {"problems": [markup], "events": {markup: 1}, "hash": {markup: 1}, "made_with": {markup: markup}}
    html = render(msgspec.convert(texts, type(found)), {"depth": "<svg></svg>"})
    assert markup not in html
    page = Page(html)
    assert page.open == []
    assert page.words.count(markup) > 40


def test_browser_shows_the_page(reports: dict[str, DayReport], tmp_path: Path) -> None:
    """Chromium shows every picture in the colours of what happened, has no complaint and asks for nothing."""
    page = reports[day_archive.DATES[0]].page
    shown = show(page, tmp_path / "as it is", (1366, 4000))
    assert (shown.console, shown.requests) == ([], [])
    sections = dict(re.findall(r'<h2 id="([^"]*)">(.*?)(?=<h2|</body>)', shown.dom, re.DOTALL))
    for name, words in PICTURES.items():
        assert sections[name].startswith(words.question)
        assert sections[name].count("<svg") == 1
    pixels = (matplotlib.image.imread(shown.picture)[:, :, :3] * 255).round().astype(int)
    assert pixels.shape == (4000, 1366, 3)
    packed = pixels @ np.array([65536, 256, 1])
    assert (packed != 0xFFFFFF).mean() > 0.05
    for name in ("answered", "skipped", "told to wait", "no answer", "bad answer", "no book", "process down"):
        assert (packed == int(COLOURS[name][1:], 16)).sum() > 100, name


def test_browser_refuses_what_the_page_must_not_have(reports: dict[str, DayReport], tmp_path: Path) -> None:
    """A script and a picture from elsewhere, were they ever on the page, are refused by its own policy."""
    ill = '<script>console.log("run")</script><img src="http://127.0.0.1:9/x.png"></body>'
    page, open_page = tmp_path / "page.html", tmp_path / "open.html"
    page.write_text(reports[day_archive.DATES[1]].html.replace("</body>", ill), encoding="utf-8")
    open_page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", page.read_text("utf-8")), encoding="utf-8")
    kept, unkept = (show(one, tmp_path / one.stem, (500, 800)) for one in (page, open_page))
    assert len([line for line in kept.console if "violates" in line]) == 2
    assert kept.requests == []
    assert '"run"' in unkept.console[0]
    assert unkept.requests == ["http://127.0.0.1:9/x.png"]


# A day with less in it, and with damage.


def test_day_without_books_is_reported(tmp_path: Path) -> None:
    """Where nothing was answered the page says so, and draws what there is."""

    def skipped(item: Any) -> Any:
        item.result, item.reason, item.status, item.body = "skipped", "paused", None, None
        item.sent_ns = item.received_ns = item.elapsed_ns = item.collected_at_utc = None
        item.method = item.url = item.params = item.request_id = item.headers = None
        return item

    small_archive(tmp_path / "archive", moments=5, change=skipped)
    made = made_here(tmp_path / "archive", "2026-04-16")
    found = json.loads(made.json)
    assert found["slots"]["answered"] == found["books"] == 0
    assert found["faults"]["venue"] == found["slots"]["planned"]
    assert Page(made.html.decode()).tags["svg"] == 3  # coverage, gaps, stored


def test_day_without_gaps_says_so(archive: Path) -> None:
    """Where every slot was answered there is a sentence in the place of the picture of gaps."""
    found = counted_here(archive, day_archive.DATES[0])
    assert "Every planned slot was answered." not in render(found, {})
    assert "Every planned slot was answered." in render(msgspec.structs.replace(found, unanswered=[]), {})


def damaged(archive: Path, feed: str, date: str, root: Path) -> Path:
    """A copy of the archive in which a segment is not what its manifest says; its path."""
    shutil.copytree(archive, root)
    (path,) = (root / "raw/polymarket" / feed / date.replace("-", "/")).rglob("*.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-4] + b"ruin")
    return path


def test_damaged_books_are_named_and_the_rest_is_shown(archive: Path, tmp_path: Path) -> None:
    """A segment that is not what its manifest says is named on the page, and the command ends with 1."""
    date = day_archive.DATES[1]
    path = damaged(archive, "books", date, tmp_path / "archive")
    report = report_day(tmp_path / "archive", date, tmp_path / "report.html", "--workers", "1")
    assert report.done.returncode == 1
    assert path.name in report.done.stderr
    assert any(path.name in problem for problem in report.numbers["problems"])
    assert path.name in Page(report.html).words
    results = report.numbers["results"]
    assert results["process_down"] == len(down_slots(date))
    assert (results["missing"], report.numbers["books"]) == (len(raw_rows(archive, "books", date)), 0)


def test_absent_books_are_named_alike_with_and_without_a_dataset(archive: Path, tmp_path: Path) -> None:
    """A segment that is not here is named by its place in the archive, and no folder of the machine is."""
    date = day_archive.DATES[1]
    root = tmp_path / "archive"
    path = damaged(archive, "books", date, root)
    path.unlink()
    normalize(root, tmp_path / "dataset")
    found = [made_here(root, date, dataset) for dataset in (None, tmp_path / "dataset")]
    assert found[0].problems[0].startswith(f"{path.relative_to(root)}: expected the segment of its manifest")
    assert (found[0].html, found[0].json) == (found[1].html, found[1].json)
    assert str(tmp_path) not in found[0].html.decode()


def test_damaged_events_are_named_and_the_rest_is_shown(archive: Path, tmp_path: Path) -> None:
    """Without its events a day has fewer numbers, all of its polls, and a line that says so."""
    date = day_archive.DATES[1]
    path = damaged(archive, "events", date, tmp_path / "archive")
    found = counted_here(tmp_path / "archive", date)
    assert any(path.name in problem for problem in found.problems)
    assert path.name in Page(render(found, {})).words
    assert found.results["process_down"] == len(down_slots(date))
    assert found.slots.planned == len(raw_rows(archive, "books", date)) + len(down_slots(date))


# Errors.


def test_other_date_names_the_dates_there_are(archive: Path, tmp_path: Path) -> None:
    """A day without rows ends with 2, and the days that have some are named."""
    report = report_day(archive, "2026-04-18", tmp_path / "report.html", "--workers", "1")
    assert (report.done.returncode, report.done.stdout) == (2, "")
    assert "2026-04-18" in report.done.stderr
    assert ", ".join(day_archive.DATES) in report.done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("date", "page", "named"),
    [
        ("16.04.2026", "report.html", "YYYY-MM-DD"),
        ("2026-02-30", "report.html", "2026-02-30"),
        ("2026-04-16", "report.pdf", ".html"),
        ("2026-04-16", "folder.html", "folder.html"),
    ],
)
def test_wrong_argument_is_named(tmp_path: Path, date: str, page: str, named: str) -> None:
    """A date or file name that cannot be used ends with 2 and one line that names it."""
    (tmp_path / "folder.html").mkdir()
    report = report_day(tmp_path, date, tmp_path / page)
    assert report.done.returncode == 2
    assert named in report.done.stderr.splitlines()[-1]
    assert "Traceback" not in report.done.stderr


def test_page_that_cannot_be_written_is_named(archive: Path, tmp_path: Path) -> None:
    """A file where a folder should be ends with 74 and one line that names it."""
    (tmp_path / "file").write_bytes(b"")
    report = report_day(archive, day_archive.DATES[0], tmp_path / "file" / "report.html")
    assert (report.done.returncode, len(report.done.stderr.splitlines())) == (74, 1)
    assert str(tmp_path / "file") in report.done.stderr


def test_interrupted_report_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle ends with 130 and one line; neither a page nor a remain of the work is there."""
    process = subprocess.Popen(
        [sys.executable, "scripts/report_day.py", str(archive), "--date", day_archive.DATES[0],
         "--out", str(tmp_path / "report.html"), "--workers", "2"],
        cwd=PROJECT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.rglob("*.parquet*")):
        time.sleep(0.005)  # until the work has begun
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_folder_without_an_archive_is_refused(tmp_path: Path) -> None:
    """A root that holds nothing ends with 2 and a line that names it."""
    report = report_day(tmp_path / "nothing", "2026-04-16", tmp_path / "report.html")
    assert (report.done.returncode, len(report.done.stderr.splitlines())) == (2, 1)
    assert "nothing" in report.done.stderr


def test_dataset_must_hold_the_day(archive: Path, tmp_path: Path) -> None:
    """A folder that is no dataset of these archives is refused, and normalize named."""
    small_archive(tmp_path / "other", moments=3)
    normalise_archives([tmp_path / "other"], tmp_path / "out", workers=1)
    for folder in (tmp_path, tmp_path / "out"):
        with pytest.raises(ConfigError, match=r"^--dataset: .*normalize"):
            made_here(archive, day_archive.DATES[0], folder)


# The page that explains it.


def test_dataset_must_be_what_was_written(archive: Path, tmp_path: Path) -> None:
    """A file of the day that was changed or removed is named, and no page is made of what is left."""
    folder = tmp_path / "my [1] data *?"
    date = day_archive.DATES[0]
    dataset = normalize(archive, folder).out
    assert made_here(archive, date, dataset).html == made_here(archive, date).html
    path = next((dataset / "books" / f"date={date}").rglob("*.parquet"))
    good = path.read_bytes()
    path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    with pytest.raises(ArchiveError, match="not what was written"):
        made_here(archive, date, dataset)
    path.unlink()
    with pytest.raises(ArchiveError, match="saw none; normalise again"):
        made_here(archive, date, dataset)


def test_guide_explains_every_picture() -> None:
    """``docs/DAY_REPORT.md`` has a section for each picture, under the picture's own question."""
    guide = (PROJECT / "docs/DAY_REPORT.md").read_text("utf-8")
    headings = re.findall(r"^### (.*)$", guide, re.MULTILINE)
    assert headings == [words.question for words in PICTURES.values()]
