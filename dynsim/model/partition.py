"""Partition: which patch lies in which area, for every cluster.

A partition is an integer table ``labels`` (K, P): ``labels[k, p]`` is the area of patch p in cluster k, areas numbered from
0 without gaps, 0 the global one. Features are counted cluster by cluster: feature ``offset[k] + m`` is area m of cluster k,
and that is the order of the columns of ``fp`` everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import generator, seed_of
from dynsim.model.problem import Problem


@dataclass(frozen=True, eq=False)
class Partition:
    """Areas of every cluster; frozen, the table copied and made read-only.

    Parameters
    ----------
    labels : array_like of int, shape (K, P)
        Area of every patch in every cluster: 0 the global one, local ones 1, 2, ... without gaps.
    grid : tuple of int, optional
        Rows and columns of the patch grid; by default the factors of P nearest to a square.

    Attributes
    ----------
    K : int
        Clusters.
    P : int
        Patches.
    F : int
        Features, one for each area of each cluster.
    N : ndarray of int, shape (K,)
        Areas of each cluster.
    offset : ndarray of int, shape (K + 1,)
        First feature of each cluster.
    own : ndarray of int, shape (K, P)
        Feature of the area that each patch lies in.
    size : ndarray of int, shape (F,)
        Patches of each area.

    Raises
    ------
    InputError
        If labels have gaps, or the wrong type or shape, or the grid does not hold P patches.

    Examples
    --------
    >>> import dynsim
    >>> part = dynsim.Partition([[0, 0, 1, 1], [0, 1, 0, 1]])
    >>> part
    Partition: K=2 clusters, P=4 patches on a 2 x 2 grid, F=4 areas in all
        2 areas in every cluster: one global area of 2 patches, local ones of 2
    >>> part.own
    array([[0, 0, 1, 1],
           [2, 3, 2, 3]])
    """

    labels: np.ndarray
    grid: tuple[int, int] = None  # type: ignore[assignment]  # never None once built

    if TYPE_CHECKING:  # derived; attributes, but not fields of the dataclass
        K: int = field(init=False)
        P: int = field(init=False)
        F: int = field(init=False)
        N: np.ndarray = field(init=False)
        offset: np.ndarray = field(init=False)
        own: np.ndarray = field(init=False)
        size: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        try:
            labels = np.array(self.labels)
        except ValueError:
            raise InputError("labels must be integers of shape (K, P), got rows of unequal length: one label per patch") from None
        if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
            raise InputError(
                f"labels must be integers of shape (K, P), got {labels.dtype} of shape {labels.shape}: one row per cluster"
            )
        labels = labels.astype(np.int64)
        if labels.min() < 0:
            raise InputError(f"areas are numbered from 0, got {labels.min()}: subtract the smallest label")
        if labels.max() >= labels.shape[1]:
            raise InputError(f"areas are numbered below P={labels.shape[1]}, got {labels.max()}: renumber them 0, 1, 2, ...")
        counts = [np.bincount(row) for row in labels]
        for k, count in enumerate(counts):
            if (count == 0).any():
                raise InputError(
                    f"areas are numbered without gaps, got none of area {np.flatnonzero(count == 0)[0]} but one of "
                    f"{len(count) - 1} in cluster {k}: renumber them 0, 1, 2, ..."
                )
        grid = square_grid(labels.shape[1]) if self.grid is None else tuple(np.ravel(self.grid).tolist())
        if len(grid) != 2 or not all(isinstance(x, int) and x > 0 for x in grid) or grid[0] * grid[1] != labels.shape[1]:
            raise InputError(f"grid must hold the P={labels.shape[1]} patches, got {grid}: rows x columns = P")
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the object is frozen)
        set_("grid", grid)
        set_("K", labels.shape[0])
        set_("P", labels.shape[1])
        set_("N", np.array([len(count) for count in counts]))
        set_("offset", np.concatenate([[0], np.cumsum(self.N)]))
        set_("F", int(self.offset[-1]))
        set_("labels", labels)
        set_("own", labels + self.offset[:-1, None])
        set_("size", np.concatenate(counts))
        for name in ("labels", "N", "offset", "own", "size"):
            getattr(self, name).setflags(write=False)

    def __repr__(self) -> str:
        first = np.zeros(self.F, dtype=bool)
        first[self.offset[:-1]] = True
        local = self.size[~first]
        sizes = f"one global area of {_span(self.size[first])} patches"
        sizes += f", local ones of {_span(local)}" if local.size else ""
        return (
            f"Partition: K={self.K} clusters, P={self.P} patches on a {self.grid[0]} x {self.grid[1]} grid, "
            f"F={self.F} areas in all\n"
            f"    {_span(self.N)} areas in every cluster: {sizes}"
        )

    @classmethod
    def blocks(cls, problem: Problem, seed: int | Sequence[int] = 0, *, rng: Any = None) -> "Partition":
        """Draw compact areas on a 2-D patch grid: the default.

        Parameters
        ----------
        problem : Problem
            Gives the number of clusters and the area sizes; P at most 2^20.
        seed : int or sequence of int
            Seed of the places of the areas, drawn anew for each cluster.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Partition
            Areas of the sizes of ``problem.sizes()``.

        Raises
        ------
        InputError
            If P is too large to be listed, or the seed is none.

        Notes
        -----
        Each cluster cuts the grid in two recursively, across the longer side, until every piece is one area.

        Examples
        --------
        >>> import dynsim
        >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.75, kappa_s=0.5)
        >>> part = dynsim.Partition.blocks(problem, seed=1)
        >>> part.labels[0].reshape(part.grid)
        array([[2, 2, 1, 1],
               [2, 2, 1, 1],
               [0, 0, 0, 0],
               [0, 0, 0, 0]])
        """
        P, draw = _check_explicit(problem), generator(seed_of(seed, rng))
        grid = square_grid(P)
        place = np.stack(np.divmod(np.arange(P), grid[1]))
        labels = np.empty((problem.K, P), dtype=np.int64)
        for k in range(problem.K):
            sizes = problem.sizes()
            areas = draw.permutation(len(sizes))
            flip = draw.integers(0, 2, size=2) * 2 - 1
            _cut(labels[k], np.arange(P), areas, sizes, place * flip[:, None])
        return cls(labels, grid)

    @classmethod
    def random(cls, problem: Problem, seed: int | Sequence[int] = 0, *, rng: Any = None) -> "Partition":
        """Draw areas of patches scattered at random, independently for each cluster.

        Parameters
        ----------
        problem : Problem
            Gives the number of clusters and the area sizes; P at most 2^20.
        seed : int or sequence of int
            Seed of the draws.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Partition
            Areas of the sizes of ``problem.sizes()``.

        Raises
        ------
        InputError
            If P is too large to be listed, or the seed is none.

        Examples
        --------
        >>> import dynsim
        >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
        >>> part = dynsim.Partition.random(problem, seed=0)
        >>> bool((part.size[:part.N[0]] == problem.sizes()).all())
        True
        """
        _check_explicit(problem)
        draw = generator(seed_of(seed, rng))
        areas = np.repeat(np.arange(problem.N), problem.sizes())
        return cls(np.stack([draw.permutation(areas) for _ in range(problem.K)]))

    @classmethod
    def product(cls, problem: Problem) -> "Partition":
        """Return areas of different clusters that intersect exactly as if independent.

        Parameters
        ----------
        problem : Problem
            Its areas must be multiples of P / n, with n = P / C_local and n^K dividing P.

        Returns
        -------
        Partition
            A product partition; nothing is drawn.

        Raises
        ------
        InputError
            If P and the area sizes do not allow it.

        Notes
        -----
        Patch p is written as K digits (and a rest) in base n, and its area in cluster k is read off digit k. On product
        partitions orbits are exact (docs/model.md, "Orbits: any P").

        Examples
        --------
        >>> import dynsim
        >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.75, kappa_s=0.5)
        >>> dynsim.Partition.product(problem).labels
        array([[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
               [0, 0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2]])
        """
        P, K, C_local = _check_explicit(problem), problem.K, int(round(problem.C_local))
        n = P // C_local
        if problem.C_local != C_local or P != n * C_local or problem.C_global % C_local or P % n**K:
            raise InputError(
                f"a product partition needs areas that are multiples of P / n with n^K dividing P, got P={P}, K={K}, "
                f"areas of {problem.C_global} and {problem.C_local:g}: take e.g. P = n^K and kappa_s = 1 - 1/K"
            )
        area = np.maximum(np.arange(n) - (problem.C_global // C_local - 1), 0)
        digits = np.array(list(product(range(n), repeat=K))).T.repeat(P // n**K, axis=1)
        return cls(area[digits])


def _span(counts: np.ndarray) -> str:
    """Smallest to largest of some counts."""
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _check_explicit(problem: Problem) -> int:
    """P, once sure that it can be listed."""
    limit = 2**20
    if not isinstance(problem.P, int) or problem.P > limit:
        raise InputError(
            f"an explicit partition lists P patches, at most {limit}, got P={problem.P:.3g}: use orbits "
            f"(reduced, --method orbit), which reach any P"
        )
    return problem.P


def square_grid(P: int) -> tuple[int, int]:
    """Return rows and columns of a patch grid: the factors of P nearest to a square.

    Parameters
    ----------
    P : int
        Patches.

    Returns
    -------
    tuple of int
        Rows and columns.

    Examples
    --------
    >>> from dynsim.model.partition import square_grid
    >>> square_grid(196), square_grid(12)
    ((14, 14), (3, 4))
    """
    rows = next(r for r in range(isqrt(P), 0, -1) if P % r == 0)
    return rows, P // rows


def _cut(label: np.ndarray, patches: np.ndarray, areas: np.ndarray, sizes: np.ndarray, place: np.ndarray) -> None:
    """Give `patches` to `areas` (of the given sizes, in all as many), cutting across the longer side each time."""
    if len(areas) == 1:
        label[patches] = areas[0]
        return
    half: Any = np.searchsorted(np.cumsum(sizes[areas]), len(patches) / 2)
    half = min(max(1, half if half else 1), len(areas) - 1)
    extent = np.ptp(place[:, patches], axis=1)
    axis = int(extent[1] > extent[0])
    order = patches[np.lexsort((place[1 - axis, patches], place[axis, patches]))]
    n = sizes[areas[:half]].sum()
    _cut(label, order[:n], areas[:half], sizes, place)
    _cut(label, order[n:], areas[half:], sizes, place)
