"""theory.py and averages.py: closed forms against enumeration, plain quadrature and a slow integration of the dynamics."""

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import simpson, solve_ivp

from dynsim import theory
from dynsim.errors import InputError
from dynsim.model.amplitude import Discrete, Fixed, Uniform
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.theory.averages import OwnArea, amplitude_nodes, hypergeometric, log_none_unmasked, tilted, unmasked_counts

LAWS = (Fixed(1.3), Uniform(0.5, 1.5), Discrete((0.6, 1.1, 2.0), (0.5, 0.3, 0.2)))


ONE = Fixed(1.0)


def near(value, rel=1e-12):
    """pytest.approx without its absolute tolerance of 1e-12, which is more than many values here."""
    return pytest.approx(value, rel=rel, abs=0)


def large(P, law=ONE, K=3, gamma=0.75, kappa_c=0.9, kappa_s=0.4):
    return Problem(K=K, gamma=gamma, P=P, kappa_c=kappa_c, kappa_s=kappa_s, amplitude=law)


def mean_exp(law, power, x, points=1001):
    """E[z^power e^(x z)], plainly: for Uniform by Simpson's rule, relative error (x h)^4 / 180 with steps of h."""
    x = np.atleast_1d(x)[:, None]
    if isinstance(law, Uniform):
        z = np.linspace(law.L, law.U, points)
        return simpson(z**power * np.exp(x * z), x=z) / (law.U - law.L)
    z, weight = law.nodes()
    return (z**power * np.exp(x * z)) @ weight


# Averages


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("x", [0.0, 3.0, -40.0, 90.0])
def test_tilted_averages_are_those_of_a_dense_rule(law, x):
    dense = mean_exp(law, 3, x, points=20001)[0]  # h = 5e-5, x = 90: error below 1e-11
    assert tilted(law, 3, x) == pytest.approx(math.log(dense), abs=1e-10)
    assert abs(tilted(law, 2, x) - math.log(dense)) > 1e-2  # control


def test_sharply_tilted_uniform_law():
    # E[e^-xz] = e^(-xL) / (x (U - L)) up to e^-2000
    assert tilted(Uniform(0.5, 1.5), 0, -2000.0) == near(-1000 - math.log(2000), rel=1e-13)
    z, weight = Uniform(0.5, 1.5).nodes(16)
    assert abs(math.log(weight @ np.exp(-2000 * (z - 0.5))) + math.log(2000)) > 1  # control: its own nodes miss the end
    z, weight = amplitude_nodes(Uniform(0.5, 1.5), 300.0, 0.9)
    assert weight.sum() == pytest.approx(1, abs=1e-14) and weight @ z == pytest.approx(1, abs=1e-14)
    # a logistic in the middle, as A (1 - A) is: int of its derivative
    step = 1 / (1 + np.exp(-300 * (z - 0.9)))
    assert weight @ (step * (1 - step)) == near(1 / 300, rel=1e-10)


@pytest.mark.parametrize(("m", "U", "N"), [(0, 3, 9), (3, 3, 9), (5, 2, 9), (6, 6, 9), (9, 4, 9)])
def test_hypergeometric_law_by_counting(m, U, N):
    exact = [math.comb(m, n) * math.comb(N - m, U - n) / math.comb(N, U) if n <= U else 0 for n in range(m + 1)]
    np.testing.assert_allclose(hypergeometric(m, U, N), exact, atol=1e-15)
    assert math.exp(log_none_unmasked(m, U, N)) == pytest.approx(exact[0], abs=1e-15)


def test_hypergeometric_law_at_any_size():
    assert hypergeometric(50, 0.25e100, 1e100) @ np.arange(51) == near(12.5, rel=1e-13)  # log-gammas lose 1e86 here
    binomial = [math.comb(50, n) * 0.25**n * 0.75 ** (50 - n) for n in range(51)]
    np.testing.assert_allclose(hypergeometric(50, 0.25e100, 1e100), binomial, rtol=1e-12)
    assert np.abs(hypergeometric(50, 250.0, 1000.0) - binomial).max() > 1e-3  # control


