"""A run that stops and goes on is the uninterrupted run, bit for bit: every field, optimiser and solver; also after kill -9."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import dynsim
from dynsim import Embedding, reduced, runs
from dynsim.cli import main
from dynsim.reduced import (
    Adam,
    Descent,
    EmpiricalField,
    MinibatchField,
    Momentum,
    OrbitField,
    PopulationField,
    Sign,
    gradient_flow,
)
from dynsim.runs import checkpoints, files, recipe

PROBLEM = dynsim.Problem(K=2, gamma=0.5, P=8, kappa_c=0.6, kappa_s=0.5, amplitude=dynsim.Discrete((0.7, 1.0, 1.4), (1, 2, 4)))
PART = dynsim.Partition.random(PROBLEM, seed=1)
DATA = dynsim.sample(PROBLEM, PART, n=6, seed=2)
TOKEN = Embedding.random(PART, 7).with_token(np.linspace(-1, 1, 7))
FIELDS = {
    "samples": EmpiricalField(PART, DATA),
    "vectors": EmpiricalField(PART, DATA, embedding=Embedding.sinusoidal_2d(PART, 16), hold="fp"),
    "token": EmpiricalField(PART, DATA, embedding=TOKEN),
    "own-area": PopulationField(PROBLEM, PART),
    "mean-field": PopulationField(PROBLEM, PART, masks="mean-field", nodes=5),
    "exact": PopulationField(PROBLEM, PART, masks="exact", nodes=2),
    "monte-carlo": PopulationField(PROBLEM, PART, masks="monte-carlo", n=9, seed=3),
    "fresh": MinibatchField.fresh(PROBLEM, PART, n=4, seed=5),
    "chosen": MinibatchField.of(PART, DATA, n=4, seed=5, hold="pp"),
    "orbit": OrbitField(PROBLEM, "LG", nodes=3),
    "orbit-product": OrbitField(dynsim.Problem(K=2, P=1e30, gamma=0.5, kappa_s=0.6), intersections="product", masks="mean-field"),
}
RULES = [Descent(), Momentum(0.8), Momentum(0.8, nesterov=True), Adam(), Sign()]


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """No waiting for the disk, which takes most of the time of these small runs."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def undrawn(monkeypatch):
    """No figures, which take most of the time of the command."""
    monkeypatch.setattr("dynsim.cli.simulate._write", lambda *args: None)


class Stop:
    """Progress that interrupts the run at its n-th report."""

    def __init__(self, n):
        self.left = n

    def __call__(self, done, total):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def assert_same(a, b):
    for name in files.ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), name
    assert files.plain(a.meta) == files.plain(b.meta)


def interrupted(path, field, at, *args, **options):
    with pytest.raises(dynsim.Interrupted, match="and can be resumed$"):
        runs.run(path, field, *args, every=0, progress=Stop(at), **options)


# ------------------------------------------------------------------------------------------------ descent


def optimisers(name):
    return RULES if FIELDS[name].__class__ is OrbitField or FIELDS[name].embedding is None else RULES[:3]


@pytest.mark.parametrize("name", FIELDS)
def test_descent_goes_on_as_if_never_stopped(tmp_path, name):
    field, path = FIELDS[name], tmp_path / "run.npz"
    for rule in optimisers(name):
        options = {"eta": 0.1, "steps": 9, "keep": 3, "optimiser": rule}
        whole = reduced.descend(field, **options)
        for at in (1, 8) if rule is RULES[0] else (5,):
            interrupted(path, field, at, **options)
            assert files.read(path)[1]["state"]["step"] == at - 1  # what step `at` had changed is not in the file
            assert_same(runs.resume(path), whole)  # the field too comes from the file
            assert_same(files.load(path), whole)


def test_without_its_memory_it_would_go_another_way(tmp_path):
    """Control: the comparison sees a state that is not whole."""
    path, options = tmp_path / "run.npz", {"eta": 0.1, "steps": 12, "optimiser": Momentum(0.8)}
    whole = reduced.descend(FIELDS["samples"], **options)
    interrupted(path, FIELDS["samples"], 5, **options)
    traj, header, arrays = files.read(path)
    arrays["state.0"] = arrays["state.0"] * (1 + 1e-15)
    files.save(path, traj, {key: header[key] for key in ("field", "seed", "finished", "state")}, arrays)
    with pytest.raises(AssertionError):
        assert_same(runs.resume(path), whole)


