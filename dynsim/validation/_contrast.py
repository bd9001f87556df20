"""Contrast in the population: fresh pairs on explicit partitions against orbits, and runs of orbits against closed forms.

Statistical rows. PAIRS fresh pairs of views, and for a mixed objective as many fresh images, at every step, on PARTS random
partitions; the orbit run takes the same steps. m = PAIRS - 1 negatives make contrast weaker by m / (m + 1)
(docs/contrastive.md), so the weight is that much larger. Correlations and attention are means over partitions and over all
queries of one type and areas of one role, at SAVED times; one factor is fitted to all of them. Bounds are what closures are taken
to be good to, some four standard errors over partitions or more; the errors stand in the notes.

Asymptotic rows. With c = C_g / P and eps = rho c, relatively,

    (E8)   4 eps + 8 eps^2 log(1 / eps)              the next terms of (E9)
    (E9)   2 (n_l (C_l / C_g)^2 + P^2 / C_g^3)       local areas, and PP and counts
    (E12)  (n_l (C_l / P)^2 + 1 / C_g) / c + 1 - B   the same beside the smallest A_g, of the order of c; of global queries (12)
    (E14)  2 c tau / A_g^2                           c in f, to first order in (E12), and its square
    (E18)  c^2 / (1 - A_g)                           the square of what (15) takes to first order, beside what is left

to all of which the flow adds FLOW.
"""

from dataclasses import dataclass, field
from math import log, nan

import numpy as np

from dynsim import theory
from dynsim.model.amplitude import Fixed, Uniform
from dynsim.model.areas import Layout
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import ContrastiveField, ContrastiveOrbitField, MinibatchField, MixedOrbitField, SumField, descend, flow
from dynsim.reduced.contrastive import FreshPairs
from dynsim.reduced.field import Field
from dynsim.trajectory import Progress, Trajectory
from dynsim.validation._comparison import Row
from dynsim.validation._workers import in_parallel

PAIRS, PARTS = 400, 12
BOUNDS = {"fp": 0.01, "pp": 0.03, "attention": 0.01, "loss": 0.01, "collapse time": 0.01}
RANDOM = Problem(K=3, gamma=0.75, P=100, kappa_c=0.85, kappa_s=0.45, amplitude=Uniform(0.8, 1.2))
HALF = Problem(K=3, gamma=0.5, P=100, kappa_c=log(50) / log(100), kappa_s=0.45, amplitude=Fixed(1.0))
WIDE = Problem(K=3, gamma=0.75, P=196, kappa_c=0.85, kappa_s=0.45, amplitude=Uniform(0.8, 1.2))
WIDE_HALF = Problem(K=3, gamma=0.5, P=196, kappa_c=log(98) / log(196), kappa_s=0.45, amplitude=Uniform(0.8, 1.2))
SAVED, TAU = 3, 0.5
FLOW = 1e-5  # rtol 1e-6 of a run along a balance, with a margin of ten


