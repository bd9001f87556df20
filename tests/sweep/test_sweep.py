"""Sweeps: what a point is, what the store keeps through every kind of death, and that workers leave no mark on a row."""

import csv
import json
import math
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import dynsim
from dynsim import sweep, theory
from dynsim.analysis.columns import PARAMETERS
from dynsim.cli import main
from dynsim.errors import Interrupted
from dynsim.sweep import driver
from dynsim.sweep.methods import find
from dynsim.sweep.points import Points
from dynsim.sweep.store import Store
from dynsim.sweep.workers import Processes

TRIVIAL, PAUSING = "sweep_methods:trivial", "sweep_methods:pausing"
CIRCUMSTANCES = ("seconds", "finished")  # what may differ between two sweeps of the same points
HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]), "OMP_NUM_THREADS": "1"}
GRID = {"kappa_c": sweep.span(0.5, 0.9, 5), "kappa_s": sweep.span(0.1, 0.4, 4)}


def rows(path):
    """Every row of a store, read by SQLite alone, without what depends on the circumstances."""
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    found = [dict(row) for row in db.execute("SELECT * FROM points ORDER BY key")]
    db.close()
    return [{name: value for name, value in row.items() if name not in CIRCUMSTANCES} for row in found]


def command(*argv, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "dynsim", "sweep", *map(str, argv)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )


class Here:
    """A pool of this very process, so that what is patched here holds in the worker too."""

    lost, count, name = (), 1, "this process"

    def __init__(self, workers=None):
        pass

    def submit(self, function, *args):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*args))
        return future

    def close(self):
        pass


@pytest.fixture
def here(monkeypatch):
    """Sweeps run in this process: for what does not depend on the workers."""
    monkeypatch.setattr(driver, "Processes", Here)


# ------------------------------------------------------------------------------------------------ points


def test_axes_are_read():
    assert sweep.parse_axis("0.3") == (0.3,) and sweep.parse_axis("0.1,0.2") == (0.1, 0.2)
    assert sweep.parse_axis("0.5:1:51")[7] == 0.57  # np.linspace gives 0.5700000000000001, which 0.57 typed is not
    assert np.linspace(0.5, 1, 51)[7] != 0.57
    assert sweep.parse_axis("1e4:1e8:3:log") == (1e4, 1e6, 1e8) and sweep.parse_axis("1,2:4:3") == (1.0, 2.0, 3.0, 4.0)
    assert sweep.parse_axis("100:1000:3:log", whole=True) == (100.0, 316.0, 1000.0)
    for bad in ("", "a", "1:2", "1:2:3:lin", "1:2:0", "1:2:1.5", "0:2:3:log", "1::2", "1:inf:3", "1:2:3:4:5"):
        with pytest.raises(dynsim.InputError, match="write one number, a list"):
            sweep.parse_axis(bad)


def test_grid_is_every_combination_and_doubles_are_one():
    points = Points({"K": 1, "kappa_c": (0.5, 0.6, 0.5), "kappa_s": [0.1, 0.2]}, seeds=2)
    twin = {(1.0, 0.8, 196.0, c, s, 0.8, 1.2, seed) for c, s, seed in product((0.5, 0.6), (0.1, 0.2), (0, 1))}
    assert set(points) == twin and len(points) == 8 == len(list(points))
    assert "2 kappa_c x 2 kappa_s x 2 seeds" == points.shape()


def test_a_key_tells_everything_that_decides_a_result():
    one = dict(axes={"K": 1}, method="a", options={"n": 1}, version="1")
    changes = {}, {"axes": {"K": 2}}, {"method": "b"}, {"options": {"n": 2}}, {"version": "2"}, {"seeds": [1]}
    keys = [Points(**{**one, **change}) for change in changes]
    digests = [points.key(next(iter(points))) for points in keys]
    assert len(set(digests)) == len(keys)
    same = Points(axes={"K": 1.0, "P": 196}, method="a", options={"n": 1}, version="1")  # named or by default, 1 or 1.0
    assert same.key(next(iter(same))) == digests[0]


