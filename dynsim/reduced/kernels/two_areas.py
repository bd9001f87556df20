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
    SEEN,
    amplitude_means,
    expectation,
)
from dynsim.reduced.kernels.pairs_of_areas import BOTH, BY_LEAD, BY_OWN, BY_SLIDE, LEAD_SQUARE, OWN_SQUARE, row_at, weighted_sum
from dynsim.reduced.kernels.simd import HALF_WIDTH, broadcast_half, fma, load_at, load_head, store_at, total
from dynsim.reduced.kernels.solvers import clear

LEAD, D_LEAD, KEY_LEAD, GIVEN_UP = OUTPUTS, OUTPUTS + 1, OUTPUTS + 2, OUTPUTS + 3
WITH_LEAD = OUTPUTS + 4
POINT = 3e-5  # relative spread of the own area's mean weight below which one point serves for two, to the square of it


@njit(nogil=True, error_model="numpy")
def pairs_at(pairs, w, wg, at):
    """All rows of the pairs from `at` on, w, wg."""
    both, by_own, by_lead = row_at(pairs, BOTH, at), row_at(pairs, BY_OWN, at), row_at(pairs, BY_LEAD, at)
    by_both, square, square_lead = row_at(pairs, BY_SLIDE, at), row_at(pairs, OWN_SQUARE, at), row_at(pairs, LEAD_SQUARE, at)
    return both, by_own, by_lead, by_both, square, square_lead, load_at(w, at, both), load_at(wg, at, both)


