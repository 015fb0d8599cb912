"""Starting the sealing child from the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from orderbooks_spider.archive.sealer import (
    Outcome,
    SealInfo,
    SealJob,
    child_command,
    child_environment,
)
from orderbooks_spider.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orderbooks_spider.archive.sealer import Job
    from orderbooks_spider.archive.segment import BlockInfo

PATIENCE_SECONDS = 900
"""A block takes seconds; a child that is silent for so long is killed, and the job done again."""


async def run_in_child(job: Job, inherit: Sequence[int] = ()) -> BlockInfo | SealInfo:
    """Do *job* in a child process; *inherit* are descriptors that it keeps open (the lock).

    Raises:
        StorageError: the child could not start, was killed, or says what went wrong.

    """
    try:
        child = await asyncio.create_subprocess_exec(
            *child_command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=child_environment(),
            pass_fds=tuple(inherit),
            start_new_session=True,  # Ctrl-C in a terminal is meant for the collector
        )
    except OSError as error:
        raise StorageError(f"{job.stem}: cannot start the sealing child: {error}") from error
    try:
        answer, trouble = await asyncio.wait_for(
            child.communicate(msgspec.json.encode(job)), PATIENCE_SECONDS
        )
    except TimeoutError as error:
        child.kill()
        await child.wait()
        raise StorageError(f"{job.stem}: the sealing child gave no answer") from error
    return _result(job, answer, trouble, child.returncode)


def _result(job: Job, answer: bytes, trouble: bytes, code: int | None) -> BlockInfo | SealInfo:
    try:
        outcome = msgspec.json.decode(answer, type=Outcome)
    except msgspec.MsgspecError as error:
        last = trouble.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        text = f"{job.stem}: the sealing child ended with {code} and no result: {last[0]}"
        raise StorageError(text) from error
    result = outcome.seal if isinstance(job, SealJob) else outcome.block
    if not outcome.ok or result is None:
        raise StorageError(f"{job.stem}: {outcome.error or 'no result'}")
    return result