def test_a_huge_grid_takes_no_memory():
    points = Points({name: sweep.span(0.1, 0.9, 1000) for name in ("gamma", "kappa_c", "kappa_s")})
    assert len(points) == 10**9 and next(iter(points))[1] == 0.1
    with pytest.raises(dynsim.InputError, match="up to 1e.09 points, got 2e.09"):
        Points({name: sweep.span(0.1, 0.9, 1000) for name in ("gamma", "kappa_c", "kappa_s")}, seeds=2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"grid": {"kappa": 1}}, "runs over the fields K, gamma"),
        ({"grid": {"P": "many"}}, "P must be a number, got 'many'"),
        ({"grid": {"P": math.nan}}, "P must be finite"),
        ({"grid": {"P": []}}, "an axis needs a value, got none for P"),
        ({"points": []}, "got both"),
        ({"seeds": 0}, "draws nothing"),
        ({"seeds": -1, "method": "samples"}, "how many, or a list"),
        ({"method": "orbits"}, "own package.module:function, got 'orbits'"),
        ({"method": "no.module:f"}, "cannot find method"),
        ({"options": {"n": 3}}, "method orbit has no option 'n'"),
        ({"workers": 0}, "from 1 to 1000"),
    ],
)
def test_bad_input_is_named_before_anything_starts(tmp_path, change, message):
    with pytest.raises(dynsim.InputError, match=message):
        sweep.run(tmp_path / "a.db", **{"grid": {"K": 1}, **change})
    assert not (tmp_path / "a.db").exists()


# ------------------------------------------------------------------------------------------------ measurements


def test_orbit_measures_what_the_flow_does():
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6, kappa_c=0.9, kappa_s=0.4)
    orbit = find("orbit")
    found = orbit(problem)
    field = dynsim.reduced.OrbitField(problem)
    traj = dynsim.reduced.flow(field, t_end=found["t_end"])
    at = list(traj.t).index(traj.meta["events"]["escape"])
    # the sweep's rtol is 1e-5: events and depth within that
    for name in ("escape", "half", "excess"):
        assert found[name] == pytest.approx(traj.meta["events"][name], rel=1e-5)
    assert found["depth"] == pytest.approx(traj.fp[at][:, 1].mean(), rel=1e-5)
    assert found["own"] == pytest.approx(traj.fp[at][:, 0].mean(), rel=1e-5)
    start = dynsim.reduced.flow(field, t_end=traj.t[1] * 1e-3, keep=2)  # correlations of 1e-4: the secant is good to that
    speed = start.fp[-1].mean(axis=0) / start.t[-1]
    np.testing.assert_allclose([found["speed_own"], found["speed_global"]], speed[:2], rtol=1e-3)
    assert found["depth_theory"] == theory.global_depth(problem) and found["escape_theory"] == theory.escape_time(problem)
    assert found["excess"] < found["t_end"] and abs(found["depth"] - found["own"]) > 1  # control: they are not one thing
    assert orbit(problem, keep=60)["phase_end"] < found["escape"]


def test_explicit_methods_agree_with_each_other(tmp_path, here):
    """Samples and full descend the same images: equal to rounding (full is exact). Population differs by the noise of 64."""
    grid = {"K": 2, "gamma": 0.5, "P": 16, "kappa_c": 0.7, "kappa_s": 0.5}
    tables = {}
    for method in ("samples", "full", "population"):
        options = {"eta": 2.0, "steps": 300, **({} if method == "population" else {"n": 64})}
        sweep.run(tmp_path / "a.db", grid, method=method, options=options, seeds=2, workers=1)
        tables[method] = sweep.load(tmp_path / "a.db", method=method)
    for name in ("escape", "half", "depth", "own", "speed_own", "speed_global", "loss"):
        a, b, c = (tables[method][name] for method in ("samples", "full", "population"))
        np.testing.assert_allclose(a, b, rtol=1e-8, err_msg=name)
        assert (a != a[::-1]).all() or np.isnan(a).all()  # control: seeds differ
        np.testing.assert_allclose(a, c, rtol=0.5, atol=0.05, err_msg=name)
    part = dynsim.Partition.blocks(dynsim.Problem(2, 0.5, 16, 0.7, 0.5), seed=1)
    data = dynsim.sample(dynsim.Problem(2, 0.5, 16, 0.7, 0.5), part, 64, seed=1)
    traj = dynsim.reduced.descend(dynsim.reduced.EmpiricalField(part, data), eta=2.0, steps=300)
    assert tables["samples"]["loss"][1] == traj.loss[-1]


