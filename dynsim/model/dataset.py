"""The images that a finite-sample run sees: a cluster, amplitudes and a mask for each row.

Row i is X_p = z[i, m] v_{k,m} with k = cluster[i] and m the area of p in cluster k (docs/model.md, eq. 1); patches with
masked[i, p] are set to zero and are the ones to reconstruct. One image may stand in several rows, under a mask each:
image[i] says which one it is (docs/mask-budgets.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model import memory
from dynsim.model.amplitude import generator, is_number, seed_of
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem

SMALL = 1e8  # bytes that are always free
Draw = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]
CHUNK = 4096  # rows whose patches are shuffled at a time: the table of their order stays small


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images under masks, a row each. Frozen; the arrays are copied and made read-only.

    Parameters
    ----------
    cluster : (n,) int
        Cluster of each row.
    z : (n, N_max) float
        Amplitudes by area.
    masked : (n, P) bool
        Which patches are masked: at least one, not all.
    weight : (n,) float, optional
        Share of each row in every mean; sums to 1, equal when left out.
    image : (n,) int, optional
        Which image each row shows, from 0; rows of one image agree in cluster and amplitudes. Left out: every row its own.

    Raises
    ------
    InputError
        Where arrays disagree.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> dynsim.Dataset(cluster=[0], z=[[1.0, 0.5]], masked=np.array([[True, False, True, False]]))
    Dataset of n=1 images of 1 clusters, P=4 patches, up to 2 areas
    0.5 of the patches masked, amplitudes 0.5 to 1
    """

    cluster: np.ndarray
    z: np.ndarray
    masked: np.ndarray
    weight: np.ndarray = None  # type: ignore[assignment]  # never None once built
    image: np.ndarray = None  # type: ignore[assignment]  # never None once built

    def __post_init__(self) -> None:
        try:
            cluster, z, masked = np.array(self.cluster), np.array(self.z, dtype=float), np.array(self.masked)
            weight = None if self.weight is None else np.array(self.weight, dtype=float)
            image = None if self.image is None else np.array(self.image)
        except (TypeError, ValueError) as error:
            what = "cluster, z, masked, weight, image must be arrays, got one that is none"
            raise InputError(f"{what} ({error}): see Dataset") from None
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
        image = np.arange(n) if image is None else _checked_images(image, cluster, z)
        self._set(cluster.astype(np.int64), z, masked, weight, image.astype(np.int64))

    def _set(self, *values: np.ndarray) -> None:
        for name, value in zip(("cluster", "z", "masked", "weight", "image"), values, strict=True):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @classmethod
    def _trusted(
        cls,
        part: Partition,
        cluster: np.ndarray,
        z: np.ndarray,
        masked: np.ndarray,
        weight: np.ndarray | None = None,
        image: np.ndarray | None = None,
    ) -> "Dataset":
        """A Dataset from arrays that dynsim has just drawn for `part`: neither copied nor checked."""
        n = len(cluster)
        data = object.__new__(cls)
        data._set(cluster, z, masked, np.full(n, 1.0 / n) if weight is None else weight, np.arange(n) if image is None else image)
        object.__setattr__(data, "_drawn_for", part)
        return data

    @property
    def n(self) -> int:
        """Number of rows: of images, where each stands under one mask."""
        return len(self.cluster)

    @property
    def images(self) -> int:
        """Number of images: as many as `n` where each stands under one mask."""
        return len(np.unique(self.image))

    @property
    def masked_mean(self) -> float:
        """Mean number of masked patches per row: what the loss is divided by."""
        return float(self.weight @ self.masked.sum(axis=1))

    def recipe(self) -> dict[str, np.ndarray]:
        """Return the arrays that make this data set again.

        Returns
        -------
        dict of str to ndarray
            Arguments of Dataset.
        """
        names = ("cluster", "z", "masked", "weight", "image")[: 5 if self.images < self.n else 4]
        return {name: np.asarray(getattr(self, name)) for name in names}

    def floor(self, part: Partition) -> np.ndarray:
        """Return the loss of each query that no attention can lower, because its own area is all masked (eq. 6, on these images).

        Parameters
        ----------
        part : Partition
            Areas.

        Returns
        -------
        ndarray of shape (P,)
            Summed over images by their weights.
        """
        image, key = np.nonzero(~self.masked)
        shown = np.zeros((self.n, part.F), dtype=bool)
        shown[image, part.own[self.cluster[image], key]] = True
        own, label = part.own[self.cluster], part.labels[self.cluster]
        lost = self.masked & ~np.take_along_axis(shown, own, axis=1)
        return self.weight @ (0.5 * lost * np.take_along_axis(self.z, label, axis=1) ** 2)

    def __repr__(self) -> str:
        clusters, P = len(np.unique(self.cluster)), self.masked.shape[1]
        masks = f" under {self.n / self.images:.4g} masks each" if self.images < self.n else ""
        return (
            f"Dataset of n={self.images} images{masks} of {clusters} clusters, P={P} patches, up to {self.z.shape[1]} areas\n"
            f"{self.masked_mean / P:.3g} of the patches masked, amplitudes {self.z.min():.4g} to {self.z.max():.4g}"
        )

    def with_masks(
        self,
        masks: int = 1,
        seed: int | Sequence[int] = 0,
        gamma: float | None = None,
        masked: int | None = None,
        *,
        rng: Any = None,
    ) -> "Dataset":
        """The same images under fresh masks.

        Parameters
        ----------
        masks : int
            Masks for every image, drawn uniformly and independently.
        seed : int or sequence of int
            Seed of the masks.
        gamma : float, optional
            Masked fraction: round(gamma P) patches are masked.
        masked : int, optional
            Masked patches, in place of `gamma`. Neither: as many as in the first row of each image.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Dataset
            `masks` x `images` rows: all images under their first mask, in the order of their first rows, then all under their
            second, so that fewer masks of the same seed are the first rows of more. `weight` is that of the image, shared.

        Raises
        ------
        InputError
            Where there is nothing to draw, or no memory for so many rows.

        Examples
        --------
        >>> import dynsim
        >>> problem = dynsim.Problem(K=3, P=64)
        >>> data = dynsim.sample(problem, dynsim.Partition.blocks(problem), n=8)
        >>> again = data.with_masks(masks=4, seed=1)
        >>> again.n, again.images, int((again.image == 5).sum())
        (32, 8, 4)
        """
        _check_masks(masks)
        P = self.masked.shape[1]
        _, first, inverse = np.unique(self.image, return_index=True, return_inverse=True)
        order = np.argsort(first)
        first, share = first[order], np.bincount(inverse, self.weight)[order]
        _check_rows(len(first), masks, P, self.z.shape[1])
        count = _masked_count(self.masked[first].sum(axis=1), P, gamma, masked)
        rows = np.tile(np.arange(len(first)), masks)
        drawn = _masks(generator(seed_of(seed, rng)), np.tile(count, masks), P)
        weight = np.tile(share / masks, masks)
        data = object.__new__(Dataset)
        data._set(self.cluster[first][rows], self.z[first][rows], drawn, weight, rows)
        return data

    def check(self, part: Partition) -> None:
        """Raise InputError unless these images fit a partition.

        Parameters
        ----------
        part : Partition
            The partition they are to be used with.

        Raises
        ------
        InputError
            If the number of patches, clusters or areas is another.
        """
        if getattr(self, "_drawn_for", None) is part:
            return
        if self.masked.shape[1] != part.P:
            raise InputError(f"masks must have the partition's P={part.P} patches, got {self.masked.shape[1]}: sample from it")
        if self.cluster.max() >= part.K:
            raise InputError(f"clusters must be below the partition's K={part.K}, got {self.cluster.max()}: sample from it")
        if self.z.shape[1] < part.N[self.cluster].max():
            raise InputError(f"z must have a column for each of {part.N.max()} areas, got {self.z.shape[1]}: sample from it")


