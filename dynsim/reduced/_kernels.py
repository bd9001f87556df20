"""Kernels of the reduced dynamics: numbers and contiguous arrays in, arrays out; no objects, strings or files.

Queries p lie on the contiguous axis, in blocks of `lanes`, so that every inner loop runs over neighbouring numbers. One
block of queries needs nothing of another: threads take blocks, and the bits do not depend on how many threads there are.
A kernel is compiled for each width of a block: with it known, and with what belongs together in one array, the compiler sees
that nothing overlaps, and inner loops become vector code without a check or a remainder. Only the exponential, one chain of
products and sums, may fuse them: elsewhere which of two products is fused could differ from width to width, and the bits with it.
"""

from functools import lru_cache

import numpy as np
from numba import njit

WIDTHS = (16, 32, 56, 104)  # queries per block: long enough that a loop outweighs its start, short enough for the caches
LOG2E = 1.4426950408889634
LN2_HI = 6.93147180369123816490e-01  # ln 2 in two parts (Cody and Waite): the first has 21 zero bits at its end
LN2_LO = 1.90821492927058770002e-10
EXP_LEAST, EXP_MOST = -708.0, 709.0
SWAMPED = 1e-2  # Z this far below all keys at weight one: subtracting them would cost two digits or more
ROUND = 6755399441055744.0  # 1.5 x 2^52: adding it rounds to an integer, which then stands in the low bits


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def exp_inside(x):
    """exp(x) for x in [-708, 709] to 1.2 ulp, NaN for NaN: branch-free, so that a loop over it becomes vector code.

    x = k ln 2 + r with |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 g(r), g interpolated at the ten Chebyshev nodes (relative error
    2e-17); 2^k by its bits."""
    shifted = x * LOG2E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HI) - k * LN2_LO
    s = 2.5100375832561234e-08
    s = s * r + 2.7620075879983367e-07
    s = s * r + 2.7557268480310024e-06
    s = s * r + 2.4801521322368692e-05
    s = s * r + 1.9841269863040545e-04
    s = s * r + 1.3888888917196719e-03
    s = s * r + 8.333333333330065e-03
    s = s * r + 4.1666666666624164e-02
    s = s * r + 1.6666666666666669e-01
    s = s * r + 0.5000000000000001
    s = s * r + 1.0
    s = s * r + 1.0
    power = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return s * power


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def exp_small(x):
    """The same, with the value at the edge beyond it."""
    return exp_inside(min(max(x, EXP_LEAST), EXP_MOST))


# what is kept by feature and query, by area of an image and query, and by query
PHI, PULL, SEEN = range(3)
SHOWN, WEIGHT = range(2)
TOP, TOTAL, COMMON, COST, Z, OTHERS, OWN, OWN_Z2, GBAR, ON, LESS, PLACE = range(12)


