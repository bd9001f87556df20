"""Runs on pictures along fitted areas, and what the areas predict of them."""

import numpy as np
import pytest

import dynsim
from dynsim.analysis import areas, attention, phases
from dynsim.validation import prediction

PROBLEM = dynsim.Problem(K=2, gamma=0.5, P=16, kappa_c=0.75, kappa_s=0.5)


def model_pictures(noise, n=80):
    part = dynsim.Partition.blocks(PROBLEM, 0)
    data = dynsim.sample(PROBLEM, part, n=n, seed=0)
    rng = np.random.default_rng(1)
    v = np.linalg.qr(rng.normal(size=(part.F + 2, part.F)))[0].T
    z = np.take_along_axis(data.z, part.labels[data.cluster], axis=1)
    X = z[:, :, None] * v[part.own[data.cluster]]
    return dynsim.Images(X + noise * rng.normal(size=X.shape), data.masked, part.grid)


@pytest.fixture(scope="module")
def exact():
    """Pictures without noise, their areas, and a run on them past the escape."""
    images = model_pictures(0.0)
    found = areas.fit(images, K=2, bootstrap=0)
    run = dynsim.reduced.descend(dynsim.reduced.ImageField(images, threads=1), eta=4.0, steps=150, keep=10)
    return found, run


def test_pictures_of_the_model_are_what_their_areas_say(exact):
    """Without noise the fit is the truth, and both runs are one, in different coordinates: equal to rounding over 150 steps."""
    found, run = exact
    said = prediction.predicted(found, run, threads=1)
    assert said.own[-1] > 0.6 and said.deviation < 1e-9
    assert np.allclose(said.loss, said.loss_model, rtol=1e-9)
    assert said.escape == pytest.approx(said.escape_model, rel=1e-9) and said.ratio == pytest.approx(1.0, rel=1e-9)
    assert said.Delta == found.problem.Delta and said.regime == dynsim.theory.regime(found.problem)
    assert said.escape_asymptotic == dynsim.theory.escape_time(found.problem)
    assert len(repr(said).splitlines()) <= 5
    plain = said.to_dict()
    assert plain["escape_time"] == said.escape and plain["own_attention"] == [said.own[0], said.own[-1]]
    assert plain["deviation"] == said.deviation and plain["escape_time_closed"] == said.escape_finite


def test_noise_is_not_predicted():
    """The negative control: the areas know nothing of the noise, and the run on the pictures learns otherwise."""
    images = model_pictures(0.3)
    found = areas.fit(images, K=2, bootstrap=0)
    run = dynsim.reduced.descend(dynsim.reduced.ImageField(images, threads=1), eta=2.0, steps=150, keep=10)
    assert prediction.predicted(found, run, threads=1).deviation > 0.02


def test_attention_is_that_of_single_pictures(exact):
    """Against the slow, readable way: area attention of the images of the model, one image after another."""
    found, run = exact
    seen = prediction.on_areas(found, run)
    expected = attention.area_attention(found.part, seen.fp[-1], seen.pp[-1], found.data)
    assert np.allclose(seen.attention[-1], expected, atol=1e-12, equal_nan=True)
    assert seen.fp.shape == (len(run), 16, found.part.F) and phases.find(seen, found.part).regime in ("one phase", "two phases")


def test_attention_in_blocks(exact, monkeypatch):
    found, run = exact
    whole = prediction.on_areas(found, run)
    monkeypatch.setattr(prediction, "BLOCK", 1000)
    calls = []
    parts = prediction.on_areas(found, run, lambda done, total: calls.append((done, total)))
    assert np.allclose(parts.attention, whole.attention, atol=1e-13, equal_nan=True)
    assert calls[-1] == (len(run), len(run))


def test_too_short_to_escape(exact):
    found, _ = exact
    run = dynsim.reduced.descend(dynsim.reduced.ImageField(found.images, threads=1), eta=0.1, steps=1)
    calls = []
    said = prediction.predicted(found, run, threads=1, progress=lambda done, total: calls.append(done / total))
    assert said.escape is None and np.isnan(said.ratio) and said.regime_run is None and "pictures none" in repr(said)
    assert calls == sorted(calls) and calls[-1] == 1.0


def test_passes():
    t = np.array([0.0, 1.0, 2.0])
    assert prediction._passes(t, np.array([0.0, 0.25, 0.75])) == 1.5
    assert prediction._passes(t, np.array([0.5, 0.6, 0.7])) == 0.0
    assert prediction._passes(t, np.array([0.1, 0.2, 0.3])) is None


def test_refuses_other_runs(exact):
    found, run = exact
    field = dynsim.reduced.EmpiricalField(found.part, found.data, threads=1)
    on_areas = dynsim.reduced.descend(field, steps=1)
    with pytest.raises(dynsim.InputError, match="the run must be one on pictures"):
        prediction.predicted(found, on_areas)
    start = dynsim.reduced.descend(dynsim.reduced.ImageField(found.images, threads=1), steps=0)
    with pytest.raises(dynsim.InputError, match="at least 1 step"):
        prediction.predicted(found, start)
    field = dynsim.reduced.ImageField(found.images, threads=1)
    other = dynsim.reduced.descend(field, steps=2, optimiser=dynsim.reduced.Momentum(), eta=0.1)
    with pytest.raises(dynsim.InputError, match="plain gradient descent, got a run by descend with momentum"):
        prediction.predicted(found, other)
    with pytest.raises(dynsim.InputError, match="got a run by flow"):
        prediction.predicted(found, dynsim.reduced.flow(field, 1.0, keep=2))


def test_what_the_run_holds_its_areas_hold(exact):
    """With PP held at zero in the run both runs are one again; without the hold on areas they would part."""
    found, free = exact
    field = dynsim.reduced.ImageField(found.images, threads=1, hold="pp")
    run = dynsim.reduced.descend(field, eta=4.0, steps=150, keep=10)
    said = prediction.predicted(found, run, threads=1)
    assert said.deviation < 1e-9 < 1e-3 < np.abs(said.own - prediction.predicted(found, free, threads=1).own).max()
