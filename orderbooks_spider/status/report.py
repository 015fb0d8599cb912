"""What ``scripts/status.py`` shows and ``--json`` prints: one archive root, collector by collector."""

from __future__ import annotations

from typing import Any

import msgspec

from orderbooks_spider.status.beat import Ping  # noqa: TC001 - msgspec reads them
from orderbooks_spider.status.verdict import EXIT_CODES, Finding, State, state_of
from orderbooks_spider.status.vitals import Disk, Offload, Vitals  # noqa: TC001

SCHEMA = "orderbooks.status/1"


class SpanReport(msgspec.Struct, frozen=True, kw_only=True):
    """Planned and answered slots of ``[from_utc, until_utc)``."""

    from_utc: str
    until_utc: str
    planned: int
    answered: int | None
    """``None``: more would have to be read than a look may."""
    coverage: float | None
    """``None``: nothing was planned, or not counted."""
    results: dict[str, int]
    no_row: int | None
    """Planned slots without a row: no process lived, or storage is paused."""
    unplanned_seconds: float
    """For so long since the collector's first run no market was planned at all."""


class TokenReport(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is polled now."""

    token_id: str
    market_slug: str
    outcome: str | None
    last_book_utc: str | None
    """Due time of its latest answered slot within the last hour."""
    seconds: float | None
    """Its age."""
    cause: str | None
    """Why slots after it have no answer; ``None``: they have."""


class CollectorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One collector."""

    collector_id: str
    state: State
    findings: list[Finding]
    retired: bool
    """Stopped more than a day ago, while another collector of the root runs: not judged."""
    vitals: Vitals
    environment: str | None
    pid: int | None
    host: str | None
    run_id: str | None
    started_utc: str | None
    spans: dict[str, SpanReport]
    """``5 min``, ``1 h``, ``24 h``; the last begins with its UTC hour."""
    tokens: list[TokenReport]
    lateness_p50_ms: float | None
    """Of the last five minutes, as ``vitals.lateness_p99_ms``."""
    clock: dict[str, Any] | None
    """``detail`` of the newest ``clock_quality`` row, with its ``at_utc``."""
    heads: dict[str, str | None]
    """Per feed the digest of the newest manifest."""
    collector_version: str | None
    versions: dict[str, str]
    config_sha256: str | None
    ping: Ping | None
    unreadable: list[str]
    """Files that could not be read, and why."""


class ArchiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """One root."""

    schema: str = SCHEMA
    root: str
    at_utc: str
    state: State
    findings: list[Finding]
    """Of the root as a whole; each collector has its own."""
    disk: Disk
    offload: Offload
    collectors: list[CollectorReport]

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 degraded, 2 down."""
        return EXIT_CODES[self.state]


def worst(findings: list[Finding], collectors: list[CollectorReport]) -> State:
    """The state of a root: no collector that is expected to run means down."""
    judged = [finding for item in collectors if not item.retired for finding in item.findings]
    return state_of([*findings, *judged])
