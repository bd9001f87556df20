"""Attention maps and their measures against slow twins written from the formulas, their limits, and every kind of run.

Tolerances: sums of P positive numbers below 1, so rounding of some P x 1e-16; 1e-13 leaves a margin of ten and more.
"""

from math import exp, hypot, log, sqrt

import numpy as np
import pytest

import dynsim
from dynsim import full, reduced
from dynsim.analysis.attention import (
    along,
    area_attention,
    attention_map,
    distance,
    entropy,
    kl_from_mean,
    measures,
    mutual_information,
    similarity,
)

ROUNDING = 1e-13


def slow_row(part, fp, pp, k, z, masked, p):
    """Attention of the masked query p, key by key."""
    weights = []
    for q in range(part.P):
        score = pp[p, q]
        if not masked[q]:
            m = part.labels[k, q]
            score += z[m] * fp[p, part.offset[k] + m]
        elif fp.shape[1] > part.F:
            score += fp[p, part.F]
        weights.append(exp(score))
    return [w / sum(weights) for w in weights]


def slow_map(part, fp, pp, data):
    """Mean over the images in which p is masked."""
    rows = []
    for p in range(part.P):
        images = [i for i in range(data.n) if data.masked[i, p]]
        each = [slow_row(part, fp, pp, data.cluster[i], data.z[i], data.masked[i], p) for i in images]
        weight = [data.weight[i] for i in images]
        rows.append([sum(w * row[q] for w, row in zip(weight, each, strict=True)) / sum(weight) for q in range(part.P)])
    return np.array(rows)


def slow_kl(attn):
    """Mean over queries of sum_k attn_qk log(attn_qk / mean_k)."""
    mean = [sum(row[k] for row in attn) / len(attn) for k in range(attn.shape[1])]
    return sum(a * log(a / m) for row in attn for a, m in zip(row, mean, strict=True) if a > 0) / len(attn)


def slow_similarity(attn):
    """Mean cosine of the rows of two different queries."""
    each = []
    for p in range(len(attn)):
        for q in range(len(attn)):
            if p != q:
                dot = sum(a * b for a, b in zip(attn[p], attn[q], strict=True))
                each.append(dot / sqrt(sum(a * a for a in attn[p]) * sum(b * b for b in attn[q])))
    return sum(each) / len(each)


def slow_nmi(attn):
    """I(q, k) / sqrt(H(q) H(k)) from the joint distribution."""
    n, keys = attn.shape
    joint = [[attn[q, k] / n for k in range(keys)] for q in range(n)]
    of_key = [sum(joint[q][k] for q in range(n)) for k in range(keys)]
    information = sum(
        joint[q][k] * log(joint[q][k] / (of_key[k] / n)) for q in range(n) for k in range(keys) if joint[q][k] > 0
    )
    return information / sqrt(log(n) * -sum(w * log(w) for w in of_key if w > 0))


def test_map_of_images_is_the_slow_one(part, data, correlations):
    fp, pp = correlations
    expected = slow_map(part, fp, pp, data)
    assert np.abs(attention_map(part, fp, pp, data) - expected).max() < ROUNDING
    other = dynsim.Partition(part.labels[::-1].copy())  # control: areas of another cluster
    fp_swapped = np.concatenate([fp[:, part.offset[k] : part.offset[k + 1]] for k in range(part.K)][::-1], axis=1)
    assert np.abs(attention_map(other, fp_swapped, pp, data) - expected).max() > 1e-2


def test_map_with_a_token_is_the_slow_one(part, data, correlations):
    fp, pp = correlations
    fp = np.column_stack([fp, fp[:, 0] + 1])
    expected = slow_map(part, fp, pp, data)
    assert np.abs(attention_map(part, fp, pp, data) - expected).max() < ROUNDING
    assert np.abs(attention_map(part, fp[:, :-1], pp, data) - expected).max() > 1e-2  # control: the token left out


def test_area_attention_on_one_image(part, data, correlations):
    fp, pp = correlations
    i = 3
    k, masked = data.cluster[i], data.masked[i]
    found = area_attention(part, fp, pp, data, image=i)
    for p in range(part.P):
        if not masked[p]:
            assert np.isnan(found[p]).all()
            continue
        row = slow_row(part, fp, pp, k, data.z[i], masked, p)
        for m in range(part.N[k]):
            keys = [q for q in range(part.P) if not masked[q] and part.labels[k, q] == m]
            assert found[p, m] == pytest.approx(sum(row[q] for q in keys), abs=ROUNDING)
    on_masked = attention_map(part, fp, pp, data, image=i)[:, masked].sum(axis=1)
    assert np.abs(found.sum(axis=1) + on_masked - 1)[masked].max() < ROUNDING


