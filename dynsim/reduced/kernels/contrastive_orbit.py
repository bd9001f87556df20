"""Contrastive and mixed velocity of all query types at once, expected over clusters, amplitudes and masks, at any P.

What a view says of its image is the pooled attention of all patches (docs/contrastive-population.md, E1-E4): of the global
area f(z, x) = z Abar(z, x), given its amplitude z and its unmasked fraction x in this view, of a local area of amplitude z
the mean l(z) = z Lbar(z). With n_l local areas and S = n_l E[l]^2,

    L_con = -E_z[f(z)^2] - n_l E[l^2] + tau E_i log Z_i,   Z_i = (K - 1) / K + (1 / K) E_j exp((f_i f_j + S) / tau),
    D_g(i) = f(z_i) - (1 / K) E_j[exp((f_i f_j + S) / tau) f_j] / Z_i,   D_l(z) = l(z) - E_i[1 - (K - 1) / (K Z_i)] E[l],

with f(z) the mean over x. A query of attention A_m moves along the gradient of H = E[sum_m A_m z_m D_m] at fixed D:

    dPhi_m = E[z_m A_m (h_m - hbar)],   h_m = z_m D_m,   hbar = sum_m A_m h_m,

and h_m - hbar is (1 - A_m) h_m - sum over the others, 1 - A_m the sum of the other shares: nothing cancels as A_g comes to one.
Without stop-gradient D has the same from the other view, and the velocity is minus the gradient of L_con.
"""

import math

import numpy as np
from numba import njit

from dynsim.reduced.kernels.balance import from_slide, held_back, rate, slides
from dynsim.reduced.kernels.closure import exponentials, orbit_query
from dynsim.reduced.kernels.elementary import exp, expm1_of_vector, log, log1p
from dynsim.reduced.kernels.multistep import DONE, SLOPE, advance
from dynsim.reduced.kernels.pairs_of_areas import PUSHED, pool_global, pool_local, push_global, push_local, weigh, weighted_sum
from dynsim.reduced.kernels.simd import HALF_WIDTH, borrowed, broadcast_half, load_at, load_head, store_at, total, whole_vectors
from dynsim.reduced.kernels.solvers import largest, within
from dynsim.reduced.kernels.two_areas import WITH_LEAD, two_area_query

PP_PUSHED = 1e-2  # of the pushes on FP of its type, what counts as pushes on PP: less, as PP has no fast balance of its own
STEP = 1e-7  # of a correlation, for differences: what a stiff solver's Jacobian needs
STEP_PP = 1e-5  # the same for PP: bounds on the law of an own area hide what a scarce class does within 1e-7
SMALL = 1e-9  # part of the pooled attention below which a change is not followed to other types
SMALL_PP = 1e-3  # the same for PP, which moves it less
IS_GLOBAL = np.array([False, True])
NONE, OWN_AREA, TWO_AREAS = 0, 1, 2  # how reconstruction averages over masks


@njit(nogil=True, error_model="numpy")
def masses(E, k, P, keys, z, z_weight, w_others, out):
    """What contrastive softmaxes of a query type see in a cluster of type k (0: L, 1: G), written to out (7,): mass of the own
    (with the query itself), the global, all other areas at weight one; E[w], E[w z] of an other area (3, 5); 4 and 6 are left
    to `drawn`."""
    S = keys.shape[2]
    for i in range(out.size):
        out[i] = 0.0
    for d in range(3):
        out[d] = weighted_sum(E[:S], keys, (3 * k + d) * S) / P
    out[0] += E[S] / P
    zero = broadcast_half(0.0)
    mean, by_z = zero, zero
    for a in range(0, z.size, HALF_WIDTH):
        term = load_head(z_weight, a, z.size - a, zero, 0.0) * load_at(w_others, a, zero)
        mean, by_z = mean + term, by_z + term * load_head(z, a, z.size - a, zero, 0.0)
    out[3], out[5] = total(mean), total(by_z)


