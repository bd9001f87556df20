"""Sums over the amplitudes of two areas, and the pooled attention that contrast compares.

A local query sees its own area, of amplitude z_a, and the global one, of amplitude z_b: every average over both is a sum over
all pairs of quadrature nodes. Pairs stand side by side in SIMD vectors, padded with pairs of weight zero, so that a sum over
10 x 10 pairs is a dozen vectors; what does not depend on the pair (unmasked fractions) is looped over outside. Nothing is
reordered or fused: the bits are the same on every machine.
"""

from numba import njit

from dynsim.reduced.kernels.closure import powers
from dynsim.reduced.kernels.simd import HALF_WIDTH, broadcast_half, load_at, load_head, maximum, store_at, total

OWN_Z, LEAD_Z, BOTH, SLIDE = range(4)  # rows of `pairs`: z_a, z_b, the probability of both, top z_a - low z_b
PUSHED = 13  # numbers that `push_local` writes


@njit(nogil=True, error_model="numpy")
def size(x):
    """The sizes of the elements of a vector."""
    return maximum(x, 0.0 - x)


@njit(nogil=True, error_model="numpy")
def weigh(row, k, z, w, wo, wg):
    """e^(z phi) of the own, the global, an other area in a cluster of type k (0: L, 1: G), w (3, nodes in whole vectors); and of
    the first two by pairs of nodes, wo and wg (padded,): 1 beyond the pairs."""
    nodes = z.size
    for d in range(3):
        powers(z, row[3 * k + d], w[d])
    if k == 0:
        for b in range(nodes):
            for a in range(nodes):
                wo[b * nodes + a] = w[0, a]
                wg[b * nodes + a] = w[1, b]


@njit(nogil=True, error_model="numpy")
def weighted_sum(weights, table, first):
    """Sum of `weights` times as many numbers of a table from `first` on."""
    zero = broadcast_half(0.0)
    sums = zero
    for a in range(0, weights.size, HALF_WIDTH):
        left = weights.size - a
        sums = sums + load_head(weights, a, left, zero, 0.0) * load_head(table, first + a, left, zero, 0.0)
    return total(sums)


@njit(nogil=True, error_model="numpy")
def pool_local(
    share, m, n_local, z, z_weight, pairs, wo, wg, others, x, x_weight, xo, xo_weight, rho, count, spare, pooled, local
):
    """Adds what the local queries of one type, a fraction `share` of all pairs of patch and cluster, bring to the pooled
    attention of the global area, pooled (J, nodes), and to what a view shows of a local one, local (nodes,).

    m (4,): mass of the own, the global, all other areas at weight one, E[w] of an other; others (nodes,): w of an other; spare
    (2, padded)."""
    nodes, padded = z.size, wo.size
    zero = broadcast_half(0.0)
    seen = zero
    for j in range(x.size):
        for v in range(padded):
            spare[0, v], spare[1, v] = 0.0, 0.0
        for i in range(count[j]):
            base = (1.0 - x[j]) * m[1] + (1.0 - xo[j, i]) * m[0] + rho[j, i] * m[2] * m[3] + (1.0 - rho[j, i]) * m[2]
            weight, at_own, at_lead = xo_weight[j, i], xo[j, i] * m[0], x[j] * m[1]
            unseen = x_weight[j] * weight * rho[j, i]
            for v in range(0, padded, HALF_WIDTH):
                own, lead = load_at(wo, v, zero) * at_own, load_at(wg, v, zero) * at_lead
                f = 1.0 / (base + lead + own)
                store_at(spare, v, load_at(spare, v, zero) + lead * f * weight)
                store_at(spare, padded + v, load_at(spare, padded + v, zero) + own * f * weight)
                seen = seen + load_at(pairs, BOTH * padded + v, zero) * f * unseen
        for b in range(nodes):
            pooled[j, b] += share * weighted_sum(z_weight, spare, b * nodes)
        for b in range(nodes):
            for a in range(nodes):
                local[a] += share / n_local * z[a] * (x_weight[j] * z_weight[b] * spare[1, b * nodes + a])
    if n_local > 1.5:
        rest = share * (m[2] * total(seen) / n_local)
        for a in range(nodes):
            local[a] += rest * z[a] * others[a]


@njit(nogil=True, error_model="numpy")
def pool_global(share, m, n_local, z, z_weight, w, others, x, x_weight, rho, pooled, local):
    """The same of global queries; w (nodes,): of the global area."""
    seen = 0.0
    for j in range(x.size):
        base = (1.0 - x[j]) * m[0] + (1.0 - rho[j, 0]) * m[2] + rho[j, 0] * m[2] * m[3]
        for b in range(z.size):
            G = w[b] * x[j] * m[0]
            f = 1.0 / (base + G)
            pooled[j, b] += share * (G * f)
            seen += x_weight[j] * z_weight[b] * rho[j, 0] * f
    rest = share * (m[2] * seen / n_local)
    for a in range(z.size):
        local[a] += rest * z[a] * others[a]


