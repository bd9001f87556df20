"""Gradient descent as an integrator: its recursion, what it keeps, restart, divergence, interruption."""

import json

import numpy as np
import pytest

import dynsim
from dynsim.reduced import Adam, EmpiricalField, MinibatchField, Momentum, descend
from dynsim.reduced.field import Field
from dynsim.reduced.recording import State

NAMES = ("t", "step", "loss", "fp", "pp", "attention")


@pytest.fixture(scope="module")
def field(part, data):
    return EmpiricalField(part, data)


def same(a, b, at=slice(None)):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name)[at])


def test_is_the_recursion(field):
    """y <- y + eta velocity(y), written out."""
    traj, y = descend(field, eta=0.7, steps=5, keep=1), field.start()
    for step in range(6):
        loss, dy = field.velocity(y)
        fp, pp = field.correlations(y)
        assert traj.loss[step] == loss and traj.t[step] == 0.7 * step and traj.step[step] == step
        np.testing.assert_array_equal(traj.fp[step], fp)
        np.testing.assert_array_equal(traj.pp[step], pp)
        np.testing.assert_array_equal(traj.attention[step], field.attention(y))
        y = y + 0.7 * dy
    assert traj.step.dtype == np.int64 and not traj.fp[0].any()


def test_loss_falls(field):
    traj = descend(field, eta=1.0, steps=300, keep=1)
    assert (np.diff(traj.loss) < 0).all() and traj.loss[-1] > field.floor


@pytest.mark.parametrize("keep", [None, 1, 7, [0, 3, 3, 10], []])
def test_kept_steps_change_nothing(field, keep):
    whole, some = descend(field, steps=12, keep=1), descend(field, steps=12, keep=keep)
    same(some, whole, at=some.step)
    assert some.step[0] == 0 and some.step[-1] == 12


def test_zero_steps(field):
    traj = descend(field, steps=0)
    assert len(traj) == 1 and traj.loss[0] == field.velocity(field.start())[0]


