"""An archive in every state that a crash can leave it in, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orderbooks_spider.archive import layout
from orderbooks_spider.archive.members import encode_member
from tests.faults import lives, trace

if TYPE_CHECKING:
    from pathlib import Path

MOMENTS = 17


def archive(root: Path) -> lives.Told:
    """Fill *root*; what the killed life said.

    Left are a sealed segment, a sealed one without manifest, journals, a torn row and a torn member.
    """
    root.mkdir()
    told = lives.Told()
    second = layout.Segment(root, "books", "20260416T083505Z", "c0", "run1")
    # The sealing child cannot write the second manifest, so what follows is never sealed.
    unfinished = second.manifest.with_name(second.manifest.name + layout.TEMPORARY)
    under = trace.injecting("openat", unfinished, "signal=KILL", root.with_name("crashed.log"))
    lives.run(told, lives.command(root, "run1", 0, MOMENTS), under)
    assert second.sealed.exists()
    assert not second.manifest.exists()
    journals = [found for found in layout.walk_raw(root) if found.kind == "journal"]
    assert len(journals) > 1
    with journals[-1].path.open("ab") as file:
        file.write(b'{"schema":"orderbooks.poll/1","run')
    first = journals[0]
    assert first.segment is not None
    member = encode_member(first.path.read_bytes().splitlines(keepends=True))
    first.segment.part.write_bytes(member[: len(member) * 2 // 3])
    return told
