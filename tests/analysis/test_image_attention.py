"""Attention maps and their measures on any images: against a loop over keys, against the field, and what is refused."""

import numpy as np
import pytest

from dynsim import Images, InputError
from dynsim.analysis import attention, image_attention
from dynsim.reduced import ImageField, descend

RNG = np.random.default_rng(0)
IMAGES = Images.cut(RNG.normal(size=(12, 6, 9)), patch=3, gamma=0.5, masks=2, scale="unit")
FP, PP, TOKEN = RNG.normal(size=(6, 9)), RNG.normal(size=(6, 6)), RNG.normal(size=9)


def twin(row, token):
    """Softmax over keys of one row of the data, query by query; NaN where a patch is not masked."""
    X, masked = IMAGES.patches[IMAGES.image[row]], IMAGES.masked[row]
    attn = np.full((6, 6), np.nan)
    for p in np.flatnonzero(masked):
        weight = [np.exp(FP[p] @ (token if masked[q] else X[q]) + PP[p, q]) for q in range(6)]
        attn[p] = np.array(weight) / sum(weight)
    return attn


@pytest.mark.parametrize("token", [None, TOKEN])
def test_maps_against_their_twin(token):
    maps = [twin(row, np.zeros(9) if token is None else token) for row in range(IMAGES.n)]
    for row, expected in enumerate(maps):
        np.testing.assert_allclose(image_attention.attention_map(IMAGES, FP, PP, row, token), expected, atol=1e-14)
    np.testing.assert_allclose(image_attention.attention_map(IMAGES, FP, PP, token=token), np.nanmean(maps, axis=0), atol=1e-14)
    assert np.nanmax(np.abs(image_attention.attention_map(IMAGES, FP, PP, 0, -TOKEN) - maps[0])) > 0.01  # control
    measured = image_attention.measures(IMAGES, FP, PP, token)
    by_hand = {
        "distance": np.mean([np.nanmean(attention.distance(attn, IMAGES.grid)) for attn in maps]),
        "entropy": np.mean([np.nanmean(attention.entropy(attn)) for attn in maps]),
        "mutual_information": np.mean([attention.mutual_information(attn) for attn in maps]),
        "similarity": np.mean([attention.similarity(attn) for attn in maps]),
    }
    assert measured == pytest.approx(by_hand, rel=1e-12)


def test_mean_map_is_the_attention_of_the_field():
    run = descend(ImageField(IMAGES), eta=0.5, steps=60, keep=30)
    for fp, pp, seen in zip(run.fp, run.pp, run.attention, strict=True):
        np.testing.assert_allclose(image_attention.attention_map(IMAGES, fp, pp), seen, atol=1e-13)
    along = image_attention.along(IMAGES, run)
    assert along["entropy"][0] == pytest.approx(np.log(6)) and along["mutual_information"][0] == pytest.approx(0, abs=1e-12)
    assert along["similarity"][0] == pytest.approx(1) and (along["entropy"][1:] < np.log(6)).all()


def test_rows_count_by_their_weight():
    weight = np.arange(IMAGES.n) / np.arange(IMAGES.n).sum()
    weighted = Images(IMAGES.patches, IMAGES.masked, IMAGES.grid, weight, IMAGES.image)
    single = [image_attention.measures(IMAGES.take([row]), FP, PP)["distance"] for row in range(IMAGES.n)]
    assert image_attention.measures(weighted, FP, PP)["distance"] == pytest.approx(weight @ single)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: image_attention.attention_map(IMAGES, FP.T, PP), r"fp \(P, d\) and pp \(P, P\), a token \(d,\), with P=6, d=9"),
        (lambda: image_attention.attention_map(IMAGES, FP, PP, token=[1.0]), r"got \(6, 9\), \(6, 6\), \(1,\): take"),
        (lambda: image_attention.attention_map(IMAGES, FP, PP, row=24), "row numbers one of n=24 rows from 0, got 24"),
        (lambda: image_attention.measures(IMAGES, FP, PP[:5]), "correlations of one time are"),
    ],
)
def test_bad_input(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_overview_is_some_of_all():
    """Rows and times equally spaced, the first and the last among them; with room for all it is `along`."""
    images = Images.cut(np.random.default_rng(0).normal(size=(30, 6, 6)), patch=2)
    run = descend(ImageField(images), eta=1.0, steps=20, keep=1)
    whole, found = image_attention.along(images, run), image_attention.overview(images, run, times=30, rows=30)
    assert found.pop("t").tolist() == run.t.tolist()
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values)
    few = image_attention.overview(images, run, times=3, rows=4)
    some = image_attention.along(images.take([0, 9, 19, 29]), run)
    assert few["t"].tolist() == [0.0, 10.0, 20.0]
    np.testing.assert_array_equal(few["distance"], some["distance"][[0, 10, 20]])
    assert abs(few["distance"][-1] - whole["distance"][-1]) > 1e-6  # control: fewer rows are other numbers
