"""A remote store on loopback, and the operator's uploader that sends sealed segments to it.

The store is rclone's own WebDAV server: stopped, it is as unreachable as a real one.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.offload.destination import VARIABLE
from orderbooks_spider.soak.record import Upload
from orderbooks_spider.soak.supervisor import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from orderbooks_spider.clock import Clock

SCRIPT = PROJECT / "scripts" / "upload_archive_rclone.sh"
_OUR_PYTHON_FIRST = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
END_SECONDS = 300.0
"""Real seconds that the last upload may take before it is ended."""


class RemoteStore:
    """The server; needs rclone on ``PATH`` (:attr:`missing` says if it is not there)."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.missing = None if shutil.which("rclone") else "no rclone on PATH"
        self._folder = folder
        self._log = log
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def variables(self) -> dict[str, str]:
        """Environment of an uploader that is to find the store."""
        return {
            VARIABLE: "soak:archive",
            "RCLONE_CONFIG_SOAK_TYPE": "webdav",
            "RCLONE_CONFIG_SOAK_URL": f"http://127.0.0.1:{self._port}",
            "RCLONE_CONFIG": os.devnull,
        }

    def open(self) -> None:
        """Serve."""
        if self.missing is not None or self._process is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - arguments of our own making
                ["rclone", "serve", "webdav", "--addr", f"127.0.0.1:{self._port}", self._folder],  # noqa: S607
                env={**os.environ, "RCLONE_CONFIG": os.devnull},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def close(self) -> None:
        """Be gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@dataclass
class Uploader:
    """Runs the uploader's script, one at a time; *changed* is told when one has ended."""

    root: Path
    config: Path
    store: RemoteStore
    log: Path
    clock: Clock
    changed: Callable[[str], None]
    uploads: list[Upload] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _begun_ns: int = 0
    _log_from: int = 0

    def start(self) -> None:
        """Begin an upload, unless one is under way."""
        if self._process is not None:
            return
        self._begun_ns = self.clock.wall_ns()
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                ["/bin/sh", SCRIPT, "--execute", "--config", self.config, self.root],
                env={**os.environ, **self.store.variables, "PATH": _OUR_PYTHON_FIRST},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def turn(self) -> None:
        """Note the end of an upload."""
        if self._process is not None and self._process.poll() is not None:
            said = self.log.read_bytes()[self._log_from :].decode(errors="replace").split("\n")
            lines = [line.strip() for line in said if line.strip()]
            detail = lines[-1] if lines else ""
            upload = Upload(begin_ns=self._begun_ns, exit_status=self._process.returncode, detail=detail)
            self.uploads.append(upload)
            self._process = None
            self.changed(f"upload ended with {upload.exit_status}: {detail}")

    def finish(self) -> None:
        """Wait for the upload under way."""
        if self._process is not None:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                self._process.wait()
            self.turn()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
