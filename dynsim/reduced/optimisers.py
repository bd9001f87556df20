"""Optimisers: how a state moves along its velocity, minus the gradient, in the conventions of torch.optim.

Descent and momentum are linear in the gradient of Q, so the correlations B^T Q^T E' step by the same rule under any
embedding (docs/beyond.md, eq. B12-B13). Adam and sign descent act on every entry of Q by itself and depend on the basis:
the correlations are the entries of Q, and the rule reduces exactly, only where positions and features are coordinate axes.
Time is t = eta x step for all of them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import is_number
from dynsim.model.embedding import Embedding
from dynsim.reduced.field import Option

SMALL_STEP = 0.01  # of rules that move every entry by about eta: correlations end at order one to ten


@dataclass(frozen=True)
class Rule:
    """Base of the optimisers.

    Attributes
    ----------
    name : str
        Name in files and after --optimiser.
    elementwise : bool
        Whether the rule acts on each entry of Q by itself.
    options : tuple of Option
        Its parameters, as the command line has them.

    Examples
    --------
    An optimiser of your own, linear in the gradient:

    >>> from dataclasses import dataclass
    >>> import dynsim
    >>> from dynsim.reduced.optimisers import Rule
    >>> @dataclass(frozen=True)
    ... class Halving(Rule):
    ...     name = "halving"
    ...     def update(self, y, velocity, eta, state, step):
    ...         y += eta * 0.5**step * velocity
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
    >>> dynsim.reduced.descend(field, steps=3, optimiser=Halving()).meta["optimiser"]
    {'name': 'halving'}
    """

    name: ClassVar[str] = ""
    elementwise: ClassVar[bool] = False
    options: ClassVar[tuple[Option, ...]] = ()

    def step_size(self, eta: float) -> float:
        """Return the step size to take where plain descent would take another.

        Parameters
        ----------
        eta : float
            Step size of plain descent.

        Returns
        -------
        float
            The same, less what momentum adds up to; 0.01 for rules that move every entry by about eta.
        """
        return SMALL_STEP if self.elementwise else eta

    def start(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what the rule remembers, all zero.

        Parameters
        ----------
        y : ndarray
            The state.

        Returns
        -------
        tuple of ndarray
            Each in the shape of y; none for a rule without memory.
        """
        return ()

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move a state by one step, in place.

        Parameters
        ----------
        y : ndarray
            The state; changed.
        velocity : ndarray
            Minus the gradient of the loss, in the shape of y.
        eta : float
            Step size.
        state : tuple of ndarray
            What the rule remembers; changed.
        step : int
            Number of the step, from 0.
        """
        raise NotImplementedError

    def describe(self) -> dict:
        """Return name and parameters.

        Returns
        -------
        dict
            Plain data.
        """
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Descent(Rule):
    """Gradient descent, y <- y + eta velocity.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> y = np.zeros(2)
    >>> dynsim.reduced.Descent().update(y, np.array([1.0, -2.0]), 0.5, (), step=0)
    >>> y
    array([ 0.5, -1. ])
    """

    name = "descent"

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y by one step, in place.

        Parameters
        ----------
        y : ndarray
            The state; changed.
        velocity : ndarray
            Minus the gradient of the loss, in the shape of y.
        eta : float
            Step size.
        state : tuple of ndarray
            Empty.
        step : int
            Number of the step, from 0.
        """
        y += eta * velocity


