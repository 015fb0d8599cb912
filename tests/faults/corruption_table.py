"""What the corruption suite counted: per kind, how many were tried and found, and by which rung first."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

HEADING = "## Corruptions"
_INTRODUCTION = (
    "Made by `sh scripts/test.sh --full tests/faults --fault-table docs/FAULTS.md`; do not edit by hand.",
    "",
    (
        "Each line is one kind of damage to copies of one finished archive "
        "(two runs, three feeds, several segments of each), drawn from a seed."
    ),
    "*First rung* is the cheapest rung of verify that reports it, with its rule in `DATA_CONTRACT.md`.",
    '"Fits" means that the forger made that part agree with the change.',
    (
        "† leaves nothing that contradicts itself: verify alone found each of these archives clean, "
        "and found the damage with the chain heads that were kept before (`--expect-head`)."
    ),
    "",
    "| corruption | tried | found | first rung |",
    "| --- | ---: | ---: | --- |",
)
_table = pytest.StashKey["CorruptionTable"]()


class CorruptionTable:
    """Counts per kind, in the order in which the kinds were first met."""

    def __init__(self) -> None:
        self.first: defaultdict[str, Counter[str | None]] = defaultdict(Counter)

    def record(self, kind: str, first: str | None) -> None:
        """Note one corruption and the rung that found it first; ``None``: nothing did."""
        self.first[kind][first] += 1

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The lines of the table, the sum last."""
        lines = []
        tried = found = 0
        for kind, counts in self.first.items():
            by_rung = ", ".join(f"{rung} {count}" for rung, count in counts.most_common() if rung)
            tried += counts.total()
            found += counts.total() - counts[None]
            lines.append((kind, f"{counts.total():,}", f"{counts.total() - counts[None]:,}", by_rung))
        return [*lines, ("all", f"{tried:,}", f"{found:,}", "")]

    def markdown(self) -> str:
        """The section of ``docs/FAULTS.md``."""
        lines = [HEADING, "", *_INTRODUCTION, *(f"| {' | '.join(row)} |" for row in self.rows())]
        return "\n".join(lines) + "\n"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Print the table, and write its section where ``--fault-table`` says."""
        terminalreporter.section("corruptions: tried, found, first rung")
        for kind, tried, found, by_rung in self.rows():
            terminalreporter.write_line(f"{kind:<52}{tried:>6}{found:>6}  {by_rung}")
        chosen = config.getoption("--fault-table", None)
        if chosen:
            path = Path(chosen)
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            path.write_text(with_section(before, self.markdown()), encoding="utf-8")


def with_section(text: str, section: str) -> str:
    """*text* with its section of corruptions replaced; whatever else it holds stays."""
    before, _, after = text.partition(HEADING)
    _, mark, rest = after.partition("\n## ")
    return f"{before.rstrip()}\n\n{section}".lstrip() + (f"\n## {rest}" if mark else "")


def table_of(config: pytest.Config) -> CorruptionTable:
    """The one table of a run; it prints itself when all tests are done."""
    if _table not in config.stash:
        config.stash[_table] = CorruptionTable()
        config.pluginmanager.register(config.stash[_table])
    return config.stash[_table]
