"""full/ against its formula: loops over patches, finite differences, torch autograd, and what must stay the same."""

from types import SimpleNamespace

import numpy as np
import pytest

import dynsim
from dynsim import full
from dynsim.full import attention, reconstruction
from dynsim.model.embedding import Embedding

PROBLEM = dynsim.Problem(K=3, gamma=0.6, P=15, kappa_c=0.75, kappa_s=0.4)


@pytest.fixture(scope="module")
def part():
    return dynsim.Partition.random(PROBLEM, seed=1)


@pytest.fixture(scope="module")
def data(part):
    return dynsim.sample(PROBLEM, part, n=12, seed=2)


def embeddings(part):
    """One of each kind, with what kind of mask token."""
    rng = np.random.default_rng(3)
    plain = Embedding.orthonormal(part, seed=4)
    waves = Embedding.sinusoidal_2d(part, 16)
    small = Embedding.random(part, 11)
    return {
        "one-hot": Embedding.orthonormal(part),
        "rotated": plain,
        "sinusoidal": waves,
        "token, value zero": small.with_token(0.2 * rng.standard_normal(11)),
        "token, value token": waves.with_token(0.2 * rng.standard_normal(16), "token"),
    }


KINDS = ["one-hot", "rotated", "sinusoidal", "token, value zero", "token, value token"]


def loop_loss(Q, part, data, emb):
    """L of eq. (3), one image, one query and one key at a time."""
    loss = 0.0
    mu = np.zeros(emb.d) if emb.mu is None else emb.mu
    for i in range(data.n):
        k = data.cluster[i]
        X = [data.z[i, part.labels[k, p]] * emb.V[:, part.own[k, p]] for p in range(part.P)]
        key = [emb.E[:, q] + (mu if data.masked[i, q] else X[q]) for q in range(part.P)]
        value = [X[q] if not data.masked[i, q] else mu * (emb.masked_value == "token") for q in range(part.P)]
        for p in np.flatnonzero(data.masked[i]):
            score = np.array([(emb.E[:, p] + mu) @ Q @ key[q] for q in range(part.P)])
            attn = np.exp(score) / np.exp(score).sum()
            loss += data.weight[i] * 0.5 * np.sum((sum(a * v for a, v in zip(attn, value, strict=True)) - X[p]) ** 2)
    return loss


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_formula(part, data, kind):
    emb = embeddings(part)[kind]
    Q = np.random.default_rng(5).standard_normal((emb.d, emb.d))
    loss, _ = full.gradient(Q, part, data, emb)
    assert loss == pytest.approx(loop_loss(Q, part, data, emb), rel=1e-13)  # about 100 roundings of positive terms
    assert abs(loss / loop_loss(Q * 1.001, part, data, emb) - 1) > 1e-8  # control: another Q is seen


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_loss(part, data, kind):
    emb = embeddings(part)[kind]
    rng = np.random.default_rng(6)
    Q, D = rng.standard_normal((2, emb.d, emb.d))

    def slope(h):
        return (full.gradient(Q + h * D, part, data, emb)[0] - full.gradient(Q - h * D, part, data, emb)[0]) / (2 * h)

    dQ = full.gradient(Q, part, data, emb)[1]
    scale = np.linalg.norm(dQ) * np.linalg.norm(D)
    # Richardson: error of order h^4 = 1e-12 (times a fifth derivative) + eps / h = 2e-13
    assert abs((4 * slope(5e-4) - slope(1e-3)) / 3 - np.sum(dQ * D)) < 1e-9 * scale
    wrong = dQ.copy()
    wrong[0] *= -1  # control: one row of the wrong sign
    assert abs((4 * slope(5e-4) - slope(1e-3)) / 3 - np.sum(wrong * D)) > 1e-4 * scale


