"""The command `dynsim`: parse, call, print; no science.

Every subcommand is a module here with `add_parser(sub)`, which declares its options, and `run(args)`, which imports what it
needs, does the work and returns the exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted. Results go to
standard output, everything else to standard error.
"""

import gc
import os
import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

from dynsim import __version__
from dynsim.errors import DynsimError, Interrupted

COMMANDS = ("simulate", "validate", "sweep", "scaling", "areas", "plot", "cite")
DONE, FAILED, BAD_INPUT, DEFECT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141


def build_parser() -> ArgumentParser:
    """The whole command line, as an argparse parser."""
    from dynsim.cli._options import Parser

    parser = Parser(
        prog="dynsim",
        description="Masked-pretraining dynamics of a one-layer softmax-attention transformer, from theory.",
        epilog="Exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted. `dynsim COMMAND --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"dynsim {__version__}")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"dynsim.cli.{name}").add_parser(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit status; never raises."""
    with _interruptible(), _rarely_collected():
        try:
            status = _run(argv)
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
        except BrokenPipeError:
            _drop_stdout()
            return PIPE_CLOSED
        except (Interrupted, KeyboardInterrupt) as error:
            exec("")  # CPython dies of SIGINT at its end if one was raised inside exec of a text, even if caught; this resets it
            return _complain(str(error) or "interrupted", INTERRUPTED)
        except DynsimError as error:
            return _complain(error, BAD_INPUT)
        except MemoryError as error:
            return _complain(f"out of memory ({error}): take a smaller --P, --n or --steps, or --method orbit", BAD_INPUT)
        except OSError as error:
            return _complain(f"the system refused: {error}: free what is missing, then run again", BAD_INPUT)
        except Exception as error:
            if os.environ.get("DYNSIM_TRACEBACK"):
                raise
            what = f"{type(error).__name__}: {error}"
            return _complain(f"a defect in dynsim, {what}: please report it, with what DYNSIM_TRACEBACK=1 shows", DEFECT)


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as done:  # --help and --version
        return done.code or DONE  # type: ignore[return-value]  # argparse exits with numbers
    args.line = ["dynsim", *(sys.argv[1:] if argv is None else argv)]
    return args.run(args)


def _complain(message: object, status: int) -> int:
    """One line on standard error, whatever is in it."""
    from dynsim.cli._show import escaped

    try:
        print("dynsim:", escaped(" ".join(str(message).split()), sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        pass
    return status


def _drop_stdout() -> None:
    """The reader has gone (`| head`): let nothing more be written, not even at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Garbage is looked for rarely: imports make objects by the hundred thousand, none of them garbage, and to look through
    them again and again takes a fifth of a short command."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _interruptible:
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