@njit(nogil=True, error_model="numpy")
def drawn(z, z_weight, w_others, d_local, out):
    """E[w z D_l], E[w z^2 D_l] of an other area, out[4] and out[6]."""
    zero = broadcast_half(0.0)
    by_z, by_square = zero, zero
    for a in range(0, z.size, HALF_WIDTH):
        za = load_head(z, a, z.size - a, zero, 0.0)
        term = load_head(z_weight, a, z.size - a, zero, 0.0) * load_at(w_others, a, zero) * za
        term = term * load_head(d_local, a, z.size - a, zero, 0.0)
        by_z, by_square = by_z + term, by_square + term * za
    out[4], out[6] = total(by_z), total(by_square)


@njit(nogil=True, error_model="numpy")
def targets(K, tau, n_local, both, has_loss, z, z_weight, x_weight, pooled, local, D, d_local, space):
    """The targets D (J, nodes) of the global area and d_local (nodes,) of a local one; returns L_con less tau log n,
    which may be NaN where it is not asked for: it takes many logarithms.

    pooled (J, nodes): Abar(z, x); local (nodes,): l(z). space (3 + J nodes, J nodes in whole vectors): scratch."""
    J, nodes = pooled.shape[0], z.size
    N, width = J * nodes, space.shape[1]
    f, over_z, weight, table = space[0], space[1], space[2], space[3:]
    zero = broadcast_half(0.0)
    mean_local, loss, top = 0.0, 0.0, 0.0
    for a in range(nodes):
        mean_local += z_weight[a] * local[a]
        loss -= n_local * z_weight[a] * local[a] * local[a]
    S = n_local * mean_local * mean_local
    for j in range(J):
        for b in range(nodes):
            f[j * nodes + b] = z[b] * pooled[j, b]
            weight[j * nodes + b] = x_weight[j] * z_weight[b]
            top = max(top, f[j * nodes + b])
    for i in range(N, width):
        f[i], weight[i] = 0.0, 0.0
    small = (top * top + S) / tau < 30.0
    q = 0.0  # E_i of the weight that negatives of the same cluster have
    for i in range(N):
        mean = 0.0
        if small:
            for k in range(0, width, HALF_WIDTH):
                store_at(table, i * width + k, expm1_of_vector((load_at(f, k, zero) * f[i] + S) / tau))
            mean = weighted_sum(weight, table, i * width)
            log_z = log1p(mean / K) if has_loss else math.nan
            over_z[i] = 1.0 / (1.0 + mean / K)
            q += weight[i] * (1.0 - (K - 1.0) / K * over_z[i])
        else:
            shift = (f[i] * top + S) / tau
            for k in range(width):
                table[i, k] = exp(f[i] * (f[k] - top) / tau)
                mean += weight[k] * table[i, k]
            mean = mean / K + (K - 1.0) / K * exp(-shift)
            log_z = log(mean) + shift
            over_z[i] = 1.0 / mean
            q += weight[i] * (1.0 - (K - 1.0) / K * exp(-log_z))  # 1 - (K - 1) / (K Z) without overflow
        loss += weight[i] * tau * log_z
    less = 1.0 if small else 0.0
    for b in range(nodes):
        mean = 0.0
        for j in range(J):
            mean += x_weight[j] * f[j * nodes + b]
        loss -= z_weight[b] * mean * mean
        for j in range(J):
            D[j, b] = mean * (2.0 if both else 1.0)
        d_local[b] = (local[b] - q * mean_local) * (2.0 if both else 1.0)
    for j in range(J):
        for b in range(nodes):
            i = j * nodes + b
            shares = zero
            for k in range(0, width, HALF_WIDTH):
                shares = shares + load_at(f, k, zero) * load_at(weight, k, zero) * (load_at(table, i * width + k, zero) + less)
            negative = total(shares) * over_z[i]
            for k in range(N if both else 0):
                negative += weight[k] * f[k] * (table[k, i] + less) * over_z[k]
            D[j, b] -= negative / K
    return loss


