"""Gauss rules from recurrences against LAPACK's eigenvalues."""

import numpy as np
import pytest
from scipy.linalg import eigh_tridiagonal

from dynsim.reduced.kernels.quadrature import dot, eigenvalues, gauss_rule, hermite

pytestmark = pytest.mark.kernel

DRAW = np.random.default_rng(1)
MATRICES = {
    "one": (np.array([0.7]), np.empty(0)),
    "drawn": (DRAW.normal(size=16), DRAW.normal(size=15)),
    "zero diagonal": (np.zeros(15), np.sqrt(np.arange(1.0, 15))),
    "graded": (10.0 ** -np.arange(8.0), 10.0 ** -np.arange(1.0, 8.0)),
    "split": (np.array([1.0, 2.0, 1.0, 3.0]), np.array([0.5, 0.0, 0.5])),
    "diagonal": (np.array([3.0, 1.0, 2.0]), np.zeros(2)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_eigenvalues_are_lapacks(name):
    diagonal, off = MATRICES[name]
    values, first = eigenvalues(diagonal, off)
    theirs, vectors = eigh_tridiagonal(diagonal, off)
    size = np.abs(theirs).max()
    np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-15 * len(diagonal) * size)
    np.testing.assert_allclose(first**2, vectors[0] ** 2, rtol=0, atol=1e-14)
    assert (first**2).sum() == pytest.approx(1.0, rel=1e-14)
    if len(off) and off.any():  # control: they depend on what is off the diagonal
        assert np.abs(eigenvalues(diagonal, 0.9 * off)[0] - theirs).max() > 1e-6 * size


def test_the_rule_of_a_discrete_law_has_its_means_of_powers():
    x, weight = np.linspace(0, 1, 200), DRAW.random(200)
    weight /= weight.sum()
    nodes, share = gauss_rule(x, weight, 6)
    for power in range(12):
        assert share @ nodes**power == pytest.approx(weight @ x**power, rel=1e-13)
    assert abs(share @ nodes**12 - weight @ x**12) > 1e-9


@pytest.mark.parametrize("nodes", [1, 2, 16])
def test_normal_law(nodes):
    x, weight = hermite(nodes)
    theirs, their_weight = np.polynomial.hermite_e.hermegauss(nodes)
    np.testing.assert_allclose(x, theirs, rtol=0, atol=5e-15)
    np.testing.assert_allclose(weight, their_weight / their_weight.sum(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100])
def test_inner_products(size):
    x, y = DRAW.normal(size=(2, size))
    assert dot(x, y) == pytest.approx(x @ y, abs=1e-13)
