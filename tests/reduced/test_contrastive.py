"""The contrastive field: its kernels against eq. (D1)-(D3) term by term, autograd, the full model, and what may not matter."""

import json
import math

import numpy as np
import pytest

import dynsim
from dynsim import full
from dynsim.model.embedding import Embedding
from dynsim.reduced import Adam, ContrastiveField, Momentum, contrastive, descend
from dynsim.reduced.kernels import contrastive_row
from dynsim.reduced.recording import State

NAMES = ("loss", "fp", "pp", "attention")
# both sides add n P terms of both signs, each good to a few roundings: n P eps is about 1e-13, typical far less
ROUNDING = 1e-13


@pytest.fixture(scope="module")
def pairs(problem, part):
    return dynsim.sample_pairs(problem, part, n=20, seed=2)


def twin(part, pairs, phi, ups, temperature=0.5, stop=True, W=None, compared=None, one_mask=False, stop_other=False):
    """(loss, -dL/dPhi (P, F), -dL/dUpsilon (P, P), area attention (P, F)) from eq. (D1)-(D3) and nothing else.

    W: inner products of the features. compared: list of the images that each pair is compared with, itself among them (all).
    one_mask: the first mask in both views; stop_other: the gradient through the second view only. Both are wrong."""
    P, F, n = part.P, part.F, pairs.n
    W = np.eye(F) if W is None else W
    attn, f = np.zeros((2, n, P, P)), np.zeros((2, n, F))
    paid, seen = np.zeros((P, F)), np.zeros(F)
    shown = [~pairs.masked[:, 0], ~pairs.masked[:, 0 if one_mask else 1]]
    for v in range(2):
        for i in range(n):
            own, z = part.own[pairs.cluster[i]], pairs.z[i]
            for p in range(P):
                for q in range(P):
                    attn[v, i, p, q] = ups[p, q]
                    if shown[v][i, q]:
                        attn[v, i, p, q] += z[part.labels[pairs.cluster[i], q]] * phi[p, own[q]]
                attn[v, i, p] = np.exp(attn[v, i, p] - attn[v, i, p].max())
                attn[v, i, p] /= attn[v, i, p].sum()
                for q in range(P):
                    if shown[v][i, q]:
                        f[v, i, own[q]] += z[part.labels[pairs.cluster[i], q]] * attn[v, i, p, q] / P
                        paid[p, own[q]] += attn[v, i, p, q]
            seen[part.offset[pairs.cluster[i]] : part.offset[pairs.cluster[i] + 1]] += 1
    loss, df = 0.0, np.zeros((2, n, F))
    for i in range(n):
        others = range(n) if compared is None else compared[i]
        s = {j: f[0, i] @ W @ f[1, j] / temperature for j in others}
        top = max(s.values())
        total = sum(np.exp(s[j] - top) for j in others)
        loss += temperature / n * (np.log(total) + top - s[i])
        for j in others:
            excess = np.exp(s[j] - top) / total
            if j == i:
                excess = -sum(np.exp(s[other] - top) for other in others if other != i) / total
            df[0, i] += excess * (W @ f[1, j]) / n
            df[1, j] += excess * (W @ f[0, i]) / n
    if stop:
        df[0 if stop_other else 1] = 0.0
    dphi, dups = np.zeros((P, F)), np.zeros((P, P))
    for v in range(2):
        for i in range(n):
            own, z = part.own[pairs.cluster[i]], pairs.z[i]
            g = np.zeros(P)
            for q in range(P):
                if shown[v][i, q]:
                    g[q] = z[part.labels[pairs.cluster[i], q]] * df[v, i, own[q]] / P
            for p in range(P):
                d = -attn[v, i, p] * (g - attn[v, i, p] @ g)
                dups[p] += d
                for q in range(P):
                    if shown[v][i, q]:
                        dphi[p, own[q]] += z[part.labels[pairs.cluster[i], q]] * d[q]
    with np.errstate(invalid="ignore"):
        return loss, dphi, dups, paid / seen


