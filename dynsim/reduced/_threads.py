"""Threads for kernels that part into blocks of queries. One block needs nothing of another, so bits do not depend on them."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from dynsim.reduced._lanes import change, count

ONE_THREAD = dict.fromkeys(  # environment of a worker process of one thread
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

SPINS = 100_000  # looks at a counter before a thread goes to sleep, about 50 us: waking it would take as long
TURN, DONE = range(2)  # on the board of a crew: run and next block, blocks that are done
RUN = 2**32  # run r and block b together: r RUN + b
OVER = 2**30  # the run after the last
NONE = RUN - 1  # more than there are blocks


def thread_count(threads: int | None = None) -> int:
    """Threads to use: as asked, else NUMBA_NUM_THREADS, else one per available core."""
    if threads is not None:
        return max(1, int(threads))
    fallback = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(os.environ.get("NUMBA_NUM_THREADS", fallback or 1)))


@njit(cache=True, nogil=True)
def begin(board: np.ndarray, run: int) -> None:
    """Put a run up on the board."""
    while not change(board, TURN, count(board, TURN), run * RUN):
        pass


@njit(cache=True, nogil=True)
def current(board: np.ndarray) -> int:
    """The run that is on."""
    return count(board, TURN) // RUN


@njit(cache=True, nogil=True)
def claim(board: np.ndarray, run: int) -> int:
    """A block of this run that nobody else gets, from 0 up; NONE when the run is over."""
    while True:
        turn = count(board, TURN)
        if turn // RUN != run or run == OVER:
            return NONE
        if change(board, TURN, turn, turn + 1):
            return turn % RUN


@njit(cache=True, nogil=True)
def reached(board: np.ndarray, i: int, value: int, spins: int) -> bool:
    """Whether board[i] is at least `value`; looks up to `spins` times."""
    for _ in range(spins):
        if count(board, i) >= value:
            return True
    return False


@njit(cache=True, nogil=True)
def take(board: np.ndarray, run: int, blocks: int, spins: int) -> tuple[int, int]:
    """(run, block) to do next, of this run or of one that comes within so many looks, else (OVER, NONE)."""
    while True:
        block = claim(board, run)
        if block < blocks:
            return run, block
        if not reached(board, TURN, (run + 1) * RUN, spins):
            return OVER, NONE
        run = current(board)


class Crew:
    """Runs a kernel on up to `threads` threads, the caller one of them.

    kernel(board, spins, *args) claims one block after another, counts those that are done, and looks `spins` times for a next
    run when none is left. So a thread that comes late, or is slowed, takes fewer; one that has not come by then is not waited
    for; and while the same kernel has the same arguments, helpers need no Python, whose lock they would queue for."""

    def __init__(self, blocks: int, threads: int) -> None:
        self.blocks, self.threads = blocks, min(threads, blocks)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._helpers: list[Future] = []
        self._job: tuple = ()
        self._board, self._runs = np.zeros(2, dtype=np.intp), 0

    def run(self, kernel: Callable[..., Any], *args: Any) -> None:
        """Return when all blocks are done; an error that keeps a block from being done is raised here."""
        if self._pool is None:
            kernel(np.array([RUN, 0], dtype=np.intp), 0, *args)
            return
        job = kernel, *args
        if len(job) != len(self._job) or any(a is not b for a, b in zip(job, self._job, strict=True)):
            self._close()
            self._job = job
        self._runs += 1
        begin(self._board, self._runs)
        self._helpers = [helper for helper in self._helpers if not helper.done()]
        try:
            while len(self._helpers) < self.threads - 1:
                self._helpers.append(self._pool.submit(kernel, self._board, SPINS, *args))
            kernel(self._board, 0, *args)
            while not reached(self._board, DONE, self._runs * self.blocks, SPINS):
                for helper in self._helpers:
                    if helper.done():
                        helper.result()
                time.sleep(0)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        """Send away who works for the last arguments, and forget these."""
        begin(self._board, OVER)
        self._helpers, self._job = [], ()
        self._board, self._runs = np.zeros(2, dtype=np.intp), 0
