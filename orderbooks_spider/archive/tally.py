"""What a segment's rows say together: the counted part of a manifest, from the rows alone.

The same code counts when a segment is sealed, when it is recovered and when it is verified.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    HashCheck = Callable[[str], Literal["agrees", "disagrees", "unverifiable"]]


class Span(msgspec.Struct, frozen=True):
    """Smallest and largest value of a key."""

    first: int
    last: int


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds, nearest rank."""

    p50: float
    p95: float
    p99: float
    max: float


class VenueHash(msgspec.Struct, frozen=True):
    """Books whose own hash was recomputed from the stored text."""

    agrees: int = 0
    disagrees: int = 0
    not_checkable: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in a manifest that its rows determine."""

    rows: int
    time_ns: Span | None
    """Due time of polls, observed or event time of other rows."""
    seq: Span | None
    sent_ns: Span | None
    received_ns: Span | None
    tokens: dict[str, int]
    markets: dict[str, int]
    results: dict[str, int]
    reasons: dict[str, int]
    status_codes: dict[str, int]
    events: dict[str, int]
    requests: int
    latency_ms: Percentiles | None
    lateness_ms: Percentiles | None
    venue_hash: VenueHash


class CountedRow(msgspec.Struct, frozen=True):
    """The keys that are counted, of any feed."""

    seq: int
    due_ns: int | None = None
    observed_ns: int | None = None
    at_ns: int | None = None
    sent_ns: int | None = None
    received_ns: int | None = None
    elapsed_ns: int | None = None
    token_id: str | None = None
    market_slug: str | None = None
    result: str | None = None
    reason: str | None = None
    status: int | None = None
    event: str | None = None
    request_id: str | None = None
    run_id: str | None = None
    collector_id: str | None = None
    environment: str | None = None
    collector: str | None = None
    collector_version: str | None = None
    body: str | None = None
    body_encoding: str | None = None

    @property
    def time_ns(self) -> int:
        """Due, or observed, or happened."""
        return self.due_ns or self.observed_ns or self.at_ns or 0


counted_row = msgspec.json.Decoder(CountedRow)


class _Range:
    """Smallest and largest of what was seen."""

    def __init__(self) -> None:
        self.low: int | None = None
        self.high: int | None = None

    def add(self, value: int | None) -> None:
        if value is None:
            return
        if self.low is None or self.high is None:
            self.low = self.high = value
        elif value < self.low:
            self.low = value
        elif value > self.high:
            self.high = value

    def span(self) -> Span | None:
        return None if self.low is None or self.high is None else Span(self.low, self.high)


class Tally:
    """Counts rows one by one; memory grows by 24 bytes a row."""

    def __init__(self, hash_check: HashCheck) -> None:
        self._hash_check = hash_check
        self.rows = 0
        self.first_row: CountedRow | None = None
        """The row with the lowest seq: it opened and named the segment."""
        self._ranges = {name: _Range() for name in ("time_ns", "seq", "sent_ns", "received_ns")}
        names = ("token_id", "market_slug", "result", "reason", "event")
        self._counters: dict[str, Counter[str]] = {name: Counter() for name in names}
        self._status: Counter[int] = Counter()
        self._hashes: Counter[str] = Counter()
        self._requests = array("q")
        self._latency = array("q")
        self._lateness = array("q")

    def add(self, row: CountedRow) -> None:
        """Count *row*."""
        self.rows += 1
        if self.first_row is None or row.seq < self.first_row.seq:
            self.first_row = row
        for name, seen in self._ranges.items():
            seen.add(getattr(row, name))
        for name, counter in self._counters.items():
            value = getattr(row, name)
            if value is not None:
                counter[value] += 1
        if row.status is not None:
            self._status[row.status] += 1
        if row.request_id is not None:
            self._requests.append(hash(row.request_id))
        if row.due_ns is not None:
            self._add_poll(row, row.due_ns)

    def _add_poll(self, row: CountedRow, due_ns: int) -> None:
        if row.sent_ns is not None:
            self._lateness.append(row.sent_ns - due_ns)
            if row.elapsed_ns is not None:
                self._latency.append(row.elapsed_ns)
        if row.result == "ok":
            readable = row.body is not None and row.body_encoding is None
            self._hashes[self._hash_check(row.body) if readable and row.body else "unverifiable"] += 1

    def counts(self) -> Counts:
        """The sums so far."""
        ranges = {name: seen.span() for name, seen in self._ranges.items()}
        counters = {name: dict(sorted(counter.items())) for name, counter in self._counters.items()}
        return Counts(
            rows=self.rows,
            time_ns=ranges["time_ns"],
            seq=ranges["seq"],
            sent_ns=ranges["sent_ns"],
            received_ns=ranges["received_ns"],
            tokens=counters["token_id"],
            markets=counters["market_slug"],
            results=counters["result"],
            reasons=counters["reason"],
            events=counters["event"],
            status_codes={str(code): count for code, count in sorted(self._status.items())},
            requests=len(set(self._requests)),
            latency_ms=percentiles(self._latency),
            lateness_ms=percentiles(self._lateness),
            venue_hash=VenueHash(
                self._hashes["agrees"], self._hashes["disagrees"], self._hashes["unverifiable"]
            ),
        )


def percentiles(values_ns: Sequence[int]) -> Percentiles | None:
    """Nearest-rank percentiles of nanoseconds, in milliseconds with three decimals."""
    if not values_ns:
        return None
    ordered = sorted(values_ns)

    def rank(percent: int) -> float:
        index = -(-len(ordered) * percent // 100) - 1
        return round(ordered[max(index, 0)] / 1e6, 3)

    return Percentiles(rank(50), rank(95), rank(99), rank(100))
