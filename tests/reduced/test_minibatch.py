"""Draws of minibatches: which images a step sees, in which order, under which masks; and the field on them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dynsim
from dynsim import full
from dynsim.reduced import EmpiricalField, MinibatchField, descend, draws

NAMES = ("loss", "fp", "pp", "attention")
COLUMNS = ("cluster", "z", "masked", "weight")


@pytest.fixture(scope="module")
def images(problem, part):
    return dynsim.sample(problem, part, n=20, seed=3)


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in COLUMNS)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_fresh_images_are_those_of_sample(problem, part, n):
    """The bits stay those of the seed, whichever way masks are drawn."""
    draw = draws.Fresh(problem, part, n, 5)
    for step in (0, 3):
        assert same(draw(step), dynsim.sample(problem, part, n, seed=[5, step]))
    assert not same(draw(0), dynsim.sample(problem, part, n, seed=[5, 1]))  # control


def test_chosen_rows_are_those_of_choice(part, images):
    weight = np.random.default_rng(0).random(20)
    data = dynsim.Dataset(images.cluster, images.z, images.masked, weight / weight.sum())
    draw = draws.Chosen(part, data, 64, 5)
    for step in (0, 3):
        rows = np.random.default_rng([5, step]).choice(20, 64, p=data.weight)
        np.testing.assert_array_equal(draw(step).image, rows)
        assert same(draw(step), dynsim.Dataset(data.cluster[rows], data.z[rows], data.masked[rows]))


@pytest.mark.parametrize("drop_last, sizes", [(False, [6, 6, 6, 2]), (True, [6, 6, 6])])
def test_every_image_once_an_epoch(part, images, drop_last, sizes):
    draw = draws.Resampled(part, images, 6, 1, masks="fixed", drop_last=drop_last)
    assert draw.steps_per_epoch == len(sizes)
    orders = []
    for epoch in range(3):
        batches = [draw(epoch * len(sizes) + at) for at in range(len(sizes))]
        assert [batch.n for batch in batches] == sizes
        order = np.concatenate([batch.image for batch in batches])
        assert len(set(order)) == len(order) == sum(sizes)
        orders.append(order.tolist())
        for batch in batches:
            np.testing.assert_array_equal(batch.masked, images.masked[batch.image])
            np.testing.assert_array_equal(batch.weight, np.full(batch.n, 1 / batch.n))
    assert orders[0] != orders[1] != orders[2]
    straight = draws.Resampled(part, images, 6, 1, masks="fixed", shuffle=False)
    for step in range(8):
        np.testing.assert_array_equal(straight(step).image, np.arange(20)[step % 4 * 6 :][:6])


def test_order_is_that_of_a_data_loader(part, images):
    """Batch sizes of PyTorch's loader with the same options; where it is installed."""
    torch = pytest.importorskip("torch")
    for n in (1, 6, 20):
        for drop_last in (False, True):
            loader = torch.utils.data.DataLoader(list(range(20)), batch_size=n, shuffle=True, drop_last=drop_last)
            draw = draws.Resampled(part, images, n, 0, drop_last=drop_last)
            assert draw.steps_per_epoch == len(loader)
            assert [draw(step).n for step in range(len(loader))] == [len(batch) for batch in loader]


def test_masks_are_fresh_when_they_are_said_to_be(part, images):
    """One image in a batch: image 4 under the masks that it has along five epochs."""

    def seen(masks):
        draw = draws.Resampled(part, images, 1, 1, masks=masks, shuffle=False)
        return [draw(20 * epoch + 4).masked[0].tolist() for epoch in range(5)]

    for masks in ("step", "epoch"):
        assert len({tuple(mask) for mask in seen(masks)}) == 5
        assert all(sum(mask) == images.masked[4].sum() for mask in seen(masks))
    assert seen("fixed") == [images.masked[4].tolist()] * 5
    epoch = draws.Resampled(part, images, 20, 1, masks="epoch", replacement=True)
    step = draws.Resampled(part, images, 20, 1, masks="step", replacement=True)

    def masks_of_one_image(draw):
        batch = draw(0)
        return {tuple(mask) for mask in batch.masked[batch.image == np.bincount(batch.image).argmax()].tolist()}

    assert len(masks_of_one_image(epoch)) == 1 < len(masks_of_one_image(step))


