"""Slow twin of the losses of a MixedOrbitField, written from (E1)-(E7) of docs/contrastive-population.md: loops, no gradient.

A state is given as fp (types, K, 3), pp (types, classes + 1), as `correlations` returns them.
"""

import itertools

import numpy as np

from dynsim.reduced.kernels.counts import law_tables, unmasked_law

OWN, GLOBAL, OTHER = 0, 1, 2


def of_global(P, unmasked, size):
    """Law of the unmasked fraction of the global area: five Gauss nodes, or its mean where it is sharp to 1e-4."""
    sharp = np.sqrt((P - unmasked) / (unmasked * size)) < 1e-4
    return unmasked_law(P, unmasked, size, mean_field=sharp, most=5)[:2]


class Twin:
    """Losses of `field`, whose nodes are given, at a state, image by image and mask by mask."""

    def __init__(self, field):
        from dynsim.model.areas import typical_local

        self.field, self.problem = field, field.problem
        self.K, self.P, self.n_local = field.problem.K, float(field.problem.P), field.problem.n_local
        self.own = np.array([typical_local(self.problem), float(self.problem.C_global)])
        P, unmasked, size = self.P, float(self.problem.unmasked), self.own[1]
        of_own = law_tables([unmasked_law(P, unmasked, m) for m in self.own - 1.0])
        x, weight = of_global(P, unmasked, size)
        self.rec = of_own, (x, weight, *self.given(P, unmasked, x, self.own[0] - 1.0))
        x, weight = of_global(P + 1.0, unmasked, size)  # of any query: P patches beside it, as it were
        xo, xo_weight, rho, _, count = self.given(P + 1.0, unmasked, x, self.own[0])
        self.con = x, weight, xo, xo_weight, rho, count, (unmasked - x * size) / (P - size)
        self.nodes = self.problem.amplitude.nodes(field.nodes)
        self.share = [field.layout.share[query] for query in field.layout.share]
        self.keys = field.layout.number  # (types, 2, 3, classes)

    def given(self, P, unmasked, x, own):
        """Laws of the own area and of all others given the unmasked fraction of the global one."""
        size = self.own[1]
        return law_tables([unmasked_law(P - size, float(u), own) for u in np.clip(unmasked - x * size, 0.0, P - 1.0 - size)])

    def amplitudes(self):
        return list(zip(*self.nodes, strict=True))

    def clusters(self, g):
        """Cluster type (0: L, 1: G), how many of a query type there are, and a cluster of that type."""
        return [(k, count, at) for k, count, at in ((0, self.K - g, 0), (1, g, self.K - 1)) if count]

    # ---- contrast

    def pooled(self, fp, pp):
        """f (J, nodes) of the global area by its unmasked fraction and amplitude, l (nodes,) of a local one: (E1)."""
        x, _, xo, xo_weight, rho, count, rest = self.con
        z = self.nodes[0]
        f, local = np.zeros((x.size, z.size)), np.zeros(z.size)
        for g, share in enumerate(self.share):
            for k, many, at in self.clusters(g):
                M = [float(self.keys[g, k, d] @ np.exp(pp[g, :-1])) / self.P for d in range(3)]
                M[OWN] += np.exp(pp[g, -1]) / self.P
                phi = fp[g, at]
                drawn = sum(weight * np.exp(a * phi[OTHER]) for a, weight in self.amplitudes())
                copies = self.n_local - 1 if k == 0 else self.n_local
                part = share * many / self.K
                for j, x_j in enumerate(x):
                    x_share = self.con[1][j]
                    for b, (z_b, b_share) in enumerate(self.amplitudes()):
                        if k == 1:
                            r = min(max(rest[j], 0.0), 1.0)
                            G = x_j * M[OWN] * np.exp(z_b * phi[OWN])
                            Z = G + (1 - x_j) * M[OWN] + M[OTHER] * (1 - r + r * drawn)
                            f[j, b] += part * z_b * G / Z
                            seen = [(x_share * b_share, r / Z)]
                        else:
                            G, seen = x_j * M[GLOBAL] * np.exp(z_b * phi[GLOBAL]), []
                            for i, (a, (z_a, a_share)) in itertools.product(range(count[j]), enumerate(self.amplitudes())):
                                r = rho[j, i]
                                own = xo[j, i] * M[OWN] * np.exp(z_a * phi[OWN])
                                Z = own + (1 - xo[j, i]) * M[OWN] + G + (1 - x_j) * M[GLOBAL] + M[OTHER] * (1 - r + r * drawn)
                                weight = xo_weight[j, i] * a_share
                                f[j, b] += part * weight * z_b * G / Z
                                local[a] += part / self.n_local * x_share * b_share * xo_weight[j, i] * z_a * own / Z
                                seen.append((x_share * b_share * weight, r / Z))
                        if copies > 0:
                            for a, (z_a, _) in enumerate(self.amplitudes()):
                                each = M[OTHER] * np.exp(z_a * phi[OTHER]) * sum(weight * y for weight, y in seen)
                                local[a] += part / self.n_local * z_a * each
        return f, local

    def contrast(self, first, second):
        """L_con of two views with the states `first` and `second`, less tau log n: (E2)."""
        tau, z_weight, x_weight = self.field.temperature, self.nodes[1], self.con[1]
        (fa, la), (fb, lb) = self.pooled(*first), self.pooled(*second)
        loss = -sum(z_weight * (x_weight @ fa) * (x_weight @ fb)) - self.n_local * sum(z_weight * la * lb)
        apart = self.n_local * (z_weight @ la) * (z_weight @ lb)
        weights = np.multiply.outer(x_weight, z_weight).ravel()
        for f_i, weight in zip(fa.ravel(), weights, strict=True):
            same = sum(w * np.exp((f_i * f_j + apart) / tau) for f_j, w in zip(fb.ravel(), weights, strict=True))
            loss += weight * tau * np.log((self.K - 1) / self.K + same / self.K)
        return loss

    # ---- reconstruction, "two-areas"

    def reconstruction(self, fp, pp):
        """L_rec per masked patch: (E5)-(E7)."""
        total = 0.0
        for g, share in enumerate(self.share):
            for k, many, at in self.clusters(g):
                total += share * many / self.K * self._cluster(g, k, fp[g, at], pp[g])
        return total

    def _cluster(self, g, k, phi, pp):
        law, (xg, xg_weight, xo, xo_weight, rho, rho2, count) = self.rec
        E, n = np.exp(pp[:-1]), self.own[k] - 1.0
        copies = self.n_local - 1 if k == 0 else self.n_local
        keys = self.keys[g, k]
        others, squares = (float(keys[OTHER] @ E**j) / self.P**j for j in (1, 2))
        drawn = sum(weight * np.exp(z * phi[OTHER]) - weight for z, weight in self.amplitudes())
        second = sum(weight * z**2 * np.exp(2 * z * phi[OTHER]) for z, weight in self.amplitudes())
        chance = keys[OWN] / n
        mean = float(chance @ E)
        var, skew = (float(chance @ (E - mean) ** j) for j in (2, 3))
        own_mass = n / self.P * mean + np.exp(pp[-1]) / self.P

        def loss(x, r, r2, outside, lead, z_lead):
            spread = x * (1 - x) / (n - 1) if n > 1 else 0.0
            lean = spread * (1 - 2 * x) / (n - 2) if n > 2 else 0.0
            v, h = spread * var, 0.0
            if v > 1e-24 * (x * mean) ** 2:
                h = lean * skew / (2 * v)
            root = np.sqrt(h * h + v)
            points = [(x * mean, 1.0)]
            if root:
                points = [(x * mean + h + root, (1 - h / root) / 2), (x * mean + h - root, (1 + h / root) / 2)]
            V = second * (r * squares + r2 * (others**2 / copies - squares)) if copies else 0.0
            value = 0.0
            for (S, p), (z, weight) in itertools.product(points, self.amplitudes()):
                S = S * n / self.P
                Z = (np.exp(z * phi[OWN]) - 1) * S + outside + own_mass + others * (1 + r * drawn) + lead
                A = np.exp(z * phi[OWN]) * S / Z
                value += p * weight * (z**2 * (1 - A) ** 2 + z_lead**2 * (lead / Z) ** 2 + V / Z**2) / 2
            return value

        if k == 1:
            x, weight, r, r2, size = (table[1] for table in law)
            return sum(weight[i] * loss(x[i], r[i], r2[i], 0.0, 0.0, 0.0) for i in range(size))
        value, on_global = 0.0, float(keys[GLOBAL] @ E) / self.P
        for j, (z, b_share) in itertools.product(range(xg.size), self.amplitudes()):
            lead = xg[j] * on_global * np.exp(z * phi[GLOBAL])
            for i in range(count[j]):
                weight = xg_weight[j] * b_share * xo_weight[j, i]
                value += weight * loss(xo[j, i], rho[j, i], rho2[j, i], (1 - xg[j]) * on_global, lead, z)
        return value
