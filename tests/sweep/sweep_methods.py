"""Methods of no cost and no meaning, for the tests of the machinery around them."""

import os
import time

from dynsim.errors import InputError


def trivial(problem, seed):
    """Numbers whose bits are as good as random, and one that is missing now and then."""
    x = (problem.kappa_c * 7919.0 + problem.kappa_s * 104729.0 + seed * 0.1) % 1.0
    return {"x": x / 3.0, "none": None if x < 0.1 else x}


def pausing(problem, seed, pause=0.01):
    """The same, after a pause."""
    time.sleep(pause)
    return trivial(problem, seed)


def moody(problem, seed):
    """Refuses some points, breaks at others, and is a little odd."""
    if problem.kappa_s < 0.15:
        raise InputError("kappa_s must please me, got little: give more")
    if problem.kappa_s < 0.25:
        raise ZeroDivisionError("at this point")
    return {"x": float("nan"), "y": float("inf")}


def deadly(problem, seed, marker):
    """Kills its process at one point; at another, the first time only."""
    if problem.kappa_s == 0.2:
        os._exit(3)
    if problem.kappa_s == 0.3 and not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(3)
    return trivial(problem, seed)


def optional(problem, seed, a=1.0, b="x", c=False):
    """A number that says what the options were."""
    return {"x": problem.kappa_c + 10 * a + (100 if b == "y" else 0) + 1000 * c}


def named(problem, seed, name="x"):
    """A result of any name."""
    return {name: 1.0}
