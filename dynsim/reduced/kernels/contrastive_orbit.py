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

import numpy as np
from numba import njit

from dynsim.reduced.kernels.closure import SATURATED, orbit_query
from dynsim.reduced.kernels.two_areas import two_area_query

STEP = 1e-5  # of a correlation, for central differences: they are good to 2e-11
NOISE = 1e-8  # of opposite pushes on an entry, what a solver may leave of them at a balance
NONE, OWN_AREA, TWO_AREAS = 0, 1, 2  # how reconstruction averages over masks


@njit(cache=True, nogil=True, error_model="numpy")
def masses(y, k, P, keys, z, z_weight, d_local, wo, wg, out):
    """What contrastive softmaxes of a query type see in a cluster of type k (0: L, 1: G), written to wo, wg (nodes,) and out
    (7,): mass of the own (with the query itself), the global, all other areas at weight one; E[w], E[w z D_l], E[w z],
    E[w z^2 D_l] of an other area."""
    S = keys.shape[2]
    out[:] = 0.0
    for s in range(S):
        weight = np.exp(y[6 + s]) / P
        for d in range(3):
            out[d] += keys[k, d, s] * weight
    out[0] += np.exp(y[6 + S]) / P
    for a in range(z.size):
        wo[a] = np.exp(min(z[a] * y[3 * k], SATURATED))
        wg[a] = np.exp(min(z[a] * y[3 * k + 1], SATURATED))
        w = np.exp(min(z[a] * y[3 * k + 2], SATURATED))
        out[3] += z_weight[a] * w
        out[4] += z_weight[a] * w * z[a] * d_local[a]
        out[5] += z_weight[a] * w * z[a]
        out[6] += z_weight[a] * w * z[a] * z[a] * d_local[a]


@njit(cache=True, nogil=True, error_model="numpy")
def pool(share, k, m, n_local, z, z_weight, wo, wg, y_other, x, x_weight, xo, xo_weight, rho, count, pooled, local):
    """Adds what the queries of one type in the clusters of type k (0: L, 1: G), a fraction `share` of all pairs of patch and
    cluster, bring to the pooled attention of the global area, `pooled` (J, nodes), and of a local one, `local` (nodes,)."""
    nodes = z.size
    copies = n_local - 1.0 if k == 0 else n_local
    seen = 0.0
    for j in range(x.size):
        for b in range(nodes):
            G = wg[b] * x[j] * m[1] if k == 0 else wo[b] * x[j] * m[0]
            if k == 1:
                f = 1.0 / ((1.0 - x[j]) * m[0] + (1.0 - rho[j, 0]) * m[2] + rho[j, 0] * m[2] * m[3] + G)
                pooled[j, b] += share * G * f
                seen += x_weight[j] * z_weight[b] * rho[j, 0] * f
                continue
            on_global = 0.0
            for i in range(count[j]):
                base = (1.0 - x[j]) * m[1] + (1.0 - xo[j, i]) * m[0] + rho[j, i] * m[2] * m[3] + (1.0 - rho[j, i]) * m[2] + G
                for a in range(nodes):
                    own = wo[a] * xo[j, i] * m[0]
                    f = 1.0 / (base + own)
                    weight = xo_weight[j, i] * z_weight[a]
                    on_global += weight * G * f
                    local[a] += share / n_local * x_weight[j] * z_weight[b] * xo_weight[j, i] * own * f * z[a]
                    seen += x_weight[j] * z_weight[b] * weight * rho[j, i] * f
            pooled[j, b] += share * on_global
    if copies > 0.5:
        for a in range(nodes):
            local[a] += share * z[a] * (m[2] * seen / n_local) * np.exp(min(z[a] * y_other, SATURATED))


