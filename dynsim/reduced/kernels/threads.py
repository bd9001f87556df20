"""A thread pool for kernels that work on independent blocks of queries: bits do not depend on the number of threads."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from operator import is_
from typing import Any

import numpy as np
from numba import njit

from dynsim.reduced.kernels.simd import atomic_load, compare_exchange, fetch_add, waiting_load

SPINS = 5_000  # looks at a counter before a thread goes to sleep, 50 to 250 us: waking it would take as long
BETWEEN_TURNS = 4  # times as many for the next turn: only the interpreter could wake it
SHORT = 2e-3  # seconds; no block of such a run takes as long as that
# Places in the shared counters, four cache lines: run and next block; blocks that are done; run of turn 0, last run, and how
# many helper threads have gone to sleep; the last run, once the calling thread has seen that all its blocks are done.
NEXT, DONE, FIRST, LAST, ASLEEP, FINISHED = 0, 8, 16, 17, 18, 24
RUN, HELPED = 2**32, 2**16  # counters[NEXT] = run x RUN + blocks claimed by helper threads x HELPED + by the calling thread
LAST_RUN = 2**30  # helper threads return
NO_BLOCK = -1
ONE_TURN = range(1)


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


def new_counters() -> np.ndarray:
    """Shared counters before the first run."""
    return np.zeros(32, dtype=np.intp)


@njit(cache=True, nogil=True)
def start_run(counters: np.ndarray, run: int) -> None:
    """Start a run: its blocks can be claimed from now on."""
    while not compare_exchange(counters, NEXT, atomic_load(counters, NEXT), run * RUN):
        pass


@njit(cache=True, nogil=True)
def start_turns(counters: np.ndarray, run: int, turn: int, count: int) -> None:
    """Start a run as turn `turn`, the first of `count` turns."""
    counters[FIRST], counters[LAST] = run - turn, run + count - 1
    start_run(counters, run)


@njit(cache=True, nogil=True)
def current_run(counters: np.ndarray) -> int:
    """Number of the run in progress."""
    return atomic_load(counters, NEXT) // RUN


@njit(cache=True, nogil=True)
def claim_block(counters: np.ndarray, run: int, blocks: int, helps: bool) -> int:
    """Claim the next block of this run; NO_BLOCK once there is none, or the run is over.

    The calling thread claims from the first block on, helper threads from the last: mostly what they had in the turn before, and
    so have in their cache."""
    while True:
        state = atomic_load(counters, NEXT)
        own, helped = state % HELPED, state % RUN // HELPED
        if state // RUN != run or run == LAST_RUN or own + helped >= blocks:
            return NO_BLOCK
        if compare_exchange(counters, NEXT, state, state + (HELPED if helps else 1)):
            return blocks - 1 - helped if helps else own


@njit(cache=True, nogil=True)
def reaches(counters: np.ndarray, i: int, value: int, spins: int) -> bool:
    """Whether counters[i] is at least ``value`` within ``spins`` looks."""
    for _ in range(spins):
        if waiting_load(counters, i) >= value:
            return True
    return False


@njit(cache=True, nogil=True)
def next_block(counters: np.ndarray, run: int, blocks: int, spins: int) -> tuple[int, int]:
    """(run, block) to work on, of this run or of one that starts within ``spins`` looks, else (LAST_RUN, NO_BLOCK).

    The calling thread, whose ``spins`` are 0, waits until all blocks of the run are done, and starts the next one up to LAST."""
    while True:
        block = claim_block(counters, run, blocks, spins > 0)
        if block != NO_BLOCK:
            return run, block
        if spins == 0:
            if not reaches(counters, DONE, run * blocks, SPINS):
                return LAST_RUN, NO_BLOCK
            if run >= counters[LAST]:
                counters[FINISHED] = run
                return LAST_RUN, NO_BLOCK
            run += 1
            start_run(counters, run)
        elif reaches(counters, NEXT, (run + 1) * RUN, spins * (BETWEEN_TURNS if run < counters[LAST] else 1)):
            run = current_run(counters)
        else:
            fetch_add(counters, ASLEEP)
            return LAST_RUN, NO_BLOCK


@njit(cache=True, nogil=True)
def current_turn(counters: np.ndarray, run: int) -> int:
    """Which of the kernel's turns a run is, where a block of it is not done yet."""
    return run - counters[FIRST]


