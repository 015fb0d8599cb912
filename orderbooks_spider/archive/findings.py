"""What verify says: problems with their rule, file and advice; and the rungs of its ladder."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

Rung = Literal[
    "layout",
    "sizes",
    "completeness",
    "chain",
    "sha256",
    "gzip",
    "rows",
    "manifest",
    "seq",
    "slots",
    "planned",
]

RULES: dict[Rung, tuple[str, str]] = {
    "layout": ("A1", "names and folders"),
    "sizes": ("A5", "sizes"),
    "completeness": ("A7", "completeness both ways"),
    "chain": ("A8", "manifest chains"),
    "sha256": ("A5", "sha256 and md5"),
    "gzip": ("A9", "gzip members"),
    "rows": ("A10", "row schema"),
    "manifest": ("A18", "manifest against rows"),
    "seq": ("A11", "seq without gap or double"),
    "slots": ("A12", "slots once, on the grid"),
    "planned": ("A13", "planned slots have rows"),
}
"""Rung to rule number and title, from cheap to dear."""

QUICK: tuple[Rung, ...] = ("layout", "sizes", "completeness", "chain")
"""The rungs that read no segment."""

RECOVER = "stop the collector if it runs, then: python scripts/recover_archive.py ROOT"
RESTORE = "restore it from a copy (the offload remote); keep what is here"
INVESTIGATE = "find out who changed it; restore the original from a copy"

_LONGEST = 200
SHOWN_PER_FILE = 10
"""Problems of one rung in one file that are listed; the rest is counted in the last of them."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One breach of a rule."""

    rule: str
    rung: Rung
    file: str
    """Relative to the archive root."""
    what: str
    expected: str
    seen: str
    advice: str
    more: int = 0
    """Further problems of this rung in this file that are not listed."""


class Problems:
    """Collects problems, a bounded number per rung and file."""

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.counts: Counter[Rung] = Counter()
        self._last: dict[tuple[Rung, str], int] = {}
        self._per_file: Counter[tuple[Rung, str]] = Counter()

    def add(  # noqa: PLR0913 - a problem says six things
        self, rung: Rung, file: str, what: str, *, expected: object, seen: object, advice: str
    ) -> None:
        """Note a problem; long texts are shortened."""
        file = printable(file)
        self.counts[rung] += 1
        self._per_file[rung, file] += 1
        if self._per_file[rung, file] > SHOWN_PER_FILE:
            index = self._last[rung, file]
            last = self.listed[index]
            self.listed[index] = msgspec.structs.replace(last, more=last.more + 1)
            return
        self._last[rung, file] = len(self.listed)
        problem = Problem(
            rule=RULES[rung][0],
            rung=rung,
            file=file,
            what=printable(what),
            expected=printable(str(expected)[:_LONGEST]),
            seen=printable(str(seen)[:_LONGEST]),
            advice=advice,
        )
        self.listed.append(problem)

    def add_foreign(self, file: str) -> None:
        """Note a file that the archive never makes there (rule A1)."""
        self.add(
            "layout", file, "a foreign or misplaced file",
            expected="only names that the archive makes, in their folders", seen=file.rsplit("/", 1)[-1],
            advice="move it out of the archive, or back to the folder that its name asks for",
        )  # fmt: skip

    def extend(self, others: list[Problem]) -> None:
        """Take over what a worker found."""
        for problem in others:
            self.counts[problem.rung] += 1 + problem.more
            self.listed.append(problem)


def printable(text: str) -> str:
    """*text* as it can be printed and encoded: a file name need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