@njit(nogil=True, error_model="numpy")
def prepare(
    row, share, P, K, n_local, clusters, keys, z, z_weight, pairs, con, E, w, wo, wg, m, f, spare, pooled, local
):
    """Exponentials of one query type, E (S + 1,) and w (2, 3, nodes), in whole vectors, wo, wg (padded,), its masses m (2, 7), f,
    which is 1 / Z by pairs, and what its queries, a fraction `share` of all, add to the pooled attention (without contrast `con`
    has no nodes)."""
    x, x_weight, xo, xo_weight, rho, count, rho_global = con
    exponentials(row[6:], E)
    for k in range(2):
        if clusters[k] == 0:
            continue
        weigh(row, k, z, w[k], wo, wg)
        if x.size == 0:
            continue
        masses(E, k, P, keys, z, z_weight, w[k, 2], m[k])
        of_all = share * clusters[k] / K
        if k == 0:
            pool_local(of_all, m[0], n_local, z, z_weight, pairs, wo, wg, w[0, 2], x, x_weight, xo, xo_weight, rho, count, f,
                       spare, pooled, local)
        else:
            pool_global(of_all, m[1], n_local, z, z_weight, w[1, 0], w[1, 2], x, x_weight, rho_global, pooled, local)


@njit(nogil=True, error_model="numpy")
def contrast(
    scale, P, clusters, lies, copies, z, z_weight, pairs, slide, con, D, d_local, h_lead, h_own, E, w, wo, wg, m, f, out,
    drow, up, together, attention,
):
    """Adds the contrastive velocity of one query type at given targets to drow, the size of its pushes to `up` (6 + S + 1,), how
    fast own and global correlation slide up together, and its pushes, to together (2,); attention (2, 3) is written."""
    x, x_weight, xo, xo_weight, rho, count, rho_global = con
    S = lies.shape[2]
    for k in range(2):
        if clusters[k] == 0:
            continue
        drawn(z, z_weight, w[k, 2], d_local, m[k])
        if k == 0:
            push_local(m[0], slide[0], slide[1], pairs, wo, wg, f, x, x_weight, xo, xo_weight, rho, count, h_lead, h_own, out)
            together[0] += scale * out[9]
            together[1] += scale * out[12]
        else:
            push_global(m[1], z, z_weight, w[1, 0], x, x_weight, rho_global, D, out)
        out[2] *= m[k, 2] / copies[k, 2]
        for d in range(3):
            drow[3 * k + d] += scale * out[d]
            up[3 * k + d] += scale * out[10 + d] if d < 2 else abs(scale * out[d])
        attention[k, 0], attention[k, 1] = out[6], out[7]
        attention[k, 2] = out[8] * m[k, 2] / copies[k, 2] * m[k, 3]
        by_key = scale / P
        for s in range(S):
            slope = (lies[k, 0, s] * out[3] + lies[k, 1, s] * out[4] + lies[k, 2, s] * out[5]) * (by_key * E[s])
            drow[6 + s] += slope
            up[6 + s] += abs(slope)
        slope = clusters[k] * out[3] * (by_key * E[S])
        drow[6 + S] += slope
        up[6 + S] += abs(slope)


@njit(nogil=True, error_model="numpy")
def reconstruct(
    row, masks, P, clusters, lies, keys, copies, z, z_weight, pairs, slide, rec, E, w, wo, wg, spare, sums, drow, together,
    attention,
):
    """Velocity and area attention of reconstruction of one query type, row (6 + S + 1), as `masks` says; returns its loss."""
    masked_share, n, law, two_areas = rec
    if masks == TWO_AREAS:
        value, speed = two_area_query(
            row, E, w, wo, wg, spare, sums, P, clusters, lies, keys, n, copies, masked_share, z, z_weight, pairs, slide, law,
            two_areas, drow, attention,
        )
        together[0] += speed
        together[1] += abs(speed)
        return value
    value = orbit_query(
        row, P, clusters, lies, keys, IS_GLOBAL, n, copies, masked_share, z, z_weight, law[0], law[1], law[2], law[3], law[4],
        False, drow, attention,
    )
    for k in range(2):
        if clusters[k] == 0:
            for d in range(3):
                drow[3 * k + d], attention[k, d] = 0.0, 0.0
    if clusters[0]:
        speed = slide[0] * drow[0] + slide[1] * drow[1]
        together[0] += speed
        together[1] += abs(speed)
    return value


