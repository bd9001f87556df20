"""The mask expectation of reconstruction where the global area may draw attention of order one: one query type.

closure.py takes every area but the own one by its mean inside Z. That serves while those areas hold little of Z; under a mixed
objective the global one may hold all of it. Here the amplitude z_g and the unmasked fraction x_g of the global area are
summed over as those of the own area are, and closure.py's rule is taken given both (docs/contrastive-population.md, E5-E7):

    Z = w S + G + f,   w = e^(z Phi_own),   G = w_g x_g M_g,   loss = [z^2 (1 - A)^2 + z_g^2 A_g^2 + V_r / Z^2] / 2.

What lowers the global correlation is A_g (z_g^2 A_g (1 - A_g) + z^2 A (1 - A) - V_r / Z^2), and 1 - A_g is the sum of the other
shares: nothing cancels as A_g comes to one.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.closure import (
    D_BASE,
    D_MEAN,
    D_ONE,
    D_PHI,
    D_REST,
    D_SKEW,
    D_TWO,
    D_VAR,
    LOSS,
    OUTPUTS,
    OWN,
    SATURATED,
    SEEN,
    amplitude_means,
    expectation,
)

LEAD, D_LEAD = OUTPUTS, OUTPUTS + 1  # attention on the global area, and the gradient by its score over G
WITH_LEAD = OUTPUTS + 2


@njit(cache=True, nogil=True, error_model="numpy")
def expectation_with_lead(c, n, mean, var, skew, free, lead, z_lead, rest, one, two, z, z_weight, w, x, x_weight, rho, rho2, out):
    """closure.expectation given the global area: `lead` = w_g x_g M_g and its amplitude z_lead; free: mass of all keys at weight
    one without the unmasked global ones. Adds to `out` (WITH_LEAD,) the places LEAD and D_LEAD; the others are the same."""
    square = z_lead * z_lead
    out[:] = 0.0
    for i in range(x.size):
        u = x[i]
        spread = u * (1.0 - u) / (n - 1.0) if n > 1.0 else 0.0
        lean = spread * (1.0 - 2.0 * u) / (n - 2.0) if n > 2.0 else 0.0
        m = u * mean
        v = spread * var
        h = 0.5 * lean * skew / v if v > 1e-24 * m * m else 0.0
        r = np.sqrt(h * h + v)
        d1 = h + r
        p1 = 0.5 * (1.0 - h / r) if r > 0.0 else 0.5
        S1 = c * (m + d1)
        S2 = c * (m + h - r)
        outside = free + rho[i] * rest  # all but G and what w adds to the own area
        b = outside + lead
        V = rho[i] * one + rho2[i] * two
        i_loss, i_own, i_phi, i_base, i_square, i_seen, i_12, i_112, i_1122 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        i_lead, i_by_lead = 0.0, 0.0
        for a in range(z.size):
            half = 0.5 * z[a] * z[a]
            less = w[a] - 1.0
            f1 = 1.0 / (less * S1 + b)
            f2 = 1.0 / (less * S2 + b)
            y1 = (b - S1) * f1  # 1 - A
            y2 = (b - S2) * f2
            a1 = w[a] * S1 * f1
            a2 = w[a] * S2 * f2
            t1 = z_weight[a] * p1
            t2 = z_weight[a] - t1
            lead1 = lead * f1
            lead2 = lead * f2
            others1 = V * f1 * f1
            others2 = V * f2 * f2
            V1 = square * lead1 * lead1 + others1
            V2 = square * lead2 * lead2 + others2
            V12 = square * lead1 * lead2 + V * f1 * f2
            e1 = 2.0 * half * y1
            e2 = 2.0 * half * y2
            i_loss += 0.5 * (t1 * (e1 * y1 + V1) + t2 * (e2 * y2 + V2))
            i_own += t1 * a1 + t2 * a2
            i_lead += t1 * lead1 + t2 * lead2
            i_phi -= z[a] * (t1 * a1 * (e1 * y1 + V1) + t2 * a2 * (e2 * y2 + V2))
            i_base += t1 * f1 * (e1 * a1 - V1) + t2 * f2 * (e2 * a2 - V2)
            i_square += 0.5 * (t1 * f1 * f1 + t2 * f2 * f2)
            i_seen += t1 * f1 + t2 * f2
            by1 = square * lead1 * ((outside + less * S1) * f1) + e1 * a1 - others1
            by2 = square * lead2 * ((outside + less * S2) * f2) + e2 * a2 - others2
            i_by_lead += t1 * f1 * by1 + t2 * f2 * by2
            # divided differences as in closure.expectation, V paired with two of the f
            y12 = y1 + y2
            f12 = f1 + f2
            s1 = less * c * f1
            s2 = less * c * f2
            g1 = b * w[a] * c * f1
            g2 = b * w[a] * c * f2
            W = V12 * z_weight[a]
            half *= z_weight[a]
            i_12 -= half * g1 * f2 * y12 + 0.5 * W * (s1 + s2)
            i_112 += half * g1 * f1 * (s2 * y12 + g1 * f2) + 0.5 * W * s1 * (2.0 * s1 + s2)
            i_1122 -= half * g1 * s1 * f2 * (s2 * y12 + g2 * f12) + W * s1 * s2 * (s1 + s2)
        weight = x_weight[i]
        out[LOSS] += weight * i_loss
        out[OWN] += weight * i_own
        out[LEAD] += weight * i_lead
        out[D_PHI] += weight * i_phi
        out[D_BASE] += weight * i_base
        out[D_REST] += weight * rho[i] * i_base
        out[D_ONE] += weight * rho[i] * i_square
        out[D_TWO] += weight * rho2[i] * i_square
        out[SEEN] += weight * rho[i] * i_seen
        out[D_LEAD] += weight * i_by_lead
        if u == 0.0:
            continue
        alpha = i_112 - i_1122 * d1
        out[D_MEAN] += weight * u * (i_12 - 2.0 * h * alpha + 2.0 * v * i_1122)
        out[D_VAR] += weight * spread * (alpha - 2.0 * h * i_1122)
        out[D_SKEW] += weight * lean * i_1122


@njit(cache=True, nogil=True, error_model="numpy")
def own_statistics(E, keys, n, pair):
    """Mean and held second and third central moments of E (S,) over the n keys of an own area, keys (S,) of each class; as
    closure.orbit_query has them. Returns (mean, var, skew, whole, reach)."""
    mean, var, skew, lightest = 0.0, 0.0, 0.0, np.inf
    if n > 0.0:
        for s in range(keys.size):
            if keys[s] > 0.0:
                mean += keys[s] / n * E[s]
                lightest = min(lightest, E[s])
        for s in range(keys.size):
            e = E[s] - mean
            var += keys[s] / n * e * e
            skew += keys[s] / n * e * e * e
    whole, most, over = np.rint(n), np.ceil(n) - 1.0, mean - lightest
    if whole == 2.0:
        var = min(var, over * over / most)
    elif whole > 2.0 and over > 0.0:
        stretch = (whole - 2.0) / (most - 1.0)
        var = min(var, (whole - 1.0) * over * over)
        under = var / ((whole - 1.0) * over)
        skew = min(max(skew, var * stretch * (most * under - over)), var * stretch * (most * over - under))
    return mean, pair * var, pair * skew, whole, np.sqrt(var * max(0.0, whole - 1.0)) * pair


@njit(cache=True, nogil=True, error_model="numpy")
def two_area_query(
    y, P, clusters, lies, keys, n, copies, masked_share, z, z_weight, x, x_weight, rho, rho2, x_count,
    xg, xg_weight, xo, xo_weight, rho_o, rho2_o, xo_count, dy, attention,
):
    """Velocity and area attention of reconstruction of one query type, the global area summed over; returns its loss.

    As closure.orbit_query, with both cluster types at all times (L, G; clusters (2,) may be zero): y, dy (6 + S + 1). xg,
    xg_weight (Jg,): law of the unmasked fraction of the global area of a local query; xo ... (Jg, Jo), xo_count (Jg,): of the
    own area given it. x ... (2, J): of the own area alone (used where own and global are one)."""
    S = lies.shape[2]
    share, nodes = 1.0 / P, z.size
    rate = masked_share / clusters.sum()
    E, dupsilon = np.exp(y[6:]), np.zeros(S + 1)
    mass, mass2 = np.empty(3), np.empty(3)
    w0, w1, zw, z2w2, z3w2 = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    w, wg = np.empty(nodes), np.empty(nodes)
    out, sums = np.empty(WITH_LEAD), np.empty(WITH_LEAD)
    loss = 0.0
    dy[:6] = 0.0
    attention[:] = 0.0
    for k in range(2):
        if clusters[k] == 0:
            continue
        for d in range(3):
            one, two = 0.0, 0.0
            for s in range(S):
                weight = share * keys[k, d, s] * E[s]
                one += weight
                two += share * weight * E[s]
            mass[d] = one / copies[k, d]
            mass2[d] = two / copies[k, d]
        mean, var, skew, whole, reach = own_statistics(E[:S], keys[k, 0], n[k], 1.0)
        for d in range(1, 3):
            w0[d], w1[d], zw[d], z2w2[d], z3w2[d] = amplitude_means(y[3 * k + d], z, z_weight)
        for i in range(nodes):
            w[i] = np.exp(min(z[i] * y[3 * k], SATURATED))
            wg[i] = np.exp(min(z[i] * y[3 * k + 1], SATURATED))
        others = copies[k, 2] * mass[2]
        rest, one = others * w1[2], copies[k, 2] * z2w2[2] * mass2[2]
        two = copies[k, 2] * z2w2[2] * (mass[2] * mass[2] - mass2[2])
        base = mass[0] + share * E[S] + others
        sums[:] = 0.0
        by_global, global_slope = 0.0, 0.0
        if k == 1:  # own and global are one
            count = x_count[1]
            expectation(
                n[k] * share, whole, mean, var, skew, base, rest, one, two, z, z_weight, w,
                x[k, :count], x_weight[k, :count], rho[k, :count], rho2[k, :count], sums,
            )
        else:
            for j in range(xg.size):
                count = xo_count[j]
                for b in range(nodes):
                    lead = wg[b] * xg[j] * mass[1]
                    expectation_with_lead(
                        n[k] * share, whole, mean, var, skew, base + (1.0 - xg[j]) * mass[1], lead, z[b], rest, one, two,
                        z, z_weight, w, xo[j, :count], xo_weight[j, :count], rho_o[j, :count], rho2_o[j, :count], out,
                    )
                    weight = xg_weight[j] * z_weight[b]
                    for i in range(WITH_LEAD):
                        sums[i] += weight * out[i]
                    by_global += weight * z[b] * lead * out[D_LEAD]
                    global_slope += weight * (xg[j] * wg[b] * out[D_LEAD] + (1.0 - xg[j]) * out[D_BASE])
            attention[k, 1] = sums[LEAD]
        loss += sums[LOSS] * clusters[k] / clusters.sum()
        dy[3 * k] = -rate * sums[D_PHI]
        dy[3 * k + 1] = -rate * by_global
        by_v = sums[D_ONE] * mass2[2] + sums[D_TWO] * (mass[2] * mass[2] - mass2[2])
        dy[3 * k + 2] = -rate * (sums[D_REST] * mass[2] * zw[2] + by_v * z3w2[2])
        attention[k, 0] = sums[OWN]
        attention[k, 2] = sums[SEEN] * mass[2] * w0[2]
        for s in range(S):
            e = min(max(E[s] - mean, -reach), reach)
            slope = (mean + e) * (
                share * sums[D_BASE] + (sums[D_MEAN] + 2.0 * e * sums[D_VAR] + 3.0 * (e * e - var) * sums[D_SKEW]) / n[k]
            ) if n[k] > 0.0 else 0.0
            dupsilon[s] += lies[k, 0, s] * slope + lies[k, 1, s] * share * E[s] * global_slope
            e = share * E[s]
            slope = sums[D_BASE] + w1[2] * sums[D_REST] + 2.0 * z2w2[2] * (sums[D_ONE] * e + sums[D_TWO] * (mass[2] - e))
            dupsilon[s] += lies[k, 2, s] * E[s] * share * slope
        dupsilon[S] += clusters[k] * share * E[S] * sums[D_BASE]
    for s in range(S + 1):
        dy[6 + s] = -rate * dupsilon[s]
    return loss
