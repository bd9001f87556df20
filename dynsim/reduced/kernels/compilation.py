"""When kernels are compiled: once on a machine, then they come from numba's cache."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event


@contextmanager
def on_compile(callback: Callable[[], object]) -> Iterator[None]:
    """Call back once, when the first kernel starts to be compiled inside the context; not for kernels from the cache.

    Parameters
    ----------
    callback : callable
        Called without arguments.

    Yields
    ------
    None
        The context.
    """

    class Listener(event.Listener):
        silent = False

        def on_start(self, started: event.Event) -> None:
            if not self.silent:
                self.silent = True
                callback()

        def on_end(self, ended: event.Event) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield
