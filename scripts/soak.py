#!/usr/bin/env python3
"""The soak: a collector that runs for long, and what its archive shows of it.

Examples:
  python scripts/soak.py report OUT
  python scripts/soak.py report OUT --date 2026-04-16

docs/SOAK.md has the whole way; `python scripts/soak.py COMMAND --help` explains each command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.filter_end import end_with
from orderbooks_spider.soak.report_command import add_report


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_report(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    end_with(main)
