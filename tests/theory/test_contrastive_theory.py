"""Closed forms of contrast and balance against formulas by hand, plain quadrature, slow integrations of small equations."""

import math

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp, trapezoid
from scipy.stats import hypergeom

from dynsim import reduced, theory
from dynsim.errors import InputError
from dynsim.model.amplitude import Discrete, Fixed, Uniform
from dynsim.model.problem import Problem
from dynsim.theory._pairs import negatives

ONE, WIDE = Fixed(1.0), Uniform(0.5, 1.5)


def large(P, law=ONE, K=4, gamma=0.8, kappa_c=0.9, kappa_s=0.4):
    return Problem(K=K, gamma=gamma, P=P, kappa_c=kappa_c, kappa_s=kappa_s, amplitude=law)


def grid(law, nodes=400):
    """Midpoints of a uniform law: relative error 1 / (24 nodes^2) times what is curved."""
    if law.L == law.U:
        return np.array([law.L]), np.ones(1)
    return law.L + (law.U - law.L) * (np.arange(nodes) + 0.5) / nodes, np.full(nodes, 1 / nodes)


def target(f, weight, K, tau):
    """D = f - N(f) of (E3), by the formula."""
    e = weight * np.exp(np.multiply.outer(f, f) / tau)
    return f - (e @ f) / K / ((K - 1) / K + e.sum(axis=1) / K)


# ---- contrast alone


def test_negatives_by_the_formula_and_without_overflow():
    rng = np.random.default_rng(0)
    f, weight = rng.uniform(0, 1.5, 7), np.full(7, 1 / 7)
    np.testing.assert_allclose(f - negatives(f, f, weight, 3, 0.4), target(f, weight, 3, 0.4), rtol=1e-13)
    hard = negatives(f, f, weight, 3, 1e-4)  # a cold softmax takes the largest
    np.testing.assert_allclose(hard, f.max(), rtol=1e-12)


def test_collapse_time_by_hand_and_by_quadrature():
    """(E8): elementary for fixed z; plain quadrature for random z; half without stop-gradient."""
    problem = large(1e12, Fixed(1.3), K=3)
    eps = problem.rho * problem.C_global / 1e12
    assert theory.collapse_time(problem) == pytest.approx(9 / 2 * 1e12 / (2 * 1.3**4 * eps**2), rel=1e-10)
    assert theory.collapse_time(problem, stop_gradient=False) == pytest.approx(theory.collapse_time(problem) / 2)
    problem, (z, w) = large(1e12, WIDE, K=3), grid(WIDE)
    G = lambda x: w @ (z**3 * np.exp(2 * z * x)) - (w @ (z**2 * np.exp(z * x))) * (w @ (z * np.exp(z * x))) / 3  # noqa: E731
    expected = 1e12 * 3 / eps**2 * quad(lambda x: 1 / G(x), 0, 60, epsabs=0, epsrel=1e-9)[0]
    assert theory.collapse_time(problem) == pytest.approx(expected, rel=1e-5)
    assert abs(theory.collapse_time(large(1e12, ONE, K=3)) / expected - 1) > 0.05  # control


def test_a_small_area_may_come_to_rest_before_it_takes_half():
    """31 patches, 6 of them unmasked on average, do; 52 do not; and runs are as the integral says."""
    stays, falls = (Problem(K=1, P=196, kappa_c=kappa_c) for kappa_c in (0.65, 0.75))
    assert theory.collapse_time(stays, finite=True) == np.inf and np.isfinite(theory.collapse_time(falls, finite=True))
    for problem, never in ((stays, True), (falls, False)):
        field = reduced.ContrastiveOrbitField(problem)
        run = reduced.flow(field, t_end=100 * theory.collapse_time(problem), keep=2, rtol=1e-4)
        assert (run.meta["events"]["collapse"] is None) == never


