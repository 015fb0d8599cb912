"""From a soak's folder to its report: numbers, verdict, pictures and page."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from orderbooks_spider.archive import durable
from orderbooks_spider.archive.manifest import encode
from orderbooks_spider.clock import iso_utc
from orderbooks_spider.errors import ConfigError
from orderbooks_spider.soak.draw import pictures
from orderbooks_spider.soak.gate import Judged, judge, status_of, verdict
from orderbooks_spider.soak.measure import measure
from orderbooks_spider.soak.numbers import Soak  # noqa: TC001 - msgspec reads it
from orderbooks_spider.soak.page import render

if TYPE_CHECKING:
    from pathlib import Path

    from orderbooks_spider.soak.measure import Measured

SCHEMA: Final = "orderbooks.soak_report/1"


class SoakReport(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON; key order is the order on disk."""

    schema: str = SCHEMA
    date: str
    verdict: str
    status: str
    rules: list[Judged]
    host: dict[str, str]
    """Of the report, which is made where the soak ran; no name and no path of it."""
    commands: list[str]
    soak: Soak


@dataclass(frozen=True, slots=True)
class Made:
    """What is written: by name relative to the folder of reports."""

    report: SoakReport
    files: dict[str, bytes]

    @property
    def page(self) -> str:
        """Name of the Markdown page."""
        return f"{_stem(self.report.date)}.md"


def make_report(out: Path, *, date: str | None, workers: int) -> Made:
    """Report on the soak of the folder *out*.

    Args:
        out: what ``scripts/soak.py`` wrote.
        date: names the report; ``None``: the day on which the soak began, on the archive's clock.
        workers: processes that verify.

    Raises:
        ArchiveError: a file cannot be understood, or there is no archive.
        ConfigError: archive, dataset and record do not go together.
        StorageError: a file cannot be read.

    """
    found = measure(out, workers)
    return report_on(found, date or iso_utc(found.soak.begin_ns)[:10])


def report_on(found: Measured, date: str) -> Made:
    """Judge, draw and write up what was measured."""
    rules = judge(found.soak)
    report = SoakReport(
        date=date,
        verdict=verdict(found.soak, rules),
        status=status_of(rules),
        rules=rules,
        host=host_facts(),
        commands=_commands(found.soak, date),
        soak=found.soak,
    )
    stem = _stem(date)
    drawn = pictures(found.record, found.samples, found.account.minutes)
    links = {name: f"{stem}/{name}.svg" for name in drawn}
    files = {links[name]: f"{svg}\n".encode() for name, svg in drawn.items()}
    files[f"{stem}.json"] = encode(report)
    files[f"{stem}.md"] = render(report, links).encode()
    return Made(report, files)


def write(made: Made, folder: Path) -> None:
    """Write the files, the page last; a report of another soak is not replaced.

    Raises:
        ConfigError: the report there is of another soak.
        StorageError: a file cannot be read or written.

    """
    there = folder / f"{_stem(made.report.date)}.json"
    if there.exists():
        with durable.naming(there, "read"):
            content = there.read_bytes()
        try:
            old = msgspec.json.decode(content, type=_Old).soak
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"{there}: expected the numbers of a soak: {error}") from error
        if (old.begin_ns, old.commit) != (made.report.soak.begin_ns, made.report.soak.commit):
            raise ConfigError(
                f"{there}: is the report of another soak, begun {iso_utc(old.begin_ns)}: "
                "give --date or --reports"
            )
    for name, content in made.files.items():
        durable.makedirs((folder / name).parent)
        durable.atomic_write(folder / name, content)


class _OldSoak(msgspec.Struct, frozen=True):
    begin_ns: int
    commit: str


class _Old(msgspec.Struct, frozen=True):
    """What tells a report from another one's."""

    soak: _OldSoak


def host_facts() -> dict[str, str]:
    """Of this host, without its name."""
    return {
        "Python": platform.python_version(),
        platform.system(): platform.release(),
        "machine": platform.machine(),
        "processors": str(os.cpu_count() or "unknown"),
    }


def _stem(date: str) -> str:
    return f"soak_test_{date}"


def _commands(soak: Soak, date: str) -> list[str]:
    """As a reader would type them; OUT and CONFIG stand for places on the host."""
    run = f"run --plan config/{soak.config}"
    if soak.attached:
        run = f"attach --config CONFIG --seconds {soak.seconds:.0f}"
    return [
        f"python scripts/soak.py {run} --out OUT",
        f"python scripts/soak.py report OUT --date {date}",
    ]
