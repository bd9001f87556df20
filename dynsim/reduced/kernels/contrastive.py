"""Kernel of the contrastive loss where every query has correlations of its own (docs/contrastive.md, eq. D1-D3).

Every patch queries in both views. Pooled outputs couple all queries, so a step has phases, and threads wait for one another
between them: exponentials of the state; pooled attention of every view; the loss over pairs and its gradient (pair_loss.py); and
back to the correlations. Work is cut into tasks that depend on sizes only, and sums over tasks run in their order: the bits do
not depend on the number of threads.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import LOG2E, POWER_LEAST, POWER_MOST, exp, power
from dynsim.reduced.kernels.pair_loss import (
    BACK,
    CONTRAST,
    CONTRAST_SECOND,
    EXPONENTIALS,
    POOL,
    contrast_columns,
    contrast_rows,
    pair_buffers,
)
from dynsim.reduced.kernels.reconstruction import SWAMPED, division
from dynsim.reduced.kernels.simd import (
    WIDTH,
    any_less,
    borrowed,
    broadcast,
    broadcast_half,
    clamp,
    element,
    fetch_add,
    fma,
    load,
    load_at,
    load_columns,
    maximum,
    new_table,
    store,
    store_at,
    store_columns,
    width,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, current_turn, next_block


@njit(cache=True, nogil=True, error_model="numpy")
def full_blocks(counters, spins, phases, tasks, y, F, views, areas, gathers, tables, pooled, pairs, contrast, dy, attention):
    """Phases of a step where every query has correlations of its own: the tasks that this thread claims.

    phases: which comes in which turn. tasks: how many tasks a phase is cut into.
    y, dy (F + P, P): rows are features, then keys; columns are queries. dy: minus the gradient; attention (F, P): summed over
    views. views: masked (2 n, P) uint8, first view of all pairs, then second, pairs in order of their cluster; how many views
    are differentiated, n or 2 n; pairs in a chunk; largest amplitude.
    areas: seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys; view i has segments seg_ptr[i]..seg_ptr[i+1], one per area with an
    unmasked patch: feature seg_f, amplitude seg_z, place seg_at of its f and dL/df, keys key_ptr[s]..key_ptr[s+1].
    gathers: as in reconstruction.empirical_blocks, for the views that are differentiated.
    tables: E (blocks, P, WIDTH), phi (blocks, F, WIDTH), total (blocks, 1, WIDTH).
    pooled, pairs, contrast: as in contrast_rows.
    """
    P = y.shape[1]
    wides, blocks = division(P)
    masked, differentiated, chunk, largest = views
    seg_ptr = areas[0]
    batch = gathers[0]
    n = masked.shape[0] // 2
    longest, in_chunk, in_batch = 0, 0, 0
    for i in range(2 * n):
        longest = max(longest, seg_ptr[i + 1] - seg_ptr[i])
        in_chunk = max(in_chunk, seg_ptr[min(i + chunk, 2 * n)] - seg_ptr[i])
        in_batch = max(in_batch, seg_ptr[min(i + batch, 2 * n)] - seg_ptr[i])
    w, S = new_table(F), new_table(longest)
    acc = new_table(2 * in_chunk)
    gradients = new_table(P), new_table(F), new_table(in_batch)
    buffers = pair_buffers(pairs, contrast)
    shown = w, np.empty(F, dtype=np.int64), S, new_table(1)
    work = y, F, views, areas, gathers, tables, pooled, dy, attention, shown, gradients

    run = current_run(counters)
    while True:
        run, task = next_block(counters, run, tasks, spins)
        if run == LAST_RUN:
            return
        what = phases[current_turn(counters, run)]
        if what == POOL:
            for i0 in range(task * chunk, n, tasks * chunk):
                i1 = min(i0 + chunk, n)
                in_first = seg_ptr[i1] - seg_ptr[i0]
                for s in range(in_first + seg_ptr[n + i1] - seg_ptr[n + i0]):
                    store(acc, s, broadcast(0.0))
                for block in range(wides):
                    pool_block(broadcast(0.0), block, i0, i1, P, masked, areas, tables, acc, shown)
                if blocks > wides:
                    pool_block(broadcast_half(0.0), wides, i0, i1, P, masked, areas, tables, acc, shown)
                write_pooled(i0, i1, 1.0 / P, areas, acc, 0, pooled[0])
                write_pooled(n + i0, n + i1, 1.0 / P, areas, acc, in_first, pooled[0])
        elif what == CONTRAST:
            contrast_rows(n * task // tasks, n * (task + 1) // tasks, pooled, pairs, contrast, buffers)
        elif what == CONTRAST_SECOND:
            contrast_columns(task, tasks, pooled, pairs, contrast)
        elif task < wides:
            query_block(broadcast(0.0), what, task, *work)
        elif task < blocks:
            query_block(broadcast_half(0.0), what, task, *work)
        fetch_add(counters, DONE)


@njit(nogil=True, error_model="numpy")
def query_block(zero, what, block, y, F, views, areas, gathers, tables, pooled, dy, attention, shown, gradients):
    """A phase that is cut by queries: block `block` of them, as wide as `zero`."""
    y, views, areas, gathers, tables, pooled = borrowed((y, views, areas, gathers, tables, pooled))
    dy, attention, shown, gradients = borrowed((dy, attention, shown, gradients))
    P = y.shape[1]
    E, phi, total = tables[0][block], tables[1][block], tables[2][block]
    p0 = block * WIDTH
    if what == EXPONENTIALS:
        exponentials(p0, y, F, views[3], E, phi, total, shown[3], zero)
    elif what == BACK:
        back(p0, P, F, views, areas, gathers, E, phi, load(total, 0, zero), pooled, dy, shown, gradients, zero)
    else:
        attend(p0, P, F, views, areas, E, phi, load(total, 0, zero), attention, shown, gradients[1], zero)


@njit(nogil=True, error_model="numpy")
def exponentials(p0, y, F, largest, E, phi, total, spare, zero):
    """E = exp(Upsilon), shifted by the largest of each query, its sum over keys, and Phi / ln 2, for the queries from p0 on."""
    P = y.shape[1]
    for f in range(F):
        x = load_columns(y, f, p0, zero, spare) * LOG2E
        store(phi, f, clamp(x, POWER_LEAST / largest, POWER_MOST / largest))
    top = zero - np.inf
    for q in range(P):
        upsilon = load_columns(y, F + q, p0, zero, spare)
        top = maximum(upsilon, top)
        store(E, q, upsilon)
    sum_E = zero
    for q in range(P):
        e = exp(load(E, q, zero) - top)
        store(E, q, e)
        sum_E = sum_E + e
    store(total, 0, sum_E)


@njit(nogil=True, error_model="numpy")
def weigh(i, E, phi, total, seg_ptr, seg_f, seg_z, key_ptr, keys, w, pair_of_w, pair, S, zero):
    """w_m = exp(z_m Phi_m) and w_m S_m, S_m = sum over unmasked q of area m of E_q, of the areas of view i, stored; and
    Z = sum_m w_m S_m + sum over masked q of E_q, by subtraction from the sum over all keys.

    w_m is stored by feature, and that it is of this pair in pair_of_w: both views of an image have the same amplitudes.

    (Arrays come one by one, and `recount` is a function of its own: numba then needs no reference counts here.)"""
    s0, s1 = element(seg_ptr, i), element(seg_ptr, i + 1)
    Z = total
    for s in range(s0, s1):
        j0 = element(key_ptr, s)
        S_m = load(E, element(keys, j0), zero)
        for j in range(j0 + 1, element(key_ptr, s + 1)):
            S_m = S_m + load(E, element(keys, j), zero)
        f = element(seg_f, s)
        if element(pair_of_w, f) != pair:
            store(w, f, power(element(seg_z, s), load(phi, f, zero)))
            pair_of_w[f] = pair
        w_m = load(w, f, zero)
        Z = fma(w_m - 1.0, S_m, Z)
        store(S, s - s0, S_m * w_m)
    return Z


@njit(nogil=True, error_model="numpy")
def recount(i, E, masked, S, count, zero):
    """Z of view i, key by key: where shown keys at weight one would swamp what is left of them."""
    Z = zero
    for q in range(masked.shape[1]):
        if masked[i, q]:
            Z = Z + load(E, q, zero)
    for s in range(count):
        Z = Z + load(S, s, zero)
    return Z


@njit(nogil=True, error_model="numpy")
def pool_block(zero, block, i0, i1, P, masked, areas, tables, acc, shown):
    """Add the area attention of the queries of a block in pairs i0..i1 to `acc`, query by query: first views, then second."""
    masked, areas, tables, acc, shown = borrowed((masked, areas, tables, acc, shown))
    E, phi, total = tables[0][block], tables[1][block], load(tables[2][block], 0, zero)
    w, pair_of_w, S, spare = shown
    seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys = areas
    n = masked.shape[0] // 2
    in_first = element(seg_ptr, i1) - element(seg_ptr, i0)
    for v in range(width(zero)):
        spare[0, v] = 1.0 if block * WIDTH + v < P else 0.0
    counts = load(spare, 0, zero)  # zero for queries beyond the last
    pair_of_w[:] = -1
    for pair in range(i0, i1):
        for view in range(2):
            i = view * n + pair
            Z = weigh(i, E, phi, total, seg_ptr, seg_f, seg_z, key_ptr, keys, w, pair_of_w, pair, S, zero)
            if any_less(Z, SWAMPED * total):
                Z = recount(i, E, masked, S, element(seg_ptr, i + 1) - element(seg_ptr, i), zero)
            inverse = counts / Z
            s0 = element(seg_ptr, i)
            at = s0 - element(seg_ptr, view * n + i0) + view * in_first
            for s in range(element(seg_ptr, i + 1) - s0):
                place = (at + s) * WIDTH
                store_at(acc, place, fma(load(S, s, zero), inverse, load_at(acc, place, zero)))


@njit(nogil=True, error_model="numpy")
def write_pooled(i0, i1, scale, areas, acc, at, f):
    """f_m = z_m x mean over queries of A_m, of views i0..i1, whose sums stand in `acc` from row `at` on."""
    seg_ptr, _, seg_z, seg_at, _, _ = areas
    for s in range(seg_ptr[i0], seg_ptr[i1]):
        total = 0.0
        for v in range(WIDTH):
            total += acc[at + s - seg_ptr[i0], v]
        f[seg_at[s]] = seg_z[s] * scale * total


@njit(nogil=True, error_model="numpy")
def back(p0, P, F, views, areas, gathers, E, phi, total, pooled, dy, shown, gradients, zero):
    """-dL/dPhi and -dL/dUpsilon (eq. D3) of the queries from p0 on, from dL/df."""
    masked, differentiated, _, _ = views
    seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys = areas
    batch, visit_ptr, visits = gathers
    w, pair_of_w, S, spare = shown
    H, dphi, dkeys = gradients  # of keys / E, without what is common to all; of Phi; of keys by area, for a batch of views
    G = pooled[1]
    scale = 1.0 / P
    for f in range(F):
        store(dphi, f, zero)
    for q in range(P):
        store(H, q, zero)
    common = zero
    pair_of_w[:] = -1
    for b in range(0, differentiated, batch):
        first = seg_ptr[b]
        for i in range(b, min(b + batch, differentiated)):
            s0, s1 = element(seg_ptr, i), element(seg_ptr, i + 1)
            Z = weigh(i, E, phi, total, seg_ptr, seg_f, seg_z, key_ptr, keys, w, pair_of_w, i, S, zero)
            swamped = any_less(Z, SWAMPED * total)
            if swamped:
                Z = recount(i, E, masked, S, s1 - s0, zero)
            # ---- g_m = z_m dL/df_m / P, gbar = sum_m A_m g_m, over Z once more
            inverse = 1.0 / Z
            gbar = zero
            for s in range(s0, s1):
                g = element(seg_z, s) * element(G, element(seg_at, s)) * scale
                gbar = fma(g, load(S, s - s0, zero), gbar)
            gbar = gbar * inverse * inverse
            common_gradient = gbar  # of masked keys: added to all keys, and subtracted again from unmasked ones
            if swamped:
                common_gradient = zero
                for q in range(P):
                    if masked[i, q]:
                        store(H, q, load(H, q, zero) + gbar)
            common = common + common_gradient
            # ---- -dPhi_m = z_m A_m (gbar - g_m);  -dUpsilon_q = attn_q (gbar - 1{q in U} g_m(q))
            for s in range(s0, s1):
                z = element(seg_z, s)
                f = element(seg_f, s)
                g = z * element(G, element(seg_at, s)) * scale
                minus_g = fma(0.0 - g, inverse, gbar)
                store(dphi, f, fma(z * load(S, s - s0, zero), minus_g, load(dphi, f, zero)))
                store(dkeys, s - first, fma(load(w, f, zero), minus_g, 0.0 - common_gradient))
        # ---- gather the gradient of every key from the areas that show it in these views
        for q in range(P):
            v = b // batch * P + q
            h = load(H, q, zero)
            for j in range(element(visit_ptr, v), element(visit_ptr, v + 1)):
                h = h + load(dkeys, element(visits, j), zero)
            store(H, q, h)
    for f in range(F):
        store_columns(dy, f, p0, load(dphi, f, zero), spare)
    for q in range(P):
        store_columns(dy, F + q, p0, load(E, q, zero) * (load(H, q, zero) + common), spare)


@njit(nogil=True, error_model="numpy")
def attend(p0, P, F, views, areas, E, phi, total, attention, shown, seen, zero):
    """Area attention of the queries from p0 on, summed over all views."""
    masked = views[0]
    seg_ptr, seg_f, seg_z, seg_at, key_ptr, keys = areas
    w, pair_of_w, S, spare = shown
    for f in range(F):
        store(seen, f, zero)
    pair_of_w[:] = -1
    for i in range(masked.shape[0]):
        Z = weigh(i, E, phi, total, seg_ptr, seg_f, seg_z, key_ptr, keys, w, pair_of_w, i, S, zero)
        if any_less(Z, SWAMPED * total):
            Z = recount(i, E, masked, S, element(seg_ptr, i + 1) - element(seg_ptr, i), zero)
        inverse = 1.0 / Z
        s0 = element(seg_ptr, i)
        for s in range(s0, element(seg_ptr, i + 1)):
            f = element(seg_f, s)
            store(seen, f, fma(load(S, s - s0, zero), inverse, load(seen, f, zero)))
    for f in range(F):
        store_columns(attention, f, p0, load(seen, f, zero), spare)
