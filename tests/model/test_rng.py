"""`rng` in place of `seed`, wherever something is drawn: a generator moves on, and what is recorded draws the same again."""

import inspect

import numpy as np
import pytest

import dynsim
from dynsim import Dataset, Embedding, Images, InputError, Partition
from dynsim.analysis import areas
from dynsim.model.amplitude import seed_of
from dynsim.reduced import ContrastiveField, ImageField, MinibatchField, PopulationField
from dynsim.theory import initial_noise

PROBLEM = dynsim.Problem(K=2, gamma=0.6, P=16, kappa_c=0.7, kappa_s=0.4)
PART = Partition.blocks(PROBLEM)
DATA = dynsim.sample(PROBLEM, PART, n=6)
PICTURES = np.random.default_rng(0).uniform(size=(8, 8, 8))

DRAWS = {  # how each draws, and an array of numbers that shows what it drew
    "sample": lambda **how: dynsim.sample(PROBLEM, PART, n=6, **how).z,
    "sample_pairs": lambda **how: dynsim.sample_pairs(PROBLEM, PART, n=6, **how).z,
    "with_masks": lambda **how: DATA.with_masks(**how).masked,
    "blocks": lambda **how: Partition.blocks(dynsim.Problem(K=4, gamma=0.6, P=64), **how).labels,
    "random": lambda **how: Partition.random(PROBLEM, **how).labels,
    "masks of images": lambda **how: Images.cut(PICTURES, patch=2).with_masks(**how).masked,
    "cut": lambda **how: Images.cut(PICTURES, patch=2, **how).masked,
    "orthonormal": lambda **how: Embedding.orthonormal(PART, **how).E,
    "sinusoidal_2d": lambda **how: Embedding.sinusoidal_2d(PART, d=8, **how).V,
    "vectors": lambda **how: Embedding.random(PART, d=8, **how).V,
    "fresh": lambda **how: MinibatchField.fresh(PROBLEM, PART, n=6, **how).draw(3).z,
    "of": lambda **how: MinibatchField.of(PART, DATA, n=6, **how).draw(3).z,
    "resampled": lambda **how: MinibatchField.resampled(PART, DATA, n=3, **how).draw(3).masked,
    "pairs": lambda **how: ContrastiveField.fresh(PROBLEM, PART, n=6, **how).pairs(3).z,
    "monte-carlo": lambda **how: [PopulationField(PROBLEM, PART, masks="monte-carlo", n=6, **how).seed],
    "rows": lambda **how: [ImageField(Images.cut(PICTURES, patch=2), batch=1, **how).seed],
    "noise": lambda **how: [initial_noise(PROBLEM, PART, draws=100, **how).variance(1, 16)],
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_generator_draws_anew_and_a_number_the_same(draw):
    first, same = draw(rng=np.random.default_rng(5)), draw(rng=5)
    np.testing.assert_array_equal(first, same)
    np.testing.assert_array_equal(first, draw(seed=seed_of(0, 5)))  # the number that is recorded draws it again
    moving = np.random.default_rng(5)
    np.testing.assert_array_equal(first, draw(rng=moving))
    assert not np.array_equal(first, draw(rng=moving))  # control: the generator has moved on
    with pytest.raises(InputError, match="give seed or rng, got both"):
        draw(seed=3, rng=5)
    with pytest.raises(InputError, match="rng must be a numpy.random.Generator"):
        draw(rng="five")


def test_a_description_of_pictures_takes_one_too():
    pictures, ways = np.tile(PICTURES, (5, 1, 1)), (5, np.random.default_rng(5))
    one, other = (areas.fit(pictures, K=1, patch=2, bootstrap=0, rng=how) for how in ways)
    assert one.explained == other.explained
    with pytest.raises(InputError, match="got both"):
        areas.fit(PICTURES, seed=1, rng=5)


def test_the_seed_of_a_generator_is_recorded():
    field = MinibatchField.fresh(PROBLEM, PART, n=6, rng=np.random.default_rng(5))
    assert field.recipe()[0]["seed"] == field.draw.seed == seed_of(0, 5)
    assert Embedding.random(PART, d=8, rng=5).describe()["seed"] == seed_of(0, 5)


def test_all_that_takes_a_seed_to_draw_takes_a_generator():
    for owner in (Partition, Dataset, Images, Embedding):
        for name, function in inspect.getmembers(owner, callable):
            named = inspect.signature(function).parameters if not name.startswith("_") else {}
            assert ("seed" in named) == ("rng" in named), (owner.__name__, name)
