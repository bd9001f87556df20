"""Layout of runs that carry all query types at once, each by orbits: fp (types, K, 3), pp (types, classes + 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dynsim.model.areas import ROLES, Table, divide, query_types


@dataclass(frozen=True, eq=False)
class TypesLayout:
    """Arrays of all query types: fp and attention (types, K, 3) on own/global/others, pp (types, classes + 1), itself last.

    Parameters
    ----------
    K : int
        Clusters; types are those of `query_types(K)`, clusters L first.
    fraction : ndarray (K + 1,)
        Fraction of all patches that are of each type.
    number : ndarray (K + 1, 2, 3, classes)
        Keys of each class that lie, for a query of a type, in the own, the global, an other area of a cluster of type L or G.
    other_areas : ndarray (2,)
        How many areas are neither own nor global, for type L and G.

    Examples
    --------
    >>> import dynsim
    >>> layout = dynsim.reduced.MixedOrbitField(dynsim.Problem(K=2, P=1e6)).layout
    >>> layout.dims["fp"], [str(query) for query in layout.query_type]
    (('query_type', 'cluster', 'role'), ['LL', 'LL', 'LG', 'LG', 'GG', 'GG'])
    >>> layout.is_global.tolist()
    [False, False, False, True, True, True]
    """

    K: int
    fraction: np.ndarray
    number: np.ndarray
    other_areas: np.ndarray

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes."""
        areas = ("query_type", "cluster", "role")
        return {"fp": areas, "pp": ("query_type", "class"), "attention": areas}

    @property
    def coords(self) -> Mapping[str, Sequence[str]]:
        """Labels of query types and roles."""
        return {"query_type": query_types(self.K), "role": list(ROLES)}

    @cached_property
    def query_type(self) -> np.ndarray:
        """((K + 1) K,), type by type."""
        return np.repeat(query_types(self.K), self.K)

    @cached_property
    def is_global(self) -> np.ndarray:
        """((K + 1) K,), type by type."""
        return self._cluster_type.ravel().astype(bool)

    @cached_property
    def _cluster_type(self) -> np.ndarray:
        """0 for L, 1 for G, (K + 1, K)."""
        return (np.arange(self.K) >= self.K - np.arange(self.K + 1)[:, None]).astype(np.int64)

    @property
    def share(self) -> Mapping[str, float]:
        """Fraction of the patches by type."""
        return {query: float(x) for query, x in zip(query_types(self.K), self.fraction, strict=True)}

    def areas(
        self, fp: np.ndarray | None = None, pp: np.ndarray | None = None, attention: np.ndarray | None = None
    ) -> Table:
        """Divide arrays of a state by role.

        Parameters
        ----------
        fp : ndarray (types, K, 3), optional
            FP correlations.
        pp : ndarray (types, classes + 1), optional
            PP correlations.
        attention : ndarray (types, K, 3), optional
            Attention to the own, the global and one other area.

        Returns
        -------
        dict of str to dict of str to ndarray
            What was given, by role: own, global, others (for attention all of them together, and masked keys), self; ((K + 1)
            K,) each, NaN where a type has no such area.
        """
        found: Table = {}
        if attention is not None:
            own, at_global, other = np.moveaxis(attention, 2, 0)
            count = self.other_areas[self._cluster_type]
            others = np.where(count > 0, other * count, np.nan)
            masked = 1 - own - np.where(self._cluster_type == 1, 0.0, at_global) - np.nan_to_num(others)
            found["attention"] = {"own": own, "global": at_global, "others": others, "masked": masked}
        if fp is not None:
            found["fp"] = dict(zip(ROLES, np.moveaxis(fp, 2, 0), strict=True))
        if pp is not None:
            types = np.arange(self.K + 1)[:, None]
            keys = self.number[types, self._cluster_type]  # (types, K, 3, classes)
            total = np.einsum("tkrs,ts->rtk", keys, pp[:, :-1])
            mean = divide(total, np.moveaxis(keys.sum(axis=3), 2, 0))
            found["pp"] = {"self": np.repeat(pp[:, -1:], self.K, axis=1), **dict(zip(ROLES, mean, strict=True))}
        return {name: {role: values.ravel() for role, values in roles.items()} for name, roles in found.items()}
