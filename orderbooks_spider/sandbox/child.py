"""Start and stop the sandbox as a child process that cannot outlive its parent."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Self

from orderbooks_spider.clock import NS, SystemClock
from orderbooks_spider.errors import OrderbooksError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_READY = re.compile(rb"sandbox exchange at (https?://\S+)\n")
START_SECONDS = 30.0
"""How long the child may take to print its URL; on a slow host the imports are most of it."""
STOP_SECONDS = 5.0


class SandboxChild:
    """A running sandbox: ``with SandboxChild.start(["--seed", "7"]) as sandbox: … sandbox.url``.

    The child holds the read end of a pipe whose only write end is ours: when this process ends,
    however it ends, the child sees the end of its input and exits.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    def start(
        cls,
        args: Sequence[str] = (),
        timeout_seconds: float = START_SECONDS,
        variables: Mapping[str, str] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> Self:
        """Start the child with more *args* and environment *variables*, and wait until it serves.

        It complains on our own stderr unless another is given.

        Raises:
            OrderbooksError: it ended, or printed no URL in time; its own error line is on stderr.

        """
        command = [sys.executable, "-m", "orderbooks_spider.sandbox", "--port", "0", "--with-parent", *args]
        # The same import path as ours: under scrapyd the package comes from an egg.
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": paths, **(variables or {})}
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is meant for the parent
        )
        try:
            url = _wait_for_url(process, timeout_seconds)
        except BaseException:
            _end(process)
            raise
        return cls(process, url)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """End the child and give its exit code; safe to call twice."""
        return _end(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _wait_for_url(process: subprocess.Popen[bytes], timeout_seconds: float) -> str:
    if process.stdout is None:
        raise OrderbooksError("sandbox: started without a pipe for its URL")
    seen = b""
    clock = SystemClock()
    until_ns = clock.monotonic_ns() + int(timeout_seconds * NS)
    while (left_ns := until_ns - clock.monotonic_ns()) > 0:
        ready, _, _ = select.select([process.stdout], [], [], left_ns / NS)
        piece = os.read(process.stdout.fileno(), 4096) if ready else b""
        if ready and not piece:
            raise OrderbooksError(f"sandbox: ended with exit code {process.wait()} before it served")
        seen += piece
        found = _READY.search(seen)
        if found:
            return found[1].decode()
    raise OrderbooksError(f"sandbox: expected its URL within {timeout_seconds:g} s, saw {seen!r}")


def _end(process: subprocess.Popen[bytes]) -> int:
    # The signal alone: the end of its input as well would start the exit twice.
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
