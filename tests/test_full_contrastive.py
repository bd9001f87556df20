"""Contrastive and mixed descent on explicit Q against the formulas: loops, finite differences, torch autograd, known limits."""

from math import exp, log

import numpy as np
import pytest

import dynsim
from dynsim import full
from dynsim.full import attention, contrastive
from dynsim.model.embedding import Embedding

PROBLEM = dynsim.Problem(K=3, gamma=0.6, P=15, kappa_c=0.75, kappa_s=0.4)


@pytest.fixture(scope="module")
def part():
    return dynsim.Partition.random(PROBLEM, seed=1)


@pytest.fixture(scope="module")
def data(part):
    return dynsim.sample(PROBLEM, part, n=12, seed=2)


@pytest.fixture(scope="module")
def pairs(part):
    return dynsim.sample_pairs(PROBLEM, part, n=9, seed=3)


def embeddings(part):
    return {
        "rotated": Embedding.orthonormal(part, seed=4),
        "sinusoidal": Embedding.sinusoidal_2d(part, 16),
        "random": Embedding.random(part, 11),
    }


KINDS = ["rotated", "sinusoidal", "random"]


def scattered(emb, seed, size=1.0):
    return size * np.random.default_rng(seed).standard_normal((emb.d, emb.d))


def loop_pooled(Q, part, emb, k, z, masked):
    """F of eq. (D1): the mean output over every patch of one view, key by key."""
    X = [z[part.labels[k, q]] * emb.V[:, part.own[k, q]] * (not masked[q]) for q in range(part.P)]
    pooled = np.zeros(emb.d)
    for p in range(part.P):
        weight = np.array([exp(emb.E[:, p] @ Q @ (X[q] + emb.E[:, q])) for q in range(part.P)])
        pooled += sum(w * x for w, x in zip(weight / weight.sum(), X, strict=True)) / part.P
    return pooled


def outputs(Q, part, pairs, emb, view):
    return np.array([loop_pooled(Q, part, emb, pairs.cluster[i], pairs.z[i], pairs.masked[i, view]) for i in range(pairs.n)])


def loop_loss(Q, part, pairs, emb, tau):
    """L_con of eq. (D2), pair by pair."""
    a, b = (outputs(Q, part, pairs, emb, view) for view in (0, 1))
    loss = 0.0
    for i in range(pairs.n):
        against = [exp(a[i] @ b[j] / tau) for j in range(pairs.n)]
        loss -= tau / pairs.n * log(against[i] / sum(against))
    return loss


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_formula(part, pairs, kind):
    emb = embeddings(part)[kind]
    Q = scattered(emb, 5)
    expected = loop_loss(Q, part, pairs, emb, 0.3)
    assert full.gradient(Q, part, None, emb, pairs, temperature=0.3)[0] == pytest.approx(expected, rel=1e-13)
    assert full.gradient(Q, part, None, emb, pairs, temperature=0.3, weight=2.5)[0] == pytest.approx(2.5 * expected, rel=1e-13)
    # controls: another temperature; the mask of one view used twice
    assert abs(full.gradient(Q, part, None, emb, pairs, temperature=0.301)[0] / expected - 1) > 1e-4
    twice = dynsim.Pairs(pairs.cluster, pairs.z, pairs.masked[:, [0, 0]])
    assert abs(full.gradient(Q, part, None, emb, twice, temperature=0.3)[0] / expected - 1) > 1e-4


def slope(loss, Q, D):
    """Directional derivative: Richardson, error of order h^4 = 1e-12 (times a fifth derivative) + eps / h = 2e-13."""
    both = [(loss(Q + h * D) - loss(Q - h * D)) / (2 * h) for h in (5e-4, 1e-3)]
    return (4 * both[0] - both[1]) / 3


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_loss(part, data, pairs, kind, mixed):
    emb = embeddings(part)[kind]
    Q, D = scattered(emb, 6), scattered(emb, 7)
    options = {"weight": 3.0, "temperature": 0.2}
    images = data if mixed else None
    dQ = full.gradient(Q, part, images, emb, pairs, stop_gradient=False, **options)[1]
    found = slope(lambda Q: full.gradient(Q, part, images, emb, pairs, **options)[0], Q, D)
    scale = np.linalg.norm(dQ) * np.linalg.norm(D)
    assert abs(found - np.sum(dQ * D)) < 1e-9 * scale
    stopped = full.gradient(Q, part, images, emb, pairs, stop_gradient=True, **options)[1]
    assert abs(found - np.sum(stopped * D)) > 1e-4 * scale  # control: half the contrastive gradient is not all of it


