"""Phase 2 as a whole, on files as phase 1 leaves them: what is made, made again, and named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from orderbooks_spider import cadence
from orderbooks_spider.archive.layout import HOUR_NS, Segment
from orderbooks_spider.archive.manifest import Grid
from orderbooks_spider.archive.planned import PlanDetail, runs_of
from orderbooks_spider.clock import NS, compact_utc
from orderbooks_spider.config import Shard
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.derive import derive
from orderbooks_spider.normalize.files import write_table
from orderbooks_spider.normalize.view import ArchiveView, Run
from orderbooks_spider.universe import Window

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pytest

    from orderbooks_spider.normalize.tasks import DerivedHour, Output

BEGIN = 1_776_327_600 * NS
"""2026-04-16, 08:20 UTC."""
FIRST_HOUR = BEGIN // HOUR_NS * HOUR_NS
INTERVAL = 600 * NS
GRID = Grid(
    interval_ns=INTERVAL,
    phase_buckets=20,
    lead_seconds=0.0,
    linger_seconds=0.0,
    timeout_seconds=5.0,
    mode="book",
)
CONDITION = "0x" + "ab" * 32
UP, DOWN = "1" * 77, "2" * 77
SLUG = "bitcoin-up-or-down-on-april-17-2026"
MARKET = Window(SLUG, CONDITION, "1d", BEGIN, BEGIN + 24 * HOUR_NS, (("Up", UP), ("Down", DOWN)))
_STEPS = cadence.Grid(INTERVAL, 20)
PHASE = _STEPS.phase_ns(_STEPS.bucket(CONDITION))
FIRST_SLOT = -((PHASE - BEGIN) // INTERVAL)


def due(number: int) -> int:
    """When the market's slot *number* is due, counted from its first."""
    return (FIRST_SLOT + number) * INTERVAL + PHASE


@dataclass
class Archive:
    """What collectors recorded of one market's tokens, as phase 1's files and its view."""

    out: Path
    runs: list[Run] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    markets: tuple[Window, ...] = (MARKET,)

    def add_run(self, slots: range, collector_id: str = "c0", **changes: Any) -> None:
        """A run that planned the market, answered all of *slots* and stopped behind them."""
        plan = PlanDetail(CONDITION, [UP, DOWN], due(slots.start), MARKET.end_ns, INTERVAL, PHASE)
        run = Run(
            collector_id=collector_id,
            run_id=f"r{slots.start}",
            environment="sandbox",
            started_ns=due(slots.start),
            last_known_ns=due(slots.stop),
            owed_until_ns=due(slots.stop),
            grid=GRID,
            shard=Shard(),
            windows=None,
            plans=(plan,),
        )
        self.runs.append(replace(run, **changes))

    def record(
        self, slots: Collection[int], collector_id: str = "c0", lost: Collection[tuple[str, int]] = ()
    ) -> None:
        """Phase 1's files of one segment: a book per token and slot, but for the *lost* rows."""
        rows = [
            _poll(token, number, collector_id)
            for token in (UP, DOWN)
            for number in slots
            if (token, number) not in lost
        ]
        if not rows:
            return
        time = compact_utc(min(row["due_ns"] for row in rows))
        name = Segment(self.out, "books", time, collector_id, "run1", len(self.outputs) + 1).stem
        for table in (tables.POLLS, tables.BOOKS):
            frame = pl.DataFrame(rows, schema_overrides={"best_bid_price": pl.Decimal(9, 4)})
            unsaid = {column: pl.lit(None) for column in table.schema.names if column not in frame.columns}
            data = frame.with_columns(**unsaid).select(table.schema.names).to_arrow()
            self.outputs += write_table(self.out, table, name, data)

    @property
    def view(self) -> ArchiveView:
        """The archive as phase 2 is told of it."""
        runs = sorted(self.runs, key=lambda run: (run.collector_id, run.started_ns))
        outputs = sorted(self.outputs, key=lambda output: output.file)
        return ArchiveView("sandbox", tuple(runs), self.markets, tuple(outputs), ())

    def derive(self, before: list[DerivedHour] | None = None) -> list[DerivedHour]:
        """Run phase 2."""
        return derive(self.out, self.view, {hour.hour_ns: hour for hour in before or []})

    def read(self, table: str) -> pl.DataFrame:
        """A whole table, in its order."""
        files = sorted((self.out / table).rglob("*.parquet"))
        frames = [pl.read_parquet(file, hive_partitioning=False) for file in files]
        return pl.concat(frames).sort(tables.TABLES[table].order)