def test_collapse_time_at_finite_size_is_the_integral_of_d7_where_areas_are_large():
    """C_g = 6310 of 1e4: the mean count serves."""
    problem = large(1e4, ONE, K=3, kappa_c=0.95)
    a = problem.rho * problem.C_global / 1e4
    expected = 3e4 / 2 * quad(lambda A: (2 + math.exp(A * A / 0.5)) / (A**3 * (1 - A) ** 2), a, 0.5, epsrel=1e-10)[0]
    assert theory.collapse_time(problem, finite=True) == pytest.approx(expected, rel=1e-8)
    other = theory.collapse_time(problem, finite=True, temperature=0.3)
    assert abs(other / expected - 1) > 0.01  # control


@pytest.mark.parametrize("gamma, kappa_c", [(0.5, 0.85), (0.9, 0.55)])  # of the second, 25 % of views show nothing of the area
@pytest.mark.parametrize("law", [ONE, WIDE])
def test_collapse_time_at_finite_size_by_slow_integration(law, gamma, kappa_c):
    """(E9): counts by SciPy's hypergeometric law, amplitudes on a grid, time by an ODE solver with an event."""
    problem = Problem(K=3, gamma=gamma, P=100, kappa_c=kappa_c, kappa_s=0.45, amplitude=law)
    C, (z, w) = int(problem.C_global), grid(law, 12)
    n = np.arange(C + 1)
    chance = hypergeom(100, problem.unmasked, C).pmf(n)
    keep = chance > 1e-9
    n, chance = n[keep], chance[keep]
    weight = np.multiply.outer(w, chance / chance.sum())

    def attention(phi):
        e = n * np.exp(np.multiply.outer(z * phi, np.ones(n.size)))
        return e / (100 - n + e)

    def velocity(t, phi):
        A = attention(phi[0])
        f = z[:, None] * A
        e = weight.ravel() * np.exp(np.multiply.outer(f.ravel(), f.ravel()) / 0.5)
        away = (e @ f.ravel()) / (2 + e.sum(axis=1))
        shown = (f * chance / chance.sum()).sum(axis=1, keepdims=True)  # in the other view, under another mask
        D = shown - away.reshape(f.shape)
        return [float((weight * z[:, None] ** 2 * A * (1 - A) * D).sum()) / 300]

    def half(t, phi):
        return float((weight * attention(phi[0])).sum()) - 0.5

    half.terminal = True
    expected = solve_ivp(velocity, (0, 1e7), [0.0], rtol=1e-6, atol=1e-8, events=half).t_events[0][0]
    assert theory.collapse_time(problem, finite=True) == pytest.approx(expected, rel=2e-3)


def test_no_collapse_where_most_views_show_nothing_of_the_area():
    problem = Problem(K=3, gamma=0.85, P=100, kappa_c=0.3, kappa_s=0.01, amplitude=ONE)
    assert hypergeom(100, problem.unmasked, int(problem.C_global)).pmf(0) > 0.5
    assert theory.collapse_time(problem, finite=True) == math.inf > theory.collapse_time(problem)


@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("law", [ONE, Uniform(0.8, 1.2), Discrete((0.8, 1.2))], ids=str)
def test_late_collapse_by_slow_integration(law, stop_gradient):
    """Its own integral over phi, amplitudes on a grid; the last e-folding of it is good to 1 / (L phi) squared."""
    problem, (z, w) = large(1e6, law, K=6), grid(law, 200) if isinstance(law, Uniform) else law.nodes(2)
    e = np.exp(np.multiply.outer(z, z) / 0.4)
    Z = 5 + e @ w
    share = e / Z[:, None] if stop_gradient else (e / Z[:, None] + e / Z) / 2  # as the negatives of the other view, too
    D = z - share @ (w * z)
    odds = problem.rho * problem.C_global / (1e6 - problem.rho * problem.C_global)
    phi = 60.0
    x = np.linspace(0, phi, 60_001)
    rate = np.exp(-np.multiply.outer(x, z)) @ (w * z**2 * D)
    t = 6e6 * odds / (1.0 if stop_gradient else 2.0) * trapezoid(1 / rate, x)
    left = np.exp(-z * phi) @ w / odds
    assert theory.late_collapse(problem, t, 0.4, stop_gradient) == pytest.approx(left, rel=3e-3, abs=0)
    if law != ONE:
        other = theory.late_collapse(problem, t, 0.4, not stop_gradient) * (0.5 if not stop_gradient else 2)  # control
        assert other != pytest.approx(left, rel=6e-3, abs=0)


