"""The exact level of the contrastive loss and of mixtures: what must pass passes, and each single mistake fails loudly."""

import numpy as np
import pytest

import dynsim
from dynsim import Problem, full, validation
from dynsim.reduced import ContrastiveField, EmpiricalField, SumField, descend
from dynsim.validation import _exact

RUN = {"eta": 20.0, "steps": 40, "keep": 5}
OPTIONS = {"temperature": 0.3, "stop_gradient": True}


@pytest.fixture(scope="module")
def pairs(problem, part):
    return dynsim.sample_pairs(problem, part, n=12, seed=3)


@pytest.fixture(scope="module")
def explicit(part, pairs):
    return full.descend(part, None, **RUN, pairs=pairs, **OPTIONS)


def failing(comparison):
    return {row.quantity for row in comparison.rows if not row.passed}


ALL = {"fp", "pp", "loss", "attention"}


def test_reduced_is_full(part, pairs, explicit):
    comparison = validation.compare(descend(ContrastiveField(part, pairs, **OPTIONS), **RUN), explicit)
    assert comparison.passed and np.abs(explicit.fp[-1]).max() > 0.1  # it has gone somewhere
    for row in comparison.rows:
        assert row.deviation <= 2e-14 < row.bound == 1e-12  # bounds have room, but not much


@pytest.mark.parametrize(
    "wrong, fails",
    [
        ({"temperature": 0.3 * (1 + 1e-8)}, ALL),
        ({"stop_gradient": False}, ALL),  # gradient through both views where it was stopped
        ({"hold": "pp"}, ALL),
    ],
)
def test_a_wrong_option_fails(wrong, fails, part, pairs, explicit):
    comparison = validation.compare(descend(ContrastiveField(part, pairs, **{**OPTIONS, **wrong}), **RUN), explicit)
    assert failing(comparison) == fails


def test_one_mask_used_twice_fails(part, pairs, explicit):
    for view in (0, 1):
        twice = dynsim.Pairs(pairs.cluster, pairs.z, pairs.masked[:, [view, view]])
        comparison = validation.compare(descend(ContrastiveField(part, twice, **OPTIONS), **RUN), explicit)
        assert failing(comparison) == ALL and min(row.deviation for row in comparison.rows) > 1e-5


def test_exchanged_views_fail(part, pairs, explicit):
    """With stop-gradient the two views are not alike; the loss at Q = 0, a softmax over the other view, is not either."""
    exchanged = dynsim.Pairs(pairs.cluster, pairs.z, pairs.masked[:, ::-1])
    comparison = validation.compare(descend(ContrastiveField(part, exchanged, **OPTIONS), **RUN), explicit)
    assert failing(comparison) >= {"fp", "pp", "loss"}


class FactorInPP(ContrastiveField):
    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[self.part.F :] *= 1 + 1e-9
        return loss, dy


class SignOfOneKey(ContrastiveField):
    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[-1] *= -1
        return loss, dy


@pytest.mark.parametrize("field, fails", [(FactorInPP, {"pp"}), (SignOfOneKey, ALL)])
def test_a_wrong_gradient_fails(field, fails, part, pairs, explicit):
    comparison = validation.compare(descend(field(part, pairs, **OPTIONS), **RUN), explicit)
    assert fails <= failing(comparison)


@pytest.fixture(scope="module")
def explicit_mixture(part, data, pairs):
    return full.descend(part, data, eta=1.0, steps=40, keep=5, pairs=pairs, weight=20.0, **OPTIONS)


def mixture(part, data, pairs, weight=20.0, **wrong):
    con = ContrastiveField(part, pairs, **{**OPTIONS, **wrong})
    return descend(SumField([(1.0, EmpiricalField(part, data)), (weight, con)]), eta=1.0, steps=40, keep=5)


def test_a_mixture_is_full(part, data, pairs, explicit_mixture):
    run = mixture(part, data, pairs)
    comparison = validation.compare(run, explicit_mixture)
    assert comparison.passed and all(row.deviation <= 2e-14 for row in comparison.rows)
    assert list(run.terms) == list(explicit_mixture.terms) == ["reconstruction", "contrastive"]
    for name, values in run.terms.items():
        np.testing.assert_allclose(values, explicit_mixture.terms[name], rtol=1e-12)
        assert np.ptp(values) > 1e-3  # both move


@pytest.mark.parametrize("wrong", [{"weight": 20.0 * (1 + 1e-8)}, {"temperature": 0.3 * (1 + 1e-8)}, {"stop_gradient": False}])
def test_a_wrong_mixture_fails(wrong, part, data, pairs, explicit_mixture):
    assert failing(validation.compare(mixture(part, data, pairs, **wrong), explicit_mixture)) == ALL


def test_a_mixture_with_one_mask_used_twice_fails(part, data, pairs, explicit_mixture):
    twice = dynsim.Pairs(pairs.cluster, pairs.z, pairs.masked[:, [0, 0]])
    assert failing(validation.compare(mixture(part, data, twice), explicit_mixture)) == ALL


NEW = [name for name, options in _exact.CASES.items() if "objective" in options]


def test_the_cases_cover_the_options():
    assert {_exact.CASES[name]["objective"] for name in NEW} == {"contrastive", "mixed"}
    assert {_exact.CASES[name].get("temperature", 0.5) for name in NEW} == {0.1, 0.5, 2.0}
    assert any(_exact.CASES[name].get("stop_gradient") is False for name in NEW)


def test_a_case_moves():
    """The steps of a case are long enough that its correlations are of order one at the end: no comparison of zeros."""
    problem = Problem(K=3, gamma=0.8, P=64)
    part = dynsim.Partition.blocks(problem, 0)
    pairs = dynsim.sample_pairs(problem, part, n=64, seed=[0, 1])
    run = descend(ContrastiveField(part, pairs), eta=64.0, steps=200, keep=200)
    assert np.abs(run.fp[-1]).max() > 0.5 and run.loss[-1] < 0.95 * run.loss[0]


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_headline_to_rounding(temperature, stop_gradient, K, uneven):
    """P=64, n=64 pairs, 200 steps at eta = P."""
    problem = Problem(K=K, gamma=0.8, P=64)
    part = _exact._uneven(problem, 5) if uneven else None
    options = {"temperature": temperature, "stop_gradient": stop_gradient}
    comparison = validation.exact(problem, n=64, seed=5, eta=64.0, part=part, objective="contrastive", **options)
    assert comparison.passed


def test_bad_input_is_named():
    with pytest.raises(dynsim.InputError, match="objective must be one of reconstruction, .* got 'clustering': take"):
        validation.exact(Problem(K=2, P=16), objective="clustering")