@njit(nogil=True, error_model="numpy")
def push_local(m, top, low, pairs, wo, wg, x, x_weight, xo, xo_weight, rho, count, h_lead, h_own, out):
    """Gradient of H for a query that lies in a local area: by phi of the own, the global, the others, out[0:3]; by the weight of
    a key there, out[3:6]; attention on the own, the global, and E[rho / Z], out[6:9]; and the slide top out[0] + low out[1],
    in which what the two areas take from each other is left out pair by pair, out[9]. The sizes of what pairs add to out[0],
    out[1], out[9], out[10:13]: small and large amplitudes may be pushed in opposite ways.

    m (7,): as in `pool_local`, then E[w z D_l], E[w z], E[w z^2 D_l] of an other area; h_lead (J, padded): z_b D of the global
    area, h_own (padded,): z_a D of the own one."""
    padded = wo.size
    zero = broadcast_half(0.0)
    by_own, by_lead, slide, on_own, on_lead = zero, zero, zero, zero, zero
    own_size, lead_size, slide_size = zero, zero, zero
    others, key_own, key_lead, key_others, seen = zero, zero, zero, zero, zero
    for j in range(x.size):
        for i in range(count[j]):
            masked = (1.0 - x[j]) * m[1] + (1.0 - xo[j, i]) * m[0] + (1.0 - rho[j, i]) * m[2]
            rest, drawn = masked + rho[j, i] * m[2] * m[3], rho[j, i] * m[2] * m[4]
            at_own, at_lead, weight = xo[j, i] * m[0], x[j] * m[1], x_weight[j] * xo_weight[j, i]
            F, M, unit_own, unit_lead = zero, zero, zero, zero
            for v in range(0, padded, HALF_WIDTH):
                t = load_at(pairs, BOTH * padded + v, zero) * weight
                z_own, z_lead = load_at(pairs, OWN_Z * padded + v, zero), load_at(pairs, LEAD_Z * padded + v, zero)
                h_o, h_g = load_at(h_own, v, zero), load_at(h_lead, j * padded + v, zero)
                w_own, w_lead = load_at(wo, v, zero), load_at(wg, v, zero)
                f = 1.0 / (rest + w_own * at_own + w_lead * at_lead)
                A_o, A_g, rest_f, drawn_f = w_own * at_own * f, w_lead * at_lead * f, rest * f, drawn * f
                mean = A_g * h_g + A_o * h_o + drawn_f
                alone_o, alone_g = rest_f * h_o - drawn_f, rest_f * h_g - drawn_f
                apart = h_o - h_g
                apart_o, apart_g = alone_o + A_g * apart, alone_g - A_o * apart
                tf = t * f
                to_own, to_lead = t * z_own * A_o * apart_o, t * z_lead * A_g * apart_g
                up = t * (
                    A_o * (z_own * top * alone_o + load_at(pairs, SLIDE * padded + v, zero) * A_g * apart)
                    + A_g * z_lead * low * alone_g
                )
                by_own, by_lead, slide = by_own + to_own, by_lead + to_lead, slide + up
                own_size, lead_size, slide_size = own_size + size(to_own), lead_size + size(to_lead), slide_size + size(up)
                unit_own = unit_own + tf * w_own * apart_o
                unit_lead = unit_lead + tf * w_lead * apart_g
                on_own = on_own + t * A_o
                on_lead = on_lead + t * A_g
                F = F + tf
                M = M + tf * mean
            others = others + (F * m[6] - M * m[5]) * rho[j, i]
            key_own = key_own + (unit_own * xo[j, i] - M * (1.0 - xo[j, i]))
            key_lead = key_lead + (unit_lead * x[j] - M * (1.0 - x[j]))
            key_others = key_others + ((F * m[4] - M * m[3]) * rho[j, i] - M * (1.0 - rho[j, i]))
            seen = seen + F * rho[j, i]
    out[0], out[1], out[2] = total(by_own), total(by_lead), total(others)
    out[3], out[4], out[5] = total(key_own), total(key_lead), total(key_others)
    out[6], out[7], out[8] = total(on_own), total(on_lead), total(seen)
    out[9] = total(slide)
    out[10], out[11], out[12] = total(own_size), total(lead_size), total(slide_size)


@njit(nogil=True, error_model="numpy")
def push_global(m, z, z_weight, w, x, x_weight, rho, D, out):
    """The same of a query that lies in the global area, nothing at the places of the global one; D (J, nodes)."""
    for i in range(out.size):
        out[i] = 0.0
    for j in range(x.size):
        masked = (1.0 - x[j]) * m[0] + (1.0 - rho[j, 0]) * m[2]
        others, drawn = rho[j, 0] * m[2] * m[3], rho[j, 0] * m[2] * m[4]
        by_own, key_own, on_own, F, M = 0.0, 0.0, 0.0, 0.0, 0.0
        for b in range(z.size):
            G = w[b] * x[j] * m[0]
            f = 1.0 / (masked + others + G)
            h = z[b] * D[j, b]
            A = G * f
            mean = A * h + drawn * f
            apart = (masked + others) * f * h - drawn * f  # h - mean
            t = x_weight[j] * z_weight[b]
            by_own += t * z[b] * A * apart
            out[10] += abs(t * z[b] * A * apart)
            key_own += t * f * w[b] * apart
            on_own += t * A
            F += t * f
            M += t * f * mean
        out[0] += by_own
        out[2] += rho[j, 0] * (m[6] * F - m[5] * M)
        out[3] += x[j] * key_own - (1.0 - x[j]) * M
        out[5] += rho[j, 0] * (m[4] * F - m[3] * M) - (1.0 - rho[j, 0]) * M
        out[6] += on_own
        out[8] += rho[j, 0] * F
