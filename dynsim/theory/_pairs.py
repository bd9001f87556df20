"""What closed forms of contrast share: the negatives of a cluster, and the velocity before attention takes off."""

import math

import numpy as np

from dynsim.model.amplitude import Law
from dynsim.theory.averages import fading_integral, tilted


def negatives(f: np.ndarray, others: np.ndarray, weight: np.ndarray, K: int, tau: float) -> np.ndarray:
    """N(f) with the images `others` of the same cluster, in the shape of f; exponents are shifted by their largest."""
    s = np.multiply.outer(f, others) / tau
    top = np.maximum(s.max(axis=-1, keepdims=True), 0.0)
    e = weight * np.exp(s - top)
    return (e @ others) / ((K - 1) * np.exp(-top[..., 0]) + e.sum(axis=-1))


def pushed_away(f: np.ndarray, weight: np.ndarray, K: int, tau: float, stop_gradient: bool) -> np.ndarray:
    """N(f), of which D is f less this; where both views learn, its mean with what an image is as a negative of the others, of
    which D is 2 f less twice this."""
    if stop_gradient:
        return negatives(f, f, weight, K, tau)
    s = np.multiply.outer(f, f) / tau
    top = np.maximum(s.max(axis=-1), 0.0)
    log_Z = top + np.log((K - 1) * np.exp(-top) + np.exp(s - top[:, None]) @ weight)
    return 0.5 * (negatives(f, f, weight, K, tau) + np.exp(s - log_Z) @ (weight * f))


def push(law: Law, K: int, phi: np.ndarray) -> np.ndarray:
    """G(phi) = E[z^3 e^(2 z phi)] - E[z^2 e^(z phi)] E[z e^(z phi)] / K."""
    return np.exp(tilted(law, 3, 2 * phi)) - np.exp(tilted(law, 2, phi) + tilted(law, 1, phi)) / K


def take_off_integral(law: Law, K: int) -> float:
    """int_0^inf dphi / G: K / (2 (K - 1) z^4) for fixed z."""
    if K == 1 and law.L == law.U:
        return math.inf
    end = 45 / (2 * law.L)  # G >= G(0) e^(2 L phi)
    return fading_integral(lambda phi: 1 / push(law, K, phi), end, 0.25 / law.U)
