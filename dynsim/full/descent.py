"""Descent on the explicit Q: the loop, its update rules, and the correlations of a Q."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import Diverged, InputError, Interrupted
from dynsim.full.objective import checked
from dynsim.model.amplitude import is_number
from dynsim.model.areas import PartitionLayout
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import Pairs
from dynsim.model.partition import Partition
from dynsim.trajectory import Progress, Trajectory, steps_to_keep


class Optimiser(Protocol):
    """Protocol of an update rule: its name, by which Q is stepped here, and its description; its parameters are read.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.reduced.Momentum(0.5).name
    'momentum'
    """

    @property
    def name(self) -> str:
        """Name: one of "descent", "momentum", "adam", "sign"."""

    def describe(self) -> dict:
        """Return name and parameters.

        Returns
        -------
        dict
            Plain data.
        """


def descend(
    part: Partition,
    data: Dataset | Callable[[int], Dataset] | None,
    eta: float = 1.0,
    steps: int = 500,
    keep: ArrayLike | None = None,
    embedding: Embedding | None = None,
    optimiser: Optimiser | None = None,
    hold: str | None = None,
    basis_seed: int = 0,
    progress: Progress | None = None,
    pairs: Pairs | Callable[[int], Pairs] | None = None,
    weight: float = 1.0,
    temperature: float = 0.5,
    stop_gradient: bool = True,
) -> Trajectory:
    """Descend L = L_rec + weight L_con from Q = 0 and measure the correlations (eq. 4) of Q at the saved steps.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    data : Dataset, function of the step, or None
        Images of L_rec (eq. 3); a function returns those to use at a step (minibatches). None: no reconstruction,
        L = weight L_con.
    eta : float
        Step size; t = eta x step.
    steps : int
        Number of steps.
    keep : int or sequence of int, optional
        Saved steps: every so many, or these; about 60 log-spaced ones when left out.
    embedding : Embedding, optional
        Positions, features and mask token. None: orthonormal ones, in a basis turned at random (`basis_seed`), or one-hot
        where the optimiser acts on each entry of Q (adam, sign) and the basis would matter.
    optimiser : optional
        One of dynsim.reduced.Descent, Momentum, Adam, Sign; plain descent when left out.
    hold : {None, "fp", "pp"}
        Keeps that correlation at zero, by taking its part out of every gradient (projected descent).
    basis_seed : int
        Of the random rotation.
    progress : callable, optional
        Called with (steps done, steps).
    pairs : Pairs, function of the step, or None
        Images under two masks, of L_con (eq. D2); None: no contrastive term. Needs an embedding without a mask token.
    weight : float
        Of L_con, at least 0.
    temperature : float
        The tau of L_con, positive.
    stop_gradient : bool
        Whether view b is a fixed target: its part of the gradient is left out. What is followed is then not the gradient of
        a function, and L may rise.

    Returns
    -------
    Trajectory
        Of loss (T,), fp (T, P, F), with a mask token (T, P, F + 1), its column last; pp (T, P, P); attention (T, P, F) of masked
        queries on the images of `data`, without them of all queries on both views; NaN where no image of that
        cluster has that query. With pairs, `terms` has each loss alone, unweighted: "reconstruction" (T,), "contrastive" (T,).

    Raises
    ------
    InputError
        For input that breaks a rule.
    Diverged, Interrupted
        Both with the trajectory up to there.

    Notes
    -----
    Q follows the gradient of L_rec + weight L_con with L_rec the *sum* over the masked patches of an image, eq. (3). Losses are
    reported as each objective reports its own: L_rec per masked patch, L_con as it stands (its outputs are pooled already).
    The loss of a mixed run is the sum of what is reported, L_rec / masked + weight L_con. It falls as a whole only where
    both parts do; what surely falls without stop-gradient, at small eta, is L itself.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.5, P=12, kappa_c=0.8, kappa_s=0.4)
    >>> part = dynsim.Partition.blocks(problem)
    >>> pairs = dynsim.sample_pairs(problem, part, n=8)
    >>> run = dynsim.full.descend(part, None, steps=20, pairs=pairs)
    >>> bool(abs(run.fp - run.fp[:, :1]).max() < 1e-14)  # every patch learns the same, eq. (D4)
    True
    """
    kept = steps_to_keep(steps, keep)
    if not (is_number(eta) and eta > 0):
        raise InputError(f"eta must be a positive, finite step size, got {eta!r}: take e.g. eta=1")
    if hold not in (None, "fp", "pp"):
        raise InputError(f"hold must be None, 'fp' or 'pp', got {hold!r}: name the correlation to keep at zero")
    rule = _rule(optimiser)
    if embedding is None:
        embedding = Embedding.orthonormal(part, seed=None if rule in ("adam", "sign") else basis_seed)
    images_at, pairs_at = _by_step(data), _by_step(pairs)
    objective = checked(part, images_at(0), pairs_at(0), embedding, weight, temperature, stop_gradient)
    queries, content, E = embedding.queries, embedding.content, embedding.E
    followed = rule == "descent" and (pairs is None or not stop_gradient)  # the gradient of L, and nothing else
    bounded = followed and not callable(data) and not callable(pairs)  # on one set of images L does not end above its start
    held = None if hold is None else (_projector(queries), _projector(content if hold == "fp" else E))

    Q, first = np.zeros((embedding.d, embedding.d)), np.inf
    memory: dict[str, np.ndarray] = {}
    rows: list[tuple] = []
    meta = {
        "method": "full",
        "objective": "reconstruction" if pairs is None else "contrastive" if data is None else "mixed",
        "n": images_at(0).n if data is not None else pairs_at(0).n,
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
    if pairs is not None:
        meta["contrastive"] = {
            "n": pairs_at(0).n,
            "weight": float(weight),
            "temperature": float(temperature),
            "stop_gradient": bool(stop_gradient),
        }

    def saved_so_far() -> Trajectory | None:
        if not rows:
            return None
        at, loss, fp, pp, attention = (np.array(column) for column in list(zip(*rows, strict=True))[:5])
        terms = {} if pairs is None else {name: np.array([row[5][name] for row in rows]) for name in rows[0][5]}
        layout = PartitionLayout(part, embedding.mu is not None)
        return Trajectory(at * float(eta), at, loss, fp, pp, attention, meta, terms, layout)

    try:
        for step in range(steps + 1):
            wanted = step in kept
            images, both = images_at(step), pairs_at(step)
            if step and (callable(data) or callable(pairs)):  # others than those that have been checked
                checked(part, images, both, embedding, weight, temperature, stop_gradient)
            total, dQ, terms, attention = objective.at(Q, images, both, attention=wanted)
            if pairs is None:
                total = terms["reconstruction"]  # alone, it is judged as it is reported
            first = total if step == 0 else first
            finite = np.isfinite(total) and np.isfinite(dQ).all()
            if not finite or (bounded and total > first * (1 + 1e-9)):
                what = "the loss per masked patch" if pairs is None else "the objective L_rec + weight L_con"
                raise _diverged(step, what, total, first, eta, finite, saved_so_far())
            if wanted:
                left = queries.T @ Q
                rows.append((step, objective.reported(terms), left @ content, left @ E, attention, terms))
            if step < steps:
                if held is not None:
                    dQ -= held[0] @ dQ @ held[1]
                _update(rule, optimiser, memory, Q, dQ, eta, step)
                if progress is not None:
                    progress(step + 1, steps)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at step {step} of {steps}", saved_so_far()) from None
    return saved_so_far()  # type: ignore[return-value]  # the last step is saved


def gradient(
    Q: ArrayLike,
    part: Partition,
    data: Dataset | None,
    embedding: Embedding,
    pairs: Pairs | None = None,
    weight: float = 1.0,
    temperature: float = 0.5,
    stop_gradient: bool = True,
) -> tuple[float, np.ndarray]:
    """Return L(Q) = L_rec + weight L_con, with L_rec of (eq. 3) not divided by the masked patches, and dL/dQ.

    Parameters
    ----------
    Q : array (d, d)
        The matrix.
    part : Partition
        Areas of every cluster.
    data : Dataset or None
        Images of L_rec.
    embedding : Embedding
        Positions, features and mask token.
    pairs : Pairs, optional
        Images under two masks, of L_con.
    weight : float
        Weight of L_con.
    temperature : float
        The tau of L_con.
    stop_gradient : bool
        Whether view b is a fixed target.

    Returns
    -------
    loss : float
        The loss L.
    gradient : array (d, d)
        With stop_gradient that at which view b is held fixed, not that of L.

    Raises
    ------
    InputError
        Where Q, the images or the vectors do not fit the partition.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data, embedding = dynsim.sample(problem, part, n=8), dynsim.Embedding.orthonormal(part)
    >>> Q = np.zeros((embedding.d, embedding.d))
    >>> loss, dQ = dynsim.full.gradient(Q, part, data, embedding)
    >>> dynsim.full.gradient(Q - 0.1 * dQ, part, data, embedding)[0] < loss
    True
    """
    Q = np.asarray(Q, dtype=float)
    if Q.shape != (embedding.d, embedding.d):
        raise InputError(f"Q must be (d, d) with d={embedding.d} as in the embedding, got {Q.shape}: start from zeros")
    objective = checked(part, data, pairs, embedding, weight, temperature, stop_gradient)
    return objective.at(Q, data, pairs)[:2]


def correlations(Q: ArrayLike, E: ArrayLike, V: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """FP and PP correlations (eq. 4) of a matrix Q from anywhere, e.g. one trained in PyTorch.

    Parameters
    ----------
    Q : array (d, d)
        Of the score e_p^T Q (X_q + e_q). With separate weights, query W_q x and key W_k x, it is W_q^T W_k, times the scale of
        the softmax (d_head^-1/2) where there is one.
    E : array (d, P)
        Positions, one a column.
    V : array (d, F)
        Features, one a column, cluster by cluster.

    Returns
    -------
    fp : array (P, F)
        The numbers e_p^T Q v_f.
    pp : array (P, P)
        The numbers e_p^T Q e_q, query by key.

    Raises
    ------
    InputError
        Where shapes do not fit, or an entry is not a finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import full
    >>> fp, pp = full.correlations(np.eye(3), E=np.eye(3, 2), V=np.eye(3)[:, 2:])
    >>> fp.shape, pp.shape, float(pp.sum())
    ((2, 1), (2, 2), 2.0)
    """
    given = {}
    for name, value in (("Q", Q), ("E", E), ("V", V)):
        try:
            given[name] = _real(value)
        except (TypeError, ValueError, RuntimeError) as error:  # the last one from tensors that need a gradient
            raise InputError(f"{name} must be an array of real numbers, got {type(value).__name__}: {error}") from None
        if not np.isfinite(given[name]).all():
            raise InputError(f"{name} must be finite, got {np.sum(~np.isfinite(given[name]))} entries that are not: look there")
    Q, E, V = given.values()
    d = len(Q) if Q.ndim == 2 else 0
    if Q.ndim != 2 or Q.shape != (d, d):
        raise InputError(f"Q must be (d, d), got {Q.shape}: for separate weights take W_q.T @ W_k")
    for name, value, columns in (("E", E, "P"), ("V", V, "F")):
        if value.ndim != 2 or len(value) != d:
            raise InputError(f"{name} must be (d, {columns}) with d={d} as in Q, got {value.shape}: one vector a column")
    left = E.T @ Q
    return left @ V, left @ E


def _real(value: Any) -> np.ndarray:
    """An array of real numbers. Raises TypeError for complex ones, of which NumPy would take the real part."""
    if np.iscomplexobj(value):
        raise TypeError("complex numbers")
    return np.asarray(value, dtype=float)


def _by_step(given: Any) -> Callable[[int], Any]:
    """Images or pairs as a function of the step."""
    return given if callable(given) else lambda step: given


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


def _diverged(
    step: int, what: str, loss: float, first: float, eta: float, finite: bool, trajectory: Trajectory | None
) -> Diverged:
    did = f"rose to {loss:.4g} from {first:.4g} at the start" if finite else "or its gradient is no longer finite"
    return Diverged(f"diverged at step {step}: {what} {did}, eta={eta:.4g}; try eta={eta / 10:.4g}", trajectory)
