"""The kernel of the exact field: numbers and contiguous arrays in, arrays out; no objects, strings or files.

It is written for one query p and runs on a vector of queries (simd.py). Blocks of queries are independent: threads claim them
one after another, and the bits do not depend on the number of threads.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import LOG2E, POWER_LEAST, POWER_MOST, exp, power
from dynsim.reduced.kernels.simd import (
    HALF_WIDTH,
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
    select_equal,
    store,
    store_columns,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, next_block

SWAMPED = 1e-2  # Z this far below all keys at weight one: subtracting them would cost two digits or more


@njit(cache=True, nogil=True)
def division(P):
    """(blocks of WIDTH, all blocks) for P queries; the last block is of HALF_WIDTH where that is enough."""
    wides = P // WIDTH + (P % WIDTH > HALF_WIDTH)
    return wides, wides + (P > wides * WIDTH)


@njit(cache=True, nogil=True, error_model="numpy")
def empirical_blocks(counters, spins, y, F, images, floor, areas, gathers, longest, current, wanted, dy, loss, attention):
    """Velocity, loss and area attention (eq. 5) over all images, of the query blocks that this thread claims.

    Parameters
    ----------
    counters, spins
        As in threads.ThreadPool.
    y : ndarray of shape (F + P, P)
        State: rows are features, then keys; columns are queries.
    F : int
        Features.
    images : tuple
        own (K, P') feature of each patch as a number; masked (n, P') uint8; weight, cluster (n,). P' >= P in whole blocks of
        WIDTH, zero beyond P.
    floor : ndarray of shape (P',)
        Loss where the own area is all masked.
    areas : tuple
        seg_ptr, seg_f, seg_z, key_ptr, keys; image i has segments seg_ptr[i]..seg_ptr[i+1], one per area with an unmasked
        patch: feature seg_f, amplitude seg_z, keys key_ptr[s]..key_ptr[s+1].
    gathers : tuple
        batch, visit_ptr, visits; of the images b batch, b batch + 1, .. up to the next batch, key q is in the segments
        visits[visit_ptr[b P + q]..visit_ptr[b P + q + 1]], counted from the first of them all.
    longest : int
        Most segments of an image.
    current : tuple of ndarray
        count (1,) of images, largest (1,) amplitude of a segment. Arrays may be longer than ``count`` images need; they, and
        ``current``, may be written anew from run to run.
    wanted : bool
        Whether to fill ``attention``.
    dy : ndarray of shape (F + P, P)
        Velocity; written.
    loss : ndarray of shape (1, P)
        Loss of each query; written.
    attention : ndarray of shape (F, P)
        Area attention, summed over images; written where wanted.
    """
    P = y.shape[1]
    wides, blocks = division(P)
    count, at_most = current
    in_batch = min(gathers[0], len(images[-1])) * longest
    E = new_table(P)  # exp(Upsilon), shifted by the largest of each query
    H = new_table(P)  # -dL/dUpsilon / E, without what is common to all keys
    phi, dphi, seen = new_table(F), new_table(F), new_table(F)  # Phi / ln 2, -dL/dPhi, area attention
    w, S = new_table(longest), new_table(longest)  # by area of an image: w_m, and w_m S_m
    dkeys = new_table(in_batch)  # minus gradient with respect to the keys of an area / E, for the areas of a batch of images
    tables = E, H, phi, dphi, seen, w, S, dkeys, new_table(1)

    run = current_run(counters)
    while True:
        run, block = next_block(counters, run, blocks, spins)
        if run == LAST_RUN:
            return
        work = y, F, count[0], images, floor, areas, gathers, tables, max(at_most[0], 1e-300), wanted, dy, loss, attention
        if block < wides:
            empirical_block(broadcast(0.0), block * WIDTH, *work)
        else:
            empirical_block(broadcast_half(0.0), block * WIDTH, *work)
        fetch_add(counters, DONE)


@njit(nogil=True, error_model="numpy")
def empirical_block(zero, p0, y, F, n, images, floor, areas, gathers, tables, largest, wanted, dy, loss, attention):
    """The same for a vector of queries from p0 on, as wide as ``zero``, over n images; largest: the largest amplitude."""
    y, images, floor, areas, gathers, tables, dy, loss, attention = borrowed(
        (y, images, floor, areas, gathers, tables, dy, loss, attention)
    )
    own, masked, weight, cluster = images
    seg_ptr, seg_f, seg_z, key_ptr, keys = areas
    batch, visit_ptr, visits = gathers
    E, H, phi, dphi, seen, w, S, dkeys, spare = tables
    P = y.shape[1]
    # ---- this block of the state; z Phi kept where `power` has a value
    for f in range(F):
        store(phi, f, clamp(load_columns(y, f, p0, zero, spare) * LOG2E, POWER_LEAST / largest, POWER_MOST / largest))
        store(dphi, f, zero)
        store(seen, f, zero)
    top = zero - np.inf
    for q in range(P):
        upsilon = load_columns(y, F + q, p0, zero, spare)
        top = maximum(upsilon, top)
        store(E, q, upsilon)
    total = zero
    for q in range(P):
        e = exp(load(E, q, zero) - top)
        store(E, q, e)
        total = total + e
        store(H, q, zero)
    common = zero
    cost = load_at(floor, p0, zero)

    for b in range(0, n, batch):
        first = seg_ptr[b]
        for i in range(b, min(b + batch, n)):
            s0, s1 = element(seg_ptr, i), element(seg_ptr, i + 1)
            a = load_at(own, element(cluster, i) * own.shape[1] + p0, zero)
            # ---- S_m = sum over unmasked q of area m of exp(Upsilon_pq), w_m = exp(z_m Phi_m),
            # ---- Z = sum_m w_m S_m + sum over masked q of exp(Upsilon_pq) = sum over all q + sum_m (w_m - 1) S_m,
            # ---- and sum over m != a of (z_m w_m S_m)^2
            Z, others, own_S, own_z2 = total, zero, zero, zero
            for s in range(s0, s1):
                z = element(seg_z, s)
                f = element(seg_f, s)
                j0 = element(key_ptr, s)
                S_m = load(E, element(keys, j0), zero)
                for j in range(j0 + 1, element(key_ptr, s + 1)):
                    S_m = S_m + load(E, element(keys, j), zero)
                w_m = power(z, load(phi, f, zero))
                Z = fma(w_m - 1.0, S_m, Z)
                S_m = S_m * w_m
                store(w, s - s0, w_m)
                store(S, s - s0, S_m)
                other = select_equal(a, f, 0.0, z * S_m)
                others = fma(other, other, others)
                own_S = select_equal(a, f, S_m, own_S)
                own_z2 = select_equal(a, f, z * z, own_z2)  # zero where the own area is all masked: in the floor
            # ---- where shown keys at weight one would swamp what is left of them, count the masked ones one by one
            swamped = any_less(Z, SWAMPED * total)
            if swamped:
                Z = zero
                for q in range(P):
                    if masked[i, q]:
                        Z = Z + load(E, q, zero)
                for s in range(s1 - s0):
                    Z = Z + load(S, s, zero)
            # ---- A_m = w_m S_m / Z, g_m = z_m^2 (A_m - 1{m = a}), gbar = sum_m A_m g_m; over Z once more from here on
            inverse = 1.0 / Z
            on = element(weight, i) * load_at(masked, i * masked.shape[1] + p0, zero)
            A = own_S * inverse
            miss = own_z2 * (A - 1.0)
            others = others * inverse * inverse
            cost = fma(0.5 * on, fma(miss, A - 1.0, others), cost)
            on = on * inverse
            gbar = on * fma(miss, A, others)
            # ---- -dPhi_m = z_m A_m (g_m - gbar);  -dUpsilon_q = attn_q (1{q in U} g_m(q) - gbar)
            common_gradient = gbar  # of masked keys: added to all keys, and subtracted again from unmasked ones
            if swamped:
                common_gradient = zero
                for q in range(P):
                    if masked[i, q]:
                        store(H, q, load(H, q, zero) + gbar)
            common = common + common_gradient
            for s in range(s0, s1):
                z = element(seg_z, s)
                f = element(seg_f, s)
                S_m = load(S, s - s0, zero)
                miss = fma(S_m, inverse, select_equal(a, f, -1.0, 0.0))
                g = fma(-z * z * on, miss, gbar)
                store(dphi, f, fma(z * S_m, g, load(dphi, f, zero)))
                store(dkeys, s - first, fma(load(w, s - s0, zero), g, 0.0 - common_gradient))
                if wanted:
                    store(seen, f, fma(on, S_m, load(seen, f, zero)))
        # ---- gather the gradient of every key from the areas that show it in these images
        for q in range(P):
            v = b // batch * P + q
            h = load(H, q, zero)
            for j in range(element(visit_ptr, v), element(visit_ptr, v + 1)):
                h = h + load(dkeys, element(visits, j), zero)
            store(H, q, h)

    store_columns(loss, 0, p0, cost, spare)
    for f in range(F):
        store_columns(dy, f, p0, load(dphi, f, zero), spare)
        if wanted:
            store_columns(attention, f, p0, load(seen, f, zero), spare)
    for q in range(P):
        store_columns(dy, F + q, p0, load(E, q, zero) * (load(H, q, zero) + common), spare)
