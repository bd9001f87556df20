"""Dataset and sample: the law of the images, the seed, and every rule with arrays that break it."""

import numpy as np
import pytest

import dynsim
from dynsim import Dataset, InputError, Partition, Problem, sample
from dynsim.model import dataset

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


def slow_masks(rng, count, P):
    """The masks of `sample`, one image at a time: the first patches of a shuffled order."""
    masked = np.zeros((len(count), P), dtype=bool)
    for row, hidden in zip(masked, count, strict=True):
        row[rng.permuted(np.arange(P))[:hidden]] = True
    return masked


def test_rows_are_those_of_the_seed_whatever_their_number(problem, part, monkeypatch):
    """n images under one mask: the very bits that were drawn before there were mask budgets; more masks come behind them."""
    rng = np.random.default_rng([2, 3])
    cluster, z = rng.integers(problem.K, size=9), rng.uniform(0.8, 1.2, (9, int(part.N.max())))
    masked = slow_masks(rng, np.full(36, problem.masked), part.P)
    monkeypatch.setattr(dataset, "CHUNK", 7)  # drawn in pieces: the same stream
    for masks in (1, 2, 4):
        data = sample(problem, part, n=9, seed=[2, 3], masks=masks)
        rows = np.tile(np.arange(9), masks)
        assert (data.n, data.images) == (9 * masks, 9)
        np.testing.assert_array_equal(data.image, rows)
        np.testing.assert_array_equal(data.cluster, cluster[rows])
        np.testing.assert_array_equal(data.z, z[rows])
        np.testing.assert_array_equal(data.masked, masked[: 9 * masks])
        np.testing.assert_array_equal(data.weight, np.full(9 * masks, 1 / (9 * masks)))
    assert (sample(problem, part, n=18, seed=[2, 3]).z[:9] != z).any()  # control: more images are others


def test_masks_of_one_image_are_independent(problem, part):
    """Two masks of an image hide a given patch both with probability gamma^2, as those of two images do. Five errors."""
    n, gamma = 20000, problem.masked / problem.P
    masked = sample(problem, part, n=n, seed=1, masks=2).masked.reshape(2, n, part.P)
    both = (masked[0] & masked[1]).mean(axis=0)
    error = np.sqrt(gamma**2 * (1 - gamma**2) / n)
    assert np.abs(both - gamma**2).max() <= 5 * error < abs(gamma - gamma**2)  # control: the same mask twice would be seen


def test_fresh_masks_for_given_images():
    data = Dataset([1, 0, 1], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [1.0, 2.0, 3.0]], MASKED[[0, 1, 1]], [0.5, 0.3, 0.2], [4, 1, 4])
    again = data.with_masks(masks=3, seed=5)
    assert (data.n, data.images, again.n, again.images) == (3, 2, 6, 2)
    np.testing.assert_array_equal(again.image, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(again.cluster, [1, 0] * 3)
    np.testing.assert_array_equal(again.z[:2], data.z[:2])
    np.testing.assert_allclose(again.weight, np.tile([0.7 / 3, 0.1], 3), rtol=1e-15)
    np.testing.assert_array_equal(again.masked, slow_masks(np.random.default_rng(5), [2, 1] * 3, 4))
    np.testing.assert_array_equal(again.masked[:4], data.with_masks(2, seed=5).masked)
    assert (again.masked != data.with_masks(3, seed=6).masked).any()
    assert (data.with_masks(masked=3).masked.sum(axis=1) == 3).all()
    assert (data.with_masks(gamma=0.25).masked.sum(axis=1) == 1).all()
    Dataset(again.cluster, again.z, again.masked, again.weight, again.image)  # what was drawn passes every check


def test_what_is_drawn_passes_every_check(problem, part):
    data = sample(problem, part, n=9, masks=2)
    again = Dataset(data.cluster, data.z, data.masked, data.weight, data.image)
    again.check(part)
    for name in ("cluster", "z", "masked", "weight", "image"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
        assert getattr(again, name).dtype == getattr(data, name).dtype
        with pytest.raises(ValueError, match="read-only"):
            getattr(data, name)[0] = 0
    other = Partition(part.labels[:1])
    with pytest.raises(InputError, match="below the partition's K=1, got"):  # drawn for another partition: checked again
        data.check(other)


class Cached:
    """A law of one's own that gives away an array of its own."""

    L, U, values = 0.8, 1.2, np.ones((2, 3))

    def sample(self, rng, size):
        return self.values

    def nodes(self, n):
        return np.ones(1), np.ones(1)

    def moment(self, power):
        return 1.0


def test_a_law_of_ones_own_is_checked_and_left_alone():
    problem = Problem(K=2, gamma=0.5, P=4, kappa_c=0.5, kappa_s=0.0, amplitude=Cached())
    data = sample(problem, PART, n=2)
    assert data.z is not Cached.values and Cached.values.flags.writeable
    with pytest.raises(InputError, match=r"draws 3 x 3 finite numbers >= 0, got shape \(2, 3\): see"):
        sample(problem, PART, n=3)


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
        (lambda: sample(BAD_PROBLEM, PART, masks=0), "at least 1 mask per image, got 0: take"),
        (lambda: sample(BAD_PROBLEM, PART, masks=2.0), "at least 1 mask per image, got 2.0: take"),
        (lambda: sample(BAD_PROBLEM, PART, n=10**9, masks=10**6), r"1e\+15 rows of P=4, needs about .* are free: take fewer"),
        (lambda: sample(BAD_PROBLEM, PART, n=10**15), r"1e\+15 rows of P=4, needs about .* are free: take fewer"),
        (lambda: Dataset(CLUSTER, Z, MASKED).with_masks(0), "at least 1 mask per image, got 0: take"),
        (lambda: Dataset(CLUSTER, Z, MASKED).with_masks(10**15), r"2e\+15 rows of P=4, needs about"),
        (lambda: Dataset(CLUSTER, Z, MASKED).with_masks(gamma=1.0), "strictly between 0 and 1, got 1.0: take"),
        (lambda: Dataset(CLUSTER, Z, MASKED).with_masks(gamma=0.01), "from 1 to P - 1 = 3, got 0: take"),
        (lambda: Dataset(CLUSTER, Z, MASKED).with_masks(masked=4), "from 1 to P - 1 = 3, got 4: take"),
        (lambda: Dataset(CLUSTER, Z, MASKED).with_masks(gamma=0.5, masked=2), "say the same, got gamma=0.5 and masked=2: give"),
        (lambda: Dataset(CLUSTER, Z, MASKED, image=[0.0, 1.0]), "image must be n=2 integers from 0, got float64"),
        (lambda: Dataset(CLUSTER, Z, MASKED, image=[0]), r"image must be n=2 integers from 0, got int64 of shape \(1,\)"),
        (lambda: Dataset(CLUSTER, Z, MASKED, image=[3, 3]), "agree in cluster and z, got others in rows 0 and 1 of image 3: num"),
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
