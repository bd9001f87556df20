"""The update rules against their formulas, one entry at a time, and against torch.optim."""

import numpy as np
import pytest

import dynsim
from dynsim.model.embedding import Embedding
from dynsim.reduced.optimisers import Adam, Descent, Momentum, Sign, check

RULES = [Descent(), Momentum(0.8), Momentum(0.8, nesterov=True), Adam(0.7, 0.9, 1e-3), Sign()]


def quadratic(y, eta, steps, rule):
    """Run a rule down L = sum of c y^2 / 2 from y; returns every state."""
    c = np.linspace(0.2, 1, y.size).reshape(y.shape)
    y, path = y.copy(), []
    state = rule.start(y)
    for step in range(steps):
        rule.update(y, -c * y, eta, state, step)
        path.append(y.copy())
    return np.array(path)


def by_hand(y, eta, steps, rule):
    """The same for one number at a time, from the formulas."""
    out = np.empty((steps, *y.shape))
    c = np.linspace(0.2, 1, y.size).reshape(y.shape)
    for at in np.ndindex(y.shape):
        x, m, v = y[at], 0.0, 0.0
        for t in range(1, steps + 1):
            g = c[at] * x
            if isinstance(rule, Momentum):
                m = rule.beta * m + g
                x -= eta * (g + rule.beta * m if rule.nesterov else m)
            elif isinstance(rule, Adam):
                m = rule.beta1 * m + (1 - rule.beta1) * g
                v = rule.beta2 * v + (1 - rule.beta2) * g**2
                x -= eta * (m / (1 - rule.beta1**t)) / ((v / (1 - rule.beta2**t)) ** 0.5 + rule.eps)
            else:
                x -= eta * (np.sign(g) if isinstance(rule, Sign) else g)
            out[(t - 1, *at)] = x
    return out


START = np.random.default_rng(0).standard_normal((2, 3))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule_is_its_formula(rule):
    path = quadratic(START, 0.1, 30, rule)
    # 30 steps of a contracting map, a few roundings each
    np.testing.assert_allclose(path, by_hand(START, 0.1, 30, rule), rtol=0, atol=1e-14)
    for other in RULES:
        if other != rule:
            assert np.abs(path - by_hand(START, 0.1, 30, other)).max() > 1e-3  # control: the rules differ


@pytest.mark.parametrize("rule", RULES[:4], ids=str)
def test_rule_is_torch_optim(rule):
    torch = pytest.importorskip("torch")
    y = torch.tensor(START.copy(), requires_grad=True)
    make = {
        "descent": lambda: torch.optim.SGD([y], lr=0.1),
        "momentum": lambda: torch.optim.SGD([y], lr=0.1, momentum=rule.beta, nesterov=rule.nesterov),
        "adam": lambda: torch.optim.Adam([y], lr=0.1, betas=(rule.beta1, rule.beta2), eps=rule.eps),
    }[rule.name]()
    c = torch.linspace(0.2, 1, 6, dtype=torch.float64).reshape(2, 3)
    for path in quadratic(START, 0.1, 30, rule):
        make.zero_grad()
        (0.5 * c * y**2).sum().backward()
        make.step()
        np.testing.assert_allclose(y.detach().numpy(), path, rtol=0, atol=1e-14)


def test_rules_work_in_place():
    for rule in RULES:
        y, velocity = START.copy(), np.ones_like(START)
        state = rule.start(y)
        held = [m.copy() for m in state]
        rule.update(y, velocity, 0.1, state, 0)
        assert (y != START).all() and (velocity == 1).all()
        assert all((a != b).all() for a, b in zip(state, held, strict=True))


def test_describe_is_plain():
    assert Momentum(0.5, True).describe() == {"name": "momentum", "beta": 0.5, "nesterov": True}
    assert [rule.elementwise for rule in RULES] == [False, False, False, True, True]


def test_elementwise_rules_want_onehot_vectors():
    part = dynsim.Partition.blocks(dynsim.Problem(K=2, gamma=0.5, P=12, kappa_c=0.7, kappa_s=0.4))
    onehot, turned = Embedding.orthonormal(part), Embedding.orthonormal(part, seed=1)
    for rule in RULES:
        assert check(rule) is rule and check(rule, onehot) is rule
        if not rule.elementwise:
            assert check(rule, turned) is rule
            continue
        for bad in (turned, Embedding.sinusoidal_2d(part, 32), onehot.with_token(np.zeros(onehot.d))):
            with pytest.raises(dynsim.InputError, match="one-hot, got .* vectors: take Embedding.orthonormal"):
                check(rule, bad)
    assert check(None) == Descent()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Momentum(1.0),
        lambda: Momentum(-0.1),
        lambda: Momentum("0.9"),
        lambda: Adam(beta1=1),
        lambda: Adam(beta2=np.nan),
        lambda: Adam(eps=0),
        lambda: check("adam"),
        lambda: check(Adam),
    ],
)
def test_bad_input_is_named(make):
    with pytest.raises(dynsim.InputError, match=r"(must be|is a decay rate).*got .*: (take|see)"):
        make()
