"""Areas from images: the clusters, areas, features and amplitudes that describe given pictures best (docs/areas.md).

The paper's model says that pictures fall into K clusters, and that in each the patches are partitioned into areas whose patches
are equal in every picture, X_p = z_m v_{k,m} (docs/model.md, eq. 1). `fit` looks for such a description of any pictures:

    clusters     k-means of whole pictures, the best of several starts
    areas        in every cluster, Ward's linkage of the positions, cut into N areas (dynsim/analysis/_ward.py)
    N, K         where they are not given: the smallest that explain as much of pictures not used, up to one standard error
    features     the first right singular vector of an area's mean patch; its projection is the amplitude
    exponents    kappa_c = log C_1 / log P from the largest area, the global one; kappa_s from the mean size of the others

*Explained* is a share of patch energy, sum |X_p|^2, on pictures held out from all of this: what the other patches of its area say
of a patch. The *control* is the same for pictures whose patches change places, anew in each picture: it keeps brightness and the
number of patches of each kind, and loses where they are. Areas are said to be there only where they explain clearly more than the
control. Class: an estimate, with its error from resampled pictures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dynsim.analysis import _ward
from dynsim.analysis._area_model import LEAST, Model, Number, again, describe, number_of_clusters
from dynsim.analysis._estimates import Estimate, fitting, intervals, law_of, shares
from dynsim.errors import InputError, Interrupted
from dynsim.model.amplitude import generator, is_number, seed_of
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.images import Images
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.trajectory import Progress

CLEARLY = 0.02  # margin over the control from which areas are said to be there


class InnerProducts(NamedTuple):
    """Largest absolute inner product of two features; 0 where there are no two.

    Parameters
    ----------
    within : float
        Of two features of one cluster.
    between : float
        Of features of different clusters.

    Examples
    --------
    >>> from dynsim.analysis.areas import InnerProducts
    >>> InnerProducts(within=0.1, between=0.4).between
    0.4
    """

    within: float
    between: float


@dataclass(frozen=True, eq=False, repr=False)
class Areas:
    """Result of ``fit``: areas, features and exponents of pictures; frozen.

    Parameters
    ----------
    images : Images
        The pictures, as fitted.
    part : Partition
        Areas of every cluster, the largest one 0, the global one.
    problem : Problem
        K, gamma, P, kappa_c, kappa_s and the law of amplitudes: what theory needs.
    data : Dataset
        Every row of the images as an image of the model: its cluster, amplitudes, mask and weight.
    features : array (F, d)
        Unit vectors, in the order of `part`'s features.
    kappa_c, kappa_s, Delta : Estimate
        With an interval over resampled pictures that counts in what whole numbers of patches leave open.
    explained, control, margin : Estimate
        Shares of patch energy on pictures held out; margin = (explained - control) / (1 - control), of what the control leaves.
    clipped : float
        Share of patch energy in amplitudes below 0, which the model does not have: `data` has 0 there.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> pictures = np.random.default_rng(0).uniform(0.5, 1.5, (60, 1, 1)) * np.tile([1.0, 0.0], 4) * np.ones((8, 1))
    >>> found = dynsim.analysis.areas.fit(pictures, K=1, areas=2, patch=2, bootstrap=0)
    >>> found.problem.K, found.part.P, found.features.shape
    (1, 16, (2, 4))
    """

    images: Images
    part: Partition
    problem: Problem
    data: Dataset
    features: np.ndarray
    kappa_c: Estimate
    kappa_s: Estimate
    Delta: Estimate
    explained: Estimate
    control: Estimate
    margin: Estimate
    clipped: float

    @property
    def has_areas(self) -> bool:
        """Whether areas explain clearly more than the control: the lower end of `margin` is above 0.02."""
        return bool(self.margin.low > CLEARLY)

    @property
    def gram(self) -> np.ndarray:
        """Inner products of the features, (F, F)."""
        return self.features @ self.features.T

    @property
    def largest_inner_product(self) -> InnerProducts:
        """Of features within a cluster, and between clusters; the model takes both as 0."""
        cluster = np.repeat(np.arange(self.part.K), self.part.N)
        same, size = cluster[:, None] == cluster, np.abs(self.gram)
        np.fill_diagonal(size, 0.0)
        return InnerProducts(float(size[same].max(initial=0.0)), float(size[~same].max(initial=0.0)))

    @property
    def embedding(self) -> Embedding:
        """Positions and features with the inner products found, for the fields that take an embedding."""
        return Embedding.correlated(self.part, self.gram)

    @property
    def pictures(self) -> np.ndarray:
        """The pictures as the areas have them, X_p = z_m v_{k,m}: (n, P, d), one for each row of the images."""
        part, k = self.part, self.data.cluster
        return np.take_along_axis(self.data.z, part.labels[k], axis=1)[:, :, None] * self.features[part.own[k]]

    def __repr__(self) -> str:
        sizes = "; ".join(" + ".join(map(str, _shortened(row))) for row in np.split(self.part.size, self.part.offset[1:-1]))
        within, between = self.largest_inner_product
        verdict = "areas" if self.has_areas else "no areas: not clearly more than the control"
        return (
            f"<Areas of {len(self.images.patches)} pictures, P={self.part.P}, d={self.images.d}: {verdict}>\n"
            f"K={self.part.K} clusters, areas of {sizes} patches\n"
            f"kappa_c {self.kappa_c}, kappa_s {self.kappa_s}, Delta {self.Delta}\n"
            f"explained {self.explained}, control {self.control}, margin {self.margin}\n"
            f"largest inner product of features {within:.2f} within, {between:.2f} between clusters; clipped {self.clipped:.3f}"
        )


def fit(
    pictures: "ArrayLike | Images",
    K: int | None = 3,
    areas: Number = None,
    patch: int = 4,
    gamma: float = 0.75,
    seed: int | Sequence[int] = 0,
    held_out: float = 0.2,
    bootstrap: int = 50,
    progress: Progress | None = None,
    *,
    rng: Any = None,
) -> Areas:
    """Describe pictures by clusters and areas.

    Parameters
    ----------
    pictures : array (m, H, W) or (m, H, W, C), or Images
        An array is cut by `Images.cut` without centring, and scaled so that the mean of |X_p|^2 is 1; Images stay as they are.
    K : int or None
        Clusters; None chooses among 1 to 8.
    areas : int, K of them, or None
        Areas of every cluster, at least 2; None chooses among 2 to P / 2.
    patch, gamma : int, float
        Side of a patch in pixels and masked fraction, for an array.
    seed : int
        Of the masks, of what is held out, of k-means, of the control and of resampling.
    held_out : float
        Fraction of the pictures that `explained` is measured on.
    bootstrap : int
        Resampled sets of pictures for the intervals of the exponents; 0 leaves only what whole patches leave open.
    progress : callable, optional
        Called with (done, total).
    rng : optional
        A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

    Returns
    -------
    Areas
        The description.

    Raises
    ------
    InputError
        For input that `Images.cut` refuses; fewer than 8 pictures in a cluster; P < 4.
    Interrupted

    Notes
    -----
    An area of one patch cannot be distinguished from any other, as nothing else shows its amplitude. Costs (bootstrap + 10) times
    n P^2 d multiply-adds.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> rng = np.random.default_rng(0)
    >>> left, right = rng.uniform(0.5, 1.5, size=(2, 100, 1, 1))
    >>> stripes = np.tile([1.0, 0.0], 4)  # of 8 x 8 pixels: upright ones on three quarters of the picture, lying ones on the rest
    >>> pictures = np.where(np.arange(8) < 6, left * stripes, right * stripes[:, None])
    >>> found = dynsim.analysis.areas.fit(pictures, K=1, patch=2, bootstrap=0)
    >>> found.part.labels.reshape(4, 4)
    array([[0, 0, 0, 1],
           [0, 0, 0, 1],
           [0, 0, 0, 1],
           [0, 0, 0, 1]])
    >>> found.has_areas, round(found.explained.value, 3)
    (True, 1.0)
    """
    seed = seed_of(seed, rng)
    images = pictures if isinstance(pictures, Images) else Images.cut(pictures, patch, gamma, seed, centre=False, scale="unit")
    X, P = images.patches, images.P
    _check(len(X), P, K, areas, held_out, bootstrap)
    report = progress or (lambda done, total: None)
    splits, starts, shuffle, draws = generator(seed).integers(2**63, size=4).tolist()
    order = generator(splits).permutation(len(X))
    count = max(2, round(held_out * len(X)))
    train, rest = X[order[count:]], X[order[:count]]
    total = bootstrap + 10
    try:
        if K is None:
            K = number_of_clusters(train, areas, starts)
        report(2, total)
        model = describe(train, K, areas, starts)
        report(4, total)
        shuffled = generator(shuffle).permuted(np.broadcast_to(np.arange(P), (len(X), P)), axis=1)
        moved = np.take_along_axis(X, shuffled[:, :, None], axis=1)
        against = describe(moved[order[count:]], K, areas, starts, least=1)
        report(7, total)
        measured = shares(model.explain(rest), against.explain(moved[order[:count]]), np.einsum("npd,npd->n", rest, rest), draws)
        sizes: list[list[np.ndarray] | None] = [model.sizes()]
        for i in range(bootstrap):
            sizes.append(again(X, model, areas, generator([draws, i])))
            report(10 + i, total)
    except KeyboardInterrupt:
        raise Interrupted("stopped before the areas were fitted: run it again, with fewer pictures or bootstrap=0") from None
    found = intervals([one for one in sizes if one is not None], P)
    report(total, total)
    return _result(images, model, found, measured)


def _check(n: int, P: int, K: int | None, areas: Number, held_out: float, bootstrap: int) -> None:
    """Refuse what cannot be fitted."""
    whole = lambda x: isinstance(x, (int, np.integer)) and not isinstance(x, bool)  # noqa: E731
    if K is not None and not (whole(K) and K >= 1):
        raise InputError(f"K must be a whole number of at least 1 cluster, or None to choose it, got {K!r}: take e.g. K=3")
    if P < 4:
        raise InputError(f"areas of at least 2 patches need P >= 4, got P={P}: take smaller patches")
    if not (is_number(held_out) and 0 < held_out < 1):
        raise InputError(f"held_out is a fraction of the pictures, strictly between 0 and 1, got {held_out!r}: take e.g. 0.2")
    if not (whole(bootstrap) and bootstrap >= 0):
        raise InputError(f"bootstrap must be a whole number of resampled sets, 0 for none, got {bootstrap!r}: take e.g. 50")
    if areas is not None:
        each = np.ravel(areas)
        if K is None and np.ndim(areas):
            raise InputError(f"areas of each cluster need the number of clusters, got K=None: take K={len(each)}")
        fits = each.dtype.kind in "iu" and np.ndim(areas) <= 1 and len(each) in (1, K) and 2 <= each.min() <= each.max() <= P
        if not fits:
            raise InputError(f"areas must be a whole number from 2 to P={P}, or one for each of K={K}, got {areas!r}: try 5")
    left = n - max(2, round(held_out * n))
    if left < LEAST * (K or 1):
        raise InputError(
            f"every cluster needs {LEAST} pictures besides those held out, got {n} pictures, {left} left for K={K or 1}: "
            f"give more, or lower K or held_out"
        )


def _result(
    images: Images, model: Model, found: tuple[Estimate, Estimate, Estimate], measured: tuple[Estimate, Estimate, Estimate]
) -> Areas:
    """All of it on every picture, in the package's own objects."""
    X, image, P = images.patches, images.image, images.P
    part = Partition(np.stack([members.argmax(axis=0) for members in model.members]), images.grid)
    cluster, z = model.cluster(X), np.zeros((len(X), int(part.N.max())))
    noise = np.zeros(len(X))
    for k, (members, v) in enumerate(zip(model.members, model.features, strict=True)):
        mine = X[cluster == k]
        z[cluster == k, : len(v)], noise[cluster == k] = _ward.amplitudes(mine, members, v), _ward.noise(mine, members, v)
    size = np.zeros_like(z)
    for k in range(part.K):
        size[cluster == k, : part.N[k]] = part.size[part.offset[k] : part.offset[k + 1]]
    energy = float(np.einsum("npd,npd->", X, X))
    clipped = float((size * np.minimum(z, 0.0) ** 2).sum()) / energy
    z = np.maximum(z, 0.0)
    law = law_of(z[size > 0], float(noise.mean()))
    kappa_c, kappa_s, gap = found
    problem = Problem(part.K, round(images.masked_mean / P, 12), P, *fitting(kappa_c.value, kappa_s.value, P), law)
    data = Dataset(cluster[image], z[image], images.masked, images.weight)
    features = np.concatenate(model.features)
    features.setflags(write=False)
    return Areas(images, part, problem, data, features, *found, *measured, clipped)


def _shortened(sizes: Iterable[int], most: int = 8) -> list:
    """The first few sizes, and dots where there are more."""
    listed: list = list(sizes)
    return listed if len(listed) <= most else [*listed[: most - 1], "..."]
