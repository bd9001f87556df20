"""Figures hold what the runs and the theory say: data of the drawn lines against the trajectory, not pictures.

The numbers are those that were put in, so equality is to rounding of a mean (1e-12).
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import dynsim
from dynsim import full, plots, reduced, theory
from dynsim.analysis import generalisation, phases
from dynsim.plots import overlay
from dynsim.sweep.methods import find


@pytest.fixture(scope="module")
def orbits():
    """Two query types at P = 1e6, Delta > 0."""
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    end = 30 * theory.escape_time(problem)
    return problem, [reduced.flow(reduced.OrbitField(problem, query), t_end=end, keep=40) for query in ("LL", "LG", "GG")]


@pytest.fixture(scope="module")
def explicit(problem, part, data):
    return reduced.descend(reduced.EmpiricalField(part, data), eta=2, steps=40)


def drawn(ax, color, marker="None"):
    """x and y of the lines of a colour that hold data."""
    lines = [line for line in ax.lines if line.get_color() == color and line.get_marker() == marker]
    return [line.get_data() for line in lines if len(line.get_xdata()) > 2]


def levels(ax, horizontal):
    """Where the straight lines across the whole panel lie."""
    at = 1 if horizontal else 0
    return [line.get_data()[at][0] for line in ax.lines if len(line.get_xdata()) == 2 and len(set(line.get_data()[at])) == 1]


def test_summary_of_orbits(orbits):
    problem, (local, mixed, far) = orbits
    figure = plots.summary([far, mixed, local], problem)
    fp, pp, attention, loss = figure.axes
    own = drawn(fp, plots.BLUE)[0]
    assert np.array_equal(own[0], local.t) and np.allclose(own[1], local.fp[:, 0, 0], rtol=0, atol=1e-12)
    assert np.allclose(drawn(fp, plots.RED)[0][1], local.fp[:, :, 1].mean(axis=1), rtol=0, atol=1e-12)
    assert np.allclose(drawn(fp, plots.BLUE, "o")[0][1], far.fp[:, 0, 0], rtol=0, atol=1e-12)
    assert np.allclose(drawn(attention, plots.BLUE)[0][1], local.attention[:, 0, 0], rtol=0, atol=1e-12)
    assert np.array_equal(drawn(loss, plots.BLACK)[0][1], local.loss)
    assert np.array_equal(drawn(loss, plots.BLACK, "o")[0][1], far.loss)
    assert not np.allclose(drawn(fp, plots.BLUE)[0][1], mixed.fp[:, 0, 0])  # control: the mixed kind is not the one drawn
    for ax in figure.axes:
        assert {theory.escape_time(problem), theory.escape_time(problem, finite=True)} <= set(levels(ax, horizontal=False))
    assert theory.global_depth(problem) in levels(fp, horizontal=True)
    assert theory.loss_floor(problem, query="LL") in levels(loss, horizontal=True)


def test_phases_are_shaded_where_they_are(orbits):
    problem, (local, *_) = orbits
    figure = plots.summary(local, problem)
    found = phases.find(local)
    for ax in figure.axes:
        corners = [patch.get_patch_transform().transform(patch.get_path().vertices) for patch in ax.patches]
        spans = [(xy[:, 0].min(), xy[:, 0].max()) for xy in corners]
        assert [(phase.start, phase.end) for phase in found] == [pytest.approx(span) for span in spans]
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names[:2] == ["I", "II"]


def test_summary_of_an_explicit_run(problem, part, explicit):
    figure = plots.summary(explicit, problem, part)
    fp = figure.axes[0]
    query, cluster = np.nonzero(part.labels.T > 0)
    own = explicit.fp[:, query, part.own[cluster, query]]
    assert np.allclose(drawn(fp, plots.BLUE)[0][1], own.mean(axis=1), rtol=0, atol=1e-12)
    band = fp.collections[0].get_paths()[0].vertices[:, 1]
    low, high = np.percentile(own, [5, 95], axis=1)
    assert (band.min(), band.max()) == pytest.approx((low.min(), high.max()))
    assert theory.loss_floor(problem, part) in levels(figure.axes[3], horizontal=True)
    with pytest.raises(dynsim.InputError, match="which lies where"):
        plots.summary(replace(explicit, layout=None), problem)
    same = plots.summary(explicit, problem).axes[0]
    np.testing.assert_array_equal(drawn(same, plots.BLUE)[0][1], drawn(fp, plots.BLUE)[0][1])
    with pytest.raises(dynsim.InputError, match="one run"):
        plots.summary([explicit, explicit], problem, part)


def test_short_runs_are_drawn_too(problem, part, data):
    field = reduced.EmpiricalField(part, data)
    for steps in (0, 1):
        plots.summary(reduced.descend(field, steps=steps), problem, part).canvas.draw()


def test_bytes_repeat(tmp_path):
    def write(name, y=1.0):
        figure, ax = plots.figure()
        ax.plot([0, 1], [0, y], label="$y$")
        ax.fill_between([0, 1], [0, y], alpha=0.2)
        plots.legend(ax)
        plots.save(figure, tmp_path / name)
        return (tmp_path / name).read_bytes()

    for ending in ("png", "pdf", "svg"):
        assert write(f"a.{ending}") == write(f"b.{ending}") != write(f"c.{ending}", y=0.9)  # control: other data, other bytes
    with pytest.raises(dynsim.InputError, match="png, pdf or svg"):
        write("a.txt")


def test_no_global_state(problem, part, explicit):
    before = dict(matplotlib.rcParams)
    made, ax = plots.figure()
    plots.summary(explicit, problem, part)
    assert dict(matplotlib.rcParams) == before
    assert made.get_size_inches()[0] == plots.SINGLE and ax.xaxis.label.get_size() == 8
    assert "pyplot" not in Path(plots.__file__).read_text(encoding="utf-8")


def test_deviation(part, data, explicit):
    reference = full.descend(part, data, eta=2, steps=40)
    figure = plots.deviation(explicit, reference, {"fp": 1e-12})
    apart = np.abs(explicit.fp - reference.fp).reshape(len(explicit), -1).max(axis=1)
    below = figure.axes[3]
    assert np.array_equal(drawn(below, plots.BLACK)[0][1], np.maximum(apart, overlay.TINY))
    assert 1e-12 in levels(below, horizontal=True) and apart.max() < 1e-12
    other = full.descend(part, data, eta=2.2, steps=40, keep=explicit.step)
    with pytest.raises(dynsim.InputError, match="saved at the same times"):  # control: another step size has other times
        plots.deviation(explicit, other)


def test_attention_map(part):
    made, ax = plots.figure()
    row = np.linspace(0, 1, part.P)
    image = plots.attention_map(ax, row, part.grid, query=7, labels=part.labels[0], vmax=1)
    assert np.array_equal(image.get_array().ravel(), row)
    x, y = next(line.get_data() for line in ax.lines if line.get_marker() == "x")
    assert y[0] * part.grid[1] + x[0] == 7
    labels = part.labels[0].reshape(part.grid)
    edges = (labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum()
    (drawn,) = (line.get_data() for line in ax.lines if line.get_color() == "white")
    assert np.isnan(drawn[0]).sum() == np.isnan(drawn[1]).sum() == edges  # a gap behind each
    lengths = np.hypot(*np.diff(drawn, axis=1))
    assert np.array_equal(lengths[np.isfinite(lengths)], np.ones(edges))


def test_phase_diagram():
    grid = {"P": 1e6, "kappa_c": (0.5, 0.7, 0.9), "kappa_s": (0.3, 0.5)}
    rows = []
    for kappa_c, kappa_s in product(grid["kappa_c"], grid["kappa_s"]):
        problem = dynsim.Problem(1, 0.8, grid["P"], kappa_c, kappa_s, dynsim.Fixed(1.0))
        rows.append({**find("orbit")(problem), "P": grid["P"], "kappa_c": kappa_c, "kappa_s": kappa_s})
    table = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    made, ax = plots.figure()
    mesh = plots.phase_diagram(ax, table)
    found = mesh.get_array().reshape(2, 3)
    for i, kappa_s in enumerate(grid["kappa_s"]):
        for j, kappa_c in enumerate(grid["kappa_c"]):
            row = (table["kappa_c"] == kappa_c) & (table["kappa_s"] == kappa_s)
            assert found[i, j] == pytest.approx(-table["depth"][row][0] / np.log(1e6))
    parted = next(c for c in ax.collections if c is not mesh).get_paths()[0].vertices
    gap = (1 - parted[:, 1]) - 2 * (1 - parted[:, 0])
    # ratio of the first speeds = rho P^Delta up to O(1 / C_local); at P = 1e6, C_local = 63: .2 / log P
    assert np.abs(gap - np.log(1 / 0.2) / np.log(1e6)).max() < 0.02
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--").get_data()
    assert np.allclose((1 - dashed[1]) - 2 * (1 - dashed[0]), 0)
    with pytest.raises(dynsim.InputError, match="single P"):
        plots.phase_diagram(ax, {**table, "P": np.arange(len(table["P"]))})


def test_training_and_population_loss_have_panels(problem, part, data, explicit):
    field = reduced.EmpiricalField(part, data)
    gap = generalisation.of_run(field, explicit, problem)
    figure = plots.summary(explicit, problem, gap=gap)
    assert len(figure.axes) == 6 and len(plots.summary(explicit, problem).axes) == 4
    for name, colour in (("training", plots.BLACK), ("population", plots.ORANGE)):
        (line,) = drawn(figure.axes[4], colour)
        np.testing.assert_array_equal(line[1], getattr(gap, name))
        assert getattr(gap, f"{name}_floor") in levels(figure.axes[4], horizontal=True)
        (line,) = drawn(figure.axes[5], colour)
        np.testing.assert_allclose(line[1], getattr(gap, name) - getattr(gap, f"{name}_floor"), atol=1e-15)
    assert not np.array_equal(gap.training, gap.population)


def test_a_loss_below_zero_is_within_its_panel():
    problem = dynsim.Problem(K=2, P=1e6)
    field = dynsim.reduced.ContrastiveOrbitField(problem)
    run = dynsim.reduced.flow(field, **field.run_options(problem))
    made = dynsim.plots.summary(run, problem)
    (panel,) = [ax for ax in made.axes if ax.get_ylabel() == "loss"]
    low, high = panel.get_ylim()
    assert low <= run.loss.min() < 0 and high >= run.loss.max()
