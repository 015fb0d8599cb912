"""The report of verify for people: rung by rung, then problems, then quality; 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orderbooks_spider.archive.findings import Problem
    from orderbooks_spider.archive.verify import RootReport, RungReport

WIDTH = 80


def lines(report: RootReport) -> Iterator[str]:
    """Everything about one root, line by line."""
    yield f"archive {report.root}"
    for rung in report.rungs:
        yield _rung(rung)
    for problem in report.problems:
        yield ""
        yield from _problem(problem)
    yield from _quality(report)
    if report.open_files:
        yield f"open: {len(report.open_files)} files of a running collector, not checked"
    if report.remote_segments:
        yield f"remote: {report.remote_segments:,} purged segments, each with its receipt; --fetch reads them"
    if report.fetched_segments:
        yield f"fetched: {report.fetched_segments:,} purged segments, read like the others"
    if report.set_aside:
        pieces = ", ".join(f"{count} {kind}" for kind, count in sorted(report.set_aside.items()))
        yield f"set aside, with the reason beside each: {pieces}"
    for chain, sha256 in report.heads.items():
        yield f"head {chain}"
        yield f"     {sha256}"
    yield _verdict(report)


def _rung(rung: RungReport) -> str:
    if rung.skipped:
        mark, count = "-", "not read (--quick)"
    else:
        mark = "✗" if rung.problems else "✓"
        count = f"{rung.checked:,} {rung.unit}"
    wrong = f"{rung.problems:,} problem{'s' if rung.problems > 1 else ''}" if rung.problems else ""
    return f"{mark} {rung.rule:4}{rung.title:30}{count:>22}  {wrong}".rstrip()


def _problem(problem: Problem) -> Iterator[str]:
    yield f"✗ {problem.rule} {problem.rung}: {problem.file}"
    more = f" (and {problem.more:,} more like it in this file)" if problem.more else ""
    for label, text in (
        ("what", problem.what + more),
        ("expected", problem.expected),
        ("seen", problem.seen),
        ("do", problem.advice),
    ):
        yield from textwrap.wrap(
            text, WIDTH, initial_indent=f"  {label:9}", subsequent_indent=" " * 11, break_on_hyphens=False
        )


def _quality(report: RootReport) -> Iterator[str]:
    quality = report.quality
    if not any(rung.rung == "rows" and not rung.skipped for rung in report.rungs):
        return
    yield ""
    yield "quality (counted, never a reason to fail)"
    for title, counts in (
        ("polls", quality.results),
        ("venue hash", quality.venue_hash),
        ("Up/Down mirror", quality.mirror),
    ):
        text = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        yield from textwrap.wrap(
            text or "none", WIDTH, initial_indent=f"  {title:16}", subsequent_indent=" " * 18
        )
    for example in quality.examples:
        yield from textwrap.wrap(
            example, WIDTH, initial_indent="  for example ", subsequent_indent="    ", break_on_hyphens=False
        )
    yield ""


def _verdict(report: RootReport) -> str:
    remote = f" ({report.remote_segments:,} of them remote, not read)" if report.remote_segments else ""
    size = f"{report.segments:,} segments{remote}, {report.rows:,} rows"
    problems = sum(1 + problem.more for problem in report.problems)
    if problems:
        return f"NOT CLEAN: {problems:,} integrity problem{'s' if problems > 1 else ''} in {size}"
    if any(rung.skipped for rung in report.rungs):
        return f"clean as far as names, sizes and chains tell: {report.segments:,} segments"
    return f"CLEAN: {size}, {report.raw_bytes / 1e6:,.1f} MB of text"
