"""`dynsim simulate`: run the reduced dynamics of one problem and say what came of it."""

import time

from dynsim.cli import _show
from dynsim.cli._files import Folder
from dynsim.cli._options import add_output, add_problem, number, problem_from, seed, seed_from, whole
from dynsim.errors import Diverged, InputError, Interrupted

ONLY = {"n": ("samples",), "partition": ("samples", "population"), "masks": ("population", "orbit"), "query": ("orbit",)}


def add_parser(sub):
    """Declare the options."""
    parser = sub.add_parser(
        "simulate",
        help="run the reduced dynamics of one problem",
        description="Run the reduced dynamics of one problem and say how attention, correlations and loss moved.",
    )
    add_problem(parser)
    group = parser.add_argument_group("run")
    group.add_argument("--method", choices=("samples", "population", "orbit"), default="samples", help="what is averaged over")
    group.add_argument("--n", type=whole(1), metavar="N", help="images (samples; 256)")
    group.add_argument("--partition", choices=("blocks", "random", "product"), help="areas (samples, population; blocks)")
    group.add_argument(
        "--masks", choices=("own-area", "mean-field", "exact", "monte-carlo"), help="mask average (population, orbit; own-area)"
    )
    group.add_argument("--query", metavar="LLGG", help="a letter per cluster, L local or G global (orbit; all kinds)")
    group.add_argument("--seed", type=seed, default=0, metavar="S", help='of areas, images and masks; "random" draws one')
    group.add_argument("--steps", type=whole(0), metavar="T", help="steps of gradient descent (500)")
    group.add_argument("--eta", type=number, metavar="X", help="step size of gradient descent (1)")
    group.add_argument("--t-end", type=number, metavar="X", help="run gradient flow to this time instead, t = eta x step")
    add_output(parser, "folder for trajectory, summary.json and figure (PNG and PDF)")
    parser.set_defaults(run=run)


def run(args):
    """Do it; exit status 0. Raises what the library raises."""
    for option, methods in ONLY.items():
        if getattr(args, option) is not None and args.method not in methods:
            raise InputError(f"--{option} belongs to --method {' or '.join(methods)}, got --method {args.method}: drop one")
    if args.t_end is not None and (args.steps is not None or args.eta is not None):
        raise InputError("--t-end asks for gradient flow, --steps and --eta for gradient descent: give one or the other")
    problem, drawn = problem_from(args), seed_from(args)
    fields = _fields(args, problem, drawn)
    folder = Folder(args.out) if args.out is not None else None
    runs, began = [], time.perf_counter()
    try:
        with _show.progress(args, "simulating") as progress:
            for field in fields:
                runs.append(_integrate(args, field, progress))
    except (Diverged, Interrupted) as error:
        if error.trajectory is not None:
            runs.append(error.trajectory)
        raise _kept(folder, runs, error) from None
    finally:
        if folder is not None and not runs:
            folder.leave()
    record = _record(args, problem, drawn, fields, runs, time.perf_counter() - began)
    if folder is not None:
        _write(folder, problem, runs, record)
        _show.remark(args, f"wrote {args.out}")
    if args.json:
        _show.print_json(record)
    else:
        _print(args, problem, record)
    return 0


def _fields(args, problem, drawn):
    """The fields to run: one, or for orbits one per kind of query."""
    from dynsim import reduced, summary

    masks = {} if args.masks is None else {"masks": args.masks}
    if args.method == "orbit":
        from dynsim.reduced import _closure

        fields = [reduced.OrbitField(problem, query, **masks) for query in (_queries(args) or summary.kinds(problem.K))]
        _show.tell_compiling(args, _closure.orbit_query)
        return fields
    n = args.n or 256 if args.method == "samples" else 0
    _check_memory(problem, n)
    from dynsim.dataset import sample
    from dynsim.partition import Partition

    if args.partition == "product":
        part = Partition.product(problem)
    else:
        part = getattr(Partition, args.partition or "blocks")(problem, seed=drawn)
    if args.method == "population":
        from dynsim.reduced import _closure

        _show.tell_compiling(args, _closure.population_queries)
        return [reduced.PopulationField(problem, part, **masks)]
    from dynsim.reduced import _kernels

    _show.tell_compiling(args, _kernels.empirical_blocks)
    return [reduced.EmpiricalField(part, sample(problem, part, n, seed=drawn))]


def _queries(args):
    return None if args.query is None else [args.query]