def test_late_collapse():
    """Fixed z: (D9), to (1 - A) log."""
    problem = large(1e6)
    left = theory.late_collapse(problem, [1e12, 1e14])
    np.testing.assert_allclose(left, 1e6 * 4 * (3 + math.exp(2)) / 3 / np.array([1e12, 1e14]), rtol=2e-4)
    with pytest.raises(InputError, match="t > 0"):
        theory.late_collapse(problem, 0.0)
    assert np.isnan(theory.late_collapse(problem, 1.0))  # nothing has moved by then


def test_the_runner_up():
    problem = large(1e12, Fixed(1.2), kappa_c=0.5, kappa_s=0.45)
    close = (problem.C_local / problem.C_global) ** 2
    assert theory.runner_up(problem) == pytest.approx(-math.log1p(-close) / 2.4, rel=1e-9)
    assert theory.winning_area(problem) == "global"
    assert theory.winning_area(large(1e12, kappa_c=0.4, kappa_s=0.5)) == "local"
    same = large(1e12, kappa_c=0.5, kappa_s=0.5)
    if same.C_local == same.C_global:
        assert theory.winning_area(same) == "both" and theory.runner_up(same) == math.inf


def test_one_cluster_with_one_amplitude_learns_nothing():
    problem = large(1e12, K=1)
    assert theory.collapse_time(problem) == theory.critical_weight(problem) == theory.collapse_weight(problem) == math.inf
    assert theory.overtaking_weight(problem) == math.inf and theory.collapsed_attention(problem, 1e6) == 0.0
    random = large(1e12, WIDE, K=1)
    assert theory.collapse_time(random) < math.inf and 0.8 <= theory.critical_weight(random) < math.inf


# ---- both


@pytest.mark.parametrize("K, gamma, tau, z", [(4, 0.8, 0.5, 1.0), (2, 0.6, 0.3, 1.2), (3, 0.75, 1.0, 0.8)])
def test_thresholds_bound_the_settled_attention(K, gamma, tau, z):
    problem = large(1e12, Fixed(z), K, gamma)
    low, high = theory.critical_weight(problem), theory.collapse_weight(problem, tau)
    assert low == pytest.approx(gamma * K / (K - 1)) and high == pytest.approx(gamma * (1 + math.exp(z * z / tau) / (K - 1)))
    at = [theory.collapsed_attention(problem, w, tau) for w in (low, low * (1 + 1e-9), (low + high) / 2, high * (1 - 1e-9), high)]
    assert at[0] == 0 and 0 < at[1] < 1e-3 and 0.1 < at[2] < 1 - 1e-6 < at[3] <= at[4] == 1
    A = at[2]  # both pushes are equal: gamma z A = alpha D
    apart = z * A * (K - 1) / (K - 1 + math.exp((z * A) ** 2 / tau))
    assert (low + high) / 2 * apart == pytest.approx(gamma * z * A)


@pytest.mark.parametrize("weight", [0.5, 1.5, 2.5])
def test_finite_size_comes_to_the_limit(weight):
    """(E12) at P = 1e30 and 1e60: to c = P^-.1, below the critical weight of the order of c itself."""
    limit = theory.collapsed_attention(large(1e12), weight)
    off = [abs(theory.collapsed_attention(large(P), weight, finite=True) - limit) for P in (1e30, 1e60)]
    assert off[1] < off[0] < 20 * 1e-3 and off[1] < 20 * 1e-6


