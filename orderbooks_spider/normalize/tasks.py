"""What is to be done and what became of it: told to workers, and kept in the manifest of the dataset.

Who does it is not imported here, so that workers can start at once.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed segment, as its manifest tells it."""

    feed: str
    file: str
    """Relative to its archive root, with forward slashes."""
    sha256: str
    bytes: int
    rows: int
    interval_ns: int | None
    """Of the grid; ``None``: not known."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    table: str
    file: str
    """Relative to OUT, with forward slashes."""
    hour_ns: int
    """Begin of the UTC hour of its rows."""
    rows: int
    bytes: int
    sha256: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Phase 1, what a worker needs: it reads below *root* and writes below *out*."""

    root: str
    out: str
    input: Input

    @property
    def stem(self) -> str:
        """The name that the task's outputs share with the segment."""
        return PurePosixPath(self.input.file).name.removesuffix(".jsonl.gz")


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a task; no path of a machine and no time stands in it."""

    input: Input
    outputs: list[Output] = []
    results: dict[str, int] = {}
    """Polls by result."""
    checks: dict[str, int] = {}
    """Books per ``<check>/flagged`` and ``<check>/unverifiable``."""
    error: str | None = None


class DerivedHour(msgspec.Struct, frozen=True, kw_only=True):
    """Phase 2: what was made for one UTC hour, over all collectors."""

    hour_ns: int
    reach_ns: int
    """The last hour that was looked into, as far as the hour's last gaps go on."""
    inputs_sha256: str
    """Digest of all that the outputs were made from."""
    outputs: list[Output]
    problems: list[str]
    """One line for a person each: rows that must be there and are not, or are there twice."""


def without_root(text: str, root: str) -> str:
    """A message for the manifest of a dataset, in which no folder of the machine stands."""
    return text.replace(f"{root}/", "")
