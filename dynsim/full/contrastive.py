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
    """Two passes over both views: (L_con, its gradient (d, d), expected area attention (P, F) where wanted).

    Area attention is the mean over the pairs of a cluster and over both views; every patch is a query."""
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
    """InfoNCE of n pooled outputs each of views a and b, (n, d): (L_con, (dL/da, dL/db)).

    Similarities are taken less that of the positive, and 1 - W_ii as the sum of the other weights, so that both keep their
    digits at any temperature, however well the positive does."""
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
