"""Gradient flow: the limit of descent, its own tolerance, its solvers, saved times, events and errors."""

import sys
from pathlib import Path

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.analysis import phases
from dynsim.reduced import EmpiricalField, MinibatchField, OrbitField, PopulationField, descend, flow

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import expectations  # noqa: E402

PROBLEM = dynsim.Problem(K=2, gamma=0.75, P=64)
TIMES = np.array([1.0, 7.0, 40.0, 150.0, 180.0, 600.0])  # half of the loss at 130, escape at 177, 1 % excess at 489


def at_times(run, times=TIMES):
    """The rows of a run at `times`: FP and PP side by side, (times, numbers)."""
    rows = [np.flatnonzero(run.t == t)[0] for t in times]
    return np.concatenate([run.fp[rows].reshape(len(times), -1), run.pp[rows].reshape(len(times), -1)], axis=1)


@pytest.mark.parametrize("query", ["LL", "LG"])
def test_descent_tends_to_flow_with_order_one(query):
    """Explicit Euler: the error at a fixed time is linear in eta."""
    assert expectations.order(PROBLEM, query) == pytest.approx(1.0, abs=0.03)
    # control: against the flow at another time the error does not vanish, and the fitted order is far from one
    assert abs(expectations.order(PROBLEM, query, late=0.5) - 1) > 0.3