def test_as_many_patches_are_masked_as_the_image_has(part):
    rng = np.random.default_rng(2)
    masked = rng.random((12, part.P)) < np.linspace(0.2, 0.9, 12)[:, None]
    masked[:, 0], masked[:, 1] = True, False
    data = dynsim.Dataset(np.zeros(12, dtype=int), np.ones((12, part.N.max())), masked)
    for step in range(3):
        batch = draws.Resampled(part, data, 12, 0)(step)
        np.testing.assert_array_equal(batch.masked.sum(axis=1), masked[batch.image].sum(axis=1))
        assert (batch.masked != masked[batch.image]).any()


def test_an_image_in_several_rows_is_one_image(problem, part):
    data = dynsim.sample(problem, part, n=6, masks=4)
    again = dynsim.Dataset(**data.recipe())
    np.testing.assert_array_equal(again.image, data.image)
    fresh, fixed = (draws.Resampled(part, data, 5, 0, masks=masks) for masks in ("step", "fixed"))
    assert (fresh.steps_per_epoch, fixed.steps_per_epoch) == (2, 5)  # 6 images, 24 rows
    assert sorted(np.concatenate([fresh(0).image, fresh(1).image])) == list(range(6))


@pytest.mark.parametrize("replacement", [False, True])
def test_mean_velocity_is_that_of_the_set(part, images, replacement):
    """Epochs of equal batches: exactly the set's velocity, mean over an epoch. By weights: in the mean, five errors."""
    y = np.random.default_rng(1).normal(size=(part.F + part.P, part.P))
    field = MinibatchField.resampled(part, images, n=5, masks="fixed", replacement=replacement)
    steps = 400 if replacement else 4
    velocities = np.array([field.velocity(y, step)[1] for step in range(steps)])
    exact = EmpiricalField(part, images).velocity(y)[1]
    off = velocities.mean(axis=0) - exact
    if replacement:
        error = velocities.std(axis=0) / np.sqrt(steps)
        assert (np.abs(off) <= 5 * error + 1e-15).all() and np.abs(off).max() > 1e-6
    else:
        assert np.abs(off).max() <= 1e-15
    assert np.abs(velocities[0] - exact).max() > 1e-3  # control: one batch is off


@pytest.mark.parametrize("options", [{}, {"masks": "epoch", "drop_last": True}, {"masks": "fixed", "replacement": True}])
def test_full_descent_on_the_same_batches(part, images, options):
    field = MinibatchField.resampled(part, images, n=6, seed=2, **options)
    run = {"eta": 1.0, "steps": 30, "keep": 10}
    a, b = descend(field, **run), full.descend(part, field.draw, **run)
    for name in NAMES:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-12)
    other = descend(MinibatchField.resampled(part, images, n=6, seed=3, **options), **run)
    assert np.abs(other.fp - b.fp).max() > 1e-3  # control


def fields(problem, part, data):
    return {
        "fresh": MinibatchField.fresh(problem, part, n=7, seed=1),
        "of": MinibatchField.of(part, data, n=7, seed=1),
        "step": MinibatchField.resampled(part, data, n=7, seed=1),
        "epoch": MinibatchField.resampled(part, data, n=7, seed=1, masks="epoch", drop_last=True),
        "fixed": MinibatchField.resampled(part, data, n=7, seed=1, masks="fixed", replacement=True),
    }


KINDS = ("fresh", "of", "step", "epoch", "fixed")


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_a_field_are_as_loaded_alone(problem, part, images, kind):
    """Memory that is kept from step to step changes no bit, whatever was in it before."""
    field = fields(problem, part, images)[kind]
    y = np.random.default_rng(1).normal(size=(part.F + part.P, part.P))
    for step in (0, 1, 2, 5, 2, 0):
        loss, dy = field.velocity(y, step)
        alone = EmpiricalField(part, field.draw(step))
        expected = alone.velocity(y)
        assert loss == expected[0] and field.floor == alone.floor and field.limit == alone.limit
        np.testing.assert_array_equal(dy, expected[1])
        np.testing.assert_array_equal(field.attention(y), alone.attention(y))


