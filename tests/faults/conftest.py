"""The fault suite's one table: ``fault_table.record(kind, tried, acknowledged, lost, damaged)``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.table import FaultTable

OPTION = "--fault-table"
_table = pytest.StashKey[FaultTable]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that keeps the table; it is there when ``tests/faults`` is named."""
    parser.addoption(OPTION, metavar="FILE", help="write the table of the fault suite to FILE as Markdown")


def _table_of(config: pytest.Config) -> FaultTable:
    return config.stash.setdefault(_table, FaultTable())


@pytest.fixture
def fault_table(request: pytest.FixtureRequest) -> FaultTable:
    """The table that is printed when all tests are done; one line per kind, counts add up."""
    return _table_of(request.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table once, and write it where ``--fault-table`` says."""
    table = _table_of(config)
    if not table.kinds:
        return
    terminalreporter.section("faults")
    for line in table.text():
        terminalreporter.write_line(line)
    chosen = config.getoption(OPTION, None)
    if chosen:
        Path(chosen).write_text(table.markdown(), encoding="utf-8")
