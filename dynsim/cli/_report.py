"""What `dynsim simulate` tells: one plain object, and the same as text and tables for a person."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynsim import __version__
from dynsim.cli._show import say, short, table

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Trajectory

SIZES = ("K", "gamma", "P", "kappa_c", "kappa_s", "masked", "unmasked", "C_global", "C_local", "n_local")
GRADIENT = {"flow": "flow", "descend": "descent"}
LIES = {"L": "local", "G": "global"}


def record(
    args: Namespace, problem: Problem, seed: int, fields: Sequence[Any], runs: Sequence[Trajectory], wall: float
) -> dict:
    """Everything that is told of these runs, as one plain object."""
    from dynsim import theory

    orbit = args.method == "orbit"
    result = {
        "dynsim": __version__,
        "method": args.method,
        "integrator": runs[0].meta["integrator"],
        "seed": seed,
        "parameters": {**{name: getattr(problem, name) for name in SIZES}, "L": args.L, "U": args.U},
        "information_gap": problem.Delta,
        "regime": theory.regime(problem),
        "t_end": runs[0].t[-1],
    }
    if result["integrator"] == "descend":
        result.update(steps=int(runs[0].step[-1]), eta=runs[0].meta["eta"])
    result.update(_orbit(problem, fields, runs) if orbit else _explicit(args, problem, fields[0], runs[0]))
    result["wall_s"] = wall
    return result


def _explicit(args: Namespace, problem: Problem, field: Any, traj: Trajectory) -> dict:
    from dynsim import theory
    from dynsim.analysis import summary

    return {
        "loss_start": traj.loss[0],
        "loss": traj.loss[-1],
        "loss_floor": field.floor if args.method == "samples" else theory.loss_floor(problem, field.part),
        "queries": summary.by_kind(field.part, traj),
    }


def _orbit(problem: Problem, fields: Sequence[Any], runs: Sequence[Trajectory]) -> dict:
    from dynsim.analysis import summary

    queries = []
    kinds = {max(field.query) for field in fields}  # "L" where a query is local in any cluster: whose attention is measured
    predicted = {kind: _predicted(problem, kind) for kind in kinds}
    for field, traj in zip(fields, runs, strict=True):
        moves = summary.by_orbit(field, traj)
        escape = traj.meta.get("events", {}).get("escape")
        queries.append(
            {
                "query": field.query,
                "share": moves["share"],
                "escape_time": escape,
                "global_depth": summary.global_depth(field, traj, escape),
                **predicted[max(field.query)],
                "loss_start": traj.loss[0],
                "loss": traj.loss[-1],
                "loss_floor": field.floor,
                "clusters": moves["clusters"],
            }
        )
    total = sum(row["share"] for row in queries)
    losses = {name: sum(row["share"] * row[name] for row in queries) / total for name in ("loss_start", "loss", "loss_floor")}
    return {**losses, "queries": queries}


def _predicted(problem: Problem, kind: str) -> dict:
    """What theory says of a local or a global query: for large P (8, 11, 9) and at this P (15, 16)."""
    from dynsim import theory

    times = {"escape_time_theory": False, "escape_time_closed": True}
    depths = {"global_depth_theory": False, "global_depth_closed": True}
    return {
        **{name: theory.escape_time(problem, kind, finite) for name, finite in times.items()},
        **{name: theory.global_depth(problem, finite) if kind == "L" else None for name, finite in depths.items()},
    }


def show(result: dict) -> None:
    """Print it for a person."""
    p, rows = result["parameters"], result["queries"]
    run = f"{result['method']}, gradient {GRADIENT[result['integrator']]} to t={short(result['t_end'], 6)}"
    steps = f" ({result['steps']} steps at eta={result['eta']:g})" if "steps" in result else ""
    start, end, floor = (short(result[name]) for name in ("loss_start", "loss", "loss_floor"))
    say(f"problem   K={p['K']} clusters of P={p['P']:.10g} patches, {p['masked']:.10g} of them masked (gamma={p['gamma']:g})")
    say(f"areas     1 global of {p['C_global']:.6g} and {p['n_local']:.6g} local of {p['C_local']:.4g} patches, in every cluster")
    say(f"Delta     {result['information_gap']:.4g}: {result['regime']}")
    say(f"run       {run}{steps}, {result['wall_s']:.2g} s")
    say(f"loss      {start} -> {end} per masked patch, floor {floor}")
    if "escape_time" in rows[0]:
        say("\nEscape: own attention passes 1/2. Depth: FP with the global area by then. Then theory, at this P and large P")
        columns = ["query", "share", "escape time", "at this P", "large P", "depth", "at this P", "large P", "loss", "floor"]
        names = [f"{what}{which}" for what in ("escape_time", "global_depth") for which in ("", "_closed", "_theory")]
        names += ["loss", "loss_floor"]
        table(columns, [[r["query"], short(r["share"], 3), *(short(r[name]) for name in names)] for r in rows])
    say("\nAttention of a masked query, by kind (a letter per cluster) and how it lies in a cluster")
    lines = [(r, c, [r["query"], LIES[c["letter"]]]) for r in rows for c in r["clusters"]]
    sorts = ("own", "global", "others")
    moved = [[*head, *(_arrow(ends) for ends in c["attention"].values())] for _, c, head in lines]
    table(["query", "lies", "own area", "global area", "others", "masked"], moved, left=2)
    say("\nCorrelations at the end (0 at the start)")
    pairs = [("fp", s) for s in sorts] + [("pp", s) for s in ("self", *sorts)]
    ends = [[*head, *(short(c[name][sort][1], 2) for name, sort in pairs)] for _, c, head in lines]
    table(["query", "lies", "FP own", "global", "others", "PP self", "own", "global", "others"], ends, left=2)


def _arrow(ends: Sequence[float]) -> str:
    told = " -> ".join(short(value, 2) for value in ends)
    return "-" if told == "- -> -" else told
