"""Problem and the amplitude laws: derived sizes, and every rule with a value that breaks it."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dynsim
from dynsim import Discrete, Fixed, InputError, Problem, Uniform


def test_defaults_are_the_readme_example():
    problem = Problem(K=4, gamma=0.8)
    assert (problem.P, problem.masked, problem.unmasked) == (196, 157, 39)
    assert problem.C_global == round(196**0.9) and problem.n_local == round((196 - problem.C_global) / round(196**0.4))
    assert problem.N == 1 + problem.n_local and problem.rho == 39 / 196
    assert problem.Delta == pytest.approx(0.6 - 2 * 0.1) and problem.amplitude == Uniform(0.8, 1.2)


def test_is_frozen_and_comparable():
    problem = Problem(K=4.0, P=np.int64(64), gamma=np.float32(0.5))
    assert type(problem.K) is int and type(problem.P) is int and problem == Problem(K=4, P=64, gamma=0.5)
    with pytest.raises(AttributeError):
        problem.K = 3


exponents = st.floats(0, 0.999)


@given(P=st.integers(2, 4000), gamma=st.floats(0.001, 0.999), kappa_c=exponents, kappa_s=exponents, K=st.integers(1, 9))
def test_sizes_fill_the_patches(P, gamma, kappa_c, kappa_s, K):
    try:
        problem = Problem(K=K, gamma=gamma, P=P, kappa_c=kappa_c, kappa_s=kappa_s)
    except InputError as error:
        assume(str(error).startswith(("areas must fit", "round(gamma P)")))
        assume(False)
    sizes = problem.sizes()
    assert sizes.sum() == P and len(sizes) == problem.N and (sizes >= 1).all()
    assert sizes[0] == problem.C_global == max(1, round(P**kappa_c)) and np.ptp(sizes[1:]) <= 1
    assert sizes[1:].mean() == pytest.approx(problem.C_local)
    # rounding the size to a whole number s0 and the number of areas to a whole number: within a factor 2 of s0, or all there is
    assert 0.5 <= problem.C_local / max(1, round(P**kappa_s)) <= 2
    assert problem.masked == round(gamma * P) and problem.masked + problem.unmasked == P and 1 <= problem.masked < P


def test_huge_P_counts_in_real_numbers():
    problem = Problem(K=4, gamma=0.75, P=1e30, kappa_c=0.9, kappa_s=0.4)
    assert problem.C_global == pytest.approx(1e27) and problem.C_local == pytest.approx(1e12, rel=1e-12)
    assert problem.n_local * problem.C_local + problem.C_global == pytest.approx(1e30, rel=1e-15)
    assert problem.rho == pytest.approx(0.25)
    assert Problem(P=2**53).masked == round(0.8 * 2**53)  # the last P that is counted patch by patch


@pytest.mark.parametrize(
    "kappa_c, kappa_s, Delta", [(0.9, 0.4, 0.4), (0.7, 0.4, 0.0), (0.5, 0.4, -0.4), (0.999, 0.001, 0.997), (0.1, 0.9, -1.7)]
)
def test_information_gap(kappa_c, kappa_s, Delta):
    assert Problem(P=1e8, kappa_c=kappa_c, kappa_s=kappa_s).Delta == pytest.approx(Delta, abs=1e-12)


BAD = {
    "K must be a whole number of at least 1": [{"K": 0}, {"K": -2}, {"K": 1.5}],
    "K must be a finite number": [{"K": True}, {"K": "4"}, {"K": None}, {"K": math.nan}, {"K": [4]}, {"K": 1j}],
    "gamma is the masked fraction": [{"gamma": g} for g in (0, 1, 1.2, -0.1)],
    "gamma must be a finite number": [{"gamma": math.nan}, {"gamma": "0.5"}],
    "masks none of P=16": [{"gamma": 0.01, "P": 16}],
    "masks all of P=16": [{"gamma": 0.99, "P": 16}],
    "P must be between 2 and 1e100": [{"P": 1}, {"P": -5}, {"P": 1e101}],
    "P must be a finite number": [{"P": math.inf}],
    "P counts patches": [{"P": 12.5}],
    r"kappa_c must be in \[0, 1\)": [{"kappa_c": 1}, {"kappa_c": -0.1}],
    r"kappa_s must be in \[0, 1\)": [{"kappa_s": 1.0}, {"kappa_s": -1}],
    "areas must fit in P=16": [{"P": 16, "kappa_c": 0.95, "kappa_s": 0.9}, {"P": 16, "kappa_c": 0.999}],
    "amplitude must be a law": [{"amplitude": a} for a in (1.0, None, "uniform", Uniform)],
}


@pytest.mark.parametrize("rule, bad", [(rule, bad) for rule, cases in BAD.items() for bad in cases], ids=str)
def test_bad_problem_is_named(rule, bad):
    with pytest.raises(InputError, match=rule) as caught:
        Problem(**bad)
    check_message(caught.value, bad)


def check_message(error, bad):
    """One line: rule, value, remedy."""
    text = str(error)
    assert "\n" not in text and len(text) < 250
    assert any(word in text for word in ("got ", "masks ", "takes ")) and ": " in text
    numbers = [v for v in bad.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    assert not numbers or any(f"{v:g}" in text for v in numbers)


def test_gammas_offered_as_remedy_work():
    for gamma in (0.01, 0.99):
        with pytest.raises(InputError) as caught:
            Problem(gamma=gamma, P=16)
        low, high = (float(x) for x in str(caught.value).split("between ")[1].split(" and "))
        Problem(gamma=low * 1.01, P=16), Problem(gamma=high * 0.99, P=16)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: Uniform(1.2, 0.8), "L <= U, got L=1.2 and U=0.8: swap"),
        (lambda: Uniform(-1, 1), "between 1e-6 and 1e6, got L and U=.-1, 1.: take"),
        (lambda: Uniform(0, 1), "between 1e-6 and 1e6, got"),
        (lambda: Uniform(math.nan, 1), "between 1e-6 and 1e6, got"),
        (lambda: Uniform(1, math.inf), "between 1e-6 and 1e6, got"),
        (lambda: Uniform("a", 1), "between 1e-6 and 1e6, got"),
        (lambda: Fixed(0), "between 1e-6 and 1e6, got z=.0,.: take"),
        (lambda: Fixed(-1.0), "between 1e-6 and 1e6, got"),
        (lambda: Fixed("1"), "between 1e-6 and 1e6, got"),
        (lambda: Fixed(None), "between 1e-6 and 1e6, got"),
        (lambda: Discrete(()), "between 1e-6 and 1e6, got"),
        (lambda: Discrete((1, -2)), "between 1e-6 and 1e6, got"),
        (lambda: Discrete(("a",)), "between 1e-6 and 1e6, got"),
        (lambda: Discrete((1, 2), (1,)), "one weight per amplitude, got 1 for 2: give"),
        (lambda: Discrete((1, 2), (1, 0)), "weights must be positive and finite, got .*: leave out"),
    ],
)
def test_bad_amplitudes_are_named(make, rule):
    with pytest.raises(InputError, match=rule):
        make()


LAWS = [Uniform(0.8, 1.2), Uniform(0.5, 1.5), Uniform(1.1, 1.1), Fixed(2.0), Discrete((0.5, 1.0, 2.0)), Discrete((1, 3), (3, 1))]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_powers_have_the_exact_mean(law):
    for power in range(5):
        if isinstance(law, Uniform) and law.L < law.U:
            exact = (law.U ** (power + 1) - law.L ** (power + 1)) / (power + 1) / (law.U - law.L)
        elif isinstance(law, Discrete):
            exact = sum(w * v**power for v, w in zip(law.values, law.weights, strict=True))
        else:
            exact = law.L**power
        assert law.moment(power) == pytest.approx(exact, rel=1e-13)
    z, weight = law.nodes(8)
    assert weight.sum() == pytest.approx(1, rel=1e-14) and law.L <= z.min() <= z.max() <= law.U


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_samples_follow_the_law(law):
    """Five standard errors of the mean of z and z^2; 1e4 draws with a fixed seed."""
    z = law.sample(np.random.default_rng(0), (100, 100))
    assert z.shape == (100, 100) and law.L <= z.min() and z.max() <= law.U
    for power in (1, 2):
        error = math.sqrt(max(law.moment(2 * power) - law.moment(power) ** 2, 0) / z.size)
        assert abs((z**power).mean() - law.moment(power)) <= 5 * error + 1e-12
        if error:
            assert abs((z**power).mean() - law.moment(power + 2)) > 5 * error  # control: another moment


def test_import_loads_what_is_asked_for():
    assert dynsim.Problem is Problem and "Problem" in dir(dynsim)
    with pytest.raises(AttributeError, match="no attribute 'Problems'"):
        dynsim.Problems  # noqa: B018
