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

from dynsim.reduced._kernels import exp_small


@njit(cache=True, nogil=True, error_model="numpy")
def general_blocks(
    first, last, y, F, own, masked, weight, cluster, slot, offset, z, W, tau, lanes, wanted, dy, loss, attention
):
    """Minus dL/dS, loss and area attention (eq. B5-B8) of the query blocks first..last-1 over all images.

    y, dy (C + P, P) with C = F, or F + 1 with a mask token: rows are features, token, keys; columns are queries.
    own (K, P') feature of each patch, masked (n, P') uint8, both padded to whole blocks of `lanes`; weight, cluster (n,);
    slot (n, P) of every key; offset (K + 1,) first feature of each cluster; z (n, N_max + 1); W (F + 1, F + 1).
    wanted: fill attention (F, P), summed over images. loss (P,) per query.
    """
    P = y.shape[1]
    C = y.shape[0] - P
    slots = 1 + np.max(offset[1:] - offset[:-1])
    E, H = np.empty((P, lanes)), np.empty((P, lanes))  # exp(Upsilon), and -dL/dUpsilon / E
    phi, dphi, seen = np.empty((F + 1, lanes)), np.empty((F + 1, lanes)), np.empty((F + 1, lanes))
    sigma, A, c, g = np.empty((slots, lanes)), np.empty((slots, lanes)), np.empty((slots, lanes)), np.empty((slots, lanes))
    Z, gbar, on, cost = np.empty(lanes), np.empty(lanes), np.empty(lanes), np.empty(lanes)
    row = np.empty(slots, dtype=np.int64)  # of each slot in W, phi
    size = np.empty(slots)  # amplitude of its key
    value = np.empty(slots)  # amplitude of its value

    for block in range(first, last):
        p0 = block * lanes
        width = min(lanes, P - p0)
        # ---- this block of the state, its idle lanes and a missing token filled with zeros
        for f in range(F + 1):
            for v in range(lanes):
                phi[f, v] = y[f, p0 + v] if v < width and f < C else 0.0
                dphi[f, v] = 0.0
                seen[f, v] = 0.0
        for q in range(P):
            for v in range(lanes):
                E[q, v] = exp_small(y[C + q, p0 + v] if v < width else 0.0)
                H[q, v] = 0.0
        for v in range(lanes):
            cost[v] = 0.0

        for i in range(cluster.size):
            k = cluster[i]
            N = offset[k + 1] - offset[k]
            for m in range(N):
                row[m] = offset[k] + m
                size[m] = z[i, m]
                value[m] = z[i, m]
            row[N], size[N], value[N] = F, 1.0, tau
            for v in range(lanes):
                on[v] = weight[i] * masked[i, p0 + v]
                Z[v] = 0.0
                gbar[v] = 0.0
            # ---- sigma_m = sum over the keys q of slot m of exp(Upsilon_pq),  Z = sum_m exp(z_m Phi_m) sigma_m
            for m in range(N + 1):
                for v in range(lanes):
                    sigma[m, v] = 0.0
            for q in range(P):
                m = slot[i, q]
                for v in range(lanes):
                    sigma[m, v] += E[q, v]
            for m in range(N + 1):
                for v in range(lanes):
                    g[m, v] = exp_small(size[m] * phi[row[m], v])
                    A[m, v] = g[m, v] * sigma[m, v]
                    Z[v] += A[m, v]
            # ---- A_m and the coefficients c of F_p - X_p; sigma becomes attn_pq / exp(Upsilon_pq)
            for v in range(lanes):
                Z[v] = 1.0 / Z[v]
            for m in range(N + 1):
                for v in range(lanes):
                    sigma[m, v] = g[m, v] * Z[v]
                    A[m, v] *= Z[v]
                    c[m, v] = value[m] * (A[m, v] - (1.0 if own[k, p0 + v] == row[m] else 0.0))
                if wanted:
                    for v in range(lanes):
                        seen[row[m], v] += on[v] * A[m, v]
            # ---- g = value x (W c), loss c . W c / 2, gbar = sum_m A_m g_m
            for m in range(N + 1):
                for v in range(lanes):
                    g[m, v] = 0.0
                for j in range(N + 1):
                    inner = W[row[m], row[j]]
                    for v in range(lanes):
                        g[m, v] += inner * c[j, v]
                for v in range(lanes):
                    cost[v] += 0.5 * on[v] * c[m, v] * g[m, v]
                    g[m, v] *= value[m]
                    gbar[v] += A[m, v] * g[m, v]
            # ---- -dPhi_m = z_m A_m (g_m - gbar);  -dUpsilon_q = attn_q (g_slot - gbar)
            for m in range(N + 1):
                for v in range(lanes):
                    g[m, v] = on[v] * (gbar[v] - g[m, v])
                    dphi[row[m], v] += size[m] * A[m, v] * g[m, v]
                    sigma[m, v] *= g[m, v]
            for q in range(P):
                m = slot[i, q]
                for v in range(lanes):
                    H[q, v] += sigma[m, v]
        for v in range(width):
            loss[p0 + v] = cost[v]
        for f in range(C):
            for v in range(width):
                dy[f, p0 + v] = dphi[f, v]
        if wanted:
            for f in range(F):
                for v in range(width):
                    attention[f, p0 + v] = seen[f, v]
        for q in range(P):
            for v in range(width):
                dy[C + q, p0 + v] = E[q, v] * H[q, v]
