"""What every worker process gets, whoever starts it: one thread, and a parent process that answers Ctrl-C for it."""

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

    Processes that start inside are whole, and leave Ctrl-C, which a terminal sends to all of them, to their parent process: they
    inherit a blocked SIGINT. In other threads than the main one, and where signals are not those of POSIX, nothing changes.

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
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    came: list[int] = []
    before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    for which, handler in before.items():  # a blocked signal may come by way of another thread
        if handler is not None:  # None: not from Python
            signal.signal(which, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        _start_trackers()  # now: they would unblock SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for which, handler in before.items():
            if handler is not None:
                signal.signal(which, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


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
