"""When phase I ends: the own FP correlation of a local query overtakes the global one (docs/what-to-expect.md).

With a local query's own attention still small, d phi / dt = (gamma / K) w(phi), w = E[z^3 A (1 - A)^2], and its global FP
correlation, -y, moves as dy / dt = (gamma / K) s^2 E[z^3 e^(-2 z y)], with s the share of the global area in the softmax. At
large P w = rho P^(kappa_s - 1) E[z^3 e^(z phi)] and s = rho P^(kappa_c - 1), so that at the start the global one is faster by
rho P^Delta.
"""

import math

from dynsim.model.problem import Problem
from dynsim.theory._remember import remembered
from dynsim.theory.averages import OwnArea, integral, root, tilted
from dynsim.theory.reconstruction import log_depth_integral

MOST = 700.0  # log of a ratio that fits into a float


def lead(problem: Problem, finite: bool = False) -> float:
    """Return how many times as fast as its own FP correlation the global one of a local query moves at t = 0.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    finite : bool
        Whether to use the sizes of this P.

    Returns
    -------
    float
        The ratio rho P^Delta, or what it is at this P; inf where own areas are too small to attend to. Phase I lasts where it is
        above 1.

    Notes
    -----
    Class: asymptotic; with ``finite`` closed.

    Examples
    --------
    >>> import dynsim
    >>> [round(dynsim.theory.lead(dynsim.Problem(P=P, kappa_c=kappa_c)), 2) for P in (196, 1e12) for kappa_c in (0.9, 0.6)]
    [1.64, 0.07, 12619.15, 0.0]
    """
    log_lead = _log_lead(problem, finite)
    return math.exp(log_lead) if log_lead < MOST else math.inf


@remembered
def decoupling_time(problem: Problem, finite: bool = False) -> float:
    """Return the time at which phase I ends: the own FP correlation of a local query starts to move faster than the global one.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    finite : bool
        Whether to use the sizes of this P.

    Returns
    -------
    float
        Time t = eta x step; 0 where there is no phase I, inf where own areas are too small to attend to.

    Notes
    -----
    Class: asymptotic; with ``finite`` closed. For fixed z and large P, (1 - P^-Delta / rho) / 3 of the escape time (8).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, P=1e30, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.decoupling_time(problem) / dynsim.theory.escape_time(problem), 6)
    0.333333
    """
    log_lead = _log_lead(problem, finite)
    if not 0 < log_lead < math.inf:
        return math.inf if log_lead > 0 else 0.0
    law, rate = problem.amplitude, float(problem.masked / problem.P) / problem.K
    if finite:
        own = OwnArea(problem, problem.C_local)
        log_first = math.log(own.drive(0.0, 3))

        def log_speed(phi: float) -> float:
            return math.log(own.drive(phi, 3)) - log_first
    else:
        log_first = math.log(problem.rho) + (problem.kappa_s - 1) * math.log(problem.P) + tilted(law, 3, 0.0)

        def log_speed(phi: float) -> float:
            return tilted(law, 3, phi) - tilted(law, 3, 0.0)

    def waited(phi: float) -> float:  # until the own correlation is phi, in units of 1 / its first velocity
        return integral(lambda x: math.exp(-log_speed(x)), phi, 1 / law.U)

    def fallen(phi: float) -> float:  # y by then: int_0^y dx E[z^3] / E[z^3 e^(-2 z x)] = lead x waited
        log_target = log_lead + math.log(waited(phi)) - tilted(law, 3, 0.0)
        return root(lambda y: log_depth_integral(law, -y) - log_target if y else -math.inf, 0.0, 1 / law.U)

    def behind(phi: float) -> float:
        y = fallen(phi) if phi else 0.0
        return log_speed(phi) - log_lead - tilted(law, 3, -2 * y) + tilted(law, 3, 0.0)

    return waited(root(behind, 0.0, 1 / law.U)) / math.exp(log_first + math.log(rate))


def _log_lead(problem: Problem, finite: bool) -> float:
    if not finite:
        return math.log(problem.rho) + problem.Delta * math.log(problem.P)
    if problem.C_local <= 1:
        return math.inf
    own, law = OwnArea(problem, problem.C_local), problem.amplitude
    others = problem.unmasked - own.mean_n
    share = problem.C_global * others / (problem.P - problem.C_local) / problem.P
    return 2 * math.log(share) + tilted(law, 3, 0.0) - math.log(own.drive(0.0, 3))