@dataclass(frozen=True)
class Momentum(Rule):
    """Momentum, m <- beta m + velocity, y <- y + eta m, heavy-ball or Nesterov's.

    Parameters
    ----------
    beta : float
        Decay rate of m, in [0, 1).
    nesterov : bool
        Whether y moves by eta (velocity + beta m) instead.

    Raises
    ------
    InputError
        If beta is outside [0, 1).

    Notes
    -----
    Exact under any embedding (docs/beyond.md, eq. B12). A run moves about 1 / (1 - beta) times as far in the same t.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> y = np.zeros(1)
    >>> rule = dynsim.reduced.Momentum(beta=0.5)
    >>> state = rule.start(y)
    >>> for step in range(3):
    ...     rule.update(y, np.ones(1), 1.0, state, step)
    >>> y
    array([4.25])
    """

    beta: float = 0.9
    nesterov: bool = False
    name = "momentum"
    options = (
        Option("beta", float, 0.9, "decay of the gradient sum, in [0, 1)"),
        Option("nesterov", bool, False, "Nesterov's, not the heavy ball"),
    )

    def __post_init__(self) -> None:
        _check_decay("beta", self.beta)

    def step_size(self, eta: float) -> float:
        """Return the step size with which the run moves as far in a step as plain descent with ``eta``.

        Parameters
        ----------
        eta : float
            Step size of plain descent.

        Returns
        -------
        float
            The value (1 - beta) eta.
        """
        return (1 - self.beta) * eta

    def start(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the running sum m, zero.

        Parameters
        ----------
        y : ndarray
            The state.

        Returns
        -------
        tuple of ndarray
            One array in the shape of y.
        """
        return (np.zeros_like(y),)

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y and m by one step, in place.

        Parameters
        ----------
        y : ndarray
            The state; changed.
        velocity : ndarray
            Minus the gradient of the loss, in the shape of y.
        eta : float
            Step size.
        state : tuple of ndarray
            The running sum m; changed.
        step : int
            Number of the step, from 0.
        """
        (m,) = state
        m *= self.beta
        m += velocity
        y += eta * (velocity + self.beta * m) if self.nesterov else eta * m


@dataclass(frozen=True)
class Adam(Rule):
    """Adam with bias correction, y <- y + eta mhat / (sqrt(vhat) + eps).

    Parameters
    ----------
    beta1 : float
        Decay rate of the mean of the velocity, in [0, 1).
    beta2 : float
        Decay rate of the mean of its square, in [0, 1).
    eps : float
        Added to the root, above 0.

    Raises
    ------
    InputError
        If a decay rate is outside [0, 1), or eps <= 0.

    Notes
    -----
    Exact for one-hot positions and features only (docs/beyond.md, eq. B13); refused for others.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> y = np.zeros(2)
    >>> rule = dynsim.reduced.Adam()
    >>> rule.update(y, np.array([1.0, -100.0]), 0.1, rule.start(y), step=0)
    >>> y.round(6)
    array([ 0.1, -0.1])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    name = "adam"
    elementwise = True
    options = (
        Option("beta1", float, 0.9, "decay of the mean, in [0, 1)"),
        Option("beta2", float, 0.999, "decay of the mean square, in [0, 1)"),
        Option("eps", float, 1e-8, "added to the root, positive"),
    )

    def __post_init__(self) -> None:
        _check_decay("beta1", self.beta1)
        _check_decay("beta2", self.beta2)
        if not (is_number(self.eps) and self.eps > 0):
            raise InputError(f"eps must be positive and finite, got {self.eps!r}: take e.g. 1e-8")

    def start(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the running means of the velocity and of its square, zero.

        Parameters
        ----------
        y : ndarray
            The state.

        Returns
        -------
        tuple of ndarray
            Two arrays in the shape of y.
        """
        return np.zeros_like(y), np.zeros_like(y)

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y and both means by one step, in place.

        Parameters
        ----------
        y : ndarray
            The state; changed.
        velocity : ndarray
            Minus the gradient of the loss, in the shape of y.
        eta : float
            Step size.
        state : tuple of ndarray
            The running means of the velocity and of its square; changed.
        step : int
            Number of the step, from 0.
        """
        m, v = state
        m *= self.beta1
        m += (1 - self.beta1) * velocity
        v *= self.beta2
        v += (1 - self.beta2) * velocity**2
        mean, square = 1 - self.beta1 ** (step + 1), 1 - self.beta2 ** (step + 1)
        y += (eta / mean) * m / (np.sqrt(v / square) + self.eps)


@dataclass(frozen=True)
class Sign(Rule):
    """Sign descent, y <- y + eta sign(velocity).

    Notes
    -----
    Exact for one-hot positions and features only; refused for others.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> y = np.zeros(2)
    >>> dynsim.reduced.Sign().update(y, np.array([3.0, -2.0]), 0.5, (), step=0)
    >>> y
    array([ 0.5, -0.5])
    """

    name = "sign"
    elementwise = True

    def update(self, y: np.ndarray, velocity: np.ndarray, eta: float, state: tuple[np.ndarray, ...], step: int) -> None:
        """Move y by one step, in place.

        Parameters
        ----------
        y : ndarray
            The state; changed.
        velocity : ndarray
            Minus the gradient of the loss, in the shape of y.
        eta : float
            Step size.
        state : tuple of ndarray
            Empty.
        step : int
            Number of the step, from 0.
        """
        y += eta * np.sign(velocity)


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (Descent, Momentum, Adam, Sign)}


def build(plain: Mapping[str, Any]) -> Rule:
    """Build the optimiser that describes itself so.

    Parameters
    ----------
    plain : mapping
        As from ``Rule.describe``.

    Returns
    -------
    Rule
        The optimiser.

    Raises
    ------
    InputError
        If it is one of your own.

    Examples
    --------
    >>> from dynsim.reduced import optimisers
    >>> optimisers.build({"name": "momentum", "beta": 0.5, "nesterov": True})
    Momentum(beta=0.5, nesterov=True)
    """
    if plain["name"] not in RULES:
        raise InputError(f"only {', '.join(RULES)} are built from their names, got {plain['name']!r}: pass the optimiser itself")
    return RULES[plain["name"]](**{name: value for name, value in plain.items() if name != "name"})


def check(optimiser: Rule | None, embedding: Embedding | None = None) -> Rule:
    """Return the optimiser to use, if it reduces exactly under an embedding.

    Parameters
    ----------
    optimiser : Rule, optional
        The optimiser; Descent() by default.
    embedding : Embedding, optional
        The vectors; one-hot by default.

    Returns
    -------
    Rule
        The optimiser.

    Raises
    ------
    InputError
        If it is no optimiser, or elementwise where vectors are not one-hot.

    Examples
    --------
    >>> from dynsim.reduced import optimisers
    >>> optimisers.check(None)
    Descent()
    >>> optimisers.check("adam")
    Traceback (most recent call last):
    dynsim.errors.InputError: optimiser must be Descent(), Momentum(), Adam() or Sign(), got 'adam': see dynsim.reduced
    """
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
