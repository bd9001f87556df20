"""Phases read off trajectories, against theory where it has closed forms, and against made-up curves."""

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

import dynsim
from dynsim import theory
from dynsim.analysis import phases
from dynsim.reduced import EmpiricalField, MixedOrbitField, OrbitField, PopulationField, descend, flow

FIXED, WIDE = dynsim.Fixed(1.0), dynsim.Uniform(0.5, 1.5)


@pytest.mark.parametrize("law", [FIXED, WIDE])
def test_theory_of_phase_one(law):
    """theory.decoupling_time against plain quadrature; with the sizes of P it tends to the same. No length where Delta < 0."""
    for P in (1e6, 1e20):
        problem = dynsim.Problem(K=2, gamma=0.75, P=P, amplitude=law)
        assert theory.decoupling_time(problem) == pytest.approx(end_of_phase_one(problem), rel=1e-7)
        assert theory.decoupling_time(problem, finite=True) == pytest.approx(theory.decoupling_time(problem), rel=P**-0.25)
        assert theory.lead(problem) == pytest.approx(problem.rho * P**problem.Delta)
    assert theory.decoupling_time(dynsim.Problem(P=1e20, kappa_c=0.6)) == 0.0
    small = dynsim.Problem(P=16, kappa_s=0.0)  # local areas of one patch
    assert theory.lead(small, finite=True) == theory.decoupling_time(small, finite=True) == float("inf")


def end_of_phase_one(problem):
    """When own and global FP correlation move equally fast, from dphi/dt = b E[z^3 e^(z phi)] and
    dPhi_g/dt = -a E[z^3 e^(2 z Phi_g)], a / b = rho P^Delta (large P)."""
    z, weight = problem.amplitude.nodes(400)
    own = lambda phi: weight @ (z**3 * np.exp(z * phi))  # noqa: E731
    fall = lambda depth: weight @ (z**3 * np.exp(-2 * z * depth))  # noqa: E731
    ratio = problem.rho * problem.P**problem.Delta
    time = lambda phi: quad(lambda x: 1 / own(x), 0, phi)[0]  # noqa: E731 (times b)

    def gap(phi):
        depth = brentq(lambda d: quad(lambda x: 1 / fall(x), 0, d)[0] - ratio * time(phi), 0, 60, xtol=1e-12)
        return np.log(own(phi)) - np.log(ratio * fall(depth))

    b = problem.masked / problem.P / problem.K * problem.rho * problem.P ** (problem.kappa_s - 1)
    return time(brentq(gap, 0, 40, xtol=1e-12)) / b


@pytest.mark.parametrize("law", [FIXED, WIDE])
def test_phases_at_large_size_are_those_of_theory(law):
    """Two phases: I ends where the closed rates cross (fixed z: a third of the escape time), II at (8). One: I has no length."""
    for kappas, regime in (((0.9, 0.4), "two phases"), ((0.6, 0.4), "one phase")):
        problem = dynsim.Problem(K=2, gamma=0.75, P=1e30, kappa_c=kappas[0], kappa_s=kappas[1], amplitude=law)
        found = phases.find(flow(OrbitField(problem), t_end=10 * theory.escape_time(problem)))
        assert found.regime == regime == theory.regime(problem)
        assert found.growth.end == pytest.approx(theory.escape_time(problem), rel=1e-3)
        assert found.growth.end <= found.convergence.end < 1.01 * found.growth.end  # (a jump, on this clock)
        if regime == "two phases":
            # saved times are a factor 1.3 apart, curves between them nearly straight in logs
            assert found.decoupling.end == pytest.approx(end_of_phase_one(problem), rel=5e-3)
            if law is FIXED:
                assert found.decoupling.end == pytest.approx(theory.escape_time(problem) / 3, rel=5e-3)
        else:
            assert found.decoupling.end == 0.0


def test_regime_changes_where_the_gap_does():
    """Measured from trajectories alone, along kappa_c at fixed kappa_s: the change lies at rho P^Delta = 1."""
    for kappa_c in (0.55, 0.65, 0.69, 0.72, 0.75, 0.85):
        problem = dynsim.Problem(K=1, gamma=0.75, P=1e20, kappa_c=kappa_c, kappa_s=0.4, amplitude=FIXED)
        found = phases.find(flow(OrbitField(problem), t_end=2 * theory.escape_time(problem)))
        faster = problem.rho * problem.P**problem.Delta > 1
        assert found.regime == ("two phases" if faster else "one phase")


