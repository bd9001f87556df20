"""How the arrays of a run are laid out: names of their axes, and where each query finds its own, the global and other areas.

A query type has L or G for each cluster: L where the query lies in a local area of it, G where in the global one. Clusters are
interchangeable, so these are sorted ("LLLG"). The role of an area for a query in a cluster is *own*, *global* or *others*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from dynsim.model.partition import Partition
from dynsim.model.problem import Problem

ROLES = ("own", "global", "others")
Table = dict[str, dict[str, np.ndarray]]  # attention, fp, pp; then by role


class Layout(Protocol):
    """Protocol of what summaries, phases, figures and files ask of a run's arrays.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.model.areas import PartitionLayout
    >>> layout = PartitionLayout(dynsim.Partition([[0, 0, 1], [0, 1, 1]]))
    >>> layout.query_type
    array(['GG', 'LG', 'LL', 'GG', 'LG', 'LL'], dtype='<U2')
    >>> [round(share, 3) for share in layout.share.values()]
    [0.333, 0.333, 0.333]
    """

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes of fp, pp and attention behind the leading time axis."""

    @property
    def coords(self) -> Mapping[str, Sequence[str]]:
        """Labels along axes that have some, by name of the axis."""

    @property
    def query_type(self) -> np.ndarray:
        """Query type of each pair of a query and a cluster, str (pairs,); empty where there are no areas."""

    @property
    def is_global(self) -> np.ndarray:
        """Whether the query lies in the global area of the cluster, bool (pairs,)."""

    @property
    def share(self) -> Mapping[str, float]:
        """Fraction of all patches that are of each query type, all-local first."""

    def areas(
        self, fp: np.ndarray | None = None, pp: np.ndarray | None = None, attention: np.ndarray | None = None
    ) -> Table:
        """Arrange correlations and attention by the role of areas.

        Parameters
        ----------
        fp : ndarray, optional
            FP correlations at one saved time, without the time axis.
        pp : ndarray, optional
            PP correlations at one saved time.
        attention : ndarray, optional
            Area attention at one saved time.

        Returns
        -------
        dict
            Those of "fp", "pp" and "attention" that are given, by role, each (pairs,); NaN where there is none. attention: on the
            unmasked patches of the own, the global, all other areas, and on masked patches. fp: mean over areas. pp: of the query
            itself ("self"), and means over keys.
        """


def query_types(K: int) -> list[str]:
    """List all query types, from the all-local to the all-global one.

    Parameters
    ----------
    K : int
        Clusters.

    Returns
    -------
    list of str
        K + 1 types.

    Examples
    --------
    >>> from dynsim.model.areas import query_types
    >>> query_types(2)
    ['LL', 'LG', 'GG']
    """
    return ["L" * (K - g) + "G" * g for g in range(K + 1)]


