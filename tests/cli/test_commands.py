"""The subcommands: what they print and write, held against the library."""

import json
import os

import numpy as np
import pytest

import dynsim
from dynsim.cli import main
from dynsim.cli._files import Folder
from dynsim.cli._show import strict_json
from dynsim.runs import files

SMALL = ["simulate", "--method", "samples", "--K", "2", "--P", "16", "--kappa-s", "0.3", "--n", "6", "--steps", "4"]


def run(capsys, *argv):
    """Status, standard output and standard error of a command line, run in this process."""
    status = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return status, out, err


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
            types = "".join("G" if part.labels[k, p] == 0 else "L" for k in range(2))
            if sorted(types) != sorted(row["query"]):
                continue
            for k in (k for k in range(2) if types[k] == cluster["area"]):
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
        for role in ("own", "global", "others", "masked"):
            assert cluster["attention"][role][1] == pytest.approx(np.nanmean(expected[role]), rel=1e-12)
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
        area = "L" if "L" in row["query"] else "G"
        assert row["escape_time_theory"] == dynsim.theory.escape_time(problem, area)
        # (8) is asymptotic; eq. (15) adds the corrections at finite P, of second order in P^-(1 - kappa_c) = 0.06 and less
        assert row["escape_time"] == pytest.approx(dynsim.theory.escape_time(problem, area, finite=True), rel=0.06**2)
        assert row["global_depth_theory"] == (dynsim.theory.global_depth(problem) if area == "L" else None)
        assert (row["global_depth"] is None) == (row["global_depth_closed"] is None) == (area == "G")
        assert row["escape_time"] == pytest.approx(row["escape_time_closed"], rel=1e-5)
        assert abs(row["escape_time"] / row["escape_time_theory"] - 1) > 0.01  # control: large P is not here yet
    field = dynsim.reduced.OrbitField(problem, "LG")
    traj = dynsim.reduced.flow(field, t_end=record["t_end"], rtol=1e-5, keep=100)
    assert record["queries"][1]["loss"] == traj.loss[-1]
    at = np.flatnonzero(traj.t == traj.meta["events"]["escape"])[0]
    assert record["queries"][1]["global_depth"] == traj.fp[at, 0, 1]


def test_orbit_tables_show_each_kind_of_query(capsys):
    status, out, _ = run(capsys, "simulate", "--K", 2)
    words = ("escape time", "at this P", "large P", "LL", "LG", "GG", "local", "global")
    assert status == 0 and all(word in out for word in words)
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
            assert set(c["pp"]) == set(d["pp"]) and c["area"] == d["area"]


def test_population_loss_stands_beside_that_of_given_images(capsys, tmp_path):
    words = [*SMALL, "--masks-per-image", 3, "--steps", 30]
    status, out, _ = run(capsys, *words, "--json", "--out", tmp_path / "run")
    found = json.loads(out)["generalisation"]
    problem = dynsim.Problem(K=2, P=16, kappa_s=0.3)
    field = dynsim.reduced.EmpiricalField.from_options(problem, n=6, masks_per_image=3)
    traj = dynsim.reduced.descend(field, steps=30)
    gap = dynsim.analysis.generalisation.of_run(field, traj, problem)
    assert status == 0 and found["along"]["population_loss"] == gap.population.tolist()
    assert found["along"]["t"] == traj.t.tolist()
    assert found["excess_gap"] == gap.excess_gap[-1] and found["training_floor"] == field.floor != found["population_floor"]
    out = run(capsys, *words)[1]
    assert "Loss of the population along this run" in out and f"{found['population_loss']:.4g}" in out
    assert run(capsys, "plot", tmp_path / "run", "--out", tmp_path / "again.svg")[0] == 0
    assert "generalisation" not in json.loads(run(capsys, *SMALL[:2], "population", *SMALL[3:9], "--steps", 3, "--json")[1])


def test_a_drawn_seed_is_printed_and_gives_the_run_again(capsys):
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


# ------------------------------------------------------------------------------------------------ files


def test_out_holds_trajectory_summary_and_figure(capsys, tmp_path):
    status, out, err = run(capsys, *SMALL, "--json", "--out", tmp_path / "new" / "run", "--seed", 3)
    assert status == 0 and str(tmp_path) in err
    folder = tmp_path / "new" / "run"
    assert sorted(os.listdir(folder)) == ["summary.json", "summary.pdf", "summary.png", "trajectory.npz"]
    assert json.loads((folder / "summary.json").read_text()) == {**json.loads(out), "trajectories": ["trajectory.npz"]}
    traj, header, _ = files.read(folder / "trajectory.npz")
    assert traj.loss[-1] == json.loads(out)["loss"] and header["seed"] == 3
    assert (folder / "summary.png").read_bytes()[1:4] == b"PNG" and (folder / "summary.pdf").read_bytes()[:4] == b"%PDF"
    status, out, _ = run(capsys, "simulate", "--from", folder / "trajectory.npz", "--json")
    assert status == 0 and json.loads(out)["same"] is True


