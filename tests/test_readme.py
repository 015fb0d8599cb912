"""The README: what it names is there, its picture is of the kept sample, and runs print what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.collector import PATIENCE_SECONDS
from tests.pages import PROJECT, absent, blocks, command_breaches, paths

if TYPE_CHECKING:
    from pathlib import Path

README = (PROJECT / "README.md").read_text("utf-8")
PICTURE = PROJECT / "docs/pictures/day_report_book.svg"


def shape(line: str) -> str:
    """What a printed line begins with, before its columns; numbers, times and ids differ from run to run."""
    return re.sub(r"(?<![a-z])[0-9a-f]*\d[\w,.:]*", "0", re.split(r"\s{2,}", line.strip())[0])


def test_readme_names_only_what_is_there() -> None:
    """Each path, program and option of the README exists, and each page of docs is named once at least."""
    assert command_breaches(README) == []
    assert absent(paths(README)) == []
    assert [page.name for page in (PROJECT / "docs").glob("*.md") if f"docs/{page.name}" not in README] == []


def test_quick_links_lead_to_headings() -> None:
    """Each link within the page ends at one of its headings."""
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^## (.*)$", README, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", README)
    assert links
    assert [link for link in links if link not in headings] == []


def test_picture_is_that_of_the_kept_sample(tmp_path: Path) -> None:
    """The report of ``data/live_sample`` draws the README's picture; the pixels inside are not compared."""
    page = tmp_path / "report.html"
    command = ["scripts/report_day.py", "data/live_sample", "--date", "2026-11-23", "--out", str(page)]
    subprocess.run(
        [sys.executable, *command, "--workers", "1"],
        cwd=PROJECT, check=True, capture_output=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    drawn = re.search(r'<h2 id="depth">.*?(<svg.*?</svg>)', page.read_text("utf-8"), re.DOTALL)
    assert drawn is not None
    pixels = re.compile(r'base64,[^"]+"')
    assert pixels.sub("", PICTURE.read_text("utf-8")).strip() == pixels.sub("", drawn[1])
    assert f"]({PICTURE.relative_to(PROJECT).as_posix()})\n\n*`sandbox`" in README
    assert PICTURE.stat().st_size < 150_000


@pytest.mark.slow
def test_shown_run_is_what_the_demo_prints(tmp_path: Path) -> None:
    """Each line of the run that the README shows is printed by the demo, in that order."""
    (shown,) = blocks(README, "text")
    done = subprocess.run(
        [sys.executable, str(PROJECT / "scripts/demo.py"), "--seconds", "20"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    printed = iter([shape(line) for line in done.stdout.splitlines()])
    for line in map(shape, shown.splitlines()):
        assert line in {"", "…"} or line in printed, line
