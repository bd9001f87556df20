"""The statistical, finite-size and asymptotic levels: their statistics, that they pass, and what must make them fail."""

import numpy as np
import pytest
from scipy import stats

import dynsim
from dynsim import full, validation
from dynsim.reduced import EmpiricalField, OrbitField, PopulationField, descend
from dynsim.validation import _asymptotic, _finite_size, _statistical


def inline(function, tasks, progress=None):
    """The same work in this process, where a test can reach it."""
    return [function(*task) for task in tasks]


def failing(rows):
    return {row.quantity for row in rows if not row.passed}


# ---------------------------------------------------------------------------------------------------------- statistics


def test_intercept_of_exact_numbers():
    delta, error, b, freedom = _statistical.intercept({n: [1.02 + 3.0 / n] * 4 for n in (64, 256, 1024)})
    assert delta == pytest.approx(0.02, abs=1e-14) and b == pytest.approx(3.0) and error < 1e-14 and freedom == 9


def test_intercept_alarms_as_often_as_it_says():
    """2000 synthetic levels: 5 % of them beyond the two-sided 5 % point; binomial, four deviations."""
    rng = np.random.default_rng(0)
    sizes, alarms = (128, 512, 2048), 0
    for _ in range(2000):
        delta, error, _, freedom = _statistical.intercept({n: 1 - 2 / n + rng.normal(0, 0.3, 8) / np.sqrt(n) for n in sizes})
        alarms += abs(delta) / error > stats.t.isf(0.025, freedom)
    assert abs(alarms / 2000 - 0.05) <= 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_exponent_of_exact_numbers():
    s, error, freedom = _statistical.exponent({n: [2.0 * n**-0.4] * 3 for n in (64, 256, 1024)})
    assert s == pytest.approx(0.4) and error < 1e-14 and freedom == 6


def test_exponent_alarms_as_often_as_it_says():
    """Norms of 12 fluctuations: their logarithms are normal enough for Student's law at 5 %."""
    rng = np.random.default_rng(1)
    sizes, alarms = (128, 512, 2048), 0
    for _ in range(2000):
        norms = {n: np.linalg.norm(rng.normal(size=(8, 12)), axis=1) / np.sqrt(n) for n in sizes}
        s, error, freedom = _statistical.exponent(norms)
        alarms += abs(s - 0.5) / error > stats.t.isf(0.025, freedom)
    assert abs(alarms / 2000 - 0.05) <= 4 * np.sqrt(0.05 * 0.95 / 2000)


# --------------------------------------------------------------------------------------------------------- statistical


def reduced_replicate(problem, part, n, seed, run):
    """A replicate by the exact reduction, which is full descent to rounding (exact level) at a tenth of its time."""
    traj = descend(EmpiricalField(part, dynsim.sample(problem, part, n, seed), threads=1), **run)
    return {name: getattr(traj, name)[1:] for name in _statistical.QUANTITIES}


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(_statistical, "in_parallel", inline)
    monkeypatch.setattr(_statistical, "replicate", reduced_replicate)


def off_by(factor, fp=True, pp=True, loss=False):
    """A population field with one wrong factor."""

    class Wrong(PopulationField):
        def velocity(self, y, step=0, out=None):
            value, dy = super().velocity(y, step, out)
            dy[: self.part.F] *= factor if fp else 1.0
            dy[self.part.F :] *= factor if pp else 1.0
            return value * (factor if loss else 1.0), dy

    return Wrong


def test_statistical_passes_and_reports(fast):
    rows = _statistical.level(True, 1, None)
    assert failing(rows) == set() and len(rows) == 14
    assert all(row.level == "statistical" and row.note for row in rows)
    s = [row for row in rows if row.quantity.startswith("s of")]
    assert all(row.bound <= _statistical.WIDEST for row in s)  # an interval that would contain anything says nothing


@pytest.mark.parametrize(
    "wrong, seen",
    [
        (off_by(1.02), "z of fp"),
        (off_by(0.98), "z of fp"),
        (off_by(1.02, pp=False), "z of fp"),
        (off_by(1.02, fp=False), "z of pp"),
        (off_by(1.02, fp=False, pp=False, loss=True), "z of loss"),
    ],
    ids=["2 % too fast", "2 % too slow", "FP only", "PP only", "loss only"],
)
def test_two_percent_in_the_population_fail(wrong, seen, fast, monkeypatch):
    monkeypatch.setattr(_statistical, "PopulationField", wrong)
    rows = _statistical.level(True, 1, None)
    assert any(quantity.startswith(seen) for quantity in failing(rows))


def test_a_coarser_closure_fails(fast, monkeypatch):
    def mean_field(problem, part, masks="mean-field", **options):
        return PopulationField(problem, part, masks=masks, **options)

    monkeypatch.setattr(_statistical, "PopulationField", mean_field)
    found = failing(_statistical.level(True, 1, None))
    assert {"z of fp at t=25", "closure bias of fp at t=25, in errors"} <= found


def test_another_gamma_in_the_images_fails(fast, monkeypatch):
    other = dynsim.Problem(K=2, gamma=0.57, P=14, kappa_c=0.6, kappa_s=0.4, amplitude=dynsim.Fixed(1.0))  # 8 masked, not 7
    monkeypatch.setattr(_statistical, "replicate", lambda problem, *args: reduced_replicate(other, *args))
    found = failing(_statistical.level(True, 1, None))
    assert {"z of loss at t=25", "s of fp, from 1/2"} <= found  # what does not fall with n bends s