@njit(cache=True, nogil=True, error_model="numpy")
def targets(K, tau, n_local, both, z, z_weight, x_weight, pooled, local, D, d_local):
    """The targets D (J, nodes) of the global area and d_local (nodes,) of a local one; returns L_con less tau log n.

    pooled (J, nodes): Abar(z, x); local (nodes,): l(z)."""
    J, nodes = pooled.shape
    mean_local = 0.0
    loss = 0.0
    for a in range(nodes):
        mean_local += z_weight[a] * local[a]
        loss -= n_local * z_weight[a] * local[a] * local[a]
    S = n_local * mean_local * mean_local
    f, log_z = np.empty((J, nodes)), np.empty((J, nodes))
    top = 0.0
    for j in range(J):
        for b in range(nodes):
            f[j, b] = z[b] * pooled[j, b]
            top = max(top, f[j, b])
    q = 0.0  # E_i of the weight that negatives of the same cluster have
    for j in range(J):
        for b in range(nodes):
            shift = (f[j, b] * top + S) / tau
            if shift < 30.0:
                mean = 0.0
                for i in range(J):
                    for c in range(nodes):
                        mean += x_weight[i] * z_weight[c] * np.expm1((f[j, b] * f[i, c] + S) / tau)
                log_z[j, b] = np.log1p(mean / K)
            else:
                mean = (K - 1.0) * np.exp(-shift)
                for i in range(J):
                    for c in range(nodes):
                        mean += x_weight[i] * z_weight[c] * np.exp((f[j, b] * f[i, c] + S) / tau - shift)
                log_z[j, b] = np.log(mean / K) + shift
            loss += x_weight[j] * z_weight[b] * tau * log_z[j, b]
            # 1 - (K - 1) / (K Z) without overflow
            q += x_weight[j] * z_weight[b] * (1.0 - (K - 1.0) / K * np.exp(-log_z[j, b]))
    for b in range(nodes):
        mean = 0.0
        for j in range(J):
            mean += x_weight[j] * f[j, b]
        loss -= z_weight[b] * mean * mean
        for j in range(J):
            D[j, b] = mean * (2.0 if both else 1.0)
        d_local[b] = (local[b] - q * mean_local) * (2.0 if both else 1.0)
    for j in range(J):
        for b in range(nodes):
            negative = 0.0
            for i in range(J):
                for c in range(nodes):
                    s = (f[j, b] * f[i, c] + S) / tau
                    weight = np.exp(s - log_z[j, b])
                    if both:
                        weight += np.exp(s - log_z[i, c])
                    negative += x_weight[i] * z_weight[c] * weight * f[i, c]
            D[j, b] -= negative / K
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def push_global(m, z, z_weight, w, x, x_weight, rho, D, out):
    """Gradient of H for a query that lies in the global area: by phi of the own area, by that of the others (less copies), and by
    the weight of a key in the own, the global (nothing) and an other area; attention on the own, E[rho / Z], and the velocity
    of masked keys together: out (10,), places as in `push_local`."""
    out[:] = 0.0
    for j in range(x.size):
        masked = (1.0 - x[j]) * m[0] + (1.0 - rho[j, 0]) * m[2]
        others, drawn = rho[j, 0] * m[2] * m[3], rho[j, 0] * m[2] * m[4]
        for b in range(z.size):
            G = w[b] * x[j] * m[0]
            f = 1.0 / (masked + others + G)
            h = z[b] * D[j, b]
            A = G * f
            mean = A * h + drawn * f
            apart = (masked + others) * f * h - drawn * f  # h - mean
            weight = x_weight[j] * z_weight[b]
            out[0] += weight * z[b] * A * apart
            out[2] += weight * rho[j, 0] * f * (m[6] - mean * m[5])
            out[3] += weight * f * (x[j] * w[b] * apart - (1.0 - x[j]) * mean)
            out[5] += weight * f * (rho[j, 0] * (m[4] - m[3] * mean) - (1.0 - rho[j, 0]) * mean)
            out[6] += weight * A
            out[8] += weight * rho[j, 0] * f
            out[9] -= weight * masked * f * mean


@njit(cache=True, nogil=True, error_model="numpy")
def push_local(m, z, z_weight, wo, wg, x, x_weight, xo, xo_weight, rho, count, D, d_local, out):
    """Gradient of H for a query that lies in a local area, as `push_global` has it: out[0:3] by phi of the own, the global, the
    others; out[3:6] by the weight of a key there; out[6:9] attention on the own, the global, and E[rho / Z]; out[9]: what
    masked keys get together."""
    out[:] = 0.0
    for j in range(x.size):
        for b in range(z.size):
            G = wg[b] * x[j] * m[1]
            h_g = z[b] * D[j, b]
            for i in range(count[j]):
                masked = (1.0 - x[j]) * m[1] + (1.0 - xo[j, i]) * m[0] + (1.0 - rho[j, i]) * m[2]
                rest = masked + rho[j, i] * m[2] * m[3]
                drawn = rho[j, i] * m[2] * m[4]
                for a in range(z.size):
                    own = wo[a] * xo[j, i] * m[0]
                    f = 1.0 / (rest + own + G)
                    h_o = z[a] * d_local[a]
                    A_o, A_g = own * f, G * f
                    mean = A_g * h_g + A_o * h_o + drawn * f
                    apart_g = (rest + own) * f * h_g - A_o * h_o - drawn * f
                    apart_o = (rest + G) * f * h_o - A_g * h_g - drawn * f
                    weight = x_weight[j] * z_weight[b] * xo_weight[j, i] * z_weight[a]
                    out[0] += weight * z[a] * A_o * apart_o
                    out[1] += weight * z[b] * A_g * apart_g
                    out[2] += weight * rho[j, i] * f * (m[6] - mean * m[5])
                    weight_f = weight * f
                    out[3] += weight_f * (xo[j, i] * wo[a] * apart_o - (1.0 - xo[j, i]) * mean)
                    out[4] += weight_f * (x[j] * wg[b] * apart_g - (1.0 - x[j]) * mean)
                    out[5] += weight_f * (rho[j, i] * (m[4] - m[3] * mean) - (1.0 - rho[j, i]) * mean)
                    out[6] += weight * A_o
                    out[7] += weight * A_g
                    out[8] += weight_f * rho[j, i]
                    out[9] -= weight_f * masked * mean


