"""Contrastive and mixed objectives in the population by orbits: any P, all query types at once.

Every image is seen under two masks. The outputs of all its P queries are pooled, F = sum_m z_m Abar_m v_{k,m}, and InfoNCE with
many negatives compares the two views (docs/contrastive-population.md, E1-E4). Query types therefore move together: the state
holds, for each query type, one FP triple for its L and one for its G clusters, and one PP correlation for each class of keys, as
in OrbitField. With weight alpha

    L = L_rec + alpha P L_con,      reconstruction=False:  L = alpha L_con,

where the factor P makes alpha of order one for each query. What is kept of the masks, in the pooled output and in both
softmaxes, is the amplitude and the unmasked fraction of the global area and of the query's own area; other local areas
enter by their means. Class: closed.

Shapes: fp and attention (T, types, K, 3) on own/global/others, pp (T, types, classes + 1), the query itself last, zero in the
columns that a type does not have; types from the all-local to the all-global one, clusters L first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, comb, log, pi, sqrt
from typing import Any, ClassVar

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import Law, check_temperature, is_number
from dynsim.model.areas import query_types, typical_local
from dynsim.model.problem import Problem
from dynsim.model.quadrature import whole_powers
from dynsim.model.type_areas import TypesLayout
from dynsim.reduced.field import (
    ATTENTION_EVENTS,
    EVENTS,
    Field,
    Observation,
    Option,
    Recipe,
    by_query_type,
    check_nodes,
    loss_crossings,
)

MASKS = ("two-areas", "own-area")
INTERSECTIONS = ("independent", "product")
GLOBAL_NODES = 5  # nodes of the law of the unmasked fraction of the global area, at most
SHARP = 5e-4  # relative spread of an unmasked fraction below which its mean serves, to the square of it
SLOW = 10.0  # pushes on PP or FP of other areas, in units of the clock of a flow, up to which no solver needs derivatives by them
SMALLEST = 1e-4  # PP that is followed: at a balance of FP its velocity is lost in rounding
NO_COLUMNS, NOTHING = np.zeros(0, dtype=np.int64), np.zeros((0, 0, 0))
NO_RATES = np.zeros(0)  # of the clock, where it is not asked, and where no solver is to be watched
NO_TABLES = (np.zeros(0), np.zeros(0), *np.zeros((3, 0, 0)), np.zeros(0, dtype=np.int64), np.zeros((0, 1)))  # without contrast
STEEPEST = 10.0  # FP times the distance of amplitude nodes, at most: attention goes from .01 to .99 between two of them
HEAVIEST = 235.0  # PP at which all classes come to rest: the cube of a key's weight, which closures take, would overflow
FEWEST = 0.5  # keys that a class holds for its PP to grow as far as it will
MOST_NUMBERS = 4000  # in the state: a stiff solver's Jacobian is dense


class MixedOrbitField(Field):
    """Velocity of the correlations of all query types under a mixed objective; closed (docs/contrastive-population.md).

    Parameters
    ----------
    problem : Problem
        Any P.
    weight : float
        The alpha >= 0 in L = L_rec + alpha P L_con; without reconstruction L = alpha L_con.
    temperature : float
        Of the softmax over negatives, tau > 0.
    reconstruction : bool
        Whether L_rec is part of the loss.
    stop_gradient : bool
        Whether only the first view of a pair learns.
    masks : {"two-areas", "own-area"}, optional
        What reconstruction sums over: the own and the global area of a query, or the own one alone, as OrbitField does. None:
        "two-areas" where the weight is positive (the global area may then hold all attention, which "own-area" takes by its mean
        within the softmax), "own-area" at weight 0.
    intersections : {"independent", "product"}
        As in OrbitField.
    nodes : int, optional
        Amplitude quadrature. None: as many as resolve the amplitudes at this P, 4 to 24.

    Attributes
    ----------
    pooled : ndarray (J, nodes)
        Pooled attention Abar on the global area by unmasked fraction and amplitude, of the last evaluation.

    Raises
    ------
    InputError
        Where a value breaks a rule.

    Notes
    -----
    Derived in docs/contrastive-population.md, (E1)-(E7). The velocity is minus the gradient of the closed loss where
    stop_gradient=False; where it is True, the gradient at fixed second view. With contrast a flow ends where FP times the
    distance of amplitude nodes passes 10, as attention is a step between two of them from there on.

    Examples
    --------
    >>> from dynsim.reduced import MixedOrbitField
    >>> from dynsim import Problem
    >>> field = MixedOrbitField(Problem(K=4, P=1e12), weight=2.0)
    >>> field.correlations(field.start())[0].shape
    (5, 4, 3)
    """

    method: ClassVar[str] = "mixed-orbit"
    objective: ClassVar[str] = "mixed"
    integrator: ClassVar[str] = "flow"
    seeded: ClassVar[bool] = False
    options: ClassVar[tuple[Option, ...]] = (
        Option("weight", float, 1.0, "alpha in L_rec + alpha P L_con", least=0.0),
        Option("temperature", float, 0.5, "of the softmax over negatives, positive"),
        Option("stop_gradient", bool, True, "take the second view as a constant in the gradient"),
        Option("masks", str, None, "how masks are averaged in reconstruction (two-areas where weight > 0)", MASKS),
        Option("nodes", int, None, "amplitude quadrature (as many as this P needs)", least=1),
    )

    def __init__(
        self,
        problem: Problem,
        weight: float = 1.0,
        temperature: float = 0.5,
        reconstruction: bool = True,
        stop_gradient: bool = True,
        masks: str | None = None,
        intersections: str = "independent",
        nodes: int | None = None,
    ) -> None:
        from dynsim.reduced.kernels import balance
        from dynsim.reduced.kernels import contrastive_orbit as kernels
        from dynsim.reduced.kernels.closure import SATURATED
        from dynsim.reduced.kernels.counts import all_masked
        from dynsim.reduced.kernels.multistep import NO_SOLVER

        if not (is_number(weight) and weight >= 0):
            raise InputError(f"weight must be at least 0 and finite, got {weight!r}: take e.g. 1.0")
        check_temperature(temperature)
        if not reconstruction and weight == 0:
            raise InputError("without reconstruction the weight must be positive, got 0: there is nothing to learn")
        if masks is not None and masks not in MASKS:
            raise InputError(f'masks must be "two-areas" or "own-area", got {masks!r}: leave it out for the default')
        if intersections not in INTERSECTIONS:
            raise InputError(f'intersections must be "independent" or "product", got {intersections!r}: take independent')
        check_nodes(nodes)
        numbers = comb(problem.K + 4, 4) + 4 * problem.K + 1
        if numbers > MOST_NUMBERS:
            raise InputError(f"all query types of K={problem.K} clusters have {numbers} correlations: take K <= 15")
        masks = ("two-areas" if weight > 0 else "own-area") if masks is None else masks
        self.problem, self.weight, self.temperature = problem, float(weight), float(temperature)
        self.reconstruction, self.stop_gradient = bool(reconstruction), bool(stop_gradient)
        self.masks, self.intersections, self.nodes = masks, intersections, nodes
        z, z_weight = problem.amplitude.nodes(_enough_nodes(problem) if nodes is None else nodes)
        self.limit = SATURATED / max(1.0, z.max())  # own and global area both draw attention: no exponent may be cut short
        if weight > 0 and z.size > len(problem.amplitude.nodes(1)[0]):  # a rule, not all values of z; PP grows to HEAVIEST
            self.limit = min(self.limit, max(HEAVIEST + 1.0, STEEPEST / np.diff(np.sort(z)).max()))
        K, P, c = problem.K, float(problem.P), problem.C_global / problem.P
        chances = whole_powers([c, 1 - c], K)
        self.share = np.array([comb(K, g) * chances[g, 0] * chances[K - g, 1] for g in range(K + 1)])
        self._clusters = np.array([[K - g, g] for g in range(K + 1)])
        pairs = (self.share * self._clusters[:, 0])[:K]
        self._pairs = pairs / pairs.sum()
        self._above_half = np.zeros(2 * K + 3)
        self._event_names = [
            f"{event}{query}" for event in ("escape", "collapse") for query in ("", *(f" {name}" for name in query_types(K)))
        ][: None if self.weight else K + 2]
        own = np.array([typical_local(problem), float(problem.C_global)])
        copies = np.array([[1.0, 1.0, max(1.0, problem.n_local - 1.0)], [1.0, 1.0, float(problem.n_local)]])
        lies, number = self._classes(own)
        keys = number[:, None, None, :] * lies / np.maximum(self._clusters, 1)[:, :, None, None]
        self.number = number
        self.layout = TypesLayout(K, self.share, keys, np.array([problem.n_local - 1.0, problem.n_local]))
        self._place = self._places(number)
        entry = self._place % (7 + number.shape[1])
        self._fast = (entry < 6) & (entry % 3 < 2)
        area = log(max(2.0, min(problem.C_local, problem.C_global)))  # areas of one patch weigh no more than a key
        heaviest = np.pad(np.where(number < FEWEST, min(area, HEAVIEST), HEAVIEST), ((0, 0), (6, 1)), constant_values=HEAVIEST)
        self._pp = np.flatnonzero(entry >= 6)
        self._heaviest = heaviest.ravel()[self._place][self._pp]
        self._own = np.append(np.flatnonzero(entry == 0), 0)  # by type; the last has no local cluster
        n = own - 1.0
        con, rec = _contrastive_tables(problem, own) if self.weight else NO_TABLES, _reconstruction_tables(problem, n)
        self.slide = np.array([z.max(), z.min()])
        both_amplitudes = _pairs(z, z_weight, self.slide)
        self._room = kernels.room(K + 1, number.shape[1], z.size, both_amplitudes.shape[1], con[0].size, con[4].size)
        fixed = (
            float(K), P, self.temperature, float(problem.n_local), self.share, self._clusters, lies, keys, copies,
            z, z_weight, both_amplitudes, self.slide, con, (problem.masked / problem.P, n, *rec),
        )
        mode = {"own-area": kernels.OWN_AREA, "two-areas": kernels.TWO_AREAS}[masks] if reconstruction else kernels.NONE
        how = mode, self.weight if reconstruction else self.weight / P, not self.stop_gradient
        self._known: tuple = (self._pairs, self._place, self._own, self._pp, self._heaviest, *how, *fixed)
        self._copies = copies
        self._kernel: Any = kernels.mixed_types
        self._no_solver = NO_SOLVER
        self._from_slide: Any = balance.from_slide
        self._held_back: Any = balance.held_back
        self._slides: Any = balance.slides
        self._event_values: Any = kernels.event_values
        floors = np.array([all_masked(P, float(problem.unmasked), m) for m in n])
        if self.weight == 0.0:
            self.floor = 0.5 * problem.amplitude.moment(2) * float((self.share * (self._clusters * floors).sum(axis=1)).sum()) / K
        self._attention, self._terms = np.zeros((K + 1, 2, 3)), np.zeros(2)
        self._gross, self._alone, self._together = *np.zeros((2, self._place.size)), np.zeros((K + 1, 3))
        self._dy, self._none = np.zeros(self._place.size), np.zeros(K + 1, dtype=bool)
        self.pooled = np.zeros((con[0].size, z.size))
        self._seen: tuple = (self._gross, self._alone, self._together, self._attention, self._terms, self.pooled)
        self.stiff, self.conservative = self.weight > 0, self.weight == 0 or not self.stop_gradient
        self.events = {  # type: ignore[misc]  # of this K
            **({} if self.weight else EVENTS), **by_query_type(
                {name: text for name, text in ATTENTION_EVENTS.items() if self.weight or name != "collapse"}, query_types(K)
            )
        }

    # ---- the state

    def _classes(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """lies (types, 2, 3, classes), number (types, classes): in how many clusters of each type the keys of a class lie in the
        own, the global, an other area, and how many keys it has."""
        problem, P = self.problem, float(self.problem.P)
        width = max((g + 1) * comb(problem.K - g + 2, 2) for g in range(problem.K + 1))
        lies, number = np.zeros((problem.K + 1, 2, 3, width)), np.zeros((problem.K + 1, width))
        sizes = np.array([[own[0], problem.C_global, P - problem.C_global - own[0]], [own[1], 0.0, P - own[1]]])
        self._width = [(g + 1) * comb(problem.K - g + 2, 2) for g in range(problem.K + 1)]
        others = P - 1.0 if self.intersections == "independent" else P
        beside = sizes - (np.array([1.0, 0.0, 0.0]) if self.intersections == "independent" else 0.0)
        powers = whole_powers((beside / others).ravel(), problem.K)
        for g in range(problem.K + 1):
            n = problem.K - g
            local = [(a, b, n - a - b) for a in range(n, -1, -1) for b in range(n - a, -1, -1)]
            for s, (in_local, in_global) in enumerate((x, (d, 0, g - d)) for x in local for d in range(g, -1, -1)):
                lies[g, 0, :, s], lies[g, 1, :, s] = in_local, in_global
                ways = [comb(sum(m), m[0]) * comb(m[1] + m[2], m[1]) for m in (in_local, in_global)]
                chance = np.prod(powers[(*in_local, *in_global), range(6)])
                number[g, s] = others * ways[0] * ways[1] * chance
            if self.intersections == "product":
                if number[g, 0] < 1.0 - 1e-9:
                    raise InputError(
                        f"in a product partition the query's own areas meet in at least one patch, got {number[g, 0]:.3g}: "
                        f'use intersections="independent", or a larger kappa_s'
                    )
                number[g, 0] = max(0.0, number[g, 0] - 1.0)
        return lies, number

    def _places(self, number: np.ndarray) -> np.ndarray:
        """Where the numbers of the state stand in the table (types, 6 + classes + 1)."""
        used = np.zeros((number.shape[0], 7 + number.shape[1]), dtype=bool)
        used[:, -1] = True
        for g, width in enumerate(self._width):
            used[g, 0:3], used[g, [3, 5]] = g < self.problem.K, g > 0
            used[g, 6 : 6 + width] = True
        return np.flatnonzero(used)

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero, flat."""
        return np.zeros(self._place.size)

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y; without reconstruction the loss is weight x L_con, less tau log n."""
        dy = np.empty_like(y) if out is None else out
        self._evaluate(y, dy)
        return self._loss(), dy

    def _evaluate(
        self, y: np.ndarray, dy: np.ndarray, columns: np.ndarray = NO_COLUMNS, derivatives: np.ndarray = NOTHING
    ) -> None:
        """Velocity, and columns of its derivative, by the kernel."""
        self._kernel(
            self._no_solver, NO_RATES, 0.0, y, self._none, np.inf, dy, NO_RATES, NO_RATES, self._room, self._seen, columns,
            derivatives, *self._known,
        )

    def _loss(self) -> float:
        rec, con = float(self._terms[0]), float(self._terms[1])
        return rec + self.weight * self.problem.P / self.problem.masked * con if self.reconstruction else self.weight * con

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity, attention and the loss of each part in one pass."""
        loss, dy = self.velocity(y, step, out)
        terms = {"reconstruction": float(self._terms[0])} if self.reconstruction else {}
        if self.weight:
            terms["contrastive"] = float(self._terms[1])
        return Observation(loss, dy, self._by_cluster(self._attention), terms)

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected attention (types, K, 3) on the own, the global and each other area.

        Of a masked query; without reconstruction of any query, masked or not.
        """
        self.velocity(y)
        return self._by_cluster(self._attention)

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (types, K, 3) own/global/other and PP (types, classes + 1), the query itself last; copied."""
        table = np.zeros((self.problem.K + 1) * (7 + self.number.shape[1]))
        table[self._place] = y
        table = table.reshape(self.problem.K + 1, -1)
        return self._by_cluster(table[:, :6].reshape(-1, 2, 3)), table[:, 6:].copy()

    def _by_cluster(self, table: np.ndarray) -> np.ndarray:
        """A table (types, 2, 3) by cluster type as one of (types, K, 3), copied; own and global are one where the query is
        global."""
        table = table.copy()
        table[:, 1, 1] = table[:, 1, 0]
        cluster_type = self.layout.is_global.reshape(self.problem.K + 1, -1).astype(int)
        return table[np.arange(self.problem.K + 1)[:, None], cluster_type]

    def scale(self) -> np.ndarray:
        """Natural size of each entry: 1 for FP, one over the smallest own area for PP, which is followed to 1e-4 at best."""
        size = max(1.0 / min(self.problem.C_local, self.problem.C_global), SMALLEST)
        table = np.full((self.problem.K + 1, 7 + self.number.shape[1]), size)
        table[:, :6] = 1.0
        return table.ravel()[self._place]

    # ---- where a stiff solver slides

    def slides_seen(self, before: np.ndarray | None = None) -> np.ndarray:
        """Query types whose own and global area take most of what they get from each other: little pushes both together."""
        return self._slides(self._together, self._none if before is None else before)

    def to_slide(self, y: np.ndarray, sliding: np.ndarray) -> np.ndarray:
        """Slide . (own, global correlation) in place of the own one."""
        u = y.copy()
        own = self._own[sliding]
        u[own] = self.slide[0] * y[own] + self.slide[1] * y[own + 1]
        return u

    def from_slide(self, u: np.ndarray, sliding: np.ndarray) -> np.ndarray:
        """The inverse."""
        return self._from_slide(u, self._own, self.slide, sliding)

    def slide_rate(
        self,
        Y: np.ndarray,
        sliding: np.ndarray,
        t0: float,
        out: np.ndarray,
        paces: np.ndarray,
        solver: tuple | None = None,
        watch: np.ndarray | None = None,
    ) -> tuple[int, int]:
        """Rate of the coordinates on the clock.

        PP counts as pushed with FP of its type, as it follows the same balances, and is slowed with them. PP of classes that hold
        less than one key comes to rest where one key would weigh as much as a whole area: the mean over queries does not know
        that such a key, where there is one, saturates its own softmax. All others come to rest at HEAVIEST.
        """
        return self._kernel(
            solver or self._no_solver, NO_RATES if watch is None else watch, t0, Y, sliding, self.limit, self._dy, out, paces,
            self._room, self._seen, NO_COLUMNS, NOTHING, *self._known,
        )

    def jacobian(self, y: np.ndarray, sliding: np.ndarray, pace: float) -> np.ndarray:
        """By differences; what PP and FP of other areas do is left out where they are slow."""
        width = 7 + self.number.shape[1]
        columns = np.flatnonzero(self._fast | (pace * self._alone > SLOW))
        derivatives = np.zeros((columns.size, self.problem.K + 1, width + 1))
        self._evaluate(y, self._dy, self._place[columns], derivatives)
        by_column = derivatives[:, :, :width].reshape(columns.size, -1)[:, self._place]
        by_column[:, self._pp] *= self._held_back(y, self._pp, self._heaviest)
        own = self._own[sliding]
        by_column[:, own] = derivatives[:, sliding, width]
        found = np.zeros((y.size, y.size))
        found[:, columns] = by_column.T
        found[:, own] /= self.slide[0]
        found[:, own + 1] -= self.slide[1] * found[:, own]
        return found

    # ---- events

    def crossings(self, y: np.ndarray) -> tuple[float, dict[str, float]]:
        """(loss, each of `events` as a number that turns positive where it happens)."""
        self.velocity(y)
        return self.crossings_seen()

    def crossings_seen(self) -> tuple[float, dict[str, float]]:
        """The same at the state that was evaluated last."""
        loss = self._loss()
        found = self._above(self._attention[:, 0], float(self._attention[-1, 1, 0]))
        return loss, found if self.weight else {**found, **self.standard_crossings(loss, found["escape"] + 0.5)}

    def event_values(self, loss: float, attention: np.ndarray, first_loss: float) -> dict[str, float]:
        """Each of `events` as a number that turns positive where it happens."""
        found = self._above(attention[:, 0], float(attention[-1, 0, 0]))
        if self.weight == 0:
            found |= loss_crossings(loss, first_loss, self.floor or 0.0)
        return found

    def _above(self, local: np.ndarray, of_global: float) -> dict[str, float]:
        """From the attention (types, 3) of queries in a cluster in which they are local, and that of all-global ones on their own
        area; means over queries and clusters."""
        self._event_values(local, of_global, self._pairs, self._above_half)
        return dict(zip(self._event_names, self._above_half.tolist(), strict=False))

    # ---- how it is built and stored

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        weight: float = 1.0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        masks: str | None = None,
        nodes: int | None = None,
        **options: Any,
    ) -> MixedOrbitField:
        """Build the field of a problem; nothing in it is random."""
        return cls(problem, weight, temperature, stop_gradient=stop_gradient, masks=masks, nodes=nodes)

    @classmethod
    def predictions(
        cls,
        problem: Problem,
        query: str,
        /,
        closed: bool = True,
        weight: float = 1.0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        **options: Any,
    ) -> dict[str, float | None]:
        """Return what theory predicts for the escape of a query type."""
        from dynsim import theory

        return theory.mixed_predictions(problem, query, weight, temperature, closed, stop_gradient)

    @classmethod
    def thresholds(
        cls, problem: Problem, weight: float = 1.0, temperature: float = 0.5, stop_gradient: bool = True, **options: Any
    ) -> dict[str, float | None]:
        """Return the weights of the collapse, and how far it goes at this weight."""
        from dynsim import theory

        return theory.mixed_thresholds(problem, weight, temperature, stop_gradient)

    @classmethod
    def run_options(cls, problem: Problem) -> dict:
        """Up to ten times the escape of a local query without contrast."""
        from dynsim import theory

        return {"t_end": 10 * theory.escape_time(problem), "rtol": 1e-5, "keep": 100}

    def horizon(self) -> float:
        """Return twice the time by which local queries escape after theory, and at least four times that without contrast."""
        from dynsim import theory

        if not self.reconstruction:
            return 4 * theory.collapse_time(self.problem, self.stop_gradient) / self.weight  # nothing escapes
        free = theory.escape_time(self.problem)
        weight = self.weight * (1 if self.stop_gradient else 2)
        later = theory.mixed_escape_time(self.problem, weight, self.temperature) if self.problem.Delta > 0 else free
        return max(4 * free, 2 * later if later < 1e3 * free else 0.0)

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """How the velocity follows from the gradient: for stop_gradient=False only, else the velocity is no gradient.

        An entry stands for all areas of its role in all clusters of a type, or all keys of its class, of all queries of a
        type; the loss is per masked patch, or of a pair.
        """
        problem, P = self.problem, float(self.problem.P)
        many = np.zeros((problem.K + 1, 7 + self.number.shape[1]))
        copies = self._copies * [[1.0, 1.0, problem.n_local > 1], [1.0, 1.0, 1.0]]
        many[:, :6] = (self._clusters[:, :, None] * copies).reshape(-1, 6)
        many[:, 6:-1], many[:, -1] = self.number, 1.0
        standing = many.ravel()[self._place]
        many *= self.share[:, None]
        unit = problem.masked / P if self.reconstruction else 1.0 / P
        return np.where(standing < 0.5, 0.0, unit * u / np.maximum(many.ravel()[self._place], 1e-300))

    def describe(self) -> dict:
        """What this field is, as plain data."""
        return {
            "method": self.method, "weight": self.weight, "temperature": self.temperature,
            "reconstruction": self.reconstruction, "stop_gradient": self.stop_gradient, "masks": self.masks,
            "intersections": self.intersections, "loss_floor": self.floor or 0.0,
        }

    def recipe(self) -> Recipe:
        """Return problem and options."""
        names = ("weight", "temperature", "reconstruction", "stop_gradient", "masks", "intersections", "nodes")
        return {"method": self.method, "problem": self.problem.recipe(), **{name: getattr(self, name) for name in names}}, {}

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> MixedOrbitField:
        """Build the field of a recipe."""
        choices = {name: value for name, value in plain.items() if name not in ("method", "problem")}
        return cls(Problem.from_recipe(plain["problem"]), **choices)


