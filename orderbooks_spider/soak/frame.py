"""What every soak begins and ends with: its folder, the project's commit, signals, and the account."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orderbooks_spider.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEMS, ConfigError, StorageError
from orderbooks_spider.soak.supervisor import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOOK_SECONDS = 0.05


class Interrupted:
    """Whether SIGTERM or SIGINT came; both are noted while :meth:`listening` lasts."""

    def __init__(self) -> None:
        self.seen = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the signals."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._note) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        self.seen = True


def make_folder(out: Path) -> None:
    """Make the folder of a soak, which is to be new, and ``log`` in it.

    Raises:
        ConfigError: something is there.
        StorageError: it cannot be made.

    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigError(f"{out}: expected a new or empty folder; a soak's folder is used once")
        (out / "log").mkdir()
    except OSError as error:
        raise StorageError(f"{out}: cannot make the soak's folder: {error.strerror}") from error


def commit() -> str:
    """The project's commit, ``+changes`` where files differ from it; ``unknown`` outside a checkout."""
    git = ["git", "-C", str(PROJECT)]
    try:
        found = _said([*git, "rev-parse", "HEAD"]).strip()
        return found + ("+changes" if _said([*git, "status", "--porcelain"]) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def account(root: Path, out: Path, interrupted: Interrupted, say: Callable[[str], None]) -> int:
    """Normalise and verify what was collected; the exit code, and what they say in logs."""
    steps: dict[str, Sequence[str | Path]] = {
        "normalise": ["normalize_polymarket_orderbooks.py", "--root", root, "--out", out / "dataset"],
        "verify": ["verify_archive.py", root],
    }
    codes = []
    for name, (script, *arguments) in steps.items():
        log = out / "log" / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and scripts
                [sys.executable, PROJECT / "scripts" / script, *arguments],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        while process.poll() is None:
            if interrupted.seen:
                process.terminate()
                process.wait()
                return EXIT_INTERRUPTED
            time.sleep(LOOK_SECONDS)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        say(f"{name} ended with {process.returncode}: {lines[-1] if lines else 'no word'}")
        codes.append(process.returncode)
    return EXIT_PROBLEMS if any(codes) else EXIT_OK


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - git
