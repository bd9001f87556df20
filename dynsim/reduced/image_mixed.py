"""Both objectives at once on any images: L = L_rec + alpha P L_con (docs/images.md)."""

from __future__ import annotations

from typing import Any

from dynsim.errors import InputError
from dynsim.model.amplitude import is_number
from dynsim.model.problem import Problem
from dynsim.reduced import field_class
from dynsim.reduced.field import Option
from dynsim.reduced.image_options import PICTURES, choose_images
from dynsim.reduced.sums import SumField


class MixedImageField(SumField):
    """Sum of reconstruction (I1) and the contrastive loss (I3) of the same pictures.

    A SumField with the weights 1 and alpha P, as on images of the model: the factor P makes ``weight``, alpha, of order one for
    each query. The masks to reconstruct under are those of the first views. It is built by `from_options`.

    Parameters
    ----------
    terms : sequence of (float, Field)
        As of SumField.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> pictures = np.random.default_rng(0).uniform(size=(20, 12, 12))
    >>> field = dynsim.reduced.MixedImageField.from_options(images=pictures, weight=0.5)
    >>> field.weights, sorted(dynsim.reduced.descend(field, eta=0.1, steps=2).terms)
    ([1.0, 4.5], ['contrastive', 'reconstruction'])
    """

    method = "mixed-any-images"
    objective = "mixed"
    options = (
        *PICTURES,
        Option("weight", float, 1.0, "alpha in L_rec + alpha P L_con", least=0.0),
        *[option for option in field_class("contrastive-any-images").options if option not in PICTURES],
    )

    @classmethod
    def predictions(cls, problem: Problem, query: str, /, closed: bool = True, **options: Any) -> dict[str, float | None]:
        """Nothing: theory of reconstruction does not hold here."""
        return {}

    @classmethod
    def plain_options(cls, problem: Problem | None = None) -> dict:
        """Options of the integrator for a run of the whole story."""
        return {"eta": 2.0, "steps": 2000}

    @classmethod
    def from_options(
        cls,
        problem: Problem | None = None,
        seed: int = 0,
        weight: float = 1.0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        threads: int | None = None,
        **pictures: Any,
    ) -> MixedImageField:
        """Masks are drawn from ``seed``.

        Parameters
        ----------
        problem : Problem, optional
            Its gamma is used where there is no other.
        seed : int
            Of the masks.
        weight : float
            The alpha, at least 0.
        temperature : float
            Of the softmax over pairs.
        stop_gradient : bool
            Whether the second view is a constant in the gradient.
        threads : int, optional
            Threads of reconstruction.
        **pictures : object
            Pictures and how they are cut.

        Returns
        -------
        MixedImageField

        Raises
        ------
        InputError
            If a value breaks a rule.
        """
        if not (is_number(weight) and weight >= 0):
            raise InputError(f"weight must be at least 0 and finite, got {weight!r}: take e.g. 1.0")
        images = choose_images(problem, seed, **pictures)
        pairs = {"temperature": temperature, "stop_gradient": stop_gradient}
        reconstruction = field_class("any-images").from_options(problem, seed, images=images, threads=threads)
        contrastive = field_class("contrastive-any-images").from_options(problem, seed, images=images, **pairs)
        return cls([(1.0, reconstruction), (float(weight) * images.P, contrastive)])
