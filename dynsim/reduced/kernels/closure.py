"""The mask expectation in closed form: one query, one cluster (docs/model.md, eq. C1-C9).

A masked query sees S, the sum of E_q = exp(Upsilon_pq) over the unmasked keys of its own area, and the rest by its mean.
With c the area's share of all patches (without the query), x = j / n the unmasked fraction of its n other patches,

    Z = (w - 1) c S + b,   w = exp(z Phi_own),   b = all keys at weight one + what other areas add on average given j,
    loss = E_{z, j, S} [ z^2 (1 - A)^2 + V / Z^2 ] / 2,   A = w c S / Z,   V = sum over other areas of E[z^2 w^2 S_m^2 | j].

z: quadrature nodes. j: hypergeometric, summed exactly or by its Gauss rule. S given j: a draw of j keys without
replacement, taken by the two-point Gauss rule that has the draw's exact mean, variance and third moment; the gradient of
that rule is Hermite interpolation, so it resolves keys of one area that differ (PP). Velocities are the exact gradient
of this loss. S is in units of n, masses in units of P: nothing overflows at any P.

Sums over amplitudes run on vectors (simd.py), in an order of their own: the bits depend neither on the processor nor on the
compiler.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import EXP_LEAST, exp
from dynsim.reduced.kernels.simd import (
    HALF_WIDTH,
    broadcast_half,
    clamp,
    fetch_add,
    fma,
    load_head,
    store_at,
    total,
    whole_vectors,
)
from dynsim.reduced.kernels.threads import DONE, LAST_RUN, current_run, next_block

# indices in the output of `expectation`
LOSS, OWN, D_PHI, D_BASE, D_REST, D_ONE, D_TWO, D_MEAN, D_VAR, D_SKEW, SEEN = range(11)
OUTPUTS = 11
SATURATED = 700.0  # exponent beyond which A is one whatever the area: large z, while small ones still grow


@njit(cache=True, nogil=True, error_model="numpy")
def expectation(c, n, mean, var, skew, base, rest, one, two, z, z_weight, w, x, x_weight, rho, rho2, out):
    """Loss of a query in one cluster and its derivatives, written to ``out`` (eq. C1-C9).

    Parameters
    ----------
    c : float
        Share of the own area without the query.
    n : float
        Patches of the own area besides the query, a whole number.
    mean, var, skew : float
        Mean and central moments of E over them.
    base : float
        Mass of all keys at weight one.
    rest : float
        Sum over other areas of (E w - 1) mass.
    one, two : float
        Parts of V with factors rho and rho2.
    z, z_weight, w : ndarray of shape (nodes,)
        Amplitudes, their probabilities, and exp(z Phi_own).
    x, x_weight, rho, rho2 : ndarray of shape (nodes,)
        Unmasked fraction of the own area, its probability, and given it the probability that another key, and that another
        pair of keys, is unmasked.
    out : ndarray of shape (OUTPUTS,)
        Loss and derivatives; written.
    """
    loss, attention, by_phi, by_base, by_rest, by_one, by_two, by_mean, by_var, by_skew, seen = (
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    )
    zero = broadcast_half(0.0)
    for i in range(x.size):
        # the draw of j keys: mean m, variance v, third central moment k3
        u = x[i]
        spread = u * (1.0 - u) / (n - 1.0) if n > 1.0 else 0.0
        lean = spread * (1.0 - 2.0 * u) / (n - 2.0) if n > 2.0 else 0.0
        m = u * mean
        v = spread * var
        # its two-point Gauss rule: S1 = m + d1 with probability p1, S2 = m + d2 with 1 - p1
        h = 0.5 * lean * skew / v if v > 1e-24 * m * m else 0.0
        r = np.sqrt(h * h + v)
        d1 = h + r
        p1 = 0.5 * (1.0 - h / r) if r > 0.0 else 0.5
        S1 = c * (m + d1)
        S2 = c * (m + h - r)
        b = base + rho[i] * rest
        V = rho[i] * one + rho2[i] * two
        # sums over amplitudes: loss, attention, its slopes, and divided differences F12, F112, F1122 of the loss
        s_loss, s_own, s_phi, s_base, s_square, s_seen, s_12, s_112, s_1122 = zero, zero, zero, zero, zero, zero, zero, zero, zero
        for a in range(0, z.size, HALF_WIDTH):
            za = load_head(z, a, z.size - a, zero, 0.0)
            wa = load_head(w, a, z.size - a, zero, 1.0)
            chance = load_head(z_weight, a, z.size - a, zero, 0.0)
            z2 = za * za
            less = wa - 1.0
            f1 = 1.0 / fma(less, S1, b)
            f2 = 1.0 / fma(less, S2, b)
            y1 = (b - S1) * f1  # 1 - A
            y2 = (b - S2) * f2
            t1 = chance * p1
            t2 = chance - t1
            ta1 = t1 * (wa * S1 * f1)
            ta2 = t2 * (wa * S2 * f2)
            V1 = V * f1 * f1
            V2 = V * f2 * f2
            e1 = z2 * y1
            e2 = z2 * y2
            l1 = fma(e1, y1, V1)
            l2 = fma(e2, y2, V2)
            s_loss = fma(t1, l1, fma(t2, l2, s_loss))
            s_own = s_own + (ta1 + ta2)
            s_phi = s_phi - za * fma(ta1, l1, ta2 * l2)
            tf1 = t1 * f1
            tf2 = t2 * f2
            s_base = s_base + fma(f1, ta1 * e1 - t1 * V1, f2 * (ta2 * e2 - t2 * V2))
            s_square = fma(tf1, f1, fma(tf2, f2, s_square))
            s_seen = s_seen + (tf1 + tf2)
            # (factors paired so that nothing overflows: slope f and g f stay near one over S)
            y12 = y1 + y2
            f12 = f1 + f2
            s1 = less * c * f1
            s2 = less * c * f2
            g1 = b * wa * c * f1
            g2 = b * wa * c * f2
            W = V * chance
            half = 0.5 * z2 * chance
            hg = half * g1
            ws = W * s1
            s_12 = s_12 - fma(hg * f2, y12, 0.5 * ws * f2 * f12)
            s_112 = s_112 + fma(hg * f1, fma(s2, y12, g1 * f2), 0.5 * ws * s1 * f2 * (f12 + f1))
            s_1122 = s_1122 - fma(hg * s1 * f2, fma(s2, y12, g2 * f12), ws * s1 * s2 * f2 * f12)
        i_loss, i_own, i_phi, i_base = 0.5 * total(s_loss), total(s_own), total(s_phi), total(s_base)
        i_square, i_seen, i_12, i_112, i_1122 = 0.5 * total(s_square), total(s_seen), total(s_12), total(s_112), total(s_1122)
        weight = x_weight[i]
        loss += weight * i_loss
        attention += weight * i_own
        by_phi += weight * i_phi
        by_base += weight * i_base
        by_rest += weight * rho[i] * i_base
        by_one += weight * rho[i] * i_square
        by_two += weight * rho2[i] * i_square
        seen += weight * rho[i] * i_seen
        if u == 0.0:
            continue  # nothing drawn: no slope
        # the gradient of the two-point rule is the Hermite cubic through S1 and S2
        alpha = i_112 - i_1122 * d1
        by_mean += weight * u * (i_12 - 2.0 * h * alpha + 2.0 * v * i_1122)
        by_var += weight * spread * (alpha - 2.0 * h * i_1122)
        by_skew += weight * lean * i_1122
    out[LOSS], out[OWN], out[SEEN] = loss, attention, seen
    out[D_PHI], out[D_BASE], out[D_REST] = by_phi, by_base, by_rest
    out[D_ONE], out[D_TWO] = by_one, by_two
    out[D_MEAN], out[D_VAR], out[D_SKEW] = by_mean, by_var, by_skew


@njit(cache=True, nogil=True, error_model="numpy")
def amplitude_means(phi, z, z_weight):
    """E[w], E[w] - 1, E[z w], E[z^2 w^2], E[2 z^3 w^2] with w = exp(z phi)."""
    zero = broadcast_half(0.0)
    w0, w1, zw, z2w2, z3w2 = zero, zero, zero, zero, zero
    for a in range(0, z.size, HALF_WIDTH):
        za = load_head(z, a, z.size - a, zero, 0.0)
        chance = load_head(z_weight, a, z.size - a, zero, 0.0)
        w = exp(za * phi)
        seen = chance * w
        pushed = za * seen
        square = pushed * za * w
        w0 = w0 + seen
        w1 = fma(chance, w - 1.0, w1)
        zw = zw + pushed
        z2w2 = z2w2 + square
        z3w2 = fma(2.0 * za, square, z3w2)
    return total(w0), total(w1), total(zw), total(z2w2), total(z3w2)


@njit(cache=True, nogil=True, error_model="numpy")
def exponentials(x, out):
    """out = exp(x), x kept from SATURATED up; out: whole vectors."""
    zero = broadcast_half(0.0)
    for a in range(0, x.size, HALF_WIDTH):
        store_at(out, a, exp(clamp(load_head(x, a, x.size - a, zero, 0.0), EXP_LEAST, SATURATED)))


@njit(cache=True, nogil=True, error_model="numpy")
def powers(z, phi, out):
    """out = exp(z phi), z phi kept from SATURATED up; out: whole vectors."""
    zero = broadcast_half(0.0)
    for a in range(0, z.size, HALF_WIDTH):
        store_at(out, a, exp(clamp(load_head(z, a, z.size - a, zero, 0.0) * phi, EXP_LEAST, SATURATED)))


@njit(cache=True, nogil=True, error_model="numpy")
def population_queries(
    counters, spins, y, F, own, size, offset, masked_share, z, z_weight, kind, x, x_weight, rho, rho2, x_count, mean_field,
    dy, loss, attention,
):
    """Velocity, loss and area attention of the queries that this thread claims, expected over clusters, amplitudes, masks.

    Parameters
    ----------
    counters, spins
        As in threads.ThreadPool.
    y : ndarray of shape (F + P, P)
        State: rows are features, then keys; columns are queries.
    F : int
        Features.
    own : ndarray of shape (K, P)
        Feature of each patch.
    size : ndarray of shape (F,)
        Patches of each area.
    offset : ndarray of shape (K + 1,)
        First feature of each cluster.
    masked_share : float
        Probability that a patch is masked.
    z, z_weight : ndarray of shape (nodes,)
        Amplitudes and probabilities.
    kind : ndarray of shape (F,)
        Row of the node tables for a query in that area.
    x, x_weight, rho, rho2 : ndarray of shape (kinds, nodes)
        Node tables of counts.unmasked_law, padded.
    x_count : ndarray of shape (kinds,)
        Their lengths.
    mean_field : bool
        Whether fluctuations are left out.
    dy : ndarray of shape (F + P, P)
        Velocity; written.
    loss : ndarray of shape (P,)
        Loss of each query; written.
    attention : ndarray of shape (F, P)
        Expected area attention; written.
    """
    K, P = own.shape
    share = 1.0 / P
    rate = masked_share / K
    E, dE = np.empty(whole_vectors(P, HALF_WIDTH)), np.empty(P)
    mass, mass2 = np.empty(F), np.empty(F)
    w0, w1, zw, z2w2, z3w2 = np.empty(F), np.empty(F), np.empty(F), np.empty(F), np.empty(F)
    upsilon, w = np.empty(P), np.empty(whole_vectors(z.size, HALF_WIDTH))
    out = np.empty(OUTPUTS)
    run = current_run(counters)
    while True:
        run, p = next_block(counters, run, P, spins)
        if run == LAST_RUN:
            return
        loss[p] = 0.0
        for q in range(P):
            upsilon[q] = y[F + q, p]
            dE[q] = 0.0
        exponentials(upsilon, E)
        for k in range(K):
            a = own[k, p]
            lo, hi = offset[k], offset[k + 1]
            for f in range(lo, hi):
                mass[f] = 0.0
                mass2[f] = 0.0
                w0[f], w1[f], zw[f], z2w2[f], z3w2[f] = amplitude_means(y[f, p], z, z_weight)
            for q in range(P):
                mass[own[k, q]] += share * E[q]
                mass2[own[k, q]] += share * share * E[q] * E[q]
            # central moments of E over the own area, without the query
            n = size[a] - 1.0
            mean = (mass[a] - share * E[p]) * P / n if n > 0 else 0.0
            var, skew = 0.0, 0.0
            for q in range(P):
                if own[k, q] == a and q != p:
                    d = E[q] - mean
                    var += d * d
                    skew += d * d * d
            if n > 0 and not mean_field:
                var /= n
                skew /= n
            else:
                var, skew = 0.0, 0.0
            # the other areas: mass at weight one, what w adds, and the two parts of V
            base, rest, one, two = mass[a], 0.0, 0.0, 0.0
            for f in range(lo, hi):
                if f != a:
                    square = 0.0 if mean_field else mass2[f]
                    base += mass[f]
                    rest += mass[f] * w1[f]
                    one += z2w2[f] * square
                    two += z2w2[f] * (mass[f] * mass[f] - square)
            powers(z, y[a, p], w)
            row = kind[a]
            count = x_count[row]
            expectation(
                n * share, n, mean, var, skew, base, rest, one, two, z, z_weight, w,
                x[row, :count], x_weight[row, :count], rho[row, :count], rho2[row, :count], out,
            )
            loss[p] += out[LOSS] / K
            # back to the correlations
            dy[a, p] = -rate * out[D_PHI]
            attention[a, p] = out[OWN]
            for f in range(lo, hi):
                if f != a:
                    square = 0.0 if mean_field else mass2[f]
                    by_v = out[D_ONE] * square + out[D_TWO] * (mass[f] * mass[f] - square)
                    dy[f, p] = -rate * (out[D_REST] * mass[f] * zw[f] + by_v * z3w2[f])
                    attention[f, p] = out[SEEN] * mass[f] * w0[f]
            pair = 0.0 if mean_field else 1.0
            for q in range(P):
                f = own[k, q]
                if f != a:
                    e = share * E[q] * pair
                    dE[q] += share * (
                        out[D_BASE] + w1[f] * out[D_REST] + 2.0 * z2w2[f] * (out[D_ONE] * e + out[D_TWO] * (mass[f] - e))
                    )
                elif q != p:
                    d = E[q] - mean
                    dE[q] += share * out[D_BASE] + (
                        out[D_MEAN] + pair * (2.0 * d * out[D_VAR] + 3.0 * (d * d - var) * out[D_SKEW])
                    ) / n
                else:
                    dE[q] += share * out[D_BASE]
        for q in range(P):
            dy[F + q, p] = -rate * E[q] * dE[q]
        fetch_add(counters, DONE)


@njit(cache=True, nogil=True, error_model="numpy")
def orbit_query(y, P, clusters, lies, keys, is_global, n, copies, masked_share, z, z_weight, x, x_weight, rho, rho2, x_count,
                mean_field, dy, attention):
    """Velocity and area attention of one query by orbits; returns its loss.

    Parameters
    ----------
    y : ndarray of shape (3C + S + 1,)
        State: Phi own/global/other for each of C cluster types (L, G) of the query, Upsilon for each of S classes of key
        patterns, then that of the query itself.
    P : float
        Patches.
    clusters : ndarray of shape (C,)
        How many clusters are of the type.
    lies : ndarray of shape (C, 3, S)
        In how many of them keys of a class lie in the own, the global, an other area.
    keys : ndarray of shape (C, 3, S)
        How many keys of the class lie so in any one of them.
    is_global, n : ndarray of shape (C,)
        Whether the query lies in the global area; keys beside the query in its own area.
    copies : ndarray of shape (C, 3)
        Areas of each role.
    masked_share : float
        Probability that a patch is masked.
    z, z_weight : ndarray of shape (nodes,)
        Amplitudes and probabilities.
    x, x_weight, rho, rho2 : ndarray of shape (C, nodes)
        Node tables of counts.unmasked_law, padded.
    x_count : ndarray of shape (C,)
        Their lengths.
    mean_field : bool
        Whether fluctuations are left out.
    dy : ndarray of shape (3C + S + 1,)
        Velocity; written.
    attention : ndarray of shape (C, 3)
        Expected attention per area; written.

    Returns
    -------
    float
        Loss of the query.
    """
    C, _, S = lies.shape
    share = 1.0 / P
    rate = masked_share / clusters.sum()
    pair = 0.0 if mean_field else 1.0
    E, dupsilon = np.empty(whole_vectors(S + 1, HALF_WIDTH)), np.zeros(S + 1)
    exponentials(y[3 * C :], E)
    mass, mass2 = np.empty(3), np.empty(3)
    w0, w1, zw, z2w2, z3w2 = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    w = np.empty(whole_vectors(z.size, HALF_WIDTH))
    out = np.empty(OUTPUTS)
    loss = 0.0
    for k in range(C):
        for d in range(3):
            one, two = 0.0, 0.0
            for s in range(S):
                weight = share * keys[k, d, s] * E[s]
                one += weight
                two += share * weight * E[s]
            mass[d] = one / copies[k, d]
            mass2[d] = two / copies[k, d] * pair
        mean, var, skew, lightest = 0.0, 0.0, 0.0, np.inf
        if n[k] > 0.0:
            for s in range(S):
                if keys[k, 0, s] > 0.0:
                    mean += keys[k, 0, s] / n[k] * E[s]
                    lightest = min(lightest, E[s])
            for s in range(S):
                e = E[s] - mean
                var += keys[k, 0, s] / n[k] * e * e
                skew += keys[k, 0, s] / n[k] * e * e * e
        # j keys weigh no less than j of the lightest: keeps both points of every draw above that. Binds only where patterns of
        # less than one key stand out, which no draw of whole keys could give
        whole, most, over = np.rint(n[k]), np.ceil(n[k]) - 1.0, mean - lightest
        if whole == 2.0:
            var = min(var, over * over / most)
        elif whole > 2.0 and over > 0.0:
            stretch = (whole - 2.0) / (most - 1.0)
            var = min(var, (whole - 1.0) * over * over)
            under = var / ((whole - 1.0) * over)
            skew = min(max(skew, var * stretch * (most * under - over)), var * stretch * (most * over - under))
        base, rest, one, two = mass[0] + share * E[S], 0.0, 0.0, 0.0
        for d in range(1, 3):
            w0[d], w1[d], zw[d], z2w2[d], z3w2[d] = amplitude_means(y[3 * k + d], z, z_weight)
            base += copies[k, d] * mass[d]
            rest += copies[k, d] * mass[d] * w1[d]
            one += copies[k, d] * z2w2[d] * mass2[d]
            two += copies[k, d] * z2w2[d] * (mass[d] * mass[d] - mass2[d])
        powers(z, y[3 * k], w)
        count = x_count[k]
        expectation(
            n[k] * share, whole, mean, pair * var, pair * skew, base, rest, one, two, z, z_weight, w,
            x[k, :count], x_weight[k, :count], rho[k, :count], rho2[k, :count], out,
        )
        loss += out[LOSS] * clusters[k] / clusters.sum()
        dy[3 * k] = -rate * out[D_PHI]
        attention[k, 0] = out[OWN]
        for d in range(1, 3):
            by_v = out[D_ONE] * mass2[d] + out[D_TWO] * (mass[d] * mass[d] - mass2[d])
            dy[3 * k + d] = -rate * (out[D_REST] * mass[d] * zw[d] + by_v * z3w2[d])
            attention[k, d] = out[SEEN] * mass[d] * w0[d]
        if is_global[k]:
            dy[3 * k + 1] = 0.0
        # no key of n lies further from their mean (Samuelson): holds patterns that hardly occur inside the fit
        reach = np.sqrt(var * max(0.0, whole - 1.0))
        for s in range(S):
            e = min(max(E[s] - mean, -reach), reach)
            slope = (mean + e) * (
                share * out[D_BASE]
                + (out[D_MEAN] + pair * (2.0 * e * out[D_VAR] + 3.0 * (e * e - var) * out[D_SKEW])) / n[k]
            ) if n[k] > 0.0 else 0.0
            dupsilon[s] += lies[k, 0, s] * slope
            e = share * E[s] * pair
            for d in range(1, 3):
                slope = out[D_BASE] + w1[d] * out[D_REST] + 2.0 * z2w2[d] * (out[D_ONE] * e + out[D_TWO] * (mass[d] - e))
                dupsilon[s] += lies[k, d, s] * E[s] * share * slope
        dupsilon[S] += clusters[k] * share * E[S] * out[D_BASE]
    for s in range(S + 1):
        dy[3 * C + s] = -rate * dupsilon[s]
    return loss
