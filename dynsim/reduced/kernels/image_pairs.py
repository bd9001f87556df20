"""Kernels of the contrastive objective on any images (docs/images.md, eq. I3-I5): picture by picture, in their order.

queries (Q, d + P): Phi, then Upsilon, of the queries that differ. view: patches (m, P, d), image (n,) the picture of a row,
masked (n, P) uint8. Outputs and their gradients stand by view, pixel, picture, as pair_loss.py has them: pixel j of picture i at
start + j stride + i.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import exp
from dynsim.reduced.kernels.pair_loss import contrast_columns, contrast_rows, pair_buffers
from dynsim.reduced.kernels.quadrature import dot
from dynsim.reduced.kernels.simd import WIDTH, broadcast, load_at, load_head, new_table, store_at, total


@njit(cache=True, nogil=True, error_model="numpy")
def softmax(scores, count):
    """Softmax of the first `count` numbers of whole vectors, in place; zero beyond them."""
    largest = scores[0]
    for q in range(1, count):
        largest = max(largest, scores[q])
    zero = broadcast(0.0)
    everything = zero
    for q in range(0, count, WIDTH):
        e = exp(load_head(scores, q, count - q, zero, -np.inf) - largest)
        store_at(scores, q, e)
        if q + WIDTH > count:
            for k in range(count, q + WIDTH):
                scores[k] = 0.0
        everything = everything + load_at(scores, q, zero)
    inverse = 1.0 / total(everything)
    for q in range(0, count, WIDTH):
        store_at(scores, q, load_at(scores, q, zero) * inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def attend(query, X, masked, scores):
    """Attention of a query on every key of a picture."""
    P, d = X.shape
    for q in range(P):
        scores[q] = query[d + q]
        if not masked[q]:
            scores[q] += dot(query[:d], X[q])
    softmax(scores, P)


@njit(cache=True, nogil=True, error_model="numpy")
def pool(queries, view, outputs, start, stride, seen):
    """Pooled outputs of every picture, and attention (Q, P) summed over pictures."""
    patches, image, masked = view
    _, P, d = patches.shape
    scores = new_table(-(-P // WIDTH)).reshape(-1)
    mean, F = np.empty(P), np.empty(d)
    seen[:] = 0.0
    for i in range(image.size):
        X = patches[image[i]]
        mean[:] = 0.0
        for p in range(queries.shape[0]):
            attend(queries[p], X, masked[i], scores)
            for q in range(P):
                mean[q] += scores[q]
                seen[p, q] += scores[q]
        F[:] = 0.0
        for q in range(P):
            if not masked[i, q]:
                share = mean[q] / queries.shape[0]
                for j in range(d):
                    F[j] += share * X[q, j]
        for j in range(d):
            outputs[start + j * stride + i] = F[j]


@njit(cache=True, nogil=True, error_model="numpy")
def contrast(pooled, pairs, settings):
    """Loss of every pair and its gradient in the outputs, as in pair_loss.py."""
    contrast_rows(0, len(settings[1]), pooled, pairs, settings, pair_buffers(pairs, settings))
    if settings[5].size:
        contrast_columns(0, 1, pooled, pairs, settings)


@njit(cache=True, nogil=True, error_model="numpy")
def back(queries, view, slopes, start, stride, found):
    """Add minus the gradient by every query's correlations, (Q, d + P), from that by the outputs."""
    patches, image, masked = view
    _, P, d = patches.shape
    scores = new_table(-(-P // WIDTH)).reshape(-1)
    g, G = np.empty(P), np.empty(d)
    for i in range(image.size):
        X = patches[image[i]]
        for j in range(d):
            G[j] = slopes[start + j * stride + i]
        for q in range(P):
            g[q] = 0.0 if masked[i, q] else dot(X[q], G) / P
        for p in range(queries.shape[0]):
            attend(queries[p], X, masked[i], scores)
            mean = dot(scores[:P], g)
            for q in range(P):
                push = scores[q] * (mean - g[q])
                found[p, d + q] += push
                if not masked[i, q]:
                    for j in range(d):
                        found[p, j] += push * X[q, j]
