"""The clock of a flow that slides along balances of opposite pushes."""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import log

FASTEST = 1e11  # relaxation to a balance, in units of the clock: beyond, rounding of the state is all that moves
LOG10 = 2.302585092994046
APART = 0.1  # of the pushes on both entries of a pair, what pushes both together, up to which they slide
NOISE = 1e-8  # of opposite pushes on an entry, what a solver may leave of them at a balance
LEAST = 2.0**-56  # part of a sum that rounding takes, whatever it is


@njit(cache=True, nogil=True, error_model="numpy")
def from_slide(u, own, slide, sliding):
    """The state whose entries own[i] stand in u as slide[0] x own + slide[1] x next one, where sliding[i]."""
    y = u.copy()
    for i in range(own.size):
        if sliding[i]:
            j = own[i]
            y[j] = (u[j] - slide[1] * u[j + 1]) / slide[0]
    return y


@njit(cache=True, nogil=True, error_model="numpy")
def held_back(y, entries, heaviest):
    """By how much some entries are slowed as they come to rest at `heaviest`: 1 up to half of it."""
    slower = np.empty(entries.size)
    for i in range(entries.size):
        left = min(max(2.0 - 2.0 * y[entries[i]] / heaviest[i], 0.0), 1.0)
        slower[i] = left * left * (3.0 - 2.0 * left)
    return slower


@njit(cache=True, nogil=True, error_model="numpy")
def slides(together, before):
    """Which pairs slide, of together (pairs, 3): their velocity, how much pushes both together, and how much each on its own."""
    found = np.empty(before.size, dtype=np.bool_)
    for i in range(before.size):
        found[i] = together[i, 1] < (3.0 * APART if before[i] else APART) * together[i, 2]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def rate(v, pushes, pace, out, paces):
    """(du/ds, dtau/ds) of a state that moves as du/dt = v, written to out (n + 1,). paces (n + 1,): what v is multiplied with for
    it, and the last entry of out; written.

    With dt/ds = pace / (1 + pace x speed). Where the pushes on an entry cancel to a fraction x of their sum, it counts in the
    speed as v x^2, times a smooth step from 0 to 1 in log10 x over the two decades above NOISE: what is left below is the error
    of the solver times a large rate, and a clock that followed it would stop. (The square lets the problem turn stiff step by
    step, for the solver to notice, and keeps the errors of coarse tolerances out.) And du/ds is slowed to what comes to its
    balance within 1 / FASTEST."""
    total = 0.0
    for i in range(v.size):
        if abs(v[i]) > 100.0 * NOISE * pushes[i]:
            x = v[i] / pushes[i]
            total += (v[i] * x * x) ** 2
    for i in range(v.size):
        if NOISE * pushes[i] < abs(v[i]) <= 100.0 * NOISE * pushes[i]:
            x = abs(v[i]) / pushes[i]
            if (v[i] * x * x) ** 2 > LEAST * total:  # a logarithm takes long
                step = 0.5 * log(x / NOISE) / LOG10
                moving = v[i] * (x * x * step * step * step * (10.0 - step * (15.0 - 6.0 * step)))
                total += moving * moving
    left = 1.0 / (1.0 + pace * np.sqrt(total))
    unit = pace * left
    for i in range(v.size):
        paces[i] = unit / (1.0 + pushes[i] * (unit / FASTEST))
        out[i] = v[i] * paces[i]
    paces[v.size] = left
    out[v.size] = left
