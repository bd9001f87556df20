"""The exact field on given images (docs/model.md, eq. 5).

For one image (cluster k, amplitudes z, mask) and a masked query p whose own area is a, with A_m the area attention,

    g_m = z_m^2 (A_m - 1{m = a}),   gbar = sum_m A_m g_m,
    dPhi_{p,(k,m)}/dt = -z_m A_m (g_m - gbar),   dUpsilon_{p,q}/dt = -attn_{p,q} (1{q unmasked} g_{m(q)} - gbar),

averaged over images. No approximation: this is gradient descent on Q, written in the correlations.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dynsim.reduced import _kernels

LARGEST_EXPONENT = 300.0  # z Phi and Upsilon beyond this make a one-hot softmax: exp(2 x 300) P is still finite
SMALL = 2e5  # multiply-adds below which handing work to threads costs more than it saves


def thread_count(threads=None):
    """Threads to use: as asked, else NUMBA_NUM_THREADS, else one per available core."""
    if threads is not None:
        return max(1, int(threads))
    fallback = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(os.environ.get("NUMBA_NUM_THREADS", fallback or 1)))


class EmpiricalField:
    """Velocity of the correlations on the images `data` of partition `part`; exact.

    The state is one array (F + P, P): Phi transposed above Upsilon transposed, queries on the contiguous axis. `threads`
    changes the time a step takes, never the bits.
    """

    deterministic = True

    def __init__(self, part, data, threads=None):
        data.check(part)
        self.part, self.data = part, data
        blocks = -(-part.P // _kernels.LANES)
        lanes = -(-part.P // (4 * blocks)) * 4
        pad = ((0, 0), (0, blocks * lanes - part.P))
        unmasked = ~data.masked
        # segments: the areas that show a patch, image by image, and their unmasked keys (sorted by area)
        image, key = np.nonzero(unmasked)
        feature = part.own[data.cluster[image], key]
        order = np.lexsort((key, feature, image))
        image, key, feature = image[order], key[order], feature[order]
        starts = np.flatnonzero(np.r_[True, (np.diff(image) != 0) | (np.diff(feature) != 0)])
        seg_image, seg_f = image[starts], feature[starts]
        seg_z = data.z[seg_image, seg_f - part.offset[data.cluster[seg_image]]]
        seg_ptr = np.searchsorted(seg_image, np.arange(data.n + 1))
        # the part of the loss that no attention can lower: own area all masked (eq. 6, on these images)
        floor = np.zeros(blocks * lanes)
        shown = np.zeros((data.n, part.F), dtype=bool)
        shown[seg_image, seg_f] = True
        rows = np.arange(data.n)[:, None]
        own = part.own[data.cluster]
        z_own = data.z[rows, part.labels[data.cluster]]
        lost = data.masked & ~shown[rows, own]
        floor[: part.P] = data.weight @ (0.5 * lost * z_own**2)
        self.floor = float(floor.sum()) / data.masked_mean
        self._fixed = (
            part.F,
            np.pad(part.own, pad, constant_values=-1),
            np.pad(data.masked.view(np.uint8), pad),
            data.weight,
            data.cluster,
            seg_ptr,
            seg_f,
            np.ascontiguousarray(seg_z),
            np.r_[starts, len(key)],
            key.astype(np.uint32),
            floor,
            lanes,
        )
        self.limit = LARGEST_EXPONENT / max(1.0, float(seg_z.max()))
        self._seen = np.stack([data.weight[data.cluster == k] @ data.masked[data.cluster == k] for k in range(part.K)])
        work = len(key) * part.P
        self._ranges = _split(blocks, 1 if work < SMALL else min(thread_count(threads), blocks))
        self._pool = ThreadPoolExecutor(len(self._ranges)) if len(self._ranges) > 1 else None
        self._loss = np.empty(part.P)
        self._no_attention = np.empty((0, 0))

    def start(self):
        """The state at Q = 0: all correlations zero."""
        return np.zeros((self.part.F + self.part.P, self.part.P))

    def velocity(self, y, step=0, out=None):
        """(loss per masked patch, dy/dt) at state y; dy is written to `out` where one is given."""
        dy = np.empty_like(y) if out is None else out
        self._run(y, False, dy, self._no_attention)
        return float(self._loss.sum()) / self.data.masked_mean, dy

    def attention(self, y):
        """Expected area attention (P, F) of a masked query, over the images of each cluster; NaN where there are none."""
        attention = np.empty((self.part.F, self.part.P))
        self._run(y, True, np.empty_like(y), attention)
        seen = np.repeat(self._seen, self.part.N, axis=0)
        return np.divide(attention, seen, out=np.full_like(seen, np.nan), where=seen > 0).T

    def correlations(self, y):
        """FP (P, F) and PP (P, P) correlations of state y, copied."""
        return y[: self.part.F].T.copy(), y[self.part.F :].T.copy()

    def describe(self):
        """What this field is, as plain data."""
        return {"method": "samples", "n": self.data.n, "K": self.part.K, "P": self.part.P, "F": self.part.F}

    def _run(self, y, wanted, dy, attention):
        args = (y, *self._fixed, wanted, dy, self._loss, attention)
        if self._pool is None:
            _kernels.empirical_blocks(*self._ranges[0], *args)
        else:
            for done in [self._pool.submit(_kernels.empirical_blocks, *r, *args) for r in self._ranges]:
                done.result()


def _split(blocks, parts):
    """Contiguous ranges of blocks, one per thread."""
    edges = np.linspace(0, blocks, parts + 1).round().astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