@lru_cache
def empirical_blocks(lanes):
    """The kernel of eq. 5 for blocks of `lanes` queries."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def kernel(
        first, last, y, F, own, masked, weight, cluster, seg_ptr, seg_f, seg_z, key_ptr, keys, floor, wanted, dy, loss, attention
    ):
        """Velocity, loss and area attention (eq. 5) of the query blocks first..last-1 over all images.

        y, dy (F + P, P): rows are features, then keys; columns are queries. own (K, P') feature of each patch and masked
        (n, P') uint8, both padded to whole blocks of `lanes`; weight, cluster (n,). Image i has segments
        seg_ptr[i]..seg_ptr[i+1], one per area with an unmasked patch: feature seg_f, amplitude seg_z, keys
        key_ptr[s]..key_ptr[s+1]. floor (P',): loss where the own area is all masked. wanted: fill attention (F, P), summed
        over images. loss (P,) per query.
        """
        P = y.shape[1]
        longest, largest = 0, 1e-300
        for i in range(cluster.size):
            longest = max(longest, seg_ptr[i + 1] - seg_ptr[i])
        for s in range(seg_z.size):
            largest = max(largest, seg_z[s])
        E = np.empty((P, lanes))  # exp(Upsilon), shifted by the largest of each query
        H = np.empty((P, lanes))  # -dL/dUpsilon / E, less what every key gets
        fp = np.empty((F, 3, lanes))
        area = np.empty((longest, 2, lanes))
        row = np.empty((12, lanes))
        place = np.full(F + 1, -1)  # which segment of the image shows a feature; the last is for idle lanes

        for block in range(first, last):
            p0 = block * lanes
            width = min(lanes, P - p0)
            # ---- this block of the state, its idle lanes filled with zeros; z Phi kept where exp_inside has a value
            for f in range(F):
                for v in range(lanes):
                    phi = y[f, p0 + v] if v < width else 0.0
                    fp[f, PHI, v] = min(max(phi, EXP_LEAST / largest), EXP_MOST / largest)
                    fp[f, PULL, v] = 0.0
                    fp[f, SEEN, v] = 0.0
            for v in range(lanes):
                row[TOP, v] = -np.inf
                row[TOTAL, v] = 0.0
                row[COMMON, v] = 0.0
                row[COST, v] = floor[p0 + v]
            for q in range(P):
                for v in range(lanes):
                    E[q, v] = y[F + q, p0 + v] if v < width else 0.0
                    row[TOP, v] = max(row[TOP, v], E[q, v])
            for q in range(P):
                for v in range(lanes):
                    E[q, v] = exp_small(E[q, v] - row[TOP, v])
                    row[TOTAL, v] += E[q, v]
                    H[q, v] = 0.0

            for i in range(cluster.size):
                s0 = seg_ptr[i]
                segments = seg_ptr[i + 1] - s0
                for s in range(segments):
                    place[seg_f[s0 + s]] = s
                for v in range(lanes):
                    row[PLACE, v] = place[own[cluster[i], p0 + v]]
                    row[ON, v] = weight[i] * masked[i, p0 + v]
                    row[Z, v] = row[TOTAL, v]
                    row[OTHERS, v] = 0.0
                for s in range(segments):
                    place[seg_f[s0 + s]] = -1
                # ---- S_m = sum over unmasked q of area m of exp(Upsilon_pq), w_m = exp(z_m Phi_m),
                # ---- Z = sum_m w_m S_m + sum over masked q of exp(Upsilon_pq) = sum over all q + sum_m (w_m - 1) S_m,
                # ---- and sum over m != a of (z_m w_m S_m)^2
                for s in range(segments):
                    z = seg_z[s0 + s]
                    f = seg_f[s0 + s]
                    here = float(s)
                    j0 = key_ptr[s0 + s]
                    j1 = key_ptr[s0 + s + 1]
                    odd = (j1 - j0) % 2
                    if odd:
                        q = keys[j0]
                        for v in range(lanes):
                            area[s, SHOWN, v] = E[q, v]
                    else:
                        q, r = keys[j0], keys[j0 + 1]
                        for v in range(lanes):
                            area[s, SHOWN, v] = E[q, v] + E[r, v]
                    for j in range(j0 + 2 - odd, j1, 2):
                        q, r = keys[j], keys[j + 1]
                        for v in range(lanes):
                            area[s, SHOWN, v] += E[q, v] + E[r, v]
                    for v in range(lanes):
                        S = area[s, SHOWN, v]
                        w = exp_inside(z * fp[f, PHI, v])
                        row[Z, v] += (w - 1.0) * S
                        S *= w
                        area[s, SHOWN, v] = S
                        area[s, WEIGHT, v] = w
                        other = 0.0 if row[PLACE, v] == here else z * S
                        row[OTHERS, v] += other * other
                # ---- where shown keys at weight one would swamp what is left of them, count the masked ones one by one
                swamped = False
                for v in range(lanes):
                    swamped |= row[Z, v] < SWAMPED * row[TOTAL, v]
                if swamped:
                    for v in range(lanes):
                        row[Z, v] = 0.0
                    for q in range(P):
                        if masked[i, q]:
                            for v in range(lanes):
                                row[Z, v] += E[q, v]
                    for s in range(segments):
                        for v in range(lanes):
                            row[Z, v] += area[s, SHOWN, v]
                # ---- A_m = w_m S_m / Z, g_m = z_m^2 (A_m - 1{m = a}), gbar = sum_m A_m g_m; over Z once more from here on
                for v in range(lanes):
                    s = int(row[PLACE, v])
                    row[OWN, v] = area[s, SHOWN, v] if s >= 0 else 0.0
                    row[OWN_Z2, v] = seg_z[s0 + s] * seg_z[s0 + s] if s >= 0 else 0.0  # all masked: in the floor
                for v in range(lanes):
                    inverse = 1.0 / row[Z, v]
                    A = row[OWN, v] * inverse
                    miss = row[OWN_Z2, v] * (A - 1.0)
                    others = row[OTHERS, v] * inverse * inverse
                    row[COST, v] += 0.5 * row[ON, v] * (others + miss * (A - 1.0))
                    on = row[ON, v] * inverse
                    row[Z, v] = inverse
                    row[ON, v] = on
                    row[GBAR, v] = on * (others + miss * A)
                if wanted:
                    for s in range(segments):
                        f = seg_f[s0 + s]
                        for v in range(lanes):
                            fp[f, SEEN, v] += row[ON, v] * area[s, SHOWN, v]
                # ---- -dPhi_m = z_m A_m (g_m - gbar);  -dUpsilon_q = attn_q (1{q in U} g_m(q) - gbar)
                if swamped:
                    for q in range(P):
                        if masked[i, q]:
                            for v in range(lanes):
                                H[q, v] += row[GBAR, v]
                for v in range(lanes):
                    row[LESS, v] = 0.0 if swamped else row[GBAR, v]
                    row[COMMON, v] += row[LESS, v]
                for s in range(segments):
                    z = seg_z[s0 + s]
                    f = seg_f[s0 + s]
                    z2, here = z * z, float(s)
                    for v in range(lanes):
                        miss = area[s, SHOWN, v] * row[Z, v] - (1.0 if row[PLACE, v] == here else 0.0)
                        pull = row[GBAR, v] - row[ON, v] * (z2 * miss)
                        fp[f, PULL, v] += z * area[s, SHOWN, v] * pull
                        area[s, WEIGHT, v] = area[s, WEIGHT, v] * pull - row[LESS, v]
                    j0 = key_ptr[s0 + s]
                    j1 = key_ptr[s0 + s + 1]
                    fours = j0 + (j1 - j0) // 4 * 4
                    for j in range(j0, fours, 4):
                        q, r, t, u = keys[j], keys[j + 1], keys[j + 2], keys[j + 3]
                        for v in range(lanes):
                            pull = area[s, WEIGHT, v]
                            H[q, v] += pull
                            H[r, v] += pull
                            H[t, v] += pull
                            H[u, v] += pull
                    for j in range(fours, j1):
                        q = keys[j]
                        for v in range(lanes):
                            H[q, v] += area[s, WEIGHT, v]
            for v in range(width):
                loss[p0 + v] = row[COST, v]
            for f in range(F):
                for v in range(width):
                    dy[f, p0 + v] = fp[f, PULL, v]
                    if wanted:
                        attention[f, p0 + v] = fp[f, SEEN, v]
            for q in range(P):
                for v in range(width):
                    dy[F + q, p0 + v] = E[q, v] * (H[q, v] + row[COMMON, v])

    return kernel
