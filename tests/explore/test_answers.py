"""What the explorer shows is what the library and the command say, and what it writes reads back."""

import contextlib
import io
import json
import shlex

import numpy as np
import pytest

import dynsim
from dynsim import reduced, theory
from dynsim.analysis import phases
from dynsim.cli import main
from dynsim.explore import _run, answers

SETTINGS = {"K": 2.0, "gamma": 0.75, "P": 1e6, "kappa_c": 0.9, "kappa_s": 0.4, "L": 0.8, "U": 1.2}


@pytest.fixture(scope="module")
def found():
    return answers.answer(SETTINGS)


def test_curves_are_those_of_a_run(found):
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    run = reduced.flow(reduced.OrbitField(problem), t_end=100 * theory.escape_time(problem, "L"), rtol=1e-5, keep=100)
    assert found["t"] == run.t.tolist() and found["loss"] == run.loss.tolist()
    assert np.array_equal(found["fp"]["own"], run.fp[:, :, 0].mean(axis=1))
    assert np.array_equal(found["attention"]["global"], run.attention[:, :, 1].mean(axis=1))
    total = np.sum([found["attention"][role] for role in ("own", "global", "others", "masked")], axis=0)
    assert np.abs(total - 1).max() < 1e-12  # attention adds up; rounding of four sums
    assert found["events"] == run.meta["events"]
    assert found["phases"] == phases.find(run).to_dict()["phases"]
    other = answers.answer({**SETTINGS, "gamma": 0.7})  # control: another problem has other curves
    assert other["loss"] != found["loss"] and other["events"] != found["events"]


def test_predictions_are_those_of_theory(found):
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    said = found["predictions"]
    assert said["Delta"] == problem.Delta and said["regime"] == theory.regime(problem) == found["regime"]
    assert said["escape_time"] == theory.escape_time(problem, finite=True)
    assert said["escape_time_large"] == theory.escape_time(problem) != said["escape_time"]
    assert said["global_depth"] == theory.global_depth(problem, finite=True)
    assert said["loss_floor"] == pytest.approx(theory.loss_floor(problem, query="LL"), rel=1e-12)  # two orders of summation
    assert said["late_loss"] == (theory.late_loss(problem, np.array(said["late_t"]), "LL") + said["loss_floor"]).tolist()
    assert abs(found["measured_depth"] / said["global_depth"] - 1) < 0.05  # (16) is within 5 % at P = 1e6 (what-to-expect)


def test_the_command_and_the_python_make_the_same_run(found):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*shlex.split(found["command"])[1:], "--json", "--quiet"]) == 0
    (row,) = json.loads(out.getvalue())["queries"]
    assert row["escape_time"] == found["events"]["escape"] and row["loss"] == found["loss"][-1]
    assert row["global_depth"] == found["measured_depth"]
    space = {}
    exec(found["python"], space)
    assert space["run"].loss.tolist() == found["loss"]


def test_links_bring_the_settings_back():
    for settings in (SETTINGS, answers.DEFAULTS, {**SETTINGS, "P": 1e100, "gamma": 0.1 + 0.2}, {**SETTINGS, "P": 123456789.0}):
        link = answers.to_link(settings)
        assert answers.from_link("http://127.0.0.1:1/token/" + link) == settings
        assert answers.from_link(link[1:]) == settings
    assert answers.from_link("?K=2") == {**answers.DEFAULTS, "K": 2.0}


@pytest.mark.parametrize("link", ["?nonsense=3", "?K=two", "?K=", "nothing", "", "?K=2&<script>=1"])
def test_nonsense_in_a_link_gets_one_line(link):
    with pytest.raises(dynsim.InputError) as error:
        answers.from_link(link)
    assert "\n" not in str(error.value) and "got" in str(error.value)


@pytest.mark.parametrize("bad", [{"gamma": 1.5}, {"K": 0}, {"P": float("nan")}, {"L": 1.3}, {"kappa_c": 1.0}, {"P": 1e101}])
def test_settings_that_make_no_problem_get_one_line(bad):
    with pytest.raises(dynsim.DynsimError) as error:
        answers.answer({**SETTINGS, **bad})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings", [{"P": 1e100}, {"P": 20.0, "kappa_c": 0.5}, {"K": 1.0, "L": 1.0, "U": 1.0}, {"gamma": 0.95, "P": 30}]
)
def test_every_answer_is_plain_data(settings):
    found = answers.answer({**SETTINGS, **settings})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert np.isfinite(found["loss"]).all()


def test_data_as_text(found):
    rows = _run.csv(found).splitlines()
    names = rows[0].split(",")
    assert len(rows) == 1 + len(found["t"]) and {"t", "fp_own", "pp_self", "attention_masked", "loss"} <= set(names)
    last = dict(zip(names, rows[-1].split(","), strict=True))
    assert float(last["loss"]) == found["loss"][-1] and float(last["fp_own"]) == found["fp"]["own"][-1]