def test_stopped_gradient_is_that_with_the_other_view_held(part, pairs):
    """View b from a Q that does not move: finite differences of InfoNCE on a moving and a fixed set of outputs."""
    emb = embeddings(part)["random"]
    Q, D, tau = scattered(emb, 8), scattered(emb, 9), 0.2

    fixed = outputs(Q, part, pairs, emb, 1)
    dQ = full.gradient(Q, part, None, emb, pairs, temperature=tau)[1]
    found = slope(lambda Q: contrastive.info_nce(outputs(Q, part, pairs, emb, 0), fixed, tau)[0], Q, D)
    assert abs(found - np.sum(dQ * D)) < 1e-9 * np.linalg.norm(dQ) * np.linalg.norm(D)


def torch_loss(torch, Q, part, data, pairs, emb, weight, tau, stop, wrong=None):
    """L_rec + weight L_con in torch, differentiable in Q; `wrong` breaks one thing, for the controls."""
    E, V = torch.tensor(emb.E.T.copy()), torch.tensor(emb.V.T.copy())

    def outputs(cluster, z, masked):
        z = np.take_along_axis(z, part.labels[cluster], axis=1)
        X = torch.tensor(z)[..., None] * V[torch.tensor(part.own[cluster])]
        shown = X * torch.tensor(~masked)[..., None]
        return torch.softmax(E @ Q @ (shown + E).transpose(1, 2), dim=-1) @ shown, X

    loss = torch.zeros((), dtype=torch.float64)
    if data is not None:
        output, X = outputs(data.cluster, data.z, data.masked)
        residual = (output - X) * torch.tensor(data.masked.copy())[..., None]
        loss = loss + 0.5 * (torch.tensor(data.weight.copy())[:, None, None] * residual**2).sum()
    views = (0, 0) if wrong == "mask" else (0, 1)
    a, b = (outputs(pairs.cluster, pairs.z, pairs.masked[:, view])[0].mean(dim=1) for view in views)
    if stop != (wrong == "stop"):
        b = b.detach()
    tau = tau * (1 + 1e-6) if wrong == "temperature" else tau
    target = torch.arange(pairs.n)
    return loss + weight * tau * torch.nn.functional.cross_entropy(a @ b.T / tau, target)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_torch_autograd(part, data, pairs, kind, stop, mixed):
    torch = pytest.importorskip("torch")
    emb = embeddings(part)[kind]
    Q = scattered(emb, 10)
    images = data if mixed else None
    options = {"weight": 4.0, "temperature": 0.3, "stop_gradient": stop}

    def autograd(wrong=None):
        moving = torch.tensor(Q, requires_grad=True)
        loss = torch_loss(torch, moving, part, images, pairs, emb, 4.0, 0.3, stop, wrong)
        loss.backward()
        return loss.item(), moving.grad.numpy()

    loss, dQ = full.gradient(Q, part, images, emb, pairs, **options)
    expected, grad = autograd()
    assert loss == pytest.approx(expected, rel=1e-12)
    assert np.abs(dQ - grad).max() <= 1e-12 * np.abs(grad).max()
    for wrong in ("mask", "stop", "temperature"):
        assert np.abs(dQ - autograd(wrong)[1]).max() > 1e-9 * np.abs(grad).max()


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("mixed", [False, True])
def test_descent_is_torch(part, data, pairs, mixed, stop, tau):
    """60 steps against autograd: each good to 1e-14, the dynamics multiply it by less than 100."""
    torch = pytest.importorskip("torch")
    emb = embeddings(part)["rotated"]
    images, weight, eta = data if mixed else None, (20.0 if mixed else 1.0), (1.0 if mixed else 20.0)
    options = {"pairs": pairs, "weight": weight, "temperature": tau, "stop_gradient": stop}
    traj = full.descend(part, images, eta=eta, steps=60, keep=1, embedding=emb, **options)
    Q = torch.zeros((emb.d, emb.d), dtype=torch.float64, requires_grad=True)
    rule, losses = torch.optim.SGD([Q], lr=eta), []
    for _ in range(60):
        rule.zero_grad()
        loss = torch_loss(torch, Q, part, images, pairs, emb, weight, tau, stop)
        losses.append(loss.item())
        loss.backward()
        rule.step()
    fp, pp = full.correlations(Q.detach(), emb.E, emb.V)
    assert np.abs(traj.fp[-1] - fp).max() <= 1e-11 * np.abs(fp).max()
    assert np.abs(traj.pp[-1] - pp).max() <= 1e-11 * np.abs(fp).max()
    terms = {name: values[:-1] for name, values in traj.terms.items()}
    followed = weight * terms["contrastive"] + (terms["reconstruction"] * data.masked_mean if mixed else 0.0)
    assert np.abs(followed / losses - 1).max() <= 1e-11
    assert np.abs(traj.fp[-2] - fp).max() > 1e-4 * np.abs(fp).max()  # control: one step less is seen


