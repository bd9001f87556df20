"""The reduced dynamics beyond the paper: any embeddings, mask tokens, held correlations, optimisers, minibatches.

Every run is held to full.descend on the same images; the kernel, the metric and torch give three more views of one velocity.
"""

import numpy as np
import pytest

import dynsim
from dynsim import full
from dynsim.model.embedding import Embedding
from dynsim.reduced import Adam, EmpiricalField, MinibatchField, Momentum, PopulationField, Sign, descend

PROBLEM = dynsim.Problem(K=3, gamma=0.6, P=16, kappa_c=0.75, kappa_s=0.4)
BOUND = 1e-11  # relative, over 200 steps; each step rounds to about 1e-15 and contracting maps do not magnify it


@pytest.fixture(scope="module")
def part():
    return dynsim.Partition.blocks(PROBLEM, seed=1)


@pytest.fixture(scope="module")
def data(part):
    return dynsim.sample(PROBLEM, part, n=24, seed=2)


def embedding(kind, part):
    rng = np.random.default_rng(3)
    correlation = np.corrcoef(rng.standard_normal((part.F, 4 * part.F)) + rng.standard_normal(4 * part.F))
    return {
        "sinusoidal": lambda: Embedding.sinusoidal_2d(part, 16),
        "sinusoidal, few dimensions": lambda: Embedding.sinusoidal_2d(part, 8),
        "random, d < P + F": lambda: Embedding.random(part, 14),
        "correlated features": lambda: Embedding.correlated(part, correlation),
        "token, value zero": lambda: Embedding.random(part, 14).with_token(0.1 * rng.standard_normal(14)),
        "token, value token": lambda: Embedding.sinusoidal_2d(part, 16).with_token(0.3 * rng.standard_normal(16), "token"),
        "own arrays": lambda: Embedding(rng.standard_normal((9, part.P)) / 3, rng.standard_normal((9, part.F)) / 3),
    }[kind]()


KINDS = [
    "sinusoidal",
    "sinusoidal, few dimensions",
    "random, d < P + F",
    "correlated features",
    "token, value zero",
    "token, value token",
    "own arrays",
]


