"""The mixed and contrastive fields by orbits: a slow twin of both losses, identities, closed forms where they hold, controls."""

import numpy as np
import pytest
from mixed_twin import Twin

import dynsim
from dynsim import theory
from dynsim.reduced import ContrastiveOrbitField, MixedOrbitField, OrbitField, contrastive_orbit, flow
from dynsim.reduced.kernels import counts

ONE = dynsim.Fixed(1.0)
TWO_PHASES = {"K": 4, "gamma": 0.8, "kappa_c": 0.9, "kappa_s": 0.4}
CASES = {
    "K=1": dynsim.Problem(K=1, gamma=0.75, P=64, kappa_c=0.85, kappa_s=0.5, amplitude=dynsim.Uniform(0.8, 1.2)),
    "K=2": dynsim.Problem(K=2, gamma=0.75, P=4096, kappa_c=0.85, kappa_s=0.65, amplitude=dynsim.Uniform(0.5, 1.5)),
    "two values": dynsim.Problem(K=2, gamma=0.6, P=1e6, kappa_c=0.9, kappa_s=0.5, amplitude=dynsim.Discrete((0.8, 1.3))),
    "z = 1": dynsim.Problem(K=3, gamma=0.75, P=1e12, kappa_c=0.9, kappa_s=0.4, amplitude=ONE),
}


def state(field, seed=0):
    """FP correlations of order three, PP of order .2."""
    y = np.random.default_rng(seed).normal(size=field.start().size)
    return y * np.where(field.scale() == 1.0, 3.0, 0.2)


# ---- the kernel against its twin


@pytest.mark.kernel
@pytest.mark.parametrize("name", CASES)
def test_both_losses_are_those_of_the_twin(name):
    """The same sums in another order: 1e-13; 1e-10 where the spread of PP in an own area nearly vanishes beside its mean."""
    field = MixedOrbitField(CASES[name], weight=1.5, nodes=3)
    twin, y = Twin(field), state(field)
    found, at = field.observe(y).terms, field.correlations(y)
    assert twin.reconstruction(*at) == pytest.approx(found["reconstruction"], rel=1e-10)
    assert twin.contrast(at, at) == pytest.approx(found["contrastive"], rel=1e-12)
    other = field.correlations(state(field, seed=1))  # control
    assert abs(twin.reconstruction(*other) / found["reconstruction"] - 1) > 1e-4
    assert abs(twin.contrast(other, other) / found["contrastive"] - 1) > 1e-4


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["K=1", "K=2"])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_velocity_is_minus_the_gradient_by_the_first_view_or_by_both(name, stop_gradient):
    """Central differences of the twin: steps h = 1e-4 leave h^2 / 6 of the third derivative and 1e-16 / h of rounding."""
    field = ContrastiveOrbitField(CASES[name], stop_gradient=stop_gradient, nodes=2)
    twin, y = Twin(field), 0.3 * state(field)
    velocity, fixed = field.velocity(y)[1], field.correlations(y)
    rng, h = np.random.default_rng(2), 1e-4
    for i in rng.choice(y.size, 6, replace=False):
        step = np.zeros(y.size)
        step[i] = h
        ahead, behind = field.correlations(y + step), field.correlations(y - step)
        both = (twin.contrast(ahead, ahead) - twin.contrast(behind, behind)) / (2 * h)
        first = (twin.contrast(ahead, fixed) - twin.contrast(behind, fixed)) / (2 * h)
        slope = np.zeros(y.size)
        slope[i] = first if stop_gradient else both
        expected = -field.mobility(slope)[i]
        assert velocity[i] == pytest.approx(expected, rel=1e-5, abs=1e-9 * np.abs(velocity).max())
        slope[i] = both if stop_gradient else first  # control
        if abs(expected) > 1e-3 * np.abs(velocity).max():
            assert abs(-field.mobility(slope)[i] / expected - 1) > 0.1


# ---- identities


def test_weight_zero_is_the_orbit_field_of_every_query_type():
    """Both are gradient flows of one closed loss: equal to the accuracy asked of the solver (1e-8, with a margin of 100)."""
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    both = flow(MixedOrbitField(problem, weight=0.0, masks="own-area", nodes=24), t_end=3e4, keep=[3e4], rtol=1e-8)
    for i, query in enumerate(("LL", "LG", "GG")):
        one = flow(OrbitField(problem, query), t_end=3e4, keep=[3e4], rtol=1e-8)
        np.testing.assert_allclose(both.attention[-1, i], one.attention[-1], atol=1e-6)
        np.testing.assert_allclose(both.fp[-1, i], one.fp[-1], atol=1e-6)
    other = flow(MixedOrbitField(problem, weight=0.1, masks="own-area", nodes=24), t_end=3e4, keep=[3e4], rtol=1e-8)
    assert np.abs(other.fp[-1] - both.fp[-1]).max() > 1e-3  # control


