"""Areas over mean pictures: what is drawn against the partition and the pictures."""

import numpy as np
import pytest

import dynsim
from dynsim import plots
from dynsim.analysis import areas
from dynsim.plots.areas import pixels


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    left, right = rng.uniform(0.5, 1.5, size=(2, 60, 1, 1))
    stripes = np.tile([1.0, 0.0], 4)
    pictures = np.where(np.arange(8) < 6, left * stripes, right * stripes[:, None])
    return pictures, areas.fit(pictures, K=1, patch=2, bootstrap=0)


def test_area_map(found):
    pictures, est = found
    _, ax = plots.figure()
    image = plots.area_map(ax, est, 0)
    mean = pictures.mean(axis=0)
    assert np.allclose(image.get_array(), (mean - mean.min()) / np.ptp(mean), atol=1e-12)
    tint = ax.images[1].get_array()
    assert tint.shape == (4, 4, 4) and (tint[:, :3, 3] == 0).all() and (tint[:, 3, 3] > 0).all()  # the last column is local
    lines = np.array([line.get_xydata() for line in ax.lines])
    assert len(lines) == 4 and (lines[:, :, 0] == 2.5).all()  # one border of four patches
    assert {line.get_color() for line in ax.lines} == {plots.RED}
    with pytest.raises(dynsim.InputError, match="cluster numbers one of K=1"):
        plots.area_map(ax, est, 1)


def test_area_maps_are_written(found, tmp_path):
    figure = plots.area_maps(found[1])
    assert figure.axes[0].get_title() == "cluster 0: 60 pictures, 2 areas"
    for name in ("a.png", "b.png"):
        plots.save(plots.area_maps(found[1]), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
def test_patches_make_the_picture_again(channels):
    """Cut by Images.cut and put together again; alpha is not shown. 2 and 4 channels are known by the side of a patch only."""
    pictures = np.random.default_rng(0).uniform(size=(4, 6, 9, *channels))
    patches = dynsim.Images.cut(pictures, patch=3, centre=False).patches[0]
    expected = (pictures[0] - pictures[0].min()) / np.ptp(pictures[0])
    if channels:
        expected = expected[:, :, :3] if channels[0] > 2 else expected[:, :, 0]
    for side in [3] if channels in [(2,), (4,)] else [3, None]:
        again = pixels(patches, (2, 3), side)
        assert again.shape == expected.shape and np.allclose(again, expected, atol=1e-12)


def test_patches_that_are_no_squares():
    """One shade a patch: its norm, the largest 1."""
    patches = np.outer(np.arange(6.0), np.ones(5))
    assert np.allclose(pixels(patches, (2, 3)), np.arange(6.0).reshape(2, 3) / 5)
    assert not pixels(np.zeros((6, 5)), (2, 3)).any()
