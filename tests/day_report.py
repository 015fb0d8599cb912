"""The report of a day as an operator makes it: the script as a child process, and what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/report_day.py"


@dataclass(frozen=True)
class DayReport:
    """A page, and how the command that made it ended."""

    page: Path
    done: subprocess.CompletedProcess[str]

    @property
    def html(self) -> str:
        """The page's text."""
        return self.page.read_text("utf-8")

    @property
    def numbers(self) -> dict[str, Any]:
        """The JSON beside it."""
        found: dict[str, Any] = json.loads(self.page.with_suffix(".json").read_bytes())
        return found

    @property
    def digest(self) -> tuple[bytes, bytes]:
        """The bytes of both files."""
        return self.page.read_bytes(), self.page.with_suffix(".json").read_bytes()


def report_day(root: Path, date: str, page: Path, *arguments: str) -> DayReport:
    """Run the script over one archive; a warning would be an error."""
    command = [sys.executable, SCRIPT, str(root), "--date", date, "--out", str(page), *arguments]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    return DayReport(page, done)
