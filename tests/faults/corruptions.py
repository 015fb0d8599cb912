"""What a disk, a tool or a person does to the files of a finished archive."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.members import encode_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.damaged import Damaged


def other_hex(d: Damaged, text: str) -> str:
    """*text* with one hex digit changed."""
    at = d.random.randrange(len(text))
    return text[:at] + ("0" if text[at] != "0" else "f") + text[at + 1 :]


def rename(d: Damaged, path: Path, suffix: str) -> None:
    """Give a file the name of another time, run or copy."""
    stem = path.name.removesuffix(suffix)
    pairs = (("_2026", "_2025"), ("5", "6"), ("_c0_", "_c9_"), ("_run", "_Run"))
    names = [stem.replace(old, new, 1) for old, new in pairs if old in stem] + [f"{stem}-2"]
    path.rename(path.with_name(d.random.choice(names) + suffix))


def move(d: Damaged, path: Path) -> None:
    """Put a file into a folder that is not its own."""
    folder = path.parents[d.random.randrange(1, 4)]
    folder = d.random.choice([folder, path.parent.with_name("09"), path.parent.with_name("x")])
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)


def foreign(d: Damaged) -> None:
    """Put a file there that the archive does not make."""
    places = [
        d.any_segment().folder,
        d.any_segment().manifest.parent,
        layout.runs_folder(d.root),
        d.root / "raw",
    ]
    names = [
        b"notes.txt",
        b"a.jsonl.gz",
        b".DS_Store",
        b"\xff\xfe.gz",
        b"x.json",
        b"SHA256SUMS",
        b"polymarket_books",
    ]
    place, name = d.random.choice(places), d.random.choice(names)
    with open(bytes(place) + b"/" + name, "wb") as file:  # noqa: PTH123 - the name need not be UTF-8
        file.write(b"x" * d.random.randrange(3))


def leftover(d: Damaged) -> None:
    """Put an unsealed piece there that nobody writes to."""
    names = d.any_segment()
    path = d.random.choice([names.part, names.journal(1), names.journal(12)])
    path.write_bytes(d.random.choice([b"", b'{"seq":1}\n', b"\x1f\x8b"]))


def edit_count(d: Damaged) -> None:
    """Change a count or a span in a manifest."""
    names = d.any_segment()
    key = d.random.choice(["rows", "requests", "seq", "time_ns"])

    def change(value: dict[str, Any]) -> None:
        if isinstance(value[key], dict):
            value[key]["last"] += 1
        else:
            value[key] += 1

    d.edit_json(names.manifest, change)


def edit_grid(d: Damaged) -> None:
    """Change the grid in a manifest, also to what no clock can keep."""
    changes: list[tuple[str, Any]] = [
        ("interval_ns", 0),
        ("interval_ns", 2_000_000_000),
        ("phase_buckets", 0),
        ("phase_buckets", 10**30),
        ("timeout_seconds", 1e308),
        ("mode", "books"),
    ]
    key, value = d.random.choice(changes)
    d.edit_json(d.any_segment("books").manifest, lambda made: made["grid"].__setitem__(key, value))


def sums_of(d: Damaged) -> Path:
    """One ``SHA256SUMS``."""
    return d.random.choice(sorted((d.root / "raw").rglob("SHA256SUMS.*")))


def add_sum(d: Damaged) -> None:
    """Put a line into ``SHA256SUMS`` that the archive does not make."""
    path = sums_of(d)
    known = path.read_text().splitlines(keepends=True)
    lines = ["# made by hand\n", "\n", "0" * 64 + "  08/none.jsonl.gz\n", "0" * 64 + f"  {path.name}\n",
             d.random.choice(known), "0" * 64 + "  ../x\n"]  # fmt: skip
    d.append(path, d.random.choice(lines).encode())


def run_of(d: Damaged) -> Path:
    """One run manifest."""
    return d.random.choice(sorted(layout.runs_folder(d.root).iterdir()))


def edit_run_segments(d: Damaged) -> None:
    """Change what a run manifest says of one segment, or leave it out."""

    def change(value: dict[str, Any]) -> None:
        entry = d.random.choice(value["segments"])
        what = d.random.choice(["manifest_sha256", "file", "gone"])
        if what == "gone":
            value["segments"].remove(entry)
        else:
            entry[what] = other_hex(d, entry[what]) if what == "manifest_sha256" else entry[what] + "x"

    d.edit_json(run_of(d), change)


def edit_run_settings(d: Damaged) -> None:
    """Change the settings in a run manifest."""
    changes: list[tuple[str, Any]] = [
        ("config", {"polling": {"interval_seconds": 2}}),
        ("config_sha256", "1" * 64),
        ("environment", "live"),
        ("grid", None),
        ("collector_version", "9"),
        ("versions", {}),
        ("run_id", "run9"),
        ("collector_id", "c9"),
    ]
    key, value = d.random.choice(changes)
    d.edit_json(run_of(d), lambda run: run.__setitem__(key, value))


def two_of(d: Damaged) -> list[layout.Segment]:
    """Two segments of one feed."""
    return d.random.sample(d.chain(d.random.choice(["books", "events", "markets"])), 2)


def middle(d: Damaged) -> layout.Segment:
    """A segment with others before and after it."""
    return d.random.choice(d.chain(d.random.choice(["books", "events", "markets"]))[1:-1])


def newest(d: Damaged) -> layout.Segment:
    """The newest segment of a feed."""
    return d.chain(d.random.choice(["books", "events", "markets"]))[-1]


def zeros(d: Damaged) -> None:
    """Overwrite a stretch of a segment with zeros, as a lost disk block does."""
    path = d.any_segment().sealed
    size = path.stat().st_size
    at, length = d.random.randrange(size - 9), d.random.randrange(9, 4096)
    d.edit(path, lambda data: data.__setitem__(slice(at, at + length), bytes(len(data[at : at + length]))))


def drop_quietly(d: Damaged, *, runs: bool) -> None:
    """Remove a middle segment and let the sums, or the run manifest too, say nothing of it."""
    d.drop(middle(d))
    d.fit_sums()
    if runs:
        d.fit_runs()


def edit_previous(d: Damaged) -> None:
    """Let a manifest name another one before it."""
    key = "previous_manifest_sha256"
    d.edit_json(
        middle(d).manifest,
        lambda value: value.update({key: d.random.choice([None, other_hex(d, value[key])])}),
    )


BLUNT: dict[str, Callable[[Damaged], object]] = {
    "bit flipped in a segment": lambda d: d.flip(d.any_segment().sealed),
    "stretch of a segment zeroed": zeros,
    "segment cut": lambda d: d.cut(d.any_segment().sealed),
    "garbage appended to a segment": lambda d: d.append(
        d.any_segment().sealed, d.random.randbytes(d.random.randrange(1, 700))
    ),
    "zeros appended to a segment": lambda d: d.append(
        d.any_segment().sealed, bytes(d.random.choice([1, 512, 4096]))
    ),
    "empty member appended": lambda d: d.append(d.any_segment().sealed, encode_member([])),
    "last member appended again": lambda d: d.append(
        (names := d.any_segment()).sealed, encode_member(d.members(names)[-1])
    ),
    "two segments swapped": lambda d: d.swap(*(names.sealed for names in two_of(d))),
    "segment removed": lambda d: d.any_segment().sealed.unlink(),
    "manifest removed": lambda d: d.any_segment().manifest.unlink(),
    "segment and manifest removed, middle": lambda d: d.drop(middle(d)),
    "segment and manifest removed, newest": lambda d: d.drop(newest(d)),
    "segment, manifest and sums line removed, middle": lambda d: drop_quietly(d, runs=False),
    "every trace of a middle segment removed": lambda d: drop_quietly(d, runs=True),
    "segment renamed": lambda d: rename(d, d.any_segment().sealed, layout.SEALED),
    "manifest renamed": lambda d: rename(d, d.any_segment().manifest, layout.MANIFEST),
    "segment in a wrong folder": lambda d: move(d, d.any_segment().sealed),
    "manifest in a wrong folder": lambda d: move(d, d.any_segment().manifest),
    "segment copied to a wrong folder": lambda d: shutil.copy(
        (names := d.any_segment()).sealed, names.folder.parent
    ),
    "foreign file": foreign,
    "unsealed file left": leftover,
    "bit flipped in a manifest": lambda d: d.flip(d.any_segment().manifest),
    "manifest cut": lambda d: d.cut(d.any_segment().manifest),
    "white space appended to a manifest": lambda d: d.append(d.any_segment().manifest, b"\n"),
    "two manifests swapped": lambda d: d.swap(*(names.manifest for names in two_of(d))),
    "count in a manifest edited": edit_count,
    "digest in a manifest edited": lambda d: d.edit_json(
        d.any_segment().manifest,
        lambda value: value.update({(key := d.random.choice(["sha256", "md5"])): other_hex(d, value[key])}),
    ),
    "previous digest in a manifest edited": edit_previous,
    "members in a manifest edited": lambda d: d.edit_json(
        d.any_segment().manifest,
        lambda value: value["members"][0].update({d.random.choice(["offset", "length", "rows"]): 1}),
    ),
    "grid in a manifest edited": edit_grid,
    "bit flipped in SHA256SUMS": lambda d: d.flip(sums_of(d)),
    "SHA256SUMS cut": lambda d: d.cut(sums_of(d)),
    "line added to SHA256SUMS": add_sum,
    "SHA256SUMS removed": lambda d: sums_of(d).unlink(),
    "segments in a run manifest edited": edit_run_segments,
    "settings in a run manifest edited": edit_run_settings,
    "run manifest cut": lambda d: d.cut(run_of(d)),
    "run manifest removed": lambda d: run_of(d).unlink(),
}  # fmt: skip