@njit(cache=True, nogil=True, error_model="numpy")
def reconstruct(row, masks, P, clusters, lies, keys, copies, z, z_weight, rec, drow, attention):
    """Velocity and area attention of reconstruction of one query type, row (6 + S + 1), as `masks` says; returns its loss."""
    masked_share, n, law, two = rec
    S = lies.shape[2]
    if masks == TWO_AREAS:
        return two_area_query(
            row, P, clusters, lies, keys, n, copies, masked_share, z, z_weight,
            law[0], law[1], law[2], law[3], law[4], two[0], two[1], two[2], two[3], two[4], two[5], two[6], drow, attention,
        )
    first, last = (0 if clusters[0] else 1), (2 if clusters[1] else 1)
    C = last - first
    part, dpart = np.empty(3 * C + S + 1), np.empty(3 * C + S + 1)
    part[: 3 * C], part[3 * C :] = row[3 * first : 3 * last], row[6:]
    is_global = np.zeros(C, dtype=np.bool_)
    is_global[C - 1] = last == 2
    value = orbit_query(
        part, P, clusters[first:last], lies[first:last], keys[first:last], is_global, n[first:last],
        copies[first:last], masked_share, z, z_weight, law[0][first:last], law[1][first:last], law[2][first:last],
        law[3][first:last], law[4][first:last], False, dpart, attention[first:last],
    )
    drow[3 * first : 3 * last], drow[6:] = dpart[: 3 * C], dpart[3 * C :]
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def pool_type(row, share, K, P, n_local, clusters, keys, z, z_weight, con, work, pooled, local):
    """Adds what the queries of one type, a fraction `share` of all, bring to the pooled attention."""
    x, x_weight, xo, xo_weight, rho, count, rho_global, one = con
    wo, wg, m, none = work[0], work[1], work[2, :7], work[3]
    none[:] = 0.0
    for k in range(2):
        if clusters[k] > 0:
            masses(row, k, P, keys, z, z_weight, none, wo, wg, m)
            pairs = share * clusters[k] / K
            if k == 0:
                pool(pairs, 0, m, n_local, z, z_weight, wo, wg, row[2], x, x_weight, xo, xo_weight, rho, count, pooled,
                     local)
            else:
                pool(pairs, 1, m, n_local, z, z_weight, wo, wg, row[5], x, x_weight, xo, xo_weight, rho_global, one, pooled,
                     local)


@njit(cache=True, nogil=True, error_model="numpy")
def contrast(row, rate, P, clusters, lies, keys, copies, z, z_weight, con, D, d_local, work, drow, up, slow, attention, out):
    """Adds the contrastive velocity of one query type at given targets to drow, the size of its pushes to `up` (6 + S + 1,), what
    masked keys get to slow (2,); attention (2, 3) is written."""
    x, x_weight, xo, xo_weight, rho, count, rho_global, _ = con
    S = lies.shape[2]
    wo, wg, m = work[0], work[1], work[2, :7]
    for k in range(2):
        if clusters[k] == 0:
            continue
        masses(row, k, P, keys, z, z_weight, d_local, wo, wg, m)
        if k == 0:
            push_local(m, z, z_weight, wo, wg, x, x_weight, xo, xo_weight, rho, count, D, d_local, out)
        else:
            push_global(m, z, z_weight, wo, x, x_weight, rho_global, D, out)
        out[2] *= m[2] / copies[k, 2]
        for d in range(3):
            drow[3 * k + d] += rate * out[d]
            up[3 * k + d] += abs(rate * out[d])
        attention[k, 0], attention[k, 1] = out[6], out[7]
        attention[k, 2] = out[8] * m[2] / copies[k, 2] * m[3]
        for s in range(S + 1):
            if s < S:
                slope = lies[k, 0, s] * out[3] + lies[k, 1, s] * out[4] + lies[k, 2, s] * out[5]
            else:
                slope = clusters[k] * out[3]
            slope *= rate / P * np.exp(row[6 + s])
            drow[6 + s] += slope
            up[6 + s] += abs(slope)
        slow[0] += rate * clusters[k] * out[9]
        slow[1] += abs(rate * clusters[k] * out[9])


