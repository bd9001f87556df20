"""`dynsim simulate`: run the reduced dynamics of one problem and say what came of it."""

from __future__ import annotations

import os
import time
from argparse import Namespace, _SubParsersAction
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dynsim.cli import _generalisation, _pictures, _report, _show
from dynsim.cli._files import Folder
from dynsim.cli._options import (
    Formatter,
    add_field_options,
    add_method,
    add_optimiser,
    add_output,
    add_problem,
    chosen_method,
    clusters,
    field_options,
    number,
    optimiser_from,
    problem_from,
    read_options,
    seed,
    seed_from,
    whole,
)
from dynsim.errors import DynsimError, InputError, Interrupted

if TYPE_CHECKING:
    from dynsim.analysis.generalisation import Gap
    from dynsim.model.problem import Problem
    from dynsim.plots.style import Figure
    from dynsim.trajectory import Progress, Trajectory

ALONE = ("file", "json", "quiet", "command", "run", "default", "line")  # what --from goes with
CLUSTERS = 'pictures: clusters whose areas are fitted and predict the run; "auto" chooses among 1 to 8, 0 fits none (3)'
SAVED = 60  # saved times of a gradient flow, where the field does not say
EXAMPLE = """example:
  dynsim simulate --K 4 --gamma 0.8 --P 1e12 --out run     orbits; files in run/
"""


def add_parser(sub: _SubParsersAction) -> Any:
    """The parser, with its options still to be declared."""
    return sub.add_parser(
        "simulate",
        help="run the reduced dynamics of one problem",
        description="Run the reduced dynamics of one problem and say how attention, correlations and loss moved.",
        epilog=EXAMPLE,
        formatter_class=Formatter,
        usage="%(prog)s [options]",
        later=_declare,
    )


def _declare(parser: Any) -> None:
    add_problem(parser)
    add_method(parser.add_argument_group("field"))
    group = parser.add_argument_group("run")
    group.add_argument("--seed", type=seed, default=0, metavar="S", help='of areas, images and masks; "random" draws one (0)')
    group.add_argument("--steps", type=whole(0), metavar="T", help="steps of gradient descent (to 99 %% of the way)")
    group.add_argument("--eta", type=number, metavar="X", help="step size of gradient descent (a safe one)")
    group.add_argument("--t-end", type=number, metavar="X", help="time of gradient flow (orbit: 100 escapes)")
    group.add_argument("--rtol", type=number, metavar="X", help="accuracy of gradient flow (1e-5)")
    group.add_argument("--clusters", type=clusters(0), default=3, metavar="K", help=CLUSTERS)
    add_optimiser(parser)
    group = parser.add_argument_group("files")
    group.add_argument("--checkpoint", type=number, metavar="X", help="seconds between checkpoints in --out (10)")
    group.add_argument("--resume", action="store_true", help="go on from what the command left in --out")
    group.add_argument("--format", choices=("npz", "nc"), default="npz", help="of trajectories; nc needs the extra `data` (npz)")
    group.add_argument("--from", dest="file", metavar="FILE", help="run a result file again and compare every bit")
    group.add_argument("--plot", action="store_true", help="text plots below the report (extra `terminal`)")
    add_output(parser, "folder for trajectories, numbers and a figure")
    add_field_options(parser)
    parser.set_defaults(run=run, default=parser.get_default)


def run(args: Namespace) -> int:
    """Do it; the exit status. Raises what the library raises."""
    if args.file is not None:
        return _again(args)
    if args.out is None and (args.resume or args.checkpoint is not None):
        raise InputError("--resume and --checkpoint are about the files in --out, got no --out: name the folder")
    if args.out is None and args.format != args.default("format"):
        raise InputError(f"--format is of the files in --out, got --format {args.format} and no --out: name the folder")
    if args.plot and args.json:
        raise InputError("--plot is below the report, --json in its place, got both: give one of them")
    problem, drawn = problem_from(args), seed_from(args)
    fields = _fields(args, problem, drawn)
    moves = _integrator(args, problem, fields[0][1])
    folder = Folder(args.out) if args.out is not None else None
    began = time.perf_counter()
    try:
        with _show.telling_of_compilation(args), _show.progress(args, "simulating") as progress:
            runs = list(_move(args, folder, drawn, fields, moves, progress))
    except Interrupted as error:
        how = "--out DIR would keep a run to go on with" if folder is None else "the same command with --resume goes on"
        raise Interrupted(f"{error}; {how}") from None
    finally:
        if folder is not None:
            folder.leave()
    record = _report.record(args, problem, drawn, [field for _, field in fields], runs, time.perf_counter() - began)
    more, show, figure = _beside(args, problem, drawn, fields[0][1], runs)
    record |= more
    if folder is not None:
        _write(args, folder, [label for label, _ in fields], record, figure)
        _show.remark(args, f"wrote {args.out}")
    if args.json:
        _show.print_json(record)
    else:
        _report.show(record)
        show(record)
        if args.plot:
            from dynsim.cli._textplot import text_plot

            try:
                _show.say("\n" + text_plot(runs))
            except InputError as error:  # the run is done, and all else about it has been said
                _show.remark(args, f"no plot: {error}")
    return 0


def _fields(args: Namespace, problem: Problem, drawn: int) -> list[tuple[str, Any]]:
    """The fields to run, each with a label: one, or those that together show the whole problem."""
    from dynsim import reduced

    key = chosen_method(args)
    cls = reduced.field_class(key)
    with _show.progress(args, "reading") as progress:
        options = read_options(cls, field_options(args, key), progress)
    variants = cls.variants(problem, **options)
    labels = ["-".join(str(value) for value in variant.values()) for variant in variants]
    made = [cls.from_options(problem, drawn, **{**options, **variant}) for variant in variants]
    return list(zip(labels if len(variants) > 1 else [""], made, strict=True))