@njit(nogil=True, error_model="numpy")
def fill(z, D, d_local, h_lead, h_own):
    """z_b D of the global area and z_a D of the own one by pairs of nodes: h_lead (J, padded), h_own (padded,)."""
    nodes = z.size
    for b in range(nodes):
        for a in range(nodes):
            h_own[b * nodes + a] = z[a] * d_local[a]
    for j in range(D.shape[0]):
        for b in range(nodes):
            h = z[b] * D[j, b]
            for a in range(nodes):
                h_lead[j, b * nodes + a] = h


@njit(nogil=True, error_model="numpy")
def clear(part, part_local, moved, fast):
    """Set all to zero."""
    for b in range(part_local.size):
        part_local[b] = 0.0
        for j in range(part.shape[0]):
            part[j, b] = 0.0
    for i in range(moved.size):
        moved[i] = 0.0
    fast[0], fast[1] = 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def event_values(local, of_global, pairs, out):
    """By how much attention exceeds one half: on the own area, the mean over queries and clusters in which they are local, of
    shares `pairs`, and that of each type (all-global queries: of_global); then the same, without these, on the global area.

    local (T, 3): attention on own, global, other areas. pairs (T - 1,). out (2 T + 1,): written."""
    T = local.shape[0]
    mean, at_global = 0.0, 0.0
    for t in range(T - 1):
        mean += pairs[t] * local[t, 0]
        at_global += pairs[t] * local[t, 1]
        out[t + 1], out[t + T + 2] = local[t, 0] - 0.5, local[t, 1] - 0.5
    out[0], out[T], out[T + 1] = mean - 0.5, of_global - 0.5, at_global - 0.5


@njit(nogil=True, error_model="numpy")
def is_over(Y, sliding, limit, watch, own, slide, local_pairs, together, attention):
    """Whether the steps of a solver end here: see Field.slide_rate."""
    values = np.empty(2 * local_pairs.size + 3)
    event_values(attention[:, 0], attention[-1, 1, 0], local_pairs, values)
    happened, bit = 0.0, 1.0
    for value in values:
        happened += bit if value >= 0.0 else 0.0
        bit *= 2.0
    ends = happened != watch[2]
    watch[1], watch[2] = watch[1] - 1.0, happened
    now = slides(together, sliding)
    for t in range(now.size):
        ends = ends or now[t] != sliding[t]
    y = from_slide(Y, own, slide, sliding)
    return ends or Y[-1] >= watch[0] or not watch[1] > 0.0 or not largest(y[:-1]) <= limit


def room(T, S, nodes, pairs, J, own_nodes):
    """Arrays for `mixed_types` to work in: what all types share; the state (T, 6 + S + 1), its velocity and the sizes of pushes;
    targets; and what `prepare` writes.

    T query types of at most S classes; `nodes` and (padded) `pairs` of amplitudes; J nodes of the law of the global area, and
    own_nodes in all of the own one given each. Velocities, targets and what `prepare` writes have one row more, for derivatives:
    what one changed entry makes of them."""
    width, rows = S + 7, T + 1
    classes, wide, padded = (whole_vectors(count, HALF_WIDTH) for count in (S + 1, nodes, J * nodes))
    table = np.empty((3 + J * nodes, padded))
    return (
        (np.zeros((2, pairs)), np.empty(PUSHED), np.empty((2, 3)), np.empty(WITH_LEAD), np.empty(2), table),
        (np.zeros((T, width)), np.empty((rows, width)), np.empty((rows, width))),
        (np.empty((2, nodes)), np.empty((2, J, nodes)), np.empty((2, nodes)), np.zeros((2, J, pairs)), np.zeros((2, pairs))),
        (
            np.empty((rows, classes)), np.zeros((rows, 2, 3, wide)), np.ones((rows, pairs)), np.ones((rows, pairs)),
            np.zeros((rows, 2, 7)), np.empty((rows, own_nodes, pairs)), np.empty((rows, J, wide)), np.empty((rows, wide)),
        ),
    )