def test_what_is_reported(part, data, pairs):
    """Per masked patch plus weight times L_con; the parts alone, without their weight, are those of runs alone at Q = 0."""
    mixed = full.descend(part, data, steps=3, keep=1, pairs=pairs, weight=7.0, temperature=0.4)
    terms = mixed.terms
    assert list(terms) == ["reconstruction", "contrastive"] and len(mixed.loss) == 4
    np.testing.assert_allclose(mixed.loss, terms["reconstruction"] + 7.0 * terms["contrastive"], rtol=1e-15)
    alone = full.descend(part, None, steps=0, pairs=pairs, weight=7.0, temperature=0.4)
    assert list(alone.terms) == ["contrastive"]
    assert alone.loss[0] == pytest.approx(7.0 * terms["contrastive"][0], rel=1e-14)
    plain = full.descend(part, data, steps=0)
    assert plain.loss[0] == terms["reconstruction"][0] and not plain.terms and "contrastive" not in plain.meta
    assert mixed.meta["contrastive"] == {"n": 9, "weight": 7.0, "temperature": 0.4, "stop_gradient": True}
    np.testing.assert_array_equal(mixed.attention[0], plain.attention[0])  # that of masked queries


def test_no_weight_is_reconstruction(part, data, pairs):
    plain, mixed = full.descend(part, data, steps=20), full.descend(part, data, steps=20, pairs=pairs, weight=0.0)
    np.testing.assert_array_equal(plain.fp, mixed.fp)
    np.testing.assert_array_equal(plain.loss, mixed.loss)
    other = full.descend(part, data, steps=20, pairs=pairs, weight=1.0)
    assert np.abs(other.fp - plain.fp).max() > 1e-4  # control


def test_first_loss_is_that_of_uniform_attention(part, pairs):
    """At Q = 0 every key gets 1 / P, so F is the sum of the shown patches over P."""
    tau = 0.1
    run = full.descend(part, None, steps=0, pairs=pairs, temperature=tau)
    F = np.zeros((2, pairs.n, part.F))
    for i in range(pairs.n):
        for v in (0, 1):
            for q in np.flatnonzero(~pairs.masked[i, v]):
                k = pairs.cluster[i]
                F[v, i, part.own[k, q]] += pairs.z[i, part.labels[k, q]] / part.P
    against = np.exp(F[0] @ F[1].T / tau)
    assert run.loss[0] == pytest.approx(-tau * np.mean(np.log(np.diagonal(against) / against.sum(axis=1))), rel=1e-13)
    shown = np.zeros((part.P, part.F))
    for k in range(part.K):
        mean = (~pairs.masked[pairs.cluster == k]).mean(axis=(0, 1)) / part.P
        np.add.at(shown, (slice(None), part.own[k]), mean)
    np.testing.assert_allclose(run.attention[0], shown, rtol=1e-13)


def test_every_query_learns_the_same_unless_positions_are_alike(part, data, pairs):
    """(D4), with explicit gradients for each patch: rounding only. Not so under sinusoidal positions, nor in a mixture."""
    options = {"eta": 20.0, "steps": 100, "pairs": pairs, "temperature": 0.3}
    run = full.descend(part, None, **options)
    assert np.abs(run.fp[-1]).max() > 0.1
    for name in ("fp", "pp"):
        value = getattr(run, name)
        assert np.abs(value - value[:, :1]).max() < 1e-13 * np.abs(value).max()
    # pp rows agree though their columns do not: the same key means the same to every query
    assert np.ptp(run.pp[-1], axis=1).max() > 1e-3
    wave = full.descend(part, None, embedding=embeddings(part)["sinusoidal"], **options)
    assert np.abs(wave.fp - wave.fp[:, :1]).max() > 1e-3
    mixed = full.descend(part, data, eta=1.0, steps=100, pairs=pairs)
    assert np.abs(mixed.fp - mixed.fp[:, :1]).max() > 1e-2