def test_area_attention_is_that_of_every_run(problem, part, data):
    """Of the reduced and the full run, which compute it in their own ways; off by orders with another mask."""
    runs = [reduced.descend(reduced.EmpiricalField(part, data), steps=30), full.descend(part, data, steps=30)]
    for run in runs:
        found = area_attention(part, run.fp[-1], run.pp[-1], data)
        assert np.array_equal(np.isnan(found), np.isnan(run.attention[-1]))
        assert np.nanmax(np.abs(found - run.attention[-1])) < 1e-12  # 30 steps of rounding
    other = dynsim.sample(problem, part, n=data.n, seed=9)
    assert np.nanmax(np.abs(area_attention(part, run.fp[-1], run.pp[-1], other) - run.attention[-1])) > 1e-3


def test_area_attention_tends_to_the_population(problem, part):
    """A population run's own expectation; the sample's error is 1 / (2 sqrt(n gamma / K)) at most, here .02 for 4000 images."""
    run = reduced.descend(reduced.PopulationField(problem, part), steps=40)
    found = area_attention(part, run.fp[-1], run.pp[-1], dynsim.sample(problem, part, n=4000, seed=4))
    assert np.abs(found - run.attention[-1]).max() < 0.04
    assert np.abs(found - run.attention[0]).max() > 0.1  # control: before training


