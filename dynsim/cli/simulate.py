"""`dynsim simulate`: run the reduced dynamics of one problem and say what came of it."""

from __future__ import annotations

import os
import time
from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dynsim.cli import _report, _show
from dynsim.cli._files import Folder
from dynsim.cli._options import add_output, add_problem, number, problem_from, seed, seed_from, whole
from dynsim.errors import InputError, Interrupted

if TYPE_CHECKING:
    from dynsim.model.partition import Partition
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Progress, Trajectory

ONLY = {"n": ("samples",), "partition": ("samples", "population"), "masks": ("population", "orbit"), "query": ("orbit",)}
ALONE = ("file", "json", "quiet", "command", "run", "default", "line")  # what --from goes with
MOMENTS = {"orbit": 100, "population": 60, "samples": 60}  # kept of gradient flow; explicit partitions have large tables
ESCAPES = 100  # gradient flow of orbits runs for so many of the longest escape time that theory gives


def add_parser(sub: _SubParsersAction) -> None:
    """Declare the options."""
    parser = sub.add_parser(
        "simulate",
        help="run the reduced dynamics of one problem",
        description="Run the reduced dynamics of one problem and say how attention, correlations and loss moved.",
    )
    add_problem(parser)
    group = parser.add_argument_group("run")
    methods = ("samples", "population", "orbit")
    group.add_argument("--method", choices=methods, default="orbit", help="what is averaged over (orbit)")
    group.add_argument("--n", type=whole(1), metavar="N", help="images (samples; 256)")
    group.add_argument("--partition", choices=("blocks", "random", "product"), help="areas (samples, population; blocks)")
    group.add_argument(
        "--masks", choices=("own-area", "mean-field", "exact", "monte-carlo"), help="mask average (population, orbit; own-area)"
    )
    group.add_argument("--query", metavar="LLGG", help="a letter per cluster, L local or G global (orbit; all kinds)")
    group.add_argument("--seed", type=seed, default=0, metavar="S", help='of areas, images and masks; "random" draws one (0)')
    group.add_argument("--steps", type=whole(0), metavar="T", help="steps of gradient descent (500; samples, population)")
    group.add_argument("--eta", type=number, metavar="X", help="step size of gradient descent (1)")
    group.add_argument("--t-end", type=number, metavar="X", help="time of gradient flow, t = eta x step (orbit: 100 escapes)")
    group.add_argument("--rtol", type=number, metavar="X", help="accuracy of gradient flow (1e-5)")
    group = parser.add_argument_group("files")
    group.add_argument("--checkpoint", type=number, metavar="X", help="seconds between checkpoints in --out (10)")
    group.add_argument("--resume", action="store_true", help="go on from what the same command left in --out")
    group.add_argument("--format", choices=("npz", "nc"), default="npz", help="of trajectories; nc needs the extra `data` (npz)")
    group.add_argument("--from", dest="file", metavar="FILE", help="run a result file again and say whether the bits agree")
    add_output(parser, "folder for trajectories, summary.json and a figure (PNG and PDF)")
    parser.set_defaults(run=run, default=parser.get_default)


def run(args: Namespace) -> int:
    """Do it; the exit status. Raises what the library raises."""
    if args.file is not None:
        return _again(args)
    if args.out is None and (args.resume or args.checkpoint is not None):
        raise InputError("--resume and --checkpoint are about the files in --out, got no --out: name the folder")
    for option, methods in ONLY.items():
        if getattr(args, option) is not None and args.method not in methods:
            raise InputError(f"--{option} belongs to --method {' or '.join(methods)}, got --method {args.method}: drop one")
    problem, drawn = problem_from(args), seed_from(args)
    moves = _integrator(args, problem)
    fields = _fields(args, problem, drawn)
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
    record = _report.record(args, problem, drawn, fields, runs, time.perf_counter() - began)
    if folder is not None:
        _write(folder, problem, fields, runs, record)
        _show.remark(args, f"wrote {args.out}")
    if args.json:
        _show.print_json(record)
    else:
        _report.show(record)
    return 0