def test_every_query_type_learns_the_same_from_contrast_alone():
    """(D4) holds in the population up to how classes count keys: the query is one of P = 1e12."""
    problem = dynsim.Problem(**TWO_PHASES, P=1e12)
    t = theory.collapse_time(problem)
    run = flow(ContrastiveOrbitField(problem, nodes=8), t_end=t, keep=[t], rtol=1e-8)
    on_global = np.concatenate([run.attention[-1, :4, 0, 1], run.attention[-1, 1:, -1, 0]])
    np.testing.assert_allclose(on_global, on_global[0], rtol=1e-6)
    mixed = flow(MixedOrbitField(problem, weight=2.0, nodes=8), t_end=100.0, keep=[100.0], rtol=1e-8)
    assert abs(mixed.attention[-1, -1, -1, 0] / mixed.attention[-1, 0, 0, 1] - 1) > 0.05  # control


def test_one_cluster_learns_from_the_variance_of_amplitudes_only():
    """K = 1: all images agree but for z, and at small similarities nothing but Var z is left of (D5)."""
    common = {"K": 1, "gamma": 0.75, "P": 1e12, "kappa_c": 0.9, "kappa_s": 0.4}
    fixed = ContrastiveOrbitField(dynsim.Problem(**common, amplitude=ONE))
    random = ContrastiveOrbitField(dynsim.Problem(**common, amplitude=dynsim.Uniform(0.8, 1.2)))
    problem = random.problem
    eps, law = problem.rho * problem.C_global / problem.P, problem.amplitude
    expected = eps**2 / problem.P * (law.moment(3) - law.moment(2) * law.moment(1))
    place = 1  # of the global area of a local query
    assert random.velocity(random.start())[1][place] == pytest.approx(expected, rel=2 * eps)
    assert abs(fixed.velocity(fixed.start())[1][place]) < 1e-6 * expected
    assert theory.collapse_time(fixed.problem) == np.inf


# ---- contrast alone, and the balance, against closed forms


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_collapse_time_at_1e30(stop_gradient):
    """Against (D6), fixed amplitude: 1e-3; twice as fast where both views learn; control: another number of clusters."""
    problem = dynsim.Problem(K=4, P=1e30, amplitude=ONE)
    expected = theory.collapse_time(problem, stop_gradient)
    run = flow(ContrastiveOrbitField(problem, stop_gradient=stop_gradient), t_end=2 * expected, keep=[2 * expected], rtol=1e-8)
    assert run.meta["events"]["collapse"] == pytest.approx(expected, rel=1e-3)
    assert abs(theory.collapse_time(dynsim.Problem(K=3, P=1e30, amplitude=ONE), stop_gradient) / expected - 1) > 0.1


@pytest.mark.parametrize("weight", [1.5, 2.0, 2.5, 2.7, 2.8])
def test_settled_attention_at_1e20(weight):
    """Between the escapes of global (t ~ P^.1) and local queries (P^.6), to 1e-3 of (D11): c = .01 to the order that it enters
    (E12) there; and to 1e-6 of that equation at this P."""
    problem = dynsim.Problem(**TWO_PHASES, P=1e20, amplitude=ONE)
    t = 1e-2 * theory.escape_time(problem)
    found = flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-6).attention[-1, 0, 0, 1]
    assert found == pytest.approx(theory.collapsed_attention(problem, weight), abs=1e-3)
    assert found == pytest.approx(theory.collapsed_attention(problem, weight, finite=True), abs=1e-6) and found > 0.6
    if weight < 2.6:  # control
        assert abs(theory.collapsed_attention(problem, weight + 0.1) - found) > 5e-3


def test_gradients_of_both_views_halve_the_weights():
    """For fixed z the target is doubled at every attention (E3): the balance of weight 1 is that of 2 with stop-gradient."""
    problem = dynsim.Problem(**TWO_PHASES, P=1e20, amplitude=ONE)
    t = 1e-2 * theory.escape_time(problem)
    runs = [
        flow(MixedOrbitField(problem, weight=weight, stop_gradient=stop), t_end=t, keep=[t], rtol=1e-6)
        for weight, stop in ((2.0, True), (1.0, False), (1.0, True))
    ]
    stopped, both, control = (run.attention[-1, 0, 0, 1] for run in runs)
    assert both == pytest.approx(stopped, abs=1e-6) and control < 0.2


