"""Which tokens are polled, from when and until when: one plan entry per market."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orderbooks_spider.clock import iso_utc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orderbooks_spider.cadence import Grid
    from orderbooks_spider.config import Polling, Shard


@dataclass(frozen=True, slots=True)
class Window:
    """What the universe needs of a market: whose slots, and around which span of time."""

    market_slug: str
    condition_id: str
    label: str
    start_ns: int
    end_ns: int
    tokens: tuple[tuple[str, str], ...]
    """(outcome, token id) pairs."""


@dataclass(slots=True, eq=False)
class Token:
    """One outcome of a planned market, with what the driver remembers of it."""

    token_id: str
    outcome: str
    plan: Plan = field(repr=False)
    in_flight: bool = False


@dataclass(slots=True, eq=False)
class Plan:
    """A market's slots: every grid point of its bucket with ``from_ns <= due < until_ns``."""

    market_slug: str
    condition_id: str
    bucket: int
    from_ns: int
    until_ns: int
    window_start: str
    window_end: str
    tokens: tuple[Token, ...] = ()


class Universe:
    """The planned markets by phase bucket."""

    def __init__(self, grid: Grid, polling: Polling, shard: Shard) -> None:
        self._grid = grid
        self._polling = polling
        self._shard = shard
        self._plans: dict[str, Plan] = {}
        self._by_bucket: defaultdict[int, list[Plan]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def tokens(self) -> int:
        """How many tokens are planned, now or later."""
        return sum(len(plan.tokens) for plan in self._plans.values())

    @property
    def plans(self) -> Iterable[Plan]:
        """All plans that have not ended."""
        return self._plans.values()

    def add(self, market: Window, now_ns: int) -> Plan | None:
        """Plan *market* from *now_ns* on; ``None`` if it is planned, over, or another shard's."""
        if market.condition_id in self._plans or not owns(self._shard, market.condition_id):
            return None
        lead_ns = self._polling.lead_ns(market.label)
        bucket = self._grid.bucket(market.condition_id)
        until_ns = market.end_ns + self._polling.linger_ns
        from_ns = max(market.start_ns - lead_ns, now_ns)
        if not self._grid.slots(from_ns, until_ns, bucket):
            return None
        plan = Plan(
            market_slug=market.market_slug,
            condition_id=market.condition_id,
            bucket=bucket,
            from_ns=from_ns,
            until_ns=until_ns,
            window_start=iso_utc(market.start_ns),
            window_end=iso_utc(market.end_ns),
        )
        plan.tokens = tuple(Token(token_id, outcome, plan) for outcome, token_id in market.tokens)
        self._plans[plan.condition_id] = plan
        self._by_bucket[bucket].append(plan)
        return plan

    def due(self, bucket: int, due_ns: int) -> list[Token]:
        """The tokens of *bucket* whose slot is due at *due_ns*, the two of a market side by side."""
        plans = self._by_bucket.get(bucket, ())
        return [token for plan in plans if plan.from_ns <= due_ns < plan.until_ns for token in plan.tokens]

    def drop_ended(self, due_ns: int) -> None:
        """Forget the plans that have no slot at or after *due_ns*."""
        for plan in [plan for plan in self._plans.values() if plan.until_ns <= due_ns]:
            del self._plans[plan.condition_id]
            self._by_bucket[plan.bucket].remove(plan)


def owns(shard: Shard, condition_id: str) -> bool:
    """Whether a collector of *shard* polls the market.

    Rendezvous hash: the shard with the highest score takes it, whoever else runs.
    """
    if shard.count == 1:
        return True
    scores = [
        hashlib.sha256(f"{index}:{condition_id}".encode("ascii")).digest() for index in range(shard.count)
    ]
    return scores.index(max(scores)) == shard.index
