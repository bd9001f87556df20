"""Flows that slide along balances: coordinates, Jacobian, clock, and runs at any number of patches."""

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.reduced import ContrastiveOrbitField, MixedOrbitField, _stiff_flow, flow
from dynsim.reduced._stiff_flow import StiffFlow
from dynsim.reduced.contrastive_orbit import HEAVIEST, SLOW
from dynsim.reduced.kernels import balance, closure, pairs_of_areas, simd, two_areas

ONE = dynsim.Fixed(1.0)
LAWS = pytest.mark.parametrize("amplitude", [ONE, dynsim.Uniform(0.8, 1.2)], ids=["fixed", "random"])


def pushes_of(field, y, sliding):
    """Velocity of the coordinates, and how much pushes each."""
    field.slide_rate(np.append(field.to_slide(y, sliding), 0.0), sliding, 1.0, *np.empty((2, y.size + 1)))
    return field._dy.copy(), field._gross.copy()


def some_state(field, own=0.6):
    """A state of local queries that look at both areas, `own` log P in the own correlation of the first type."""
    rng = np.random.default_rng(0)
    y = 0.1 * rng.normal(size=field.start().size) * field.scale()
    table = np.zeros((field.problem.K + 1) * (7 + field.number.shape[1]))
    table[field._place] = np.arange(y.size)
    first = table.reshape(field.problem.K + 1, -1)[:-1, :2].astype(int)  # own and global correlation of local clusters
    y[first[:, 1]] += 3.0
    y[first[0, 0]] += own * np.log(field.problem.P)
    return y


@LAWS
@pytest.mark.parametrize("sliding", [[False, False, False], [True, True, False]])
def test_coordinates_of_a_slide_and_back(amplitude, sliding):
    """To rounding of the largest correlation; only the own correlations of sliding types change."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e12, amplitude=amplitude), weight=1.5)
    y, sliding = some_state(field), np.array(sliding)
    u = field.to_slide(y, sliding)
    np.testing.assert_allclose(field.from_slide(u, sliding), y, rtol=0, atol=1e-14)
    assert (u != y).sum() == sliding.sum()


@LAWS
@pytest.mark.parametrize("masks", ["two-areas", "own-area"])
def test_the_slide_is_the_sum_of_both_velocities(amplitude, masks):
    """slide . (own, global): to 1e-12 of the pushes where they are summed, and without loss where one is."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e6, amplitude=amplitude), weight=1.5, masks=masks)
    y, sliding = some_state(field), np.array([True, True, False])
    plain, pushes = pushes_of(field, y, ~np.ones(3, dtype=bool))
    own = np.flatnonzero(field.to_slide(y, sliding) != y)
    together = pushes_of(field, y, sliding)[0][own]
    expected = field.slide[0] * plain[own] + field.slide[1] * plain[own + 1]
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-12 * pushes[own].max())
    wrong = field.slide[0] * plain[own] - field.slide[1] * plain[own + 1]
    assert np.abs(together - wrong).max() > 1e-3 * pushes[own].max()  # control


def test_the_slide_keeps_the_digits_that_the_sum_loses():
    """Fixed amplitude, own and global area sharing all there is: A_rest (A_o h_o + A_g h_g), e^-60 of the pushes.
    One unit further up the slide, everything that is left to other areas is 1/e of what it was (to 1e-6); the sum of the
    velocities is rounding."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e12, amplitude=ONE), weight=1.5)
    y, sliding = field.start(), np.array([True, True, False])
    own = np.flatnonzero(field.to_slide(y + 1.0, sliding) != y + 1.0)
    y[own], y[own + 1] = 100.0, 84.0
    further = y.copy()
    further[own] += 1.0
    further[own + 1] += 1.0
    (here, there) = (pushes_of(field, state, sliding)[0][own] for state in (y, further))
    np.testing.assert_allclose(there / here, np.exp(-1.0), rtol=1e-6)
    plain = pushes_of(field, y, ~np.ones(3, dtype=bool))[0]
    assert not np.allclose(plain[own] + plain[own + 1], here, rtol=1e-1, atol=0)  # control


@LAWS
@pytest.mark.parametrize("sliding", [[False, False, False], [True, False, False]])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_jacobian_against_central_differences(amplitude, sliding, stop_gradient):
    """Of the velocity in the coordinates, one-sided steps of 1e-7: to 2e-6 of the pushes, and by PP to the share that its class
    would have of the keys of a local area, with which it moves the pooled attention: that is left out."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e6, amplitude=amplitude), weight=1.5, stop_gradient=stop_gradient)
    y, sliding = some_state(field), np.array(sliding)
    pushes = pushes_of(field, y, sliding)[1]
    keys = np.hstack([np.zeros((3, 6)), field.number, np.ones((3, 1))])  # none for FP; the query itself is one
    J = field.jacobian(y, sliding, pace=1e12)  # a pace at which PP is not left out
    u = field.to_slide(y, sliding)
    for column in range(u.size):
        step = np.zeros(u.size)
        step[column] = 1e-5
        ahead, behind = (pushes_of(field, field.from_slide(u + s, sliding), sliding)[0] for s in (step, -step))
        bound = 2e-6 + keys.ravel()[field._place[column]] / field.problem.C_local
        assert np.abs(J[:, column] - (ahead - behind) / 2e-5).max() < bound * pushes.max()
    own_keys = keys.ravel()[field._place]
    few = J[:, (0 < own_keys) & (own_keys < 0.01 * field.problem.P)]
    assert np.abs(few).max() > 0.02 * pushes.max()  # control: what PP does to its own type is there
    alone, always = field._alone.copy(), field.jacobian(y, sliding, pace=0.0).any(axis=0)
    assert always.sum() == 2 * 2 + 2  # FP of own areas, and of the global one: two of L in two types, one of G in two
    pace = SLOW / np.median(alone[~always])
    some = field.jacobian(y, sliding, pace)
    np.testing.assert_array_equal(some[:, pace * alone > SLOW], J[:, pace * alone > SLOW])
    assert always.sum() < some.any(axis=0).sum() < J.any(axis=0).sum()


