"""`dynsim areas`: what it prints and writes, its status, held against the library."""

import json

import numpy as np
import pytest

import dynsim
from dynsim.cli import main

FAST = ("--clusters", "1", "--patch", "2", "--bootstrap", "2")


def run(capsys, *argv):
    """Status, standard output and standard error of a command line, run in this process."""
    status = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def pictures():
    """Upright stripes on three quarters of a picture and lying ones on the rest, each of a brightness of its own."""
    rng = np.random.default_rng(0)
    left, right = rng.uniform(0.5, 1.5, size=(2, 120, 1, 1))
    stripes = np.tile([1.0, 0.0], 4)
    return np.where(np.arange(8) < 6, left * stripes, right * stripes[:, None]) + 0.05 * rng.normal(size=(120, 8, 8))


@pytest.fixture
def file(pictures, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures)
    return tmp_path / "pictures.npy"


def test_table(capsys, file):
    status, out, err = run(capsys, "areas", file, *FAST)
    assert status == 0 and not err
    for text in ("pictures  120, P=16 patches (4 x 4) of d=4 numbers", "kappa_c", "Delta", "control", "regime    two phases"):
        assert text in out
    row = next(line.split() for line in out.splitlines() if line.split()[:2] == ["0", "120"])
    assert row == ["0", "120", "2", "12", "4"]
    assert "inner products of features: at most 0.5" in out  # (1, 0, 1, 0) and (1, 1, 0, 0) over 2: a half


def test_json_agrees_with_the_library(capsys, file, pictures):
    status, out, _ = run(capsys, "areas", file, *FAST, "--seed", 3, "--gamma", 0.5, "--json")
    record = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    found = dynsim.analysis.areas.fit(pictures, K=1, patch=2, gamma=0.5, seed=3, bootstrap=2)
    assert status == 0 and record["has_areas"] is True
    for name in ("kappa_c", "kappa_s", "Delta", "explained", "control", "margin"):
        assert record[name] == getattr(found, name)._asdict()
    assert record["clusters"] == [{"pictures": 120, "areas": 2, "sizes": [12, 4]}]
    assert record["regime"] == dynsim.theory.regime(found.problem) and record["gamma"] == 0.5
    assert record["escape_time"] == dynsim.theory.escape_time(found.problem)


def test_folder(capsys, file, pictures, tmp_path):
    status, _, err = run(capsys, "areas", file, *FAST, "--out", tmp_path / "made" / "here")
    assert status == 0 and "wrote" in err
    made = tmp_path / "made" / "here"
    assert sorted(path.name for path in made.iterdir()) == ["areas.json", "areas.npz", "areas.png"]
    found = dynsim.analysis.areas.fit(pictures, K=1, patch=2, bootstrap=2)
    with np.load(made / "areas.npz") as arrays:
        part = dynsim.Partition(arrays["labels"], (4, 4))
        dynsim.Dataset(arrays["cluster"], arrays["z"], arrays["masked"]).check(part)
        assert np.array_equal(part.labels, found.part.labels) and arrays["features"].shape == (part.F, 4)
    assert json.loads((made / "areas.json").read_text())["P"] == 16
    assert (made / "areas.png").read_bytes().startswith(b"\x89PNG")


def test_status_one_without_areas(capsys, pictures, tmp_path):
    """Patches shuffled anew in every picture."""
    patches = pictures.reshape(120, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(120, 16, 4)
    order = np.random.default_rng(1).permuted(np.tile(np.arange(16), (120, 1)), axis=1)
    moved = np.take_along_axis(patches, order[:, :, None], axis=1)
    np.save(tmp_path / "moved.npy", moved.reshape(120, 4, 4, 2, 2).transpose(0, 1, 3, 2, 4).reshape(120, 8, 8))
    status, out, _ = run(capsys, "areas", tmp_path / "moved.npy", *FAST)
    assert status == 1 and "there are no areas" in out
    status, out, _ = run(capsys, "areas", tmp_path / "moved.npy", *FAST, "--json")
    assert status == 1 and json.loads(out)["has_areas"] is False


def test_clusters_auto(capsys, file):
    status, out, _ = run(capsys, "areas", file, "--clusters", "auto", "--patch", 2, "--bootstrap", 0, "--json")
    assert status == 0 and len(json.loads(out)["clusters"]) >= 1


@pytest.mark.parametrize(
    ("argv", "rule"),
    [
        (("--patch", "3"), "patch must divide"),
        (("--patch", "0"), "must be a whole number from 1"),
        (("--clusters", "0"), 'must be a whole number from 1 or "auto"'),
        (("--clusters", "many"), 'must be a whole number from 1 or "auto"'),
        (("--clusters", "40", "--patch", "2"), "every cluster needs 8 pictures"),
        (("--areas", "1"), "must be a whole number from 2"),
        (("--areas", "17", "--patch", "2"), "areas must be a whole number from 2 to P=16"),
        (("--gamma", "1"), "gamma"),
        (("--held-out", "1", "--patch", "2"), "--held-out is a fraction"),
        (("--bootstrap", "-1"), "must be a whole number from 0"),
        (("--out", "/proc/none"), "the output folder must be one to write in"),
    ],
)
def test_bad_options(capsys, file, argv, rule):
    status, out, err = run(capsys, "areas", file, *argv)
    assert status == 2 and not out
    assert err.startswith("dynsim: ") and rule in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.zeros((20, 8, 8)), "pictures must show something"),
        (np.full((20, 8, 8), np.nan), "finite"),
        (np.zeros((8, 8)), "pictures must be"),
        (np.array(["a"] * 20), "pictures must"),
        (np.ones((20, 8, 8)) * np.arange(8), "pictures must differ"),
        (np.random.default_rng(0).uniform(size=(1, 8, 8)), "every cluster needs 8 pictures"),
        (np.random.default_rng(0).uniform(size=(30, 8, 8)).astype(complex), "real numbers"),
    ],
)
def test_bad_pictures(capsys, tmp_path, array, rule):
    np.save(tmp_path / "bad.npy", array)
    status, out, err = run(capsys, "areas", tmp_path / "bad.npy")
    assert status == 2 and not out and rule in err and err.count("\n") == 1


def test_no_file(capsys, tmp_path):
    status, _, err = run(capsys, "areas", tmp_path / "none.npy")
    assert status == 2 and err.startswith("dynsim: cannot read pictures from") and err.count("\n") == 1
    assert run(capsys, "areas")[0] == 2
    np.savez(tmp_path / "two.npz", a=np.ones((9, 8, 8)), b=np.ones((9, 8, 8)))
    status, _, err = run(capsys, "areas", tmp_path / "two.npz", "--key", "c")
    assert status == 2 and "c" in err and err.count("\n") == 1
    status, _, err = run(capsys, "areas", tmp_path / "none.npy", "--out", tmp_path / "new")
    assert status == 2 and not (tmp_path / "new").exists()
