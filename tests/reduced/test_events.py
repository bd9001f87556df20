"""Events of every query type, found by flows on their way and by descents between saved steps."""

import numpy as np
import pytest

import dynsim
from dynsim import reduced
from dynsim.reduced.field import by_query_type
from dynsim.trajectory import passage

PROBLEM = dynsim.Problem(K=2, gamma=0.75, P=36, kappa_c=0.85, kappa_s=0.45)


@pytest.fixture(scope="module")
def part():
    return dynsim.Partition.blocks(PROBLEM)


@pytest.fixture(scope="module")
def contrastive(part):
    return reduced.ContrastiveField(part, dynsim.sample_pairs(PROBLEM, part, n=64, seed=1))


def attention_of(run, part, query, role):
    """Mean attention (T,), one patch and one cluster at a time, of queries that are local in the cluster."""
    rows = []
    for p in range(part.P):
        lies = "".join("G" if part.labels[k, p] == 0 else "L" for k in range(part.K))
        if query in ("", "".join(sorted(lies, reverse=True))):
            for k in range(part.K):
                if lies[k] == "L":
                    rows.append(run.attention[:, p, part.offset[k] + (part.labels[k, p] if role == "own" else 0)])
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("weight", [None, 4.0])
def test_a_descent_finds_events_between_saved_steps(part, contrastive, weight):
    """Against loops over patches; the time is that of the saved step before, less than one step of saving on."""
    field = contrastive
    if weight is not None:
        reconstruction = reduced.EmpiricalField(part, dynsim.sample(PROBLEM, part, n=64, seed=2))
        field = reduced.SumField([(1.0, reconstruction), (weight * part.P, contrastive)])
    eta = 20.0 if weight is None else 1.0
    run = reduced.descend(field, eta=eta, steps=1500, keep=10)
    found = run.meta["events"]
    assert set(found) == set(field.events) and "collapse" in found and {"escape LL", "collapse LG", "escape GG"} < set(found)
    assert "collapse GG" not in found and "half" not in found  # an all-global query has none; and no floor is known
    passed = 0
    for name, t in found.items():
        what, _, query = name.partition(" ")
        if query == "GG":
            continue
        curve = attention_of(run, part, query, {"escape": "own", "collapse": "global"}[what])
        above = np.flatnonzero(curve >= 0.5)
        if not above.size:
            assert t is None
            continue
        i = above[0]
        assert run.t[i - 1] < t <= run.t[i]
        assert t == pytest.approx(np.interp(0.5, curve[i - 1 : i + 1], run.t[i - 1 : i + 1]), rel=1e-12)
        assert t != pytest.approx(passage(run.t, curve - 0.4))  # control: another threshold
        passed += 1
    assert passed >= 3 and found["collapse"] is not None


def test_a_descent_and_a_flow_find_the_same(contrastive):
    """Descent lags behind the flow by O(eta): times of the collapse differ by a few steps."""
    eta = 10.0
    flow = reduced.flow(contrastive, t_end=2e4, keep=20, rtol=1e-6, until="collapse")
    expected = flow.meta["events"]["collapse"]
    run = reduced.descend(contrastive, eta=eta, steps=int(1.2 * expected / eta), keep=2)
    assert run.meta["events"]["collapse"] == pytest.approx(expected, abs=10 * eta) and 10 * eta < 0.05 * expected
    assert run.meta["events"]["escape"] is None is flow.meta["events"]["escape"]


def test_events_survive_a_resume(part, contrastive, tmp_path):
    from dynsim import runs

    whole = reduced.descend(contrastive, eta=40.0, steps=400, keep=5)
    runs.run(tmp_path / "a.npz", contrastive, eta=40.0, steps=150, keep=5)
    again = runs.resume(tmp_path / "a.npz", more=250)
    assert again.meta["events"] == whole.meta["events"] and whole.meta["events"]["collapse"] is not None
    assert runs.load(tmp_path / "a.npz").meta["events"] == whole.meta["events"]


def test_names_of_events_by_type():
    assert list(by_query_type({"escape": "", "half": ""}, ["LL", "GG"])) == ["escape", "half", "escape LL", "escape GG"]
    assert passage([0.0, 1.0, 3.0], [np.nan, 1.0, 2.0]) == 1.0 and passage([1.0, 2.0], [0.5, 1.0]) == 1.0
    assert passage([0.0, 1.0], [-1.0, np.nan]) is None


def test_where_nothing_can_be_learned_the_loss_is_at_its_floor_from_the_start():
    """Areas of one patch: the first loss is the floor, and no share of an excess is left."""
    problem = dynsim.Problem(K=1, gamma=0.5, P=1e16, kappa_c=0.0, kappa_s=0.0, amplitude=dynsim.Fixed(1.0))
    field = dynsim.reduced.OrbitField(problem, "L")
    run = dynsim.reduced.descend(field, eta=1.0, steps=2, keep=1)
    assert run.loss[0] == field.floor and run.meta["events"]["excess"] == 0.0 and run.meta["events"]["escape"] is None
