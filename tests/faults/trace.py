"""strace: what a life did to the files of its archive, and failing or killing it at one of these calls."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = (
    "openat", "mkdir", "write", "pwrite64", "ftruncate", "truncate", "fsync", "fdatasync", "rename", "unlink",
)  # fmt: skip
_PROBLEM = "needs strace (package: strace)"
_LINE = re.compile(r"(?P<thread>\d+) +(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
SAID = Path("stdout")
_DESCRIPTOR = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})+)>")
_NUMBER = re.compile(r", (\d+)$")


@dataclass(frozen=True)
class Call:
    """A system call that succeeded, on a file below the traced folder."""

    thread: int
    name: str
    path: Path
    begin: int
    """Where it began in the order of all beginnings and ends; a flush covers what ended before."""
    end: int
    target: Path | None = None
    """Where a rename leads."""
    data: bytes = b""
    """What a write took."""
    length: int = 0
    """Of a truncate."""
    truncates: bool = False
    """Whether an open cut the file to nothing."""


@cache
def why_not() -> str | None:
    """Why no life can be traced here; ``None`` when one can."""
    if shutil.which("strace") is None:
        return _PROBLEM
    command = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()[:100]}"


def recording(log: Path) -> list[str]:
    """The command before a life that records it to *log*."""
    calls = f"trace={','.join(CALLS)}"
    return ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-o", str(log), "-e", calls]


def injecting(call: str, path: Path, fault: str, log: Path) -> list[str]:
    """The command before a life that brings *fault* about in *call* on *path*, and notes it in *log*.

    Each thread counts its own calls for ``when=N``: a sealing child that tries again fails again.
    """
    what = ["-P", str(path), "-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    # --seccomp-bpf makes the rest of the life as fast as ever, but with it strace 6.1 delivers no signal.
    fast = [] if fault.startswith("signal") else ["--seccomp-bpf"]
    return ["strace", "-f", *fast, "-o", str(log), *what]


def happened(log: Path) -> bool:
    """Whether the fault was met."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "(INJECTED)" in text or "+++ killed by SIGKILL" in text


def calls(log: Path, folder: Path) -> list[Call]:
    """What *log* holds of files and folders at or below *folder*, in the order of the ends.

    What the life itself wrote to stdout is there too, under the path :data:`SAID`.
    """
    found = list(_calls(log))
    with log.open(encoding="ascii") as lines:
        life, _ = _split(next(lines))
    return [
        call
        for call in found
        if folder in (call.path, *call.path.parents) or (call.path == SAID and call.thread == life)
    ]


def _calls(log: Path) -> Iterator[Call]:
    begun: dict[int, tuple[int, str]] = {}
    with log.open(encoding="ascii") as lines:
        for number, line in enumerate(lines):
            thread, text = _split(line)
            begin = number
            if text.endswith("<unfinished ...>"):
                begun[thread] = (number, text.removesuffix("<unfinished ...>").rstrip())
                continue
            resumed = _RESUMED.fullmatch(text)
            if resumed is not None:
                begin, head = begun.pop(thread)
                text = head + resumed["rest"]
            matched = _CALL.match(text)
            if matched is not None and int(matched["result"]) >= 0:
                call = _read(thread, matched, begin, number)
                if call is not None:
                    yield call


def _split(line: str) -> tuple[int, str]:
    matched = _LINE.fullmatch(line.rstrip("\n"))
    assert matched is not None, line[:200]
    return int(matched["thread"]), matched["rest"]


def _read(thread: int, matched: re.Match[str], begin: int, end: int) -> Call | None:
    name, arguments, result = matched["name"], matched["arguments"], int(matched["result"])
    texts = [_bytes(text) for text in _TEXT.findall(arguments)]
    descriptor = _DESCRIPTOR.match(arguments)
    if descriptor is not None:
        path = SAID if descriptor[1] == "1" else Path(_bytes(descriptor[2]).decode())
    elif texts:
        path = Path(texts[0].decode())
    else:
        return None
    if name == "openat" and "O_CREAT" not in arguments and "O_TRUNC" not in arguments:
        return None
    number = _NUMBER.search(arguments)
    return Call(
        thread,
        name,
        path,
        begin,
        end,
        target=Path(texts[1].decode()) if name == "rename" else None,
        data=texts[0][:result] if name in {"write", "pwrite64"} and texts else b"",
        length=int(number[1]) if name in {"truncate", "ftruncate"} and number else 0,
        truncates="O_TRUNC" in arguments,
    )


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
