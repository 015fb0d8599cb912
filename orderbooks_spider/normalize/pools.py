"""Where tasks run: here, in processes of this machine, or on the workers of a Dask cluster.

The function is the same and so are the files; only the order in which tasks end differs.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from orderbooks_spider.errors import ConfigError, StorageError
from orderbooks_spider.normalize.cluster import check_cluster
from orderbooks_spider.normalize.segments import Done, Task, normalise
from orderbooks_spider.workers import worker_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def run_all(tasks: Sequence[Task], workers: int, scheduler: str | None) -> Iterator[Done]:
    """Do every task; yields results as they come.

    Args:
        tasks: the largest are begun first, so that none is left alone at the end.
        workers: processes on this machine; unused with *scheduler*.
        scheduler: address of a Dask scheduler whose workers see the same folders under the same paths.

    Raises:
        ConfigError: the scheduler cannot be used.
        StorageError: a worker was killed.

    """
    if not tasks:
        return
    ordered = sorted(tasks, key=lambda task: (-task.input.bytes, task.input.file))
    if scheduler is not None:
        yield from _on_cluster(ordered, scheduler)
    elif min(workers, len(ordered)) <= 1:
        yield from map(normalise, ordered)
    else:
        yield from _in_processes(ordered, min(workers, len(ordered)))


def _in_processes(tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    with worker_pool(workers) as pool:
        futures = [pool.submit(normalise, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise StorageError("a worker process was killed (memory?): try --workers 1") from error


def _on_cluster(tasks: Sequence[Task], scheduler: str) -> Iterator[Done]:
    try:
        import distributed  # noqa: PLC0415 - an extra that one machine does not need
    except ImportError as error:
        raise ConfigError("--scheduler: needs Dask: pip install distributed") from error
    try:
        distributed.comm.addressing.get_address_host_port(
            scheduler
        )  # else a bad one is noticed after a minute
        client: Any = distributed.Client(scheduler, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"--scheduler: no Dask scheduler at {scheduler!r}: {error}") from error
    with client:
        check_cluster(client)
        futures = client.map(normalise, tasks, pure=False)
        try:
            for future in distributed.as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
                yield future.result()
        except (distributed.KilledWorker, CancelledError) as error:
            raise StorageError(f"--scheduler: the cluster lost a task: {error}") from error