def deviation(a, b):
    """Largest relative deviation of two trajectories, per quantity relative to its largest value."""
    worst = 0.0
    for name in ("fp", "pp", "loss", "attention"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.shape == y.shape
        scale = np.nanmax(np.abs(y))
        if scale > 1e-12:  # a held correlation is rounding in full.descend, and zero here
            worst = max(worst, np.nanmax(np.abs(x - y)) / scale)
    return worst


def both(part, data, emb, eta=0.2, steps=200, **options):
    hold = options.pop("hold", None)
    a = descend(EmpiricalField(part, data, embedding=emb, hold=hold), eta=eta, steps=steps, **options)
    return a, full.descend(part, data, eta=eta, steps=steps, embedding=emb, hold=hold, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_any_embedding_reduces_exactly(part, data, kind):
    a, b = both(part, data, embedding(kind, part))
    assert deviation(a, b) < BOUND
    assert np.ptp(a.loss) > 0.05 and np.abs(a.pp[-1]).max() > 0.1  # something was learnt


@pytest.mark.parametrize("kind", KINDS)
def test_other_vectors_are_seen(part, data, kind):
    """Controls: vectors that differ by 1e-6, another mask token, the orthonormal field, a metric with one factor missing."""
    emb = embedding(kind, part)
    right = full.descend(part, data, eta=0.2, steps=20, embedding=emb)
    field = EmpiricalField(part, data, embedding=emb)
    assert deviation(descend(field, eta=0.2, steps=20), right) < BOUND
    nudged = Embedding(emb.E, emb.V * (1 + 1e-6), emb.mu, emb.masked_value)
    assert deviation(descend(EmpiricalField(part, data, embedding=nudged), eta=0.2, steps=20), right) > 1e-7
    if emb.mu is not None:
        for wrong in (emb.with_token(emb.mu * 1.001, emb.masked_value), emb.with_token(0 * emb.mu)):
            assert deviation(descend(EmpiricalField(part, data, embedding=wrong), eta=0.2, steps=20), right) > 1e-5
    else:
        assert deviation(descend(EmpiricalField(part, data), eta=0.2, steps=20), right) > 1e-3
    G, H = field.metric._grams
    for grams in ((np.eye(len(G)), H), (G, np.eye(len(H)))):
        if max(np.abs(grams[0] - G).max(), np.abs(grams[1] - H).max()) > 1e-12:  # correlated: positions are orthonormal
            field.metric._grams = grams
            assert deviation(descend(field, eta=0.2, steps=20), right) > 1e-3


@pytest.mark.parametrize("kind", ["sinusoidal", "token, value token"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_reduces_exactly(part, data, kind, nesterov):
    emb = embedding(kind, part)
    a, b = both(part, data, emb, eta=0.1, optimiser=Momentum(0.8, nesterov=nesterov))
    assert deviation(a, b) < BOUND
    other, _ = both(part, data, emb, eta=0.1, steps=200, optimiser=Momentum(0.8, nesterov=not nesterov))
    assert deviation(other, b) > 1e-4  # control


@pytest.mark.parametrize("rule", [Adam(), Sign()], ids=["adam", "sign"])
def test_elementwise_rules_reduce_exactly_where_onehot(part, data, rule):
    onehot = Embedding.orthonormal(part)
    a, b = both(part, data, onehot, eta=0.01, optimiser=rule)
    # a rounding error of g is magnified by Adam at most by 1 / eps^(1/2), and by sign where g passes through zero
    assert deviation(a, b) < BOUND
    default = descend(EmpiricalField(part, data), eta=0.01, steps=200, optimiser=rule)
    assert deviation(default, b) < BOUND
    turned = full.descend(
        part, data, eta=0.01, steps=200, optimiser=rule, embedding=Embedding.orthonormal(part, seed=5)
    )
    assert deviation(turned, b) > 1e-2  # the reason to refuse: these rules depend on the basis
    for emb in (Embedding.orthonormal(part, seed=5), embedding("sinusoidal", part)):
        with pytest.raises(dynsim.InputError, match="one-hot"):
            descend(EmpiricalField(part, data, embedding=emb), optimiser=rule, steps=1)


@pytest.mark.parametrize("kind", [None, "sinusoidal", "random, d < P + F", "correlated features", "token, value token"])
@pytest.mark.parametrize("hold", ["fp", "pp"])
def test_held_correlation(part, data, kind, hold):
    emb = kind and embedding(kind, part)
    a, b = both(part, data, emb, steps=100, hold=hold)
    assert not getattr(a, hold).any() and np.abs(getattr(b, hold)).max() < 1e-13
    assert deviation(a, b) < BOUND
    assert a.meta["hold"] == hold
    free = descend(EmpiricalField(part, data, embedding=emb), eta=0.2, steps=100)
    assert deviation(free, b) > 0.1 and free.loss[-1] < a.loss[-1]  # control, and both correlations help
    if kind == "random, d < P + F" and hold == "pp":  # P vectors fill R^d: with every PP held nothing is left
        assert np.abs(a.fp).max() < 1e-12


def test_held_under_adam(part, data):
    for hold in ("fp", "pp"):
        a, b = both(part, data, Embedding.orthonormal(part), eta=0.01, steps=50, hold=hold, optimiser=Adam())
        assert deviation(a, b) < BOUND and not getattr(b, hold).any()


def test_a_token_of_zero_changes_nothing(part, data):
    """The general kernel and the general metric against the special ones."""
    special = descend(EmpiricalField(part, data), eta=1.0, steps=200)
    emb = Embedding.orthonormal(part, d=part.P + part.F + 1, seed=4)
    assert not EmpiricalField(part, data, embedding=emb).metric._grams  # orthonormal: no metric, the special kernel
    zero = EmpiricalField(part, data, embedding=emb.with_token(np.zeros(emb.d)))
    assert zero._batch.kernel is not EmpiricalField(part, data)._batch.kernel
    general = descend(zero, eta=1.0, steps=200)
    assert not general.fp[..., -1].any()
    for name, x in (("fp", general.fp[..., :-1]), ("pp", general.pp), ("loss", general.loss), ("attention", general.attention)):
        y = getattr(special, name)
        assert np.nanmax(np.abs(x - y)) <= 1e-13 * np.nanmax(np.abs(y))
    nudged = descend(EmpiricalField(part, data, embedding=emb.with_token(np.full(emb.d, 1e-6))), eta=1.0, steps=200)
    assert np.abs(nudged.pp - special.pp).max() > 1e-10  # control


def loop_velocity(y, part, data, emb):
    """Loss and -dL/dS from the softmax, one query and one key at a time (no metric)."""
    token = emb.mu is not None
    C = part.F + token
    W, tau = emb.content.T @ emb.content, emb.masked_value == "token"
    dy, loss = np.zeros_like(y), 0.0
    for i in range(data.n):
        k, hidden = data.cluster[i], data.masked[i]
        size = [1.0 if hidden[q] else data.z[i, part.labels[k, q]] for q in range(part.P)]
        row = [(part.F if token else None) if hidden[q] else part.own[k, q] for q in range(part.P)]
        value = np.zeros((part.P, C))  # of every key, in coefficients of features and token
        for q in range(part.P):
            if not hidden[q]:
                value[q, row[q]] = size[q]
            elif token:
                value[q, part.F] = tau
        for p in np.flatnonzero(hidden):
            score = np.array([y[C + q, p] + (0 if row[q] is None else size[q] * y[row[q], p]) for q in range(part.P)])
            attn = np.exp(score) / np.exp(score).sum()
            miss = attn @ value
            miss[part.own[k, p]] -= data.z[i, part.labels[k, p]]
            loss += data.weight[i] * 0.5 * miss @ W @ miss
            along = value @ W @ miss
            descent = -data.weight[i] * attn * (along - attn @ along)
            for q in range(part.P):
                dy[C + q, p] += descent[q]
                if row[q] is not None:
                    dy[row[q], p] += size[q] * descent[q]
    return loss / data.masked_mean, dy


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["random, d < P + F", "token, value zero", "token, value token"])
def test_general_kernel_is_its_formula(part, data, kind):
    emb = embedding(kind, part)
    few = dynsim.Dataset(data.cluster[:5], data.z[:5], data.masked[:5], np.arange(1.0, 6) / 15)
    field = EmpiricalField(part, few, embedding=emb)
    y = np.random.default_rng(6).standard_normal(field.start().shape)
    loss, expected = loop_velocity(y, part, few, emb)
    G, H = emb.gram, emb.queries.T @ emb.queries
    got_loss, got = field.velocity(y)
    assert got_loss == pytest.approx(loss, rel=1e-13)
    assert np.abs(got - G @ expected @ H).max() < 1e-13 * np.abs(got).max()
    assert np.abs(got - expected).max() > 0.1 * np.abs(got).max()  # control


def torch_loss(torch, Q, part, data, emb):
    """L of the model itself, differentiable in Q."""
    mu = torch.tensor(np.zeros(emb.d) if emb.mu is None else emb.mu.copy())
    E, V, hidden = torch.tensor(emb.E.T.copy()), torch.tensor(emb.V.T.copy()), torch.tensor(data.masked.copy())[..., None]
    z = torch.tensor(np.take_along_axis(data.z, part.labels[data.cluster], axis=1))
    X = z[..., None] * V[torch.tensor(part.own[data.cluster])]
    attn = torch.softmax((E + mu) @ Q @ (E + torch.where(hidden, mu, X)).transpose(1, 2), dim=-1)
    miss = attn @ torch.where(hidden, mu * (emb.masked_value == "token"), X) - X
    return 0.5 * (hidden * miss**2).sum() / data.n


@pytest.mark.parametrize("kind", KINDS)
def test_velocity_is_torch_autograd(part, data, kind):
    """dL/dQ by autograd, carried to the correlations by the definition S = B^T Q^T E'."""
    torch = pytest.importorskip("torch")
    emb = embedding(kind, part)
    Q = torch.tensor(np.random.default_rng(7).standard_normal((emb.d, emb.d)), requires_grad=True)
    expected = torch_loss(torch, Q, part, data, emb)
    expected.backward()
    loss, dy = EmpiricalField(part, data, embedding=emb).velocity((emb.queries.T @ Q.detach().numpy() @ emb.keys).T.copy())
    direct = -(emb.queries.T @ Q.grad.numpy() @ emb.keys).T
    assert loss == pytest.approx(expected.item() / data.masked_mean, rel=1e-12)
    assert np.abs(dy - direct).max() < 1e-12 * np.abs(direct).max()


RUNS = [("token, value zero", Momentum(0.8, True)), ("sinusoidal", Momentum(0.8)), (None, Adam())]


@pytest.mark.parametrize("kind, rule", RUNS)
def test_run_is_torch_optim(part, data, kind, rule):
    torch = pytest.importorskip("torch")
    emb = embedding(kind, part) if kind else Embedding.orthonormal(part)
    Q = torch.zeros((emb.d, emb.d), dtype=torch.float64, requires_grad=True)
    if kind:
        stepper = torch.optim.SGD([Q], lr=0.05, momentum=rule.beta, nesterov=rule.nesterov)
    else:
        stepper = torch.optim.Adam([Q], lr=0.05)
    for _ in range(30):
        stepper.zero_grad()
        torch_loss(torch, Q, part, data, emb).backward()
        stepper.step()
    pp = emb.queries.T @ Q.detach().numpy() @ emb.E
    traj = descend(EmpiricalField(part, data, embedding=emb), eta=0.05, steps=30, keep=1, optimiser=rule)
    assert np.abs(traj.pp[-1] - pp).max() < BOUND * np.abs(pp).max()
    assert np.abs(traj.pp[-2] - pp).max() > 1e-3 * np.abs(pp).max()  # control: one step less is seen


def test_minibatches_reduce_exactly(part, data):
    emb = embedding("sinusoidal", part)
    for field in (
        MinibatchField.fresh(PROBLEM, part, n=8, seed=1, embedding=emb),
        MinibatchField.of(part, data, n=8, seed=1, embedding=emb),
    ):
        a = descend(field, eta=0.2, steps=60, optimiser=Momentum(0.5))
        b = full.descend(part, field.draw, eta=0.2, steps=60, embedding=emb, optimiser=Momentum(0.5))
        assert deviation(a, b) < BOUND
        again = descend(field, eta=0.2, steps=60, optimiser=Momentum(0.5))
        np.testing.assert_array_equal(a.fp, again.fp)
        assert deviation(descend(field, eta=0.2, steps=60), b) > 1e-3  # control
        assert not field.deterministic and a.meta["method"] == "minibatch"


def test_a_minibatch_tells_what_its_images_tell(part, data):
    field = MinibatchField.of(part, data, n=8)
    y = np.random.default_rng(8).standard_normal(field.start().shape)
    field.velocity(y, 3)
    images, others = (EmpiricalField(part, field.draw(step)) for step in (3, 4))
    assert field.crossings(y) == images.crossings(y) != others.crossings(y)
    assert field.floor == images.floor


def test_minibatch_mean_is_the_whole(part, data):
    """The mean over 400 steps is the velocity of the whole set, to 5 standard errors; other weights are not."""
    weight = np.arange(1.0, data.n + 1)
    weighted = dynsim.Dataset(data.cluster, data.z, data.masked, weight / weight.sum())
    y = np.random.default_rng(8).standard_normal(EmpiricalField(part, data).start().shape)
    field = MinibatchField.of(part, weighted, n=8)
    draws = np.array([field.velocity(y, step)[1] for step in range(400)])
    error = draws.std(axis=0) / 20 + 1e-12
    assert (np.abs(draws.mean(axis=0) - EmpiricalField(part, weighted).velocity(y)[1]) < 5 * error).all()
    assert (np.abs(draws.mean(axis=0) - EmpiricalField(part, data).velocity(y)[1]) > 5 * error).any()


def test_bad_input_is_named(part, data):
    wide = Embedding.random(part, 8)
    for make, match in (
        (lambda: EmpiricalField(part, data, hold="both"), "hold must be None, 'fp' or 'pp', got 'both'"),
        (lambda: EmpiricalField(part, data, embedding=Embedding(wide.E[:, 1:], wide.V)), "one column per position"),
        (lambda: EmpiricalField(part, data, embedding=Embedding(wide.E, wide.V[:, 1:])), "one column per feature"),
        (lambda: MinibatchField.of(part, data, n=0), "at least 1 image, got n=0"),
        (lambda: MinibatchField.fresh(PROBLEM, part, n=0), "at least 1 image, got n=0"),
    ):
        with pytest.raises(dynsim.InputError, match=match):
            make()


def test_threads_do_not_change_the_bits():
    problem = dynsim.Problem(K=2, gamma=0.7, P=64, kappa_c=0.8, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, n=80)
    emb = Embedding.random(part, 40).with_token(np.full(40, 0.05), "token")
    y = np.random.default_rng(9).standard_normal((part.F + 1 + part.P, part.P))
    one, two = (EmpiricalField(part, data, threads=threads, embedding=emb) for threads in (1, 2))
    assert one._pool.threads < two._pool.threads
    (loss_one, dy_one), (loss_two, dy_two) = one.velocity(y), two.velocity(y)
    assert loss_one == loss_two
    np.testing.assert_array_equal(dy_one, dy_two)


def test_population_field_takes_the_metric(part):
    """The expected velocity under an embedding is the plain one between the Gram matrices of keys and queries (eq. B10)."""
    rng = np.random.default_rng(5)
    emb = Embedding.sinusoidal_2d(part, 32)  # wide enough that the features are orthonormal
    plain, turned = PopulationField(PROBLEM, part), PopulationField(PROBLEM, part, embedding=emb)
    y = 0.2 * rng.standard_normal(plain.start().shape)
    v, w = plain.velocity(y)[1], turned.velocity(y)[1]
    keys = np.hstack([emb.V, emb.E])
    expected = (keys.T @ keys) @ v @ (emb.E.T @ emb.E)
    np.testing.assert_allclose(w, expected, atol=1e-13 * np.abs(expected).max())
    assert np.abs(w - v).max() > 0.1 * np.abs(expected).max()  # negative control: the metric matters
    held = PopulationField(PROBLEM, part, embedding=emb, hold="fp").velocity(y)[1]
    assert np.abs(held[: part.F]).max() == 0.0 < np.abs(held[part.F :]).max()


def test_population_closure_refuses_what_it_cannot_do(part):
    for kind in ("correlated features", "token, value zero"):
        emb = embedding(kind, part)
        with pytest.raises(dynsim.InputError, match="monte-carlo"):
            PopulationField(PROBLEM, part, embedding=emb)
        loss, v = PopulationField(PROBLEM, part, masks="monte-carlo", n=64, embedding=emb).velocity(
            np.zeros((part.F + part.P + (emb.mu is not None), part.P))
        )
        assert np.isfinite(loss) and np.isfinite(v).all()
