"""The images that a finite-sample run sees: a cluster, amplitudes and a mask for each.

Image i is X_p = z[i, m] v_{k,m} with k = cluster[i] and m the area of p in cluster k (docs/model.md, eq. 1); patches with
masked[i, p] are set to zero and are the ones to reconstruct.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import generator
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem


@dataclass(frozen=True, eq=False)
class Dataset:
    """n images: `cluster` int (n,), `z` (n, N_max) amplitudes by area, `masked` bool (n, P), `weight` (n,) summing to 1
    (equal when left out). Frozen; the arrays are copied and made read-only. Raises InputError where arrays disagree."""

    cluster: np.ndarray
    z: np.ndarray
    masked: np.ndarray
    weight: np.ndarray = None  # type: ignore[assignment]  # never None once built

    def __post_init__(self) -> None:
        try:
            cluster, z, masked = np.array(self.cluster), np.array(self.z, dtype=float), np.array(self.masked)
            weight = None if self.weight is None else np.array(self.weight, dtype=float)
        except (TypeError, ValueError) as error:
            raise InputError(f"cluster, z, masked, weight must be arrays, got one that is none ({error}): see Dataset") from None
        n = len(cluster) if cluster.ndim == 1 else 0
        if n == 0 or cluster.dtype.kind not in "iu" or cluster.min() < 0:
            least = f", smallest {cluster.min()}" if n and cluster.dtype.kind in "iu" else ""
            raise InputError(
                f"cluster must be n >= 1 integers from 0, got {cluster.dtype} of shape {cluster.shape}{least}: one per image"
            )
        if z.ndim != 2 or len(z) != n:
            raise InputError(f"z must be (n, N_max) with n={n} as in cluster, got shape {z.shape}: one row per image")
        if masked.ndim != 2 or len(masked) != n or masked.dtype != bool:
            raise InputError(f"masked must be bool (n, P) with n={n}, got {masked.dtype} of shape {masked.shape}: one per patch")
        if not (np.isfinite(z).all() and (z >= 0).all()):
            bad = z[~(np.isfinite(z) & (z >= 0))][0]
            raise InputError(f"amplitudes must be finite and not negative, got {bad:g} in z: remove or replace it")
        count = masked.sum(axis=1)
        if count.min() < 1 or count.max() == masked.shape[1]:
            bad = np.flatnonzero((count < 1) | (count == masked.shape[1]))[0]
            raise InputError(f"every image needs a masked and an unmasked patch, got {count[bad]} masked in image {bad}: drop it")
        weight = np.full(n, 1.0 / n) if weight is None else weight
        if weight.shape != (n,) or not (weight >= 0).all() or not abs(weight.sum() - 1) < 1e-9:
            raise InputError(
                f"weight must be n={n} numbers >= 0 that sum to 1, got shape {weight.shape}, sum {weight.sum():g}: normalise it"
            )
        for name, value in (("cluster", cluster.astype(np.int64)), ("z", z), ("masked", masked), ("weight", weight)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.cluster)

    @property
    def masked_mean(self) -> float:
        """Mean number of masked patches per image: what the loss is divided by."""
        return float(self.weight @ self.masked.sum(axis=1))

    def recipe(self) -> dict[str, np.ndarray]:
        """The arrays that make this data set again."""
        return {name: np.asarray(getattr(self, name)) for name in ("cluster", "z", "masked", "weight")}

    def floor(self, part: Partition) -> np.ndarray:
        """Summed loss of each query that no attention can lower: its own area is all masked (eq. 6, on these images), (P,)."""
        image, key = np.nonzero(~self.masked)
        shown = np.zeros((self.n, part.F), dtype=bool)
        shown[image, part.own[self.cluster[image], key]] = True
        own, label = part.own[self.cluster], part.labels[self.cluster]
        lost = self.masked & ~np.take_along_axis(shown, own, axis=1)
        return self.weight @ (0.5 * lost * np.take_along_axis(self.z, label, axis=1) ** 2)

    def __repr__(self) -> str:
        clusters, P = len(np.unique(self.cluster)), self.masked.shape[1]
        return (
            f"Dataset of n={self.n} images of {clusters} clusters, P={P} patches, up to {self.z.shape[1]} areas\n"
            f"{self.masked_mean / P:.3g} of the patches masked, amplitudes {self.z.min():.4g} to {self.z.max():.4g}"
        )

    def check(self, part: Partition) -> None:
        """Raise InputError unless these images fit the partition `part`."""
        if self.masked.shape[1] != part.P:
            raise InputError(f"masks must have the partition's P={part.P} patches, got {self.masked.shape[1]}: sample from it")
        if self.cluster.max() >= part.K:
            raise InputError(f"clusters must be below the partition's K={part.K}, got {self.cluster.max()}: sample from it")
        if self.z.shape[1] < part.N[self.cluster].max():
            raise InputError(f"z must have a column for each of {part.N.max()} areas, got {self.z.shape[1]}: sample from it")


def sample(problem: Problem, part: Partition, n: int = 256, seed: int | Sequence[int] = 0) -> Dataset:
    """Draw n images of `problem` on `part`: a Dataset. The same seed gives the same images on every machine."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InputError(f"n must be a whole number of at least 1 image, got {n!r}: take e.g. n=256")
    if (part.K, part.P) != (problem.K, problem.P):
        raise InputError(
            f"the partition must be of the problem's K={problem.K}, P={problem.P}, got K={part.K}, P={part.P}: "
            f"take e.g. Partition.blocks(problem)"
        )
    rng = generator(seed)
    cluster = rng.integers(problem.K, size=n)
    z = problem.amplitude.sample(rng, (n, int(part.N.max())))
    order = rng.permuted(np.broadcast_to(np.arange(part.P), (n, part.P)), axis=1)
    masked = np.zeros((n, part.P), dtype=bool)
    np.put_along_axis(masked, order[:, : problem.masked], True, axis=1)
    return Dataset(cluster, z, masked)
