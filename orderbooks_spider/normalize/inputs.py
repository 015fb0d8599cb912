"""What phase 2 makes an hour from: its planned stretches, and phase 1's files of that hour."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from orderbooks_spider import __version__
from orderbooks_spider.archive import layout
from orderbooks_spider.archive.layout import HOUR_NS
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.items import VENUE
from orderbooks_spider.normalize import tables
from orderbooks_spider.normalize.planned import accounted_until, stretches
from orderbooks_spider.normalize.polls import MARKET_COLUMNS, derived_polls, market_rows
from orderbooks_spider.normalize.written import read_table
from orderbooks_spider.polymarket.market import OUTCOMES
from orderbooks_spider.universe import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.archive.planned import PlanDetail
    from orderbooks_spider.normalize.planned import Stretch
    from orderbooks_spider.normalize.tasks import Output
    from orderbooks_spider.normalize.view import ArchiveView

FRAMES_KEPT: Final = 3
"""Hours in memory: the one that is made, the one before and the one behind."""

_SLOT_COLUMNS: Final = [
    "token_id", "due_ns", "result", "reason", "status", "answered", "in_window", "lateness_ns", "elapsed_ns",
]  # fmt: skip
_BOOK_COLUMNS: Final = ["token_id", "due_ns", "mid", "flags", "unverifiable"]


@dataclass(frozen=True, slots=True)
class HourOfSlots:
    """All slots of one collector that are due in one hour."""

    slots: pl.DataFrame
    """One row each: result, times, and mid and flags of its book."""
    derived: pl.DataFrame
    """Those of them without a raw row, as rows of ``polls``."""
    markets: pl.DataFrame
    """One row per token: the market columns, by the latest record."""
    doubles: int
    """Raw rows beyond the first of a slot."""


class Inputs:
    """By collector and hour; reads a file only when its hour is asked for."""

    def __init__(self, out: Path, view: ArchiveView) -> None:
        self._out = out
        self._environment = view.environment
        self._until = accounted_until(view.runs)
        self._files: defaultdict[tuple[str, str, int], list[Output]] = defaultdict(list)
        self._stretches: defaultdict[tuple[str, int], list[Stretch]] = defaultdict(list)
        self._frames: OrderedDict[tuple[str, int], HourOfSlots] = OrderedDict()
        self._own: dict[int, bytes] = {}
        self.problems: defaultdict[int, list[str]] = defaultdict(list)
        """Per hour what cannot be listed at all."""
        for output in view.outputs:
            self._files[output.table, _collector_of(output), output.hour_ns].append(output)
        markets = [*view.markets, *self._planned_only(view)]
        for stretch in stretches(view.runs, markets, view.left_out):
            for hour_ns in range(stretch.from_ns // HOUR_NS * HOUR_NS, stretch.until_ns, HOUR_NS):
                self._stretches[stretch.collector_id, hour_ns].append(_cut(stretch, hour_ns))
        keys = {(collector_id, hour_ns) for _, collector_id, hour_ns in self._files} | set(self._stretches)
        self.collectors = sorted({collector_id for collector_id, _ in keys})
        self.hours = sorted({hour_ns for _, hour_ns in keys} | set(self.problems))
        self._keys = keys

    def has(self, collector_id: str, hour_ns: int) -> bool:
        """Whether the collector has slots in the hour."""
        return (collector_id, hour_ns) in self._keys

    def who(self, collector_id: str) -> dict[str, str]:
        """The columns that are the same in all rows of a collector."""
        return {"environment": self._environment, "venue": VENUE, "collector_id": collector_id}

    def digest(self, hour_ns: int, reach_ns: int) -> str:
        """SHA-256 over the inputs of the hour before, of the hour, and of those up to *reach_ns*."""
        digest = hashlib.sha256(f"{tables.SCHEMA_VERSION} {__version__} {self._environment}".encode())
        for hour in range(hour_ns - HOUR_NS, reach_ns + HOUR_NS, HOUR_NS):
            digest.update(self._own_inputs(hour))
        return digest.hexdigest()

    def hour(self, collector_id: str, hour_ns: int) -> HourOfSlots:
        """The slots of one hour, as far as the collector answers for it."""
        key = collector_id, hour_ns
        if key not in self._frames:
            while len(self._frames) >= FRAMES_KEPT:
                self._frames.popitem(last=False)
            self._frames[key] = self._load(collector_id, hour_ns)
        self._frames.move_to_end(key)
        return self._frames[key]

    def _load(self, collector_id: str, hour_ns: int) -> HourOfSlots:
        until_ns = self._until.get(collector_id, hour_ns + HOUR_NS)
        planned = self._stretches.get((collector_id, hour_ns), [])
        every = self._read("polls", collector_id, hour_ns, [*MARKET_COLUMNS, *_SLOT_COLUMNS[1:], "seq"])
        every = every.filter(pl.col("due_ns") < until_ns).sort("token_id", "due_ns", "seq")
        recorded = _first_of_each_slot(every)
        derived = derived_polls(planned, recorded).with_columns(
            **{name: pl.lit(value) for name, value in self.who(collector_id).items()}
        )
        books = self._read("books", collector_id, hour_ns, _BOOK_COLUMNS)
        books = _first_of_each_slot(books.sort("token_id", "due_ns", maintain_order=True))
        slots = pl.concat([recorded.select(_SLOT_COLUMNS), derived.select(_SLOT_COLUMNS)])
        named = pl.concat([market_rows(planned), recorded.select(*MARKET_COLUMNS)])
        return HourOfSlots(
            slots=slots.join(books, on=["token_id", "due_ns"], how="left", maintain_order="left"),
            derived=derived,
            markets=named.unique("token_id", keep="first", maintain_order=True),
            doubles=len(every) - len(recorded),
        )

    def _read(self, table: str, collector_id: str, hour_ns: int, columns: list[str]) -> pl.DataFrame:
        empty = pl.from_arrow(tables.TABLES[table].schema.empty_table())
        assert isinstance(empty, pl.DataFrame)
        files = self._files.get((table, collector_id, hour_ns), [])
        return pl.concat([empty.select(columns), *(read_table(self._out, file, columns) for file in files)])

    def _own_inputs(self, hour_ns: int) -> bytes:
        """What determines the slots of an hour, as bytes."""
        if hour_ns not in self._own:
            parts = [
                (
                    collector_id,
                    min(self._until.get(collector_id, hour_ns + HOUR_NS), hour_ns + HOUR_NS),
                    self._stretches.get((collector_id, hour_ns), []),
                    [
                        (file.file, file.sha256)
                        for table in ("books", "polls")
                        for file in self._files.get((table, collector_id, hour_ns), [])
                    ],
                )
                for collector_id in self.collectors
                if self.has(collector_id, hour_ns)
            ]
            content = msgspec.json.encode([hour_ns, parts, self.problems.get(hour_ns, [])])
            self._own[hour_ns] = hashlib.sha256(content).digest()
        return self._own[hour_ns]

    def _planned_only(self, view: ArchiveView) -> Iterator[Window]:
        """Markets that a run planned and no record names (it was seeded from a file): their rows do."""
        known = {market.condition_id for market in view.markets}
        plans = [
            (run.collector_id, plan)
            for run in view.runs
            for plan in run.plans
            if plan.condition_id not in known and plan.from_ns < self._until[run.collector_id]
        ]
        named = self._named_by_rows(plans)
        for collector_id, plan in plans:
            if plan.condition_id in known:
                continue
            known.add(plan.condition_id)
            if plan.condition_id in named:
                yield named[plan.condition_id]
            else:
                self.problems[plan.from_ns // HOUR_NS * HOUR_NS].append(
                    f"{collector_id}: market {plan.condition_id}, planned from {iso_utc(plan.from_ns)} on: "
                    "no record and no row names it, so its slots are not in the dataset"
                )

    def _named_by_rows(self, plans: list[tuple[str, PlanDetail]]) -> dict[str, Window]:
        """Those of the planned markets that have rows of polls."""
        found: dict[str, Window] = {}
        for table, who, hour_ns in sorted(self._files) if plans else ():
            wanted = {
                plan.condition_id: plan
                for collector_id, plan in plans
                if collector_id == who and plan.from_ns < hour_ns + HOUR_NS and plan.until_ns > hour_ns
                if plan.condition_id not in found
            }
            if table != "polls" or not wanted:
                continue
            rows = self._read(table, who, hour_ns, [*MARKET_COLUMNS]).sort("token_id")
            rows = rows.filter(pl.col("condition_id").is_in(list(wanted)))
            for row in rows.unique("condition_id", keep="first", maintain_order=True).iter_rows(named=True):
                found[row["condition_id"]] = _window(row, wanted[row["condition_id"]])
        return found


def _window(row: dict[str, Any], plan: PlanDetail) -> Window:
    """The market of a row of ``polls``; its plan knows the other token."""
    other = next(outcome for outcome in OUTCOMES if outcome != row["outcome"])
    return Window(
        market_slug=row["market_slug"],
        condition_id=row["condition_id"],
        label=row["window"] or "",
        start_ns=row["window_start_ns"],
        end_ns=row["window_end_ns"],
        tokens=tuple((row["outcome"] if token == row["token_id"] else other, token) for token in plan.tokens),
    )


def _first_of_each_slot(rows: pl.DataFrame) -> pl.DataFrame:
    """Without the rows that repeat the slot before them; *rows* are in the order of token and due time.

    To compare neighbours takes a fifth of the time of :meth:`polars.DataFrame.unique` (measured).
    """
    token, due = pl.col("token_id"), pl.col("due_ns")
    again = (token == token.shift()) & (due == due.shift())
    return rows.filter(~again.fill_null(value=False))


def _collector_of(output: Output) -> str:
    """The collector that the file name of phase 1 says: ``<segment stem>.parquet``."""
    segment = layout.parse_stem(Path(), PurePosixPath(output.file).stem)
    assert segment is not None, output.file
    return segment.collector_id


def _cut(stretch: Stretch, hour_ns: int) -> Stretch:
    """The part of it that is due in the hour."""
    return replace(
        stretch,
        from_ns=max(stretch.from_ns, hour_ns),
        until_ns=min(stretch.until_ns, hour_ns + HOUR_NS),
    )