# ------------------------------------------------------------------------------------------------ the store


def test_resume_does_only_what_is_missing_and_another_grid_extends(tmp_path, here):
    path = tmp_path / "a.db"
    said = []
    first = sweep.run(path, GRID, method=TRIVIAL, workers=1, tell=said.append)
    assert (first["points"], first["known"], first["computed"], first["failed"]) == (20, 0, 20, 0)
    assert "20 points (5 kappa_c x 4 kappa_s)" in said[0] and str(path) in said[0] and "a point" in said[2]
    stamps = sweep.load(path)["finished"], rows(path)
    again = sweep.run(path, GRID, method=TRIVIAL, workers=1)
    assert again["computed"] == 0 and again["known"] == 20
    wider = sweep.run(path, {**GRID, "kappa_c": sweep.span(0.5, 1, 6)}, method=TRIVIAL, workers=1)
    assert wider["known"] == 20 and wider["computed"] == 4 and wider["failed"] == 4  # kappa_c = 1 is no problem
    listed = sweep.run(path, points=[{"kappa_c": 0.5, "kappa_s": 0.1}, {"kappa_c": 0.55}], method=TRIVIAL, workers=1)
    assert listed["known"] == 1 and listed["computed"] == 1
    old = [row for row in rows(path) if row["kappa_c"] < 1 and row["kappa_c"] != 0.55]
    assert old == stamps[1] and len(rows(path)) == 25


def test_rows_are_what_the_method_returns(tmp_path):
    from sweep_methods import trivial

    sweep.run(tmp_path / "a.db", GRID, method=TRIVIAL, seeds=2, workers=2)
    table = sweep.load(tmp_path / "a.db")
    assert len(table["x"]) == 40 and set(table["status"]) == {"done"} and (table["seconds"] > 0).all()
    for i, seed in enumerate(table["seed"]):
        problem = dynsim.Problem(**{name: table[name][i] for name in ("K", "gamma", "P", "kappa_c", "kappa_s")})
        twin = trivial(problem, seed)
        assert table["x"][i] == twin["x"] and (twin["none"] is None) == np.isnan(table["none"][i])
    x, y, values = sweep.plane({name: column[table["seed"] == 1] for name, column in table.items()}, "x")
    assert values.shape == (4, 5) and (x == GRID["kappa_c"]).all() and (y == GRID["kappa_s"]).all()
    assert values[2, 3] == table["x"][(table["kappa_c"] == x[3]) & (table["kappa_s"] == y[2]) & (table["seed"] == 1)]
    with pytest.raises(dynsim.InputError, match="seed vary too"):
        sweep.plane(table, "x")


def test_a_failing_point_is_a_row_with_its_reason(tmp_path, here):
    path = tmp_path / "a.db"
    done = sweep.run(path, {**GRID, "kappa_c": 0.6}, method="sweep_methods:moody", workers=1)
    assert done["computed"] == 4 and done["failed"] == 2
    table = sweep.load(path)
    assert list(table["status"]) == ["failed", "failed", "done", "done"]
    assert table["message"][0] == "kappa_s must please me, got little: give more"
    assert table["message"][1] == "ZeroDivisionError: at this point"
    assert np.isnan(table["x"]).all() and np.isinf(table["y"][2:]).all()
    assert sweep.run(path, {**GRID, "kappa_c": 0.6}, method="sweep_methods:moody", workers=1)["computed"] == 0
    retried = sweep.run(path, {**GRID, "kappa_c": 0.6}, method="sweep_methods:moody", workers=1, retry=True)
    assert retried["computed"] == 2 and len(rows(path)) == 4