def test_the_jacobian_by_logarithmic_time_against_central_differences():
    """Where motion and time share the clock, in all entries: to 1e-6 of the largest, as steps of 1e-5 allow."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e6), weight=1.5)
    run = StiffFlow(field, 1e12, 2, 1e-5, "LSODA", None, 0, None)
    Y, step = np.append(field.to_slide(some_state(field), run.sliding), 0.0), np.zeros(field.start().size + 1)
    while run.rate(0.0, Y)[-1] > 0.5:
        Y[-1] += 0.1
    expected, paces, step[-1] = run.jacobian(0.0, Y)[:, -1], run.paces.copy(), 1e-5
    found = (run.rate(0.0, Y + step) - run.rate(0.0, Y - step)) / 2e-5
    assert run.paces[-1] == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(found, paces * expected, rtol=0, atol=1e-6 * np.abs(found).max())
    assert found[-1] < -0.1 and np.abs(found[:-1]).max() > 0.1  # control: there is something to see


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_steps_know_the_loss_where_its_rise_tells(stop_gradient):
    """Of both views learning, where the velocity is the gradient of the loss; where one does it is not asked for."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e6), weight=1.5, stop_gradient=stop_gradient)
    run = StiffFlow(field, 1e6, 2, 1e-5, "LSODA", None, 0, None)
    run.step()
    assert np.isnan(run.loss) == stop_gradient == (not field.conservative)
    if field.conservative:
        assert run.loss == pytest.approx(field.velocity(run.state(run.solver.y))[0], rel=1e-6)  # corrected since


def clock(v, pushes, pace):
    """(dt/ds, rates, paces)."""
    out, paces = np.empty((2, len(v) + 1))
    balance.rate(np.array(v), np.array(pushes), pace, out, paces)
    np.testing.assert_array_equal(out, np.append(v, 1.0) * paces)
    return pace * paces[-1], out, paces


def test_the_clock_leaves_out_what_is_in_balance():
    """(3, 4) moves at speed 5; a residue of 1e-9 of its pushes does not count, one of 1e-3 as its cube. Paces are the factors."""
    unit, out, _ = clock([3.0, 4.0, 1e-9], [3.0, 4.0, 1.0], 1.0)
    assert unit == pytest.approx(1 / 6, rel=1e-15) and out[-1] == pytest.approx(1 / 6, rel=1e-15)
    np.testing.assert_allclose(out[:-1], np.array([3.0, 4.0, 1e-9]) / 6, rtol=1e-10)
    assert clock([1e-3], [1.0], 1e9)[0] == pytest.approx(1e9 / (1 + 1e9 * 1e-9), rel=1e-12)
    assert clock([1e-9], [1.0], 1e9)[0] == 1e9
    for x in (1.5e-8, 1e-7, 0.999e-6, 1.001e-6):  # in between, a step of its logarithm
        u = min(1.0, 0.5 * np.log10(x / balance.NOISE))
        expected = x**3 * (10 * u**3 - 15 * u**4 + 6 * u**5)
        assert clock([x], [1.0], 1e30)[0] == pytest.approx(1e30 / (1 + 1e30 * expected), rel=1e-11)
    beside = 5e14 * 25e-16 * (10 * 0.349485**3 - 15 * 0.349485**4 + 6 * 0.349485**5)  # of pushes of 1e22, it counts beside (3, 4)
    assert clock([3.0, 4.0, 5e14], [3.0, 4.0, 1e22], 1e9)[0] == pytest.approx(1 / np.hypot(5.0, beside), rel=1e-6)
    assert 1 / np.hypot(5.0, beside) < 0.2 * (1 - 1e-3)  # control
    _, slowed, paces = clock([1e-9], [1.0], 1e20)
    assert slowed[0] == pytest.approx(1e-9 * balance.FASTEST, rel=1e-6)  # not 1e11
    assert paces[0] == pytest.approx(balance.FASTEST, rel=1e-6)


