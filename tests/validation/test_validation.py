"""compare and the exact level: what must pass passes, and what is wrong fails loudly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import dynsim
from dynsim import Problem, full, validation
from dynsim.reduced import EmpiricalField, descend
from dynsim.reduced.field import Field
from dynsim.validation import _exact, _workers

SMALL = {"steps": 40, "keep": 5}


@pytest.fixture(scope="module")
def explicit(part, data):
    return full.descend(part, data, **SMALL)


def reduced(part, data, field=EmpiricalField):
    return descend(field(part, data), **SMALL)


def test_reduced_is_full(part, data, explicit):
    comparison = validation.compare(reduced(part, data), explicit)
    assert comparison.passed and [row.quantity for row in comparison.rows] == ["fp", "pp", "loss", "attention"]
    for row in comparison.rows:
        assert 0 < row.deviation <= 2e-14 < row.bound == 1e-12 and row.when in explicit.t  # bounds have room, but not much
    assert json.loads(json.dumps(comparison.to_dict())) == comparison.to_dict() and comparison.to_dict()["passed"] is True


def failing(comparison):
    return {row.quantity for row in comparison.rows if not row.passed}


ALL = {"fp", "pp", "loss", "attention"}


def test_another_gamma_fails(problem, part, data, explicit):
    other = Problem(**{**parameters(problem), "gamma": 0.65})
    comparison = validation.compare(reduced(part, dynsim.sample(other, part, n=data.n, seed=2)), explicit)
    assert failing(comparison) == ALL and min(row.deviation for row in comparison.rows) > 1e-3


def parameters(problem):
    return {name: getattr(problem, name) for name in ("K", "gamma", "P", "kappa_c", "kappa_s", "amplitude")}


def test_a_swapped_label_fails(part, data, explicit):
    labels = part.labels.copy()
    labels[0, :2] = labels[0, 1::-1]
    assert (labels != part.labels).sum() == 2
    comparison = validation.compare(reduced(dynsim.Partition(labels), data), explicit)
    assert failing(comparison) == ALL and min(row.deviation for row in comparison.rows) > 1e-3


class SignOfFP(EmpiricalField):
    observe = Field.observe

    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[0] *= -1  # of one feature
        return loss, dy


class SignOfPP(EmpiricalField):
    observe = Field.observe

    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[-1] *= -1  # of one key
        return loss, dy


class LossOffByALittle(EmpiricalField):
    observe = Field.observe

    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        return loss * (1 + 1e-11), dy


class FactorInFP(EmpiricalField):
    observe = Field.observe

    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[: self.part.F] *= 1 + 1e-10
        return loss, dy


@pytest.mark.parametrize("field, fails", [(SignOfFP, ALL), (SignOfPP, ALL), (LossOffByALittle, {"loss"}), (FactorInFP, {"fp"})])
def test_a_wrong_gradient_fails(field, fails, part, data, explicit):
    comparison = validation.compare(reduced(part, data, field), explicit)
    assert fails <= failing(comparison) and not comparison.passed and comparison.to_dict()["passed"] is False


def test_where_the_largest_deviation_is_found(explicit):
    loss = explicit.loss.copy()
    loss[3] *= 1 + 1e-6
    rows = {row.quantity: row for row in validation.compare(replace(explicit, loss=loss), explicit).rows}
    assert rows["loss"].deviation == pytest.approx(1e-6, rel=1e-6) and rows["loss"].when == explicit.t[3]
    assert rows["fp"].deviation == 0 and rows["fp"].passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_in_one_is_infinitely_far_off(value, explicit):
    pp = explicit.pp.copy()
    pp[2, 0, 0] = value
    broken = replace(explicit, pp=pp)
    for a, b in ((broken, explicit), (explicit, broken)):
        row = validation.compare(a, b).rows[1]
        assert row.deviation == np.inf and row.when == explicit.t[2] and not row.passed
    assert validation.compare(broken, broken).passed  # attention that no image asks for is NaN in both


def test_bounds_are_the_callers(part, data, explicit):
    run = reduced(part, data)
    assert failing(validation.compare(run, explicit, {"pp": 0.0, "loss": 1e-18})) == {"pp", "loss"}
    assert validation.compare(explicit, explicit, dict.fromkeys(ALL, 0)).passed


def test_bad_input_is_named(part, data, explicit):
    for bounds in ({"phi": 1.0}, {"fp": -1.0}, {"fp": np.nan}):
        with pytest.raises(dynsim.InputError, match="bounds are numbers >= 0 for fp, pp, .* got .*: see"):
            validation.compare(explicit, explicit, bounds)
    for options in ({"steps": 40, "keep": 8}, {"steps": 40, "keep": 5, "eta": 0.5}):
        with pytest.raises(dynsim.InputError, match="saved at the same times, got .*: pass the same keep"):
            validation.compare(descend(EmpiricalField(part, data), **options), explicit)
    with pytest.raises(dynsim.InputError, match="have the same shapes, got pp of .*: same part"):
        validation.compare(replace(explicit, pp=explicit.pp[:, :-1]), explicit)
    with pytest.raises(dynsim.InputError, match="levels must be among exact.*, got 'none': leave"):
        validation.run(["none"])
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(dynsim.InputError, match="seed must be .* got .*: take"):
            validation.run(["exact"], seed=seed)


@pytest.mark.parametrize("name", _exact.CASES)
def test_cases_pass_in_small(name):
    comparison = _exact.case(name, n=4, steps=12, seed=1)
    assert comparison.passed
    assert all(row.deviation > 0 for row in comparison.rows if row.quantity != "loss")  # few losses may agree to the last bit


def test_uneven_areas_are_uneven():
    part = _exact._uneven(Problem(K=3, P=40), seed=0)
    assert list(part.N) == [5, 6, 7] and list(part.size[:5]) == [30, 1, 2, 3, 4]


@pytest.mark.slow
def test_the_headline_to_rounding():
    """P=64, K=4, gamma=.8, 256 images, z ~ U[.8, 1.2], 200 steps at eta=1."""
    comparison = validation.exact(Problem(K=4, gamma=0.8, P=64), n=256, seed=5, steps=200, eta=1.0)
    assert comparison.passed


def inline(function, tasks, progress=None):
    """The same work in this process, where a test can reach it."""
    results = []
    for task in tasks:
        results.append(function(*task))
        if progress is not None:
            progress(len(results), len(tasks))
    return results


def test_the_level_reports_every_case(monkeypatch):
    monkeypatch.setattr(_exact, "in_parallel", inline)
    monkeypatch.setattr(_exact, "CASES", {"small": {"P": 16, "K": 2}, "smaller": {"P": 9, "K": 1}})
    seen = []
    report = validation.run(["exact"], quick=True, seed=3, progress=lambda *args: seen.append(args))
    assert report.passed and report.quick and report.seed == 3
    quantities = ["fp", "pp", "loss", "attention"]
    assert [(row.case, row.quantity) for row in report.rows] == [(c, q) for c in ("small", "smaller") for q in quantities]
    assert all(row.level == "exact" and row.note.startswith("largest at t=") for row in report.rows)
    assert seen == [(25.0, 50.0), (50.0, 50.0)]
    assert json.loads(json.dumps(report.to_dict()))["rows"][0]["level"] == "exact"
    monkeypatch.setattr(_exact, "EmpiricalField", SignOfPP)
    broken = validation.run(["exact"], quick=True, seed=3)
    assert not broken.passed and not any(row.passed for row in broken.rows)


def shifted(a, b):
    if b < 0:
        raise dynsim.InputError(f"b must not be negative, got {b}: take 0")
    return a + 10 * b


def test_work_is_done_in_order(monkeypatch):
    seen = []
    tasks = [(i, i % 3) for i in range(17)]
    expected = [shifted(*task) for task in tasks]
    assert _workers.in_parallel(shifted, tasks, lambda *args: seen.append(args)) == expected
    assert seen == [(i, 17) for i in range(1, 18)]
    with pytest.raises(dynsim.InputError, match="got -1: take 0"):
        _workers.in_parallel(shifted, [*tasks, (1, -1), *tasks])
    assert _workers.in_parallel(shifted, tasks) == expected  # with new workers
    assert _workers.in_parallel(shifted, []) == []
    monkeypatch.setattr(_workers, "cpu_count", lambda: 1)
    assert _workers.in_parallel(shifted, tasks) == expected


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C goes to a process group")
@pytest.mark.parametrize("after", [1.0, 3.0, 6.0])
def test_interrupt_ends_driver_and_workers_in_one_line(after):
    command = [sys.executable, "-m", "dynsim", "validate", "--level", "statistical"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(after)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out) == (130, "") and err.startswith("dynsim: ") and err.count("\n") == 1


def test_arrays_from_elsewhere(part, data, explicit):
    run = reduced(part, data)
    arrays = {name: getattr(explicit, name) for name in ("t", "fp", "loss")}
    comparison = validation.compare(arrays, run)
    assert comparison.passed and [row.quantity for row in comparison.rows] == ["fp", "loss"]  # what is not given is left out
    whole = {row.quantity: row.deviation for row in validation.compare(explicit, run).rows}
    assert all(row.deviation == whole[row.quantity] for row in comparison.rows)
    lists = {"fp": explicit.fp.tolist(), "pp": (explicit.pp + 1e-9).tolist()}  # at the run's times; control: off by more
    assert failing(validation.compare(lists, run)) == {"pp"} and validation.compare(lists, run, {"pp": 2e-9}).passed


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fp": None, "t": None}, "got none"),
        ({"Phi": [1.0]}, "got t, fp, Phi"),
        ({"t": [0.0]}, "saved at the same times, got 1 and"),
        ({"t": [[0.0]]}, r"times must be t \(T,\)"),
        ({"fp": "text"}, "must be of real numbers"),
        ({"fp": np.zeros((9, 2))}, "same shapes, got fp"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message, explicit):
    arrays = {"t": explicit.t, "fp": explicit.fp, **change}
    with pytest.raises(dynsim.InputError, match=message):
        validation.compare({name: value for name, value in arrays.items() if value is not None}, explicit)
    with pytest.raises(dynsim.InputError, match="got ndarray"):
        validation.compare(explicit.fp, explicit)
