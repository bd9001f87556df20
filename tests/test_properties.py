"""Whatever problem is accepted runs, and keeps its identities: drawn problems, partitions and laws of amplitudes.

DYNSIM_EXAMPLES sets how many are drawn for each property (40); the same number draws the same ones.
"""

import os
from math import comb

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import dynsim
from dynsim import theory
from dynsim.reduced import EmpiricalField, MinibatchField, OrbitField, PopulationField, descend
from dynsim.runs import files

EXAMPLES = settings(max_examples=int(os.environ.get("DYNSIM_EXAMPLES", 40)))
ETA = 0.01  # a query's loss bends by less than 10 max(1, U)^4 along any direction: a step of ETA / U^4 goes downhill

amplitudes = st.floats(0.3, 1.6)
laws = st.one_of(
    st.tuples(amplitudes, amplitudes).map(lambda ends: dynsim.Uniform(min(ends), max(ends))),
    amplitudes.map(dynsim.Fixed),
    st.lists(st.tuples(amplitudes, st.floats(0.01, 5)), min_size=1, max_size=4).map(
        lambda pairs: dynsim.Discrete(tuple(z for z, _ in pairs), tuple(w for _, w in pairs))
    ),
)


few, small = st.integers(1, 3), st.integers(2, 16)


@st.composite
def problems(draw, patches=small, clusters=few):
    exponents = st.floats(0, 0.999)
    try:
        return dynsim.Problem(
            draw(clusters), draw(st.floats(0.01, 0.99)), draw(patches), draw(exponents), draw(exponents), draw(laws)
        )
    except dynsim.InputError as error:
        assert "\n" not in str(error)
        reject()


@st.composite
def partitions(draw, problem):
    kind = draw(st.sampled_from(("blocks", "random", "labels")))
    if kind != "labels":
        return getattr(dynsim.Partition, kind)(problem, seed=draw(st.integers(0, 9)))
    rows = st.lists(st.integers(0, 4), min_size=problem.P, max_size=problem.P)  # any areas at all, numbered without gaps
    return dynsim.Partition([np.unique(draw(rows), return_inverse=True)[1].ravel() for _ in range(problem.K)])


def state_of(field, draw):
    """A state of no particular shape, of order one."""
    return np.random.default_rng(draw(st.integers(0, 99))).normal(size=field.start().shape)


def goes_downhill(field, U):
    """Two small steps: finite, at the times they should be, and the loss does not rise (by more than it rounds)."""
    eta = ETA / max(1.0, U) ** 4
    traj = descend(field, eta=eta, steps=2, keep=1)
    assert list(traj.t) == [0, eta, 2 * eta] and np.isfinite(traj.loss).all()
    assert all(np.isfinite(table).all() for table in (traj.fp, traj.pp))
    if field.deterministic:
        assert (np.diff(traj.loss) <= 1e-14 * traj.loss[0]).all(), traj.loss
        assert traj.loss[-1] >= (field.floor or 0.0) * (1 - 1e-12)
    return traj


def softmax_by_hand(part, data, fp, pp):
    """Attention of every masked query, image by image: its mean on areas (P, F) and on masked patches (P, K), and the loss."""
    areas, hidden, seen, loss = np.zeros((part.P, part.F)), np.zeros((part.P, part.K)), np.zeros((part.P, part.K)), 0.0
    for k, z, masked in zip(data.cluster, data.z, data.masked, strict=True):
        for p in np.flatnonzero(masked):
            score = [pp[p, q] + (0.0 if masked[q] else z[part.labels[k, q]] * fp[p, part.own[k, q]]) for q in range(part.P)]
            weight = np.exp(np.array(score) - max(score))
            weight /= weight.sum()
            error = np.zeros(part.N[k])
            error[part.labels[k, p]] -= z[part.labels[k, p]]
            for q in range(part.P):
                if masked[q]:
                    hidden[p, k] += weight[q]
                else:
                    areas[p, part.own[k, q]] += weight[q]
                    error[part.labels[k, q]] += weight[q] * z[part.labels[k, q]]
            seen[p, k] += 1
            loss += 0.5 * error @ error
    with np.errstate(invalid="ignore"):
        return areas / np.repeat(seen, part.N, axis=1), hidden / seen, loss / data.masked.sum()


@EXAMPLES
@given(problems(), st.data())
def test_problems_and_partitions_add_up(problem, data):
    part = data.draw(partitions(problem))
    assert problem.masked + problem.unmasked == problem.P and problem.sizes().sum() == problem.P
    assert problem.C_global + problem.n_local * problem.C_local == pytest.approx(problem.P, rel=1e-15)
    assert [part.size[part.offset[k] : part.offset[k + 1]].sum() for k in range(problem.K)] == [problem.P] * problem.K
    assert (np.sort(np.concatenate([np.flatnonzero(part.own[0] == m) for m in range(part.N[0])])) == np.arange(part.P)).all()
    assert problem.amplitude.nodes()[1].sum() == pytest.approx(1, rel=1e-14)
    assert problem.amplitude.L <= problem.amplitude.moment(1) * (1 + 1e-14)
    assert dynsim.Problem.from_recipe(files.plain(problem.recipe())) == problem


