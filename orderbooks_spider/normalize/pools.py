"""Where tasks run: here, in processes of this machine, or on the workers of a Dask cluster.

The function is the same and so are the files; only the order in which tasks end differs.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orderbooks_spider.errors import ConfigError, StorageError
from orderbooks_spider.normalize.cluster import check_cluster
from orderbooks_spider.workers import worker_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor

    from orderbooks_spider.normalize.tasks import Done, Task


@contextmanager
def begun(tasks: Sequence[Task], workers: int, scheduler: str | None) -> Iterator[Iterator[Done]]:
    """Begin every task; gives the results as they come.

    Args:
        tasks: the largest are begun first, so that none is left alone at the end.
        workers: processes on this machine; unused with *scheduler*.
        scheduler: address of a Dask scheduler whose workers see the same folders under the same paths.

    Raises:
        ConfigError: the scheduler cannot be used.
        StorageError: a worker was killed.

    """
    ordered = sorted(tasks, key=lambda task: (-task.input.bytes, task.input.file))
    count = min(workers, len(ordered))
    if scheduler is not None and ordered:
        with _client(scheduler) as client:
            check_cluster(client)
            yield _on_cluster(client, client.map(_do, ordered, pure=False))
    elif count <= 1:
        yield map(_do, ordered)
    else:
        with worker_pool(count) as pool:
            yield _in_processes(pool, [pool.submit(_do, task) for task in ordered])


def _do(task: Task) -> Done:
    # Arrow and what stands on it: whoever only begins tasks need not import them first.
    from orderbooks_spider.normalize.segments import normalise  # noqa: PLC0415

    return normalise(task)


def _in_processes(pool: ProcessPoolExecutor, futures: Sequence[Future[Done]]) -> Iterator[Done]:
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise StorageError("a worker process was killed (memory?): try --workers 1") from error
    pool.shutdown(wait=False)  # the processes need a while to end: what follows does not wait for it


def _client(scheduler: str) -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra that one machine does not need
    except ImportError as error:
        raise ConfigError("--scheduler: needs Dask: pip install distributed") from error
    try:
        distributed.comm.addressing.get_address_host_port(
            scheduler
        )  # else a bad one is noticed after a minute
        return distributed.Client(scheduler, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(f"--scheduler: no Dask scheduler at {scheduler!r}: {error}") from error


def _on_cluster(client: Any, futures: Sequence[Any]) -> Iterator[Done]:
    import distributed  # noqa: PLC0415 - as above

    try:
        for future in distributed.as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
            yield future.result()
    except (distributed.KilledWorker, CancelledError) as error:
        raise StorageError(f"--scheduler: the cluster lost a task: {error}") from error
