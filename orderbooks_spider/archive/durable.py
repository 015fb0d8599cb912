"""What makes bytes stay: fsync of files and folders, atomic replacement.

The only module that calls ``os.fsync``, ``os.replace`` or ``os.rename``; every failure is a
``StorageError`` that names the path.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orderbooks_spider.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEMPORARY = ".tmp"


@contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Turn an ``OSError`` into one line that says what was tried on which path.

    Raises:
        StorageError: from any ``OSError`` inside.

    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot {what}: {error.strerror or error}") from error


def fsync_file(path: Path) -> None:
    """Flush the content of *path* to the disk.

    Raises:
        StorageError: the disk refused; what is on it is unknown then.

    """
    with naming(path, "flush"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make the names in *folder* durable: created, renamed and removed entries."""
    fsync_file(folder)


def fdatasync(descriptor: int, path: Path) -> None:
    """Flush an open file's content; after a failure the descriptor must not be flushed again.

    Raises:
        StorageError: the disk refused.

    """
    with naming(path, "flush"):
        os.fdatasync(descriptor)


def fsync_descriptor(descriptor: int, path: Path) -> None:
    """Flush an open file with its metadata.

    Raises:
        StorageError: the disk refused.

    """
    with naming(path, "flush"):
        os.fsync(descriptor)


def fsync_names(folder: Path, root: Path) -> None:
    """Make *folder* and every folder above it up to *root* durable."""
    fsync_folder(folder)
    while folder not in {root, folder.parent}:
        folder = folder.parent
        fsync_folder(folder)


def makedirs(folder: Path) -> None:
    """Create *folder* with its parents, and make each new name durable.

    Raises:
        StorageError: a folder cannot be made.

    """
    missing = [folder, *folder.parents]
    missing = [level for level in missing if not level.is_dir()]
    for level in reversed(missing):
        with naming(level, "make the folder"), contextlib.suppress(FileExistsError):
            level.mkdir()
        fsync_folder(level.parent)


def move(source: Path, target: Path) -> None:
    """Rule A4: rename within a folder; once this returns the new name survives a power loss.

    Raises:
        StorageError: the rename or the flush failed.

    """
    with naming(target, "rename to it"):
        os.replace(source, target)  # noqa: PTH105 - this module is the one place that renames
    fsync_folder(target.parent)


def unlink(path: Path) -> None:
    """Remove *path* if it is there; the caller flushes the folder."""
    with naming(path, "remove"):
        path.unlink(missing_ok=True)


def replace_unflushed(path: Path, content: bytes) -> None:
    """Write *content* so that readers see the old bytes or all the new ones; a power loss may take both.

    For what is told anew every few seconds: a flush would make the writers of rows wait for the disk.

    Raises:
        StorageError: any step failed.

    """
    temporary = path.with_name(path.name + _TEMPORARY)
    with naming(path, "replace"):
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - this module is the one place that renames


def atomic_write(path: Path, content: bytes) -> None:
    """Write *content* so that *path* holds either the old bytes or all the new ones.

    Raises:
        StorageError: any step failed; *path* is untouched then.

    """
    makedirs(path.parent)
    temporary = path.with_name(path.name + _TEMPORARY)
    with naming(temporary, "write"):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    move(temporary, path)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte, however many calls it takes; ``OSError`` as the system gives it."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def truncate(path: Path, length: int) -> None:
    """Cut *path* to *length* bytes and make that durable.

    Raises:
        StorageError: the file cannot be cut.

    """
    with naming(path, "cut"):
        os.truncate(path, length)
    fsync_file(path)


def free_bytes(folder: Path) -> int:
    """Bytes that an unprivileged writer may still use on the file system of *folder*.

    Raises:
        StorageError: the file system does not answer.

    """
    with naming(folder, "ask for free space"):
        state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