def torch_loss(torch, Q, part, data, emb, wrong=None):
    """The same L in torch, differentiable in Q; `wrong` breaks one thing, for the controls."""
    E, V = torch.tensor(emb.E.T.copy()), torch.tensor(emb.V.T.copy())
    mu = torch.zeros(emb.d, dtype=torch.float64) if emb.mu is None else torch.tensor(emb.mu.copy())
    masked = torch.tensor(data.masked.copy())[..., None]
    own, z = part.own[data.cluster], np.take_along_axis(data.z, part.labels[data.cluster], axis=1)
    X = torch.tensor(z)[..., None] * V[torch.tensor(own)]
    keys = E + torch.where(masked, mu, X)
    values = torch.where(masked, mu * (emb.masked_value == "token"), X)
    if wrong == "mask":
        masked = ~masked
    if wrong == "scale":
        keys = keys * (1 + 1e-9)
    attn = torch.softmax((E + mu) @ Q @ keys.transpose(1, 2), dim=-1)
    residual = attn @ (values.detach() if wrong is None else values) - X
    return 0.5 * (torch.tensor(data.weight.copy())[:, None, None] * masked * residual**2).sum()


def torch_gradient(torch, Q, *args, **kwargs):
    Q = torch.tensor(Q, requires_grad=True)
    loss = torch_loss(torch, Q, *args, **kwargs)
    loss.backward()
    return loss.item(), Q.grad.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_torch_autograd(part, data, kind):
    torch = pytest.importorskip("torch")
    emb = embeddings(part)[kind]
    Q = np.random.default_rng(7).standard_normal((emb.d, emb.d))
    loss, dQ = full.gradient(Q, part, data, emb)
    expected, grad = torch_gradient(torch, Q, part, data, emb)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert np.abs(dQ - grad).max() <= 1e-12 * np.abs(grad).max()
    for wrong in ("mask", "scale"):
        assert np.abs(dQ - torch_gradient(torch, Q, part, data, emb, wrong=wrong)[1]).max() > 1e-12 * np.abs(grad).max()


RULES = {
    "descent": (None, lambda o, Q: o.SGD([Q], lr=0.5)),
    "heavy ball": ({"name": "momentum", "beta": 0.8, "nesterov": False}, lambda o, Q: o.SGD([Q], lr=0.5, momentum=0.8)),
    "nesterov": (
        {"name": "momentum", "beta": 0.8, "nesterov": True},
        lambda o, Q: o.SGD([Q], lr=0.5, momentum=0.8, nesterov=True),
    ),
    "adam": (
        {"name": "adam", "beta1": 0.9, "beta2": 0.99, "eps": 1e-6},
        lambda o, Q: o.Adam([Q], lr=0.5, betas=(0.9, 0.99), eps=1e-6),
    ),
}


def optimiser(values):
    return values and SimpleNamespace(**values, describe=lambda: values)


@pytest.mark.parametrize("rule", RULES)
def test_descent_is_torch_optim(part, data, rule):
    torch = pytest.importorskip("torch")
    emb = embeddings(part)["token, value zero"]
    values, make = RULES[rule]
    traj = full.descend(part, data, eta=0.5, steps=20, keep=1, embedding=emb, optimiser=optimiser(values))
    Q = torch.zeros((emb.d, emb.d), dtype=torch.float64, requires_grad=True)
    torch_rule, losses = make(torch.optim, Q), []
    for _ in range(20):
        torch_rule.zero_grad()
        loss = torch_loss(torch, Q, part, data, emb)
        losses.append(loss.item() / data.masked_mean)
        loss.backward()
        torch_rule.step()
    fp = emb.queries.T @ Q.detach().numpy() @ np.column_stack([emb.V, emb.mu])
    # 20 steps, each good to 1e-14; Adam divides by the root of v, which magnifies by at most max|g| / eps^(1/2)
    assert np.abs(traj.fp[-1] - fp).max() <= 1e-11 * np.abs(fp).max()
    assert np.abs(traj.loss[:-1] / losses - 1).max() <= 1e-11
    assert np.abs(traj.fp[-2] - fp).max() > 1e-4 * np.abs(fp).max()  # control: one step less is seen


