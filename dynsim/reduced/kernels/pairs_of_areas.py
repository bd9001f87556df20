"""Sums over the amplitudes of two areas, and the pooled attention that contrast compares.

A local query sees its own area, of amplitude z_a, and the global one, of amplitude z_b: every average over both is a sum over
all pairs of quadrature nodes. Pairs stand side by side in SIMD vectors, padded with pairs of weight zero, so that a sum over
10 x 10 pairs is a dozen vectors; what does not depend on the pair (unmasked fractions) is looped over outside. Nothing is
reordered, or fused but by `fma`.
"""

from numba import njit

from dynsim.reduced.kernels.closure import powers
from dynsim.reduced.kernels.simd import HALF_WIDTH, broadcast_half, fma, load_at, load_head, maximum, store_at, total

BOTH, BY_OWN, BY_LEAD, BY_SLIDE, OWN_SQUARE, LEAD_SQUARE = range(6)
# rows of `pairs`: the probability of a pair; this times top z_a, low z_b, top z_a - low z_b; z_a^2, z_b^2
TINY = 1e-300  # mass of an area that draws no attention
PUSHED = 13  # numbers that `push_local` writes


@njit(nogil=True, error_model="numpy")
def row_at(pairs, row, at):
    """Pairs from `at` on, of one row."""
    return load_at(pairs, row * pairs.shape[1] + at, broadcast_half(0.0))


@njit(nogil=True, error_model="numpy")
def size(x):
    """The sizes of the elements of a vector."""
    return maximum(x, -x)


@njit(nogil=True, error_model="numpy")
def weigh(row, k, z, w, wo, wg):
    """e^(z phi) of the own, the global, an other area in a cluster of type k (0: L, 1: G), w (3, nodes in whole vectors); and of
    the first two by pairs of nodes, wo and wg (padded,): 1 beyond the pairs."""
    nodes = z.size
    for d in range(0, 3, 1 + k):  # own and global area are one where a query is global
        powers(z, row[3 * k + d], w[d])
    if k == 0:
        in_vectors, zero = nodes >= HALF_WIDTH, broadcast_half(0.0)
        for b in range(nodes):
            lead = zero + w[1, b]
            for a in range(0, nodes if in_vectors else 0, HALF_WIDTH):
                first = min(a, nodes - HALF_WIDTH)  # the last two overlap
                store_at(wo, b * nodes + first, load_at(w, first, zero))
                store_at(wg, b * nodes + first, lead)
            for a in range(0 if in_vectors else nodes):
                wo[b * nodes + a], wg[b * nodes + a] = w[0, a], w[1, b]


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
    share, m, n_local, z, z_weight, pairs, wo, wg, others, x, x_weight, xo, xo_weight, rho, count, f, spare, pooled, local
):
    """Adds what the local queries of one type, a fraction `share` of all pairs of patch and cluster, bring to the pooled
    attention of the global area, pooled (J, nodes), and to what a view shows of a local one, local (nodes,).

    m (4,): mass of the own, the global, all other areas at weight one, E[w] of an other; others (nodes,): w of an other; f (J
    times the own area's nodes, padded): 1 / Z, written; spare (2, padded). others, pooled, local: in whole vectors."""
    nodes, padded = z.size, wo.size
    zero = broadcast_half(0.0)
    seen = zero
    for j in range(x.size):
        for i in range(count[j]):
            base = (1.0 - x[j]) * m[1] + (1.0 - xo[j, i]) * m[0] + rho[j, i] * m[2] * m[3] + (1.0 - rho[j, i]) * m[2]
            weight, at_own, at_lead = xo_weight[j, i], xo[j, i] * m[0], x[j] * m[1]
            unseen, own_weight, lead_weight = x_weight[j] * weight * rho[j, i], at_own * weight, at_lead * weight
            at = (j * rho.shape[1] + i) * padded
            for v in range(0, padded, HALF_WIDTH):
                w_own, w_lead = load_at(wo, v, zero), load_at(wg, v, zero)
                each = 1.0 / fma(w_own, at_own, fma(w_lead, at_lead, base))
                store_at(f, at + v, each)
                on_lead, on_own = w_lead * each * lead_weight, w_own * each * own_weight
                if i > 0:
                    on_lead, on_own = load_at(spare, v, zero) + on_lead, load_at(spare, padded + v, zero) + on_own
                store_at(spare, v, on_lead)
                store_at(spare, padded + v, on_own)
                seen = fma(row_at(pairs, BOTH, v) * each, unseen, seen)
        for b in range(nodes):
            pooled[j, b] += share * weighted_sum(z_weight, spare, b * nodes)
        for a in range(0, nodes, HALF_WIDTH):
            sums = zero
            for b in range(nodes):
                sums = sums + load_head(spare, padded + b * nodes + a, nodes - a, zero, 0.0) * z_weight[b]
            each = load_head(z, a, nodes - a, zero, 0.0) * (share / n_local * x_weight[j])
            store_at(local, a, load_at(local, a, zero) + each * sums)
    if n_local > 1.5:
        show_others(share * (m[2] * total(seen) / n_local), z, others, local)


