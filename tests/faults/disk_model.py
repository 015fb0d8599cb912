"""A disk that forgets: files and folders as calls change them, and what a power loss may leave.

Nothing is taken for granted that POSIX does not promise: content stays once its file was flushed, a
name once its folder was flushed, and a flush covers only what ended before it began.  A call under
way at the cut may have had its effect or not.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.trace import Call

PAGE = 4096


@dataclass
class File:
    """A file's bytes: flushed, and now."""

    kept: bytes = b""
    now: bytes = b""


@dataclass
class Folder:
    """A folder's names: flushed, and the changes since, in order."""

    kept: dict[str, Node] = field(default_factory=dict)
    now: dict[str, Node] = field(default_factory=dict)
    changes: list[dict[str, Node | None]] = field(default_factory=list)
    """Each sets names at once; ``None`` removes one."""

    def change(self, names: dict[str, Node | None]) -> None:
        """Set or remove *names*, which survives only after the next flush."""
        self.changes.append(names)
        _apply(self.now, names)


Node = File | Folder
Survives = tuple["Callable[[Folder], dict[str, Node]]", "Callable[[File], bytes]"]
"""What of a folder and of a file is there after the power loss."""


def _apply(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """The tree that calls know as *root*, driven by them; *before* is a copy of it, all flushed."""

    def __init__(self, root: Path, before: Path) -> None:
        self._root = root
        self.top = _load(before)
        self._flushing: dict[tuple[int, int], tuple[Node, bytes | int]] = {}

    def begin(self, call: Call) -> None:
        """A flush began: it covers what is there now."""
        if call.name in {"fsync", "fdatasync"}:
            node = self._find(call.path)
            if node is not None:
                covers = node.now if isinstance(node, File) else len(node.changes)
                self._flushing[call.begin, call.end] = (node, covers)

    def end(self, call: Call) -> None:
        """The call returned."""
        if call.name in {"fsync", "fdatasync"}:
            self._flushed(call)
        elif call.name == "rename":
            self._rename(call)
        elif call.name == "unlink":
            self._folder(call.path).change({call.path.name: None})
        elif call.name == "mkdir":
            self._folder(call.path).change({call.path.name: Folder()})
        else:
            self._write(call)

    def _flushed(self, call: Call) -> None:
        node, covers = self._flushing.pop((call.begin, call.end), (None, 0))
        if isinstance(node, File) and isinstance(covers, bytes):
            node.kept = covers
        elif isinstance(node, Folder) and isinstance(covers, int):
            for change in node.changes[:covers]:
                _apply(node.kept, change)
            # Two flushes of a folder may overlap: the first to return has taken the changes away.
            for flushing, (other, later) in self._flushing.items():
                if other is node and isinstance(later, int):
                    self._flushing[flushing] = (node, max(0, later - covers))
            del node.changes[:covers]

    def _rename(self, call: Call) -> None:
        assert call.target is not None
        assert call.target.parent == call.path.parent, "the archive renames inside a folder only"
        folder = self._folder(call.path)
        node = folder.now.get(call.path.name)
        if node is not None:
            folder.change({call.path.name: None, call.target.name: node})

    def _write(self, call: Call) -> None:
        node = self._find(call.path)
        if call.name == "openat" and node is None:
            self._folder(call.path).change({call.path.name: File()})
        elif not isinstance(node, File):
            return  # a file that has no name any more
        elif call.name == "openat":
            node.now = b"" if call.truncates else node.now
        elif call.name in {"truncate", "ftruncate"}:
            node.now = node.now[: call.length]
        else:  # every writer of the archive writes at the end of its file
            node.now += call.data

    def _find(self, path: Path) -> Node | None:
        node: Node | None = self.top
        for part in path.relative_to(self._root).parts:
            node = node.now.get(part) if isinstance(node, Folder) else None
        return node

    def _folder(self, path: Path) -> Folder:
        node = self._find(path.parent)
        assert isinstance(node, Folder), path
        return node

    def after_power_loss(self, survives: Survives) -> dict[PurePosixPath, bytes | None]:
        """The files that are left, by path below the root; ``None`` stands for a folder."""
        left: dict[PurePosixPath, bytes | None] = {}

        def visit(folder: Folder, at: PurePosixPath) -> None:
            for name, node in survives[0](folder).items():
                if isinstance(node, File):
                    left[at / name] = survives[1](node)
                else:
                    left[at / name] = None
                    visit(node, at / name)

        visit(self.top, PurePosixPath())
        return left


def nothing_unflushed() -> Survives:
    """The disk had done nothing by itself."""
    return (lambda folder: folder.kept), (lambda file: file.kept)


def some_unflushed(choice: random.Random) -> Survives:
    """The disk had done some of the rest: the first so many changes of a folder, pages of a file."""

    def names(folder: Folder) -> dict[str, Node]:
        left = copy.copy(folder.kept)
        for change in folder.changes[: choice.randint(0, len(folder.changes))]:
            _apply(left, change)
        return left

    return names, lambda file: _some_pages(file, choice)


def any_unflushed(choice: random.Random) -> Survives:
    """The same, but the changes of a folder arrived out of order."""

    def names(folder: Folder) -> dict[str, Node]:
        left = copy.copy(folder.kept)
        for change in folder.changes:
            if choice.random() < 0.5:
                _apply(left, change)
        return left

    return names, lambda file: _some_pages(file, choice)


def _some_pages(file: File, choice: random.Random) -> bytes:
    """Each page old, new or, where there was none, of zeros; the length old, new or torn between."""
    if file.kept == file.now:
        return file.now
    short, long = sorted((len(file.kept), len(file.now)))
    length = choice.choice([len(file.kept), len(file.now), choice.randint(short, long)])
    torn = choice.random() < 0.5
    pages = []
    for at in range(0, length, PAGE):
        old, new = (content[at : at + PAGE] for content in (file.kept, file.now))
        page = old if torn and choice.random() < 0.3 else new
        size = min(PAGE, length - at)
        # What was flushed and never changed again is not touched, whatever page it shares.
        common = _common(old, new)
        page = (new[:common] + page[common:])[:size]
        pages.append(page + bytes(size - len(page)))
    return b"".join(pages)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


def _load(path: Path) -> Folder:
    folder = Folder()
    for entry in sorted(path.iterdir()):
        node: Node = _load(entry) if entry.is_dir() else _file(entry)
        folder.kept[entry.name] = folder.now[entry.name] = node
    return folder


def _file(path: Path) -> File:
    content = path.read_bytes()
    return File(content, content)
