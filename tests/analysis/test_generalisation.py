"""Loss of one field along a run of another, and the gap."""

import numpy as np
import pytest

import dynsim
from dynsim import full
from dynsim.analysis import evaluate, generalisation
from dynsim.reduced import EmpiricalField, MinibatchField, OrbitField, PopulationField, descend

RUN = {"eta": 2.0, "steps": 60, "keep": 20}


@pytest.fixture(scope="module")
def training(problem, part):
    return EmpiricalField(part, dynsim.sample(problem, part, n=6, seed=4, masks=2))


@pytest.fixture(scope="module")
def run(training):
    return descend(training, **RUN)


def test_own_losses_are_found_again(training, run):
    np.testing.assert_array_equal(evaluate(training, run), run.loss)


def test_loss_of_other_images_is_that_of_full_descent(problem, part, training, run):
    """The loss that explicit Q has on other images, at the same steps."""
    other = dynsim.sample(problem, part, n=9, seed=5)
    embedding = dynsim.Embedding.orthonormal(part, seed=None)  # one-hot: Q can be written down
    for i, loss in enumerate(evaluate(EmpiricalField(part, other), run)):
        Q = np.zeros((embedding.d, embedding.d))
        Q += embedding.E @ run.fp[i] @ embedding.V.T + embedding.E @ run.pp[i] @ embedding.E.T
        assert loss == pytest.approx(full.gradient(Q, part, other, embedding)[0] / other.masked_mean, rel=1e-12)
        if i:  # control: the run's own images
            assert abs(loss / run.loss[i] - 1) > 1e-3


def test_a_run_on_several_masks_is_that_of_full_descent(part, training, run):
    """The rows of a mask budget are rows like any other: 1e-12."""
    explicit = full.descend(part, training.data, **RUN)
    for name in ("loss", "fp", "pp", "attention"):
        np.testing.assert_allclose(getattr(run, name), getattr(explicit, name), atol=1e-12)
    one = descend(EmpiricalField(part, training.data.with_masks(1)), **RUN)
    assert np.abs(one.fp - run.fp).max() > 1e-3  # control


def test_gap_tells_floors_apart(problem, part, training, run):
    population = PopulationField(problem, part)
    found = generalisation.gap(run, training, population)
    np.testing.assert_array_equal(found.t, run.t)
    np.testing.assert_array_equal(found.training, run.loss)
    np.testing.assert_allclose(found.gap, found.population - found.training)
    assert found.floors == population.floor - training.floor != 0.0
    excess = (found.population - population.floor) - (found.training - training.floor)
    np.testing.assert_allclose(found.excess_gap, excess, atol=1e-15)
    assert found.excess_gap[-1] > 0
    plain = found.to_dict()
    assert plain["gap"] == found.gap[-1] and plain["largest_excess_gap"] == found.excess_gap.max()
    assert plain["at"] == found.t[np.argmax(found.excess_gap)]
    alone = generalisation.Gap(found.t, found.training, found.population)
    assert alone.floors == 0.0 and (alone.excess_gap == found.gap).all()


def test_gap_of_the_same_images_is_nothing(training, run):
    assert not generalisation.gap(run, training, training).gap.any()


def test_minibatches_are_those_of_the_saved_steps(problem, part):
    field = MinibatchField.fresh(problem, part, n=8, seed=1)
    run = descend(field, **RUN)
    np.testing.assert_array_equal(evaluate(field, run), run.loss)
    assert (evaluate(MinibatchField.fresh(problem, part, n=8, seed=2), run) != run.loss).all()


def test_more_masks_close_the_gap(problem, part):
    """Mean over ten sets of 16 images: the gap under eight masks each is below that under one by more than five errors."""
    gaps = {}
    population = PopulationField(problem, part)
    for masks in (1, 8):
        fields = [EmpiricalField(part, dynsim.sample(problem, part, 16, seed, masks)) for seed in range(10)]
        gaps[masks] = [generalisation.gap(descend(field, **RUN), field, population).excess_gap[-1] for field in fields]
    error = np.hypot(*(np.std(gaps[masks]) / np.sqrt(10) for masks in gaps))
    assert np.mean(gaps[1]) - np.mean(gaps[8]) > 5 * error


def test_bad_input_is_named(problem, training, run):
    with pytest.raises(dynsim.InputError, match="rebuilt from correlations, got OrbitField: take one of"):
        evaluate(OrbitField(problem), run)
    small = dynsim.Problem(K=2, gamma=0.5, P=4, kappa_c=0.5, kappa_s=0.0)
    part = dynsim.Partition.blocks(small)
    with pytest.raises(dynsim.InputError, match=r"field's partition, got fp \(18, 12\) and pp \(18, 18\)"):
        evaluate(EmpiricalField(part, dynsim.sample(small, part, n=3)), run)


def test_gap_of_a_run_is_that_of_its_own_population(problem, part, training, run):
    found = generalisation.of_run(training, run, problem)
    expected = generalisation.gap(run, training, PopulationField(problem, part))
    for name in ("t", "training", "population", "training_floor", "population_floor"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert generalisation.of_run(PopulationField(problem, part), run, problem) is None