def test_out_of_orbits_holds_one_trajectory_per_kind(capsys, tmp_path, monkeypatch):
    blank = dynsim.plots.figure()[0]  # drawing takes seconds and is tested in test_plots.py
    monkeypatch.setattr(dynsim.plots, "summary", lambda runs, problem, gap: blank)
    assert run(capsys, "simulate", "--K", 1, "--out", tmp_path, "--quiet")[0] == 0
    assert {"trajectory-L.npz", "trajectory-G.npz", "summary.json"} < set(os.listdir(tmp_path))
    assert run(capsys, "simulate", "--K", 1, "--out", tmp_path, "--resume", "--json")[0] == 0


def test_divergence_names_step_quantity_and_a_smaller_eta_and_keeps_the_run(capsys, tmp_path):
    status, out, err = run(capsys, *SMALL, "--eta", "1e9", "--out", tmp_path)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert "step 1" in err and "correlation" in err and "try --eta " in err
    assert os.listdir(tmp_path) == ["trajectory.npz"] and len(files.load(tmp_path / "trajectory.npz")) == 1
    smaller = err.split("try --eta ")[1].split(";")[0]
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


# ------------------------------------------------------------------------------------------------ plot


def test_plot_draws_a_folder_again(capsys, tmp_path, monkeypatch):
    drawn = []

    def remember(trajs, problem, gap):
        drawn.append((len(trajs), trajs[0].loss[-1], problem, trajs[0].layout.query_type.tolist()))
        return dynsim.plots.figure()[0]

    monkeypatch.setattr(dynsim.plots, "summary", remember)
    for name, words in (("orbits", ["simulate", "--K", "1", "--P", "1e9", "--L", "1"]), ("samples", SMALL)):
        assert run(capsys, *words, "--quiet", "--out", tmp_path / name)[0] == 0
        status, out, err = run(capsys, "plot", tmp_path / name, "--out", tmp_path / f"{name}.svg")
        assert status == 0 and out == "" and (tmp_path / f"{name}.svg").stat().st_size > 100
        assert drawn[-1] == drawn[-2]
        assert (drawn[-1][0], len(drawn[-1][3]) == 1) == ((2, True) if name == "orbits" else (1, False))
    for folder, change in (("orbits", lambda text: text.replace('"K"', '"k"')), ("samples", lambda text: text[:50])):
        path = tmp_path / folder / "summary.json"
        path.write_text(change(path.read_text()))
        status, _, err = run(capsys, "plot", tmp_path / folder, "--out", tmp_path / "x.png")
        assert status == 2 and "summary.json" in err and err.count("\n") == 1 and not (tmp_path / "x.png").exists()


def test_plot_draws_the_phase_diagram_of_a_sweep(capsys, tmp_path):
    grid = ["--K", "1", "--P", "1e6", "--kappa-c", "0.6,0.9", "--kappa-s", "0.2,0.4", "--workers", "1", "--quiet"]
    assert run(capsys, "sweep", *grid, "--out", tmp_path / "s.db")[0] == 0
    assert run(capsys, "plot", tmp_path / "s.db", "--out", tmp_path / "phases.png", "--quiet") == (0, "", "")
    assert (tmp_path / "phases.png").read_bytes()[1:4] == b"PNG"


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




RULES = [("momentum", {"beta": 0.5, "nesterov": True}), ("adam", {"beta1": 0.5}), ("sign", {})]


@pytest.mark.parametrize("rule, parameters", RULES)
def test_optimisers_are_options(capsys, tmp_path, rule, parameters):
    """Chosen by name, with their parameters; in the files, which run again to the same bits; the run ends at its floor."""
    given = [text for name, value in parameters.items() for text in ([f"--{name}"] if value is True else [f"--{name}", value])]
    line = ["simulate", "--method", "samples", "--K", 1, "--P", 36, "--n", 30, "--optimiser", rule, *given, "--out", tmp_path]
    status, out, _ = run(capsys, *line, "--json")
    found = json.loads(out)
    assert status == 0 and found["optimiser"]["name"] == rule and found["status"].startswith("ended by excess")
    assert all(found["optimiser"][name] == value for name, value in parameters.items())
    assert not found["monotone"] and found["phases"] == []
    status, out, _ = run(capsys, "simulate", "--from", tmp_path / "trajectory.npz")
    assert status == 0 and "all bits agree" in out


