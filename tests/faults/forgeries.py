"""What a forger does to the rows of a finished archive, and how far the rest is made to fit.

*Forged* kinds must be reported by verify as the archive lies there.  *Hidden* kinds contradict
nothing that is left; only a chain head that was kept elsewhere shows them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.members import encode_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.damaged import Damaged

STRANGERS: tuple[Any, ...] = (
    None, 0, -1, 10**30, 1e308, "", "x", [], {}, True, -0.0, "\0", [[]], {"a": None}
)  # fmt: skip
NUMBERS = ("due_ns", "received_ns", "elapsed_ns", "seq")


def bump(value: str, at: int) -> str:
    """*value* with the digit at *at* counted one up; 9 becomes 0."""
    return value[:at] + str((int(value[at]) + 1) % 10) + value[at + 1 :]


def other_digit(d: Damaged, row: dict[str, Any], key: str = "body") -> None:
    """Change one digit in a text of the row."""
    text = row[key]
    row[key] = bump(
        text, d.random.choice([at for at, sign in enumerate(text) if sign.isascii() and sign.isdigit()])
    )


def moved_slot(d: Damaged, row: dict[str, Any]) -> None:
    """The row of another slot, on the grid; the receipt stays."""
    by = d.random.choice([-3, -1, 1, 2, 60])
    row["slot"] += by
    row["due_ns"] += by * 1_000_000_000


def regzip(d: Damaged, *, last: bool = True) -> layout.Segment:
    """Compress a segment's rows at another level."""
    names = d.any_segment(last=last)
    d.write(names, d.members(names), level=d.random.choice([0, 1]))
    return names


def double_row(d: Damaged, names: layout.Segment) -> layout.Segment:
    """Put a row of a segment there once more."""
    members = d.members(names)
    lines = d.random.choice(members)
    at = d.random.randrange(len(lines))
    lines.insert(at, lines[at])
    d.write(names, members)
    return names


def drop_row(d: Damaged, names: layout.Segment) -> layout.Segment:
    """Leave a row of a segment out."""
    members = d.members(names)
    lines = d.random.choice([lines for lines in members if len(lines) > 1])
    del lines[d.random.randrange(len(lines))]
    d.write(names, members)
    return names


def reorder(d: Damaged) -> layout.Segment:
    """Put the members of a segment in another order, byte for byte the same otherwise."""
    long = [n for f in ("books", "events", "markets") for n in d.chain(f)[:-1] if len(d.members(n)) > 1]
    names = d.random.choice(long)
    members = d.members(names)
    d.write(names, [*members[1:], members[0]])
    return names


def change_body(d: Damaged, names: layout.Segment) -> layout.Segment:
    """Change one digit of a stored answer."""
    d.change_row(names, lambda row: other_digit(d, row))
    return names


def edit_rows(d: Damaged, key: str, value: object) -> layout.Segment:
    """Give one row another value of *key*."""
    names = d.any_segment("books", last=False)
    d.change_row(names, lambda row: row.__setitem__(key, value))
    return names


def edit_seq(d: Damaged, *by: int) -> layout.Segment:
    """Give one row another number."""
    names = d.any_segment("books", last=False)
    d.change_row(names, lambda row: row.__setitem__("seq", row["seq"] + d.random.choice(by)))
    return names


def double_key(d: Damaged) -> layout.Segment:
    """Say a key of a row twice: readers would differ in what they see."""
    names = d.any_segment("books")
    members = d.members(names)
    lines = d.random.choice(members)
    lines[0] = b'{"seq":7,' + lines[0][1:]
    d.write(names, members)
    return names


def unended(d: Damaged) -> layout.Segment:
    """Leave out the line end of a member's last row."""
    names = d.any_segment()
    members = d.members(names)
    members[-1][-1] = members[-1][-1].removesuffix(b"\n")
    d.write(names, members)
    return names


def move_row(d: Damaged) -> layout.Segment:
    """Let one row say that it is of another slot."""
    names = d.any_segment("books")
    d.change_row(names, lambda row: moved_slot(d, row))
    return names


def append_nothing(d: Damaged) -> layout.Segment:
    """Append a gzip member without a row."""
    names = d.any_segment()
    d.append(names.sealed, encode_member([]))
    return names


def with_digests(d: Damaged, names: layout.Segment) -> None:
    """Make digests, members, sums, run manifest and chain fit; the counts stay."""
    d.fit_digests(names)
    d.fit_chains()


def with_manifest(d: Damaged, names: layout.Segment) -> None:
    """Make manifest and sums fit."""
    d.fit(names)


def with_run(d: Damaged, names: layout.Segment) -> None:
    """Make manifest, sums and run manifest fit; only the chain stays."""
    d.fit(names)
    d.fit_runs()


def with_all(d: Damaged, names: layout.Segment) -> None:
    """Make everything fit, the chain too."""
    d.fit(names)
    d.fit_chains()


def remove_tail(d: Damaged, feeds: tuple[str, ...], count: int) -> None:
    """Remove the newest segments of *feeds* and every trace of them."""
    for feed in feeds:
        for names in d.chain(feed)[-count:]:
            d.drop(names)
    d.fit_sums()
    d.fit_runs()