def test_long_products_by_quadrature():
    m, U, N = 20000, 50000, 10**7
    exact = math.fsum(math.log1p(-U / (N - i)) for i in range(m))  # -100: e^-100 keeps twelve digits if this does 1e-12
    assert log_none_unmasked(m, U, N) == log_none_unmasked(U, m, N) == near(exact, rel=1e-13)
    assert log_none_unmasked(1e50, 1e50, 1e100) == near(-1, rel=1e-12)
    assert log_none_unmasked(7, 4, 10) == -math.inf


# Escape and depth


@pytest.mark.parametrize("law", LAWS)
def test_escape_integral_by_simpson(law):
    phi = np.linspace(0, 30, 4001)  # cut off: e^-27; h = 7.5e-3: (1.5 h)^4 / 180 < 1e-10
    exact = simpson(1 / mean_exp(law, 3, phi), x=phi)
    assert theory.escape_integral(law) == near(exact, rel=1e-8)
    assert isinstance(law, Fixed) or abs(exact * law.moment(4) - 1) > 1e-2  # control: not 1 / E[z^4]


def test_escape_time_for_fixed_amplitude():
    problem = large(1e30, Fixed(1.3))
    assert theory.escape_time(problem) == near(3 / (0.75 * 0.25) * 1e18 / 1.3**4, rel=1e-9)
    assert theory.escape_time(problem, "GGG") == near(3 / (0.75 * 0.25) * 1e3 / 1.3**4, rel=1e-9)
    assert theory.escape_time(problem, "GLG") == theory.escape_time(problem, "L") > theory.escape_time(problem, "G")
    assert theory.escape_time(large(1e100, kappa_c=0.3, kappa_s=0.7), "GL" + "L") == theory.escape_time(
        large(1e100, kappa_c=0.3, kappa_s=0.7), "G"
    )  # local areas larger than the global one: now that one comes last


@pytest.mark.parametrize("P", [1e6, 1e12, 1e30, 1e100])
def test_global_escape_at_finite_P_for_fixed_amplitude(P):
    problem = large(P, Fixed(1.3))
    eps = (problem.C_global - 1) * problem.unmasked / (problem.P - 1)
    eps /= problem.P - eps
    exact = 3 / (0.75 * 1.3**4) * (1 / eps + 3 * math.log(1 / eps) + 2.5 - 3 * eps - eps**2 / 2)
    # PP enters through e^((z + Upsilon / phi) phi): a relative 2 / (z^2 C) of everything at most
    tolerance = 2 / (1.3**2 * problem.C_global) + 1e-9
    assert theory.escape_time(problem, "G", finite=True) == near(exact, rel=tolerance)
    if P < 1e30:
        assert abs(theory.escape_time(problem, "G") / exact - 1) > 0.1  # control: (11) is slow


def slow(problem, area="L", end=None):
    """(t, Phi_g, Upsilon, loss) of one cluster at E[A] = 1/2, or at phi = `end`: (5), phi as clock, counts at their mean."""
    P, gamma = float(problem.P), problem.masked / problem.P
    C, C_g = (problem.C_local, problem.C_global) if area == "L" else (problem.C_global, 0.0)
    z, weight = problem.amplitude.nodes(24)
    w, za, zg = np.outer(weight, weight), z[:, None], z[None, :]
    n, n_g = (C - 1) * problem.unmasked / (P - 1), C_g * problem.rho

    def parts(phi, phi_g, upsilon):  # A, A_g, and 1 / Z; keys outside of both areas have weight 1
        own, far = n * np.exp(za * phi + upsilon), n_g * np.exp(zg * phi_g)
        Z = own + (C - 1 - n) * np.exp(upsilon) + far + P - C + 1 - n_g
        return own / Z, far / Z, 1 / Z

    def rate(phi, y):
        A, A_g, each = parts(phi, y[1], y[2])
        g, g_g = za**2 * (A - 1), zg**2 * A_g
        mean = A * g + A_g * g_g
        drive = -np.sum(w * za * A * (g - mean))
        far = -np.sum(w * zg * A_g * (g_g - mean))
        keys = np.sum(w * (A * (mean - g) + (C - 1 - n) * np.exp(y[2]) * each * mean)) / (C - 1)
        return np.array([problem.K / gamma, far, keys]) / drive

    def half(phi, y):
        return np.sum(w * parts(phi, y[1], y[2])[0]) - 0.5

    half.terminal = end is None
    run = solve_ivp(rate, (0, end or 200), [0, 0, 0], "LSODA", events=half, rtol=1e-9, atol=1e-13)
    t, phi_g, upsilon = run.y[:, -1]
    A, A_g, _ = parts(run.t[-1], phi_g, upsilon)
    return t, phi_g, upsilon, np.sum(w * (za**2 * (1 - A) ** 2 + zg**2 * A_g**2)) / 2