def test_the_basis_does_not_matter(part, pairs):
    options = {"eta": 20.0, "steps": 30, "pairs": pairs}
    a, b = (full.descend(part, None, basis_seed=seed, **options) for seed in (0, 1))
    for name in ("fp", "pp", "loss", "attention"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-13, rtol=0)


def test_batches_do_not_matter(part, pairs, monkeypatch):
    emb = embeddings(part)["random"]
    Q = scattered(emb, 11)
    whole = contrastive.loss_and_gradient(Q, part, pairs, emb, 0.3, False, attention=True)
    monkeypatch.setattr(attention, "BATCH_BYTES", 4 * 8 * part.P * (3 * part.P + 5 * emb.d))
    pieces = contrastive.loss_and_gradient(Q, part, pairs, emb, 0.3, False, attention=True)  # 4 + 4 + 1 pairs
    for a, b in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_other_pairs_at_every_step(part, data):
    def draw(step):
        return dynsim.sample_pairs(PROBLEM, part, n=6, seed=[5, step])

    run = full.descend(part, None, eta=5.0, steps=2, keep=1, pairs=draw, stop_gradient=False)
    emb = Embedding.orthonormal(part, seed=0)
    Q = np.zeros((emb.d, emb.d))
    for step in range(3):
        loss, dQ = full.gradient(Q, part, None, emb, draw(step), stop_gradient=False)
        assert run.loss[step] == pytest.approx(loss, rel=1e-13)
        Q -= 5.0 * dQ
    fixed = full.descend(part, None, eta=5.0, steps=2, keep=1, pairs=draw(0), stop_gradient=False)
    assert abs(fixed.loss[1] / run.loss[1] - 1) > 1e-4  # control


@pytest.mark.parametrize("hold, moves", [("fp", "pp"), ("pp", "fp")])
def test_held_correlation_stays_at_zero(part, pairs, hold, moves):
    run = full.descend(part, None, eta=20.0, steps=20, pairs=pairs, hold=hold)
    assert np.abs(getattr(run, hold)).max() < 1e-14 < 1e-4 < np.abs(getattr(run, moves)).max()


def test_a_tiny_temperature_is_stable(part, pairs):
    """At 1e-6 the hardest negative decides: L is the mean excess of the largest similarity, and nothing overflows."""
    emb = embeddings(part)["rotated"]
    Q = scattered(emb, 12)
    with np.errstate(all="raise", under="ignore"):
        loss, dQ = full.gradient(Q, part, None, emb, pairs, temperature=1e-6)
        run = full.descend(part, None, eta=5.0, steps=30, pairs=pairs, temperature=1e-6)
    a, b = (outputs(Q, part, pairs, emb, view) for view in (0, 1))
    similarity = a @ b.T
    assert loss == pytest.approx(np.mean(similarity.max(axis=1) - np.diagonal(similarity)), abs=1e-5)
    assert np.isfinite(dQ).all() and np.isfinite(run.fp).all() and np.isfinite(run.loss).all()


def test_info_nce_keeps_its_digits():
    """Where the positive wins by 80 temperatures the loss is e^-80 tau, and so are its slopes: exactly, not zero."""
    a = b = np.eye(2)
    loss, (da, db) = contrastive.info_nce(a, b, 1 / 80)
    assert loss == pytest.approx(exp(-80) / 80, rel=1e-12)
    assert da[0, 0] == pytest.approx(-exp(-80) / 2, rel=1e-12) and db[1, 0] == pytest.approx(exp(-80) / 2, rel=1e-12)


def test_descent_lowers_the_objective_and_a_step_too_large_is_seen(part, data, pairs):
    run = full.descend(part, data, eta=0.5, steps=50, keep=1, pairs=pairs, weight=20.0, stop_gradient=False)
    terms = run.terms
    assert (np.diff(terms["reconstruction"] * data.masked_mean + 20.0 * terms["contrastive"]) < 0).all()
    small = embeddings(part)["random"]
    large = Embedding(small.E, 6 * small.V)  # of a loss steep enough to be overshot: bounded outputs seldom let it pass its start
    with pytest.raises(dynsim.Diverged, match=r"the objective .* rose to .* eta=20; try eta=2$") as caught:
        full.descend(part, data, eta=20, steps=50, keep=1, embedding=large, pairs=pairs, weight=20.0, stop_gradient=False)
    assert len(caught.value.trajectory) >= 1