@njit(nogil=True, error_model="numpy")
def show_others(rest, z, others, local):
    """Adds what a view shows of other local areas."""
    zero = broadcast_half(0.0)
    for a in range(0, z.size, HALF_WIDTH):
        term = load_head(z, a, z.size - a, zero, 0.0) * load_at(others, a, zero)
        store_at(local, a, load_at(local, a, zero) + term * rest)


@njit(nogil=True, error_model="numpy")
def pool_global(share, m, n_local, z, z_weight, w, others, x, x_weight, rho, pooled, local):
    """The same of global queries; w (nodes in whole vectors,): of the global area."""
    zero = broadcast_half(0.0)
    seen, wide = zero, pooled.shape[1]
    for j in range(x.size):
        base = (1.0 - x[j]) * m[0] + (1.0 - rho[j, 0]) * m[2] + rho[j, 0] * m[2] * m[3]
        for b in range(0, z.size, HALF_WIDTH):
            G = load_at(w, b, zero) * (x[j] * m[0])
            f = 1.0 / (base + G)
            store_at(pooled, j * wide + b, load_at(pooled, j * wide + b, zero) + G * f * share)
            seen = seen + load_head(z_weight, b, z.size - b, zero, 0.0) * f * (x_weight[j] * rho[j, 0])
    show_others(share * (m[2] * total(seen) / n_local), z, others, local)


@njit(nogil=True, error_model="numpy")
def push_local(m, top, low, pairs, wo, wg, f, x, x_weight, xo, xo_weight, rho, count, h_lead, h_own, out):
    """Gradient of H for a query that lies in a local area: by phi of the own, the global, the others, out[0:3]; by the weight of
    a key there, out[3:6]; attention on the own, the global, and E[rho / Z], out[6:9]; and the slide top out[0] + low out[1],
    in which what the two areas take from each other is left out pair by pair, out[9]. The sizes of what pairs add to out[0],
    out[1], out[9], out[10:13]: small and large amplitudes may be pushed in opposite ways.

    f: as `pool_local` has written it. m (7,): as there, then E[w z D_l], E[w z], E[w z^2 D_l] of an other area; h_lead (J,
    padded): z_b D of the global area, h_own (padded,): z_a D of the own one."""
    padded = wo.size
    zero = broadcast_half(0.0)
    by_own, by_lead, slide, on_own, on_lead = zero, zero, zero, zero, zero
    own_size, lead_size, slide_size = zero, zero, zero
    others, key_own, key_lead, key_others, seen = zero, zero, zero, zero, zero
    of_own, of_lead = 1.0 / m[0] if m[0] > TINY else 0.0, 1.0 / m[1] if m[1] > TINY else 0.0  # from log mass to mass
    for j in range(x.size):
        for i in range(count[j]):
            masked = (1.0 - x[j]) * m[1] + (1.0 - xo[j, i]) * m[0] + (1.0 - rho[j, i]) * m[2]
            rest, drawn = masked + rho[j, i] * m[2] * m[3], rho[j, i] * m[2] * m[4]
            at_own, at_lead, weight = xo[j, i] * m[0], x[j] * m[1], x_weight[j] * xo_weight[j, i]
            F, M, i_own, i_lead, i_slide, i_on_own, i_on_lead = zero, zero, zero, zero, zero, zero, zero
            at = (j * rho.shape[1] + i) * padded
            size_own, size_lead, size_slide, unit_own, unit_lead = zero, zero, zero, zero, zero
            for v in range(0, padded, HALF_WIDTH):
                t, z_own, z_lead = row_at(pairs, BOTH, v), row_at(pairs, BY_OWN, v), row_at(pairs, BY_LEAD, v)
                h_o, h_g = load_at(h_own, v, zero), load_at(h_lead, j * padded + v, zero)
                own, lead = load_at(wo, v, zero) * at_own, load_at(wg, v, zero) * at_lead
                each = load_at(f, at + v, zero)
                A_o, A_g, rest_f, drawn_f = own * each, lead * each, rest * each, drawn * each
                # what each area takes from all the rest, and the own one from the global one
                alone_o, alone_g = A_o * fma(rest_f, h_o, -drawn_f), A_g * fma(rest_f, h_g, -drawn_f)
                between = A_o * A_g * (h_o - h_g)
                up_own, up_lead = alone_o + between, alone_g - between
                to_own, to_lead = z_own * up_own, z_lead * up_lead
                up = fma(z_own, alone_o, fma(z_lead, alone_g, row_at(pairs, BY_SLIDE, v) * between))
                i_own, i_lead, i_slide = i_own + to_own, i_lead + to_lead, i_slide + up
                size_own, size_lead, size_slide = size_own + size(to_own), size_lead + size(to_lead), size_slide + size(up)
                unit_own, unit_lead = fma(t, up_own, unit_own), fma(t, up_lead, unit_lead)
                i_on_own, i_on_lead = fma(t, A_o, i_on_own), fma(t, A_g, i_on_lead)
                tf = t * each
                F = F + tf
                M = fma(tf, fma(A_g, h_g, fma(A_o, h_o, drawn_f)), M)
            by_own, by_lead, slide = by_own + i_own * weight, by_lead + i_lead * weight, slide + i_slide * weight
            own_size, lead_size = own_size + size_own * weight, lead_size + size_lead * weight
            slide_size, F, M = slide_size + size_slide * weight, F * weight, M * weight
            on_own, on_lead = on_own + i_on_own * weight, on_lead + i_on_lead * weight
            others = others + (F * m[6] - M * m[5]) * rho[j, i]
            key_own = key_own + (unit_own * (weight * of_own) - M * (1.0 - xo[j, i]))
            key_lead = key_lead + (unit_lead * (weight * of_lead) - M * (1.0 - x[j]))
            key_others = key_others + ((F * m[4] - M * m[3]) * rho[j, i] - M * (1.0 - rho[j, i]))
            seen = seen + F * rho[j, i]
    out[0], out[1], out[2] = total(by_own) / top, total(by_lead) / low, total(others)
    out[3], out[4], out[5] = total(key_own), total(key_lead), total(key_others)
    out[6], out[7], out[8] = total(on_own), total(on_lead), total(seen)
    out[9] = total(slide)
    out[10], out[11], out[12] = total(own_size) / top, total(lead_size) / low, total(slide_size)


