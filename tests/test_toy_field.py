"""A new field is one file and one line: registered, it is in the command, sweeps, files, summaries, phases and figures; and the
sources name no field but in its own file."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from toy_field import ToyField

import dynsim
from dynsim import plots, reduced, runs, sweep
from dynsim.analysis import phases, summary
from dynsim.cli import main
from dynsim.validation import check_field

ROOT = Path(__file__).parents[1]
PROBLEM = dynsim.Problem(K=1, P=1e6)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(reduced.FIELDS, "toy", "toy_field:ToyField")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")  # where worker processes find it


def test_it_is_small_and_passes_the_checks():
    assert len((Path(__file__).parent / "toy_field.py").read_text(encoding="utf-8").splitlines()) <= 40
    report = check_field(ToyField(PROBLEM, 2.0))
    assert report.passed and not any(check.skipped for check in report.checks), report


def test_simulate(capsys, tmp_path):
    line = f"simulate --method toy --K 1 --P 1e6 --strength 2 --steps 300 --eta 0.5 --out {tmp_path}"
    assert main([*line.split(), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "toy" and said["loss"] < said["loss_start"] and said["queries"][0]["query"] == "L"
    assert (tmp_path / "summary.png").stat().st_size > 1000
    traj, header, _ = runs.read(tmp_path / "trajectory.npz")
    assert header["field"]["strength"] == 2.0 and traj.meta["strength"] == 2.0
    assert main(["simulate", "--from", str(tmp_path / "trajectory.npz")]) == 0
    assert "all bits agree" in capsys.readouterr().out
    assert main(["plot", str(tmp_path), "--out", str(tmp_path / "again.svg"), "--quiet"]) == 0
    assert main("simulate --method toy --help".split()) == 0
    assert "--strength X" in capsys.readouterr().out
    assert main("simulate --method toy --K 1 --P 1e6 --strength -1 --quiet".split()) == 2
    assert main("simulate --K 1 --P 1e6 --strength 1 --quiet".split()) == 2
    assert "--strength belongs to --method toy" in capsys.readouterr().err


def test_files_resume_and_run_again_bit_for_bit(tmp_path):
    field = ToyField(PROBLEM)
    whole = reduced.descend(field, eta=0.5, steps=20, keep=1)
    runs.run(tmp_path / "a.npz", field, eta=0.5, steps=10, keep=1)
    again = runs.resume(tmp_path / "a.npz", more=10)
    assert again.fp.tobytes() == whole.fp.tobytes() and again.loss.tobytes() == whole.loss.tobytes()
    assert runs.rerun(tmp_path / "a.npz").same
    flow = reduced.flow(field, t_end=1e3)
    runs.save(tmp_path / "b.npz", flow)
    assert runs.load(tmp_path / "b.npz").layout.dims == flow.layout.dims


def test_sweep(tmp_path):
    grid, options = {"K": 1, "P": 1e6, "gamma": [0.5, 0.8]}, {"strength": 0.5}
    done = sweep.run(tmp_path / "s.db", grid, method="toy", options=options, workers=1)
    assert done["computed"] == 2 and done["failed"] == 0
    table = sweep.load(tmp_path / "s.db")
    assert np.isfinite(table["escape"]).all() and (table["speed_own"] > 0).all() and (table["speed_global"] < 0).all()
    with pytest.raises(dynsim.InputError, match="method toy has no option 'n'"):
        sweep.run(tmp_path / "s.db", {"K": 1}, method="toy", options={"n": 3})


def test_summary_phases_and_figure():
    traj = reduced.flow(ToyField(PROBLEM), t_end=1e4)
    assert traj.meta["events"]["escape"] is not None
    found = phases.find(traj)
    assert found.growth.end == traj.meta["events"]["escape"]
    (row,) = summary.by_query_type(traj)
    own = row["clusters"][0]["attention"]["own"]
    assert own[0] == pytest.approx(np.tanh(0.05)) and own[1] > 0.9
    figure = plots.summary(traj, PROBLEM)
    assert len(figure.axes) == 4
    assert any(np.array_equal(line.get_ydata(), traj.loss) for line in figure.axes[3].lines)


def named_elsewhere(sources):
    """Where a registered field's class name, or its method as a text of its own, stands outside its file and docstrings."""
    places = {key: place.partition(":") for key, place in reduced.FIELDS.items() if key != "toy"}
    found = []
    for module, text in sources.items():
        names = {name for home, _, name in places.values() if home != module}
        keys = {key for key, (home, _, _) in places.items() if home != module}
        tree = ast.parse(text)
        for node in ast.walk(tree):  # docstrings may show fields in examples
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                text = text.replace(ast.get_source_segment(sources[module], body[0].value) or "\0", "")
                body[0].value.value = ""
        found += [f"{module}: {name}" for name in names if re.search(rf"\b{name}\b", text)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in keys:
                found.append(f"{module}: {node.value!r}")
    return found


def sources():
    """All modules but the registry, and those that may name fields: validation, and theory's references."""
    found = {}
    for path in sorted((ROOT / "dynsim").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not (name == "dynsim.reduced" or name.startswith(("dynsim.validation", "dynsim.theory"))):
            found[name] = path.read_text(encoding="utf-8")
    return found


BUILDS = {  # fields that are others on other images, by way of the registry
    "dynsim.reduced.minibatch: 'samples'", "dynsim.reduced.population: 'samples'", "dynsim.reduced.population: 'minibatch'",
    "dynsim.reduced.empirical: 'population'",
    "dynsim.reduced.mixed: 'samples'", "dynsim.reduced.mixed: 'contrastive-samples'", "dynsim.reduced.mixed: SumField",
    "dynsim.reduced.image_mixed: 'any-images'", "dynsim.reduced.image_mixed: 'contrastive-any-images'",
    "dynsim.reduced.image_mixed: SumField",
}


def test_no_field_is_named_outside_its_file():
    assert set(named_elsewhere(sources())) - BUILDS == set()


@pytest.mark.parametrize(
    "line", ["from dynsim.reduced import OrbitField", "x = 'samples'", "kind = reduced.PopulationField", "# see MinibatchField"]
)
def test_a_field_that_is_named_is_found(line):
    code = {"dynsim.analysis.summary": sources()["dynsim.analysis.summary"]}
    assert named_elsewhere(code) == []
    assert len(named_elsewhere({name: text + "\n" + line for name, text in code.items()})) == 1
