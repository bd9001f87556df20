"""The kernels of the mask expectation against slow twins written from the formulas: enumerated draws, explicit moments, and
derivatives by complex steps (exact to rounding) or central differences."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import hypergeom

import dynsim
from dynsim import theory
from dynsim.reduced import OrbitField, PopulationField
from dynsim.reduced.kernels import closure

pytestmark = pytest.mark.kernel

LABELS = [[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 0, 0, 0, 1, 1, 2, 1, 2, 2, 0, 2, 3]]  # areas of 1 to 7 patches
NODES = 3


@pytest.fixture(scope="module")
def case():
    problem = dynsim.Problem(K=2, gamma=0.6, P=13, kappa_c=0.7, kappa_s=0.4, amplitude=dynsim.Uniform(0.5, 1.5))
    part = dynsim.Partition(np.array(LABELS))
    rng = np.random.default_rng(4)
    y = np.concatenate([1.5 * rng.normal(size=(part.F, part.P)), 0.7 * rng.normal(size=(part.P, part.P))])
    return problem, part, y


def two_points(values, weights):
    """Nodes and weights of the two-point Gauss rule of a discrete law: roots of the polynomial orthogonal to 1 and S."""
    mean = sum(w * s for s, w in zip(values, weights, strict=True))
    central = [sum(w * (s - mean) ** k for s, w in zip(values, weights, strict=True)) for k in (2, 3)]
    if abs(central[0]) < 1e-25:
        return [mean], [1.0]
    half = central[1] / central[0] / 2
    root = np.sqrt(half**2 + central[0])
    d1, d2 = half + root, half - root
    return [mean + d1, mean + d2], [-d2 / (d1 - d2), d1 / (d1 - d2)]


def query_loss(y, p, problem, part, z_weights, mean_field=False, independent_pairs=False):
    """Closed loss of the masked query p whose correlations are y (F + P,), its own attentions (K,), others' (F,).

    mean over clusters, z and counts j of 1/2 E[z^2 (1 - A)^2] + V / 2 Z^2, S by its two-point rule. Written in counts."""
    P, U = part.P, problem.unmasked
    E = np.exp(y[part.F :])
    loss, attention = 0.0, np.zeros(part.F, dtype=y.dtype)
    for k in range(part.K):
        own = part.own[k, p]
        beside = [q for q in range(P) if part.own[k, q] == own and q != p]
        others = {f: [q for q in range(P) if part.own[k, q] == f] for f in range(part.offset[k], part.offset[k + 1]) if f != own}
        n, rest = len(beside), P - 1 - len(beside)
        counts = [U * n / (P - 1)] if mean_field else range(max(0, U - rest), min(n, U) + 1)
        for j in counts:
            chance = 1.0 if mean_field else hypergeom.pmf(j, P - 1, n, U)
            rho = (U - j) / rest
            pair = rho**2 if mean_field or independent_pairs else rho * (U - j - 1) / (rest - 1) if rest > 1 else 0.0
            if mean_field:
                S, S_weight = [j * sum(E[q] for q in beside) / max(n, 1)], [1.0]
            else:
                draws = [sum((E[q] for q in drawn), 0.0) for drawn in combinations(beside, j)]
                S, S_weight = two_points(draws, np.full(len(draws), 1 / len(draws)))
            b, V = E.sum(), 0.0
            for f, keys in others.items():
                b += rho * sum(E[q] for q in keys) * sum(wz * (np.exp(z * y[f]) - 1) for z, wz in z_weights)
                square = 0.0
                for q in keys:
                    for r in keys:
                        square += (rho if q == r and not mean_field else pair) * E[q] * E[r]
                V += square * sum(wz * z**2 * np.exp(2 * z * y[f]) for z, wz in z_weights)
            for z, wz in z_weights:
                for s, ws in zip(S, S_weight, strict=True):
                    w = np.exp(z * y[own])
                    Z = (w - 1) * s + b
                    weight = chance * wz * ws
                    loss += weight * (z**2 * (1 - w * s / Z) ** 2 + V / Z**2) / 2 / part.K
                    attention[own] += weight * w * s / Z
                    for f, keys in others.items():
                        seen = rho * sum(E[q] for q in keys) * sum(v * np.exp(x * y[f]) for x, v in z_weights)
                        attention[f] += weight * seen / Z
    return loss, attention


def gradient(loss, y, step=1e-30):
    """Derivatives of loss(y) by complex steps."""
    result = np.empty(y.size)
    for i in range(y.size):
        moved = y.astype(complex)
        moved[i] += 1j * step
        result[i] = loss(moved).imag / step
    return result


@pytest.mark.parametrize("masks", ["own-area", "mean-field"])
def test_velocity_loss_and_attention_are_those_of_the_formula(case, masks):
    problem, part, y = case
    field = PopulationField(problem, part, masks=masks, nodes=NODES, threads=1)
    z_weights = list(zip(*problem.amplitude.nodes(NODES), strict=True))
    loss, dy = field.velocity(y)
    attention = field.attention(y)
    total = 0.0
    for p in (0, 6, 8, 10, 12):  # own areas of 7, 3, 2, 1 patches and all pairs of them
        twin = lambda x, p=p: query_loss(x, p, problem, part, z_weights, masks == "mean-field")[0]  # noqa: E731
        np.testing.assert_allclose(dy[:, p], -problem.masked / problem.P * gradient(twin, y[:, p]), rtol=1e-11, atol=1e-14)
    for p in range(part.P):
        one, seen = query_loss(y[:, p], p, problem, part, z_weights, masks == "mean-field")
        np.testing.assert_allclose(attention[p], seen, rtol=1e-12)
        total += one / part.P
    assert loss == pytest.approx(total, rel=1e-13)


def test_the_twin_tells_closures_apart(case):
    """Control of the comparison above: another closure is off by much more than its tolerance."""
    problem, part, y = case
    z_weights = list(zip(*problem.amplitude.nodes(NODES), strict=True))
    right = query_loss(y[:, 8], 8, problem, part, z_weights)[0]
    for wrong in (dict(mean_field=True), dict(independent_pairs=True)):
        assert abs(query_loss(y[:, 8], 8, problem, part, z_weights, **wrong)[0] / right - 1) > 1e-3


def test_even_keys_have_a_velocity_too(case):
    """Where all keys of the own area weigh alike the two points coincide: the gradient there is the limit (central
    differences of the twin, step 1e-4: error of order 1e-8 of third derivatives of order one)."""
    problem, part, y = case
    y = y.copy()
    y[part.F :] = 0.3
    z_weights = list(zip(*problem.amplitude.nodes(NODES), strict=True))
    _, dy = PopulationField(problem, part, nodes=NODES).velocity(y)
    p, h = 1, 1e-4
    for q in range(part.P):
        up, down = y[:, p].copy(), y[:, p].copy()
        up[part.F + q] += h
        down[part.F + q] -= h
        slope = (query_loss(up, p, problem, part, z_weights)[0] - query_loss(down, p, problem, part, z_weights)[0]) / (2 * h)
        assert dy[part.F + q, p] == pytest.approx(-problem.masked / problem.P * slope, abs=2e-8)
    assert np.ptp(dy[part.F :, p]) > 1e-3


def test_exact_where_nothing_is_left_to_close():
    """Fixed z, and all other patches in one area of one patch: own count and draw (two of three at most) settle the image.
    With random z the other area's weight is averaged inside the softmax, and it is a closure again."""
    part = dynsim.Partition(np.array([[0, 0, 0, 1], [0, 1, 0, 0]]))
    y = np.random.default_rng(1).normal(size=(part.F + 4, 4))
    for law, differs in ((dynsim.Fixed(1.3), False), (dynsim.Discrete((0.8, 1.8)), True)):
        problem = dynsim.Problem(K=2, gamma=0.5, P=4, kappa_c=0.5, kappa_s=0.2, amplitude=law)
        closed, exact = (PopulationField(problem, part, masks=masks).velocity(y)[1] for masks in ("own-area", "exact"))
        for p, k in ((0, 0), (2, 0), (0, 1), (2, 1)):  # queries in the areas of three in both clusters
            rows = slice(part.offset[k], part.offset[k + 1])
            error = np.abs(closed[rows, p] - exact[rows, p]).max()
            assert (error > 1e-5) if differs else (error < 1e-15)


