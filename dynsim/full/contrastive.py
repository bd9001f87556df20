"""L_con of eq. (D2) and its gradient by Q, over given pairs: every patch of both views is a query, outputs are pooled.

With S_ij = <F_i^a, F_j^b> and W the softmax of S / tau along j (InfoNCE, van den Oord et al. 2018; negatives are the other
pairs of the batch; docs/contrastive.md),

    L_con = -(tau / n) sum_i log W_ii,
    dL/dF_i^a = 1/n sum_j (W_ij - 1{i=j}) F_j^b,    dL/dF_j^b = 1/n sum_i (W_ij - 1{i=j}) F_i^a.

A stopped gradient leaves the second of them out: view b is then a target that does not move with Q.
"""

import numpy as np

from dynsim.full.attention import AreaAttention, attend, backward, batches
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import Pairs
from dynsim.model.partition import Partition


def loss_and_gradient(
    Q: np.ndarray,
    part: Partition,
    pairs: Pairs,
    embedding: Embedding,
    temperature: float,
    stop_gradient: bool,
    attention: bool = False,
) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Return L_con and its gradient, by two passes over both views.

    Parameters
    ----------
    Q : ndarray of shape (d, d)
        The matrix.
    part : Partition
        Areas.
    pairs : Pairs
        Images under two masks.
    embedding : Embedding
        Positions and features.
    temperature : float
        The tau of the softmax over pairs.
    stop_gradient : bool
        Whether view b is a constant in the gradient.
    attention : bool
        Whether area attention is wanted.

    Returns
    -------
    loss : float
        L_con.
    gradient : ndarray of shape (d, d)
        Gradient with respect to Q.
    attention : ndarray of shape (P, F) or None
        Expected area attention: the mean over the pairs of a cluster and over both views; every patch is a query.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.full import contrastive
    >>> problem = dynsim.Problem(K=2, gamma=0.5, P=12, kappa_c=0.8, kappa_s=0.4)
    >>> part = dynsim.Partition.blocks(problem)
    >>> embedding = dynsim.Embedding.orthonormal(part)
    >>> Q = np.zeros((embedding.d, embedding.d))
    >>> pairs = dynsim.sample_pairs(problem, part, n=8)
    >>> loss, dQ, _ = contrastive.loss_and_gradient(Q, part, pairs, embedding, 0.5, True)
    >>> loss < 0.5 * math.log(8), dQ.shape == Q.shape  # below that of equal outputs
    (True, True)
    """
    queries = embedding.queries
    left = queries.T @ Q
    dleft = np.zeros_like(left)
    pooled = np.empty((2, pairs.n, embedding.d))
    areas = AreaAttention(part) if attention else None
    for view in (0, 1):
        for at in batches(pairs.n, part, embedding):
            cluster, masked = pairs.cluster[at], pairs.masked[at, view]
            seen = attend(left, part, embedding, cluster, pairs.z[at], masked)
            pooled[view, at] = seen.output.mean(axis=1)
            if areas is not None:
                areas.add(seen.attn, cluster, masked, np.ones(masked.shape))
    loss, dpooled = info_nce(pooled[0], pooled[1], temperature)
    for view in (0,) if stop_gradient else (0, 1):
        for at in batches(pairs.n, part, embedding):
            seen = attend(left, part, embedding, pairs.cluster[at], pairs.z[at], pairs.masked[at, view])
            doutput = np.broadcast_to(dpooled[view][at, None] / part.P, seen.output.shape)  # each output counts 1/P in F
            dleft += backward(seen, doutput)
    return loss, queries @ dleft, None if areas is None else areas.mean()


def info_nce(a: np.ndarray, b: np.ndarray, temperature: float) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Return InfoNCE of n pooled outputs each of views a and b, and its gradient with respect to them.

    Parameters
    ----------
    a, b : ndarray of shape (n, d)
        Pooled outputs.
    temperature : float
        The tau of the softmax over pairs.

    Returns
    -------
    loss : float
        L_con.
    gradients : tuple of ndarray, shapes (n, d)
        With respect to a and b.

    Notes
    -----
    Similarities are taken less that of the positive, and 1 - W_ii as the sum of the other weights, so that both keep their
    digits at any temperature, however well the positive does.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.full import contrastive
    >>> loss, (da, db) = contrastive.info_nce(np.zeros((4, 3)), np.zeros((4, 3)), 0.5)
    >>> round(float(loss / np.log(4)), 12)
    0.5
    """
    n = len(a)
    similarity = a @ b.T
    logit = (similarity - np.diagonal(similarity)[:, None]) / temperature
    most = logit.max(axis=1, keepdims=True)  # at least 0, the positive's
    weight = np.exp(logit - most)
    np.fill_diagonal(weight, 0.0)
    others = weight.sum(axis=1, keepdims=True)
    total = others + np.exp(-most)
    loss = temperature * float(np.where(most > 0, most + np.log(total), np.log1p(others)).mean())
    weight /= total
    np.fill_diagonal(weight, -others / total)
    weight /= n
    return loss, (weight @ b, weight.T @ a)
