"""How local and how diverse the rows of one attention map are: functions of plain arrays (queries, keys).

Rows sum to one; rows with a NaN are left out. All logarithms are natural.
"""

from collections.abc import Sequence

import numpy as np

from dynsim.errors import InputError


def distance(attn: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Attention distance of every query, sum_q attn_pq |p - q|, in sides of a patch (Dosovitskiy et al. 2021).

    Parameters
    ----------
    attn : array (P, P)
        Attention map.
    grid : (rows, columns)
        The patches lie on it row by row.

    Returns
    -------
    array (P,)
        Times the side of a patch in pixels: in pixels. Divided by rows - 1 on a square grid: on the unit square.

    Raises
    ------
    InputError
        Where map and grid do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.attention import distance
    >>> distance(np.full((4, 4), 1 / 4), (2, 2)).round(3)  # (0 + 1 + 1 + sqrt 2) / 4
    array([0.854, 0.854, 0.854, 0.854])
    """
    rows, columns = grid
    if attn.shape != (rows * columns, rows * columns):
        raise InputError(f"the map must hold all {rows * columns} patches of the grid {tuple(grid)}, got {attn.shape}: see grid=")
    place = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return (attn * np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))).sum(axis=1)


def entropy(attn: np.ndarray) -> np.ndarray:
    """Entropy of every query's attention, -sum_q attn_pq log attn_pq, in nats; log P where it is uniform.

    Parameters
    ----------
    attn : array (queries, keys)
        Attention map.

    Returns
    -------
    array (queries,)
        One for each query.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.attention import entropy
    >>> entropy(np.array([[0.25, 0.75], [0.5, 0.5]])).round(4)
    array([0.5623, 0.6931])
    """
    return -(attn * np.log(np.where(attn > 0, attn, 1.0))).sum(axis=1)


def kl_from_mean(attn: np.ndarray) -> float:
    """Mean over queries of the Kullback-Leibler divergence of their attention from the mean map, in nats.

    That is the mutual information I(q, k) of query and key positions, queries uniform, as it stands: `mutual_information`
    divides it by sqrt(H(q) H(k)). It is between 0, every query attends alike, and log(queries).

    Parameters
    ----------
    attn : array (queries, keys)
        Attention map.

    Returns
    -------
    float
        NaN without queries.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.attention import kl_from_mean
    >>> round(kl_from_mean(np.eye(4)), 4), kl_from_mean(np.full((4, 4), 0.25))  # log 4, nothing
    (1.3863, 0.0)
    """
    attn = _asking(attn)
    if not len(attn):
        return float("nan")
    ratio = np.divide(attn, attn.mean(axis=0), out=np.ones_like(attn), where=attn > 0)  # keys alike cancel before the logarithm
    return max(0.0, float((attn * np.log(ratio)).sum() / len(attn)))


def mutual_information(attn: np.ndarray) -> float:
    """Normalised mutual information of query and key positions (Park et al. 2023).

    With queries uniform, p(q) = 1 / n, and p(q, k) = attn_qk p(q):  I(q, k) / sqrt(H(q) H(k)).

    Parameters
    ----------
    attn : array (queries, keys)
        Attention map.

    Returns
    -------
    float
        In [0, 1]. 0: every query attends alike; 1: every query to a key of its own. 0 also where all queries attend to one
        single key, and NaN without queries.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.attention import mutual_information
    >>> mutual_information(np.eye(4)), mutual_information(np.full((4, 4), 0.25))
    (1.0, 0.0)
    """
    attn = _asking(attn)
    if not len(attn):
        return float("nan")
    queries_and_keys = np.log(len(attn)) * entropy(attn.mean(axis=0)[None])[0]
    return float(kl_from_mean(attn) / np.sqrt(queries_and_keys)) if queries_and_keys > 0 else 0.0


def similarity(attn: np.ndarray) -> float:
    """Mean cosine similarity of the maps of two different queries.

    Parameters
    ----------
    attn : array (queries, keys)
        Attention map.

    Returns
    -------
    float
        In [0, 1]. 1: every query attends alike, or there is only one; 0: no two of them to a common key. NaN without queries.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.attention import similarity
    >>> similarity(np.eye(4)), similarity(np.full((4, 4), 0.25))
    (0.0, 1.0)
    """
    attn = _asking(attn)
    n = len(attn)
    if n < 2:
        return 1.0 if n else float("nan")
    unit = attn / np.sqrt((attn**2).sum(axis=1, keepdims=True))
    return float(((unit.sum(axis=0) ** 2).sum() - n) / (n * (n - 1)))  # all ordered pairs, less each query with itself


def _asking(attn: np.ndarray) -> np.ndarray:
    """The rows that are maps: those without NaN."""
    return attn[~np.isnan(attn).any(axis=1)]