@njit(nogil=True, error_model="numpy")
def expectation_with_lead(
    c, n, mean, var, skew, free, mass, rest, one, two, top, low, pairs, w, wg,
    xg, xg_weight, x, x_weight, rho, rho2, count, spare, out,
):
    """closure.expectation with the global area summed over, `mass` of it at weight one; free: mass of all keys of other areas.

    Writes to `out` (WITH_LEAD,) what closure.expectation does, and LEAD: attention on the global area; D_LEAD: the gradient by
    its correlation; KEY_LEAD: by the mass of one of its keys; GIVEN_UP: top D_PHI + low D_LEAD, in which what the own and the
    global area take from each other is left out pair by pair. w, wg (padded,): e^(z phi) of both by `pairs` of nodes. spare:
    padded numbers or more."""
    padded = w.size
    zero = broadcast_half(0.0)
    s_loss, s_own, s_lead, s_phi, s_by_lead, s_slide, s_base = zero, zero, zero, zero, zero, zero, zero
    s_rest, s_one, s_two, s_seen, s_key, s_mean, s_var, s_skew = zero, zero, zero, zero, zero, zero, zero, zero
    for j in range(xg.size):
        at_lead = xg[j] * mass
        for i in range(count[j]):
            u = x[j, i]
            spread = u * (1.0 - u) / (n - 1.0) if n > 1.0 else 0.0
            lean = spread * (1.0 - 2.0 * u) / (n - 2.0) if n > 2.0 else 0.0
            m = u * mean
            v = spread * var
            h = 0.5 * lean * skew / v if v > 1e-24 * m * m else 0.0
            r = np.sqrt(h * h + v)
            d1 = h + r
            p1 = 0.5 * (1.0 - h / r) if r > 0.0 else 0.5
            p2 = 1.0 - p1
            S1 = c * (m + d1)
            S2 = c * (m + h - r)
            outside = free + (1.0 - xg[j]) * mass + rho[j, i] * rest  # all but G and what w adds to the own area
            V = rho[j, i] * one + rho2[j, i] * two
            i_loss, i_own, i_lead, i_phi, i_by_lead, i_slide, i_base = zero, zero, zero, zero, zero, zero, zero
            i_square, i_seen, i_key, i_12, i_112, i_1122 = zero, zero, zero, zero, zero, zero
            is_point = r <= POINT * m
            if is_point:
                h = 0.0
            for at in range(0, padded if is_point else 0, HALF_WIDTH):  # apart: divisions take long, and do not wait here
                less = load_at(w, at, zero) - 1.0
                store_at(spare, at, 1.0 / fma(less, c * m, fma(load_at(wg, at, zero), at_lead, outside)))
            for at in range(0, padded if is_point else 0, HALF_WIDTH):
                t, by_own, by_lead, by_both, square, square_lead, w_own, w_lead = pairs_at(pairs, w, wg, at)
                lead, less = w_lead * at_lead, w_own - 1.0
                f = load_at(spare, at, zero)
                k, g, rest_f, q = w_own * f * c, lead * f, (outside - c * m) * f, f * f * V
                a, y = k * m, g + rest_f  # A, 1 - A
                e, of_lead, tf = square * y, square_lead * g, t * f
                W, ea, other = fma(of_lead, g, q), e * a, a + rest_f
                i_loss = fma(t, fma(e, y, W), i_loss)
                i_own = fma(t, a, i_own)
                i_lead = fma(t, g, i_lead)
                # what each area takes from the other, and from all the rest
                between, of_own, lead_rest = a * g * (e + of_lead), a * fma(e, rest_f, q), g * fma(of_lead, rest_f, -q)
                i_phi = fma(-by_own, between + of_own, i_phi)
                i_by_lead = fma(by_lead, between + lead_rest, i_by_lead)
                i_slide = i_slide + fma(by_lead, lead_rest, -fma(by_own, of_own, by_both * between))
                i_base = fma(tf, ea - W, i_base)
                i_square = fma(tf, f, i_square)
                i_seen = i_seen + tf
                i_key = fma(w_lead * tf, fma(of_lead, other, ea - q), i_key)
                s, hk = less * f * c, fma(outside, f, g) * k
                half, Ws = square * t * hk, W * t * s
                i_12 = i_12 - fma(half, y, Ws)
                i_112 = i_112 + fma(half, fma(s, y, 0.5 * hk), 1.5 * Ws * s)
            for at in range(0, 0 if is_point else padded, HALF_WIDTH):
                t, by_own, by_lead, by_both, square, square_lead, w_own, w_lead = pairs_at(pairs, w, wg, at)
                lead, less = w_lead * at_lead, w_own - 1.0
                b = lead + outside
                f1, f2 = 1.0 / fma(less, S1, b), 1.0 / fma(less, S2, b)
                a1, a2 = w_own * S1 * f1, w_own * S2 * f2
                g1, g2 = lead * f1, lead * f2
                r1, r2 = (outside - S1) * f1, (outside - S2) * f2  # 1 - A - A_g
                y1, y2 = g1 + r1, g2 + r2
                q1, q2 = f1 * f1 * V, f2 * f2 * V
                of1, of2 = square_lead * g1, square_lead * g2
                W1, W2 = fma(of1, g1, q1), fma(of2, g2, q2)
                e1, e2 = square * y1, square * y2
                i_loss = fma(t, fma(p1, fma(e1, y1, W1), p2 * fma(e2, y2, W2)), i_loss)
                i_own = fma(t, fma(p1, a1, p2 * a2), i_own)
                i_lead = fma(t, fma(p1, g1, p2 * g2), i_lead)
                between = fma(p1, a1 * g1 * (e1 + of1), p2 * (a2 * g2 * (e2 + of2)))
                of_own = fma(p1, a1 * fma(e1, r1, q1), p2 * (a2 * fma(e2, r2, q2)))
                lead_rest = fma(p1, g1 * fma(of1, r1, -q1), p2 * (g2 * fma(of2, r2, -q2)))
                i_phi = fma(-by_own, between + of_own, i_phi)
                i_by_lead = fma(by_lead, between + lead_rest, i_by_lead)
                i_slide = i_slide + fma(by_lead, lead_rest, -fma(by_own, of_own, by_both * between))
                tf1, tf2 = t * p1 * f1, t * p2 * f2
                ea1, ea2 = e1 * a1, e2 * a2
                i_base = fma(tf1, ea1 - W1, fma(tf2, ea2 - W2, i_base))
                i_square = fma(tf1, f1, fma(tf2, f2, i_square))
                i_seen = i_seen + (tf1 + tf2)
                by_key = fma(tf1, fma(of1, a1 + r1, ea1 - q1), tf2 * fma(of2, a2 + r2, ea2 - q2))
                i_key = fma(w_lead, by_key, i_key)
                # divided differences as in closure.expectation, every large factor paired with an f: nothing overflows
                y12 = y1 + y2
                s1, s2 = less * f1 * c, less * f2 * c
                h1, h2 = b * f1, b * f2
                k1, k2 = w_own * f1 * c, w_own * f2 * c
                half, W = square * t * h1, fma(of1, g2, f1 * f2 * V) * t
                i_12 = i_12 - 0.5 * fma(half, k2 * y12, W * (s1 + s2))
                i_112 = i_112 + 0.5 * fma(half, k1 * fma(s2, y12, h1 * k2), W * s1 * fma(s1, 2.0, s2))
                i_1122 = i_1122 - fma(0.5 * half, k2 * s1 * fma(s2, y12, k2 * (h1 + h2)), W * s1 * s2 * (s1 + s2))
            weight = xg_weight[j] * x_weight[j, i]
            s_loss, s_own, s_lead = s_loss + i_loss * weight, s_own + i_own * weight, s_lead + i_lead * weight
            s_phi, s_by_lead, s_slide = s_phi + i_phi * weight, s_by_lead + i_by_lead * weight, s_slide + i_slide * weight
            i_base, i_square, i_seen, i_key = i_base * weight, i_square * weight, i_seen * weight, i_key * weight
            s_base = s_base + i_base
            s_rest = s_rest + i_base * rho[j, i]
            s_one = s_one + i_square * rho[j, i]
            s_two = s_two + i_square * rho2[j, i]
            s_seen = s_seen + i_seen * rho[j, i]
            s_key = s_key + (i_key * xg[j] + i_base * (1.0 - xg[j]))
            if u > 0.0:
                i_1122 = i_1122 * weight
                alpha = i_112 * weight - i_1122 * d1
                s_mean = s_mean + (i_12 * weight - alpha * (2.0 * h) + i_1122 * (2.0 * v)) * u
                s_var = s_var + (alpha - i_1122 * (2.0 * h)) * spread
                s_skew = s_skew + i_1122 * lean
    out[LOSS], out[OWN], out[SEEN], out[LEAD] = 0.5 * total(s_loss), total(s_own), total(s_seen), total(s_lead)
    out[D_PHI], out[D_LEAD], out[GIVEN_UP] = total(s_phi) / top, total(s_by_lead) / low, total(s_slide)
    out[D_BASE], out[D_REST], out[KEY_LEAD] = total(s_base), total(s_rest), total(s_key)
    out[D_ONE], out[D_TWO] = 0.5 * total(s_one), 0.5 * total(s_two)
    out[D_MEAN], out[D_VAR], out[D_SKEW] = total(s_mean), total(s_var), total(s_skew)