@EXAMPLES
@given(problems(), st.data())
def test_samples(problem, data):
    part = data.draw(partitions(problem))
    if part.N.max() != problem.N:  # images of areas that are not the problem's
        images = dynsim.sample(problem, part, n=data.draw(st.integers(1, 4)), seed=1)
    else:
        images = dynsim.sample(problem, part, n=data.draw(st.integers(1, 4)), seed=data.draw(st.integers(0, 9)))
    field = EmpiricalField(part, images)
    for y in (field.start(), state_of(field, data.draw)):
        areas, hidden, loss = softmax_by_hand(part, images, *field.correlations(y))
        attention = field.attention(y)
        np.testing.assert_allclose(attention, areas, rtol=0, atol=1e-13)
        total = np.add.reduceat(attention, part.offset[:-1], axis=1) + hidden
        assert np.abs(total[np.isfinite(total)] - 1).max() < 1e-13 and np.isfinite(total).any()
        assert field.velocity(y)[0] == pytest.approx(loss, rel=1e-12, abs=1e-15)
    goes_downhill(field, problem.amplitude.U)


@EXAMPLES
@given(problems(), st.data())
def test_population(problem, data):
    part = data.draw(partitions(problem))
    listed = comb(problem.P, problem.masked) * (2.0**part.N).sum()
    masks = data.draw(st.sampled_from(("own-area", "mean-field", "monte-carlo") + (("exact",) if listed < 1000 else ())))
    options = {"n": 3, "seed": data.draw(st.integers(0, 9))} if masks == "monte-carlo" else {}
    field = PopulationField(problem, part, masks=masks, nodes=2 if masks == "exact" else None, **options)
    traj = goes_downhill(field, problem.amplitude.U)
    for k in range(problem.K):
        total = traj.attention[:, :, part.offset[k] : part.offset[k + 1]].sum(axis=2)
        assert (total[np.isfinite(total)] <= 1 + 1e-13).all() and (total[np.isfinite(total)] > 0).all()
        if masks != "monte-carlo":  # at t = 0 every patch gets 1 / P, so the unmasked ones together their share
            np.testing.assert_allclose(total[0], problem.unmasked / problem.P, rtol=1e-12)
    if masks in ("own-area", "exact"):
        assert traj.loss[0] == pytest.approx(theory.initial_loss(problem, part), rel=1e-10)
    if masks == "own-area":
        assert field.floor == pytest.approx(theory.loss_floor(problem, part), rel=1e-9, abs=1e-300)


@EXAMPLES
@given(problems(), st.data())
def test_minibatches(problem, data):
    part, n = data.draw(partitions(problem)), data.draw(st.integers(1, 4))
    images = dynsim.sample(problem, part, n=5)
    for field in (MinibatchField.fresh(problem, part, n=n), MinibatchField.of(part, images, n=n)):
        goes_downhill(field, problem.amplitude.U)


large = st.one_of(st.integers(2, 2000), st.floats(4, 100).map(lambda power: float(round(10**power)) if power < 15 else 10**power))


@EXAMPLES
@given(problems(large, st.integers(1, 4)), st.data())
def test_orbits(problem, data):
    query = "".join(data.draw(st.sampled_from("LG")) for _ in range(problem.K))
    masks = data.draw(st.sampled_from(("own-area", "mean-field")))
    try:
        field = OrbitField(problem, query, masks, data.draw(st.sampled_from(("independent", "product"))), nodes=6)
    except dynsim.InputError as error:
        assert 'use intersections="independent"' in str(error)
        reject()
    assert 1 + field.layout.number.sum() == pytest.approx(problem.P, rel=1e-13)
    assert field.layout.sizes.sum(axis=1) == pytest.approx(problem.P, rel=1e-13)
    traj = goes_downhill(field, problem.amplitude.U)
    for k, area in enumerate(query):
        own, at_global, others = traj.attention[:, k].T
        total = own + (area == "L") * at_global + field.layout.copies[k, 2] * others
        # typical areas of no whole number of patches, of which few may be unmasked, are only interpolated
        rel = 1e-9 if field.layout.sizes[k, 0] % 1 == 0 or problem.P > 2**53 else 0.1
        assert (total <= 1 + 1e-12).all() and total[0] == pytest.approx(problem.unmasked / problem.P, rel=rel)
    assert 0 <= field.floor <= traj.loss[0] * (1 + 1e-14)  # equal but for rounding where all own areas are of one patch
    assert theory.escape_time(problem, query) > 0 and theory.loss_floor(problem, query=query) >= 0