@pytest.mark.parametrize("weight", [1.2, 1.6, 3.0])
def test_uniform_amplitudes_come_to_the_edge(weight):
    """(E16): the part that collapses is that of z > z*, and the edge is 1 / phi wide: at P = 1e100 and shares of P^-.5 and P^-.9,
    phi is near 115 and 207, so that the error halves nearly."""
    law = Uniform(0.8, 1.2)
    limit = theory.collapsed_attention(large(1e12, law), weight)
    finite = [
        theory.collapsed_attention(large(1e100, law, kappa_c=kappa, kappa_s=0.05), weight, finite=True) for kappa in (0.5, 0.1)
    ]
    off = np.abs(np.array(finite) - limit)
    assert off[1] < 0.7 * off[0] and off[0] < 0.4 * 10 / 115 and 0.1 < limit < 0.6
    z, w = grid(law, 4000)
    edge = 1.2 - 0.4 * limit
    pile = np.log1p((w * np.expm1(edge * z / 0.5))[z > edge].sum() / 4)
    assert (weight - 0.8) * edge**2 / 2 == pytest.approx(weight * 0.5 * pile, rel=2e-3)


def test_collapse_weight_of_uniform_amplitudes():
    """At (E17) the smallest amplitudes collapse, too; never where they have too many equals."""
    problem = large(1e12, Uniform(0.8, 1.2), K=10)
    weight = theory.collapse_weight(problem)
    assert theory.collapsed_attention(problem, weight * (1 + 1e-6)) == 1.0
    assert 0.9 < theory.collapsed_attention(problem, weight * (1 - 1e-3)) < 1.0
    assert theory.collapse_weight(large(1e12, Uniform(0.8, 1.2))) == math.inf
    with pytest.raises(InputError, match="finite=True"):
        theory.collapse_weight(large(1e12, Discrete((0.8, 1.2))))


@pytest.mark.parametrize("law", [Uniform(0.8, 1.2), WIDE, Discrete((0.8, 1.2))])
def test_critical_weight_is_where_the_lowest_root_is_lost(law):
    """(E13) against (E12) at c = 1e-30: below, a root of the order of c; above, one of order one. It lies between gamma and the
    weight of fixed z, which is the control."""
    problem = large(1e100, law, kappa_c=0.7, kappa_s=0.1)
    weight = theory.critical_weight(problem)
    assert theory.collapsed_attention(problem, 0.995 * weight, finite=True) < 1e-25
    assert theory.collapsed_attention(problem, 1.005 * weight, finite=True) > 1e-3
    assert 0.8 < weight < 0.8 * 4 / 3 - 0.05


def test_escape_is_later_by_what_is_left():
    problem = large(1e12)
    for finite in (False, True):
        left = 1 - theory.collapsed_attention(problem, 2.0, finite=finite)
        expected = theory.escape_time(problem, finite=finite) / left
        assert theory.mixed_escape_time(problem, 2.0, finite=finite) == pytest.approx(expected)
    assert theory.mixed_escape_time(problem, theory.collapse_weight(problem)) == math.inf
    with pytest.raises(InputError, match="weight"):
        theory.mixed_escape_time(problem, -1.0)


def test_escape_with_random_amplitudes_by_slow_integration():
    """(E18) at P = 1e12: d phi_o / dt with A_o = (1 - A_g) rho s e^(z phi_o) small, all averages on a grid."""
    problem, law = large(1e12, Uniform(0.8, 1.2)), Uniform(0.8, 1.2)
    z, w = grid(law, 100)
    weight, gamma, c, K = 1.5, 0.8, problem.C_global / problem.P, 4

    def shares(phi):
        e = problem.rho * c * np.exp(z * phi)
        A = e / (1 - problem.rho * c + e)
        return A, target(z * (c + (1 - c) * A), w, K, 0.5)

    phi = np.linspace(-5, 60, 6501)
    net = []
    for x in phi:
        A, D = shares(x)
        net.append(w @ (z**2 * A * (1 - A) * (weight * D - gamma * z * A)))
    A, D = shares(phi[np.flatnonzero(np.array(net) < 0)[0]])
    assert w @ A == pytest.approx(theory.collapsed_attention(problem, weight, finite=True), abs=5e-3)
    a, b = gamma * (w @ (1 - A)), w @ ((1 - A) * (gamma * z**2 * A**2 - weight * z * A * D))
    late = quad(lambda x: 1 / (w @ ((a * z**3 + b * z) * np.exp(z * x))), 0, 80, limit=200)[0]
    expected = K * 1e12 ** (1 - 0.4) / problem.rho * late
    assert theory.mixed_escape_time(problem, weight) == pytest.approx(expected, rel=2e-2)
    assert expected > 1.5 * theory.escape_time(problem)  # control