def remove_run(d: Damaged) -> None:
    """Remove everything that the newest run left, of all feeds."""
    for feed in ("books", "events", "markets"):
        for names in d.chain(feed):
            if names.run_id == "run2":
                d.drop(names)
    d.fit_sums()
    d.fit_runs()


def remake(d: Damaged) -> None:
    """Compress every segment anew at another level, and link the chains anew."""
    for feed in ("books", "events", "markets"):
        for names in d.chain(feed):
            d.write(names, d.members(names), level=0)
            d.fit(names)
    d.fit_chains()


def strange_value(d: Damaged, value: Any) -> None:
    """Put something else in the place of one value somewhere inside."""
    place: tuple[Any, Any] = (value, None)
    while isinstance(value, dict | list) and value and d.random.random() < 0.8:
        place = value, d.random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = value[place[1]]
    if place[1] is not None:
        place[0][place[1]] = d.random.choice(STRANGERS)


def strange_row(d: Damaged, *, flip: bool) -> None:
    """Change a row without regard to what it may hold; all else fits."""
    names = d.any_segment()
    members = d.members(names)
    lines = d.random.choice(members)
    at = d.random.randrange(len(lines))
    if flip:
        line = bytearray(lines[at])
        line[d.random.randrange(len(line))] ^= 1 << d.random.randrange(8)
        lines[at] = bytes(line)
    else:
        row = json.loads(lines[at])
        strange_value(d, row)
        lines[at] = json.dumps(row).encode() + b"\n"
    d.write(names, members)
    with_digests(d, names)


def strange_json(d: Damaged, path: Path) -> None:
    """Change a value of a manifest without regard to its type."""
    value = json.loads(path.read_bytes())
    strange_value(d, value)
    path.write_text(json.dumps(value))


FORGED: dict[str, Callable[[Damaged], object]] = {
    "re-gzipped": regzip,
    "re-gzipped; manifest fits": lambda d: with_manifest(d, regzip(d)),
    "re-gzipped; manifest and run fit": lambda d: with_run(d, regzip(d, last=False)),
    "members reordered": reorder,
    "members reordered; manifest fits": lambda d: with_manifest(d, reorder(d)),
    "members reordered; manifest and run fit": lambda d: with_run(d, reorder(d)),
    "body digit changed": lambda d: change_body(d, d.any_segment("books")),
    "body digit changed; manifest fits": lambda d: with_manifest(d, change_body(d, d.any_segment("books"))),
    "body digit changed; manifest and run fit": lambda d: with_run(
        d, change_body(d, d.any_segment("books", last=False))
    ),
    "row doubled; manifest fits": lambda d: with_manifest(d, double_row(d, d.any_segment())),
    "row doubled; everything fits": lambda d: with_all(d, double_row(d, d.any_segment())),
    "row removed; manifest fits": lambda d: with_manifest(d, drop_row(d, d.any_segment("books", "events"))),
    "row removed; everything fits": lambda d: with_all(d, drop_row(d, d.any_segment("books"))),
    "row moved to another slot; manifest fits": lambda d: with_manifest(d, move_row(d)),
    "row moved to another slot; everything fits": lambda d: with_all(d, move_row(d)),
    "seq edited; manifest fits": lambda d: with_manifest(d, edit_seq(d, 1, -1, 7)),
    "seq edited; everything fits": lambda d: with_all(d, edit_seq(d, 1, 2, 10**6)),
    "number beyond every clock; digests and chain fit": lambda d: with_digests(
        d, edit_rows(d, d.random.choice(NUMBERS), -(10 ** d.random.randrange(40)))
    ),
    "key said twice; digests and chain fit": lambda d: with_digests(d, double_key(d)),
    "line end left out; digests and chain fit": lambda d: with_digests(d, unended(d)),
    "empty member appended; digests and chain fit": lambda d: with_digests(d, append_nothing(d)),
}


HIDDEN: dict[str, Callable[[Damaged], object]] = {
    "newest run removed with every trace": remove_run,
    "tail of a feed removed with every trace": lambda d: remove_tail(
        d, d.random.choice([("markets",), ("events",), ("markets", "events")]), d.random.choice([1, 2])
    ),
    "newest segment rewritten; everything fits": lambda d: with_all(d, change_body(d, d.chain("books")[-1])),
    "old segment rewritten; everything fits": lambda d: with_all(d, change_body(d, d.chain("books")[0])),
    "all re-gzipped; everything fits": remake,
}
"""Seen only by whoever kept the heads of the chains."""

STRANGE: dict[str, Callable[[Damaged], object]] = {
    "bit of a row flipped": lambda d: strange_row(d, flip=True),
    "value of a row replaced": lambda d: strange_row(d, flip=False),
    "value of a manifest replaced": lambda d: strange_json(d, d.any_segment().manifest),
    "value of a run manifest replaced": lambda d: strange_json(
        d, d.random.choice(sorted(layout.runs_folder(d.root).iterdir()))
    ),
}
"""Anything at all; some of it is a sound archive of other content, so it need not be found."""
