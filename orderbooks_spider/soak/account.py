"""What became of every planned slot of a soak: exact counts from the dataset's ``polls``, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from orderbooks_spider.clock import NS
from orderbooks_spider.normalize.faults import fault_expr
from orderbooks_spider.normalize.gaps import cause_expr
from orderbooks_spider.report.numbers import Cause, Distribution
from orderbooks_spider.report.slots import TOKEN, class_expr, distribution
from orderbooks_spider.soak.numbers import Cost, Stretch
from orderbooks_spider.soak.schedule import explained_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orderbooks_spider.report.dataset import DayTables
    from orderbooks_spider.soak.schedule import Span

MINUTE_NS: Final = 60 * NS
EXAMPLES: Final = 20
"""So many stretches of unexplained slots are listed."""
DEFECTS: Final = ("missing", "invalid_body/internal_error", "invalid_body/refused")
"""Without a schedule these are unexplained: rows that are gone, and bugs of ours."""
_MARKET: Final = [
    "market_slug", "window", "condition_id", "outcome", "window_start_ns", "window_end_ns"
]  # fmt: skip
_COLUMNS: Final = [
    *TOKEN, *_MARKET, "due_ns", "lateness_ns", "elapsed_ns", "result", "reason", "status", "in_window",
    "answered", "recorded",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """The sums over a soak."""

    tokens: pl.DataFrame
    """One row per token and collector: market columns, ``first_ns``, ``last_ns``, ``planned``, ``answered``,
    ``in_window_planned``, ``in_window_answered``, ``recorded``, and ``opens``, ``closes``: whether the first
    and the last slot inside the window were answered (null: it has none)."""
    minutes: pl.DataFrame
    """``minute_ns``, ``class``, ``slots``, and ``recorded``: slots with a raw row."""
    causes: pl.DataFrame
    """``answered``, ``result``, ``cause``, ``fault``, ``span`` (-1: none), ``slots``, ``first_ns``,
    ``last_ns``."""
    stretches: pl.DataFrame
    """Unanswered slots with no span: market and outcome, ``cause``, ``slots``, ``from_ns``, ``until_ns``."""
    lost: pl.DataFrame
    """``due_ns``, ``cause``, ``slots`` of slots for which no process was there or had planned."""
    lateness: Distribution
    latency: Distribution
    spans: Sequence[Span] = field(default_factory=list)

    @property
    def results(self) -> dict[str, int]:
        """Slots by ``result/reason``, most frequent first."""
        return _counted(self.causes)

    @property
    def unanswered(self) -> list[Cause]:
        """Why slots have no answer, most frequent first."""
        rows = self.causes.filter(~pl.col("answered")).group_by("cause", "fault").agg(pl.col("slots").sum())
        rows = rows.sort("slots", "cause", "fault", descending=[True, False, False])
        return [Cause(**row) for row in rows.iter_rows(named=True)]

    @property
    def costs(self) -> list[Cost]:
        """What each span of the schedule cost."""
        return [
            self._cost(span, self.causes.filter(pl.col("span") == number))
            for number, span in enumerate(self.spans)
        ]

    def unexplained(self, *, scheduled: bool) -> pl.DataFrame:
        """Of ``stretches`` those that nothing explains; without a schedule the archive's cause does."""
        return self.stretches if scheduled else self.stretches.filter(pl.col("cause").is_in(DEFECTS))

    def examples(self, *, scheduled: bool) -> list[Stretch]:
        """The longest of those."""
        rows = self.unexplained(scheduled=scheduled).sort(
            "slots", "from_ns", "market_slug", "outcome", "cause", descending=[True, *[False] * 4]
        )
        fields = Stretch.__struct_fields__
        return [Stretch(**row) for row in rows.head(EXAMPLES).select(fields).iter_rows(named=True)]

    def slots_where(self, condition: pl.Expr) -> int:
        """How many slots of ``causes``."""
        return int(self.causes.filter(condition)["slots"].sum())

    def polls_between(self, from_ns: int, until_ns: int) -> int:
        """Rows of polls due in ``[from_ns, until_ns)``, to the minute."""
        minutes = self.minutes.filter(pl.col("minute_ns").is_between(from_ns, until_ns, closed="left"))
        return int(minutes["recorded"].sum())

    def _cost(self, span: Span, mine: pl.DataFrame) -> Cost:
        return Cost(
            kind=span.kind.name,
            detail=span.detail,
            begin_ns=span.begin_ns,
            end_ns=span.end_ns,
            slots=int(mine["slots"].sum()),
            causes=_counted(mine),
            first_due_ns=mine["first_ns"].min(),  # type: ignore[arg-type]
            last_due_ns=mine["last_ns"].max(),  # type: ignore[arg-type]
        )


def _counted(causes: pl.DataFrame) -> dict[str, int]:
    rows = causes.group_by("cause").agg(pl.col("slots").sum())
    return dict(rows.sort("slots", "cause", descending=[True, False]).iter_rows())


def first_answers(tables: Iterable[DayTables], moments: Sequence[int]) -> dict[int, int]:
    """For each moment the due time of the first answered slot from then on; left out: there is none."""
    found: dict[int, int] = {}
    due = pl.col("due_ns")
    for day in tables:
        for hour in day.scans("polls"):
            answered = hour.filter(pl.col("answered"))
            first = [due.filter(due >= moment).min().alias(str(moment)) for moment in moments]
            for name, value in answered.select(first).collect().row(0, named=True).items():
                if value is not None:
                    found.setdefault(int(name), value)
    return found


