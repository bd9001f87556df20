"""The contrastive field on any images: against a slow twin and autograd, rows that stay equal, errors."""

import numpy as np
import pytest

import dynsim
from dynsim import Images, InputError
from dynsim.reduced import ImageContrastiveField, ImageField, descend

PICTURES = np.cumsum(np.random.default_rng(0).normal(size=(12, 9, 9)), axis=1)  # columns of a picture are smooth
VIEWS = tuple(Images.cut(PICTURES, patch=3, gamma=0.5, seed=seed, scale="unit") for seed in (1, 2))


def twin(first, second, phi, upsilon, tau, stop):
    """(I3)-(I5) by loops over pictures, queries and keys: L, minus its gradient by phi (P, d) and upsilon (P, P)."""
    n, P = first.n, first.P

    def attention(view, i):
        X, shown = view.patches[i], ~view.masked[i]
        score = np.array([[(phi[p] @ X[q] if shown[q] else 0.0) + upsilon[p, q] for q in range(P)] for p in range(P)])
        attn = np.exp(score - score.max(axis=1, keepdims=True))
        return X, shown, attn / attn.sum(axis=1, keepdims=True)

    F = np.zeros((2, n, first.d))
    for v, view in enumerate((first, second)):
        for i in range(n):
            X, shown, attn = attention(view, i)
            F[v, i] = sum(attn[p, q] * X[q] for p in range(P) for q in range(P) if shown[q]) / P
    w = np.exp(F[0] @ F[1].T / tau)
    w /= w.sum(axis=1, keepdims=True)
    G = np.zeros_like(F)
    for i in range(n):
        for j in range(n):
            G[0, i] += (w[i, j] - (i == j)) * F[1, j] / n
            G[1, j] += (w[i, j] - (i == j)) * F[0, i] / n * (not stop)
    dphi, dupsilon = np.zeros_like(phi), np.zeros_like(upsilon)
    for v, view in enumerate((first, second)):
        for i in range(n):
            X, shown, attn = attention(view, i)
            g = np.where(shown, X @ G[v, i] / P, 0.0)
            for p in range(P):
                push = -attn[p] * (g - attn[p] @ g)
                dphi[p] += (push * shown) @ X
                dupsilon[p] += push
    return -tau / n * np.log(w.diagonal()).sum(), dphi, dupsilon


@pytest.mark.kernel
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("equal", [True, False])
def test_against_its_twin(stop, equal):
    field = ImageContrastiveField(*VIEWS, temperature=0.2, stop_gradient=stop)
    y = np.random.default_rng(3).normal(size=field.start().shape)
    y = np.repeat(y[:, :1], field.P, axis=1) if equal else y
    loss, dphi, dupsilon = twin(*VIEWS, *field.correlations(y), 0.2, stop)
    found, dy = field.velocity(y)
    assert found == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(dy[: field.d].T, dphi, atol=1e-13 * np.abs(dphi).max())
    np.testing.assert_allclose(dy[field.d :].T, dupsilon, atol=1e-13 * np.abs(dupsilon).max())
    other = ImageContrastiveField(*VIEWS, temperature=0.2, stop_gradient=not stop).velocity(y)[1]
    assert np.abs(other - dy).max() > 0.1 * np.abs(dy).max()  # control
    np.testing.assert_allclose(field.attention(y).sum(axis=1), 1.0, atol=1e-13)
    assert field.observe(y).loss == found and field.crossings(y) == (found, {})


@pytest.mark.parametrize("stop", [True, False])
def test_against_autograd(stop):
    """Explicit Q in torch, pixels and positions one-hot, 60 steps: 1e-11 (measured: 1e-15)."""
    torch = pytest.importorskip("torch")
    first = VIEWS[0]
    P, d = first.P, first.d
    positions = torch.eye(d + P, dtype=torch.float64)[d:]
    shown = []
    for view in VIEWS:
        X = torch.zeros(view.n, P, d + P, dtype=torch.float64)
        X[..., :d] = torch.tensor(view.patches * ~view.masked[..., None])
        shown.append(X)
    Q = torch.zeros(d + P, d + P, dtype=torch.float64, requires_grad=True)
    losses = []
    for _ in range(60):
        F = [(torch.softmax(positions @ Q @ (X + positions).transpose(1, 2), dim=-1) @ X).mean(dim=1) for X in shown]
        score = F[0] @ (F[1].detach() if stop else F[1]).T / 0.2
        loss = -0.2 * torch.log_softmax(score, dim=1).diagonal().mean()
        (gradient,) = torch.autograd.grad(loss, Q)
        losses.append(float(loss.detach()))
        with torch.no_grad():
            Q -= 20.0 * gradient
    run = descend(ImageContrastiveField(*VIEWS, temperature=0.2, stop_gradient=stop), eta=20.0, steps=60, keep=1)
    found = Q.detach().numpy()
    np.testing.assert_allclose(run.loss[:60], losses, rtol=1e-11)
    assert np.abs(found[d:, :d]).max() > 0.3  # the run goes somewhere
    assert np.abs(run.fp[-1] - found[d:, :d]).max() <= 1e-11 * np.abs(found).max() < np.abs(run.fp[-2] - found[d:, :d]).max()
    assert np.abs(run.pp[-1] - found[d:, d:]).max() <= 1e-11 * np.abs(found).max()


