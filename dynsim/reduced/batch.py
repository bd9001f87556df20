"""Images as a kernel reads them, in memory that is kept from batch to batch.

A field on given images loads them once; one on other images at every step loads each batch into the same arrays, so that a step
costs little more than its kernel, and helper threads go from step to step without Python (kernels/threads.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.reduced.explicit import ExplicitField
from dynsim.reduced.field import Observation

BATCH = 64  # images over which gradients of keys are gathered: the rows of their areas are then still in the second-level cache
LARGEST_EXPONENT = 300.0  # z Phi and Upsilon beyond this make a one-hot softmax: exp(2 x 300) P is still finite
SMALL = 2e5  # multiply-adds below which handing work to threads costs more than it saves


class BatchField(ExplicitField):
    """What fields on images share: velocity, loss and attention on the images of a step.

    Derived classes call `_load` with the first images, and, where others come later, override `_at`.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.batch import BatchField
    >>> issubclass(dynsim.reduced.EmpiricalField, BatchField), issubclass(dynsim.reduced.MinibatchField, BatchField)
    (True, True)
    """

    def _load(self, data: Dataset, threads: int | None) -> None:
        """Take these images, and as many threads as they are worth."""
        from dynsim.reduced.kernels.threads import ThreadPool, thread_count

        self._batch = Batch(self.part, self.embedding)
        self._batch.load(data)
        self._pool = ThreadPool(self._batch.blocks, 1 if self._batch.work < SMALL else thread_count(threads))
        self._loss, self._no_attention = np.empty((1, self.part.P)), np.empty((0, 0))

    def _at(self, step: int) -> None:
        """Take the images of a step."""

    @property
    def limit(self) -> float:  # type: ignore[override]  # an attribute of Field
        """Largest correlation that the softmax takes, on the images of the last step."""
        return self._batch.limit

    @property
    def floor(self) -> float | None:  # type: ignore[override]  # an attribute of Field
        """Loss per masked patch that no attention can lower, on the images of the last step; None where it is not known."""
        return self._batch.floor

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y on the images of `step`; dy is written to `out` (C-contiguous)."""
        self._at(step)
        dy = np.empty(y.shape) if out is None else out
        return self._run(y, False, dy, self._no_attention), dy

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity and area attention on the images of `step`, in one pass."""
        self._at(step)
        return self._observed(y, out)

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention (P, F) of a masked query, over the images of the last step; NaN where there are none."""
        return self._observed(y, None).attention

    def curvature(self) -> float | None:
        """Upper bound of the curvature of the loss, on the images of step 0 (docs/model.md)."""
        self._at(0)
        data, part, hold = self._batch.data, self.part, self.metric.hold
        token = self.embedding is not None and self.embedding.mu is not None
        z = np.where(np.arange(data.z.shape[1]) < part.N[data.cluster, None], data.z, float(token)).max(axis=1)
        fourth, square = (np.zeros((part.K, part.P)) for _ in range(2))
        np.add.at(fourth, data.cluster, (data.weight * z**4)[:, None] * data.masked)
        np.add.at(square, data.cluster, (data.weight * z**2)[:, None] * data.masked)
        content = 0.0 if hold == "fp" else fourth.sum(axis=0) if token else fourth.max(axis=0)
        position = 0.0 if hold == "pp" else square.sum(axis=0)
        return self.metric.stretch() * 0.5 * float(np.max(content + position))

    def masked_patches(self) -> float:
        """Mean number over the images, those of the last step."""
        return self._batch.masked_mean

    def describe(self) -> dict:
        """What this field is, as plain data."""
        sizes = {"n": self._batch.data.n, "K": self.part.K, "P": self.part.P, "F": self.part.F}
        return {"method": self.method, **sizes, **self.metric.describe()}

    def _observed(self, y: np.ndarray, out: np.ndarray | None) -> Observation:
        dy = np.empty(y.shape) if out is None else out
        attention = np.empty((self.part.F, self.part.P))
        loss = self._run(y, True, dy, attention)
        seen = np.repeat(self._batch.seen, self.part.N, axis=0)
        return Observation(loss, dy, np.divide(attention, seen, out=np.full_like(seen, np.nan), where=seen > 0).T)

    def _run(self, y: np.ndarray, wanted: bool, dy: np.ndarray, attention: np.ndarray) -> float:
        """Fill dy, and attention (F, P) where wanted: the loss per masked patch."""
        y = np.ascontiguousarray(y, dtype=float)
        self._pool.run(self._batch.kernel, y, *self._batch.arguments, wanted, dy, self._loss, attention)
        self.metric.apply(dy)
        return float(self._loss.sum()) / self._batch.masked_mean


