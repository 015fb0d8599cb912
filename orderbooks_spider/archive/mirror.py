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
        self._first: dict[str, str] = {}
        self._books: dict[tuple[str, str], dict[str, dict[bytes, tuple[int, str]]]] = {}

    def is_other_side(self, item: PollItem) -> bool:
        """Whether the token is not the first seen of its market: its book is to be turned round."""
        return self._first.setdefault(item.condition_id, item.token_id) != item.token_id

    def add(self, item: PollItem, facts: BookFacts | None, where: str) -> None:
        """Take the book of one answered poll, turned round for the other side; *where* names the row."""
        if facts is None or facts.shape is None:
            self.counts["unverifiable"] += 1
            return
        tokens = self._books.setdefault((item.condition_id, facts.venue_time), {})
        shapes = tokens.setdefault(item.token_id, {})
        rows, first = shapes.get(facts.shape, (0, where))
        shapes[facts.shape] = (rows + 1, first)

    def end_of_block(self) -> None:
        """Compare what the block held, and forget it."""
        for tokens in self._books.values():
            rows = sum(rows for shapes in tokens.values() for rows, _ in shapes.values())
            if len(tokens) != 2 or any(len(shapes) != 1 for shapes in tokens.values()):
                # One side only, or a book that changed within one venue time.
                self.counts["unverifiable"] += rows
                continue
            one, other = tokens.values()
            agrees = one.keys() == other.keys()
            self.counts["agrees" if agrees else "disagrees"] += rows
            if not agrees and len(self.examples) < EXAMPLES:
                self.examples.append(f"{next(iter(one.values()))[1]}: mirror disagrees")
        self._books = {}
