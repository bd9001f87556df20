"""`dynsim sweep`: the same measurement over a grid of problems, in a store that can be resumed."""

from argparse import Namespace, _SubParsersAction
from typing import Any

from dynsim.cli import _show
from dynsim.cli._options import (
    PROBLEM,
    Formatter,
    add_field_options,
    add_method,
    chosen_method,
    field_options,
    given_options,
    number,
    read_axes,
    whole,
)
from dynsim.errors import FileError, InputError

RUN = ("keep", "rtol", "t_end", "eta", "steps", "generalisation")


def add_parser(sub: _SubParsersAction) -> Any:
    """The parser, with its options still to be declared."""
    return sub.add_parser(
        "sweep",
        help="run a grid of problems into a store that can be resumed",
        description="Measure every point of a grid of problems into one SQLite file. The same command goes on where it was "
        "stopped; another grid extends the file. AXIS: a number, a list 0.1,0.2 or a range start:stop:count[:log]; options that "
        "are texts, or yes and no, take lists.",
        formatter_class=Formatter,
        usage="%(prog)s [options] --out FILE",
        later=_declare,
    )


def _declare(parser: Any) -> None:
    group = parser.add_argument_group("grid")
    for name, default, text in PROBLEM:
        group.add_argument("--" + name.replace("_", "-"), metavar="AXIS", help=f"{text} ({default})")
    group.add_argument("--points", metavar="CSV", help="a list instead of a grid: a CSV file, names of fields, options in line 1")
    group.add_argument("--seeds", type=whole(1), metavar="N", help="runs of every point, seeds 0 to N - 1 (random methods; 1)")
    add_method(parser.add_argument_group("field"), "full, or your own package.module:function")
    group = parser.add_argument_group("run")
    group.add_argument("--keep", type=whole(2), metavar="N", help="saved times; 20 or more find the end of phase I (flow; 2)")
    group.add_argument("--rtol", type=number, metavar="X", help="accuracy of gradient flow (1e-5)")
    group.add_argument("--t-end", type=number, metavar="X", help="end of gradient flow (past the last event)")
    group.add_argument("--eta", type=number, metavar="X", help="step size of gradient descent (1)")
    group.add_argument("--steps", type=whole(1), metavar="T", help="steps of gradient descent (500)")
    text = "also the population loss at the end, and the gap (methods on given images)"
    group.add_argument("--generalisation", action="store_true", default=None, help=text)
    group.add_argument("--workers", type=whole(1), metavar="N", help="worker processes on this machine (one per core)")
    group.add_argument("--scheduler", metavar="ADDRESS", help="run on the Dask cluster of this scheduler instead")
    group.add_argument("--retry", action="store_true", help="compute failed points again")
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="FILE", required=True, help="the store, one SQLite file; made where there is none")
    group.add_argument("--export", metavar="FILE", help="then write rows as .csv or .nc; only that where nothing else is asked")
    group.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else there")
    group.add_argument("--quiet", action="store_true", help="no plan, progress or remarks on standard error")
    add_field_options(parser, axis=True)
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Do it; exit status 0. Raises what the library raises."""
    from dynsim import sweep

    grid = {name: getattr(args, name) for name, _, _ in PROBLEM if getattr(args, name) is not None}
    read_axes(args)
    result = {"store": args.out}
    asked = bool(given_options(args)) or args.method is not None or args.seeds is not None or args.retry
    if grid or asked or args.points or not args.export:
        result.update(_compute(args, grid))
    if args.export:
        result.update(exported=args.export, rows=sweep.export(args.out, args.export))
    if args.json:
        _show.print_json(result)
        return 0
    if "points" in result:
        text = "{computed} of {points} points computed, {failed} of them failed, {known} were there; {seconds:.3g} s"
        _show.say(text.format(**result))
        if result["failed"]:
            _show.say("a failed point is a row with status `failed` and its reason; --retry computes it again; the first:")
            _show.say(f"    {result['reason']}")
    if args.export:
        _show.say(f"{result['rows']} rows written to {args.export}")
    return 0


def _compute(args: Namespace, grid: dict[str, str]) -> dict:
    from dynsim import reduced, sweep

    own = args.method is not None and (args.method == "full" or ":" in args.method)
    method = args.method if own else chosen_method(args)
    options = field_options(args, method) if method in reduced.FIELDS else given_options(args)
    axes: dict = {name: sweep.parse_axis(text, whole=name in ("K", "P")) for name, text in grid.items()}
    axes |= {name: value for name, value in options.items() if isinstance(value, tuple)}
    options = {name: value for name, value in options.items() if name not in axes}
    options |= {name: getattr(args, name) for name in RUN if getattr(args, name) is not None}
    if args.points and (grid or axes):
        raise InputError("a sweep takes a grid or --points, got both: drop one")
    with _show.progress(args, "sweeping") as progress:
        return sweep.run(
            args.out, None if args.points else axes, _listed(args.points) if args.points else None, method, options,
            1 if args.seeds is None else args.seeds, args.workers, args.scheduler, args.retry, progress,
            tell=lambda text: _show.remark(args, text),
        )


def _listed(path: str) -> list[dict[str, str]]:
    import csv

    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        if any(None in row for row in rows):
            raise ValueError("a line has more values than there are names")
        return [{name: text for name, text in row.items() if text} for row in rows]
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read the points in {path!r} ({error}): give a CSV file with a line of names") from None
