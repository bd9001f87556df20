"""The bound of the curvature, the step size that is safe by it, and runs that end by their loss."""

import numpy as np
import pytest

import dynsim
from dynsim import Embedding, reduced, runs
from dynsim.reduced import ContrastiveField, EmpiricalField, MinibatchField, Momentum, PopulationField, SumField, descend
from dynsim.reduced.field import MOST_STEPS
from dynsim.reduced.recording import State

STEP = 1e-4  # of central differences: errors of 1e-8 of the curvature


def most_curved(field, seed=0, trials=300):
    """The largest curvature along a gradient direction or a random one that is found at random states."""
    rng, largest = np.random.default_rng(seed), 0.0
    for trial in range(trials):
        y = rng.normal(size=field.start().shape) * rng.choice([0.3, 1.0, 3.0])
        direction = rng.normal(size=y.shape) if trial % 2 else field.velocity(y)[1]
        if trial % 3 == 0:  # one query, one feature or key against another
            direction = np.zeros_like(y)
            query, (first, second) = rng.integers(y.shape[1]), rng.choice(len(y), 2, replace=False)
            direction[first, query], direction[second, query] = 1.0, -1.0
        moved = np.zeros_like(y) if not direction.any() else field.velocity(y + STEP * direction)[1]
        moved = moved - field.velocity(y - STEP * direction)[1]
        size = np.vdot(direction, direction)  # orthonormal vectors: the norm in Q is that of the state
        largest = max(largest, -np.vdot(direction, moved) / (2 * STEP * size) if size else 0.0)
    return largest


@pytest.fixture
def two_pairs():
    """Two clusters in which one query has another own patch: with FP held, PP can please only one of them."""
    part = dynsim.Partition([[0, 0, 1], [0, 1, 0]])
    return part, dynsim.Dataset([0, 1], np.ones((2, 2)), np.array([[True, False, False]] * 2), [0.6, 0.4])


@pytest.mark.parametrize("hold", [None, "fp", "pp"])
def test_no_curvature_is_above_the_bound(problem, part, data, two_pairs, hold):
    for field in (
        EmpiricalField(part, data, hold=hold),
        EmpiricalField(*two_pairs, hold=hold),
        PopulationField(problem, part, hold=hold),
    ):
        assert 0 < most_curved(field) <= field.curvature()


def test_the_bound_is_of_the_right_size(two_pairs):
    """It is above what occurs by less than four (control: a quarter of it would be no bound)."""
    field = EmpiricalField(*two_pairs, hold="fp")
    assert field.curvature() == pytest.approx(0.5)
    assert most_curved(field, trials=900) > field.curvature() / 4


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_contrastive_and_sums(problem, part, data, stop_gradient):
    pairs = dynsim.sample_pairs(problem, part, 12, seed=0)
    field = ContrastiveField(part, pairs, temperature=0.2, stop_gradient=stop_gradient, one_row=False)
    assert 0 < most_curved(field, trials=100) <= field.curvature()
    both = SumField([(1.0, EmpiricalField(part, data)), (3.0, field)])
    assert both.curvature() == pytest.approx(both.fields[0].curvature() + 3 * field.curvature())


def test_vectors_enlarge_it(part, data):
    """In Q: with positions and features t times as long, curvature grows at most by t^6 (queries, keys and values)."""
    plain = EmpiricalField(part, data)
    vectors = Embedding.orthonormal(part, part.P + part.F)
    longer = EmpiricalField(part, data, embedding=Embedding(2 * vectors.E, 2 * vectors.V))
    assert longer.curvature() == pytest.approx(2**6 * plain.curvature())
    token = EmpiricalField(part, data, embedding=Embedding.random(part, 30).with_token(np.full(30, 0.2)))
    assert token.curvature() > plain.curvature()
    for field in (longer, token):  # far too small a step: theirs is the plain one
        assert field.run_options(None) == {"eta": 1.0, "steps": 500}


def rises(field, eta, steps=300):
    y, losses = field.start(), []
    for _ in range(steps):
        loss, velocity = field.velocity(y)
        losses.append(loss)
        y = y + eta * velocity
    return int((np.diff(losses) > 1e-13).sum())