class ContrastiveOrbitField(MixedOrbitField):
    """Contrastive learning alone, L = weight x L_con: MixedOrbitField with reconstruction=False.

    Parameters
    ----------
    problem : Problem
        Any P.
    temperature : float
        Of the softmax over negatives, tau > 0.
    stop_gradient : bool
        Whether only the first view of a pair learns.
    weight : float
        Scales the loss.
    intersections : {"independent", "product"}
        As in OrbitField.
    nodes : int, optional
        Amplitude quadrature. None: as many as resolve the amplitudes at this P, 4 to 24.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, P=1e30, amplitude=dynsim.Fixed(1.0))
    >>> expected = dynsim.theory.collapse_time(problem)
    >>> run = dynsim.reduced.flow(dynsim.reduced.ContrastiveOrbitField(problem), t_end=2 * expected)
    >>> round(run.meta["events"]["collapse"] / expected, 2)
    1.0
    """

    method: ClassVar[str] = "contrastive-orbit"
    objective: ClassVar[str] = "contrastive"
    options: ClassVar[tuple[Option, ...]] = tuple(
        option for option in MixedOrbitField.options if option.name not in ("masks", "weight")
    )

    def __init__(
        self,
        problem: Problem,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        weight: float = 1.0,
        intersections: str = "independent",
        nodes: int | None = None,
    ) -> None:
        super().__init__(
            problem, weight, temperature, reconstruction=False, stop_gradient=stop_gradient,
            intersections=intersections, nodes=nodes,
        )

    @classmethod
    def from_options(  # type: ignore[override]  # (weight is 1)
        cls,
        problem: Problem,
        seed: int = 0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        nodes: int | None = None,
        **options: Any,
    ) -> ContrastiveOrbitField:
        """Build the field of a problem; nothing in it is random."""
        return cls(problem, temperature, stop_gradient, nodes=nodes)

    @classmethod
    def predictions(  # type: ignore[override]
        cls,
        problem: Problem,
        query: str,
        /,
        closed: bool = True,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        **options: Any,
    ) -> dict[str, float | None]:
        """Return the collapse time that theory predicts, the same for all query types."""
        from dynsim import theory

        return theory.contrastive_predictions(problem, query, temperature, stop_gradient, closed)

    @classmethod
    def thresholds(cls, problem: Problem, *_: Any, **options: Any) -> dict[str, float | None]:
        """Return nothing: without reconstruction attention collapses at any weight."""
        return {}

    @classmethod
    def run_options(cls, problem: Problem) -> dict:
        """Up to four times the collapse."""
        from dynsim import theory

        return {"t_end": 4 * theory.collapse_time(problem), "rtol": 1e-5, "keep": 100}

    def recipe(self) -> Recipe:
        """Return problem and options."""
        plain, arrays = super().recipe()
        return {name: value for name, value in plain.items() if name not in ("reconstruction", "masks")}, arrays


