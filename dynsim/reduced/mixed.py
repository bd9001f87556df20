"""Both objectives at once on images of the model: L = L_rec + alpha P L_con (docs/contrastive.md)."""

from __future__ import annotations

import math
from typing import Any

from dynsim.errors import InputError
from dynsim.model.amplitude import is_number
from dynsim.model.problem import Problem
from dynsim.reduced import field_class
from dynsim.reduced.field import MOST_STEPS, STEPS, Option
from dynsim.reduced.sums import SumField


class MixedField(SumField):
    """Sum of reconstruction and the contrastive loss on n images each, on the same areas.

    A SumField with the weights 1 and alpha P: the factor P makes ``weight``, alpha, of order one for each query. It is built by
    `from_options`; `Trajectory.terms` holds both losses, not weighted.

    Parameters
    ----------
    terms : sequence of (float, Field)
        As of SumField.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> field = dynsim.reduced.MixedField.from_options(problem, n=8, weight=0.5)
    >>> sorted(dynsim.reduced.descend(field, eta=0.1, steps=2).terms)
    ['contrastive', 'reconstruction']
    """

    method = "mixed-samples"
    objective = "mixed"
    options = (
        Option("n", int, 256, "images, and pairs of views", least=2),
        Option("weight", float, 1.0, "alpha in L_rec + alpha P L_con", least=0.0),
        *[option for option in field_class("contrastive-samples").options if option.name not in ("n", "negatives", "fresh")],
    )

    @classmethod
    def predictions(
        cls,
        problem: Problem,
        query: str,
        /,
        closed: bool = True,
        weight: float = 1.0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        **options: Any,
    ) -> dict[str, float | None]:
        """Return what theory predicts for the escape of a query type, for many images and pairs."""
        from dynsim import theory

        return theory.mixed_predictions(problem, query, weight, temperature, closed, stop_gradient)

    @classmethod
    def thresholds(
        cls, problem: Problem, weight: float = 1.0, temperature: float = 0.5, stop_gradient: bool = True, **options: Any
    ) -> dict[str, float | None]:
        """Return the weights of the collapse, and how far it goes at this weight."""
        from dynsim import theory

        return theory.mixed_thresholds(problem, weight, temperature, stop_gradient)

    def run_options(self, problem: Problem) -> dict:
        """Return the safe step size, and steps for twice the time at which local queries would escape without contrast."""
        from dynsim import theory

        options = super().run_options(problem)
        if self.embedding is not None:
            return self.plain_options(problem)
        steps = math.ceil(min(2 * theory.escape_time(problem, finite=True) / options["eta"], MOST_STEPS))
        return {**options, "steps": max(steps, STEPS)}

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        n: int = 256,
        weight: float = 1.0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        **options: Any,
    ) -> MixedField:
        """Areas, images and pairs are drawn from ``seed``.

        Parameters
        ----------
        problem : Problem
            What is simulated.
        seed : int
            Of areas, images and pairs.
        n : int
            Images, and pairs of views.
        weight : float
            The alpha, at least 0.
        temperature : float
            Of the softmax over pairs.
        stop_gradient : bool
            Whether the second view is a constant in the gradient.
        **options
            Areas and vectors, as for the terms.

        Returns
        -------
        MixedField

        Raises
        ------
        InputError
            If a value breaks a rule.
        """
        if not (is_number(weight) and weight >= 0):
            raise InputError(f"weight must be at least 0 and finite, got {weight!r}: take e.g. 1.0")
        pairs = {"temperature": temperature, "stop_gradient": stop_gradient}
        reconstruction = field_class("samples").from_options(problem, seed, n=n, **options)
        contrastive = field_class("contrastive-samples").from_options(problem, seed, n=n, **pairs, **options)
        return cls([(1.0, reconstruction), (float(weight) * problem.P, contrastive)])