def on_full(part, pairs, phi, ups, **options):
    """The same from the field, a row of correlations a query."""
    field = ContrastiveField(part, pairs, one_row=False, **options)
    field.metric.apply = lambda D: None  # the gradient itself
    loss, dy, attention, _ = field.observe(np.concatenate([phi.T, ups.T]))
    return loss, dy[: part.F].T, dy[part.F :].T, attention


def on_one_row(part, pairs, phi, ups, **options):
    """The same where all queries have the correlations of the first."""
    field = ContrastiveField(part, pairs, **options)
    loss, dy, attention, _ = field.observe(np.concatenate([phi[0], ups[0]]))
    return loss, *field.correlations(dy), attention


def deviation(a, b):
    """The largest deviation of every output, relative to the largest entry of that output."""
    return max(np.nanmax(np.abs(x - y)) / np.nanmax(np.abs(y)) for x, y in zip(a, b, strict=True))


@pytest.mark.kernel
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_kernels_are_the_formula(part, pairs, correlations, temperature, stop):
    phi, ups = correlations
    options = {"temperature": temperature, "stop_gradient": stop}
    expected = twin(part, pairs, phi, ups, temperature, stop)
    assert deviation(on_full(part, pairs, phi, ups, **options), expected) <= ROUNDING
    one = np.tile(phi[:1], (part.P, 1)), np.tile(ups[:1], (part.P, 1))
    assert deviation(on_one_row(part, pairs, *one, **options), twin(part, pairs, *one, temperature, stop)) <= ROUNDING
    for wrong in (
        twin(part, pairs, phi, ups, temperature * (1 + 1e-9), stop),
        twin(part, pairs, phi, ups, temperature, not stop),
        twin(part, pairs, phi, ups, temperature, stop, one_mask=True),
        twin(part, pairs, phi * (1 + 1e-9), ups, temperature, stop),
        *([twin(part, pairs, phi, ups, temperature, stop, stop_other=True)] if stop else []),
    ):
        assert deviation(wrong, expected) > 10 * ROUNDING


@pytest.mark.kernel
@pytest.mark.parametrize("K, P, gamma, n", [(1, 18, 0.6, 9), (7, 16, 0.6, 12), (2, 37, 0.5, 33), (2, 9, 0.12, 2), (5, 9, 0.6, 3)])
def test_kernels_at_other_sizes(K, P, gamma, n):
    """Fewer pairs than clusters, pairs alone in their cluster, areas of different number, blocks of half the width."""
    problem = dynsim.Problem(K=K, gamma=gamma, P=P, kappa_c=0.7, kappa_s=0.4, amplitude=dynsim.Uniform(0.5, 1.5))
    part = dynsim.Partition.random(problem, seed=4)
    pairs = dynsim.sample_pairs(problem, part, n=n, seed=5)
    rng = np.random.default_rng(6)
    phi, ups = rng.normal(size=(P, part.F)), rng.normal(size=(P, P))
    expected = twin(part, pairs, phi, ups, stop=False)
    assert deviation(on_full(part, pairs, phi, ups, stop_gradient=False), expected) <= ROUNDING
    assert deviation(on_full(part, pairs, -phi, ups, stop_gradient=False), expected) > 1e-3


@pytest.mark.kernel
@pytest.mark.parametrize("size", [5.0, 12.0, 30.0])
def test_kernels_far_from_the_start(size, part, pairs, correlations):
    """Attention near one-hot, where shown keys at weight one outweigh what is left of them. For one row the gradient of a
    nearly one-hot softmax is a small difference: it is compared on the scale of its largest possible value, 1 / P."""
    phi, ups = (size * c for c in correlations)
    expected = twin(part, pairs, phi, ups)
    assert deviation(on_full(part, pairs, phi, ups), expected) <= ROUNDING
    assert deviation(twin(part, pairs, phi, ups + 1e-9 * np.arange(part.P)), expected) > ROUNDING
    one = np.tile(phi[:1], (part.P, 1)), np.tile(ups[:1], (part.P, 1))
    for a, b in zip(on_one_row(part, pairs, *one)[1:3], twin(part, pairs, *one)[1:3], strict=True):
        assert np.abs(a - b).max() <= ROUNDING / part.P


