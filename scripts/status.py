#!/usr/bin/env python3
"""Say whether collecting goes well; looks at the archive from outside, reads only.

Examples:
  python scripts/status.py data
  python scripts/status.py /var/lib/orderbooks --json

Exit codes: 0 healthy, 1 degraded (somebody should look), 2 down (nothing is recorded: no process,
or one that is frozen; also where there is no archive). docs/OPERATIONS.md explains each line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from orderbooks_spider.clock import SystemClock
from orderbooks_spider.errors import OrderbooksError
from orderbooks_spider.filter_end import end_with
from orderbooks_spider.status import text
from orderbooks_spider.status.look import look
from orderbooks_spider.status.verdict import EXIT_CODES


def main() -> int:
    """Look, tell, and let the exit code say how bad it is."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="archive.root of the config")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    try:
        report = look(options.root, SystemClock())
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return EXIT_CODES["down"]
    except PermissionError as error:
        print(f"{error.filename}: cannot read: {error.strerror}", file=sys.stderr)
        return EXIT_CODES["down"]
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(text.lines(report)))
    return report.exit_code


if __name__ == "__main__":
    end_with(main)
