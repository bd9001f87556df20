"""Closed forms that are kept: the same results, computed once, and anew for a law that may have changed."""

from dataclasses import dataclass

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.errors import InputError
from dynsim.theory._remember import remembered

PROBLEM = dynsim.Problem(K=4, P=1e12, amplitude=dynsim.Fixed(1.0))


@dataclass
class Own:
    """A law of a user's own, which can be changed, so that it has no hash."""

    z: float = 1.0

    @property
    def L(self):
        return self.z

    U = L

    def sample(self, rng, size):
        return np.full(size, self.z)

    def nodes(self, n):
        return np.array([self.z]), np.ones(1)

    def moment(self, power):
        return self.z**power


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (theory.decoupling_time, {"finite": True}), (theory.global_depth, {"finite": True}),
        (theory.collapse_time, {"finite": True}), (theory.mixed_escape_time, {"weight": 2.0}),
        (theory.collapse_weight, {"temperature": 0.3}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_same_as_computed(function, options):
    first = function(PROBLEM, **options)
    assert first == function(PROBLEM, **options) == function.__wrapped__(PROBLEM, **options)
    other = dynsim.Problem(K=4, P=1e12, gamma=0.5, amplitude=dynsim.Fixed(1.1))
    assert function(other, **options) == function.__wrapped__(other, **options) != first


def test_computed_once_for_equal_problems():
    asked = []
    kept = remembered(lambda problem, add=0: asked.append(problem) or problem.P + add)
    for law in (dynsim.Fixed(1.0), dynsim.Fixed(1.0), dynsim.Uniform(0.8, 1.3)):
        problem = dynsim.Problem(K=4, P=1e12, amplitude=law)
        assert kept(problem=problem) == kept(problem) == 1e12 and kept(problem, add=1) == 1e12 + 1
    assert len(asked) == 4


@pytest.mark.parametrize("value", [True, [1.0], np.array(1.0)], ids=repr)
def test_what_a_function_refuses_it_refuses_whatever_is_kept(value):
    for function, name in ((theory.mixed_escape_time, "weight"), (theory.collapse_time, "temperature")):
        assert function(PROBLEM, **{name: 1.0}) > 0  # is kept, and 1.0 == True
        with pytest.raises(InputError, match=f"{name} must be"):
            function(PROBLEM, **{name: value})


def test_a_law_of_a_users_own_may_change():
    law = Own()
    problem = dynsim.Problem(K=4, P=1e12, amplitude=law)
    for law.z in (1.0, 1.5):
        fixed = dynsim.Problem(K=4, P=1e12, amplitude=dynsim.Fixed(law.z))
        for name in ("decoupling_time", "global_depth", "escape_time"):
            function = getattr(theory, name)
            assert function(problem, finite=True) == pytest.approx(function(fixed, finite=True), rel=1e-9)
        settled = [theory.collapsed_attention(one, 2.0, finite=True) for one in (problem, fixed)]
        assert settled[0] == pytest.approx(settled[1], rel=1e-9)
