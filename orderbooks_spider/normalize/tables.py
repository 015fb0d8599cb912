"""Every table and column of the dataset: type, unit, source, and what ``null`` means.

The single source: the writers cast to these schemas, and the schema page is made from them.
A column whose ``null`` is empty never is null, and its Parquet field is required.
"""
# ruff: noqa: E501 - one line per column, as in the table that this is

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = "orderbooks.dataset/1"
"""A new meaning of a column is a new number."""

PRICE_SCALE: Final = 4
SIZE_SCALE: Final = 6
PRICE = pa.decimal128(9, PRICE_SCALE)
MID = pa.decimal128(10, PRICE_SCALE + 1)
"""One more digit than a price, so that the half of an odd sum is exact."""
SIZE = pa.decimal128(18, SIZE_SCALE)
LEVELS = pa.list_(
    pa.field("element", pa.struct([pa.field("price", PRICE), pa.field("size", SIZE)]), nullable=False)
)
CAUSES = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [pa.field("cause", pa.string(), nullable=False), pa.field("slots", pa.int64(), nullable=False)]
        ),
        nullable=False,
    )
)
CHECKS = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("check", pa.string(), nullable=False),
                pa.field("counted", pa.int64(), nullable=False),
                pa.field("flagged", pa.int64(), nullable=False),
                pa.field("unverifiable", pa.int64(), nullable=False),
                pa.field("rate", pa.float64()),
            ]
        ),
        nullable=False,
    )
)

