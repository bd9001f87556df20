"""What a run came to, in numbers: by query type, how attention and correlations moved.

Within a query type (a letter per cluster, L local and G global), clusters where the query is local and clusters where it is
global are told apart. Attention is that of a query on the unmasked patches of its own area, of the global one, of all others
together, and on masked patches; FP and PP are means over areas and keys of that role.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dynsim.model.areas import ROLES, Table, local_pairs

if TYPE_CHECKING:
    from dynsim.model.areas import Layout
    from dynsim.trajectory import Trajectory

__all__ = ["ROLES", "by_query_type", "global_depth"]


def by_query_type(traj: Trajectory, layout: Layout | None = None) -> list[dict]:
    """A plain dict for every query type of a run, with `query`, `share` of the patches and, under `clusters`, one dict for each
    letter with start and end of attention, fp and pp by role. layout: of the run, where it does not say itself."""
    layout = traj.layout if layout is None else layout
    ends = [layout.areas(traj.fp[at], traj.pp[at], traj.attention[at]) for at in (0, -1)]
    found = []
    for query, share in layout.share.items():
        rows = []
        for letter in sorted(set(query), reverse=True):
            pairs = (layout.query_type == query) & (layout.is_global == (letter == "G"))
            rows.append({"letter": letter, **_moves(ends, pairs)})
        found.append({"query": query, "share": share, "clusters": rows})
    return found


def global_depth(traj: Trajectory, t: float | None) -> float:
    """FP correlation with the global area at the saved time t, mean over the pairs of query and cluster in which the query is
    local; NaN where there is none."""
    if t is None or traj.layout.is_global.all():
        return float("nan")
    at = np.flatnonzero(traj.t == t)[0]
    return float(traj.layout.areas(fp=traj.fp[at])["fp"]["global"][local_pairs(traj.layout)].mean())


def _moves(ends: Sequence[Table], pairs: np.ndarray) -> dict:
    return {
        name: {role: [_mean(end[name][role][pairs]) for end in ends] for role in roles} for name, roles in ends[0].items()
    }


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
