"""The rules of the house that a program can see, each first shown a made-up breach.

A rule is a pure function from source text to the breaches in it; the tests at the end apply the rules to
the files.  Imports point one way: spiders, pipelines, extensions, scripts -> polymarket, archive,
normalize, offload -> the single modules (cadence, universe, items, config, clock ...) -> errors.
"""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "orderbooks_spider"
MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "scripts").glob("*.py"), *(ROOT / "scripts").glob("*.sh")])

SKINS = {"spiders", "pipelines", "extensions"}
"""The areas that know Scrapy; scripts, which stand outside the package, may start it too."""
CORES = {"polymarket", "archive", "normalize", "report", "status", "offload", "soak"}
SANDBOX_USES = {"sandbox", "clock", "simulated_clock", "errors", "polymarket", "config"}
SANDBOX_LIBRARIES = {"aiohttp", "multidict", "yarl", "msgspec", "yaml"}
"""The server with the types of its requests, and how fault plans are read."""
FREE = {"__version__"}
"""Names of the package itself, which any area may import."""

ASKS_TIME = re.compile(
    r"time\.(time|monotonic|perf_counter|clock_gettime)(_ns)?"
    r"|datetime\.(datetime\.(now|utcnow|today)|date\.today)"
)
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|Users)/")
REGISTRY = re.compile(r"^\s*--?(?:i|f|index-url|extra-index-url|find-links|trusted-host)\b", re.MULTILINE)


# Rules on imports.


def area_of(path: str) -> str:
    """``orderbooks_spider/archive/reader.py`` -> ``archive``; ``orderbooks_spider/clock.py`` -> ``clock``."""
    return PurePosixPath(path).parts[1].removesuffix(".py")


