"""The records of the checkpoints: of one form, at one with the roadmap, and true of what is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.pages import PROJECT, absent, command_breaches, paths, spans

if TYPE_CHECKING:
    from pathlib import Path

ROADMAP = (PROJECT / "ROADMAP.md").read_text("utf-8")
RECORDS = [PROJECT / f"docs/checkpoints/{number:02}.md" for number in range(1, 10)]
PARTS = ["Built", "Evidence", "Missing"]
GATE = re.compile(r"- (?:Gate: )?\*\*(PASS(?: \((?:live|sandbox)\))?|FAIL|PENDING(?: \([\w ]+\))?)\*\*.*\.")
"""A gate's line, or a line of what it still waits for."""
NOT_YET = "- Not there yet: "

each_record = pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)


def gate_lines(text: str) -> list[str]:
    """The lines that say a gate's result."""
    return [line for line in text.splitlines() if line.startswith(("- Gate:", "- **"))]


def section(text: str, number: int) -> str:
    """What the roadmap says of one checkpoint."""
    return text.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def not_yet(text: str) -> list[str]:
    """What a record says is not there."""
    return [path for line in text.splitlines() if line.startswith(NOT_YET) for path in spans(line)]


def test_every_record_is_there() -> None:
    """The nine checkpoints have a record each, and there is no other."""
    assert sorted((PROJECT / "docs/checkpoints").iterdir()) == RECORDS


@each_record
def test_roadmap_and_record_say_the_same(record: Path) -> None:
    """Name and gate of a checkpoint are the same on both pages, word for word."""
    text, told = record.read_text("utf-8"), section(ROADMAP, int(record.stem))
    name = told.splitlines()[0]
    assert text.splitlines()[0].lower() == f"# checkpoint {int(record.stem)}: {name}".lower()
    assert gate_lines(text) == gate_lines(told)
    assert f"- Record: `docs/checkpoints/{record.name}`" in told


@each_record
def test_gate_is_one_of_the_known_results(record: Path) -> None:
    """A gate is PASS, FAIL or PENDING; one of the sandbox alone still waits for something."""
    lines = gate_lines(record.read_text("utf-8"))
    assert lines[0].startswith("- Gate: ")
    results = [matched[1] for matched in map(GATE.fullmatch, lines) if matched]
    assert len(results) == len(lines)
    if results[0] in {"PASS", "PASS (live)"}:
        assert len(results) == 1
    if results[0] == "PASS (sandbox)":
        assert len(results) > 1


@each_record
def test_record_has_its_form(record: Path) -> None:
    """A record says what was built, the evidence as file and command, what is missing, when and where."""
    text = record.read_text("utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert re.search(r"^- Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert re.search(r"^- Environment: .", text, re.MULTILINE)
    evidence = text.partition("\n## Evidence\n")[2].partition("\n## ")[0].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in evidence if line]
    assert rows
    for promise, *cells in rows:
        assert promise
        assert len(cells) == 2
        assert all(spans(cell) for cell in cells)


@each_record
def test_record_names_only_what_is_there(record: Path) -> None:
    """Each path, program and option exists; what a record says is not there yet is really not there."""
    text = record.read_text("utf-8")
    missing = not_yet(text)
    here = [path for path in missing if (PROJECT / path).exists()]
    assert here == [], f"{record.name}: these are there now, so the record and its gate want another look"
    assert command_breaches(text) == []
    assert [path for path in absent(paths(text)) if path not in missing] == []