@pytest.mark.kernel
@pytest.mark.parametrize("temperature", [1e-6, 1e-2, 1e6])
def test_any_temperature(part, pairs, correlations, temperature):
    """1e-6: exponents of 1e5, in which roundings of s count 1e-16 / tau."""
    expected = twin(part, pairs, *correlations, temperature, False)
    found = on_full(part, pairs, *correlations, temperature=temperature, stop_gradient=False)
    assert all(np.isfinite(x).all() for x in found[:3]) and deviation(found, expected) <= ROUNDING + 1e-15 / temperature


@pytest.mark.kernel
@pytest.mark.parametrize("stop", [True, False])
def test_features_that_are_not_orthonormal(part, pairs, correlations, stop):
    embedding = Embedding.random(part, 15, seed=0)
    W = embedding.V.T @ embedding.V
    expected = twin(part, pairs, *correlations, stop=stop, W=W)
    assert deviation(on_full(part, pairs, *correlations, embedding=embedding, stop_gradient=stop), expected) <= ROUNDING
    assert deviation(twin(part, pairs, *correlations, stop=stop), expected) > 1e-3


@pytest.mark.kernel
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("orthonormal", [True, False])
def test_some_negatives(part, pairs, correlations, stop, orthonormal):
    """Those that were drawn, once for a field, never the pair itself."""
    embedding = None if orthonormal else Embedding.random(part, 15, seed=0)
    W = None if orthonormal else embedding.V.T @ embedding.V
    options = {"embedding": embedding, "stop_gradient": stop}
    chosen = contrastive._choose(pairs.n, 6, [3, 0])
    assert all(len({i, *row}) == 7 for i, row in enumerate(chosen.tolist())) and chosen.max() < pairs.n
    compared = [[i, *row] for i, row in enumerate(chosen.tolist())]
    expected = twin(part, pairs, *correlations, stop=stop, W=W, compared=compared)
    assert deviation(on_full(part, pairs, *correlations, negatives=6, seed=3, **options), expected) <= ROUNDING
    assert deviation(on_full(part, pairs, *correlations, negatives=6, seed=4, **options), expected) > 1e-4
    every = on_full(part, pairs, *correlations, negatives=pairs.n - 1, **options)
    assert deviation(every, on_full(part, pairs, *correlations, **options)) <= ROUNDING


def test_velocity_is_minus_the_gradient_of_the_loss(part, pairs, correlations):
    """Central differences at h and 2 h, extrapolated: error h^4 of smooth terms of order one, and eps / h of rounding. One row
    moves as each of the P equal rows does, so along it the loss falls P times as fast."""
    rng = np.random.default_rng(7)
    for one_row, times in ((True, part.P), (False, 1)):
        field = ContrastiveField(part, pairs, temperature=0.3, stop_gradient=False, one_row=one_row)
        y = field.state(*correlations)
        direction = rng.normal(size=y.shape)
        slope = lambda h: (field.velocity(y + h * direction)[0] - field.velocity(y - h * direction)[0]) / (2 * h)  # noqa: B023, E731
        h = 3e-3
        measured = (4 * slope(h) - slope(2 * h)) / 3
        predicted = -times * np.sum(field.velocity(y)[1] * direction)
        assert measured == pytest.approx(predicted, rel=1e-7)
        assert measured != pytest.approx(predicted * (1 + 1e-5), rel=1e-7)


def followed(a, b):
    """Largest relative deviation of two trajectories, per quantity relative to its largest value."""
    return max(np.nanmax(np.abs(getattr(a, name) - getattr(b, name))) / np.nanmax(np.abs(getattr(b, name))) for name in NAMES)


