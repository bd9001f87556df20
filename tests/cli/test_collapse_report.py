"""What `dynsim simulate` says of the collapse: events of every query type, theory beside them, weights at the top."""

import json

import numpy as np
import pytest

import dynsim
from dynsim import reduced, theory
from dynsim.analysis import phases, summary
from dynsim.cli import main


def simulated(capsys, line):
    assert main([*f"simulate {line}".split(), "--quiet", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_mixed_run_in_the_population(capsys):
    said = simulated(capsys, "--method mixed-orbit --K 2 --P 1e9 --weight 1.25 --temperature 0.4 --nodes 4 --no-stop-gradient")
    problem = dynsim.Problem(K=2, P=1e9)  # two views that learn are worth twice the weight
    assert said["critical_weight"] == theory.critical_weight(problem) / 2
    assert said["collapsed_attention"] == theory.collapsed_attention(problem, 2.5, 0.4, finite=True)
    assert said["collapsed_attention"] != theory.collapsed_attention(problem, 1.25, 0.4, finite=True)  # control: one view
    field = reduced.MixedOrbitField(problem, 1.25, 0.4, stop_gradient=False, nodes=4)
    events = reduced.flow(field, **field.run_options(problem)).meta["events"]
    for row in said["queries"]:
        assert row["escape_time"] == events[f"escape {row['query']}"]
        assert row.get("collapse_time") == events.get(f"collapse {row['query']}")
    local, *_, all_global = said["queries"]
    assert local["escape_time_theory"] == pytest.approx(theory.mixed_escape_time(problem, 2.5, 0.4))
    assert "collapse_time" not in all_global and all_global["escape_time_theory"] == theory.escape_time(problem, "G")
    assert local["collapse_time_theory"] is None  # no closed form


def test_contrastive_runs_with_text(capsys):
    line = "--objective contrastive --method orbit --K 2 --P 1e12 --nodes 4"
    said = simulated(capsys, line)
    problem = dynsim.Problem(K=2, P=1e12)
    for row in said["queries"][:-1]:
        assert row["collapse_time_theory"] == theory.collapse_time(problem)
        assert row["collapse_time"] == pytest.approx(row["collapse_time_closed"], rel=1e-2)
        assert abs(row["collapse_time"] / row["collapse_time_theory"] - 1) > 0.02  # control: this P is not yet large
    assert "critical_weight" not in said
    assert main(["simulate", *line.split(), "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "Collapse: attention on the global area passes 1/2" in text and f"{said['queries'][0]['collapse_time']:.4g}" in text


def test_descents_on_samples(capsys):
    """Events between saved steps, of each query type, are in the report; phases.events has the same."""
    said = simulated(capsys, "--objective mixed --method samples --K 2 --P 64 --n 64 --weight 3 --eta 1 --steps 400")
    collapse = {row["query"]: row.get("collapse_time") for row in said["queries"]}
    assert 0 < collapse["LL"] < collapse["LG"] < 400 and "GG" in collapse and collapse["GG"] is None
    problem = dynsim.Problem(K=2, P=64)
    run = reduced.descend(reduced.MixedField.from_options(problem, n=64, weight=3.0), eta=1.0, steps=400)
    assert summary.events_of(run, "LL")["collapse"] == collapse["LL"]
    found = phases.events(run)
    assert min(collapse["LL"], collapse["LG"]) <= found["collapse"] <= max(collapse["LL"], collapse["LG"])
    assert phases.find(run).growth.end == found["escape"] is None
    diverse = simulated(capsys, "--objective mixed --method samples --K 2 --P 64 --n 64 --weight 0.1 --eta 1 --steps 800")
    assert diverse["queries"][0]["collapse_time"] is None and diverse["queries"][0]["escape_time"] is not None  # control


def test_depth_between_saved_times():
    """A descent saves no step at its escape: the depth is on the line between those around it."""
    field = reduced.OrbitField(dynsim.Problem(K=1, P=1e6, kappa_s=0.5))
    run = reduced.descend(field, eta=40.0, steps=400, keep=5)
    escape = summary.events_of(run, "L")["escape"]
    i = np.searchsorted(run.t, escape)
    depth = summary.global_depth(run, escape)
    low, high = sorted(run.fp[[i - 1, i], 0, 1])
    assert run.t[i - 1] < escape < run.t[i] and low <= depth <= high and low < high
    assert summary.global_depth(run, run.t[i]) == run.fp[i, 0, 1]