def _fields(args: Namespace, problem: Problem, drawn: int) -> list[Any]:
    """The fields to run: one, or for orbits one per kind of query."""
    from dynsim import reduced
    from dynsim.analysis import summary

    masks = {} if args.masks is None else {"masks": args.masks}
    if args.method == "orbit":
        first = reduced.OrbitField(problem, args.query, **masks)  # all local where no query is given; refuses a K too large
        others = summary.kinds(problem.K)[1:] if args.query is None else []
        return [first, *(reduced.OrbitField(problem, query, **masks) for query in others)]
    part, n = _partition(args, problem, drawn)
    if args.method == "population":
        return [reduced.PopulationField(problem, part, **masks)]
    from dynsim.model.dataset import sample

    return [reduced.EmpiricalField(part, sample(problem, part, n, seed=drawn))]


def _partition(args: Namespace, problem: Problem, drawn: int) -> tuple[Partition, int]:
    """The partition asked for, and the number of images; what cannot fit into memory is refused."""
    from dynsim.model.partition import Partition

    n = (256 if args.n is None else args.n) if args.method == "samples" else 0
    _check_memory(problem, n)
    if args.partition == "product":
        return Partition.product(problem), n
    return getattr(Partition, args.partition or "blocks")(problem, seed=drawn), n


def _check_memory(problem: Problem, n: int) -> None:
    """Tables of P^2 numbers: some for the run, one for each of the 60 moments kept; and the images."""
    from dynsim.model import memory

    P, F = problem.P, problem.K * problem.N
    tables, images = 6, f" and {n} images" if n else ""
    memory.check(
        8 * P * (tables * (P + F) + MOMENTS["samples"] * (P + 2 * F)) + 64 * P * n,
        f"an explicit partition of P={P:.4g} patches and K={problem.K}{images}",
        "take a smaller --P, --K or --n, or --method orbit, which reaches any P",
    )


def _integrator(args: Namespace, problem: Problem) -> tuple[str, dict]:
    """(integrator, its options): flow for orbits and where --t-end or --rtol ask for it, else descent."""
    descent, flow = args.steps is not None or args.eta is not None, args.t_end is not None or args.rtol is not None
    if descent and flow:
        raise InputError("--t-end and --rtol are of gradient flow, --steps and --eta of gradient descent: give one or the other")
    if descent or not (flow or args.method == "orbit"):
        return "descend", {"eta": 1.0 if args.eta is None else args.eta, "steps": 500 if args.steps is None else args.steps}
    t_end = args.t_end
    if t_end is None:
        from dynsim import theory

        t_end = ESCAPES * max(theory.escape_time(problem, letter) for letter in "LG")
    return "flow", {"t_end": t_end, "rtol": 1e-5 if args.rtol is None else args.rtol, "keep": MOMENTS[args.method]}


def _move(
    args: Namespace, folder: Folder | None, drawn: int, fields: Sequence[Any], moves: tuple[str, dict], progress: Progress | None
) -> Iterator[Trajectory]:
    """Run every field: its Trajectory, one after the other. In a folder: with checkpoints, from the last one on --resume."""
    from dynsim import reduced, runs

    integrator, options = moves
    for i, field in enumerate(fields):
        report = _show.part_of(progress, i, len(fields))
        if folder is None:
            yield getattr(reduced, integrator)(field, progress=report, **options)
            continue
        name = f"trajectory{'-' + field.query if len(fields) > 1 else ''}.{args.format}"
        every = runs.EVERY if args.checkpoint is None else args.checkpoint
        about = {"seed": drawn, "command": args.line, "progress": report}
        yield runs.run(os.path.join(folder.path, name), field, integrator, every, args.resume, **about, **options)


def _write(folder: Folder, problem: Problem, fields: Sequence[Any], runs: list[Trajectory], record: dict) -> None:
    from dynsim import plots

    folder.write_text("summary.json", _show.strict_json(record))
    figure = plots.summary(runs, problem, getattr(fields[0], "part", None))
    for ending in ("png", "pdf"):
        folder.write(f"summary.{ending}", partial(plots.save, figure))


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
        _show.say(f"{args.file} run again, {len(result.trajectory)} moments, {changed}")
        verdict = "all bits agree" if result.same else f"the bits differ, by {result.deviation:.2g} of the largest value at most"
        _show.say(verdict)
    return 0 if result.same or versions else 1