def test_sign_descent_moves_every_entry_by_eta(part, data):
    traj = full.descend(part, data, eta=0.01, steps=3, keep=1, optimiser=SimpleNamespace(name="sign", describe=dict))
    first = full.descend(part, data, eta=0.01, steps=1, keep=1)
    np.testing.assert_allclose(np.abs(traj.pp[1]), 0.01, rtol=1e-14)
    np.testing.assert_array_equal(np.sign(traj.fp[1]), np.sign(np.round(first.fp[1], 15)))


def test_start_is_uniform_attention(part, data):
    traj = full.descend(part, data, steps=0)
    assert traj.fp.shape == (1, part.P, part.F) and traj.pp.shape == (1, part.P, part.P)
    assert not traj.fp.any() and not traj.pp.any() and list(traj.step) == [0]
    total, area, count = 0.0, np.zeros((part.P, part.F)), np.zeros((part.P, part.F))
    for i in range(data.n):
        k = data.cluster[i]
        shown = [np.sum(~data.masked[i] & (part.labels[k] == m)) / part.P for m in range(part.N[k])]
        for p in np.flatnonzero(data.masked[i]):
            miss = np.array(shown) - (np.arange(part.N[k]) == part.labels[k, p])
            total += 0.5 * np.sum((data.z[i, : part.N[k]] * miss) ** 2)
            area[p, part.offset[k] : part.offset[k + 1]] += shown
            count[p, part.offset[k] : part.offset[k + 1]] += 1
    assert traj.loss[0] == pytest.approx(total / data.masked.sum(), rel=1e-13)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(traj.attention[0], area / count, rtol=1e-13)


def test_attention_of_a_trained_map(part, data):
    emb = embeddings(part)["rotated"]
    Q = 3 * np.random.default_rng(8).standard_normal((emb.d, emb.d))
    attention = reconstruction.loss_and_gradient(Q, part, data, emb, attention=True)[2]
    k, p = 1, 4
    paid = np.zeros(part.N[k])
    images = [i for i in range(data.n) if data.cluster[i] == k and data.masked[i, p]]
    for i in images:
        X = data.z[i, part.labels[k]] * emb.V[:, part.own[k]] * ~data.masked[i]
        attn = np.exp(emb.E[:, p] @ Q @ (X + emb.E))
        for q in np.flatnonzero(~data.masked[i]):
            paid[part.labels[k, q]] += attn[q] / attn.sum() / len(images)
    expected = attention[p, part.offset[k] : part.offset[k + 1]]
    np.testing.assert_allclose(paid, expected, rtol=1e-12, atol=1e-15)
    assert np.abs(paid - 1 / part.P).max() > 0.01  # control: not the uniform map


def test_basis_does_not_matter_but_the_images_do(part, data):
    a, b = (full.descend(part, data, eta=1.0, steps=30, basis_seed=seed) for seed in (0, 1))
    onehot = full.descend(part, data, eta=1.0, steps=30, embedding=Embedding.orthonormal(part))
    for name in ("fp", "pp", "loss", "attention"):
        scale = np.nanmax(np.abs(getattr(a, name)))
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-13 * scale, rtol=0)
        np.testing.assert_allclose(getattr(a, name), getattr(onehot, name), atol=1e-13 * scale, rtol=0)
    swapped = part.labels.copy()
    swapped[0, [0, np.flatnonzero(part.labels[0] != part.labels[0, 0])[0]]] = swapped[
        0, [np.flatnonzero(part.labels[0] != part.labels[0, 0])[0], 0]
    ]
    other = full.descend(dynsim.Partition(swapped), data, eta=1.0, steps=30)
    assert np.abs(other.fp - a.fp).max() > 1e-4  # control: one swapped label


