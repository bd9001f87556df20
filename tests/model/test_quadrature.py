"""Gauss-Legendre nodes by Newton's method: against NumPy's, which come from eigenvalues, and against what makes them the rule."""

import numpy as np
import pytest

from dynsim.model.quadrature import legendre


@pytest.mark.parametrize("n", [1, 2, 3, 8, 24, 64])
def test_nodes_and_weights_are_those_of_the_rule(n):
    x, weight = legendre(n)
    theirs, their_weight = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(x, theirs, rtol=0, atol=4e-16)  # two units in the last place of 1
    # an error d of a node moves its weight by 2 x d / (1 - x^2) of it: 4e-14 at the ends of 64 nodes, whose weights are 2e-3
    np.testing.assert_allclose(weight, their_weight, rtol=0, atol=5e-15)
    assert (np.diff(x) > 0).all() and (x == -x[::-1]).all() and (weight == weight[::-1]).all()
    for power in range(0, 2 * n, 2):
        assert weight @ x**power == pytest.approx(2 / (power + 1), rel=1e-14)
    if n <= 8:  # control: not exact beyond its degree
        assert abs(weight @ x ** (2 * n) - 2 / (2 * n + 1)) > 1e-6


def test_the_largest_rule():
    x, weight = legendre(1000)
    np.testing.assert_allclose(x, np.polynomial.legendre.leggauss(1000)[0], rtol=0, atol=4e-16)
    assert weight @ np.cos(x) == pytest.approx(2 * np.sin(1.0), rel=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 0.0