@njit(nogil=True, error_model="numpy")
def sums_over_classes(keys, first, S, E):
    """Sums of E and of E^2 over the keys of S classes, of which a table holds the numbers from `first` on."""
    zero = broadcast_half(0.0)
    one, two = zero, zero
    for s in range(0, S, HALF_WIDTH):
        e = load_at(E, s, zero)
        weight = load_head(keys, first + s, S - s, zero, 0.0) * e
        one, two = one + weight, two + weight * e
    return total(one), total(two)


@njit(nogil=True, error_model="numpy")
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


@njit(nogil=True, error_model="numpy")
def two_area_query(
    y, E, w, wo, wg, spare, out, P, clusters, lies, keys, n, copies, masked_share, z, z_weight, pairs, slide, law, two_areas, dy,
    attention,
):
    """Velocity and area attention of reconstruction of one query type, the global area summed over; returns its loss and how fast
    its own and global correlation slide up together.

    As closure.orbit_query, with both cluster types at all times (L, G; clusters (2,) may be zero): y, dy (6 + S + 1), E (S + 1,)
    its exp, w (2, 3, nodes), wo, wg (padded,) as `pairs_of_areas.weigh` has them. law: x, weight, rho, rho2 (2, J), count (2,)
    of the own area alone (used where own and global are one). two_areas: x, weight (Jg,) of the global area of a local query; x,
    weight, rho, rho2 (Jg, Jo), count (Jg,) of the own area given it. slide: see `pairs_of_areas.push_local`. out (WITH_LEAD,):
    scratch."""
    S = lies.shape[2]
    share = 1.0 / P
    rate = masked_share / clusters.sum()
    x, x_weight, rho, rho2, x_count = law
    xg, xg_weight, xo, xo_weight, rho_o, rho2_o, xo_count = two_areas
    loss, together = 0.0, 0.0
    for i in range(6):
        attention[i // 3, i % 3] = 0.0
    clear(out)
    clear(dy)
    for k in range(2):
        if clusters[k] == 0:
            continue
        own = share * weighted_sum(E[:S], keys, 3 * k * S) / copies[k, 0]
        lead = share * weighted_sum(E[:S], keys, (3 * k + 1) * S) / copies[k, 1]
        other, other2 = sums_over_classes(keys, (3 * k + 2) * S, S, E)
        other, other2 = share * other / copies[k, 2], share * share * other2 / copies[k, 2]
        mean, var, skew, whole, reach = own_statistics(E[:S], keys[k, 0], n[k], 1.0)
        w0, w1, zw, z2w2, z3w2 = amplitude_means(y[3 * k + 2], z, z_weight)
        others = copies[k, 2] * other
        rest, one = others * w1, copies[k, 2] * z2w2 * other2
        two = copies[k, 2] * z2w2 * (other * other - other2)
        base = own + share * E[S] + others
        if k == 1:  # own and global are one
            count = x_count[1]
            expectation(
                n[k] * share, whole, mean, var, skew, base, rest, one, two, z, z_weight, w[1, 0],
                x[k, :count], x_weight[k, :count], rho[k, :count], rho2[k, :count], out,
            )
        else:
            expectation_with_lead(
                n[k] * share, whole, mean, var, skew, base, lead, rest, one, two, slide[0], slide[1], pairs, wo, wg,
                xg, xg_weight, xo, xo_weight, rho_o, rho2_o, xo_count, spare, out,
            )
            attention[k, 1] = out[LEAD]
            dy[1] = -rate * out[D_LEAD]
            together = -rate * out[GIVEN_UP]
        loss += out[LOSS] * clusters[k] / clusters.sum()
        dy[3 * k] = -rate * out[D_PHI]
        by_v = out[D_ONE] * other2 + out[D_TWO] * (other * other - other2)
        dy[3 * k + 2] = -rate * (out[D_REST] * other * zw + by_v * z3w2)
        attention[k, 0] = out[OWN]
        attention[k, 2] = out[SEEN] * other * w0
        base, of_mean, of_var, of_skew, by_lead = share * out[D_BASE], out[D_MEAN], out[D_VAR], out[D_SKEW], out[KEY_LEAD]
        inside, each = (1.0, 1.0 / n[k]) if n[k] > 0.0 else (0.0, 0.0)
        outside, of_one, of_two = out[D_BASE] + w1 * out[D_REST], 2.0 * z2w2 * out[D_ONE], 2.0 * z2w2 * out[D_TWO]
        for s in range(S):
            e = min(max(E[s] - mean, -reach), reach)
            slope = inside * (mean + e) * (base + (of_mean + 2.0 * e * of_var + 3.0 * (e * e - var) * of_skew) * each)
            key = share * E[s]
            beside = key * (outside + of_one * key + of_two * (other - key))
            dy[6 + s] += lies[k, 0, s] * slope + lies[k, 1, s] * (key * by_lead) + lies[k, 2, s] * beside
        dy[6 + S] += clusters[k] * share * E[S] * out[D_BASE]
    for s in range(S + 1):
        dy[6 + s] *= -rate
    return loss, together
