"""Softmax attention of a batch of images, key by key, and its derivative: what both losses go through.

Arrays are laid out (P, n, P), query, image, key, so that all images of a batch share one matrix product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition

BATCH_BYTES = 2**25  # of temporaries per batch of images


class Attended(NamedTuple):
    """A batch of n images: X (n, P, d) whole, keys and values (n, P, d), attention (P, n, P), output (n, P, d)."""

    X: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    attn: np.ndarray
    output: np.ndarray


def batches(n: int, part: Partition, embedding: Embedding) -> Iterator[slice]:
    """Slices of n images whose temporaries take about BATCH_BYTES each."""
    size = max(1, BATCH_BYTES // (8 * part.P * (3 * part.P + 5 * embedding.d)))
    for start in range(0, n, size):
        yield slice(start, start + size)


def attend(
    left: np.ndarray, part: Partition, embedding: Embedding, cluster: np.ndarray, z: np.ndarray, masked: np.ndarray
) -> Attended:
    """Attention of every patch of the images given by cluster (n,), z (n, N_max), masked (n, P).

    left (P, d) = queries^T Q: the score of query p and a key is left[p] . key."""
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
    """dL / dleft (P, d) of these images, given dL / doutput (n, P, d).

    dL/ds_pq = attn_pq (doutput_p . value_q - doutput_p . output_p), and the score is left_p . key_q."""
    dscore = np.empty_like(seen.attn)
    np.matmul(doutput, seen.values.transpose(0, 2, 1), out=dscore.transpose(1, 0, 2))
    dscore -= np.einsum("ipd,ipd->pi", doutput, seen.output)[..., None]
    dscore *= seen.attn
    return dscore.reshape(len(dscore), -1) @ seen.keys.reshape(-1, seen.keys.shape[2])


class AreaAttention:
    """Mean attention of every query on the unmasked patches of each area, over the images of its cluster."""

    def __init__(self, part: Partition) -> None:
        self.part = part
        self.seen, self.count = np.zeros((part.P, part.F)), np.zeros((part.K, part.P))

    def add(self, attn: np.ndarray, cluster: np.ndarray, masked: np.ndarray, weight: np.ndarray) -> None:
        """Add a batch: attn (P, n, P), cluster (n,), masked (n, P), weight (n, P) of each query in each image."""
        part, by_image = self.part, attn.transpose(1, 0, 2)
        for k in np.unique(cluster):
            of = cluster == k
            area = np.eye(part.N[k])[part.labels[k]]  # (P, N_k): which area a patch lies in
            paid = np.einsum("ipq,iq,ip->pq", by_image[of], ~masked[of], weight[of])
            self.seen[:, part.offset[k] : part.offset[k + 1]] += paid @ area
            self.count[k] += weight[of].sum(axis=0)

    def mean(self) -> np.ndarray:
        """(P, F); NaN where no image of that cluster asks that query."""
        share = np.repeat(self.count, self.part.N, axis=0).T
        return np.divide(self.seen, share, out=np.full_like(self.seen, np.nan), where=share > 0)
