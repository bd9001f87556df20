"""Finite-size level: the population on explicit partitions against orbits, both on the same closure.

Product partitions: orbits are the same dynamics, to rounding.

Other partitions: orbits take the keys that share areas with the query for a mean count; here they are counted. With PP weights
E_q = exp(Upsilon_pq), whose mean over an area a is M_a, a query p sees its own area heavier, against all keys, by

    eps_p = dM_own / M_own - rho (C_g / P) (e^Phi_g - 1) dM_global,       d: p less its orbit, by the overlaps of p's areas

than its orbit, and since own FP grows at the rate R = dPhi_own/dt ~ A (1 - A)^2 (docs/model.md, eq. 8), to first order, z = 1,

    d(delta_p)/dt = R (1 - 3 A) (delta_p + eps_p),      delta_p = Phi_own of p - Phi_own of its orbit.

What this leaves over is, relatively, of the order of what it drops: PP (second order in eps) and A. That is the bound, and it
falls with P. The deviations themselves fall as PP x overlap: for blocks as PP does, about P^-kappa_s, for random partitions
faster, their overlaps fluctuating by P^-1/2 of an area.
"""

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import numpy as np

from dynsim import theory
from dynsim.model.amplitude import Fixed
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import OrbitField, PopulationField, descend
from dynsim.trajectory import Progress, Trajectory
from dynsim.validation._comparison import Row
from dynsim.validation._workers import in_parallel

LEVEL = "finite-size"
ROUNDING = 1e-12  # as in the exact level: sums of P terms in another order, over tens of steps
PRODUCT = {  # (K, P, kappa_c, kappa_s), queries: areas of different clusters meet in C C' / P patches
    (1, 64, 5 / 6, 0.5): ("L", "G"),
    (2, 64, 0.5, 0.5): ("LL", "LG", "GG"),
    (2, 256, 0.875, 0.5): ("LL", "LG", "GG"),
    (3, 64, 5 / 6, 2 / 3): ("LLL", "LLG", "LGG", "GGG"),
}
OWN, GLOBAL, OTHER = 0, 1, 2
STEPS = 40
PARTS = 3
HALF_WAY = 0.5  # of the escape time: correlations have moved, attention is still small