@pytest.mark.parametrize("kappa_c", [0.9, 0.6])
@pytest.mark.parametrize("law", [Fixed(1.0), Uniform(0.5, 1.5)])
def test_local_escape_depth_and_pp_against_integration(law, kappa_c):
    problem = large(10**8, law, kappa_c=kappa_c)
    t, depth, upsilon, _ = slow(problem)
    share, eps = problem.rho * problem.C_global / problem.P, problem.rho * problem.C_local / problem.P
    second = share**2 + 1 / problem.C_local**1.5 + 2 * eps * math.log(1 / eps)  # the terms that (15) leaves out
    assert theory.escape_time(problem, finite=True) == near(t, rel=second)
    # (16): what is left out moves Z by share^2, and the push by 1 / (z^2 C) through PP
    assert theory.global_depth(problem, finite=True) == near(depth, rel=2 * share**2 + 1 / problem.C_local)
    if kappa_c == 0.6:  # control: the push of the escape is a quarter of it
        assert abs(theory.global_depth(problem) / depth - 1) > 0.2
    assert theory.pp_size(problem) == near(upsilon, rel=0.02)
    if kappa_c == 0.9:  # control: without the fall of the global correlation the bound is missed ten times over
        assert abs(theory.escape_time(problem) / t - 1) > 10 * second
    assert abs(theory.pp_size(problem) * problem.C_global / problem.C_local / upsilon - 1) > 1


def test_escape_converges_at_the_stated_rate():
    """A law with a gap: t / (8) - 1 ~ P^-(3 (1 - kappa) z' / (2 z + z'))."""
    law = Discrete((0.3, 1.5), (0.6, 0.4))
    problems = [large(P, law, kappa_c=0.3) for P in (1e20, 1e24)]
    error = [theory.escape_time(p, finite=True) / theory.escape_time(p) - 1 for p in problems]
    slope = math.log10(error[1] / error[0]) / 4
    assert slope == pytest.approx(-3 * 0.6 * 0.3 / 3.3, abs=1e-5)
    p = large(1e24, Uniform(0.3, 1.5), kappa_c=0.3)
    assert abs(theory.escape_time(p, finite=True) / theory.escape_time(p) - 1) < 1e-2 * error[1]  # control: no gap


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("P", "kappa_c"), [(196, 0.9), (1e12, 0.9), (1e12, 0.6), (1e30, 0.9)])
def test_depth_solves_its_equation(law, P, kappa_c):
    problem = large(P, law, kappa_c=kappa_c)
    depth = theory.global_depth(problem)
    phi = np.linspace(depth, 0, 401)
    left, right = simpson(1 / mean_exp(law, 3, 2 * phi), x=phi), problem.rho * P**problem.Delta * theory.escape_integral(law)
    assert depth < 0 and left == near(right, rel=1e-5)
    half = simpson(1 / mean_exp(law, 3, phi), x=phi)
    assert abs(half / right - 1) > 1e-4 * min(1, abs(depth))  # control: e^(z phi) for e^(2 z phi)


