"""The population field by orbits: any P, with a state that does not depend on P.

In a product partition (areas of different clusters intersect as if independent) a query sees each key, in every cluster,
in its *own* area, in the *global* one or in an *other* local one. Keys with the same pattern in {own, global, other}^K
share one PP correlation, areas of one kind share one FP correlation: 3K + 3^K + 1 numbers (the last is the query itself).
P enters through multiplicities only. Where the query is global, own and global are the same area.

Clusters of one letter are interchangeable, and a run starts from zero: they stay equal. So the state holds one FP triple for
each letter of the query, and one PP correlation for each *class* of patterns that a permutation of such clusters makes equal:
of LLLL 3 + 15 + 1 numbers instead of 94.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.problem import Problem
from dynsim.reduced.kernels import closure
from dynsim.reduced.kernels.counts import all_masked, unmasked_law
from dynsim.reduced.population import law_tables

OWN, GLOBAL, OTHER = 0, 1, 2
MOST_CLUSTERS = 8  # 3^K patterns


class OrbitField:
    """Velocity of the correlations of one query type, expected over clusters, amplitudes and masks; closed (docs/model.md).

    problem: any P. query: a letter per cluster, L where the query lies in a local area, G where in the global one. masks:
    "own-area" or "mean-field". intersections: "independent" counts the P - 1 other keys as placed at random in every
    cluster, "product" counts the keys of an exact product partition. nodes: amplitude quadrature.
    digit (3^K, K) and number (3^K,): the key patterns and how many keys have each; sizes, copies (K, 3): patches in the own,
    the global and all other areas, and how many areas these are. state: flat, 3 numbers for each letter, then one for each
    class of patterns, then the query itself. Raises InputError.
    """

    deterministic = True

    def __init__(
        self,
        problem: Problem,
        query: str | None = None,
        masks: str = "own-area",
        intersections: str = "independent",
        nodes: int = 24,
    ) -> None:
        K = problem.K
        if K > MOST_CLUSTERS:
            raise InputError(f"orbits carry 3^K patterns, up to K={MOST_CLUSTERS}, got K={K}: use PopulationField")
        query = "L" * K if query is None else query
        if not isinstance(query, str) or len(query) != K or set(query) - set("LG"):
            raise InputError(f"query has one letter L or G per cluster, K={K}, got {query!r}: take e.g. {'L' * K}")
        if masks not in ("own-area", "mean-field"):
            raise InputError(f'masks must be "own-area" or "mean-field" for orbits, got {masks!r}: PopulationField has more')
        if intersections not in ("independent", "product"):
            raise InputError(f'intersections must be "independent" or "product", got {intersections!r}')
        self.problem, self.query, self.masks, self.intersections, self.nodes = problem, query, masks, intersections, nodes
        z, z_weight = problem.amplitude.nodes(nodes)
        self.limit = closure.SATURATED / max(1.0, z.min())
        P = float(problem.P)
        local = _typical_local(problem)
        size = {"L": (local, problem.C_global, P - problem.C_global - local), "G": (problem.C_global, 0.0, P - problem.C_global)}
        areas = {"L": (1.0, 1.0, max(1.0, problem.n_local - 1.0)), "G": (1.0, 1.0, float(problem.n_local))}
        self.sizes = np.array([size[letter] for letter in query], dtype=float)
        self.copies = np.array([areas[letter] for letter in query])
        self.digit = np.array(list(product((OWN, GLOBAL, OTHER), repeat=K)))
        self.number = self._count(P)
        # clusters of one letter, and patterns that are one but for their order
        letters, first, self._letter, clusters = np.unique(
            list(query), return_index=True, return_inverse=True, return_counts=True
        )
        lies = (self.digit[:, None, :, None] == np.arange(3)) & (self._letter == np.arange(len(letters))[:, None])[:, :, None]
        lies, self._class = np.unique(-lies.sum(axis=2).reshape(len(self.digit), -1), axis=0, return_inverse=True)
        self._class = self._class.ravel()  # (numpy 2.0 gives it two axes)
        lies = np.ascontiguousarray(-lies.reshape(-1, len(letters), 3).transpose(1, 2, 0), dtype=float)
        keys = np.bincount(self._class, self.number) * lies / clusters[:, None, None]
        self._is_global = letters == "G"
        n = self.sizes[first, 0] - 1.0
        laws = [unmasked_law(P, float(problem.unmasked), m, masks == "mean-field") for m in n]
        self._fixed: tuple = (
            P, clusters, lies, keys, self._is_global, n, self.copies[first], problem.masked / problem.P,
            z, z_weight, *law_tables(laws), masks == "mean-field",
        )
        floors = [all_masked(P, float(problem.unmasked), m) if masks != "mean-field" else 0.0 for m in n]
        self.floor = 0.5 * problem.amplitude.moment(2) * float(clusters @ floors) / K
        self._counted = clusters * ~self._is_global if not self._is_global.all() else clusters
        self._attention, self._classes = np.empty((len(letters), 3)), lies.shape[2]

    def _count(self, P: float) -> np.ndarray:
        """Keys by pattern, (3^K,)."""
        rows = np.arange(self.problem.K)
        if self.intersections == "independent":
            beside = self.sizes - np.array([1.0, 0.0, 0.0])
            return (P - 1.0) * np.prod(beside[rows, self.digit] / (P - 1.0), axis=1)
        number = P * np.prod(self.sizes[rows, self.digit] / P, axis=1)
        if number[0] < 1.0 - 1e-9:
            raise InputError(
                f"in a product partition the query's own areas meet in at least one patch, got {number[0]:.3g}: "
                f'use intersections="independent", or a larger kappa_s'
            )
        number[0] = max(0.0, number[0] - 1.0)  # the query itself
        return number

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero."""
        return np.zeros(self._attention.size + self._classes + 1)

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch of this query type, dy/dt) at state y; dy is written to `out` where one is given."""
        dy = np.empty_like(y) if out is None else out
        kernel: Callable[..., Any] = closure.orbit_query
        return kernel(y, *self._fixed, dy, self._attention), dy

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected attention (K, 3) on the own, the global and each other area."""
        self.velocity(y)
        return self._by_cluster(self._attention)

    def summary(self, y: np.ndarray) -> tuple[float, float]:
        """(loss, mean attention on the own area over the clusters in which the query is local; all, where it is in none)."""
        loss, _ = self.velocity(y)
        return loss, float(self._counted @ self._attention[:, OWN]) / float(self._counted.sum())

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (K, 3) own/global/other and PP (3^K + 1,) by key pattern, the query itself last; copied."""
        fp, pp = np.split(y, [self._attention.size])
        return self._by_cluster(fp.reshape(self._attention.shape)), np.append(pp[self._class], pp[-1])

    def _by_cluster(self, table: np.ndarray) -> np.ndarray:
        """A table (letters, 3) as one of (K, 3), copied; own and global are one where the query is global."""
        table = np.where(self._is_global[:, None] & (np.arange(3) == GLOBAL), table[:, [OWN]], table)
        return table[self._letter]

    def scale(self) -> np.ndarray:
        """Natural size of each entry of the state: 1 for FP, one over the smallest own area for PP."""
        size = np.full_like(self.start(), 1.0 / self.sizes[:, 0].min())
        size[: self._attention.size] = 1.0
        return size

    def describe(self) -> dict:
        """What this field is, as plain data."""
        return {
            "method": "orbit", "query": self.query, "masks": self.masks, "intersections": self.intersections,
            "other_areas": self.copies[:, OTHER].tolist(), "loss_floor": self.floor,
        }


def _typical_local(problem: Problem) -> float:
    """Patches in the local area that a local patch lies in, on average (areas may differ by one)."""
    if problem.P > 2**53:
        return problem.C_local
    small, extra = divmod(problem.P - problem.C_global, problem.n_local)
    return small + extra * (small + 1) / (problem.P - problem.C_global)