@pytest.mark.parametrize("weight", [2.2, 2.4, 2.7])
def test_attention_after_the_escape_balances_twice_the_reconstruction(weight):
    """(E20): alpha D = 2 gamma A; at finite P to c of it, and both pushes of the two-area equations vanish on A_o + A_g = 1."""
    problem = large(1e30)
    A, gamma = theory.escaped_attention(problem, weight), 0.8
    D = A * 3 / (3 + math.exp(A * A / 0.5))
    assert weight * D == pytest.approx(2 * gamma * A)
    own = gamma * (1 - A) * (A**2 + A**2) - weight * (1 - A) * A * D
    at_global = -gamma * A * (A * (1 - A) + (1 - A) * A) + weight * A * D * (1 - A)
    assert abs(own) < 1e-12 and abs(at_global) < 1e-12
    assert theory.escaped_attention(problem, weight, finite=True) == pytest.approx(A, abs=20 * 1e-3)
    assert theory.collapsed_attention(problem, weight) > A + 0.2  # control


def test_where_attention_after_the_escape_begins_and_ends():
    problem = large(1e12)
    start, end = 2 * theory.critical_weight(problem), 2 * theory.collapse_weight(problem)
    assert theory.escaped_attention(problem, start) == 0 < theory.escaped_attention(problem, 1.001 * start)
    assert theory.escaped_attention(problem, 0.999 * end) < 1 == theory.escaped_attention(problem, end)
    assert theory.escaped_attention(problem, end * 1.001, finite=True) == 1
    assert theory.escaped_attention(large(1e12, K=1), 5.0, finite=True) == 0
    with pytest.raises(InputError, match="fixed amplitude"):
        theory.escaped_attention(large(1e12, WIDE), 2.5)


def race(problem, weight):
    """FP correlations of a local query with the global and its own area until the first takes off: who is first (fixed z = 1)."""
    K, gamma, rho, P = problem.K, 0.8, problem.rho, float(problem.P)
    c, s = problem.C_global / P, P ** (problem.kappa_s - 1)

    def velocity(t, phi):
        A_g, A_o = rho * c * np.exp(phi[0]), rho * s * np.exp(phi[1])
        return [A_g / K * (weight * (1 - 1 / K) * (c + A_g) - gamma * A_g), gamma / K * A_o]

    def own(t, phi):
        return phi[1] - 12.0

    def other(t, phi):
        return phi[0] - 6.0

    own.terminal = other.terminal = True
    found = solve_ivp(velocity, (0, 10 * theory.escape_time(problem)), [0.0, 0.0], rtol=1e-9, atol=1e-11, events=[own, other])
    return "global" if len(found.t_events[1]) else "own"


def test_overtaking_weight_by_a_race():
    """(E21): one per cent below it the own area is first, one per cent above the global one; in the equations it is made from."""
    problem = large(1e12, kappa_c=0.6, kappa_s=0.4)
    weight = theory.overtaking_weight(problem)
    assert race(problem, 0.99 * weight) == "own" and race(problem, 1.01 * weight) == "global"
    simple = 0.8 * 4 / 3 * 1e12**0.2 * (1 - 0.2 * math.log(6))
    assert weight == pytest.approx(simple, rel=0.01)
    assert theory.overtaking_weight(large(1e24, kappa_c=0.6, kappa_s=0.4)) / weight == pytest.approx(1e12**0.2, rel=0.01)


