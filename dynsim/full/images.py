"""The model itself on any images: one explicit matrix Q in R^{D x D}, descended. The reference of reduced.ImageField.

R^D, D = d + P, holds d orthonormal pixel axes and P orthonormal positions, in a basis turned at random. A masked query p has
vector e_p + mu. A key q has vector X_q + e_q and value X_q where it is unmasked, vector e_q + mu and value 0 (or mu) where it is
masked; without a token mu = 0. With attn_{p,.} the softmax over q of (e_p + mu)^T Q key_q,

    L(Q) = 1/2 sum_i w_i sum_{p masked in i} || sum_q attn_{p,q} value_q - X_p ||^2

Nothing here knows that few numbers describe Q: it imports nothing from dynsim.reduced, writes every patch as a vector of R^D, and
steps Q with its own rule.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import Diverged, InputError, Interrupted
from dynsim.model.amplitude import generator, is_number
from dynsim.model.images import Images
from dynsim.trajectory import Progress, Trajectory, steps_to_keep

BATCH_BYTES = 2**25  # of temporaries per batch of images


def descend_images(
    images: Images | Callable[[int], Images],
    eta: float = 1.0,
    steps: int = 500,
    keep: ArrayLike | None = None,
    token: ArrayLike | None = None,
    masked_value: str = "zero",
    hold: str | None = None,
    basis_seed: int = 0,
    progress: Progress | None = None,
) -> Trajectory:
    """Descend L from Q = 0 on any images, and measure the correlations of Q at the saved steps.

    Parameters
    ----------
    images : Images, or callable
        The images; or a function of the step that returns those of the step.
    eta, steps : float, int
        Step size and number of steps; t = eta x step.
    keep : array-like, optional
        Steps to save, see `trajectory.steps_to_keep`.
    token : array (d,), optional
        Mask token mu of the pixel space.
    masked_value : {"zero", "token"}
        Value of a masked key.
    hold : {"fp", "pp"}, optional
        Keeps that correlation at zero, by taking its part out of every gradient (projected descent).
    basis_seed : int
        Of the basis of R^D.
    progress : callable, optional
        Called with (steps done, steps).

    Returns
    -------
    Trajectory
        Of loss (T,) per masked patch; fp (T, P, d) along the pixel axes; pp (T, P, P); attention (T, P, P), the mean over images
        that mask the query of what it pays to each key, NaN where there are none.

    Raises
    ------
    InputError
        For a bad value of an option.
    Diverged, Interrupted
        Both with the trajectory up to there.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> from dynsim import full
    >>> images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(20, 6, 6)), patch=2)
    >>> run = full.descend_images(images, eta=1.0, steps=10, keep=10)
    >>> run.fp.shape, run.pp.shape, run.attention.shape
    ((2, 9, 4), (2, 9, 9), (2, 9, 9))
    """
    kept = steps_to_keep(steps, keep)
    if not (is_number(eta) and eta > 0):
        raise InputError(f"eta must be a positive, finite step size, got {eta!r}: take e.g. eta=1")
    if hold not in (None, "fp", "pp"):
        raise InputError(f"hold must be None, 'fp' or 'pp', got {hold!r}: name the correlation to keep at zero")
    if masked_value not in ("zero", "token") or (token is None and masked_value == "token"):
        raise InputError(f"masked_value must be 'zero', or 'token' with a token, got {masked_value!r}: give token=")
    draw = images if callable(images) else lambda step: images
    P, d = draw(0).P, draw(0).d
    D = d + P
    pixels = np.zeros(d) if token is None else np.array(token, dtype=float)
    if pixels.shape != (d,) or not np.isfinite(pixels).all():
        raise InputError(f"token must be d={d} finite numbers, got shape {pixels.shape}: one for each pixel of a patch")
    basis = np.linalg.qr(generator(basis_seed).normal(size=(D, D)))[0]
    axes, positions = basis[:, :d], basis[:, d:]  # columns
    mu = axes @ pixels
    queries = positions + mu[:, None]
    held = {None: None, "fp": axes, "pp": positions}[hold]

    Q, first = np.zeros((D, D)), np.inf
    rows: list[tuple] = []
    meta = {
        "method": "full", "n": draw(0).n, "P": P, "d": d, "integrator": "descend", "eta": float(eta), "steps": int(steps),
        "hold": hold, "token": None if token is None else float(pixels @ pixels), "masked_value": masked_value,
    }

    def so_far() -> Trajectory | None:
        if not rows:
            return None
        at, loss, fp, pp, attention = (np.array(column) for column in zip(*rows, strict=True))
        return Trajectory(at * float(eta), at, loss, fp, pp, attention, meta)

    try:
        for step in range(steps + 1):
            seen = draw(step)
            wanted = step in kept
            loss, dQ, attention = _pass(Q, seen, axes, positions, mu, queries, masked_value == "token", wanted)
            loss /= seen.masked_mean
            first = loss if step == 0 else first
            finite = np.isfinite(loss) and np.isfinite(dQ).all()
            if not finite or (not callable(images) and loss > first * (1 + 1e-9)):
                what = f"rose to {loss:.4g} from {first:.4g} at the start" if finite else "or its gradient is no longer finite"
                raise Diverged(
                    f"diverged at step {step}: the loss per masked patch {what}, eta={eta:.4g}; try eta={eta / 10:.4g}", so_far()
                )
            if wanted:
                left = queries.T @ Q
                rows.append((step, loss, left @ axes, left @ positions, attention))
            if step < steps:
                if held is not None:
                    dQ -= (dQ @ held) @ held.T
                Q -= eta * dQ
                if progress is not None:
                    progress(step + 1, steps)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at step {step} of {steps}", so_far()) from None
    return so_far()  # type: ignore[return-value]  # the last step is kept


def _pass(
    Q: np.ndarray, images: Images, axes: np.ndarray, positions: np.ndarray, mu: np.ndarray, queries: np.ndarray,
    token_value: bool, wanted: bool,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Forward and backward pass over all images: (L, dL/dQ, mean attention (P, P) where wanted)."""
    P, D = images.P, len(Q)
    left = queries.T @ Q
    dleft, loss = np.zeros((P, D)), 0.0
    attention, seen = np.zeros((P, P)), np.zeros(P)
    batch = max(1, BATCH_BYTES // (8 * P * (3 * P + 4 * D)))
    for start in range(0, images.n, batch):
        at = slice(start, start + batch)
        masked = images.masked[at]
        weight = images.weight[at, None] * masked  # (n, P): queries that count
        X = images.patches[images.image[at]] @ axes.T  # (n, P, D)
        keys = np.where(masked[..., None], mu, X) + positions.T
        values = np.where(masked[..., None], mu if token_value else 0.0, X)
        score = left @ keys.transpose(0, 2, 1)  # (n, P, P)
        attn = np.exp(score - score.max(axis=2, keepdims=True))
        attn /= attn.sum(axis=2, keepdims=True)
        output = attn @ values
        residual = output - X
        loss += 0.5 * float(np.sum(weight * np.einsum("ipd,ipd->ip", residual, residual)))
        # dL/ds_pq = w_p attn_pq (r_p . value_q - r_p . F_p)
        slope = residual @ values.transpose(0, 2, 1) - np.einsum("ipd,ipd->ip", residual, output)[..., None]
        dscore = weight[..., None] * attn * slope
        dleft += np.einsum("ipq,iqd->pd", dscore, keys, optimize=True)
        if wanted:
            attention += np.einsum("ip,ipq->pq", weight, attn)
        seen += weight.sum(axis=0)
    mean = np.divide(attention, seen[:, None], out=np.full((P, P), np.nan), where=seen[:, None] > 0)
    return loss, queries @ dleft, mean
