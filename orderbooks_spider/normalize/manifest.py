"""The manifest of a dataset: from which segments it was made, with which versions, and what came out.

``OUT/manifests/normalization.json``.  It holds no time and no path of a machine, so equal inputs and
versions give equal bytes.
"""

from __future__ import annotations

from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, Final

import msgspec

from orderbooks_spider import __version__
from orderbooks_spider.archive import durable, manifest
from orderbooks_spider.errors import ArchiveError
from orderbooks_spider.normalize.checks import CHECKS
from orderbooks_spider.normalize.tables import SCHEMA_VERSION, TABLES
from orderbooks_spider.normalize.tasks import DerivedHour, Done  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orderbooks_spider.normalize.tasks import Output

SCHEMA: Final = "orderbooks.normalization/1"
FILE: Final = "manifests/normalization.json"
_LIBRARIES: Final = ("msgspec", "numpy", "polars", "pyarrow")


class Totals(msgspec.Struct, frozen=True):
    """One table."""

    files: int
    rows: int
    bytes: int


class CheckTotals(msgspec.Struct, frozen=True):
    """One check over all books."""

    counted: int
    flagged: int
    unverifiable: int


class Normalization(msgspec.Struct, kw_only=True):
    """The page; key order is the order on disk."""

    schema: str = SCHEMA
    dataset_schema: str = SCHEMA_VERSION
    environment: str
    versions: dict[str, str]
    tables: dict[str, Totals] = {}
    results: dict[str, int] = {}
    """Recorded polls by result."""
    checks: dict[str, CheckTotals] = {}
    errors: list[str] = []
    """What could not be used, or is missing: one line each."""
    segments: list[Done] = []
    """Phase 1, by file: each segment with its outputs; failed ones are in ``errors`` alone."""
    derived: list[DerivedHour] = []
    """Phase 2, by hour."""

    def outputs(self) -> Iterator[Output]:
        """Every file of the dataset."""
        for done in self.segments:
            yield from done.outputs
        for hour in self.derived:
            yield from hour.outputs

    def add_up(self) -> None:
        """Fill the totals."""
        files = [output for output in self.outputs() if output.table in TABLES]
        self.tables = {
            name: Totals(len(mine), sum(o.rows for o in mine), sum(o.bytes for o in mine))
            for name in TABLES
            for mine in [[output for output in files if output.table == name]]
        }
        results: Counter[str] = Counter()
        checks: Counter[str] = Counter()
        for done in self.segments:
            results.update(done.results)
            checks.update(done.checks)
        self.results = dict(sorted(results.items()))
        books = self.tables["books"].rows
        self.checks = {
            check.name: CheckTotals(books - unverifiable, checks[f"{check.name}/flagged"], unverifiable)
            for check in CHECKS
            for unverifiable in [checks[f"{check.name}/unverifiable"]]
        }


def versions() -> dict[str, str]:
    """What decides the bytes of the files: this program and the libraries under it."""
    return {"orderbooks_spider": __version__} | {name: metadata.version(name) for name in _LIBRARIES}


def read(out: Path) -> Normalization | None:
    """The manifest under *out*; ``None`` where nothing was made yet.

    Raises:
        ArchiveError: it is no such manifest.
        StorageError: it cannot be read.

    """
    path = out / FILE
    if not path.exists():
        return None
    with durable.naming(path, "read"):
        content = path.read_bytes()
    try:
        found = msgspec.json.decode(content, type=Normalization)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveError(f"{path}: expected a normalisation manifest: {error}; remove OUT") from error
    if found.schema != SCHEMA:
        raise ArchiveError(f"{path}: expected schema {SCHEMA}, saw {found.schema!r}; remove OUT")
    return found


def write(out: Path, made: Normalization) -> None:
    """Write *made* where it says anything new.

    Raises:
        StorageError: it cannot be written.

    """
    path, content = out / FILE, manifest.encode(made)
    if not path.exists() or path.read_bytes() != content:
        durable.atomic_write(path, content)
