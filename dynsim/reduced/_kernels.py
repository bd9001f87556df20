"""Kernels of the reduced dynamics: numbers and contiguous arrays in, arrays out; no objects, strings or files.

Queries p lie on the contiguous axis, in blocks of `LANES`, so that every inner loop runs over neighbouring numbers. One
block of queries needs nothing of another: threads take blocks, and the bits do not depend on how many threads there are.
Inner loops are short on purpose: one that touches too many arrays is left scalar by the compiler, which would have to check
every pair of them for overlap first.
"""

import numpy as np
from numba import njit

LANES = 100  # queries per block at most: long enough for vector code, short enough for the caches
LOG2E = 1.4426950408889634
LN2_HI = 6.93147180369123816490e-01  # ln 2 in two parts (Cody and Waite): the first has 21 zero bits at its end
LN2_LO = 1.90821492927058770002e-10
SWAMPED = 1e-2  # Z this far below all keys at weight one: subtracting them would cost two digits or more
ROUND = 6755399441055744.0  # 1.5 x 2^52: adding it rounds to an integer, which then stands in the low bits


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy", inline="always")
def exp_small(x):
    """exp(x) for x in [-708, 709] to 1.2 ulp, its value at the edge beyond, NaN for NaN: branch-free, so that a loop over it
    becomes vector code.

    x = k ln 2 + r with |r| <= ln 2 / 2; Taylor's series of exp(r) to degree 13 (remainder below 2^-57); 2^k by its bits.
    """
    x = min(max(x, -708.0), 709.0)
    shifted = x * LOG2E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HI) - k * LN2_LO
    s = 1.0 / 6227020800.0
    s = s * r + 1.0 / 479001600.0
    s = s * r + 1.0 / 39916800.0
    s = s * r + 1.0 / 3628800.0
    s = s * r + 1.0 / 362880.0
    s = s * r + 1.0 / 40320.0
    s = s * r + 1.0 / 5040.0
    s = s * r + 1.0 / 720.0
    s = s * r + 1.0 / 120.0
    s = s * r + 1.0 / 24.0
    s = s * r + 1.0 / 6.0
    s = s * r + 0.5
    s = s * r + 1.0
    s = s * r + 1.0
    power = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return s * power


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def empirical_blocks(
    first, last, y, F, own, masked, weight, cluster, seg_ptr, seg_f, seg_z, key_ptr, keys, floor, lanes, wanted,
    dy, loss, attention,
):
    """Velocity, loss and area attention (eq. 5) of the query blocks first..last-1 over all images.

    y, dy (F + P, P): rows are features, then keys; columns are queries. own (K, P') feature of each patch and masked
    (n, P') uint8, both padded to whole blocks of `lanes`; weight, cluster (n,). Image i has segments
    seg_ptr[i]..seg_ptr[i+1], one per area with an unmasked patch: feature seg_f, amplitude seg_z, keys
    key_ptr[s]..key_ptr[s+1]. floor (P',): loss where the own area is all masked. wanted: fill attention (F, P), summed over
    images. loss (P,) per query.
    """
    P = y.shape[1]
    longest = 0
    for i in range(cluster.size):
        longest = max(longest, seg_ptr[i + 1] - seg_ptr[i])
    E = np.empty((P, lanes))  # exp(Upsilon), shifted by the largest of each query
    H = np.empty((P, lanes))  # -dL/dUpsilon / E, less what every key gets
    phi, dphi, seen = np.empty((F, lanes)), np.empty((F, lanes)), np.empty((F, lanes))
    S, w, g = np.empty((longest, lanes)), np.empty((longest, lanes)), np.empty((longest, lanes))
    top, total, Z, gbar = np.empty(lanes), np.empty(lanes), np.empty(lanes), np.empty(lanes)
    common, cost, on, base = np.empty(lanes), np.empty(lanes), np.empty(lanes), np.empty(lanes)
    error = np.empty(lanes)
    mine = np.empty(lanes, dtype=np.int64)

    for block in range(first, last):
        p0 = block * lanes
        width = min(lanes, P - p0)
        # ---- this block of the state, its idle lanes filled with zeros
        for f in range(F):
            for v in range(lanes):
                phi[f, v] = y[f, p0 + v] if v < width else 0.0
                dphi[f, v] = 0.0
                seen[f, v] = 0.0
        for v in range(lanes):
            top[v] = -np.inf
            total[v] = 0.0
            common[v] = 0.0
            cost[v] = floor[p0 + v]
        for q in range(P):
            for v in range(lanes):
                E[q, v] = y[F + q, p0 + v] if v < width else 0.0
                top[v] = max(top[v], E[q, v])
        for q in range(P):
            for v in range(lanes):
                E[q, v] = exp_small(E[q, v] - top[v])
                total[v] += E[q, v]
                H[q, v] = 0.0

        for i in range(cluster.size):
            s0 = seg_ptr[i]
            segments = seg_ptr[i + 1] - s0
            for v in range(lanes):
                mine[v] = own[cluster[i], p0 + v]
                on[v] = weight[i] * masked[i, p0 + v]
                Z[v] = total[v]
                gbar[v] = 0.0
                error[v] = 0.0
            # ---- S_m = sum over unmasked q of area m of exp(Upsilon_pq), w_m = exp(z_m Phi_m),
            # ---- Z = sum_m w_m S_m + sum over masked q of exp(Upsilon_pq) = sum over all q + sum_m (w_m - 1) S_m
            for s in range(segments):
                z = seg_z[s0 + s]
                f = seg_f[s0 + s]
                j0 = key_ptr[s0 + s]
                j1 = key_ptr[s0 + s + 1]
                odd = (j1 - j0) % 2
                if odd:
                    q = keys[j0]
                    for v in range(lanes):
                        S[s, v] = E[q, v]
                else:
                    for v in range(lanes):
                        S[s, v] = 0.0
                for j in range(j0 + odd, j1, 2):
                    q, r = keys[j], keys[j + 1]
                    for v in range(lanes):
                        S[s, v] += E[q, v] + E[r, v]
                for v in range(lanes):
                    w[s, v] = exp_small(z * phi[f, v])
                    Z[v] += (w[s, v] - 1.0) * S[s, v]
            # ---- where shown keys at weight one would swamp what is left of them, count the masked ones one by one
            swamped = False
            for v in range(lanes):
                swamped |= Z[v] < SWAMPED * total[v]
            if swamped:
                for v in range(lanes):
                    Z[v] = 0.0
                for q in range(P):
                    if masked[i, q]:
                        for v in range(lanes):
                            Z[v] += E[q, v]
                for s in range(segments):
                    for v in range(lanes):
                        Z[v] += w[s, v] * S[s, v]
            # ---- A_m = w_m S_m / Z, g_m = z_m^2 (A_m - 1{m = a}), gbar = sum_m A_m g_m
            for v in range(lanes):
                Z[v] = 1.0 / Z[v]
            for s in range(segments):
                z2 = seg_z[s0 + s] * seg_z[s0 + s]
                f = seg_f[s0 + s]
                for v in range(lanes):
                    w[s, v] *= Z[v]
                    g[s, v] = w[s, v] * S[s, v]
                if wanted:
                    for v in range(lanes):
                        seen[f, v] += on[v] * g[s, v]
                for v in range(lanes):
                    area = g[s, v]
                    miss = area - (1.0 if mine[v] == f else 0.0)
                    g[s, v] = z2 * miss
                    gbar[v] += z2 * area * miss
                    error[v] += z2 * miss * miss
            # ---- -dPhi_m = z_m A_m (g_m - gbar);  -dUpsilon_q = attn_q (1{q in U} g_m(q) - gbar)
            for v in range(lanes):
                base[v] = gbar[v] * Z[v] * on[v]
                cost[v] += 0.5 * on[v] * error[v]  # an own area that is all masked is in the floor
            if swamped:
                for q in range(P):
                    if masked[i, q]:
                        for v in range(lanes):
                            H[q, v] += base[v]
                for v in range(lanes):
                    base[v] = 0.0
            else:
                for v in range(lanes):
                    common[v] += base[v]
            for s in range(segments):
                z = seg_z[s0 + s]
                f = seg_f[s0 + s]
                for v in range(lanes):
                    g[s, v] = on[v] * w[s, v] * (gbar[v] - g[s, v])
                for v in range(lanes):
                    dphi[f, v] += z * S[s, v] * g[s, v]
                    g[s, v] -= base[v]
                j0 = key_ptr[s0 + s]
                j1 = key_ptr[s0 + s + 1]
                for j in range(j0, j1 - 1, 2):
                    q, r = keys[j], keys[j + 1]
                    for v in range(lanes):
                        H[q, v] += g[s, v]
                        H[r, v] += g[s, v]
                if (j1 - j0) % 2:
                    q = keys[j1 - 1]
                    for v in range(lanes):
                        H[q, v] += g[s, v]
        for v in range(width):
            loss[p0 + v] = cost[v]
        for f in range(F):
            for v in range(width):
                dy[f, p0 + v] = dphi[f, v]
                if wanted:
                    attention[f, p0 + v] = seen[f, v]
        for q in range(P):
            for v in range(width):
                dy[F + q, p0 + v] = E[q, v] * (H[q, v] + common[v])
