"""What the commands for upload and purge share: arguments, destination, lock, one line per error."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orderbooks_spider.clock import Clock, SystemClock
from orderbooks_spider.config import DEFAULT_FILE, read_config
from orderbooks_spider.errors import ArchiveError, OrderbooksError
from orderbooks_spider.offload.destination import VARIABLE, read_destination
from orderbooks_spider.offload.lock import take_lock
from orderbooks_spider.offload.rclone import Rclone

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Job:
    """What a command works on; the lock is held meanwhile."""

    root: Path
    rclone: Rclone
    clock: Clock
    keep_local_days: float
    execute: bool


def parser(text: str) -> argparse.ArgumentParser:
    """The arguments that both have; *text* is the script's docstring."""
    summary, _, rest = text.partition("\n\n")
    made = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "root", type=Path, nargs="?", metavar="ROOT", help="the archive (default: archive.root of the config)"
    )
    made.add_argument(
        "--config",
        metavar="FILE",
        help=f"the collector's config (default: ORDERBOOKS_CONFIG, else {DEFAULT_FILE})",
    )
    made.add_argument("--execute", action="store_true", help="do it; otherwise only say what would be done")
    return made


def days(text: str) -> float:
    """A number of days, as an argument says it."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of days from 0, saw {text!r}")
    return value


def run(options: argparse.Namespace, what: str, work: Callable[[Job], int]) -> int:
    """Do *work* under the lock; errors become one line and their exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        config = read_config(options.config)
        root = options.root if options.root is not None else Path(config.archive.root)
        if not (root / "raw").is_dir():
            raise ArchiveError(f"{root}: expected an archive (a folder with raw/ in it)")
        destination = read_destination(os.environ.get(VARIABLE), root)
        with take_lock(root, what) as lock:
            rclone = Rclone(destination, keep_open=(lock.descriptor,))
            keep_days = config.offload.keep_local_days
            return work(Job(root, rclone, SystemClock(), keep_days, options.execute))
    except OrderbooksError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's one line for its user
        return error.exit_code


def _stop(number: int, _: object) -> NoReturn:
    """End as asked: rclone is ended too, and what is proven so far is written down."""
    sys.exit(128 + number)
