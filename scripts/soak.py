#!/usr/bin/env python3
"""Run a collector for hours while things break on schedule, and judge it by its archive.

`run` starts a sandbox exchange and a collector of its own, in real time or faster, as the plan says;
`attach` only watches a collector that runs already.  Both end with the dataset and the proof, from
which `report` makes the report with its verdict.  docs/SOAK.md has the whole way.

Examples:
  python scripts/soak.py run --plan config/soak.day.yaml --out soak-day
  python scripts/soak.py run --plan config/soak.hour.yaml --out soak-hour
  python scripts/soak.py attach --config /etc/orderbooks/collector.yaml --seconds 86400 --out soak-live
  python scripts/soak.py report soak-day

Exit codes of run and attach: 0 collected, normalised and verified clean; 1 problems (OUT/log names them);
74 OUT cannot be written; 78 bad plan or config, or OUT is in use; 130 interrupted: soak.json tells of
what was done.  `python scripts/soak.py report --help` has those of report.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orderbooks_spider.config import positive_seconds
from orderbooks_spider.errors import OrderbooksError
from orderbooks_spider.filter_end import end_with
from orderbooks_spider.soak.attach import attach
from orderbooks_spider.soak.report_command import add_report
from orderbooks_spider.soak.run import run_soak


def main(arguments: list[str] | None = None) -> int:
    """Do one of the commands."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="run|attach|report")
    run = commands.add_parser("run", help="a sandbox soak with faults, by a plan")
    run.add_argument("--plan", type=Path, required=True, metavar="FILE", help="what to run and to break")
    run.set_defaults(run=_run)
    watch = commands.add_parser("attach", help="watch a collector that runs already; injects nothing")
    watch.add_argument("--config", required=True, metavar="FILE", help="the collector's config")
    watch.add_argument(
        "--seconds", type=positive_seconds, default=86_400.0, metavar="N", help="how long (default: a day)"
    )
    watch.add_argument(
        "--sample-seconds", type=positive_seconds, default=60.0, metavar="N", help="how often (default: 60)"
    )
    watch.set_defaults(run=_attach)
    for command in (run, watch):
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for all")
    add_report(commands)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except OrderbooksError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return code


def _run(options: argparse.Namespace) -> int:
    return run_soak(options.plan, options.out, _say)


def _attach(options: argparse.Namespace) -> int:
    return attach(options.config, options.out, options.seconds, options.sample_seconds, _say)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    end_with(main)