@pytest.mark.parametrize("weight", [0.5, 1.5, 2.5])
def test_a_balance_is_followed_at_any_number_of_patches(weight):
    """To its escape and on along the slide, P = 1e100: in at most 20,000 evaluations (it takes 4 to 10 thousand; a solver that
    follows rounding takes millions), the settled attention before the escape (D11) to 2e-3, the escape later by 1 / (1 - it)."""
    problem = dynsim.Problem(K=4, P=1e100, amplitude=ONE)
    field = MixedOrbitField(problem, weight=weight)
    before = 1e-2 * theory.escape_time(problem)
    run = flow(field, t_end=field.horizon(), keep=[before, field.horizon()], rtol=1e-6)
    assert run.meta["evaluations"] < 20_000
    settled = theory.collapsed_attention(problem, weight, 0.5) or 0.0
    assert run.attention[run.t == before][0, 0, 0, 1] == pytest.approx(settled, abs=2e-3)
    expected = theory.escape_time(problem) / (1 - settled)
    assert run.meta["events"]["escape"] == pytest.approx(expected, rel=2e-2)
    assert run.meta["events"]["escape"] != pytest.approx(2 * expected, rel=2e-2)  # control


def rows_of_pairs(z, chance, top, low):
    """What kernels are given of all pairs of amplitudes (a, b), a the faster index, in whole vectors."""
    rows = np.zeros((6, 16))
    for i, (b, a) in enumerate(np.ndindex(z.size, z.size)):
        both = chance[a] * chance[b]
        rows[:, i] = both, both * top * z[a], both * low * z[b], both * (top * z[a] - low * z[b]), z[a] ** 2, z[b] ** 2
    return rows


@pytest.mark.kernel
@pytest.mark.parametrize("nodes", [3, 8, 18])
def test_weights_of_both_areas_by_pairs(nodes):
    """e^(z phi), the own amplitude the faster index; one beyond the pairs, fewer or more of them than vectors hold."""
    z, row = np.linspace(0.8, 1.2, nodes), np.array([0.5, -0.3, 0.2, 0.0, 0.0, 0.0])
    wide, padded = (simd.whole_vectors(count, simd.HALF_WIDTH) for count in (nodes, nodes**2))
    w, wo, wg = np.zeros((3, wide)), np.ones(padded), np.ones(padded)
    pairs_of_areas.weigh(row, 0, z, w, wo, wg)
    np.testing.assert_allclose(w[:, :nodes], np.exp(row[:3, None] * z), rtol=1e-14)
    rest = np.ones(padded - nodes**2)
    np.testing.assert_array_equal(wo, np.append(np.tile(w[0, :nodes], nodes), rest))
    np.testing.assert_array_equal(wg, np.append(np.repeat(w[1, :nodes], nodes), rest))