def imports(path: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each thing imported, inside functions and for types only too."""
    package = PurePosixPath(path).parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            origin = [*above, *([node.module] if node.module else [])]
            yield from ((node.lineno, ".".join([*origin, alias.name])) for alias in node.names)


def rank(area: str) -> int:
    """Where an area stands: 3 knows Scrapy, 2 the venue or the files, 1 is a single module, 0 errors."""
    if area in SKINS:
        return 3
    if area in CORES:
        return 2
    return 0 if area == "errors" else 1


def may_import(importer: str, imported: str) -> bool:
    """Whether an area of the package may import another."""
    if imported in FREE or importer == imported:
        return True
    if importer in {"__init__", "settings"} or imported == "settings":
        return False  # settings.py is plain constants, for Scrapy to read
    if importer == "sandbox":
        return imported in SANDBOX_USES
    if imported == "sandbox":
        return importer in {"spiders", "extensions", "soak"}
    if {importer, imported} == {"spiders", "pipelines"}:
        return False
    return rank(importer) >= rank(imported)


def import_breaches(path: str, source: str) -> list[str]:
    """Imports of one module that point the wrong way."""
    importer = area_of(path)
    breaches = []
    for line, name in imports(path, source):
        top, *rest = name.split(".")
        wrong = top in {"scripts", "tests", "bench"}
        if top == PACKAGE:
            wrong = bool(rest) and not may_import(importer, rest[0])
        elif top in {"scrapy", "twisted"}:
            wrong = importer not in SKINS
        elif importer == "sandbox":
            wrong |= top not in sys.stdlib_module_names | SANDBOX_LIBRARIES
        if wrong:
            breaches.append(f"{path}:{line}: {importer} may not import {name}")
    return breaches


def circles(sources: Mapping[str, str]) -> list[str]:
    """Areas that import each other, in a circle."""
    uses: defaultdict[str, set[str]] = defaultdict(set)
    for path, source in sources.items():
        for _, name in imports(path, source):
            top, *rest = name.split(".")
            if top == PACKAGE and rest and rest[0] not in FREE | {area_of(path)}:
                uses[area_of(path)].add(rest[0])
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


# Rules on time, tests, paths and requirements.


def clock_breaches(path: str, source: str) -> list[str]:
    """Where a module asks the system for the time, by whatever name it imported the question."""
    tree = ast.parse(source)
    meaning: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                meaning[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            meaning |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def told(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{told(node.value)}.{node.attr}"
        return meaning.get(node.id, "") if isinstance(node, ast.Name) else ""

    return [
        f"{path}:{node.lineno}: {told(node)} asks the time; take a Clock"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name) and ASKS_TIME.fullmatch(told(node))
    ]


def promise_breaches(path: str, source: str) -> list[str]:
    """Test functions that do not say what they promise."""
    return [
        f"{path}:{node.lineno}: {node.name} has no docstring"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test")
        and not ast.get_docstring(node)
    ]


def path_breaches(path: str, text: str) -> list[str]:
    """Lines that name somebody's machine."""
    return [
        f"{path}:{number}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]


def pin_breaches(text: str) -> list[str]:
    """Requirements without a version and a hash, and options that name a registry."""
    joined = text.replace("\\\n", " ").splitlines()
    pins = [line for line in joined if re.match(r"\w", line)]
    loose = [line[:60] for line in pins if "==" not in line or "--hash=sha256:" not in line]
    return loose + [found.group().strip() for found in REGISTRY.finditer(text)]


# Each rule catches a made-up breach, and leaves the right thing alone.


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("archive/reader.py", "import scrapy"),
        ("archive/reader.py", "from orderbooks_spider.spiders import driver"),
        ("archive/reader.py", "from ..spiders import driver"),
        ("archive/reader.py", "from orderbooks_spider.sandbox.books import Book"),
        ("archive/reader.py", "from scripts.status import main"),
        ("cadence.py", "from twisted.internet import reactor"),
        ("cadence.py", "def late():\n    from orderbooks_spider.archive import layout"),
        ("config.py", "if TYPE_CHECKING:\n    from scrapy.settings import Settings"),
        ("errors.py", "from orderbooks_spider import clock"),
        ("settings.py", "from orderbooks_spider.config import load"),
        ("spiders/fetch.py", "from orderbooks_spider import settings"),
        ("spiders/fetch.py", "from orderbooks_spider.pipelines.feed import FeedPipeline"),
        ("pipelines/feed.py", "from orderbooks_spider.spiders.driver import Driver"),
        ("pipelines/feed.py", "import orderbooks_spider.sandbox"),
        ("sandbox/exchange.py", "import scrapy"),
        ("sandbox/exchange.py", "import requests"),
        ("sandbox/exchange.py", "from orderbooks_spider.archive.reader import rows"),
    ],
)
def test_import_rule_catches_breach(path: str, line: str) -> None:
    """An import that points the wrong way is found, wherever it stands."""
    assert import_breaches(f"{PACKAGE}/{path}", line)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("archive/verify.py", "from orderbooks_spider.polymarket.book import Book"),
        ("archive/reader.py", "from .layout import parse"),
        ("cadence.py", "from orderbooks_spider.clock import NS"),
        ("extensions/health.py", "import scrapy"),
        ("settings.py", "from orderbooks_spider import __version__"),
        ("spiders/base.py", "from orderbooks_spider.sandbox.child import SandboxChild"),
        (
            "sandbox/exchange.py",
            "import json\nfrom aiohttp import web\nfrom orderbooks_spider.clock import NS",
        ),
    ],
)
def test_import_rule_allows_way_down(path: str, line: str) -> None:
    """An import that points down is no breach."""
    assert import_breaches(f"{PACKAGE}/{path}", line) == []


def test_circle_rule_catches_breach() -> None:
    """Two areas of the same rank may not lean on each other, though each import alone is allowed."""
    reader = {f"{PACKAGE}/archive/reader.py": "from orderbooks_spider.normalize import checks"}
    tables = {f"{PACKAGE}/normalize/run.py": "from orderbooks_spider.archive import reader"}
    assert circles(reader) == circles(tables) == []
    assert circles(reader | tables)


@pytest.mark.parametrize(
    "line",
    [
        "import time\ntime.time()",
        "import time as t\nt.monotonic_ns()",
        "from time import time_ns as now\nnow()",
        "import time\nask = time.perf_counter",
        "import datetime\ndatetime.datetime.now(tz=None)",
        "from datetime import datetime\ndatetime.now(UTC)",
        "import datetime as dt\ndt.date.today()",
    ],
)
def test_clock_rule_catches_breach(line: str) -> None:
    """Asking the time is found under any name, called or handed on."""
    assert clock_breaches("made_up.py", line)


