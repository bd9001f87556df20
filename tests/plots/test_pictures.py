"""Runs on pictures: what is drawn against attention maps, measures and the prediction of areas."""

import numpy as np
import pytest

import dynsim
from dynsim import InputError, plots
from dynsim.analysis import areas, image_attention
from dynsim.plots import pictures
from dynsim.validation import prediction


@pytest.fixture(scope="module")
def parts():
    left, right = np.random.default_rng(0).uniform(0.5, 1.5, size=(2, 60, 1, 1))
    stripes = np.tile([1.0, 0.0], 4)
    raw = np.where(np.arange(8) < 6, left * stripes, right * stripes[:, None])
    images = dynsim.Images.cut(raw, patch=2, gamma=0.5, centre=False)
    run = dynsim.reduced.descend(dynsim.reduced.ImageField(images, threads=1), eta=4.0, steps=100)
    return raw, images, run


def test_maps_and_measures_are_drawn(parts):
    raw, images, run = parts
    figure = plots.picture_summary(run, images, row=5, queries=np.flatnonzero(images.masked[5])[[0, 3]])
    axes = np.reshape(figure.axes, (3, 5))
    shown = axes[0, 0].images[0].get_array()
    np.testing.assert_allclose(shown, (raw[5] - raw[5].min()) / np.ptp(raw[5]), atol=1e-12)
    assert ((axes[1, 0].images[1].get_array()[..., 3] > 0).reshape(-1) == images.masked[5]).all()
    attn = image_attention.attention_map(images, run.fp[-1], run.pp[-1], row=5)[np.flatnonzero(images.masked[5])[3]]
    veil = axes[1, 2].images[1].get_array()[..., 3].reshape(-1)
    np.testing.assert_allclose(veil, 0.9 * attn / max(attn.max(), 3 / 16), atol=1e-12)
    assert np.ptp(axes[0, 2].images[1].get_array()[..., 3]) == 0 < np.ptp(veil)  # all keys alike at the start
    measured = image_attention.overview(images, run)
    for ax, name in zip(axes[2, 1:], ("distance", "entropy", "mutual_information", "similarity"), strict=True):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), measured[name])
    np.testing.assert_array_equal(axes[2, 0].lines[0].get_ydata(), run.loss)
    assert not axes[0, 3].axison and "mean" in axes[0, 4].get_title()


def test_predictions_of_areas_are_drawn(parts):
    _, images, run = parts
    found = areas.fit(images, K=1, bootstrap=0)
    said = prediction.predicted(found, run, threads=1)
    axes = np.reshape(plots.picture_summary(run, images, predicted=(found, said)).axes, (3, 5))
    own, model = axes[1, 4].lines[:2]
    np.testing.assert_array_equal(own.get_ydata(), said.own)
    np.testing.assert_array_equal(model.get_ydata(), said.own_model)
    assert axes[0, 4].get_title() == "areas"
    at = [line.get_xdata()[0] for line in axes[1, 4].lines[3:]]
    assert at == [t for t in (said.escape_finite, said.escape_asymptotic) if t <= run.t[-1]] != []


def test_what_is_not_there_is_refused(parts):
    _, images, run = parts
    shown = int(np.flatnonzero(~images.masked[0])[0])
    with pytest.raises(InputError, match="queries are one to three masked patches of the row"):
        plots.picture_summary(run, images, queries=[shown])
    with pytest.raises(InputError, match="a run is drawn on its images"):
        plots.picture_summary(run, dynsim.Images.cut(np.random.default_rng(0).random((6, 8, 8)), patch=4))


def test_queries_are_masked_patches_and_differ():
    """On a small grid the patch nearest to two places on the diagonal is taken once; a single masked patch is one query."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        images = dynsim.Images.cut(rng.random((2, 6, 6)), patch=2, gamma=0.4, seed=seed)
        found = pictures._diagonal(images, 0)
        assert len(set(found)) == 3 and images.masked[0, found].all()
    one = dynsim.Images.cut(rng.random((2, 6, 6)), patch=2, gamma=0.1)
    assert pictures._diagonal(one, 1) == np.flatnonzero(one.masked[1]).tolist()
