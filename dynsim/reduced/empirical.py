"""The exact field on given images (docs/model.md, eq. 5).

For one image (cluster k, amplitudes z, mask) and a masked query p whose own area is a, with A_m the area attention,

    g_m = z_m^2 (A_m - 1{m = a}),   gbar = sum_m A_m g_m,
    dPhi_{p,(k,m)}/dt = -z_m A_m (g_m - gbar),   dUpsilon_{p,q}/dt = -attn_{p,q} (1{q unmasked} g_{m(q)} - gbar),

averaged over images. No approximation: this is gradient descent on Q, written in the correlations. Other embeddings than
orthonormal ones change the metric (metric.py, eq. B10); features that are not orthonormal, or a mask token, the kernel too
(general.py, eq. B5-B8).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dynsim.model import memory
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.reduced.kernels import general, reconstruction
from dynsim.reduced.kernels.simd import WIDTH
from dynsim.reduced.kernels.threads import ThreadPool, thread_count
from dynsim.reduced.metric import Metric

BATCH = 64  # images over which what keys get is gathered: the rows of their areas are then still in the second-level cache
LARGEST_EXPONENT = 300.0  # z Phi and Upsilon beyond this make a one-hot softmax: exp(2 x 300) P is still finite
SMALL_TABLES = 1e8  # bytes that are always free
SMALL = 2e5  # multiply-adds below which handing work to threads costs more than it saves


class EmpiricalField:
    """Velocity of the correlations on the images `data` of partition `part`; exact.

    embedding: positions, features and mask token (None: orthonormal). hold: "fp" or "pp" keeps that correlation at zero
    (projected descent). The state is one array (F + P, P), with a mask token (F + 1 + P, P): Phi transposed above Upsilon
    transposed, queries on the contiguous axis. `threads` changes the time a step takes, never the bits. `floor`: loss per
    masked patch that no attention can lower, None where features are not orthonormal or masked keys carry a token.

    Raises InputError where images, partition and embedding do not fit."""

    deterministic = True

    def __init__(
        self,
        part: Partition,
        data: Dataset,
        threads: int | None = None,
        embedding: Embedding | None = None,
        hold: str | None = None,
    ) -> None:
        data.check(part)
        check_memory(part)
        self.part, self.data, self.embedding = part, data, embedding
        self.metric = Metric(part, embedding, hold)
        generic = embedding is not None and not embedding.has_orthonormal_features
        segments = () if generic else _segments(part, data)
        work = data.n * part.P**2 if generic else len(segments[-1]) * part.P
        threads = 1 if work < SMALL else thread_count(threads)
        self._masked_mean = data.masked_mean
        images = _padded(part.own.astype(float)), _padded(data.masked.view(np.uint8)), data.weight, data.cluster
        if generic:
            self._pool = ThreadPool(-(-part.P // WIDTH), threads)
            self._kernel: Callable[..., Any] = general.general_blocks
            self._fixed: tuple = part.F, images, _slots(part, data, embedding)  # type: ignore[arg-type]  # generic: not None
            self.floor: float | None = None
        else:
            floor = _floor(part, data)
            self._pool = ThreadPool(reconstruction.division(part.P)[1], threads)
            self._kernel = reconstruction.empirical_blocks
            self._fixed = part.F, images, _padded(floor), segments, _visits(part, segments)
            self.floor = float(floor.sum()) / self._masked_mean
        self.limit = LARGEST_EXPONENT / max(1.0, float(data.z.max()))
        self._seen = np.stack([data.weight[data.cluster == k] @ data.masked[data.cluster == k] for k in range(part.K)])
        self._loss = np.empty((1, part.P))
        self._no_attention = np.empty((0, 0))

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero."""
        return np.zeros((self.metric.content + self.part.P, self.part.P))

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y; dy is written to `out` (C-contiguous) where one is given."""
        dy = np.empty(y.shape) if out is None else out
        self._run(y, False, dy, self._no_attention)
        self.metric.apply(dy)
        return float(self._loss.sum()) / self._masked_mean, dy

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention (P, F) of a masked query, over the images of each cluster; NaN where there are none."""
        attention = np.empty((self.part.F, self.part.P))
        self._run(y, True, np.empty(y.shape), attention)
        seen = np.repeat(self._seen, self.part.N, axis=0)
        return np.divide(attention, seen, out=np.full_like(seen, np.nan), where=seen > 0).T

    def summary(self, y: np.ndarray) -> tuple[float, float]:
        """(loss, mean attention on the own area over queries and clusters in which it is local)."""
        return self.velocity(y)[0], local_own_mean(self.part, self.attention(y))

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (P, F), with a mask token (P, F + 1), and PP (P, P) correlations of state y, copied."""
        return y[: self.metric.content].T.copy(), y[self.metric.content :].T.copy()

    def describe(self) -> dict:
        """What this field is, as plain data."""
        sizes = {"n": self.data.n, "K": self.part.K, "P": self.part.P, "F": self.part.F}
        return {"method": "samples", **sizes, **self.metric.describe()}

    def _run(self, y: np.ndarray, wanted: bool, dy: np.ndarray, attention: np.ndarray) -> None:
        self._pool.run(self._kernel, np.ascontiguousarray(y, dtype=float), *self._fixed, wanted, dy, self._loss, attention)


def local_own_mean(part: Partition, attention: np.ndarray) -> float:
    """Mean of attention (P, F) on the own area, over the pairs of query and cluster where that is a local one (all pairs
    where none is); pairs that no image showed are left out."""
    own = np.take_along_axis(attention, part.own.T, axis=1)
    local = part.labels.T > 0
    return float(np.nanmean(own[local] if local.any() else own))


def _segments(part: Partition, data: Dataset) -> tuple[np.ndarray, ...]:
    """The areas that show a patch, image by image, and their unmasked keys: seg_ptr, seg_f, seg_z, key_ptr, keys."""
    image, key = np.nonzero(~data.masked)
    feature = part.own[data.cluster[image], key]
    order = np.sort((image * part.F + feature) * part.P + key)
    image, rest = np.divmod(order, part.F * part.P)
    feature, key = np.divmod(rest, part.P)
    starts = np.flatnonzero(np.r_[True, (np.diff(image) != 0) | (np.diff(feature) != 0)])
    seg_image, seg_f = image[starts], feature[starts]
    seg_z = data.z[seg_image, seg_f - part.offset[data.cluster[seg_image]]]
    seg_ptr = np.searchsorted(seg_image, np.arange(data.n + 1))
    return seg_ptr, seg_f, np.ascontiguousarray(seg_z), np.r_[starts, len(key)], key.astype(np.uint32)


def _visits(part: Partition, segments: tuple[np.ndarray, ...]) -> tuple[int, np.ndarray, np.ndarray]:
    """The segments that every key is in, batch of images by batch, counted from the first of the batch: images in a batch,
    visit_ptr, visits."""
    seg_ptr, seg_f, _, key_ptr, keys = segments
    first = np.r_[seg_ptr[:-1:BATCH], seg_ptr[-1]]
    segment = np.repeat(np.arange(len(seg_f)), np.diff(key_ptr))
    batch = np.searchsorted(first, segment, side="right") - 1
    cell, visits = np.divmod(np.sort((batch * part.P + keys) * len(keys) + segment - first[batch]), len(keys))
    visit_ptr = np.searchsorted(cell, np.arange((len(first) - 1) * part.P + 1))
    return BATCH, visit_ptr, visits.astype(np.uint32)


def _padded(array: np.ndarray) -> np.ndarray:
    """(.., P) up to whole blocks of queries, zero beyond the last."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % WIDTH)])


