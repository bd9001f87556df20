"""A field of somebody's own in forty lines: one local query whose own FP grows towards one and whose global FP falls."""

import numpy as np

import dynsim
from dynsim.reduced.field import Field, Option


class ToyField(Field):
    """L = (1 - a)^2 / 2 + strength g^2 / 2 with a, g the own and global attention, tanh of half the correlations."""

    method, seeded, floor = "toy", False, 0.0
    options = (Option("strength", float, 1.0, "weight of the global area", least=0.0),)

    def __init__(self, problem, strength=1.0):
        if strength < 0:
            raise dynsim.InputError(f"strength must be at least 0, got {strength!r}: take e.g. 1.0")
        self.problem, self.strength = problem, float(strength)
        self.layout = dynsim.reduced.OrbitField(dynsim.Problem(K=1, P=problem.P), "L").layout

    from_options = classmethod(lambda cls, problem, seed=0, strength=1.0, threads=None: cls(problem, strength))
    recipe = lambda self: ({"method": "toy", "problem": self.problem.recipe(), "strength": self.strength}, {})  # noqa: E731
    from_recipe = classmethod(lambda cls, plain, arrays: cls(dynsim.Problem.from_recipe(plain["problem"]), plain["strength"]))
    describe = lambda self: {"method": "toy", "strength": self.strength}  # noqa: E731
    start = lambda self: np.zeros(2)  # noqa: E731

    def velocity(self, y, step=0, out=None):
        a, g = np.tanh((y + [0.1, 0.4]) / 2)
        dy = np.empty(2) if out is None else out
        dy[:] = (1 - a) * (1 - a**2) / 2, -self.strength * g * (1 - g**2) / 2
        return float((1 - a) ** 2 + self.strength * g**2) / 2, dy

    def correlations(self, y):
        return np.array([[*y, 0.0]]), np.zeros(len(self.layout.number) + 1)

    def attention(self, y):
        return np.array([[*np.tanh((y + [0.1, 0.4]) / 2), 0.0]])
