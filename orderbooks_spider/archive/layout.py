"""Paths and names of the archive; the only module that makes or reads them (rule A1).

``<root>/raw/polymarket/<feed>/YYYY/MM/DD/HH/<stem>.jsonl.gz`` and its manifest under ``manifests/``;
the stem is ``polymarket_<feed>_<compact UTC of the first row>_<collector_id>_<run>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VENUE = "polymarket"
SEALED = ".jsonl.gz"
PART = ".jsonl.gz.part"
MANIFEST = ".manifest.json"
TORN = ".torn"
ORPHAN = ".orphan"
REASON = ".reason.json"
TEMPORARY = ".tmp"
"""A file that an atomic write did not finish; it never held anything that was promised."""
SUMS = "SHA256SUMS"
HEALTH = ".health.json"

HOUR_NS = 3_600_000_000_000
_RUN = re.compile(r"[A-Za-z0-9]{1,64}")
_STEM = re.compile(
    rf"{VENUE}_(?P<feed>[a-z]+)_(?P<time>(?P<y>\d{{4}})(?P<m>\d\d)(?P<d>\d\d)T(?P<h>\d\d)\d{{4}}Z)"
    r"_(?P<collector>[a-z0-9-]{1,32})_(?P<run>[A-Za-z0-9]{1,64})(-(?P<copy>[1-9]\d*))?"
)
_RUN_MANIFEST = re.compile(r"\d{8}T\d{6}Z_(?P<collector>[a-z0-9-]{1,32})_(?P<run>[A-Za-z0-9]{1,64})\.json")
_BLOCK = re.compile(r"\.(?P<block>\d{4,})\.jsonl\.journal")

Kind = Literal["sealed", "part", "journal", "torn", "orphan", "reason", "sums", "temporary", "foreign"]
_SET_ASIDE: tuple[tuple[str, Kind], ...] = (
    (REASON, "reason"),
    (TORN, "torn"),
    (ORPHAN, "orphan"),
    (TEMPORARY, "temporary"),
)


@dataclass(frozen=True)
class Segment:
    """The names of one segment under *root*; makes paths, touches no disk."""

    root: Path
    feed: str
    time: str
    """Compact UTC of the row that opened the segment, ``20260416T083503Z``."""
    collector_id: str
    run_id: str
    copy: int = 1
    """Grows when one run opens two segments of a feed within one second."""

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        copy = f"-{self.copy}" if self.copy > 1 else ""
        return f"{VENUE}_{self.feed}_{self.time}_{self.collector_id}_{self.run_id}{copy}"

    @property
    def day(self) -> str:
        """``YYYY/MM/DD``."""
        return f"{self.time[0:4]}/{self.time[4:6]}/{self.time[6:8]}"

    @property
    def hour(self) -> str:
        """``HH``."""
        return self.time[9:11]

    @property
    def folder(self) -> Path:
        """Where the segment's files lie."""
        return feed_folder(self.root, self.feed) / self.day / self.hour

    @property
    def sealed(self) -> Path:
        """The finished file."""
        return self.folder / f"{self.stem}{SEALED}"

    @property
    def part(self) -> Path:
        """The growing file: whole gzip members only."""
        return self.folder / f"{self.stem}{PART}"

    @property
    def manifest(self) -> Path:
        """The sealed file's manifest."""
        return manifest_folder(self.root, self.feed) / self.day / self.hour / f"{self.stem}{MANIFEST}"

    @property
    def sums(self) -> Path:
        """``SHA256SUMS`` of the day and the collector; paths inside are relative to its folder."""
        return feed_folder(self.root, self.feed) / self.day / f"{SUMS}.{self.collector_id}"

    @property
    def name_in_sums(self) -> str:
        """The sealed file as ``sha256sum -c`` in the day's folder wants it."""
        return f"{self.hour}/{self.stem}{SEALED}"

    @property
    def file(self) -> str:
        """The sealed file relative to the root, with forward slashes."""
        return relative(self.root, self.sealed)

    def journal(self, block: int) -> Path:
        """The plain rows of block number *block*, counted from 1."""
        return self.folder / f"{self.stem}.{block:04d}.jsonl.journal"

    def files_on_disk(self) -> list[Path]:
        """Whatever exists under this stem; empty means the name is free."""
        found = sorted(self.folder.glob(f"{self.stem}.*")) if self.folder.is_dir() else []
        return [*found, *([self.manifest] if self.manifest.exists() else [])]


@dataclass(frozen=True)
class Found:
    """A file that lies in the archive, read back from its path."""

    path: Path
    kind: Kind
    segment: Segment | None = None
    block: int | None = None


def feed_folder(root: Path, feed: str) -> Path:
    """Sealed and open segments of *feed*."""
    return root / "raw" / VENUE / feed


def manifest_folder(root: Path, feed: str) -> Path:
    """Segment manifests of *feed*."""
    return root / "manifests" / VENUE / feed


def runs_folder(root: Path) -> Path:
    """Run manifests."""
    return root / "manifests" / "runs"


def run_manifest(root: Path, time: str, collector_id: str, run_id: str) -> Path:
    """The manifest of one run; *time* is the compact UTC of its start."""
    check_run_id(run_id)
    return runs_folder(root) / f"{time}_{collector_id}_{run_id}.json"


def parse_run_manifest(name: str) -> tuple[str, str] | None:
    """Collector id and run id in the name of a run manifest; ``None`` for any other name."""
    matched = _RUN_MANIFEST.fullmatch(name)
    return (matched["collector"], matched["run"]) if matched is not None else None


def offload_folder(root: Path) -> Path:
    """Records of uploads and purges; under ``manifests/``, so that they merge by copying."""
    return root / "manifests" / "offload"


