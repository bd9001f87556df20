"""Exponents: the rule on functions whose limits are known, the measured ones against derived ones, and what must not agree."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate

import dynsim
from dynsim import sweep, theory
from dynsim.analysis import scaling
from dynsim.cli import main

X = np.geomspace(1e3, 1e30, 28)


@pytest.mark.parametrize(
    "limit, y",
    [
        (0.6, 3 * X**0.6),
        (0.6, X**0.6 * (1 + X**-0.05)),  # slow powers, either sign
        (-0.4, X**-0.4 / (1 + 5 * X**-0.1)),
        (-0.4, X**-0.4 * np.log(X)),  # a logarithm
        (-0.4, X**-0.4 / np.log(X)),
    ],
)
def test_the_error_holds_the_limit(limit, y):
    value, error, window, slopes = scaling.exponent(X, y)
    assert abs(value - limit) <= error
    assert window == pytest.approx((1e10, 1e30)) and len(slopes) == 20
    assert value == pytest.approx(np.log(y[-1] / y[-2]) / np.log(10))
    # control: what the local slopes do not come near is outside, by more than the error's own size where y is a pure power
    assert abs(value - (limit + 0.06)) > error


@pytest.mark.parametrize(
    "x, y, message",
    [
        (X[-20::7], X[-20::7], "at least 4 rising values"),
        (X[::-1], X, "rising"),
        (X, np.where(X > 1e20, np.nan, X), "finite values"),
        (np.linspace(0.1, 1, 9), np.ones(9), "x > 1"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(dynsim.InputError, match=message):
        scaling.exponent(x, y)


@pytest.mark.parametrize(
    "K, kappa_c, kappa_s, law", [(1, 0.9, 0.4, dynsim.Uniform()), (1, 0.6, 0.4, dynsim.Uniform()), (2, 0.9, 0.3, dynsim.Fixed())]
)
def test_measured_exponents_are_the_derived_ones(K, kappa_c, kappa_s, law):
    problem = dynsim.Problem(K=K, gamma=0.75, P=1e30, kappa_c=kappa_c, kappa_s=kappa_s, amplitude=law)
    rows = scaling.measure(problem, sweep.span(1e10, 1e30, 5, log=True))
    for row in rows:
        assert row.agrees, row
        # the closed form has corrections up to some order: it is nearer to the measurement than the limit is, or within 1e-4
        assert abs(row.exponent - row.expected) < max(1e-4, abs(row.exponent - row.derived))
        assert not replace(row, derived=row.derived + 0.06).agrees  # control: the widest error, PP's, is below that
    escape = rows[0]
    for wrong in (1 - (kappa_s + 0.01), 1 - kappa_c, 2 * (1 - kappa_c)):  # control: another kappa_s, or the wrong area's
        assert not replace(escape, derived=wrong).agrees


def test_depth_at_the_boundary_does_not_scale():
    problem = dynsim.Problem(K=1, gamma=0.75, P=1e30, kappa_c=0.7, kappa_s=0.4, amplitude=dynsim.Fixed(1.0))
    row = scaling.measure(problem, sweep.span(1e10, 1e30, 5, log=True), quantities=["depth"])[0]
    assert theory.regime(problem) == "boundary" and abs(row.derived) < 1e-12 and row.agrees and abs(row.exponent) < 1e-5


def test_the_fall_is_measured_from_the_depth():
    """R for fixed z is elementary; for z from U[L, U] against a plain sum."""
    fixed = dynsim.Problem(P=1e6, amplitude=dynsim.Fixed(1.5))
    assert scaling._fallen(fixed, -2.0) == pytest.approx((np.exp(6.0) - 1) / (2 * 1.5**4), rel=1e-12)
    random = dynsim.Problem(P=1e6, amplitude=dynsim.Uniform(0.5, 1.5))
    phi, z = np.linspace(-2, 0, 4001), np.linspace(0.5, 1.5, 2001)
    mean = integrate.trapezoid(z**3 * np.exp(2 * z * phi[:, None]), z, axis=1)  # density 1; trapezoids: error 1e-7
    assert scaling._fallen(random, -2.0) == pytest.approx(integrate.trapezoid(1 / mean, phi), rel=1e-6)


def test_measure_refuses_what_it_cannot_do():
    problem = dynsim.Problem(K=1, gamma=0.75, P=1e6, kappa_s=0.05)
    with pytest.raises(dynsim.InputError, match="own attention must pass one half, at P=1000"):
        scaling.measure(problem, [1e3, 1e4, 1e5, 1e6])  # own areas of one or two patches are mostly masked
    with pytest.raises(dynsim.InputError, match="quantities are"):
        scaling.measure(problem, quantities=["mass"])
    with pytest.raises(dynsim.InputError, match="at least 4 rising values"):
        scaling.measure(dynsim.Problem(K=1, P=1e8), [1e8], quantities=["depth"])


def table_of(ratio, P):
    """What sweep.load would give where the starting speeds are in the ratio(P, Delta)."""
    P, c, s = (axis.ravel() for axis in np.meshgrid(P, np.linspace(0.6, 0.95, 30), (0.2, 0.35, 0.5), indexing="ij"))
    fill = {"key": "", "K": 1.0, "gamma": 0.75, "L": 1.0, "U": 1.0, "seed": 0}
    table = {name: np.full(len(P), value) for name, value in fill.items()}
    speeds = {"speed_own": np.ones(len(P)), "speed_global": -ratio(P, 1 - s - 2 * (1 - c))}
    return {**table, "P": P, "kappa_c": c, "kappa_s": s, **speeds}


def test_boundary_is_where_the_speeds_cross():
    P = [1e6, 1e12, 1e24]
    found = scaling.boundary(table_of(lambda P, gap: 0.25 * P**gap, P))  # linear in log: the interpolation is exact
    np.testing.assert_allclose(found.Delta, np.log(4) / np.log(P), rtol=1e-9)
    assert abs(found.limit) < 1e-9 and found.slope == pytest.approx(np.log(4)) and max(found.spread) < 1e-9
    off = scaling.boundary(table_of(lambda P, gap: 0.25 * P ** (gap - 0.02), P))  # control: another line in the plane
    assert off.limit == pytest.approx(0.02) and abs(off.limit) > 10 * off.error
    with pytest.raises(dynsim.InputError, match="at least 3 values of P"):
        scaling.boundary(table_of(lambda P, gap: P**gap, P[:2]))
    with pytest.raises(dynsim.InputError, match="must cross the grid"):
        scaling.boundary(table_of(lambda P, gap: P ** (gap + 9), P))


def test_boundary_of_a_sweep_tends_to_delta_zero(tmp_path):
    """From trajectories alone. Beyond rho P^Delta = 1 the speeds have corrections P^-(1 - kappa_c), below 1e-3 from P = 1e12."""
    grid = {"K": 1, "gamma": 0.75, "P": (1e12, 1e18, 1e30), "kappa_c": (0.6, 0.7, 0.8), "kappa_s": (0.25, 0.4)}
    sweep.run(tmp_path / "a.db", grid, workers=1)
    table = sweep.load(tmp_path / "a.db")
    found = scaling.boundary(table)
    assert abs(found.limit) <= max(found.error, 1e-4) < 1e-3
    assert found.slope == pytest.approx(np.log(4), rel=0.01)
    np.testing.assert_allclose(found.Delta, [scaling.expected_boundary(dynsim.Problem(1, 0.75, P)) for P in found.P], atol=3e-4)
    # the same trajectories, without looking at speeds: beyond the boundary the global correlation is down at the escape
    above = table["gap"] > np.log(4) / np.log(table["P"])
    assert -table["depth"][above].max() > 0.5 > -table["depth"][~above].min()  # (9): (1 / 2z) log 3 = .55 for z = 1


def test_the_command(capsys):
    argv = ["scaling", "--P", "1e8:1e24:7:log", "--kappa-c", "0.8"]
    assert main([*argv, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["quantity"] for row in record["exponents"]] == list(scaling.QUANTITIES)
    assert all(row["agrees"] for row in record["exponents"]) and record["information_gap"] == pytest.approx(0.2)
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "escape_time" in out and "0.60000" in out and "NO" not in out and "published bound" in out
    assert main(["scaling", "--P", "1e8,1e9"]) == 2


def test_the_command_fails_where_an_exponent_does(capsys, monkeypatch):
    true = scaling._fallen
    monkeypatch.setattr(scaling, "_fallen", lambda problem, depth: true(problem, 1.05 * depth))  # a depth 5 % off
    assert main(["scaling", "--P", "1e8:1e24:7:log", "--kappa-c", "0.8"]) == 1 and "NO" in capsys.readouterr().out


def test_exponents_of_the_collapse():
    """P to 1e20 and fixed amplitudes: closed forms have the sizes of this P, and leave out its PP and local areas."""
    problem = dynsim.Problem(K=3, gamma=0.75, kappa_c=0.8, kappa_s=0.3, amplitude=dynsim.Fixed(1.0))
    P = sweep.span(1e8, 1e20, 5, log=True)
    collapse, delayed = scaling.measure(problem, P, scaling.COLLAPSE, weight=1.5)
    assert (collapse.derived, delayed.derived) == (pytest.approx(1.4), pytest.approx(0.7))
    for row in (collapse, delayed):
        assert row.agrees and abs(row.exponent - row.expected) < 2e-3, row
        for wrong in (1 + (1 - 0.8), 2 * (1 - 0.8), 1 - 0.8):  # controls: one power of the share less, none of P, the wrong area
            assert not replace(row, derived=wrong).agrees
    assert delayed.y[-1] > 1.5 * theory.escape_time(replace(problem, P=1e20))  # it is the delayed one
    with pytest.raises(dynsim.InputError, match="the escape must come"):
        scaling.measure(problem, [1e8, 1e10], ["delayed_escape"], weight=50.0)


def test_the_command_measures_the_collapse_at_a_weight(capsys):
    sizes = "--K 2 --P 1e8:1e24:5:log --L 1 --U 1"
    assert main(["scaling", *sizes.split(), "--weight", "2", "--temperature", "0.4", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["quantity"] for row in record["exponents"]] == [*scaling.QUANTITIES, *scaling.COLLAPSE]
    assert record["weight"] == 2.0 and record["temperature"] == 0.4