def test_depth_at_both_signs_of_Delta_and_any_P():
    for P in (1e12, 1e30, 1e100):
        explicit = -math.log(1 + 2 * 0.25 * P**0.4) / 2.6
        assert theory.global_depth(large(P, Fixed(1.3))) == near(explicit, rel=1e-9)
        for law in LAWS:
            tiny = large(P, law, kappa_c=0.1, kappa_s=0.8)  # Delta = -1.6: Phi_g = -1e-160 at P = 1e100
            linear = -law.moment(3) * theory.escape_integral(law) * 0.25 * P**tiny.Delta
            assert theory.global_depth(tiny) == near(linear, rel=1e-9)
        steep = [theory.global_depth(large(P, law, kappa_c=0.99, kappa_s=0.0)) for law in LAWS]  # P^Delta = P^0.98
        log = 0.49 * math.log(P)
        assert all(-1.2 * log / law.L < depth < -0.9 * log / law.U for law, depth in zip(LAWS, steep, strict=True))


def test_regimes():
    assert [theory.regime(large(1e6, kappa_c=c)) for c in (0.9, 0.7, 0.6)] == ["two phases", "boundary", "one phase"]
    assert theory.information_gap(large(1e6)) == near(0.6 - 0.2)


def test_an_area_that_cannot_be_seen_never_escapes():
    alone = large(1e30, kappa_s=0.0)
    hidden = Problem(K=1, gamma=0.95, P=100, kappa_c=0.9, kappa_s=0.4)  # 6 patches: all masked three times in four
    assert theory.escape_time(alone, finite=True) == theory.escape_time(hidden, finite=True) == math.inf
    assert theory.escape_time(hidden, "G", finite=True) < math.inf and math.isnan(theory.global_depth(hidden, finite=True))
    for problem in (alone, hidden):
        with pytest.raises(InputError, match="kappa_s|half of the time"):
            theory.pp_size(problem)


# Floor and first loss: every mask, every amplitude

LABELS = np.array([[0, 0, 0, 1, 1, 1, 2, 2], [1, 0, 2, 0, 2, 1, 0, 0]])


def enumerated(part, masked, z_values, z_weight):
    """{(k, p): (Pr own area all masked | p masked, loss at attention 1 / P)} by listing masks and amplitudes."""
    found = {}
    for k, p in np.ndindex(part.K, part.P):
        label = part.labels[k]
        hidden, loss, count = 0, 0.0, 0
        for mask in itertools.combinations(range(part.P), masked):
            if p not in mask:
                continue
            count += 1
            hidden += all(q in mask for q in range(part.P) if label[q] == label[p])
            for pick in itertools.product(range(len(z_values)), repeat=part.N[k]):
                z, chance = [z_values[i] for i in pick], math.prod(z_weight[i] for i in pick)
                F = np.zeros(part.N[k])
                for q in range(part.P):
                    F[label[q]] += 0.0 if q in mask else z[label[q]] / part.P
                F[label[p]] -= z[label[p]]
                loss += chance * (F @ F) / 2
        found[k, p] = hidden / count, loss / count
    return found


@pytest.mark.parametrize("masked", [2, 5, 7])
def test_floor_and_first_loss_by_enumeration(masked):
    part, law = Partition(LABELS), Discrete((0.7, 1.4), (0.25, 0.75))
    problem = Problem(K=2, gamma=masked / 8, P=8, kappa_c=0.5, kappa_s=0.4, amplitude=law)
    assert problem.masked == masked
    exact = enumerated(part, masked, law.values, law.weights)
    wanted = {
        None: list(exact),
        "L": [(k, p) for k, p in exact if LABELS[k, p]],
        "GL": [(k, p) for k, p in exact if LABELS[0, p] == 0 and LABELS[1, p]],
        "GG": [(k, 1) for k in (0, 1)],
    }
    for query, pairs in wanted.items():
        floor = np.mean([exact[pair][0] for pair in pairs]) * law.moment(2) / 2
        loss = np.mean([exact[pair][1] for pair in pairs])
        assert theory.loss_floor(problem, part, query) == pytest.approx(floor, rel=1e-13, abs=1e-16)
        assert theory.initial_loss(problem, part, query) == near(loss, rel=1e-13)
    if masked == 5:  # control: patches masked independently with probability gamma
        independent = np.mean([problem.gamma ** (part.size[part.own[pair]] - 1) for pair in exact]) * law.moment(2) / 2
        assert abs(theory.loss_floor(problem, part) / independent - 1) > 0.1