def level(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
    """Rows of the finite-size level."""
    sides = (8, 12, 16) if quick else (8, 12, 16, 24)
    clusters = (2,) if quick else (2, 3)
    tasks: list[tuple] = [(product_case, K, P, kappas, queries) for (K, P, *kappas), queries in PRODUCT.items()]
    tasks += [(scattered, K, m, make, seed) for m in sides[::-1] for K in clusters for make in ("random", "blocks")]
    return [row for rows in in_parallel(_call, tasks, progress) for row in rows]


def _call(function: Callable[..., list[Row]], *args: Any) -> list[Row]:
    return function(*args)


def product_case(K: int, P: int, kappas: Sequence[float], queries: Sequence[str]) -> list[Row]:
    """Rows of one product partition: the largest deviation of any query from its orbit."""
    kappa_c, kappa_s = kappas
    problem = Problem(K, 0.75, P, kappa_c, kappa_s)
    part = Partition.product(problem)
    run: dict = {"eta": theory.escape_time(problem) / STEPS, "steps": STEPS, "keep": [STEPS // 2]}
    explicit = descend(PopulationField(problem, part, nodes=8), **run)
    worst = dict.fromkeys(("fp", "pp", "attention"), 0.0)
    for query in queries:
        field = OrbitField(problem, query, intersections="product", nodes=8)
        orbit = descend(field, **run)
        for p in queries_of(part, query):
            column = field.layout.class_of(roles(part, p))
            column[p] = len(field.layout.number)  # the query itself comes last
            feature = np.concatenate([_roles_of_areas(part, k, p) for k in range(K)])
            worst["pp"] = max(worst["pp"], np.abs(explicit.pp[:, p] - orbit.pp[:, column]).max())
            for name in ("fp", "attention"):
                seen = getattr(orbit, name)[:, np.repeat(np.arange(K), part.N), feature]
                worst[name] = max(worst[name], np.abs(getattr(explicit, name)[:, p] - seen).max())
    note = f"all queries of {', '.join(queries)}, to the escape"
    return [_row(f"product K={K} P={P}", name, miss, ROUNDING, note) for name, miss in worst.items()]


def scattered(K: int, m: int, make: str, seed: int) -> list[Row]:
    """Rows for PARTS random or block partitions of P = m^2 patches, half of them in the global area, m in every local one."""
    P = m * m
    problem = Problem(K, 0.75, P, 1 - log(2) / log(P), 0.5, Fixed(1.0))
    run: dict = {"eta": HALF_WAY * theory.escape_time(problem) / STEPS, "steps": STEPS}
    parts = [getattr(Partition, make)(problem, [seed, i]) for i in range(PARTS)]
    explicit = [descend(PopulationField(problem, part), keep=[STEPS], **run).fp[-1] for part in parts]
    rows = []
    for query in ("L" * K, "L" * (K - 1) + "G"):
        field = OrbitField(problem, query)
        orbit = descend(field, keep=1, **run)
        own = orbit.fp[-1, 0, 0]
        apart, shares = [], []
        for part, fp in zip(parts, explicit, strict=True):
            queries = queries_of(part, query)
            if len(queries):
                apart.append(fp[queries, part.own[0, queries]] - own)
                shares += [[class_shares(field, part, p, role) for role in (OWN, GLOBAL)] for p in queries]
        if not apart:
            continue
        delta = np.concatenate(apart)
        rms = np.sqrt(np.mean(delta**2))
        left = np.sqrt(np.mean((delta - predicted(field, orbit, np.array(shares))) ** 2)) / rms
        bound = orbit.attention[-1, 0, 0] + np.abs(orbit.pp[-1]).max()
        note = f"Phi_own = {own:.3f}, rms deviation {rms:.2g} over {len(delta)} queries"
        rows.append(_row(f"{make} K={K} P={P}", f"{query}: share not explained by overlaps", left, bound, note))
    return rows


def predicted(field: OrbitField, orbit: Trajectory, shares: np.ndarray) -> np.ndarray:
    """delta_p at the end of an orbit run for queries in whose own and global area the classes of keys have `shares` (queries,
    2, S)."""
    problem = field.problem
    weight = np.exp(orbit.pp[:-1, :-1])
    mean = np.einsum("qas,ts->aqt", shares, weight)
    for a, role in enumerate((OWN, GLOBAL)):
        usual = field.layout.keys[field.layout.type_of[0], role]
        mean[a] -= weight @ (usual / usual.sum())
        if role == OWN:
            mean[a] /= weight @ (usual / usual.sum())
    eps = mean[0] - problem.rho * problem.C_global / problem.P * np.expm1(orbit.fp[:-1, 0, 1]) * mean[1]
    delta = np.zeros(len(shares))
    rate, attention = np.diff(orbit.fp[:, 0, 0]), orbit.attention[:-1, 0, 0]
    for i, (R, A) in enumerate(zip(rate, attention, strict=True)):
        delta += R * (1.0 - 3.0 * A) * (delta + eps[:, i])
    return delta


def queries_of(part: Partition, query: str) -> np.ndarray:
    """Patches that are queries of this type."""
    return np.flatnonzero(((part.labels == 0) == (np.array(list(query)) == "G")[:, None]).all(axis=0))


def roles(part: Partition, p: int) -> np.ndarray:
    """(K, P): whether a patch lies in the OWN area of p, the GLOBAL one, or an OTHER."""
    return np.where(part.labels == part.labels[:, [p]], OWN, np.where(part.labels == 0, GLOBAL, OTHER))


def class_shares(field: OrbitField, part: Partition, p: int, role: int) -> np.ndarray:
    """Share of every class among the other keys in p's own (or global) area of the first cluster, (S,)."""
    lies = roles(part, p)
    inside = (lies[0] == role) & (np.arange(part.P) != p)
    column = field.layout.class_of(lies[:, inside])
    return np.bincount(column, minlength=len(field.layout.number)) / len(column)


def _roles_of_areas(part: Partition, k: int, p: int) -> np.ndarray:
    """For every area of cluster k: OWN, GLOBAL or OTHER, seen from p."""
    area = np.arange(part.N[k])
    return np.where(area == part.labels[k, p], OWN, np.where(area == 0, GLOBAL, OTHER))


def _row(case: str, quantity: str, deviation: float, bound: float, note: str) -> Row:
    return Row(LEVEL, case, quantity, float(deviation), float(bound), bool(deviation <= bound), note)
