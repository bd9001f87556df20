"""The command line itself: exit statuses, signals and pipes, and one clear line for whatever is typed wrong."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import dynsim
from dynsim import cite
from dynsim.cli import main, process

SMALL = ["simulate", "--method", "samples", "--K", "2", "--P", "16", "--kappa-s", "0.3", "--n", "6", "--steps", "4"]


def run(capsys, *argv):
    """Status, standard output and standard error of a command line, run in this process."""
    status = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return status, out, err


def command(*argv, **options):
    """The same in a process of its own."""
    return subprocess.run([sys.executable, "-m", "dynsim", *argv], capture_output=True, text=True, timeout=300, **options)


# ------------------------------------------------------------------------------------------------ bad input

BAD = [
    ("", "required"),
    ("simulat", "invalid choice"),
    ("simulate --gam 0.5", "unrecognized"),
    ("simulate --gamma 0", "gamma"),
    ("simulate --gamma 1", "gamma"),
    ("simulate --gamma -0.5", "gamma"),
    ("simulate --gamma -1e-3", "gamma"),
    ("simulate --gamma nan", "gamma"),
    ("simulate --gamma half", "gamma"),
    ("simulate --gamma", "gamma"),
    ("simulate --K=--", "expected one argument"),
    ("sweep --K=-- --out x.db", "expected one argument"),
    ("simulate --P 10 --gamma 0.01", "none"),
    ("simulate --P 10 --gamma 0.99", "all"),
    ("simulate --K 0", "K"),
    ("simulate --K 2.5", "K"),
    ("simulate --K inf", "K"),
    ("simulate --P 1", "P"),
    ("simulate --P 20.5", "P"),
    ("simulate --P 1e101", "P"),
    ("simulate --kappa-c 1.5", "--kappa-c"),
    ("simulate --kappa-s -0.1", "--kappa-s"),
    ("simulate --kappa-c 0.99 --P 20", "areas must fit"),
    ("simulate --kappa-c 0.6 --kappa-s 0.99", "areas must fit"),
    ("simulate --L 2 --U 1", "L <= U"),
    ("simulate --L -1", "amplitudes"),
    ("simulate --L 0 --U 0", "amplitudes"),
    ("simulate --method samples --n 0", "--n"),
    ("simulate --method samples --n 2.5", "--n"),
    ("simulate --method samples --eta 0", "eta"),
    ("simulate --method samples --eta -1", "eta"),
    ("simulate --method samples --eta nan", "eta"),
    ("simulate --method samples --steps -1", "--steps"),
    ("simulate --method samples --steps 1e400", "--steps"),
    ("simulate --method samples --steps 5 --t-end 5", "--t-end"),
    ("simulate --seed -1", "--seed"),
    ("simulate --seed x", "--seed"),
    ("simulate --format nc", "--out"),
    ("simulate --method population --objective contrastive", "take orbit"),
    ("simulate --plot --json", "give one of them"),
    ("simulate --method sample", "--method"),
    ("simulate --method samples --query LLLL", "--query"),
    ("simulate --query LLL", "LLL"),
    ("simulate --query LLLX", "LLLX"),
    ("simulate --K 1e100", "K=640"),
    ("simulate --masks exact", "masks"),
    ("simulate --t-end 0", "--t-end"),
    ("simulate --t-end nan", "--t-end"),
    ("simulate --method population --masks exact", "P <= 16"),
    ("simulate --method samples --masks exact", "--masks"),
    ("simulate --method population --n 5", "--n"),
    ("simulate --method samples --partition product", "product"),
    ("simulate --method samples --P 1e6", "--method orbit"),
    ("simulate --method population --P 1e30", "--method orbit"),
    ("simulate --method samples --n 1e12", "memory"),
    ("simulate --method samples --K 1e9", "memory"),
    ("simulate --out /proc/nothing/here", "/proc/nothing/here"),
    ("simulate --out", "--out"),
    ("simulate --no-such-option", "no-such-option"),
    ("simulate --rtol 1", "rtol"),
    ("simulate --resume", "--out"),
    ("simulate --from nowhere.npz", "nowhere.npz"),
    ("simulate --from x.npz --K 3", "--K"),
    ("validate --level none", "none"),
    ("plot . --out x.jpg", ".png"),
    ("plot nowhere --out x.png", "nowhere"),
    ("plot /dev/null --out x.png", "/dev/null"),
    ("plot /proc --out x.png", "summary.json"),
    ("plot .", "--out"),
    ("cite --nothing", "nothing"),
]


@pytest.mark.parametrize("line, rule", BAD, ids=[line or "nothing" for line, _ in BAD])
def test_bad_input_gives_one_line_and_status_2(capsys, line, rule):
    status, out, err = run(capsys, *line.split())
    assert (status, out) == (2, "")
    assert rule in err and err.startswith("dynsim: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err and len(err) > 40


@pytest.mark.parametrize("word", ["", "a\nb", "\udcff", "\0", "--", "-", "=", "--=", "%s", "{}", "--K=", "１"])
def test_odd_words_are_one_line_too(capsys, word):
    for argv in ([word], ["simulate", word], [*SMALL, "--P", word], [*SMALL, "--method", word]):
        status, out, err = run(capsys, *argv)
        assert (status == 2 and out == "" and err.count("\n") == 1) or (status == 0 and word in ("--", "１"))


def test_a_file_where_the_output_folder_should_be(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        status, _, err = run(capsys, *SMALL, "--out", out)
        assert status == 2 and str(out) in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_bad_input_makes_no_folder(capsys, tmp_path):
    assert run(capsys, *SMALL, "--gamma", 2, "--out", tmp_path / "a" / "b")[0] == 2
    assert run(capsys, *SMALL, "--eta", 0, "--out", tmp_path / "a" / "b")[0] == 2
    assert os.listdir(tmp_path) == []


def test_unexpected_errors_are_one_line(capsys, monkeypatch):
    def raises(error):
        def broken(args):
            raise error

        return broken

    for error, expected in ((MemoryError("2 TiB"), 2), (OSError(28, "No space left"), 2), (ZeroDivisionError("x\ny"), 70)):
        monkeypatch.setattr("dynsim.cli.cite.run", raises(error))
        status, out, err = run(capsys, "cite")
        assert status == expected and out == "" and err.count("\n") == 1 and "Traceback" not in err
    for error in (KeyboardInterrupt(), dynsim.Interrupted("stopped at step 3")):
        monkeypatch.setattr("dynsim.cli.cite.run", raises(error))
        assert run(capsys, "cite")[0] == 130


# ------------------------------------------------------------------------------------------------ as a process


def test_help_version_and_module(capsys):
    assert run(capsys, "--version")[:2] == (0, f"dynsim {dynsim.__version__}\n")
    for argv in (["--help"], ["simulate", "--help"], ["cite", "--help"]):
        status, out, err = run(capsys, *argv)
        assert status == 0 and out.startswith("usage: dynsim") and not err
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dynsim {dynsim.__version__}\n", "")


def test_help_loads_nothing_heavy():
    for command, heavy in (("", {"numpy"}), ("simulate", set())):  # options of fields stand beside their code, which needs NumPy
        code = f"import sys, dynsim.cli; dynsim.cli.main('{command} --help'.split()); print(*sys.modules, file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0
        loaded = {name.split(".")[0] for name in done.stderr.split()}
        assert "dynsim" in loaded and not loaded & {"scipy", "numba", "matplotlib", "rich", "joblib", *heavy}


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_a_terminal_of_few_columns_loses_no_digits():
    import pty

    seen, terminal = pty.openpty()
    env = {**os.environ, "COLUMNS": "40", "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-m", "dynsim", "simulate", "--K", "1"], stdout=terminal, env=env)
    os.close(terminal)
    out = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while block := os.read(seen, 4096):
            out += block
    os.close(seen)
    assert process.wait(timeout=300) == 0
    assert b"\xe2\x94\x80" in out  # a line that rich has drawn
    plain = command("simulate", "--K", "1").stdout
    words = set(re.sub(r"\x1b\[[0-9;]*m", "", out.decode()).split())
    timing = plain.split(" s\nended")[0].split()[-1]
    assert set(plain.split()) - words <= {timing}


@pytest.mark.slow
def test_the_first_run_says_that_it_compiles(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (command("simulate", "--K", "1", env=env) for _ in range(2))
    assert first.returncode == second.returncode == 0
    assert first.stderr.count("compiling") == 1 and second.stderr == ""


def test_a_closed_pipe_is_silent():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "dynsim", "cite"], stdout=writer, stderr=subprocess.PIPE, timeout=300)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("wait", [0.2, 1.5])  # while it loads, and (most likely) while it runs
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(which, wait):
    code = "import sys; from dynsim.cli import main; print('up', flush=True); sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, *SMALL[:-1], "1000000000", "--json"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    time.sleep(wait)
    process.send_signal(which)
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1].startswith("dynsim: ")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_an_import_is_over(which, tmp_path, monkeypatch):
    """Numba's compiled modules crash of an error in the middle of their import, or turn it into another."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"stopped_by_{int(which)}"
    (tmp_path / f"{name}.py").write_text(f"import os\nos.kill(os.getpid(), {int(which)})\nfor _ in range(100):\n    pass\n")
    imported = []
    with process.interruptible():
        try:
            imported.append(__import__(name))
            time.sleep(10)
        except KeyboardInterrupt:
            imported.append("stopped")
    assert len(imported) == 2 and imported[1] == "stopped"
    assert signal.getsignal(which) is not process._interrupt and signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_signal_is_not_lost_in_a_callback():
    class Callback:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):
                pass

    before = sys.unraisablehook
    with process.interruptible():
        try:
            callback = Callback()
            del callback  # KeyboardInterrupt is raised in there, and ignored
            time.sleep(10)
            stopped = False
        except KeyboardInterrupt:
            stopped = True
    assert stopped and sys.unraisablehook is before