def test_interrupt_keeps_what_was(part, pairs):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(dynsim.Interrupted) as caught:
        full.descend(part, None, steps=20, keep=1, pairs=pairs, progress=stop)
    kept = caught.value.trajectory
    assert list(kept.step) == [0, 1, 2, 3, 4] and len(kept.terms["contrastive"]) == 5


def test_bad_input_is_named(part, data, pairs):
    larger = dynsim.Problem(K=3, P=16, kappa_c=0.7)
    other = dynsim.sample_pairs(larger, dynsim.Partition.random(larger), n=4)
    token = embeddings(part)["random"].with_token(np.ones(11))
    for images, bad, match in (
        (None, {}, "something to descend"),
        (None, {"pairs": pairs, "weight": 0.0}, "weight must be positive without reconstruction, got 0.*: take"),
        (data, {"pairs": pairs, "weight": -1.0}, "weight must be .* got -1.0: take"),
        (data, {"pairs": pairs, "weight": np.inf}, "weight must be .* got inf: take"),
        (data, {"pairs": pairs, "temperature": 0}, "temperature must be .* got 0: take"),
        (data, {"pairs": pairs, "temperature": np.nan}, "temperature must be .* got nan: take"),
        (data, {"pairs": pairs, "stop_gradient": 1}, "stop_gradient must be .* got 1: take"),
        (data, {"pairs": other}, "masks must have the partition's P=15"),
        (None, {"pairs": pairs, "embedding": token}, "takes no mask token, got one"),
    ):
        with pytest.raises(dynsim.InputError, match=match) as caught:
            full.descend(part, images, **bad)
        assert "\n" not in str(caught.value)
    with pytest.raises(dynsim.InputError, match="pairs must be a Pairs, got Dataset"):
        full.descend(part, None, pairs=data)
    with pytest.raises(dynsim.InputError, match="data must be a Dataset, got Pairs"):
        full.descend(part, pairs)
    with pytest.raises(dynsim.InputError, match="masks must have the partition's P=15"):  # from the second step on, too
        full.descend(part, None, pairs=lambda step: other if step else pairs, steps=2)
    with pytest.raises(dynsim.InputError, match="temperature"):
        full.gradient(np.zeros((11, 11)), part, None, embeddings(part)["random"], pairs, temperature=-1)


def test_correlations_of_a_foreign_map(part, data):
    emb = embeddings(part)["random"]
    Q = scattered(emb, 13)
    fp, pp = full.correlations(Q, emb.E, emb.V)
    assert fp.shape == (part.P, part.F) and pp.shape == (part.P, part.P)
    for p, f, q in ((0, 0, 1), (3, 5, 3), (14, 2, 0)):
        assert fp[p, f] == pytest.approx(emb.E[:, p] @ Q @ emb.V[:, f], rel=1e-12)
        assert pp[p, q] == pytest.approx(emb.E[:, p] @ Q @ emb.E[:, q], rel=1e-12)
    assert abs(pp[0, 1] - emb.E[:, 1] @ Q @ emb.E[:, 0]) > 1e-3  # control: query and key exchanged
    for bad, match in (
        ((Q[:, :3], emb.E, emb.V), "Q must be .d, d., got"),
        ((Q, emb.E.T, emb.V), "E must be .d, P. with d=11"),
        ((Q, emb.E, emb.V[:5]), "V must be .d, F. with d=11"),
        ((Q * np.nan, emb.E, emb.V), "Q must be finite, got 121"),
        (("Q", emb.E, emb.V), "Q must be an array of real numbers, got str"),
    ):
        with pytest.raises(dynsim.InputError, match=match):
            full.correlations(*bad)


def test_correlations_of_tensors(part):
    torch = pytest.importorskip("torch")
    emb = embeddings(part)["random"]
    Q = scattered(emb, 13)
    np.testing.assert_array_equal(full.correlations(torch.tensor(Q), emb.E, emb.V)[0], full.correlations(Q, emb.E, emb.V)[0])
    with pytest.raises(dynsim.InputError, match="detach"):
        full.correlations(torch.tensor(Q, requires_grad=True), emb.E, emb.V)