def hashed(threads):
    """Threads of each run, then what it comes to: 200 images at P = 77, with five blocks of queries."""
    problem = dynsim.Problem(K=4, gamma=0.7, P=77, kappa_c=0.8, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, n=300, seed=3)
    used, found = [], []
    for field in (
        MinibatchField.resampled(part, data, n=200, threads=threads),
        MinibatchField.resampled(part, data, n=200, masks="epoch", threads=threads),
        MinibatchField.fresh(problem, part, n=200, threads=threads),
    ):
        run = descend(field, eta=3.0, steps=11, keep=4)
        used.append(field._pool.threads)
        found.append(hashlib.sha256(b"".join(getattr(run, name).tobytes() for name in NAMES)).hexdigest())
    return used, found


def test_same_bits_in_two_processes_and_on_two_numbers_of_threads():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_minibatch; print(*test_minibatch.hashed(1)[1])"
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    one, two = hashed(1), hashed(2)
    assert one[0] == [1, 1, 1] and two[0] == [2, 2, 2]
    assert out == one[1] == two[1] and len(set(out)) == 3


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_in_the_middle_of_an_epoch(problem, part, images, kind):
    """Stopped before step 16 of epochs of 3 steps or 2, and gone on with in another field: the same bits."""
    whole = descend(fields(problem, part, images)[kind], eta=1.0, steps=25, keep=5)
    at = []

    def stop(state, record):
        if state.step == 16:
            at.append(state._replace(y=state.y.copy(), kept=record.trajectory()))
            raise Stop

    with pytest.raises(Stop):
        descend(fields(problem, part, images)[kind], eta=1.0, steps=25, keep=5, checkpoint=stop)
    rest = descend(fields(problem, part, images)[kind], eta=1.0, steps=25, keep=5, start=at[0])
    for name in NAMES:
        np.testing.assert_array_equal(getattr(rest, name), getattr(whole, name))


def test_bad_input_is_named(problem, part, images):
    uneven = dynsim.Dataset(images.cluster, images.z, images.masked, np.r_[2, np.ones(19)] / 21)
    resampled = MinibatchField.resampled
    for make, rule in (
        (lambda: resampled(part, images, n=21), "at most the 20 images of the set, got n=21: take a smaller n, or rep"),
        (lambda: resampled(part, images, n=0), "at least 1 image, got n=0: take"),
        (lambda: resampled(part, images, n=2.5), "at least 1 image, got n=2.5: take"),
        (lambda: resampled(part, images, seed=-1), "seed must be .* got -1: take"),
        (lambda: resampled(part, images, n=5, masks="never"), "masks must be one of step, epoch, fixed, got 'never': step"),
        (lambda: resampled(part, uneven, n=5), r"counts once an epoch, got weights from 0.047.* to 0.095.*: take rep"),
        (lambda: resampled(dynsim.Partition(part.labels[:, :9] % 2), images, n=5), "the partition's P=9 patches, got 18"),
        (lambda: MinibatchField.of(part, images, n=True), "at least 1 image, got n=True: take"),
        (lambda: MinibatchField.fresh(problem, part, n=0), "at least 1 image, got n=0: take"),
        (lambda: MinibatchField.fresh(dynsim.Problem(), part), "the problem's K=4, P=196, got K=3, P=18: take"),
    ):
        with pytest.raises(dynsim.InputError, match=rule) as caught:
            make()
        assert "\n" not in str(caught.value)
    assert resampled(part, images, n=64, replacement=True).draw(0).n == 64
    assert resampled(part, uneven, n=5, replacement=True).draw(0).n == 5


@pytest.mark.parametrize("kind", ["fresh", "of", "step", "epoch", "fixed"])
def test_recipe_makes_the_same_batches(problem, part, images, kind):
    field = fields(problem, part, images)[kind]
    plain, arrays = field.recipe()
    again = MinibatchField.from_recipe(json.loads(json.dumps(plain)), arrays)
    for step in (0, 4):
        assert same(again.draw(step), field.draw(step))
    assert again.describe() == field.describe()
    with pytest.raises(dynsim.errors.NoRecipe, match="draw of minibatches of your own has no recipe"):
        MinibatchField(part, lambda step: images).recipe()


@pytest.mark.slow
def test_epochs_over_many_images_fit_in_a_gibibyte():
    code = (
        "import dynsim; p = dynsim.Problem(P=196, K=4); a = dynsim.Partition.blocks(p);"
        "f = dynsim.reduced.MinibatchField.resampled(a, dynsim.sample(p, a, n=10000), n=256, masks='epoch');"
        "dynsim.reduced.descend(f, steps=f.draw.steps_per_epoch + 1);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    peak = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert peak <= 2**20