def test_counts_mix_the_two_sizes_around_the_mean():
    problem = Problem(K=1, gamma=0.8, P=64)
    assert problem.C_local == 5.5
    n, prob = unmasked_counts(problem, 5.5)
    assert prob.sum() == near(1) and prob @ n == near(4.5 * problem.unmasked / 63)


@pytest.mark.parametrize("P", [64, 196, 900])
@pytest.mark.parametrize("gamma", [0.5, 0.8])
def test_sizes_alone_tell_the_floor_and_first_loss(P, gamma):
    problem = Problem(K=2, gamma=gamma, P=P)
    part = Partition.random(problem, seed=1)
    for query in (None, "L", "G"):
        assert theory.loss_floor(problem, query=query) == near(theory.loss_floor(problem, part, query), rel=1e-12)
        assert theory.initial_loss(problem, query=query) == near(theory.initial_loss(problem, part, query), rel=1e-12)
    mixed = (theory.loss_floor(problem, query="L") + theory.loss_floor(problem, query="G")) / 2
    assert theory.loss_floor(problem, query="LG") == near(mixed) != theory.loss_floor(problem)


def test_floor_and_first_loss_at_any_P():
    small = large(1e100, Uniform(0.5, 1.5), kappa_s=0.01)  # local areas of ten patches: 0.75^9
    assert theory.loss_floor(small, query="L") == near(0.75**9 * 13 / 24, rel=1e-9)
    assert theory.loss_floor(small, query="G") == 0.0
    assert theory.initial_loss(small) == near(13 / 24, rel=1e-9)
    assert theory.loss_floor(large(1e30)) == 0.0
    two = Problem(K=1, gamma=0.5, P=2, kappa_c=0.0, kappa_s=0.0, amplitude=Fixed(2.0))
    assert theory.loss_floor(two) == 2.0 and theory.initial_loss(two) == near(2.0 * (1 + 1 / 4))


# Late stage and PP


def test_late_loss_for_fixed_amplitude():
    """du / dt = -(gamma / K) z^4 (1 - u)^2 u^3 for u = 1 - A, solved by partial fractions from u = 1/2."""
    problem, z = large(1e12, Fixed(1.3)), 1.3
    antiderivative = lambda u: 1 / (2 * u**2) + 2 / u + 3 * math.log((1 - u) / u) - 1 / (1 - u)  # noqa: E731
    escape = theory.escape_time(problem, "G", finite=True)
    for u in (0.03, 1e-3, 1e-6):
        t = escape + 3 / (0.75 * z**4) * (antiderivative(u) - antiderivative(0.5))
        # time: 1 / (2 u^2 A^4) stands for the bracket, off by log(1/u) + a constant of 32
        error = 2 * u**2 * (32 + 10 * math.log(1 / u)) + 1e-9
        assert theory.late_loss(problem, t, "G", finite=True) == near(z**2 * u**2 / 2, rel=error)
        assert theory.late_loss(problem, t - escape) == near(z**2 * u**2 / 2, rel=5 * u)
    assert abs(theory.late_loss(large(1e12, Fixed(1.31)), t) / (z**2 * u**2 / 2) - 1) > 1e-2  # control


@pytest.mark.parametrize("law", [Uniform(0.8, 1.2), Discrete((0.6, 1.3))])
def test_late_loss_for_random_amplitude(law):
    """Against t = int K / gamma dphi / E[z^3 A (1 - A)^2] by Simpson's rule."""
    problem = large(1e12, law)
    own = OwnArea(problem, problem.C_global)
    end = 60.0
    phi = np.linspace(own.half(), end, 4001)  # step below 0.015
    rate = np.array([own.drive(x, 3) for x in phi])
    t = theory.escape_time(problem, "G", finite=True) + 4 * simpson(1 / rate, x=phi)
    bound = 2 / (law.L * end) ** 2
    assert theory.late_loss(problem, t, "G", finite=True) == near(own.excess(end), rel=bound)
    leading = theory.late_loss(problem, t)
    assert leading == near(own.excess(end), rel=1.5 / (law.L * end))
    assert abs(leading * (law.L / law.moment(1)) ** 2 / own.excess(end) - 1) > 1.5 / (law.L * end)  # control: mean amplitude


