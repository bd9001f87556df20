"""Threads for kernels that part into blocks of queries. One block needs nothing of another, so bits do not depend on them."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from dynsim.reduced._lanes import count

ONE_THREAD = dict.fromkeys(  # environment of a worker process of one thread
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

SPINS = 100_000  # looks at a counter before a thread goes to sleep, about 100 us: waking it would take half as long


def thread_count(threads: int | None = None) -> int:
    """Threads to use: as asked, else NUMBA_NUM_THREADS, else one per available core."""
    if threads is not None:
        return max(1, int(threads))
    fallback = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(os.environ.get("NUMBA_NUM_THREADS", fallback or 1)))


@njit(cache=True, nogil=True)
def reached(counter: np.ndarray, i: int, value: int, spins: int) -> bool:
    """Whether counter[i] is at least `value`; looks up to `spins` times."""
    for _ in range(spins):
        if count(counter, i) >= value:
            return True
    return False


class Crew:
    """Runs kernel(turn, *args) on up to `threads` threads, the caller one of them. The kernel claims one block after another,
    turn[0], until there is none left, and counts those that are done, turn[1]: a thread that comes late, or is slowed, takes
    fewer, and one that has not come by then is not waited for. Helpers stay awake a while for the next run."""

    def __init__(self, blocks: int, threads: int) -> None:
        self.blocks, self.threads = blocks, min(threads, blocks)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._helpers: list[Future] = []
        self._job: tuple | None = None
        self._runs = np.zeros(1, dtype=np.intp)

    def run(self, kernel: Callable[..., Any], *args: Any) -> None:
        """Return when all blocks are done; an error that keeps a block from being done is raised here."""
        turn = np.zeros(2, dtype=np.intp)
        if self._pool is not None:
            self._job = kernel, turn, args
            self._runs[0] += 1
            self._helpers = [helper for helper in self._helpers if not helper.done()]
            while len(self._helpers) < self.threads - 1:
                self._helpers.append(self._pool.submit(self._help))
        kernel(turn, *args)
        self._job = None
        while not reached(turn, 1, self.blocks, SPINS):
            for helper in self._helpers:
                if helper.done():
                    helper.result()
            time.sleep(0)

    def _help(self) -> None:
        awake = True
        while awake:
            run = int(self._runs[0])
            if (job := self._job) is not None:
                kernel, turn, args = job
                kernel(turn, *args)
            awake = reached(self._runs, 0, run + 1, SPINS)
