"""The exact field on given images (docs/model.md, eq. 5).

For one image (cluster k, amplitudes z, mask) and a masked query p whose own area is a, with A_m the area attention,

    g_m = z_m^2 (A_m - 1{m = a}),   gbar = sum_m A_m g_m,
    dPhi_{p,(k,m)}/dt = -z_m A_m (g_m - gbar),   dUpsilon_{p,q}/dt = -attn_{p,q} (1{q unmasked} g_{m(q)} - gbar),

averaged over images. No approximation: this is gradient descent on Q, written in the correlations. Other embeddings than
orthonormal ones change the metric (metric.py, eq. B10); features that are not orthonormal, or a mask token, the kernel too
(kernels/general.py, eq. B5-B8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dynsim.model.dataset import Dataset, sample
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced.explicit import PARTITION, VECTORS, ExplicitField, choose_partition, choose_vectors, part_of, vectors_of
from dynsim.reduced.field import Observation, Option, Recipe, prefixed, without_prefix

BATCH = 64  # images over which gradients of keys are gathered: the rows of their areas are then still in the second-level cache
LARGEST_EXPONENT = 300.0  # z Phi and Upsilon beyond this make a one-hot softmax: exp(2 x 300) P is still finite
SMALL = 2e5  # multiply-adds below which handing work to threads costs more than it saves


class EmpiricalField(ExplicitField):
    """Velocity of the correlations on the images `data` of partition `part`; exact.

    embedding: positions, features and mask token (None: orthonormal). hold: "fp" or "pp" keeps that correlation at zero
    (projected descent). `threads` changes the time a step takes, never the bits. `floor`: loss per masked patch that no
    attention can lower, None where features are not orthonormal or masked keys carry a token.

    Raises InputError where images, partition and embedding do not fit."""

    method = "samples"
    options = (Option("n", int, 256, "images", least=1), PARTITION, *VECTORS)

    def __init__(
        self,
        part: Partition,
        data: Dataset,
        threads: int | None = None,
        embedding: Embedding | None = None,
        hold: str | None = None,
    ) -> None:
        from dynsim.reduced.kernels import general, reconstruction
        from dynsim.reduced.kernels.simd import WIDTH
        from dynsim.reduced.kernels.threads import ThreadPool, thread_count

        data.check(part)
        self._place(part, embedding, hold)
        self.data = data
        orthonormal = embedding is None or embedding.has_orthonormal_features
        segments = _segments(part, data) if orthonormal else ()
        work = len(segments[-1]) * part.P if orthonormal else data.n * part.P**2
        threads = 1 if work < SMALL else thread_count(threads)
        self._masked_mean = data.masked_mean
        images = _padded(part.own.astype(float), WIDTH), _padded(data.masked.view(np.uint8), WIDTH), data.weight, data.cluster
        if orthonormal:
            floor = data.floor(part)
            self._pool = ThreadPool(reconstruction.division(part.P)[1], threads)
            self._kernel: Callable[..., Any] = reconstruction.empirical_blocks
            self._fixed: tuple = part.F, images, _padded(floor, WIDTH), segments, _visits(part, segments)
            self.floor = float(floor.sum()) / self._masked_mean
        else:
            self._pool = ThreadPool(-(-part.P // WIDTH), threads)
            self._kernel = general.general_blocks
            self._fixed = part.F, images, _slots(part, data, embedding)  # type: ignore[arg-type]  # not None here
        self.limit = LARGEST_EXPONENT / max(1.0, float(data.z.max()))
        self._seen = np.stack([data.weight[data.cluster == k] @ data.masked[data.cluster == k] for k in range(part.K)])
        self._loss = np.empty((1, part.P))
        self._no_attention = np.empty((0, 0))

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        n: int = 256,
        partition: str = "blocks",
        embedding: str = "orthonormal",
        d: int | None = None,
        hold: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> EmpiricalField:
        """n images of the problem; areas and images drawn from `seed`."""
        part = choose_partition(problem, partition, seed, n)
        return cls(part, sample(problem, part, n, seed=seed), threads, **choose_vectors(part, embedding, d, hold, seed))

    def masked_patches(self) -> float:
        """Mean over the images."""
        return self._masked_mean

    def recipe(self) -> Recipe:
        """Images, areas and vectors, written out."""
        plain, arrays = self._recipe()
        return plain, {**arrays, **prefixed(self.data.recipe(), "data")}

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> EmpiricalField:
        """The field of a recipe."""
        return cls(part_of(plain, arrays), Dataset(**without_prefix(arrays, "data")), **vectors_of(plain, arrays))

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y; dy is written to `out` (C-contiguous) where one is given."""
        dy = np.empty(y.shape) if out is None else out
        self._run(y, False, dy, self._no_attention)
        self.metric.apply(dy)
        return float(self._loss.sum()) / self._masked_mean, dy

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity and area attention in one pass."""
        dy = np.empty(y.shape) if out is None else out
        attention = np.empty((self.part.F, self.part.P))
        self._run(y, True, dy, attention)
        self.metric.apply(dy)
        seen = np.repeat(self._seen, self.part.N, axis=0)
        expected = np.divide(attention, seen, out=np.full_like(seen, np.nan), where=seen > 0).T
        return Observation(float(self._loss.sum()) / self._masked_mean, dy, expected)

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention (P, F) of a masked query, over the images of each cluster; NaN where there are none."""
        return EmpiricalField.observe(self, y).attention

    def describe(self) -> dict:
        """What this field is, as plain data."""
        sizes = {"n": self.data.n, "K": self.part.K, "P": self.part.P, "F": self.part.F}
        return {"method": self.method, **sizes, **self.metric.describe()}

    def _run(self, y: np.ndarray, wanted: bool, dy: np.ndarray, attention: np.ndarray) -> None:
        self._pool.run(self._kernel, np.ascontiguousarray(y, dtype=float), *self._fixed, wanted, dy, self._loss, attention)


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


def _padded(array: np.ndarray, width: int) -> np.ndarray:
    """(.., P) up to whole vectors of queries, zero beyond the last."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % width)])


def _slots(part: Partition, data: Dataset, embedding: Embedding) -> tuple:
    """What the general kernel wants: slot, offset, z, W, tau."""
    slot = np.where(data.masked, part.N[data.cluster, None], part.labels[data.cluster])
    W = np.zeros((part.F + 1, part.F + 1))
    content = embedding.content
    W[: content.shape[1], : content.shape[1]] = content.T @ content
    return slot, part.offset, np.ascontiguousarray(data.z), W, float(embedding.masked_value == "token")
