"""Dataset and sample: the law of the images, the seed, and every rule with arrays that break it."""

import numpy as np
import pytest

import dynsim
from dynsim import Dataset, InputError, Partition, Problem, sample

PART = Partition([[0, 1, 1, 0], [0, 1, 2, 2]])
CLUSTER = np.array([0, 1])
Z = np.ones((2, 3))
MASKED = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], dtype=bool)


def test_masks_hide_the_same_number_and_every_patch_equally(problem, part):
    """A patch is masked in a binomial(n, gamma) number of images, patches of one image in a fixed number; a pair of patches
    is masked less often than gamma^2: gamma (masked - 1) / (P - 1). Five standard errors."""
    n = 20000
    data = sample(problem, part, n=n, seed=0)
    assert (data.masked.sum(axis=1) == problem.masked).all() and data.masked_mean == pytest.approx(problem.masked)
    gamma = problem.masked / problem.P
    rate = data.masked.mean(axis=0)
    assert np.abs(rate - gamma).max() <= 5 * np.sqrt(gamma * (1 - gamma) / n)
    pair, expected = (data.masked[:, 0] & data.masked[:, 1]).mean(), gamma * (problem.masked - 1) / (problem.P - 1)
    error = np.sqrt(expected * (1 - expected) / n)
    assert abs(pair - expected) <= 5 * error < abs(pair - gamma**2)  # control: independent patches would be seen
    counts = np.bincount(data.cluster, minlength=3)
    assert np.abs(counts / n - 1 / 3).max() <= 5 * np.sqrt(2 / 9 / n)


def test_amplitudes_are_drawn_area_by_area(problem, part):
    data = sample(problem, part, n=4000, seed=0)
    assert data.z.shape == (4000, part.N.max()) and 0.8 <= data.z.min() and data.z.max() <= 1.2
    assert np.abs(np.corrcoef(data.z.T) - np.eye(part.N.max())).max() <= 5 / np.sqrt(4000)
    fixed = Problem(K=3, gamma=0.6, P=18, kappa_c=0.7, kappa_s=0.4, amplitude=dynsim.Fixed(1.5))
    assert (sample(fixed, part, n=5).z == 1.5).all()


def test_seed_makes_the_images(problem, part):
    a, b, c = (sample(problem, part, n=10, seed=seed) for seed in (1, 1, 2))
    for name in ("cluster", "z", "masked"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (getattr(a, name) != getattr(c, name)).any()
    first = sample(Problem(K=2, gamma=0.5, P=4, kappa_c=0.5, kappa_s=0.0), PART, n=3, seed=0)
    # written down, so that a change of the stream, which would change everyone's images, is noticed
    np.testing.assert_array_equal(first.cluster, [1, 1, 1])
    np.testing.assert_array_equal(first.masked.astype(int), [[0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]])


def test_is_a_frozen_copy():
    z = Z.copy()
    data = Dataset(CLUSTER, z, MASKED)
    z[0, 0] = 5
    assert data.z[0, 0] == 1 and data.n == 2 and data.masked_mean == 1.5
    np.testing.assert_array_equal(data.weight, [0.5, 0.5])
    assert Dataset(CLUSTER, Z, MASKED, [0.25, 0.75]).masked_mean == 1.25
    with pytest.raises(ValueError, match="read-only"):
        data.masked[0, 0] = False


BAD_PROBLEM = Problem(K=2, gamma=0.5, P=4, kappa_c=0.5, kappa_s=0.0)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: Dataset(CLUSTER * 1.0, Z, MASKED), "cluster must be n >= 1 integers from 0, got float64"),
        (lambda: Dataset(-CLUSTER, Z, MASKED), "cluster must be .* smallest -1: one per image"),
        (lambda: Dataset(CLUSTER[:0], Z[:0], MASKED[:0]), "cluster must be n >= 1"),
        (lambda: Dataset(None, Z, MASKED), "cluster must be n >= 1"),
        (lambda: Dataset(CLUSTER, Z[0], MASKED), r"z must be \(n, N_max\) with n=2 as in cluster, got shape \(3,\): one row"),
        (lambda: Dataset(CLUSTER, np.ones((3, 3)), MASKED), "z must be .* n=2"),
        (lambda: Dataset(CLUSTER, [["a"], ["b"]], MASKED), "must be arrays, got one that is none"),
        (lambda: Dataset(CLUSTER, Z, [[True], [True, False]]), "must be arrays, got one that is none"),
        (lambda: Dataset(CLUSTER, Z * np.nan, MASKED), "amplitudes must be finite and not negative, got nan in z: remove"),
        (lambda: Dataset(CLUSTER, Z * np.inf, MASKED), "amplitudes must be finite and not negative, got inf in z"),
        (lambda: Dataset(CLUSTER, -Z, MASKED), "amplitudes must be finite and not negative, got -1 in z"),
        (lambda: Dataset(CLUSTER, Z, MASKED.astype(int)), r"masked must be bool \(n, P\) with n=2, got int64"),
        (lambda: Dataset(CLUSTER, Z, MASKED[:1]), r"masked must be bool .* shape \(1, 4\): one per patch"),
        (lambda: Dataset(CLUSTER, Z, MASKED & False), "a masked and an unmasked patch, got 0 masked in image 0: drop"),
        (lambda: Dataset(CLUSTER, Z, MASKED | [[False], [True]]), "got 4 masked in image 1: drop"),
        (lambda: Dataset(CLUSTER, Z, MASKED, np.ones(2)), "weight must be n=2 numbers .* sum 2: normalise"),
        (lambda: Dataset(CLUSTER, Z, MASKED, [2, -1]), "weight must be n=2 numbers"),
        (lambda: Dataset(CLUSTER, Z, MASKED, [1.0]), "weight must be n=2 numbers"),
        (lambda: Dataset(CLUSTER, Z, MASKED, [np.nan, 1]), "weight must be n=2 numbers"),
        (lambda: Dataset(CLUSTER, Z, MASKED).check(Partition([[0, 1]])), "the partition's P=2 patches, got 4: sample"),
        (lambda: Dataset(CLUSTER, Z, MASKED).check(Partition([[0, 1, 0, 1]])), "below the partition's K=1, got 1: sample"),
        (lambda: Dataset(CLUSTER, Z[:, :2], MASKED).check(PART), "a column for each of 3 areas, got 2: sample"),
        (lambda: sample(BAD_PROBLEM, PART, n=0), "n must be .* got 0: take"),
        (lambda: sample(BAD_PROBLEM, PART, n=1.5), "n must be .* got 1.5: take"),
        (lambda: sample(BAD_PROBLEM, PART, n=True), "n must be .* got True: take"),
        (lambda: sample(BAD_PROBLEM, PART, n=2, seed=-1), "seed must be .* got -1: take"),
        (lambda: sample(Problem(), PART), "K=4, P=196, got K=2, P=4: take"),
    ],
)
def test_bad_input_is_named(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_what_fits_fits():
    Dataset(CLUSTER, Z, MASKED).check(PART)
    Dataset([0, 0], Z[:, :2], MASKED).check(PART)  # no image of the cluster that has a third area
    Dataset(CLUSTER, 0 * Z, MASKED)  # an amplitude of zero hides an area, and is fine
