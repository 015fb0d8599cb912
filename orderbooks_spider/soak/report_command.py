"""``soak.py report``: arguments in, report on the disk, verdict out."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.errors import EXIT_CANNOT_CHECK, EXIT_OK, EXIT_PROBLEMS, OrderbooksError
from orderbooks_spider.report.day import Day

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

EPILOG = """\
Examples:
  python scripts/soak.py report OUT
  python scripts/soak.py report OUT --date 2026-04-16 --reports reports

Exit codes: 0 every rule of the gate passes; 1 one fails or is not shown; 2 could not look.
"""


def add_report(subparsers: Subparsers) -> None:
    """Add the subcommand; its function is the default ``run`` of the parsed arguments."""
    parser = subparsers.add_parser(
        "report",
        help="judge a soak by its archive, and write reports/soak_test_YYYY-MM-DD.md",
        description="Judge a soak by its archive, dataset and samples, and write its report; offline.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that run or attach wrote")
    parser.add_argument(
        "--date", type=_date, metavar="YYYY-MM-DD", help="names the report (default: the day it began)"
    )
    parser.add_argument(
        "--reports",
        type=Path,
        default=Path("reports"),
        metavar="DIR",
        help="where it goes (default: reports)",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that verify"
    )
    run: Callable[[argparse.Namespace], int] = report
    parser.set_defaults(run=run)


def report(options: argparse.Namespace) -> int:
    """Make and write the report; say the verdict and each rule that does not pass."""
    # Takes seconds, which an argument that cannot be used need not wait for.
    from orderbooks_spider.soak.report import make_report, write  # noqa: PLC0415

    try:
        made = make_report(options.out, date=options.date, workers=options.workers)
        write(made, options.reports)
    except OrderbooksError as error:
        return _cannot(str(error))
    except PermissionError as error:
        return _cannot(f"{error.filename}: cannot read: {error.strerror}")
    lines = [
        f"{judged.status} {judged.rule}: {judged.measured} ({judged.reason})"
        for judged in made.report.rules
        if judged.status != "PASS"
    ]
    lines.append(f"{made.report.verdict}: {options.reports / made.page}")
    print("\n".join(lines))  # noqa: T201 - what a command says to its user
    return EXIT_OK if made.report.status == "PASS" else EXIT_PROBLEMS


def _cannot(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201 - a command's one line for its user
    return EXIT_CANNOT_CHECK


def _date(text: str) -> str:
    try:
        return Day.parse(text).date
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