def _poll(token: str, number: int, collector_id: str) -> dict[str, Any]:
    """A row of ``polls`` and of ``books`` at once."""
    due_ns = due(number)
    return {
        "environment": "sandbox",
        "venue": "polymarket",
        "collector_id": collector_id,
        "market_slug": MARKET.market_slug,
        "window": MARKET.label,
        "condition_id": CONDITION,
        "token_id": token,
        "outcome": "Up" if token == UP else "Down",
        "window_start_ns": MARKET.start_ns,
        "window_end_ns": MARKET.end_ns,
        "slot": FIRST_SLOT + number,
        "due_ns": due_ns,
        "sent_ns": due_ns + 1000,
        "received_ns": due_ns + 41_000,
        "elapsed_ns": 40_000,
        "lateness_ns": 1000,
        "result": "ok",
        "status": 200,
        "request_id": f"{token[0]}-{number}",
        "in_window": True,
        "answered": True,
        "recorded": True,
        "run_id": "run1",
        "seq": number * 2 + (token == DOWN),
        "raw_file": "raw/x.jsonl.gz",
        "raw_member": 0,
        "raw_line": number,
        "mid": Decimal(number % 7) / 10,
        "hash_state": "agrees",
        "mirror_state": "unverifiable",
        "flags": 0,
        "unverifiable": 0,
    }


@st.composite
def outages(draw: st.DrawFn) -> list[range]:
    """Slots at which a collector lived, in order; between them it was down."""
    ends = sorted(draw(st.sets(st.integers(0, 40), min_size=2, max_size=8)))
    return [range(low, high) for low, high in zip(ends[::2], ends[1::2], strict=False)]


@settings(max_examples=12, deadline=None)
@given(lives=outages(), lost=st.sets(st.tuples(st.sampled_from([UP, DOWN]), st.integers(0, 40)), max_size=3))
def test_what_grows_run_by_run_ends_in_the_bytes_of_a_fresh_start(
    tmp_path_factory: pytest.TempPathFactory, lives: list[range], lost: set[tuple[str, int]]
) -> None:
    """Deriving after each run, with what was made before, gives the files that deriving once gives."""
    folder = tmp_path_factory.mktemp("derive")
    grown, fresh = Archive(folder / "grown"), Archive(folder / "fresh")
    made: list[DerivedHour] = []
    for archive in (grown, fresh):
        for life in lives:
            archive.add_run(life)
            archive.record(life, lost=lost)
            if archive is grown:
                made = archive.derive(made)
    assert made == fresh.derive()
    assert grown.derive(made) == made


@settings(max_examples=12, deadline=None)
@given(lives=outages(), lost=st.sets(st.tuples(st.sampled_from([UP, DOWN]), st.integers(0, 40)), max_size=3))
def test_polls_gaps_and_quality_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, lives: list[range], lost: set[tuple[str, int]]
) -> None:
    """Every slot from the first start to the last stop is once in polls; gaps and quality add up to it."""
    archive = Archive(tmp_path_factory.mktemp("derive"))
    for life in lives:
        archive.add_run(life)
        archive.record(life, lost=lost)
    hours = archive.derive()
    polls = archive.read("polls")
    whole = range(lives[0].start, lives[-1].stop)
    assert sorted(polls.select("token_id", "due_ns").rows()) == sorted(
        (token, due(number)) for token in (UP, DOWN) for number in whole
    )
    there = {(token, number) for life in lives for token in (UP, DOWN) for number in life}
    gone = polls.filter(pl.col("result") == "missing").select("token_id", "due_ns").rows()
    assert sorted(gone) == sorted((token, due(number)) for token, number in there & lost)
    assert bool([line for hour in hours for line in hour.problems]) == bool(there & lost)
    down = polls.filter(pl.col("result") == "process_down")
    assert len(down) == 2 * len(whole) - len(there)
    expected = []
    for token in (DOWN, UP):
        answered = polls.filter((pl.col("token_id") == token) & pl.col("answered"))["due_ns"].to_list()
        gone_dues = [due(number) for number in whole if due(number) not in answered]
        runs, _ = runs_of(gone_dues, INTERVAL)
        expected += [(token, first, last) for first, last, _ in runs]
    gaps = archive.read("gaps").select("token_id", "from_ns", "until_ns").rows() if expected else []
    assert sorted(gaps) == sorted(expected)
    quality = archive.read("quality")
    assert (quality["planned"].sum(), quality["answered"].sum()) == (len(polls), polls["answered"].sum())


def test_gap_goes_on_over_hours_and_ends_where_it_ends(tmp_path: Path) -> None:
    """An outage of hours is one gap per token, in the hour of its first slot, with the mids around it."""
    archive = Archive(tmp_path)
    for life in (range(10), range(30, 35)):
        archive.add_run(life)
        archive.record(life)
    archive.derive()
    gaps = archive.read("gaps")
    assert gaps["token_id"].to_list() == [UP, DOWN]
    found = gaps.row(0, named=True)
    assert (found["from_ns"], found["until_ns"], found["slots"]) == (due(10), due(29), 20)
    assert (found["last_answered_ns"], found["next_answered_ns"]) == (due(9), due(30))
    assert (found["mid_before"], found["mid_after"]) == (Decimal("0.2"), Decimal("0.2"))
    assert (found["cause"], found["fault"]) == ("process_down", "us")
    (file,) = (tmp_path / "gaps").rglob("*.parquet")
    assert file.relative_to(tmp_path).as_posix() == "gaps/date=2026-04-16/hour=10/c0.parquet"