@pytest.mark.slow
def test_statistical_by_full_descent(monkeypatch):
    monkeypatch.setattr(_statistical, "in_parallel", inline)
    runs = []
    original = full.descend
    monkeypatch.setattr(full, "descend", lambda *args, **options: runs.append(1) or original(*args, **options))
    assert failing(_statistical.level(True, 2, None)) == set() and len(runs) == 40
    monkeypatch.setattr(_statistical, "PopulationField", off_by(1.02))
    assert {"z of fp at t=25", "z of pp at t=25"} <= failing(_statistical.level(True, 2, None))


# --------------------------------------------------------------------------------------------------------- finite size


def test_product_partitions_are_orbits(monkeypatch):
    case = 2, 64, (5 / 6, 0.5), ("LL", "LG", "GG")
    assert failing(_finite_size.product_case(*case)) == set()
    monkeypatch.setattr(_finite_size, "PopulationField", off_by(1 + 1e-9))
    assert failing(_finite_size.product_case(*case)) == {"fp", "pp", "attention"}


def test_every_query_of_a_product_partition_is_compared():
    for (K, P, *kappas), queries in _finite_size.PRODUCT.items():
        part = dynsim.Partition.product(dynsim.Problem(K, 0.75, P, *kappas))
        found = {"".join(sorted("LG"[int(m == 0)] for m in part.labels[:, p])[::-1]) for p in range(P)}
        assert found == set(queries)
        assert all(len(_finite_size.queries_of(part, query)) for query in queries)


@pytest.mark.parametrize("make", ["random", "blocks"])
def test_overlaps_explain_the_deviation(make, monkeypatch):
    rows = _finite_size.scattered(2, 8, make, seed=3)
    assert failing(rows) == set() and len(rows) == 2
    predicted = _finite_size.predicted
    monkeypatch.setattr(_finite_size, "predicted", lambda field, orbit, shares: predicted(field, orbit, shares[::-1]))
    assert len(failing(_finite_size.scattered(2, 8, make, seed=3))) == 2  # the overlaps of other queries do not


def test_a_wrong_orbit_is_not_explained(monkeypatch):
    class Wrong(OrbitField):
        def velocity(self, y, step=0, out=None):
            loss, dy = super().velocity(y, step, out)
            dy[: 3 * self.problem.K] *= 1.01
            return loss, dy

    monkeypatch.setattr(_finite_size, "OrbitField", Wrong)
    assert len(failing(_finite_size.scattered(2, 12, "random", seed=3))) == 2


def test_shares_are_counts():
    part = dynsim.Partition([[0, 1, 1, 1, 2, 0], [0, 1, 1, 0, 2, 1]])
    field = OrbitField(dynsim.Problem(K=2, P=1e6), "LL")
    own, at_global = (_finite_size.class_shares(field, part, 1, role) for role in (_finite_size.OWN, _finite_size.GLOBAL))
    # patch 1 shares area 1 of the first cluster with 2 (own in the second, too) and 3 (global there)
    np.testing.assert_array_equal(own, [0.5, 0.5, 0, 0, 0, 0])
    # the global area holds 0 (global in the second, too) and 5 (own there)
    np.testing.assert_array_equal(at_global, [0, 0.5, 0, 0.5, 0, 0])


# ---------------------------------------------------------------------------------------------------------- asymptotic


@pytest.mark.parametrize("regime, P", [("two phases", 1e6), ("one phase", 1e18)])
def test_events_are_the_closed_forms(regime, P):
    rows = _asymptotic.case(regime, 1, "z=1", P)
    assert failing(rows) == set()
    assert [row.quantity[-4:].strip(" ()") for row in rows] == ["8", "15", "9", "16"]


def test_what_is_out_of_reach_is_left_out():
    for P, left in ((1e6, ["8", "15", "16"]), (1e30, ["8", "15"])):
        rows = _asymptotic.case("one phase", 1, "z=1", P)
        assert failing(rows) == set() and [row.quantity[-4:].strip(" ()") for row in rows] == left


def test_a_wrong_closed_form_fails(monkeypatch):
    escape, depth = dynsim.theory.escape_time, dynsim.theory.global_depth
    monkeypatch.setattr(dynsim.theory, "escape_time", lambda *args, **options: 1.001 * escape(*args, **options))
    monkeypatch.setattr(dynsim.theory, "global_depth", lambda *args, **options: depth(*args, **options) - 1e-2)
    assert failing(_asymptotic.case("two phases", 1, "z=1", 1e30)) == {
        "escape time (8)", "escape time (15)", "global depth (9)", "global depth (16)"
    }


class Slower(OrbitField):
    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy *= 1 - 1e-4
        return loss, dy


class WithoutGlobal(OrbitField):
    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[1] = 0.0
        return loss, dy


DEPTHS = {"global depth (9)", "global depth (16)"}


@pytest.mark.parametrize("field, seen", [(Slower, {"escape time (15)"}), (WithoutGlobal, {"escape time (15)", *DEPTHS})])
def test_wrong_dynamics_fail(field, seen, monkeypatch):
    monkeypatch.setattr(_asymptotic, "OrbitField", field)
    assert failing(_asymptotic.case("two phases", 1, "z=1", 1e18)) == seen


def test_no_escape_fails(monkeypatch):
    escape = dynsim.theory.escape_time
    monkeypatch.setattr(dynsim.theory, "escape_time", lambda *args, **options: escape(*args, **options) / 10)
    rows = _asymptotic.case("two phases", 1, "z=1", 1e6)
    assert len(failing(rows)) == len(rows) == 4


# ------------------------------------------------------------------------------------------------------------- all of it


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7])
def test_all_levels_pass(seed):
    seen = []
    report = validation.run(quick=True, seed=seed, progress=lambda done, total: seen.append(done / total))
    assert [row for row in report.rows if not row.passed] == []
    assert {row.level for row in report.rows} == set(validation.LEVELS)
    assert seen == sorted(seen) and seen[-1] == 1.0