def test_a_point_that_kills_its_process_takes_no_other_with_it(tmp_path):
    options = {"marker": str(tmp_path / "once")}
    grid = {**GRID, "kappa_c": 0.6}
    done = sweep.run(tmp_path / "a.db", grid, method="sweep_methods:deadly", options=options, workers=2)
    assert done["computed"] == 4 and done["failed"] == 1
    table = sweep.load(tmp_path / "a.db")
    assert set(table["kappa_s"][table["status"] == "failed"]) == {0.2}
    assert "its worker process died, twice" in table["message"][table["status"] == "failed"][0]
    assert (tmp_path / "once").exists() and (table["status"][table["kappa_s"] == 0.3] == "done").all()


def test_rows_do_not_depend_on_the_workers(tmp_path, monkeypatch):
    """One process, two, or this one: the same bits of every number."""
    grid = {"K": 1, "gamma": 0.75, "P": (1e6, 1e12), "kappa_c": (0.6, 0.9), "kappa_s": (0.3, 0.4)}
    for workers in (1, 2):
        sweep.run(tmp_path / f"{workers}.db", grid, workers=workers)
    one, two = rows(tmp_path / "1.db"), rows(tmp_path / "2.db")
    assert one == two and len(one) == 8 and {row["status"] for row in one} == {"done"}
    monkeypatch.setattr(driver, "Processes", Here)
    sweep.run(tmp_path / "rough.db", grid, options={"rtol": 1e-4})  # control: another accuracy shows
    assert {row["escape"] for row in rows(tmp_path / "rough.db")}.isdisjoint(row["escape"] for row in one)
    row = one[3]
    here = find("orbit")(dynsim.Problem(*(row[name] for name in list(PARAMETERS)[:5])))
    assert here["escape"] == row["escape"] and here["depth"] == row["depth"] and here["loss"] == row["loss"]


def test_versions_are_kept_apart_and_said_so(tmp_path, here, monkeypatch):
    path, said = tmp_path / "a.db", []
    with monkeypatch.context() as patch:
        patch.setattr(driver, "__version__", "0.0.9")
        patch.setattr("dynsim.sweep.methods.__version__", "0.0.9")
        sweep.run(path, GRID, method=TRIVIAL)
    done = sweep.run(path, GRID, method=TRIVIAL, workers=1, tell=said.append)
    assert done["computed"] == 20 and any("20 rows of dynsim 0.0.9: kept apart" in text for text in said)
    assert len(sweep.load(path)["x"]) == 20 and len(sweep.load(path, version=None)["x"]) == 40
    assert set(sweep.load(path, version="0.0.9")["version"]) == {"0.0.9"}


def test_workers_of_another_version_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "__version__", "9.9")
    with pytest.raises(dynsim.InputError, match="need one version of dynsim, got 9.9 and"):
        sweep.run(tmp_path / "a.db", GRID, method=TRIVIAL, workers=1)
    assert rows(tmp_path / "a.db") == []


