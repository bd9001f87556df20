"""The command `dynsim`: parse, call, print; no science.

Every subcommand is a module here with `add_parser(sub)`, which declares its options, and `run(args)`, which imports what it
needs, does the work and returns the exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted. Results go to
standard output, everything else to standard error.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module

from dynsim import __version__
from dynsim.cli.process import drop_stdout, drop_stdout_where_it_is_full, interruptible, rarely_collected
from dynsim.errors import DynsimError, Interrupted

COMMANDS = ("simulate", "validate", "sweep", "scaling", "areas", "plot", "explore", "cite", "doctor")
DONE, FAILED, BAD_INPUT, DEFECT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141


def build_parser(whole: bool = True) -> ArgumentParser:
    """The command line, as an argparse parser. whole: with the options of all commands, which a command otherwise declares when
    it is parsed (those of `simulate` and `sweep` come from the fields, whose modules take a while to load)."""
    from dynsim.cli._options import Parser

    parser = Parser(
        prog="dynsim",
        description="Masked-pretraining dynamics of a one-layer softmax-attention transformer, from theory.",
        epilog="Exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted. `dynsim COMMAND --help` says more.",
    )
    parser.add_argument("--version", action="version", version=f"dynsim {__version__}")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command: Parser = import_module(f"dynsim.cli.{name}").add_parser(sub)
        if whole:
            command.declare()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit status; never raises."""
    try:
        with interruptible(), rarely_collected():
            status = _run(argv)
            if sys.stdout is not None:
                sys.stdout.flush()
        return status
    except BrokenPipeError:
        drop_stdout()
        return PIPE_CLOSED
    except (Interrupted, KeyboardInterrupt) as error:
        exec("")  # CPython dies of SIGINT at its end if one was raised inside exec of a text, even if caught; this resets it
        return _complain(str(error) or "interrupted", INTERRUPTED)
    except DynsimError as error:
        return _complain(error, BAD_INPUT)
    except MemoryError as error:
        return _complain(f"out of memory ({error}): take a smaller --P, --n or --steps, or --method orbit", BAD_INPUT)
    except OSError as error:
        drop_stdout_where_it_is_full()
        return _complain(f"the system refused: {error}: free what is missing, then run again", BAD_INPUT)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # compiled code that went on until it returned
            return _complain("interrupted", INTERRUPTED)
        if os.environ.get("DYNSIM_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _complain(f"a defect in dynsim, {what}: please report it, with what DYNSIM_TRACEBACK=1 shows", DEFECT)


def _run(argv: Sequence[str] | None) -> int:
    os.environ["MPLBACKEND"] = "agg"  # figures go into files, whatever a notebook has set
    threads = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not (threads.isdecimal() and int(threads) > 0):
        return _complain(f"NUMBA_NUM_THREADS must be a whole number of at least 1, got {threads!r}: unset it", BAD_INPUT)
    try:
        args = build_parser(whole=False).parse_args(argv)
    except SystemExit as done:  # --help and --version
        return done.code or DONE  # type: ignore[return-value]  # argparse exits with numbers
    args.line = ["dynsim", *(sys.argv[1:] if argv is None else argv)]
    try:
        return args.run(args)
    except Interrupted:
        raise
    except DynsimError as error:
        from dynsim.cli._wording import in_options

        return _complain(in_options(str(error), vars(args)), BAD_INPUT)


def _complain(message: object, status: int) -> int:
    """One line on standard error, whatever is in it."""
    from dynsim.cli._show import escaped

    try:
        print("dynsim:", escaped(" ".join(str(message).split()), sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        pass
    return status