@pytest.mark.parametrize("weight", [0.3, 0.5, 0.8])
def test_below_the_critical_weight_the_global_correlation_settles(weight):
    """(D10) at P = 1e30, to c = 1e-3: attention stays of the order of the share."""
    problem = dynsim.Problem(**TWO_PHASES, P=1e30, amplitude=ONE)
    t = 1e-2 * theory.escape_time(problem)
    run = flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-8)
    pushes = weight * (1 - 1 / 4)
    assert run.fp[-1, 0, 0, 1] == pytest.approx(np.log(pushes / (0.2 * (0.8 - pushes))), abs=1e-3)
    assert run.attention[-1, 0, 0, 1] < 5e-3


def settled(problem, weight):
    t = 1e-2 * theory.escape_time(problem)
    return flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-6).attention[-1, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.3, 0.5, 0.9])
def test_weight_at_which_attention_passes_a_level_at_1e30(level):
    """By bisection of runs, within 1 % of the weight of (D11); at P = 1e12 it is further off where the level is low."""
    problem = dynsim.Problem(**TWO_PHASES, P=1e30, amplitude=ONE)
    expected = 0.8 * (1 + np.exp(level**2 / 0.5) / 3)
    assert theory.collapsed_attention(problem, expected) == pytest.approx(level, abs=1e-12)
    low, high = 0.9 * expected, 1.1 * expected
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (low, middle) if settled(problem, middle) > level else (middle, high)
    assert (low + high) / 2 == pytest.approx(expected, rel=0.01)
    if level < 0.4:  # control
        assert settled(dynsim.Problem(**TWO_PHASES, P=1e12, amplitude=ONE), 0.95 * expected) > level


@pytest.mark.parametrize("weight", [2.9, 3.5, 6.0])
def test_no_escape_above_the_collapse_weight(weight):
    problem = dynsim.Problem(**TWO_PHASES, P=1e12, amplitude=ONE)
    t = 1e6 * theory.escape_time(problem)
    run = flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-6)
    assert weight > theory.collapse_weight(problem) and run.meta["events"]["escape"] is None
    assert run.attention[-1, 0, 0, 1] > 1 - 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("P, weight, within", [(1e12, 1.5, 5e-4), (1e12, 2.0, 5e-4), (1e20, 1.5, 2e-4)])
def test_escape_is_delayed(P, weight, within):
    """(E18) with A_g at this P, to the second order in P^-(1 - kappa_c) of (15); its limit within 2 % at 1e20."""
    problem = dynsim.Problem(**TWO_PHASES, P=P, amplitude=ONE)
    expected = theory.mixed_escape_time(problem, weight, finite=True)
    run = flow(MixedOrbitField(problem, weight=weight), t_end=1.5 * expected, keep=[1.5 * expected], rtol=1e-6)
    assert run.meta["events"]["escape"] == pytest.approx(expected, rel=within)
    assert expected > 3 * theory.escape_time(problem)  # control
    if P > 1e15:
        assert run.meta["events"]["escape"] == pytest.approx(theory.mixed_escape_time(problem, weight), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.0, 1.5, 2.0, 2.3, 2.6])
def test_attention_after_the_escape(weight):
    """Against (E20) with c = .063 counted, to the P^-.6 log P of the last keys that are neither: 1e-4; control: before it."""
    problem = dynsim.Problem(**TWO_PHASES, P=1e12, amplitude=ONE)
    t = 5 * theory.mixed_escape_time(problem, weight, finite=True)
    found = flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-6).attention[-1, 0, 0]
    assert found[1] == pytest.approx(theory.escaped_attention(problem, weight, finite=True), abs=1e-4)
    assert found[:2].sum() == pytest.approx(1.0, abs=1e-3)
    assert theory.collapsed_attention(problem, weight, finite=True) - found[1] > 0.1


@pytest.mark.slow
def test_weight_that_overtakes_for_a_negative_gap():
    """(E21) by bisection at Delta = -.2, to P^-(kappa_c - kappa_s) = 4e-3 and 1e-4, and 5e-3 of the bisection."""
    for P, within in ((1e12, 1e-2), (1e20, 5e-3)):
        problem = dynsim.Problem(K=4, gamma=0.8, P=P, kappa_c=0.6, kappa_s=0.4, amplitude=ONE)
        expected, t = theory.overtaking_weight(problem), 1.2 * theory.escape_time(problem)
        low, high = 0.8 * expected, 1.25 * expected
        for _ in range(6):
            middle = np.sqrt(low * high)
            events = flow(MixedOrbitField(problem, weight=middle), t_end=t, keep=[t], rtol=1e-6).meta["events"]
            assert (events["escape"] is None) != (events["collapse"] is None)
            low, high = (middle, high) if events["collapse"] is None else (low, middle)
        assert np.sqrt(low * high) == pytest.approx(expected, rel=within)


