"""Images: how pictures are cut, converted, masked and read, and every rule with what breaks it."""

import sys

import numpy as np
import pytest

import dynsim
from dynsim import FileError, Images, InputError

PICTURES = np.random.default_rng(0).uniform(size=(6, 8, 12))
MASKED = np.array([[True, False, True], [False, True, False]])
PATCHES = np.random.default_rng(1).normal(size=(2, 3, 5))


def cut_twin(pictures, patch):
    """Patches of a picture (H, W, C), pixel by pixel."""
    H, W, C = pictures.shape[1:]
    patches = np.empty((len(pictures), H // patch * (W // patch), patch * patch * C))
    for i in range(len(pictures)):
        for y in range(H):
            for x in range(W):
                for c in range(C):
                    p = y // patch * (W // patch) + x // patch
                    patches[i, p, ((y % patch) * patch + x % patch) * C + c] = pictures[i, y, x, c]
    return patches


@pytest.mark.parametrize("channels", [1, 3])
def test_cut_against_its_twin(channels):
    pictures = np.random.default_rng(2).uniform(size=(5, 6, 4, channels))
    images = Images.cut(pictures, patch=2, gamma=0.5, centre=False)
    assert (images.n, images.P, images.d, images.grid) == (5, 6, 4 * channels, (3, 2))
    np.testing.assert_array_equal(images.patches, cut_twin(pictures, 2))
    assert (images.patches != cut_twin(pictures.transpose(0, 2, 1, 3), 2)).any()  # control: rows and columns swapped
    if channels == 1:
        np.testing.assert_array_equal(Images.cut(pictures[..., 0], patch=2, centre=False).patches, images.patches)


def test_centring_and_scaling():
    images = Images.cut(PICTURES)
    assert np.abs(images.patches.mean(axis=0)).max() < 1e-15  # a mean of 6 numbers below one: some roundings of 1e-16
    assert np.abs(Images.cut(PICTURES, centre=False).patches.mean(axis=0)).max() > 0.3
    unit = Images.cut(PICTURES, scale="unit")
    assert (unit.patches**2).sum(axis=2).mean() == pytest.approx(1, rel=1e-14)
    np.testing.assert_array_equal(Images.cut(PICTURES, scale=3.0).patches, 3.0 * images.patches)


@pytest.mark.parametrize(
    "dtype, factor", [(np.uint8, 1 / 255), (np.uint16, 1 / 65535), (np.int64, 1.0), (bool, 1.0), (np.float32, 1.0)]
)
def test_numbers_are_converted_as_said(dtype, factor):
    pictures = np.random.default_rng(3).integers(2, size=(4, 4, 4)).astype(dtype)
    patches = Images.cut(pictures, patch=2, centre=False).patches
    assert patches.dtype == np.float64 and set(np.unique(patches)) == {0.0, factor}


def test_masks():
    """round(gamma P) patches of every row, all alike often; the same seed, the same masks; several masks for a picture."""
    images = Images.cut(PICTURES, patch=2, gamma=0.7, masks=500, seed=1)
    assert images.n == 3000 and len(images.patches) == 6 and images.masked_mean == pytest.approx(round(0.7 * 24))
    assert (images.masked.sum(axis=1) == round(0.7 * 24)).all()
    np.testing.assert_array_equal(images.image, np.repeat(np.arange(6), 500))
    rate = 17 / 24
    assert np.abs(images.masked.mean(axis=0) - rate).max() < 5 * np.sqrt(rate * (1 - rate) / images.n)  # five standard errors
    again, other = (Images.cut(PICTURES, patch=2, gamma=0.7, masks=500, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(images.masked, again.masked)
    assert (images.masked != other.masked).any()
    # written down, so that a change of the stream, which would change everyone's masks, is noticed
    np.testing.assert_array_equal(np.flatnonzero(Images.cut(PICTURES, patch=4, gamma=0.5).masked[0]), [2, 3, 5])


def test_is_a_frozen_copy():
    patches = PATCHES.copy()
    images = Images(patches, MASKED)
    patches[0, 0, 0] = 9
    assert images.patches[0, 0, 0] == PATCHES[0, 0, 0] and images.grid == (1, 3) and images.masked_mean == 1.5
    assert Images(PATCHES, MASKED, weight=[0.25, 0.75]).masked_mean == 1.25
    with pytest.raises(ValueError, match="read-only"):
        images.masked[0, 0] = False


def test_take_keeps_rows_pictures_and_weights():
    images = Images(PATCHES, MASKED[[0, 1, 1]], image=[1, 0, 1], weight=[0.2, 0.2, 0.6])
    taken = images.take([2, 0])
    assert taken.n == 2 and len(taken.patches) == 1 and list(taken.image) == [0, 0]
    np.testing.assert_allclose(taken.weight, [0.75, 0.25])
    np.testing.assert_array_equal(taken.patches[0], PATCHES[1])
    np.testing.assert_array_equal(images.take(np.array([True, False, False])).masked, MASKED[:1])
    with pytest.raises(InputError, match="rows must hold one with a weight"):
        Images(PATCHES, MASKED, weight=[0.0, 1.0]).take([0])
    with pytest.raises(InputError, match="rows must number n=3 rows from 0"):
        images.take([3])


def test_check(part):
    images = Images.cut(PICTURES, patch=2)
    images.check(images)
    with pytest.raises(InputError, match=r"P=18 patches of d=4 numbers, got P=24, d=4: cut them alike"):
        images.check(part)
    with pytest.raises(InputError, match="P=6 patches of d=16"):
        images.check(Images.cut(PICTURES, patch=4))


def with_nan():
    pictures = PICTURES.copy()
    pictures[1, 2, 3] = np.nan
    return pictures


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: Images.cut(PICTURES, patch=3), r"patch must divide the pictures' 8 x 12 pixels, got 3: take one of \[1, 2, 4\]"),
        (lambda: Images.cut(PICTURES, patch=0), "patch must be a whole number of at least 1, got 0: take e.g. patch=4"),
        (lambda: Images.cut(PICTURES, patch=2.0), "patch must be a whole number"),
        (lambda: Images.cut(PICTURES, masks=0), "masks must be a whole number of at least 1, got 0"),
        (lambda: Images.cut(PICTURES, gamma=1.0), "round.gamma P. of P=6 .* got gamma=1.0: take 0.0833 < gamma < 0.917"),
        (lambda: Images.cut(PICTURES, gamma=0.01), "at least 1 and at most P - 1, got gamma=0.01"),
        (lambda: Images.cut(PICTURES, gamma=np.nan), "at least 1 and at most P - 1, got gamma=nan"),
        (lambda: Images.cut(PICTURES[:, :, :8], patch=8), "of P=1 patches .*: take a smaller patch"),
        (lambda: Images.cut(PICTURES[:1]), "centring needs at least 2 pictures, got 1: give more, or centre=False"),
        (lambda: Images.cut(np.full((5, 4, 4), 3.0)), "pictures must show something, got 5 of one constant value each"),
        (lambda: Images.cut(np.repeat(PICTURES[:1], 3, axis=0)), "pictures must differ, got 3 times the same"),
        (lambda: Images.cut(with_nan()), r"pictures must be finite, got nan at \(1, 2, 3\): remove"),
        (lambda: Images.cut(PICTURES.astype(complex)), r"pictures must be real numbers, got complex128 of shape \(6, 8, 12\)"),
        (lambda: Images.cut(PICTURES.astype(str)), "pictures must be real numbers, got <U"),
        (lambda: Images.cut(PICTURES.astype(object)), "pictures must be real numbers, got object"),
        (lambda: Images.cut([[1], [1, 2]]), "pictures must be one array"),
        (lambda: Images.cut(PICTURES[0]), r"pictures must be \(m, H, W\) or \(m, H, W, C\), none of them 0, got shape \(8, 12\)"),
        (lambda: Images.cut(PICTURES[:0]), "none of them 0, got shape"),
        (lambda: Images.cut(np.zeros((4, 3, 8, 8))), r"channels come last and are at most 4, got shape \(4, 3, 8, 8\): np"),
        (lambda: Images.cut(PICTURES, scale=-1), "scale must be a positive number, 'unit' or None, got -1"),
        (lambda: Images.cut(PICTURES, scale="big"), "scale must be .* got 'big'"),
        (lambda: Images.cut(PICTURES, seed=-1), "seed must be a whole number"),
        (lambda: Images(PATCHES[0], MASKED), r"patches must be \(m, P, d\), none of them 0, got shape \(3, 5\): see Images.cut"),
        (lambda: Images(0 * PATCHES, MASKED), "patches must hold something to learn, got zeros only"),
        (lambda: Images(PATCHES * np.inf, MASKED), "patches must be finite, got -?inf at"),
        (lambda: Images(PATCHES, MASKED.astype(int)), r"masked must be bool \(n, P\) with P=3, got int64 of shape \(2, 3\)"),
        (lambda: Images(PATCHES, MASKED[:, :2]), r"masked must be bool .* got bool of shape \(2, 2\): one per patch"),
        (lambda: Images(PATCHES, MASKED & False), "every row needs a masked and an unmasked patch, got 0 of 3 masked in row 0"),
        (lambda: Images(PATCHES, MASKED | [[True] * 3, [False] * 3]), "got 3 of 3 masked in row 0"),
        (lambda: Images(PATCHES, MASKED[:1]), "masks are for 1 rows, patches for 2 pictures: say which .* with image="),
        (lambda: Images(PATCHES, MASKED, image=[0, 2]), "image must be n=2 whole numbers from 0 to 1"),
        (lambda: Images(PATCHES, MASKED, weight=[1.0, 1.0]), "weight must be n=2 numbers >= 0 that sum to 1, .* sum 2: norm"),
        (lambda: Images(PATCHES, MASKED, grid=(2, 2)), r"grid must hold the P=3 patches, got \(2, 2\): rows x columns = P"),
    ],
)
def test_bad_input_is_refused_in_one_line(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---- files


def test_arrays_from_files(tmp_path):
    expected = Images.cut(PICTURES, patch=2, seed=3)
    np.save(tmp_path / "a.npy", PICTURES)
    np.savez(tmp_path / "one.npz", pictures=PICTURES, names=np.arange(6))
    np.savez(tmp_path / "two.npz", train=PICTURES, test=PICTURES[:3])
    for name, options in (("a.npy", {}), ("one.npz", {}), ("two.npz", {"key": "train"})):
        images = Images.load(tmp_path / name, patch=2, seed=3, **options)
        np.testing.assert_array_equal(images.patches, expected.patches)
        np.testing.assert_array_equal(images.masked, expected.masked)
    assert Images.load(tmp_path / "a.npy", patch=2, limit=4).n == 4
    with pytest.raises(InputError, match=r"must hold one array of pictures, got \['train', 'test'\] of .*: give key="):
        Images.load(tmp_path / "two.npz")
    with pytest.raises(InputError, match="has no array 'b': there are"):
        Images.load(tmp_path / "two.npz", key="b")
    with pytest.raises(InputError, match="grey and size are for folders"):
        Images.load(tmp_path / "a.npy", grey=True)
    with pytest.raises(InputError, match="limit must be a whole number of at least 1 picture, got 0"):
        Images.load(tmp_path / "a.npy", limit=0)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "bad.npy").write_bytes(b"text")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("bad.npz", "bad.npy", "pickled.npy", "missing.npy"):
        with pytest.raises(FileError, match="cannot read pictures from") as caught:
            Images.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="pictures come from .npy, .npz or a folder"):
        Images.load(tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder of pictures holds files that end in .png, .* got none"):
        Images.load(tmp_path / "empty")


def test_a_folder_of_pictures(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(4)
    colour = rng.integers(256, size=(3, 8, 8, 3)).astype(np.uint8)
    for name, picture in zip("cab", colour, strict=True):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    seen = []
    images = Images.load(tmp_path, patch=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(images.patches, Images.cut(colour[[1, 2, 0]], patch=4).patches)  # by name
    assert Images.load(tmp_path, patch=4, grey=True, size=(4, 12)).patches.shape == (3, 3, 16)
    deep = rng.integers(2**16, size=(8, 8)).astype(np.uint16)
    (tmp_path / "deep").mkdir()
    for i in range(2):
        Image.fromarray(deep + np.uint16(i)).save(tmp_path / "deep" / f"{i}.png")
    assert Images.load(tmp_path / "deep", patch=4, centre=False).patches[0, 0, 0] == deep[0, 0] / 65535
    Image.fromarray(colour[0][:4]).save(tmp_path / "d.png")
    with pytest.raises(InputError, match=r"must agree in size and channels, got \(4, 8, 3\) in d.png, \(8, 8, 3\) before"):
        Images.load(tmp_path, patch=4)
    with pytest.raises(InputError, match=r"size must be \(H, W\) in pixels, got 8"):
        Images.load(tmp_path, patch=4, size=8)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(FileError, match="cannot read the picture .*a.png"):
        Images.load(tmp_path, patch=4)


def test_without_pillow(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"not installed: pip install 'dynsim\[images\]'"):
        dynsim.Images.load(tmp_path)