def test_clock_rule_allows_sleep_and_clock() -> None:
    """Sleeping, reading a time from text and asking a Clock are no breach."""
    source = (
        "import time\nfrom datetime import datetime\ntime.sleep(1)\ndatetime.fromisoformat('')\nclock.time()"
    )
    assert clock_breaches("made_up.py", source) == []


def test_promise_rule_catches_breach() -> None:
    """A test without a docstring is found, in a class and async too; a helper needs none."""
    source = "class T:\n    async def test_a(self): ...\ndef test_b():\n    '''Promise.'''\ndef helper(): ..."
    assert promise_breaches("made_up.py", source) == ["made_up.py:2: test_a has no docstring"]


@pytest.mark.parametrize("owner", ["home/me", "root", "Users/me"])
def test_path_rule_catches_breach(owner: str) -> None:
    """A path into somebody's home is found; a web address and a variable are none."""
    assert path_breaches("made_up.md", f"see /{owner}/archive") == [f"made_up.md:1: see /{owner}/archive"]
    assert path_breaches("made_up.md", f"https://example.org/{owner}/page $HOME/{owner}") == []


def test_pin_rule_catches_breach() -> None:
    """A requirement without version or hash, and an option naming a registry, are found."""
    good = "a==1 \\\n    --hash=sha256:00\n    # via b\n"
    assert pin_breaches(good) == []
    bad = good + "b==1\nc>=1 --hash=sha256:00\n--extra-index-url https://example.org\n-f wheels\n"
    assert pin_breaches(bad) == ["b==1", "c>=1 --hash=sha256:00", "--extra-index-url", "-f"]


# The rules, applied.


def sources(paths: list[Path]) -> dict[str, str]:
    """The texts of *paths* by their place in the project."""
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


@pytest.fixture(scope="module")
def project_files() -> list[Path]:
    """The files of the project, tracked or about to be."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing tells the project's files from produced ones")
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_imports_point_one_way() -> None:
    """No module of the package imports against the direction of the layout, nor in a circle."""
    texts = sources(MODULES)
    assert texts
    folders = {area_of(path) for path in texts if len(PurePosixPath(path).parts) > 2}
    assert folders <= SKINS | CORES | {"sandbox"}, "a new folder: give it a place in this file"
    assert [breach for path, text in texts.items() for breach in import_breaches(path, text)] == []
    assert circles(texts) == []


def test_only_clock_asks_time() -> None:
    """All time in the package comes through a Clock, so that tests and the sandbox can set it."""
    texts = sources(MODULES)
    assert clock_breaches("", texts.pop(f"{PACKAGE}/clock.py"))
    assert [breach for path, text in texts.items() for breach in clock_breaches(path, text)] == []


def test_every_test_states_its_promise() -> None:
    """Each test function says in a docstring what it promises."""
    assert [b for path, text in sources(TESTS).items() for b in promise_breaches(path, text)] == []


def test_no_file_is_empty(project_files: list[Path]) -> None:
    """A file that says nothing is not kept, not even an ``__init__.py``."""
    assert [path for path in project_files if path.stat().st_size == 0] == []


def test_no_file_names_a_machine(project_files: list[Path]) -> None:
    """No text of the project, samples included, holds a path of the machine it was made on."""
    breaches = []
    for path in project_files:
        name = path.relative_to(ROOT).as_posix()
        text = path.read_bytes().decode("utf-8", "replace")
        breaches += path_breaches(name, text)
        if name.startswith(("data/", "reports/")) and f"{ROOT}/" in text:
            breaches.append(f"{name}: {ROOT}")
    assert breaches == []


@pytest.mark.parametrize(
    "name", ["requirements.txt", "tests/requirements.txt", "deploy/scrapyd-requirements.txt"]
)
def test_requirements_are_pinned(name: str) -> None:
    """Every requirement has its version and hashes, and no registry is named."""
    assert pin_breaches((ROOT / name).read_text("utf-8")) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_explains_itself(script: Path, tmp_path: Path) -> None:
    """``--help`` of each script shows its name and an example from any folder, and exits 0."""
    bash = script.read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/bash"))
    runner = sys.executable if script.suffix == ".py" else "bash" if bash else "sh"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [runner, str(script), "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert script.name in done.stdout
    assert "example" in done.stdout.lower()