@dataclass
class Found:
    """What one run says: by quantity, for every time and role, sums and numbers by type (2, types); losses; collapse time."""

    tables: dict[str, list[np.ndarray]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    collapse: float = nan


# ---- statistical


def statistical(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
    """Rows of pairs against orbits."""
    cases = [(RANDOM, 0.5, 4.0, 150), (HALF, None, 25.0, 360)]
    if not quick:
        cases += [(RANDOM, 2.0, 4.0, 150), (WIDE, 0.5, 4.0, 150), (WIDE_HALF, None, 50.0, 360)]
    tasks = [(*case, [seed, part]) for case in cases for part in range(PARTS)]
    runs = in_parallel(pairs_run, tasks, progress)
    groups = [runs[i : i + PARTS] for i in range(0, len(runs), PARTS)]
    return [row for case, group in zip(cases, groups, strict=True) for row in judge(case_name(*case), orbit_run(*case), group)]


def case_name(problem: Problem, weight: float | None, eta: float, steps: int) -> str:
    """How a case is called."""
    law = "z=1" if problem.amplitude.L == problem.amplitude.U else "z~U"
    return f"pairs K={problem.K} {law} P={problem.P} " + ("contrast alone" if weight is None else f"weight {weight:g}")


def pairs_run(problem: Problem, weight: float | None, eta: float, steps: int, seed: list[int]) -> Found:
    """What a run on PAIRS fresh pairs a step says, and on as many images where there is a weight."""
    part, at = Partition.random(problem, seed), 1000 * seed[0] + 2 * seed[1]
    pairs = ContrastiveField(part, FreshPairs(problem, part, PAIRS, at), temperature=TAU)
    fields: list[tuple[float, Field]] = [((1.0 if weight is None else weight * problem.P) * PAIRS / (PAIRS - 1.0), pairs)]
    if weight is not None:
        fields.insert(0, (1.0, MinibatchField.fresh(problem, part, PAIRS, seed=at + 1)))
    return found(descend(SumField(fields), eta=eta, steps=steps, keep=1), TAU * log(PAIRS))


def orbit_run(problem: Problem, weight: float | None, eta: float, steps: int) -> Found:
    """What the same run by orbits says."""
    orbits = ContrastiveOrbitField(problem, TAU) if weight is None else MixedOrbitField(problem, weight, TAU)
    return found(descend(orbits, eta=eta, steps=steps, keep=1), 0.0)


def found(run: Trajectory, log_n: float) -> Found:
    """Sums and numbers by query type, area type and role, at SAVED times; losses of the terms, mean along the run; time at which
    attention of local queries on the global area passes one half (NaN: never)."""
    layout, result = run.layout, Found()
    group = np.array([2 * str(query).count("G") for query in layout.query_type]) + layout.is_global
    groups = np.arange(2 * (str(layout.query_type[0]).count("L") + str(layout.query_type[0]).count("G")) + 2)
    here = group == groups[:, None]
    for at in np.linspace(0, len(run) - 1, SAVED + 1).astype(int)[1:]:
        for name, roles in layout.areas(fp=run.fp[at], pp=run.pp[at], attention=run.attention[at]).items():
            for role, values in roles.items():
                if role not in ("masked", "self"):
                    known = here & np.isfinite(values)
                    total = np.where(known, values, 0.0).sum(axis=1)
                    result.tables.setdefault(name, []).append(np.stack([total, known.sum(axis=1)]))
    for name, loss in run.terms.items():
        result.losses[name] = float(np.mean(loss)) - (log_n if name == "contrastive" else 0.0)
    local = ~layout.is_global
    weight = weights_of(layout)[local]
    seen = np.array([layout.areas(attention=a)["attention"]["global"][local] @ weight / weight.sum() for a in run.attention])
    later = int(np.argmax(seen > 0.5))
    if later:
        result.collapse = float(np.interp(0.5, seen[later - 1 : later + 1], run.t[later - 1 : later + 1]))
    return result


def weights_of(layout: Layout) -> np.ndarray:
    """Share of all pairs of patch and cluster that each pair of the layout stands for, up to a factor."""
    number = {query: int((layout.query_type == query).sum()) for query in layout.share}
    return np.array([layout.share[str(query)] / number[str(query)] for query in layout.query_type])


def judge(name: str, orbit: Found, runs: list[Found]) -> list[Row]:
    """Rows of one case: by what factor the mean over partitions is the orbit."""
    rows = []
    for quantity, tables in orbit.tables.items():
        if quantity == "pp" and len(orbit.losses) == 1:
            continue  # the same for all queries: no mean over them, and overlaps of a partition scatter it by 6 %
        y = np.array([total / np.maximum(number, 1) for total, number in tables])
        sums = [np.array(run.tables[quantity]) for run in runs]
        each = [ratio_by(x[:, 0], x[:, 1], y) for x in sums]
        whole = np.sum(sums, axis=0)
        rows.append(_row(name, quantity, ratio_by(whole[:, 0], whole[:, 1], y) - 1, each))
    for term, loss in orbit.losses.items():
        each = [run.losses[term] / loss for run in runs]
        rows.append(_row(name, f"loss, {term}", float(np.mean(each)) - 1, each))
    if np.isfinite(orbit.collapse):
        each = [run.collapse / orbit.collapse for run in runs]
        rows.append(_row(name, "collapse time", float(np.mean(each)) - 1, each))
    return rows


def ratio_by(total: np.ndarray, number: np.ndarray, y: np.ndarray) -> float:
    """By what factor means, total / number, are y, each weighted with its number."""
    return float((total * y).sum() / (number * y * y).sum())


def _row(case: str, quantity: str, off: float, each: list[float]) -> Row:
    bound = BOUNDS[quantity.split(",")[0]]
    error = float(np.std(each, ddof=1) / np.sqrt(len(each)))
    note = f"off by {off:+.2%} +- {error:.2%} over {len(each)} partitions, {PAIRS} fresh pairs a step"
    return Row("statistical", case, quantity, abs(off), bound, bool(abs(off) <= bound), note)


# ---- asymptotic


def asymptotic(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
    """Rows of orbit runs against closed forms; nothing in it is random."""
    sizes = (1e12, 1e30) if quick else (1e12, 1e20, 1e30)
    tasks: list[tuple] = [("collapse", P, 1.0) for P in (1e6, *sizes)]
    tasks += [("balance", P, weight) for P in sizes for weight in (0.5, 1.5, 2.0, 2.5)]
    tasks += [("delay", 1e12, weight) for weight in ((1.5,) if quick else (1.2, 1.5, 2.0))]
    return [row for rows in in_parallel(closed_forms, tasks, progress) for row in rows]


def closed_forms(what: str, P: float, weight: float) -> list[Row]:
    """Rows of one run."""
    problem = Problem(K=4, gamma=0.8, P=P, kappa_c=0.9, kappa_s=0.4, amplitude=Fixed(1.0))
    c, free = problem.C_global / P, theory.escape_time(problem)
    name = f"{what} K=4 z=1 P={P:.0e}" + ("" if what == "collapse" else f" weight {weight:g}")
    others = problem.n_local * (problem.C_local / P) ** 2 + 1 / problem.C_global
    if what == "collapse":
        t = 2 * theory.collapse_time(problem)
        time = flow(ContrastiveOrbitField(problem), t_end=t, keep=[t], rtol=1e-8).meta["events"]["collapse"]
        eps = problem.rho * c
        return [
            _closed(name, "collapse time (E8)", time, theory.collapse_time(problem), 4 * eps + 8 * eps**2 * log(1 / eps)),
            _closed(name, "collapse time (E9)", time, theory.collapse_time(problem, finite=True), 2 * others / c**2),
        ]
    if what == "balance":
        t = 1e-2 * free
        found = flow(MixedOrbitField(problem, weight), t_end=t, keep=[t], rtol=1e-6).attention[-1, 0, 0, 1]
        limit, finite = (theory.collapsed_attention(problem, weight, finite=finite) for finite in (False, True))
        late = float(np.sqrt(problem.K / (2 * problem.gamma * t)))
        rows = [_closed(name, "attention (E12)", found, finite, others / c + late)]
        return rows + ([_closed(name, "attention (E14)", found, limit, 2 * c * TAU / limit**2)] if limit else [])
    expected = theory.mixed_escape_time(problem, weight, finite=True)
    time = flow(MixedOrbitField(problem, weight), t_end=1.2 * expected, keep=[0.0], rtol=1e-6).meta["events"]["escape"]
    left = free / theory.mixed_escape_time(problem, weight)
    return [_closed(name, "escape time (E18)", time, expected, c**2 / left)]


def _closed(case: str, quantity: str, value: float | None, expected: float, bound: float) -> Row:
    off = abs(value / expected - 1) if value is not None else np.inf
    note = f"measured {value:.8g}, expected {expected:.8g}" if value is not None else "never"
    return Row("asymptotic", case, quantity, float(off), bound + FLOW, bool(off <= bound + FLOW), note)
