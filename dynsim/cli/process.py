"""What concerns the process that runs a command: signals, closed pipes, garbage collection."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

USUAL = gc.get_threshold()


def drop_stdout() -> None:
    """The reader has gone (`| head`): let nothing more be written, not even at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def drop_stdout_where_it_is_full() -> None:
    """What could not be written would be tried again at exit, and change the exit status."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        drop_stdout()


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Garbage is looked for rarely: imports make objects by the hundred thousand, none of them garbage, and to look through
    them again and again takes a fifth of a short command."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def collected_as_usual() -> None:
    """Undo `rarely_collected`, in a command that goes on for long: figures and pages hold themselves in cycles."""
    gc.set_threshold(*USUAL)


class interruptible:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does; but not while a library is loaded, where compiled code may crash of it,
    and once more where it was raised in a callback, whose errors go nowhere."""

    def __enter__(self) -> None:
        self.before, self.hook = {}, sys.unraisablehook
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
            for which in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
                if which != signal.SIGINT or signal.getsignal(which) is signal.default_int_handler:
                    self.before[which] = signal.signal(which, _interrupt)
            sys.unraisablehook = self._ignored

    def __exit__(self, *_: object) -> None:
        if self.before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = self.hook
        for which, handler in self.before.items():
            if handler is not None:  # None: not from Python
                signal.signal(which, handler)

    def _ignored(self, what: Any) -> None:
        if what.exc_type is KeyboardInterrupt:
            _ask_again()
        else:
            self.hook(what)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return _ask_again()
        frame = frame.f_back
    raise KeyboardInterrupt


def _ask_again() -> None:
    """Have `_interrupt` called, by SIGALRM, in 10 ms."""
    signal.setitimer(signal.ITIMER_REAL, 0.01)