@pytest.mark.parametrize("optimiser", [None, Momentum(0.8), Adam()], ids=str)
@pytest.mark.parametrize("kind", ["samples", "minibatch"])
def test_restart_is_one_run(kind, optimiser, field, problem, part):
    if kind == "minibatch":
        field = MinibatchField.fresh(problem, part, n=5)
    states = []
    options = {"eta": 0.5, "optimiser": optimiser, "keep": 5}
    whole = descend(field, steps=20, checkpoint=lambda state, traj: states.append(copied(state)), **options)
    assert [state.step for state in states] == list(range(21))
    for state in states:
        same(descend(field, steps=20, start=state, **options), whole, at=slice(-(-state.step // 5), None))
    if optimiser is not None:  # control: without its memory the rule goes another way
        forgetful = descend(field, steps=20, start=State(10, states[10].y), **options)
        assert (forgetful.fp[-1] != whole.fp[-1]).any()


def copied(state):
    return State(state.step, state.y.copy(), tuple(m.copy() for m in state.memory))


def test_start_is_not_changed(field):
    states = []
    descend(field, steps=4, keep=2, checkpoint=lambda state, traj: states.append(copied(state)))
    y = states[1].y.copy()
    descend(field, steps=9, start=states[1])
    np.testing.assert_array_equal(states[1].y, y)


def test_a_state_of_another_run_is_refused(field):
    for bad in (State(6, field.start()), State(0, field.start()[:-1])):
        with pytest.raises(dynsim.InputError, match="before steps=5, got step .: give more steps"):
            descend(field, steps=5, start=bad)


def test_order_of_convergence_is_one(field):
    """Descent is Euler's method: halving eta halves the distance to the limit. With y(eta) = y + c eta + d eta^2, the ratio
    of neighbouring differences is 2 + O(eta)."""
    runs = [descend(field, eta=eta, steps=round(8 / eta)).fp[-1] for eta in (0.04, 0.02, 0.01, 0.005)]
    differences = [np.linalg.norm(a - b) for a, b in zip(runs, runs[1:], strict=False)]
    orders = np.log2(np.divide(differences[:-1], differences[1:]))
    assert abs(orders[1] - 1) < 0.01 and abs(orders[1] - 1) < abs(orders[0] - 1) + 1e-3


@pytest.mark.parametrize(
    "K, P, gamma, amplitude, eta",
    [
        (3, 18, 0.6, dynsim.Uniform(0.8, 1.2), 1e4),
        (1, 16, 0.5, dynsim.Fixed(3.0), 1e3),
        (4, 64, 0.8, dynsim.Uniform(0.8, 1.2), 1e6),
    ],
)
def test_divergence_is_named_and_its_remedy_works(K, P, gamma, amplitude, eta):
    problem = dynsim.Problem(K=K, P=P, gamma=gamma, kappa_c=0.7, kappa_s=0.4, amplitude=amplitude)
    part = dynsim.Partition.random(problem)
    field = EmpiricalField(part, dynsim.sample(problem, part, 30))
    message = r"^diverged at step \d+: (the loss is|a correlation left) .*: try eta=\S+$"
    with pytest.raises(dynsim.Diverged, match=message) as caught:
        descend(field, eta=eta, steps=200, keep=1)
    text, kept = str(caught.value), caught.value.trajectory
    step = int(text.split("step ")[1].split(":")[0])
    np.testing.assert_array_equal(kept.step, np.arange(step))
    assert all(np.isfinite(getattr(kept, name)).all() for name in ("loss", "fp", "pp")) and f"eta={eta:.4g}" in text
    smaller = float(text.split("try eta=")[1])
    assert smaller < eta and descend(field, eta=smaller, steps=200).loss[-1] < kept.loss[0]


def test_divergence_names_the_correlation(part, data):
    """Adam moves every correlation by about eta a step: after three of 100 the softmax's range, 300 / max z, is left."""
    with pytest.raises(dynsim.Diverged, match=r"step [34]: a correlation left \+-25\d.\d .*eta=100 .* try eta=10$"):
        descend(EmpiricalField(part, data), eta=100.0, steps=50, optimiser=Adam())


def test_nan_does_not_go_on(part, data):
    class Broken(EmpiricalField):
        observe = Field.observe

        def velocity(self, y, step=0, out=None):
            loss, dy = super().velocity(y, step, out)
            return loss, dy * (np.nan if step == 3 else 1.0)

    with pytest.raises(dynsim.Diverged, match="diverged at step 4: a correlation left .*nan") as caught:
        descend(Broken(part, data), steps=9, keep=1)
    assert list(caught.value.trajectory.step) == [0, 1, 2, 3]


@pytest.mark.parametrize("at", [1, 5])
def test_interrupt_keeps_what_was(field, at):
    def stop(done, total):
        assert total == 20
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(dynsim.Interrupted, match=f"stopped at step {at} of 20") as caught:
        descend(field, steps=20, keep=1, progress=stop)
    same(caught.value.trajectory, descend(field, steps=20, keep=1), at=slice(0, at))


def test_progress_counts_every_step(field):
    seen = []
    descend(field, steps=4, progress=lambda *args: seen.append(args))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_meta_says_what_was_run(field):
    meta = descend(field, eta=0.5, steps=3, optimiser=Momentum(0.5)).meta
    assert json.loads(json.dumps(meta)) == meta
    assert meta["integrator"] == "descend" and meta["eta"] == 0.5 and meta["steps"] == 3 and meta["method"] == "samples"
    assert meta["optimiser"] == {"name": "momentum", "beta": 0.5, "nesterov": False}


@pytest.mark.parametrize("bad", [0, -1.0, np.nan, np.inf, "1", None, 1j, [1.0]], ids=str)
def test_bad_eta_is_named(field, bad):
    with pytest.raises(dynsim.InputError, match=r"eta, the step size, must be positive and finite, got .*: take e.g. eta=1"):
        descend(field, eta=bad)


BAD = [{"steps": -1}, {"steps": 1.5}, {"keep": 0}, {"steps": 3, "keep": [4]}, {"optimiser": "adam"}]


@pytest.mark.parametrize("options", BAD, ids=str)
def test_bad_options_are_named(field, options):
    with pytest.raises(dynsim.InputError, match="must be .*got .*: "):
        descend(field, **options)


@pytest.mark.parametrize("conservative", [True, False])
def test_a_rise_is_a_divergence_where_a_gradient_is_followed(part, data, conservative):
    """With a stopped gradient, say, what is followed is none, and the loss may rise."""

    class Rising(EmpiricalField):
        observe = Field.observe

        def velocity(self, y, step=0, out=None):
            loss, dy = super().velocity(y, step, out)
            dy *= -1
            return loss, dy

    field = Rising(part, data)
    field.conservative = conservative
    if conservative:
        with pytest.raises(dynsim.Diverged, match="above .* at the start"):
            descend(field, eta=0.1, steps=5)
    else:
        run = descend(field, eta=0.1, steps=5)
        assert run.loss[-1] > run.loss[0]
