"""What fields on an explicit partition share: state, public shapes, layout, options, memory.

The state is one array (F + P, P), with a mask token (F + 1 + P, P): Phi transposed above Upsilon transposed, queries on the
contiguous axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model import memory
from dynsim.model.areas import Layout, PartitionLayout
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced.field import Field, Option, Recipe, prefixed, without_prefix
from dynsim.reduced.metric import Metric

SMALL_TABLES = 1e8  # bytes that are always free
SAVED = 60  # saved times that a run by its default options holds

PARTITION = Option("partition", str, "blocks", "how areas lie", ("blocks", "random", "product"))
VECTORS = (
    Option("embedding", str, "orthonormal", "positions and features", ("orthonormal", "sinusoidal", "random")),
    Option("d", int, None, "dimension of the embedding (orthonormal: P + F; else 4 P)", least=1),
    Option("hold", str, None, "keep this correlation at zero", ("fp", "pp")),
)


class ExplicitField(Field):
    """Base of the fields of the correlations of every query with every area and key of a partition.

    Derived classes call ``_place`` first.

    Attributes
    ----------
    part : Partition
        The partition.
    metric : Metric
        Inner products of the embedding.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.explicit import ExplicitField
    >>> issubclass(dynsim.reduced.EmpiricalField, ExplicitField)
    True
    """

    part: Partition
    metric: Metric

    def _place(self, part: Partition, embedding: Embedding | None, hold: str | None) -> None:
        """Set part, embedding and metric. Raises InputError where they do not fit, or not into memory."""
        check_memory(part)
        self.part, self.embedding = part, embedding
        self.metric = Metric(part, embedding, hold)

    @cached_property
    def layout(self) -> Layout:  # type: ignore[override]  # an attribute of Field
        """Layout of the queries' areas."""
        return PartitionLayout(self.part, self.metric.content > self.part.F)

    def start(self) -> np.ndarray:
        """Return the state at Q = 0: all correlations zero."""
        return np.zeros((self.metric.content + self.part.P, self.part.P))

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return FP (P, F), with a mask token (P, F + 1), and PP (P, P) correlations, copied."""
        return y[: self.metric.content].T.copy(), y[self.metric.content :].T.copy()

    def state(self, fp: np.ndarray, pp: np.ndarray) -> np.ndarray:
        """Return the state that has given correlations: the inverse of ``correlations``.

        Parameters
        ----------
        fp : array_like of shape (P, F) or (P, F + 1)
            FP correlations.
        pp : array_like of shape (P, P)
            PP correlations.

        Returns
        -------
        ndarray
            State.
        """
        return np.concatenate([np.transpose(fp), np.transpose(pp)])

    def masked_patches(self) -> float:
        """Return what the loss is divided by.

        Returns
        -------
        float
            Mean number of masked patches of an image.
        """
        raise NotImplementedError

    def run_options(self, problem: Problem) -> dict:
        """Return options of ``descend``; for vectors that are not orthonormal the plain ones.

        Those have a bound of the curvature, too, but it counts with all queries moving alike, and makes steps far too small.
        """
        return super().run_options(problem) if self.metric.stretch() == 1.0 else self.plain_options(problem)

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """The inner products of the embedding, times the masked patches."""
        moved = self.masked_patches() * u
        self.metric.apply(moved)
        return moved

    def _recipe(self, **plain: Any) -> Recipe:
        """The recipe of areas, vectors and what is held, with further plain data."""
        arrays, embedding = {"part.labels": np.asarray(self.part.labels)}, self.embedding
        if embedding is not None:
            vectors = {name: getattr(embedding, name) for name in ("E", "V", "mu") if getattr(embedding, name) is not None}
            arrays |= prefixed(vectors, "embedding")
            plain["embedding"] = {"masked_value": embedding.masked_value, "origin": embedding.origin}
        return {"method": self.method, **plain, "grid": list(self.part.grid), "hold": self.metric.hold}, arrays

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """Return the layout of the field of a recipe."""
        return PartitionLayout(part_of(plain, arrays), "embedding.mu" in arrays)


def part_of(plain: dict, arrays: Mapping[str, np.ndarray]) -> Partition:
    """Return the partition of a recipe.

    Parameters
    ----------
    plain : dict
        As from ``recipe``.
    arrays : mapping of str to ndarray
        As from ``recipe``.

    Returns
    -------
    Partition
        The partition.

    Examples
    --------
    >>> from dynsim.reduced.explicit import part_of
    >>> part_of({"grid": [1, 4]}, {"part.labels": [[0, 0, 1, 1]]}).grid
    (1, 4)
    """
    return Partition(arrays["part.labels"], tuple(plain["grid"]))


def vectors_of(plain: dict, arrays: Mapping[str, np.ndarray]) -> dict:
    """Return the arguments ``embedding`` and ``hold`` of a recipe.

    Parameters
    ----------
    plain : dict
        As from ``recipe``.
    arrays : mapping of str to ndarray
        As from ``recipe``.

    Returns
    -------
    dict
        Keyword arguments of a field.

    Examples
    --------
    >>> from dynsim.reduced.explicit import vectors_of
    >>> vectors_of({"hold": "pp"}, {})
    {'hold': 'pp'}
    """
    options: dict = {"hold": plain["hold"]}
    if "embedding" in plain:
        vectors = without_prefix(arrays, "embedding")
        options["embedding"] = Embedding(vectors["E"], vectors["V"], vectors.get("mu"), **plain["embedding"])
    return options


def choose_partition(problem: Problem, kind: str, seed: int, n: int = 0) -> Partition:
    """Return the partition that the option of this name asks for.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    kind : {"blocks", "random", "product"}
        How areas lie.
    seed : int
        Seed of the areas.
    n : int
        Images that have to fit into memory, too.

    Returns
    -------
    Partition
        The partition.

    Raises
    ------
    InputError
        If the partition, n images and the saved times do not fit into memory, or the name is unknown.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.explicit import choose_partition
    >>> choose_partition(dynsim.Problem(K=2, gamma=0.75, P=16), "random", seed=0).K
    2
    """
    P, F = problem.P, problem.K * problem.N
    tables, images = 6, f" and {n} images" if n else ""
    memory.check(
        8 * P * (tables * (P + F) + SAVED * (P + 2 * F)) + 64 * P * n,
        f"an explicit partition of P={P:.4g} patches and K={problem.K}{images}",
        "take a smaller --P, --K or --n, or orbits (--method orbit), which reach any P",
    )
    if kind not in PARTITION.choices:
        raise InputError(f"partition must be {', '.join(PARTITION.choices)}, got {kind!r}: take blocks")
    if kind == "product":
        return Partition.product(problem)
    return Partition.random(problem, seed) if kind == "random" else Partition.blocks(problem, seed)


def choose_vectors(part: Partition, embedding: str, d: int | None, hold: str | None, seed: int) -> dict:
    """Return the arguments ``embedding`` and ``hold`` that the options VECTORS ask for.

    Parameters
    ----------
    part : Partition
        Gives the numbers of positions and features.
    embedding : {"orthonormal", "sinusoidal", "random"}
        Positions and features.
    d : int or None
        Dimension; by default P + F for orthonormal vectors, else 4 P.
    hold : {None, "fp", "pp"}
        Correlation held at zero.
    seed : int
        Seed of the vectors.

    Returns
    -------
    dict
        Keyword arguments of a field.

    Raises
    ------
    InputError
        If a name is unknown.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.explicit import choose_vectors
    >>> choose_vectors(dynsim.Partition([[0, 0, 1, 1]]), "random", 3, None, seed=0)["embedding"].d
    3
    """
    if embedding not in VECTORS[0].choices:
        raise InputError(f"embedding must be {', '.join(VECTORS[0].choices)}, got {embedding!r}: take orthonormal")
    if d is not None:
        need = 3 * 8 * float(d) * (part.P + part.F)
        if need > SMALL_TABLES:
            memory.check(need, f"an embedding of dimension d={d:.4g}", "take a smaller --d")
    if embedding == "orthonormal":
        return {"embedding": None if d is None else Embedding.orthonormal(part, d), "hold": hold}
    make = Embedding.random if embedding == "random" else Embedding.sinusoidal_2d
    return {"embedding": make(part, 4 * part.P if d is None else d, seed=seed), "hold": hold}


def check_memory(part: Partition) -> None:
    """Raise InputError where the tables of a run cannot fit: state, velocity, and two temporary copies.

    Parameters
    ----------
    part : Partition
        Gives the sizes.

    Raises
    ------
    InputError
        If they do not fit.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.explicit import check_memory
    >>> check_memory(dynsim.Partition([[0, 0, 1, 1]]))
    """
    need = 4 * 8 * (part.F + part.P) * part.P
    if need > SMALL_TABLES:
        what = f"a run on an explicit partition, with tables of {part.F + part.P} x {part.P} correlations,"
        memory.check(need, what, "take a smaller P, or orbits (--method orbit), which reach any P")
