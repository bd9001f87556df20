"""What a run came to, in numbers: by kind of query, how attention and correlations moved.

A kind of query is one letter per cluster, L where the query lies in a local area, G where in the global one; clusters are
interchangeable, so the letters are sorted ("LLLG"). Within a kind, clusters where the query is local and clusters where it is
global are told apart. Attention is that of a masked query on its own area, on the global one and on all others together;
FP and PP are means over areas and keys of that sort.
"""

from itertools import groupby
from math import comb

import numpy as np

SORTS = ("own", "global", "others")


def kinds(K):
    """All kinds of query, from the all-local to the all-global one."""
    return ["L" * (K - g) + "G" * g for g in range(K + 1)]


def share(problem, query):
    """Fraction of the patches that are of a kind, on a product partition."""
    g, c = query.count("G"), problem.C_global / problem.P
    return comb(problem.K, g) * c**g * (1 - c) ** (problem.K - g)


def by_kind(part, traj):
    """Rows of an explicit partition, one per kind of query that occurs and letter in it: a list of plain dicts with query,
    share, letter, and start and end of attention, fp and pp by sort."""
    is_global = part.labels == 0
    count = is_global.sum(axis=0)
    start, end = (_explicit(part, traj, at, is_global) for at in (0, -1))
    rows = []
    for g, query in enumerate(kinds(part.K)):
        for letter in dict.fromkeys(query):
            where = (count == g) & (is_global == (letter == "G"))
            if where.any():
                rows.append(_row(query, float((count == g).mean()), letter, start, end, where))
    return rows


def by_orbit(field, traj):
    """The same rows for the one kind of query of an orbit run."""
    is_global = np.array([letter == "G" for letter in field.query])
    start, end = (_orbit(field, traj, at, is_global) for at in (0, -1))
    fraction = share(field.problem, "".join(sorted(field.query, reverse=True)))
    letters = [letter for letter, _ in groupby(sorted(field.query, reverse=True))]
    return [_row(field.query, fraction, letter, start, end, is_global == (letter == "G")) for letter in letters]


def _row(query, fraction, letter, start, end, where):
    row = {"query": query, "share": fraction, "letter": letter}
    for name in start:
        row[name] = {sort: [_mean(start[name][sort][where]), _mean(end[name][sort][where])] for sort in start[name]}
    return row


def _mean(values):
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _explicit(part, traj, at, is_global):
    """Attention, FP and PP by sort, each (K, P), at moment `at`."""
    patches = np.arange(part.P)
    attention, fp, pp = traj.attention[at], traj.fp[at][:, : part.F], traj.pp[at]
    result = {"attention": {}, "fp": {}, "pp": {}}
    for name, table in (("attention", attention), ("fp", fp)):
        own = table[patches, part.own]
        at_global = table[:, part.offset[:-1]].T
        rest = np.add.reduceat(table, part.offset[:-1], axis=1).T - own - np.where(is_global, 0.0, at_global)
        result[name] = {"own": own, "global": at_global, "others": rest}
    result["fp"]["others"] = _divide(result["fp"]["others"], part.N[:, None] - np.where(is_global, 1, 2))
    result["pp"] = {"self": np.broadcast_to(pp.diagonal(), (part.K, part.P))}
    result["pp"].update({sort: np.empty((part.K, part.P)) for sort in SORTS})
    for k, labels in enumerate(part.labels):
        own = (labels[:, None] == labels) & (patches[:, None] != patches)
        at_global = np.broadcast_to(labels == 0, own.shape)
        for sort, keys in (("own", own), ("global", at_global & ~own), ("others", (labels[:, None] != labels) & ~at_global)):
            result["pp"][sort][k] = _divide((pp * keys).sum(axis=1), keys.sum(axis=1))
    return result


def _orbit(field, traj, at, is_global):
    """The same by cluster, each (K,)."""
    attention = dict(zip(SORTS, traj.attention[at].T, strict=True))
    attention["others"] = attention["others"] * field.copies[:, 2]
    pp = {"self": np.full(len(is_global), traj.pp[at][-1])}
    for i, sort in enumerate(SORTS):
        number = field.number[:, None] * (field.digit == i)
        pp[sort] = _divide((traj.pp[at][:-1, None] * number).sum(axis=0), number.sum(axis=0))
    return {"attention": attention, "fp": dict(zip(SORTS, traj.fp[at].T, strict=True)), "pp": pp}


def _divide(a, b):
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=np.asarray(b) > 0)
