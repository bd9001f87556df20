"""Noise of the velocity at the start, against velocities of single images; scatter of stochastic descent against it."""

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.reduced import EmpiricalField, MinibatchField, descend
from dynsim.theory import noise


@pytest.fixture(scope="module")
def found(problem, part):
    return theory.initial_noise(problem, part, draws=20000)


def velocities(part, data):
    """The velocity at the start on each row alone: (rows, F + P, P)."""
    rows = [dynsim.Dataset(data.cluster[[i]], data.z[[i]], data.masked[[i]]) for i in range(data.n)]
    fields = [EmpiricalField(part, row, threads=1) for row in rows]
    return np.array([field.velocity(field.start())[1] for field in fields])


def test_products_are_those_of_the_fields(problem, part):
    """Inner products of the velocities of one image under two masks, area by area, against those of whole arrays."""
    data = dynsim.sample(problem, part, n=30, masks=2, seed=4)
    v = velocities(part, data).reshape(2, 30, part.F + part.P, part.P)
    for k in range(part.K):
        rows = np.flatnonzero(data.cluster[:30] == k)
        first, second = (noise._Views(part, k, data.z[rows, : part.N[k]], data.masked[rows + at]) for at in (0, 30))
        for name, at in (("fp", slice(part.F)), ("pp", slice(part.F, None))):
            x, y = v[0, rows, at], v[1, rows, at]
            np.testing.assert_allclose(first.dot(first, name), np.sum(x * x, axis=(1, 2)), rtol=1e-12)
            np.testing.assert_allclose(first.dot(second, name), np.sum(x * y, axis=(1, 2)), rtol=1e-12, atol=1e-17)
            total = np.zeros((part.P, part.F if name == "fp" else part.P))
            second.add_mean(total, name)
            np.testing.assert_allclose(total, y.sum(axis=0).T, atol=1e-14)
            assert np.abs(total - x.sum(axis=0).T).max() > 1e-4  # control: the other mask
            np.testing.assert_allclose(second.along(total, name), np.sum(y * total.T, axis=(1, 2)), rtol=1e-12)


def test_standard_errors_are_the_scatter_over_seeds():
    """Of 60 estimates, known to 1 / sqrt(120) = 9 %: within four of that."""
    problem = dynsim.Problem(K=2, P=16)
    part = dynsim.Partition.blocks(problem)
    found = [theory.initial_noise(problem, part, draws=500, seed=seed) for seed in range(60)]
    for kind in ("image", "mask", "signal"):
        for name in ("fp", "pp", "all"):
            value, error = np.array([getattr(one, kind)[name] for one in found]).T
            assert abs(error.mean() / value.std(ddof=1) - 1) < 0.36


def test_variances_are_those_of_single_images(problem, part, found):
    """From the velocities of 1500 other images under two masks: five standard errors of both."""
    n = 1500
    v = velocities(part, dynsim.sample(problem, part, n=n, masks=2, seed=5)).reshape(2, n, part.F + part.P, part.P)
    for name, at in (("fp", slice(part.F)), ("pp", slice(part.F, None)), ("all", slice(None))):
        x = v[:, :, at].reshape(2, n, -1)
        own, cross = np.sum(x**2, axis=2).mean(axis=0), np.sum(x[0] * x[1], axis=1)
        image, mask = found.image[name], found.mask[name]
        for values, (value, error) in ((cross - found.signal[name][0], image), (own - cross, mask)):
            off, both = values.mean() - value, np.hypot(values.std() / np.sqrt(n), error)
            assert abs(off) <= 5 * both < value / 2
    assert found.image["fp"][0] + found.image["pp"][0] == pytest.approx(found.image["all"][0], rel=1e-12)


def test_mean_velocity_is_the_population_s(problem, part, found):
    """Its square, within five errors; at Q = 0 the closure is exact but for the variance of other areas' masses, below 1 %."""
    field = dynsim.reduced.PopulationField(problem, part)
    v = field.velocity(field.start())[1]
    for name, at in (("fp", slice(part.F)), ("pp", slice(part.F, None))):
        value, error = found.signal[name]
        assert abs(np.sum(v[at] ** 2) - value) <= 5 * error + 0.02 * value < value / 2


def test_masks_are_worth_less_than_images(found):
    worth = [found.images(1, masks) for masks in (1, 2, 16, 1e12)]
    assert worth[0] == 1.0 and all(a < b for a, b in zip(worth, worth[1:], strict=False)) and worth[2] < 16
    assert worth[3] == pytest.approx(1 + found.mask["all"][0] / found.image["all"][0], rel=1e-9)
    assert found.variance(8, 4) == pytest.approx((found.image["all"][0] + found.mask["all"][0] / 4) / 8)


@pytest.mark.parametrize("masks", [1, 4])
def test_gap_opens_as_predicted(problem, part, found, masks):
    """Mean gap at eta = .05, one step, over 200 sets of n = 8: dgap / dt of (M3) within five errors. The gap at t = 0 is
    luck of the draw, and taken off."""
    n, eta = 8, 0.05
    test = EmpiricalField(part, dynsim.sample(problem, part, 20000, seed=9))
    opened = []
    for seed in range(200):
        run = descend(EmpiricalField(part, dynsim.sample(problem, part, n, [seed, 1], masks)), eta=eta, steps=1)
        losses = np.array([test.velocity(test.state(run.fp[i], run.pp[i]))[0] for i in range(2)])
        opened.append((losses - run.loss) @ [-1, 1] / eta)
    error = np.std(opened) / np.sqrt(len(opened))
    off = abs(np.mean(opened) - found.gap_rate(n, masks))
    assert off <= 5 * error < abs(found.gap_rate(n, masks) - found.gap_rate(n, 5 - masks))


@pytest.mark.slow
def test_scatter_of_stochastic_descent_goes_as_step_size_over_batch(problem, part, found):
    """Trace of the covariance over 60 seeds at t = 2, against t eta C / n: five errors, and 15 % for the drift, which is of
    first order in t (it was measured to be 4 % at t = 2, and 15 % at t = 8)."""
    for eta, n in ((0.25, 16), (1.0, 16), (1.0, 64)):
        runs = [descend(MinibatchField.fresh(problem, part, n, seed), eta=eta, steps=int(2 / eta)) for seed in range(60)]
        for name in ("fp", "pp"):
            y = np.array([getattr(run, name)[-1] for run in runs])
            each = np.sum((y - y.mean(axis=0)) ** 2, axis=(1, 2)) * 60 / 59
            expected = found.scatter(2.0, eta, n, name)
            error = each.std() / np.sqrt(60)
            assert abs(each.mean() - expected) <= 5 * error + 0.15 * expected
            assert abs(each.mean() - 4 * expected) > 5 * error + 0.15 * expected  # control: the rule is not eta / n^2, ...


def test_bad_input_is_named(problem, part):
    with pytest.raises(dynsim.InputError, match="draws must be .* got 10: take"):
        theory.initial_noise(problem, part, draws=10)