def test_export_csv_and_netcdf(tmp_path, here):
    path = tmp_path / "a.db"
    sweep.run(path, GRID, method=TRIVIAL, seeds=2, workers=1)
    table = sweep.load(path)
    assert sweep.export(path, str(tmp_path / "a.csv")) == 40
    with open(tmp_path / "a.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["x"]) for line in lines] == table["x"].tolist() and lines[0]["method"] == TRIVIAL
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    assert sweep.export(path, str(tmp_path / "a.nc")) == 40
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as data:
        assert dict(data.sizes) == {"kappa_c": 5, "kappa_s": 4, "seed": 2} and data.attrs["P"] == 196
        for i in range(40):
            here = {name: table[name][i] for name in ("kappa_c", "kappa_s", "seed")}
            assert float(data["x"].sel(here)) == table["x"][i]
    with pytest.raises(dynsim.InputError, match="writes .csv or .nc"):
        sweep.export(path, str(tmp_path / "a.txt"))
    with pytest.raises(dynsim.FileError, match="cannot write"):
        sweep.export(path, str(tmp_path / "nowhere" / "a.csv"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.db", "a.nc"]


# ------------------------------------------------------------------------------------------------ what files can do


def unwritable(tmp_path):
    """A folder in which this user cannot make a file."""
    if os.geteuid() == 0:
        return Path("/proc")  # root writes anywhere else
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    return folder


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    with pytest.raises(dynsim.FileError, match="cannot be opened .*: what it holds is intact.* give another --out"):
        sweep.run(unwritable(tmp_path) / "a.db", GRID, method=TRIVIAL)


def test_what_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one " * 20)
    with pytest.raises(dynsim.FileError, match="not a database"):
        sweep.run(tmp_path / "text", GRID, method=TRIVIAL)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE points (key)")
    other.commit()
    other.close()
    with pytest.raises(dynsim.FileError, match="some other database"):
        sweep.run(tmp_path / "other.db", GRID, method=TRIVIAL)
    with pytest.raises(dynsim.FileError, match="found none"):
        sweep.load(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_full_disk_leaves_the_store_intact(tmp_path, monkeypatch):
    """A limit on the size of files stands for a full disk: SQLite's write fails in the middle, as it would there."""
    path, many = tmp_path / "a.db", {"kappa_c": sweep.span(0.5, 0.9, 40), "kappa_s": sweep.span(0.1, 0.4, 40)}
    argv = ["--method", TRIVIAL, "--kappa-c", "0.5:0.9:40", "--kappa-s", "0.1:0.4:40", "--out", path, "--workers", 1]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    out, err = (process := command(*argv, preexec_fn=limit)).communicate(timeout=300)
    assert process.returncode == 2 and "Traceback" not in err
    assert "cannot be written" in err and "what it holds is intact" in err
    kept = rows(path)
    assert 0 < len(kept) < 1600 and path.stat().st_size <= 200_000
    monkeypatch.setattr(driver, "Processes", Here)
    done = sweep.run(path, many, method=TRIVIAL)
    assert done["known"] == len(kept) and done["computed"] == 1600 - len(kept)
    sweep.run(tmp_path / "b.db", many, method=TRIVIAL)
    assert rows(path) == rows(tmp_path / "b.db")


# ------------------------------------------------------------------------------------------------ interruptions


def wait_for_rows(path, count, patience=300):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
            found = db.execute("SELECT count(*) FROM points").fetchone()[0]
            db.close()
            if found >= count:
                return found
        except sqlite3.Error:
            pass
        time.sleep(0.02)
    raise AssertionError(f"fewer than {count} rows within {patience} s")


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("to", [pytest.param("driver", marks=pytest.mark.slow), "everyone"])
def test_ctrl_c_stops_within_two_seconds_and_says_how_to_go_on(tmp_path, to):
    path = tmp_path / "a.db"
    argv = ["--method", PAUSING, "--kappa-c", "0.5:0.9:40", "--kappa-s", "0.1:0.4:40", "--out", path, "--workers", 2]
    process = command(*argv, start_new_session=True)
    wait_for_rows(path, 20)
    workers = children(process.pid)
    began = time.monotonic()
    (os.kill if to == "driver" else os.killpg)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 2
    assert process.returncode == 130 and "Traceback" not in err
    count = len(rows(path))  # joblib may print a warning after it
    assert f"stopped with {count} of 1600 points done, all in {path}: the same command goes on\n" in err
    assert 20 <= count < 1600 and len(workers) >= 2
    time.sleep(1.5)
    assert not any(alive(pid) for pid in workers)


def test_ctrl_c_while_rows_are_stored_waits_until_they_are_counted(tmp_path, monkeypatch):
    path, add = tmp_path / "a.db", Store.add

    def interrupted(self, *args, **options):
        add(self, *args, **options)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Store, "add", interrupted)
    with pytest.raises(Interrupted) as error:
        sweep.run(path, {"K": 1, "P": [1e6, 1e9, 1e12, 1e15]}, method="orbit", workers=1)
    count = len(rows(path))
    assert count > 0 and str(error.value).startswith(f"stopped with {count} of 4 points done")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_kill_9_at_ten_random_times_then_resumed_is_one_sweep(tmp_path):
    path, whole = tmp_path / "a.db", tmp_path / "whole.db"
    rng = np.random.default_rng(5)
    argv = ["--method", PAUSING, "--kappa-c", "0.5:0.9:25", "--kappa-s", "0.1:0.4:20", "--workers", 2]
    counts = [0]
    for _ in range(10):
        process = command(*argv, "--out", path, start_new_session=True)
        wait_for_rows(path, counts[-1] + 1)
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        process.communicate()
        counts.append(len(rows(path)))
    assert counts == sorted(counts) and 0 < counts[1] and counts[-1] < 500
    out, err = (process := command(*argv, "--out", path)).communicate(timeout=300)
    assert process.returncode == 0 and f"{counts[-1]} were there" in out
    assert command(*argv, "--out", whole).communicate(timeout=300) and len(rows(whole)) == 500
    assert rows(path) == rows(whole)
    changed = rows(path)
    changed[77]["x"] = np.nextafter(changed[77]["x"], 1)  # control: one bit shows
    assert changed != rows(whole)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_end_with_a_killed_driver(tmp_path):
    argv = ["--method", PAUSING, "--kappa-c", "0.5:0.9:99", "--kappa-s", "0.1:0.4:99", "--workers", 2]
    process = command(*argv, "--out", tmp_path / "a.db")
    wait_for_rows(tmp_path / "a.db", 10)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(workers) >= 2 and not any(map(alive, workers))


def test_two_sweeps_at_once_both_finish_rightly(tmp_path, here):
    """The same points and other ones, from two processes at the same time: no row lost, none twice, none wrong."""
    path = tmp_path / "a.db"
    common = ["--method", PAUSING, "--kappa-s", "0.1:0.4:10", "--out", path, "--workers", 1]
    pair = [command(*common, "--kappa-c", grid) for grid in ("0.5:0.7:11", "0.6:0.8:11")]
    for process in pair:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    grid = {"kappa_c": sweep.span(0.5, 0.8, 16), "kappa_s": sweep.span(0.1, 0.4, 10)}
    sweep.run(tmp_path / "b.db", grid, method=PAUSING, workers=2)
    both, one = rows(path), rows(tmp_path / "b.db")
    assert len(both) == 160 and both == one


# ------------------------------------------------------------------------------------------------ the command line


def test_the_command_line(tmp_path, here, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["sweep", "--method", TRIVIAL, "--kappa-s", "0.1:0.4:4", "--kappa-c", "0.5,0.6,1", "--out", "a.db", "--workers", "1"]
    assert main([*argv, "--json", "--export", "a.csv"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["points"], record["computed"], record["failed"], record["rows"]) == (12, 12, 4, 12)
    assert "12 points (3 kappa_c x 4 kappa_s)" in err and "results go to a.db" in err and "a point" in err
    (tmp_path / "list.csv").write_text("kappa_c,kappa_s\n0.5,0.1\n0.7,0.2\n")
    assert main(["sweep", "--method", TRIVIAL, "--points", "list.csv", "--out", "a.db", "--workers", "1", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "1 of 2 points computed" in out and err == ""
    assert main(["sweep", "--out", "a.db", "--export", "b.csv"]) == 0 and "13 rows written to b.csv" in capsys.readouterr().out
    listed = ["--points", "list.csv", "--K", "1"]
    for bad in (["--kappa-c", "x"], ["--K", "1", "--n", "3"], ["--points", "none.csv"], ["--method", "no"], listed):
        assert main(["sweep", "--out", "c.db", *bad]) == 2
        assert capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------------------------ clusters and size


@pytest.mark.slow
def test_a_dask_cluster_that_loses_a_worker_loses_nothing(tmp_path):
    distributed = pytest.importorskip("distributed")
    from warnings import catch_warnings, simplefilter

    path, grid = tmp_path / "a.db", {"kappa_c": sweep.span(0.5, 0.9, 20), "kappa_s": sweep.span(0.1, 0.4, 20)}
    with catch_warnings():
        simplefilter("ignore")
        os.environ["PYTHONPATH"], before = ENVIRONMENT["PYTHONPATH"], os.environ.get("PYTHONPATH", "")
        try:
            with distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, protocol="tcp://", dashboard_address=None
            ) as cluster:
                assert cluster.scheduler_address.startswith("tcp://")
                killed = []

                def kill_one(done, total):
                    if done > 100 and not killed:
                        killed.append(cluster.workers[0].pid)
                        os.kill(killed[0], signal.SIGKILL)

                slow = {"method": PAUSING, "options": {"pause": 0.02}}
                done = sweep.run(path, grid, **slow, scheduler=cluster.scheduler_address, progress=kill_one)
                assert killed and done["computed"] == 400 and done["failed"] == 0
                orbits = {"K": 1, "P": 1e12, "kappa_c": (0.6, 0.9), "kappa_s": (0.2, 0.4)}
                sweep.run(tmp_path / "dask.db", orbits, scheduler=cluster.scheduler_address)
        finally:
            os.environ["PYTHONPATH"] = before
    sweep.run(tmp_path / "b.db", grid, **slow, workers=2)
    sweep.run(tmp_path / "local.db", orbits, workers=1)
    assert rows(path) == rows(tmp_path / "b.db") and rows(tmp_path / "dask.db") == rows(tmp_path / "local.db")


def test_a_scheduler_that_does_not_answer_is_said_so(tmp_path):
    pytest.importorskip("distributed")
    from dynsim.sweep.workers import Cluster

    with pytest.raises(dynsim.FileError, match="no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        Cluster("tcp://127.0.0.1:9", patience=0.5)


@pytest.mark.slow
def test_the_process_that_compiles_gets_the_same_bits(tmp_path):
    """Kernels compiled anew, and loaded from numba's cache: the first worker of all does the one, the others do the other."""
    code = (
        "import dynsim\nfrom dynsim.sweep.methods import find\nfrom dynsim.reduced.kernels.closure import orbit_query\n"
        "print([find('orbit')(dynsim.Problem(1, 0.75, P, 0.9, 0.4)) for P in (1e5, 1e12)])\n"
        "print(sum(orbit_query.stats.cache_misses.values()))"
    )
    environment = {**ENVIRONMENT, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    (cold, compiled), (warm, loaded) = (text.splitlines() for text in said)
    assert compiled == "1" and loaded == "0" and cold == warm


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_hundred_thousand_points_in_bounded_memory(tmp_path):
    """The driver's memory does not grow with the points: 1e5 of them take less than 20 MB more than 1e3 (listing them, their
    keys alone would take 10, with their rows over 100). Writing keeps up with 1000 rows a second."""
    peaks = []
    for n in (32, 316):
        code = (
            "from dynsim import sweep\n"
            f"grid = dict(kappa_c=sweep.span(.5, .9, {n}), kappa_s=sweep.span(.1, .4, {n}))\n"
            f"done = sweep.run({str(tmp_path / f'{n}.db')!r}, grid, method='sweep_methods:trivial', workers=2)\n"
            "peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
            "print(done['computed'], done['seconds'], *peak)"
        )
        out = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
        computed, seconds, peak = out.split()
        peaks.append(int(peak) / 1024)
        assert int(computed) == n * n
    size = os.path.getsize(tmp_path / "316.db") / n**2
    print(f"peak {peaks} MB, {n**2 / float(seconds):.0f} rows a second, {size:.0f} bytes a row")
    assert peaks[1] - peaks[0] < 20 and n**2 / float(seconds) > 1000


def test_only_lokys_own_stumble_is_kept_quiet(monkeypatch):
    """Threads that fail while workers are shut down: KeyError is loky looking for work that it dropped, all else is printed."""
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append(args.exc_type))

    class Executor:
        def shutdown(self, **_):
            for error in (KeyError, ValueError):
                thread = threading.Thread(target=lambda error=error: (_ for _ in ()).throw(error()))
                thread.start()
                thread.join()

    pool = Processes(1)
    pool._executor, hook = Executor(), threading.excepthook
    pool.close()
    assert heard == [ValueError] and threading.excepthook is hook and pool._executor is None


KILLED = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")  # so that the transaction reaches the file before it ends
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE points SET message = hex(zeroblob(20000)), status = 'lost'")
db.execute("UPDATE points SET message = hex(zeroblob(40000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_reader_after_a_writer_that_was_killed(tmp_path):
    """The journal of the transaction that did not end is rolled back by whoever comes next, be it to read."""
    path = tmp_path / "a.db"
    sweep.run(path, {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)
    before = sweep.load(path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -signal.SIGKILL and Path(f"{path}-journal").exists()
    assert b"0" * 2000 in path.read_bytes()  # control: what did not end had reached the file
    after = sweep.load(path)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert not Path(f"{path}-journal").exists()


@pytest.mark.parametrize("name", ["key", "gamma", "seed", "seconds", "p"])
def test_a_result_takes_no_column_of_the_store(tmp_path, name):
    counts = sweep.run(tmp_path / "a.db", {"P": [100, 200]}, method="sweep_methods:named", options={"name": name}, workers=1)
    assert counts["failed"] == 2
    table = sweep.load(tmp_path / "a.db")
    assert list(table["P"]) == [100, 200] and all("rename it" in message for message in table["message"])


def test_pictures_are_known_by_their_content(tmp_path):
    first, second = np.random.default_rng(0).random((2, 12, 4, 4))

    def computed(pictures, name):
        np.save(tmp_path / name, pictures)
        options = {"images": str(tmp_path / name), "patch": 2}
        return sweep.run(tmp_path / "a.db", {"gamma": 0.5}, method="any-images", options=options, workers=1)["computed"]

    assert [computed(first, "a.npy"), computed(first, "a.npy"), computed(first, "b.npy")] == [1, 0, 0]
    assert computed(second, "a.npy") == 1


def test_listed_points_and_seeds_are_each_computed_once(tmp_path):
    counts = sweep.run(tmp_path / "a.db", points=[{"P": 100}] * 5 + [{"P": 200}], method="sweep_methods:trivial", workers=1)
    assert counts["points"] == counts["computed"] == 2
    more = sweep.run(tmp_path / "b.db", {"P": 100}, seeds=np.arange(3), method="sweep_methods:trivial", workers=1)
    assert more["computed"] == 3
    with pytest.raises(dynsim.InputError, match="from 1 to 1000, got 99999"):
        sweep.run(tmp_path / "c.db", {"P": 100}, method="sweep_methods:trivial", workers=99999)


def test_what_is_wrong_with_all_points_is_said(tmp_path, capsys):
    counts = sweep.run(tmp_path / "a.db", {"gamma": [1.5, 2.0]}, method="orbit", workers=1)
    assert counts["failed"] == 2 and counts["reason"].startswith("gamma is the masked fraction, strictly between 0 and 1")
    assert "reason" not in sweep.run(tmp_path / "b.db", {"gamma": 0.5, "P": 100}, method="sweep_methods:trivial", workers=1)


@pytest.mark.parametrize(
    "text, rule", [("0:1:1e9", "a whole count from 1 to 1e"), ("0:1:inf", "a whole count"), ("0:1:3:log", "needs ends above 0")]
)
def test_a_range_that_is_none(text, rule):
    with pytest.raises(dynsim.InputError, match=rule):
        sweep.parse_axis(text)


def test_too_many_seeds_are_refused_at_once(tmp_path):
    with pytest.raises(dynsim.InputError, match="up to 1e.06 seeds, got 1000000000"):
        sweep.run(tmp_path / "a.db", {"P": 100}, seeds=10**9, method="sweep_methods:trivial", workers=1)
