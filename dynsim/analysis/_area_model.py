"""Clusters of pictures, and the areas of each: what dynsim/analysis/areas.py estimates, without its errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2

from dynsim.analysis import _ward
from dynsim.errors import InputError
from dynsim.model.amplitude import generator

STARTS, ROUGH, FINE = 5, 10, 30  # k-means: starts, iterations of each, and of the best one after that
FOLDS = 4  # parts of a cluster's pictures, of which one at a time chooses the number of areas
LEAST = 2 * FOLDS  # pictures that a cluster needs
CLUSTERS = 8  # clusters tried at most where K is left open
Number = int | Sequence[int] | None  # of areas: in every cluster, in each of them, to be chosen


@dataclass(frozen=True, eq=False)
class Model:
    """Centres (K, P d) of clusters, and for each its areas, members bool (N, P), largest first, and their features (N, d)."""

    centres: np.ndarray
    members: list[np.ndarray]
    features: list[np.ndarray]

    def cluster(self, X: np.ndarray) -> np.ndarray:
        """The nearest centre of each picture, (n,)."""
        return _nearest(X.reshape(len(X), -1), self.centres)

    def explain(self, X: np.ndarray) -> np.ndarray:
        """Patch energy explained of each picture, (n,)."""
        found, cluster = np.zeros(len(X)), self.cluster(X)
        for k, (members, v) in enumerate(zip(self.members, self.features, strict=True)):
            found[cluster == k] = _ward.gains(X[cluster == k], members, v).sum(axis=1)
        return found

    def sizes(self) -> list[np.ndarray]:
        """Patches of each area, cluster by cluster."""
        return [members.sum(axis=1) for members in self.members]


def describe(X: np.ndarray, K: int, areas: Number, seed: int, least: int = LEAST) -> Model:
    """Clusters, areas and features of pictures X. Raises InputError where a cluster has fewer than `least` pictures."""
    centres, cluster = kmeans(X.reshape(len(X), -1), K, seed)
    members, features = [], []
    for k in range(K):
        mine = X[cluster == k]
        if len(mine) < least:
            raise InputError(
                f"every cluster needs {least} pictures, got one of {len(mine)} for K={K}: lower K, or leave out what stands apart"
            )
        if areas is None:
            N = _number_of_areas(mine) if len(mine) >= LEAST else 2
        else:
            N = int(np.broadcast_to(areas, K)[k])
        members.append(_largest_first(_ward.tree(mine), N))
        features.append(_ward.features(mine, members[-1]))
    return Model(centres, members, features)


def _largest_first(grown: _ward.Tree, N: int) -> np.ndarray:
    """Members bool (N, P) of a cut, by size, of equal ones the first position first."""
    areas = grown.members[grown.cut(N)]
    return areas[np.lexsort((areas.argmax(axis=1), -areas.sum(axis=1)))]


def _number_of_areas(X: np.ndarray) -> int:
    """Chosen on one part of the pictures after another, on trees of the others."""
    most, found = max(2, X.shape[1] // 2), []
    for fold in range(FOLDS):
        out = np.arange(len(X)) % FOLDS == fold
        found.append(_ward.path(_ward.tree(X[~out]), X[~out], X[out], most))
    return 2 + _ward.smallest_as_good(np.concatenate(found))


def number_of_clusters(X: np.ndarray, areas: Number, seed: int) -> int:
    """The number of clusters, chosen on a quarter of the pictures."""
    out, found = np.arange(len(X)) % FOLDS == 0, []
    for K in range(1, CLUSTERS + 1):
        try:
            found.append(describe(X[~out], K, areas, seed).explain(X[out]))
        except InputError:
            break  # too few pictures in a cluster, and so with more of them
    if not found:
        raise InputError(f"to choose K takes {LEAST} pictures besides those held out and a quarter, got {len(X)}: take K=1")
    return 1 + _ward.smallest_as_good(np.stack(found, axis=1))


def kmeans(X: np.ndarray, K: int, seed: int, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Centres (K, D) and cluster (n,) of points X (n, D): from given centres, or the best of several starts, those first in which
    every cluster has enough points."""
    best, least = start, (True, np.inf)
    for i in range(STARTS if start is None else 0):
        try:
            centres, cluster = kmeans2(X, K, iter=ROUGH, minit="++", missing="raise", seed=generator([seed, i]))
        except ClusterError:
            continue
        off = bool(np.bincount(cluster, minlength=K).min() < LEAST), float(((X - centres[cluster]) ** 2).sum())
        if best is None or off < least:
            best, least = centres, off
    if best is None:
        raise InputError(f"k-means found an empty cluster of K={K}: lower K")
    try:
        best, _ = kmeans2(X, best, iter=FINE if start is None else ROUGH, minit="matrix", missing="raise")
    except ClusterError:
        if start is not None:
            raise InputError(f"k-means found an empty cluster of K={K}: lower K") from None
    return best, _nearest(X, best)


def _nearest(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((centres**2).sum(axis=1) - 2 * X @ centres.T).argmin(axis=1)


def again(X: np.ndarray, model: Model, areas: Number, rng: np.random.Generator) -> list[np.ndarray] | None:
    """Sizes of the areas of pictures drawn again, with as many clusters; their number is chosen on those not drawn. None where a
    cluster is left with too few."""
    drawn = rng.integers(len(X), size=len(X))
    out = np.setdiff1d(np.arange(len(X)), drawn)
    K, mine, seen = len(model.members), X[drawn], X[out]
    try:
        centres, cluster = kmeans(mine.reshape(len(mine), -1), K, 0, model.centres)
    except InputError:
        return None
    apart, sizes = _nearest(seen.reshape(len(seen), -1), centres), []
    for k in range(K):
        some, unseen = mine[cluster == k], seen[apart == k]
        if len(some) < 2 or len(unseen) < 2:
            return None
        grown = _ward.tree(some)
        if areas is None:
            N = 2 + _ward.smallest_as_good(_ward.path(grown, some, unseen, max(2, X.shape[1] // 2)))
        else:
            N = int(np.broadcast_to(areas, K)[k])
        sizes.append(grown.members[grown.cut(N)].sum(axis=1))
    return sizes
