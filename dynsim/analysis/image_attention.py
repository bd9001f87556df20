"""What a query attends to on any images: attention maps, and measures of how local and how diverse they are.

On a row of the data, a picture X under a mask, a masked query p attends to key q (docs/images.md, eq. I1) by

    attn_pq = softmax_q( 1{q unmasked} Phi_p . X_q + 1{q masked} Phi_p . mu + Upsilon_pq ),

so a map follows from the correlations of any run on such images, reduced or explicit; mu is the mask token, zero without one.
Only masked patches are queries: the other rows are NaN. The measures are those of `analysis.attention`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from dynsim.analysis.attention import distance, entropy, mutual_information, similarity
from dynsim.errors import InputError
from dynsim.model.images import Images

if TYPE_CHECKING:
    from dynsim.trajectory import Trajectory

ENTRIES = 1_000_000  # of the maps that an overview looks at, at one time


def attention_map(
    images: Images, fp: ArrayLike, pp: ArrayLike, row: int | None = None, token: ArrayLike | None = None
) -> np.ndarray:
    """Attention (P, P) that query p pays to key q on one row of the data, or the mean over all rows that mask p.

    Parameters
    ----------
    images : Images
        The pictures and their masks.
    fp, pp : arrays (P, d), (P, P)
        Correlations at one time.
    row : int, optional
        Which row of the data; the mean over all when left out.
    token : array (d,), optional
        Mask token.

    Returns
    -------
    array (P, P)
        NaN in the rows of patches that are not masked.

    Raises
    ------
    InputError
        Where correlations, token and images do not fit.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> from dynsim.analysis import image_attention
    >>> images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(20, 6, 6)), patch=2)
    >>> attn = image_attention.attention_map(images, np.zeros((9, 4)), np.zeros((9, 9)), row=0)
    >>> bool(np.allclose(attn[images.masked[0]], 1 / 9))
    True
    """
    total, seen = np.zeros((images.P, images.P)), np.zeros(images.P)
    for _, weight, queries, attn in _maps(images, fp, pp, row, token):
        total[queries] += weight * attn
        seen[queries] += weight
    return np.divide(total, seen[:, None], out=np.full_like(total, np.nan), where=seen[:, None] > 0)


def measures(images: Images, fp: ArrayLike, pp: ArrayLike, token: ArrayLike | None = None) -> dict[str, float]:
    """Return the measures of the maps of single rows, averaged over all rows of the data.

    Parameters
    ----------
    images : Images
        The pictures and their masks.
    fp, pp : arrays (P, d), (P, P)
        Correlations at one time.
    token : array (d,), optional
        Mask token.

    Returns
    -------
    dict of float
        Values of "distance" in patch sides and "entropy" in nats, means over queries; "mutual_information", normalised, of query
        and key positions; "similarity" of queries.

    Raises
    ------
    InputError
        Where correlations, token and images do not fit.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.analysis import image_attention
    >>> images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(20, 6, 6)), patch=2)
    >>> found = image_attention.measures(images, np.zeros((9, 4)), np.zeros((9, 9)))
    >>> round(float(found["entropy"]) - math.log(9), 12)
    0.0
    """
    result = dict.fromkeys(("distance", "entropy", "mutual_information", "similarity"), 0.0)
    for _, weight, queries, attn in _maps(images, fp, pp, None, token):
        whole = np.full((images.P, images.P), np.nan)
        whole[queries] = attn
        result["distance"] += weight * float(np.mean(distance(whole, images.grid)[queries]))
        result["entropy"] += weight * float(entropy(attn).mean())
        result["mutual_information"] += weight * mutual_information(attn)
        result["similarity"] += weight * similarity(attn)
    return result


def along(images: Images, traj: Trajectory, token: ArrayLike | None = None) -> dict[str, np.ndarray]:
    """Return the measures at every saved time of a run on images.

    Parameters
    ----------
    images : Images
        The pictures and their masks.
    traj : Trajectory
        A run on them.
    token : array (d,), optional
        Mask token.

    Returns
    -------
    dict of array (T,)
        By name, as ``measures``.

    Raises
    ------
    InputError
        Where correlations, token and images do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.analysis import image_attention
    >>> images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(20, 6, 6)), patch=2)
    >>> run = dynsim.reduced.descend(dynsim.reduced.ImageField(images), steps=4, keep=2)
    >>> image_attention.along(images, run)["distance"].shape
    (3,)
    """
    rows = [measures(images, fp, pp, token) for fp, pp in zip(traj.fp, traj.pp, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def overview(
    images: Images, traj: Trajectory, times: int = 20, rows: int = 100, token: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Return the measures at some saved times of a run, over some rows of the data: ``along`` at a bounded cost.

    Parameters
    ----------
    images : Images
        The pictures and their masks.
    traj : Trajectory
        A run on them.
    times : int
        At most so many saved times, the first and the last among them, equally spaced in their order.
    rows : int
        At most so many rows, equally spaced; fewer beyond P = 100, where maps are large.
    token : array (d,), optional
        Mask token.

    Returns
    -------
    dict of array
        Times as "t", and the measures by name.

    Raises
    ------
    InputError
        Where correlations, token and images do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.analysis import image_attention
    >>> images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(20, 6, 6)), patch=2)
    >>> run = dynsim.reduced.descend(dynsim.reduced.ImageField(images), steps=40, keep=1)
    >>> image_attention.overview(images, run, times=3)["t"]
    array([ 0., 20., 40.])
    """
    at = np.unique(np.linspace(0, len(traj) - 1, times).astype(int))
    rows = max(1, min(rows, ENTRIES // images.P**2))
    some = images.take(np.unique(np.linspace(0, images.n - 1, rows).astype(int))) if images.n > rows else images
    return {"t": traj.t[at], **along(some, traj.at(at), token)}


def _maps(
    images: Images, fp: ArrayLike, pp: ArrayLike, row: int | None, token: ArrayLike | None
) -> Iterator[tuple[int, float, np.ndarray, np.ndarray]]:
    """(row, weight, its masked queries, their attention (queries, P)) of one row of the data, or of all that have a weight."""
    P, d = images.P, images.d
    fp, pp = np.asarray(fp, dtype=float), np.asarray(pp, dtype=float)
    mu = np.zeros(d) if token is None else np.asarray(token, dtype=float)
    if fp.shape != (P, d) or pp.shape != (P, P) or mu.shape != (d,):
        raise InputError(
            f"correlations of one time are fp (P, d) and pp (P, P), a token (d,), with P={P}, d={d}, got {fp.shape}, {pp.shape}, "
            f"{mu.shape}: take e.g. traj.fp[-1], traj.pp[-1]"
        )
    if row is not None and not (isinstance(row, (int, np.integer)) and 0 <= row < images.n):
        raise InputError(f"row numbers one of n={images.n} rows from 0, got {row!r}: take e.g. row=0")
    for i in range(images.n) if row is None else [int(row)]:
        weight = images.weight[i] if row is None else 1.0
        if weight == 0:
            continue
        queries = np.flatnonzero(images.masked[i])
        keys = np.where(images.masked[i][:, None], mu, images.patches[images.image[i]])
        score = fp[queries] @ keys.T + pp[queries]
        attn = np.exp(score - score.max(axis=1, keepdims=True))
        yield i, weight, queries, attn / attn.sum(axis=1, keepdims=True)
