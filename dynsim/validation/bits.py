"""The same bits on every machine: short runs of every field, and what they came to elsewhere.

What is promised, and where the promise ends, is in docs/reproducibility.md.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from dynsim import reduced
from dynsim.errors import InputError
from dynsim.model.images import Images
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced.field import Field
from dynsim.trajectory import Trajectory

SMALL = Problem(K=3, gamma=0.75, P=24, kappa_c=0.6, kappa_s=0.4)
WIDE = Problem(K=2, gamma=0.75, P=36, kappa_c=0.6, kappa_s=0.4)  # so many correlations that a flow takes DOP853
LARGE = Problem(K=4, gamma=0.8, P=1e12)
SEED = 3
STEPS = {"eta": 2.0, "steps": 30}
FLOW = {"t_end": 200.0, "keep": 20, "rtol": 1e-6}
ESCAPE = {"t_end": 4e10, "keep": 20, "rtol": 1e-6}  # a hundred times the escape of LARGE
COLLAPSE = {"t_end": 4e9, "keep": 20, "rtol": 1e-6}


def _drawn(key: str, problem: Problem = SMALL, **options: Any) -> Field:
    return reduced.field_class(key).from_options(problem, SEED, **options)


@cache
def _views() -> tuple[Images, Images]:
    rng = np.random.default_rng(SEED)
    patches = rng.random((6, 9, 5))
    first, second = (Images(patches, np.argsort(rng.random((6, 9)), axis=1) < 6, (3, 3)) for _ in range(2))
    return first, second


def _sum() -> Field:
    part = Partition.random(SMALL, SEED)
    field = reduced.PopulationField(SMALL, part)
    return reduced.SumField([(0.5, field), (1.0, reduced.MinibatchField.fresh(SMALL, part, n=8, seed=SEED))])


_FIELDS: dict[str, Callable[[], Field]] = {
    "orbit": lambda: _drawn("orbit", LARGE),
    "orbit LLGG": lambda: _drawn("orbit", LARGE, query="LLGG"),
    "orbit P=500": lambda: _drawn("orbit", Problem(K=3, gamma=0.8, P=500), query="LGL"),
    "samples": lambda: _drawn("samples", n=32),
    "population": lambda: _drawn("population"),
    "population P=36": lambda: _drawn("population", WIDE),
    "minibatch": lambda: _drawn("minibatch", n=16),
    "contrastive-samples": lambda: _drawn("contrastive-samples", n=32),
    "contrastive-samples both": lambda: _drawn("contrastive-samples", n=32, stop_gradient=False),
    "any-images": lambda: reduced.ImageField(_views()[0]),
    "contrastive-any-images": lambda: reduced.ImageContrastiveField(*_views()),
    "mixed-any-images": lambda: _drawn("mixed-any-images", images=_views()[0]),
    "mixed-samples": lambda: _drawn("mixed-samples", n=32),
    "mixed-orbit": lambda: _drawn("mixed-orbit", LARGE),
    "contrastive-orbit": lambda: _drawn("contrastive-orbit", LARGE),
    "sum": _sum,
}
_DESCENTS = [name for name in _FIELDS if "orbit" not in name and name != "population P=36"]
_FLOWS = [name for name in _FIELDS if name not in ("minibatch", "sum")]
CASES: dict[str, tuple[str, str, dict]] = {
    **{f"{name}, descend": (name, "descend", STEPS) for name in _DESCENTS},
    **{f"samples, descend, {rule.__name__}": ("samples", "descend", {"eta": 0.02, "steps": 30, "optimiser": rule()})
       for rule in (reduced.Momentum, reduced.Adam, reduced.Sign)},
    **{f"{name}, flow": (name, "flow", (COLLAPSE if "tive" in name or "mixed" in name else ESCAPE) if "orbit" in name else FLOW)
       for name in _FLOWS},
}
QUICK = ("samples, descend", "population, descend", "contrastive-samples, descend", "orbit, flow", "samples, flow")
HASHES: dict[str, str] = {
    "samples, descend": "fdd7cc00fa5be6bd",
    "population, descend": "8ee8e747d1252880",
    "minibatch, descend": "fdcc4b965ed6e7e0",
    "contrastive-samples, descend": "2c8e239771776fbb",
    "contrastive-samples both, descend": "60e8f3a0cef54a94",
    "any-images, descend": "bcca1eddb8b24d2e",
    "contrastive-any-images, descend": "071d8874a466db11",
    "mixed-any-images, descend": "6223ac12c29670a4",
    "mixed-samples, descend": "cb991e34a16a6875",
    "sum, descend": "499d4a548b18f43c",
    "samples, descend, Momentum": "2b341442523b8a03",
    "samples, descend, Adam": "9da0c9a7dc5c0f1d",
    "samples, descend, Sign": "b6e1d1b37710dc97",
    "orbit, flow": "a6503d367a82ceeb",
    "orbit LLGG, flow": "85a1d0692317be06",
    "orbit P=500, flow": "13204c634ee1fc2a",
    "samples, flow": "9dd46898e43a2a6c",
    "population, flow": "1b89dd51d7fc3576",
    "population P=36, flow": "7a254daea0eefe23",
    "contrastive-samples, flow": "b289bfe0653fa83b",
    "contrastive-samples both, flow": "cd8c73f82fa514ec",
    "any-images, flow": "f5f9cfc27a38a18c",
    "contrastive-any-images, flow": "bfc7f819a5f726ea",
    "mixed-any-images, flow": "04e218f4f9e8d1f0",
    "mixed-samples, flow": "5ae796b09b22e2ea",
    "mixed-orbit, flow": "fec27e5b20b53731",
    "contrastive-orbit, flow": "4a31d57f03668133",
}


@dataclass(frozen=True)
class SameBits:
    """What a short run came to on this machine, and elsewhere.

    Parameters
    ----------
    case : str
        Field and integrator.
    found : str
        Hash of the run.
    stored : str
        Hash of the same run elsewhere.

    Examples
    --------
    >>> from dynsim import validation
    >>> validation.SameBits("orbit, flow", "0a", "0b").passed
    False
    """

    case: str
    found: str
    stored: str

    @property
    def passed(self) -> bool:
        """Whether the bits are the same."""
        return self.found == self.stored


def promised() -> bool:
    """Return whether this machine is one of those on which the bits are the same.

    Returns
    -------
    bool
        True on x86-64 with fused multiply-add, where kernels are compiled.

    Examples
    --------
    >>> from dynsim.validation import bits
    >>> bits.promised() in (True, False)
    True
    """
    from dynsim.reduced.kernels.elementary import is_fused

    return platform.machine().lower() in ("x86_64", "amd64") and bool(is_fused())


def field(case: str) -> Field:
    """Return the field of a case, built anew.

    Parameters
    ----------
    case : str
        Name in CASES.

    Returns
    -------
    Field
        The field.

    Examples
    --------
    >>> from dynsim.validation import bits
    >>> bits.field("orbit, flow").method
    'orbit'
    """
    return _FIELDS[CASES[case][0]]()


def digest(run: Trajectory) -> str:
    """Return the hash of the bits of a trajectory.

    Parameters
    ----------
    run : Trajectory
        The trajectory.

    Returns
    -------
    str
        16 hexadecimal digits, of times, losses, correlations, attention and terms.

    Examples
    --------
    >>> from dynsim.validation import bits
    >>> run = bits.run("samples, descend")
    >>> bits.digest(run) == bits.digest(bits.run("samples, descend"))
    True
    """
    arrays = [run.t, run.step, run.loss, run.fp, run.pp, run.attention, *(run.terms[name] for name in sorted(run.terms))]
    found = hashlib.sha256()
    for array in arrays:
        kind = "<i8" if np.asarray(array).dtype.kind in "iu" else "<f8"
        whole = np.ascontiguousarray(array, dtype=kind)
        found.update(np.where(np.isnan(whole), np.nan, whole).astype(kind).tobytes())  # one NaN, whatever its sign
    return found.hexdigest()[:16]


def run(case: str, **options: Any) -> Trajectory:
    """Return the run of a case.

    Parameters
    ----------
    case : str
        Name in CASES.
    **options : object
        Further arguments of the integrator.

    Returns
    -------
    Trajectory
        The run.

    Examples
    --------
    >>> from dynsim.validation import bits
    >>> int(bits.run("samples, descend").step[-1])
    30
    """
    _, integrator, settings = CASES[case]
    return getattr(reduced, integrator)(field(case), **{**settings, **options})


def same_bits(cases: Iterable[str] | None = None) -> list[SameBits]:
    """Make short runs of fields in their default form, and compare them with what they came to elsewhere.

    Parameters
    ----------
    cases : iterable of str, optional
        Names in CASES; a few quick ones by default.

    Returns
    -------
    list of SameBits
        Hashes, found and stored.

    Raises
    ------
    InputError
        If a name is unknown.

    Notes
    -----
    On x86-64 with fused multiply-add they are the same (docs/reproducibility.md).

    Examples
    --------
    >>> from dynsim import validation
    >>> [one.case for one in validation.same_bits(["samples, descend"])]
    ['samples, descend']
    """
    chosen = QUICK if cases is None else tuple(cases)
    unknown = [case for case in chosen if case not in CASES]
    if unknown:
        raise InputError(f"cases must be names in dynsim.validation.bits.CASES, got {unknown[0]!r}: leave them out for a few")
    return [SameBits(case, digest(run(case)), HASHES.get(case, "")) for case in chosen]
