"""Areas from images: recovery of partitions that made the pictures, controls, pieces against slow twins, bad input."""

from itertools import permutations

import numpy as np
import pytest
from scipy.cluster.hierarchy import cut_tree, linkage

import dynsim
from dynsim.analysis import _ward, areas
from dynsim.analysis._estimates import exponents, law_of, shares
from dynsim.analysis.areas import Estimate


def pictures_of(problem, seed, n=600, noise=0.1, d=None):
    """Pictures of the model, X_p = z_m v_{k,m} + noise in every number, features orthonormal: (part, data, images)."""
    part = dynsim.Partition.blocks(problem, seed)
    data = dynsim.sample(problem, part, n=n, seed=seed)
    rng = np.random.default_rng([seed, 1])
    v = np.linalg.qr(rng.normal(size=(d or part.F, part.F)))[0].T
    z = np.take_along_axis(data.z, part.labels[data.cluster], axis=1)
    X = z[:, :, None] * v[part.own[data.cluster]] + noise * rng.normal(size=(n, part.P, v.shape[1]))
    return part, data, dynsim.Images(X, data.masked, part.grid)


def shuffled(images, seed):
    """The same with the patches of every picture in an order of their own."""
    m, P, _ = images.patches.shape
    order = np.random.default_rng([seed, 2]).permuted(np.tile(np.arange(P), (m, 1)), axis=1)
    return dynsim.Images(np.take_along_axis(images.patches, order[:, :, None], axis=1), images.masked, images.grid)