def test_descent_flow_orbits_patches_and_images_tell_the_same_story():
    """P = 64: the same times within what the descriptions differ by: steps of 4 between saved times, images, and the areas'
    intersections, which on this partition are not as if independent."""
    problem = dynsim.Problem(K=2, gamma=0.75, P=64)
    part = dynsim.Partition.blocks(problem)
    population = PopulationField(problem, part)
    truth = phases.find(flow(population, t_end=600), part)
    images = EmpiricalField(part, dynsim.sample(problem, part, 500))
    others = {
        "descent": (phases.find(descend(population, eta=1.0, steps=600, keep=4), part), 0.05),
        "images": (phases.find(descend(images, eta=2.0, steps=300, keep=2), part, floor=images.floor), 0.25),
        "orbits": (phases.find(flow(OrbitField(problem), t_end=600)), 0.3),
    }
    for found, error in others.values():
        for a, b in zip(found, truth, strict=True):
            assert a.end == pytest.approx(b.end, rel=error)
        assert found.regime == truth.regime == "two phases"
    # control: without the floor of the images, which the run knows by itself, the excess is never down to 1 %
    run = descend(images, eta=2.0, steps=300)
    assert phases.find(run, part, floor=0.0).convergence.end is None
    assert phases.find(run) == phases.find(run, part, floor=images.floor) and phases.find(run).convergence.end is not None


def test_explicit_descent_has_the_phases_of_the_reduced_one():
    problem = dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.8, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, 40)
    field = EmpiricalField(part, data)
    reduced = phases.find(descend(field, eta=4.0, steps=120, keep=2), part, floor=field.floor)
    full = phases.find(dynsim.full.descend(part, data, eta=4.0, steps=120, keep=2), part, floor=field.floor)
    assert reduced.growth.end > 100
    for a, b in zip(reduced, full, strict=True):
        assert b.end == pytest.approx(a.end, rel=1e-9)


def made_up(own, at_global, attention, loss, t=None):
    """An orbit trajectory of one cluster with these curves."""
    t = np.geomspace(0.1, 100, 200) if t is None else t
    t = np.concatenate([[0.0], t])
    fp, attn = np.zeros((len(t), 1, 3)), np.zeros((len(t), 1, 3))
    fp[:, 0, 0], fp[:, 0, 1], attn[:, 0, 0] = own(t), at_global(t), attention(t)
    layout = OrbitField(dynsim.Problem(K=1, P=1e6), "L").layout
    pp = np.zeros((len(t), 4))
    return dynsim.Trajectory(t, np.arange(len(t)), loss(t), fp, pp, attn, {"loss_floor": 0.25}, layout=layout)


def test_made_up_curves():
    """own = t^2 / 20 and global = -sqrt(t) move equally fast at t = 5^(2/3) (differences of log-spaced times: 1e-3)."""
    attention, loss = (lambda t: t**2 / (t**2 + 900)), (lambda t: 0.25 + np.exp(-t / 10))
    found = phases.find(made_up(lambda t: t**2 / 20, lambda t: -np.sqrt(t), attention, loss))
    assert found.decoupling.end == pytest.approx(5 ** (2 / 3), rel=2e-3)
    assert found.growth.end == pytest.approx(30, rel=1e-3)
    assert found.convergence.end == pytest.approx(10 * np.log(100), rel=1e-3)
    assert [phase.name for phase in found] == ["I", "II", "convergence"]
    assert found.decoupling.start == 0 and found.growth.start == found.decoupling.end
    assert found.convergence.start == found.growth.end and found.regime == "two phases"
    swapped = phases.find(made_up(lambda t: np.sqrt(t), lambda t: -(t**2) / 20, attention, loss))
    assert swapped.regime == "one phase" and swapped.decoupling.end == 0
    slow = phases.find(made_up(lambda t: t / 1e3, lambda t: -t, attention, loss))
    assert slow.decoupling.end == slow.growth.end == pytest.approx(30, rel=1e-3)  # no phase outlasts the escape