def _enough_nodes(problem: Problem) -> int:
    """Nodes for averages of 1 / (1 + e^(log odds - z phi)), z phi up to log P, to 1e-6: its poles lie pi / phi off the axis."""
    law: Law = problem.amplitude
    reach = max(1e-9, (law.U - law.L) / 2 * log(problem.P) / law.U)
    radius = pi / reach + sqrt(1.0 + (pi / reach) ** 2)
    return int(min(24, max(4, ceil(6 * log(10.0) / (2 * log(radius))))))


def _global_law(P: float, unmasked: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked fraction of `size` patches, `unmasked` of P - 1 being so: at most GLOBAL_NODES Gauss nodes and weights."""
    from dynsim.reduced.kernels.counts import unmasked_law

    return unmasked_law(P, unmasked, size, mean_field=_is_sharp(P, unmasked, size), most=GLOBAL_NODES, coarse=True)[:2]


def _is_sharp(P: float, unmasked: float, size: float) -> bool:
    """Whether the unmasked fraction of `size` patches is as good as its mean, `unmasked` of P being so."""
    return bool(P - unmasked < SHARP**2 * unmasked * size)


def _given_global(P: float, unmasked: float, size: float, x: np.ndarray, own: float) -> tuple[np.ndarray, ...]:
    """Law of the own area's unmasked fraction, and the chances for all other keys, given that of the global area."""
    from dynsim.reduced.kernels.counts import law_tables, unmasked_law

    left = np.clip(unmasked - x * size, 0.0, P - 1.0 - size)
    most = [1 if _is_sharp(P - size, u, own) else None for u in left]
    return law_tables([unmasked_law(P - size, float(u), own, most=m, coarse=True) for u, m in zip(left, most, strict=True)])


def _pairs(z: np.ndarray, weight: np.ndarray, slide: np.ndarray) -> np.ndarray:
    """Pairs of amplitudes (rows, padded) for kernels/pairs_of_areas.py: of the own area, the faster index, and the global one."""
    from dynsim.reduced.kernels.simd import HALF_WIDTH

    own, lead = np.tile(z, z.size), np.repeat(z, z.size)
    both, (top, low) = np.tile(weight, z.size) * np.repeat(weight, z.size), slide
    rows = [both, both * (top * own), both * (low * lead), both * (top * own - low * lead), own * own, lead * lead]
    return np.pad(np.array(rows), ((0, 0), (0, -(z.size**2) % HALF_WIDTH)))


def _contrastive_tables(problem: Problem, own: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of a query masked or not: x, weight of the global area; x, weight, rho of the own one given it, count; rho of all
    others."""
    P, unmasked, size = float(problem.P), float(problem.unmasked), float(problem.C_global)
    x, weight = _global_law(P + 1.0, unmasked, size)
    xo, xo_weight, rho, _, count = _given_global(P + 1.0, unmasked, size, x, own[0])
    rest = np.clip((unmasked - x * size) / (P - size), 0.0, 1.0)[:, None]
    return x, weight, xo, xo_weight, rho, count, rest


def _reconstruction_tables(problem: Problem, n: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Of a masked query: laws of the own area by cluster type, those of OrbitField by fewer nodes; of the global area and of the
    own one given it."""
    from dynsim.reduced.kernels.counts import law_tables, unmasked_law

    P, unmasked, size = float(problem.P), float(problem.unmasked), float(problem.C_global)
    x, weight = _global_law(P, unmasked, size)
    alone = law_tables([unmasked_law(P, unmasked, m, coarse=True) for m in n])
    return alone, (x, weight, *_given_global(P, unmasked, size, x, n[0]))
