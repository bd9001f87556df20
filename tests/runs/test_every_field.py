"""Every registered field: its result files whole or refused, its runs stopped, killed and gone on, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from every_field import EVERY, small

import dynsim
from dynsim import reduced, runs
from dynsim.reduced import gradient_flow
from dynsim.runs import files, recipe

DESCENT = {"eta": 0.1, "steps": 9, "keep": 3}
FLOWS = [key for key in EVERY if small(key).deterministic]


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def assert_same(a, b):
    for name in files.ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), name
    assert set(a.terms) == set(b.terms) and all(a.terms[name].tobytes() == b.terms[name].tobytes() for name in a.terms)
    assert files.plain(a.meta) == files.plain(b.meta)


def damaged(content, draw):
    """A copy with a flipped bit, or cut short, or with a stretch zeroed."""
    content, at = bytearray(content), draw.randrange(len(content))
    how = draw.choice(("bit", "bit", "cut", "zeros"))
    if how == "bit":
        content[at] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del content[at:]
    else:
        content[at : at + 100] = bytes(len(content[at : at + 100]))
    return bytes(content)


@pytest.mark.parametrize("ending", ["npz", "nc"])
@pytest.mark.parametrize("key", EVERY)
def test_files_come_back_whole_or_are_refused(key, ending, tmp_path):
    if ending == "nc":
        pytest.importorskip("h5py")
        pytest.importorskip("xarray")
    field, path, draw = small(key), tmp_path / f"a.{ending}", random.Random(zlib.crc32(key.encode()))
    run = reduced.descend(field, eta=0.1, steps=2)
    files.save(path, run)
    again = files.load(path)
    assert_same(again, run)
    assert dict(again.layout.dims) == dict(run.layout.dims)
    y = np.random.default_rng(0).normal(size=field.start().shape)
    for a, b in zip(recipe.build(*again.recipe).velocity(y, step=2), field.velocity(y, step=2), strict=True):
        np.testing.assert_array_equal(a, b)
    whole, right = path.read_bytes(), 0
    for _ in range(40):
        path.write_bytes(damaged(whole, draw))
        try:
            assert_same(files.load(path), run)
            right += 1
        except dynsim.FileError as error:
            assert "\n" not in str(error)
    assert right < 20  # a bit of what is not content may change: dates in the archive, say


class Stop:
    """Progress that interrupts the run at its n-th report."""

    def __init__(self, n):
        self.left = n

    def __call__(self, done, total):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("key", EVERY)
def test_descent_goes_on_as_if_never_stopped(key, tmp_path):
    field, path = small(key), tmp_path / "run.npz"
    whole = reduced.descend(field, **DESCENT)
    for at in (1, 5):
        with pytest.raises(dynsim.Interrupted, match="and can be resumed$"):
            runs.run(path, field, every=0, progress=Stop(at), **DESCENT)
        assert_same(runs.resume(path), whole)  # the field too comes from the file
    assert runs.rerun(path).same


@pytest.mark.parametrize("key", FLOWS)
def test_flow_goes_on_as_if_never_stopped(key, tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_flow, "SEGMENT", dict.fromkeys(gradient_flow.SEGMENT, 3))
    field, path, ends = small(key), tmp_path / "run.npz", []
    options = {"t_end": 20.0, "keep": 8, "rtol": 1e-3}
    whole = reduced.flow(field, progress=lambda done, total: ends.append(done), **options)
    with pytest.raises(dynsim.Interrupted, match="and can be resumed$"):
        runs.run(path, field, "flow", every=0, progress=Stop(max(1, len(ends) // 2)), **options)
    assert_same(runs.resume(path), whole)


CHILD = """
import sys
sys.path.insert(0, sys.argv[3])
from every_field import small
from dynsim import runs
print("begins", flush=True)
runs.run(sys.argv[1], small(sys.argv[2]), eta=0.01, steps=int(sys.argv[4]), keep=10, every=0, resume=True)
"""


def begun(path, key, steps):
    argv = [sys.executable, "-c", CHILD, str(path), key, str(Path(__file__).parents[1]), str(steps)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n", process.communicate()[1]
    while process.poll() is None and not path.exists():
        time.sleep(0.001)
    return process


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("key", EVERY)
def test_killed_twice(key, tmp_path):
    """kill -9 at a random time, again in the run that goes on, then to the end: the bits of a run that nothing stopped."""
    draw, path, steps, killed = random.Random(zlib.crc32(key.encode())), tmp_path / "run.npz", 400, 0
    for _ in range(2):
        process = begun(path, key, steps)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        files.load(path)  # whole, at whatever step
    assert killed
    process = begun(path, key, steps)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_same(files.load(path), reduced.descend(small(key), eta=0.01, steps=steps, keep=10))
    assert os.listdir(tmp_path) == ["run.npz"]
