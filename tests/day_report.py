"""The report of a day: as an operator makes it, and from inside; and what a browser makes of the page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.normalize.sources import look_at
from orderbooks_spider.report.dataset import make_dataset
from orderbooks_spider.report.day import Day
from orderbooks_spider.report.make import Made, make_report, numbers, read_day

if TYPE_CHECKING:
    from orderbooks_spider.report.numbers import DayReport as Numbers

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


def made_here(root: Path, date: str, dataset: Path | None = None) -> Made:
    """The same two files, made in this process by one worker."""
    with tempfile.TemporaryDirectory() as scratch:
        return make_report([root], Day.parse(date), scratch=Path(scratch), dataset=dataset)


def counted_here(root: Path, date: str) -> Numbers:
    """The same numbers, without a picture being drawn."""
    sources = look_at([root])
    with tempfile.TemporaryDirectory() as scratch:
        return numbers(read_day(sources, make_dataset(sources, Day.parse(date), Path(scratch), 1)))


@dataclass(frozen=True)
class Shown:
    """What a browser made of a page."""

    dom: str
    """The page's elements, as HTML text."""
    console: list[str]
    """What the page said to the console; the browser's complaints about the page among it."""
    requests: list[str]
    """The addresses that the page asked the network for."""
    picture: Path
    """Its upper part as PNG."""


def show(page: Path, folder: Path, size: tuple[int, int]) -> Shown:
    """Open *page* in headless Chromium with a window of *size* (pixels); skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser to look with: install the package chromium")
    folder.mkdir()
    picture, log = folder / "shot.png", folder / "net.json"
    command = [
        browser,
        "--headless",
        "--no-sandbox",  # Chromium's own sandbox does not start for root, as whom tests run in containers
        "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND",  # the browser's own calls home find nobody
        "--hide-scrollbars", f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr", f"--log-net-log={log}", f"--screenshot={picture}", "--dump-dom",
        page.resolve().as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert picture.exists(), done.stderr
    network = json.loads(log.read_bytes())
    started = network["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    begun = [event["params"] for event in network["events"] if event["type"] == started and "params" in event]
    return Shown(
        dom=done.stdout,
        console=[line for line in done.stderr.splitlines() if ":CONSOLE:" in line],
        # The browser's own requests have no origin; those of a page from a file have the origin "null".
        requests=[each["url"] for each in begun if each.get("initiator", "not an origin") != "not an origin"],
        picture=picture,
    )