def test_a_negative_gap_stays_diverse():
    """After the escape nothing is left for the global area at any fixed weight, to 1e6 escape times."""
    problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, kappa_c=0.6, kappa_s=0.4, amplitude=ONE)
    t = 1e6 * theory.escape_time(problem)
    run = flow(MixedOrbitField(problem, weight=100.0), t_end=t, keep=[t], rtol=1e-6)
    assert run.attention[-1, 0, 0, 0] > 1 - 1e-6 and run.meta["events"]["collapse"] is None
    more = flow(MixedOrbitField(problem, weight=300.0), t_end=t, keep=[t], rtol=1e-6)  # control
    assert more.attention[-1, 0, 0, 1] > 0.9


def test_bad_input_is_named():
    problem = dynsim.Problem(K=2, P=1e6)
    for options in ({"weight": -1.0}, {"temperature": 0.0}, {"weight": float("nan")}, {"weight": 0.0, "reconstruction": False}):
        with pytest.raises(dynsim.InputError, match="got|needs"):
            MixedOrbitField(problem, **options)


@pytest.mark.parametrize(
    "numbers", [dict(K=2, P=36, gamma=0.3, kappa_c=0.5, kappa_s=0.5), dict(K=3, P=64, gamma=0.3, kappa_c=0.85, kappa_s=0.45),
                dict(K=4, P=1000, gamma=0.02), dict(K=1, P=2, gamma=0.3, kappa_c=0.0, kappa_s=0.0)],
)
@pytest.mark.parametrize("make", [MixedOrbitField, ContrastiveOrbitField])
def test_few_masked_patches(make, numbers):
    """Where fewer patches are masked outside the global area than the own one holds, fractions stay within [0, 1]."""
    field = make(dynsim.Problem(**numbers))
    y = field.start() + 0.1 * np.random.default_rng(0).standard_normal(field.start().size)
    seen = field.observe(y)
    assert np.isfinite(seen.velocity).all() and 0 <= seen.attention.min() and seen.attention.max() <= 1
    assert len(dynsim.reduced.flow(field, 100.0, keep=3, rtol=1e-4)) >= 3


@pytest.mark.parametrize("P, nodes", [(196, 5), (1e3, 4), (3e4, 3), (1e5, 2), (1e12, 1)])
def test_half_of_the_nodes_of_unmasked_fractions_serve(monkeypatch, P, nodes):
    """Where own and global area share attention: as with 16 nodes and all counts, attention to 1e-7, velocities to 1e-6 of their
    pushes; of the global area few are taken."""
    problem = dynsim.Problem(K=2, P=P)

    def found():
        field = MixedOrbitField(problem, weight=2.0)
        y, own = field.start(), field._own[:-1]
        y[own], y[own + 1] = 0.6 * np.log(P), 0.2 * np.log(P)
        seen = field.observe(y)
        return seen.attention, seen.velocity, field._gross, len(field.pooled)

    attention, velocity, pushes, taken = found()
    monkeypatch.setattr(contrastive_orbit, "GLOBAL_NODES", 16)
    for most in (16, 1):
        monkeypatch.setattr(counts, "_nodes", lambda relative, coarse, most=most: most)
        monkeypatch.setattr(counts, "APART", 200 if most > 1 else 1)
        other, moved = found()[:2]
        serves = np.abs(other - attention).max() < 1e-7, (np.abs(moved - velocity) <= 1e-6 * pushes).all()
        assert serves == ((True, True) if most > 1 else (False, False))  # one node is the control
    assert taken == nodes


@pytest.mark.parametrize("P, serves", [(1e20, True), (1e12, False)])
def test_the_mean_serves_for_an_unmasked_fraction_that_hardly_spreads(monkeypatch, P, serves):
    """To the square of SHARP, of the pushes; of local areas at P = 1e20 (2e-4), not at P = 1e12 (8e-3)."""
    problem = dynsim.Problem(K=2, P=P)

    def velocity(sharp):
        monkeypatch.setattr(contrastive_orbit, "SHARP", sharp)
        field = MixedOrbitField(problem, weight=1.5)
        y, own = field.start(), field._own[:-1]
        y[own], y[own + 1] = np.log(P), 0.3 * np.log(P)
        return field.velocity(y)[1].copy(), field._gross

    (taken, pushes), (exact, _), (mean, _) = (velocity(sharp) for sharp in (contrastive_orbit.SHARP, 1e-9, 1.0))
    assert 0 < (np.abs(taken - exact) / pushes).max() < 2.5e-7
    assert (taken == mean).all() == serves
    assert ((np.abs(mean - exact) / pushes).max() < 2.5e-7) == serves  # control
