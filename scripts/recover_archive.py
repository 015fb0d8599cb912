#!/usr/bin/env python3
"""Seal what a crash left in an archive (the collector also does this when it starts).

Examples:
  python scripts/recover_archive.py data
  python scripts/recover_archive.py /var/lib/orderbooks --json

Exit codes: 0 whole now, 2 no archive there or unreadable, 75 the collector runs, 74 storage failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from orderbooks_spider.archive.lock import ArchiveLock
from orderbooks_spider.archive.recovery import Action, collectors, recover
from orderbooks_spider.clock import SystemClock
from orderbooks_spider.errors import EXIT_CANNOT_CHECK, EXIT_OK, OrderbooksError


def main(arguments: list[str] | None = None) -> int:
    """Recover every collector's part of the archive; the exit code of the command."""
    summary, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="archive.root of the config")
    parser.add_argument("--json", action="store_true", help="one JSON object per action")
    options = parser.parse_args(arguments)
    root: Path = options.root
    if not (root / "raw").is_dir():
        print(f"{root}: expected an archive (a folder with raw/ in it)", file=sys.stderr)
        return EXIT_CANNOT_CHECK
    try:
        for collector_id in collectors(root):
            with ArchiveLock.acquire(root, collector_id, "recover"):
                _print(collector_id, recover(root, collector_id, SystemClock()), as_json=options.json)
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return EXIT_OK


def _print(collector_id: str, actions: list[Action], *, as_json: bool) -> None:
    for action in actions:
        if as_json:
            print(msgspec.json.encode(action).decode())
        else:
            print(f"{action.what:16} {action.file}\n{'':16} {action.detail}")
    changed = sum(action.changed for action in actions)
    if not as_json:
        reported = f", {len(actions) - changed} reported" if len(actions) > changed else ""
        print(
            f"{collector_id}: {changed} repaired{reported}" if actions else f"{collector_id}: nothing to do"
        )


if __name__ == "__main__":
    sys.exit(main())
