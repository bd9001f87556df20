"""Images as the kernel of the exact field reads them: which areas show a patch, which keys they show, who adds up what.

Lists come out in order by counting, in one pass over the rows. Image i has a segment for each area with an unmasked patch, in the
order of the areas, with its keys in their order; every key then has the segments that it is in, batch of images by batch, in
their order.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def load_images(part, data, batch, images, floor, areas, gathers, sums, current):
    """Write the lists of n rows into arrays that may be longer; what lies beyond is not read by the kernel.

    part: labels (K, P), offset (K,). data: cluster (n,), z (n, N_max), masked (n, P) uint8, weight (n,).
    images: own (K, P') as it is; padded (n.., P') uint8, weight, cluster (n..,). floor (P',): loss of each query that no
    attention can lower. areas: seg_ptr, seg_f, seg_z, key_ptr, keys; gathers: batch, visit_ptr, visits; as in
    reconstruction.empirical_blocks. sums: seen (K, P) weight of the rows that mask a patch; totals (2,): mean number of masked
    patches, the largest amplitude of all. current: count (1,) rows, largest (1,) amplitude of a segment.
    """
    labels, offset = part
    cluster, z, masked, weight = data
    _, padded, out_weight, out_cluster = images
    seg_ptr, seg_f, seg_z, key_ptr, keys = areas
    _, visit_ptr, visits = gathers
    seen, totals = sums
    count, largest = current
    n, P = masked.shape
    unmasked = np.empty(P + 1, dtype=np.int64)
    shown = np.empty(z.shape[1], dtype=np.int64)  # unmasked patches by area, then where the next key of it goes
    lost = np.empty(z.shape[1])  # by area: what a query of it loses whatever it attends to
    floor[:] = 0.0
    seen[:] = 0.0
    visit_ptr[0] = 0
    s = j = first = 0
    at_most, total = 0.0, 0.0
    for i in range(n):
        k = cluster[i]
        out_cluster[i] = k
        out_weight[i] = weight[i]
        seg_ptr[i] = s
        if i % batch == 0:
            first = s
        u = 0
        for q in range(P):  # without a branch, which would be mispredicted
            unmasked[u] = q
            u += 1 - int(masked[i, q])
            padded[i, q] = masked[i, q]
            seen[k, q] += weight[i] * masked[i, q]
        total += weight[i] * (P - u)
        shown[:] = 0
        for a in range(u):
            shown[labels[k, unmasked[a]]] += 1
        any_lost = False
        for m in range(offset[k + 1] - offset[k]):
            lost[m] = 0.0
            if shown[m] > 0:
                seg_f[s] = offset[k] + m
                seg_z[s] = z[i, m]
                at_most = max(at_most, z[i, m])
                key_ptr[s] = j
                j += shown[m]
                shown[m] = j - shown[m]
                s += 1
            else:
                lost[m] = weight[i] * 0.5 * z[i, m] * z[i, m]
                any_lost = True
        for a in range(u):
            m = labels[k, unmasked[a]]
            keys[shown[m]] = unmasked[a]
            shown[m] += 1
        if any_lost:
            for q in range(P):
                floor[q] += lost[labels[k, q]]
        # ---- after the last image of a batch: the segments that every key is in
        if (i + 1) % batch == 0 or i == n - 1:
            base = i // batch * P
            key_ptr[s] = j
            for q in range(P):
                visit_ptr[base + q + 1] = 0
            for a in range(key_ptr[first], j):
                visit_ptr[base + keys[a] + 1] += 1
            for q in range(P):
                visit_ptr[base + q + 1] += visit_ptr[base + q]
            place = visit_ptr[base : base + P].copy()
            for r in range(first, s):
                for a in range(key_ptr[r], key_ptr[r + 1]):
                    visits[place[keys[a]]] = r - first
                    place[keys[a]] += 1
    seg_ptr[n] = s
    totals[0] = total
    totals[1] = np.max(z)
    count[0] = n
    largest[0] = at_most
