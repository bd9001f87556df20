"""The command line: what it prints and writes, its exit statuses, and one clear line for whatever is typed wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dynsim
from dynsim import cite, storage
from dynsim.cli import main
from dynsim.cli._files import Folder
from dynsim.cli._show import strict_json

SMALL = ["simulate", "--method", "samples", "--K", "2", "--P", "16", "--kappa-s", "0.3", "--n", "6", "--steps", "4"]


def run(capsys, *argv):
    """Status, standard output and standard error of a command line, run in this process."""
    status = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return status, out, err


def command(*argv, **options):
    """The same in a process of its own."""
    return subprocess.run([sys.executable, "-m", "dynsim", *argv], capture_output=True, text=True, timeout=60, **options)


# ------------------------------------------------------------------------------------------------ simulate


def test_simulate_tells_sizes_regime_moves_and_loss(capsys):
    status, out, err = run(capsys, *SMALL, "--kappa-c", 0.8, "--gamma", 0.5)
    assert status == 0 and "Traceback" not in err
    problem = dynsim.Problem(K=2, P=16, gamma=0.5, kappa_c=0.8, kappa_s=0.3)
    for text in ("K=2 clusters", "P=16 patches", "8 of them masked", f"1 global of {problem.C_global}", "two phases", "floor"):
        assert text in out
    for query in ("LL", "LG", "GG"):
        assert query in out


def test_json_is_one_strict_object_that_agrees_with_the_library(capsys):
    status, out, err = run(capsys, *SMALL, "--json", "--seed", 3)
    assert status == 0
    record = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    problem = dynsim.Problem(K=2, P=16, kappa_s=0.3)
    part = dynsim.Partition.blocks(problem, seed=3)
    field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=6, seed=3))
    traj = dynsim.reduced.descend(field, steps=4)
    assert record["loss"] == traj.loss[-1] and record["loss_floor"] == field.floor
    assert record["information_gap"] == problem.Delta and record["seed"] == 3 and record["wall_s"] > 0
    other = json.loads(run(capsys, *SMALL, "--json", "--seed", 4)[1])
    assert other["loss"] != record["loss"]


def test_moves_are_means_over_the_queries_of_a_kind(capsys):
    record = json.loads(run(capsys, *SMALL, "--json")[1])
    problem = dynsim.Problem(K=2, P=16, kappa_s=0.3)
    part = dynsim.Partition.blocks(problem)
    field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=6))
    traj = dynsim.reduced.descend(field, steps=4)
    assert sum(row["share"] for row in record["queries"]) == pytest.approx(1, abs=1e-12)
    for row, cluster in [(kind, cluster) for kind in record["queries"] for cluster in kind["clusters"]]:
        expected = {"own": [], "global": [], "others": [], "masked": [], "fp": [], "pp": []}
        for p in range(16):
            letters = "".join("G" if part.labels[k, p] == 0 else "L" for k in range(2))
            if sorted(letters) != sorted(row["query"]):
                continue
            for k in (k for k in range(2) if letters[k] == cluster["letter"]):
                areas = range(part.offset[k], part.offset[k + 1])
                a, own = traj.attention[-1][p], part.own[k, p]
                others = [f for f in areas if f not in (own, part.offset[k])]
                same = [q for q in range(16) if q != p and part.own[k, q] == own]
                expected["own"].append(a[own])
                expected["global"].append(a[part.offset[k]])
                expected["others"].append(sum(a[f] for f in others))
                expected["masked"].append(1 - sum(a[f] for f in areas))
                expected["fp"].append(np.mean([traj.fp[-1][p, f] for f in others]))
                expected["pp"].append(np.mean([traj.pp[-1][p, q] for q in same]) if same else np.nan)
        for sort in ("own", "global", "others", "masked"):
            assert cluster["attention"][sort][1] == pytest.approx(np.nanmean(expected[sort]), rel=1e-12)
        assert cluster["fp"]["others"][1] == pytest.approx(np.mean(expected["fp"]), rel=1e-12)
        if not np.isnan(expected["pp"]).all():
            assert cluster["pp"]["own"][1] == pytest.approx(np.nanmean(expected["pp"]), rel=1e-12)
        assert cluster["fp"]["own"][0] == 0 and cluster["fp"]["own"][1] > 0  # attention is drawn to the own area


def test_orbits_answer_at_any_P_with_theory_beside(capsys):
    status, out, err = run(capsys, "simulate", "--K", 2, "--P", "1e12", "--json")
    record = json.loads(out)
    problem = dynsim.Problem(K=2, P=1e12)
    assert status == 0 and record["method"] == "orbit" and record["integrator"] == "flow"
    assert [row["query"] for row in record["queries"]] == ["LL", "LG", "GG"]
    assert sum(row["share"] for row in record["queries"]) == pytest.approx(1, abs=1e-12)
    assert record["information_gap"] == problem.Delta and record["regime"] == "two phases"
    assert record["loss_floor"] <= record["loss"] < 1e-3 * record["loss_start"]
    for row in record["queries"]:
        letter = "L" if "L" in row["query"] else "G"
        assert row["escape_time_theory"] == dynsim.theory.escape_time(problem, letter)
        # (8) is asymptotic; eq. (15) adds the corrections at finite P, of second order in P^-(1 - kappa_c) = 0.06 and less
        assert row["escape_time"] == pytest.approx(dynsim.theory.escape_time(problem, letter, finite=True), rel=0.06**2)
        assert row["global_depth_theory"] == (dynsim.theory.global_depth(problem) if letter == "L" else None)
        assert (row["global_depth"] is None) == (letter == "G")
    field = dynsim.reduced.OrbitField(problem, "LG")
    traj = dynsim.reduced.flow(field, t_end=record["t_end"], rtol=1e-6)
    assert record["queries"][1]["loss"] == traj.loss[-1]
    at = np.flatnonzero(traj.t == traj.meta["events"]["escape"])[0]
    assert record["queries"][1]["global_depth"] == traj.fp[at, 0, 1]


def test_orbit_tables_show_each_kind_of_query(capsys):
    status, out, _ = run(capsys, "simulate", "--K", 2)
    assert status == 0 and all(word in out for word in ("escape time", "theory", "LL", "LG", "GG", "local", "global"))
    assert max(map(len, out.splitlines())) <= 110


def test_moves_on_orbits_are_those_of_a_product_partition(capsys):
    # P = 16 = 4^2, areas of 8, 4 and 4 patches: where the same closure holds, explicit queries and orbits agree
    words = ["--K", "2", "--P", "16", "--kappa-c", "0.75", "--kappa-s", "0.5", "--steps", "20", "--masks", "mean-field", "--json"]
    orbit = json.loads(run(capsys, "simulate", *words)[1])
    tables = json.loads(run(capsys, "simulate", "--method", "population", "--partition", "product", *words)[1])
    assert [row["query"] for row in orbit["queries"]] == [row["query"] for row in tables["queries"]]
    for a, b in zip(orbit["queries"], tables["queries"], strict=True):
        assert a["share"] == b["share"]
        for c, d in zip(a["clusters"], b["clusters"], strict=True):
            assert c["attention"]["own"][0] == pytest.approx(d["attention"]["own"][0], rel=1e-12)
            assert set(c["pp"]) == set(d["pp"]) and c["letter"] == d["letter"]


def test_a_drawn_seed_is_told_and_gives_the_run_again(capsys):
    status, out, err = run(capsys, *SMALL, "--json", "--seed", "random")
    record = json.loads(out)
    assert status == 0 and f"--seed {record['seed']}" in err
    again = json.loads(run(capsys, *SMALL, "--json", "--seed", record["seed"])[1])
    assert again["loss"] == record["loss"]
    assert json.loads(run(capsys, *SMALL, "--json", "--seed", "random")[1])["seed"] != record["seed"]


def test_flow_on_tables_and_descent_on_orbits(capsys):
    words = ["simulate", "--K", "1", "--P", "16", "--kappa-s", "0.3", "--json"]
    flow = json.loads(run(capsys, *words, "--method", "population", "--t-end", 3)[1])
    descent = json.loads(run(capsys, *words, "--steps", 3, "--eta", 0.5)[1])
    assert (flow["integrator"], flow["t_end"], "steps" in flow) == ("flow", 3, False)
    assert (descent["integrator"], descent["t_end"], descent["steps"]) == ("descend", 1.5, 3)
    assert len(descent["queries"]) == 2 and len(json.loads(run(capsys, *words, "--query", "G")[1])["queries"]) == 1


def test_quiet_says_nothing_beside_the_results(capsys):
    status, out, err = run(capsys, *SMALL, "--quiet", "--seed", "random")
    assert status == 0 and out and not err


def test_without_steps_nothing_moves(capsys):
    record = json.loads(run(capsys, *SMALL, "--json", "--steps", 0)[1])
    assert record["loss"] == record["loss_start"] and record["steps"] == 0


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
    ("simulate --P 10 --gamma 0.01", "none"),
    ("simulate --P 10 --gamma 0.99", "all"),
    ("simulate --K 0", "K"),
    ("simulate --K 2.5", "K"),
    ("simulate --K inf", "K"),
    ("simulate --P 1", "P"),
    ("simulate --P 20.5", "P"),
    ("simulate --P 1e101", "P"),
    ("simulate --kappa-c 1.5", "kappa_c"),
    ("simulate --kappa-s -0.1", "kappa_s"),
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
    ("simulate --method sample", "--method"),
    ("simulate --method samples --query LLLL", "--query"),
    ("simulate --query LLL", "LLL"),
    ("simulate --query LLLX", "LLLX"),
    ("simulate --K 30", "K=30"),
    ("simulate --masks exact", "masks"),
    ("simulate --t-end 0", "t_end"),
    ("simulate --t-end nan", "t_end"),
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


# ------------------------------------------------------------------------------------------------ files


def test_out_holds_trajectory_summary_and_figure(capsys, tmp_path):
    status, out, err = run(capsys, *SMALL, "--json", "--out", tmp_path / "new" / "run", "--seed", 3)
    assert status == 0 and str(tmp_path) in err
    folder = tmp_path / "new" / "run"
    assert sorted(os.listdir(folder)) == ["summary.json", "summary.pdf", "summary.png", "trajectory.npz"]
    assert json.loads((folder / "summary.json").read_text()) == json.loads(out)
    traj, header, _ = storage.read(folder / "trajectory.npz")
    assert traj.loss[-1] == json.loads(out)["loss"] and header["seed"] == 3
    assert (folder / "summary.png").read_bytes()[1:4] == b"PNG" and (folder / "summary.pdf").read_bytes()[:4] == b"%PDF"
    status, out, _ = run(capsys, "simulate", "--from", folder / "trajectory.npz", "--json")
    assert status == 0 and json.loads(out)["same"] is True


def test_out_of_orbits_holds_one_trajectory_per_kind(capsys, tmp_path):
    assert run(capsys, "simulate", "--K", 1, "--out", tmp_path, "--quiet")[0] == 0
    assert {"trajectory-L.npz", "trajectory-G.npz", "summary.json"} < set(os.listdir(tmp_path))
    assert run(capsys, "simulate", "--K", 1, "--out", tmp_path, "--resume", "--json")[0] == 0


def test_divergence_names_step_quantity_and_a_smaller_eta_and_keeps_the_run(capsys, tmp_path):
    status, out, err = run(capsys, *SMALL, "--eta", "1e9", "--out", tmp_path)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert "step 1" in err and "correlation" in err and "try eta=" in err
    assert os.listdir(tmp_path) == ["trajectory.npz"] and len(storage.load(tmp_path / "trajectory.npz")) == 1
    smaller = err.split("try eta=")[1].split(";")[0]
    assert run(capsys, *SMALL, "--eta", smaller)[0] == 0


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    folder = Folder(tmp_path / "new")
    folder.write_text("a.json", "{}")

    def fails(path):
        with open(path, "w") as file:
            file.write("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(dynsim.FileError, match="No space"):
        folder.write("a.json", fails)
    assert os.listdir(tmp_path / "new") == ["a.json"] and (tmp_path / "new" / "a.json").read_text() == "{}\n"
    folder.leave()  # not empty: stays
    assert os.listdir(tmp_path) == ["new"]
    Folder(tmp_path / "x" / "y").leave()
    assert os.listdir(tmp_path) == ["new"]


def test_json_is_strict():
    record = {"a": np.float64("nan"), "b": [np.inf, -np.inf, 1.0], "c": np.arange(2), "d": np.bool_(True), "e": None, 1: (2,)}
    assert json.loads(strict_json(record)) == {"a": None, "b": [None, None, 1.0], "c": [0, 1], "d": True, "e": None, "1": [2]}


# ------------------------------------------------------------------------------------------------ validate


def test_validate_ends_with_the_verdict(capsys, monkeypatch):
    from dynsim import validation

    asked = []

    def reports(*passed):
        def fake(levels, quick, seed, progress):
            asked.append((levels, quick, seed))
            rows = tuple(validation.Row("exact", "K=1", "fp", 1e-15 if ok else np.inf, 1e-12, ok) for ok in passed)
            return validation.Report(rows, quick, seed)

        return fake

    monkeypatch.setattr(validation, "run", reports(True, True))
    status, out, _ = run(capsys, "validate", "--quick", "--seed", 5, "--level", "exact")
    assert status == 0 and out.count("PASS") == 3 and "FAIL" not in out and asked == [(["exact"], True, 5)]
    monkeypatch.setattr(validation, "run", reports(True, False))
    status, out, _ = run(capsys, "validate")
    assert status == 1 and "FAIL: 1 of 2" in out and "inf" in out
    status, out, _ = run(capsys, "validate", "--json")
    assert status == 1 and json.loads(out)["passed"] is False and json.loads(out)["rows"][1]["deviation"] is None


# ------------------------------------------------------------------------------------------------ as a process


def test_help_version_and_module(capsys):
    assert run(capsys, "--version")[:2] == (0, f"dynsim {dynsim.__version__}\n")
    for argv in (["--help"], ["simulate", "--help"], ["cite", "--help"]):
        status, out, err = run(capsys, *argv)
        assert status == 0 and out.startswith("usage: dynsim") and not err
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dynsim {dynsim.__version__}\n", "")


def test_help_loads_nothing_heavy():
    code = "import sys, dynsim.cli; dynsim.cli.main(['simulate', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "dynsim" in loaded and not loaded & {"numpy", "scipy", "numba", "matplotlib", "rich", "joblib"}


def test_a_closed_pipe_is_silent():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "dynsim", "cite"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
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
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1].startswith("dynsim: ")


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