def _integrator(args: Namespace, problem: Problem, field: Any) -> tuple[str, dict]:
    """(integrator, its options): as --steps and --eta or --t-end and --rtol ask, else the field's own."""
    rule = optimiser_from(args)
    descent = args.steps is not None or args.eta is not None or rule is not None
    flow = args.t_end is not None or args.rtol is not None
    if descent and flow:
        raise InputError("--t-end and --rtol are of flow, --steps, --eta and --optimiser of descent: give one or the other")
    integrator = "descend" if descent else "flow" if flow else field.integrator
    given = {name: getattr(args, name) for name in ("eta", "steps", "t_end", "rtol") if getattr(args, name) is not None}
    if integrator == "flow":
        return integrator, {**(field.run_options(problem) if field.integrator == integrator else _flow(problem)), **given}
    own = field.integrator == integrator and not given
    options = field.run_options(problem) if own else field.plain_options(problem)
    if rule is not None:
        options |= {"eta": rule.step_size(options["eta"]), "optimiser": rule}
    return integrator, {**options, **given}


def _flow(problem: Problem) -> dict:
    """Options of a flow, for a field that descends by itself."""
    from dynsim import theory

    return {"t_end": 100 * max(theory.escape_time(problem, area) for area in "LG"), "rtol": 1e-5, "keep": SAVED}


def _move(
    args: Namespace,
    folder: Folder | None,
    drawn: int,
    fields: Sequence[tuple[str, Any]],
    moves: tuple[str, dict],
    progress: Progress | None,
) -> Iterator[Trajectory]:
    """Run every field: its Trajectory, one after the other. In a folder: with checkpoints, from the last one on --resume."""
    from dynsim import reduced, runs

    integrator, options = moves
    for i, (label, field) in enumerate(fields):
        report = _show.part_of(progress, i, len(fields))
        if folder is None:
            yield getattr(reduced, integrator)(field, progress=report, **options)
            continue
        every = runs.EVERY if args.checkpoint is None else args.checkpoint
        about = {"seed": drawn, "command": args.line, "progress": report}
        path = os.path.join(folder.path, _name(args, label))
        if not args.resume and _was_stopped(path):
            raise InputError(f"a run that was stopped is not written over, got {path!r}: add --resume, or name another --out")
        yield runs.run(path, field, integrator, every, args.resume, **about, **options)


def _was_stopped(path: str) -> bool:
    """Whether a file holds a run that can go on."""
    from dynsim.runs import files

    try:
        _, header, _ = files.read(path)
    except DynsimError:  # none, or a damaged one
        return False
    return not header.get("finished") and header.get("state", {}).get("step", 0) > 0


def _beside(
    args: Namespace, problem: Problem, drawn: int, field: Any, runs: list[Trajectory]
) -> tuple[dict, Callable[[dict], None], Callable[[], Figure]]:
    """What is said beside runs: more of the record, how it is shown, and the figure.

    On pictures that is what fitted areas predict, on given images the loss of the population."""
    if field.images is not None:
        with _show.progress(args, "fitting areas") as progress:
            predicted = _pictures.predict(field, runs[0], args.clusters, drawn, progress)
        return (
            _pictures.record(field, runs[0], predicted), _pictures.show, partial(_pictures.figure, field, runs[0], predicted)
        )  # fmt: skip

    def figure(gap: Gap | None = None) -> Figure:
        from dynsim import plots

        return plots.summary(runs, problem, gap=gap)

    from dynsim.analysis import generalisation

    gap = generalisation.of_run(field, runs[0], problem) if len(runs) == 1 else None
    if gap is None:
        return {}, lambda record: None, figure
    return _generalisation.record(gap), _generalisation.show, partial(figure, gap)


def _name(args: Namespace, label: str) -> str:
    """Name of the file of a run."""
    return f"trajectory{label and '-' + label}.{args.format}"


def _write(
    args: Namespace, folder: Folder, labels: Sequence[str], record: dict, figure: Callable[[], Figure]
) -> None:
    """The record, and the figure, in the folder of the trajectories."""
    from dynsim import plots

    files = [_name(args, label) for label in labels]
    folder.write_text("summary.json", _show.strict_json({**record, "trajectories": files}))
    drawn = figure()
    for ending in ("png", "pdf"):
        folder.write(f"summary.{ending}", partial(plots.save, drawn))


def _again(args: Namespace) -> int:
    """Run a file again and compare; exit status 1 where the bits differ although the versions agree."""
    from dynsim import runs

    given = [name for name, value in vars(args).items() if name not in ALONE and value != args.default(name)]
    if given:
        name = given[0].replace("_", "-")
        raise InputError(f"--from takes the whole run from the file, got --{name} too: drop one of them")
    with _show.telling_of_compilation(args), _show.progress(args, "running again") as progress:
        result = runs.rerun(args.file, progress=progress)
    versions = {name: {"then": then, "now": now} for name, (then, now) in result.versions.items()}
    record = {"file": args.file, "same": result.same, "deviation": result.deviation, "versions": versions}
    if args.json:
        _show.print_json(record)
    else:
        changed = ", ".join(f"{name} {pair['then']} -> {pair['now']}" for name, pair in versions.items()) or "the same versions"
        _show.say(f"{args.file} run again, {len(result.trajectory)} saved times, {changed}")
        verdict = "all bits agree" if result.same else f"the bits differ, by {result.deviation:.2g} of the largest value at most"
        _show.say(verdict)
    return 0 if result.same or versions else 1