def test_unchanged_hours_are_not_read_again(tmp_path: Path) -> None:
    """When a run goes on, only the hours that it touched are made again."""
    archive = Archive(tmp_path)
    archive.add_run(range(20))
    archive.record(range(20))
    before = archive.derive()
    archive.add_run(range(20, 30))
    archive.record(range(20, 30))
    for output in archive.outputs:
        if output.hour_ns < due(10) // HOUR_NS * HOUR_NS:
            (tmp_path / output.file).write_bytes(b"not to be opened")
    after = archive.derive(before)
    same = [hour for hour in after if hour in before]
    assert same == before[: len(same)]
    assert len(same) >= 2
    assert {hour.hour_ns for hour in after} > {hour.hour_ns for hour in before}


def test_lost_row_shows_everywhere(tmp_path: Path) -> None:
    """One raw row that is gone: a derived slot, a gap, a lower coverage, and a line for a person."""
    archive = Archive(tmp_path)
    archive.add_run(range(12))
    archive.record(range(12), lost=[(UP, 4)])
    hours = archive.derive()
    row = archive.read("polls").filter(~pl.col("recorded")).row(0, named=True)
    assert (row["token_id"], row["due_ns"], row["result"]) == (UP, due(4), "missing")
    assert (row["seq"], row["raw_file"], row["sent_ns"], row["answered"]) == (None, None, None, False)
    (gap,) = archive.read("gaps").to_dicts()
    assert (gap["token_id"], gap["slots"], gap["causes"]) == (UP, 1, [{"cause": "missing", "slots": 1}])
    quality = archive.read("quality").filter(pl.col("coverage") < 1)
    assert quality.select("token_id", "planned", "answered").rows() == [(UP, 6, 5)]
    assert quality["unanswered"].to_list() == [[{"cause": "missing", "slots": 1}]]
    (line,) = [line for hour in hours for line in hour.problems]
    assert f"1 slots of {SLUG}" in line
    assert "A13" in line


def test_doubled_row_counts_once_and_is_named(tmp_path: Path) -> None:
    """Two raw rows of one slot (rule A12 is broken) are one slot in coverage, and said."""
    archive = Archive(tmp_path)
    archive.add_run(range(3))
    archive.record(range(3))
    archive.record([1])
    (line,) = [line for hour in archive.derive() for line in hour.problems]
    assert "A12" in line
    quality = archive.read("quality")
    assert (quality["planned"].sum(), quality["coverage"].max(), quality["books"].sum()) == (6, 1.0, 6)


def test_running_collector_is_judged_up_to_what_is_known(tmp_path: Path) -> None:
    """Rows behind the last known moment are in polls, and in no coverage until the next seal."""
    archive = Archive(tmp_path)
    archive.add_run(range(10), last_known_ns=due(8), owed_until_ns=due(8))
    archive.record(range(10), lost=[(UP, 8)])
    hours = archive.derive()
    assert [line for hour in hours for line in hour.problems] == []
    assert archive.read("quality")["planned"].sum() == 16
    assert not (tmp_path / "gaps").exists()


def test_two_collectors_have_their_own_files_and_coverage(tmp_path: Path) -> None:
    """Redundant collectors each answer for all slots, in files of their own."""
    archive = Archive(tmp_path)
    archive.add_run(range(6))
    archive.record(range(6))
    archive.add_run(range(6), "c1")
    archive.record(range(3), "c1")
    archive.derive()
    coverage = archive.read("quality").group_by("collector_id").agg(pl.col("planned", "answered").sum())
    assert sorted(coverage.rows()) == [("c0", 12, 12), ("c1", 12, 6)]
    assert set(archive.read("gaps")["collector_id"]) == {"c1"}


def test_market_without_record_is_named_by_its_rows(tmp_path: Path) -> None:
    """A run seeded from a file leaves no record of the market: its rows say which slots were planned."""
    archive = Archive(tmp_path, markets=())
    archive.add_run(range(6))
    archive.record(range(6), lost=[(DOWN, number) for number in range(6)])
    archive.derive()
    polls = archive.read("polls")
    assert len(polls) == 12
    assert set(polls.filter(pl.col("token_id") == DOWN)["outcome"]) == {"Down"}


def test_market_that_nothing_names_is_said(tmp_path: Path) -> None:
    """A plan whose market no record and no row names cannot be listed: coverage would be too high unsaid."""
    archive = Archive(tmp_path, markets=())
    archive.add_run(range(6))
    (hour,) = archive.derive()
    assert hour.outputs == []
    (line,) = hour.problems
    assert CONDITION in line


def test_plan_that_was_never_reached_is_no_problem(tmp_path: Path) -> None:
    """A seeded market whose slots all lie behind the end of the run owes nothing, so nothing is said."""
    archive = Archive(tmp_path, markets=())
    archive.add_run(range(6), last_known_ns=due(0), owed_until_ns=due(0))
    assert archive.derive() == []