def test_all_queries_learn_the_same():
    """From zero on rows are copies, and so the mutual information of query and key is zero; reconstruction is the control."""
    run = descend(ImageContrastiveField(*VIEWS), eta=20.0, steps=50, keep=10)
    assert (run.fp == run.fp[:, :1]).all() and (run.pp == run.pp[:, :1]).all() and np.abs(run.fp[-1]).max() > 0.1
    assert dynsim.analysis.attention.similarity(run.attention[-1]) == pytest.approx(1.0)
    rec = descend(ImageField(VIEWS[0]), eta=1.0, steps=50, keep=10)
    assert dynsim.analysis.attention.similarity(rec.attention[-1]) < 0.9


@pytest.mark.parametrize("stop", [False, True])
def test_the_battery_of_every_field(stop):
    report = dynsim.validation.check_field(ImageContrastiveField(*VIEWS, stop_gradient=stop))
    assert report.passed, report


def test_adds_to_reconstruction():
    """A sum with reconstruction: velocities add, and queries differ."""
    rec, con = ImageField(VIEWS[0]), ImageContrastiveField(*VIEWS)
    both = dynsim.reduced.SumField([(1.0, rec), (2.0, con)])
    run = descend(both, eta=1.0, steps=50, keep=10)
    y = np.concatenate([run.fp[-1].T, run.pp[-1].T])
    np.testing.assert_array_equal(both.velocity(y)[1], rec.velocity(y)[1] + 2.0 * con.velocity(y)[1])
    assert np.abs(run.fp[-1] - run.fp[-1, 0]).max() > 0.01
    assert run.terms["contrastive"][0] == con.velocity(con.start())[0]


def test_recipe_round_trip():
    field = ImageContrastiveField(*VIEWS, temperature=0.3, stop_gradient=False)
    plain, arrays = field.recipe()
    again = ImageContrastiveField.from_recipe(plain, arrays)
    y = np.random.default_rng(4).normal(size=field.start().shape)
    np.testing.assert_array_equal(again.velocity(y)[1], field.velocity(y)[1])
    assert again.describe() == field.describe() and ImageContrastiveField.layout_of(plain, arrays) == field.layout


def unequal():
    return Images(VIEWS[0].patches, VIEWS[0].masked, weight=np.arange(12) / 66)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: ImageContrastiveField(VIEWS[0], PICTURES), "views must be Images, got ndarray"),
        (lambda: ImageContrastiveField(VIEWS[0], VIEWS[1].take(range(11))), "views must show the same .*, got n=12 and 11"),
        (lambda: ImageContrastiveField(VIEWS[0], Images.cut(PICTURES, patch=3)), "views must show the same pictures"),
        (lambda: ImageContrastiveField(*VIEWS, temperature=0), "temperature must be positive and finite, got 0: take e.g. 0.5"),
        (lambda: ImageContrastiveField(VIEWS[0].take([0]), VIEWS[1].take([0])), "contrast needs at least 2 pictures, got 1"),
        (lambda: ImageContrastiveField(unequal(), VIEWS[1]), "views must have equal weights, got unequal ones: leave weight out"),
    ],
)
def test_bad_input(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_from_options_draws_two_views():
    field = dynsim.reduced.field_class("contrastive-any-images").from_options(images=VIEWS[0], seed=3, temperature=0.2)
    assert field.first is VIEWS[0] and field.images is VIEWS[0] and field.temperature == 0.2
    assert (field.second.masked.sum(axis=1) == VIEWS[0].masked.sum(axis=1)).all()
    assert (field.second.masked != VIEWS[0].masked).any(axis=1).mean() > 0.9
    again = dynsim.reduced.field_class("contrastive-any-images").from_options(images=VIEWS[0], seed=4)
    assert (again.second.masked != field.second.masked).any()


def test_mixed_is_the_sum_of_its_terms():
    """alpha P times the contrastive velocity is added to that of reconstruction; weight 0 is reconstruction alone."""
    mixed = dynsim.reduced.field_class("mixed-any-images")
    field = mixed.from_options(images=VIEWS[0], seed=3, weight=0.5, temperature=0.2)
    con = dynsim.reduced.field_class("contrastive-any-images").from_options(images=VIEWS[0], seed=3, temperature=0.2)
    rec = ImageField(VIEWS[0])
    y = np.random.default_rng(4).normal(size=field.start().shape)
    np.testing.assert_array_equal(field.velocity(y)[1], rec.velocity(y)[1] + 0.5 * 9 * con.velocity(y)[1])
    assert field.images is VIEWS[0] and field.objective == "mixed"
    np.testing.assert_array_equal(mixed.from_options(images=VIEWS[0], weight=0.0).velocity(y)[1], rec.velocity(y)[1])
    with pytest.raises(InputError, match="weight must be at least 0 and finite, got -1: take e.g. 1.0"):
        mixed.from_options(images=VIEWS[0], weight=-1)
