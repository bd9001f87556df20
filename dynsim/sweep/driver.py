"""Driver of a sweep: the same measurement at every point of a grid of problems, in a store that outlives the run.

Points (fields of Problem times options of the method times seeds) are sent in chunks of about half a second to worker processes
or a Dask cluster; every chunk is committed as it arrives. A point is known by its parameters, seed, method, options and package
version: what is in the store is not computed again, so the same command resumes and another grid extends. A point that fails is a
row with its reason.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynsim import __version__
from dynsim.errors import InputError, Interrupted
from dynsim.processes import interrupts_held
from dynsim.reduced import FIELDS, method_key
from dynsim.sweep.methods import content, draws, find, read_option, run_chunk, takes
from dynsim.sweep.points import Points, Task
from dynsim.sweep.store import Row, Store
from dynsim.sweep.workers import Cluster, Processes, result
from dynsim.trajectory import Progress
from dynsim.writing import Path

CHUNK = 0.5  # seconds of work in a chunk
MOST = 1000  # points in a chunk
MOST_WORKERS = 1000
SAMPLE = 4  # points timed before the rest starts, two a worker; the first of each, which compiles or loads, does not count
BLOCK = 500  # points looked up in the store at once


def run(
    path: Path,
    grid: Mapping[str, Any] | None = None,
    points: Iterable[Mapping[str, Any]] | None = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    seeds: ArrayLike = 1,
    workers: int | None = None,
    scheduler: str | None = None,
    retry: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Compute the points that a store lacks (docs/sweeps.md).

    Parameters
    ----------
    path : str or path
        The store; made where there is none.
    grid : mapping, optional
        Name -> value or values (see ``span``, ``parse_axis``); every combination. Names are fields of Problem (K, gamma, P,
        kappa_c, kappa_s, L, U; those left out have their defaults) and options of the method.
    points : iterable of mapping, optional
        Points, name -> value each, in place of a grid.
    method : str, optional
        A name in ``reduced.FIELDS`` (the first by default), "full", or "package.module:function".
    options : mapping, optional
        Keyword arguments of the method at every point.
    seeds : int or sequence of int
        How many, or which.
    workers : int, optional
        Worker processes; one per core by default.
    scheduler : str, optional
        Address of a Dask scheduler, in place of worker processes.
    retry : bool
        Whether failed points are computed again.
    progress : callable, optional
        Called with (done, total) as results arrive.
    tell : callable, optional
        Called with lines of text on the plan.

    Returns
    -------
    dict
        Counts "points", "known", "computed", "failed", and "seconds"; where some failed, "reason": that of the first.

    Raises
    ------
    InputError
        If a value breaks a rule.
    FileError
        If the store cannot be written, or no scheduler answers.
    Interrupted
        On Ctrl-C; what was done is in the store.

    Notes
    -----
    Rows do not depend on the workers, in any bit.

    Examples
    --------
    >>> from dynsim import sweep
    >>> counts = sweep.run("sweep.db", {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)
    >>> counts["computed"], sweep.run("sweep.db", {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)["computed"]
    (2, 0)
    >>> sweep.load("sweep.db")["escape"].shape
    (2,)
    >>> counts = sweep.run("sweep.db", {"K": 1, "P": 1e6, "nodes": [8, 24]}, method="orbit", workers=1)
    >>> sweep.load("sweep.db")["nodes"]
    array([ 8., 24., 24., 24.])
    """
    method = method_key() if method is None else method
    for name in options or {}:
        if not takes(method, name):
            raise InputError(f"method {method} has no option {name!r}: leave it out, or change the method")
    find(method)
    if (np.ndim(seeds) > 0 or seeds != 1) and not draws(method):
        raise InputError(f"method {method} draws nothing, got seeds={seeds!r}: leave them out, or take a method on images")
    if workers is not None and (workers != int(workers) or not 1 <= workers <= MOST_WORKERS):
        raise InputError(f"workers must be a whole number from 1 to {MOST_WORKERS}, got {workers!r}: leave out for one per core")
    readers = partial(read_option, method), partial(content, method)
    todo = Points(grid, points, seeds, method, options, __version__, *readers)
    with Store(path) as store:
        most = None if workers is None else min(workers, len(todo))
        pool: Processes | Cluster = Processes(most) if scheduler is None else Cluster(scheduler)
        try:
            return _Run(store, todo, pool, retry, progress, tell or (lambda text: None)).go()
        finally:
            pool.close()


