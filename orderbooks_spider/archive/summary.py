"""What one run came to: coverage against the plan, lateness, latency, bytes a row, hashes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.manifest import Manifest, read_manifest
from orderbooks_spider.archive.members import MemberScan
from orderbooks_spider.archive.planned import PlanEvent, count, owed_slots
from orderbooks_spider.archive.runs import RunFile, RunManifest
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.items import BOOKS, EVENTS, is_answered
from orderbooks_spider.tally import percentile

if TYPE_CHECKING:
    from pathlib import Path


class _Poll(msgspec.Struct):
    """The keys of a poll row that the summary counts."""

    due_ns: int
    sent_ns: int | None
    elapsed_ns: int | None
    result: str
    reason: str | None
    token_id: str
    market_slug: str
    window_start: str
    window_end: str

    @property
    def answered(self) -> bool:
        """Whether the slot counts as covered."""
        return is_answered(self.result, self.due_ns, self.window_start, self.window_end)


@dataclass
class Summary:
    """Counts of one run; times in ns."""

    run: RunManifest
    books: list[Manifest] = field(default_factory=list)
    """Manifests of its ``books`` segments."""
    files: list[Path] = field(default_factory=list)
    """All sealed segments of the run."""
    markets: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    planned: int = 0
    answered: int = 0
    results: Counter[str] = field(default_factory=Counter)
    lateness_ns: list[int] = field(default_factory=list)
    latency_ns: list[int] = field(default_factory=list)

    @property
    def coverage(self) -> float | None:
        """Answered over planned slots; ``None`` where nothing was planned."""
        return self.answered / self.planned if self.planned else None

    @property
    def rows(self) -> int:
        """Poll rows."""
        return sum(manifest.rows for manifest in self.books)

    @property
    def bytes(self) -> int:
        """Their compressed size."""
        return sum(manifest.bytes for manifest in self.books)

    @property
    def hashes(self) -> Counter[str]:
        """Books by what the venue's hash says of them."""
        counts: Counter[str] = Counter()
        for manifest in self.books:
            counts.update(msgspec.structs.asdict(manifest.venue_hash))
        return counts

    def lateness(self, fraction: float) -> int | None:
        """A percentile of sent - due over the polls that were sent."""
        return percentile(sorted(self.lateness_ns), fraction)

    def latency(self, fraction: float) -> int | None:
        """A percentile of received - sent over the polls that came back or failed."""
        return percentile(sorted(self.latency_ns), fraction)


def newest_run(root: Path) -> RunManifest:
    """The manifest of the run that started last.

    Raises:
        ArchiveError: the archive has none.

    """
    paths = sorted(layout.runs_folder(root).glob("*.json"))
    if not paths:
        raise ArchiveError(f"{root}: holds no run")
    return RunFile.read(paths[-1]).manifest


def summarise(root: Path, run: RunManifest) -> Summary:
    """Read the sealed segments of *run* once.

    Raises:
        ArchiveError: a segment or manifest is not what its name says.
        StorageError: it cannot be read.

    """
    summary = Summary(run)
    plans: list[PlanEvent] = []
    for segment in run.segments:
        path = root / segment.file
        summary.files.append(path)
        if segment.feed == EVENTS:
            plans += [_event.decode(line.text) for line in MemberScan(path).lines()]
        elif segment.feed == BOOKS:
            names = layout.parse(root, path).segment
            if names is not None:
                summary.books.append(read_manifest(names.manifest)[0])
            for line in MemberScan(path).lines():
                _count(summary, _poll.decode(line.text))
    owed, _ = owed_slots(plans, {})
    summary.planned = sum(map(count, owed))
    return summary


_event = msgspec.json.Decoder(PlanEvent)
_poll = msgspec.json.Decoder(_Poll)


def _count(summary: Summary, poll: _Poll) -> None:
    summary.markets.add(poll.market_slug)
    summary.tokens.add(poll.token_id)
    summary.answered += poll.answered
    summary.results[poll.result if poll.reason is None else f"{poll.result}/{poll.reason}"] += 1
    if poll.sent_ns is not None:
        summary.lateness_ns.append(poll.sent_ns - poll.due_ns)
    if poll.elapsed_ns is not None:
        summary.latency_ns.append(poll.elapsed_ns)
