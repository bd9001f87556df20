"""Bounds of one's own: a power law measured exactly, where the right verdict is known."""

import dataclasses
import json

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.analysis import bounds, scaling
from dynsim.cli import main

X = np.geomspace(1e6, 1e30, 9)
PROBLEM = dynsim.Problem(K=1, gamma=0.75)


def power(exponent, constant=3.0, meaning="t_esc ~ P^x", quantity="escape_time"):
    """What scaling.measure would give for y = constant x^exponent."""
    value, error, window, slopes = scaling.exponent(X, constant * X**exponent)
    y = tuple(constant * X**exponent)
    return scaling.Exponent(quantity, meaning, tuple(X), y, window, slopes, value, error, exponent, exponent)


@pytest.mark.parametrize(
    "claim, lower, verdict, off",
    [
        (1.2, False, "bounds", 0.6),
        (0.6, False, "bounds, tight", 0.0),
        (0.59, False, "does not bound", -0.01),
        (0.59, True, "bounds", 0.01),
        (0.6, True, "bounds, tight", 0.0),
        (1.2, True, "does not bound", -0.6),
    ],
)
def test_an_exponent(claim, lower, verdict, off):
    found = bounds.hold(power(0.6), claim, lower=lower)
    assert found.verdict == verdict and found.off == pytest.approx(off, abs=1e-9)
    assert found.factor == pytest.approx((1e30 / 1e12) ** off, rel=1e-4)  # the window begins at x_max^(1/3), here the point 1e12
    assert found.to_dict()["verdict"] == verdict and json.loads(json.dumps(found.to_dict()))["lower"] is lower


def test_a_constant_meets_what_was_measured():
    """Of a curve that is no pure power: from where the window begins to the largest x, as measured."""
    y = np.array([3 * x**0.6 * np.log(x) for x in X])
    row = dataclasses.replace(power(0.6), y=tuple(y))
    i = int(np.abs(np.log(np.array(X) / row.window[0])).argmin())
    expected = y[i] * (X[-1] / X[i]) ** 1.2 / y[-1]
    assert bounds.hold(row, 1.2).factor == pytest.approx(expected) != pytest.approx((row.window[1] / row.window[0]) ** 0.6)
    for steep in (17.0, 1e300):
        assert bounds.hold(row, steep).verdict == "bounds" and bounds.hold(row, -steep, lower=True).factor > 1e300


def test_a_function_has_its_constant():
    row = power(0.6)
    above = bounds.hold(row, lambda problem: 6 * problem.P**0.6, PROBLEM)
    assert above.verdict == "bounds, tight" and above.factor == pytest.approx(2)
    below = bounds.hold(row, lambda problem: 2.9 * problem.P**0.6, PROBLEM)  # control: the right exponent, a constant too small
    assert below.verdict == "does not bound" and below.factor == pytest.approx(2.9 / 3) and below.tight
    assert bounds.hold(row, lambda problem: 2.9 * problem.P**0.6, PROBLEM, lower=True).holds
    crossing = bounds.hold(row, lambda problem: 1e-3 * problem.P, PROBLEM)  # above at the largest P, not at all: 1 e3 < 3 e3.6
    assert not crossing.holds and crossing.factor > 1


def test_the_closed_form_is_within_its_corrections_of_the_measurement():
    P = [1e9, 1e12, 1e15, 1e18, 1e21]
    (row,) = scaling.measure(PROBLEM, P, ["escape_time"])
    assert bounds.hold(row, lambda problem: 1.1 * theory.escape_time(problem), PROBLEM).verdict == "bounds, tight"
    assert not bounds.hold(row, lambda problem: 0.9 * theory.escape_time(problem), PROBLEM).holds


@pytest.mark.parametrize(
    "row, claim, problem, message",
    [
        (power(0.6), "1.2", None, "an exponent or a function"),
        (power(0.6), float("nan"), None, "an exponent or a function"),
        (power(0.6), lambda problem: 1.0, None, "needs the problem"),
        (power(-1.0, meaning="loss - floor ~ t^x"), lambda problem: 1.0, PROBLEM, "measurement along P, got problem=Problem"),
        (power(0.6), lambda problem: -1.0, PROBLEM, "positive and finite"),
        (power(0.6), lambda problem: "a", PROBLEM, "must return a number"),
        (power(0.6), lambda problem: 10**400, PROBLEM, "must return a number"),
    ],
)
def test_what_is_no_bound_is_refused(row, claim, problem, message):
    with pytest.raises(dynsim.InputError, match=message):
        bounds.hold(row, claim, problem)


def test_the_command(capsys):
    argv = ["scaling", "--P", "1e8:1e24:7:log", "--kappa-c", "0.8", "--json"]
    assert main([*argv, "--bound", "escape_time=1.2", "--lower-bound", "depth=0"]) == 0
    above, below = json.loads(capsys.readouterr().out)["bounds"]
    assert above["verdict"] == below["verdict"] == "bounds" and above["off"] == pytest.approx(0.6, abs=1e-2)
    assert main([*argv[:-1], "--bound", "escape_time=0.5"]) == 1
    assert "escape_time from above by x^0.5: does not bound; exponents 0.1 apart" in capsys.readouterr().out
    for text in ("escape_time", "escape_time=", "escape_time=nan", "speed=1", "=1", "escape_time=1=2"):
        assert main(["scaling", "--bound", text]) == 2
        assert "a bound is NAME=X" in capsys.readouterr().err
