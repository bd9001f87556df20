"""One evaluation of the contrastive loss on given pairs: the arrays that the kernels want, and the order of their phases."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsim.model import memory
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import Pairs
from dynsim.model.partition import Partition
from dynsim.reduced.kernels import contrastive, contrastive_row, pair_loss
from dynsim.reduced.kernels.reconstruction import division
from dynsim.reduced.kernels.segments import load_images
from dynsim.reduced.kernels.simd import WIDTH, whole_vectors
from dynsim.reduced.kernels.threads import ThreadPool

BATCH = 64  # views over which gradients of keys are gathered, as in the reconstruction kernel
CHUNK = 16  # most pairs whose area attention is summed over queries at a time: it then stays in the second-level cache
IN_TASK, LEAST_TASKS = 32, 8  # where the state is one row: pairs in a task, as long as there are no fewer tasks
TASKS = 16  # a phase is cut into at least so many tasks; a constant, since bits depend on it
ALWAYS_FREE = 1e8  # bytes


def tasks(P: int) -> int:
    """Return how many tasks a phase is cut into.

    Parameters
    ----------
    P : int
        Patches.

    Returns
    -------
    int
        At least TASKS.

    Examples
    --------
    >>> from dynsim.reduced.pair_steps import tasks
    >>> tasks(64)
    16
    """
    return max(TASKS, division(P)[1])


def row_tasks(n: int) -> int:
    """Return how many tasks a phase is cut into where the state is one row, each of some 5 us or more.

    Parameters
    ----------
    n : int
        Pairs.

    Returns
    -------
    int
        From LEAST_TASKS to TASKS.

    Examples
    --------
    >>> from dynsim.reduced.pair_steps import row_tasks
    >>> row_tasks(10), row_tasks(256), row_tasks(4096)
    (8, 8, 16)
    """
    return max(LEAST_TASKS, min(TASKS, n // IN_TASK))


class PairStep:
    """Loss, gradient and attention of given pairs; a subclass for each shape of the state.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    pairs : Pairs
        Images under two masks.
    temperature : float
        The tau of the softmax over pairs.
    stop_gradient : bool
        Whether the second view is a constant in the gradient.
    embedding : Embedding or None
        Positions and features; orthonormal where None.
    negatives : ndarray of int, shape (n, M), or None
        Other images that each pair is compared with; all where None.
    pool : ThreadPool
        A pool of ``tasks(P)`` blocks, for one row of ``row_tasks(n)``.

    Examples
    --------
    >>> from dynsim.reduced.pair_steps import FullStep, PairStep, RowStep
    >>> issubclass(FullStep, PairStep) and issubclass(RowStep, PairStep)
    True
    """

    _before: tuple[int, ...]  # phases before the loss, and from there on
    _one_learns: tuple[int, ...]
    _both_learn: tuple[int, ...] = pair_loss.CONTRAST, pair_loss.CONTRAST_SECOND, pair_loss.BACK

    def __init__(
        self,
        part: Partition,
        pairs: Pairs,
        temperature: float,
        stop_gradient: bool,
        embedding: Embedding | None,
        negatives: np.ndarray | None,
        pool: ThreadPool,
    ) -> None:
        self.part, self.pool, self.stop_gradient, self.n = part, pool, stop_gradient, pairs.n
        order = np.argsort(pairs.cluster, kind="stable")
        cluster, z = pairs.cluster[order], pairs.z[order]
        masked = np.concatenate([view[order] for view in pairs.views])
        self._count = np.bincount(cluster, minlength=part.K)
        features = None if embedding is None or embedding.has_orthonormal_features else embedding.V
        self._W = None if features is None else features.T @ features
        self._pairs = self._tables(self._W is None)
        *_, size = self._pairs
        self._f, self._dfs = np.zeros(2 * size), np.zeros(2 * size)
        self._columns = self._f if self._W is None else np.zeros(2 * size)
        self._loss = np.empty(self.n)
        contrast = self._comparisons(cluster, order, negatives, self._W is None)
        self._contrast = float(temperature), self._loss, *contrast
        self._images = np.tile(cluster, 2), np.tile(z, (2, 1)), masked.view(np.uint8)
        shown, self._gathers = _lists(part, *self._images)
        seg_ptr, seg_f, seg_z, key_ptr, keys = shown
        view, pair = np.divmod(np.repeat(np.arange(2 * self.n), np.diff(seg_ptr)), self.n)
        k = cluster[pair]
        _, column, _, stride, base, _, _ = self._pairs
        seg_at = view * size + base[k] + (seg_f - part.offset[k]) * stride[k] + pair - column[k]
        pad = np.zeros(WIDTH)
        self._areas = seg_ptr, seg_f, np.r_[seg_z, pad], seg_at, key_ptr, keys
        self._shown = shown
        self._seg_k = k
        self._differentiated = self.n if stop_gradient else 2 * self.n
        chunk = min(max(self.n // TASKS, 1), CHUNK)
        largest = max(float(seg_z.max()), 1e-300)
        self._views = masked.view(np.uint8), self._differentiated, chunk, largest
        self._phases = np.array([*self._before, *(self._one_learns if stop_gradient else self._both_learn), pair_loss.ATTEND])
        self._to_pool = range(len(self._before))
        self._from_pool = range(0 if self._W is None else len(self._before), len(self._phases) - 1)

    def _tables(self, orthonormal: bool) -> tuple:
        """Where each cluster's pairs stand: first, column, count, stride, base, N, size."""
        part, n, count = self.part, self.n, self._count
        first = np.r_[0, np.cumsum(count)]
        if orthonormal:
            stride = _odd_stride(count)
            base = np.r_[0, np.cumsum(part.N * stride)]
            return first, first[:-1].copy(), count, stride, base[:-1].copy(), part.N, int(base[-1])
        stride = np.full(part.K, _odd_stride(np.array(n + WIDTH)))
        return first, np.zeros_like(count), np.full(part.K, n), stride, part.offset[:-1] * stride, part.N, int(part.F * stride[0])

    def _comparisons(
        self, cluster: np.ndarray, order: np.ndarray, negatives: np.ndarray | None, orthonormal: bool
    ) -> tuple[np.ndarray, ...]:
        """away, ptr, chosen, weights, row_at of the kernel."""
        _, column, count, stride, _, _, _ = self._pairs
        if negatives is None:
            away = (self.n - count)[cluster]
            ptr, chosen = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        else:
            rank = np.empty(self.n, dtype=np.int64)
            rank[order] = np.arange(self.n)
            compared = np.column_stack([np.arange(self.n), rank[negatives[order]]])
            near = (cluster[compared] == cluster[:, None]) | (not orthonormal)
            away = (~near).sum(axis=1)
            ptr = np.r_[0, np.cumsum(near.sum(axis=1))]
            chosen = (compared - column[cluster][:, None])[near]
        row_at = np.r_[0, np.cumsum(stride[cluster])]
        if self.stop_gradient:
            return away, ptr, chosen, np.empty(0), row_at[:-1]
        if 8 * row_at[-1] > ALWAYS_FREE:
            what = f"a gradient through both views of n={self.n} pairs"
            memory.check(8 * int(row_at[-1]), what, "take a smaller n, or stop_gradient=True")
        return away, ptr, chosen, np.zeros(row_at[-1]), row_at[:-1]

    def _mean_attention(self, total: np.ndarray) -> np.ndarray:
        """Attention (F, ..) summed over both views of all pairs, as the mean over those of each cluster."""
        seen = 2.0 * np.repeat(self._count, self.part.N).reshape(-1, *[1] * (total.ndim - 1))
        return np.divide(total, seen, out=np.full(total.shape, np.nan), where=seen > 0)


