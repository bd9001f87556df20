"""Rows on contrast in the population: they pass, and what must make them fail."""

import numpy as np
import pytest

import dynsim
from dynsim.validation import _contrast as contrast


def failing(rows):
    return {row.quantity for row in rows if not row.passed}


@pytest.fixture(scope="module")
def mixed():
    """Runs on fresh pairs and images at weight 2, on three partitions."""
    case = (contrast.RANDOM, 2.0, 4.0, 150)
    return case, [contrast.pairs_run(*case, [5, part]) for part in range(3)]


@pytest.mark.slow
def test_pairs_agree_with_orbits(mixed):
    case, runs = mixed
    rows = contrast.judge(contrast.case_name(*case), contrast.orbit_run(*case), runs)
    names = {"fp", "pp", "attention", "loss, reconstruction", "loss, contrastive", "collapse time"}
    assert {row.quantity for row in rows} == names
    assert failing(rows) <= {"pp", "collapse time"}  # which three partitions scatter by 2 and .6 %
    assert all("+-" in row.note and row.level == "statistical" for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["weight", "temperature", "amplitude"])
def test_orbits_of_another_problem_do_not(mixed, change, monkeypatch):
    """The control: 5 % of the weight, a tenth of the temperature, or fixed amplitudes are found."""
    (problem, weight, eta, steps), runs = mixed
    if change == "temperature":
        monkeypatch.setattr(contrast, "TAU", 1.1 * contrast.TAU)
    if change == "amplitude":
        problem = dynsim.Problem(K=3, gamma=0.75, P=100, kappa_c=0.85, kappa_s=0.45, amplitude=dynsim.Fixed(1.0))
    orbit = contrast.orbit_run(problem, weight * (1.05 if change == "weight" else 1.0), eta, steps)
    assert failing(contrast.judge("control", orbit, runs)) - {"pp", "collapse time"}


@pytest.mark.slow
def test_contrast_alone_collapses_when_orbits_do():
    case = (contrast.HALF, None, 25.0, 360)
    runs, orbit = [contrast.pairs_run(*case, [6, part]) for part in range(3)], contrast.orbit_run(*case)
    rows = contrast.judge(contrast.case_name(*case), orbit, runs)
    assert failing(rows) == set() and "collapse time" in {row.quantity for row in rows}
    orbit.collapse *= 1.02  # control
    assert failing(contrast.judge("control", orbit, runs)) == {"collapse time"}


def test_means_by_type_count_every_query_once():
    """At Q = 0 attention is 1 / P a key: sums over types are those over all pairs of patch and cluster."""
    problem = contrast.RANDOM
    part = dynsim.Partition.random(problem, 0)
    field = dynsim.reduced.PopulationField(problem, part)
    run = dynsim.reduced.descend(field, eta=1e-9, steps=3, keep=1)
    total, number = contrast.found(run, 0.0).tables["attention"][0]
    own = run.attention[1][np.arange(problem.P)[:, None], part.own.T]
    assert number.sum() == problem.K * problem.P and total.sum() == pytest.approx(own.sum())


RUNS = [("collapse", 1e20, 1.0), ("balance", 1e12, 0.5), ("balance", 1e20, 2.0), ("delay", 1e12, 1.5)]


@pytest.mark.parametrize("what, P, weight", RUNS)
def test_runs_agree_with_closed_forms(what, P, weight, monkeypatch):
    rows = contrast.closed_forms(what, P, weight)
    assert rows and failing(rows) == set() and all(row.level == "asymptotic" and "expected" in row.note for row in rows)
    true = dynsim.Problem  # control: runs of another number of clusters
    monkeypatch.setattr(contrast, "MixedOrbitField", lambda p, w: dynsim.reduced.MixedOrbitField(other(true, p), w))
    monkeypatch.setattr(contrast, "ContrastiveOrbitField", lambda p: dynsim.reduced.ContrastiveOrbitField(other(true, p)))
    assert len(failing(contrast.closed_forms(what, P, weight))) == len(rows)


def other(make, problem):
    return make(K=3, gamma=0.8, P=problem.P, kappa_c=0.9, kappa_s=0.4, amplitude=problem.amplitude)