def test_order_one_on_images_too():
    part = dynsim.Partition.blocks(dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.6, kappa_s=0.4))
    field = EmpiricalField(part, dynsim.sample(dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.6, kappa_s=0.4), part, 50))
    exact = flow(field, t_end=6.0, keep=[6.0], rtol=1e-11)
    errors = [np.abs(descend(field, eta=eta, steps=round(6 / eta)).fp[-1] - exact.fp[-1]).max() for eta in (0.08, 0.04, 0.02)]
    assert np.polyfit(np.log([0.08, 0.04, 0.02]), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_halving_the_tolerance_moves_the_answer_by_less(rtol):
    """At every kept time, escape included, relative to max(1, |y|) as promised; so do the event times."""
    field = OrbitField(PROBLEM)
    a, b = (flow(field, t_end=600, keep=TIMES, rtol=r) for r in (rtol, rtol / 2))
    difference = np.abs(at_times(a) - at_times(b)) / np.maximum(1, np.abs(at_times(b)))
    assert 0 < difference.max() < rtol
    for name, t in a.meta["events"].items():
        assert abs(t / b.meta["events"][name] - 1) < rtol
    exact = flow(field, t_end=600, keep=TIMES, rtol=1e-11)
    assert np.abs(at_times(a) - at_times(exact)).max() < rtol * max(1, np.abs(at_times(exact)).max())


@pytest.mark.parametrize("P", [1e6, 1e30])
def test_event_times_hold_to_the_tolerance_at_any_size(P):
    problem = dynsim.Problem(K=2, gamma=0.75, P=P)
    t_end = 10 * theory.escape_time(problem)
    a, b = (flow(OrbitField(problem), t_end=t_end, rtol=rtol).meta["events"] for rtol in (1e-6, 5e-7))
    for name in a:
        assert abs(a[name] / b[name] - 1) < 1e-6


@pytest.mark.parametrize("method", ["Radau", "DOP853", "RK45"])
def test_solvers_agree(method):
    """Each is good to rtol of itself, so two differ by at most twice that."""
    field = OrbitField(PROBLEM)
    a, b = flow(field, t_end=600, keep=TIMES, rtol=1e-6), flow(field, t_end=600, keep=TIMES, rtol=1e-6, method=method)
    assert (np.abs(at_times(a) - at_times(b)) < 2e-6 * np.maximum(1, np.abs(at_times(a)))).all()
    assert a.meta["solver"] == "LSODA" and b.meta["solver"] == method
    assert (at_times(a) != at_times(b)).any()
    for name, t in a.meta["events"].items():
        assert b.meta["events"][name] == pytest.approx(t, rel=2e-6)


def test_explicit_partitions_flow_too():
    problem = dynsim.Problem(K=2, gamma=0.75, P=36, kappa_c=2 / 3, kappa_s=0.5)
    part = dynsim.Partition.random(problem)
    field = PopulationField(problem, part)
    a, b = (flow(field, t_end=60, keep=[5.0, 60.0], rtol=1e-7, method=method) for method in (None, "LSODA"))
    assert a.meta["solver"] == "DOP853"  # 36 x 48 numbers
    assert np.abs(a.fp - b.fp).max() < 2e-7 * np.abs(a.fp).max() and np.abs(a.pp - b.pp).max() < 2e-7
    assert (np.diff(a.loss) < 0).all()


def test_saved_times():
    field = OrbitField(PROBLEM)
    run = flow(field, t_end=600.0)
    assert run.t[0] == 0 and run.t[-1] == 600 and (np.diff(run.t) >= 0).all()
    assert len(run) == 200 + sum(t is not None for t in run.meta["events"].values())
    few = flow(field, t_end=600.0, keep=5)
    chosen = flow(field, t_end=600.0, keep=TIMES[::-1])
    for times, r in ((few.t[:2], few), (TIMES, chosen)):
        assert np.isin(times, r.t).all()
    assert len(few) == 5 + 3 and len(chosen) == len(TIMES) + 3
    # where a saved time falls does not change the path: dense output, no step is cut short
    np.testing.assert_array_equal(at_times(chosen, [600.0])[0], at_times(run, [600.0])[0])
    short = flow(field, t_end=150.0, keep=[150.0])
    np.testing.assert_allclose(at_times(short, [150.0])[0], at_times(chosen, [150.0])[0], atol=1e-10)
    assert (np.diff(run.loss) <= 1e-12).all()  # along the gradient the loss falls


def test_events_are_where_they_say():
    """At its row, each event's quantity has the value that defines it; a run that ends before has None."""
    field = OrbitField(PROBLEM)
    run = flow(field, t_end=2000.0)
    events = run.meta["events"]
    row = {name: np.flatnonzero(run.t == t)[0] for name, t in events.items()}
    excess = (run.loss - field.floor) / (run.loss[0] - field.floor)
    assert run.attention[row["escape"], :, 0].mean() == pytest.approx(0.5, abs=1e-9)
    assert excess[row["half"]] == pytest.approx(0.5, abs=1e-9) and excess[row["excess"]] == pytest.approx(0.01, abs=1e-9)
    assert events["half"] < events["escape"] < events["excess"]
    early = flow(field, t_end=0.9 * events["escape"]).meta["events"]
    assert early["escape"] is None and early["excess"] is None and early["half"] == pytest.approx(events["half"], rel=1e-8)


def test_events_agree_with_phases_found_from_the_curve():
    """phases.find reads escape and the 1 % excess off the saved times: with 400 of them to a fraction of their distance."""
    run = flow(OrbitField(PROBLEM), t_end=2000.0, keep=400)
    events = run.meta["events"]
    kept = ~np.isin(run.t, list(events.values()))
    meta = {key: value for key, value in run.meta.items() if key != "events"}
    arrays = (getattr(run, name)[kept] for name in ("t", "step", "loss", "fp", "pp", "attention"))
    curve = dynsim.Trajectory(*arrays, meta, layout=run.layout)
    found, known = phases.find(curve), phases.find(run)
    assert (known.growth.end, known.convergence.end) == (events["escape"], events["excess"])
    apart = np.diff(np.log(curve.t[1:])).max()
    assert found.growth.end == pytest.approx(events["escape"], rel=0.05 * apart)
    assert found.convergence.end == pytest.approx(events["excess"], rel=0.05 * apart)
    assert found.decoupling.end == pytest.approx(known.decoupling.end, rel=0.1 * apart)


def test_status_and_provenance():
    run = flow(OrbitField(PROBLEM, "LG"), t_end=5.0, rtol=1e-6)
    assert run.meta["status"] == "reached t_end=5" and run.meta["evaluations"] > 10
    assert (run.meta["method"], run.meta["integrator"], run.meta["query"], run.meta["rtol"]) == ("orbit", "flow", "LG", 1e-6)


def test_a_run_that_leaves_its_range_says_where_and_keeps_what_it_has():
    law = dynsim.Discrete((0.2, 2.0))
    problem = dynsim.Problem(K=1, gamma=0.75, P=1e90, kappa_c=0.5, kappa_s=0.1, amplitude=law)
    with pytest.raises(dynsim.Diverged, match=r"a correlation left \+-700, beyond which .*: end at t_end=\d.*e\+\d\d") as error:
        flow(OrbitField(problem), t_end=100 * theory.escape_time(problem))
    assert len(error.value.trajectory) > 40 and np.isfinite(error.value.trajectory.fp).all()


def test_interrupted_runs_keep_what_they_have():
    def stop(done, total):
        if done > 0.5 * total:
            raise KeyboardInterrupt

    with pytest.raises(dynsim.Interrupted, match="stopped at t=.* of 600") as error:
        flow(OrbitField(PROBLEM), t_end=600, progress=stop)
    assert 10 < len(error.value.trajectory) < 200


def test_bad_input_is_named():
    field = OrbitField(PROBLEM)
    for t_end in (0, -1.0, np.inf, np.nan):
        with pytest.raises(dynsim.InputError, match="t_end, the time to integrate to, must be positive"):
            flow(field, t_end=t_end)
    with pytest.raises(dynsim.InputError, match="rtol must be between 1e-12 and 1e-2, got 0.5"):
        flow(field, rtol=0.5)
    with pytest.raises(dynsim.InputError, match="method must be one of LSODA, Radau, DOP853, RK45, got 'Euler'"):
        flow(field, method="Euler")
    with pytest.raises(dynsim.InputError, match="saved times must lie between 0 and t_end=10"):
        flow(field, t_end=10, keep=[1.0, 20.0])
    with pytest.raises(dynsim.InputError, match="keep must be at least 2 times"):
        flow(field, t_end=10, keep=1)
    part = dynsim.Partition.blocks(PROBLEM)
    with pytest.raises(dynsim.InputError, match="fresh samples: use descend"):
        flow(MinibatchField.fresh(PROBLEM, part, 4), t_end=10)


def test_a_flow_that_would_keep_nothing_is_refused():
    """A state taken on the way without what was saved, and no time of `keep` ahead of it: there would be no trajectory."""
    field, states = OrbitField(dynsim.Problem(K=1, P=1e100)), []
    end = 4 * dynsim.theory.escape_time(field.problem)
    flow(field, t_end=end, checkpoint=lambda state, record: states.append(state))
    assert len(states) > 1 and states[-1].kept is None
    with pytest.raises(dynsim.InputError, match="needs a saved time from its start on.*add a later one"):
        flow(field, t_end=end, keep=[0.0], start=states[-1])
    assert len(flow(field, t_end=end, keep=[end], start=states[-1])) >= 1  # control: one ahead is enough


def test_what_a_checkpoint_keeps_does_not_change_later():
    field = OrbitField(dynsim.Problem(K=1, P=1e6))
    kept = []
    whole = flow(field, 1e8, keep=20, method="DOP853", checkpoint=lambda state, record: kept.append((state, record.trajectory())))
    assert whole.meta["events"]["escape"] is not None
    state, so_far = next((state, so_far) for state, so_far in kept if so_far is not None)
    assert so_far.meta["events"]["escape"] is None
    resumed = flow(field, 1e8, keep=20, method="DOP853", start=state._replace(kept=so_far))
    assert resumed.meta["events"] == whole.meta["events"] and (resumed.fp == whole.fp).all()


def test_an_event_that_holds_at_the_start_is_at_time_zero():
    field = OrbitField(dynsim.Problem(K=1, P=16, gamma=0.1, kappa_c=0.95, kappa_s=0.2), "G")
    assert flow(field, 10.0, keep=5).meta["events"]["escape"] == 0.0 == descend(field, steps=2).meta["events"]["escape"]
    assert flow(field, 10.0, keep=[5.0]).t.tolist() == [0.0, 5.0]
    ended = flow(field, 10.0, keep=[5.0], until="escape")
    assert ended.t.tolist() == [0.0] and ended.meta["status"] == "ended by escape at t=0"


@pytest.mark.parametrize("keep", [np.nan, np.inf, "x", True])
def test_a_number_of_times_is_one(keep):
    with pytest.raises(dynsim.InputError, match="keep must be at least 2 times"):
        flow(OrbitField(dynsim.Problem(K=1, P=1e6)), 1.0, keep=keep)