def local_pairs(layout: Layout) -> np.ndarray:
    """Select the pairs of query and cluster in which the query is local.

    Parameters
    ----------
    layout : Layout
        Gives the pairs.

    Returns
    -------
    ndarray of bool, shape (pairs,)
        All true where the query is local in no cluster.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.model.areas import PartitionLayout, local_pairs
    >>> local_pairs(PartitionLayout(dynsim.Partition([[0, 0, 1], [0, 1, 1]])))
    array([False, False,  True, False,  True,  True])
    """
    local = ~np.asarray(layout.is_global)
    return local | ~local.any()


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide where the divisor is positive.

    Parameters
    ----------
    a, b : array_like
        Arrays of shapes that broadcast.

    Returns
    -------
    ndarray
        The quotient a / b, NaN where b is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.model.areas import divide
    >>> divide(np.array([1.0, 2.0]), np.array([4.0, 0.0]))
    array([0.25,  nan])
    """
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=np.asarray(b) > 0)


@dataclass(frozen=True, eq=False)
class PartitionLayout:
    """Layout of runs on a partition: fp (P, F) or, with a mask token, (P, F + 1), pp (P, P), attention (P, F).

    Parameters
    ----------
    part : Partition
        The partition.
    token : bool
        Whether fp has the correlation with a mask token as its last column.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.model.areas import PartitionLayout
    >>> layout = PartitionLayout(dynsim.Partition([[0, 0, 1, 2]]))
    >>> layout.query_type
    array(['G', 'G', 'L', 'L'], dtype='<U1')
    >>> layout.areas(fp=np.arange(12.0).reshape(4, 3))["fp"]["own"]
    array([ 0.,  3.,  7., 11.])
    """

    part: Partition
    token: bool = False

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes."""
        content = "content" if self.token else "feature"
        return {"fp": ("query", content), "pp": ("query", "key"), "attention": ("query", "feature")}

    @property
    def coords(self) -> Mapping[str, Sequence[str]]:
        """Labels along axes: none, but numbers."""
        return {}

    @cached_property
    def is_global(self) -> np.ndarray:
        """Whether the query lies in the global area of the cluster, bool (K P,), cluster by cluster."""
        return (self.part.labels == 0).ravel()

    @cached_property
    def query_type(self) -> np.ndarray:
        """Query type of each pair, str (K P,), cluster by cluster."""
        count = (self.part.labels == 0).sum(axis=0)
        return np.tile(np.array(query_types(self.part.K))[count], self.part.K)

    @cached_property
    def share(self) -> Mapping[str, float]:
        """Fraction of all patches that are of each query type that occurs."""
        count = np.bincount((self.part.labels == 0).sum(axis=0), minlength=self.part.K + 1)
        return {query: float(n) / self.part.P for query, n in zip(query_types(self.part.K), count, strict=True) if n}

    def areas(
        self, fp: np.ndarray | None = None, pp: np.ndarray | None = None, attention: np.ndarray | None = None
    ) -> Table:
        """Arrange correlations and attention by the role of areas, each (K P,).

        Parameters
        ----------
        fp : ndarray of shape (P, F) or (P, F + 1), optional
            FP correlations at one saved time.
        pp : ndarray of shape (P, P), optional
            PP correlations at one saved time.
        attention : ndarray of shape (P, F), optional
            Area attention at one saved time.

        Returns
        -------
        dict
            As Layout.areas.
        """
        found: Table = {}
        if attention is not None:
            own, at_global, others, total = self._by_area(attention)
            count = self._others
            found["attention"] = {
                "own": own, "global": at_global, "others": np.where(count > 0, others, np.nan), "masked": 1 - total,
            }
        if fp is not None:
            own, at_global, others, _ = self._by_area(fp[:, : self.part.F])
            found["fp"] = {"own": own, "global": at_global, "others": divide(others, self._others)}
        if pp is not None:
            found["pp"] = self._by_key(pp)
        return {name: {role: values.ravel() for role, values in roles.items()} for name, roles in found.items()}

    @cached_property
    def _others(self) -> np.ndarray:
        """How many areas are neither own nor global, (K, P)."""
        return self.part.N[:, None] - np.where(self.part.labels == 0, 1, 2)

    def _by_area(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A table (P, F) on the own, the global, all other areas together, and on all, each (K, P)."""
        part = self.part
        own, at_global = table[np.arange(part.P), part.own], table[:, part.offset[:-1]].T
        total = np.add.reduceat(table, part.offset[:-1], axis=1).T
        return own, at_global, total - own - np.where(part.labels == 0, 0.0, at_global), total

    def _by_key(self, table: np.ndarray) -> dict[str, np.ndarray]:
        """PP (P, P) of the query itself, and its mean over the other keys of an area, each (K, P)."""
        K, P = self.part.labels.shape
        found = {"self": np.tile(table.diagonal(), (K, 1)), **{role: np.empty((K, P)) for role in ROLES}}
        for k, labels in enumerate(self.part.labels):
            same, in_global = labels[:, None] == labels, np.broadcast_to(labels == 0, (P, P))
            keys = {"own": same & ~np.eye(P, dtype=bool), "global": in_global & ~same, "others": ~in_global & ~same}
            for role in ROLES:
                found[role][k] = divide((table * keys[role]).sum(axis=1), keys[role].sum(axis=1))
        return found


def typical_local(problem: Problem) -> float:
    """Return how many patches the local area has that a local patch lies in, on average: areas may differ by one.

    Parameters
    ----------
    problem : Problem
        A problem.

    Returns
    -------
    float
        Patches.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.model.areas import typical_local
    >>> problem = dynsim.Problem(P=196)
    >>> problem.n_local, typical_local(problem)  # 80 patches in 10 areas
    (10, 8.0)
    """
    if problem.P > 2**53:
        return problem.C_local
    small, extra = divmod(problem.P - problem.C_global, problem.n_local)
    return small + extra * (small + 1) / (problem.P - problem.C_global)