def test_stopped_twice_and_extended(tmp_path):
    path, field, options = tmp_path / "run.npz", FIELDS["fresh"], {"eta": 0.1, "keep": 4, "optimiser": Adam()}
    interrupted(path, field, 3, steps=10, **options)
    interrupted(path, field, 4, steps=10, resume=True, **options)
    runs.resume(path)
    assert_same(runs.resume(path, more=9), reduced.descend(field, steps=19, **options))  # step 10, its end then, is gone
    assert_same(runs.resume(path, until=2.5), reduced.descend(field, steps=25, **options))
    assert_same(runs.resume(path), reduced.descend(field, steps=25, **options))
    for until, more in [(1.0, None), (0, None), (np.nan, None), (True, None), (None, -1), (None, 1.5), (9.0, 1)]:
        with pytest.raises(dynsim.InputError, match="got .*: (give|take)"):
            runs.resume(path, until, more)


# ------------------------------------------------------------------------------------------------ flow


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(gradient_flow, "SEGMENT", dict.fromkeys(gradient_flow.SEGMENT, 3))


ENDS = {"orbit-product": 3e15}
FLOWS = list(product(("orbit", "orbit-product", "samples", "token", "own-area", "exact"), gradient_flow.SOLVERS))
QUICK = [*FLOWS[:4], ("orbit-product", "LSODA"), ("samples", "DOP853"), ("own-area", "LSODA"), ("token", "RK45")]
MARKED = [pytest.param(*flow, marks=() if flow in QUICK else pytest.mark.slow) for flow in FLOWS]


