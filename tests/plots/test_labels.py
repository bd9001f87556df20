"""At print size no text of a figure is clipped, and none lies on another."""

import numpy as np
import pytest
from overlaps import faults

import dynsim
from dynsim import full, plots, reduced, theory


def orbits(P, end):
    problem = dynsim.Problem(K=2, gamma=0.75, P=P)
    t_end = end * theory.escape_time(problem)
    runs = [reduced.flow(reduced.OrbitField(problem, query), t_end=t_end, keep=40) for query in ("LL", "GG")]
    return plots.summary(runs, problem)


def explicit(cls, **options):
    problem = dynsim.Problem(K=2, gamma=0.75, P=36, kappa_c=0.85)
    field = cls.from_options(problem, n=30)
    return plots.summary(reduced.descend(field, **{**field.run_options(problem), **options}), problem)


def pictures():
    images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(30, 16, 16)), patch=4)
    return plots.picture_summary(reduced.descend(reduced.ImageField(images), eta=1.0, steps=100), images)


def deviation():
    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, 10, seed=0)
    run = reduced.descend(reduced.EmpiricalField(part, data), steps=20)
    return plots.deviation(run, full.descend(part, data, steps=20), {"fp": 1e-12})


FIGURES = {
    "orbits": lambda: orbits(1e6, 30),
    "few patches": lambda: orbits(196, 3),
    "very many": lambda: orbits(1e30, 1000),
    "samples": lambda: explicit(reduced.EmpiricalField),
    "stopped early": lambda: explicit(reduced.EmpiricalField, steps=20),
    "mixed": lambda: explicit(reduced.MixedField, steps=40),
    "pictures": pictures,
    "deviation": deviation,
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_clipped_or_overlaps(name, tmp_path):
    figure = FIGURES[name]()
    plots.save(figure, tmp_path / "figure.png")
    assert faults(figure) == []
    assert "conv." not in [text.get_text() for ax in figure.axes for text in ax.texts]


def test_faults_are_found():
    """Controls: the labels that matplotlib gives a short logarithmic axis in one column, and a title that is too long."""
    figure, ax = plots.figure(1, 2, plots.SINGLE, 1.2)
    for one in ax:
        one.set(xscale="log", xlim=(0.6, 1.2))
    assert any(line.startswith("overlap") for line in faults(figure))
    for one in ax:
        plots.few_log_labels(one)
    assert faults(figure) == []
    figure.text(0.9, 0.5, "clipped at the right")
    assert any(line.startswith("clipped: 'clipped at") for line in faults(figure))


def test_a_loss_of_other_kind_has_no_phases_and_another_label():
    figure = FIGURES["mixed"]()
    assert figure.axes[3].get_ylabel() == "loss" and not figure.axes[0].texts
