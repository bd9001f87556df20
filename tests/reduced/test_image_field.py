"""The field on any images: against a slow twin, explicit descent, torch, the field of the paper's images; bits, errors.

Tolerances: the kernel and its references do the same sums in another order, so they differ by some roundings (1e-16) of sums of
a few hundred terms; along a run of 200 steps of stable descent these do not grow. Where 1e-11 is asked, 1e-14 is measured.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dynsim
from dynsim import Images, InputError
from dynsim.errors import NoRecipe
from dynsim.full import descend_images
from dynsim.reduced import ImageField, descend, image

NAMES = ("loss", "fp", "pp", "attention")


def model_pictures(n=40, size=12, seed=0):
    """Smooth random pictures, (n, size, size): a few waves each, so that near patches are alike."""
    rng = np.random.default_rng(seed)
    at = np.arange(size) / size
    waves = [np.cos(2 * np.pi * (rng.uniform(size=(n, 1, 1)) + rng.integers(0, 3) * at[:, None] + rng.integers(0, 3) * at))
             for _ in range(4)]
    return sum(rng.normal(size=(n, 1, 1)) * wave for wave in waves)


@pytest.fixture(scope="module")
def images():
    """n = 80 rows: 40 pictures under two masks; P = 9 or, in blocks, more; unequal weights."""
    images = Images.cut(model_pictures(), patch=4, gamma=0.6, masks=2, seed=1, scale="unit")
    weight = np.random.default_rng(5).uniform(size=images.n)
    return Images(images.patches, images.masked, images.grid, weight / weight.sum(), images.image)


def twin(images, fp, pp, token=None, masked_value="zero"):
    """(I1), (I2) from the formula: loss per masked patch, d fp/dt, d pp/dt, mean attention, by loops over rows and queries."""
    P, d = images.P, images.d
    mu = np.zeros(d) if token is None else token
    tau = float(masked_value == "token")
    loss, dfp, dpp, attention, seen = 0.0, np.zeros((P, d)), np.zeros((P, P)), np.zeros((P, P)), np.zeros(P)
    for i in range(images.n):
        X, masked, weight = images.patches[images.image[i]], images.masked[i], images.weight[i]
        key = [mu if masked[q] else X[q] for q in range(P)]
        value = [tau * mu if masked[q] else X[q] for q in range(P)]
        for p in range(P):
            if not masked[p]:
                continue
            score = np.array([fp[p] @ key[q] + pp[p, q] for q in range(P)])
            attn = np.exp(score - score.max())
            attn /= attn.sum()
            residual = sum(attn[q] * value[q] for q in range(P)) - X[p]
            loss += 0.5 * weight * residual @ residual
            g = np.array([value[q] @ residual for q in range(P)])
            gbar = attn @ g
            for q in range(P):
                dfp[p] -= weight * attn[q] * (g[q] - gbar) * key[q]
                dpp[p, q] -= weight * attn[q] * (g[q] - gbar)
            attention[p] += weight * attn
            seen[p] += weight
    dfp, dpp = dfp + mu @ mu * dfp.sum(axis=0), dpp + mu @ mu * dpp.sum(axis=0)
    return loss / images.masked_mean, dfp, dpp, attention / seen[:, None]


def state(field, seed=2, size=1.0):
    """A state of no particular shape."""
    return size * np.random.default_rng(seed).normal(size=field.start().shape)


@pytest.mark.kernel
@pytest.mark.parametrize("token", [None, "zero", "token"])
def test_against_its_twin(images, token):
    mu = None if token is None else np.random.default_rng(3).normal(size=images.d) / 4
    options = {} if token is None else {"token": mu, "masked_value": token}
    field = ImageField(images, **options)
    y = state(field)
    seen = field.observe(y)
    loss, dfp, dpp, attention = twin(images, *field.correlations(y), **options)
    assert seen.loss == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(seen.velocity[: images.d].T, dfp, atol=1e-13 * np.abs(dfp).max())
    np.testing.assert_allclose(seen.velocity[images.d :].T, dpp, atol=1e-13 * np.abs(dpp).max())
    np.testing.assert_allclose(seen.attention, attention, atol=1e-13)
    np.testing.assert_array_equal(field.attention(y), seen.attention)
    assert field.velocity(y)[0] == seen.loss and (field.velocity(y)[1] == seen.velocity).all()
    np.testing.assert_allclose(seen.attention.sum(axis=1), 1.0, atol=1e-13)


@pytest.mark.kernel
def test_wrong_sign_and_other_masks_are_seen(images):
    """Controls: gbar added instead of subtracted, and masks of another seed, are far outside the tolerance above."""
    field = ImageField(images)
    y = state(field)
    _, dfp, _, attention = twin(images, *field.correlations(y))
    wrong = dfp.copy()
    for i in range(images.n):
        X, masked = images.patches[images.image[i]], images.masked[i]
        for p in np.flatnonzero(masked):
            score = np.where(masked, 0.0, X @ y[: images.d, p]) + y[images.d :, p]
            attn = np.exp(score) / np.exp(score).sum()
            output = (attn * ~masked) @ X
            wrong[p] -= 2 * images.weight[i] * (output - X[p]) @ output * output
    dy = field.velocity(y)[1][: images.d].T
    assert np.abs(dy - dfp).max() < 1e-13 * np.abs(dfp).max() < 1e-3 * np.abs(dy - wrong).max()
    other = Images.cut(model_pictures(), patch=4, gamma=0.6, masks=2, seed=2)
    moved = Images(images.patches, other.masked, images.grid, images.weight, images.image)
    assert np.abs(ImageField(moved).attention(y) - attention).max() > 1e-3


@pytest.mark.parametrize("token", [None, "token"])
def test_velocity_is_minus_the_gradient(images, token):
    """Central differences of the loss with steps of 1e-5: errors of 1e-10 of curvature, 1e-11 of rounding.

    With a token in the queries velocity is the gradient times 1 + |mu|^2 11^T (I2), undone here."""
    mu = np.random.default_rng(3).normal(size=images.d) / 4
    field = ImageField(images, **({} if token is None else {"token": mu, "masked_value": token}))
    y = state(field)
    _, dy = field.velocity(y)
    if token:
        dy = dy @ np.linalg.inv(np.eye(images.P) + mu @ mu)
    rng = np.random.default_rng(6)
    for row, p in zip(rng.integers(len(y), size=20), rng.integers(images.P, size=20), strict=True):
        h = np.zeros_like(y)
        h[row, p] = 1e-5
        slope = (field.velocity(y + h)[0] - field.velocity(y - h)[0]) / 2e-5
        assert -slope * images.masked_mean == pytest.approx(dy[row, p], abs=1e-9)


@pytest.mark.kernel
@pytest.mark.parametrize("content, position", [(1600.0, 0.0), (-1600.0, 0.0), (0.0, 250.0), (0.0, -250.0), (-60.0, 30.0)])
def test_states_at_the_edge(images, content, position):
    """One-hot softmax: scores of content of hundreds (shifted by the kernel), unmasked keys that swamp the sum over all (counted
    one by one). What the other keys get is far below rounding in the twin too, so absolute tolerances."""
    field = ImageField(images)
    y = state(field, size=0.1)
    y[: images.d] += content * images.patches[0, 0][:, None]
    y[images.d :] += position * (np.arange(images.P) == 4)[:, None]
    scores = images.patches @ y[: images.d]
    assert (np.abs(scores).max() > 700) == (abs(content) == 1600)  # exp overflows there
    loss, dfp, dpp, attention = twin(images, *field.correlations(y))
    seen = field.observe(y)
    assert seen.loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(seen.velocity[: images.d].T, dfp, atol=1e-12)
    np.testing.assert_allclose(seen.velocity[images.d :].T, dpp, atol=1e-12)
    np.testing.assert_allclose(seen.attention, attention, atol=1e-11)


def close(a, b, tolerance):
    """The largest deviation of two runs, relative to the largest value, is below the tolerance."""
    for name in NAMES:
        x, z = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(np.isnan(x), np.isnan(z))
        scale = max(np.nanmax(np.abs(z)), 0.1)  # what explicit descent holds at zero is a rounding of the rest
        assert np.nanmax(np.abs(x - z)) <= tolerance * scale, name


@pytest.mark.parametrize(
    "options, hold",
    [({}, None), ({}, "fp"), ({}, "pp"), ({"masked_value": "zero"}, None), ({"masked_value": "token"}, None),
     ({"masked_value": "token"}, "fp"), ({"masked_value": "zero"}, "pp")],
)
def test_against_explicit_descent(images, options, hold):
    options = {**options, **({"token": np.random.default_rng(3).normal(size=images.d) / 8} if options else {})}
    reduced = descend(ImageField(images, hold=hold, **options), eta=1.0, steps=200, keep=40)
    full = descend_images(images, eta=1.0, steps=200, keep=40, hold=hold, **options)
    assert np.abs(reduced.fp if hold != "fp" else reduced.pp).max() > 0.3  # the run goes somewhere
    close(reduced, full, 1e-11)
    with pytest.raises(AssertionError):  # control: a step size that differs by one part in a million
        close(reduced, descend_images(images, eta=1.0 + 1e-6, steps=200, keep=40, hold=hold, **options), 1e-11)


def real_pictures(name):
    """Faces of scikit-image, digits of scikit-learn; both ship with the packages."""
    if name == "faces":
        return Images.cut(pytest.importorskip("skimage.data").lfw_subset()[:100], patch=5), 2.0
    digits = pytest.importorskip("sklearn.datasets").load_digits().images[:100]
    return Images.cut(digits / 16.0, patch=2), 1.0


@pytest.mark.parametrize("name", ["faces", "digits"])
def test_real_pictures_against_explicit_descent(name):
    images, eta = real_pictures(name)
    close(descend(ImageField(images), eta=eta, steps=200, keep=50), descend_images(images, eta=eta, steps=200, keep=50), 1e-11)


@pytest.mark.parametrize("name", ["model", "faces", "digits"])
def test_against_autograd(name, images):
    """Torch differentiates the loss of an explicit Q, positions and pixels one-hot, 200 steps: 1e-11."""
    torch = pytest.importorskip("torch")
    images, eta = (images, 1.0) if name == "model" else real_pictures(name)
    P, d = images.P, images.d
    X = torch.zeros(images.n, P, d + P, dtype=torch.float64)
    X[..., :d] = torch.tensor(images.patches[images.image])
    positions = torch.zeros(P, d + P, dtype=torch.float64)
    positions[:, d:] = torch.eye(P, dtype=torch.float64)
    masked = torch.tensor(images.masked, dtype=torch.float64)
    weight = torch.tensor(images.weight)
    shown = X * (1 - masked)[..., None]
    Q = torch.zeros(d + P, d + P, dtype=torch.float64, requires_grad=True)
    losses = []
    for _ in range(200):
        score = positions @ Q @ (shown + positions).transpose(1, 2)
        F = torch.softmax(score, dim=-1) @ shown
        loss = 0.5 * (weight[:, None] * masked * ((F - X) ** 2).sum(-1)).sum()
        (gradient,) = torch.autograd.grad(loss, Q)
        losses.append(float(loss.detach()) / images.masked_mean)
        with torch.no_grad():
            Q -= eta * gradient
    found = Q.detach().numpy()
    run = descend(ImageField(images), eta=eta, steps=200, keep=1)
    np.testing.assert_allclose(run.loss[:200], losses, rtol=1e-11)
    assert np.abs(run.fp[-1] - found[d:, :d]).max() <= 1e-11 * np.abs(found).max()
    assert np.abs(run.pp[-1] - found[d:, d:]).max() <= 1e-11 * np.abs(found).max()
    assert np.abs(run.fp[-2] - found[d:, :d]).max() > 1e-6  # control: one step earlier


def test_the_papers_images_as_any_images(problem, part, data):
    """Pictures made from the model with orthonormal features, d = F pixel axes turned at random: EmpiricalField, to 1e-12."""
    V = np.linalg.qr(np.random.default_rng(7).normal(size=(part.F, part.F)))[0]  # features are its rows
    area = np.take_along_axis(part.own[data.cluster], np.arange(part.P)[None], axis=1)
    z = np.take_along_axis(data.z, part.labels[data.cluster], axis=1)
    images = Images(z[..., None] * V[area], data.masked, weight=data.weight)
    any_images = descend(ImageField(images), eta=2.0, steps=200, keep=40)
    model = descend(dynsim.reduced.EmpiricalField(part, data), eta=2.0, steps=200, keep=40)
    np.testing.assert_allclose(any_images.loss, model.loss, rtol=1e-12)
    assert np.abs(any_images.pp - model.pp).max() <= 1e-12 * np.abs(model.pp).max()
    assert np.abs(any_images.fp @ V.T - model.fp).max() <= 1e-12 * np.abs(model.fp).max()
    assert np.abs(any_images.fp @ V - model.fp).max() > 1e-2  # control: turned the wrong way


# ---- bits


def many_blocks(monkeypatch):
    """P = 49, four blocks of queries, on threads although the work is small."""
    monkeypatch.setattr(image, "SMALL", 0)
    return Images.cut(model_pictures(n=30, size=28), patch=4, seed=3, scale="unit")


def test_bits_do_not_depend_on_threads(monkeypatch):
    images = many_blocks(monkeypatch)
    fields = [ImageField(images, threads=threads) for threads in (1, 2, 3, 64)]
    assert [field._pool.threads for field in fields] == [1, 2, 3, 4]  # no more threads than blocks
    runs = [descend(field, eta=1.0, steps=30, keep=10) for field in (*fields, fields[2])]
    for run in runs[1:]:
        for name in NAMES:
            np.testing.assert_array_equal(getattr(run, name), getattr(runs[0], name))
    nudged = Images(images.patches * (1 + 2**-52), images.masked, images.grid)
    assert (descend(ImageField(nudged), eta=1.0, steps=30, keep=10).fp != runs[0].fp).any()  # control: one bit more


def hashed(threads=None):
    run = descend(ImageField(Images.cut(model_pictures(n=60, size=28), scale="unit"), threads=threads), steps=20)
    return hashlib.sha256(run.fp.tobytes() + run.pp.tobytes() + run.loss.tobytes()).hexdigest()


def test_bits_do_not_depend_on_the_process():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_image_field; print(test_image_field.hashed())"
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    env = {**os.environ, "NUMBA_NUM_THREADS": "1"}
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == [hashed(threads=2)]


def test_names_of_patches_do_not_matter(images):
    """Patches in another order permute the result; the sums come in another order, hence roundings."""
    order = np.random.default_rng(8).permutation(images.P)
    other = Images(images.patches[:, order], images.masked[:, order], images.grid, images.weight, images.image)
    a, b = (descend(ImageField(x), eta=1.0, steps=50, keep=10) for x in (images, other))
    np.testing.assert_allclose(b.fp, a.fp[:, order], atol=1e-13)
    np.testing.assert_allclose(b.pp, a.pp[:, order][:, :, order], atol=1e-13)
    assert np.abs(b.pp - a.pp).max() > 1e-3


def test_rows_share_pictures(images):
    """Two masks of one picture are two rows: the same as the picture twice."""
    twice = Images(images.patches[images.image], images.masked, images.grid, images.weight)
    y = state(ImageField(images))
    assert ImageField(twice).velocity(y)[0] == ImageField(images).velocity(y)[0]


# ---- minibatches, resume, optimisers, flow


def test_minibatches(images):
    """Rows drawn by their weights: explicit descent with the same draw; the mean velocity is that of all images (200 draws of 30
    rows: within five standard errors, estimated from the draws)."""
    field = ImageField(images, batch=30, seed=4)
    assert not field.deterministic and ImageField(images).deterministic
    run = descend(field, eta=0.5, steps=60, keep=20)
    close(run, descend_images(field.draw, eta=0.5, steps=60, keep=20), 1e-11)
    close(run, descend(ImageField(field.draw), eta=0.5, steps=60, keep=20), 1e-11)
    other = descend(ImageField(images, batch=30, seed=5), eta=0.5, steps=60, keep=20)
    assert np.abs(other.fp - run.fp).max() > 1e-3  # control: another draw
    y = state(field, size=0.3)
    drawn = np.array([field.velocity(y, step=step)[1] for step in range(200)])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - ImageField(images).velocity(y)[1]) <= 5 * error + 1e-15).all()


def test_resume_is_one_run(images):
    for field in (ImageField(images), ImageField(images, batch=10, seed=4)):
        states = {}
        whole = descend(
            field, eta=0.5, steps=40, keep=10,
            checkpoint=lambda s, record, states=states: states.setdefault(s.step, (s.y.copy(), record.trajectory())),
        )
        y, past = states[23]
        again = descend(field, eta=0.5, steps=40, keep=10, start=dynsim.reduced.recording.State(23, y, (), past))
        for name in NAMES:
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_adam_reduces_without_a_token_only(images):
    assert descend(ImageField(images), eta=0.01, steps=5, optimiser=dynsim.reduced.Adam()).fp.any()
    with pytest.raises(InputError, match="adam acts on each entry of Q .* got mask-token vectors"):
        descend(ImageField(images, token=np.ones(images.d)), eta=0.01, steps=5, optimiser=dynsim.reduced.Adam())


def test_descent_with_small_steps_follows_the_flow(images):
    """Order of convergence: halving eta halves the distance of descent to a run with a sixteenth of it."""
    def end(eta):
        return descend(ImageField(images), eta=eta, steps=round(20 / eta), keep=10**6).fp[-1]

    fine = end(1 / 16)
    coarse, half = np.abs(end(1.0) - fine).max(), np.abs(end(0.5) - fine).max()
    assert coarse / half == pytest.approx(15 / 7, rel=0.1)  # (1 - 1/16) / (1/2 - 1/16) at first order


# ---- protocol


def test_recipe_round_trip(images):
    field = ImageField(images, hold="pp", token=np.full(images.d, 0.1), masked_value="token", batch=20, seed=9)
    plain, arrays = field.recipe()
    again = ImageField.from_recipe(plain, arrays)
    y = state(field)
    np.testing.assert_array_equal(again.velocity(y, step=3)[1], field.velocity(y, step=3)[1])
    assert again.describe() == field.describe() and ImageField.layout_of(plain, arrays) == field.layout
    plainer, _ = ImageField(images).recipe()
    assert plainer["batch"] is None
    with pytest.raises(NoRecipe, match="code of yours"):
        ImageField(lambda step: images).recipe()


def test_from_options(tmp_path):
    pictures = model_pictures()
    np.save(tmp_path / "p.npy", pictures)
    options = {"patch": 4, "gamma": 0.5, "scale": "2", "hold": "fp", "masks_per_image": 2}
    field = ImageField.from_options(None, seed=3, images=tmp_path / "p.npy", **options)
    same = ImageField(Images.cut(pictures, patch=4, gamma=0.5, seed=3, scale=2.0, masks=2), hold="fp")
    y = state(field)
    np.testing.assert_array_equal(field.velocity(y)[1], same.velocity(y)[1])
    problem = dynsim.Problem(P=9, gamma=0.3, K=1, kappa_c=0.5, kappa_s=0.0)
    assert ImageField.from_options(problem, images=tmp_path / "p.npy").images.masked[0].sum() == 3
    assert {"eta", "steps"} == set(ImageField.plain_options(problem))
    for options, rule in (
        ({}, "images needs pictures, got none: give images=FILE"),
        ({"images": "p.npy", "colour": 1}, r"options of images are .*, got \['colour'\]"),
        ({"images": "p.npy", "scale": "big"}, "scale must be a number or 'unit', got 'big'"),
    ):
        with pytest.raises(InputError, match=rule):
            ImageField.from_options(None, **options)


@pytest.mark.parametrize("options", [{}, {"hold": "pp"}, {"batch": 20, "seed": 1}, {"token": np.full(16, 0.1), "hold": "fp"}])
def test_the_battery_of_every_field(images, options):
    report = dynsim.validation.check_field(ImageField(images, **options))
    assert report.passed, report


def test_layout_and_events(images):
    field = ImageField(images)
    seen = field.observe(field.start())
    fp, pp = field.correlations(field.start())
    for name, array in (("fp", fp), ("pp", pp), ("attention", seen.attention)):
        assert array.ndim == len(field.layout.dims[name])
    table = field.layout.areas(fp, pp, seen.attention)
    assert {name: set(roles) for name, roles in table.items()} == {
        "attention": {"own", "global", "others", "masked"}, "fp": {"own", "global", "others"},
        "pp": {"self", "own", "global", "others"},
    }
    assert len(field.layout.query_type) == 0 and field.layout.share == {} and field.floor is None
    run = descend(field, eta=1.0, steps=300, keep=300)
    at_start, at_end = (field.crossings(y)[1] for y in (field.start(), np.concatenate([run.fp[-1].T, run.pp[-1].T])))
    assert set(at_start) == set(field.events) and at_start["departure"] < 0 < at_end["departure"]
    assert field.scale().shape == (field.start().size,)


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"hold": "both"}, "hold must be None, 'fp' or 'pp', got 'both'"),
        ({"batch": 0}, "batch must be a whole number of at least 1 row, got 0"),
        ({"token": [1.0]}, r"token must be d=16 finite numbers, got shape \(1,\): one for each pixel"),
        ({"token": np.full(16, np.nan)}, "token must be d=16 finite numbers"),
        ({"masked_value": "token"}, "masked_value must be 'zero', or 'token' with a token, got 'token': give token="),
        ({"masked_value": "one", "token": np.ones(16)}, "masked_value must be .* got 'one'"),
    ],
)
def test_bad_options(images, options, rule):
    with pytest.raises(InputError, match=rule) as caught:
        ImageField(images, **options)
    assert "\n" not in str(caught.value)
    if "batch" not in options:
        with pytest.raises(InputError, match=rule):
            descend_images(images, steps=1, **options)


def test_bad_images(images):
    with pytest.raises(InputError, match="images must be Images or a function of the step, got ndarray: see Images.cut"):
        ImageField(images.patches)
    with pytest.raises(InputError, match="batch is for given Images"):
        ImageField(lambda step: images, batch=3)
    other = Images.cut(model_pictures(), patch=2)
    with pytest.raises(InputError, match="images must have P=9 patches of d=16 numbers"):
        ImageField(lambda step: (images, other)[step > 0]).velocity(np.zeros((25, 9)), step=1)
    with pytest.raises(InputError, match="eta must be a positive"):
        descend_images(images, eta=0)


def test_too_large_a_step_is_stopped(images):
    with pytest.raises(dynsim.Diverged, match="the step size eta=1e.06 is too large: try eta="):
        descend(ImageField(images), eta=1e6, steps=50)
    with pytest.raises(dynsim.Diverged, match="diverged at step"):
        descend_images(images, eta=1e6, steps=50)
