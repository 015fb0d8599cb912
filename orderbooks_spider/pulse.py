"""What a collector's rows say of its health while they pass: last answers, last minutes, open problems.

Pure and cheap (some microseconds a row).  The collector keeps one for itself; whoever looks at an archive
from outside follows its tokens in the same way.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from orderbooks_spider.clock import NS
from orderbooks_spider.host_clock import CLOCK_QUALITY
from orderbooks_spider.items import EventItem, PollItem, is_answered
from orderbooks_spider.loop_lag import LOOP_LAG

if TYPE_CHECKING:
    from orderbooks_spider.items import Row

MINUTE_NS = 60 * NS
MINUTES = 6
"""Five whole ones and the one under way."""

OPENS = frozenset({
    "storage_paused", "universe_empty", "budget_exceeded", "throttle_suspected", "discovery_failed",
    "block_failed", "seal_failed", "fsync_failed",
})  # fmt: skip
"""Event rows that begin a problem."""
CLOSES: dict[str, tuple[str, ...]] = {
    "storage_resumed": ("storage_paused",),
    "universe_found": ("universe_empty",),
    "budget_suffices": ("budget_exceeded",),
    "throttle_over": ("throttle_suspected",),
    "discovered": ("discovery_failed",),
    "segment_sealed": ("block_failed", "seal_failed", "fsync_failed"),
    "recovered": ("seal_failed",),
}
"""Event rows that end some, of the same feed where they name one."""


class TokenPulse(msgspec.Struct):
    """What is known of a token's latest slots; give it rows roughly in time order."""

    market_slug: str
    outcome: str | None
    due_ns: int = 0
    """Its latest slot that has a row."""
    answered_ns: int | None = None
    """Due time of its latest answered slot."""
    gap_from_ns: int | None = None
    """First unanswered slot after that; ``None``: it was answered last."""
    gap_cause: str | None = None
    """``result/reason`` of that slot: later ones may only be skipped because of it."""

    def add(self, due_ns: int, cause: str, *, answered: bool) -> None:
        """Note the end of a slot; answers that come late may fill a gap's beginning."""
        self.due_ns = max(self.due_ns, due_ns)
        if answered:
            self.answered_ns = max(self.answered_ns or 0, due_ns)
            if self.gap_from_ns is not None and self.gap_from_ns <= due_ns:
                self.gap_from_ns = self.gap_cause = None
        elif due_ns > (self.answered_ns or 0) and (self.gap_from_ns is None or due_ns < self.gap_from_ns):
            self.gap_from_ns, self.gap_cause = due_ns, cause


@dataclass(slots=True)
class Minute:
    """The slots that were due in one minute, and have their rows."""

    from_ns: int
    answered: int = 0
    results: Counter[str] = field(default_factory=Counter)
    lateness_ms: Counter[int] = field(default_factory=Counter)
    """Polls by whole milliseconds of lateness: as many keys as there are milliseconds, not polls."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that began and has not ended."""

    since_ns: int
    text: str


@dataclass(slots=True)
class Pulse:
    """Follows one run."""

    tokens: dict[str, TokenPulse] = field(default_factory=dict)
    minutes: deque[Minute] = field(default_factory=lambda: deque(maxlen=MINUTES))
    problems: dict[str, Problem] = field(default_factory=dict)
    heads: dict[str, str | None] = field(default_factory=dict)
    """Digest of each feed's newest manifest."""
    readings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """``detail`` of the newest ``clock_quality`` and ``loop_lag``."""

    def add(self, item: Row) -> None:
        """Note a row."""
        if isinstance(item, PollItem):
            self._add_poll(item)
        elif isinstance(item, EventItem):
            self._add_event(item)

    def drop_before(self, due_ns: int) -> None:
        """Forget the tokens without a slot since *due_ns*: their markets are over."""
        for token_id in [key for key, token in self.tokens.items() if token.due_ns < due_ns]:
            del self.tokens[token_id]

    def last_minutes(self, now_ns: int) -> list[Minute]:
        """The minutes that began within the last five."""
        return [minute for minute in self.minutes if minute.from_ns > now_ns - MINUTES * MINUTE_NS]

    def _add_poll(self, item: PollItem) -> None:
        answered = is_answered(item.result, item.due_ns, item.window_start, item.window_end)
        token = self.tokens.get(item.token_id)
        if token is None:
            token = self.tokens[item.token_id] = TokenPulse(item.market_slug, item.outcome)
        cause = item.result if item.reason is None else f"{item.result}/{item.reason}"
        token.add(item.due_ns, cause, answered=answered)
        minute = self._minute(item.due_ns - item.due_ns % MINUTE_NS)
        minute.answered += answered
        minute.results[item.result] += 1
        if item.sent_ns is not None:
            minute.lateness_ms[(item.sent_ns - item.due_ns) // 1_000_000] += 1

    def _minute(self, from_ns: int) -> Minute:
        for minute in reversed(self.minutes):
            if minute.from_ns == from_ns:
                return minute
        self.minutes.append(Minute(from_ns))
        return self.minutes[-1]

    def _add_event(self, item: EventItem) -> None:
        name, detail = item.event, item.detail
        if name in {CLOCK_QUALITY, LOOP_LAG}:
            self.readings[name] = detail
        elif name in OPENS:
            text = ", ".join(f"{key} {value}" for key, value in detail.items())
            self.problems.setdefault(_key(name, detail), Problem(item.at_ns, text))
        for ended in CLOSES.get(name, ()):
            self.problems.pop(_key(ended, detail), None)
        if name == "segment_sealed":
            self.heads[detail["feed"]] = detail["manifest_sha256"]


def _key(name: str, detail: dict[str, Any]) -> str:
    return f"{name} {detail['feed']}" if "feed" in detail else name


def percentile_ms(lateness_ms: Counter[int], fraction: float) -> int | None:
    """Nearest-rank percentile of counted milliseconds; ``None`` of none."""
    rank = fraction * lateness_ms.total()
    seen = 0
    for value in sorted(lateness_ms):
        seen += lateness_ms[value]
        if seen >= rank:
            return value
    return None