@njit(cache=True, nogil=True, error_model="numpy")
def mixed_types(
    flat, place, masks, weight, both, K, P, tau, n_local, share, clusters, lies, keys, copies,
    z, z_weight, con, rec, dflat, gross, slow, attention, loss, pooled,
):
    """Velocity of all query types under L_rec + (weight P) L_con; dflat, gross, attention (T, 2, 3) and loss (2,) are written.

    flat: the entries `place` of a table (T, 6 + S + 1): by type, Phi own/global/other for clusters of type L, then G, Upsilon
    by class of key patterns, then of the query itself. slow (2, T): see `speed`. share (T,), clusters (T, 2), lies and keys
    (T, 2, 3, S), copies (2, 3): as in closure.orbit_query. con: node tables of an unmasked or masked query, rec: those of a
    masked one. gross: the sizes of the pushes of both parts. loss: of reconstruction per masked patch, of contrast less tau
    log n. pooled (J, nodes). masks: NONE for contrastive alone; weight 0: reconstruction alone.
    """
    T, width = lies.shape[0], lies.shape[3] + 7
    nodes = z.size
    y, dy = np.zeros((T, width)), np.zeros((T, width))
    y.ravel()[place] = flat
    loss[:] = 0.0
    slow[:] = 0.0
    attention[:] = 0.0
    if masks != NONE:
        for t in range(T):
            loss[0] += share[t] * reconstruct(
                y[t], masks, P, clusters[t], lies[t], keys[t], copies, z, z_weight, rec, dy[t], attention[t]
            )
            # the velocity of masked keys together: the query itself, itself masked, times their number
            slow[0, t] = dy[t, width - 1] * P * rec[0] * np.exp(-y[t, width - 1])
            slow[1, t] = abs(slow[0, t])
    up = np.abs(dy)
    if weight != 0.0:
        pooled[:] = 0.0
        local, D, d_local = np.zeros(nodes), np.empty(pooled.shape), np.zeros(nodes)
        work, out, seen = np.empty((4, max(nodes, 7))), np.empty(10), np.empty((2, 3))
        for t in range(T):
            pool_type(y[t], share[t], K, P, n_local, clusters[t], keys[t], z, z_weight, con, work, pooled, local)
        loss[1] = targets(K, tau, n_local, both, z, z_weight, con[1], pooled, local, D, d_local)
        for t in range(T):
            contrast(
                y[t], weight / K, P, clusters[t], lies[t], keys[t], copies, z, z_weight, con, D, d_local, work, dy[t], up[t],
                slow[:, t], seen if masks != NONE else attention[t], out,
            )
    dflat[:] = dy.ravel()[place]
    gross[:] = up.ravel()[place]