def _floor(part: Partition, data: Dataset) -> np.ndarray:
    """Loss of each query that no attention can lower: own area all masked (eq. 6, on these images), (P,)."""
    image, key = np.nonzero(~data.masked)
    shown = np.zeros((data.n, part.F), dtype=bool)
    shown[image, part.own[data.cluster[image], key]] = True
    own, label = part.own[data.cluster], part.labels[data.cluster]
    lost = data.masked & ~np.take_along_axis(shown, own, axis=1)
    return data.weight @ (0.5 * lost * np.take_along_axis(data.z, label, axis=1) ** 2)


def _slots(part: Partition, data: Dataset, embedding: Embedding) -> tuple:
    """What the general kernel wants: slot, offset, z, W, tau."""
    slot = np.where(data.masked, part.N[data.cluster, None], part.labels[data.cluster])
    W = np.zeros((part.F + 1, part.F + 1))
    content = embedding.content
    W[: content.shape[1], : content.shape[1]] = content.T @ content
    return slot, part.offset, np.ascontiguousarray(data.z), W, float(embedding.masked_value == "token")


def check_memory(part: Partition) -> None:
    """Raise InputError where the tables of a run on `part` cannot fit: the state, its velocity, two copies on the way."""
    need = 4 * 8 * (part.F + part.P) * part.P
    if need > SMALL_TABLES:
        what = f"a run on an explicit partition, with tables of {part.F + part.P} x {part.P} correlations,"
        memory.check(need, what, "take a smaller P, or reduced.OrbitField (--method orbit), which reaches any P")