_UTC = "ns since 1970, UTC"
_NS = "ns"
_PRICE = "USDC per share, 0 to 1"
_SIZE = "shares"
_SLOTS = "slots"
_LEVELS = "levels"
_RATE = "0 to 1"
_TEXT = "text"
_NO_VALUE = "the book does not say it, or it does not fit the type (flag `unrepresentable`)"
_NO_SIDE = "no level on that side, or the side holds a price that does not fit the type"
_NO_BOTH = "a side has no best price"
_NO_DEPTH = "the side holds a value that does not fit the type, or the body is no book; an empty side is 0"
_NO_REQUEST = "nothing was sent"
_NO_ANSWER = "no answer came"
_DERIVED = "the slot has no raw row (`recorded` is false)"
_NOT_MARKET = "the row is a refusal, or the venue did not say it"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type in Parquet, and what a reader must know."""

    name: str
    type: pa.DataType
    unit: str
    source: str
    """venue, host clock, grid, collector, archive or computed."""
    doc: str
    null: str = ""
    """What ``null`` means; empty: never null."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns in file order, the order of its rows, and the time that files a row."""

    name: str
    doc: str
    time: str
    """The column whose UTC date and hour are the row's partition."""
    order: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema that every file of the table has."""
        return pa.schema([pa.field(c.name, c.type, nullable=bool(c.null)) for c in self.columns])


def _lineage(null: str = "") -> tuple[Column, ...]:
    return (
        Column("run_id", pa.string(), _TEXT, "collector", "the life of the collector that wrote the raw row", null),
        Column("seq", pa.int64(), "number", "archive", "number of the raw row in its feed and collector", null),
        Column("raw_file", pa.string(), "path", "archive", "sealed segment of the raw row, relative to its archive root", null),
        Column("raw_member", pa.int32(), "number", "archive", "gzip member in that file, from 0", null),
        Column("raw_line", pa.int32(), "number", "archive", "line in that member, from 0", null),
    )  # fmt: skip


_WHO = (
    Column("environment", pa.string(), _TEXT, "collector", "`live` or `sandbox`"),
    Column("venue", pa.string(), _TEXT, "collector", "`polymarket`"),
    Column("collector_id", pa.string(), _TEXT, "collector", "the collector that polled"),
)
_MARKET = (
    Column("market_slug", pa.string(), _TEXT, "venue", "readable name of the market"),
    Column("window", pa.string(), _TEXT, "venue", "length of the market's window: `5m`, `15m`, `1h`, `4h` or `1d`", "the slug is none of a BTC up/down market"),
    Column("condition_id", pa.string(), "hex text", "venue", "id of the market; CLOB answers call it `market`"),
    Column("token_id", pa.string(), "decimal text", "venue", "one outcome's tradable side; too long for an integer; CLOB answers call it `asset_id`"),
    Column("outcome", pa.string(), _TEXT, "venue", "label of the token, `Up` or `Down`"),
    Column("window_start_ns", pa.int64(), _UTC, "venue", "begin of the span that the market is about"),
    Column("window_end_ns", pa.int64(), _UTC, "venue", "its end"),
)  # fmt: skip
_SLOT = (
    Column("slot", pa.int64(), "number", "grid", "`due_ns // interval`; for people"),
    Column("due_ns", pa.int64(), _UTC, "grid", "when the grid wanted the poll; with `token_id` and `collector_id` it names the slot"),
)  # fmt: skip


def _depths(side: str, best: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"{side}_depth_{cents}c", SIZE, _SIZE, "computed", f"sum of the sizes at most {cents} cent{'s' if cents > 1 else ''} {best}, the best included", _NO_DEPTH)
        for cents in (1, 2, 5)
    )  # fmt: skip


BOOKS = Table(
    "books",
    "One row per poll with result `ok`: the book that the venue answered.",
    "due_ns",
    ("token_id", "due_ns", "collector_id"),
    (
        *_WHO,
        *_MARKET,
        *_SLOT,
        Column("sent_ns", pa.int64(), _UTC, "host clock", "just before the request went out; the book was true at some instant between this and `received_ns`", _NO_REQUEST),
        Column("received_ns", pa.int64(), _UTC, "host clock", "when the whole answer was there: nobody could know the book before", _NO_ANSWER),
        Column("elapsed_ns", pa.int64(), _NS, "host clock", "latency on the monotonic clock, which does not jump", _NO_ANSWER),
        Column("ts_event_ns", pa.int64(), _UTC, "venue", "the book's own `timestamp` (ms), the time of its last change, not of the answer", "the book has none that is a number; never replaced by the host's clock"),
        Column("best_bid_price", PRICE, _PRICE, "computed", "the highest bid, by price and not by position", _NO_SIDE),
        Column("best_bid_size", SIZE, _SIZE, "computed", "size at that price, as the level says it", _NO_SIDE),
        Column("best_ask_price", PRICE, _PRICE, "computed", "the lowest ask, by price and not by position", _NO_SIDE),
        Column("best_ask_size", SIZE, _SIZE, "computed", "size at that price, as the level says it", _NO_SIDE),
        Column("mid", MID, _PRICE, "computed", "(best bid + best ask) / 2, exact", _NO_BOTH),
        Column("spread", PRICE, _PRICE, "computed", "best ask - best bid; negative when crossed", _NO_BOTH),
        Column("bid_levels", pa.int32(), _LEVELS, "computed", "levels on the bid side, as sent", "the body is no book (flag `unreadable`)"),
        Column("ask_levels", pa.int32(), _LEVELS, "computed", "levels on the ask side, as sent", "the body is no book (flag `unreadable`)"),
        Column("bid_depth", SIZE, _SIZE, "computed", "sum of all bid sizes", _NO_DEPTH),
        Column("ask_depth", SIZE, _SIZE, "computed", "sum of all ask sizes", _NO_DEPTH),
        *_depths("bid", "below the best bid"),
        *_depths("ask", "above the best ask"),
        Column("bids", LEVELS, "levels", "venue", "every bid, best first, of equal prices the larger first; a level's `price` or `size` is null where it does not fit the type, and levels without a price come last", "the body is no book"),
        Column("asks", LEVELS, "levels", "venue", "every ask, best first, as `bids`", "the body is no book"),
        Column("last_trade_price", PRICE, _PRICE, "venue", "last trade of the market, in the first outcome's terms: both tokens carry the same number", "no trade yet (the venue sends an empty text), or " + _NO_VALUE),
        Column("tick_size", PRICE, _PRICE, "venue", "smallest step of a price at that time", _NO_VALUE),
        Column("min_order_size", SIZE, _SIZE, "venue", "smallest order", _NO_VALUE),
        Column("neg_risk", pa.bool_(), "flag", "venue", "whether the market is a negative-risk market", "the book does not say it"),
        Column("venue_hash", pa.string(), "hex text", "venue", "the venue's SHA-1 over the book's own text", "the body is no book"),
        Column("hash_state", pa.string(), _TEXT, "computed", "`agrees`, `disagrees` or `unverifiable`: our own computation of that hash"),
        Column("mirror_state", pa.string(), _TEXT, "computed", "`agrees`, `disagrees` or `unverifiable`: comparison with the market's other token at the same venue time"),
        Column("changed", pa.bool_(), "flag", "computed", "whether bids or asks differ from the previous book of this token in the same segment", "the first readable book of the token in its segment, or the body is no book"),
        Column("flags", pa.int32(), "bits", "computed", "checks that found something; bits of `checks.py`"),
        Column("unverifiable", pa.int32(), "bits", "computed", "checks that could not be made on this row; the same bits"),
        *_lineage(),
    ),
)  # fmt: skip

POLLS = Table(
    "polls",
    "One row per planned slot and collector, answered or not, recorded or not.",
    "due_ns",
    ("token_id", "due_ns", "collector_id"),
    (
        *_WHO,
        *_MARKET,
        *_SLOT,
        Column("sent_ns", pa.int64(), _UTC, "host clock", "just before the request went out", _NO_REQUEST),
        Column("received_ns", pa.int64(), _UTC, "host clock", "when the whole answer was there", _NO_ANSWER),
        Column("elapsed_ns", pa.int64(), _NS, "host clock", "latency on the monotonic clock", _NO_ANSWER),
        Column("lateness_ns", pa.int64(), _NS, "computed", "`sent_ns - due_ns`: how late we were", _NO_REQUEST),
        Column("result", pa.string(), _TEXT, "collector", "`ok`, `no_book`, `throttled`, `http_error`, `timeout`, `connection`, `invalid_body`, `skipped`; derived: `process_down`, `not_discovered`, `missing`"),
        Column("reason", pa.string(), _TEXT, "collector", "why it was skipped, or the name of the failure", "nothing to add"),
        Column("status", pa.int32(), "HTTP status", "venue", "status of the answer", _NO_ANSWER),
        Column("request_id", pa.string(), _TEXT, "collector", "equal for all slots of one request", "no request was made"),
        Column("batch", pa.int32(), "tokens", "collector", "tokens in the request of batch mode", "a request for one book, or none"),
        Column("in_window", pa.bool_(), "flag", "computed", "`window_start_ns <= due_ns < window_end_ns`"),
        Column("answered", pa.bool_(), "flag", "computed", "`ok`, or `no_book` outside the window"),
        Column("recorded", pa.bool_(), "flag", "computed", "whether a raw row says it; false: derived from the plan"),
        *_lineage(_DERIVED),
    ),
)  # fmt: skip

GAPS = Table(
    "gaps",
    "One row per unbroken run of unanswered slots of a token and collector.",
    "from_ns",
    ("token_id", "from_ns", "collector_id"),
    (
        *_WHO,
        *_MARKET,
        Column("from_ns", pa.int64(), _UTC, "grid", "due time of the first slot that was not answered"),
        Column("until_ns", pa.int64(), _UTC, "grid", "due time of the last slot that was not answered"),
        Column("slots", pa.int64(), _SLOTS, "computed", "slots in the gap"),
        Column("in_window_slots", pa.int64(), _SLOTS, "computed", "those of them inside the market's window"),
        Column("last_answered_ns", pa.int64(), _UTC, "grid", "due time of the answered slot before", "no slot of the token was due in the hour before: its slots begin with the gap"),
        Column("next_answered_ns", pa.int64(), _UTC, "grid", "due time of the answered slot behind", "no slot of the token was due in the hour behind: its slots, or the dataset, end with the gap"),
        Column("cause", pa.string(), _TEXT, "computed", "the most frequent cause, `result` or `result/reason`"),
        Column("causes", CAUSES, "slots per cause", "computed", "every cause, most frequent first, then by name"),
        Column("fault", pa.string(), _TEXT, "computed", "whose fault most of its slots are: `venue`, `network`, `us` or `unknown`; of equals the one that flatters us least"),
        Column("mid_before", MID, _PRICE, "computed", "mid at `last_answered_ns`", "no such slot, or no book with a mid there"),
        Column("mid_after", MID, _PRICE, "computed", "mid at `next_answered_ns`", "no such slot, or no book with a mid there"),
    ),
)  # fmt: skip

MARKETS = Table(
    "markets",
    "One row per record of a market, and per refusal: what was known, and from when on.",
    "observed_ns",
    ("observed_ns", "collector_id", "seq"),
    (
        *_WHO,
        Column("observed_ns", pa.int64(), _UTC, "host clock", "when this was known; nothing known later stands in this row"),
        Column("kind", pa.string(), _TEXT, "collector", "`market`: a record, a new one per change; `refused`: not followed; `gave_up`: not seen resolved in time"),
        Column("reason", pa.string(), _TEXT, "collector", "why it is refused or given up", "the row is a record"),
        Column("market_slug", pa.string(), _TEXT, "venue", "readable name of the market", "the refused market has none"),
        Column("condition_id", pa.string(), "hex text", "venue", "id of the market", _NOT_MARKET),
        Column("event_slug", pa.string(), _TEXT, "venue", "name of the Gamma event around it", _NOT_MARKET),
        Column("question", pa.string(), _TEXT, "venue", "the question", _NOT_MARKET),
        Column("gamma_id", pa.string(), _TEXT, "venue", "id of the market at Gamma", _NOT_MARKET),
        Column("window", pa.string(), _TEXT, "venue", "length of its window", _NOT_MARKET),
        Column("window_start_ns", pa.int64(), _UTC, "venue", "begin of the span that the market is about", _NOT_MARKET),
        Column("window_end_ns", pa.int64(), _UTC, "venue", "its end", _NOT_MARKET),
        Column("up_token_id", pa.string(), "decimal text", "venue", "token of the outcome Up", _NOT_MARKET),
        Column("down_token_id", pa.string(), "decimal text", "venue", "token of the outcome Down", _NOT_MARKET),
        Column("tick_size", PRICE, _PRICE, "venue", "smallest step of a price, by Gamma", _NOT_MARKET + ", or it does not fit the type"),
        Column("min_order_size", SIZE, _SIZE, "venue", "smallest order, by Gamma", _NOT_MARKET + ", or it does not fit the type"),
        Column("active", pa.bool_(), "flag", "venue", "Gamma's flag, which lags; select by time instead", _NOT_MARKET),
        Column("accepting_orders", pa.bool_(), "flag", "venue", "Gamma's flag", _NOT_MARKET),
        Column("enable_order_book", pa.bool_(), "flag", "venue", "Gamma's flag", _NOT_MARKET),
        Column("neg_risk", pa.bool_(), "flag", "venue", "Gamma's flag", _NOT_MARKET),
        Column("closed", pa.bool_(), "flag", "venue", "Gamma's flag", _NOT_MARKET),
        Column("closed_time", pa.string(), "text of a time", "venue", "when, as Gamma writes it", "not closed yet, or " + _NOT_MARKET),
        Column("resolved", pa.bool_(), "flag", "computed", "closed, and the outcome prices say who won", "the row is a refusal"),
        Column("up_outcome_price", pa.string(), "decimal text", "venue", "price of Up after closing: `1` won, `0` lost", "not closed yet, or " + _NOT_MARKET),
        Column("down_outcome_price", pa.string(), "decimal text", "venue", "price of Down after closing", "not closed yet, or " + _NOT_MARKET),
        Column("price_to_beat", pa.string(), "decimal text, USD", "venue", "BTC at the start; text, for it has more digits than any fixed type", _NOT_MARKET),
        Column("final_price", pa.string(), "decimal text, USD", "venue", "BTC at the end", "not settled yet, or " + _NOT_MARKET),
        Column("listed_at", pa.string(), "text of a time", "venue", "when the market was listed, as Gamma writes it", _NOT_MARKET),
        Column("resolution_source", pa.string(), _TEXT, "venue", "where the outcome is read from", _NOT_MARKET),
        Column("request_id", pa.string(), _TEXT, "collector", "the raw answer (feed `markets`) that it was read from", "not read from an answer"),
        *_lineage(),
    ),
)  # fmt: skip

QUALITY = Table(
    "quality",
    "One row per UTC hour, token and collector: coverage, times, and what the checks found.",
    "hour_ns",
    ("token_id", "hour_ns", "collector_id"),
    (
        *_WHO,
        *_MARKET,
        Column("hour_ns", pa.int64(), _UTC, "grid", "begin of the hour"),
        Column("planned", pa.int64(), _SLOTS, "computed", "slots due in the hour"),
        Column("answered", pa.int64(), _SLOTS, "computed", "answered ones"),
        Column("coverage", pa.float64(), _RATE, "computed", "`answered / planned`"),
        Column("in_window_planned", pa.int64(), _SLOTS, "computed", "slots due inside the market's window"),
        Column("in_window_answered", pa.int64(), _SLOTS, "computed", "answered ones"),
        Column("in_window_coverage", pa.float64(), _RATE, "computed", "their ratio", "no slot of the hour lies inside the window"),
        Column("unanswered", CAUSES, "slots per cause", "computed", "causes of the others, most frequent first, then by name"),
        Column("lateness_p50_ns", pa.int64(), _NS, "computed", "sent after due, nearest rank", "nothing was sent"),
        Column("lateness_p99_ns", pa.int64(), _NS, "computed", "sent after due, nearest rank", "nothing was sent"),
        Column("lateness_max_ns", pa.int64(), _NS, "computed", "sent after due", "nothing was sent"),
        Column("latency_p50_ns", pa.int64(), _NS, "computed", "from sending to the full answer or to the failure, nearest rank", "nothing was sent"),
        Column("latency_p95_ns", pa.int64(), _NS, "computed", "the same", "nothing was sent"),
        Column("latency_p99_ns", pa.int64(), _NS, "computed", "the same", "nothing was sent"),
        Column("latency_max_ns", pa.int64(), _NS, "computed", "the same", "nothing was sent"),
        Column("books", pa.int64(), "books", "computed", "rows of `books`"),
        Column("checks", CHECKS, "books per check", "computed", "per check: `counted` books it could be made on, `flagged` among them, `unverifiable` others; `rate` is `flagged / counted`, null where it could be made on none"),
        Column("fast_planned", pa.int64(), _SLOTS, "computed", "slots in the minutes in which the mid moved most: a wider range than in two thirds of the hour's minutes; a minute without books takes the move across the gap"),
        Column("fast_answered", pa.int64(), _SLOTS, "computed", "answered ones"),
        Column("fast_coverage", pa.float64(), _RATE, "computed", "their ratio", "no such minute"),
        Column("calm_planned", pa.int64(), _SLOTS, "computed", "slots in the third of the minutes in which the mid moved least, and in those that moved as little"),
        Column("calm_answered", pa.int64(), _SLOTS, "computed", "answered ones"),
        Column("calm_coverage", pa.float64(), _RATE, "computed", "their ratio", "no such minute: no book of the hour has a mid"),
        Column("slow_venue_planned", pa.int64(), _SLOTS, "computed", "slots in the slowest tenth of the hour's minutes, by the collector's median latency, and in minutes in which it only waited as the venue had asked"),
        Column("slow_venue_answered", pa.int64(), _SLOTS, "computed", "answered ones"),
        Column("slow_venue_coverage", pa.float64(), _RATE, "computed", "their ratio", "no such minute"),
    ),
)  # fmt: skip

TABLES = {table.name: table for table in (BOOKS, POLLS, GAPS, MARKETS, QUALITY)}