@pytest.mark.parametrize("rule", [None, Momentum(0.8), Adam()])
@pytest.mark.parametrize("stop", [True, False])
def test_one_row_is_the_full_state(part, pairs, stop, rule):
    """200 steps; every row of the full state is the one row."""
    field = ContrastiveField(part, pairs, stop_gradient=stop)
    other = field.on_state((part.F + part.P, part.P))
    assert field.start().shape == (part.F + part.P,) and other.start().shape == (part.F + part.P, part.P)
    options = {"eta": 0.05 if isinstance(rule, Adam) else 30.0, "steps": 200, "keep": 20, "optimiser": rule}
    a, b = descend(field, **options), descend(other, **options)
    assert np.abs(a.fp[-1]).max() > 0.1  # the run goes somewhere
    assert followed(a, b) <= (1e-9 if isinstance(rule, Adam) else 1e-13)  # Adam divides by the root of what may be rounding
    assert np.abs(b.fp - b.fp[:, :1]).max() <= 1e-14 and np.abs(b.pp - b.pp[:, :1]).max() <= 1e-14
    assert followed(descend(ContrastiveField(part, pairs, 0.5 + 1e-9, stop), **options), b) > 1e-11  # control


@pytest.mark.parametrize("kind", ["orthonormal", "sinusoidal", "few dimensions", "correlated"])
@pytest.mark.parametrize("stop", [True, False])
def test_reduced_is_full(part, pairs, kind, stop):
    rng = np.random.default_rng(3)
    correlation = np.corrcoef(rng.standard_normal((part.F, 4 * part.F)) + rng.standard_normal(4 * part.F))
    embedding = {
        "orthonormal": lambda: None,
        "sinusoidal": lambda: Embedding.sinusoidal_2d(part, 16),
        "few dimensions": lambda: Embedding.random(part, 9),
        "correlated": lambda: Embedding.correlated(part, correlation),
    }[kind]()
    run = lambda masked, temperature, stop: full.descend(  # noqa: E731
        part, None, eta=eta, steps=200, keep=20, embedding=embedding, stop_gradient=stop, temperature=temperature,
        pairs=dynsim.Pairs(pairs.cluster, pairs.z, masked),
    )
    eta = 30.0 if embedding is None else 3.0
    field = ContrastiveField(part, pairs, 0.3, stop, embedding=embedding)
    assert field.one_row == (embedding is None)
    a, b = descend(field, eta=eta, steps=200, keep=20), run(pairs.masked, 0.3, stop)
    assert np.abs(a.fp[-1]).max() > 0.1
    assert followed(a, b) <= (1e-12 if embedding is None else 1e-11)
    for wrong in (
        run(pairs.masked, 0.301, stop), run(pairs.masked, 0.3, not stop), run(pairs.masked[:, [0, 0]], 0.3, stop)
    ):
        assert followed(a, wrong) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("K, temperature, stop", [(3, 0.1, True), (3, 0.5, False), (3, 2.0, True), (1, 0.5, True)])
def test_reduced_is_full_at_64_patches(K, temperature, stop):
    problem = dynsim.Problem(K=K, P=64, gamma=0.75, kappa_c=0.85, kappa_s=0.45)
    part = dynsim.Partition.blocks(problem)
    pairs = dynsim.sample_pairs(problem, part, n=64)
    options = {"eta": 100.0, "steps": 200, "keep": 20}
    a = descend(ContrastiveField(part, pairs, temperature, stop), **options)
    b = full.descend(part, None, pairs=pairs, temperature=temperature, stop_gradient=stop, **options)
    assert followed(a, b) <= 1e-12


@pytest.mark.parametrize("stop", [True, False])
def test_autograd_on_q(part, pairs, stop):
    """60 steps of torch on Q with one-hot vectors, whose entries are then the correlations."""
    torch = pytest.importorskip("torch")
    n, P, F, tau, eta = pairs.n, part.P, part.F, 0.3, 30.0
    own = torch.tensor(part.own[pairs.cluster])
    z = torch.tensor(np.take_along_axis(pairs.z, part.labels[pairs.cluster], axis=1))
    images = torch.zeros(n, P, F, dtype=torch.float64).scatter_(2, own[:, :, None], z[:, :, None])
    Q = torch.zeros(P, F + P, dtype=torch.float64, requires_grad=True)  # the rows that queries reach

    def pooled(masked):
        shown = images * torch.tensor(~masked)[:, :, None]
        keys = torch.cat([shown, torch.eye(P, dtype=torch.float64).expand(n, P, P)], dim=2)
        return (torch.softmax(torch.einsum("pd,nqd->npq", Q, keys), dim=2) @ shown).mean(dim=1)

    losses = []
    for _ in range(60):
        a, b = pooled(pairs.masked[:, 0]), pooled(pairs.masked[:, 1])
        loss = tau * torch.nn.functional.cross_entropy(a @ (b.detach() if stop else b).T / tau, torch.arange(n))
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, Q)
        with torch.no_grad():
            Q -= eta * gradient
    run = descend(ContrastiveField(part, pairs, tau, stop), eta=eta, steps=60, keep=1)
    last = Q.detach().numpy()
    assert np.abs(run.loss[:-1] - losses).max() <= 1e-12 * losses[0]
    assert np.abs(run.fp[-1] - last[:, :F]).max() <= 1e-12 * np.abs(last[:, :F]).max()
    assert np.abs(run.pp[-1] - last[:, F:]).max() <= 1e-12 * np.abs(last[:, F:]).max()
    assert np.abs(run.fp[-2] - last[:, :F]).max() > 1e-6  # control: one step less is seen


