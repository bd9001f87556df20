"""The mixed and contrastive fields by orbits: weight 0, the closed forms where they hold, and controls."""

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.reduced import ContrastiveOrbitField, MixedOrbitField, OrbitField, flow

ONE = dynsim.Fixed(1.0)


def test_weight_zero_is_the_orbit_field_of_every_query_type():
    """Both are gradient flows of one closed loss: equal to the accuracy asked of the solver (1e-8, with a margin of 100)."""
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    both = flow(MixedOrbitField(problem, weight=0.0, masks="own-area", nodes=24), t_end=3e4, keep=[3e4], rtol=1e-8)
    for i, query in enumerate(("LL", "LG", "GG")):
        one = flow(OrbitField(problem, query), t_end=3e4, keep=[3e4], rtol=1e-8)
        np.testing.assert_allclose(both.attention[-1, i], one.attention[-1], atol=1e-6)
        np.testing.assert_allclose(both.fp[-1, i], one.fp[-1], atol=1e-6)
    other = flow(MixedOrbitField(problem, weight=0.1, masks="own-area", nodes=24), t_end=3e4, keep=[3e4], rtol=1e-8)
    assert np.abs(other.fp[-1] - both.fp[-1]).max() > 1e-3  # control


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_collapse_time_at_1e30(stop_gradient):
    """Against (D6), fixed amplitude: 1e-3; twice as fast where both views learn; control: another number of clusters."""
    problem = dynsim.Problem(K=4, P=1e30, amplitude=ONE)
    expected = theory.collapse_time(problem, stop_gradient)
    run = flow(ContrastiveOrbitField(problem, stop_gradient=stop_gradient), t_end=2 * expected, keep=[2 * expected], rtol=1e-8)
    assert run.meta["events"]["collapse"] == pytest.approx(expected, rel=1e-3)
    assert abs(theory.collapse_time(dynsim.Problem(K=3, P=1e30, amplitude=ONE), stop_gradient) / expected - 1) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.5, 2.0, 2.5])
def test_settled_attention_at_1e20(weight):
    """Local queries on the global area between the escape of global queries (t ~ P^.1) and their own (P^.6), against (D11)."""
    problem = dynsim.Problem(K=4, P=1e20, amplitude=ONE)
    t = 1e-2 * theory.escape_time(problem)
    run = flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-6)
    expected = theory.collapsed_attention(problem, weight, 0.5)
    assert run.attention[-1, 0, 0, 1] == pytest.approx(expected, abs=2e-3) and 0.6 < expected < 1
    assert abs(theory.collapsed_attention(problem, weight + 0.1, 0.5) - expected) > 5e-3  # control


def test_bad_input_is_named():
    problem = dynsim.Problem(K=2, P=1e6)
    for options in ({"weight": -1.0}, {"temperature": 0.0}, {"weight": float("nan")}, {"weight": 0.0, "reconstruction": False}):
        with pytest.raises(dynsim.InputError, match="got|needs"):
            MixedOrbitField(problem, **options)