def test_options_of_another_optimiser_are_refused(capsys):
    for line, rule in (
        (("--optimiser", "adam", "--beta", 0.5), "--beta belongs to --optimiser momentum, got --optimiser adam: drop one"),
        (("--beta1", 0.5), "--beta1 belongs to --optimiser adam, got --optimiser descent: drop one"),
        (("--optimiser", "lion"), "--optimiser must be one of descent, momentum, adam, sign, got 'lion': take descent"),
        (("--optimiser", "adam", "--t-end", 1), "--t-end and --rtol are of flow, --steps, --eta and --optimiser of descent"),
    ):
        status, _, err = run(capsys, "simulate", *line)
        assert status == 2 and rule in err


@pytest.mark.parametrize("method", ["samples", "population"])
def test_by_default_a_run_goes_through_the_whole_story(capsys, method):
    """Every local query type passes one half in its mean own attention, in a step size that is below its bound."""
    status, out, _ = run(capsys, "simulate", "--method", method, "--K", 2, "--gamma", 0.75, "--P", 100, "--json")
    found = json.loads(out)
    assert status == 0 and found["monotone"] and found["eta"] * found["curvature_bound"] <= 1
    assert found["because"] == "the loss is within 1 % of its start above its floor"
    ends = [row["attention"]["own"][1] for query in found["queries"] for row in query["clusters"]]
    assert len(ends) > 3 and min(ends) > 0.5
    (phases,) = found["phases"]
    assert phases["query"] == "local" and phases["regime"] == phases["regime_theory"] == "two phases" and phases["why"]
    assert [phase["name"] for phase in phases["phases"]] == ["I", "II", "convergence"]
    status, out, _ = run(capsys, "simulate", "--method", method, "--K", 2, "--gamma", 0.75, "--P", 100, "--steps", 20)
    assert "(20 steps at eta=1)" in out and "ended     reached steps=20" in out  # control: by hand it stops in the middle
    assert "the run ends at t=20, before the escape" in out


def test_help_has_a_line_for_nearly_every_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = run(capsys, "simulate", "--help")
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    options = [line for line in lines if line.lstrip().startswith("-")]
    assert status == 0 and len(options) > 40 and len(lines) - len(options) <= 4  # the example is one of them
    assert max(map(len, lines)) <= 120 and "usage: dynsim simulate [options]" in out


def test_what_is_no_phase_diagram_is_refused_in_a_line(capsys, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((6, 8, 8)))
    grid = ["--images", tmp_path / "a.npy", "--gamma", "0.5,0.75", "--patch", "2,4", "--workers", "1", "--quiet"]
    assert run(capsys, "sweep", *grid, "--out", tmp_path / "s.db")[0] == 0
    status, _, err = run(capsys, "plot", tmp_path / "s.db", "--out", tmp_path / "x.png")
    assert status == 2 and "shows depths or collapses" in err and err.count("\n") == 1
    assert run(capsys, *SMALL, "--out", tmp_path / "run", "--quiet")[0] == 0
    (result,) = (tmp_path / "run").glob("*.npz")
    status, _, err = run(capsys, "plot", result, "--out", tmp_path / "x.png")
    assert status == 2 and "name the folder that it is in" in err and err.count("\n") == 1


def test_a_number_of_threads_that_is_none(capsys, monkeypatch):
    for value in ("abc", "0", "-1", "1.5", ""):
        monkeypatch.setenv("NUMBA_NUM_THREADS", value)
        status, out, err = run(capsys, *SMALL)
        assert (status, out) == (2, "") and "NUMBA_NUM_THREADS must be a whole number" in err and err.count("\n") == 1


def test_times_of_theory_are_those_of_plain_descent(capsys):
    words = "simulate --K 1 --P 1e4 --query G --json --steps 50".split()
    plain, momentum = (json.loads(run(capsys, *words, *more)[1]) for more in ((), ("--optimiser", "momentum")))
    assert plain["queries"][0]["escape_time_theory"] > 0 and momentum["queries"][0]["escape_time_theory"] is None
    assert momentum["queries"][0]["escape_time"] < plain["queries"][0]["escape_time"]


def test_a_run_that_was_stopped_is_not_written_over(capsys, tmp_path):
    problem = dynsim.Problem(K=2, P=16, kappa_s=0.3)
    assert run(capsys, *SMALL, "--out", tmp_path, "--quiet")[0] == 0
    (path,) = tmp_path.glob("*.npz")
    assert run(capsys, *SMALL, "--out", tmp_path, "--quiet")[0] == 0  # a finished one is
    part = dynsim.Partition.blocks(problem)
    field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=6))

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(dynsim.errors.Interrupted):
        dynsim.runs.run(path, field, every=0.0, eta=1.0, steps=4, progress=stop)
    content = path.read_bytes()
    status, _, err = run(capsys, *SMALL, "--out", tmp_path)
    assert status == 2 and "add --resume" in err and path.read_bytes() == content