def test_overtaking_weight_elsewhere():
    """Where the gap is large and positive the critical weight; random z by plain quadrature; sizes the wrong way round."""
    problem = large(1e30, kappa_c=0.95, kappa_s=0.3)
    assert theory.overtaking_weight(problem) == theory.critical_weight(problem)
    problem, (z, w) = large(1e12, WIDE, kappa_c=0.6, kappa_s=0.4), grid(WIDE)
    weight = theory.overtaking_weight(problem)

    def late(x):
        m3, m2, m1 = (w @ (z**j * np.exp(z * x)) for j in (3, 2, 1))
        cube = w @ (z**3 * np.exp(2 * z * x))
        return 1 / (weight * (m3 - (w @ z) * m2 / 4) + problem.rho * (weight * (cube - m2 * m1 / 4) - 0.8 * cube))

    takes = quad(late, 0, 60, limit=300)[0]
    free = quad(lambda x: 1 / (w @ (z**3 * np.exp(z * x))), 0, 60, limit=300)[0]
    assert takes == pytest.approx(1e12**problem.Delta / 0.8 * free, rel=1e-4)
    with pytest.raises(InputError, match="kappa_c"):
        theory.overtaking_weight(large(1e12, kappa_c=0.4, kappa_s=0.5))


def test_bad_temperatures_are_named():
    problem = large(1e12)
    for call in (
        lambda: theory.collapse_time(problem, temperature=0.0),
        lambda: theory.collapse_weight(problem, temperature=-1.0),
        lambda: theory.collapsed_attention(problem, 1.0, temperature=math.nan),
        lambda: theory.escaped_attention(problem, 1.0, temperature=0.0),
        lambda: theory.mixed_escape_time(problem, 1.0, temperature=0.0),
    ):
        with pytest.raises(InputError, match="temperature must be positive"):
            call()


@pytest.mark.parametrize("law", [ONE, Uniform(0.8, 1.2)], ids=str)
@pytest.mark.parametrize("tau", [1e-8, 1e-3, 0.02, 1e6])
def test_any_temperature(law, tau):
    """Numbers or infinity, without an overflow: at small temperatures no weight makes all attention collapse."""
    problem = large(1e12, law)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        values = [
            theory.collapse_weight(problem, tau), theory.collapsed_attention(problem, 2.0, tau),
            theory.collapsed_attention(problem, 2.0, tau, finite=True), theory.mixed_escape_time(problem, 2.0, tau),
            *([theory.escaped_attention(problem, 2.0, tau, finite=True)] if law == ONE else []),
        ]
    assert all(value >= 0 for value in values)
    if tau < 1e-2:
        assert values[0] == math.inf and values[1] < 0.04 and values[2] < 0.01 and values[3] < 1.05 * theory.escape_time(problem)
    assert theory.collapse_weight(problem, 0.5) > theory.collapse_weight(problem, 1.0) > theory.critical_weight(problem)


@pytest.mark.parametrize("K, law, weight", [(2, Uniform(0.3, 1.7), 1.0), (4, Uniform(0.1, 1.9), 2.0)])
def test_attention_settles_at_the_next_root_from_zero_on(K, law, weight):
    """Small amplitudes are pushed out at large negative correlations: those are never seen by a run, which starts at zero."""
    problem = large(1e20, law, K)
    expected = theory.collapsed_attention(problem, weight, finite=True)
    t_end = 0.1 * theory.mixed_escape_time(problem, weight, finite=True)
    run = reduced.flow(reduced.MixedOrbitField(problem, weight), t_end, keep=[t_end], rtol=1e-6)
    assert run.attention[-1, 0, 0, 1] == pytest.approx(expected, rel=5e-3) and expected > 0.08
