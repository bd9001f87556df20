"""The orbit field: the explicit partition where both are the same, the closed forms of theory at large P."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import dynsim
from dynsim import theory
from dynsim.reduced import OrbitField, PopulationField, descend, flow

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import expectations  # noqa: E402
from expectations import FIXED, ONE_PHASE, TWO_PHASES, WIDE  # noqa: E402

PRODUCTS = {
    1: dynsim.Problem(K=1, gamma=0.75, P=16, kappa_c=0.5, kappa_s=0.5),
    2: dynsim.Problem(K=2, gamma=0.75, P=64, kappa_c=2 / 3, kappa_s=0.5),
    3: dynsim.Problem(K=3, gamma=0.75, P=64, kappa_c=5 / 6, kappa_s=2 / 3),
}


@pytest.mark.parametrize("masks", ["own-area", "mean-field"])
@pytest.mark.parametrize("K", [1, 2, 3])
def test_orbits_are_the_explicit_partition(K, masks):
    """All query types of an exact product partition, 60 steps: equal to rounding (60 steps of sums of 64 terms of order one),
    and so are all entries of one orbit."""
    problem = PRODUCTS[K]
    part = dynsim.Partition.product(problem)
    run = descend(PopulationField(problem, part, masks=masks, nodes=8), steps=60, keep=[60])
    found = expectations.by_orbit(problem, part, run.pp[-1], run.fp[-1])
    attention = expectations.by_orbit(problem, part, run.pp[-1], run.attention[-1])
    assert len(found) == 2**K and np.abs(run.fp).max() > 0.2 and np.abs(run.pp).max() > 0.02
    share = {"L": 1 - problem.C_global / problem.P, "G": problem.C_global / problem.P}
    loss = 0.0
    for query, (fp, pp, apart) in found.items():
        orbit = descend(OrbitField(problem, query, masks, "product", nodes=8), steps=60, keep=[60])
        assert apart < 1e-13
        for explicit, x in ((fp, orbit.fp[-1]), (pp, orbit.pp[-1]), (attention[query][0], orbit.attention[-1])):
            known = np.isfinite(explicit)
            np.testing.assert_allclose(x[known], explicit[known], atol=1e-13)
        loss += np.prod([share[area] for area in query]) * orbit.loss[-1]
    assert run.loss[-1] == pytest.approx(loss, rel=1e-13)


def test_the_comparison_tells_orbits_apart():
    """Controls: multiplicities or masks of another kind, or another query type, are off by 1e8 roundings or more."""
    problem = PRODUCTS[2]
    part = dynsim.Partition.product(problem)
    assert expectations.orbit_error(problem, part, intersections="independent")[0] > 1e-3
    a, b = (descend(OrbitField(problem, query), steps=60).fp[-1] for query in ("LL", "GL"))
    assert np.abs(a - b).max() > 1e-2
    a, b = (descend(OrbitField(problem, masks=masks), steps=60).fp[-1] for masks in ("own-area", "mean-field"))
    assert np.abs(a - b).max() > 1e-4


def test_random_partitions_come_close():
    """Means over the orbits of random partitions tend to the orbits of independent intersections: by sampling, their
    deviation is of the order of the spread (.02) over the root of the number of queries (hundreds)."""
    deviation = {}
    for P in (64, 400):
        problem = dynsim.Problem(K=2, gamma=0.75, P=P, kappa_c=0.8, kappa_s=0.5)
        part = dynsim.Partition.random(problem, seed=0)
        deviation[P], spread = expectations.orbit_error(problem, part, intersections="independent")
        assert 1e-3 < spread < 0.05  # largest of all entries
    assert deviation[64] < 5e-3 and deviation[400] < 1.5e-3
    assert expectations.orbit_error(problem, part, "mean-field", "independent")[0] < 0.05  # (and against its own closure)


def test_clusters_are_interchangeable():
    problem = dynsim.Problem(K=3, gamma=0.75, P=1e6)
    a, b = (descend(OrbitField(problem, query), eta=5.0, steps=200) for query in ("LGL", "GLL"))
    order = [1, 0, 2]
    np.testing.assert_allclose(b.fp[:, order], a.fp, rtol=1e-12)
    np.testing.assert_array_equal(a.attention[:, 1, 0], a.attention[:, 1, 1])  # where global, own and global are one
    np.testing.assert_allclose(b.pp, a.pp, rtol=1e-12, atol=1e-25)  # classes know types of clusters, not clusters
    assert np.abs(b.fp - a.fp).max() > 1e-9


@pytest.mark.parametrize("law", [FIXED, WIDE])
@pytest.mark.parametrize("kappas", TWO_PHASES + ONE_PHASE)
def test_escape_and_depth_at_1e30(law, kappas):
    """Time within .1 % of (8), depth within .01 of (9), and time within 1e-5 of (15), for both signs of the gap."""
    found = expectations.escape(1e30, kappas, law)
    assert abs(found["ratio"] - 1) < 1e-3
    assert abs(found["finite"] - 1) < 1e-5
    assert abs(found["depth"]) < 0.01
    problem = found["problem"]
    if problem.Delta > 0:  # control: the leading order of the depth alone is not that good
        leading = -problem.Delta / (2 * law.L) * np.log(problem.P)
        assert abs(found["depth"] + theory.global_depth(problem) - leading) > 0.1
    other = dynsim.Problem(K=1, gamma=0.75, P=1e30, kappa_c=kappas[0], kappa_s=kappas[1] + 1e-3, amplitude=law)
    assert abs(found["t"] / theory.escape_time(other) - 1) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("law", [FIXED, WIDE])
@pytest.mark.parametrize("kappas", TWO_PHASES + ONE_PHASE)
def test_escape_at_other_sizes(law, kappas):
    """1 % at 1e12, but where the global area, rho P^(kappa_c - 1) of the softmax, falls out of it before the escape: the
    ratio is then 1 less that, to a few percent of it. Exponent 1 - kappa_s within .002 between 1e20 and 1e30."""
    t = {}
    for P in (1e12, 1e20, 1e30):
        found = expectations.escape(P, kappas, law)
        t[P], problem = found["t"], found["problem"]
        share = problem.rho * P ** (kappas[0] - 1)
        if kappas[0] == 0.9:
            assert abs(1 - found["ratio"] - share) < 0.03 * share
        if share < 0.01:
            assert abs(found["ratio"] - 1) < 0.01
        assert abs(found["finite"] - 1) < 2e-4
        assert abs(found["depth"]) < 0.015
    exponent = np.log10(t[1e30] / t[1e20]) / 10
    assert abs(exponent - (1 - kappas[1])) < 2e-3
    assert abs(np.log10(t[1e20] / t[1e12]) / 8 - (1 - kappas[1])) < 3e-3


@pytest.mark.parametrize("law, slope", [(FIXED, -1.0), (WIDE, -1.0)])
def test_late_loss_falls_as_one_over_t(law, slope):
    """From 1e3 to 1e6 escape times: what t_esc and the start leave is of order t_esc / t."""
    assert abs(expectations.late_slope(law) - slope) < 0.02
    problem = dynsim.Problem(K=1, gamma=0.75, P=1e30, amplitude=law)
    t = 1e5 * theory.escape_time(problem)
    run = flow(OrbitField(problem), t_end=t, keep=[t])
    assert run.loss[-1] / theory.late_loss(problem, t, finite=True) == pytest.approx(1, abs=0.01)
    early = expectations.late_slope(law, window=(0.1, 0.9))  # control: before the escape there is no such slope
    assert abs(early + 1) > 0.5


@pytest.mark.parametrize("law", [FIXED, WIDE])
def test_pp_shrinks_as_log_p_over_the_area(law):
    """PP with the keys of one own area at escape, against (13); its exponent is above -kappa_s by the log of P."""
    pp = {}
    for P in (1e20, 1e30):
        found = expectations.escape(P, (0.9, 0.4), law)
        pp[P] = found["pp"]
        assert found["shown"] == pytest.approx(0.5, abs=1e-6)
        assert found["pp"] / theory.pp_size(found["problem"]) == pytest.approx(1, abs=1e-3)
    exponent = np.log10(pp[1e30] / pp[1e20]) / 10
    assert -0.4 < exponent < -0.37


@pytest.mark.parametrize("kappas", [(0.9, 0.4), (0.6, 0.4), (0.8, 0.2)])  # the last with z Phi up to 820 for U[.5, 1.5]
@pytest.mark.parametrize("law", [FIXED, WIDE])
def test_a_googol_of_patches(kappas, law):
    found = expectations.escape(1e100, kappas, law)
    assert abs(found["ratio"] - 1) < 1e-6 and abs(found["finite"] - 1) < 1e-6
    run = found["run"]
    for name in ("loss", "fp", "pp", "attention"):
        assert np.isfinite(getattr(run, name)).all()
    assert run.attention[-1, 0, 0] > 0.999 and abs(found["depth"]) < 0.01


def test_cost_does_not_depend_on_the_size():
    """CPU time at P=1e100 over that at 1e3, interleaved; measured 1.3 to 1.8, promised 5."""
    small, large = expectations.cost((1e3, 1e100), repeats=3)
    assert large < 5 * small


@pytest.mark.parametrize(
    "problem, query",
    [
        (dynsim.Problem(K=2, gamma=0.75, P=1_000_000, kappa_c=0.8, kappa_s=0.2, amplitude=WIDE), "LL"),
        (dynsim.Problem(K=3, gamma=0.5, P=733, kappa_c=0.6, kappa_s=0.1, amplitude=FIXED), "LGL"),
        (dynsim.Problem(K=2, gamma=0.2, P=85, kappa_c=0.3, kappa_s=0.2, amplitude=WIDE), "LL"),
        (dynsim.Problem(K=2, gamma=0.9, P=14204, kappa_c=0.5, kappa_s=0.1), "LL"),
        (dynsim.Problem(K=4, gamma=0.9, P=5.4e41, kappa_c=0.3, kappa_s=0.05, amplitude=WIDE), "LLLG"),
    ],
)
def test_rare_patterns_and_small_areas_do_no_harm(problem, query):
    """Own areas that meet in far less than one key, areas of two patches and a bit, counts of none: the flow goes through,
    the loss falls to its floor (1 %), and no key of one own area stands out from the others without reason."""
    field = OrbitField(problem, query)
    run = flow(field, t_end=30 * theory.escape_time(problem))
    assert run.meta["events"]["excess"] is not None and (np.diff(run.loss) < 1e-9 * run.loss[0]).all()
    assert np.abs(run.pp).max() < 40


def test_draws_weigh_no_less_than_their_lightest_keys():
    """The bounds on variance and skewness do not touch a real population of keys: with whole numbers in every pattern the
    velocity stays that of the explicit partition, even where one key weighs a thousand times the others."""
    problem = PRODUCTS[3]
    part = dynsim.Partition.product(problem)
    explicit, orbit = PopulationField(problem, part, nodes=8), OrbitField(problem, "LLL", intersections="product", nodes=8)
    p = int(np.flatnonzero((part.labels != 0).all(axis=0))[0])
    y = orbit.start()
    y[:3] = 3.0, 0.0, 0.0
    y[3:] = np.random.default_rng(0).normal(size=11)
    y[3 + 6] += 7.0  # keys in the global area of all three clusters: one class of its own
    fp, pp = orbit.correlations(y)
    assert orbit.layout.coords["class"][int(np.flatnonzero(pp > 5)[0])] == "L 0 3 0" and (pp > 5).sum() == 1
    table = explicit.start()
    roles = np.where(part.labels == part.labels[:, [p]], 0, np.where(part.labels == 0, 1, 2))
    column = orbit.layout.class_of(roles)
    column[p] = len(orbit.layout.number)
    for k in range(3):
        rows = np.arange(part.offset[k], part.offset[k + 1])
        table[rows, p] = fp[k][np.where(rows == part.own[k, p], 0, np.where(rows == rows[0], 1, 2))]
    table[part.F :, p] = pp[column]
    by_key = explicit.velocity(table)[1][part.F :, p]
    moves = orbit.correlations(orbit.velocity(y)[1])[1]
    np.testing.assert_allclose(by_key, moves[column], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("query, size", [("L", 7), ("LLLL", 3 + 15 + 1), ("LGLG", 6 + 36 + 1), ("L" * 8, 3 + 45 + 1)])
def test_the_state_holds_interchangeable_clusters_once(query, size):
    """3 numbers a type of cluster, one for each way in which a key can lie in (own, global, other) of the clusters of each
    type, one for the query. The correlations are those of all clusters and patterns, and equal where clusters of one type
    change places."""
    K = len(query)
    field = OrbitField(dynsim.Problem(K=K, P=1e6), query)
    assert field.start().size == size and field.layout.left_out == 0
    fp, pp = field.correlations(np.random.default_rng(K).normal(size=size))
    assert fp.shape == (K, 3) and pp.shape == (size - 3 * len(set(query)),) == (len(field.layout.coords["class"]),)
    roles = np.array(list(product(range(3), repeat=K))).T  # of every key, cluster by cluster
    column = field.layout.class_of(roles)
    assert set(column) == set(range(len(pp) - 1))
    for k in range(K):
        for j in range(k):
            assert np.array_equal(fp[k], fp[j]) == (query[k] == query[j])
            swapped = roles.copy()
            swapped[[j, k]] = roles[[k, j]]
            assert np.array_equal(column, field.layout.class_of(swapped)) == (query[k] == query[j])


@pytest.mark.parametrize("query, P", [("L" * 12, 1e6), ("L" * 64, 1e30), ("L" * 40 + "G" * 24, 1e30), ("L" * 200, 1e12)])
def test_any_number_of_clusters(query, P):
    """Beyond K = 8 the classes with the most keys stand for all: the others hold few keys, areas keep their sizes, and the
    escape is that of (15), which knows no K but in the time scale."""
    problem = dynsim.Problem(K=len(query), P=P)
    field = OrbitField(problem, query)
    layout = field.layout
    assert field.start().size <= 3 * 2 + 225 + 1 and 0 <= layout.left_out < 1e-6
    held = layout.keys.sum(axis=2)
    np.testing.assert_allclose(held, layout.sizes[layout.first] - [1, 0, 0], rtol=1e-12)
    run = flow(field, **field.run_options(problem))
    assert run.meta["events"]["escape"] == pytest.approx(theory.escape_time(problem, finite=True), rel=0.02)
    assert run.meta.get("keys_left_out", 0.0) == layout.left_out and run.loss[-1] - field.floor < 0.01 * run.loss[0]


def test_classes_that_are_left_out_do_not_matter(monkeypatch):
    """K = 6 with 8 of its 28 classes held, against all of them: what is left out, a share of 1e-4 of the keys, moves less."""
    from dynsim.reduced import orbit

    problem = dynsim.Problem(K=6, P=1e6)
    end = 2 * theory.escape_time(problem)
    whole = flow(OrbitField(problem), t_end=end, keep=[end])
    monkeypatch.setattr(orbit, "MOST_CLASSES", 8)
    field = OrbitField(problem)
    part = flow(field, t_end=end, keep=[end])
    assert 1e-8 < field.layout.left_out < 1e-2
    assert abs(part.meta["events"]["escape"] / whole.meta["events"]["escape"] - 1) < field.layout.left_out
    np.testing.assert_allclose(part.fp, whole.fp, atol=field.layout.left_out)


def test_bad_input_is_named():
    problem = dynsim.Problem(K=2, P=64)
    for query in ("L", "LLL", "LX", 3):
        with pytest.raises(dynsim.InputError, match="one L or G per cluster, K=2, got .*: take e.g. LL"):
            OrbitField(problem, query)
    with pytest.raises(dynsim.InputError, match="masks must be .* --method population has more"):
        OrbitField(problem, masks="exact")
    with pytest.raises(dynsim.InputError, match='intersections must be "independent" or "product", got \'random\''):
        OrbitField(problem, intersections="random")
    with pytest.raises(dynsim.InputError, match="up to K=640 clusters, got K=641: take fewer"):
        OrbitField(dynsim.Problem(K=641, P=1e6))
    with pytest.raises(dynsim.InputError, match='meet in at least one patch, got 0.4.*: use intersections="independent"'):
        OrbitField(problem, intersections="product")
    with pytest.raises(dynsim.InputError, match="leaves .* for local areas .*: lower kappa_c or kappa_s"):
        dynsim.Problem(K=2, P=64, kappa_c=0.95, kappa_s=0.9)
