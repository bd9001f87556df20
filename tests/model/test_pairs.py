"""Pairs: two independent masks an image, the same on every machine, and refused where they make no loss."""

import numpy as np
import pytest

import dynsim


@pytest.fixture
def pairs(problem, part):
    return dynsim.sample_pairs(problem, part, n=40, seed=5)


def test_two_masks_of_one_image(problem, part, pairs):
    assert pairs.n == 40 and pairs.z.shape == (40, part.N.max()) and pairs.masked.shape == (40, 2, part.P)
    assert (pairs.masked.sum(axis=2) == problem.masked).all()
    first, second = pairs.views
    np.testing.assert_array_equal(np.stack([first, second], axis=1), pairs.masked)
    # independent masks: both mask a patch with chance (11/18)^2 = .373; 720 patches, masks without replacement: less spread
    both = (first & second).mean()
    assert abs(both - (problem.masked / part.P) ** 2) < 4 * np.sqrt(0.373 * 0.627 / 720)
    assert abs((first & first).mean() - 0.373) > 0.1  # control: one mask twice


def test_same_seed_same_pairs(problem, part, pairs):
    again = dynsim.sample_pairs(problem, part, n=40, seed=5)
    for name in ("cluster", "z", "masked"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pairs, name))
    assert (dynsim.sample_pairs(problem, part, n=40, seed=6).masked != pairs.masked).any()
    assert (dynsim.sample_pairs(problem, part, n=40, seed=[5, 1]).masked != pairs.masked).any()


def test_frozen_and_copied(pairs):
    masked = pairs.masked.copy()
    mine = dynsim.Pairs(pairs.cluster, pairs.z, masked)
    masked[:] = False
    np.testing.assert_array_equal(mine.masked, pairs.masked)
    with pytest.raises(ValueError, match="read-only"):
        mine.masked[0, 0, 0] = True
    with pytest.raises(ValueError, match="read-only"):
        mine.views[0][0, 0] = True


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cluster": [0.0, 1.0]}, "cluster must be n >= 2 integers from 0, got float64"),
        ({"cluster": [-1, 0]}, "smallest -1: one per pair"),
        ({"cluster": [0], "z": [[1.0] * 4], "masked": slice(1)}, "needs n >= 2 pairs, got n=1: one pair has no negatives"),
        ({"z": [[1.0] * 4]}, r"z must be \(n, N_max\) with n=2 as in cluster, got shape \(1, 4\)"),
        ({"z": [[np.nan] * 4] * 2}, "amplitudes must be finite and not negative, got nan"),
        ({"masked": 0}, r"masked must be bool \(n, 2, P\) with n=2, got bool of shape \(2, 18\): two masks per pair"),
        ({"masked": np.ones((2, 2, 18), dtype=bool)}, "every view needs a masked and an unmasked patch, got 18 masked in pair 0"),
        ({"masked": np.zeros((2, 2, 18), dtype=bool)}, "got 0 masked in pair 0: drop it"),
        ({"z": [[1.0], [1.0, 2.0]]}, "must be arrays, got one that is none"),
    ],
)
def test_bad_arrays_are_named(change, message):
    masked = np.zeros((2, 2, 18), dtype=bool)
    masked[..., :9] = True
    arrays = {"cluster": [0, 1], "z": [[1.0] * 4] * 2, "masked": masked}
    dynsim.Pairs(**arrays)
    if isinstance(change.get("masked"), slice):
        change = {**change, "masked": masked[change["masked"]]}
    elif isinstance(change.get("masked"), int):
        change = {"masked": masked[:, 0]}
    with pytest.raises(dynsim.InputError, match=message):
        dynsim.Pairs(**{**arrays, **change})


def test_what_does_not_fit_is_named(problem, part, pairs):
    small = dynsim.Partition(part.labels[:, :9] % 2)
    with pytest.raises(dynsim.InputError, match="masks must have the partition's P=9 patches, got 18"):
        pairs.check(small)
    with pytest.raises(dynsim.InputError, match="clusters must be below the partition's K=1, got 2"):
        pairs.check(dynsim.Partition(part.labels[:1]))
    with pytest.raises(dynsim.InputError, match="z must have a column for each of 4 areas, got 1"):
        dynsim.Pairs(pairs.cluster, pairs.z[:, :1], pairs.masked).check(part)
    for n in (1, 2.5, True):
        with pytest.raises(dynsim.InputError, match="n must be a whole number of at least 2 pairs"):
            dynsim.sample_pairs(problem, part, n=n)
    with pytest.raises(dynsim.InputError, match="the partition must be of the problem's K=3, P=18, got K=3, P=9"):
        dynsim.sample_pairs(problem, small, n=4)
