"""The kernel of the field on any images (docs/images.md, eq. I1): numbers and contiguous arrays in, arrays out.

It is written for one query p and runs on a vector of queries (simd.py). Blocks of queries are independent: threads claim them
one after another, and the bits depend neither on the number of threads nor on how queries fall into blocks. Sums over pixels and
over unmasked keys are four products of (keys, d) with a vector of queries; four of their results at a time stay in registers.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import exp
from dynsim.reduced.kernels.reconstruction import SWAMPED, division
from dynsim.reduced.kernels.simd import (
    WIDTH,
    any_less,
    borrowed,
    broadcast,
    broadcast_half,
    element,
    fetch_add,
    fma,
    load,
    load_at,
    load_columns,
    maximum,
    new_table,
    store,
    store_columns,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, next_block

LARGE = 300.0  # scores of content beyond this are shifted: exp(300) P and its square are finite


@njit(nogil=True, error_model="numpy")
def scalar_products(table, X, a, b, c, e, d, zero):
    """Inner products of the d rows of a table with four rows of X, which begin at a, b, c, e."""
    s, t, u, v = zero, zero, zero, zero
    for j in range(d):
        x = load(table, j, zero)
        s = fma(element(X, a + j), x, s)
        t = fma(element(X, b + j), x, t)
        u = fma(element(X, c + j), x, u)
        v = fma(element(X, e + j), x, v)
    return s, t, u, v


@njit(nogil=True, error_model="numpy")
def scalar_product(table, X, a, d, zero):
    """The same with one row of X."""
    s = zero
    for j in range(d):
        s = fma(element(X, a + j), load(table, j, zero), s)
    return s


@njit(nogil=True, error_model="numpy")
def mixtures(table, X, starts, u, j, zero):
    """Columns j..j + 3 of the u rows of X that begin at `starts`, added up with the rows of a table as weights."""
    f, g, h, i = zero, zero, zero, zero
    for k in range(u):
        a = load(table, k, zero)
        at = element(starts, k) + j
        f = fma(element(X, at), a, f)
        g = fma(element(X, at + 1), a, g)
        h = fma(element(X, at + 2), a, h)
        i = fma(element(X, at + 3), a, i)
    return f, g, h, i


@njit(nogil=True, error_model="numpy")
def mixture(table, X, starts, u, j, zero):
    """The same for one column."""
    f = zero
    for k in range(u):
        f = fma(element(X, element(starts, k) + j), load(table, k, zero), f)
    return f


@njit(nogil=True, error_model="numpy")
def project(table, X, starts, u, d, out, zero):
    """out[k] = sum_j X[starts[k] + j] table[j] for the u keys of an image."""
    k = 0
    while k + 4 <= u:
        s, t, v, w = scalar_products(
            table, X, element(starts, k), element(starts, k + 1), element(starts, k + 2), element(starts, k + 3), d, zero
        )
        store(out, k, s)
        store(out, k + 1, t)
        store(out, k + 2, v)
        store(out, k + 3, w)
        k += 4
    while k < u:
        store(out, k, scalar_product(table, X, element(starts, k), d, zero))
        k += 1


@njit(nogil=True, error_model="numpy")
def combine(table, X, starts, u, d, out, zero):
    """out[j] += sum_k X[starts[k] + j] table[k] over the u keys of an image."""
    j = 0
    while j + 4 <= d:
        f, g, h, i = mixtures(table, X, starts, u, j, zero)
        store(out, j, load(out, j, zero) + f)
        store(out, j + 1, load(out, j + 1, zero) + g)
        store(out, j + 2, load(out, j + 2, zero) + h)
        store(out, j + 3, load(out, j + 3, zero) + i)
        j += 4
    while j < d:
        store(out, j, load(out, j, zero) + mixture(table, X, starts, u, j, zero))
        j += 1


@njit(cache=True, nogil=True, error_model="numpy")
def image_blocks(counters, spins, y, images, rows, token, wanted, dy, loss, attention):
    """Minus gradient, loss and attention (eq. I1) over the given rows of the data, of the query blocks that this thread claims.

    y, dy (d + P, P): rows are pixel axes, then keys; columns are queries. wanted: fill attention (P, P), keys by queries, summed
    over rows. loss (1, P) per query.
    images: X (m P d,) the patches in a row; columns (m, d, P') the same, patches last, P' >= P whole blocks of WIDTH, zero beyond
    P; image (n,) the picture of a row; masked (n, P') uint8; key_ptr (n + 1,), keys: unmasked keys of row i are
    keys[key_ptr[i]..key_ptr[i + 1]]. rows: row, weight (r,), those to sum over.
    token: used, mu (d,), tau; masked keys carry mu, and the value tau mu.
    """
    P = y.shape[1]
    d = y.shape[0] - P
    key_ptr = images[4]
    wides, blocks = division(P)
    longest = 0
    for i in range(key_ptr.size - 1):
        longest = max(longest, key_ptr[i + 1] - key_ptr[i])
    E, H, seen = new_table(P), new_table(P), new_table(P)  # exp(Upsilon) shifted, -dL/dUpsilon / E, attention / E
    phi, dphi, R = new_table(d), new_table(d), new_table(d)  # Phi, -dL/dPhi, output and residual
    S, W = new_table(longest), new_table(longest)  # by unmasked key of an image
    tables = E, H, seen, phi, dphi, R, S, W, np.empty(longest, np.intp), new_table(1)
    work = y, images, rows, token, tables, wanted, dy, loss, attention

    run = current_run(counters)
    while True:
        run, block = next_block(counters, run, blocks, spins)
        if run == LAST_RUN:
            return
        if block < wides:
            image_block(broadcast(0.0), block * WIDTH, *work)
        else:
            image_block(broadcast_half(0.0), block * WIDTH, *work)
        fetch_add(counters, DONE)


@njit(nogil=True, error_model="numpy")
def image_block(zero, p0, y, images, rows, token, tables, wanted, dy, loss, attention):
    """The same for a vector of queries from p0 on, as wide as `zero`."""
    y, images, rows, token, tables = borrowed((y, images, rows, token, tables))
    dy, loss, attention = borrowed((dy, loss, attention))
    X, columns, image, masked, key_ptr, keys = images
    row, row_weight = rows
    with_token, mu, tau = token
    E, H, seen, phi, dphi, R, S, W, starts, spare = tables
    P = y.shape[1]
    d = y.shape[0] - P
    width = masked.shape[1]
    content = zero  # score of the token
    for j in range(d):
        x = load_columns(y, j, p0, zero, spare)
        store(phi, j, x)
        store(dphi, j, zero)
        content = fma(element(mu, j), x, content)
    top = zero - np.inf
    for q in range(P):
        upsilon = load_columns(y, d + q, p0, zero, spare)
        top = maximum(upsilon, top)
        store(E, q, upsilon)
    total = zero
    for q in range(P):
        e = exp(load(E, q, zero) - top)
        store(E, q, e)
        total = total + e
        store(H, q, zero)
        store(seen, q, zero)
    common, common_seen, of_token, cost = zero, zero, zero, zero

    for r in range(row.size):
        i = element(row, r)
        first, u = element(key_ptr, i), element(key_ptr, i + 1) - element(key_ptr, i)
        picture = element(image, i)
        for k in range(u):
            starts[k] = (picture * P + element(keys, first + k)) * d
        # ---- weights of content, w_q = exp(Phi . X_q), of masked keys m = exp(Phi . mu): both shifted where one is very large
        project(phi, X, starts, u, d, S, zero)
        most = content
        for k in range(u):
            most = maximum(load(S, k, zero), most)
        shift = maximum(most, zero + LARGE) - LARGE
        m = zero + 1.0
        if with_token or any_less(LARGE, most):
            m = exp(content - shift)
        # ---- Z = sum over unmasked q of w_q E_q + m sum over masked q of E_q, the latter as all less the unmasked
        shown, Z = zero, zero
        for k in range(u):
            w = exp(load(S, k, zero) - shift)
            e = load(E, element(keys, first + k), zero)
            shown = shown + e
            store(W, k, w)
            store(S, k, w * e)
            Z = fma(w, e, Z)
        hidden = total - shown
        # ---- where the subtraction would cost digits, count masked keys one by one
        swamped = any_less(fma(m, hidden, Z), SWAMPED * m * total)
        if swamped:
            hidden = zero
            for q in range(P):
                if masked[i, q]:
                    hidden = hidden + load(E, q, zero)
        inverse = 1.0 / fma(m, hidden, Z)
        on = element(row_weight, r) * load_at(masked, i * width + p0, zero)
        # ---- F = sum_q attn_q value_q, r = F - X_p, gbar = r . F
        for j in range(d):
            store(R, j, zero)
        combine(S, X, starts, u, d, R, zero)
        gbar, g_token, norm = zero, zero, zero
        at_hidden = tau * m * hidden * inverse
        for j in range(d):
            F = fma(element(mu, j), at_hidden, load(R, j, zero) * inverse)
            residual = F - load_at(columns, (picture * d + j) * width + p0, zero)
            store(R, j, residual)
            gbar = fma(residual, F, gbar)
            norm = fma(residual, residual, norm)
            g_token = fma(element(mu, j), residual, g_token)
        cost = fma(0.5 * on, norm, cost)
        # ---- -dL/dscore_q = attn_q (gbar - g_q), here over E_q; that of masked keys is common to all of them
        on = on * inverse
        of_hidden = on * m * fma(-tau, g_token, gbar)
        of_token = fma(of_hidden, hidden, of_token)
        seen_hidden = on * m
        if swamped:
            for q in range(P):
                if masked[i, q]:
                    store(H, q, load(H, q, zero) + of_hidden)
                    store(seen, q, load(seen, q, zero) + seen_hidden)
            of_hidden, seen_hidden = zero, zero
        common = common + of_hidden  # added to all keys, and subtracted again from unmasked ones
        common_seen = common_seen + seen_hidden
        if wanted:
            for k in range(u):
                q = element(keys, first + k)
                store(seen, q, load(seen, q, zero) + fma(on, load(W, k, zero), 0.0 - seen_hidden))
        # ---- g_q = r . X_q; then S, which holds w_q E_q, is turned into -dL/dscore_q
        weigh_keys(R, X, starts, u, d, S, W, H, E, keys, first, on, gbar, of_hidden, zero)
        combine(S, X, starts, u, d, dphi, zero)

    store_columns(loss, 0, p0, cost, spare)
    for j in range(d):
        store_columns(dy, j, p0, fma(element(mu, j), of_token, load(dphi, j, zero)), spare)
    for q in range(P):
        e = load(E, q, zero)
        store_columns(dy, d + q, p0, e * (load(H, q, zero) + common), spare)
        if wanted:
            store_columns(attention, q, p0, e * (load(seen, q, zero) + common_seen), spare)


@njit(nogil=True, error_model="numpy")
def weigh_keys(R, X, starts, u, d, S, W, H, E, keys, first, on, gbar, of_hidden, zero):
    """From S[k] = w_k E_k to -dL/dscore_k, and the same over E_k added to H, less what masked keys get."""
    project(R, X, starts, u, d, S, zero)
    for k in range(u):
        q = element(keys, first + k)
        w = load(W, k, zero)
        c = on * (gbar - load(S, k, zero))
        store(H, q, load(H, q, zero) + fma(w, c, 0.0 - of_hidden))
        store(S, k, w * load(E, q, zero) * c)
