"""Workers of a sweep: processes on this machine (joblib's loky), or a Dask cluster. Both are ``concurrent.futures`` executors."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dynsim.errors import FileError, InputError
from dynsim.processes import ONE_THREAD, starting_processes

WATCH = 1.0  # seconds between looks at whether the driver is still there
LOOK = 5.0  # seconds between counts of a cluster's workers


class Processes:
    """Worker processes of one thread each, on this machine.

    They leave Ctrl-C to the driver and end with it, however it ends.

    Parameters
    ----------
    workers : int, optional
        How many; one per core by default.

    Examples
    --------
    >>> from dynsim.sweep.workers import Processes
    >>> pool = Processes(1)
    >>> pool.name
    '1 worker process'
    >>> pool.submit(abs, -3).result()
    3
    >>> pool.close()
    """

    lost = (BrokenProcessPool,)

    def __init__(self, workers: int | None = None) -> None:
        import joblib

        self.count = joblib.cpu_count() if workers is None else workers
        self.name = f"{self.count} worker process{'es' * (self.count > 1)}"
        self._executor: Any = None  # loky's, which has no types

    def submit(self, function: Callable, *args: Any) -> Future:
        """Submit a task.

        Parameters
        ----------
        function : callable
            A function of a module.
        *args : object
            Its arguments.

        Returns
        -------
        concurrent.futures.Future
            Of ``function(*args)``.
        """
        if self._executor is None:
            from joblib.externals.loky import ProcessPoolExecutor

            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            warnings.filterwarnings("ignore", "Failed to kill subprocesses", UserWarning)  # of workers, which have none
            with starting_processes():
                self._executor = ProcessPoolExecutor(
                    self.count, timeout=None, env=ONE_THREAD, initializer=_settle, initargs=(os.getpid(),)
                )
        with starting_processes():
            return self._executor.submit(function, *args)

    def restart(self) -> None:
        """Forget the processes, of which some died; the next task starts new ones."""
        self.close()

    def close(self) -> None:
        """Stop at once."""
        if self._executor is None:
            return
        previous = threading.excepthook

        def hook(args: threading.ExceptHookArgs) -> None:  # raised in loky's thread for tasks that shutdown has just dropped
            if args.exc_type is not KeyError:
                previous(args)

        threading.excepthook = hook
        try:
            self._executor.shutdown(wait=True, kill_workers=True)
        finally:
            threading.excepthook = previous
        self._executor = None


def _settle(driver: int) -> None:
    """In a worker, before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where nothing holds it: no POSIX, or another thread

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Cluster:
    """Workers of a Dask cluster, as many as there are at any time.

    Parameters
    ----------
    address : str
        Address of the scheduler.
    patience : float
        Seconds to wait for it.

    Raises
    ------
    InputError
        If Dask is not installed.
    FileError
        If no scheduler answers.

    Examples
    --------
    >>> from dynsim.sweep.workers import Cluster
    >>> Cluster("tcp://127.0.0.1:1", patience=0.1)  # doctest: +SKIP
    Traceback (most recent call last):
    dynsim.errors.FileError: no Dask scheduler answers at 'tcp://127.0.0.1:1' ...
    """

    def __init__(self, address: str, patience: float = 10.0) -> None:
        try:
            from distributed import Client, KilledWorker
        except ImportError:
            raise InputError("a Dask cluster needs the extra `cluster`, not there yet: pip install 'dynsim[cluster]'") from None
        self.lost = (KilledWorker,)
        try:
            self._client = Client(address, timeout=patience, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise FileError(f"no Dask scheduler answers at {address!r} ({reason}): start one, or mend the address") from None
        self.address, self._looked, self._count = address, 0.0, 1
        self._executor = self._client.get_executor(pure=False)
        self.name = f"{self.count} worker thread{'s' * (self.count != 1)} of {address}"

    @property
    def count(self) -> int:
        """Threads of all workers now, at least one."""
        if time.monotonic() - self._looked > LOOK:
            self._count, self._looked = max(1, sum(self._client.nthreads().values())), time.monotonic()
        return self._count

    def submit(self, function: Callable, *args: Any) -> Future:
        """Submit a task.

        Parameters
        ----------
        function : callable
            A function of a module.
        *args : object
            Its arguments.

        Returns
        -------
        concurrent.futures.Future
            Of ``function(*args)``.
        """
        return self._executor.submit(function, *args)

    def restart(self) -> None:
        """Do nothing: the scheduler gives a lost worker's tasks to others."""

    def close(self) -> None:
        """Leave; the scheduler drops what nobody waits for any more."""
        self._executor.shutdown(wait=False)
        self._client.close(timeout=2)


def result(future: Future, pool: Any) -> Any:
    """Return the result of a finished future.

    Parameters
    ----------
    future : concurrent.futures.Future
        Of a task.
    pool : Processes or Cluster
        Its workers.

    Returns
    -------
    object
        The result; None where its worker died.

    Raises
    ------
    FileError
        If the cluster has gone.

    Examples
    --------
    >>> from concurrent.futures import Future
    >>> from dynsim.sweep.workers import Processes, result
    >>> future = Future()
    >>> future.set_result(3)
    >>> result(future, Processes(1))
    3
    """
    try:
        return future.result()
    except pool.lost:
        return None
    except CancelledError:
        raise FileError(f"the Dask scheduler at {pool.address!r} has gone: start it, and the same command goes on") from None
