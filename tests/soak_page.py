"""The parts of ``docs/METHODOLOGY.md`` that follow from the code: the gate's rules, and what faults explain.

``PYTHONPATH=. python tests/soak_page.py`` writes them anew; ``test_soak_gate.py`` compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.soak.gate import RULES
from orderbooks_spider.soak.schedule import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE = Path(__file__).resolve().parents[1] / "docs/METHODOLOGY.md"


def fresh() -> str:
    """The page with the made parts as the code has them."""
    page = PAGE.read_text("utf-8")
    for name, text in parts().items():
        head, begin, rest = page.partition(f"<!-- made: {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        assert end, f"{PAGE.name}: expected a place for {name}"
        page = f"{head}{begin}\n{text}\n{end}{tail}"
    return page


def parts() -> dict[str, str]:
    """The made parts by name, as Markdown tables."""
    return {
        "soak rules": _table(
            ("rule", "passes with", "NOT SHOWN without"),
            ((f"`{rule.name}`", rule.limit, rule.needs) for rule in RULES),
        ),
        "soak faults": _table(
            ("kind", "causes that it explains", "aftermath", "why"),
            (
                (
                    f"`{kind.name}`",
                    ", ".join(f"`{cause}`" for cause in kind.causes) or "none",
                    _aftermath(kind.after_seconds, kind.after_real_seconds),
                    kind.why,
                )
                for kind in KINDS
            ),
        ),
    }


def _aftermath(seconds: float, real_seconds: float) -> str:
    said = [f"{value:g} {unit}" for value, unit in ((seconds, "s"), (real_seconds, "real s")) if value]
    return " and ".join(said) or "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(fresh(), "utf-8")
