"""The law of unmasked patches: against SciPy's hypergeometric law, in its moments, and at sizes that no sum reaches."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from dynsim.reduced.kernels import counts
from dynsim.reduced.kernels.counts import all_masked, unmasked_law

pytestmark = pytest.mark.kernel

SMALL = [(16, 4, 5), (16, 4, 1), (64, 16, 41), (64, 32, 4), (196, 39, 7), (12, 11, 11), (10, 1, 9)]
LARGE = [(400, 100, 250), (10**4, 2500, 2000), (10**6, 250_000, 4000), (10**6, 200_000, 500_000)]


@pytest.mark.parametrize("P, unmasked, n", SMALL)
def test_counts_where_they_are_summed(P, unmasked, n):
    x, weight, rho, rho2 = unmasked_law(float(P), float(unmasked), float(n))
    law = hypergeom(P - 1, n, unmasked)
    j = np.round(x * n)
    if len(x) > counts.NODES or j[0] == 0 and law.pmf(0) > counts.EMPTY or law.support()[1] - law.support()[0] < counts.NODES:
        np.testing.assert_allclose(x * n, j, atol=1e-12)
        np.testing.assert_allclose(weight, law.pmf(j), rtol=1e-11)
        left = law.sf(-1) - weight.sum()
        assert abs(left) < 1e-14
    # given j, `unmasked - j` of the P - 1 - n patches outside are unmasked, any of them as likely
    outside = P - 1 - n
    if outside > 0:
        np.testing.assert_allclose(rho * outside, np.maximum(0, unmasked - x * n), atol=1e-12)
    if outside > 1:
        pairs = np.maximum(0, unmasked - x * n) * np.maximum(0, unmasked - x * n - 1)
        np.testing.assert_allclose(rho2 * outside * (outside - 1), pairs, atol=1e-11)
    assert weight @ x * n + weight @ rho * outside == pytest.approx(unmasked, rel=1e-13)


@pytest.mark.parametrize("P, unmasked, n", LARGE)
def test_gauss_rule_is_exact_to_its_degree(P, unmasked, n):
    """A rule of k nodes has all central moments up to degree 2k - 1; that of degree 2k it misses."""
    x, weight, *_ = unmasked_law(float(P), float(unmasked), float(n))
    law = hypergeom(P - 1, n, unmasked)
    mean, scale = n * unmasked / (P - 1), law.std()  # (its mean overflows in SciPy before 1.14)
    j = np.arange(max(0, int(mean - 13 * scale)), min(n, int(mean + 13 * scale)) + 1)
    pmf = law.pmf(j)
    pmf /= pmf.sum()
    centred, nodes = (j - mean) / scale, (x * n - mean) / scale
    k = len(x)
    assert 1 <= k <= counts.NODES and k < len(j)
    for degree in range(2 * k):
        size = pmf @ np.abs(centred) ** degree
        assert abs(weight @ nodes**degree - pmf @ centred**degree) < 1e-9 * size  # pmf itself is good to 1e-11 or so
    if k < 6:
        assert abs(weight @ nodes ** (2 * k) - pmf @ centred ** (2 * k)) > 1e-3 * (pmf @ centred ** (2 * k))


@pytest.mark.parametrize("P, gamma, n", [(10**5, 0.75, 30), (10**6, 0.75, 250), (10**7, 0.8, 650), (10**7, 0.5, 50_000)])
def test_means_of_what_the_loss_is_made_of(P, gamma, n):
    """E[A] and E[(1 - A)^2] with A = w j / (w j + P), against the full sum, at the escape and well after it."""
    unmasked = round((1 - gamma) * P)
    x, weight, *_ = unmasked_law(float(P), float(unmasked), float(n))
    j = np.arange(n + 1)
    pmf = hypergeom.pmf(j, P - 1, n, unmasked)
    spread = 0.0
    for w in np.array([0.1, 1.0, 10.0, 1000.0]) * P / (n * unmasked / P):
        A, exact = w * x * n / (w * x * n + P), w * j / (w * j + P)
        assert weight @ A == pytest.approx(pmf @ exact, rel=1e-9)
        assert weight @ (1 - A) ** 2 == pytest.approx(pmf @ (1 - exact) ** 2, rel=1e-7)
        at_mean = (1 - w * unmasked * n / (P - 1) / (w * unmasked * n / (P - 1) + P)) ** 2
        spread = max(spread, abs(at_mean / (pmf @ (1 - exact) ** 2) - 1))
    assert spread > 1e-5  # control: the mean count alone does not do


@pytest.mark.parametrize("P, gamma, n", [(1000, 0.8, 30), (10**4, 0.8, 62), (3 * 10**4, 0.8, 84.5), (10**5, 0.75, 60)])
def test_all_masked_apart_from_a_rule_of_the_rest(P, gamma, n):
    """The chance that nothing is seen to rounding, and means of 1 / (1 + w j) at any w to 1e-6, by fewer nodes than counts."""
    args = float(P), float(round((1 - gamma) * P)), float(n)
    (all_x, all_weight, *_), (x, weight, rho, _) = unmasked_law(*args), unmasked_law(*args, coarse=True)
    assert len(x) == counts.APART + 1 < len(all_x)
    assert (x[0], weight[0]) == (0.0, pytest.approx(all_weight[all_x == 0].sum(), rel=1e-14))
    (plain_x, plain_weight, *_), missed = unmasked_law(*args, most=counts.APART + 1), 0.0
    for w in 10.0 ** np.arange(-2, 8):
        exact = all_weight @ (1 / (1 + w * n * all_x))
        assert weight @ (1 / (1 + w * n * x)) == pytest.approx(exact, rel=1e-6)
        missed = max(missed, abs(plain_weight @ (1 / (1 + w * n * plain_x)) / exact - 1))
    assert missed > 1e-4  # control: a rule of all counts does not see the last of them
    assert weight.sum() == pytest.approx(1.0, abs=1e-14) and ((rho >= 0) & (rho <= 1) & (x <= 1)).all()
    assert len(unmasked_law(196.0, 39.0, 7.0)[0]) == len(unmasked_law(196.0, 39.0, 7.0, coarse=True)[0])  # few are left alone


@pytest.mark.parametrize("P, n, bound", [(1e5, 100.0, 1e-5), (1e6, 251.0, 2e-7), (1e12, 63096.0, 2e-8), (1e20, 1e8, 1e-13)])
def test_half_as_many_nodes(P, n, bound):
    """Means of 1 / (1 + w x) at any w, and no error in those of x and x^2."""
    (x, weight, *_), (coarse, few, *_) = unmasked_law(P, 0.2 * P, n), unmasked_law(P, 0.2 * P, n, coarse=True)
    assert len(coarse) == -(-len(x) // 2) > 1
    by_mean = 0.0
    for w in 10.0 ** np.arange(-2, 4):
        exact = weight @ (1 / (1 + w * x))
        assert few @ (1 / (1 + w * coarse)) == pytest.approx(exact, rel=bound)
        by_mean = max(by_mean, abs(1 / (1 + w * 0.2) / exact - 1))
    assert by_mean > 100 * bound  # control: the mean alone does not do
    for degree in (1, 2):
        assert few @ coarse**degree == pytest.approx(weight @ x**degree, rel=1e-11)


def test_a_coarse_law_of_few_counts():
    """Sixteen that are never all masked take fewer nodes; fewer than that serve as they are (a rule of more has no weights)."""
    (x, weight, *_), (coarse, few, *_) = unmasked_law(1e6, 8e5, 15.0), unmasked_law(1e6, 8e5, 15.0, coarse=True)
    assert (len(x), len(coarse)) == (16, 5) and few @ coarse**2 == pytest.approx(weight @ x**2, rel=1e-12)
    for law in zip(unmasked_law(1000.0, 998.0, 2.0), unmasked_law(1000.0, 998.0, 2.0, coarse=True), strict=True):
        np.testing.assert_array_equal(*law)


def test_no_node_lies_beyond_all_unmasked():
    """Not by rounding either: the spread of a drawn own area, x (1 - x), is no negative number."""
    for n in 15 + 10.0 ** np.arange(-13, 0):
        x, weight, *_ = unmasked_law(1e12, 2e11, n, coarse=True)
        assert len(x) == counts.APART + 1 and x.max() <= 1.0 and x @ weight == pytest.approx(0.2, rel=1e-11)


def test_the_normal_law_takes_over_smoothly(monkeypatch):
    """Around the deviation beyond which the normal law stands in, both give the same means to 1e-12."""
    args = 1e10, 2.5e9, 6e6
    assert np.sqrt(6e6 * 0.25 * 0.75) > counts.NORMAL
    normal = unmasked_law(*args)
    monkeypatch.setattr(counts, "NORMAL", 1e9)
    summed = unmasked_law(*args)
    for f in (lambda x: x, lambda x: x**2, lambda x: 1 / (1 + x) ** 2, lambda x: 1 / (1 + 100 * x)):
        assert normal[1] @ f(normal[0]) == pytest.approx(summed[1] @ f(summed[0]), rel=1e-12)
    assert abs(1 / (1 + 0.25) ** 2 / (summed[1] @ (1 + summed[0]) ** -2.0) - 1) > 1e-9  # control: the spread is seen


def test_uneven_areas_mix_two_laws():
    for n, low in ((4.25, 4), (0.75, 0)):
        x, weight, rho, _ = unmasked_law(64.0, 16.0, n)
        part = n - low
        for f in (lambda x: x, lambda x: (1 - x) ** 3):
            mixed = 0.0
            for m, share in ((low, 1 - part), (low + 1, part)):
                j = np.arange(m + 1)
                values = f(j / m) if m else f(np.zeros(1))
                mixed += share * hypergeom.pmf(j, 63, m, 16) @ values
            assert weight @ f(x) == pytest.approx(mixed, rel=1e-12)
        assert weight.sum() == pytest.approx(1, abs=1e-14) and ((rho >= 0) & (rho <= 1)).all()


def test_a_mixture_has_one_rule_of_the_same_degree():
    """As many nodes as the law of either whole number, and the moments of the mixture of both up to degree 2 k - 1."""
    P, unmasked, n, part = 1e6, 2e5, 4000.0, 0.25
    x, weight, *_ = unmasked_law(P, unmasked, n + part)
    (low, low_weight, *_), (high, high_weight, *_) = unmasked_law(P, unmasked, n), unmasked_law(P, unmasked, n + 1)
    k, scale = len(low), np.sqrt(0.2 * 0.8 / n)
    assert len(x) == k == len(high) and (weight > 0).all()
    for degree in range(2 * k):
        whole = [chance @ ((nodes - 0.2) / scale) ** degree for nodes, chance in ((low, low_weight), (high, high_weight))]
        mixed, size = (1 - part) * whole[0] + part * whole[1], low_weight @ np.abs((low - 0.2) / scale) ** degree
        off = abs(weight @ ((x - 0.2) / scale) ** degree - mixed)
        assert off < 1e-9 * size
        if degree == 2:
            assert abs(whole[0] / whole[1] - 1) > 1e-4  # control: the laws differ


def test_mean_field_is_one_node():
    x, weight, rho, rho2 = unmasked_law(64.0, 16.0, 5.0, mean_field=True)
    assert x == [16 / 63] and weight == [1] and rho == pytest.approx(16 / 63) and rho2 == rho**2


@pytest.mark.parametrize("P", [1e17, 1e30, 1e60, 1e100])
@pytest.mark.parametrize("kappa", [0.0, 0.2, 0.4, 0.9, 0.999])
def test_any_size(P, kappa):
    n, unmasked = P**kappa, 0.25 * P
    x, weight, rho, rho2 = unmasked_law(P, unmasked, n)
    assert weight.sum() == pytest.approx(1, abs=1e-13) and (weight > 0).all()
    assert ((x >= 0) & (x <= 1)).all() and weight @ x == pytest.approx(0.25, rel=1e-10)
    assert ((rho > 0) & (rho <= 1)).all() and ((rho2 > 0) & (rho2 <= rho)).all()


def test_all_masked():
    for P, unmasked, n in ((16, 4, 3), (64, 16, 41), (196, 39, 7), (64, 16, 50)):
        assert all_masked(float(P), float(unmasked), float(n)) == pytest.approx(hypergeom.pmf(0, P - 1, n, unmasked), rel=1e-12)
    assert all_masked(64.0, 16.0, 50.0) == 0.0 and all_masked(64.0, 16.0, 0.0) == 1.0
    both = [all_masked(64.0, 16.0, n) for n in (4.0, 5.0)]
    assert all_masked(64.0, 16.0, 4.3) == pytest.approx(0.7 * both[0] + 0.3 * both[1], rel=1e-14)
    assert all_masked(1e100, 2.5e99, 10.0) == pytest.approx(0.75**10, rel=1e-14)
    assert all_masked(1e100, 2.5e99, 1e40) == 0.0
    few = all_masked(1e9, 100.0, 3e6)  # beyond a million factors: the middle one; exact by symmetry of n and unmasked
    assert few == pytest.approx(np.prod(1 - 3e6 / (1e9 - 1 - np.arange(100.0))), rel=1e-6)


@pytest.mark.parametrize("P, unmasked, n", [(18, 15.4, 6), (18, 1.3, 6), (10, 4.6, 6), (36, 34.9, 5), (2, 0.5, 1), (1, 0.3, 0)])
def test_a_fractional_number_of_unmasked_patches_near_the_ends(P, unmasked, n):
    """It is the mean of images with whole numbers: chances are mixed, and no fraction leaves [0, 1]."""
    x, weight, rho, rho2 = unmasked_law(float(P), unmasked, float(n))
    for values in (x, weight, rho, rho2):
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-15
    whole, part = divmod(unmasked, 1.0)
    if n:
        laws = hypergeom(P - 1, n, whole), hypergeom(P - 1, n, min(whole + 1, P - 1))
        j = np.arange(n + 1)
        chance = (1 - part) * laws[0].pmf(j) + part * laws[1].pmf(j)
        for degree in range(1, 3):
            assert weight @ x**degree == pytest.approx(chance @ (j / n) ** degree, rel=1e-12)
        assert weight @ x == pytest.approx(unmasked / (P - 1), rel=1e-12)
