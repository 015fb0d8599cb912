"""What stands beside segments and their manifests: ``SHA256SUMS`` and run manifests (rule A7).

Both say again what the manifests say, and must say the same, no more and no less.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.findings import INVESTIGATE, RECOVER, RESTORE
from orderbooks_spider.archive.runs import RunFile
from orderbooks_spider.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from orderbooks_spider.archive.findings import Problems
    from orderbooks_spider.archive.inventory import Described, Inventory
    from orderbooks_spider.archive.runs import RunManifest

_SUM = re.compile(rb"([0-9a-f]{64})  ([^\n]+)")
_SETTINGS = ("environment", "collector", "collector_version", "versions", "config_sha256", "grid")
"""What a segment's manifest took from the manifest of its run."""


def check_sums(found: Inventory, raw: list[layout.Found], live: Collection[str], problems: Problems) -> None:
    """``SHA256SUMS`` holds a line per sealed file with the digest of its manifest."""
    wanted: defaultdict[Path, dict[str, str]] = defaultdict(dict)
    for item in found.described:
        wanted[item.names.sums][item.names.name_in_sums] = item.manifest.sha256
    here = {item.path for item in raw if item.kind == "sums"}
    for path in sorted(here | wanted.keys()):
        file, expected = layout.relative(found.root, path), wanted.get(path, {})
        seen = _read_sums(path, file, problems)
        for name in sorted(seen.keys() | expected.keys()):
            if seen.get(name) == expected.get(name):
                continue
            if name not in expected and _is_sealed(found.root, path, name):
                continue  # reported as a sealed file without manifest, or about to get one
            problems.add(
                "completeness", file, f"{name}: sums and manifest differ",
                expected=expected.get(name, "no line: there is no such manifest"),
                seen=seen.get(name, "no line"), advice=INVESTIGATE,
            )  # fmt: skip
        if not seen and not expected and path.name.removeprefix(f"{layout.SUMS}.") not in live:
            problems.add_foreign(file)


def _read_sums(path: Path, file: str, problems: Problems) -> dict[str, str]:
    """Name to digest; a line of any other form, or a name twice, is a problem."""
    if not path.exists():
        return {}
    with durable.naming(path, "read"):
        *lines, rest = path.read_bytes().split(b"\n")
    seen: dict[str, str] = {}
    for line in [*lines, *([rest] if rest else [])]:
        matched = _SUM.fullmatch(line)
        name = matched[2].decode("utf-8", "backslashreplace") if matched is not None else ""
        if matched is None or name in seen or line is rest:
            problems.add(
                "completeness", file, "a line that the archive does not make",
                expected="64 hex digits, two spaces, a name, a line end; each name once",
                seen=line, advice=INVESTIGATE,
            )  # fmt: skip
            continue
        seen[name] = matched[1].decode()
    return seen


def _is_sealed(root: Path, sums: Path, name: str) -> bool:
    item = layout.parse(root, sums.parent / name)
    return (
        item.kind == "sealed"
        and item.path.exists()
        and item.segment is not None
        and (item.segment.sums == sums and item.segment.name_in_sums == name)
    )


def check_runs(found: Inventory, live: Collection[str], problems: Problems) -> None:
    """A run manifest names each segment of its run and no other: a removed tail shows here."""
    runs = _read_runs(found, problems)
    digests = {item.names.file: item.sha256 for item in found.described}
    named: set[str] = set()
    for file, run in runs:
        for entry in run.segments:
            named.add(entry.file)
            seen = digests.get(entry.file)
            if seen is None and _has_manifest(found.root, entry.file):
                continue  # sealed since the manifests were read, or reported as unreadable
            if seen != entry.manifest_sha256:
                problems.add(
                    "completeness", entry.file, f"the run manifest {file} names another manifest",
                    expected=f"manifest with sha256 {entry.manifest_sha256}", seen=seen or "no manifest",
                    advice=RESTORE if seen is None else INVESTIGATE,
                )  # fmt: skip
    by_run = {(run.collector_id, run.run_id): (file, run) for file, run in runs}
    for item in found.described:
        if not _knew_its_run(item):
            continue  # sealed by recovery when the run's manifest was lost, and says so
        at = by_run.get((item.names.collector_id, item.names.run_id))
        if at is None:
            problems.add(
                "completeness", f"run {item.names.run_id}", "its run manifest is missing or unreadable",
                expected=f"one that names {item.names.file}", seen="none", advice=RESTORE,
            )  # fmt: skip
            continue
        if item.names.file not in named and item.names.collector_id not in live:
            problems.add(
                "completeness", at[0], "it does not name a segment of its run",
                expected=item.names.file, seen=f"{len(at[1].segments)} others",
                advice=f"after a crash: {RECOVER}; else {INVESTIGATE}",
            )  # fmt: skip
        _same_settings(*at, item, problems)


def _read_runs(found: Inventory, problems: Problems) -> list[tuple[str, RunManifest]]:
    """(name, manifest) of each run whose manifest can be read and fits its name."""
    folder = layout.runs_folder(found.root)
    runs: list[tuple[str, RunManifest]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        file = layout.relative(found.root, path)
        if path.name.endswith(layout.TEMPORARY):
            found.set_aside["temporary"] += 1
            continue
        names = layout.parse_run_manifest(path.name)
        if names is None:
            problems.add_foreign(file)
            continue
        try:
            run = RunFile.read(path).manifest
        except ArchiveError as error:
            problems.add(
                "layout", file, "unreadable run manifest",
                expected="a run manifest", seen=error, advice=RESTORE,
            )  # fmt: skip
            continue
        faults = [
            ("another run", str(names), str((run.collector_id, run.run_id))),
            ("other settings than its digest says", run.config_sha256, _digest_of_settings(run)),
        ]
        for held, expected, seen in faults:
            if expected is not None and expected != seen:
                what = f"the run manifest holds {held}"
                problems.add("completeness", file, what, expected=expected, seen=seen, advice=INVESTIGATE)
        runs.append((path.name, run))
    return runs


def _digest_of_settings(run: RunManifest) -> str:
    """``config_sha256`` as the config computes it."""
    return hashlib.sha256(msgspec.json.encode(run.config, order="sorted")).hexdigest()


def _same_settings(name: str, run: RunManifest, item: Described, problems: Problems) -> None:
    context = run.context()
    for key in _SETTINGS:
        expected, seen = getattr(item.manifest, key), getattr(context, key)
        if expected != seen:
            problems.add(
                "completeness", f"manifests/runs/{name}", f"{key} is not what its segments say",
                expected=expected, seen=seen, advice=INVESTIGATE,
            )  # fmt: skip


def _knew_its_run(item: Described) -> bool:
    return item.manifest.grid is not None or item.manifest.config_sha256 is not None


def _has_manifest(root: Path, file: str) -> bool:
    names = layout.parse_stem(root, file.rsplit("/", 1)[-1].removesuffix(layout.SEALED))
    return names is not None and names.manifest.exists()
