"""Columns that not every sweep has: pictures, and the population loss of runs on given images."""

import numpy as np
import pytest

import dynsim
from dynsim import sweep
from dynsim.analysis import generalisation, image_attention
from dynsim.cli import main
from dynsim.reduced import EmpiricalField, ImageField, PopulationField, descend
from dynsim.sweep import methods

SMALL = {"K": 2, "P": 16, "kappa_s": 0.3}
PICTURES = 0.1 * np.cumsum(np.random.default_rng(0).normal(size=(30, 12, 12)), axis=1)


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "pictures.npy", PICTURES)
    return str(tmp_path / "pictures.npy")


def test_population_loss_is_that_of_the_library(tmp_path):
    options = {"n": 6, "masks_per_image": 2, "steps": 30, "eta": 2.0, "generalisation": True}
    sweep.run(tmp_path / "s.db", SMALL, method="samples", options=options, seeds=2, workers=1)
    table = sweep.load(tmp_path / "s.db")
    problem = dynsim.Problem(**SMALL)
    for seed, row in enumerate(np.argsort(table["seed"])):
        part = dynsim.Partition.blocks(problem, seed=seed)
        field = EmpiricalField(part, dynsim.sample(problem, part, n=6, seed=seed, masks=2))
        gap = generalisation.gap(descend(field, eta=2.0, steps=30), field, PopulationField(problem, part))
        assert table["population_loss"][row] == gap.population[-1] and table["gap_loss"][row] == gap.gap[-1]
        assert table["gap_excess"][row] == gap.excess_gap[-1] != table["gap_loss"][row]
        assert table["gap"][row] == problem.Delta  # the information gap, another thing
    assert np.ptp(table["gap_excess"]) > 0


def test_population_loss_is_on_demand_alone(tmp_path):
    found = methods.run_field(dynsim.Problem(**SMALL), method="samples", n=6, steps=3)
    assert not {"population_loss", "gap_loss", "gap_excess"} & set(found)
    assert methods.takes("samples", "generalisation") and not methods.takes("orbit", "generalisation")
    with pytest.raises(dynsim.InputError, match="method population has no option 'generalisation'"):
        sweep.run(tmp_path / "s.db", SMALL, method="population", options={"generalisation": True})


def test_no_closure_knows_a_mask_token(problem, part, data):
    vectors = dynsim.Embedding.orthonormal(part)
    assert EmpiricalField(part, data, embedding=vectors).population(problem) is not None
    field = EmpiricalField(part, data, embedding=vectors.with_token(np.ones(vectors.d), "zero"))
    run = descend(field, eta=0.1, steps=2)
    assert field.population(problem) is None and generalisation.of_run(field, run, problem) is None


def test_gamma_and_patch_are_axes_of_pictures(capsys, tmp_path, file):
    words = ["sweep", "--images", file, "--gamma", "0.5,0.75", "--patch", "3,4", "--steps", "12", "--workers", "1", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "s.db")]) == 0
    assert "4 of 4 points computed, 0 of them failed" in capsys.readouterr().out
    table = sweep.load(tmp_path / "s.db")
    assert set(sweep.axes(table)) == {"gamma", "patch"}
    for row in range(4):
        gamma, patch = float(table["gamma"][row]), int(table["patch"][row])
        images = dynsim.Images.cut(PICTURES, patch=patch, gamma=gamma)
        run = descend(ImageField(images), eta=1.0, steps=12)
        measures = image_attention.measures(images, run.fp[-1], run.pp[-1])
        assert table["loss"][row] == run.loss[-1] < table["loss_start"][row]
        assert all(table[name][row] == value for name, value in measures.items())
    assert len(np.unique(table["distance"])) == 4 and "escape" not in table


def test_objectives_on_pictures_sweep_over_their_weight(tmp_path, file):
    axes, options = {"weight": [0.0, 2.0]}, {"images": file, "steps": 5, "eta": 0.5}
    done = sweep.run(tmp_path / "s.db", axes, method="mixed-any-images", options=options, workers=1)
    assert done["failed"] == 0
    table = sweep.load(tmp_path / "s.db")
    np.testing.assert_allclose(table["loss"], table["reconstruction"] + table["weight"] * 9 * table["contrastive"], rtol=1e-13)
    assert np.ptp(table["distance"]) > 0


def test_a_size_that_does_not_divide_is_a_failed_row(tmp_path, file):
    done = sweep.run(tmp_path / "s.db", {"patch": [4, 5]}, method="any-images", options={"images": file, "steps": 2}, workers=1)
    assert done["computed"] == 2 and done["failed"] == 1
