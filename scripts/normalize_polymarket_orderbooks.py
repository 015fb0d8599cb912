#!/usr/bin/env python3
"""Make the dataset: Parquet tables from the sealed segments of one or more archives; offline.

Only what is new or changed is normalised; run again, nothing changes.  The raw segments stay as they
are and stay the source of truth.  docs/ORDERBOOK_SCHEMA.md explains the tables.

Examples:
  python scripts/normalize_polymarket_orderbooks.py --root data --out dataset
  python scripts/normalize_polymarket_orderbooks.py --root /mnt/a --root /mnt/b --out dataset --workers 4
  python scripts/normalize_polymarket_orderbooks.py --root data --out dataset --scheduler tcp://host:8786

Exit codes: 0 all is there; 1 segments could not be used or rows are missing (all are named, the rest is
there); 2 could not look; 74 OUT cannot be written; 75 OUT is in use; 78 these roots and OUT do not go
together; 130 interrupted: what is done stays done, run it again for the rest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from orderbooks_spider.errors import (
    EXIT_CANNOT_CHECK,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PROBLEMS,
    OrderbooksError,
)
from orderbooks_spider.filter_end import end_with
from orderbooks_spider.normalize import text
from orderbooks_spider.normalize.run import normalise_archives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from tqdm import tqdm

    from orderbooks_spider.normalize.manifest import Normalization


def main(arguments: list[str] | None = None) -> int:
    """Normalise, and say what came out."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, action="append", required=True, metavar="ROOT", dest="roots",
        help="archive.root of a config (repeatable: archives of several collectors become one dataset)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the dataset")
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="processes on this machine (default: one a core)"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="run the tasks on the workers of this Dask scheduler, which must see the same paths "
        "(needs: pip install distributed)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print the dataset's manifest as one line of JSON"
    )
    options = parser.parse_args(arguments)
    try:
        with _Bar() as bar:
            made = normalise_archives(
                options.roots,
                options.out,
                workers=options.workers,
                scheduler=options.scheduler,
                progress=bar.update,
            )
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"{error.filename}: cannot read: {error.strerror}", file=sys.stderr)
        return EXIT_CANNOT_CHECK
    except KeyboardInterrupt:
        print("interrupted: what is done stays done, run it again for the rest", file=sys.stderr)
        return EXIT_INTERRUPTED
    for line in made.errors:
        print(line, file=sys.stderr)
    if options.json:
        print(msgspec.json.encode(made).decode())
    else:
        for line in _lines(made, options.out):
            print(line)
    return EXIT_PROBLEMS if made.errors else EXIT_OK


def _positive(argument: str) -> int:
    """A number of processes."""
    if not argument.isdecimal() or int(argument) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, saw {argument!r}")
    return int(argument)


def _lines(made: Normalization, out: Path) -> Iterator[str]:
    """One screen."""
    count = len(made.errors)
    problems = f", {count:,} problem{'s' if count > 1 else ''}" if count else ""
    yield from text.table_lines(made)
    yield ""
    yield text.poll_line(made)
    yield ""
    yield from text.check_lines(made)
    yield ""
    yield f"{made.environment}: {len(made.segments):,} segments in {out}{problems}"


class _Bar:
    """A progress bar on stderr with the time left, for a person at a terminal only."""

    def __init__(self) -> None:
        self._step = ""
        self._bar: tqdm[Any] | None = None
        self._make: Callable[[str, int], tqdm[Any]] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from tqdm import tqdm  # noqa: PLC0415 - not needed without a terminal

            def make(step: str, total: int) -> tqdm[Any]:
                unit, scale = ("B", True) if step == "segments" else (" hours", False)
                return tqdm(desc=step, total=total, unit=unit, unit_scale=scale, leave=False)

            self._make = make
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, step: str, done: int, total: int) -> None:
        """Show that *done* of *total* are through."""
        if self._make is None:
            return
        if self._bar is None or step != self._step:
            self.__exit__()
            self._bar, self._step = self._make(step, total), step
        self._bar.update(done - self._bar.n)


if __name__ == "__main__":
    end_with(main)