def adjusted_rand(a, b):
    """Agreement of two labellings, 1 the same up to names, 0 by chance (Hubert and Arabie 1985)."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    pairs = lambda x: (x * (x - 1) / 2).sum()  # noqa: E731
    both, one, other = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    chance = one * other / pairs(np.array([len(a)]))
    return (both - chance) / ((one + other) / 2 - chance)


def agreement(part, found):
    """Adjusted Rand index of the areas, the least over clusters, in the best order of clusters."""
    return max(
        min(adjusted_rand(part.labels[j], found.labels[k]) for k, j in enumerate(order)) for order in permutations(range(part.K))
    )


PROBLEM = dynsim.Problem(K=3, gamma=0.75, P=64, kappa_c=0.85, kappa_s=0.45)


@pytest.fixture(scope="module")
def made():
    return pictures_of(PROBLEM, 0)


@pytest.fixture(scope="module")
def found(made):
    return areas.fit(made[2], K=3, bootstrap=5)


def test_recovers_what_made_the_pictures(made, found):
    part, data, images = made
    assert agreement(part, found.part) == 1.0
    assert adjusted_rand(data.cluster, found.data.cluster) == 1.0
    assert found.has_areas and found.clipped == 0.0
    assert abs(found.kappa_c.value - PROBLEM.kappa_c) < 0.03 and abs(found.kappa_s.value - PROBLEM.kappa_s) < 0.03
    for name in ("kappa_c", "kappa_s", "Delta"):
        estimate = getattr(found, name)
        assert estimate.low <= getattr(PROBLEM, name) <= estimate.high
        assert estimate.low <= estimate.value <= estimate.high
    assert (found.problem.C_global, found.problem.n_local) == (PROBLEM.C_global, PROBLEM.n_local)
    # what noise of variance s^2 in d numbers leaves to explain: E z^2 less the error of the mean of C - 1 others, s^2 / (C - 1)
    square, s2, d = PROBLEM.amplitude.moment(2), 0.01, images.d
    attainable = (square - s2 * (PROBLEM.N / PROBLEM.P) * 1.2) / (square + d * s2)  # 1.2 = C / (C - 1) at the least
    assert attainable - 0.01 < found.explained.value < square / (square + d * s2) + 0.005
    within, between = found.largest_inner_product
    assert within < 0.05 and between < 0.05  # noise of n C d numbers: far below the 1 of equal features


def test_law_of_amplitudes(found):
    """The mean to one per cent, and the variance without that of the noise, which is a tenth of it for areas of six."""
    law, true = found.problem.amplitude, PROBLEM.amplitude
    assert law.moment(1) == pytest.approx(true.moment(1), rel=0.01)
    variance = law.moment(2) - law.moment(1) ** 2
    assert variance == pytest.approx(0.4**2 / 12, rel=0.06)
    z = np.random.default_rng(0).uniform(0.8, 1.2, 100_000)
    noisy = z + 0.1 * np.random.default_rng(1).normal(size=len(z))
    with_noise, without = law_of(noisy, 0.0), law_of(noisy, 0.01)
    spread = lambda law: law.moment(2) - law.moment(1) ** 2  # noqa: E731
    assert spread(without) == pytest.approx(0.4**2 / 12, rel=0.03) and spread(with_noise) > 1.6 * 0.4**2 / 12
    assert law_of(np.full(5, 2.0), 0.0).moment(1) == pytest.approx(2.0)


@pytest.mark.parametrize("kappas", [(0.9, 0.4), (0.7, 0.4)])
def test_other_exponents(kappas):
    problem = dynsim.Problem(3, 0.75, 64, *kappas)
    part, _, images = pictures_of(problem, 1, n=300)
    est = areas.fit(images, K=3, bootstrap=0)
    assert agreement(part, est.part) == 1.0
    assert est.Delta.low <= problem.Delta <= est.Delta.high


def test_no_areas_where_patches_change_places(made):
    est = areas.fit(shuffled(made[2], 0), K=3, bootstrap=0)
    assert not est.has_areas and abs(est.margin.value) < 0.01
    assert "no areas" in repr(est)


def test_wrong_number_of_clusters(made, found):
    part, _, images = made
    one = areas.fit(images, K=1, bootstrap=0)
    assert one.explained.value < 0.4 < 0.8 < found.explained.value
    more = areas.fit(images, K=5, bootstrap=0)
    assert more.explained.value == pytest.approx(found.explained.value, abs=0.01)  # clusters cut in two, each with the same areas


def test_chooses_clusters(made):
    est = areas.fit(made[2], K=None, bootstrap=0)
    assert est.part.K == 3 and agreement(made[0], est.part) == 1.0


def test_given_number_of_areas(made):
    assert areas.fit(made[2], K=3, areas=4, bootstrap=2).part.N.tolist() == [4, 4, 4]
    assert areas.fit(made[2], K=3, areas=[2, 6, 9], bootstrap=0).part.N.tolist() == [2, 6, 9]


@pytest.mark.slow
def test_twenty_seeds():
    """The numbers asked for: adjusted Rand index .95, exponents within .03, Delta in its interval 19 times of 20, no areas in
    shuffled pictures. Measured: 1, .019, 20 of 20, none."""
    inside = 0
    for seed in range(20):
        part, _, images = pictures_of(PROBLEM, seed)
        est = areas.fit(images, K=3, seed=seed, bootstrap=20)
        assert agreement(part, est.part) >= 0.95 and est.has_areas
        assert abs(est.kappa_c.value - PROBLEM.kappa_c) < 0.03 and abs(est.kappa_s.value - PROBLEM.kappa_s) < 0.03
        inside += est.Delta.low <= PROBLEM.Delta <= est.Delta.high
        assert not areas.fit(shuffled(images, seed), K=3, seed=seed, bootstrap=0).has_areas
    assert inside >= 19


def test_objects_run(made, found):
    """Partition, Problem, Dataset and embedding go into every other part."""
    part, data = found.part, found.data
    assert np.array_equal(data.masked, made[2].masked)
    run = dynsim.reduced.descend(dynsim.reduced.EmpiricalField(part, data, threads=1, embedding=found.embedding), steps=3, keep=1)
    assert run.loss[-1] < run.loss[0]
    orbit = dynsim.reduced.flow(dynsim.reduced.OrbitField(found.problem), t_end=1.0, keep=2)
    assert np.isfinite(orbit.loss).all()
    assert dynsim.theory.escape_time(found.problem) > 0
    error = ((found.pictures - made[2].patches) ** 2).sum() / (made[2].patches ** 2).sum()
    assert error < 0.18  # d s^2 of noise, .15 of the energy
    assert (found.part.size[found.part.offset[:-1]] == np.maximum.reduceat(found.part.size, found.part.offset[:-1])).all()
    assert np.allclose(np.linalg.norm(found.features, axis=1), 1.0)


def test_several_masks_and_weights():
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0.5, 1.5, (60, 1, 1)) * np.where(np.arange(8) < 6, 1.0, 0.2) + 0.05 * rng.normal(size=(60, 8, 8))
    images = dynsim.Images.cut(pictures, patch=2, gamma=0.5, masks=3, centre=False)
    est = areas.fit(images, K=1, bootstrap=0)
    assert est.data.n == 180 and np.array_equal(est.data.z[0], est.data.z[2])
    assert est.problem.gamma == 0.5 and est.problem.masked == 8


def test_same_seed_same_result(made, found):
    again = areas.fit(made[2], K=3, bootstrap=5)
    assert np.array_equal(again.part.labels, found.part.labels)
    assert again.Delta == found.Delta and again.explained == found.explained
    assert np.array_equal(again.features, found.features)


def test_repr_and_progress(found, made):
    assert len(repr(found).splitlines()) <= 5 and "areas of 34 + 6" in repr(found)
    calls = []
    areas.fit(made[2], K=1, bootstrap=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls) and calls[-1] == (12, 12)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(dynsim.Interrupted, match="stopped before the areas were fitted"):
        areas.fit(made[2], K=1, bootstrap=2, progress=stop)


# --- pieces against slow twins


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(5)
    return rng.normal(size=(11, 7, 3)) + np.arange(7)[:, None] % 3


def test_tree_is_wards(small):
    grown = _ward.tree(small)
    joins = linkage(small.transpose(1, 0, 2).reshape(7, -1), "ward")
    for N in range(1, 8):
        members = grown.members[grown.cut(N)]
        assert (members.sum(axis=0) == 1).all() and len(members) == N
        if 1 < N < 7:
            assert adjusted_rand(members.argmax(axis=0), cut_tree(joins, N)[:, 0]) == 1.0


def test_features_are_singular_vectors(small, monkeypatch):
    members = _ward.tree(small).members[7:]
    v = _ward.features(small, members)
    for row, inside in zip(v, members, strict=True):
        mean = small[:, inside].mean(axis=1)
        first = np.linalg.svd(mean)[2][0]
        assert abs(row @ first) == pytest.approx(1.0, abs=1e-10)
        assert (mean @ row).mean() >= 0
    monkeypatch.setattr(_ward, "BLOCK", 40)
    assert np.allclose(_ward.features(small, members), v, atol=1e-10)


def gains_by_loops(X, members, v):
    """What the other patches of its area say of each patch, patch by patch, summed over an area."""
    found = np.zeros((len(X), len(members)))
    for i, picture in enumerate(X):
        for a, inside in enumerate(members):
            area = np.flatnonzero(inside)
            for p in area:
                rest = [q for q in area if q != p]
                if rest:
                    z = max(0.0, sum(v[a] @ picture[q] for q in rest) / len(rest))
                    found[i, a] += picture[p] @ picture[p] - ((picture[p] - z * v[a]) ** 2).sum()
    return found


def test_gains_and_path(small, monkeypatch):
    grown = _ward.tree(small)
    v = _ward.features(small, grown.members)
    slow = gains_by_loops(small, grown.members, v)
    assert np.allclose(_ward.gains(small, grown.members, v), slow, atol=1e-11)
    monkeypatch.setattr(_ward, "BLOCK", 40)
    assert np.allclose(_ward.gains(small, grown.members, v), slow, atol=1e-11)
    found = _ward.path(grown, small, small, 5)
    for N in range(2, 6):
        assert np.allclose(found[:, N - 2], slow[:, grown.cut(N)].sum(axis=1), atol=1e-11)


def test_noise_of_amplitudes():
    """Of equal patches plus noise of variance s^2 in each number, an amplitude over C patches has the variance s^2 / C."""
    rng = np.random.default_rng(0)
    X = np.ones((4000, 6, 2)) * [1.0, 0.0] + 0.3 * rng.normal(size=(4000, 6, 2))
    members, v = np.ones((1, 6), dtype=bool), np.array([[1.0, 0.0]])
    z = _ward.amplitudes(X, members, v)
    assert z.mean() == pytest.approx(1.0, abs=0.01)
    assert _ward.noise(X, members, v).mean() == pytest.approx(0.09 / 6, rel=0.05)
    assert z.var() == pytest.approx(0.09 / 6, rel=0.1)
    assert not _ward.noise(X, np.eye(6, dtype=bool)[:1], v).any()  # a patch alone shows none


def test_smallest_as_good():
    """Short of the best by .01, picture by picture 0.01 +- 1, is within an error of 1 / 20; by .1 it is not."""
    swing = np.resize([1.0, -1.0], 400)
    level = np.random.default_rng(0).normal(size=400)
    best = level + 1.0
    assert _ward.smallest_as_good(np.stack([level, best - 0.01 + swing, best, best], axis=1)) == 1
    assert _ward.smallest_as_good(np.stack([level, best - 0.1 + swing, best, best], axis=1)) == 2
    assert _ward.smallest_as_good(np.array([[0.0, 2.0, 1.0]])) == 1


@pytest.mark.parametrize("P", [16, 64, 196, 1000])
def test_exponents_of_sizes(P):
    """Every problem's own exponents lie in the range of its sizes, the value too, and the value gives the sizes again."""
    seen = 0
    for kappa_c in np.linspace(0.3, 0.95, 14):
        for kappa_s in np.linspace(0.05, 0.8, 16):
            try:
                problem = dynsim.Problem(1, 0.5, P, kappa_c, kappa_s)
            except dynsim.InputError:
                continue
            if problem.C_global < problem.sizes().max():
                continue  # the largest area is a local one: which of them is global, sizes do not say
            at_c, at_s = exponents([problem.sizes()], P)
            assert at_c.low - 1e-12 <= kappa_c <= at_c.high + 1e-12, (kappa_c, kappa_s)
            assert at_s.low - 1e-12 <= kappa_s <= at_s.high + 1e-12, (kappa_c, kappa_s)
            assert at_c.low <= at_c.value <= at_c.high and at_s.low <= at_s.value <= at_s.high
            assert round(P**at_c.value) == problem.C_global
            seen += 1
    assert seen > 20
    a, b = exponents([np.array([P // 2, P // 4, P // 4])], P)
    assert a.high - a.low < 2.1 / P and b.low < b.value < b.high  # half a patch either way of P / 2


def test_shares():
    energy, explained = np.full(100, 2.0), np.r_[np.full(50, 1.0), np.full(50, 1.6)]
    whole, control, margin = shares(explained, np.full(100, 0.5), energy, 0)
    assert whole.value == pytest.approx(0.65) and control == Estimate(0.25, 0.25, 0.25)
    assert margin.value == pytest.approx(0.4 / 0.75)
    sigma = 0.15 / 10  # of a mean of 100 shares, .5 and .8
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * sigma, rel=0.15)
    assert shares(energy, energy, energy, 0)[2].value == 0.0  # a control that leaves nothing


# --- bad input


def test_refuses(made):
    images = made[2]
    few = dynsim.Images(images.patches[:20], images.masked[:20])
    cases = [
        (lambda: areas.fit(images, K=0), "K must be a whole number"),
        (lambda: areas.fit(images, K=2.5), "K must be a whole number"),
        (lambda: areas.fit(images, K=True), "K must be a whole number"),
        (lambda: areas.fit(images, areas=1), "areas must be a whole number from 2"),
        (lambda: areas.fit(images, areas=65), "areas must be a whole number from 2"),
        (lambda: areas.fit(images, areas=[2, 3]), "areas must be a whole number from 2"),
        (lambda: areas.fit(images, areas=2.5), "areas must be a whole number from 2"),
        (lambda: areas.fit(images, K=None, areas=[2, 3]), "areas of each cluster need the number"),
        (lambda: areas.fit(images, held_out=0), "held_out is a fraction"),
        (lambda: areas.fit(images, held_out=1.0), "held_out is a fraction"),
        (lambda: areas.fit(images, held_out=0.99), "every cluster needs 8 pictures"),
        (lambda: areas.fit(images, bootstrap=-1), "bootstrap must be a whole number"),
        (lambda: areas.fit(images, seed="a"), "seed must be a whole number"),
        (lambda: areas.fit(few, K=3), "every cluster needs 8 pictures"),
        (lambda: areas.fit(np.zeros((10, 8, 8))), "pictures must show something"),
        (lambda: areas.fit(np.full((10, 8, 8), np.nan)), "finite"),
        (lambda: areas.fit(np.eye(8)), "pictures must be"),
        (lambda: areas.fit(np.random.default_rng(0).uniform(size=(40, 8, 8)), patch=3), "patch must divide"),
        (lambda: areas.fit(np.random.default_rng(0).uniform(size=(40, 4, 8)), gamma=0.5), "P >= 4"),
    ]
    for call, rule in cases:
        with pytest.raises(dynsim.InputError, match=rule) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_one_picture_apart():
    """A picture unlike all others is a cluster of its own, which is too small."""
    rng = np.random.default_rng(0)
    X = np.ones((60, 4, 3)) + 0.01 * rng.normal(size=(60, 4, 3))
    X[7] += 1000
    images = dynsim.Images(X, np.tile([True, False, True, False], (60, 1)))
    with pytest.raises(dynsim.InputError, match="leave out what stands apart"):
        for seed in range(3):  # unless it is held out
            areas.fit(images, K=2, seed=seed, bootstrap=0)
    assert areas.fit(images, K=None, bootstrap=0).part.K == 1
