"""Asymptotic level: escape and depth of the orbit flow, as P grows, against the closed forms.

With eps = rho P^-(1 - kappa_s) the leading corrections to the escape time (8) are, relatively, 3 eps log(1 / eps) from the
softmax, rho P^-(1 - kappa_c) from the fall of the global area if Delta > 0, 1 / (z^2 P^kappa_s) from PP; S is their sum. Those of
the depth (9) are rho P^-(1 - kappa_c) if Delta > 0, and P^-(kappa_c - kappa_s) log P from the escape itself; D is their sum.

    (8)   within 2 S                                  the leading corrections themselves
    (15)  within eps + S^2                            it has S to first order; it leaves out that all other areas fall, O(eps)
    (9)   within D
    (16)  within P^-(kappa_c - kappa_s) + S^2         it has D to first order in the logarithm

to all of which the flow adds its own error, FLOW x max(1, 1 / |value|). Bounds fall with P, to 1e-7. Rows whose bound would
exceed one are left out: for Delta < 0, (9) says nothing below P of about 1e15, and far above the depth is below the flow's error.
"""

from math import log

import numpy as np

from dynsim import theory
from dynsim.model.amplitude import Fixed, Law, Uniform
from dynsim.model.problem import Problem
from dynsim.reduced import OrbitField, flow
from dynsim.trajectory import Progress
from dynsim.validation._comparison import Row
from dynsim.validation._workers import in_parallel

LEVEL = "asymptotic"
RTOL = 1e-9
FLOW = 1e-8  # ten times RTOL: what times of events, and correlations of order one, are good to
REGIMES = {"two phases": (0.9, 0.4), "one phase": (0.6, 0.5)}
LAWS: dict[tuple[int, str], Law] = {(1, "z=1"): Fixed(1.0), (3, "z~U"): Uniform(0.8, 1.2)}


def level(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
    """Rows of the asymptotic level; nothing in it is random."""
    sizes = (1e6, 1e18, 1e30) if quick else (1e6, 1e9, 1e12, 1e18, 1e24, 1e30)
    tasks = [(regime, *law, P) for law in LAWS for regime in REGIMES for P in sizes]
    return [row for rows in in_parallel(case, tasks, progress) for row in rows]


def case(regime: str, K: int, law: str, P: float) -> list[Row]:
    """Rows of one problem: escape and depth, each against its limit and its form at this size."""
    kappa_c, kappa_s = REGIMES[regime]
    problem = Problem(K, 0.75, P, kappa_c, kappa_s, LAWS[K, law])
    time, depth = measured(problem)
    eps = problem.rho * P ** -(1 - kappa_s)
    falls = problem.rho * P ** -(1 - kappa_c) if problem.Delta > 0 else 0.0
    S = 3 * eps * log(1 / eps) + falls + 1 / (problem.amplitude.moment(2) * P**kappa_s)
    apart = P ** -(kappa_c - kappa_s)
    name = f"{regime} K={K} {law} P={P:.0e}"
    rows = [
        _row(name, "escape time (8)", time, theory.escape_time(problem), 2 * S),
        _row(name, "escape time (15)", time, theory.escape_time(problem, finite=True), eps + S**2),
        _row(name, "global depth (9)", depth, theory.global_depth(problem), falls + apart * log(P)),
        _row(name, "global depth (16)", depth, theory.global_depth(problem, finite=True), apart + S**2),
    ]
    return [row for row in rows if row.bound < 1]


def measured(problem: Problem) -> tuple[float, float]:
    """Escape time of the all-local query on the orbit flow, and its global FP correlation then."""
    traj = flow(OrbitField(problem), t_end=2 * theory.escape_time(problem), keep=[0.0], rtol=RTOL)
    time = traj.meta["events"]["escape"]
    if time is None:
        return np.nan, np.nan
    return time, float(traj.fp[np.flatnonzero(traj.t == time)[0], :, 1].mean())


def _row(name: str, quantity: str, value: float, expected: float, bound: float) -> Row:
    deviation, bound = abs(value / expected - 1), bound + FLOW * max(1.0, 1.0 / abs(expected))
    note = f"measured {value:.10g}, expected {expected:.10g}"
    return Row(LEVEL, name, quantity, float(deviation), float(bound), bool(deviation <= bound), note)
