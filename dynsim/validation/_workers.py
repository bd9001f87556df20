"""Independent tasks on all cores."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor

from dynsim.processes import ONE_THREAD, starting_processes
from dynsim.trajectory import Progress


def in_parallel(function: Callable, tasks: Sequence[tuple], progress: Progress | None = None) -> list:
    """function(*task) for every task, in worker processes of one thread each: results in the order of the tasks.

    One thread each, because the tasks are small: BLAS threads that wait for each other cost more than they save. The workers
    are reused by the next call until they have been idle for a while; Ctrl-C ends them."""
    results = []
    for result in _submit(function, tasks) if cpu_count() > 1 else (function(*task) for task in tasks):
        results.append(result)
        if progress is not None:
            progress(len(results), len(tasks))
    return results


def _submit(function: Callable, tasks: Sequence[tuple]) -> Iterator[Any]:
    """Results in order. Few tasks are submitted at a time: loky's shutdown fails while it holds tasks not yet started."""
    workers = cpu_count()
    with starting_processes():
        executor = get_reusable_executor(workers, env=ONE_THREAD)
    waiting: deque[Future] = deque()
    try:
        for task in tasks:
            with starting_processes():
                waiting.append(executor.submit(function, *task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except (KeyboardInterrupt, GeneratorExit):
        executor.shutdown(wait=True, kill_workers=True)
        raise
    finally:
        for future in waiting:
            future.cancel()