def test_runs_that_end_early_have_open_phases():
    never = phases.find(made_up(lambda t: t / 10, lambda t: -t, lambda t: 0 * t, lambda t: 0.25 + 1 / (1 + t / 1e3)))
    assert (never.decoupling.end, never.growth.start, never.growth.end, never.convergence.end) == (None,) * 4
    assert never.regime == "two phases"


def test_events_of_the_run_are_taken_over():
    run = made_up(lambda t: t**2 / 20, lambda t: -np.sqrt(t), lambda t: t / 100, lambda t: 0.25 + np.exp(-t / 10))
    run = replace(run, meta={**run.meta, "events": {"escape": 7.0, "half": 1.0, "excess": None}})
    found = phases.find(run)
    assert (found.growth.end, found.convergence.start, found.convergence.end) == (7.0, 7.0, None)


def test_global_queries_grow_from_the_start():
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    found = phases.find(flow(OrbitField(problem, "GG"), t_end=10 * theory.escape_time(problem, "GG")))
    assert found.regime == "one phase" and found.decoupling.end == 0
    assert found.growth.end == pytest.approx(theory.escape_time(problem, "G", finite=True), rel=1e-3)
    mixed = phases.find(flow(OrbitField(problem, "LG"), t_end=3 * theory.escape_time(problem)))
    assert mixed.regime == "two phases"  # as the cluster in which it is local
    assert mixed.growth.end == pytest.approx(theory.escape_time(problem, finite=True), rel=1e-3)


def test_regimes_with_contrast():
    """The names of the plane of weight and information gap; phases I and II are of FP as without contrast."""
    problem = dynsim.Problem(K=2, P=1e12, amplitude=FIXED)
    first, last = theory.critical_weight(problem), theory.collapse_weight(problem, 0.5)
    below, between, above = 0.9 * first, 0.8 * first + 0.2 * last, 1.1 * last  # more, and own attention stays below 1/2: (E20)
    for weight, regime in ((below, "two phases"), (between, "delayed"), (above, "collapsed")):
        field = MixedOrbitField(problem, weight)
        run = flow(field, field.horizon(), keep=100)  # with the delay that theory expects
        found = phases.find(run)
        assert (found.regime, found.growth.end) == (regime, run.meta["events"]["escape"])
        assert (run.meta["events"]["collapse"] is None) == (weight == below)
        assert (found.growth.end is None) == (weight == above)
    contrast = MixedOrbitField(problem, 1.0, reconstruction=False)
    assert phases.find(flow(contrast, t_end=contrast.horizon(), keep=100)).regime == "collapsed"
    early = flow(contrast, t_end=0.1 * theory.collapse_time(problem), keep=10)  # control: it has not yet
    assert phases.find(early).regime == "two phases"


def test_plain_data_and_frozen():
    problem = dynsim.Problem(K=1, gamma=0.75, P=1e6)
    found = phases.find(flow(OrbitField(problem), t_end=2 * theory.escape_time(problem)))
    described = json.loads(json.dumps(found.to_dict()))
    assert described["regime"] == "two phases" and len(described["phases"]) == 3
    assert all(set(phase) == {"name", "start", "end", "defined_by"} for phase in described["phases"])
    with pytest.raises(FrozenInstanceError):
        found.regime = "none"


def test_bad_input_is_named():
    problem = dynsim.Problem(K=2, gamma=0.75, P=36, kappa_c=0.8, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    run = descend(PopulationField(problem, part), steps=20)
    with pytest.raises(dynsim.InputError, match=r"which lies where, phases.find\(traj, part\)"):
        phases.find(replace(run, layout=None))
    assert phases.find(run) == phases.find(run, part)
    with pytest.raises(dynsim.InputError, match="the partition must be the run's, got P=18"):
        phases.find(run, dynsim.Partition(part.labels[:, :18] % 2))
    with pytest.raises(dynsim.InputError, match="at least 3 saved times, got 2"):
        phases.find(descend(PopulationField(problem, part), steps=20, keep=[20]), part)
