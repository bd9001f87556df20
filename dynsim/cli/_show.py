"""What a person sees: tables on standard output, remarks and progress on standard error.

On a terminal rich draws them (and honours NO_COLOR); elsewhere they are plain text, and progress is silent.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynsim.trajectory import Progress

PATIENCE = 2.0  # seconds after which a run that goes on shows its progress


def remark(args: Namespace, text: str) -> None:
    """One line on standard error, unless --quiet."""
    if not args.quiet:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was said before stands before
        print("dynsim:", escaped(text, sys.stderr), file=sys.stderr, flush=True)


def say(text: str = "") -> None:
    """A line of results."""
    print(escaped(text, sys.stdout))


def escaped(text: str, stream: object) -> str:
    """The text with what the stream's encoding lacks (or no encoding has) as backslash escapes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """A table of strings on standard output, the first `left` columns to the left, the others, numbers, to the right."""
    width = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from rich import box
        from rich.console import Console
        from rich.table import Table

        drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for i, name in enumerate(columns):
            drawn.add_column(name, justify="left" if i < left else "right", no_wrap=True)
        for row in rows:
            drawn.add_row(*row)
        console = Console(highlight=False)
        console.width = max(console.width, sum(width) + 2 * len(width))  # a line too long for the terminal keeps its digits
        console.print(drawn)
        return
    for row in (columns, *rows):
        cells = (cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, width, strict=True)))
        say("  ".join(cells).rstrip())


def print_json(record: Any) -> None:
    """One strict JSON object on standard output."""
    print(strict_json(record))


def strict_json(record: Any) -> str:
    """JSON without NaN and infinities, which become null; NumPy numbers and arrays are taken."""
    return json.dumps(_plain(record), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short(value: float | None, digits: int = 4) -> str:
    """A number for a person: few digits, "-" where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


@contextmanager
def progress(args: Namespace, what: str) -> Iterator[Progress | None]:
    """A callable (done, total) that draws a bar on a terminal once a run takes more than two seconds; None when quiet."""
    if args.quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()
    bar: list[Any] = []  # the bar and its task, once drawn

    def report(done: float, total: float) -> None:
        if not bar:
            if time.monotonic() - began < PATIENCE:
                return
            from rich.console import Console
            from rich.progress import Progress

            drawn = Progress(console=Console(stderr=True), transient=True)
            drawn.start()
            bar.extend((drawn, drawn.add_task(what, total=total)))
        bar[0].update(bar[1], completed=done, total=total)

    try:
        yield report
    finally:
        if bar:
            bar[0].stop()


def part_of(report: Progress | None, i: int, n: int) -> Progress | None:
    """The progress of part i of n, as progress of the whole."""
    return report and (lambda done, total: report(i + done / total if total else i, n))


@contextmanager
def telling_of_compilation(args: Namespace) -> Iterator[None]:
    """Inside, a remark when numba starts to compile kernels, which happens once."""
    from dynsim.reduced.kernels import compilation

    with compilation.on_compile(lambda: remark(args, "compiling kernels, this once: seconds, with contrast up to a minute")):
        yield