def test_batches_do_not_matter(part, data, monkeypatch):
    emb = embeddings(part)["token, value token"]
    Q = np.random.default_rng(9).standard_normal((emb.d, emb.d))
    whole = reconstruction.loss_and_gradient(Q, part, data, emb, attention=True)
    monkeypatch.setattr(attention, "BATCH_BYTES", 5 * 8 * part.P * (3 * part.P + 5 * emb.d))
    pieces = reconstruction.loss_and_gradient(Q, part, data, emb, attention=True)  # 5 + 5 + 2 images
    for a, b in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_weights_count_images(part, data):
    weight = np.r_[0.0, 2.0, np.ones(data.n - 2)] / data.n
    a = dynsim.Dataset(data.cluster, data.z, data.masked, weight)
    again = np.r_[1, 1:data.n]
    b = dynsim.Dataset(data.cluster[again], data.z[again], data.masked[again])
    emb = embeddings(part)["rotated"]
    Q = np.random.default_rng(10).standard_normal((emb.d, emb.d))
    weighted, repeated = (reconstruction.loss_and_gradient(Q, part, images, emb, True) for images in (a, b))
    for x, y in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
    assert abs(full.gradient(Q, part, data, emb)[0] / full.gradient(Q, part, a, emb)[0] - 1) > 1e-3


@pytest.mark.parametrize("kind", ["rotated", "sinusoidal", "token, value token"])
def test_held_correlation_stays_at_zero(part, data, kind):
    emb = embeddings(part)[kind]
    free = full.descend(part, data, eta=0.5, steps=20, embedding=emb)
    for hold, moves in (("fp", "pp"), ("pp", "fp")):
        traj = full.descend(part, data, eta=0.5, steps=20, embedding=emb, hold=hold)
        assert np.abs(getattr(traj, hold)).max() < 1e-13 < 1e-3 < np.abs(getattr(free, hold)).max()
        assert traj.meta["hold"] == hold
        if kind == "rotated":
            assert np.abs(getattr(traj, moves)).max() > 1e-2
            assert free.loss[-1] < traj.loss[-1] < traj.loss[0]


def test_a_step_too_large_diverges_and_keeps_what_was(part, data):
    emb = embeddings(part)["token, value token"]
    with pytest.raises(dynsim.Diverged, match=r"step \d+: the loss .* eta=200; try eta=20$") as caught:
        full.descend(part, data, eta=200, steps=200, keep=1, embedding=emb)
    kept = caught.value.trajectory
    assert len(kept) >= 1 and (np.diff(kept.step) == 1).all() and np.isfinite(kept.loss).all()
    full.descend(part, data, eta=1, steps=200, embedding=emb)  # control: a small step does not


def test_interrupt_keeps_what_was(part, data):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(dynsim.Interrupted) as caught:
        full.descend(part, data, steps=20, keep=1, progress=stop)
    assert list(caught.value.trajectory.step) == [0, 1, 2, 3, 4]


def test_bad_input_is_named(part, data):
    for bad, match in (
        ({"eta": 0}, "eta must be"),
        ({"eta": -1.0}, "eta must be"),
        ({"eta": np.nan}, "eta must be"),
        ({"eta": "1"}, "eta must be"),
        ({"eta": True}, "eta must be"),
        ({"steps": -1}, "steps must be"),
        ({"steps": 1.5}, "steps must be"),
        ({"hold": "qq"}, "hold must be"),
        ({"optimiser": "adam"}, "optimiser must be"),
        ({"embedding": Embedding(np.eye(40)[:, :14], np.eye(40)[:, :20])}, "one column per position"),
    ):
        with pytest.raises(dynsim.InputError, match=match):
            full.descend(part, data, **bad)
    with pytest.raises(dynsim.InputError, match="Q must be"):
        full.gradient(np.zeros((2, 2)), part, data, Embedding.orthonormal(part))
