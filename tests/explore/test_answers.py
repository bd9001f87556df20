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
from dynsim.explore import _run, _texts, answers

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
    assert "two phases for large P; this run: two phases." in _texts.facts(found)
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
    base = {**answers.DEFAULTS, **SETTINGS}
    mixed = {**base, "objective": "mixed", "weight": 2.5, "temperature": 0.1 + 0.2}
    for settings in (base, answers.DEFAULTS, {**base, "P": 1e100, "gamma": 0.1 + 0.2}, {**base, "P": 123456789.0}, mixed):
        link = answers.to_link(settings)
        assert answers.from_link("http://127.0.0.1:1/token/" + link) == settings
        assert answers.from_link(link[1:]) == settings
    assert answers.to_link(dict(reversed(mixed.items()))) == answers.to_link(mixed)
    assert answers.from_link("?K=2") == {**answers.DEFAULTS, "K": 2.0}


@pytest.mark.parametrize("link", ["?nonsense=3", "?weight=heavy", "?K=two", "?K=", "nothing", "", "?K=2&<script>=1"])
def test_nonsense_in_a_link_gets_one_line(link):
    with pytest.raises(dynsim.InputError) as error:
        answers.from_link(link)
    assert "\n" not in str(error.value) and "got" in str(error.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"gamma": 1.5}, {"K": 0}, {"P": float("nan")}, {"L": 1.3}, {"kappa_c": 1.0}, {"P": 1e101}, {"objective": "none"},
        {"objective": "mixed", "weight": -1},
    ],
)
def test_settings_that_make_no_problem_get_one_line(bad):
    with pytest.raises(dynsim.DynsimError) as error:
        answers.answer({**SETTINGS, **bad})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"P": 1e100}, {"P": 20.0, "kappa_c": 0.5}, {"K": 1.0, "L": 1.0, "U": 1.0}, {"gamma": 0.95, "P": 30},
        {"objective": "contrastive"}, {"objective": "mixed", "weight": 0.0},
        {"objective": "mixed", "kappa_c": 0.6, "weight": 3.0}, {"objective": "mixed", "K": 1.0, "L": 1.0, "U": 1.0},
    ],
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


MIXED = {**SETTINGS, "objective": "mixed", "weight": 3.0, "temperature": 0.4}


@pytest.fixture(scope="module")
def mixed():
    return answers.answer(MIXED)


def test_a_mixed_answer_is_a_run_with_its_predictions(mixed):
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    field = reduced.MixedOrbitField(problem, 3.0, 0.4, nodes=_run.FEW)
    run = reduced.flow(field, **{**field.run_options(problem), "rtol": _run.ROUGH})
    assert mixed["t"] == run.t.tolist() and mixed["events"] == run.meta["events"]
    assert mixed["attention"]["global"] == run.attention[:, 0, :, 1].mean(axis=1).tolist()  # of queries that are local in both
    assert mixed["terms"]["contrastive"] == run.terms["contrastive"].tolist()
    said = mixed["predictions"]
    assert said["critical_weight"] == theory.critical_weight(problem)
    assert said["collapsed_attention"] == theory.collapsed_attention(problem, 3.0, 0.4, finite=True)
    assert said["escape_time_large"] == theory.mixed_escape_time(problem, 3.0, 0.4)
    assert mixed["events"]["collapse"] is not None and said["global_depth"] is None
    other = answers.answer({**MIXED, "weight": 0.2})  # control
    assert other["events"]["collapse"] is None and other["loss"] != mixed["loss"]
    assert "two phases for large P without contrast; this run: delayed." in _texts.facts(mixed)
    assert "without contrast; this run: two phases." in _texts.facts(other)


def test_few_nodes_and_a_rough_flow_change_little(mixed):
    """Against the field's own nodes and accuracy: events within 1 %, half a pixel of a logarithmic axis of 14 decades."""
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    field = reduced.MixedOrbitField(problem, 3.0, 0.4)
    events = reduced.flow(field, **field.run_options(problem)).meta["events"]
    for name in ("escape", "collapse"):
        assert mixed["events"][name] == pytest.approx(events[name], rel=1e-2)
        assert mixed["events"][name] != events[name]  # they are not the same run


def test_the_command_and_the_python_make_the_same_mixed_run(mixed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*shlex.split(mixed["command"])[1:], "--json", "--quiet"]) == 0
    said = json.loads(out.getvalue())
    assert said["loss"] == mixed["loss"][-1] and said["queries"][0]["collapse_time"] == mixed["events"]["collapse LL"]
    space = {}
    exec(mixed["python"], space)
    assert space["run"].loss.tolist() == mixed["loss"]
    names = _run.csv(mixed).splitlines()[0].split(",")
    assert {"loss", "loss_reconstruction", "loss_contrastive"} <= set(names)
