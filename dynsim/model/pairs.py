"""Positive pairs for contrastive learning: every image seen under two masks.

Pair i is the image X_p = z[i, m] v_{k,m} with k = cluster[i] and m the area of p in cluster k (docs/model.md, eq. 1); view v of
it, v = 0, 1, shows the patches with masked[i, v, p] false and has zero elsewhere. The views of one image are positives, views of
different images negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import generator, seed_of
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images under two masks each: n positive pairs. Frozen; the arrays are copied and made read-only.

    Parameters
    ----------
    cluster : int array (n,)
        Cluster of each image, from 0; n >= 2, since a single pair has no negatives.
    z : float array (n, N_max)
        Amplitudes by area, the same in both views.
    masked : bool array (n, 2, P)
        Which patches each view masks.

    Raises
    ------
    InputError
        Where arrays disagree, or one of them is out of its range.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, P=16, kappa_c=0.8, kappa_s=0.4)
    >>> pairs = dynsim.sample_pairs(problem, dynsim.Partition.blocks(problem), n=8)
    >>> pairs.n, pairs.masked.shape
    (8, (8, 2, 16))
    """

    cluster: np.ndarray
    z: np.ndarray
    masked: np.ndarray

    def __post_init__(self) -> None:
        try:
            cluster, z, masked = np.array(self.cluster), np.array(self.z, dtype=float), np.array(self.masked)
        except (TypeError, ValueError) as error:
            raise InputError(f"cluster, z, masked must be arrays, got one that is none ({error}): see Pairs") from None
        n = len(cluster) if cluster.ndim == 1 else 0
        if n == 0 or cluster.dtype.kind not in "iu" or cluster.min() < 0:
            least = f", smallest {cluster.min()}" if n and cluster.dtype.kind in "iu" else ""
            raise InputError(
                f"cluster must be n >= 2 integers from 0, got {cluster.dtype} of shape {cluster.shape}{least}: one per pair"
            )
        if n < 2:
            raise InputError("a contrastive loss needs n >= 2 pairs, got n=1: one pair has no negatives, take e.g. n=256")
        if z.ndim != 2 or len(z) != n:
            raise InputError(f"z must be (n, N_max) with n={n} as in cluster, got shape {z.shape}: one row per pair")
        if masked.ndim != 3 or masked.shape[:2] != (n, 2) or masked.dtype != bool:
            raise InputError(
                f"masked must be bool (n, 2, P) with n={n}, got {masked.dtype} of shape {masked.shape}: two masks per pair"
            )
        if not (np.isfinite(z).all() and (z >= 0).all()):
            bad = z[~(np.isfinite(z) & (z >= 0))][0]
            raise InputError(f"amplitudes must be finite and not negative, got {bad:g} in z: remove or replace it")
        count = masked.sum(axis=2)
        if count.min() < 1 or count.max() == masked.shape[2]:
            i, v = np.argwhere((count < 1) | (count == masked.shape[2]))[0]
            raise InputError(f"every view needs a masked and an unmasked patch, got {count[i, v]} masked in pair {i}: drop it")
        for name, value in (("cluster", cluster.astype(np.int64)), ("z", z), ("masked", masked)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.cluster)

    @property
    def views(self) -> tuple[np.ndarray, np.ndarray]:
        """The masks of the first and of the second view, bool (n, P) each."""
        return self.masked[:, 0], self.masked[:, 1]

    def __repr__(self) -> str:
        clusters, P = len(np.unique(self.cluster)), self.masked.shape[2]
        return (
            f"Pairs of n={self.n} images of {clusters} clusters, P={P} patches, up to {self.z.shape[1]} areas\n"
            f"{self.masked.mean():.3g} of the patches masked in a view, amplitudes {self.z.min():.4g} to {self.z.max():.4g}"
        )

    def check(self, part: Partition) -> None:
        """Raise InputError unless these pairs fit a partition.

        Parameters
        ----------
        part : Partition
            The partition they are to be used with.

        Raises
        ------
        InputError
            If the number of patches, clusters or areas is another.
        """
        if self.masked.shape[2] != part.P:
            raise InputError(f"masks must have the partition's P={part.P} patches, got {self.masked.shape[2]}: sample from it")
        if self.cluster.max() >= part.K:
            raise InputError(f"clusters must be below the partition's K={part.K}, got {self.cluster.max()}: sample from it")
        if self.z.shape[1] < part.N[self.cluster].max():
            raise InputError(f"z must have a column for each of {part.N.max()} areas, got {self.z.shape[1]}: sample from it")


def sample_pairs(
    problem: Problem, part: Partition, n: int = 256, seed: int | Sequence[int] = 0, *, rng: Any = None
) -> Pairs:
    """Draw n images of `problem` on `part`, each under two masks drawn independently.

    Parameters
    ----------
    problem : Problem
        Law of clusters, amplitudes and masks.
    part : Partition
        Areas of every cluster; of the problem's K and P.
    n : int
        Number of pairs, at least 2.
    seed : int or sequence of int
        The same seed gives the same pairs on every machine.
    rng : optional
        A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

    Returns
    -------
    Pairs
        The pairs.

    Raises
    ------
    InputError
        For n < 2, or a partition of another problem.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> pairs = dynsim.sample_pairs(problem, dynsim.Partition.blocks(problem), n=8)
    >>> int(pairs.masked.sum(axis=2).min()), int(pairs.masked.sum(axis=2).max())
    (12, 12)
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
        raise InputError(f"n must be a whole number of at least 2 pairs, since one has no negatives, got {n!r}: take e.g. n=256")
    if (part.K, part.P) != (problem.K, problem.P):
        raise InputError(
            f"the partition must be of the problem's K={problem.K}, P={problem.P}, got K={part.K}, P={part.P}: "
            f"take e.g. Partition.blocks(problem)"
        )
    draw = generator(seed_of(seed, rng))
    cluster = draw.integers(problem.K, size=n)
    z = problem.amplitude.sample(draw, (n, int(part.N.max())))
    order = draw.permuted(np.broadcast_to(np.arange(part.P), (n, 2, part.P)), axis=2)
    masked = np.zeros((n, 2, part.P), dtype=bool)
    np.put_along_axis(masked, order[..., : problem.masked], True, axis=2)
    return Pairs(cluster, z, masked)