def _check_memory(problem, n):
    """Tables of P^2 numbers: some for the run, one for each of the 60 moments kept; and the images."""
    from dynsim import memory

    P, F = problem.P, problem.K * problem.N
    moments, tables = 62, 6
    memory.check(
        8 * P * (tables * (P + F) + moments * (P + 2 * F)) + 64 * P * n,
        f"an explicit partition of P={P:.4g} patches, K={problem.K} and {n} images" if n else
        f"an explicit partition of P={P:.4g} patches and K={problem.K}",
        "take a smaller --P, --K or --n, or --method orbit, which reaches any P",
    )


def _integrate(args, field, progress):
    from dynsim import reduced

    if args.t_end is not None:
        return reduced.flow(field, t_end=args.t_end, progress=progress)
    eta = 1.0 if args.eta is None else args.eta
    return reduced.descend(field, eta=eta, steps=500 if args.steps is None else args.steps, progress=progress)


def _kept(folder, runs, error):
    """The same error, saying what was written."""
    if folder is None or not runs:
        return error
    return type(error)(f"{error}; what was reached is kept in {folder.path}: {_save(folder, runs)}")


def _save(folder, runs):
    from dynsim import storage

    names = ["trajectory" if len(runs) == 1 else f"trajectory-{traj.meta['query']}" for traj in runs]
    for name, traj in zip(names, runs, strict=True):
        folder.write(f"{name}.npz", lambda path, traj=traj: storage.save(path, traj))
    return ", ".join(f"{name}.npz" for name in names)


def _write(folder, problem, runs, record):
    from dynsim import plots

    _save(folder, runs)
    folder.write_text("summary.json", _show.strict_json(record))
    figure = plots.summary(runs if len(runs) > 1 else runs[0], problem)
    for ending in ("png", "pdf"):
        folder.write(f"summary.{ending}", figure.savefig)


def _record(args, problem, drawn, fields, runs, wall):
    """Everything that is told, as one plain object."""
    import dynsim
    from dynsim import summary, theory

    field, traj = fields[0], runs[0]
    sizes = ("K", "gamma", "P", "kappa_c", "kappa_s", "masked", "unmasked", "C_global", "C_local", "n_local")
    parameters = {name: getattr(problem, name) for name in sizes}
    record = {
        "dynsim": dynsim.__version__,
        "method": args.method,
        "integrator": traj.meta["integrator"],
        "seed": drawn,
        "parameters": {**parameters, "L": args.L, "U": args.U},
        "information_gap": problem.Delta,
        "regime": theory.regime(problem),
        "t_end": traj.t[-1],
        "steps": int(traj.step[-1]),
        "loss_start": traj.loss[0],
        "loss": traj.loss[-1],
        "loss_floor": field.floor if args.method == "samples" else theory.loss_floor(problem, field.part),
        "queries": summary.by_kind(field.part, traj),
        "wall_s": wall,
    }
    return record


def _print(args, problem, record):
    """The same for a person."""
    from dynsim.cli._show import say, short, table

    p = record["parameters"]
    say(f"problem   K={p['K']} clusters of P={p['P']:.10g} patches, {p['masked']:.10g} of them masked (gamma={p['gamma']:g})")
    say(f"areas     1 global of {p['C_global']:.6g}, {p['n_local']:.6g} local of {p['C_local']:.4g} patches, in every cluster")
    say(f"Delta     {record['information_gap']:.4g}: {record['regime']}")
    say(f"run       {args.method}, {record['integrator']} to t={record['t_end']:.6g}, {record['wall_s']:.2g} s")
    start, end, floor = (short(record[name]) for name in ("loss_start", "loss", "loss_floor"))
    say(f"loss      {start} -> {end} per masked patch, floor {floor}")
    name = {"L": "local", "G": "global"}
    rows = record["queries"]
    say("\nAttention of a masked query, by kind of query (a letter per cluster) and how it lies in the cluster shown")
    moved = [[" -> ".join(map(short3, row["attention"][sort])) for sort in ("own", "global", "others")] for row in rows]
    first = [[row["query"], name[row["letter"]], f"{row['share']:.3g}"] for row in rows]
    table(["query", "lies", "share", "own area", "global area", "others"], [a + b for a, b in zip(first, moved, strict=True)], 2)
    say("\nCorrelations at the end (0 at the start)")
    ends = [[short3(row[t][s][1]) for t, sorts in PAIRS for s in sorts] for row in rows]
    heads = [f"{t.upper()} {s}" for t, sorts in PAIRS for s in sorts]
    table(["query", "lies", *heads], [a[:2] + b for a, b in zip(first, ends, strict=True)], 2)


PAIRS = (("fp", ("own", "global", "others")), ("pp", ("self", "own", "global", "others")))


def short3(value):
    return _show.short(value, 3)