@pytest.mark.parametrize("name, solver", MARKED)
def test_flow_goes_on_as_if_never_stopped(tmp_path, short_segments, name, solver):
    field, path, ends = FIELDS[name], tmp_path / "run.npz", []
    options = {"t_end": ENDS.get(name, 20.0), "keep": 8, "rtol": 1e-3, "method": solver}
    whole = reduced.flow(field, progress=lambda done, total: ends.append(done), **options)
    assert len(ends) > 6  # at least two segments
    for at in (3, len(ends) - 1):
        interrupted(path, field, at, "flow", **options)
        assert files.read(path)[1]["state"]["step"] == 3 * ((at - 1) // 3)
        assert_same(runs.resume(path), whole)


@pytest.mark.parametrize("solver", gradient_flow.SOLVERS)
def test_flow_is_extended(tmp_path, short_segments, solver):
    field, path = FIELDS["orbit"], tmp_path / "run.npz"
    options = {"keep": [0, 5, 10, 15], "rtol": 1e-3, "method": solver}
    runs.run(path, field, "flow", t_end=20.0, **options)
    with pytest.raises(dynsim.FileError, match="keep was .*, got"):
        runs.run(path, field, "flow", resume=True, t_end=40.0, **{**options, "keep": 9})
    with pytest.raises(dynsim.InputError, match="a later"):
        runs.resume(path, until=1e-3)
    assert_same(runs.resume(path, until=40.0), reduced.flow(field, t_end=40.0, **options))


@pytest.mark.parametrize("solver", ["DOP853", "RK45"])
def test_runge_kutta_does_not_notice_segments(monkeypatch, solver):
    runs_ = []
    for segment in (1, 10**9):
        monkeypatch.setitem(gradient_flow.SEGMENT, solver, segment)
        runs_.append(reduced.flow(FIELDS["samples"], t_end=60.0, keep=8, rtol=1e-4, method=solver))
    for name in files.ARRAYS:
        np.testing.assert_array_equal(getattr(runs_[0], name), getattr(runs_[1], name))


# ------------------------------------------------------------------------------------------------ what is refused


def test_more_steps_of_a_flow_are_refused(tmp_path):
    runs.run(tmp_path / "a.npz", FIELDS["orbit"], "flow", t_end=5.0)
    with pytest.raises(dynsim.InputError, match="more= is a whole number of steps of descent, got 3 for flow: give until="):
        runs.resume(tmp_path / "a.npz", more=3)


def test_another_run_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    runs.run(path, FIELDS["samples"], steps=4)
    before = path.read_bytes()
    for name in set(FIELDS) - {"samples"}:
        with pytest.raises(dynsim.FileError, match="is of another problem or field: choose another"):
            runs.run(path, FIELDS[name], steps=4, resume=True)
    for options in ({"eta": 0.5}, {"keep": 2}, {"optimiser": Sign()}, {"integrator": "flow", "t_end": 9.0}):
        with pytest.raises(dynsim.DynsimError, match="goes on"):
            runs.run(path, FIELDS["samples"], resume=True, **{"steps": 4, **options} if len(options) == 1 else options)
    files.save(tmp_path / "b.npz", replace(files.load(path), recipe=None))
    with pytest.raises(dynsim.FileError, match="holds a state to go on from, .* holds none: run anew"):
        runs.run(tmp_path / "b.npz", FIELDS["samples"], resume=True)
    with pytest.raises(dynsim.FileError, match="does not hold its field .*: give field="):
        runs.resume(tmp_path / "b.npz")
    assert path.read_bytes() == before
    with pytest.raises(dynsim.InputError, match="every must be seconds"):
        runs.run(path, FIELDS["samples"], every=-1)


def test_a_field_of_ones_own_is_given_again(tmp_path):
    field = MinibatchField(PART, lambda step: dynsim.sample(PROBLEM, PART, 3, seed=step))
    assert recipe.describe(field) == (None, {})
    interrupted(tmp_path / "a.npz", field, 3, steps=6)
    with pytest.raises(dynsim.FileError, match="code of its own"):
        runs.resume(tmp_path / "a.npz")
    assert_same(runs.resume(tmp_path / "a.npz", field=field), reduced.descend(field, steps=6))


def test_divergence_keeps_what_was(tmp_path):
    with pytest.raises(dynsim.Diverged) as caught:
        runs.run(tmp_path / "a.npz", FIELDS["samples"], eta=1e5, steps=50, keep=1)
    assert_same(files.load(tmp_path / "a.npz"), caught.value.trajectory)
    assert runs.rerun(tmp_path / "a.npz").same


# ------------------------------------------------------------------------------------------------ running again


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_comes_back_from_its_recipe(name):
    plain, arrays = recipe.describe(FIELDS[name])
    again = recipe.build(files.plain(plain), arrays)
    assert again.describe() == FIELDS[name].describe()
    y = np.random.default_rng(0).normal(size=FIELDS[name].start().shape)
    for a, b in zip(again.velocity(y, step=4), FIELDS[name].velocity(y, step=4), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ending", ["npz", "nc"])
def test_rerun_says_whether_the_bits_agree(tmp_path, ending):
    if ending == "nc":
        pytest.importorskip("h5py")
    path = tmp_path / f"a.{ending}"
    for field, integrator, options in (
        (FIELDS["monte-carlo"], "descend", {"steps": 3, "optimiser": Adam(eps=1e-6)}),
        (FIELDS["orbit"], "flow", {"t_end": 9.0}),
    ):
        traj = runs.run(path, field, integrator, seed=7, command=["dynsim", "simulate"], **options)
        again = runs.rerun(path)
        assert again.same and again.deviation == 0 and again.versions == {}
        assert_same(again.trajectory, traj)
        _, header, arrays = files.read(path)  # controls: other bits, other versions
        files.save(path, replace(traj, loss=traj.loss * (1 + 1e-9)), {"finished": header["finished"]}, arrays, {"numpy": "0.1"})
        again = runs.rerun(path)
        assert not again.same and 1e-10 < again.deviation < 1e-8 and again.versions["numpy"][0] == "0.1"
        assert len(again.versions) == 1


def test_an_unfinished_run_is_not_compared(tmp_path):
    interrupted(tmp_path / "a.npz", FIELDS["samples"], 3, steps=6)
    with pytest.raises(dynsim.FileError, match="which is unfinished: resume it first"):
        runs.rerun(tmp_path / "a.npz")


def test_equal_runs_have_equal_hashes_whatever_happened_on_the_way(tmp_path):
    field = FIELDS["samples"]
    for name in "abc":
        interrupted(tmp_path / f"{name}.npz", field, 4, steps=9)
        time.sleep(0.01)
        runs.resume(tmp_path / f"{name}.npz", more=int(name == "c"))
    a, b, c = (files.read(tmp_path / f"{name}.npz")[1] for name in "abc")
    assert a["hash"] == b["hash"] != c["hash"] and a["about"]["seconds"] != b["about"]["seconds"]


# ------------------------------------------------------------------------------------------------ the command

SMALL = "simulate --method samples --K 2 --P 16 --kappa-s 0.3 --n 6 --quiet"


def command(capsys, line):
    status = main(line.split())
    return status, *capsys.readouterr()


def test_the_command_goes_on(tmp_path, capsys, monkeypatch, undrawn):
    """Orbit runs: one file per query type; stopped in the second one."""
    line = f"simulate --K 2 --P 100 --t-end 30 --quiet --out {tmp_path}/"
    assert command(capsys, line + "whole")[0] == 0
    calls, write = [], checkpoints._Writer.write

    def stops(self, traj, finished):
        calls.append(write(self, traj, finished))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._Writer, "write", stops)
        status, out, err = command(capsys, line + "stopped")
    assert status == 130 and out == "" and err.count("\n") == 1 and "trajectory-LG.npz" in err and "can be resumed" in err
    assert sorted(os.listdir(tmp_path / "stopped")) == ["trajectory-LG.npz", "trajectory-LL.npz"]
    assert command(capsys, line + "stopped --resume")[0] == 0
    for query in ("LL", "LG", "GG"):
        a, b = (files.read(tmp_path / name / f"trajectory-{query}.npz") for name in ("whole", "stopped"))
        assert a[1]["hash"] == b[1]["hash"]
        assert_same(a[0], b[0])
    assert a[1]["about"]["command"] == ["dynsim", *line.split()[:-1], f"{tmp_path}/whole"] and a[1]["seed"] == 0
    assert sorted(os.listdir(tmp_path / "whole")) == sorted(os.listdir(tmp_path / "stopped"))


def test_the_command_goes_on_to_more_steps(tmp_path, capsys, undrawn):
    line = f"{SMALL} --seed 5 --out {tmp_path}/a --checkpoint 0"
    assert command(capsys, line + " --steps 3")[0] == 0
    status, out, err = command(capsys, line + " --steps 9 --resume --json")
    problem = dynsim.Problem(K=2, P=16, kappa_s=0.3)
    part = dynsim.Partition.blocks(problem, seed=5)
    whole = reduced.descend(EmpiricalField(part, dynsim.sample(problem, part, n=6, seed=5)), steps=9)
    assert status == 0 and err == "" and f'"loss": {float(whole.loss[-1])!r}' in out
    for other in ("--steps 9 --eta 2", "--steps 9 --n 7", "--steps 2", "--t-end 9"):
        status, out, err = command(capsys, f"{line} --resume {other}")
        assert status == 2 and out == "" and err.count("\n") == 1 and "goes on" in err
    assert files.load(tmp_path / "a" / "trajectory.npz").loss[-1] == whole.loss[-1]


def test_the_command_runs_a_file_again(tmp_path, capsys, undrawn):
    assert command(capsys, f"{SMALL} --steps 3 --seed random --out {tmp_path}")[0] == 0
    path = tmp_path / "trajectory.npz"
    assert isinstance(files.read(path)[1]["seed"], int)
    status, out, err = command(capsys, f"simulate --from {path}")
    assert status == 0 and "the same versions" in out and "all bits agree" in out
    traj, header, arrays = files.read(path)
    changed = replace(traj, loss=traj.loss * (1 + 1e-9))
    for about, expected in (({}, 1), ({"numpy": "0.1"}, 0)):
        files.save(path, changed, {"finished": header["finished"]}, arrays, about)
        status, out, _ = command(capsys, f"simulate --from {path}")
        assert status == expected and "the bits differ, by 1e-09" in out and ("numpy 0.1 ->" in out) == bool(about)
        assert '"same": false' in command(capsys, f"simulate --json --from {path}")[1]


@pytest.mark.parametrize(
    "line, rule",
    [
        ("--from none.npz", "does not: check the name"),
        ("--from none.txt", "end in .npz or .nc"),
        ("--from none.npz --K 3", "got --K too: drop one"),
        ("--from none.npz --out .", "got --out too: drop one"),
        ("--resume", "got no --out: name the folder"),
        ("--checkpoint 5", "got no --out: name the folder"),
        ("--checkpoint -1 --out {}", "every must be seconds"),
        ("--checkpoint nan --out {}", "every must be seconds"),
    ],
)
def test_what_the_command_refuses(tmp_path, capsys, line, rule):
    status, out, err = command(capsys, "simulate " + line.format(tmp_path / "a"))
    assert status == 2 and out == "" and rule in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------ killed

CHILD = """
import sys, dynsim
from dynsim import runs
from dynsim.reduced import MinibatchField, Adam
problem = dynsim.Problem(K=2, gamma=0.5, P=8, kappa_c=0.6, kappa_s=0.5)
part = dynsim.Partition.random(problem, seed=1)
print("begins", flush=True)
field = MinibatchField.fresh(problem, part, n=4)
runs.run(sys.argv[1], field, eta=0.05, steps=150, keep=5, optimiser=Adam(), every=0, resume=True)
"""


def begun(path, first=False):
    """The process, once it is about to begin, or once the first checkpoint is there."""
    argv = [sys.executable, "-c", CHILD, str(path)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n"
    while first and process.poll() is None and not path.exists():
        time.sleep(0.001)
    return process


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_at_random_times(tmp_path):
    """kill -9 at 20 random times of a run (one that ended before does not count), each followed by a run that goes on."""
    process, began = begun(tmp_path / "whole.npz", first=True), time.monotonic()
    process.communicate(timeout=300)
    seconds, whole = time.monotonic() - began, files.load(tmp_path / "whole.npz")
    draw, found = random.Random(4), []
    for i in range(80):
        path = tmp_path / f"{i}.npz"
        process = begun(path, first=True)
        time.sleep(draw.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        if process.returncode != -signal.SIGKILL:
            continue
        found.append(files.read(path)[1]["state"]["step"])  # whole, at whatever step
        assert_same(runs.resume(path), whole)
        assert [entry for entry in os.listdir(tmp_path) if entry.startswith(f".{i}.npz")] == []
        if len(found) == 20:
            break
    print(f"killed {len(found)} times, resumed from steps {sorted(found)}")
    assert len(found) == 20 and len(set(found)) >= 8


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("which", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=str)
def test_interrupted_by_a_signal(tmp_path, which):
    argv = [sys.executable, "-m", "dynsim", *SMALL.split(), "--steps", "1000", "--checkpoint", "0", "--out", str(tmp_path)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "trajectory.npz").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(which)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == "" and err.count("\n") == 1 and "can be resumed" in err
    assert os.listdir(tmp_path) == ["trajectory.npz"]
    problem = dynsim.Problem(K=2, P=16, kappa_s=0.3)
    part = dynsim.Partition.blocks(problem)
    whole = reduced.descend(EmpiricalField(part, dynsim.sample(problem, part, n=6)), steps=1000)
    assert_same(runs.resume(tmp_path / "trajectory.npz"), whole)


def test_a_flow_that_an_event_ended_is_resumed_and_run_again(tmp_path):
    field, path = reduced.OrbitField(dynsim.Problem(K=1, P=1e6)), tmp_path / "run.npz"
    first = dynsim.runs.run(path, field, "flow", t_end=1e9, until="escape", keep=20)
    assert first.meta["status"].startswith("ended by escape") and first.meta["until"] == "escape"
    again = dynsim.runs.rerun(path)
    assert again.same and again.trajectory.meta["status"] == first.meta["status"]
    assert dynsim.runs.resume(path, until=1e8).meta["status"] == "reached t_end=1e+08"


def test_batches_of_unequal_sizes_are_one_run(tmp_path):
    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    part = dynsim.Partition.blocks(problem)
    field = reduced.MinibatchField.resampled(part, dynsim.sample(problem, part, n=20, seed=0), n=8)
    whole = dynsim.runs.run(tmp_path / "a.npz", field, eta=1.0, steps=6)
    assert whole.meta["n"] == 8
    dynsim.runs.run(tmp_path / "b.npz", field, eta=1.0, steps=3)
    resumed = dynsim.runs.run(tmp_path / "b.npz", field, resume=True, eta=1.0, steps=6)
    assert resumed.fp.tobytes() == whole.fp.tobytes()


def test_what_cannot_be_run_is_named(tmp_path):
    with pytest.raises(dynsim.InputError, match='integrator must be "descend" or "flow", got \'leap\''):
        dynsim.runs.run(tmp_path / "run.npz", reduced.OrbitField(dynsim.Problem(K=1, P=1e6)), "leap")


def test_a_sum_with_a_term_of_your_own_holds_no_field(tmp_path):
    class Own(reduced.EmpiricalField):
        method = "own"

    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, n=8, seed=0)
    both = reduced.SumField([(1.0, reduced.EmpiricalField(part, data)), (0.5, Own(part, data))])
    dynsim.runs.run(tmp_path / "run.npz", both, steps=3)
    with pytest.raises(dynsim.FileError, match="does not hold its field"):
        dynsim.runs.resume(tmp_path / "run.npz", more=2)
    assert dynsim.runs.resume(tmp_path / "run.npz", field=both, more=2).step[-1] == 5
