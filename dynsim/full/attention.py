"""Softmax attention of a batch of images, key by key, and its derivative, which both losses use.

Arrays are laid out (P, n, P), query, image, key, so that all images of a batch share one matrix product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition

BATCH_BYTES = 2**25  # of temporaries per batch of images


class Attended(NamedTuple):
    """Attention of a batch of n images.

    Parameters
    ----------
    X : ndarray of shape (n, P, d)
        The images, unmasked.
    keys : ndarray of shape (n, P, d)
        Vectors of the keys.
    values : ndarray of shape (n, P, d)
        Vectors of the values.
    attn : ndarray of shape (P, n, P)
        Attention, query by image by key.
    output : ndarray of shape (n, P, d)
        Weighted sum of the values.

    Examples
    --------
    >>> from dynsim.full.attention import Attended
    >>> Attended._fields
    ('X', 'keys', 'values', 'attn', 'output')
    """

    X: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    attn: np.ndarray
    output: np.ndarray


def batches(n: int, part: Partition, embedding: Embedding) -> Iterator[slice]:
    """Iterate over slices of n images whose temporaries take about BATCH_BYTES each.

    Parameters
    ----------
    n : int
        Images.
    part : Partition
        Gives P.
    embedding : Embedding
        Gives d.

    Yields
    ------
    slice
        Images of a batch.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.full.attention import batches
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> list(batches(100, part, dynsim.Embedding.orthonormal(part)))[0].start
    0
    """
    size = max(1, BATCH_BYTES // (8 * part.P * (3 * part.P + 5 * embedding.d)))
    for start in range(0, n, size):
        yield slice(start, start + size)


def attend(
    left: np.ndarray, part: Partition, embedding: Embedding, cluster: np.ndarray, z: np.ndarray, masked: np.ndarray
) -> Attended:
    """Return the attention of every patch of some images.

    Parameters
    ----------
    left : ndarray of shape (P, d)
        Queries^T Q: the score of query p and a key is left[p] . key.
    part : Partition
        Areas.
    embedding : Embedding
        Positions, features and mask token.
    cluster : ndarray of int, shape (n,)
        Cluster of each image.
    z : ndarray of shape (n, N_max)
        Amplitudes by area.
    masked : ndarray of bool, shape (n, P)
        Which patches are masked.

    Returns
    -------
    Attended
        Keys, values, attention and output.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.full.attention import attend
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data, embedding = dynsim.sample(problem, part, n=3), dynsim.Embedding.orthonormal(part)
    >>> seen = attend(np.zeros((16, embedding.d)), part, embedding, data.cluster, data.z, data.masked)
    >>> seen.attn.shape, float(seen.attn[0, 0, 0])
    ((16, 3, 16), 0.0625)
    """
    P, d = part.P, embedding.d
    positions, features = np.ascontiguousarray(embedding.E.T), np.ascontiguousarray(embedding.V.T)
    amplitude = np.take_along_axis(z, part.labels[cluster], axis=1)
    X = amplitude[..., None] * features[part.own[cluster]]
    values = np.where(masked[..., None], 0.0, X)
    if embedding.mu is None:
        keys = values + positions
    else:
        keys = np.where(masked[..., None], embedding.mu, X) + positions
        if embedding.masked_value == "token":
            values[masked] = embedding.mu
    attn = (left @ keys.reshape(-1, d).T).reshape(P, len(cluster), P)
    attn -= attn.max(axis=2, keepdims=True)
    np.exp(attn, out=attn)
    attn /= attn.sum(axis=2, keepdims=True)
    return Attended(X, keys, values, attn, attn.transpose(1, 0, 2) @ values)


def backward(seen: Attended, doutput: np.ndarray) -> np.ndarray:
    """Return the gradient with respect to ``left`` of these images, given that with respect to the output.

    Parameters
    ----------
    seen : Attended
        As from ``attend``.
    doutput : ndarray of shape (n, P, d)
        Gradient with respect to the output.

    Returns
    -------
    ndarray of shape (P, d)
        Gradient with respect to ``left``.

    Notes
    -----
    dL/ds_pq = attn_pq (doutput_p . value_q - doutput_p . output_p), and the score is left_p . key_q.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.full.attention import attend, backward
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data, embedding = dynsim.sample(problem, part, n=3), dynsim.Embedding.orthonormal(part)
    >>> seen = attend(np.zeros((16, embedding.d)), part, embedding, data.cluster, data.z, data.masked)
    >>> backward(seen, seen.output - seen.X).shape == (16, embedding.d)
    True
    """
    dscore = np.empty_like(seen.attn)
    np.matmul(doutput, seen.values.transpose(0, 2, 1), out=dscore.transpose(1, 0, 2))
    dscore -= np.einsum("ipd,ipd->pi", doutput, seen.output)[..., None]
    dscore *= seen.attn
    return dscore.reshape(len(dscore), -1) @ seen.keys.reshape(-1, seen.keys.shape[2])


class AreaAttention:
    """Mean attention of every query on the unmasked patches of each area, over the images of its cluster.

    Parameters
    ----------
    part : Partition
        Areas.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.full.attention import AreaAttention
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> areas = AreaAttention(part)
    >>> masked = np.array([[True, False, False, True]])
    >>> areas.add(np.full((4, 1, 4), 0.25), np.array([0]), masked, masked.astype(float))
    >>> areas.mean()[0]
    array([0.25, 0.25])
    """

    def __init__(self, part: Partition) -> None:
        self.part = part
        self.seen, self.count = np.zeros((part.P, part.F)), np.zeros((part.K, part.P))

    def add(self, attn: np.ndarray, cluster: np.ndarray, masked: np.ndarray, weight: np.ndarray) -> None:
        """Add a batch of images.

        Parameters
        ----------
        attn : ndarray of shape (P, n, P)
            Attention.
        cluster : ndarray of int, shape (n,)
            Cluster of each image.
        masked : ndarray of bool, shape (n, P)
            Which patches are masked.
        weight : ndarray of shape (n, P)
            Weight of each query in each image.
        """
        part, by_image = self.part, attn.transpose(1, 0, 2)
        for k in np.unique(cluster):
            of = cluster == k
            area = np.eye(part.N[k])[part.labels[k]]  # (P, N_k): which area a patch lies in
            paid = np.einsum("ipq,iq,ip->pq", by_image[of], ~masked[of], weight[of])
            self.seen[:, part.offset[k] : part.offset[k + 1]] += paid @ area
            self.count[k] += weight[of].sum(axis=0)

    def mean(self) -> np.ndarray:
        """Return the mean.

        Returns
        -------
        ndarray of shape (P, F)
            NaN where no image of that cluster has that query.
        """
        share = np.repeat(self.count, self.part.N, axis=0).T
        return np.divide(self.seen, share, out=np.full_like(self.seen, np.nan), where=share > 0)
