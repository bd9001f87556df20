"""Attention maps of given images from the correlations of a run, and the measures of them, averaged over images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from dynsim.analysis.attention.measure import distance, entropy, kl_from_mean, mutual_information, similarity
from dynsim.errors import InputError
from dynsim.model.dataset import Dataset
from dynsim.model.pairs import Pairs
from dynsim.model.partition import Partition
from dynsim.trajectory import Trajectory

QUERIES = ("masked", "all", "unmasked images")
MEASURES = ("distance", "entropy", "mutual_information", "kl_from_mean", "similarity")


def attention_map(
    part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset | Pairs, image: int | None = None, queries: str | None = None
) -> np.ndarray:
    """Attention that query p (row) pays to key q (eq. 2), on one image or expected over all.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    fp, pp : array (P, F) or, with a mask token, (P, F + 1); array (P, P)
        Correlations of one saved time.
    data : Dataset or Pairs
        Images; the views of pair i are images 2 i and 2 i + 1.
    image : int, optional
        Number of one image; all of them when left out.
    queries : {"masked", "all", "unmasked images"}, optional
        Which patches are queries; "masked" for a Dataset and "all" for Pairs when left out.

    Returns
    -------
    array (P, P)
        NaN in rows of patches that are never queries.

    Raises
    ------
    InputError
        Where correlations, images and partition do not fit.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.8, kappa_s=0.4)
    >>> part = dynsim.Partition.blocks(problem)
    >>> pairs = dynsim.sample_pairs(problem, part, n=8)
    >>> run = dynsim.full.descend(part, None, eta=50, steps=50, pairs=pairs)
    >>> attn = dynsim.analysis.attention.attention_map(part, run.fp[-1], run.pp[-1], pairs, image=0)
    >>> attn.shape, bool(abs(attn - attn[0]).max() < 1e-14)  # every query attends alike
    ((16, 16), True)
    """
    total, seen = np.zeros((part.P, part.P)), np.zeros(part.P)
    for _, _, weight, asking, attn in _maps(part, fp, pp, data, image, queries):
        total[asking] += weight * attn
        seen[asking] += weight
    return _divide(total, seen[:, None])


def area_attention(
    part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset | Pairs, image: int | None = None, queries: str | None = None
) -> np.ndarray:
    """Attention that query p pays to the unmasked patches of each area, expected over the images of its cluster.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    fp, pp : array (P, F) or, with a mask token, (P, F + 1); array (P, P)
        Correlations of one saved time.
    data : Dataset or Pairs
        Images; the views of pair i are images 2 i and 2 i + 1.
    image : int, optional
        Number of one image; all of them when left out.
    queries : {"masked", "all", "unmasked images"}, optional
        Which patches are queries; "masked" for a Dataset and "all" for Pairs when left out.

    Returns
    -------
    array (P, F)
        NaN without an image; of one ``image`` alone (P, N_k), k its cluster.

    Raises
    ------
    InputError
        Where correlations, images and partition do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.analysis import attention
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data = dynsim.sample(problem, part, n=64)
    >>> attn = attention.area_attention(part, np.zeros((16, 2)), np.zeros((16, 16)), data)
    >>> attn.shape, round(float(attn[0].sum()), 12)  # uniform attention: 4 of 16 patches are unmasked
    ((16, 2), 0.25)
    """
    total, seen = np.zeros((part.P, part.F)), np.zeros((part.P, part.F))
    for k, masked, weight, asking, attn in _maps(part, fp, pp, data, image, queries):
        areas = np.eye(part.F)[part.own[k]] * ~masked[:, None]  # (P, F): which area an unmasked key lies in
        total[asking] += weight * (attn @ areas)
        seen[asking, part.offset[k] : part.offset[k + 1]] += weight
    expected = _divide(total, seen)
    return expected if image is None else expected[:, part.offset[k] : part.offset[k + 1]]


def measures(
    part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset | Pairs, queries: str | None = None
) -> dict[str, float]:
    """Return the measures of the maps of single images, averaged over images.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    fp, pp : array (P, F) or, with a mask token, (P, F + 1); array (P, P)
        Correlations of one saved time.
    data : Dataset or Pairs
        Images.
    queries : {"masked", "all", "unmasked images"}, optional
        Which patches are queries; "masked" for a Dataset and "all" for Pairs when left out.

    Returns
    -------
    dict of float
        Values of "distance" (patch sides), "entropy" (nats), "mutual_information", "kl_from_mean" (nats), "similarity".

    Raises
    ------
    InputError
        Where correlations, images and partition do not fit.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.analysis import attention
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> found = attention.measures(part, np.zeros((16, 2)), np.zeros((16, 16)), dynsim.sample(problem, part, n=8))
    >>> round(float(found["entropy"]) - math.log(16), 12), round(float(found["similarity"]), 12)
    (0.0, 1.0)
    """
    result = dict.fromkeys(MEASURES, 0.0)
    for _, _, weight, asking, attn in _maps(part, fp, pp, data, None, queries):
        whole = np.full((part.P, part.P), np.nan)
        whole[asking] = attn
        result["distance"] += weight * float(np.nanmean(distance(whole, part.grid)))
        result["entropy"] += weight * float(entropy(attn).mean())
        result["mutual_information"] += weight * mutual_information(attn)
        result["kl_from_mean"] += weight * kl_from_mean(attn)
        result["similarity"] += weight * similarity(attn)
    return result


def along(part: Partition, traj: Trajectory, data: Dataset | Pairs, queries: str | None = None) -> dict[str, np.ndarray]:
    """Return the measures at every saved time of a run.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    traj : Trajectory
        A run on ``part``.
    data : Dataset or Pairs
        Images.
    queries : {"masked", "all", "unmasked images"}, optional
        Which patches are queries; "masked" for a Dataset and "all" for Pairs when left out.

    Returns
    -------
    dict of array (T,)
        By name, as ``measures``.

    Raises
    ------
    InputError
        Where correlations, images and partition do not fit.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.analysis import attention
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.8, kappa_s=0.4)
    >>> part = dynsim.Partition.blocks(problem)
    >>> pairs = dynsim.sample_pairs(problem, part, n=8)
    >>> run = dynsim.full.descend(part, None, eta=50, steps=50, pairs=pairs)
    >>> found = attention.along(part, run, pairs, queries="unmasked images")
    >>> bool(found["mutual_information"].max() < 1e-12)  # contrastive learning on orthonormal vectors: identical maps
    True
    """
    rows = [measures(part, fp, pp, data, queries) for fp, pp in zip(traj.fp, traj.pp, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in MEASURES}


def _maps(
    part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset | Pairs, image: int | None, queries: str | None
) -> Iterator[tuple[int, np.ndarray, float, np.ndarray, np.ndarray]]:
    """(cluster, mask (P,), weight, queries, their attention (queries, P)) of one image, or of all that have a weight."""
    fp, pp = np.asarray(fp, dtype=float), np.asarray(pp, dtype=float)
    if fp.ndim != 2 or fp.shape[0] != part.P or fp.shape[1] not in (part.F, part.F + 1) or pp.shape != (part.P, part.P):
        raise InputError(
            f"correlations of one time are fp (P, F) and pp (P, P) with P={part.P}, F={part.F}, got {fp.shape} and {pp.shape}: "
            f"take e.g. traj.fp[-1], traj.pp[-1]"
        )
    data.check(part)
    views = 2 if isinstance(data, Pairs) else 1
    queries = ("masked", "all")[views - 1] if queries is None else queries
    if queries not in QUERIES:
        raise InputError(f"queries must be one of {', '.join(QUERIES)}, got {queries!r}: 'all' is that of contrastive learning")
    has_token = fp.shape[1] > part.F
    if has_token and queries != "masked":
        raise InputError(f"queries='{queries}' needs fp (P, F), got a mask token: unmasked queries carry none, take 'masked'")
    masks = data.masked.reshape(-1, part.P)
    if image is not None and not (isinstance(image, (int, np.integer)) and 0 <= image < len(masks)):
        raise InputError(f"image numbers one of n={len(masks)} images from 0, got {image!r}: take e.g. image=0")
    weights = np.full(len(masks), 1.0 / len(masks)) if isinstance(data, Pairs) else data.weight
    token = fp[:, part.F] if has_token else np.zeros(part.P)
    for i in range(len(masks)) if image is None else [int(image)]:
        weight = weights[i] if image is None else 1.0
        if weight == 0:
            continue
        masked = masks[i] & (queries != "unmasked images")
        asking = np.flatnonzero(masked) if queries == "masked" else np.arange(part.P)
        k = data.cluster[i // views]
        z = data.z[i // views, part.labels[k]]
        content = np.where(masked, token[asking, None], z * fp[asking][:, part.own[k]])
        score = content + pp[asking]
        attn = np.exp(score - score.max(axis=1, keepdims=True))
        yield k, masked, weight, asking, attn / attn.sum(axis=1, keepdims=True)


def _divide(total: np.ndarray, seen: np.ndarray) -> np.ndarray:
    seen = np.broadcast_to(seen, total.shape)
    return np.divide(total, seen, out=np.full(total.shape, np.nan), where=seen > 0)
