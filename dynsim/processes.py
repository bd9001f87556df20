"""What must not be cut in two by Ctrl-C, and what every worker process gets: one thread, and a parent that answers Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = dict.fromkeys(  # environment of a worker process of one thread
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
QUIET = "ignore:resource_tracker:UserWarning"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Have what interrupts this process wait for the end of the block.

    In other threads than the main one nothing changes: interrupts do not come there.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> import signal
    >>> from dynsim.processes import interrupts_held
    >>> try:
    ...     with interrupts_held():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("still here")
    ... except KeyboardInterrupt:
    ...     print("interrupted")
    still here
    interrupted
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]
    before = {which: signal.getsignal(which) for which in known}
    for which, handler in before.items():
        if handler is not None:  # None: not from Python
            signal.signal(which, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for which, handler in before.items():
            if handler is not None:
                signal.signal(which, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@contextmanager
def starting_processes() -> Iterator[None]:
    """Hold interrupts, and let processes that start inside leave Ctrl-C to this one.

    A terminal sends Ctrl-C to all of them; they inherit a blocked SIGINT. In other threads than the main one, and where signals
    are not those of POSIX, nothing changes.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> import subprocess, sys
    >>> from dynsim.processes import starting_processes
    >>> with starting_processes():
    ...     done = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True)
    >>> done.stdout.strip()
    '1'
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with interrupts_held():  # as well: a blocked signal may come by way of another thread
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            _start_trackers()  # now: they would unblock SIGINT
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_trackers() -> None:
    """Start the processes that tidy up after others, as worker processes would, unless they run.

    They do it without a word: after an interrupt they would warn of semaphores that are gone already."""
    import multiprocessing.resource_tracker as of_python

    from joblib.externals.loky.backend import resource_tracker as of_loky

    sys.warnoptions.append(QUIET)  # what processes that Python starts get as -W
    try:
        of_python.ensure_running()
        of_loky.ensure_running()
    finally:
        sys.warnoptions.remove(QUIET)
