"""Kernel of the reduced dynamics for features that are not orthonormal, and for a mask token; otherwise as in _kernels.

An image sorts the keys of a query into slots: one per area of its cluster, m = 0..N-1, for the unmasked keys, and slot N
for the masked ones. With W the inner products of the features and the token, z_N = 1, tau = 1 if a masked value is the
token and 0 if it is zero (docs/model.md, eq. B5-B8),

    A_m = exp(z_m Phi_m) sigma_m / Z,   c_m = z_m (A_m - 1{m = a}),   c_N = tau A_N,   h = W c,   loss = c . h / 2
    g_m = z_m h_m,   g_N = tau h_N,   gbar = sum_m A_m g_m
    -dPhi_m = z_m A_m (g_m - gbar),   -dUpsilon_q = attn_q (g_{slot of q} - gbar)
"""

import numpy as np
from numba import njit

from dynsim.reduced._kernels import exp
from dynsim.reduced._lanes import WIDE, columns, count_up, fma, new_table, put, put_columns, row, span, where_equal, wide
from dynsim.reduced._threads import DONE, OVER, current, take


@njit(cache=True, nogil=True, error_model="numpy")
def general_blocks(board, spins, y, F, images, slots, wanted, dy, loss, attention):
    """Minus dL/dS, loss and area attention (eq. B5-B8) over all images, of the query blocks that this thread gets to claim.

    y, dy (C + P, P) with C = F, or F + 1 with a mask token: rows are features, token, keys; columns are queries.
    images, wanted, loss, attention as in _kernels.empirical_blocks. slots: slot (n, P) of every key; offset
    (K + 1,) first feature of each cluster; z (n, N_max + 1); W (F + 1, F + 1); tau.
    """
    own, masked, weight, cluster = images
    slot, offset, z, W, tau = slots
    P = y.shape[1]
    C = y.shape[0] - P
    blocks = -(-P // WIDE)
    most = 1 + np.max(offset[1:] - offset[:-1])
    E, H = new_table(P), new_table(P)  # exp(Upsilon), and -dL/dUpsilon / E
    phi, dphi, seen = new_table(F + 1), new_table(F + 1), new_table(F + 1)
    A, c, g = new_table(most), new_table(most), new_table(most)
    sigma = new_table(most)  # sum of a slot's keys, then attn_pq / exp(Upsilon_pq)
    at = np.empty(most, dtype=np.int64)  # of each slot in W, phi
    size = np.empty(most)  # amplitude of its key
    value = np.empty(most)  # amplitude of its value
    spare = new_table(1)
    zero = wide(0.0)

    run = current(board)
    while True:
        run, block = take(board, run, blocks, spins)
        if run == OVER:
            return
        p0 = block * WIDE
        # ---- this block of the state, a missing token filled with zeros
        for f in range(F + 1):
            put(phi, f, columns(y, f, p0, zero, spare) if f < C else zero)
            put(dphi, f, zero)
            put(seen, f, zero)
        for q in range(P):
            put(E, q, exp(columns(y, C + q, p0, zero, spare)))
            put(H, q, zero)
        cost = zero

        for i in range(cluster.size):
            k = cluster[i]
            N = offset[k + 1] - offset[k]
            for m in range(N):
                at[m], size[m], value[m] = offset[k] + m, z[i, m], z[i, m]
            at[N], size[N], value[N] = F, 1.0, tau
            a = span(own, k * own.shape[1] + p0, zero)
            on = weight[i] * span(masked, i * masked.shape[1] + p0, zero)
            # ---- sigma_m = sum over the keys q of slot m of exp(Upsilon_pq),  Z = sum_m exp(z_m Phi_m) sigma_m
            for m in range(N + 1):
                put(sigma, m, zero)
            for q in range(P):
                put(sigma, slot[i, q], row(sigma, slot[i, q], zero) + row(E, q, zero))
            Z = zero
            for m in range(N + 1):
                w = exp(size[m] * row(phi, at[m], zero))
                put(A, m, w * row(sigma, m, zero))
                put(sigma, m, w)
                Z = Z + row(A, m, zero)
            # ---- A_m and the coefficients c of F_p - X_p
            inverse = 1.0 / Z
            for m in range(N + 1):
                A_m = row(A, m, zero) * inverse
                put(A, m, A_m)
                put(sigma, m, row(sigma, m, zero) * inverse)
                put(c, m, value[m] * (A_m - where_equal(a, at[m], 1.0, 0.0)))
                if wanted:
                    put(seen, at[m], fma(on, A_m, row(seen, at[m], zero)))
            # ---- g = value x (W c), loss c . W c / 2, gbar = sum_m A_m g_m
            gbar = zero
            for m in range(N + 1):
                h = zero
                for j in range(N + 1):
                    h = fma(W[at[m], at[j]], row(c, j, zero), h)
                cost = fma(0.5 * on * row(c, m, zero), h, cost)
                put(g, m, value[m] * h)
                gbar = fma(row(A, m, zero), value[m] * h, gbar)
            # ---- -dPhi_m = z_m A_m (g_m - gbar);  -dUpsilon_q = attn_q (g_slot - gbar)
            for m in range(N + 1):
                pull = on * (gbar - row(g, m, zero))
                put(dphi, at[m], fma(size[m] * row(A, m, zero), pull, row(dphi, at[m], zero)))
                put(sigma, m, row(sigma, m, zero) * pull)
            for q in range(P):
                put(H, q, row(H, q, zero) + row(sigma, slot[i, q], zero))

        put_columns(loss, 0, p0, cost, spare)
        for f in range(C):
            put_columns(dy, f, p0, row(dphi, f, zero), spare)
        if wanted:
            for f in range(F):
                put_columns(attention, f, p0, row(seen, f, zero), spare)
        for q in range(P):
            put_columns(dy, C + q, p0, row(E, q, zero) * row(H, q, zero), spare)
        count_up(board, DONE)
