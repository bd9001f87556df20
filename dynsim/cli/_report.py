"""What `dynsim simulate` tells: one plain object, and the same as text and tables for a person."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynsim import __version__
from dynsim.cli._options import chosen_method, field_options
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
    """All that the report says of these runs, as one plain object."""
    from dynsim import theory

    options = field_options(args, chosen_method(args))
    law = {"L": args.L, "U": args.U}
    if not len(runs[0].layout.query_type):  # pictures know no areas, nor what would follow from their sizes
        about: dict = {"parameters": fields[0].describe()}
    else:
        about = {
            "parameters": {**{name: getattr(problem, name) for name in SIZES}, **law},
            "information_gap": problem.Delta,
            "regime": theory.regime(problem),
        }
    result = {
        "dynsim": __version__,
        "method": runs[0].meta["method"],
        "objective": fields[0].objective,
        "integrator": runs[0].meta["integrator"],
        "seed": seed,
        **about,
        "t_end": runs[0].t[-1],
        "status": runs[0].meta["status"],
    }
    until = runs[0].meta.get("until")
    if until is not None and str(until) in result["status"]:
        result["because"] = fields[0].events[until]
    if result["integrator"] == "descend":
        result.update(steps=int(runs[0].step[-1]), eta=runs[0].meta["eta"], optimiser=runs[0].meta["optimiser"])
        result["curvature_bound"] = bound = fields[0].curvature()
        fixed = fields[0].deterministic and fields[0].conservative and result["optimiser"]["name"] == "descent"
        result["monotone"] = bound is not None and fixed and result["eta"] * bound < 2
    result.update(_losses(fields, runs))
    result.update(fields[0].thresholds(problem, **options))
    rows = [row for field, traj in zip(fields, runs, strict=True) for row in _queries(problem, field, traj, options)]
    return {**result, "phases": _phases(problem, fields, runs, options), "queries": rows, "wall_s": wall}


def _losses(fields: Sequence[Any], runs: Sequence[Trajectory]) -> dict:
    """First and last loss, the floor, and the losses of the terms of a sum: means over runs by their share of the patches."""
    share = [sum(traj.layout.share.values()) or 1.0 for traj in runs]
    mean = lambda values: sum(s * x for s, x in zip(share, values, strict=True)) / sum(share)  # noqa: E731
    floors = [field.floor for field in fields]
    found: dict = {
        "loss_start": mean([traj.loss[0] for traj in runs]),
        "loss": mean([traj.loss[-1] for traj in runs]),
        "loss_floor": None if None in floors else mean(floors),
    }
    terms = {name: [mean([traj.terms[name][at] for traj in runs]) for at in (0, -1)] for name in runs[0].terms}
    return {**found, "terms": terms} if terms else found


def _phases(problem: Problem, fields: Sequence[Any], runs: Sequence[Trajectory], options: dict) -> list[dict]:
    """Measured phases beside predicted ones, for each run with local queries on which theory has something to say."""
    from dynsim.analysis import phase_theory

    found = []
    for field, traj in zip(fields, runs, strict=True):
        local = [query for query in traj.layout.share if "L" in query]
        if not phase_theory.has_theory(traj) or not local or len(traj) < 3:
            continue
        if field.predictions(problem, local[0], closed=False, **options).get("global_depth_theory") is not None:
            query = local[0] if len(traj.layout.share) == 1 else "local"
            found.append({"query": query, **phase_theory.beside(problem, traj, field.floor)})
    return found


def _queries(problem: Problem, field: Any, traj: Trajectory, options: dict) -> list[dict]:
    """One row for each query type of a run, with event times where the run has found them, and what theory predicts of them."""
    from dynsim.analysis import phase_theory, summary

    rows = []
    alone = len(traj.layout.share) == 1
    for moves in summary.by_query_type(traj):
        row = {"query": moves["query"], "share": moves["share"]}
        if events := summary.events_of(traj, moves["query"]):
            row |= {f"{name}_time": t for name, t in events.items()}
            row |= {"global_depth": summary.global_depth(traj, events.get("escape"), moves["query"])}
            predicted = field.predictions(problem, moves["query"], **options)
            row |= predicted if phase_theory.has_theory(traj) else dict.fromkeys(predicted)
        if alone:
            row |= {"loss_start": traj.loss[0], "loss": traj.loss[-1], "loss_floor": field.floor}
        rows.append({**row, "clusters": moves["clusters"]})
    return rows


def show(result: dict) -> None:
    """Print it for a person."""
    p, rows = result["parameters"], result["queries"]
    rule = result.get("optimiser", {"name": "descent"})["name"]
    how = f"gradient {GRADIENT[result['integrator']]}" if rule == "descent" else f"{rule} descent"
    run = f"{result['method']}, {how} to t={short(result['t_end'], 6)}"
    steps = f" ({result['steps']} steps at eta={result['eta']:g})" if "steps" in result else ""
    start, end, floor = (short(result[name]) for name in ("loss_start", "loss", "loss_floor"))
    if "regime" in result:
        say(f"problem   K={p['K']} clusters of P={p['P']:.10g} patches, {p['masked']:.10g} of them masked (gamma={p['gamma']:g})")
        local = f"{p['n_local']:.6g} local of {p['C_local']:.4g} patches"
        say(f"areas     1 global of {p['C_global']:.6g} and {local}, in every cluster")
        say(f"Delta     {result['information_gap']:.4g}: {result['regime']}")
    else:
        say(f"pictures  {p['n']} rows of P={p['P']} patches of {p['d']} numbers, on a grid of {p['grid'][0]} x {p['grid'][1]}")
    say(f"run       {run}{steps}, {result['wall_s']:.2g} s")
    say(f"ended     {': '.join(filter(None, [result['status'].removeprefix('ended '), result.get('because')]))}")
    if safe := _step_size(result):
        say(f"step      {safe}")
    unit = " per masked patch" if result["objective"] == "reconstruction" else ""  # (D2) counts pairs, a sum both
    say(f"loss      {start} -> {end}{unit}, floor {floor}{_way(result)}")
    for name, (first, last) in result.get("terms", {}).items():
        say(f"          {name} {short(first)} -> {short(last)}")
    _show_phases(result["phases"])
    if rows and "escape_time_closed" in rows[0] and "collapse_time" not in rows[0]:
        say("\nEscape: own attention passes 1/2. Depth: FP with the global area by then. Then theory, at this P and large P")
        columns = ["query", "share", "escape time", "at this P", "large P", "depth", "at this P", "large P", "loss", "floor"]
        names = [f"{what}{which}" for what in ("escape_time", "global_depth") for which in ("", "_closed", "_theory")]
        names += ["loss", "loss_floor"]
        table(columns, [[r["query"], short(r["share"], 3), *(short(r[name]) for name in names)] for r in rows])
    if rows and "collapse_time" in rows[0]:
        _show_collapse(result)
    if not rows:
        return
    which = "query" if result["objective"] == "contrastive" else "masked query"
    say(f"\nAttention of a {which}, by query type (L local, G global per cluster) and how it lies in a cluster")
    lines = [(r, c, [r["query"], LIES[c["area"]]]) for r in rows for c in r["clusters"]]
    roles = ("own", "global", "others")
    moved = [[*head, *(_arrow(ends) for ends in c["attention"].values())] for _, c, head in lines]
    table(["query", "lies", "own area", "global area", "others", "masked"], moved, left=2)
    say("\nCorrelations at the end (0 at the start)")
    pairs = [("fp", role) for role in roles] + [("pp", role) for role in ("self", *roles)]
    ends = [[*head, *(short(c[name][role][1], 2) for name, role in pairs)] for _, c, head in lines]
    table(["query", "lies", "FP own", "global", "others", "PP self", "own", "global", "others"], ends, left=2)


def _show_collapse(result: dict) -> None:
    """When attention of each query type collapsed, and what theory says of that."""
    say("\nCollapse: attention on the global area passes 1/2. Escape: own attention does. Then theory, at this P and large P")
    names = [f"{what}_time{which}" for what in ("collapse", "escape") for which in ("", "_closed", "_theory")]
    columns = ["query", "share", "collapse time", "at this P", "large P", "escape time", "at this P", "large P"]
    table(columns, [[r["query"], short(r["share"], 3), *(short(r.get(name)) for name in names)] for r in result["queries"]])
    if result.get("critical_weight") is not None:
        whole = "all at no weight" if result["collapse_weight"] is None else f"all from {short(result['collapse_weight'])}"
        weights = f"part of it from weight {short(result['critical_weight'])}, {whole}"
        say(f"After theory, attention of local queries collapses, {weights}; here {short(result['collapsed_attention'])} of it")


def _step_size(result: dict) -> str | None:
    """Where a safe step size comes from."""
    if not result.get("monotone"):
        return None
    bound = short(result["curvature_bound"])
    return f"eta is below 2 / c, c = {bound} an upper bound of the curvature: no step can raise the loss"


def _way(result: dict) -> str:
    """How much of the way from the first loss to the floor is done."""
    start, end, floor = (result[name] for name in ("loss_start", "loss", "loss_floor"))
    return "" if floor is None or start <= floor else f", {100 * (start - end) / (start - floor):.4g} % of the way there"


def _show_phases(found: list[dict]) -> None:
    """Phases, with theory beside them, and why they differ."""
    if not found:
        return
    say("\nPhases of local queries: I, the global FP moves faster; II, the own FP does, until own attention passes 1/2.")
    say(f"Delta predicts {found[0]['regime_theory']}, with ends, beside the measured ones, at this P and at large P")
    columns = ["query", "phases", "I ends", "at this P", "large P", "II ends", "at this P", "large P", "1 % left"]
    rows = []
    for run in found:
        ends = [[phase.get(name) for name in ("end", "end_closed", "end_theory")] for phase in run["phases"]]
        rows.append([run["query"], run["regime"], *(short(value) for value in [*ends[0], *ends[1], ends[2][0]])])
    table(columns, rows, left=2)
    for text in dict.fromkeys(text for run in found for text in run["why"]):
        say(f"why       {text}")


def _arrow(ends: Sequence[float]) -> str:
    text = " -> ".join(short(value, 2) for value in ends)
    return "-" if text == "- -> -" else text