@njit(nogil=True, error_model="numpy")
def push_global(m, z, z_weight, w, x, x_weight, rho, D, out):
    """The same of a query that lies in the global area, nothing at the places of the global one; D (J, nodes)."""
    for i in range(out.size):
        out[i] = 0.0
    zero, nodes = broadcast_half(0.0), z.size
    for j in range(x.size):
        masked = (1.0 - x[j]) * m[0] + (1.0 - rho[j, 0]) * m[2]
        others, drawn = rho[j, 0] * m[2] * m[3], rho[j, 0] * m[2] * m[4]
        by_own, on_size, key_own, on_own, F, M = zero, zero, zero, zero, zero, zero
        for b in range(0, nodes, HALF_WIDTH):
            z_own, t = load_head(z, b, nodes - b, zero, 0.0), load_head(z_weight, b, nodes - b, zero, 0.0)
            w_own, h = load_at(w, b, zero), z_own * load_head(D, j * nodes + b, nodes - b, zero, 0.0)
            G = w_own * (x[j] * m[0])
            f = 1.0 / (masked + others + G)
            A = G * f
            apart = (masked + others) * f * h - drawn * f  # h - mean
            up, tf = t * z_own * A * apart, t * f
            by_own, on_size = by_own + up, on_size + size(up)
            key_own, on_own, F, M = key_own + tf * w_own * apart, on_own + t * A, F + tf, M + tf * (A * h + drawn * f)
        F, M = total(F) * x_weight[j], total(M) * x_weight[j]
        out[0] += x_weight[j] * total(by_own)
        out[2] += rho[j, 0] * (m[6] * F - m[5] * M)
        out[3] += x[j] * (x_weight[j] * total(key_own)) - (1.0 - x[j]) * M
        out[5] += rho[j, 0] * (m[4] * F - m[3] * M) - (1.0 - rho[j, 0]) * M
        out[6] += x_weight[j] * total(on_own)
        out[8] += rho[j, 0] * F
        out[10] += x_weight[j] * total(on_size)
