"""The exact field of the contrastive loss on given pairs (docs/contrastive.md, eq. D1-D3).

Every image i is seen under two masks, as views a and b. Every patch queries; with A_pm the area attention of query p, the pooled
output is f_m = z_m (1/P) sum_p A_pm along the feature of area m, and

    L = -(tau/n) sum_i log softmax_j(s_ij / tau)_{j=i},   s_ij = <F(X_i^a), F(X_j^b)>,   w_ij = softmax_j(s_ij / tau),
    dL/df_i^a = (1/n) sum_j (w_ij - 1{i=j}) f_j^b,   without stop-gradient also   dL/df_j^b = (1/n) sum_i (w_ij - 1{i=j}) f_i^a,
    g_m = z_m (dL/df)_m / P,   gbar_p = sum_m A_pm g_m,
    dPhi_pm/dt = -z_m A_pm (g_m - gbar_p),   dUpsilon_pq/dt = -attn_pq (1{q unmasked} g_{m(q)} - gbar_p),

summed over images and differentiated views. No approximation. Under orthonormal embeddings all queries start alike and move
alike, so one row of Phi and Upsilon is the state; other embeddings couple queries (metric.py, eq. B10) and keep all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim.errors import InputError, NoRecipe
from dynsim.model.amplitude import check_temperature, generator, seed_of
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import Pairs, sample_pairs
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced.explicit import PARTITION, VECTORS, ExplicitField, choose_partition, choose_vectors, part_of, vectors_of
from dynsim.reduced.field import ATTENTION_EVENTS, Field, Observation, Option, Recipe, by_query_type, prefixed, without_prefix

if TYPE_CHECKING:  # kernels are loaded when a field is built
    from dynsim.reduced.kernels.threads import ThreadPool

LARGEST_EXPONENT = 300.0  # z Phi and Upsilon beyond this make a one-hot softmax
SMALL = 3e4  # multiply-adds below which handing work to threads costs more than it saves


@dataclass(frozen=True, eq=False)
class FreshPairs:
    """Draw of n new pairs of a problem at every step.

    Parameters
    ----------
    problem : Problem
        Law of the images.
    part : Partition
        Their areas.
    n : int
        Pairs in a batch.
    seed : int
        Seed of the pairs.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.contrastive import FreshPairs
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> FreshPairs(problem, dynsim.Partition.blocks(problem), n=8, seed=0)(3).n
    8
    """

    problem: Problem
    part: Partition
    n: int
    seed: int

    def __call__(self, step: int) -> Pairs:
        return sample_pairs(self.problem, self.part, self.n, seed=[self.seed, step])


class ContrastiveField(ExplicitField):
    """Velocity of the correlations under the contrastive loss of pairs; exact.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    pairs : Pairs or callable
        Given pairs, or a function of the step that returns those to use there (`FreshPairs`); loss and attention are then
        those of the pairs of the step.
    temperature : float
        The tau of the softmax over pairs, positive.
    stop_gradient : bool
        Whether the second view is a constant in the gradient.
    embedding : Embedding, optional
        Positions and features, orthonormal when left out. No mask token: see Raises.
    hold : {"fp", "pp"}, optional
        Correlation to keep at zero (projected descent).
    negatives : int, optional
        How many of the n - 1 other images each pair is compared with, drawn once for given pairs; all when left out.
    seed : int
        Of the draw of negatives.
    threads : int, optional
        Changes the time a step takes, never the bits.
    one_row : bool, optional
        Whether the state is one row for all queries. When left out: where that is exact, with an orthonormal embedding.

    Raises
    ------
    InputError
        Where pairs, partition and embedding do not fit, a number is out of its range, one row would not be exact, or the
        embedding has a mask token: every patch queries here, and with a token the vector of a query would depend on the mask.

    Notes
    -----
    The state is (F + P,), phi above upsilon, or (F + P, P) with the queries on the contiguous axis. The loss is (D2) itself,
    not divided by masked patches; dy/dt is minus its gradient in Q, written in the correlations of each query. `floor` is not
    known. Time is t = eta x step.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, P=16, kappa_c=0.8, kappa_s=0.4)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.ContrastiveField(part, dynsim.sample_pairs(problem, part, n=32))
    >>> run = dynsim.reduced.descend(field, eta=10.0, steps=20)
    >>> run.fp.shape[1:] == (part.P, part.F) and bool(run.loss[-1] < run.loss[0])
    True
    """

    method = "contrastive-samples"
    objective = "contrastive"
    options = (
        Option("n", int, 256, "pairs of views", least=2),
        Option("temperature", float, 0.5, "of the softmax over pairs, positive"),
        Option("stop_gradient", bool, True, "take the second view as a constant in the gradient"),
        Option("negatives", int, None, "other images that each pair is compared with (all)", least=1),
        Option("fresh", bool, False, "draw new pairs at every step"),
        PARTITION,
        *VECTORS,
    )
    def __init__(
        self,
        part: Partition,
        pairs: Pairs | Callable[[int], Pairs],
        temperature: float = 0.5,
        stop_gradient: bool = True,
        embedding: Embedding | None = None,
        hold: str | None = None,
        negatives: int | None = None,
        seed: int = 0,
        threads: int | None = None,
        one_row: bool | None = None,
    ) -> None:
        check_temperature(temperature)
        if embedding is not None and embedding.mu is not None:
            raise InputError(
                "a contrastive run takes no mask token: every patch queries, and with a token the vector of a query would depend "
                "on the mask, got an embedding with mu: leave mu out"
            )
        exact = embedding is None or embedding.is_orthonormal
        if one_row and not exact:
            raise InputError("one_row=True needs an orthonormal embedding, others move queries differently: leave it out")
        self._place(part, embedding, hold)
        self.events = by_query_type(ATTENTION_EVENTS, self.layout.share)  # type: ignore[misc]  # of this partition
        self.pairs, self.temperature, self.stop_gradient = pairs, float(temperature), bool(stop_gradient)
        self.negatives, self.seed, self.one_row = negatives, seed, exact if one_row is None else bool(one_row)
        self.deterministic, self.conservative = not callable(pairs), not self.stop_gradient
        self._threads = threads
        self._pool: ThreadPool | None = None
        self._drawn: int | None = None
        self._at(0)

    @classmethod
    def fresh(
        cls, problem: Problem, part: Partition, n: int = 256, seed: int = 0, *, rng: Any = None, **options: Any
    ) -> ContrastiveField:
        """Build the field of n new pairs of a problem at every step.

        Parameters
        ----------
        problem : Problem
            Law of the images.
        part : Partition
            Their areas.
        n : int
            Pairs in a batch.
        seed : int
            Seed of pairs and negatives.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.
        **options : object
            Further arguments of ContrastiveField.

        Returns
        -------
        ContrastiveField
            The field.
        """
        seed = seed_of(seed, rng)
        return cls(part, FreshPairs(problem, part, n, seed), seed=seed, **options)

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        n: int = 256,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        negatives: int | None = None,
        fresh: bool = False,
        partition: str = "blocks",
        embedding: str = "orthonormal",
        d: int | None = None,
        hold: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> ContrastiveField:
        """Build the field of n pairs, or n new ones at every step; areas, pairs and negatives are drawn from ``seed``."""
        part = choose_partition(problem, partition, seed, 2 * n)
        pairs = FreshPairs(problem, part, n, seed) if fresh else sample_pairs(problem, part, n, seed)
        vectors = choose_vectors(part, embedding, d, hold, seed)
        return cls(part, pairs, temperature, stop_gradient, **vectors, negatives=negatives, seed=seed, threads=threads)

    @classmethod
    def predictions(
        cls,
        problem: Problem,
        query: str,
        /,
        closed: bool = True,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        **options: Any,
    ) -> dict[str, float | None]:
        """Return the collapse time that theory predicts for many pairs, the same for all query types."""
        from dynsim import theory

        return theory.contrastive_predictions(problem, query, temperature, stop_gradient, closed)

    @classmethod
    def plain_options(cls, problem: Problem) -> dict:
        """Return options for twice the collapse time (D6) at amplitude one.

        The step size is P, as the gradient of a query is of order 1 / P.
        """
        rho = problem.rho
        collapse = problem.K**2 / max(problem.K - 1, 1) * problem.P**3 / (2 * (rho * problem.C_global) ** 2)
        return {"eta": float(problem.P), "steps": int(np.clip(2 * collapse / problem.P, 500, 20000))}

    def run_options(self, problem: Problem) -> dict:
        """Return the plain options: no floor is known at which a run could end."""
        return self.plain_options(problem)

    def curvature(self) -> float | None:
        """Return an upper bound of the curvature of (D2), on the pairs of step 0 (docs/model.md).

        With stop-gradient, where the velocity is no gradient, it bounds minus its derivative along any direction.
        """
        self._at(0)
        pairs, tau, P = self._pairs, self.temperature, self.part.P
        z = float(np.max(np.asarray(pairs.z)))
        if self.stop_gradient:
            share = float(np.bincount(pairs.cluster).max()) / pairs.n
            bound = (share * z**2 + 1) * (2 * z**2 + z**4 / (4 * tau))
        else:
            bound = (z**2 + 1) * (6 * z**2 + 1.5 * z**4 / tau)
        return self.metric.stretch() * bound / (2 * P)

    def recipe(self) -> Recipe:
        """Return pairs (written out, or the draw with its seed), areas, vectors and numbers."""
        names = ("temperature", "stop_gradient", "negatives", "seed", "one_row")
        numbers = {name: getattr(self, name) for name in names}
        if isinstance(self.pairs, Pairs):
            plain, arrays = self._recipe(**numbers)
            columns = {name: np.asarray(getattr(self.pairs, name)) for name in ("cluster", "z", "masked")}
            return plain, {**arrays, **prefixed(columns, "pairs")}
        if type(self.pairs) is FreshPairs:
            draw = self.pairs
            return self._recipe(**numbers, problem=draw.problem.recipe(), n=int(draw.n), draw_seed=draw.seed)
        raise NoRecipe(f"a draw of pairs of your own has no recipe, got {self.pairs!r}: pass the field itself")

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> ContrastiveField:
        """Build the field of a recipe."""
        part, vectors = part_of(plain, arrays), vectors_of(plain, arrays)
        pairs: Pairs | FreshPairs
        if "problem" in plain:
            pairs = FreshPairs(Problem.from_recipe(plain["problem"]), part, plain["n"], plain["draw_seed"])
        else:
            pairs = Pairs(**without_prefix(arrays, "pairs"))
        names = ("temperature", "stop_gradient", "negatives", "seed", "one_row")
        return cls(part, pairs, **{name: plain[name] for name in names}, **vectors)

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero."""
        return np.zeros(self.part.F + self.part.P) if self.one_row else super().start()

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (P, F) and PP (P, P) correlations of state y, copied; equal rows where the state is one row."""
        if not self.one_row:
            return super().correlations(y)
        F, P = self.part.F, self.part.P
        return np.tile(y[:F], (P, 1)), np.tile(y[F:], (P, 1))

    def state(self, fp: np.ndarray, pp: np.ndarray) -> np.ndarray:
        """The state that has these correlations: the inverse of `correlations`."""
        return np.concatenate([fp[0], pp[0]]) if self.one_row else super().state(fp, pp)

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(L of (D2), dy/dt) at state y on the pairs of `step`; dy is written to `out` (C-contiguous) where one is given."""
        self._at(step)
        dy = np.empty(y.shape) if out is None else out
        loss = self._kernel.velocity(np.ascontiguousarray(y, dtype=float), dy)
        self.metric.apply(dy)
        return loss, dy

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity and area attention on the pairs of `step`."""
        loss, dy = self.velocity(y, step, out)
        return Observation(loss, dy, self._kernel.attention())

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention (P, F) of a query over both views, on the pairs of the last step; NaN where there are none."""
        return self.observe(y, self._drawn or 0).attention

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """The inner products of the embedding; on one row, a query's share of what moves all P rows at once."""
        if self.one_row:
            moved = u / self.part.P
            held = {None: slice(0), "fp": slice(self.part.F), "pp": slice(self.part.F, None)}[self.metric.hold]
            moved[held] = 0.0
            return moved
        moved = u.copy()
        self.metric.apply(moved)
        return moved

    def describe(self) -> dict:
        """What this field is, as plain data; "state" says whether it has one row for all queries."""
        sizes = {"n": self._pairs.n, "K": self.part.K, "P": self.part.P, "F": self.part.F}
        numbers = {name: getattr(self, name) for name in ("temperature", "stop_gradient", "negatives")}
        kind = {"fresh": not self.deterministic, "state": "one row for all queries" if self.one_row else "a row a query"}
        return {"method": self.method, "objective": self.objective, **sizes, **numbers, **kind, **self.metric.describe()}

    def on_state(self, shape: tuple[int, ...]) -> Field:
        """The same field with one row of correlations, or with a row a query, as the shape of the state asks."""
        wanted = {(self.part.F + self.part.P,): True, (self.part.F + self.part.P, self.part.P): False}.get(tuple(shape))
        if wanted is None or wanted == self.one_row:
            return super().on_state(shape)
        numbers = self.temperature, self.stop_gradient, self.embedding, self.metric.hold, self.negatives, self.seed
        return type(self)(self.part, self.pairs, *numbers, threads=self._threads, one_row=wanted)

    def _at(self, step: int) -> None:
        """Take the pairs of a step."""
        step = step if callable(self.pairs) else 0
        if step == self._drawn:
            return
        from dynsim.reduced.kernels.threads import ThreadPool, thread_count
        from dynsim.reduced.pair_steps import FullStep, RowStep, row_tasks, tasks

        pairs = self.pairs(step) if callable(self.pairs) else self.pairs
        if not isinstance(pairs, Pairs):
            raise InputError(f"pairs must be Pairs or a function of the step that returns them, got {pairs!r}: take sample_pairs")
        pairs.check(self.part)
        if self._pool is None:
            work = pairs.n * (pairs.n // self.part.K + self.part.P * (1 if self.one_row else self.part.P))
            blocks = row_tasks(pairs.n) if self.one_row else tasks(self.part.P)
            self._pool = ThreadPool(blocks, 1 if work < SMALL else thread_count(self._threads))
        chosen = None if self.negatives is None else _choose(pairs.n, self.negatives, [self.seed, step])
        make = RowStep if self.one_row else FullStep
        self._kernel = make(self.part, pairs, self.temperature, self.stop_gradient, self.embedding, chosen, self._pool)
        self.limit = LARGEST_EXPONENT / max(1.0, float(pairs.z.max()))
        self._pairs, self._drawn = pairs, step


def _choose(n: int, negatives: int, seed: list[int]) -> np.ndarray:
    """The images that each of n pairs is compared with, drawn without replacement from all others, (n, negatives)."""
    if isinstance(negatives, bool) or not isinstance(negatives, (int, np.integer)) or not 1 <= negatives < n:
        raise InputError(f"negatives must be a whole number from 1 to n - 1 = {n - 1}, got {negatives!r}: leave it out for all")
    rng = generator(seed)
    drawn = np.stack([rng.choice(n - 1, negatives, replace=False) for _ in range(n)])
    return drawn + (drawn >= np.arange(n)[:, None])
