"""What a person reads of a dataset's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.normalize.manifest import Normalization


def table_lines(made: Normalization) -> Iterator[str]:
    """A line per table."""
    yield f"{'table':<10}{'rows':>14}{'files':>8}{'bytes':>16}"
    for name, totals in made.tables.items():
        yield f"{name:<10}{totals.rows:>14,}{totals.files:>8,}{totals.bytes:>16,}"


def poll_line(made: Normalization) -> str:
    """What became of the slots: recorded polls by result, and those that follow from the plan alone."""
    derived = made.tables["polls"].rows - sum(made.results.values())
    counts = made.results | ({"planned without a row, see gaps": derived} if derived else {})
    return f"polls: {', '.join(f'{count:,} {name}' for name, count in counts.items()) or 'none'}"


def check_lines(made: Normalization) -> Iterator[str]:
    """A line per check."""
    yield f"{'check':<20}{'made on':>12}{'found':>10}{'unverifiable':>14}"
    for name, check in made.checks.items():
        yield f"{name:<20}{check.counted:>12,}{check.flagged:>10,}{check.unverifiable:>14,}"
