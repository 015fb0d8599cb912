"""The dataset as an operator makes it: the script as a child process, and its tables read back."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from orderbooks_spider.normalize.tables import TABLES

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


def start(root: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the script over one archive, as the leader of its group; *arguments* come last, so they win."""
    command = [sys.executable, SCRIPT, "--root", str(root), "--out", str(out), "--workers", "1", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def normalize(root: Path, out: Path, *arguments: str) -> Dataset:
    """Run the script to its end."""
    process = start(root, out, *arguments)
    said, complained = process.communicate(timeout=120)
    return Dataset(out, subprocess.CompletedProcess(process.args, process.returncode, said, complained))
