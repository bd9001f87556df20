"""Kernel of the reduced dynamics for features that are not orthonormal, and for a mask token; otherwise as in reconstruction.

In an image each key of a query belongs to a slot: one per area of its cluster, m = 0..N-1, for the unmasked keys, and slot N
for the masked ones. With W the inner products of the features and the token, z_N = 1, tau = 1 if a masked value is the
token and 0 if it is zero (docs/beyond.md, eq. B5-B8),

    A_m = exp(z_m Phi_m) sigma_m / Z,   c_m = z_m (A_m - 1{m = a}),   c_N = tau A_N,   h = W c,   loss = c . h / 2
    g_m = z_m h_m,   g_N = tau h_N,   gbar = sum_m A_m g_m
    -dPhi_m = z_m A_m (g_m - gbar),   -dUpsilon_q = attn_q (g_{slot of q} - gbar)
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import exp
from dynsim.reduced.kernels.simd import (
    WIDTH,
    broadcast,
    fetch_add,
    fma,
    load,
    load_at,
    load_columns,
    new_table,
    select_equal,
    store,
    store_columns,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, next_block


@njit(cache=True, nogil=True, error_model="numpy")
def general_blocks(counters, spins, y, F, images, slots, wanted, dy, loss, attention):
    """Minus dL/dS, loss and area attention (eq. B5-B8) over all images, of the query blocks that this thread claims.

    Parameters
    ----------
    counters, spins
        As in threads.ThreadPool.
    y : ndarray of shape (C + P, P)
        State, with C = F, or F + 1 with a mask token: rows are features, token, keys; columns are queries.
    F : int
        Features.
    images : tuple
        As in reconstruction.empirical_blocks.
    slots : tuple
        slot (n, P) of every key; offset (K + 1,) first feature of each cluster; z (n, N_max + 1); W (F + 1, F + 1); tau.
    wanted : bool
        Whether to fill ``attention``.
    dy : ndarray of shape (C + P, P)
        Minus the gradient; written.
    loss : ndarray of shape (1, P)
        Loss of each query; written.
    attention : ndarray of shape (F, P)
        Area attention, summed over images; written where wanted.
    """
    own, masked, weight, cluster = images
    slot, offset, z, W, tau = slots
    P = y.shape[1]
    C = y.shape[0] - P
    blocks = -(-P // WIDTH)
    most = 1 + np.max(offset[1:] - offset[:-1])
    E, H = new_table(P), new_table(P)  # exp(Upsilon), and -dL/dUpsilon / E
    phi, dphi, seen = new_table(F + 1), new_table(F + 1), new_table(F + 1)
    A, c, g = new_table(most), new_table(most), new_table(most)
    sigma = new_table(most)  # sum of a slot's keys, then attn_pq / exp(Upsilon_pq)
    at = np.empty(most, dtype=np.int64)  # of each slot in W, phi
    size = np.empty(most)  # amplitude of its key
    value = np.empty(most)  # amplitude of its value
    spare = new_table(1)
    zero = broadcast(0.0)

    run = current_run(counters)
    while True:
        run, block = next_block(counters, run, blocks, spins)
        if run == LAST_RUN:
            return
        p0 = block * WIDTH
        # ---- this block of the state, a missing token filled with zeros
        for f in range(F + 1):
            store(phi, f, load_columns(y, f, p0, zero, spare) if f < C else zero)
            store(dphi, f, zero)
            store(seen, f, zero)
        for q in range(P):
            store(E, q, exp(load_columns(y, C + q, p0, zero, spare)))
            store(H, q, zero)
        cost = zero

        for i in range(cluster.size):
            k = cluster[i]
            N = offset[k + 1] - offset[k]
            for m in range(N):
                at[m], size[m], value[m] = offset[k] + m, z[i, m], z[i, m]
            at[N], size[N], value[N] = F, 1.0, tau
            a = load_at(own, k * own.shape[1] + p0, zero)
            on = weight[i] * load_at(masked, i * masked.shape[1] + p0, zero)
            # ---- sigma_m = sum over the keys q of slot m of exp(Upsilon_pq),  Z = sum_m exp(z_m Phi_m) sigma_m
            for m in range(N + 1):
                store(sigma, m, zero)
            for q in range(P):
                store(sigma, slot[i, q], load(sigma, slot[i, q], zero) + load(E, q, zero))
            Z = zero
            for m in range(N + 1):
                w = exp(size[m] * load(phi, at[m], zero))
                store(A, m, w * load(sigma, m, zero))
                store(sigma, m, w)
                Z = Z + load(A, m, zero)
            # ---- A_m and the coefficients c of F_p - X_p
            inverse = 1.0 / Z
            for m in range(N + 1):
                A_m = load(A, m, zero) * inverse
                store(A, m, A_m)
                store(sigma, m, load(sigma, m, zero) * inverse)
                store(c, m, value[m] * (A_m - select_equal(a, at[m], 1.0, 0.0)))
                if wanted:
                    store(seen, at[m], fma(on, A_m, load(seen, at[m], zero)))
            # ---- g = value x (W c), loss c . W c / 2, gbar = sum_m A_m g_m
            gbar = zero
            for m in range(N + 1):
                h = zero
                for j in range(N + 1):
                    h = fma(W[at[m], at[j]], load(c, j, zero), h)
                cost = fma(0.5 * on * load(c, m, zero), h, cost)
                store(g, m, value[m] * h)
                gbar = fma(load(A, m, zero), value[m] * h, gbar)
            # ---- -dPhi_m = z_m A_m (g_m - gbar);  -dUpsilon_q = attn_q (g_slot - gbar)
            for m in range(N + 1):
                minus_g = on * (gbar - load(g, m, zero))
                store(dphi, at[m], fma(size[m] * load(A, m, zero), minus_g, load(dphi, at[m], zero)))
                store(sigma, m, load(sigma, m, zero) * minus_g)
            for q in range(P):
                store(H, q, load(H, q, zero) + load(sigma, slot[i, q], zero))

        store_columns(loss, 0, p0, cost, spare)
        for f in range(C):
            store_columns(dy, f, p0, load(dphi, f, zero), spare)
        if wanted:
            for f in range(F):
                store_columns(attention, f, p0, load(seen, f, zero), spare)
        for q in range(P):
            store_columns(dy, C + q, p0, load(E, q, zero) * load(H, q, zero), spare)
        fetch_add(counters, DONE)