@pytest.mark.kernel
def test_sizes_of_pushes_pair_by_pair():
    """Pooled attention, velocities of contrast, and the sizes of what amplitudes add to them, against a loop over pairs: the same
    sums, to 1e-13."""
    rng = np.random.default_rng(1)
    z, chance, top, low = np.array([0.7, 1.0, 1.3]), np.array([0.3, 0.5, 0.2]), 1.3, 0.7
    m, D, w, x, xo, rho = rng.uniform(0.1, 0.5, 7), rng.normal(size=(1, 3)), np.exp(z), np.array([0.3]), 0.2, np.array([[0.4]])
    h_own, one = rng.normal(size=3), np.ones(1)
    pairs, f = rows_of_pairs(z, chance, top, low), np.ones((1, 16))
    wide = [np.resize(w, 16), np.pad(np.repeat(w, 3), (0, 7)), np.pad(np.repeat(z * D[0], 3), (0, 7))[None], np.resize(h_own, 16)]
    out, expected = np.empty(pairs_of_areas.PUSHED), np.zeros((3, 2))
    tables, others = (x, one, np.array([[xo]]), one[None], rho, np.array([1])), np.pad(np.exp(0.3 * z), (0, 5))
    pooled, local, on_lead, on_own = np.zeros((1, 8)), np.zeros(8), np.zeros(3), np.zeros(3)
    pairs_of_areas.pool_local(
        0.6, m, 2.0, z, chance, pairs, wide[0], wide[1], others, *tables, f, np.zeros((2, 16)), pooled, local
    )
    pairs_of_areas.push_local(m, top, low, pairs, wide[0], wide[1], f, *tables, wide[2], wide[3], out)
    masked = (1 - x[0]) * m[1] + (1 - xo) * m[0] + (1 - rho[0, 0]) * m[2]
    rest, drawn = masked + rho[0, 0] * m[2] * m[3], rho[0, 0] * m[2] * m[4]
    for b, a in np.ndindex(3, 3):
        own, lead = w[a] * xo * m[0], w[b] * x[0] * m[1]
        Z, t, h_o, h_g = rest + own + lead, chance[a] * chance[b], h_own[a], z[b] * D[0, b]
        on_lead[b] += 0.6 * chance[a] * lead / Z
        on_own[a] += 0.3 * z[a] * chance[b] * own / Z
        on_own += 0.3 * z * others[:3] * t * rho[0, 0] * m[2] / Z  # of the other local area
        mean = (own * h_o + lead * h_g + drawn) / Z
        parts = t * z[a] * own / Z * (h_o - mean), t * z[b] * lead / Z * (h_g - mean)
        expected[:, 0] += *parts, top * parts[0] + low * parts[1]
        expected[:, 1] += *np.abs(parts), abs(top * parts[0] + low * parts[1])
    np.testing.assert_allclose(np.vstack([pooled[0], local])[:, :3], [on_lead, on_own], rtol=1e-13)
    np.testing.assert_allclose(out[[0, 1, 9]], expected[:, 0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(out[10:13], expected[:, 1], rtol=1e-12)
    assert (out[10:13] > 1.1 * np.abs(expected[:, 0])).any()  # control: they cancel
    pairs_of_areas.push_local(np.append(0.0, m[1:]), top, low, pairs, wide[0], wide[1], f, *tables, wide[2], wide[3], out)
    assert np.isfinite(out).all() and out[0] == 0.0  # nothing is pushed in an area of no mass
    pairs_of_areas.push_global(m, z, chance, np.pad(w, (0, 5)), x, one, rho, D, out)
    masked = (1 - x[0]) * m[0] + (1 - rho[0, 0]) * m[2]
    rest, drawn = masked + rho[0, 0] * m[2] * m[3], rho[0, 0] * m[2] * m[4]
    lead = w * x[0] * m[0]
    A = lead / (rest + lead)
    parts = chance * z * A * (z * D[0] - A * z * D[0] - drawn / (rest + lead))
    assert out[0] == pytest.approx(parts.sum(), rel=1e-12) and out[10] == pytest.approx(np.abs(parts).sum(), rel=1e-12)


@pytest.mark.kernel
def test_one_point_serves_for_an_own_area_that_hardly_spreads():
    """Instead of two points as far apart as that: to 20 times the square of it, but for what the spread itself does."""
    rng = np.random.default_rng(2)
    z, chance, n = np.array([0.8, 1.0, 1.2]), np.array([0.3, 0.4, 0.3]), 1000.0
    pairs, w, wg = rows_of_pairs(z, chance, 1.2, 0.8), np.ones(16), np.ones(16)
    w[:9], wg[:9] = np.tile(np.exp(2.0 * z), 3), np.repeat(np.exp(3.0 * z), 3)
    xg, x, rho = np.array([0.2]), np.array([[0.3]]), rng.uniform(0.1, 0.3, (2, 1, 1))
    one = np.ones((1, 1))

    def found(spread, single=0.02, both=0.03):
        out = np.zeros(two_areas.WITH_LEAD)
        var = (spread * 0.3 * 1.5) ** 2 / (0.3 * 0.7 / (n - 1.0))
        two_areas.expectation_with_lead(
            0.01, n, 1.5, var, 1e-3 * var, 0.5, 0.2, 0.1, single, both, 1.2, 0.8, pairs, w, wg, xg, one[0], x, one, *rho,
            np.array([1]), np.empty(16), out,
        )
        return out

    (point, two), slow = (found(s * two_areas.POINT) for s in (0.999, 1.001)), [closure.D_VAR, closure.D_SKEW]
    assert 0 < np.abs(two - point).max()  # control: two points they were
    assert np.abs(np.delete(two - point, slow)).max() < 20 * two_areas.POINT**2 * np.abs(two).max()
    assert two[closure.D_VAR] == pytest.approx(point[closure.D_VAR], rel=1e-3) and point[closure.D_SKEW] == 0.0
    assert np.abs(np.delete(found(100 * two_areas.POINT) - point, slow)).max() > 20 * two_areas.POINT**2  # control
    for spread in (0.999 * two_areas.POINT, 1.001 * two_areas.POINT):  # the loss is linear in second moments of other areas
        here, more, pairwise = found(spread), found(spread, single=1.02), found(spread, both=1.03)
        assert more[closure.LOSS] - here[closure.LOSS] == pytest.approx(here[closure.D_ONE], rel=1e-12)
        assert pairwise[closure.LOSS] - here[closure.LOSS] == pytest.approx(here[closure.D_TWO], rel=1e-12)


@pytest.mark.kernel
def test_derivatives_by_mean_variance_and_skew_of_an_own_area():
    """By mean, variance and third moment of the weights in it, where two points stand apart, and by the mass of all keys: as
    central differences of the loss have them, 1e-7."""
    z, chance, one = np.array([0.8, 1.0, 1.2]), np.array([0.3, 0.4, 0.3]), np.ones((1, 1))
    pairs, w, wg = rows_of_pairs(z, chance, 1.2, 0.8), np.ones(16), np.ones(16)
    w[:9], wg[:9] = np.tile(np.exp(2.0 * z), 3), np.repeat(np.exp(z), 3)

    def found(mean, var, skew, free):
        out = np.zeros(two_areas.WITH_LEAD)
        two_areas.expectation_with_lead(
            0.1, 10.0, mean, var, skew, free, 0.2, 0.1, 0.02, 0.03, 1.2, 0.8, pairs, w, wg, np.array([0.2]), one[0], 0.3 * one,
            one, 0.2 * one, 0.1 * one, np.array([1]), np.empty(16), out,
        )
        return out

    at = np.array([1.5, 6.0, 9.0, 0.5])
    here = found(*at)[[closure.D_MEAN, closure.D_VAR, closure.D_SKEW, closure.D_BASE]]
    ahead, behind = (np.array([found(*(at + s * step))[closure.LOSS] for step in 1e-4 * np.eye(4)]) for s in (1, -1))
    np.testing.assert_allclose((ahead - behind) / 2e-4, here, rtol=1e-7)
    assert np.abs(here).min() > 1e-4  # control


def test_classes_that_hardly_exist_do_not_hold_a_run_up():
    """Their PP is at rest within bounds of 1e-7 and stiff beyond, which the Jacobian knows: 4,600 evaluations, else 17,700."""
    field = MixedOrbitField(dynsim.Problem(K=4, P=1e20, amplitude=ONE), weight=2.75)
    assert flow(field, field.horizon(), keep=100, rtol=1e-5).meta["evaluations"] < 8_000


def test_correlations_go_as_far_as_amplitude_nodes_see_a_step():
    """With odds of one half way between two nodes, attention goes from e^-5 to 1 - e^-5 from one to the next, or on to where PP
    comes to rest; values that are all there are have no such limit, nor has reconstruction alone."""
    problem = dynsim.Problem(K=2, P=1e30)
    z = np.sort(problem.amplitude.nodes(24)[0])
    field = MixedOrbitField(problem, weight=1.0)
    at = np.argmax(np.diff(z))
    odds = np.exp(field.limit * (z[at : at + 2] - z[at : at + 2].mean()))
    np.testing.assert_allclose(odds / (1 + odds), [1 / (1 + np.exp(5)), 1 / (1 + np.exp(-5))], rtol=1e-12)
    assert MixedOrbitField(problem, weight=1.0, nodes=40).limit > 1.4 * field.limit
    assert MixedOrbitField(problem, weight=1.0, nodes=6).limit == HEAVIEST + 1.0  # as far as PP may grow
    two = dynsim.Problem(K=2, P=1e30, amplitude=dynsim.Discrete((0.8, 1.3)))
    for free, most in ((MixedOrbitField(problem, weight=0.0), z[-1]), (MixedOrbitField(two, weight=1.0), 1.3)):
        assert free.limit == pytest.approx(700 / most, rel=1e-12)


def test_pairs_slide_where_they_take_from_each_other():
    """Fixed amplitude, own and global area sharing all there is; not at the start; and until they clearly do not."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e12, amplitude=ONE), weight=1.5)
    y = field.start()
    field.velocity(y)
    assert not field.slides_seen().any()
    own = field._own[:-1]
    y[own], y[own + 1] = 100.0, 84.0
    field.velocity(y)
    assert field.slides_seen().tolist() == [True, True, False]
    field._together[:, 1] = 0.2 * field._together[:, 2]
    assert not field.slides_seen().any() and field.slides_seen(np.array([True, False, False])).tolist() == [True, False, False]


@LAWS
def test_tolerance_holds_in_the_delayed_phase(amplitude):
    """Own attention that waits for a balance, then slides: a hundredth of the tolerance moves events by less than it."""
    problem = dynsim.Problem(K=3, P=1e12, amplitude=amplitude)
    field = MixedOrbitField(problem, weight=1.8)
    loose, tight = (flow(field, field.horizon(), 3, rtol=rtol).meta["events"] for rtol in (1e-6, 1e-8))
    assert loose["escape"] and loose["collapse"]
    for name, t in tight.items():
        assert (t is None) == (loose[name] is None) and (t is None or abs(loose[name] / t - 1) < 1e-6), name
    assert abs(flow(field, field.horizon(), 3, rtol=1e-3).meta["events"]["escape"] / tight["escape"] - 1) > 1e-6  # control


QUICK = {(1e3, 1.5), (1e20, 2.7), (1e30, 2.5), (1e100, 5.0)}


@LAWS
@pytest.mark.parametrize(
    "P, weight",
    [
        pytest.param(P, weight, marks=() if (P, weight) in QUICK else pytest.mark.slow)
        for P in (1e3, 1e12, 1e20, 1e30, 1e40, 1e50, 1e100)
        for weight in (0.1, 1.5, 2.0, 2.5, 2.7, 3.0, 5.0)
    ],
)
def test_runs_over_sizes_and_weights_end(amplitude, P, weight):
    """In at most 20,000 evaluations (up to 17,000 are needed), at t_end or where attention has become a step of the amplitudes,
    with one correlation near the end of the range."""
    problem = dynsim.Problem(K=4, gamma=0.8, P=P, amplitude=amplitude)
    field = MixedOrbitField(problem, weight=weight)
    run = flow(field, **field.run_options(problem))
    assert run.meta["evaluations"] < 20_000
    assert run.meta["events"]["escape GGGG"] and (weight < 1 or amplitude != ONE or run.meta["events"]["collapse"])
    if run.meta["status"].startswith("ended at"):
        assert amplitude != ONE and np.abs(run.fp[-1]).max() > 0.5 * field.limit and run.t[-1] > theory.escape_time(problem)
    else:
        assert run.t[-1] == run.meta["t_end"] and np.abs(run.fp[-1]).max() < field.limit


@pytest.mark.slow
@pytest.mark.parametrize("reconstruction", [True, False], ids=["mixed", "contrast"])
@LAWS
@pytest.mark.parametrize("P", [1e6, 1e20, 1e45, 1e60, 1e80])
def test_runs_with_default_options_end(amplitude, reconstruction, P):
    """To the horizon: in at most 60,000 evaluations (up to 45,500 are needed, at P = 1e20 and weight 2.6)."""
    for weight in (0.5, 1.0, 2.2, 2.5, 2.6, 2.8, 4.0):
        field = MixedOrbitField(dynsim.Problem(K=4, P=P, amplitude=amplitude), weight=weight, reconstruction=reconstruction)
        run = flow(field, field.horizon())
        assert run.meta["evaluations"] < 60_000, weight
        assert run.t[-1] == field.horizon() or np.abs(run.fp[-1]).max() > 0.5 * field.limit


def test_attention_collapses_before_the_horizon_at_any_weight():
    problem = dynsim.Problem(K=2, P=1e12)
    alone = ContrastiveOrbitField(problem).horizon()
    for weight in (0.01, 1.0, 50.0):
        field = MixedOrbitField(problem, weight, reconstruction=False)
        assert field.horizon() * weight == pytest.approx(alone, rel=1e-15)
        run = flow(field, field.horizon(), keep=2)
        assert run.meta["events"]["collapse"] == pytest.approx(field.horizon() / 4, rel=0.1)  # (E8) is of large P
        early = flow(field, 0.5 * run.meta["events"]["collapse"], keep=2)  # control
        assert early.meta["events"]["collapse"] is None


@LAWS
def test_the_exponents_of_two_areas_do_not_add_up(amplitude):
    """A velocity up to the limit of both correlations. Fixed z: what both have in common is without effect there, to what is
    left to other areas (e^-250), so to rounding."""
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e30, amplitude=amplitude), weight=1.5)
    y, own = field.start(), field._own[:-1]
    y[own], y[own + 1] = 0.99 * field.limit, 0.97 * field.limit
    v = field.velocity(y)[1]
    assert np.isfinite(v).all() and np.abs(v).max() > 0
    if amplitude == ONE:
        y[own], y[own + 1] = y[own] - 0.6 * field.limit, y[own + 1] - 0.6 * field.limit
        np.testing.assert_allclose(v[own], field.velocity(y)[1][own], rtol=1e-10, atol=0)
        y[own + 1] -= 1.0
        assert not np.allclose(v[own], field.velocity(y)[1][own], rtol=1e-2, atol=0)  # control


def test_pp_of_a_class_without_a_key_comes_to_rest():
    """Where one key would weigh as much as an area; untouched up to the root of that, and in classes that hold keys."""
    field = MixedOrbitField(dynsim.Problem(K=4, P=1e20), weight=1.5)
    top = np.log(field.problem.C_local)
    scarce = field._pp[field._heaviest == top]
    table = np.zeros((5, 7 + field.number.shape[1]))
    table[:, 6:-1] = field.number
    held = table.ravel()[field._place]
    assert (held[scarce] < 0.5).all() and scarce.size > 5
    y = field.start()
    y[scarce] = 0.49 * top
    free = field.velocity(y)[1][scarce]
    assert np.abs(free).min() > 0
    y[scarce] = 0.75 * top
    slowed = field.velocity(y)[1]
    y[scarce] = top
    rest = field.velocity(y)[1]
    assert (rest[scarce] == 0).all() and (slowed[scarce] != 0).all()
    plenty = np.setdiff1d(np.flatnonzero(held >= 0.5), scarce)
    assert (rest[plenty] != 0).all()  # control


def test_pp_comes_to_rest_before_its_cube_overflows():
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e12, kappa_s=0.1), weight=2.2)
    y = field.start()
    y[field._pp] = HEAVIEST
    v = field.velocity(y)[1]
    assert np.isfinite(v).all() and (v[field._pp] == 0).all()
    y[field._pp] -= 1.0
    assert np.abs(field.velocity(y)[1][field._pp]).max() > 0  # control


@pytest.mark.slow
def test_a_class_of_few_keys_may_grow_as_far_as_it_will():
    """The end of a run that stopped where the cube of its weight overflowed."""
    field = MixedOrbitField(dynsim.Problem(K=4, P=1e12, kappa_s=0.1), weight=2.2)
    run = flow(field, field.horizon(), rtol=1e-6, keep=20)
    assert run.meta["status"].startswith("reached") and np.nanmax(run.pp) <= HEAVIEST
    assert np.nanmax(run.pp) > 0.5 * HEAVIEST  # control


@pytest.mark.kernel
def test_coordinates_of_slides_and_back():
    u, own, slide = np.array([1.0, 0.5, -2.0, 4.0, 0.25]), np.array([0, 3, 0]), np.array([1.2, 0.8])
    y = balance.from_slide(u, own, slide, np.array([False, True, False]))
    np.testing.assert_array_equal(y, [1.0, 0.5, -2.0, (4.0 - 0.8 * 0.25) / 1.2, 0.25])
    assert (balance.from_slide(u, own, slide, np.zeros(3, dtype=bool)) == u).all() and y is not u
    assert balance.from_slide(u, own, slide, np.array([True, False, False]))[0] == (1.0 - 0.8 * 0.5) / 1.2


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_local_areas_of_one_patch(weight):
    """A class of less than one key then weighs as much as its area from the start on; the flow neither warns nor crawls."""
    field = MixedOrbitField(dynsim.Problem(K=2, gamma=0.8, P=196, kappa_s=0.0), weight=weight)
    run = flow(field, field.horizon(), keep=5, rtol=1e-4)
    assert run.t[-1] == field.horizon() and run.meta["evaluations"] < 20_000


def test_saved_times_change_nothing_where_coordinates_do(monkeypatch):
    """What slides is seen where a step ends, not where a time was saved within it, and not where compiled steps end."""
    steps, step = [], StiffFlow.step

    def watched(run):
        before, began = run.sliding, run.t
        step(run)
        steps.append((began, run.t, before.tobytes() != run.sliding.tobytes()))

    monkeypatch.setattr(StiffFlow, "step", watched)
    monkeypatch.setattr(_stiff_flow, "STEPS", 1)
    problem = dynsim.Problem(K=2, gamma=0.6, P=1e12, kappa_s=0.3, amplitude=dynsim.Uniform(0.5, 1.5))
    field, t_end = MixedOrbitField(problem, weight=1.6), 1e10
    once = flow(field, t_end, keep=[t_end], rtol=1e-6)
    began, ended, _ = next(one for one in steps if one[2])  # the step after which coordinates change
    within = flow(field, t_end, keep=[began + 1e-3 * (ended - began), t_end], rtol=1e-6)
    assert len(within) == len(once) + 1 and within.fp[-1].tobytes() == once.fp[-1].tobytes()
    one_by_one, steps[:] = len(steps), []
    monkeypatch.undo()
    monkeypatch.setattr(StiffFlow, "step", watched)
    together = flow(field, t_end, keep=[t_end], rtol=1e-6)
    assert together.fp[-1].tobytes() == once.fp[-1].tobytes() and together.meta["events"] == once.meta["events"]
    assert 20 * len(steps) < one_by_one and any(changes for _, _, changes in steps)


@pytest.mark.parametrize(
    "P, weight, stop_gradient", [(1e12, 0.4, True), (1e12, 1.6, True), (1e12, 0.8, False), (1e30, 2.5, True)]
)
def test_steps_in_compiled_code_are_those_of_the_solver(monkeypatch, P, weight, stop_gradient):
    """The same bits where the solver is given rates one by one, and as many evaluations; also of a run that ends by itself."""
    problem = dynsim.Problem(K=4, P=P) if P > 1e20 else dynsim.Problem(
        K=2, gamma=0.6, P=P, kappa_s=0.3, amplitude=dynsim.Uniform(0.5, 1.5)
    )
    field = MixedOrbitField(problem, weight=weight, stop_gradient=stop_gradient)
    compiled = flow(field, field.horizon(), keep=5, rtol=1e-5)
    options = StiffFlow.own_options
    monkeypatch.setattr(StiffFlow, "own_options", lambda run: {**options(run), "advance": None})
    plain = flow(field, field.horizon(), keep=5, rtol=1e-5)
    for name in ("events", "evaluations", "status"):
        assert compiled.meta[name] == plain.meta[name]
    assert compiled.fp.tobytes() == plain.fp.tobytes() and compiled.pp.tobytes() == plain.pp.tobytes()
    assert any(t is not None for t in plain.meta["events"].values()) and plain.meta["status"].startswith("ended") == (P > 1e20)


@pytest.mark.parametrize("sliding", [[False, False, False], [True, True, False]])
def test_correlations_beyond_the_limit_count_as_that(sliding):
    field, sliding = MixedOrbitField(dynsim.Problem(K=2, P=1e12), weight=1.5), np.array(sliding)

    def rate(own):
        y, (out, paces) = some_state(field), np.empty((2, field.start().size + 1))
        y[field._own[0]] = own
        field.slide_rate(np.append(field.to_slide(y, sliding), 0.0), sliding, 1.0, out, paces)
        return out

    np.testing.assert_allclose(rate(2.0 * field.limit), rate(field.limit), rtol=1e-12, atol=0)
    assert not np.allclose(rate(2.0 * field.limit), rate(0.9 * field.limit), rtol=1e-9, atol=0)  # control


@pytest.mark.parametrize("lowest, moved, ends", [(0.4, 0.05, False), (0.4, 1e9, False), (0.0, 0.05, False), (0.0, 1e9, True)])
def test_a_flow_that_moves_or_is_of_higher_order_does_not_crawl(monkeypatch, lowest, moved, ends):
    for name, value in (("CRAWL", 100), ("LOWEST", lowest), ("MOVED", moved)):
        monkeypatch.setattr(_stiff_flow, name, value)
    field = MixedOrbitField(dynsim.Problem(K=2, P=1e6), weight=1.5)
    run = flow(field, field.horizon(), keep=2, rtol=1e-6)
    assert run.meta["status"].startswith("ended at" if ends else "reached t_end")


@pytest.mark.slow
def test_a_flow_that_follows_rounding_ends():
    """Pushes on FP and PP cancel to rounding where local areas hold 16 patches; what was found up to there holds."""
    field = MixedOrbitField(dynsim.Problem(P=1e12, K=4, kappa_c=0.85, kappa_s=0.1), weight=2.7)
    run = flow(field, **field.run_options(field.problem))
    assert run.meta["status"].startswith("ended at t=1.4") and "cancel to rounding" in run.meta["status"]
    assert run.meta["events"]["collapse"] is not None and run.t[-1] > 1e13 and run.meta["evaluations"] < 60_000
