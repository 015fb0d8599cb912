"""Lives of the small writer as processes, what they acknowledged, and what became of it."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.sealer import child_environment
from orderbooks_spider.archive.verify import verify
from orderbooks_spider.clock import NS
from orderbooks_spider.errors import EXIT_OK, EXIT_STORAGE, ArchiveError
from tests.faults.small_writer import FSYNC_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TESTS = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 120
"""Only against a test that would hang for ever; nothing is asserted about it."""
# Other distributions also install a package called tests: ours is put in its place.
_START = """
import resource, sys, types
tests = types.ModuleType("tests")
tests.__path__ = [sys.argv.pop(1)]
sys.modules["tests"] = tests
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
from tests.faults.small_writer import main
sys.exit(main())
"""
RowId = tuple[str, int]
"""Feed and seq."""


@dataclass
class Told:
    """What lives said: rows by feed and seq, with the digest of their bytes."""

    tried: set[tuple[str, str]] = field(default_factory=set)
    """Feed and digest of each row that an append began with."""
    acknowledged: dict[RowId, str] = field(default_factory=dict)
    when_ns: dict[RowId, int] = field(default_factory=dict)
    """The fake clock at the append of each acknowledged row."""
    ticked_ns: int = 0
    """When the last tick began that has returned."""
    closed: bool = False
    _last: dict[RowId, tuple[str, int]] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """Take one line of the small writer."""
        match line.split():
            case ["try", feed, seq, digest, clock_ns]:
                self.tried.add((feed, digest))
                self._last[feed, int(seq)] = (digest, int(clock_ns))
            case ["ack", feed, seq]:
                row = (feed, int(seq))
                self.acknowledged[row], self.when_ns[row] = self._last[row]
            case ["tick", clock_ns]:
                self.ticked_ns = int(clock_ns)
            case ["closed"]:
                self.closed = True
            case ["opened"]:
                pass
            case words:
                raise AssertionError(f"expected a word of the small writer, saw {words}")

    def born(self, clock_ns: int) -> Told:
        """What a later life has heard of at its start, when all this has been flushed."""
        return Told(set(self.tried), dict(self.acknowledged), dict(self.when_ns), clock_ns)

    def flushed(self) -> dict[RowId, str]:
        """Rows that a power loss must leave (A2): the flush that was due for them is done."""
        limit_ns = self.ticked_ns - round(FSYNC_SECONDS * NS)
        return {
            row: digest
            for row, digest in self.acknowledged.items()
            if self.closed or self.when_ns[row] <= limit_ns
        }


def command(root: Path, run_id: str, start: int, moments: int, limit: int = 0) -> list[str]:
    """How to start a life; *limit*: no file may grow beyond so many bytes."""
    given = [str(TESTS), str(limit), str(root), run_id, str(start), str(moments)]
    return [sys.executable, "-S", "-c", _START, *given]


def run(
    told: Told, life: Sequence[str], under: Sequence[str] = (), *, may_die: bool = False
) -> subprocess.CompletedProcess[str]:
    """Live to the end and hear what was said; killed or refused by the disk only if it *may_die*."""
    done = subprocess.run(
        [*under, *life],
        env=child_environment() | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    for line in done.stdout.splitlines():
        told.hear(line)
    allowed = {EXIT_OK, EXIT_STORAGE, -9} if may_die else {EXIT_OK}
    assert done.returncode in allowed, (done.returncode, done.stderr)
    return done


def sealed_rows(root: Path) -> Counter[tuple[str, str]]:
    """Feed and digest of every row in sealed files, read without our reader."""
    rows: Counter[tuple[str, str]] = Counter()
    for path in sorted((root / "raw/polymarket").rglob("*.jsonl.gz")):
        feed = path.relative_to(root).parts[2]
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        rows.update((feed, hashlib.sha256(line).hexdigest()) for line in lines)
    return rows


def sealed_files(root: Path) -> dict[str, str]:
    """Digest of every sealed file that has a manifest, and of the manifest: they never change (A5)."""
    manifests = [segment for _, segment in layout.walk_manifests(root) if segment is not None]
    paths = [path for segment in manifests for path in (segment.manifest, segment.sealed)]
    return {
        layout.relative(root, path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.exists()
    }


@dataclass
class Verdict:
    """What is wrong with an archive after recovery."""

    lost: list[RowId]
    """Promised rows that are not there exactly once."""
    wrong: list[str]
    """Anything else: verify's problems, changed files, rows that nobody wrote."""

    @property
    def damaged(self) -> int:
        """1 if anything but a lost row is wrong."""
        return int(bool(self.wrong))


def judge(
    root: Path, told: Told, promised: dict[RowId, str], sealed_before: dict[str, str] | None = None
) -> Verdict:
    """Compare an archive with what was promised; the archive has been recovered."""
    stored = sealed_rows(root)
    lost = [row for row, digest in promised.items() if stored[row[0], digest] != 1]
    wrong = [f"a row that nobody wrote: {row}" for row in stored if row not in told.tried]
    wrong += [f"a row {count} times: {row}" for row, count in stored.items() if count > 1]
    try:
        wrong += [msgspec.json.encode(problem).decode() for problem in verify(root, workers=1).problems]
    except ArchiveError as error:
        wrong += [str(error)] if promised else []
    sealed = sealed_files(root)
    changed = [file for file, digest in (sealed_before or {}).items() if sealed.get(file) != digest]
    return Verdict(lost, [*wrong, *(f"a sealed file changed: {file}" for file in changed)])


def say_wrong(tries: Iterable[tuple[str, Verdict]]) -> str:
    """What to read first when a suite of tries fails."""
    bad = [f"{name}: lost {v.lost}, wrong {v.wrong}" for name, v in tries if v.lost or v.wrong]
    return "\n".join([f"{len(bad)} of the tries failed", *bad[:5]])