def test_order_and_names_do_not_matter(part, pairs, correlations):
    """Pairs in another order, clusters under other names: sums come in another order, hence roundings."""
    rng = np.random.default_rng(1)
    order, cluster = rng.permutation(pairs.n), rng.permutation(part.K)
    shuffled = dynsim.Pairs(pairs.cluster[order], pairs.z[order], pairs.masked[order])
    expected = on_full(part, pairs, *correlations)
    assert deviation(on_full(part, shuffled, *correlations), expected) <= ROUNDING
    labels = np.empty_like(part.labels)
    labels[cluster] = part.labels
    other = dynsim.Partition(labels)
    columns = np.concatenate([np.arange(part.offset[k], part.offset[k + 1]) for k in np.argsort(cluster)])
    renamed = dynsim.Pairs(cluster[pairs.cluster], pairs.z, pairs.masked)
    loss, dphi, dups, attention = on_full(other, renamed, correlations[0][:, columns], correlations[1])
    back = np.argsort(columns)
    assert deviation((loss, dphi[:, back], dups, attention[:, back]), expected) <= ROUNDING
    mixed = dynsim.Pairs(pairs.cluster, pairs.z, np.stack([pairs.masked[:, 0], pairs.masked[order, 1]], axis=1))
    assert deviation(on_full(part, mixed, *correlations), expected) > 1e-4  # control: masks of other images


def test_patches_renamed(part, pairs):
    """Every patch queries alike: patches under other names, and the run is the same under these names."""
    patch = np.random.default_rng(2).permutation(part.P)
    labels, masked = np.empty_like(part.labels), np.empty_like(pairs.masked)
    labels[:, patch], masked[:, :, patch] = part.labels, pairs.masked
    a = descend(ContrastiveField(part, pairs), eta=30.0, steps=100, keep=50)
    renamed = ContrastiveField(dynsim.Partition(labels), dynsim.Pairs(pairs.cluster, pairs.z, masked))
    b = descend(renamed, eta=30.0, steps=100, keep=50)
    np.testing.assert_allclose(b.loss, a.loss, atol=1e-13)
    np.testing.assert_allclose(b.fp, a.fp, atol=1e-12)
    np.testing.assert_allclose(b.pp[:, 0, patch], a.pp[:, 0], atol=1e-12)
    assert np.abs(b.pp[:, 0] - a.pp[:, 0]).max() > 1e-3


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("one_row", [True, False])
def test_bits_do_not_depend_on_threads(monkeypatch, one_row, stop):
    monkeypatch.setattr(contrastive, "SMALL", 0)
    problem = dynsim.Problem(K=4, gamma=0.7, P=77, kappa_c=0.8, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    pairs = dynsim.sample_pairs(problem, part, n=70, seed=3)
    make = lambda threads, pairs=pairs: ContrastiveField(part, pairs, stop_gradient=stop, threads=threads, one_row=one_row)  # noqa: E731
    fields = [make(threads) for threads in (1, 2, 3, 64)]
    assert [field._pool.threads for field in fields] == [1, 2, 3, 8 if one_row else 16]
    runs = [descend(field, eta=100.0, steps=30, keep=10) for field in (*fields, fields[2])]
    for run in runs[1:]:
        for name in NAMES:
            np.testing.assert_array_equal(getattr(run, name), getattr(runs[0], name))
    nudged = make(1, dynsim.Pairs(pairs.cluster, pairs.z * (1 + 2**-52), pairs.masked))
    assert (descend(nudged, eta=100.0, steps=30, keep=10).fp != runs[0].fp).any()  # control: one bit of the input is seen


@pytest.mark.parametrize("fresh", [True, False])
def test_restart_is_one_run(problem, part, pairs, fresh):
    field = ContrastiveField.fresh(problem, part, n=8, seed=1) if fresh else ContrastiveField(part, pairs)
    states = []
    keep = lambda state, record: states.append(State(state.step, state.y.copy(), tuple(m.copy() for m in state.memory)))  # noqa: E731
    options = {"eta": 20.0, "steps": 20, "keep": 5, "optimiser": Momentum()}
    whole = descend(field, checkpoint=keep, **options)
    rest = descend(field, start=states[10], **options)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name)[2:])