class _Run:
    """A sweep in progress."""

    def __init__(
        self,
        store: Store,
        todo: Points,
        pool: Processes | Cluster,
        retry: bool,
        progress: Progress | None,
        tell: Callable[[str], object],
    ) -> None:
        self.store, self.todo, self.pool, self.retry, self.progress, self.tell = store, todo, pool, retry, progress, tell
        self.done = self.failed = self.missing = 0
        self.reason = ""  # of the first that failed
        self.pace = 0.0  # seconds a point, a moving mean
        self.sampling = True
        self.what = __version__, todo.method, FIELDS.get(todo.method)
        self.running: dict[Future, list[Task]] = {}
        self.suspects: list[Task] = []
        self.deadly: set[str] = set()

    def go(self) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            sample = self._plan()
            if sample:
                parts = max(1, min(self.pool.count, len(sample) // 2))
                self._workers(iter([sample[i::parts] for i in range(parts)]))
                self._tell_cost()
                self._workers(self._chunks({task[0] for task in sample}))
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped with {self.done} of {self.missing} points done, all in {self.store.path}: the same command goes on"
            ) from None
        counts: dict[str, Any] = {"points": len(self.todo), "known": len(self.todo) - self.missing}
        counts |= {"computed": self.done, "failed": self.failed, "seconds": time.perf_counter() - began}
        return {**counts, "reason": self.reason} if self.failed else counts

    def _absent(self) -> Iterator[Task]:
        """The task of every point the store lacks when it is asked for."""
        points = iter(self.todo)
        while block := [self.todo.task(point) for point in islice(points, BLOCK)]:
            known = self.store.known(task[0] for task in block)
            yield from (task for task in block if task[0] not in known or (self.retry and known[task[0]] == "failed"))

    def _plan(self) -> list[Task]:
        """Count what is missing, say so, and draw the sample to be timed."""
        sample: list[Task] = []
        draw = random.Random(0)
        for task in self._absent():
            self.missing += 1
            place = len(sample) if len(sample) < SAMPLE else draw.randrange(self.missing)
            sample[place:place + 1] = [task] if place < SAMPLE else sample[place:place + 1]
        total = len(self.todo)
        self.tell(f"{total} points ({self.todo.shape()}), method {self.todo.method}; results go to {self.store.path}")
        self.tell(f"{total - self.missing} are there already, {self.missing} to compute on {self.pool.name}")
        for version, count in self.store.counts().items():
            if version != __version__:
                self.tell(f"the store also has {count} rows of dynsim {version}: kept apart, this is {__version__}")
        return sample

    def _tell_cost(self) -> None:
        self.sampling = False
        left = self.missing - self.done
        if left:
            need = left * self.pace / self.pool.count
            self.tell(f"about {_duration(self.pace)} a point (timed on {self.done}), so {_duration(need)} for the other {left}")

    def _chunks(self, sampled: set[str]) -> Iterator[list[Task]]:
        points = (task for task in self._absent() if task[0] not in sampled)
        seen = len(sampled)
        while True:
            fair = -(-(self.missing - seen) // (3 * self.pool.count))
            size = min(MOST, fair, int(CHUNK / max(self.pace, 1e-9)))
            chunk = list(islice(points, max(1, size)))
            if not chunk:
                return
            seen += len(chunk)
            yield chunk

    def _workers(self, chunks: Iterator[list[Task]]) -> None:
        """Submit chunks, a few ahead, and commit what arrives. After a worker has died, what was running is submitted point by
        point; a point whose process dies twice has failed."""
        while True:
            ahead = 1 if self.suspects else 2 * self.pool.count + 1
            while len(self.running) < ahead:
                chunk = [self.suspects.pop()] if self.suspects else next(chunks, None)
                if chunk is None:
                    break
                try:
                    future = self.pool.submit(run_chunk, *self.what, chunk)
                except self.pool.lost:  # a worker has died since
                    self.suspects.extend(chunk)
                    self.pool.restart()
                    break
                self.running[future] = chunk
                ahead = 1 if self.suspects else ahead
            if not (self.running or self.suspects):
                return
            arrived, _ = wait(self.running, timeout=1.0, return_when=FIRST_COMPLETED)
            lost = False
            for future in arrived:
                chunk, rows = self.running.pop(future), result(future, self.pool)
                if rows is not None:
                    self._commit(rows)
                    continue
                lost = True
                key = chunk[0][0] if len(chunk) == 1 and not self.running else None
                if key is not None and key in self.deadly:
                    self._commit([(*chunk[0], "failed", "its worker process died, twice (out of memory?)", 0.0, {})])
                else:
                    if key is not None:
                        self.deadly.add(key)
                    self.suspects.extend(chunk)
            if lost:
                self.pool.restart()

    def _commit(self, rows: Sequence[Row]) -> None:
        with interrupts_held():  # what is stored is counted
            self.store.add(rows, __version__, self.todo.method, replace=self.retry)
            self.done += len(rows)
        failed = [row for row in rows if row[3] == "failed"]
        self.failed += len(failed)
        self.reason = self.reason or (failed[0][4] if failed else "")
        timed = [row[5] for row in (rows[1:] or rows if self.sampling else rows)]
        weight = 0.5 if self.sampling and self.pace else 1.0 if self.sampling else 0.2  # points grow dearer along an axis
        self.pace += weight * (sum(timed) / len(timed) - self.pace)
        if self.progress is not None:
            self.progress(self.done, self.missing)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size or unit == "s" and seconds >= 1:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"