def sample(
    problem: Problem, part: Partition, n: int = 256, seed: int | Sequence[int] = 0, masks: int = 1, *, rng: Any = None
) -> Dataset:
    """Draw n images of `problem` on `part`, each under `masks` masks. The same seed gives the same images on every machine.

    Parameters
    ----------
    problem, part : Problem, Partition
        Law of the images, and their areas.
    n : int
        Number of images.
    seed : int or sequence of int
        Seed of everything drawn.
    masks : int
        Masks for every image: a mask budget of n x masks rows.
    rng : optional
        A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

    Returns
    -------
    Dataset
        Of n x masks rows: all images under their first mask, then all under their second. Rows do not change with `masks`:
        those of fewer masks are the first rows of more.

    Raises
    ------
    InputError
        Where n or masks are no whole numbers of at least 1, problem and partition do not fit, or rows do not fit in memory.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> data = dynsim.sample(problem, dynsim.Partition.blocks(problem), n=32, masks=16)
    >>> data.n, data.images, data.image[30:34].tolist()
    (512, 32, [30, 31, 0, 1])
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InputError(f"n must be a whole number of at least 1 image, got {n!r}: take e.g. n=256")
    _check_masks(masks)
    check_sizes(problem, part)
    _check_rows(n, masks, part.P, int(part.N.max()))
    return draw_images(problem, part, n, generator(seed_of(seed, rng)), masks)


def draw_images(
    problem: Problem, part: Partition, n: int, rng: np.random.Generator, masks: int = 1, draw_masks: Draw | None = None
) -> Dataset:
    """Draw the images of ``sample`` from a generator.

    Parameters
    ----------
    problem : Problem
        Law of the images.
    part : Partition
        Their areas.
    n : int
        Number of images.
    rng : numpy.random.Generator
        Source of randomness.
    masks : int
        Masks for every image.
    draw_masks : callable, optional
        Another implementation that draws the same masks, draw_masks(rng, count, P).

    Returns
    -------
    Dataset
        All images under their first mask, then all under their second.

    Raises
    ------
    InputError
        If an amplitude law of the user's own draws something else than finite numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.model.dataset import draw_images
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> drawn = draw_images(problem, part, 4, np.random.default_rng(0))
    >>> bool((drawn.masked == dynsim.sample(problem, part, n=4, seed=0).masked).all())
    True
    """
    cluster = rng.integers(problem.K, size=n)
    z = problem.amplitude.sample(rng, (n, int(part.N.max())))
    z = _checked_amplitudes(z, n, int(part.N.max()))
    masked = (draw_masks or _masks)(rng, np.full(n * masks, problem.masked), part.P)
    if masks == 1:
        return Dataset._trusted(part, cluster, z, masked)
    rows = np.tile(np.arange(n), masks)
    return Dataset._trusted(part, cluster[rows], z[rows], masked, image=rows)


def check_sizes(problem: Problem, part: Partition) -> None:
    """Raise InputError unless a partition has the problem's clusters and patches.

    Parameters
    ----------
    problem : Problem
        Gives K and P.
    part : Partition
        The partition.

    Raises
    ------
    InputError
        If it has others.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.model.dataset import check_sizes
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> check_sizes(problem, dynsim.Partition.blocks(problem))
    """
    if (part.K, part.P) != (problem.K, problem.P):
        raise InputError(
            f"the partition must be of the problem's K={problem.K}, P={problem.P}, got K={part.K}, P={part.P}: "
            f"take e.g. Partition.blocks(problem)"
        )


def _checked_amplitudes(z: np.ndarray, n: int, N: int) -> np.ndarray:
    """What a law has drawn, as an array of its own. Raises InputError: the law may be the user's."""
    z = np.array(z, dtype=float)
    if z.shape != (n, N) or not (z >= 0).all() or not z.max() < np.inf:
        raise InputError(f"a law of amplitudes draws {n} x {N} finite numbers >= 0, got shape {z.shape}: see Problem.amplitude")
    return z


