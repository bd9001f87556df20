"""The contrastive loss of pooled outputs, and its gradient in them (docs/contrastive.md, eq. D2-D3).

What belongs to a pair and an area of its cluster, its pooled output f and dL/df, is stored by view, cluster k, area, pair, pairs
in order of their cluster: area m of pair i stands at base[k] + m stride[k] + i - column[k], plus `size` in the second view. Where
features are orthonormal, images of different clusters have score zero, and a cluster's columns are its own pairs; elsewhere
pairs of all clusters have scores: the columns of every cluster are all n pairs.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import exp, log, log1p
from dynsim.reduced.kernels.simd import (
    WIDTH,
    broadcast,
    fma,
    load_at,
    maximum,
    new_table,
    select_equal,
    store,
    store_at,
    whole_vectors,
)

EXPONENTIALS, POOL, CONTRAST, CONTRAST_SECOND, BACK, CONTRAST_AND_BACK, ATTEND = range(7)  # phases of a step
LEAST = -700.0  # exponents of pairs below this count as minus infinity: their exp would soon be a slow, subnormal number


@njit(nogil=True, error_model="numpy")
def pair_buffers(pairs, contrast):
    """What contrast_rows works in: scores of one pair; its columns, where it is compared with some of them; a vector."""
    count, N = pairs[2], pairs[5]
    ptr = contrast[3]
    sparse = len(ptr) > 1
    most = 0
    for k in range(len(count)):
        most = max(most, count[k])
    if sparse:
        most = 0
        for i in range(len(ptr) - 1):
            most = max(most, ptr[i + 1] - ptr[i])
    wide = (most + WIDTH - 1) // WIDTH
    return new_table(wide), new_table(wide * np.max(N) if sparse else 1), new_table(1)


@njit(nogil=True, error_model="numpy")
def contrast_rows(i0, i1, pooled, pairs, contrast, buffers):
    """Loss of pairs i0..i1 and its gradient in the pooled output of the first view (eq. D2-D3).

    pooled: f, dL/df, and columns, what f is multiplied with: f itself where features are orthonormal; all (2 size,).
    pairs: first (K + 1,) pair of each cluster; column, count, stride, base, N (K,): first column, how many columns, stride and
    start of the table of each cluster, number of areas; size.
    contrast: temperature; loss (n,) per pair; away (n,): negatives whose score is zero (other clusters); ptr (n + 1,) and
    chosen: the columns that pair i is compared with, itself first (ptr of one entry: with all); weights: dL/ds of row i from
    row_at[i] on, for the gradient in the second view (empty: not wanted); row_at (n,).
    """
    f, G, columns = pooled
    first, column, count, stride, base, N, size = pairs
    temperature, loss, away, ptr, chosen, weights, row_at = contrast
    x, local, spare = buffers
    n = len(loss)
    sparse = len(ptr) > 1
    flat, table = x.reshape(-1), local.reshape(-1)
    k = 0
    for i in range(i0, i1):
        while first[k + 1] <= i:
            k += 1
        own, many, step, start = i - column[k], count[k], stride[k], size + base[k]
        row = f, G, base[k] + own, stride[k], N[k]
        if sparse:
            own, many = 0, ptr[i + 1] - ptr[i]
            step = (many + WIDTH - 1) // WIDTH * WIDTH
            for m in range(N[k]):
                for j in range(many):
                    table[m * step + j] = columns[start + m * stride[k] + chosen[ptr[i] + j]]
                for j in range(many, step):
                    table[m * step + j] = 0.0
            loss[i] = contrast_row(row, table, 0, step, own, many, away[i], n, temperature, flat, spare)
        else:
            loss[i] = contrast_row(row, columns, start, step, own, many, away[i], n, temperature, flat, spare)
        if len(weights) and sparse:
            for j in range(stride[k]):
                weights[row_at[i] + j] = 0.0
            for j in range(many):
                weights[row_at[i] + chosen[ptr[i] + j]] = flat[j]
        elif len(weights):
            for j in range(many):
                weights[row_at[i] + j] = flat[j]


@njit(nogil=True, error_model="numpy")
def contrast_row(row, table, start, step, own, many, away, n, temperature, x, spare):
    """-tau log softmax of one pair among the `many` columns of `table` and `away` scores of zero, and its dL/df; x becomes dL/ds
    of every column. table: `step` numbers an area from `start` on, zero beyond the last column."""
    f, G, at, row_step, N = row
    zero = broadcast(0.0)
    for j in range(0, many, WIDTH):
        s = zero
        for m in range(N):
            s = fma(f[at + m * row_step], load_at(table, start + m * step + j, zero), s)
        store_at(x, j, s)
    for j in range(many, whole_vectors(many, WIDTH)):
        x[j] = -np.inf
    # ---- log-sum-exp, relative to the largest score
    top = zero - np.inf if away == 0 else zero
    for j in range(0, many, WIDTH):
        top = maximum(load_at(x, j, zero), top)
    largest = -np.inf
    store(spare, 0, top)
    for v in range(WIDTH):
        largest = max(largest, spare[0, v])
    s_own = x[own]
    inverse = 1.0 / temperature
    for j in range(0, many, WIDTH):
        e = maximum((load_at(x, j, zero) - largest) * inverse, zero + LEAST)
        store_at(x, j, select_equal(e, LEAST, 0.0, exp(e)))
    e_own = x[own]
    x[own] = 0.0
    total = zero
    for j in range(0, many, WIDTH):
        total = total + load_at(x, j, zero)
    others = across(total, spare)
    if away > 0:
        others += away * exp(-largest * inverse)
    scale = 1.0 / (n * (e_own + others))
    for j in range(0, many, WIDTH):
        store_at(x, j, load_at(x, j, zero) * scale)
    x[own] = -others * scale  # softmax less one, without the cancellation
    for m in range(N):
        total = zero
        for j in range(0, many, WIDTH):
            total = fma(load_at(x, j, zero), load_at(table, start + m * step + j, zero), total)
        G[at + m * row_step] = across(total, spare)
    if others <= e_own:
        return temperature * log1p(others / e_own)
    return temperature * log(e_own + others) + (largest - s_own)


@njit(nogil=True, error_model="numpy")
def across(x, spare):
    """Sum of the elements of a vector, in their order."""
    store(spare, 0, x)
    total = 0.0
    for v in range(WIDTH):
        total += spare[0, v]
    return total


@njit(nogil=True, error_model="numpy")
def contrast_columns(task, tasks, pooled, pairs, contrast):
    """Gradient of the loss in the pooled output of the second view, of one task's share of pairs, from dL/ds in `weights`."""
    _, G, columns = pooled
    first, column, count, stride, base, N, size = pairs
    weights, row_at = contrast[5], contrast[6]
    zero = broadcast(0.0)
    block = 0
    for k in range(len(N)):
        for j in range(first[k] - column[k], first[k + 1] - column[k], WIDTH):
            if block % tasks == task:
                for m in range(N[k]):
                    table = base[k] + m * stride[k]
                    total = zero
                    for i in range(count[k]):
                        total = fma(columns[table + i], load_at(weights, row_at[column[k] + i] + j, zero), total)
                    store_at(G, size + table + j, total)
            block += 1