def read_account(tables: Iterable[DayTables], begin_ns: int, end_ns: int, spans: Sequence[Span]) -> Account:
    """Add up the slots due in ``[begin_ns, end_ns)``; memory holds one hour, and two times of each poll.

    Args:
        tables: the days that the soak touches, in order.
        begin_ns: begin of the soak.
        end_ns: its end.
        spans: what may explain a slot.

    """
    parts = _Parts(spans)
    due = pl.col("due_ns")
    for day in tables:
        for hour in day.slots("polls", _COLUMNS):
            parts.add(hour.filter(due.is_between(begin_ns, end_ns, closed="left")))
    return parts.total()


class _Parts:
    """The sums of the hours so far."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._tokens: list[pl.DataFrame] = []
        self._minutes: list[pl.DataFrame] = []
        self._causes: list[pl.DataFrame] = []
        self._stretches: list[pl.DataFrame] = []
        self._lost: list[pl.DataFrame] = []
        self._times: list[pl.DataFrame] = []

    def add(self, hour: pl.DataFrame) -> None:
        """Take an hour's slots, which are in order of collector, token and time."""
        answered = pl.col("answered")
        judged = hour.with_columns(
            cause=cause_expr(),
            fault=pl.when(~answered).then(fault_expr()),
            span=pl.when(~answered).then(explained_by(self._spans)).otherwise(-1),
        )
        self._tokens.append(_tokens(judged))
        self._minutes.append(_minutes(judged))
        self._causes.append(_causes(judged))
        self._stretches.append(_stretches(judged))
        self._lost.append(_lost(judged))
        self._times.append(judged.select("lateness_ns", "elapsed_ns"))

    def total(self) -> Account:
        """The sums of all hours."""
        times = pl.concat(self._times)
        summed = pl.col("slots").sum()
        ends = {"first_ns": pl.col("first_ns").min(), "last_ns": pl.col("last_ns").max()}
        return Account(
            tokens=_all_tokens(pl.concat(self._tokens)),
            minutes=pl.concat(self._minutes)
            .group_by("minute_ns", "class")
            .agg(summed, pl.col("recorded").sum())
            .sort("minute_ns", "class"),
            causes=pl.concat(self._causes)
            .group_by("answered", "result", "cause", "fault", "span")
            .agg(summed, **ends)
            .sort("slots", "cause", "span", descending=[True, False, False]),
            stretches=pl.concat(self._stretches)
            .group_by("market_slug", "outcome", "cause")
            .agg(summed, pl.col("from_ns").min(), pl.col("until_ns").max()),
            lost=pl.concat(self._lost),
            lateness=distribution(times["lateness_ns"]),
            latency=distribution(times["elapsed_ns"]),
            spans=self._spans,
        )


def _tokens(hour: pl.DataFrame) -> pl.DataFrame:
    answered, inside = pl.col("answered"), pl.col("in_window")
    return hour.group_by(TOKEN, maintain_order=True).agg(
        pl.col(_MARKET).last(),
        first_ns=pl.col("due_ns").min(),
        last_ns=pl.col("due_ns").max(),
        opens=answered.filter(inside).first(),
        closes=answered.filter(inside).last(),
        planned=pl.len().cast(pl.Int64),
        answered=answered.sum().cast(pl.Int64),
        in_window_planned=inside.sum().cast(pl.Int64),
        in_window_answered=(answered & inside).sum().cast(pl.Int64),
        recorded=pl.col("recorded").sum().cast(pl.Int64),
    )


def _all_tokens(hours: pl.DataFrame) -> pl.DataFrame:
    return hours.group_by(TOKEN, maintain_order=True).agg(
        pl.col(_MARKET).last(),
        pl.col("first_ns").min(),
        pl.col("last_ns").max(),
        pl.col("opens").drop_nulls().first(),
        pl.col("closes").drop_nulls().last(),
        pl.col("planned", "answered", "in_window_planned", "in_window_answered", "recorded").sum(),
    )


def _minutes(hour: pl.DataFrame) -> pl.DataFrame:
    minute = (pl.col("due_ns") // MINUTE_NS * MINUTE_NS).alias("minute_ns")
    return hour.group_by(minute, class_expr().alias("class")).agg(
        slots=pl.len().cast(pl.Int64), recorded=pl.col("recorded").sum().cast(pl.Int64)
    )


def _causes(hour: pl.DataFrame) -> pl.DataFrame:
    return hour.group_by("answered", "result", "cause", "fault", "span").agg(
        slots=pl.len().cast(pl.Int64), first_ns=pl.col("due_ns").min(), last_ns=pl.col("due_ns").max()
    )


def _stretches(hour: pl.DataFrame) -> pl.DataFrame:
    rows = hour.filter(~pl.col("answered"), pl.col("span") < 0)
    return rows.group_by("market_slug", "outcome", "cause").agg(
        slots=pl.len().cast(pl.Int64), from_ns=pl.col("due_ns").min(), until_ns=pl.col("due_ns").max()
    )


def _lost(hour: pl.DataFrame) -> pl.DataFrame:
    rows = hour.filter(pl.col("result").is_in(["process_down", "not_discovered"]))
    return rows.group_by("due_ns", "cause").agg(slots=pl.len().cast(pl.Int64))
