"""`dynsim simulate --images`: objectives, folders, and what it refuses."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

import dynsim
from dynsim.cli import _pictures, main

PICTURES = 0.1 * np.cumsum(np.random.default_rng(0).normal(size=(40, 12, 12)), axis=1)


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "pictures.npy", PICTURES)
    return str(tmp_path / "pictures.npy")


def run(capsys, *argv):
    """Status, standard output and standard error of a command line, run in this process."""
    status = main([str(word) for word in argv])
    return (status, *capsys.readouterr())


def simulate(capsys, file, *more):
    return run(capsys, "simulate", "--images", file, "--steps", 3, *more)


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive", "mixed"])
def test_objectives_on_pictures(capsys, file, objective):
    status, out, _ = simulate(capsys, file, "--objective", objective, "--eta", 0.5, "--gamma", 0.5, "--seed", 2, "--json")
    record = json.loads(out)
    assert status == 0 and record["objective"] == objective
    key = dynsim.reduced.method_key(objective, "any-images")
    out = simulate(capsys, file, "--objective", objective, "--eta", 0.5)[1]
    assert ("per masked patch" in out) == (objective == "reconstruction")
    field = dynsim.reduced.field_class(key).from_options(dynsim.Problem(gamma=0.5), 2, images=PICTURES)
    assert record["loss"] == dynsim.reduced.descend(field, eta=0.5, steps=3).loss[-1] and record["method"] in (key, "sum")


def test_weight_of_the_mixed_objective_counts(capsys, file):
    losses = {
        weight: json.loads(simulate(capsys, file, "--objective", "mixed", "--weight", weight, "--json")[1])["loss_start"]
        for weight in (0, 1)
    }
    alone = json.loads(simulate(capsys, file, "--json")[1])["loss_start"]
    assert losses[0] == alone < losses[1]


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_folder_of_pictures_is_read(capsys, tmp_path, monkeypatch, ending):
    """As the array of the pictures that its files hold; progress is reported picture by picture."""
    image = pytest.importorskip("PIL.Image")
    scaled = np.round(255 * (PICTURES - PICTURES.min()) / np.ptp(PICTURES)).astype(np.uint8)
    for i, picture in enumerate(scaled[:20]):
        image.fromarray(picture).save(tmp_path / f"{i:02d}.{ending}")
    seen = {}
    monkeypatch.setattr("dynsim.cli._show.progress", keeping(seen))
    status, out, _ = simulate(capsys, str(tmp_path), "--json")
    assert status == 0 and json.loads(out)["parameters"]["n"] == 20 and (20, 20) in seen["reading"]
    read = dynsim.Images.load(tmp_path, gamma=0.8)
    field = dynsim.reduced.ImageField(read)
    assert json.loads(out)["loss"] == dynsim.reduced.descend(field, eta=2.0, steps=3).loss[-1]
    if ending == "png":
        assert (read.patches == dynsim.Images.cut(scaled[:20], gamma=0.8).patches).all()


def keeping(seen):
    """A progress that keeps what is reported, by what goes on."""

    @contextmanager
    def progress(args, what):
        yield lambda done, total: seen.setdefault(what, []).append((done, total))

    return progress


BAD = {
    "text": (np.array([["a", "b"], ["c", "d"]]), [], "pictures must be (m, H, W) or (m, H, W, C)"),
    "words": (np.full((4, 8, 8), "x"), [], "pictures must be real numbers"),
    "complex": (PICTURES * 1j, [], "pictures must be real numbers"),
    "shape": (PICTURES[0], [], "pictures must be (m, H, W) or (m, H, W, C)"),
    "channels": (np.moveaxis(np.stack([PICTURES] * 6), 0, -1), [], "channels come last and are at most 4"),
    "nan": (np.where(np.arange(12) == 3, np.nan, PICTURES), [], "pictures must be finite, got nan at (0, 0, 3)"),
    "one picture": (PICTURES[:1], [], "centring needs at least 2 pictures, got 1"),
    "constant": (np.ones((5, 8, 8)), [], "pictures must show something"),
    "alike": (np.stack([PICTURES[0]] * 3), [], "pictures must differ"),
    "patch": (PICTURES, ["--patch", 5], "patch must divide the pictures' 12 x 12 pixels, got 5: take one of [1, 2, 3, 4, 6, 12]"),
    "all masked": (PICTURES, ["--gamma", 0.99], "of P=9 patches are masked, at least 1 and at most P - 1, got --gamma 0.99"),
    "none masked": (PICTURES, ["--gamma", 0.001], "of P=9 patches are masked, at least 1 and at most P - 1, got --gamma 0.001"),
    "gamma": (PICTURES, ["--gamma", 1], "gamma is the masked fraction, strictly between 0 and 1, got 1"),
    "patches": (PICTURES, ["--P", 64], "--P belongs to problems with areas, got --images too: drop one of them"),
    "scale": (PICTURES, ["--scale", "big"], "scale must be a number or 'unit', got 'big'"),
    "negative scale": (PICTURES, ["--scale=-1"], "scale must be a positive number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused_in_one_line(capsys, tmp_path, name):
    pictures, more, rule = BAD[name]
    np.save(tmp_path / "bad.npy", pictures)
    status, out, err = simulate(capsys, tmp_path / "bad.npy", *more)
    assert status == 2 and not out and len(err.splitlines()) == 1 and rule in err and ": " in err.partition("got ")[2], err


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda path: None, "cannot read pictures from"),
        (lambda path: path.write_bytes(b"no array"), "cannot read pictures from"),
        (lambda path: path.mkdir(), "a folder of pictures holds files that end in .png"),
        (lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True), "cannot read pictures from"),
    ],
    ids=["missing", "damaged", "empty folder", "objects"],
)
def test_bad_files_are_refused_in_one_line(capsys, tmp_path, make, rule):
    make(tmp_path / "bad.npy")
    status, out, err = simulate(capsys, tmp_path / "bad.npy")
    assert status == 2 and not out and len(err.splitlines()) == 1 and rule in err


def test_options_of_other_objectives_are_refused(capsys, file):
    status, _, err = simulate(capsys, file, "--weight", 2)
    assert status == 2 and "--weight belongs to --method" in err
    status, _, err = simulate(capsys, file, "--objective", "contrastive", "--batch", 2)
    assert status == 2 and "--batch belongs to --method any-images" in err


def two_parts(n=80):
    """Pictures with areas: two parts of a picture, each of its own stripes and brightness."""
    rng = np.random.default_rng(0)
    left, right = rng.uniform(0.5, 1.5, size=(2, n, 1, 1))
    stripes = np.tile([1.0, 0.0], 4)
    return np.where(np.arange(8) < 6, left * stripes, right * stripes[:, None])


def test_measures_and_prediction_are_those_of_the_library(capsys, tmp_path):
    np.save(tmp_path / "parts.npy", two_parts())
    words = ["--patch", 2, "--no-centre", "--clusters", 1, "--steps", 100, "--seed", 3, "--gamma", 0.5]
    status, out, _ = run(capsys, "simulate", "--images", tmp_path / "parts.npy", *words, "--json", "--out", tmp_path / "run")
    record = json.loads(out)
    images = dynsim.Images.cut(two_parts(), patch=2, centre=False, gamma=0.5, seed=3)
    traj = dynsim.reduced.descend(dynsim.reduced.ImageField(images), eta=2.0, steps=100)
    measures = dynsim.analysis.image_attention.overview(images, traj)
    assert status == 0 and record["measures"] == {name: values.tolist() for name, values in measures.items()}
    found = dynsim.analysis.areas.fit(images, 1, seed=3, bootstrap=20)
    said = dynsim.validation.prediction.predicted(found, traj)
    areas = record["areas"]
    assert areas["has_areas"] and areas["sizes"] == [[12, 4]] and areas["kappa_c"] == found.kappa_c._asdict()
    assert areas["deviation"] == said.deviation < 1e-6 and areas["escape_time"] == said.escape
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["areas"] == areas
    assert run(capsys, "plot", tmp_path / "run", "--out", tmp_path / "again.png")[0] == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "run" / "summary.png").read_bytes()
    assert {"summary.png", "summary.pdf"} <= {path.name for path in (tmp_path / "run").iterdir()}
    status, out, _ = run(capsys, "simulate", "--images", tmp_path / "parts.npy", *words)
    for text in ("similarity of the attention", "kappa_c", "escape    of attention on the own area", "one phase", "apart"):
        assert text in out


@pytest.mark.parametrize(
    "more, why",
    [
        (["--clusters", 0], "left out"),
        (["--clusters", 8], "not fitted: every cluster needs 8 pictures"),
        (["--objective", "mixed"], "they predict plain gradient descent on reconstruction"),
    ],
)
def test_why_there_is_no_prediction_is_said(capsys, file, more, why):
    status, out, err = simulate(capsys, file, "--eta", 0.1, *more)
    assert status == 0 and why in out and "mutual information" in out and not err.count("defect")
    record = json.loads(simulate(capsys, file, "--eta", 0.1, *more, "--json")[1])
    assert list(record["areas"]) == ["why"] and record["measures"]["t"][-1] == pytest.approx(0.3)


def test_pictures_without_areas_are_said_to_have_none(capsys, tmp_path):
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).normal(size=(60, 8, 8)) / 4)
    status, out, _ = run(capsys, "simulate", "--images", tmp_path / "noise.npy", "--patch", 2, "--steps", 5, "--clusters", 1)
    assert status == 0 and "none that explain clearly more than the control" in out


def test_areas_are_fitted_to_some_of_many_pictures():
    """Equally spaced ones, the first and the last among them; a thousand at most, a hundred where patches are many."""
    rng = np.random.default_rng(0)
    many = dynsim.Images.cut(rng.normal(size=(1500, 8, 8)), patch=4, gamma=0.5, masks=3)
    some = _pictures._some(many)
    assert (len(some.patches), some.n) == (1000, 3000)
    assert (some.patches[[0, -1]] == many.patches[[0, -1]]).all()
    assert _pictures._some(dynsim.Images.cut(rng.normal(size=(1500, 8, 8)), patch=4, gamma=0.5, masks=5)).n == 4000
    large = dynsim.Images.cut(rng.normal(size=(400, 56, 56)), patch=4)
    assert len(_pictures._some(large).patches) == 2e8 // (196**2 * 16)
    few = dynsim.Images.cut(rng.normal(size=(50, 8, 8)), patch=4)
    assert _pictures._some(few) is few


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive", "mixed"])
def test_files_of_runs_on_pictures_run_again(capsys, file, tmp_path, objective):
    words = ["--objective", objective, "--eta", 0.5, "--clusters", 0, "--out", tmp_path / "run", "--quiet"]
    assert simulate(capsys, file, *words)[0] == 0
    status, out, _ = run(capsys, "simulate", "--from", tmp_path / "run" / "trajectory.npz")
    assert status == 0 and "all bits agree" in out