def test_start_is_exact(case, problem, part):
    """At Q = 0 all weights are one and the closed loss is that of the counts (eq. 14); the mean-field one is not."""
    for pr, pa in (case[:2], (problem, part)):
        field = PopulationField(pr, pa)
        assert field.velocity(field.start())[0] == pytest.approx(theory.initial_loss(pr, pa), rel=1e-13)
        mean_field = PopulationField(pr, pa, masks="mean-field")
        assert abs(mean_field.velocity(field.start())[0] / theory.initial_loss(pr, pa) - 1) > 1e-2


@pytest.mark.parametrize("masks", ["own-area", "mean-field"])
def test_orbit_velocity_is_the_gradient_of_its_loss(masks):
    """Central differences (step 1e-4, loss of order one: error about 1e-8 / 3 from curvature, 1e-12 from rounding), where
    orbit numbers are no whole numbers. Each entry stands for all areas and keys that it is the correlation of."""
    problem = dynsim.Problem(K=2, gamma=0.7, P=4096, kappa_c=0.85, kappa_s=0.65, amplitude=dynsim.Uniform(0.5, 1.5))
    for query in ("LL", "LG", "GG"):
        field = OrbitField(problem, query, masks=masks, nodes=4)
        rng = np.random.default_rng(7)
        y = 0.3 * rng.normal(size=field.start().size)
        numbers = 3 * len(set(query))
        y[:numbers] = rng.normal(size=numbers)
        y[:numbers:3] += 4.0
        many, occurs = np.empty(y.size), field.layout.copies * (field.layout.sizes > 0)
        for i in range(y.size):
            fp, pp = field.correlations(np.eye(y.size)[i])
            many[i] = (fp * occurs).sum() + pp[:-1] @ field.layout.number + pp[-1]
        _, dy = field.velocity(y)
        checked = 0
        for i in range(y.size):
            if many[i] < 0.5:
                continue  # the global area is the own one there; patterns that do not occur
            h = 1e-4 * np.eye(y.size)[i]
            slope = (field.velocity(y + h)[0] - field.velocity(y - h)[0]) / 2e-4
            assert dy[i] * many[i] == pytest.approx(-problem.masked / problem.P * slope, abs=3e-9, rel=1e-6)
            checked += abs(slope) > 1e-6
        assert checked >= 6


def test_nothing_overflows_in_the_expectation():
    """Weights e^600, areas of one in 1e100 patches: outputs stay finite, attention at most one."""
    z, z_weight = np.array([0.5, 1.5]), np.array([0.5, 0.5])
    x, x_weight, rho, rho2 = np.array([0.25]), np.ones(1), np.array([0.25]), np.array([0.0625])
    out = np.empty(closure.OUTPUTS)
    for phi in (-400.0, 0.0, 90.0, 150.0, 400.0):
        for c, n in ((1e-60, 1e40), (1e-10, 1e90), (0.3, 3e99)):
            closure.expectation(
                c, n, 1.0, 0.1, 0.01, 1.0, -0.2, 1e-40, 1e-20, z, z_weight, np.exp(z * phi), x, x_weight, rho, rho2, out
            )
            assert np.isfinite(out).all() and 0 <= out[closure.OWN] <= 1 + 1e-15
