"""Quality: do the two tokens of a market show one book, seen from both sides."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orderbooks_spider.archive.venue_check import BookFacts
    from orderbooks_spider.items import PollItem

EXAMPLES = 5
"""Disagreements that are named, per segment."""


class Mirror:
    """Compares the books of a market's two tokens that carry one venue time, block by block.

    Two requests are not one instant: only books with the same venue time can be compared.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(agrees=0, disagrees=0, unverifiable=0)
        self.examples: list[str] = []
        self._books: dict[tuple[str, str], dict[str, dict[bytes, tuple[bytes, int, str]]]] = {}

    def add(self, item: PollItem, facts: BookFacts | None, where: str, file: str) -> None:
        """Take the book of one answered poll."""
        if facts is None or facts.own is None or facts.mirror is None:
            self.counts["unverifiable"] += 1
            return
        tokens = self._books.setdefault((item.condition_id, facts.venue_time), {})
        books = tokens.setdefault(item.token_id, {})
        _, rows, first = books.get(facts.own, (facts.mirror, 0, f"{file} {where}"))
        books[facts.own] = (facts.mirror, rows + 1, first)

    def end_of_block(self) -> None:
        """Compare what the block held, and forget it."""
        for tokens in self._books.values():
            rows = sum(rows for books in tokens.values() for _, rows, _ in books.values())
            if len(tokens) != 2 or any(len(books) != 1 for books in tokens.values()):
                self.counts["unverifiable"] += rows
                continue
            one, other = (next(iter(books.items())) for books in tokens.values())
            agrees = one[0] == other[1][0]
            self.counts["agrees" if agrees else "disagrees"] += rows
            if not agrees and len(self.examples) < EXAMPLES:
                self.examples.append(f"{one[1][2]}: mirror disagrees")
        self._books = {}
