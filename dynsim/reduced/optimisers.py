"""Update rules: how a state moves along its velocity, minus the gradient, in the conventions of torch.optim.

Descent and momentum are linear in the gradient of Q, so the correlations B^T Q^T E' step by the same rule under any
embedding (docs/model.md, eq. B12-B13). Adam and sign descent act on every entry of Q by itself and depend on the basis:
the correlations are the entries of Q, and the rule reduces exactly, only where positions and features are coordinate axes.
Time is t = eta x step for all of them.
"""

from dataclasses import asdict, dataclass

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import is_number
from dynsim.model.embedding import Embedding


@dataclass(frozen=True)
class Rule:
    """What every rule has: `name`, `elementwise` (it acts on each entry of Q by itself), and these methods."""

    name = ""
    elementwise = False

    def start(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the rule remembers, all zero: a tuple of arrays shaped as the state y."""
        return ()

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y and what the rule remembers, `state`, in place."""
        raise NotImplementedError

    def describe(self) -> dict:
        """Name and parameters, as plain data."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Descent(Rule):
    """Plain gradient descent, y <- y + eta velocity."""

    name = "descent"

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y in place."""
        y += eta * velocity


@dataclass(frozen=True)
class Momentum(Rule):
    """Heavy-ball momentum, m <- beta m + velocity, y <- y + eta m; with nesterov, y <- y + eta (velocity + beta m).
    Raises InputError for beta outside [0, 1)."""

    beta: float = 0.9
    nesterov: bool = False
    name = "momentum"

    def __post_init__(self) -> None:
        _check_decay("beta", self.beta)

    def start(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """The running sum m."""
        return (np.zeros_like(y),)

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y and m in place."""
        (m,) = state
        m *= self.beta
        m += velocity
        y += eta * (velocity + self.beta * m) if self.nesterov else eta * m


@dataclass(frozen=True)
class Adam(Rule):
    """Adam with bias correction, y <- y + eta mhat / (sqrt(vhat) + eps); exact for one-hot positions and features only.
    Raises InputError for beta1, beta2 outside [0, 1) or eps <= 0."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    name = "adam"
    elementwise = True

    def __post_init__(self) -> None:
        _check_decay("beta1", self.beta1)
        _check_decay("beta2", self.beta2)
        if not (is_number(self.eps) and self.eps > 0):
            raise InputError(f"eps must be positive and finite, got {self.eps!r}: take e.g. 1e-8")

    def start(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """The running means of the velocity and of its square."""
        return np.zeros_like(y), np.zeros_like(y)

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y and both means in place; `step` counts from 0."""
        m, v = state
        m *= self.beta1
        m += (1 - self.beta1) * velocity
        v *= self.beta2
        v += (1 - self.beta2) * velocity**2
        mean, square = 1 - self.beta1 ** (step + 1), 1 - self.beta2 ** (step + 1)
        y += (eta / mean) * m / (np.sqrt(v / square) + self.eps)


@dataclass(frozen=True)
class Sign(Rule):
    """Sign descent, y <- y + eta sign(velocity); exact for one-hot positions and features only."""

    name = "sign"
    elementwise = True

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y in place."""
        y += eta * np.sign(velocity)


def check(optimiser: Rule | None, embedding: Embedding | None = None) -> Rule:
    """The optimiser to use (None: Descent), once sure that it reduces exactly under `embedding` (None: one-hot).

    Raises InputError for anything that is no optimiser, and for Adam and sign descent where vectors are not one-hot."""
    if optimiser is None:
        return Descent()
    if not isinstance(optimiser, Rule):
        raise InputError(f"optimiser must be Descent(), Momentum(), Adam() or Sign(), got {optimiser!r}: see dynsim.reduced")
    if optimiser.elementwise and embedding is not None and not embedding.is_onehot:
        kind = embedding.describe()["kind"]
        raise InputError(
            f"{optimiser.name} acts on each entry of Q and reduces exactly only where positions and features are one-hot, "
            f"got {kind} vectors: take Embedding.orthonormal(part), or full.descend, which steps Q itself"
        )
    return optimiser


def _check_decay(name: str, value: float) -> None:
    if not (is_number(value) and 0 <= value < 1):
        raise InputError(f"{name} is a decay rate in [0, 1), got {value!r}: take e.g. 0.9")
