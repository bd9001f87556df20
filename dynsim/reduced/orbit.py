"""The population field by orbits: any P, with a state that does not depend on P.

In a product partition (areas of different clusters intersect as if independent) a query sees each key, in every cluster, in its
*own* area, in the *global* one or in one of the *others*. Areas of one role share one FP correlation. Clusters of one type (L
or G) are interchangeable and a run starts from zero, so they stay equal: keys share one PP correlation with all keys of their
*class*, given by in how many clusters of each type they lie in the own, the global, an other area. P enters through the
number of keys only. Where the query is global, own and global are the same area.

The state holds one FP triple for each type of cluster that the query has, one PP correlation for each class, and that of the
query itself: of LLLL 3 + 15 + 1 numbers. Beyond K = 8 it holds the classes with the most keys, whose keys then stand for those
of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from math import comb
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.areas import ROLES, Layout, Table, divide, query_types, typical_local
from dynsim.model.problem import Problem
from dynsim.model.quadrature import whole_powers
from dynsim.reduced.field import Field, Observation, Option, Recipe, check_nodes

OWN, GLOBAL, OTHER = 0, 1, 2
MASKS = ("own-area", "mean-field")
INTERSECTIONS = ("independent", "product")
MOST_CLASSES = 225  # all of them up to K = 8; a stiff solver's Jacobian is cheap up to here
FEW = 8  # clusters up to which keys are counted pattern by pattern
MOST_CLUSTERS = 640  # beyond, the number of ways to choose a class overflows
ESCAPES = 100  # a run of the whole story lasts so many of the longest escape time that theory gives
LATE = 50  # (12) comes to 1 % of the first loss after LATE K / (gamma L^2 E[z^2])


class OrbitLayout:
    """Layout of orbit runs: fp and attention (K, 3) by cluster and role, pp (S + 1,) by class of keys, the query itself last.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    query : str
        Query type, L or G for each cluster.
    intersections : {"independent", "product"}
        How areas of different clusters meet.

    Attributes
    ----------
    number : ndarray of shape (S,)
        Keys of each class.
    counts : ndarray of int, shape (S, types, 3)
        In how many clusters of each type (L, G, as far as they occur, in alphabetical order) keys of a class lie in the own, the
        global, an other area.
    keys : ndarray of shape (types, 3, S)
        How many keys of a class lie so in any one cluster of a type.
    sizes, copies : ndarray of shape (K, 3)
        Patches in the own, the global and all other areas, and how many areas these are.

    Examples
    --------
    >>> import dynsim
    >>> layout = dynsim.reduced.OrbitField(dynsim.Problem(K=2, gamma=0.75, P=64), query="LL").layout
    >>> layout.coords["class"][:3]
    ['L 2 0 0', 'L 1 1 0', 'L 1 0 1']
    >>> round(float(layout.number.sum()), 9)
    63.0
    """

    def __init__(self, problem: Problem, query: str, intersections: str) -> None:
        self.query, K, P = query, problem.K, float(problem.P)
        local = typical_local(problem)
        size = {"L": (local, problem.C_global, P - problem.C_global - local), "G": (problem.C_global, 0.0, P - problem.C_global)}
        areas = {"L": (1.0, 1.0, max(1.0, problem.n_local - 1.0)), "G": (1.0, 1.0, float(problem.n_local))}
        self.sizes = np.array([size[area] for area in query], dtype=float)
        self.copies = np.array([areas[area] for area in query])
        self.types, self.first, self.type_of, self.clusters = np.unique(
            list(query), return_index=True, return_inverse=True, return_counts=True
        )
        self.counts, self.number = self._classes(P, intersections)
        if K <= FEW and not self.left_out:  # summed in this order, results stay the same to 1e-15
            self.number = self._by_patterns(P, intersections)
        lies = np.ascontiguousarray(self.counts.transpose(1, 2, 0), dtype=float)
        self.lies = lies
        self.keys = self.number * lies / self.clusters[:, None, None]
        beside = self.sizes[self.first] - (np.array([1.0, 0.0, 0.0]) if intersections == "independent" else 0.0)
        held = self.keys.sum(axis=2)
        if self.left_out:  # the keys that are held stand for all of their area
            self.keys *= np.where(held > 0, beside / np.maximum(held, 1e-300), 0.0)[:, :, None]
        self.is_global = np.array([area == "G" for area in query])
        self.query_type = np.full(K, query)
        g, c = query.count("G"), problem.C_global / problem.P
        self.share = {query: comb(K, g) * c**g * (1 - c) ** (K - g)}

    def _by_patterns(self, P: float, intersections: str) -> np.ndarray:
        """Keys of each class, (S,), as a sum over all patterns of roles, cluster by cluster."""
        patterns = np.array(list(product(range(3), repeat=len(self.query))))
        rows = np.arange(len(self.query))
        if intersections == "independent":
            beside = self.sizes - np.array([1.0, 0.0, 0.0])
            number = (P - 1.0) * np.prod(beside[rows, patterns] / (P - 1.0), axis=1)
        else:
            number = P * np.prod(self.sizes[rows, patterns] / P, axis=1)
            number[0] = max(0.0, number[0] - 1.0)  # the query itself
        return np.bincount(self.class_of(patterns.T), number)

    def _classes(self, P: float, intersections: str) -> tuple[np.ndarray, np.ndarray]:
        """(S, types, 3) counts of the classes, and how many keys each has, (S,)."""
        independent = intersections == "independent"
        per_type, chances, everything = [], [], 1
        for i, n in enumerate(self.clusters):
            triples = np.array([(own, g, n - own - g) for own in range(n, -1, -1) for g in range(n - own, -1, -1)])
            size = self.sizes[self.first[i]]
            chance = (size - [1.0, 0.0, 0.0]) / (P - 1.0) if independent else size / P
            ways = np.array([float(comb(int(n), own) * comb(int(n - own), g)) for own, g, _ in triples])
            chances.append(ways * np.prod(whole_powers(chance, int(n))[triples, range(3)], axis=1))
            per_type.append(triples)
            everything *= len(triples)
        if everything > MOST_CLASSES:  # before they are combined: no class outlives a type's rare ones
            most = [np.sort(np.argsort(-chance, kind="stable")[:MOST_CLASSES]) for chance in chances]
            per_type = [triples[chosen] for triples, chosen in zip(per_type, most, strict=True)]
            chances = [chance[chosen] for chance, chosen in zip(chances, most, strict=True)]
        rows = np.stack(np.meshgrid(*map(np.arange, map(len, per_type)), indexing="ij"), axis=-1).reshape(-1, len(per_type))
        counts = np.stack([triples[rows[:, i]] for i, triples in enumerate(per_type)], axis=1)
        chance = np.stack([one[rows[:, i]] for i, one in enumerate(chances)], axis=1)
        number = (P - 1.0 if independent else P) * np.prod(chance, axis=1)
        if not independent:
            own = (counts[:, :, OWN] == self.clusters).all(axis=1)
            if (number[own] < 1.0 - 1e-9).any():
                raise InputError(
                    f"in a product partition the query's own areas meet in at least one patch, got {number[own][0]:.3g}: "
                    f'use intersections="independent", or a larger kappa_s'
                )
            number[own] = np.maximum(0.0, number[own] - 1.0)  # the query itself
        self.left_out = 0.0
        if everything > MOST_CLASSES:
            chosen = np.sort(np.argsort(-number, kind="stable")[:MOST_CLASSES])
            counts, number = counts[chosen], number[chosen]
            self.left_out = max(float(np.finfo(float).tiny), 1.0 - number.sum() / (P - 1.0))
        return counts, number

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes."""
        return {"fp": ("cluster", "role"), "pp": ("class",), "attention": ("cluster", "role")}

    @cached_property
    def coords(self) -> Mapping[str, Sequence[str]]:
        """Roles; and classes as "L 1 0 3": of the local clusters, keys lie in the own area in 1, the global in 0, others in 3."""
        types = [str(area) for area in self.types]
        classes = [
            ", ".join(f"{area} {own} {g} {other}" for area, (own, g, other) in zip(types, row, strict=True))
            for row in self.counts.tolist()
        ]
        return {"role": ROLES, "class": [*classes, "the query itself"]}

    def class_of(self, roles: np.ndarray) -> np.ndarray:
        """Return the class of keys by their role in each cluster.

        Parameters
        ----------
        roles : array_like of int, shape (K, n)
            0 own, 1 global, 2 others.

        Returns
        -------
        ndarray of int, shape (n,)
            The class; -1 for one that the state does not hold.
        """
        index = {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(self.counts, dtype=np.int64))}
        lies = np.asarray(roles)[:, :, None] == np.arange(3)  # (K, n, 3)
        found = np.stack([lies[self.type_of == i].sum(axis=0) for i in range(len(self.types))], axis=1)
        return np.array([index.get(row.tobytes(), -1) for row in np.ascontiguousarray(found, dtype=np.int64)])

    def areas(
        self, fp: np.ndarray | None = None, pp: np.ndarray | None = None, attention: np.ndarray | None = None
    ) -> Table:
        """Arrange correlations and attention by the role of areas, each (K,).

        Parameters
        ----------
        fp : ndarray of shape (K, 3), optional
            FP correlations at one saved time.
        pp : ndarray of shape (S + 1,), optional
            PP correlations at one saved time.
        attention : ndarray of shape (K, 3), optional
            Area attention at one saved time.

        Returns
        -------
        dict
            As Layout.areas.
        """
        found: Table = {}
        if attention is not None:
            own, in_global, other = attention.T
            others = np.where(self.sizes[:, OTHER] > 0, other * self.copies[:, OTHER], np.nan)
            masked = 1 - own - np.where(self.is_global, 0.0, in_global) - np.nan_to_num(others)
            found["attention"] = {"own": own, "global": in_global, "others": others, "masked": masked}
        if fp is not None:
            found["fp"] = dict(zip(ROLES, fp.T, strict=True))
        if pp is not None:
            mean = divide(self.keys @ pp[:-1], self.keys.sum(axis=2))[self.type_of]
            found["pp"] = {"self": np.full(len(self.query), pp[-1]), **dict(zip(ROLES, mean.T, strict=True))}
        return found