@njit(cache=True, nogil=True, error_model="numpy")
def jacobian(
    flat, place, masks, weight, both, K, P, tau, n_local, share, clusters, lies, keys, copies, z, z_weight, con, rec, found
):
    """d(velocity)/d(state) of `mixed_types`, found (n, n), by differences: types see each other through the pooled attention
    only, so that it is blocks, one for each type at fixed targets, and a product of two thin tables (velocity by pooled
    attention, pooled attention by state). Steps are STEP whatever the entry: all depends on exponentials of the correlations."""
    T, width = lies.shape[0], lies.shape[3] + 7
    nodes, J, size = z.size, con[0].size, flat.size
    y = np.zeros((T, width))
    y.ravel()[place] = flat
    at = np.full(T * width, -1)
    at[place] = np.arange(size)
    attention, out, slow, up = np.empty((2, 3)), np.empty(10), np.empty(2), np.zeros(width)
    work = np.empty((4, max(nodes, 7)))
    pooled, local, D, d_local = np.zeros((J, nodes)), np.zeros(nodes), np.empty((J, nodes)), np.zeros(nodes)
    parts, local_parts = np.zeros((T, J, nodes)), np.zeros((T, nodes))
    thin = (J + 1) * nodes if weight != 0.0 else 0
    by_state, by_pooled = np.zeros((thin, size)), np.zeros((size, thin))
    base, moved = np.zeros((T, width)), np.zeros(width)
    if weight != 0.0:
        for t in range(T):
            pool_type(y[t], share[t], K, P, n_local, clusters[t], keys[t], z, z_weight, con, work, parts[t], local_parts[t])
            pooled += parts[t]
            local += local_parts[t]
        targets(K, tau, n_local, both, z, z_weight, con[1], pooled, local, D, d_local)
        for t in range(T):
            contrast(y[t], weight / K, P, clusters[t], lies[t], keys[t], copies, z, z_weight, con, D, d_local, work, base[t], up,
                     slow, attention, out)
        p, q = pooled.copy(), local.copy()
        for i in range(thin):
            values = pooled.ravel() if i < J * nodes else local
            place_of = i if i < J * nodes else i - J * nodes
            kept = values[place_of]
            step = 1e-6 * max(abs(kept), 1e-150)
            p[:], q[:] = pooled, local
            if i < J * nodes:
                p.ravel()[place_of] = kept + step
            else:
                q[place_of] = kept + step
            targets(K, tau, n_local, both, z, z_weight, con[1], p, q, D, d_local)
            for t in range(T):
                moved[:] = 0.0
                contrast(y[t], weight / K, P, clusters[t], lies[t], keys[t], copies, z, z_weight, con, D, d_local, work, moved,
                         up, slow, attention, out)
                for j in range(width):
                    if at[t * width + j] >= 0:
                        by_pooled[at[t * width + j], i] = (moved[j] - base[t, j]) / step
        targets(K, tau, n_local, both, z, z_weight, con[1], pooled, local, D, d_local)
    found[:] = 0.0
    for t in range(T):
        for i in range(width):
            column = at[t * width + i]
            if column < 0:
                continue
            kept = y[t, i]
            for side in range(2):  # central differences: the first side with a minus sign
                step = STEP if side else -STEP
                y[t, i] = kept + step
                moved[:] = 0.0
                if masks != NONE:
                    reconstruct(y[t], masks, P, clusters[t], lies[t], keys[t], copies, z, z_weight, rec, moved, attention)
                if weight != 0.0:
                    p[:], q[:] = 0.0, 0.0
                    pool_type(y[t], share[t], K, P, n_local, clusters[t], keys[t], z, z_weight, con, work, p, q)
                    for j in range(J * nodes):
                        by_state[j, column] += p.ravel()[j] / (2.0 * step)
                    for j in range(nodes):
                        by_state[J * nodes + j, column] += q[j] / (2.0 * step)
                    contrast(y[t], weight / K, P, clusters[t], lies[t], keys[t], copies, z, z_weight, con, D, d_local, work,
                             moved, up, slow, attention, out)
                for j in range(width):
                    if at[t * width + j] >= 0:
                        found[at[t * width + j], column] += moved[j] / (2.0 * step)
            y[t, i] = kept
    for i in range(size):
        for k in range(thin):
            for j in range(size):
                found[i, j] += by_pooled[i, k] * by_state[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def speed(v, gross, slow):
    """How fast the state moves, without what slides along a balance of opposite pushes.

    Where the pushes on an entry cancel to a fraction x of their sum `gross`, it counts as v x^2, and not at all below NOISE: what
    is left there is the error of the solver times a large rate, and a clock that followed it would stop. (The square lets the
    problem turn stiff step by step, for the solver to notice.) Where two entries slide up together (own and global attention
    sharing all there is), slow[0] (T,), the velocity of masked keys together, says how fast, without cancellation; slow[1] is
    the sum of its pushes."""
    total = 0.0
    for i in range(v.size):
        moving = v[i] * part_moving(v[i], gross[i])
        total += moving * moving
    for t in range(slow.shape[1]):
        moving = slow[0, t] * part_moving(slow[0, t], slow[1, t])
        total += moving * moving
    return np.sqrt(total)


@njit(cache=True, nogil=True, error_model="numpy")
def part_moving(v, gross):
    """x^2 with x = |v| / gross, times a smooth step from 0 to 1 in log10 x over the two decades above NOISE."""
    if not abs(v) > NOISE * gross:
        return 0.0
    x = abs(v) / gross
    step = min(1.0, 0.5 * np.log10(x / NOISE))
    return x * x * step * step * step * (10.0 - step * (15.0 - 6.0 * step))