@pytest.mark.parametrize("cause, status", [(KeyboardInterrupt(), 130), (ValueError(), 70)], ids=["interrupt", "defect"])
def test_an_interrupt_in_compiled_code_that_returns(cause, status, monkeypatch, capsys):
    """Python makes a SystemError of it, "returned a result with an exception set"."""

    def run(args):
        raise SystemError("returned a result with an exception set") from cause

    monkeypatch.setattr("dynsim.cli.cite.run", run)
    assert main(["cite"]) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_stdout_that_is_full_or_closed():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "dynsim", "cite"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space" in done.stderr


def test_plain_text_survives_any_encoding():
    done = command("cite", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stderr == ""


# ------------------------------------------------------------------------------------------------ cite


def test_cite_names_the_paper_in_text_and_bibtex(capsys):
    for argv in (["cite"], ["cite", "--bibtex"]):
        status, out, err = run(capsys, *argv)
        assert status == 0 and "2403.02233" in out and "Huang" in out and not err
    assert out.count("@") == len(cite.REFERENCES) and out.count("{") == out.count("}")


@pytest.mark.parametrize("line", ["simulate --K=--", "sweep --K=--", "scaling --bound=--", "simulate --method=--"])
def test_two_hyphens_are_no_value(line, capsys):
    assert main(line.split()) == 2
    assert "expected one argument" in capsys.readouterr().err


def test_the_remedy_for_gamma_works(capsys):
    _, _, err = run(capsys, *SMALL, "--P", "196", "--gamma", "0.001")
    low, high = re.search(r"take --gamma between (\S+) and (\S+)\n", err).groups()
    for gamma in (low, high):
        assert run(capsys, *SMALL, "--P", "196", "--gamma", gamma, "--steps", "1", "--n", "2")[0] == 0


def test_a_terminal_without_abilities_is_written_to_as_a_pipe(capsys, monkeypatch):
    from dynsim.cli import _show

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    _show.table(["name", *["a long column"] * 9], [["row", *["1.2345678e+100"] * 9]])
    assert capsys.readouterr().out.count("1.2345678e+100") == 9
