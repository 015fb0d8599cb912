#!/usr/bin/env python3
"""Prove that an archive is whole and unaltered; reads only, and offline but for --fetch.

Examples:
  python scripts/verify_archive.py data
  python scripts/verify_archive.py data --quick
  python scripts/verify_archive.py /mnt/a /mnt/b --json
  python scripts/verify_archive.py data --expect-head books/c0=SHA256 --expect-head events/c0=SHA256
  python scripts/verify_archive.py data --fetch

Exit codes: 0 clean, 1 integrity problems (all are listed, each with rule and file), 2 could not check,
130 interrupted.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from orderbooks_spider.archive import verify_text
from orderbooks_spider.archive.verify import RootReport, verify
from orderbooks_spider.errors import EXIT_CANNOT_CHECK, OrderbooksError
from orderbooks_spider.filter_end import end_with
from orderbooks_spider.offload.fetch import fetch_purged

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


def main(arguments: list[str] | None = None) -> int:
    """Verify each root; the worst of their exit codes."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("roots", type=Path, nargs="+", metavar="ROOT", help="archive.root of the config")
    parser.add_argument("--quick", action="store_true", help="names, sizes and chains only; read no segment")
    parser.add_argument("--json", action="store_true", help="one JSON object per root, a line each")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read (default: one a core)")
    parser.add_argument(
        "--expect-head",
        type=_head,
        action="append",
        default=[],
        metavar="FEED/COLLECTOR=SHA256",
        help="a head that verify printed before and you kept elsewhere; the chain must still hold it "
        "(repeatable, with one ROOT)",
    )
    parser.add_argument(
        "--require-local", action="store_true", help="a purged segment is missing, whatever a remote holds"
    )
    parser.add_argument(
        "--fetch",
        action="store_true",
        help="fetch purged segments with rclone, from where their records say, and read them too",
    )
    options = parser.parse_args(arguments)
    if options.fetch and (options.quick or options.require_local):
        parser.error("--fetch: it reads what is not here; expected no --quick and no --require-local")
    if options.expect_head and len(options.roots) > 1:
        parser.error("--expect-head: expected one ROOT, for a head belongs to one archive")
    codes = [_verify(root, options) for root in options.roots]
    # Problems found weigh more than a root that could not be checked.
    return 1 if 1 in codes else max(codes)


def _verify(root: Path, options: argparse.Namespace) -> int:
    try:
        with _Bar(root.name) as bar:
            report = verify(
                root,
                quick=options.quick,
                workers=options.workers,
                progress=bar.update,
                expect_heads=dict(options.expect_head),
                require_local=options.require_local,
                fetch=fetch_purged if options.fetch else None,
            )
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return EXIT_CANNOT_CHECK
    except PermissionError as error:
        print(f"{error.filename}: cannot read: {error.strerror}", file=sys.stderr)
        return EXIT_CANNOT_CHECK
    _print(report, as_json=options.json)
    return report.exit_code


def _head(text: str) -> tuple[str, str]:
    """One kept head."""
    matched = re.fullmatch(r"([a-z]+/[a-z0-9-]{1,32})=([0-9a-f]{64})", text)
    if matched is None:
        raise argparse.ArgumentTypeError(f"expected FEED/COLLECTOR=64 hex digits, saw {text!r}")
    return matched[1], matched[2]


def _print(report: RootReport, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    for line in verify_text.lines(report):
        print(line)


class _Bar:
    """A progress bar on stderr, for a person at a terminal only."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._show: Callable[[int, int], None] | None = None
        self._close: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from tqdm import tqdm  # noqa: PLC0415 - not needed without a terminal

            bar = tqdm(desc=self._name, unit="B", unit_scale=True, leave=False)

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            self._show, self._close = show, bar.close
        return self

    def __exit__(self, *_: object) -> None:
        if self._close is not None:
            self._close()

    def update(self, done: int, total: int) -> None:
        """Show that *done* of *total* bytes are read."""
        if self._show is not None:
            self._show(done, total)


if __name__ == "__main__":
    end_with(main)
