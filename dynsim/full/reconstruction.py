"""L_rec of eq. (3) and its gradient by Q, over given images: every masked patch is a query and reconstructs itself."""

import numpy as np

from dynsim.full.attention import AreaAttention, attend, backward, batches
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition


def loss_and_gradient(
    Q: np.ndarray, part: Partition, data: Dataset, embedding: Embedding, attention: bool = False
) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Return L_rec and its gradient, by a forward and backward pass over all images.

    Parameters
    ----------
    Q : ndarray of shape (d, d)
        The matrix.
    part : Partition
        Areas.
    data : Dataset
        Images.
    embedding : Embedding
        Positions, features and mask token.
    attention : bool
        Whether area attention is wanted.

    Returns
    -------
    loss : float
        L_rec, not divided by the masked patches.
    gradient : ndarray of shape (d, d)
        Gradient with respect to Q.
    attention : ndarray of shape (P, F) or None
        Expected area attention.

    Notes
    -----
    With r_p = output_p - X_p and w the weight of an image, dL/doutput_p = w r_p where p is masked, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.full import reconstruction
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data, embedding = dynsim.sample(problem, part, n=256), dynsim.Embedding.orthonormal(part)
    >>> loss, dQ, _ = reconstruction.loss_and_gradient(np.zeros((embedding.d,) * 2), part, data, embedding)
    >>> abs(loss / data.masked_mean / dynsim.theory.initial_loss(problem, part) - 1) < 0.05
    True
    """
    queries = embedding.queries
    left = queries.T @ Q
    dleft, loss = np.zeros_like(left), 0.0
    areas = AreaAttention(part) if attention else None
    for at in batches(data.n, part, embedding):
        cluster, masked = data.cluster[at], data.masked[at]
        weight = data.weight[at, None] * masked  # (n, P): queries that count
        seen = attend(left, part, embedding, cluster, data.z[at], masked)
        residual = seen.output - seen.X
        loss += 0.5 * float(np.sum(weight * np.einsum("ipd,ipd->ip", residual, residual)))
        if areas is not None:
            areas.add(seen.attn, cluster, masked, weight)
        residual *= weight[..., None]
        dleft += backward(seen, residual)
    return loss, queries @ dleft, None if areas is None else areas.mean()