@njit(cache=True, nogil=True)
def finished_turn(counters: np.ndarray, spins: int) -> int:
    """For the calling thread, after LAST_RUN: which turn was the last one, where all its blocks are done; else -1.

    So a kernel does what is left at the end, on its calling thread and once: it is called again where blocks were not done."""
    return counters[LAST] - counters[FIRST] if spins == 0 and counters[FINISHED] == counters[LAST] else -1


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
    ``kernel(counters, spins, *args)`` takes one block after another from `next_block`, the calling thread from the first on, the
    others from the last, and counts finished ones in counters[DONE]. A thread that starts late or is slowed claims fewer blocks;
    one that has not started by the end is not waited for. While kernel and arguments stay the same, helper threads go from run
    to run without the interpreter, and so without its lock.

    A kernel whose work comes in turns, each on what all blocks of the one before have left, asks for `current_turn`: a turn is a
    run of all blocks. The calling thread goes from turn to turn in the kernel. Where the last time took long, it comes back in
    between, and helper threads that waited too long for the end of a turn are called for the next one.
    """

    def __init__(self, blocks: int, threads: int) -> None:
        assert blocks < HELPED, blocks
        self.blocks, self.threads = blocks, min(threads, blocks)
        self._executor = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        self._helpers: list[Future] = []
        self._called = 0  # helpers, since the counters are new
        self._job: tuple = ()
        self._short = True
        self._counters, self._runs = new_counters(), 0

    def __reduce__(self) -> tuple:
        return ThreadPool, (self.blocks, self.threads)  # a copy has threads of its own

    def run(self, kernel: Callable[..., Any], *args: Any, turns: range = ONE_TURN) -> None:
        """Run all blocks, in every turn; an error of a helper thread is raised here.

        Parameters
        ----------
        kernel : callable
            A compiled function, called as ``kernel(counters, spins, *args)``.
        *args : object
            Its further arguments.
        turns : range
            What `current_turn` is, one after another.
        """
        self.run_job((kernel, *args), turns)

    def run_job(self, job: tuple, turns: range = ONE_TURN) -> None:
        """The same for kernel and arguments in one tuple: where it is the one of the run before, that is seen at once.

        Parameters
        ----------
        job : tuple
            Kernel, and its further arguments.
        turns : range
            As in `run`.
        """
        if self._executor is None:
            counters, (kernel, *args) = new_counters(), job  # of this call: others may make theirs at the same time
            start_turns(counters, 1, turns.start, len(turns))
            kernel(counters, 0, *args)
            return
        same = job is self._job or len(job) == len(self._job) and all(map(is_, job, self._job))
        if not same or self._runs >= LAST_RUN // 2:
            self._dismiss()
            self._job = job
        start = time.perf_counter()
        if self._short:
            self._run(turns)
        else:
            for turn in turns:
                self._run(range(turn, turn + 1))
        self._short = time.perf_counter() - start < SHORT

    def _run(self, turns: range) -> None:
        """All blocks of the job, in these turns."""
        assert self._executor is not None
        kernel, args = self._job[0], self._job[1:]
        start_turns(self._counters, self._runs + 1, turns.start, len(turns))
        self._runs += len(turns)
        try:
            awake = self._called - self._counters.item(ASLEEP)  # one that has left may not be done yet
            if awake < self.threads - 1:
                self._helpers = [helper for helper in self._helpers if not helper.done()]
                for _ in range(self.threads - 1 - min(len(self._helpers), awake)):
                    self._helpers.append(self._executor.submit(kernel, self._counters, SPINS, *args))
                    self._called += 1
            kernel(self._counters, 0, *args)
            while self._counters.item(FINISHED) < self._runs:
                for helper in self._helpers:
                    if helper.done():
                        helper.result()
                time.sleep(0)
                kernel(self._counters, 0, *args)
        except BaseException:
            self._dismiss()
            raise

    def _dismiss(self) -> None:
        """End the helper threads of the last kernel and forget it."""
        start_run(self._counters, LAST_RUN)
        self._helpers, self._called, self._job = [], 0, ()
        self._counters, self._runs = new_counters(), 0
