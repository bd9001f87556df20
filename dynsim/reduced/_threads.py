"""Threads for kernels that part into blocks of queries. One block needs nothing of another, so bits do not depend on them."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

ONE_THREAD = dict.fromkeys(  # environment of a worker process of one thread
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def thread_count(threads: int | None = None) -> int:
    """Threads to use: as asked, else NUMBA_NUM_THREADS, else one per available core."""
    if threads is not None:
        return max(1, int(threads))
    fallback = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(os.environ.get("NUMBA_NUM_THREADS", fallback or 1)))


class Crew:
    """Runs kernel(first, last, *args) on `blocks` blocks, in contiguous ranges, one a thread; the caller takes the first."""

    def __init__(self, blocks: int, threads: int) -> None:
        edges = np.linspace(0, blocks, min(threads, blocks) + 1).round().astype(int).tolist()
        self.ranges = list(zip(edges[:-1], edges[1:], strict=True))
        self._pool = ThreadPoolExecutor(len(self.ranges) - 1) if len(self.ranges) > 1 else None

    def run(self, kernel: Callable[..., Any], *args: Any) -> None:
        """Return when all is done; an error of any range is raised here."""
        others = [self._pool.submit(kernel, *r, *args) for r in self.ranges[1:]]  # type: ignore[union-attr]  # others have a pool
        try:
            kernel(*self.ranges[0], *args)
        finally:
            for done in others:
                done.result()
