"""Whatever is typed: an exit status that means something, one line where it is refused, no hang, no file that is not whole.

Over all commands and options, read from the parser. DYNSIM_EXAMPLES sets how many command lines are drawn (150; before
a release 10,000); the same number draws the same ones.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsim import sweep
from dynsim.cli import build_parser, main
from dynsim.runs import files

EXAMPLES = settings(max_examples=int(os.environ.get("DYNSIM_EXAMPLES", 150)))
SECONDS = 60  # of the processor, for one command line: far above what any takes

GOOD = {  # values that make small runs; what is not here gets odd ones only
    "K": ["1", "2", "3"],
    "gamma": ["0.5", "0.8", "0.75"],
    "P": ["10", "16", "24", "25", "36"],
    "kappa_c": ["0.5", "0.7", "0.8"],
    "kappa_s": ["0", "0.3", "0.5"],
    "L": ["0.5", "0.8", "1"],
    "U": ["1", "1.2", "2"],
    "method": ["samples", "samples", "population", "orbit"],
    "n": ["1", "5"],
    "partition": ["blocks", "random", "product"],
    "masks": ["own-area", "mean-field", "monte-carlo"],
    "query": ["L", "LG", "GG", "LLG"],
    "seed": ["0", "7", "random"],
    "steps": ["0", "1", "3"],
    "eta": ["1", "0.1", "1e5"],
    "t_end": ["0.5", "20"],
    "out": ["out", "out/below", "file", "file/below", "/proc/none", ""],
    "file": ["whole.npz", "damaged.npz", "none.npz", "file", "out", ""],
    "checkpoint": ["0", "5", "-1"],
    "nodes": ["1", "3"],
    "d": ["1", "40"],
    "weight": ["0", "0.5", "2"],
    "temperature": ["0.5", "1e-6"],
    "masks_per_image": ["1", "2"],
    "negatives": ["1", "3"],
    "objective": ["reconstruction", "contrastive", "mixed"],
    "images": ["stripes.npy", "none.npy", "damaged.npz", "file", "out"],
    "patch": ["2", "4", "3"],
    "batch": ["1", "5"],
    "scale": ["unit", "0.5"],
    "hold": ["fp", "pp"],
    "embedding": ["orthonormal", "random", "sinusoidal"],
    "format": ["npz", "nc"],
    "level": ["exact", "all"],
    "bound": ["escape_time=1.2", "escape_time=0.5", "depth=0", "escape_time"],
    "lower_bound": ["late_loss=-2", "pp_size=9", "=1"],
    "clusters": ["1", "2", "auto"],
    "areas": ["2", "3"],
    "bootstrap": ["0", "2"],
    "held_out": ["0.2", "0.5"],
    "seeds": ["0", "0,1", "2"],
    "points": ["points.csv", "none.csv", "file", "out"],
    "export": ["table.csv", "table.nc", "none/table.csv", "table.txt"],
    "workers": ["1", "1", "2"],
    "keep": ["2", "20"],
    "source": ["whole.npz", "out", "made", "stored.db", "damaged.npz", "none", "file"],
}
OTHERS = {  # where a command means something else by a name
    ("sweep", "P"): ["1e6", "1e6,1e8", "16"],
    ("sweep", "kappa_s"): ["0.3", "0.3,0.4"],
    ("sweep", "out"): ["store.db", "store.db", "stored.db", "file", "none/store.db"],
    ("plot", "out"): ["figure.png", "figure.svg", "figure.txt", "none/figure.png", "figure"],
    ("areas", "file"): ["stripes.npy", "stripes.npy", "none.npy", "damaged.npz", "file", "out"],
    ("scaling", "weight"): ["0", "0.5", "2"],
    ("scaling", "P"): ["1e8,1e10,1e12,1e14,1e16", "1e8,1e9", "1e8:1e16:5:log"],
}
SMALL = {  # what comes first, and later options override: most of the lines then run, and none for long
    "sweep": ["--K", "1", "--P", "1e6", "--workers", "1", "--out", "store.db"],
    "scaling": ["--P", "1e8,1e10,1e12,1e14,1e16", "--kappa-c", "0.8"],
    "areas": ["--clusters", "1", "--patch", "2", "--bootstrap", "0"],
    "plot": ["--out", "figure.png"],
}
ODD = ["", " ", "-", "--", "=", "-1", "0", "1e400", "nan", "inf", "-inf", "1e9", "1e30", "1e101", "0.999999", "1e-9", "2.5", "x"]
ODD += ["LLLL", "１", "é", "\udcff", "\0", "a\nb", "%s", "{}", "1_0", "0x10", "1,2", "../..", "*", "'", '"', "None", "9" * 400]
LONG = {"steps", "n", "seed", "checkpoint", "t_end", "seeds", "bootstrap", "workers"}  # where a large value means a long run
NEVER = {"scheduler"}  # reaches out to what is not there
HEAVY = {"validate", "explore"}  # minutes of work, and a server: here they are refused something
WHERE = {"out", "export"}  # a name that is written to: no odd ones, which are names too
TAME = [word for word in ODD if word not in ("1e9", "1e30", "1e101", "9" * 400, "0.999999")]


def commands():
    """Name and options of every command, read from the parser itself."""
    sub = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {
        name: [action for action in parser._actions if action.dest not in {"help", *NEVER}]
        for name, parser in sub.choices.items()
    }


COMMANDS = commands()


@st.composite
def lines(draw):
    command = draw(st.sampled_from(["simulate"] * 10 + ["sweep"] * 3 + sorted(COMMANDS)))
    argv = [command, *(SMALL.get(command, []) if draw(st.integers(0, 9)) else [])]
    for place in COMMANDS[command]:
        if not place.option_strings and draw(st.integers(0, 19)):
            argv.append(draw(st.sampled_from(OTHERS.get((command, place.dest), GOOD.get(place.dest, ODD)))))
    if command == "simulate" and draw(st.integers(0, 9)):  # small unless it says otherwise, so that most of them run
        argv += ["--P", draw(st.sampled_from(GOOD["P"])), "--K", draw(st.sampled_from(GOOD["K"]))]
        argv += ["--kappa-s", "0.3", "--kappa-c", "0.7", "--method", draw(st.sampled_from(GOOD["method"]))]
        argv += ["--out", "out"] if draw(st.booleans()) else []
        argv += ["--steps", draw(st.sampled_from(GOOD["steps"]))] if draw(st.booleans()) else ["--t-end", "20"]
    for _ in range(draw(st.integers(0, 4))):
        option = draw(st.sampled_from([option for option in COMMANDS[command] if option.option_strings] or [None]))
        if option is None:
            break
        name = draw(st.sampled_from(option.option_strings))
        if option.nargs == 0:
            argv.append(name)
            continue
        good = OTHERS.get((command, option.dest), GOOD.get(option.dest, []))
        odd = TAME if option.dest in LONG else ODD
        value = draw(st.sampled_from(good if good and (option.dest in WHERE or draw(st.integers(0, 3))) else odd))
        argv += [f"{name}={value}"] if draw(st.booleans()) else [name, value]
    for _ in range(draw(st.integers(0, 12)) == 0):
        at = draw(st.integers(0, len(argv)))
        argv[at:at] = [draw(st.one_of(st.sampled_from([*ODD, "--help", "--version", "--no-such", "-h"]), st.text(max_size=8)))]
    if command in HEAVY:
        argv.append("--no-such-option")
    return argv


class TooLong(BaseException):
    """Not an Exception, so that nothing in between takes it for an error of its own."""


@contextlib.contextmanager
def at_most(seconds):
    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop) if hasattr(signal, "SIGPROF") else None
    if before is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        if before is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="module")
def folder():
    """A folder to run in, with a result file, a damaged one and a file; no figures, which are slow and tested elsewhere."""
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynsim.plots.summary", lambda *args, **options: None)
        patch.setattr("dynsim.plots.save", lambda figure, path, *args: Path(path).write_text("figure"))
        patch.setattr("dynsim.plots.plt", None, raising=False)
        patch.setattr(os, "fsync", lambda handle: None)
        os.chdir(name)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                run = "simulate --K 1 --P 10 --kappa-c 0.5 --kappa-s 0.3 --method samples --n 3 --steps 2 --out out"
                assert main(run.split()) == 0
                assert main("sweep --K 1 --P 1e6 --kappa-c 0.7,0.9 --kappa-s 0.3,0.4 --workers 1 --out stored.db".split()) == 0
            shutil.copy("out/trajectory.npz", "whole.npz")
            shutil.move("out", "made")
            upright, lying = np.random.default_rng(0).uniform(0.5, 1.5, size=(2, 40, 1, 1))
            stripes = np.tile([1.0, 0.0], 4)
            np.save("stripes.npy", np.where(np.arange(8) < 6, upright * stripes, lying * stripes[:, None]))
            Path("points.csv").write_text("P,kappa_s\n1e6,0.3\n1e8,\n")
            Path("damaged.npz").write_bytes(Path("whole.npz").read_bytes()[:-100])
            Path("file").write_text("mine")
            yield Path(name)
        finally:
            os.chdir(home)


def check_files(folder):
    """What is there is whole, and nothing is there that was not asked for."""
    assert {path.name for path in folder.iterdir()} <= {*KEPT, *MADE}
    assert Path("file").read_text() == "mine" and files.load("whole.npz") and len(sweep.load("stored.db")["key"]) >= 4
    for name in ("store.db", "table.csv"):
        if Path(name).exists():
            assert sweep.load(name) if name.endswith("db") else Path(name).read_text().endswith("\n")
    for path in Path("out").rglob("*"):
        if path.name == "areas.npz":
            with np.load(path) as arrays:
                assert {"labels", "features"} <= {*arrays} and all(np.isfinite(arrays[name]).all() for name in arrays)
        elif path.suffix in (".npz", ".nc"):
            files.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.is_dir() or path.name in ("summary.png", "summary.pdf", "areas.png", "areas.pdf")


KEPT = {"whole.npz", "damaged.npz", "file", "made", "stored.db", "stripes.npy", "points.csv"}
MADE = {"out", "none", "store.db", "table.csv", "table.nc", "figure.png", "figure.svg"}  # out and none: folders
COUNT: dict[tuple[str, int], int] = {}


@EXAMPLES
@given(argv=lines())
def test_any_command_line(folder, argv):
    check(folder, argv)


def check(folder, argv):
    out, err = io.StringIO(), io.StringIO()
    with at_most(SECONDS), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(argv)
    out, err = out.getvalue(), err.getvalue()
    COUNT[argv[0], status] = COUNT.get((argv[0], status), 0) + 1
    assert status in (0, 1, 2), err
    assert "Traceback" not in err and all(line.startswith("dynsim: ") for line in err.splitlines())
    if status == 2 and argv[0] != "sweep":  # which may have computed all points before it cannot export them
        assert out == "" and err.endswith("\n")
    elif status != 2 and "--json" in argv and not {"-h", "--help", "--version"} & set(argv):
        assert isinstance(json.loads(out), dict)
    try:
        check_files(folder)
    finally:
        for name in MADE:
            if Path(name).is_dir():
                shutil.rmtree(name)
            Path(name).unlink(missing_ok=True)


def test_many_of_them_ran():
    """Control: what was drawn is not all refused, nor all accepted."""
    if not COUNT:
        pytest.skip("needs the test before it")
    total, good = sum(COUNT.values()), sum(n for (_, status), n in COUNT.items() if status < 2)
    print(COUNT)
    assert total / 10 < good < total * 9 / 10
    drawn = {command: sum(n for (name, _), n in COUNT.items() if name == command) for command in COMMANDS}
    often = {command for command, n in drawn.items() if n >= 20} - HEAVY
    assert often <= {command for command, status in COUNT if status < 2}