def test_fresh_pairs_at_every_step(problem, part):
    field = ContrastiveField.fresh(problem, part, n=8, seed=1, negatives=3)
    y = np.random.default_rng(0).normal(size=field.start().shape)
    assert not field.deterministic and field.describe()["fresh"]
    for step in (4, 0, 4):
        given = ContrastiveField(part, dynsim.sample_pairs(problem, part, 8, seed=[1, step]))
        drawn = ContrastiveField.fresh(problem, part, n=8, seed=1)
        assert drawn.velocity(y, step)[0] == given.velocity(y)[0]
        np.testing.assert_array_equal(drawn.velocity(y, step)[1], given.velocity(y)[1])
        np.testing.assert_array_equal(drawn.attention(y), given.attention(y))
    losses = [field.velocity(y, step)[0] for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    chosen = [contrastive._choose(8, 3, [1, step]) for step in (0, 1)]
    assert (chosen[0] != chosen[1]).any()  # other negatives, too


def test_collapse_is_an_event(part, pairs):
    """phi pulling every query to the global areas: their attention passes one half where phi does some value."""
    field = ContrastiveField(part, pairs)
    assert {"collapse", "escape"} <= set(field.events)
    at = []
    for size in np.linspace(0, 12, 25):
        y = field.start()
        y[part.offset[:-1]] = size
        loss, crossed = field.crossings(y)
        attention = field.attention(y)[0, part.offset[:-1]].mean()
        assert crossed["collapse"] == pytest.approx(attention - 0.5, abs=1e-12) and np.isfinite(loss)
        at.append(crossed["collapse"])
    assert at[0] < 0 < at[-1] and (np.diff(at) > 0).all()


def test_state_belongs_to_the_caller(part, pairs):
    for one_row in (True, False):
        field = ContrastiveField(part, pairs, one_row=one_row)
        y = np.random.default_rng(5).normal(size=field.start().shape)
        before, out = y.copy(), np.full_like(y, np.nan)
        loss, dy = field.velocity(y, out=out)
        assert dy is out and np.isfinite(out).all()
        again, fresh = field.velocity(y)
        assert fresh is not out and loss == again
        np.testing.assert_array_equal(fresh, out)
        seen = field.observe(y)
        assert seen.loss == loss and seen.attention.shape == (part.P, part.F)
        np.testing.assert_array_equal(seen.velocity, out)
        y[:] = 0.0
        assert field.velocity(y)[0] != loss
        np.testing.assert_array_equal(field.state(*field.correlations(before)), before)


def test_clusters_without_pairs_have_no_attention(part, pairs):
    some = pairs.cluster != 1
    field = ContrastiveField(part, dynsim.Pairs(pairs.cluster[some], pairs.z[some], pairs.masked[some]))
    empty = np.isnan(field.attention(field.start()))
    assert empty[:, part.offset[1] : part.offset[2]].all() and empty.sum() == part.P * part.N[1]


def test_held_correlations_stay(part, pairs):
    for hold, still, moving in (("fp", "fp", "pp"), ("pp", "pp", "fp")):
        run = descend(ContrastiveField(part, pairs, hold=hold), eta=30.0, steps=20)
        assert not getattr(run, still).any() and getattr(run, moving)[-1].any()
    emb = Embedding.random(part, 25)
    a = descend(ContrastiveField(part, pairs, embedding=emb, hold="fp"), eta=3.0, steps=50)
    b = full.descend(part, None, eta=3.0, steps=50, embedding=emb, hold="fp", pairs=pairs)
    assert np.abs(a.pp - b.pp).max() <= 1e-11 * np.abs(b.pp).max() > 0


def test_nan_is_not_swallowed(part, pairs, correlations):
    for table in correlations:
        before = table[0, 0]
        table[0, 0] = np.nan
        for found in (on_full(part, pairs, *correlations), on_one_row(part, pairs, *correlations)):
            assert np.isnan(found[0]) and np.isnan(found[1]).any()
        table[0, 0] = before


def test_describes_itself_in_plain_data(part, pairs):
    sizes = {"n": 20, "K": 3, "P": 18, "F": part.F}
    numbers = {"temperature": 0.5, "stop_gradient": True, "negatives": None, "fresh": False}
    described = ContrastiveField(part, pairs).describe()
    kind = {"method": "contrastive-samples", "objective": "contrastive", "state": "one row for all queries"}
    assert json.loads(json.dumps(described)) == {**kind, **sizes, **numbers}
    assert ContrastiveField(part, pairs, embedding=Embedding.random(part, 9)).describe()["state"] == "a row a query"
    assert ContrastiveField(part, pairs, embedding=Embedding.orthonormal(part, seed=1)).one_row


@pytest.mark.parametrize("options", [{}, {"fresh": True, "negatives": 5}, {"embedding": "sinusoidal", "stop_gradient": False}])
def test_recipe_makes_the_same_field(problem, options):
    field = ContrastiveField.from_options(problem, seed=3, n=10, temperature=0.2, partition="random", **options)
    plain, arrays = field.recipe()
    again = ContrastiveField.from_recipe(json.loads(json.dumps(plain)), arrays)
    y = np.random.default_rng(0).normal(size=field.start().shape)
    for step in (0, 3):
        assert again.velocity(y, step)[0] == field.velocity(y, step)[0]
        np.testing.assert_array_equal(again.velocity(y, step)[1], field.velocity(y, step)[1])
    other = ContrastiveField.from_options(problem, seed=4, n=10, temperature=0.2, partition="random", **options)
    assert other.velocity(y)[0] != field.velocity(y)[0]


def test_a_draw_of_your_own_has_no_recipe(problem, part):
    draw = lambda step: dynsim.sample_pairs(problem, part, 4, seed=step)  # noqa: E731
    with pytest.raises(dynsim.errors.NoRecipe, match="a draw of pairs of your own has no recipe"):
        ContrastiveField(part, draw).recipe()


def test_what_does_not_fit_is_named(problem, part, pairs):
    small = dynsim.Partition(part.labels[:, :9] % 2)
    token = Embedding.random(part, 9).with_token(np.ones(9))
    for arguments, message in (
        ((small, pairs), "masks must have the partition's P=9 patches, got 18: sample"),
        ((part, "pairs"), "pairs must be Pairs or a function of the step that returns them, got 'pairs'"),
        ((part, lambda step: 3), "pairs must be Pairs or a function of the step that returns them, got 3"),
        *(((part, pairs, tau), "temperature must be positive and finite, got") for tau in (0.0, -1, np.nan, np.inf, "1", 1e-320)),
        ((part, pairs, 0.5, True, token), "a contrastive run takes no mask token: every patch queries, .* leave mu out"),
        ((part, pairs, 0.5, True, None, "both"), "hold must be None, 'fp' or 'pp', got 'both'"),
        *(((part, pairs, 0.5, True, None, None, n), "from 1 to n - 1 = 19, got .*: leave it out") for n in (0, 20, 2.5, True)),
    ):
        with pytest.raises(dynsim.InputError, match=message):
            ContrastiveField(*arguments)
    with pytest.raises(dynsim.InputError, match="one_row=True needs an orthonormal embedding"):
        ContrastiveField(part, pairs, embedding=Embedding.random(part, 9), one_row=True)
    with pytest.raises(dynsim.InputError, match="fields add on one state"):
        ContrastiveField(part, pairs).on_state((3, 3))
    options = ContrastiveField.plain_options(problem)
    assert options["eta"] > 0 and options["steps"] >= 500


def test_a_run_is_not_stopped_where_only_the_reported_sum_rises():
    """Reconstruction is reported per masked patch, contrast as it stands: the undivided sum falls."""
    problem = dynsim.Problem(K=2, gamma=0.642037, P=4, kappa_c=0.0, kappa_s=0.0, amplitude=dynsim.Fixed(1.0))
    field = dynsim.reduced.MixedField.from_options(problem, seed=24, n=2, stop_gradient=False, embedding="sinusoidal")
    run = dynsim.reduced.descend(field, eta=1e-3, steps=20, keep=1)
    assert run.loss[1] > run.loss[0]
    descended = problem.masked * run.terms["reconstruction"] + problem.P * run.terms["contrastive"]
    assert (np.diff(descended) < 0).all()
    assert not field.conservative and dynsim.reduced.SumField([(1.0, field.fields[0]), (2.0, field.fields[0])]).conservative


def test_fields_of_different_vectors_or_held_correlations_do_not_add():
    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, n=16, seed=0)
    plain, turned = dynsim.Embedding.orthonormal(part), dynsim.Embedding.orthonormal(part, seed=1)
    wave = dynsim.Embedding.sinusoidal_2d(part, 64)

    def summed(*choices):
        return dynsim.reduced.SumField([(1.0, dynsim.reduced.EmpiricalField(part, data, **choice)) for choice in choices])

    with pytest.raises(dynsim.InputError, match="come from the same vectors, got different embeddings"):
        summed({}, {"embedding": wave})
    with pytest.raises(dynsim.InputError, match="same correlations are held, got hold=None and 'pp'"):
        summed({}, {"hold": "pp"})
    assert summed({"embedding": wave}, {"embedding": wave}).embedding is wave
    assert summed({"hold": "pp"}, {"hold": "pp"}).describe()["hold"] == "pp"
    both = summed({"embedding": plain}, {"embedding": turned})  # orthonormal, both: one gradient, but Adam sees the axes
    with pytest.raises(dynsim.InputError, match="only where positions and features are one-hot"):
        dynsim.reduced.descend(both, steps=1, optimiser=dynsim.reduced.Adam())