@njit(nogil=True, error_model="numpy", inline="always")
def velocities(has_loss, space, seen, known):
    """Velocity dy of all query types at state y, and what else `mixed_types` writes to `seen`."""
    masks, weight, both, K, P, tau, n_local, share, clusters, lies, keys, copies, z, z_weight, pairs, slide, con, rec = known[5:]
    (spare, pushed, unused, sums, _, table), (y, dy, up), aims, (E, w, wo, wg, m, f, parts, locals_) = space
    _, _, together, attention, loss, pooled = seen
    local, D, d_local, h_lead, h_own = aims[0][0], aims[1][0], aims[2][0], aims[3][0], aims[4][0]
    (T, width), (J, nodes) = y.shape, D.shape
    loss[0], loss[1] = 0.0, 0.0
    for t in range(T):
        for i in range(6):
            attention[t, i // 3, i % 3] = 0.0
    for t in range(T):
        clear(parts[t], locals_[t], dy[t], together[t])
        prepare(
            y[t], share[t], P, K, n_local, clusters[t], keys[t], z, z_weight, pairs, con, E[t], w[t], wo[t], wg[t], m[t], f[t],
            spare, parts[t], locals_[t],
        )
        if masks != NONE:
            loss[0] += share[t] * reconstruct(
                y[t], masks, P, clusters[t], lies[t], keys[t], copies, z, z_weight, pairs, slide, rec, E[t], w[t], wo[t], wg[t],
                spare, sums, dy[t], together[t], attention[t],
            )
    for t in range(T):
        for i in range(width):
            up[t, i] = abs(dy[t, i])
    if J > 0:
        for b in range(nodes):
            local[b] = 0.0
            for t in range(T):
                local[b] += locals_[t, b]
            for j in range(J):
                pooled[j, b] = 0.0
                for t in range(T):
                    pooled[j, b] += parts[t, j, b]
        loss[1] = targets(K, tau, n_local, both, has_loss, z, z_weight, con[1], pooled, local, D, d_local, table)
        fill(z, D, d_local, h_lead, h_own)
        for t in range(T):
            contrast(
                weight / K, P, clusters[t], lies[t], copies, z, z_weight, pairs, slide, con, D, d_local, h_lead, h_own, E[t],
                w[t], wo[t], wg[t], m[t], f[t], pushed, dy[t], up[t], together[t], unused if masks != NONE else attention[t],
            )
    for t in range(T):
        together[t, 2] = slide[0] * up[t, 0] + slide[1] * up[t, 1]


@njit(nogil=True, error_model="numpy", inline="always")
def derivative(column, found, space, seen, known):
    """Derivatives of the velocities of all query types by one entry of the table, where `velocities` has just been; found (T, 6 +
    S + 2): see `mixed_types`."""
    masks, weight, both, K, P, tau, n_local, share, clusters, lies, keys, copies, z, z_weight, pairs, slide, con, rec = known[5:]
    (spare, pushed, unused, sums, fast, table), (y, dy, up), aims, (E, w, wo, wg, m, f, parts, locals_) = space
    _, _, together, _, _, pooled = seen
    local, D, d_local, h_lead, h_own = aims
    (T, width), (_, J, nodes) = y.shape, D.shape
    t, i = column // width, column % width
    kept, by = y[t, i], STEP if i < 6 else STEP_PP
    # of its own type, at given targets
    y[t, i] = kept + by
    clear(parts[T], locals_[T], dy[T], fast)
    prepare(
        y[t], share[t], P, K, n_local, clusters[t], keys[t], z, z_weight, pairs, con, E[T], w[T], wo[T], wg[T], m[T], f[T], spare,
        parts[T], locals_[T],
    )
    if masks != NONE:
        reconstruct(
            y[t], masks, P, clusters[t], lies[t], keys[t], copies, z, z_weight, pairs, slide, rec, E[T], w[T], wo[T], wg[T],
            spare, sums, dy[T], fast, unused,
        )
    contrast(
        weight / K, P, clusters[t], lies[t], copies, z, z_weight, pairs, slide, con, D[0], d_local[0], h_lead[0], h_own[0], E[T],
        w[T], wo[T], wg[T], m[T], f[T], pushed, dy[T], up[T], fast, unused,
    )
    y[t, i] = kept
    for s in range(width):
        found[t, s] = (dy[T, s] - dy[t, s]) / by
    found[t, width] = (fast[0] - together[t, 0]) / by
    # of all types by the targets, in which the velocity is linear
    most, whole = 0.0, 0.0
    for b in range(nodes):
        local[1, b] = (locals_[T, b] - locals_[t, b]) / by
        most, whole = max(most, abs(local[1, b])), max(whole, local[0, b])
        for j in range(J):
            parts[T, j, b] = (parts[T, j, b] - parts[t, j, b]) / by
            most, whole = max(most, abs(parts[T, j, b])), max(whole, pooled[j, b])
    if not most > (SMALL if i < 6 else SMALL_PP) * whole:
        return
    step = 1e-6 * whole / most
    for b in range(nodes):
        local[1, b] = local[0, b] + step * local[1, b]
        for j in range(J):
            parts[T, j, b] = pooled[j, b] + step * parts[T, j, b]
    targets(K, tau, n_local, both, False, z, z_weight, con[1], parts[T], local[1], D[1], d_local[1], table)
    for b in range(nodes):
        d_local[1, b] = (d_local[1, b] - d_local[0, b]) / step
        for j in range(J):
            D[1, j, b] = (D[1, j, b] - D[0, j, b]) / step
    fill(z, D[1], d_local[1], h_lead[1], h_own[1])
    for s in range(T):
        fast[0], fast[1] = 0.0, 0.0
        contrast(
            weight / K, P, clusters[s], lies[s], copies, z, z_weight, pairs, slide, con, D[1], d_local[1], h_lead[1], h_own[1],
            E[s], w[s], wo[s], wg[s], m[s], f[s], pushed, found[s, :width], up[T], fast, unused,
        )
        found[s, width] += fast[0]


@njit(cache=True, nogil=True, error_model="numpy")
def mixed_types(solver, watch, t0, flat, sliding, limit, dflat, out, paces, space, seen, columns, found, *known):
    """Velocity of all query types under L_rec + (weight P) L_con, how fast that is on the clock of a flow, and columns of its
    Jacobian: once, or as often as a solver asks for it. Returns what else it asks for, and how often that was.

    Parameters
    ----------
    solver : tuple
        As multistep.advance takes it, with `flat` the state to try and `out` dy/dt; or multistep.NO_SOLVER.
    watch : ndarray of shape (3,)
        Where the steps of a solver end: see Field.slide_rate.
    t0 : float
        tau = log(1 + t / t0) is the entry of `flat` behind the state; 0: there is none, nothing is asked of the clock.
    flat : ndarray of shape (n,) or (n + 1,)
        The entries `place` of a table (T, 6 + S + 1): by type, Phi own/global/other for clusters of type L, then G, Upsilon by
        class of key patterns, then of the query itself.
    sliding : ndarray of shape (T,)
        Types whose own correlation is replaced by the slide of own and global one: of them its velocity, and its pushes.
    limit : float
        To which correlations are held, from either side.
    dflat, out, paces : ndarray of shape (n,), (n + 1,), (n + 1,)
        Velocity, what balance.rate makes of it and by which factors; written.
    space : tuple
        As `room` makes it.
    seen : tuple
        What else is written:
        gross, alone (n,): the sizes of the pushes of both parts, for PP at least PP_PUSHED of those on FP of its type, or not.
        together (T, 3): velocity of slide . (Phi own, Phi global) in clusters of type L, the size of its pushes, and that of the
        pushes on both entries on their own.
        attention (T, 2, 3): per area.
        loss (2,): of reconstruction per masked patch, of contrast less tau log n (NaN within steps where one view learns: a loss
        that may rise tells nothing of them).
        pooled (J, nodes): pooled attention on the global area.
    columns : ndarray of shape (c,)
        Entries of the table whose derivatives are asked for.
    found : ndarray of shape (c, T, 6 + S + 2)
        Derivatives of the velocity, the last place that of `together`; zero before, written.
    known
        What the field knows:
        local_pairs (T - 1,): as in `event_values`.
        place (n,), own (T,): see `flat`; where the own correlations stand in it.
        held, heaviest (h,): as in balance.held_back.
        masks, weight, both: NONE for contrast alone, else how reconstruction averages; 0 for reconstruction alone; whether both
        views learn.
        K, P, tau, n_local: clusters, patches, temperature, local areas.
        share (T,), clusters (T, 2): share of all queries; clusters of type L and G.
        lies, keys (T, 2, 3, S), copies (2, 3): as in closure.orbit_query.
        z, z_weight (nodes,): amplitudes and probabilities.
        pairs (rows, padded), slide (2,): pairs of amplitudes, and the direction (own, global) in which a pair shares what there
        is: pairs_of_areas.
        con, rec: node tables of an unmasked or masked query, and of a masked one.
    """
    solver, watch, flat, sliding, dflat, out, paces = borrowed((solver, watch, flat, sliding, dflat, out, paces))
    seen, columns, found, space, known = borrowed((seen, columns, found, space, known))
    local_pairs, place, own, held, heaviest, _, _, both = known[:8]
    slide, (gross, alone, together, attention, _, pooled) = known[20], seen
    (y, dy, up), J = space[1], pooled.shape[0]
    flat_y, flat_dy, flat_up = y.reshape(-1), dy.reshape(-1), up.reshape(-1)
    goes_on, evaluations = solver[0].size > 0, 0
    while True:
        if goes_on:
            asked = advance(solver, paces, out)
            if asked == DONE and not is_over(
                solver[2][0], sliding, limit, watch, own, slide, local_pairs, together, attention
            ):
                continue
            if asked != SLOPE:
                return asked, evaluations
        state = within(from_slide(flat, own, slide, sliding), limit)
        for i in range(place.size):
            flat_y[place[i]] = state[i]
        velocities(both or not goes_on, space, seen, known)
        for i in range(place.size):
            dflat[i], alone[i] = flat_dy[place[i]], flat_up[place[i]]
        for t in range(own.size):  # PP follows the balances of FP, and is slowed with them
            most = 0.0
            for i in range(6):
                most = max(most, up[t, i])
            for s in range(6, up.shape[1]):
                up[t, s] = max(up[t, s], PP_PUSHED * most)
        for i in range(place.size):
            gross[i] = flat_up[place[i]]
        slower = held_back(flat, held, heaviest)
        for i in range(held.size):
            dflat[held[i]] *= slower[i]
            gross[held[i]] *= slower[i]
        for t in range(own.size):
            if sliding[t]:
                dflat[own[t]], gross[own[t]] = together[t, 0], together[t, 1]
        if t0 > 0.0:
            rate(dflat, gross, t0 * exp(min(flat[place.size], 700.0)), out, paces)
        for c in range(columns.size if J > 0 else 0):
            derivative(columns[c], found[c], space, seen, known)
        evaluations += 1
        if not goes_on:
            return SLOPE, evaluations
