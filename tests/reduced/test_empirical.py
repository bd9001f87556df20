"""The empirical field as an object: its start, its symmetries, its bits, its errors. (The formula itself: test_kernels.py.)"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dynsim
from dynsim.reduced import EmpiricalField, batch, descend

NAMES = ("loss", "fp", "pp", "attention")


def test_start_is_uniform_attention(part, data):
    """Q = 0: every key gets 1 / P, so loss, area attention and velocity are counts of unmasked patches."""
    field = EmpiricalField(part, data)
    y = field.start()
    assert y.shape == (part.F + part.P, part.P) and not y.any()
    total, area, seen = 0.0, np.zeros((part.P, part.F)), np.zeros((part.P, part.F))
    velocity = np.zeros_like(y)
    for i in range(data.n):
        k = data.cluster[i]
        features = np.arange(part.offset[k], part.offset[k + 1])
        shown = np.array([np.sum(~data.masked[i] & (part.own[k] == f)) for f in features]) / part.P
        for p in np.flatnonzero(data.masked[i]):
            miss = shown - (features == part.own[k, p])
            z = data.z[i, : part.N[k]]
            g = z**2 * miss
            total += 0.5 * np.sum(z**2 * miss**2)
            area[p, features] += shown
            seen[p, features] += 1
            velocity[features, p] -= z * shown * (g - shown @ g) / data.n
            descent = np.where(data.masked[i], 0.0, g[part.labels[k]]) - shown @ g
            velocity[part.F :, p] -= descent / part.P / data.n
    loss, dy = field.velocity(y)
    assert loss == pytest.approx(total / data.masked.sum(), rel=1e-14)
    np.testing.assert_allclose(dy, velocity, atol=1e-15)  # entries of order 1e-2, sums of 20 x 3 terms
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(field.attention(y), area / seen, atol=1e-15)
    y[part.F :] += 7.0  # the same for all keys: the softmax does not see it
    np.testing.assert_allclose(field.velocity(y)[1], velocity, atol=1e-15)
    y[part.F] += 1e-6  # control: for one key it does
    assert np.abs(field.velocity(y)[1] - velocity).max() > 1e-9


def renamed(part, data, seed):
    """The same images with clusters, areas and patches under other names, and where each old name has gone."""
    rng = np.random.default_rng(seed)
    cluster, patch = rng.permutation(part.K), rng.permutation(part.P)
    area = [rng.permutation(N) for N in part.N]
    labels, z = np.empty_like(part.labels), np.full_like(data.z, 7.0)
    feature = np.empty(part.F, dtype=int)
    for k in range(part.K):
        labels[cluster[k], patch] = area[k][part.labels[k]]
        of = np.flatnonzero(data.cluster == k)
        z[of[:, None], area[k]] = data.z[of, : part.N[k]]
    masked = np.empty_like(data.masked)
    masked[:, patch] = data.masked
    other = dynsim.Partition(labels)
    for k in range(part.K):
        feature[part.offset[k] : part.offset[k + 1]] = other.offset[cluster[k]] + area[k]
    return other, dynsim.Dataset(cluster[data.cluster], z, masked), patch, feature


@pytest.mark.parametrize("seed", [0, 1])
def test_names_do_not_matter(seed):
    """Renaming clusters, areas and patches permutes the result; the sums come in another order, hence roundings."""
    labels = np.random.default_rng(seed).integers(0, 3, (3, 30))
    labels[:, :5], labels[1, 5:15] = [0, 1, 2, 1, 0], 3  # the clusters have different numbers of areas
    part = dynsim.Partition(labels)
    problem = dynsim.Problem(K=3, gamma=0.6, P=30, kappa_c=0.6, kappa_s=0.4)
    data = dynsim.sample(problem, part, n=40, seed=seed)
    other, images, patch, feature = renamed(part, data, seed)
    a = descend(EmpiricalField(part, data), eta=2.0, steps=40, keep=10)
    b = descend(EmpiricalField(other, images), eta=2.0, steps=40, keep=10)
    assert np.abs(a.fp).max() > 1  # the run goes somewhere
    np.testing.assert_allclose(b.loss, a.loss, atol=1e-13)
    np.testing.assert_allclose(b.fp[:, patch[:, None], feature], a.fp, atol=1e-13)
    np.testing.assert_allclose(b.attention[:, patch[:, None], feature], a.attention, atol=1e-13)
    np.testing.assert_allclose(b.pp[:, patch[:, None], patch], a.pp, atol=1e-13)
    wrong = np.roll(patch, 1)
    assert np.abs(b.pp[:, wrong[:, None], wrong] - a.pp).max() > 1e-3


def case_of_many_blocks(monkeypatch):
    """P = 77, five blocks of queries, on threads although the work is small."""
    monkeypatch.setattr(batch, "SMALL", 0)
    problem = dynsim.Problem(K=4, gamma=0.7, P=77, kappa_c=0.8, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    return part, dynsim.sample(problem, part, n=30, seed=3)


def test_bits_do_not_depend_on_threads_or_on_the_run(monkeypatch):
    part, data = case_of_many_blocks(monkeypatch)
    fields = [EmpiricalField(part, data, threads=threads) for threads in (1, 2, 3, 64)]
    assert [field._pool.threads for field in fields] == [1, 2, 3, 5]  # no more threads than blocks
    runs = [descend(field, eta=3.0, steps=50, keep=10) for field in (*fields, fields[2])]
    for run in runs[1:]:
        for name in NAMES:
            np.testing.assert_array_equal(getattr(run, name), getattr(runs[0], name))
    nudged = EmpiricalField(part, dynsim.Dataset(data.cluster, data.z * (1 + 2**-52), data.masked))
    assert (descend(nudged, eta=3.0, steps=50, keep=10).fp != runs[0].fp).any()  # control: one bit of the input is seen


def hashed(threads=None):
    problem = dynsim.Problem(K=3, P=64)
    part = dynsim.Partition.blocks(problem)
    field = EmpiricalField(part, dynsim.sample(problem, part, 300), threads=threads)
    run = descend(field, steps=20)
    return field._pool.threads, hashlib.sha256(run.fp.tobytes() + run.pp.tobytes() + run.loss.tobytes()).hexdigest()


def test_bits_do_not_depend_on_the_process():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_empirical; print(*test_empirical.hashed())"
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    env = {**os.environ, "NUMBA_NUM_THREADS": "1"}
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    threads, bits = hashed(threads=2)
    assert out.split() == ["1", bits] and threads == 2


def test_weights_count_images(part, data):
    weight = np.r_[0.0, 2.0, np.ones(data.n - 2)] / data.n
    again = np.r_[1, 1 : data.n]
    a = EmpiricalField(part, dynsim.Dataset(data.cluster, data.z, data.masked, weight))
    b = EmpiricalField(part, dynsim.Dataset(data.cluster[again], data.z[again], data.masked[again]))
    y = np.random.default_rng(4).normal(size=a.start().shape)
    assert a.velocity(y)[0] == pytest.approx(b.velocity(y)[0], rel=1e-13)
    assert a.floor == pytest.approx(b.floor, rel=1e-13)
    np.testing.assert_allclose(a.velocity(y)[1], b.velocity(y)[1], atol=1e-14)
    np.testing.assert_allclose(a.attention(y), b.attention(y), atol=1e-13)
    assert np.abs(EmpiricalField(part, data).velocity(y)[1] - a.velocity(y)[1]).max() > 1e-4


def test_queries_without_a_patch_in_reach_pay_the_floor(part, data):
    """FP pulling every query wholly to its own area leaves the images on which that is all masked, and no more (eq. 6)."""
    field = EmpiricalField(part, data)
    floor = 0.0
    for i in range(data.n):
        own = part.labels[data.cluster[i]]
        for p in np.flatnonzero(data.masked[i]):
            if data.masked[i, own == own[p]].all():
                floor += 0.5 * data.z[i, own[p]] ** 2 / data.masked.sum()
    assert floor > 0.01 and field.floor == pytest.approx(floor, rel=1e-13)
    y = field.start()
    for k in range(part.K):
        y[part.own[k], np.arange(part.P)] = 60.0
    y[part.F :][np.eye(part.P, dtype=bool)] = 20.0  # a masked query looks at itself where nothing else is of use
    one_cluster = dynsim.Partition(part.labels[:1])
    images = data.cluster == 0
    alone = EmpiricalField(one_cluster, dynsim.Dataset(data.cluster[images], data.z[images], data.masked[images]))
    y = np.concatenate([y[: one_cluster.F], y[part.F :]])
    assert alone.velocity(y)[0] == pytest.approx(alone.floor, rel=1e-6)
    assert alone.velocity(alone.start())[0] > 2 * alone.floor


def test_patches_never_masked_have_no_attention(part, data):
    masked = data.masked.copy()
    masked[:, 3] = False
    masked[data.cluster == 1, 4] = False
    attention = EmpiricalField(part, dynsim.Dataset(data.cluster, data.z, masked)).attention
    empty = np.isnan(attention(np.zeros((part.F + part.P, part.P))))
    assert empty[3].all() and empty[4, part.offset[1] : part.offset[2]].all() and empty.sum() == part.F + part.N[1]


def test_state_belongs_to_the_caller(part, data):
    field = EmpiricalField(part, data)
    y = np.random.default_rng(5).normal(size=field.start().shape)
    before, out = y.copy(), np.full_like(y, np.nan)
    loss, dy = field.velocity(y, out=out)
    assert dy is out and np.isfinite(out).all()
    again, fresh = field.velocity(y)
    assert fresh is not out and loss == again
    np.testing.assert_array_equal(fresh, out)
    fp, pp = field.correlations(y)
    assert fp.shape == (part.P, part.F) and pp.shape == (part.P, part.P)
    np.testing.assert_array_equal(fp, y[: part.F].T)
    np.testing.assert_array_equal(pp, y[part.F :].T)
    fp += 1
    pp += 1
    np.testing.assert_array_equal(y, before)


def test_describes_itself_in_plain_data(part, data):
    described = EmpiricalField(part, data).describe()
    assert json.loads(json.dumps(described)) == {"method": "samples", "n": 20, "K": 3, "P": 18, "F": part.F}


def test_what_does_not_fit_is_named(part, data):
    small = dynsim.Partition(part.labels[:, :9] % 2)
    with pytest.raises(dynsim.InputError, match="masks must have the partition's P=9 patches, got 18: sample"):
        EmpiricalField(small, data)
    with pytest.raises(dynsim.InputError, match="hold must be None, 'fp' or 'pp', got 'both'"):
        EmpiricalField(part, data, hold="both")