def _checked_images(image: np.ndarray, cluster: np.ndarray, z: np.ndarray) -> np.ndarray:
    """`image`, where its rows agree in cluster and amplitudes. Raises InputError."""
    if image.shape != cluster.shape or image.dtype.kind not in "iu" or image.min() < 0:
        raise InputError(f"image must be n={len(cluster)} integers from 0, got {image.dtype} of shape {image.shape}: one per row")
    _, first, inverse = np.unique(image, return_index=True, return_inverse=True)
    like = first[inverse]
    bad = np.flatnonzero((cluster != cluster[like]) | (z != z[like]).any(axis=1))
    if bad.size:
        raise InputError(
            f"rows of one image must agree in cluster and z, got others in rows {like[bad[0]]} and {bad[0]} of image "
            f"{image[bad[0]]}: number different images differently"
        )
    return image


def _check_masks(masks: int) -> None:
    if isinstance(masks, bool) or not isinstance(masks, (int, np.integer)) or masks < 1:
        raise InputError(f"masks must be a whole number of at least 1 mask per image, got {masks!r}: take e.g. masks=4")


def _check_rows(n: int, masks: int, P: int, N: int) -> None:
    """Raise InputError where rows, and the lists that a field makes of them, cannot fit."""
    need = float(n) * float(masks) * (10.0 * P + 32.0 * N + 64.0)
    if need > SMALL:
        what = f"{n} images under {masks} masks, {float(n) * masks:.3g} rows of P={P},"
        memory.check(need, what, "take fewer images or masks, or masks drawn anew at every step (minibatches, resampled)")


def _masked_count(today: np.ndarray, P: int, gamma: float | None, masked: int | None) -> np.ndarray:
    """Masked patches of each image, (n,): as in the data set, or as given."""
    if gamma is not None and masked is not None:
        raise InputError(f"gamma and masked say the same, got gamma={gamma!r} and masked={masked!r}: give one of them")
    if gamma is not None:
        if not (is_number(gamma) and 0 < gamma < 1):
            raise InputError(f"gamma is the masked fraction, strictly between 0 and 1, got {gamma!r}: take e.g. 0.75")
        masked = round(gamma * P)
    if masked is None:
        return today
    if isinstance(masked, bool) or not isinstance(masked, (int, np.integer)) or not 1 <= masked < P:
        raise InputError(f"masked patches must be from 1 to P - 1 = {P - 1}, got {masked!r}: take e.g. gamma=0.75")
    return np.full(len(today), masked)


def _masks(rng: np.random.Generator, count: np.ndarray, P: int) -> np.ndarray:
    """Masks drawn uniformly, bool (rows, P): the first `count` patches of each row's shuffled order."""
    drawn = np.empty((len(count), P), dtype=bool)
    for start in range(0, len(count), CHUNK):
        rows = drawn[start : start + CHUNK]
        order = rng.permuted(np.broadcast_to(np.arange(P), rows.shape), axis=1)
        np.put_along_axis(rows, order, np.arange(P) < count[start : start + CHUNK, None], axis=1)
    return drawn
