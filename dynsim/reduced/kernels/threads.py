"""A thread pool for kernels that work on independent blocks of queries: bits do not depend on the number of threads."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from dynsim.reduced.kernels.simd import atomic_load, compare_exchange

ONE_THREAD = dict.fromkeys(  # environment of a worker process of one thread
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

SPINS = 100_000  # loads of a counter before a thread goes to sleep, about 50 us: waking it would take as long
NEXT, DONE = range(2)  # in the shared counters: run and next block, blocks that are done
RUN = 2**32  # counters[NEXT] = run x RUN + block
LAST_RUN = 2**30  # helper threads return
NO_BLOCK = RUN - 1  # larger than any number of blocks


def thread_count(threads: int | None = None) -> int:
    """Return how many threads to use.

    Parameters
    ----------
    threads : int, optional
        As asked for; by default NUMBA_NUM_THREADS, else one per available core.

    Returns
    -------
    int
        At least 1.
    """
    if threads is not None:
        return max(1, int(threads))
    fallback = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(os.environ.get("NUMBA_NUM_THREADS", fallback or 1)))


@njit(cache=True, nogil=True)
def start_run(counters: np.ndarray, run: int) -> None:
    """Start a run: its blocks can be claimed from now on."""
    while not compare_exchange(counters, NEXT, atomic_load(counters, NEXT), run * RUN):
        pass


@njit(cache=True, nogil=True)
def current_run(counters: np.ndarray) -> int:
    """Number of the run in progress."""
    return atomic_load(counters, NEXT) // RUN


@njit(cache=True, nogil=True)
def claim_block(counters: np.ndarray, run: int) -> int:
    """Claim the next block of this run, counted from 0; NO_BLOCK once the run is over."""
    while True:
        state = atomic_load(counters, NEXT)
        if state // RUN != run or run == LAST_RUN:
            return NO_BLOCK
        if compare_exchange(counters, NEXT, state, state + 1):
            return state % RUN


@njit(cache=True, nogil=True)
def reaches(counters: np.ndarray, i: int, value: int, spins: int) -> bool:
    """Whether counters[i] is at least ``value`` within ``spins`` loads."""
    for _ in range(spins):
        if atomic_load(counters, i) >= value:
            return True
    return False


@njit(cache=True, nogil=True)
def next_block(counters: np.ndarray, run: int, blocks: int, spins: int) -> tuple[int, int]:
    """(run, block) to work on, of this run or of one that starts within ``spins`` loads, else (LAST_RUN, NO_BLOCK)."""
    while True:
        block = claim_block(counters, run)
        if block < blocks:
            return run, block
        if not reaches(counters, NEXT, (run + 1) * RUN, spins):
            return LAST_RUN, NO_BLOCK
        run = current_run(counters)


class ThreadPool:
    """Thread pool that runs a kernel on independent blocks; the calling thread is one of its threads.

    Parameters
    ----------
    blocks : int
        Blocks of a run.
    threads : int
        Threads at most.

    Notes
    -----
    ``kernel(counters, spins, *args)`` claims one block after another, counts finished ones in counters[DONE], and spins for the
    next run when none is left. A thread that starts late or is slowed claims fewer blocks; one that has not started by the
    end is not waited for. While kernel and arguments stay the same, helper threads go from run to run without the interpreter,
    and so without its lock.
    """

    def __init__(self, blocks: int, threads: int) -> None:
        self.blocks, self.threads = blocks, min(threads, blocks)
        self._executor = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._helpers: list[Future] = []
        self._job: tuple = ()
        self._counters, self._runs = np.zeros(2, dtype=np.intp), 0

    def run(self, kernel: Callable[..., Any], *args: Any) -> None:
        """Run all blocks; an error of a helper thread is raised here.

        Parameters
        ----------
        kernel : callable
            A compiled function, called as ``kernel(counters, spins, *args)``.
        *args : object
            Its further arguments.
        """
        if self._executor is None:
            kernel(np.array([RUN, 0], dtype=np.intp), 0, *args)
            return
        job = kernel, *args
        if len(job) != len(self._job) or any(a is not b for a, b in zip(job, self._job, strict=True)):
            self._dismiss()
            self._job = job
        self._runs += 1
        start_run(self._counters, self._runs)
        self._helpers = [helper for helper in self._helpers if not helper.done()]
        try:
            while len(self._helpers) < self.threads - 1:
                self._helpers.append(self._executor.submit(kernel, self._counters, SPINS, *args))
            kernel(self._counters, 0, *args)
            while not reaches(self._counters, DONE, self._runs * self.blocks, SPINS):
                for helper in self._helpers:
                    if helper.done():
                        helper.result()
                time.sleep(0)
        except BaseException:
            self._dismiss()
            raise

    def _dismiss(self) -> None:
        """End the helper threads of the last kernel and forget it."""
        start_run(self._counters, LAST_RUN)
        self._helpers, self._job = [], ()
        self._counters, self._runs = np.zeros(2, dtype=np.intp), 0