def offload_record(root: Path, time: str, what: Literal["upload", "purge"], key: str) -> Path:
    """One record; *time* is the compact UTC of its start, *key* keeps two of one second apart."""
    return offload_folder(root) / f"{time}_{what}_{key}.json"


def offload_index(root: Path) -> Path:
    """What the records add up to: a convenience that can be made again from them."""
    return root / "state" / "offloaded.json"


def offload_lock(root: Path) -> Path:
    """The file whose ``flock`` lets one upload or purge work at a time; no collector's id ends so."""
    return root / "state" / "offload.flock"


def rescue_journal(part: Path) -> Path:
    """Block 0: rows read back from a cut member of *part*, kept before the cut is removed."""
    return part.with_name(f"{part.name.removesuffix(PART)}.0000.jsonl.journal")


def lock_file(root: Path, collector_id: str) -> Path:
    """The file whose ``flock`` says who writes (rule A14)."""
    return root / "state" / f"{collector_id}.lock"


def health_file(root: Path, collector_id: str) -> Path:
    """What a running collector says of itself every few seconds; no evidence, and not kept."""
    return root / "state" / f"{collector_id}{HEALTH}"


def collector_ids(root: Path) -> list[str]:
    """Whose lock or run manifest is here: every collector that ever began a run, and so has rows."""
    locks = {path.stem for path in (root / "state").glob("*.lock")}
    parsed = [parse_run_manifest(path.name) for path in runs_folder(root).glob("*.json")]
    return sorted(locks | {names[0] for names in parsed if names is not None})


def run_manifests(root: Path, collector_id: str) -> list[Path]:
    """The manifests of a collector's runs, by start, oldest first."""
    return [
        path
        for path in sorted(runs_folder(root).glob("*.json"))
        if (parsed := parse_run_manifest(path.name)) is not None and parsed[0] == collector_id
    ]


def hours_back(feed: Path) -> Iterator[tuple[str, Path]]:
    """Each hour's folder below a feed's folder, newest first: ``YYYY/MM/DD/HH`` and its path."""
    for year in _numbered(feed, 4):
        for month in _numbered(year, 2):
            for day in _numbered(month, 2):
                for hour in _numbered(day, 2):
                    yield relative(feed, hour), hour


def check_run_id(run_id: str) -> None:
    """Refuse a run id that would not read back from a name.

    Raises:
        ArchiveError: anything but 1 to 64 ASCII letters and digits.

    """
    if _RUN.fullmatch(run_id) is None:
        raise ArchiveError(f"run id: expected 1 to 64 letters and digits, saw {run_id!r}")


def run_id_from(text: str) -> str:
    """The letters and digits of *text* (scrapyd's job id, a host's name), at most 64 of them."""
    return re.sub(r"[^A-Za-z0-9]", "", text)[:64]


def _numbered(folder: Path, digits: int) -> list[Path]:
    """Folders below *folder* whose name is a number, largest first."""
    try:
        found = [path for path in folder.iterdir() if len(path.name) == digits and path.name.isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, reverse=True)


def relative(root: Path, path: Path) -> str:
    """*path* below *root*, with forward slashes."""
    return path.relative_to(root).as_posix()


def period(time_ns: int, rotate_ns: int) -> tuple[int, int]:
    """UTC hour and rotation step of a row: a segment ends when a row's period is later."""
    return time_ns // HOUR_NS, time_ns // rotate_ns


def parse_stem(root: Path, stem: str) -> Segment | None:
    """Read a stem back; ``None`` when it is not one of ours."""
    matched = _STEM.fullmatch(stem)
    if matched is None:
        return None
    part = matched.groupdict()
    copy = int(part["copy"] or 1)
    segment = Segment(root, part["feed"], part["time"], part["collector"], part["run"], copy)
    return segment if segment.stem == stem else None


def parse(root: Path, path: Path) -> Found:
    """Say what the file *path* below ``raw/`` is; a name in the wrong folder is foreign."""
    name = path.name
    for suffix, kind in _SET_ASIDE:
        if name.endswith(suffix):
            return Found(path, kind)
    if name.startswith(f"{SUMS}."):
        return Found(path, "sums")
    found = _parse_segment_file(root, path)
    if found is None or found.segment is None or found.segment.folder != path.parent:
        return Found(path, "foreign")
    return found


def _parse_segment_file(root: Path, path: Path) -> Found | None:
    name = path.name
    kinds: tuple[tuple[str, Kind], ...] = ((PART, "part"), (SEALED, "sealed"))
    for suffix, kind in kinds:
        if name.endswith(suffix):
            return Found(path, kind, parse_stem(root, name.removesuffix(suffix)))
    matched = _BLOCK.search(name)
    if matched is not None and matched.end() == len(name):
        return Found(path, "journal", parse_stem(root, name[: matched.start()]), int(matched["block"]))
    return None


def parse_manifest(root: Path, path: Path) -> Segment | None:
    """The segment that the manifest *path* is about; ``None`` for a foreign or misplaced file."""
    if not path.name.endswith(MANIFEST):
        return None
    segment = parse_stem(root, path.name.removesuffix(MANIFEST))
    return segment if segment is not None and segment.manifest == path else None


def walk_raw(root: Path) -> Iterator[Found]:
    """Every file below ``raw/``, in path order."""
    for path in sorted((root / "raw").rglob("*")):
        if not path.is_dir():
            yield parse(root, path)


def walk_manifests(root: Path) -> Iterator[tuple[Path, Segment | None]]:
    """Every file below ``manifests/polymarket/`` in path order, with the segment it is about."""
    for path in sorted((root / "manifests" / VENUE).rglob("*")):
        if not path.is_dir():
            yield path, parse_manifest(root, path)