def test_pp_takes_its_part_in_the_late_descent():
    problem = large(10**6, Fixed(0.9), K=1)
    t, _, upsilon, loss = slow(problem, end=25.0)  # u = 1e-6: (12) has no other error of that size
    share = 1 / (0.81 * (problem.C_local - 1))  # 0.5 %, known to a relative 1 / C and u log(1 / u)
    assert theory.late_loss(problem, t, finite=True) == near(loss, rel=0.02 * share)
    assert theory.late_loss(problem, t) == near(loss * (1 + share), rel=0.02 * share)  # control: (12) leaves it out
    assert theory.pp_size(problem, t=t) == near(upsilon, rel=share)


def test_pp_of_a_global_query_loses_what_masked_keys_lose():
    problem = large(10**6, Fixed(0.9))
    t, _, upsilon, _ = slow(problem, "G")
    assert theory.escape_time(problem, "G", finite=True) == near(t, rel=1e-4)  # others at weight 1 here as there
    assert theory.pp_size(problem, "G") == near(upsilon, rel=1e-3)  # PP of 1e-5 fed back; C - 1 against C
    assert abs(math.log((problem.P - 6e4) / 6e4) / 0.81 / problem.C_global / upsilon - 1) > 0.1  # control: phi / (z C)


def test_late_loss_takes_times_in_any_shape():
    problem = large(1e6)
    t = np.geomspace(1, 1e9, 6).reshape(2, 3)
    assert theory.late_loss(problem, t).shape == (2, 3) and (np.diff(theory.late_loss(problem, t).ravel()) < 0).all()
    finite = theory.late_loss(problem, t, "LLG", finite=True)
    assert np.isnan(finite[0]).all() and finite[1, 2] == near(
        (2 * theory.late_loss(problem, 1e9, "L", True) + theory.late_loss(problem, 1e9, "G", True)) / 3
    )


def test_pp_size_for_fixed_amplitude():
    for P in (1e12, 1e30, 1e100):
        problem = large(P, Fixed(1.3))
        asymptotic = math.log(P**0.6 / 0.25) / (1.3**2 * P**0.4)
        assert theory.pp_size(problem) == near(asymptotic, rel=2e-3 * (1e12 / P) ** 0.4 + 1e-9)
    # at any time phi / (z C), phi from u = 1 - A: z phi = log(P^(1-kappa) / rho) - log u
    t = 1e30
    u = math.sqrt(2 * float(theory.late_loss(problem := large(1e12, Fixed(1.3)), t))) / 1.3
    late = (math.log(1e12**0.6 / 0.25) - math.log(u)) / (1.3**2 * 1e12**0.4)
    assert theory.pp_size(problem, t=t) == near(late, rel=1e-3) and late > 1.5 * theory.pp_size(problem)


# Bad input


@pytest.mark.parametrize("query", ["", "LL", "LLLL", "LXL", "lll", 3, None, ["L"]])
def test_queries_that_do_not_fit(query):
    problem = large(1e6)
    calls = [theory.escape_time, theory.pp_size, lambda p, q: theory.late_loss(p, 1e9, q)]
    if query is not None:
        calls += [lambda p, q: theory.loss_floor(p, query=q), lambda p, q: theory.initial_loss(p, query=q)]
    for call in calls:
        with pytest.raises(InputError, match="take LLL"):
            call(problem, query)


def test_partitions_and_times_that_do_not_fit():
    part = Partition(LABELS)
    problem = Problem(K=2, gamma=0.5, P=8, kappa_c=0.5, kappa_s=0.4)
    other = Problem(K=2, gamma=0.5, P=9, kappa_c=0.5, kappa_s=0.4)
    for call in (theory.loss_floor, theory.initial_loss):
        with pytest.raises(InputError, match="not one of the problem's"):
            call(other, part)
        with pytest.raises(InputError, match="no patch"):
            call(problem, Partition(np.array([[0, 0, 1, 1, 2, 2, 3, 3]] * 2)), "LG")
    with pytest.raises(InputError, match="t > 0"):
        theory.late_loss(problem, [1.0, 0.0])
    with pytest.raises(InputError, match="not after it"):
        theory.pp_size(large(1e6), t=1.0)
