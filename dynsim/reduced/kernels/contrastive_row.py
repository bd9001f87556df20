"""Kernel of the contrastive loss where all queries have the same correlations: one row (docs/contrastive.md, eq. D1-D3).

Pooled attention is then the attention of any query, and a step takes n P additions a view. Phases and tasks as in contrastive.py.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import LOG2E, POWER_LEAST, POWER_MOST, exp, power
from dynsim.reduced.kernels.pair_loss import (
    CONTRAST,
    CONTRAST_AND_BACK,
    CONTRAST_SECOND,
    POOL,
    contrast_columns,
    contrast_rows,
    pair_buffers,
)
from dynsim.reduced.kernels.reconstruction import SWAMPED
from dynsim.reduced.kernels.simd import (
    WIDTH,
    broadcast,
    clamp,
    element,
    fetch_add,
    load_at,
    new_table,
    store_at,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, current_turn, next_block


@njit(cache=True, nogil=True, error_model="numpy")
def row_blocks(counters, spins, phases, tasks, y, F, views, areas, tables, pooled, pairs, contrast, parts):
    """Phases of a step where all queries have the same correlations: the tasks that this thread claims.

    y (F + P,): features, then keys. phases, views, pooled, pairs, contrast as in contrastive.full_blocks, areas too, with the
    segment of every key in addition (loops over all keys in a row have no branch to mispredict at the end of an area).
    tables: E (P,) exp(Upsilon), shifted by the largest; of every segment, A area attention and w_Z = w_m / Z; of every view,
    1 / Z, or minus it where shown keys at weight one would have swamped Z. parts (tasks, ..), in whole vectors, for row_gather:
    of each task, -dL/dPhi, -dL/dUpsilon / E without what is common to all keys, and that.
    """
    P = len(y) - F
    masked, differentiated, _, largest = views
    seg_ptr = areas[0]
    half = masked.shape[0] // 2
    longest = 0
    for task in range(tasks):
        i0, i1 = half * task // tasks, half * (task + 1) // tasks
        longest = max(longest, seg_ptr[i1] - seg_ptr[i0], seg_ptr[half + i1] - seg_ptr[half + i0])
    E, phi = new_table(-(-P // WIDTH)).reshape(-1), new_table(-(-F // WIDTH)).reshape(-1)
    w = new_table(-(-longest // WIDTH) + 1).reshape(-1)
    buffers = pair_buffers(pairs, contrast)

    total, ready = 0.0, 0  # sum of E, and the run that it and E and phi belong to
    run = current_run(counters)
    while True:
        run, task = next_block(counters, run, tasks, spins)
        if run == LAST_RUN:
            return
        what = phases[current_turn(counters, run)]
        i0, i1 = half * task // tasks, half * (task + 1) // tasks
        if what == POOL:
            if run != ready:
                total = row_exponentials(y, F, largest, E, phi)
                ready = run
            for i in (i0, half + i0):  # both views of some pairs: `back` finds the first one in the cache
                row_pool(i, i + i1 - i0, P, masked, areas, total, E, phi, w, tables, pooled[0])
            if task == 0:
                for q in range(P):
                    tables[0][q] = E[q]
        elif what == CONTRAST:
            contrast_rows(i0, i1, pooled, pairs, contrast, buffers)
        elif what == CONTRAST_SECOND:
            contrast_columns(task, tasks, pooled, pairs, contrast)
        else:
            i0, i1 = differentiated * task // tasks, differentiated * (task + 1) // tasks
            if what == CONTRAST_AND_BACK:  # the loss of a pair is all that the gradient in its first view wants
                contrast_rows(i0, i1, pooled, pairs, contrast, buffers)
            row_back(i0, i1, P, F, masked, areas, tables, pooled[1], parts[task])
        fetch_add(counters, DONE)


@njit(nogil=True, error_model="numpy")
def row_exponentials(y, F, largest, E, phi):
    """E = exp(Upsilon), shifted by the largest, and Phi / ln 2; the sum of E."""
    P = len(y) - F
    zero = broadcast(0.0)
    top = y[F]
    for q in range(P):
        top = max(top, y[F + q])
        E[q] = y[F + q]
    for q in range(P, len(E)):
        E[q] = top
    for f in range(len(phi)):
        phi[f] = y[f] if f < F else 0.0
    for f in range(0, F, WIDTH):
        store_at(phi, f, clamp(load_at(phi, f, zero) * LOG2E, POWER_LEAST / largest, POWER_MOST / largest))
    for q in range(0, P, WIDTH):
        store_at(E, q, exp(load_at(E, q, zero) - top))
    total = 0.0
    for q in range(P):
        total += E[q]
    return total


@njit(nogil=True, error_model="numpy")
def row_pool(i0, i1, P, masked, areas, total, E, phi, w, tables, f):
    """Area attention and f of views i0..i1, and what `row_back` wants of them."""
    seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys, key_seg = areas
    _, A, w_Z, inverse_Z = tables
    zero = broadcast(0.0)
    first = seg_ptr[i0]
    count = seg_ptr[i1] - first
    for s in range(count):
        w[s] = seg_z[first + s] * phi[seg_f[first + s]]
    for s in range(0, count, WIDTH):
        store_at(w, s, power(1.0, load_at(w, s, zero)))
    last = -1
    S_m = 0.0
    for j in range(key_ptr[first], key_ptr[first + count]):
        s = np.int64(element(key_seg, j))  # type: ignore[assignment]
        e = element(E, element(keys, j))
        S_m = e + (S_m if s == last else 0.0)
        A[s] = S_m
        last = s
    for i in range(i0, i1):
        Z = total
        for s in range(seg_ptr[i], seg_ptr[i + 1]):
            S_m = A[s]
            w_m = w[s - first]
            Z += (w_m - 1.0) * S_m
            A[s] = w_m * S_m
        swamped = Z < SWAMPED * total
        if swamped:
            Z = 0.0
            for q in range(P):
                if masked[i, q]:
                    Z += E[q]
            for s in range(seg_ptr[i], seg_ptr[i + 1]):
                Z += A[s]
        inverse = 1.0 / Z
        inverse_Z[i] = -inverse if swamped else inverse
        for s in range(seg_ptr[i], seg_ptr[i + 1]):
            A[s] *= inverse
            w_Z[s] = w[s - first] * inverse
            f[seg_at[s]] = seg_z[s] * A[s]


@njit(nogil=True, error_model="numpy")
def row_back(i0, i1, P, F, masked, areas, tables, G, part):
    """-dL/dPhi and -dL/dUpsilon (eq. D3) of any query, from dL/df, of views i0..i1."""
    seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys, key_seg = areas
    _, A, w_Z, inverse_Z = tables
    scale = 1.0 / P
    part[:] = 0.0
    for i in range(i0, i1):
        gbar = 0.0
        for s in range(seg_ptr[i], seg_ptr[i + 1]):
            gbar += A[s] * (seg_z[s] * G[seg_at[s]] * scale)
        masked_gradient = gbar * abs(inverse_Z[i])
        common = masked_gradient
        if inverse_Z[i] < 0.0:
            common = 0.0
            for q in range(P):
                if masked[i, q]:
                    part[F + q] += masked_gradient
        part[F + P] += common
        for s in range(seg_ptr[i], seg_ptr[i + 1]):
            minus_g = gbar - seg_z[s] * G[seg_at[s]] * scale
            part[seg_f[s]] += seg_z[s] * A[s] * minus_g
            w_Z[s] = w_Z[s] * minus_g - common  # from here on what its keys get
    for j in range(key_ptr[seg_ptr[i0]], key_ptr[seg_ptr[i1]]):
        part[F + element(keys, j)] += element(w_Z, element(key_seg, j))


@njit(cache=True, nogil=True, error_model="numpy")
def row_gather(F, P, E, parts, dy):
    """dy, minus the gradient: the parts of all tasks added up in their order."""
    stride = parts.shape[1]
    common = 0.0
    for task in range(len(parts)):
        common += parts[task, F + P]
    for c0 in range(0, F + P, WIDTH):
        total = broadcast(0.0)
        for task in range(len(parts)):
            total = total + load_at(parts, task * stride + c0, total)
        store_at(parts, c0, total)
    for f in range(F):
        dy[f] = parts[0, f]
    for q in range(P):
        dy[F + q] = E[q] * (parts[0, F + q] + common)
