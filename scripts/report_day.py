#!/usr/bin/env python3
"""Make a page about one UTC day of what was recorded: pictures and numbers in one HTML file; offline.

The same numbers are written as JSON beside it.  docs/DAY_REPORT.md explains the pictures.

Examples:
  python scripts/report_day.py data --date 2026-04-16 --out report.html
  python scripts/report_day.py data --date 2026-04-16 --out report.html --dataset dataset
  python scripts/report_day.py /mnt/a /mnt/b --date 2026-04-16 --out report.html --workers 2

Exit codes: 0 made; 1 made, and segments could not be used or rows are missing (all are named, on the
page too); 2 nothing on that day, or could not look; 74 FILE cannot be written; 78 roots or dataset do not
go together; 130 interrupted, and nothing was made.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.archive import durable
from orderbooks_spider.errors import EXIT_CANNOT_CHECK, EXIT_OK, EXIT_PROBLEMS, OrderbooksError
from orderbooks_spider.filter_end import end_with
from orderbooks_spider.report.day import Day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orderbooks_spider.report.make import Made


def main(arguments: list[str] | None = None) -> int:
    """Make the page, and say where it is."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "roots",
        type=Path,
        nargs="+",
        metavar="ROOT",
        help="archive.root of a config (several collectors: several)",
    )
    parser.add_argument("--date", type=_day, required=True, metavar="YYYY-MM-DD", help="the day, in UTC")
    parser.add_argument(
        "--out", type=_html, required=True, metavar="FILE.html", help="the page; its numbers go to FILE.json"
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="DIR",
        help="what normalize made of ROOT (default: normalise the day into a temporary folder beside FILE)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="processes that normalise (default: one a core)"
    )
    options = parser.parse_args(arguments)
    try:
        made = _make(options)
        durable.atomic_write(options.out.with_suffix(".json"), made.json)
        durable.atomic_write(options.out, made.html)
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"{error.filename}: cannot read: {error.strerror}", file=sys.stderr)
        return EXIT_CANNOT_CHECK
    for line in made.problems:
        print(line, file=sys.stderr)
    print(f"{options.out} ({len(made.html) / 1e6:.1f} MB), {options.out.with_suffix('.json')}")
    return EXIT_PROBLEMS if made.problems else EXIT_OK


def _make(options: argparse.Namespace) -> Made:
    with _scratch(options.out.parent) as scratch, _bar() as progress:
        # Takes seconds, which an argument that cannot be used need not wait for.
        from orderbooks_spider.report.make import make_report  # noqa: PLC0415

        return make_report(
            options.roots,
            options.date,
            scratch=scratch,
            dataset=options.dataset,
            workers=options.workers or os.cpu_count() or 1,
            progress=progress,
        )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder in *folder*, on whose disk there must be room for the page anyway."""
    durable.makedirs(folder)
    with durable.naming(folder, "make a folder in it"):
        scratch = tempfile.TemporaryDirectory(prefix=".report_day_", dir=folder)
    with scratch as name:
        yield Path(name)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr with the time left, for a person at a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm  # noqa: PLC0415 - not needed without a terminal

    with tqdm(desc="normalise", unit="B", unit_scale=True, leave=False) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


def _positive(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, saw {text!r}")
    return int(text)


def _day(text: str) -> Day:
    try:
        return Day.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _html(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".html":
        raise argparse.ArgumentTypeError(f"expected a name that ends in .html, saw {text!r}")
    for file in (path, path.with_suffix(".json")):
        if file.is_dir():
            raise argparse.ArgumentTypeError(f"expected a file to write, saw the folder {str(file)!r}")
    return path


if __name__ == "__main__":
    end_with(main)