class Batch:
    """The images that a velocity is averaged over: `load(data)` replaces them.

    Parameters
    ----------
    part : Partition
        Where the areas lie.
    embedding : Embedding, optional
        The vectors behind the correlations; with features that are not orthonormal, or a mask token, the general kernel runs.

    Attributes
    ----------
    kernel : callable
        empirical_blocks or general_blocks, called with (y, *arguments, wanted, dy, loss, attention).
    arguments : tuple
        What the kernel takes; the same objects as long as images fit in the memory that there is.
    blocks : int
        Blocks of queries that threads share.
    data : Dataset
        The images.
    masked_mean : float
        Mean number of masked patches: what the loss is divided by.
    floor : float or None
        Loss per masked patch that no attention can lower; None where features are not orthonormal or masked keys carry a token.
    limit : float
        Largest correlation that the softmax takes.
    seen : (K, P) float
        Weight of the rows that mask a patch.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> part = dynsim.Partition.blocks(problem)
    >>> batch = dynsim.reduced.batch.Batch(part)
    >>> for seed in range(2):
    ...     batch.load(dynsim.sample(problem, part, n=8, seed=seed))
    >>> round(batch.masked_mean), batch.data.n
    (51, 8)
    """

    def __init__(self, part: Partition, embedding: Embedding | None = None) -> None:
        from dynsim.reduced.kernels import general, reconstruction, segments
        from dynsim.reduced.kernels.simd import WIDTH

        self.part, self._width = part, WIDTH
        self._load_images: Callable[..., Any] = segments.load_images
        self._embedding = None if embedding is None or embedding.has_orthonormal_features else embedding
        self.kernel: Callable[..., Any] = reconstruction.empirical_blocks if self._embedding is None else general.general_blocks
        self.blocks = reconstruction.division(part.P)[1] if self._embedding is None else -(-part.P // WIDTH)
        self.arguments: tuple = ()
        self.seen = np.empty((part.K, part.P))
        self._areas = part.labels, part.offset
        self._own = _padded(part.own.astype(float), WIDTH)
        self._longest = int(part.N.max())
        self._sums = self.seen, np.empty(2)
        self._current = np.zeros(1, dtype=np.int64), np.zeros(1)
        self._room = 0, 0  # rows and keys that the arrays have room for

    def load(self, data: Dataset) -> None:
        """Take these images.

        Parameters
        ----------
        data : Dataset
            The images.

        Raises
        ------
        InputError
            Where they do not fit the partition.
        """
        data.check(self.part)
        self.data = data
        if self._embedding is None:
            self._load(data)
        else:
            self._load_general(data, self._embedding)
        self.limit = LARGEST_EXPONENT / max(1.0, self._sums[1][1])

    @property
    def work(self) -> int:
        """About how many multiply-adds a step takes."""
        return self._keys * self.part.P

    def _load(self, data: Dataset) -> None:
        """For the kernel of orthonormal features: lists of areas and keys."""
        masked = np.ascontiguousarray(data.masked).view(np.uint8)
        self._keys = masked.size - int(np.count_nonzero(data.masked))
        if data.n > self._room[0] or self._keys > self._room[1]:
            self._make_room(data.n, self._keys)
        images = data.cluster, np.ascontiguousarray(data.z), masked, data.weight
        self._load_images(self._areas, images, BATCH, *self._lists, self._sums, self._current)
        self.masked_mean = float(self._sums[1][0])
        self.floor: float | None = float(self._lists[1].sum()) / self.masked_mean

    def _make_room(self, n: int, keys: int) -> None:
        P, batches = self.part.P, -(-n // BATCH)
        areas = min(keys, n * self._longest)
        whole = np.int64
        images = self._own, np.zeros((n, self._own.shape[1]), dtype=np.uint8), np.empty(n), np.empty(n, dtype=whole)
        seg_ptr, seg_f, key_ptr = (np.empty(size, dtype=whole) for size in (n + 1, areas, areas + 1))
        keys_, visits = np.empty(keys, dtype=np.uint32), np.empty(keys, dtype=np.uint32)
        lists = seg_ptr, seg_f, np.empty(areas), key_ptr, keys_
        gathers = BATCH, np.empty(batches * P + 1, dtype=whole), visits
        self._room = n, keys
        self._lists = images, np.empty(self._own.shape[1]), lists, gathers
        self.arguments = self.part.F, *self._lists, self._longest, self._current

    def _load_general(self, data: Dataset, embedding: Embedding) -> None:
        """For the kernel of any features: the slot of every key, and inner products."""
        part = self.part
        slot = np.where(data.masked, part.N[data.cluster, None], part.labels[data.cluster])
        W = np.zeros((part.F + 1, part.F + 1))
        content = embedding.content
        W[: content.shape[1], : content.shape[1]] = content.T @ content
        images = self._own, _padded(data.masked.view(np.uint8), self._width), data.weight, data.cluster
        slots = slot, part.offset, np.ascontiguousarray(data.z), W, float(embedding.masked_value == "token")
        self.arguments = part.F, images, slots
        for k in range(part.K):
            self.seen[k] = data.weight[data.cluster == k] @ data.masked[data.cluster == k]
        self._keys = data.masked.size
        self._sums[1][:] = data.masked_mean, data.z.max()
        self.masked_mean, self.floor = data.masked_mean, None


def _padded(array: np.ndarray, width: int) -> np.ndarray:
    """(.., P) up to whole vectors of queries, zero beyond the last."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % width)])
