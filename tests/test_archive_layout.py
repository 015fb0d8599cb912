"""Names and folders of the archive: made and read in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbooks_spider.archive import layout
from orderbooks_spider.clock import NS, compact_utc
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import FEEDS

ROOT = Path("archive")

segments = st.builds(
    layout.Segment,
    root=st.just(ROOT),
    feed=st.sampled_from(FEEDS),
    time=st.integers(0, 4_000_000_000).map(lambda seconds: compact_utc(seconds * NS)),
    collector_id=st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
    run_id=st.from_regex(r"[A-Za-z0-9]{1,64}", fullmatch=True),
    copy=st.integers(1, 99),
)


@given(names=segments, block=st.integers(0, 20_000))
def test_names_read_back(names: layout.Segment, block: int) -> None:
    """Rule A1: every name that the layout makes reads back as the segment it was made for."""
    journal = names.journal(block)
    assert layout.parse(ROOT, names.sealed) == layout.Found(names.sealed, "sealed", names)
    assert layout.parse(ROOT, names.part) == layout.Found(names.part, "part", names)
    assert layout.parse(ROOT, journal) == layout.Found(journal, "journal", names, block)
    assert layout.parse_manifest(ROOT, names.manifest) == names
    assert layout.parse(ROOT, names.sums).kind == "sums"
    assert layout.rescue_journal(names.part) == names.journal(0)


@pytest.mark.parametrize(
    "path",
    [
        "raw/polymarket/books/2026/04/16/08/notes.txt",
        "raw/polymarket/books/2026/04/16/08/polymarket_books_20260416T093500Z_c0_r1.jsonl.gz",
        "raw/polymarket/markets/2026/04/16/08/polymarket_books_20260416T083500Z_c0_r1.jsonl.gz",
        "raw/polymarket/books/2026/04/16/08/polymarket_books_20260416T083500Z_c0_r1-1.jsonl.gz",
        "raw/polymarket/books/2026/04/16/08/polymarket_books_20260416T083500Z_c0_r1.1.jsonl.journal",
    ],
)
def test_other_names_and_wrong_folders_are_foreign(path: str) -> None:
    """Rule A1: what the layout would not have made, there, is foreign."""
    assert layout.parse(ROOT, ROOT / path).kind == "foreign"


@given(time_ns=st.integers(0, 4 * 10**18), later_ns=st.integers(0, 10**14), rotate=st.integers(1, 10**14))
def test_periods_never_go_back(time_ns: int, later_ns: int, rotate: int) -> None:
    """A later time is never in an earlier period, and an hour always ends one."""
    assert layout.period(time_ns, rotate) <= layout.period(time_ns + later_ns, rotate)
    assert layout.period(time_ns, rotate) < layout.period(time_ns + layout.HOUR_NS, rotate)


def test_run_id_that_would_not_read_back_is_refused() -> None:
    """A run id with a separator in it is an error, and ``run_id_from`` makes a usable one."""
    with pytest.raises(ArchiveError, match="1 to 64 letters and digits"):
        layout.check_run_id("a_b")
    assert layout.run_id_from("job-7_x.y") == "job7xy"
