"""The model itself: one explicit matrix Q in R^{d x d}, descended on given images. The yardstick of the reduced dynamics.

A masked query p has vector e_p + mu. A key q has vector X_q + e_q and value X_q where it is unmasked, vector e_q + mu and
value 0 (or mu) where it is masked. With attn_{p,.} the softmax over q of (e_p + mu)^T Q key_q,

    L(Q) = 1/2 sum_i w_i sum_{p masked in i} || sum_q attn_{p,q} value_q - X_p ||^2         (docs/model.md, eq. 2-3)

Nothing here knows that few numbers describe Q: it imports nothing from dynsim.reduced, builds every patch as a vector of
R^d in a basis turned at random, and even steps Q with its own update rules.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import Diverged, InputError, Interrupted
from dynsim.model.amplitude import is_number
from dynsim.model.areas import PartitionLayout
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.trajectory import Progress, Trajectory, steps_to_keep

BATCH_BYTES = 2**25  # of temporaries per batch of images


class Optimiser(Protocol):
    """What is asked of an update rule: its name, by which Q is stepped here, and to say what it is. Its parameters are read."""

    @property
    def name(self) -> str:
        """One of "descent", "momentum", "adam", "sign"."""

    def describe(self) -> dict:
        """Name and parameters, as plain data."""


def descend(
    part: Partition,
    data: Dataset | Callable[[int], Dataset],
    eta: float = 1.0,
    steps: int = 500,
    keep: ArrayLike | None = None,
    embedding: Embedding | None = None,
    optimiser: Optimiser | None = None,
    hold: str | None = None,
    basis_seed: int = 0,
    progress: Progress | None = None,
) -> Trajectory:
    """Descend L from Q = 0 on the images `data` and measure the correlations (eq. 4) of Q at the kept steps: a Trajectory.

    t = eta x step; loss per masked patch; fp (T, P, F), with a mask token (T, P, F + 1), its column last; pp (T, P, P);
    attention (T, P, F), NaN where no image of that cluster masks that patch.

    data: a Dataset, or a function of the step that returns the one to use there (minibatches). embedding: positions,
    features and mask token; None: orthonormal ones, in a basis turned at random (`basis_seed`), or one-hot where the
    optimiser acts on each entry of Q (adam, sign) and the basis would matter. hold: "fp" or "pp" keeps that correlation at
    zero, by taking its part out of every gradient (projected descent). progress: called with (steps done, steps).

    Raises InputError; Diverged and Interrupted, both with the trajectory up to there.
    """
    kept = steps_to_keep(steps, keep)
    if not (is_number(eta) and eta > 0):
        raise InputError(f"eta must be a positive, finite step size, got {eta!r}: take e.g. eta=1")
    if hold not in (None, "fp", "pp"):
        raise InputError(f"hold must be None, 'fp' or 'pp', got {hold!r}: name the correlation to keep at zero")
    rule = _rule(optimiser)
    if embedding is None:
        embedding = Embedding.orthonormal(part, seed=None if rule in ("adam", "sign") else basis_seed)
    embedding.check(part)
    draw = data if callable(data) else lambda step: data
    draw(0).check(part)
    queries, content, E = embedding.queries, embedding.content, embedding.E
    bounded = rule == "descent" and not callable(data)  # plain descent on one set of images does not end above its start
    held = None if hold is None else (_projector(queries), _projector(content if hold == "fp" else E))

    Q, first = np.zeros((embedding.d, embedding.d)), np.inf
    memory: dict[str, np.ndarray] = {}
    rows: list[tuple] = []
    meta = {
        "method": "full",
        "n": draw(0).n,
        "K": part.K,
        "P": part.P,
        "F": part.F,
        "integrator": "descend",
        "eta": float(eta),
        "steps": int(steps),
        "embedding": embedding.describe(),
        "optimiser": {"name": "descent"} if optimiser is None else optimiser.describe(),
        "hold": hold,
    }

    def kept_so_far() -> Trajectory | None:
        if not rows:
            return None
        at, loss, fp, pp, attention = (np.array(column) for column in zip(*rows, strict=True))
        layout = PartitionLayout(part, embedding.mu is not None)
        return Trajectory(at * float(eta), at, loss, fp, pp, attention, meta, layout=layout)

    try:
        for step in range(steps + 1):
            wanted = step in kept
            images = draw(step)
            loss, dQ, attention = _pass(Q, part, images, embedding, attention=wanted)
            loss /= images.masked_mean
            first = loss if step == 0 else first
            finite = np.isfinite(loss) and np.isfinite(dQ).all()
            if not finite or (bounded and loss > first * (1 + 1e-9)):
                raise _diverged(step, loss, first, eta, finite, kept_so_far())
            if wanted:
                left = queries.T @ Q
                rows.append((step, loss, left @ content, left @ E, attention))
            if step < steps:
                if held is not None:
                    dQ -= held[0] @ dQ @ held[1]
                _update(rule, optimiser, memory, Q, dQ, eta, step)
                if progress is not None:
                    progress(step + 1, steps)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at step {step} of {steps}", kept_so_far()) from None
    return kept_so_far()  # type: ignore[return-value]  # the last step is kept


def gradient(Q: ArrayLike, part: Partition, data: Dataset, embedding: Embedding) -> tuple[float, np.ndarray]:
    """L(Q) of eq. (3), not divided by the masked patches, and its gradient dL/dQ (d, d).

    Raises InputError where Q, the images or the vectors do not fit the partition."""
    Q = np.asarray(Q, dtype=float)
    if Q.shape != (embedding.d, embedding.d):
        raise InputError(f"Q must be (d, d) with d={embedding.d} as in the embedding, got {Q.shape}: start from zeros")
    embedding.check(part)
    data.check(part)
    loss, dQ, _ = _pass(Q, part, data, embedding)
    return loss, dQ


def _pass(
    Q: np.ndarray, part: Partition, data: Dataset, embedding: Embedding, attention: bool = False
) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Forward and backward pass over all images: (L, dL/dQ, expected area attention (P, F) where wanted)."""
    P, d = part.P, embedding.d
    positions, features = np.ascontiguousarray(embedding.E.T), np.ascontiguousarray(embedding.V.T)
    queries = embedding.queries
    left = queries.T @ Q  # (P, d): score of query p and a key is left[p] . key
    dleft, loss = np.zeros((P, d)), 0.0
    seen, count = np.zeros((P, part.F)), np.zeros((part.K, P))
    batch = max(1, BATCH_BYTES // (8 * P * (3 * P + 5 * d)))
    for start in range(0, data.n, batch):
        at = slice(start, start + batch)
        cluster, masked = data.cluster[at], data.masked[at]
        n = len(cluster)
        weight = data.weight[at, None] * masked  # (n, P): queries that count
        amplitude = np.take_along_axis(data.z[at], part.labels[cluster], axis=1)
        X = amplitude[..., None] * features[part.own[cluster]]  # (n, P, d)
        values = np.where(masked[..., None], 0.0, X)
        if embedding.mu is None:
            keys = values + positions
        else:
            keys = np.where(masked[..., None], embedding.mu, X) + positions
            if embedding.masked_value == "token":
                values[masked] = embedding.mu
        # attn_pq = softmax_q(left_p . key_q), laid out (P, n, P) so that all images share one matrix product
        attn = (left @ keys.reshape(-1, d).T).reshape(P, n, P)
        attn -= attn.max(axis=2, keepdims=True)
        np.exp(attn, out=attn)
        attn /= attn.sum(axis=2, keepdims=True)
        by_image = attn.transpose(1, 0, 2)
        # r_p = F_p - X_p;  dL/ds_pq = w_p attn_pq (r_p . value_q - r_p . F_p)
        output = by_image @ values
        residual = output - X
        loss += 0.5 * float(np.sum(weight * np.einsum("ipd,ipd->ip", residual, residual)))
        if attention:
            _add_attention(seen, count, by_image, part, cluster, masked, weight)
        residual *= weight[..., None]
        dscore = np.empty_like(attn)
        np.matmul(residual, values.transpose(0, 2, 1), out=dscore.transpose(1, 0, 2))
        dscore -= np.einsum("ipd,ipd->pi", residual, output)[..., None]
        dscore *= attn
        dleft += dscore.reshape(P, -1) @ keys.reshape(-1, d)
    if not attention:
        return loss, queries @ dleft, None
    share = np.repeat(count, part.N, axis=0).T
    return loss, queries @ dleft, np.divide(seen, share, out=np.full_like(seen, np.nan), where=share > 0)


def _add_attention(
    seen: np.ndarray, count: np.ndarray, attn: np.ndarray, part: Partition, cluster: np.ndarray, masked: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Add to seen (P, F) what every masked query pays to the unmasked patches of each area, to count (K, P) its weight."""
    for k in np.unique(cluster):
        of = cluster == k
        area = np.eye(part.N[k])[part.labels[k]]  # (P, N_k): which area a patch lies in
        paid = np.einsum("ipq,iq,ip->pq", attn[of], ~masked[of], weight[of])
        seen[:, part.offset[k] : part.offset[k + 1]] += paid @ area
        count[k] += weight[of].sum(axis=0)


def _projector(columns: np.ndarray) -> np.ndarray:
    """The orthogonal projection of R^d onto the span of the columns."""
    U, s, _ = np.linalg.svd(columns, full_matrices=False)
    U = U[:, s > s[0] * 1e-12 * max(columns.shape)]
    return U @ U.T


def _rule(optimiser: Optimiser | None) -> str:
    rule = "descent" if optimiser is None else getattr(optimiser, "name", None)
    if rule not in ("descent", "momentum", "adam", "sign"):
        raise InputError(f"optimiser must be Descent, Momentum, Adam or Sign, got {optimiser!r}: see dynsim.reduced")
    return rule


def _update(
    rule: str, optimiser: Any, memory: dict[str, np.ndarray], Q: np.ndarray, dQ: np.ndarray, eta: float, step: int
) -> None:
    """Move Q in place by one step of the optimiser, in the conventions of torch.optim; `memory` holds its averages."""
    if rule == "descent":
        Q -= eta * dQ
    elif rule == "sign":
        Q -= eta * np.sign(dQ)
    elif rule == "momentum":
        m = memory["m"] = optimiser.beta * memory.get("m", 0.0) + dQ
        Q -= eta * (dQ + optimiser.beta * m if optimiser.nesterov else m)
    else:
        b1, b2 = optimiser.beta1, optimiser.beta2
        m = memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * dQ
        v = memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * dQ**2
        Q -= eta * (m / (1 - b1 ** (step + 1))) / (np.sqrt(v / (1 - b2 ** (step + 1))) + optimiser.eps)


def _diverged(step: int, loss: float, first: float, eta: float, finite: bool, trajectory: Trajectory | None) -> Diverged:
    what = f"rose to {loss:.4g} from {first:.4g} at the start" if finite else "or its gradient is no longer finite"
    return Diverged(
        f"diverged at step {step}: the loss per masked patch {what}, eta={eta:.4g}; try eta={eta / 10:.4g}", trajectory
    )
