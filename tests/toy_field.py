"""A field of somebody's own in forty lines: one local query whose own FP grows towards one and whose global FP falls."""

import numpy as np

import dynsim
from dynsim.reduced.field import Field, Option


class ToyField(Field):
    """L = (1 - a)^2 / 2 + pull g^2 / 2 with a, g the own and global attention, tanh of half the correlations."""

    method, seeded, floor = "toy", False, 0.0
    options = (Option("pull", float, 1.0, "weight of the global area", least=0.0),)

    def __init__(self, problem, pull=1.0):
        if pull < 0:
            raise dynsim.InputError(f"pull must be at least 0, got {pull!r}: take e.g. 1.0")
        self.problem, self.pull = problem, float(pull)
        self.layout = dynsim.reduced.OrbitField(dynsim.Problem(K=1, P=problem.P), "L").layout

    from_options = classmethod(lambda cls, problem, seed=0, pull=1.0, threads=None: cls(problem, pull))
    recipe = lambda self: ({"method": "toy", "problem": self.problem.recipe(), "pull": self.pull}, {})  # noqa: E731
    from_recipe = classmethod(lambda cls, plain, arrays: cls(dynsim.Problem.from_recipe(plain["problem"]), plain["pull"]))
    describe = lambda self: {"method": "toy", "pull": self.pull}  # noqa: E731
    start = lambda self: np.zeros(2)  # noqa: E731

    def velocity(self, y, step=0, out=None):
        a, g = np.tanh((y + [0.1, 0.4]) / 2)
        dy = np.empty(2) if out is None else out
        dy[:] = (1 - a) * (1 - a**2) / 2, -self.pull * g * (1 - g**2) / 2
        return float((1 - a) ** 2 + self.pull * g**2) / 2, dy

    def correlations(self, y):
        return np.array([[*y, 0.0]]), np.zeros(len(self.layout.number) + 1)

    def attention(self, y):
        return np.array([[*np.tanh((y + [0.1, 0.4]) / 2), 0.0]])