def test_a_safe_step_never_raises_the_loss_and_a_few_times_more_can(problem, part, data, two_pairs):
    for field in (EmpiricalField(part, data), PopulationField(problem, part), EmpiricalField(*two_pairs, hold="fp")):
        chosen = field.run_options(problem)["eta"]
        assert 0.98 < chosen * field.curvature() <= 1
        assert rises(field, chosen) == 0 and rises(field, 1.99 / field.curvature()) == 0
    assert rises(EmpiricalField(*two_pairs, hold="fp"), 5 * chosen) > 100


@pytest.mark.parametrize("kind", ["samples", "population", "minibatch"])
def test_runs_end_where_one_percent_is_left(problem, part, data, kind):
    field = {
        "samples": lambda: EmpiricalField(part, data),
        "population": lambda: PopulationField(problem, part),
        "minibatch": lambda: MinibatchField.fresh(problem, part, n=50),
    }[kind]()
    options = field.run_options(problem)
    assert options["until"] == "excess" and options["steps"] == MOST_STEPS
    run = descend(field, **options)
    last = int(run.step[-1])
    assert run.meta["status"] == f"ended by excess at step={last}" and 50 < last < MOST_STEPS
    whole = descend(field, options["eta"], last, keep=1)
    floors = []
    for step in range(last + 1):  # those of the batch
        field.velocity(field.start(), step)
        floors.append(field.floor)
    left = (whole.loss - floors) / (whole.loss[0] - floors[0])
    assert left[-1] <= 0.01 and (left[:-1] > 0.01).all()
    np.testing.assert_array_equal(run.fp[-1], whole.fp[-1])


def test_half_way_and_a_bound(part, data):
    field = EmpiricalField(part, data)
    half = descend(field, until="half")
    assert 0.4 < (half.loss[-1] - field.floor) / (half.loss[0] - field.floor) <= 0.5
    short = descend(field, steps=3, until="half")
    assert short.meta["status"] == "reached steps=3" and short.step[-1] == 3
    started = []
    descend(field, steps=400, until="half", checkpoint=lambda state, record: started.append(State(state.step, state.y.copy())))
    again = descend(field, steps=400, until="half", start=started[7])
    np.testing.assert_array_equal(again.fp[-1], half.fp[-1])


def test_what_cannot_end_a_run(part, data):
    with pytest.raises(dynsim.InputError, match="until must be half or excess for a descent, got 'escape': leave it out"):
        descend(EmpiricalField(part, data), until="escape")
    field = EmpiricalField(part, data, embedding=Embedding.random(part, 30))
    with pytest.raises(dynsim.InputError, match="needs the floor of the loss, which samples does not know: leave it out"):
        descend(field, until="excess")


def test_files_of_such_runs(tmp_path, part, data):
    """They run again to the same bits, go on where they were stopped, and beyond their end when asked."""
    field, path = EmpiricalField(part, data), tmp_path / "run.npz"
    options = {"eta": 1.0, "steps": 500, "until": "half", "optimiser": Momentum(0.5)}
    whole = runs.run(path, field, **options)
    last = int(whole.step[-1])
    assert runs.rerun(path).same and runs.load(path).meta["until"] == "half"
    assert (runs.resume(path).fp == whole.fp).all()

    def stop(done, total):
        if done == last // 2:
            raise KeyboardInterrupt

    with pytest.raises(dynsim.errors.Interrupted):
        runs.run(tmp_path / "two.npz", field, progress=stop, **options)
    assert (runs.resume(tmp_path / "two.npz").fp == whole.fp).all()
    further = runs.resume(path, more=5)
    assert further.step[-1] == last + 5 and further.meta["until"] is None
    assert (further.fp[-1] == descend(field, 1.0, last + 5, optimiser=Momentum(0.5)).fp[-1]).all()


def test_fields_choose_by_what_they_know(problem):
    plain = {"eta": 1.0, "steps": 500}
    assert reduced.Field.plain_options(problem) == plain and reduced.Field().run_options(problem) == plain
    mixed = reduced.MixedField.from_options(problem, n=16, weight=2.0)
    options = mixed.run_options(problem)
    assert options["eta"] * mixed.curvature() <= 1 and options["steps"] > 500 and "until" not in options