def test_a_sum_with_fresh_images_has_no_floor():
    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    part = dynsim.Partition.blocks(problem)
    field = dynsim.reduced.SumField([(1.0, dynsim.reduced.MinibatchField.fresh(problem, part, n=16))])
    assert field.floor is None and "half" not in dynsim.reduced.descend(field, eta=2.0, steps=5).meta["events"]


@pytest.mark.kernel
@pytest.mark.parametrize("n", [1, 15, 16, 50])
def test_sum_of_an_array_in_vectors(n):
    x = np.random.default_rng(n).random(n)
    assert contrastive_row.sum_of(x) == pytest.approx(math.fsum(x), rel=1e-14)


@pytest.mark.kernel
def test_arrays_joined_in_one_come_out_again():
    arrays = [np.arange(3), np.zeros(0, dtype=np.int64), np.array([7, -1])]
    one = contrastive_row.joined(arrays)
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(contrastive_row.piece(one, i), array)


@pytest.mark.parametrize("stop", [True, False])
def test_a_step_in_separate_turns_has_the_same_bits(part, pairs, stop, monkeypatch):
    """As where the last one took long: the gradient is put together after the last turn only, wherever the kernel is called."""
    monkeypatch.setattr(contrastive, "SMALL", 0)
    field = ContrastiveField(part, pairs, stop_gradient=stop, threads=2)
    y = 0.1 * np.random.default_rng(0).normal(size=field.start().shape)
    loss, dy = field.velocity(y)
    field._pool._short, field._kernel._found[:] = False, np.nan
    again, dy_again = field.velocity(y)
    assert again == loss and (dy_again == dy).all() and (dy != 0).any()
