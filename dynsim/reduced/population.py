"""PopulationField: the expectation of (5) over clusters, amplitudes and masks, on an explicit partition.

How the masks are averaged is a choice (docs/model.md):

===============  =============================================================================================
``masks``        class
===============  =============================================================================================
"own-area"       closed: unmasked patches of the query's own area summed count by count (or by the Gauss rule of
                 their law) and drawn without replacement, other areas through their conditional mean and
                 second moment
"mean-field"     closed: every area through its mean
"exact"          every mask and every amplitude node, listed (P <= 16)
"monte-carlo"    n new images for every evaluation, from (seed, step); n in the thousands
===============  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from math import comb
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import seed_of
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import field_class
from dynsim.reduced.explicit import PARTITION, VECTORS, ExplicitField, choose_partition, choose_vectors, part_of, vectors_of
from dynsim.reduced.field import Field, Observation, Option, Recipe, check_nodes

MASKS = ("own-area", "mean-field", "exact", "monte-carlo")
MOST_LISTED = 3e6  # images that "exact" may list
EXACT_NODES = 6  # amplitude nodes of "exact": (5) to 1e-12 for U[.8, 1.2] and |Phi| <= 3; U[.5, 1.5] takes 10 for that


class PopulationField(ExplicitField):
    """Velocity of the correlations, expected over clusters, amplitudes and masks; closed.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    part : Partition
        Areas of the problem.
    masks : {"own-area", "mean-field", "exact", "monte-carlo"}
        How masks are averaged.
    nodes : int, optional
        Nodes of the amplitude quadrature; 8 by default, for "exact" 6.
    n : int
        Images per evaluation of "monte-carlo".
    seed : int
        Seed of "monte-carlo".
    threads : int, optional
        Threads; they change the time a step takes, never the bits.
    embedding : Embedding, optional
        Positions, features and mask token; orthonormal by default. The closures need orthonormal features and no mask token.
    hold : {None, "fp", "pp"}
        Correlation held at zero.
    rng : optional
        A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

    Raises
    ------
    InputError
        If problem, partition and embedding do not fit, or "exact" would list too many images.

    Notes
    -----
    Equations (C1)-(C9) of docs/model.md; how far off each choice is, measured, is in docs/what-to-expect.md. State and shapes
    are those of EmpiricalField.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.PopulationField(problem, part)
    >>> run = dynsim.reduced.descend(field, eta=2.0, steps=20)
    >>> run.fp.shape[1:], bool(abs(field.floor - dynsim.theory.loss_floor(problem, part)) < 1e-12)
    ((16, 4), True)
    """

    method = "population"
    options = (
        PARTITION,
        Option("masks", str, "own-area", "how masks are averaged", MASKS),
        Option("nodes", int, None, "amplitude quadrature (8; exact: 6)", least=1),
        Option("n", int, None, "images for every evaluation of monte-carlo (4096)", least=1),
        *VECTORS,
    )

    def __init__(
        self,
        problem: Problem,
        part: Partition,
        masks: str = "own-area",
        nodes: int | None = None,
        n: int = 4096,
        seed: int = 0,
        threads: int | None = None,
        embedding: Embedding | None = None,
        hold: str | None = None,
        *,
        rng: Any = None,
    ) -> None:
        from dynsim.reduced.kernels.counts import all_masked, law_tables, unmasked_law
        from dynsim.reduced.kernels.threads import ThreadPool, thread_count

        if masks not in MASKS:
            raise InputError(f"masks must be one of {', '.join(MASKS)}, got {masks!r}: own-area is the default")
        if (part.K, part.P) != (problem.K, problem.P):
            raise InputError(f"partition of K={part.K}, P={part.P} is not one of the problem's K={problem.K}, P={problem.P}")
        check_nodes(nodes)
        seed = seed_of(seed, rng)
        self._place(part, embedding, hold)
        self.problem, self.masks = problem, masks
        self.nodes, self.n, self.seed = nodes, n, seed
        self.deterministic = masks != "monte-carlo"
        self._options = {"masks": masks, **({"n": n, "seed": seed} if masks == "monte-carlo" else {})}
        self._images: Field | None = None
        if masks == "exact":
            self._images = field_class("samples")(part, _listed(problem, part, nodes or EXACT_NODES), threads, embedding, hold)
        elif masks == "monte-carlo":
            self._images = field_class("minibatch").fresh(problem, part, n, seed, embedding=embedding, hold=hold, threads=threads)
        elif embedding is not None and not embedding.has_orthonormal_features:
            raise InputError(
                f"the {masks} closure needs orthonormal features and no mask token, got {embedding.describe()['kind']}: "
                f'use masks="monte-carlo", or "exact" up to P=16'
            )
        z, z_weight = problem.amplitude.nodes(nodes or 8)
        self.limit = 200.0 / max(1.0, z.max())
        sizes, kind = np.unique(part.size, return_inverse=True)
        P, unmasked = float(problem.P), float(problem.unmasked)
        laws = [unmasked_law(P, unmasked, float(size - 1), masks == "mean-field") for size in sizes]
        chance = np.array([all_masked(P, unmasked, float(size - 1)) for size in sizes])
        if masks == "mean-field":
            chance = np.zeros(len(sizes))
        if embedding is None or embedding.has_orthonormal_features:  # else (6) bounds nothing
            self.floor = 0.5 * problem.amplitude.moment(2) * float(chance[kind][part.own].mean())
        self._fixed = (
            part.F, part.own, part.size, part.offset, problem.masked / problem.P, z, z_weight, kind, *law_tables(laws),
            masks == "mean-field",
        )
        self._pool = ThreadPool(part.P, thread_count(threads))
        self._loss, self._attention = np.empty(part.P), np.empty((part.F, part.P))

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        partition: str = "blocks",
        masks: str = "own-area",
        nodes: int | None = None,
        n: int | None = None,
        embedding: str = "orthonormal",
        d: int | None = None,
        hold: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> PopulationField:
        """Build the expectation on areas drawn from ``seed``."""
        if n is not None and masks != "monte-carlo":
            raise InputError(f"n counts the images of masks monte-carlo, got --n {n} for masks {masks}: leave n out")
        part = choose_partition(problem, partition, seed)
        vectors = choose_vectors(part, embedding, d, hold, seed)
        drawn = seed if masks == "monte-carlo" else 0
        return cls(problem, part, masks, nodes, 4096 if n is None else n, drawn, threads, **vectors)

    def masked_patches(self) -> float:
        """Every image has as many."""
        return float(self.problem.masked)

    def curvature(self) -> float | None:
        """Return an upper bound of the curvature of the expected loss (docs/model.md)."""
        largest, hold, K = self.problem.amplitude.U, self.metric.hold, self.problem.K
        token = self.embedding is not None and self.embedding.mu is not None
        z = max(largest, float(token))
        content = 0.0 if hold == "fp" else z**4 / (1 if token else K)
        position = 0.0 if hold == "pp" else z**2
        return self.metric.stretch() * 0.5 * float(self.problem.masked / self.problem.P) * (content + position)

    def recipe(self) -> Recipe:
        """Return problem, areas, vectors and how masks are averaged."""
        return self._recipe(problem=self.problem.recipe(), masks=self.masks, nodes=self.nodes, n=self.n, seed=self.seed)

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> PopulationField:
        """Build the field of a recipe."""
        choices = {name: plain[name] for name in ("masks", "nodes", "n", "seed")}
        part = part_of(plain, arrays)
        return cls(Problem.from_recipe(plain["problem"]), part, **choices, **vectors_of(plain, arrays))

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the loss per masked patch and its negative gradient."""
        if self._images is not None:
            return self._images.velocity(y, step, out)
        dy = np.empty(y.shape) if out is None else out
        self._run(np.ascontiguousarray(y, dtype=float), dy)
        return float(self._loss.mean()), dy

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Return loss, velocity and area attention in one pass."""
        if self._images is not None:
            return self._images.observe(y, step, out)
        loss, dy = self.velocity(y, step, out)
        return Observation(loss, dy, self._attention.T.copy())

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Return the expected area attention (P, F) of a masked query."""
        if self._images is not None:
            return self._images.attention(y)
        return PopulationField.observe(self, y).attention

    def _run(self, y: np.ndarray, dy: np.ndarray) -> None:
        from dynsim.reduced.kernels.closure import population_queries

        self._pool.run(population_queries, y, *self._fixed, dy, self._loss, self._attention)
        self.metric.apply(dy)

    def describe(self) -> dict:
        """Return what this field is, as plain data."""
        sizes = {"K": self.part.K, "P": self.part.P, "F": self.part.F, "loss_floor": self.floor}
        return {"method": self.method, **self._options, **sizes, **self.metric.describe()}