class FullStep(PairStep):
    """Evaluation on a state with a row of correlations for each query, (F + P, P).

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    *args : object
        Further arguments of PairStep.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.reduced.kernels.threads import ThreadPool
    >>> from dynsim.reduced.pair_steps import FullStep, tasks
    >>> problem = dynsim.Problem(K=2, gamma=0.5, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> pairs = dynsim.sample_pairs(problem, part, n=8)
    >>> step = FullStep(part, pairs, 0.5, True, None, None, ThreadPool(tasks(16), 1))
    >>> y = np.zeros((part.F + 16, 16))
    >>> 0 < step.velocity(y, np.empty_like(y)) < 0.5 * math.log(8), step.attention().shape
    (True, (16, 4))
    """

    _before, _one_learns = (pair_loss.EXPONENTIALS, pair_loss.POOL), (pair_loss.CONTRAST, pair_loss.BACK)

    def __init__(self, part: Partition, *args: Any) -> None:
        super().__init__(part, *args)
        P, F = part.P, part.F
        blocks = division(P)[1]
        self._tables_of_queries = _aligned(blocks, P), _aligned(blocks, F), _aligned(blocks, 1)
        if self.stop_gradient:
            self._gathers = _lists(part, *(column[: self.n] for column in self._images))[1]
        self._attention = np.empty((F, P))
        self._last: tuple = ()

    def velocity(self, y: np.ndarray, dy: np.ndarray) -> float:
        """Return the loss, and write minus its gradient.

        Parameters
        ----------
        y : ndarray of shape (F + P, P)
            State.
        dy : ndarray of shape (F + P, P)
            Minus the gradient; written.

        Returns
        -------
        float
            Loss (D2).
        """
        if not self._last or y is not self._last[3] or dy is not self._last[-2]:
            self._last = (
                contrastive.full_blocks, self._phases, self.pool.blocks, y, self.part.F, self._views, self._areas, self._gathers,
                self._tables_of_queries, (self._f, self._dfs, self._columns), self._pairs, self._contrast, dy, self._attention,
            )
        if self._W is not None:
            self.pool.run_job(self._last, self._to_pool)
            for columns, f in zip(self._columns.reshape(2, self.part.F, -1), self._f.reshape(2, self.part.F, -1), strict=True):
                np.matmul(self._W, f, out=columns)
        self.pool.run_job(self._last, self._from_pool)
        return float(np.add.reduce(self._loss)) / self.n

    def attention(self) -> np.ndarray:
        """Return the mean area attention (P, F) at the state of the last velocity."""
        last = len(self._phases) - 1
        self.pool.run_job(self._last, range(last, last + 1))
        return self._mean_attention(self._attention).T