def test_measures_are_the_slow_ones(part, data, correlations):
    fp, pp = correlations
    attn = attention_map(part, fp, pp, data)
    rows, columns = part.grid
    for p in range(part.P):
        far = sum(attn[p, q] * hypot(p // columns - q // columns, p % columns - q % columns) for q in range(part.P))
        assert distance(attn, part.grid)[p] == pytest.approx(far, abs=1e-12)
        assert entropy(attn)[p] == pytest.approx(-sum(a * log(a) for a in attn[p]), abs=1e-12)
    assert mutual_information(attn) == pytest.approx(slow_nmi(attn), abs=1e-12)
    assert kl_from_mean(attn) == pytest.approx(slow_kl(attn), abs=1e-12)
    assert similarity(attn) == pytest.approx(slow_similarity(attn), abs=1e-12)
    assert abs(similarity(attn**2) - slow_similarity(attn)) > 1e-2  # control: sharper maps
    assert abs(kl_from_mean(attn.T / attn.T.sum(axis=1, keepdims=True)) - slow_kl(attn)) > 1e-4
    assert abs(mutual_information(attn.T / attn.T.sum(axis=1, keepdims=True)) - slow_nmi(attn)) > 1e-4  # control: transposed
    assert np.abs(distance(attn, (columns, rows)) - distance(attn, part.grid)).max() > 1e-2  # control: the grid turned


def test_limits():
    P, grid = 12, (3, 4)
    uniform, own, one = np.full((P, P), 1 / P), np.eye(P), np.eye(P)[np.zeros(P, dtype=int)]
    assert mutual_information(uniform) == pytest.approx(0, abs=1e-12)
    assert mutual_information(own) == pytest.approx(1, abs=1e-12)
    assert mutual_information(own[::-1]) == pytest.approx(1, abs=1e-12)
    assert mutual_information(one) == 0
    assert entropy(uniform) == pytest.approx(np.full(P, log(P))) and not entropy(own).any()
    assert not distance(own, grid).any() and distance(one, grid)[-1] == pytest.approx(hypot(2, 3))
    halves = np.kron(np.eye(2), np.full((P // 2, P // 2), 2 / P))  # two groups that see themselves: I = log 2, H = log P
    assert mutual_information(halves) == pytest.approx(log(2) / log(P))
    assert kl_from_mean(halves) == pytest.approx(log(2)) and kl_from_mean(own) == pytest.approx(log(P))
    assert kl_from_mean(uniform) == 0 and kl_from_mean(one) == 0
    assert similarity(uniform) == pytest.approx(1) and similarity(one) == pytest.approx(1) and similarity(own) == 0
    assert similarity(halves) == pytest.approx((P / 2 - 1) / (P - 1))  # of P - 1 others, P / 2 - 1 see the same
    assert similarity(uniform[:1]) == 1 and kl_from_mean(own[:1]) == 0  # one query is like itself


def test_equal_rows_have_no_information_to_rounding():
    """Any map, 196 times: rounding of its mean only, some 1e-16 each, and never below zero."""
    row = np.random.default_rng(4).dirichlet(np.full(196, 0.1))
    attn = np.tile(row, (196, 1))
    assert 0 <= mutual_information(attn) < 1e-14 and abs(similarity(attn) - 1) < 1e-14
    attn[0] = row[::-1]  # control: one query of 196 differs
    assert mutual_information(attn) > 1e-3 and similarity(attn) < 0.999


def test_a_users_own_maps_in_the_units_of_the_literature():
    """Uniform attention on 14 x 14 patches: the mean distance of two places, in patches, pixels and on the unit square."""
    uniform = np.full((196, 196), 1 / 196)
    far = distance(uniform, (14, 14)).mean()
    pixels, unit = [], []
    for p in range(196):
        for q in range(196):
            pixels.append(hypot(16 * (p // 14) - 16 * (q // 14), 16 * (p % 14) - 16 * (q % 14)))
            unit.append(hypot(p // 14 / 13 - q // 14 / 13, p % 14 / 13 - q % 14 / 13))
    assert 16 * far == pytest.approx(np.mean(pixels), rel=1e-12)
    assert far / 13 == pytest.approx(np.mean(unit), rel=1e-12)


@pytest.fixture(scope="module")
def pairs(problem, part):
    return dynsim.sample_pairs(problem, part, n=7, seed=5)


def test_maps_where_every_patch_asks(part, pairs, data, correlations):
    fp, pp = correlations
    for image in (0, 5):
        i, view = divmod(image, 2)
        found = attention_map(part, fp, pp, pairs, image=image)
        whole = attention_map(part, fp, pp, pairs, image=image, queries="unmasked images")
        paid = area_attention(part, fp, pp, pairs, image=image)
        k, z, masked = pairs.cluster[i], pairs.z[i], pairs.masked[i, view]
        for p in range(part.P):
            row = slow_row(part, fp, pp, k, z, masked, p)
            assert np.abs(found[p] - row).max() < ROUNDING
            assert np.abs(whole[p] - slow_row(part, fp, pp, k, z, np.zeros(part.P, dtype=bool), p)).max() < ROUNDING
            for m in range(part.N[k]):
                keys = [q for q in range(part.P) if not masked[q] and part.labels[k, q] == m]
                assert paid[p, m] == pytest.approx(sum(row[q] for q in keys), abs=ROUNDING)
        assert np.abs(found - attention_map(part, fp, pp, pairs, image=image + 1)).max() > 1e-2  # control: the other view
    half = attention_map(part, fp, pp, data, image=3, queries="all")
    asked = data.masked[3]
    assert np.isfinite(half).all() and not asked.all()
    np.testing.assert_array_equal(half[asked], attention_map(part, fp, pp, data, image=3)[asked])


def test_expectations_over_pairs_are_means_over_both_views(part, pairs, correlations):
    fp, pp = correlations
    each = [attention_map(part, fp, pp, pairs, image=i) for i in range(2 * pairs.n)]
    assert np.abs(attention_map(part, fp, pp, pairs) - np.mean(each, axis=0)).max() < ROUNDING
    masked = attention_map(part, fp, pp, pairs, queries="masked")
    by_hand = [np.mean([e[p] for i, e in enumerate(each) if pairs.masked[i // 2, i % 2, p]], axis=0) for p in range(part.P)]
    assert np.abs(masked - by_hand).max() < ROUNDING
    found = measures(part, fp, pp, pairs)
    assert found["similarity"] == pytest.approx(np.mean([slow_similarity(e) for e in each]), abs=1e-12)
    assert found["kl_from_mean"] == pytest.approx(np.mean([slow_kl(e) for e in each]), abs=1e-12)
    assert found["mutual_information"] == pytest.approx(np.mean([slow_nmi(e) for e in each]), abs=1e-12)
    assert abs(measures(part, fp, pp, pairs, queries="unmasked images")["similarity"] - found["similarity"]) > 1e-3  # control


def test_area_attention_of_a_contrastive_run(problem, part, pairs):
    run = full.descend(part, None, eta=20.0, steps=30, pairs=pairs)
    found = area_attention(part, run.fp[-1], run.pp[-1], pairs)
    assert np.nanmax(np.abs(found - run.attention[-1])) < 1e-12  # 30 steps of rounding
    one = dynsim.Pairs(pairs.cluster, pairs.z, pairs.masked[:, [0, 0]])
    assert np.nanmax(np.abs(area_attention(part, run.fp[-1], run.pp[-1], one) - run.attention[-1])) > 1e-3  # control


@pytest.mark.parametrize("queries", ["all", "unmasked images", "masked"])
def test_a_contrastive_run_is_not_diverse(part, pairs, data, queries):
    """Every query learns the same under orthonormal vectors, so its maps agree on any image, at all times."""
    run = full.descend(part, None, eta=50.0, steps=200, keep=20, pairs=pairs, temperature=0.3)
    found = along(part, run, pairs, queries)
    assert found["mutual_information"].max() < 1e-12 and found["kl_from_mean"].max() < 1e-12
    assert np.abs(found["similarity"] - 1).max() < 1e-12
    assert np.ptp(found["entropy"]) > 0.1  # control: the maps do move
    mixed = full.descend(part, data, eta=5.0, steps=200, keep=20, pairs=pairs, temperature=0.3)
    diverse = along(part, mixed, pairs, queries)
    assert diverse["mutual_information"][-1] > 0.01 and diverse["similarity"][-1] < 0.99  # control: reconstruction is


def test_queries_that_are_none_are_left_out(part, data, correlations):
    attn = attention_map(part, *correlations, data, image=0)
    masked = data.masked[0]
    assert np.array_equal(np.isnan(attn).all(axis=1), ~masked)
    assert mutual_information(attn) == pytest.approx(slow_nmi(attn[masked]), abs=1e-12)
    assert np.isnan(mutual_information(np.full((2, 2), np.nan)))


def test_measures_along_a_run_are_means_over_images(part, data):
    run = reduced.descend(reduced.EmpiricalField(part, data), eta=5, steps=20, keep=10)
    found = along(part, run, data)
    for name, of in (
        ("distance", lambda attn: np.nanmean(distance(attn, part.grid))),
        ("entropy", lambda attn: np.nanmean(entropy(attn))),
        ("mutual_information", mutual_information),
        ("kl_from_mean", kl_from_mean),
        ("similarity", similarity),
    ):
        for at in (0, 2):
            each = [of(attention_map(part, run.fp[at], run.pp[at], data, image=i)) for i in range(data.n)]
            assert found[name][at] == pytest.approx(float(data.weight @ each), abs=1e-12)
        assert abs(found[name][0] - found[name][-1]) > 1e-3  # control: it moves
    assert found["mutual_information"][0] == pytest.approx(0, abs=1e-12) and found["entropy"][0] == pytest.approx(log(part.P))


def test_bad_input(part, data, correlations):
    fp, pp = correlations
    with pytest.raises(dynsim.InputError, match=r"fp \(P, F\)"):
        attention_map(part, fp[None], pp, data)
    with pytest.raises(dynsim.InputError, match="image numbers"):
        measures(part, fp, pp, data) and attention_map(part, fp, pp, data, image=data.n)
    with pytest.raises(dynsim.InputError, match="queries must be one of masked, all, unmasked images, got 'none'"):
        measures(part, fp, pp, data, queries="none")
    with pytest.raises(dynsim.InputError, match="needs fp .P, F., got a mask token: .* take 'masked'"):
        measures(part, np.column_stack([fp, fp[:, 0]]), pp, data, queries="all")
    with pytest.raises(dynsim.InputError, match="image numbers one of n=14"):
        attention_map(part, fp, pp, dynsim.sample_pairs(dynsim.Problem(K=3, P=18, kappa_c=0.7), part, n=7), image=14)
    with pytest.raises(dynsim.InputError, match="grid"):
        distance(np.eye(5), (2, 3))


@pytest.mark.parametrize("has_token", [False, True])
def test_images_count_by_their_weights(has_token):
    """One image of weight two thirds is that image twice."""
    problem = dynsim.Problem(K=1, gamma=0.5, P=12)
    part = dynsim.Partition.random(problem, seed=1)
    rng = np.random.default_rng(2)
    fp, pp = rng.normal(size=(12, part.F + has_token)), rng.normal(size=(12, 12))
    two = dynsim.sample(problem, part, n=2, seed=3)
    weighted = dynsim.Dataset(two.cluster, two.z, two.masked, np.array([2.0, 1.0]) / 3)
    rows = [0, 0, 1]
    repeated = dynsim.Dataset(two.cluster[rows], two.z[rows], two.masked[rows])
    for function in (attention_map, area_attention):
        found, expected, even = (function(part, fp, pp, data) for data in (weighted, repeated, two))
        np.testing.assert_allclose(found, expected, atol=1e-14)
        assert np.nanmax(np.abs(found - even)) > 1e-3  # control
