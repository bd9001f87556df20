"""What a query attends to: attention maps of given images, and measures of how local and how diverse they are.

On an image of cluster k, with amplitudes z and unmasked patches U, a masked query p attends to key q (docs/model.md, eq. 2) by

    attn_pq = softmax_q( 1{q in U} z_{m(q)} Phi_{p,(k,m(q))} + Upsilon_pq ),    A_pm = sum_{q in U, q in area m} attn_pq,

so a map follows from the correlations of any run on a partition, reduced or full. Only masked patches are queries: the other
rows are NaN. Expectations are means over the images of a Dataset in which p is masked; their error is that of the sample.
With a mask token (fp has F + 1 columns) masked keys carry its correlation. All measures act on a map (queries, keys), leave
out NaN rows, and give every query the same weight. Orbits have no positions: their area attention is in the trajectory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import InputError
from dynsim.model.dataset import Dataset
from dynsim.model.partition import Partition
from dynsim.trajectory import Trajectory


def attention_map(part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset, image: int | None = None) -> np.ndarray:
    """Attention (P, P) that query p (row) pays to key q (eq. 2), on image number `image` of `data`, or expected over all.

    fp (P, F) or, with a mask token, (P, F + 1), pp (P, P): correlations. Rows of patches never masked are NaN. Raises
    InputError where correlations, images and partition do not fit."""
    total, seen = np.zeros((part.P, part.P)), np.zeros(part.P)
    for _, weight, queries, attn in _maps(part, fp, pp, data, image):
        total[queries] += weight * attn
        seen[queries] += weight
    return _divide(total, seen[:, None])


def area_attention(part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset, image: int | None = None) -> np.ndarray:
    """Attention (P, F) that query p pays to the unmasked patches of each area, expected over the images of its cluster; with
    `image`, on that image alone: (P, N_k), k its cluster. Rows without an image are NaN. Raises InputError as above."""
    total, seen = np.zeros((part.P, part.F)), np.zeros((part.P, part.F))
    for i, weight, queries, attn in _maps(part, fp, pp, data, image):
        k = data.cluster[i]
        areas = np.eye(part.F)[part.own[k]] * ~data.masked[i][:, None]  # (P, F): which area an unmasked key lies in
        total[queries] += weight * (attn @ areas)
        seen[queries, part.offset[k] : part.offset[k + 1]] += weight
    expected = _divide(total, seen)
    if image is None:
        return expected
    k = data.cluster[image]
    return expected[:, part.offset[k] : part.offset[k + 1]]


def distance(attn: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Attention distance of every query, sum_q attn_pq |p - q|, (P,), unit: the side of a patch (Raghu et al. 2021).

    attn (P, P), grid (rows, columns) with the patches row by row. Raises InputError where they do not fit."""
    rows, columns = grid
    if attn.shape != (rows * columns, rows * columns):
        raise InputError(f"the map must hold all {rows * columns} patches of the grid {tuple(grid)}, got {attn.shape}: see grid=")
    place = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return (attn * np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))).sum(axis=1)


def entropy(attn: np.ndarray) -> np.ndarray:
    """Entropy of every query's attention, -sum_q attn_pq log attn_pq, (queries,), unit: nats; log P where it is uniform."""
    return -(attn * np.log(np.where(attn > 0, attn, 1.0))).sum(axis=1)


def mutual_information(attn: np.ndarray) -> float:
    """Normalised mutual information of query and key positions (Park et al. 2023), a float in [0, 1].

    With queries uniform, p(q) = 1 / n, and p(q, k) = attn_qk p(q):  I(q, k) / sqrt(H(q) H(k)). 0: every query attends alike;
    1: every query to a key of its own. 0 also where all queries attend to one single key, and NaN without queries."""
    attn = attn[~np.isnan(attn).any(axis=1)]
    if not len(attn):
        return float("nan")
    keys = attn.mean(axis=0)
    queries_and_keys = np.log(len(attn)) * entropy(keys[None])[0]
    information = entropy(keys[None])[0] - entropy(attn).mean()  # I = H(k) - H(k | q)
    return float(max(0.0, information) / np.sqrt(queries_and_keys)) if queries_and_keys > 0 else 0.0


def measures(part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset) -> dict[str, float]:
    """Measures of the maps of single images, averaged over the images of `data`: a dict of floats, "distance" (patch sides),
    "entropy" (nats), "mutual_information". Raises InputError as `attention_map` does."""
    result = dict.fromkeys(("distance", "entropy", "mutual_information"), 0.0)
    for _, weight, queries, attn in _maps(part, fp, pp, data, None):
        whole = np.full((part.P, part.P), np.nan)
        whole[queries] = attn
        result["distance"] += weight * float(np.nanmean(distance(whole, part.grid)))
        result["entropy"] += weight * float(entropy(attn).mean())
        result["mutual_information"] += weight * mutual_information(attn)
    return result


def along(part: Partition, traj: Trajectory, data: Dataset) -> dict[str, np.ndarray]:
    """The measures at every kept moment of a run on `part`: a dict of arrays (T,). Raises InputError."""
    rows = [measures(part, fp, pp, data) for fp, pp in zip(traj.fp, traj.pp, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _maps(
    part: Partition, fp: ArrayLike, pp: ArrayLike, data: Dataset, image: int | None
) -> Iterator[tuple[int, float, np.ndarray, np.ndarray]]:
    """(image, weight, its masked queries, their attention (queries, P)) of one image, or of all that have a weight."""
    fp, pp = np.asarray(fp, dtype=float), np.asarray(pp, dtype=float)
    if fp.ndim != 2 or fp.shape[0] != part.P or fp.shape[1] not in (part.F, part.F + 1) or pp.shape != (part.P, part.P):
        raise InputError(
            f"correlations of one moment are fp (P, F) and pp (P, P) with P={part.P}, F={part.F}, got {fp.shape} and {pp.shape}: "
            f"take e.g. traj.fp[-1], traj.pp[-1]"
        )
    data.check(part)
    if image is not None and not (isinstance(image, (int, np.integer)) and 0 <= image < data.n):
        raise InputError(f"image numbers one of n={data.n} images from 0, got {image!r}: take e.g. image=0")
    token = fp[:, part.F] if fp.shape[1] > part.F else np.zeros(part.P)
    for i in range(data.n) if image is None else [int(image)]:
        weight = data.weight[i] if image is None else 1.0
        if weight == 0:
            continue
        k, queries = data.cluster[i], np.flatnonzero(data.masked[i])
        z = data.z[i, part.labels[k]]
        content = np.where(data.masked[i], token[queries, None], z * fp[queries][:, part.own[k]])
        score = content + pp[queries]
        attn = np.exp(score - score.max(axis=1, keepdims=True))
        yield i, weight, queries, attn / attn.sum(axis=1, keepdims=True)


def _divide(total: np.ndarray, seen: np.ndarray) -> np.ndarray:
    seen = np.broadcast_to(seen, total.shape)
    return np.divide(total, seen, out=np.full(total.shape, np.nan), where=seen > 0)
