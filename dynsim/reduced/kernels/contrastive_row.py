"""Kernel of the contrastive loss where all queries have the same correlations: one row (docs/contrastive.md, eq. D1-D3).

Pooled attention is then the attention of any query, and a step takes n P additions a view. Phases and tasks as in contrastive.py.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import LOG2E, POWER_LEAST, POWER_MOST, exp, power
from dynsim.reduced.kernels.pair_loss import (
    BACK,
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
    borrowed,
    broadcast,
    clamp,
    element,
    fetch_add,
    load_at,
    load_head,
    maximum,
    new_table,
    store_at,
    total,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, current_turn, finished_turn, next_block


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of whole numbers in one: where each starts and the last one ends, then their elements.

    Every array costs a call of a compiled function some 60 ns, what is cut out of one there next to nothing."""
    ends = len(arrays) + 1 + np.cumsum([0, *map(len, arrays)])
    return np.concatenate([ends, *arrays]).astype(np.int64)


@njit(nogil=True, error_model="numpy")
def piece(integers, i):
    """Array i of those that were joined."""
    return integers[integers[i] : integers[i + 1]]


@njit(cache=True, nogil=True, error_model="numpy")
def row_blocks(
    counters, spins, tasks, y, F, masked, differentiated, largest, integers, keys, segments, inverse_Z, f, G, temperature, loss,
    weights, parts, dy, mean_loss,
):
    """Phases of a step where all queries have the same correlations: the tasks that this thread claims.

    y (F + P,): features, then keys. masked (2 n, P) uint8, how many views are differentiated, largest amplitude: as in
    contrastive.full_blocks. integers: joined; phases, then seg_ptr, seg_f, seg_at, key_ptr as there, then first, column, count,
    stride, base, N, away, ptr, chosen, row_at as in contrast_rows. keys (2, ..): of all segments, and the segment of each (loops
    over all keys in a row have no branch to mispredict at the end of an area). segments (3, ..), in whole vectors and one more:
    seg_z; written, A area attention and w_Z = w_m / Z. inverse_Z (2 n,), written: of every view 1 / Z, or minus it where shown
    keys at weight one would have swamped Z. f and G = dL/df (2 size,), temperature, loss, weights: as in contrast_rows. parts
    (tasks, ..), in whole vectors, for row_gather: of each task, -dL/dPhi, -dL/dUpsilon / E without what is common to all keys,
    and that. dy, like y, and mean_loss (1,): written after the last phase.

    No tuples, which numba looks through at every call.
    """
    y, masked, integers, keys, segments, inverse_Z = borrowed((y, masked, integers, keys, segments, inverse_Z))
    f, G, loss, weights, parts, dy = borrowed((f, G, loss, weights, parts, dy))
    P = len(y) - F
    phases, seg_ptr = piece(integers, 0), piece(integers, 1)
    areas = seg_ptr, piece(integers, 2), segments[0], piece(integers, 3), piece(integers, 4), keys[0], keys[1]
    pairs = (
        piece(integers, 5), piece(integers, 6), piece(integers, 7), piece(integers, 8), piece(integers, 9), piece(integers, 10),
        len(f) // 2,
    )
    contrast = temperature, loss, piece(integers, 11), piece(integers, 12), piece(integers, 13), weights, piece(integers, 14)
    tables = segments[1], segments[2], inverse_Z
    from_pool = f, G, f
    half = masked.shape[0] // 2
    longest = 0
    for task in range(tasks):
        i0, i1 = half * task // tasks, half * (task + 1) // tasks
        longest = max(longest, seg_ptr[i1] - seg_ptr[i0], seg_ptr[half + i1] - seg_ptr[half + i0])
    E, phi = new_table(-(-P // WIDTH)).reshape(-1), new_table(-(-F // WIDTH)).reshape(-1)
    w = new_table(-(-longest // WIDTH) + 1).reshape(-1)
    buffers = pair_buffers(pairs, contrast)

    sum_E, ready = 0.0, 0  # sum of E, and the run that it and E and phi belong to
    run = current_run(counters)
    while True:
        run, task = next_block(counters, run, tasks, spins)
        if run == LAST_RUN:
            break
        what = phases[current_turn(counters, run)]
        i0, i1 = half * task // tasks, half * (task + 1) // tasks
        if what == POOL:
            if run != ready:
                sum_E = row_exponentials(y, F, largest, E, phi)
                ready = run
            for i in (i0, half + i0):  # both views of some pairs: `back` finds the first one in the cache
                row_pool(i, i + i1 - i0, P, masked, areas, sum_E, E, phi, w, tables, f)
        elif what == CONTRAST:
            contrast_rows(i0, i1, from_pool, pairs, contrast, buffers)
        elif what == CONTRAST_SECOND:
            contrast_columns(task, tasks, from_pool, pairs, contrast)
        else:
            i0, i1 = differentiated * task // tasks, differentiated * (task + 1) // tasks
            if what == CONTRAST_AND_BACK:  # the loss of a pair is all that the gradient in its first view wants
                contrast_rows(i0, i1, from_pool, pairs, contrast, buffers)
            row_back(i0, i1, P, F, masked, areas, tables, G, parts[task])
        fetch_add(counters, DONE)
    last = finished_turn(counters, spins)
    if last >= 0 and phases[last] in (BACK, CONTRAST_AND_BACK):
        if not ready:
            row_exponentials(y, F, largest, E, phi)
        row_gather(F, P, E, parts, dy)
        mean_loss[0] = sum_of(loss) / half


@njit(nogil=True, error_model="numpy")
def row_exponentials(y, F, largest, E, phi):
    """E = exp(Upsilon), shifted by the largest, and Phi / ln 2; the sum of E."""
    P = len(y) - F
    zero = broadcast(0.0)
    tops = zero + y[F]
    for q in range(0, P, WIDTH):
        tops = maximum(load_head(y, F + q, P - q, zero, y[F]), tops)
    store_at(E, 0, tops)
    top = E[0]
    for v in range(1, WIDTH):
        top = max(top, E[v])
    for q in range(0, P, WIDTH):
        store_at(E, q, exp(load_head(y, F + q, P - q, zero, top) - top))
    for f in range(0, F, WIDTH):
        store_at(phi, f, clamp(load_head(y, f, F - f, zero, 0.0) * LOG2E, POWER_LEAST / largest, POWER_MOST / largest))
    return sum_of(E[:P])


@njit(nogil=True, error_model="numpy")
def row_pool(i0, i1, P, masked, areas, sum_E, E, phi, w, tables, f):
    """Area attention and f of views i0..i1, and what `row_back` wants of them."""
    seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys, key_seg = areas
    A, w_Z, inverse_Z = tables
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
        Z = sum_E
        for s in range(seg_ptr[i], seg_ptr[i + 1]):
            S_m = A[s]
            w_m = w[s - first]
            Z += (w_m - 1.0) * S_m
            A[s] = w_m * S_m
        swamped = Z < SWAMPED * sum_E
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
    A, w_Z, inverse_Z = tables
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


@njit(nogil=True, error_model="numpy")
def row_gather(F, P, E, parts, dy):
    """dy, minus the gradient: the parts of all tasks added up in their order."""
    zero = broadcast(0.0)
    stride = parts.shape[1]
    for c0 in range(0, F + P + 1, WIDTH):
        added = zero
        for task in range(len(parts)):
            added = added + load_at(parts, task * stride + c0, zero)
        store_at(parts, c0, added)
    common = parts[0, F + P]
    for f in range(F):
        dy[f] = parts[0, f]
    for q in range(P):
        dy[F + q] = E[q] * (parts[0, F + q] + common)


@njit(nogil=True, error_model="numpy")
def sum_of(x):
    """Sum of the elements of an array: every WIDTH-th one, those sums, and the rest."""
    zero = broadcast(0.0)
    sums = zero
    rest = len(x) // WIDTH * WIDTH
    for i in range(0, rest, WIDTH):
        sums = sums + load_at(x, i, zero)
    found = total(sums)
    for i in range(rest, len(x)):
        found += x[i]
    return found
