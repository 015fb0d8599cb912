"""The collector as an operator runs it: a child process with a config file, and its archive read back."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import yaml

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/collect_polymarket_orderbooks.py"
PATIENCE_SECONDS = 120
"""Only against a test that would hang for ever; nothing is asserted about it."""


@dataclass
class Collector:
    """A collector's config, process and archive in one temporary folder."""

    folder: Path
    url: str
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: str = "sandbox"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The archive root; a section may name another, to be shared."""
        return Path(self.sections.get("archive", {}).get("root", self.folder / "archive"))

    @property
    def config_file(self) -> Path:
        """Write the config: few tokens, quick blocks, the rest as shipped."""
        sections: dict[str, dict[str, Any]] = {
            "venue": {"gamma_url": self.url, "clob_url": self.url},
            "discovery": {"windows": ["5m"], "interval_seconds": 2},
            # No linger: whenever a test runs, no window of it has closed at the venue yet.
            "polling": {
                "lead_seconds": 300,
                "linger_seconds": 0,
                "interval_seconds": 0.5,
                "timeout_seconds": 2,
            },
            "archive": {"root": str(self.root), "block_seconds": 1, "min_free_bytes": 0},
        }
        for name, keys in self.sections.items():
            sections[name] = sections.get(name, {}) | keys
        path = self.folder / "collector.yaml"
        path.write_text(yaml.safe_dump({"environment": self.environment} | sections), encoding="utf-8")
        return path

    def start(self, *arguments: str, stderr: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start the operator's script."""
        return subprocess.Popen(
            [sys.executable, SCRIPT, "--config", str(self.config_file), *arguments],
            cwd=PROJECT,
            stderr=stderr,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "error"} | self.variables,
        )  # fmt: skip

    def run(self, seconds: float, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run for *seconds* and wait for the end."""
        return finish(self.start("--seconds", str(seconds), *arguments))

    def crawl(self, *arguments: str, spider: str = "polymarket_books") -> subprocess.CompletedProcess[str]:
        """Run a spider the Scrapy way, from the project's folder."""
        command = [sys.executable, "-m", "scrapy", "crawl", spider, "-a", f"config={self.config_file}"]
        return subprocess.run(
            [*command, *arguments],
            cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def discover(self) -> subprocess.CompletedProcess[str]:
        """Run the discovery script."""
        return subprocess.run(
            [sys.executable, "scripts/discover_polymarket_btc_markets.py", "--config", str(self.config_file)],
            cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def run_until(self, feed: str, rows: int, sign: signal.Signals) -> subprocess.CompletedProcess[str]:
        """Run until *feed* has *rows* rows on disk, then send *sign* and wait for the end."""
        process = self.start()
        self.wait_for_rows(process, feed, rows)
        process.send_signal(sign)
        return finish(process)

    def wait_for_rows(self, process: subprocess.Popen[str], feed: str, rows: int) -> None:
        """Wait until *feed* has *rows* rows on disk, sealed or not."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (stored := len(list(self.lines(feed)))) < rows:
            if time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"{stored} of {rows} rows: {finish(process).stderr}")
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"the collector ended with {process.returncode}: {finish(process).stderr}")

    def rows(self, feed: str) -> list[dict[str, Any]]:
        """Every row of *feed* in file order: sealed segments, and the journals of an open one."""
        return [msgspec.json.decode(line) for line in self.lines(feed)]

    def lines(self, feed: str) -> Iterator[bytes]:
        """Every whole line of *feed*."""
        for path in sorted((self.root / "raw" / "polymarket" / feed).rglob("*")):
            try:
                if path.name.endswith((".jsonl.gz", ".part")):
                    yield from gzip.decompress(path.read_bytes()).splitlines()
                elif path.name.endswith(".journal"):
                    yield from path.read_bytes().rpartition(b"\n")[0].splitlines()
            except (FileNotFoundError, EOFError, IsADirectoryError):
                continue  # sealed meanwhile, or in the middle of a block

    def events(self, name: str) -> list[dict[str, Any]]:
        """The details of the events called *name*."""
        return [row["detail"] for row in self.rows("events") if row["event"] == name]

    def results(self) -> Counter[tuple[str, str | None]]:
        """How many polls ended how."""
        return Counter((row["result"], row["reason"]) for row in self.rows("books"))

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Run the verifier over the archive."""
        return subprocess.run(
            [sys.executable, "scripts/verify_archive.py", str(self.root)],
            cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for the end of *process* and collect what it said."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
