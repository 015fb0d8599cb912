"""The dataset as an operator makes it: by the script, and its tables read back."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import polars as pl

from orderbooks_spider.normalize.tables import TABLES
from scripts.normalize_polymarket_orderbooks import main

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/normalize_polymarket_orderbooks.py"


@dataclass(frozen=True)
class Tables:
    """A folder of tables."""

    out: Path

    def files(self, table: str) -> list[Path]:
        """The files of a table."""
        return sorted((self.out / table).rglob("*.parquet"))

    def read(self, table: str) -> pl.DataFrame:
        """A whole table in its order; empty where it has no file."""
        columns = TABLES[table]
        empty = pl.DataFrame(columns.schema.empty_table())
        frames = [pl.read_parquet(file, hive_partitioning=False) for file in self.files(table)]
        return pl.concat([empty, *frames]).sort(columns.order)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file of every table."""
        files = [file for table in TABLES for file in self.files(table)]
        return {
            file.relative_to(self.out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }


@dataclass(frozen=True)
class Dataset(Tables):
    """A folder of tables, and how the command that made it ended."""

    done: subprocess.CompletedProcess[str]


def normalize(root: Path, out: Path, *arguments: str) -> Dataset:
    """What the script does for one archive, in this process; *arguments* come last, so they win.

    A process of its own would take a second for its imports; :func:`start` is for tests that need one.
    """
    words = _arguments(root, out, *arguments)
    with redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()) as complained:
        code = main(words)
    return Dataset(out, subprocess.CompletedProcess(words, code, said.getvalue(), complained.getvalue()))


def start(root: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the script as an operator does, as the leader of its group."""
    command, pipe = [sys.executable, SCRIPT, *_arguments(root, out, *arguments)], subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def _arguments(root: Path, out: Path, *more: str) -> list[str]:
    return ["--root", str(root), "--out", str(out), "--workers", "1", *more]
