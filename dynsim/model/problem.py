"""Problem: clusters, areas, mask ratio and amplitudes of the images.

``P`` patches; ``K`` clusters drawn uniformly; cluster k partitions the patches into one *global* area (number 0) of about
P^kappa_c patches and *local* areas of about P^kappa_s patches. Given k, every area draws an amplitude z in [L, U]
independently, and X_p = z_m v_{k,m} for p in area m (docs/model.md, eq. 1). ``round(gamma P)`` patches are masked,
uniformly without replacement.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim.errors import InputError, NoRecipe
from dynsim.model.amplitude import LAWS, Law, Uniform, is_number

NUMBERS = ("K", "gamma", "P", "kappa_c", "kappa_s")
EXACT_INTEGERS = 2.0**53  # above this a float no longer counts patches one by one, and sizes stay real numbers


@dataclass(frozen=True)
class Problem:
    """One masked-reconstruction problem; frozen, and valid once built.

    Parameters
    ----------
    K : int
        Clusters, at least 1.
    gamma : float
        Mask ratio, in (0, 1).
    P : int or float
        Patches, from 2 to 1e100; more than about 1e6 for the orbit fields only.
    kappa_c : float
        Exponent of the size of the global area, in [0, 1).
    kappa_s : float
        Exponent of the size of the local areas, in [0, 1).
    amplitude : Law
        Law of the amplitude z; ``Uniform(0.8, 1.2)`` by default.

    Attributes
    ----------
    masked : int or float
        Masked patches of an image, round(gamma P).
    unmasked : int or float
        The other patches.
    C_global : int or float
        Patches of the global area.
    C_local : float
        Patches of a local area: the mean, as they differ by at most one.
    n_local : int or float
        Local areas of a cluster.
    N : int or float
        Areas of a cluster, 1 + n_local.

    Raises
    ------
    InputError
        If a value breaks a rule, or the areas do not fit.

    Notes
    -----
    For P beyond 2^53 the counts are real numbers.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=196)
    >>> problem
    Problem(K=4, gamma=0.8, P=196, kappa_c=0.9, kappa_s=0.4, amplitude=Uniform(L=0.8, U=1.2))
        157 of 196 patches masked, information gap Delta = 0.4
        in every cluster one global area of 116 patches, 10 local ones of 8
    >>> problem.masked, problem.C_global, problem.N
    (157, 116, 11)
    """

    K: int = 4
    gamma: float = 0.8
    P: float = 196
    kappa_c: float = 0.9
    kappa_s: float = 0.4
    amplitude: Law = field(default_factory=Uniform)

    if TYPE_CHECKING:  # derived; attributes, but not fields of the dataclass
        masked: float = field(init=False)
        unmasked: float = field(init=False)
        C_global: float = field(init=False)
        C_local: float = field(init=False)
        n_local: float = field(init=False)
        N: float = field(init=False)

    def __post_init__(self) -> None:
        for name in ("K", "P", "gamma", "kappa_c", "kappa_s"):
            value = getattr(self, name)
            if not is_number(value):
                raise InputError(f"{name} must be a finite number, got {value!r}: give a number")
        if self.K < 1 or self.K != int(self.K):
            raise InputError(f"K must be a whole number of at least 1 cluster, got {self.K:g}: take e.g. K=4")
        if not 2 <= self.P <= 1e100:
            raise InputError(f"P must be between 2 and 1e100 patches, got {self.P:g}: take e.g. P=196")
        if self.P <= EXACT_INTEGERS and self.P != int(self.P):
            raise InputError(f"P counts patches, got {self.P!r}: take P={round(self.P)}")
        if not 0 < self.gamma < 1:
            raise InputError(f"gamma is the masked fraction, strictly between 0 and 1, got {self.gamma:g}: take e.g. 0.75")
        for name in ("kappa_c", "kappa_s"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name):g}: take e.g. 0.5, areas of P^0.5 patches")
        law = self.amplitude
        if isinstance(law, type) or not all(hasattr(law, name) for name in ("sample", "nodes", "moment", "L", "U")):
            raise InputError(f"amplitude must be a law of z, got {law!r}: take e.g. Uniform(0.8, 1.2) or Fixed(1.0)")
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the object is frozen)
        set_("K", int(self.K))
        exact = self.P <= EXACT_INTEGERS
        count = (lambda x: int(round(x))) if exact else float
        set_("P", count(self.P))
        set_("gamma", float(self.gamma))
        set_("masked", count(self.gamma * self.P))
        set_("unmasked", self.P - self.masked)
        if not 1 <= self.masked <= self.P - 1:
            edge = "none" if self.masked < 1 else "all"
            raise InputError(
                f"round(gamma P) patches are masked, at least 1 and at most P - 1; gamma={self.gamma:g} masks {edge} of "
                f"P={self.P}: take gamma between {1 / self.P:.3g} and {1 - 1 / self.P:.6g}"
            )
        set_("C_global", max(1, count(float(self.P) ** self.kappa_c)))
        rest = self.P - self.C_global
        local = float(self.P) ** self.kappa_s
        if rest < 1 or round(local) > rest:
            raise InputError(
                f"areas must fit in P={self.P:g}: the global one takes P^kappa_c = {self.C_global:g}, which leaves {rest:g} for "
                f"local areas of P^kappa_s = {local:.4g}: lower kappa_c or kappa_s"
            )
        set_("n_local", max(1, count(rest / max(1, count(local)))))
        set_("C_local", rest / self.n_local)
        set_("N", 1 + self.n_local)

    def __repr__(self) -> str:
        law = repr(self.amplitude)
        if len(law) > 60 or "\n" in law:  # many values, or a law of the user's own
            law = f"<{type(self.amplitude).__name__} on [{self.amplitude.L:g}, {self.amplitude.U:g}]>"
        name = f"Problem(K={self.K}, gamma={self.gamma:g}, P={self.P:.6g}, kappa_c={self.kappa_c:g}, kappa_s={self.kappa_s:g}"
        return (
            f"{name}, amplitude={law})\n"
            f"    {self.masked:.6g} of {self.P:.6g} patches masked, information gap Delta = {self.Delta:.4g}\n"
            f"    in every cluster one global area of {self.C_global:.6g} patches, "
            f"{self.n_local:.6g} local ones of {self.C_local:.4g}"
        )

    @property
    def rho(self) -> float:
        """Unmasked fraction, exactly unmasked / P."""
        return self.unmasked / self.P

    @property
    def Delta(self) -> float:
        """Information gap (eq. 7): positive for two phases, negative for one."""
        return (1 - self.kappa_s) - 2 * (1 - self.kappa_c)

    def sizes(self) -> np.ndarray:
        """Return the area sizes of one cluster.

        Returns
        -------
        ndarray of int, shape (N,)
            The global area first; local ones differ by at most one patch.
        """
        small, extra = divmod(self.P - self.C_global, self.n_local)
        local = [small + 1] * extra + [small] * (self.n_local - extra)  # type: ignore[operator]  # whole numbers up to 2^53
        return np.array([self.C_global, *local], dtype=np.int64)

    def recipe(self) -> dict:
        """Return plain data from which ``from_recipe`` makes the same problem.

        Returns
        -------
        dict
            Numbers by name, and the amplitude law.

        Raises
        ------
        NoRecipe
            If the amplitude law is one of the user's own.
        """
        law: Any = self.amplitude
        if type(law) not in LAWS.values():
            raise NoRecipe(f"a law of amplitudes of your own has no recipe, got {law!r}: pass the field itself")
        return {**{name: getattr(self, name) for name in NUMBERS}, "amplitude": {"law": type(law).__name__, **asdict(law)}}

    @classmethod
    def from_recipe(cls, plain: dict) -> "Problem":
        """Build the problem of a recipe.

        Parameters
        ----------
        plain : dict
            As from ``recipe``.

        Returns
        -------
        Problem
            The same problem, with the same bits.
        """
        law = dict(plain["amplitude"])
        name, weights = law.pop("law"), law.get("weights")
        amplitude = LAWS[name](**law)
        if weights is not None:  # normalised already; to normalise them again would change their last bits
            object.__setattr__(amplitude, "weights", tuple(weights))
        return cls(**{name: plain[name] for name in NUMBERS}, amplitude=amplitude)
