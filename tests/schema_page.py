"""The parts of ``docs/ORDERBOOK_SCHEMA.md`` that follow from the code: columns, flags, faults.

``PYTHONPATH=. python tests/schema_page.py`` writes them anew; ``test_orderbook_schema.py`` compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orderbooks_spider.normalize.checks import CHECKS
from orderbooks_spider.normalize.faults import RULES
from orderbooks_spider.normalize.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orderbooks_spider.normalize.tables import Table

PAGE = Path(__file__).resolve().parents[1] / "docs/ORDERBOOK_SCHEMA.md"


def parts() -> dict[str, str]:
    """The made parts by name, as Markdown tables."""
    made = {name: _columns(table) for name, table in TABLES.items()}
    made["flags"] = _table(
        ("bit", "mask", "check", "found", "unverifiable where"),
        (
            (str(check.bit), str(check.mask), f"`{check.name}`", check.doc, check.unverifiable)
            for check in CHECKS
        ),
    )
    made["faults"] = _table(
        ("result", "reason", "fault", "why"),
        (
            (
                f"`{rule.result}`",
                ", ".join(f"`{name}`" for name in rule.reasons or ()) or "any other",
                rule.fault,
                rule.why,
            )
            for rule in RULES
        ),
    )
    return made


def with_parts(page: str, made: dict[str, str]) -> str:
    """*page* with the made parts in their places."""
    for name, text in made.items():
        head, begin, rest = page.partition(f"<!-- made: {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        assert end, f"{PAGE.name}: expected a place for {name}"
        page = f"{head}{begin}\n{text}\n{end}{tail}"
    return page


def type_name(kind: pa.DataType) -> str:
    """A type in the words of SQL."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "(" + ", ".join(f"{field.name} {type_name(field.type)}" for field in kind) + ")"
    return str(kind)


def _columns(table: Table) -> str:
    rows = (
        (f"`{column.name}`", type_name(column.type), column.unit, column.doc, column.null, column.source)
        for column in table.columns
    )
    return _table(("column", "type", "unit", "meaning", "`null` means", "source"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(with_parts(PAGE.read_text("utf-8"), parts()), "utf-8")
