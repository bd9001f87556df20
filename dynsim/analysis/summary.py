"""What a run came to, in numbers: by kind of query, how attention and correlations moved.

A kind of query is one letter per cluster, L where the query lies in a local area, G where in the global one; clusters are
interchangeable, so the letters are sorted ("LLLG"). Within a kind, clusters where the query is local and clusters where it is
global are told apart. Attention is that of a masked query on the unmasked patches of its own area, of the global one, of all
others together, and on masked patches; FP and PP are means over areas and keys of that sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # orbits load numba, which what is told of a run does without
    from dynsim.model.partition import Partition
    from dynsim.model.problem import Problem
    from dynsim.reduced.orbit import OrbitField
    from dynsim.trajectory import Trajectory

SORTS = ("own", "global", "others")
Table = dict[str, dict[str, np.ndarray]]  # attention, fp, pp by sort


def kinds(K: int) -> list[str]:
    """All kinds of query, from the all-local to the all-global one."""
    return ["L" * (K - g) + "G" * g for g in range(K + 1)]


def share(problem: Problem, query: str) -> float:
    """Fraction of the patches that are of a kind, on a product partition."""
    g, c = query.count("G"), problem.C_global / problem.P
    return comb(problem.K, g) * c**g * (1 - c) ** (problem.K - g)


def by_kind(part: Partition, traj: Trajectory) -> list[dict]:
    """Moves on an explicit partition: a plain dict for every kind of query that occurs, with `query`, `share` and, under
    `clusters`, one dict per letter with start and end of attention, fp and pp by sort."""
    is_global = part.labels == 0
    count = is_global.sum(axis=0)
    ends = [explicit(part, traj, at) for at in (0, -1)]
    found = []
    for g, query in enumerate(kinds(part.K)):
        if (count == g).any():
            moves = _moves(query, is_global, count == g, ends)
            found.append({"query": query, "share": float((count == g).mean()), "clusters": moves})
    return found


def by_orbit(field: OrbitField, traj: Trajectory) -> dict:
    """The same for the one kind of query of an orbit run."""
    is_global = np.array([letter == "G" for letter in field.query])
    ends = [orbit(field, traj, at) for at in (0, -1)]
    moves = _moves(field.query, is_global, True, ends)
    return {"query": field.query, "share": share(field.problem, field.query), "clusters": moves}


def global_depth(field: OrbitField, traj: Trajectory, t: float | None) -> float:
    """FP correlation with the global area at the kept moment t, mean over the clusters in which the query is local."""
    local = [k for k, letter in enumerate(field.query) if letter == "L"]
    if t is None or not local:
        return float("nan")
    return float(traj.fp[np.flatnonzero(traj.t == t)[0]][local, 1].mean())


def _moves(query: str, is_global: np.ndarray, queries: np.ndarray | bool, ends: Sequence[Table]) -> list[dict]:
    rows = []
    for letter in sorted(set(query), reverse=True):
        where = (is_global == (letter == "G")) & queries
        row: dict = {"letter": letter}
        for name, sorts in ends[0].items():
            row[name] = {sort: [_mean(end[name][sort][where]) for end in ends] for sort in sorts}
        rows.append(row)
    return rows


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def explicit(part: Partition, traj: Trajectory, at: int) -> Table:
    """Attention, fp and pp by sort at the kept moment number `at` of a run on an explicit partition, each (K, P)."""
    patches, is_global = np.arange(part.P), part.labels == 0
    own, total, at_global, others = {}, {}, {}, part.N[:, None] - np.where(is_global, 1, 2)
    for name, table in (("attention", traj.attention[at]), ("fp", traj.fp[at][:, : part.F])):
        own[name], at_global[name] = table[patches, part.own], table[:, part.offset[:-1]].T
        total[name] = np.add.reduceat(table, part.offset[:-1], axis=1).T
    rest = {name: total[name] - own[name] - np.where(is_global, 0.0, at_global[name]) for name in total}
    attention = {"own": own["attention"], "global": at_global["attention"]}
    attention.update(others=np.where(others > 0, rest["attention"], np.nan), masked=1 - total["attention"])
    fp = {"own": own["fp"], "global": at_global["fp"], "others": _divide(rest["fp"], others)}
    table = traj.pp[at]
    pp = {"self": np.broadcast_to(table.diagonal(), (part.K, part.P)), **{sort: np.empty((part.K, part.P)) for sort in SORTS}}
    for k, labels in enumerate(part.labels):
        same, in_global = labels[:, None] == labels, np.broadcast_to(labels == 0, (part.P, part.P))
        keys = {"own": same & (patches[:, None] != patches), "global": in_global & ~same, "others": ~in_global & ~same}
        for sort in SORTS:
            pp[sort][k] = _divide((table * keys[sort]).sum(axis=1), keys[sort].sum(axis=1))
    return {"attention": attention, "fp": fp, "pp": pp}


def orbit(field: OrbitField, traj: Trajectory, at: int) -> Table:
    """The same for a run on orbits, each (K,)."""
    own, in_global, other = traj.attention[at].T
    others = np.where(field.sizes[:, 2] > 0, other * field.copies[:, 2], np.nan)
    is_global = np.array([letter == "G" for letter in field.query])
    attention = {"own": own, "global": in_global, "others": others}
    attention["masked"] = 1 - own - np.where(is_global, 0.0, in_global) - np.nan_to_num(others)
    pp = {"self": np.full(len(own), traj.pp[at][-1])}
    for i, sort in enumerate(SORTS):
        number = field.number[:, None] * (field.digit == i)
        pp[sort] = _divide((traj.pp[at][:-1, None] * number).sum(axis=0), number.sum(axis=0))
    return {"attention": attention, "fp": dict(zip(SORTS, traj.fp[at].T, strict=True)), "pp": pp}


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=np.asarray(b) > 0)
