"""One run of the uploader: plan, look, copy, prove, record.  It never deletes, here or there.

Segments go first and are proven, then their manifests, then what changes as the archive grows: a manifest
at the remote therefore says that its segment was there.  Killed at any point, the next run looks again and
goes on from what it finds.
"""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orderbooks_spider.archive import durable, layout
from orderbooks_spider.archive.offloaded import (
    REPLACED,
    Finding,
    Kind,
    Receipt,
    UploadManifest,
    read_offloaded,
    write_index,
    write_record,
)
from orderbooks_spider.clock import compact_utc, iso_utc
from orderbooks_spider.errors import EXIT_OK, EXIT_PROBLEMS, EXIT_REMOTE, ConfigError
from orderbooks_spider.offload.plan import Plan, Wanted, local_problem, make_plan
from orderbooks_spider.offload.proof import prove

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orderbooks_spider.clock import Clock
    from orderbooks_spider.offload.rclone import Rclone


@dataclass
class Upload:
    """A run of the uploader over one archive; the caller holds the lock."""

    root: Path
    rclone: Rclone
    clock: Clock
    plan: Plan = field(default_factory=Plan)
    to_send: list[Wanted] = field(default_factory=list)
    proven: list[Receipt] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What rclone could not do, a line each: nothing is wrong with the archive, and a later run goes on."""
    record: Path | None = None
    _started_ns: int = 0
    _codes: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything that should be at the remote is proven there."""
        return len(self.proven) == len(self.plan.wanted) and not self.problems

    @property
    def exit_code(self) -> int:
        """A problem weighs more than a remote that did not do its part."""
        if self.problems:
            return EXIT_PROBLEMS
        return EXIT_REMOTE if self.failures else EXIT_OK

    def look(self) -> None:
        """Find out what is to be sent; asks the remote, changes nothing.

        Raises:
            ArchiveError: no archive is there, or a record in it cannot be understood.
            ConfigError: rclone knows no such remote, or it holds evidence of the other environment.
            RemoteError: the remote does not answer, or refuses.
            StorageError: something local cannot be read.

        """
        self._started_ns = self.clock.wall_ns()
        self.plan = make_plan(self.root, self.rclone.destination, read_offloaded(self.root))
        seen = prove(self.plan.wanted, self.rclone, self.clock)
        if any(item.kind == "environment" for item, _ in seen.differing):
            raise ConfigError(
                f"{self.rclone.destination} holds evidence of the other environment than {self.root}: "
                "live and sandbox never share a folder (A16), choose another"
            )
        self.proven += seen.proven
        self.to_send = [*seen.absent, *(item for item, _ in seen.differing if item.kind in REPLACED)]
        self.problems += self.plan.problems
        self.problems += [problem for item, problem in seen.differing if item.kind not in REPLACED]
        self.problems += seen.doubled

    def send(self) -> None:
        """Copy, prove and write down.

        Raises:
            RemoteError: the remote does not answer any more; what was proven before is written down.
            StorageError: something local cannot be read or written.

        """
        if not self.to_send and not self.proven:
            return
        try:
            self._send_all()
        finally:
            self._write_record()
        if self.record is None:
            return
        # All of them: a record that an earlier run could not send goes now.
        records = [layout.relative(self.root, path) for path in sorted(self.record.parent.glob("*.json"))]
        ended = self.rclone.send(self.root, records, immutable=True)
        if ended.code:
            self.failures.append(
                f"the upload's own record was not sent, the next one will be: {ended.meaning}"
            )

    def _send_all(self) -> None:
        if not self._send({"environment", "segment"}, self.root):
            return
        unproven = {item.file for item in self.plan.segments} - {item.file for item in self.proven}
        self.to_send = [item for item in self.to_send if item.about not in unproven]
        if not self._send({"manifest"}, self.root):
            return
        with tempfile.TemporaryDirectory(prefix="orderbooks-offload-") as folder:
            for item in self.to_send:
                if item.content is not None:
                    copy = Path(folder) / item.file
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(item.content)
            self._send(REPLACED, Path(folder))

    def _send(self, kinds: Collection[Kind], source: Path) -> bool:
        """Copy the files of these kinds and prove them; whether to go on."""
        items = [item for item in self.to_send if item.kind in kinds]
        if not items:
            return True
        ended = self.rclone.send(source, [item.file for item in items], immutable=REPLACED.isdisjoint(kinds))
        self._codes.append(ended.code)
        seen = prove(items, self.rclone, self.clock)
        self.proven += seen.proven
        self.problems += seen.problems
        waiting = self._name_lost(seen.absent, reported_success=ended.code == 0)
        if waiting:
            self.failures.append(f"{waiting} files were not sent: {ended.meaning}")
        return ended.code == 0 or not seen.absent

    def _name_lost(self, absent: Sequence[Wanted], *, reported_success: bool) -> int:
        """Name the files that no later run can send; how many it can."""
        waiting = 0
        for item in absent:
            problem = None if item.content is not None else local_problem(self.root, item)
            if problem is None and reported_success:
                problem = Finding(
                    file=item.file,
                    what="not at the remote, although rclone reported success",
                    expected=f"{item.size} bytes",
                    seen="no file",
                    advice="upload again; if it stays so, look at the remote's trash and permissions",
                )
            if problem is None:
                waiting += 1
            else:
                self.problems.append(problem)
        return waiting

    def _write_record(self) -> None:
        if not self.proven and not self._codes:
            return
        path = layout.offload_record(self.root, compact_utc(self._started_ns), "upload", uuid.uuid4().hex[:8])
        wanted = self.plan.wanted
        record = UploadManifest(
            environment=self.plan.environment,
            started_utc=iso_utc(self._started_ns),
            finished_utc=iso_utc(self.clock.wall_ns()),
            destination=self.rclone.destination,
            rclone_version=self.rclone.version,
            rclone_exit_codes=self._codes,
            complete=self.complete,
            planned_files=len(wanted),
            planned_bytes=sum(item.size for item in wanted),
            proven_bytes=sum(item.bytes for item in self.proven),
            heads=self.plan.heads,
            files=self.proven,
            problems=self.problems,
        )
        durable.makedirs(path.parent)
        write_record(path, record)
        write_index(self.root)
        self.record = path