def _listed(problem: Problem, part: Partition, nodes: int) -> Dataset:
    """Every mask and every combination of amplitude nodes, weighted: a Dataset whose mean is the expectation."""
    P = part.P
    masked: int = problem.masked  # type: ignore[assignment]  # a whole number, as P is
    z, z_weight = problem.amplitude.nodes(nodes)
    count = comb(P, masked) * sum(float(len(z)) ** int(N) for N in part.N)
    if P > 16 or count > MOST_LISTED:
        raise InputError(
            f'masks="exact" lists every mask and amplitude, for P <= 16 and up to {MOST_LISTED:.0e} images, got P={P} and '
            f'{count:.1e}: use masks="own-area", fewer areas, or fewer amplitude nodes'
        )
    masks = np.zeros((comb(P, masked), P), dtype=bool)
    for row, chosen in zip(masks, combinations(range(P), masked), strict=True):
        row[list(chosen)] = True
    cluster, amplitude, weight = [], [], []
    for k, N in enumerate(part.N):
        for choice in product(range(len(z)), repeat=int(N)):
            cluster.append(k)
            amplitude.append(np.pad(z[list(choice)], (0, part.N.max() - N)))
            weight.append(np.prod(z_weight[list(choice)]) / part.K)
    each, n = len(masks), len(cluster)
    return Dataset(
        np.repeat(cluster, each), np.repeat(amplitude, each, axis=0), np.tile(masks, (n, 1)), np.repeat(weight, each) / each
    )
