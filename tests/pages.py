"""What a Markdown page names: files and commands, and which of them are not in the project."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[1]

PYTHON = {"python", ".venv/bin/python"}
SHELLS = {"sh", "bash"}
PLAIN = {"cp", "git", "grep", "nproc", "uptime"}
"""Commands of the system that a page may use."""

_YOURS = re.compile(r"(?:^|/)(?:ROOT|OUT|FILE|NAME)(?:/|$)|YYYY|\bNN\b|[*<{$]")
"""Stands for something that the reader chooses."""
_MADE = {"my.yaml", "again", ".venv/bin/python", "sandbox-data/discovery/"}
"""What commands of the pages make, or the reader."""
_ENDING = re.compile(r"\.(?:py|sh|md|ya?ml|json|txt|log|service|timer|conf)$")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of *text* in that language, without their indentation."""
    fenced = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in fenced]


def spans(text: str) -> list[str]:
    """Inline code, outside of fenced blocks."""
    outside = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", outside)


def commands(text: str) -> Iterator[list[str]]:
    """Each simple command as words: lines of ``sh`` blocks, and inline code that begins with a program."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s(?:\||&&|;)\s", line):
                if words := shlex.split(part, comments=True):
                    yield words
    for span in spans(text):
        first, _, rest = span.partition(" ")
        if rest and first in PYTHON | SHELLS | PLAIN:
            yield shlex.split(span)


def command_breaches(text: str) -> list[str]:
    """Commands whose program is not in the project or which it gives an option that it does not know."""
    breaches = []
    for words in commands(text):
        if words[0] in PLAIN:
            continue
        if words[0] not in PYTHON | SHELLS:
            breaches.append(f"{words[0]}: neither a program of the project nor a plain one")
        elif not (PROJECT / words[1]).is_file():
            breaches.append(f"{words[1]}: no such program")
        else:
            options = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
            known = _help(words[1])
            breaches += [f"{words[1]}: no option {option}" for option in options if option not in known]
    return breaches


def paths(text: str) -> Iterator[str]:
    """Each path that is named, in inline code or as a word of a command."""
    words = [word for command in commands(text) for word in command]
    for word in [span for span in spans(text) if " " not in span] + words:
        named = "/" in word or (_ENDING.search(word) and not word.startswith("."))
        if named and re.match(r"[.\w]", word) and not _YOURS.search(word) and word not in _MADE:
            yield word


def absent(paths: Iterator[str]) -> list[str]:
    """Those that are not in the project; a bare name may stand in any folder."""
    return [path for path in paths if not (_stands(path) if "/" in path else _is_somewhere(path))]


def _stands(path: str) -> bool:
    return (PROJECT / path).exists()


@cache
def _is_somewhere(name: str) -> bool:
    folders = (PROJECT / top for top in ("docs", "scripts", "tests", "config", "bench", "orchestration"))
    return _stands(name) or any(True for folder in folders for _ in folder.rglob(name))


@cache
def _help(program: str) -> str:
    """What ``--help`` says; the suite's own pytest options count as those of ``scripts/test.sh``."""
    runner = sys.executable if program.endswith(".py") else "sh"
    done = subprocess.run(
        [runner, program, "--help"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    if program != "scripts/test.sh":
        return done.stdout
    return done.stdout + "".join(path.read_text("utf-8") for path in (PROJECT / "tests").rglob("conftest.py"))