class OrbitField(Field):
    """Velocity of the correlations of one query type, expected over clusters, amplitudes and masks; closed.

    Parameters
    ----------
    problem : Problem
        What is simulated; any P.
    query : str, optional
        Query type: L or G for each cluster, L where the query lies in a local area, G where in the global one; all-local by
        default.
    masks : {"own-area", "mean-field"}
        How masks are averaged.
    intersections : {"independent", "product"}
        How many keys lie in several areas of the query at once: as if the P - 1 other keys were placed at random in every
        cluster, or as in an exact product partition.
    nodes : int
        Nodes of the amplitude quadrature.

    Raises
    ------
    InputError
        If a value breaks a rule, or areas of a product partition do not meet in a whole patch.

    Notes
    -----
    Equations (C1)-(C9) with orbits (docs/model.md, "Orbits: any P"). The state is flat: 3 numbers for each type of cluster (L, G)
    of the query, then one for each class of keys, then one for the query itself.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=4, gamma=0.8, P=1e30), query="LLLG")
    >>> field.start().shape
    (37,)
    >>> run = dynsim.reduced.flow(field, t_end=dynsim.theory.escape_time(field.problem), keep=20)
    >>> run.fp.shape[1:]
    (4, 3)
    """

    method = "orbit"
    integrator = "flow"
    seeded = False
    options = (
        Option("query", str, None, "query type, L (local) or G (global) per cluster (all types)"),
        Option("masks", str, "own-area", "how masks are averaged", MASKS),
        Option("intersections", str, "independent", "how areas of different clusters meet", INTERSECTIONS),
        Option("nodes", int, 24, "amplitude quadrature", least=1),
    )
    layout: OrbitLayout

    def __init__(
        self,
        problem: Problem,
        query: str | None = None,
        masks: str = "own-area",
        intersections: str = "independent",
        nodes: int = 24,
    ) -> None:
        from dynsim.reduced.kernels.closure import SATURATED, orbit_query
        from dynsim.reduced.kernels.counts import all_masked, law_tables, unmasked_law

        K = problem.K
        if K > MOST_CLUSTERS:
            raise InputError(f"orbits take up to K={MOST_CLUSTERS} clusters, got K={K:.4g}: take fewer")
        query = "L" * K if query is None else query
        if not isinstance(query, str) or len(query) != K or set(query) - set("LG"):
            raise InputError(f"query has one L or G per cluster, K={K}, got {query!r}: take e.g. {'L' * min(K, 8)}")
        if masks not in MASKS:
            raise InputError(f'masks must be "own-area" or "mean-field" for orbits, got {masks!r}: --method population has more')
        if intersections not in INTERSECTIONS:
            raise InputError(f'intersections must be "independent" or "product", got {intersections!r}: take independent')
        check_nodes(nodes)
        self.problem, self.query, self.masks, self.intersections, self.nodes = problem, query, masks, intersections, nodes
        z, z_weight = problem.amplitude.nodes(nodes)
        self.limit = SATURATED / max(1.0, z.min())
        layout = self.layout = OrbitLayout(problem, query, intersections)
        P, unmasked, mean_field = float(problem.P), float(problem.unmasked), masks == "mean-field"
        is_global = layout.types == "G"
        n = layout.sizes[layout.first, OWN] - 1.0
        laws = [unmasked_law(P, unmasked, m, mean_field) for m in n]
        self._kernel: Any = orbit_query
        self._fixed: tuple = (
            P, layout.clusters, layout.lies, layout.keys, is_global, n, layout.copies[layout.first], problem.masked / problem.P,
            z, z_weight, *law_tables(laws), mean_field,
        )
        floors = [0.0 if mean_field else all_masked(P, unmasked, m) for m in n]
        self.floor = 0.5 * problem.amplitude.moment(2) * float((layout.clusters * floors).sum()) / K
        self._counted = layout.clusters * ~is_global if not is_global.all() else layout.clusters
        self._attention, self._classes = np.empty((len(layout.types), 3)), layout.lies.shape[2]

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        query: str | None = None,
        masks: str = "own-area",
        intersections: str = "independent",
        nodes: int = 24,
        **options: Any,
    ) -> OrbitField:
        """Build the field of one query type, all-local by default."""
        return cls(problem, query, masks, intersections, nodes)

    @classmethod
    def variants(cls, problem: Problem, query: str | None = None, **options: Any) -> list[dict]:
        """Return one run for each query type, or the one that is asked for."""
        if query is not None or problem.K > MOST_CLUSTERS:
            return [{"query": query}]
        return [{"query": each} for each in query_types(problem.K)]

    @classmethod
    def run_options(cls, problem: Problem) -> dict:
        """Return options of a flow to well past the escape of all query types."""
        from dynsim import theory

        return {"t_end": ESCAPES * max(theory.escape_time(problem, area) for area in "LG"), "rtol": 1e-5, "keep": 100}

    def horizon(self) -> float:
        """Return a time by which, after theory, every event of this query type has passed."""
        from dynsim import theory

        law, escape = self.problem.amplitude, theory.escape_time(self.problem, self.query)
        return 4 * (escape + LATE * self.problem.K / (self.problem.gamma * law.L**2 * law.moment(2)))

    def recipe(self) -> Recipe:
        """Return problem and options."""
        choices = {name: getattr(self, name) for name in ("query", "masks", "intersections", "nodes")}
        return {"method": self.method, "problem": self.problem.recipe(), **choices}, {}

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> OrbitField:
        """Build the field of a recipe."""
        choices = {name: plain[name] for name in ("query", "masks", "intersections", "nodes")}
        return cls(Problem.from_recipe(plain["problem"]), **choices)

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """Return the layout of the field of a recipe."""
        return OrbitLayout(Problem.from_recipe(plain["problem"]), plain["query"], plain["intersections"])

    def start(self) -> np.ndarray:
        """Return the state at Q = 0: all correlations zero."""
        return np.zeros(self._attention.size + self._classes + 1)

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the loss per masked patch of this query type and its negative gradient."""
        dy = np.empty_like(y) if out is None else out
        return self._kernel(y, *self._fixed, dy, self._attention), dy

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Return loss, velocity and attention (K, 3) in one pass."""
        loss, dy = self.velocity(y, step, out)
        return Observation(loss, dy, self._by_cluster(self._attention))

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Return the expected attention (K, 3) on the own, the global and each other area."""
        return OrbitField.observe(self, y).attention

    def crossings(self, y: np.ndarray) -> tuple[float, dict[str, float]]:
        """Return the loss and the events; own attention is the mean over the clusters in which the query is local, or all."""
        loss, _ = self.velocity(y)
        own = float((self._counted * self._attention[:, OWN]).sum()) / float(self._counted.sum())
        return loss, self.standard_crossings(loss, own)

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return FP (K, 3) by role and PP (S + 1,) by class of keys, the query itself last; copied."""
        size = self._attention.size
        return self._by_cluster(y[:size].reshape(self._attention.shape)), y[size:].copy()

    def _by_cluster(self, table: np.ndarray) -> np.ndarray:
        """A table (types, 3) as one of (K, 3), copied; own and global are one where the query is global."""
        is_global = (self.layout.types == "G")[:, None]
        table = np.where(is_global & (np.arange(3) == GLOBAL), table[:, [OWN]], table)
        return table[self.layout.type_of]

    def scale(self) -> np.ndarray:
        """Return the natural size of each entry of the state: 1 for FP, one over the smallest own area for PP."""
        size = np.full_like(self.start(), 1.0 / self.layout.sizes[:, OWN].min())
        size[: self._attention.size] = 1.0
        return size

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """Apply M, which counts the correlations that an entry stands for.

        An entry stands for all areas of its role in the clusters of a type, or all keys of its class; for none where less than
        half a key is in a class, whose velocity is held to what whole keys could weigh (docs/model.md).
        """
        layout, problem = self.layout, self.problem
        occurs = layout.copies * (layout.sizes > 0)
        areas = np.array([occurs[layout.type_of == i].sum(axis=0) for i in range(len(layout.types))])
        many = np.concatenate([areas.ravel(), layout.number, [1.0]])
        return np.where(many < 0.5, 0.0, problem.masked / problem.P * u / np.maximum(many, 0.5))

    def describe(self) -> dict:
        """Return what this field is, as plain data."""
        left_out = {"keys_left_out": self.layout.left_out} if self.layout.left_out else {}
        return {
            "method": self.method, "query": self.query, "masks": self.masks, "intersections": self.intersections,
            "other_areas": self.layout.copies[:, OTHER].tolist(), "loss_floor": self.floor, **left_out,
        }