class RowStep(PairStep):
    """Evaluation on a state with one row of correlations for all queries, (F + P,).

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    *args : object
        Further arguments of PairStep.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.reduced.kernels.threads import ThreadPool
    >>> from dynsim.reduced.pair_steps import RowStep, row_tasks
    >>> problem = dynsim.Problem(K=2, gamma=0.5, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> pairs = dynsim.sample_pairs(problem, part, n=8)
    >>> step = RowStep(part, pairs, 0.5, True, None, None, ThreadPool(row_tasks(8), 1))
    >>> y = np.zeros(part.F + 16)
    >>> 0 < step.velocity(y, np.empty_like(y)) < 0.5 * math.log(8)
    True
    """

    _before, _one_learns = (pair_loss.POOL,), (pair_loss.CONTRAST_AND_BACK,)

    def __init__(self, part: Partition, *args: Any) -> None:
        super().__init__(part, *args)
        seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys = self._areas
        temperature, loss, away, ptr, chosen, weights, row_at = self._contrast
        key_seg = np.repeat(np.arange(len(self._seg_k), dtype=np.uint32), np.diff(key_ptr))
        integers = self._phases, seg_ptr, seg_f, seg_at, key_ptr, *self._pairs[:-1], away, ptr, chosen, row_at
        self._segments = np.zeros((3, len(seg_z)))
        self._segments[0] = seg_z
        wide = whole_vectors(part.F + part.P + 1, WIDTH)
        masked, differentiated, _, largest = self._views
        self._given = masked, differentiated, largest, contrastive_row.joined(integers), np.stack([keys, key_seg]), self._segments
        parts = np.empty((self.pool.blocks, wide))
        self._written = np.empty(2 * self.n), self._f, self._dfs, temperature, loss, weights, parts
        self._found = np.empty(1)
        self._last: tuple = ()

    def velocity(self, y: np.ndarray, dy: np.ndarray) -> float:
        """Return the loss, and write minus its gradient in the correlations of any one query.

        Parameters
        ----------
        y : ndarray of shape (F + P,)
            State.
        dy : ndarray of shape (F + P,)
            Minus the gradient; written.

        Returns
        -------
        float
            Loss (D2).
        """
        if not self._last or y is not self._last[2] or dy is not self._last[-2]:
            self._last = (
                contrastive_row.row_blocks, self.pool.blocks, y, self.part.F, *self._given, *self._written, dy, self._found,
            )
        self.pool.run_job(self._last, self._from_pool)
        return float(self._found[0])

    def attention(self) -> np.ndarray:
        """Return the mean area attention (P, F) at the state of the last velocity: the same for every query."""
        total = np.bincount(self._shown[1], weights=self._segments[1, : len(self._seg_k)], minlength=self.part.F)
        return np.tile(self._mean_attention(total), (self.part.P, 1))


def _lists(part: Partition, cluster: np.ndarray, z: np.ndarray, masked: np.ndarray) -> tuple[tuple, tuple]:
    """(seg_ptr, seg_f, seg_z, key_ptr, keys) of images, and which segments every key is in, as kernels go through them."""
    n, P = masked.shape
    count = masked.size - int(np.count_nonzero(masked))
    areas = min(count, n * int(part.N.max()))
    seg_ptr, seg_f, key_ptr = (np.empty(size, dtype=np.int64) for size in (n + 1, areas, areas + 1))
    seg_z, keys, found = np.empty(areas), np.empty(count, dtype=np.uint32), np.empty(count, dtype=np.uint32)
    gathers = BATCH, np.empty(-(-n // BATCH) * P + 1, dtype=np.int64), found
    aside = np.empty((1, 1)), np.empty((n, P), dtype=np.uint8), np.empty(n), np.empty(n, dtype=np.int64)  # of no use here
    sums, current = (np.empty((part.K, P)), np.empty(2)), (np.empty(1, dtype=np.int64), np.empty(1))
    images, lists = (cluster, z, masked, np.ones(n)), (seg_ptr, seg_f, seg_z, key_ptr, keys)
    load_images((part.labels, part.offset), images, BATCH, aside, np.empty(P), lists, gathers, sums, current)
    s = seg_ptr[-1]
    return (seg_ptr, seg_f[:s], seg_z[:s], key_ptr[: s + 1], keys), gathers


def _odd_stride(count: np.ndarray) -> np.ndarray:
    """Room for so many numbers in an odd number of vectors: rows at strides of powers of two would share few sets of a cache."""
    return (-(-count // WIDTH) | 1) * WIDTH


def _aligned(blocks: int, rows: int) -> np.ndarray:
    """An array (blocks, rows, WIDTH), aligned to a cache line."""
    space = np.empty(blocks * rows * WIDTH + 8)
    skip = -(space.ctypes.data // 8) % 8
    return space[skip : skip + blocks * rows * WIDTH].reshape(blocks, rows, WIDTH)
