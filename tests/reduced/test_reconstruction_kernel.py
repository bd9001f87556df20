"""The kernel of the empirical field against eq. (5), one image, one query and one key at a time."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from numba import njit

import dynsim
from dynsim.reduced import EmpiricalField
from dynsim.reduced import batch as batches
from dynsim.reduced.kernels import elementary, reconstruction, threads
from dynsim.reduced.kernels.simd import HALF_WIDTH, WIDTH, broadcast, fma, load, store

pytestmark = pytest.mark.kernel


def both(x, z=1.0):
    """(exp(x), 2^(z x))."""
    table = np.pad(x, (0, -len(x) % WIDTH)).reshape(-1, WIDTH)
    out = np.empty((2, *table.shape))
    with np.errstate(invalid="ignore"):  # inf - inf, where this runs as Python
        in_wide(z, table, out)
    return out.reshape(2, -1)[:, : len(x)]


@njit
def product_less_one(x, out):
    store(out, 0, fma(load(x, 0, broadcast(0.0)), load(x, 0, broadcast(0.0)), -1.0 - 2.0**-29))


def fused():
    """Whether fma is: (1 + 2^-30)^2 = 1 + 2^-29 + 2^-60."""
    out = np.empty((1, WIDTH))
    product_less_one(np.full((1, WIDTH), 1 + 2.0**-30), out)
    return out != 0


@njit
def in_wide(z, x, out):
    for i in range(len(x)):
        store(out[0], i, elementary.exp(load(x, i, broadcast(0.0))))
        store(out[1], i, elementary.power(z, load(x, i, broadcast(0.0))))


def exp(x):
    return both(x)[0]


def ulps(value, x):
    """By how many units in the last place `value` misses exp(x), from forty decimal digits."""
    with localcontext() as context:
        context.prec = 40
        exact = [Decimal(float(v)).exp() for v in x]
        miss = [abs(Decimal(float(a)) - b) for a, b in zip(value, exact, strict=True)]
        return np.array([float(m / Decimal(float(np.spacing(float(e))))) for m, e in zip(miss, exact, strict=True)])


BOUND = 1.25 if fused()[0, 0] else 1.5  # ulp of exp


def test_exp_over_its_range():
    """The bound, for results from .707 up, which have an ulp of 2^-53: the last sum is rounded by 1/2 ulp, h by 2^-54, which r
    turns into 1/4, r by 2^-55 and r log2 e by 2^-55 ln 2, together .3 of it; the rest of h, k LN2_LO and the interpolation are
    below .1 together. Without fused multiply-add h r is rounded before the sum, by another 1/4."""
    rng = np.random.default_rng(0)
    edges = (np.arange(-1021, 1022) + 0.5) * np.log(2)  # where the power of two steps and |r| is largest
    near = [edges + d for d in rng.uniform(-0.02, 0.02, 2)]
    x = np.concatenate([rng.uniform(-708, 709, 2000), rng.normal(size=1000), *near, [-708, 709, 1e-300, -1e-17]])
    assert ulps(exp(x), x).max() <= BOUND
    assert ulps(exp(x) * (1 + 2**-52), x).max() > BOUND  # control: one unit more is seen
    assert exp(np.zeros(1))[0] == 1.0


def test_power_is_good_to_the_rounding_of_its_exponent():
    """2^(z x): as good as exp, besides one rounding of z x, |z x| 2^-53 ln 2; without fused multiply-add z x is rounded once
    more where k is taken off."""
    x = np.random.default_rng(1).uniform(-1021, 1022, 2000) / 1.1
    value = both(x, 1.1)[1]
    with localcontext() as context:
        context.prec = 40
        ln2 = Decimal(2).ln()
        exact = [(Decimal(1.1) * Decimal(float(v)) * ln2).exp() for v in x]
    miss = np.array([abs(float(Decimal(float(a)) / b - 1)) for a, b in zip(value, exact, strict=True)])
    bound = BOUND * 2.0**-52 + np.abs(1.1 * x) * np.log(2) * 2.0**-53
    assert (miss <= bound).all() and miss.max() > 2.0**-54
    assert (both(np.nextafter(x, np.inf), 1.1)[1] != value).mean() > 0.9  # control: one bit of the exponent is seen
    assert both(np.zeros(1))[1][0] == 1.0 and np.isnan(both(np.array([np.nan]))[1]).all()


def test_exp_outside_its_range_stays_at_the_edge():
    low, high = exp(np.array([-708.0, 709.0]))
    np.testing.assert_array_equal(exp(np.array([-1e4, -np.inf, 1e4, np.inf])), [low, low, high, high])
    assert 0 < low < 1e-307 and 1e307 < high < np.inf
    assert np.isnan(exp(np.array([np.nan]))).all()


def twin(part, data, phi, ups, sign=1, drop_gbar=False):
    """(loss per masked patch, -dL/dPhi (P, F), -dL/dUpsilon (P, P), area attention (P, F)) from eq. (5) and nothing else.

    sign and drop_gbar break the formula on purpose."""
    loss, dphi, dups = 0.0, np.zeros((part.P, part.F)), np.zeros((part.P, part.P))
    paid, seen = np.zeros((part.P, part.F)), np.zeros((part.K, part.P))
    for i in range(data.n):
        k, weight = data.cluster[i], data.weight[i]
        for p in range(part.P):
            if not data.masked[i, p]:
                continue
            score = np.zeros(part.P)
            for q in range(part.P):
                score[q] = ups[p, q]
                if not data.masked[i, q]:
                    score[q] += data.z[i, part.labels[k, q]] * phi[p, part.own[k, q]]
            attn = np.exp(score - score.max())
            attn /= attn.sum()
            A, g = np.zeros(part.N[k]), np.zeros(part.N[k])
            for q in range(part.P):
                if not data.masked[i, q]:
                    A[part.labels[k, q]] += attn[q]
            for m in range(part.N[k]):
                miss = A[m] - (m == part.labels[k, p])
                g[m] = data.z[i, m] ** 2 * miss
                loss += weight * 0.5 * data.z[i, m] ** 2 * miss**2
            gbar = 0.0 if drop_gbar else A @ g
            for m in range(part.N[k]):
                dphi[p, part.offset[k] + m] -= weight * data.z[i, m] * A[m] * (g[m] - gbar)
                paid[p, part.offset[k] + m] += weight * A[m]
            for q in range(part.P):
                dups[p, q] -= weight * attn[q] * ((0 if data.masked[i, q] else g[part.labels[k, q]]) - sign * gbar)
            seen[k, p] += weight
    with np.errstate(invalid="ignore"):
        return loss / data.masked_mean, dphi, dups, paid / np.repeat(seen, part.N, axis=0).T


def state(phi, ups):
    return np.ascontiguousarray(np.concatenate([phi.T, ups.T]))


def kernel(part, data, phi, ups, **options):
    field = EmpiricalField(part, data, **options)
    y = state(phi, ups)
    loss, dy = field.velocity(y)
    return loss, dy[: part.F].T, dy[part.F :].T, field.attention(y)


def deviation(a, b):
    """The largest deviation of every output, relative to the largest entry of that output."""
    return max(np.nanmax(np.abs(x - y)) / np.nanmax(np.abs(y)) for x, y in zip(a, b, strict=True))


# both sides sum n x P terms of one sign pattern, each good to a few roundings: n P eps is about 1e-13, typical far less
ROUNDING = 1e-13


def test_kernel_is_the_formula(part, data, correlations):
    expected = twin(part, data, *correlations)
    assert deviation(kernel(part, data, *correlations), expected) <= ROUNDING
    other = dynsim.sample(dynsim.Problem(K=3, gamma=0.5, P=18, kappa_c=0.7, kappa_s=0.4), part, n=20, seed=2)
    for wrong in (
        twin(part, data, *correlations, sign=-1),
        twin(part, data, *correlations, drop_gbar=True),
        twin(part, other, *correlations),
        twin(part, data, correlations[0], correlations[1] * (1 + 1e-9)),
    ):
        assert deviation(wrong, expected) > 10 * ROUNDING


@pytest.mark.parametrize(
    "K, P, gamma, amplitude",
    [
        (1, 18, 0.6, dynsim.Uniform(0.5, 1.5)),
        (7, 18, 0.6, dynsim.Fixed(2.0)),
        (2, 37, 0.5, dynsim.Uniform(0.8, 1.2)),
        (2, 9, 0.9, dynsim.Discrete((0.5, 2.0))),
        (2, 9, 0.12, dynsim.Uniform(0.8, 1.2)),
    ],
)
def test_kernel_at_other_sizes(K, P, gamma, amplitude):
    problem = dynsim.Problem(K=K, gamma=gamma, P=P, kappa_c=0.7, kappa_s=0.4, amplitude=amplitude)
    part = dynsim.Partition.random(problem, seed=4)
    data = dynsim.sample(problem, part, n=12, seed=5)
    rng = np.random.default_rng(6)
    phi, ups = rng.normal(size=(P, part.F)), rng.normal(size=(P, P))
    expected = twin(part, data, phi, ups)
    assert deviation(kernel(part, data, phi, ups), expected) <= ROUNDING
    assert deviation(kernel(part, data, -phi, ups), expected) > 1e-3


def test_bits_do_not_depend_on_the_batches(part, data, correlations, monkeypatch):
    """Gradients with respect to keys are summed image by image, however many are gathered at a time."""
    expected = kernel(part, data, *correlations)
    for batch in (1, 7, data.n - 1):
        monkeypatch.setattr(batches, "BATCH", batch)
        for a, b in zip(kernel(part, data, *correlations), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("P", [16, 18, 24, 37])
def test_bits_do_not_depend_on_where_in_a_vector_a_query_is(P):
    """Queries in another order, hence elsewhere in vectors and in blocks of other width: their numbers come in that order, bit by
    bit."""
    problem = dynsim.Problem(K=2, gamma=0.6, P=P, kappa_c=0.7, kappa_s=0.4)
    part = dynsim.Partition.random(problem, seed=4)
    data = dynsim.sample(problem, part, n=150, seed=5)
    F, (own, masked, *images), floor, *rest = EmpiricalField(part, data, threads=1)._batch.arguments
    rng = np.random.default_rng(6)
    y = rng.normal(size=(F + P, P))

    def run(order):
        def reordered(table):
            return np.concatenate([table[..., order], table[..., P:]], axis=-1)

        dy, loss, attention = np.empty_like(y), np.empty((1, P)), np.empty((F, P))
        counters, sorted_y = threads.new_counters(), np.ascontiguousarray(y[:, order])
        threads.start_turns(counters, 1, 0, 1)
        shuffled = (reordered(own), reordered(masked), *images)
        reconstruction.empirical_blocks(counters, 0, sorted_y, F, shuffled, reordered(floor), *rest, True, dy, loss, attention)
        return np.concatenate([dy, loss, attention])

    straight, order = run(np.arange(P)), rng.permutation(P)
    np.testing.assert_array_equal(run(order), straight[:, order])
    assert (run(order) != straight).any()  # control: the order did change


def test_blocks_hold_every_query_once():
    for P in range(1, 100):
        wides, blocks = reconstruction.division(P)
        elements = wides * WIDTH + (blocks - wides) * HALF_WIDTH
        assert 0 <= elements - P < HALF_WIDTH and blocks - wides in (0, 1)


@pytest.mark.parametrize("size", [5.0, 12.0, 30.0])
def test_kernel_far_from_the_start(size, part, data, correlations):
    """Attention near one-hot, where FP and PP outweigh each other: the kernel counts all keys at weight one and corrects the
    shown ones, which it may do only while that leaves something to count: without SWAMPED, 2e-6 at size 30."""
    phi, ups = (size * c for c in correlations)
    expected = twin(part, data, phi, ups)
    assert deviation(kernel(part, data, phi, ups), expected) <= ROUNDING
    other = twin(part, data, phi, ups + 1e-9 * np.arange(part.P))
    assert deviation(other, expected) > ROUNDING


def test_nan_is_not_swallowed(part, data, correlations):
    phi, ups = correlations
    p = np.flatnonzero(data.masked.any(axis=0))[0]
    for broken in (phi, ups):
        before = broken[p, 0]
        broken[p, 0] = np.nan
        loss, dphi, dups, _ = kernel(part, data, phi, ups)
        assert np.isnan(loss) and np.isnan(dphi[p]).any() and np.isnan(dups[p]).any()
        assert np.isfinite(np.delete(dphi, p, axis=0)).all()  # one query's state is no business of another
        broken[p, 0] = before


def test_velocity_is_minus_the_gradient_of_the_loss(part, data, correlations):
    """Central differences at h and 2 h, extrapolated: error h^4 of smooth terms of order one, and eps / h of rounding."""
    field = EmpiricalField(part, data)
    y = state(*correlations)
    direction = np.random.default_rng(7).normal(size=y.shape)
    slope = lambda h: (field.velocity(y + h * direction)[0] - field.velocity(y - h * direction)[0]) / (2 * h)  # noqa: E731
    h = 1e-3
    measured = (4 * slope(h) - slope(2 * h)) / 3 * data.masked_mean
    predicted = -np.sum(field.velocity(y)[1] * direction)
    assert measured == pytest.approx(predicted, rel=1e-9)
    assert measured != pytest.approx(predicted * (1 + 1e-6), rel=1e-9)
