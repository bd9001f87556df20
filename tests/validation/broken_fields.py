"""Fields that are broken in one thing each, for the tests of what finds it."""

import os

from dynsim.model.areas import PartitionLayout
from dynsim.reduced import EmpiricalField
from dynsim.reduced.field import Observation
from dynsim.reduced.kernels.threads import thread_count


class Registered(EmpiricalField):
    method = "broken"


class Sign(Registered):
    def velocity(self, y, step=0, out=None):
        loss, dy = super().velocity(y, step, out)
        dy[0] *= -1  # of one feature
        return loss, dy

    def observe(self, y, step=0, out=None):
        return Observation(*self.velocity(y, step, out), super().attention(y))


class Factor(Sign):
    def velocity(self, y, step=0, out=None):
        loss, dy = EmpiricalField.velocity(self, y, step, out)
        dy *= 1 + 1e-4
        return loss, dy


class ThreadDependentSum(Sign):
    def velocity(self, y, step=0, out=None):
        loss, dy = EmpiricalField.velocity(self, y, step, out)
        dy[0, 0] += 1e-17 * thread_count()
        return loss, dy


class LosesAnOption(Registered):
    @classmethod
    def from_recipe(cls, plain, arrays):
        return super().from_recipe({**plain, "hold": None}, arrays)


class WrongDim(Registered):
    @property
    def layout(self):
        class Layout(PartitionLayout):
            dims = {"fp": ("query", "feature"), "pp": ("query", "feature"), "attention": ("query", "feature")}

        return Layout(self.part)

    @classmethod
    def layout_of(cls, plain, arrays):
        return cls.from_recipe(plain, arrays).layout


class ChangesItsInput(Sign):
    def velocity(self, y, step=0, out=None):
        result = EmpiricalField.velocity(self, y, step, out)
        y[0, 0] += 1e-9
        return result


class StartsElsewhere(Registered):
    def start(self):
        return super().start() + 0.1


class OtherEvents(Registered):
    def crossings(self, y):
        loss, found = super().crossings(y)
        return loss, {**found, "another": -1.0}


class TooMuchAttention(Registered):
    def attention(self, y):
        return 5 * super().attention(y)

    def observe(self, y, step=0, out=None):
        seen = super().observe(y, step, out)
        return Observation(seen.loss, seen.velocity, 5 * seen.attention)


class Uphill(Sign):
    def velocity(self, y, step=0, out=None):
        loss, dy = EmpiricalField.velocity(self, y, step, out)
        dy *= -1
        return loss, dy


class SeesAnotherLoss(Registered):
    def observe(self, y, step=0, out=None):
        seen = super().observe(y, step, out)
        return Observation(seen.loss * (1 + 1e-15), seen.velocity, seen.attention)


class Remembers(Sign):
    evaluations = 0

    def velocity(self, y, step=0, out=None):
        loss, dy = EmpiricalField.velocity(self, y, step, out)
        self.evaluations += step == 3
        dy[0, 0] += 1e-9 * (self.evaluations % 2) * (step == 3)
        return loss, dy


class TakesNonsense(Registered):
    @classmethod
    def from_options(cls, problem, seed=0, **options):
        return super().from_options(problem, seed, **{**options, "partition": "blocks"})


class MovesWhatIsHeld(Sign):
    def velocity(self, y, step=0, out=None):
        loss, dy = EmpiricalField.velocity(self, y, step, out)
        dy[: self.part.F] += 0.3
        return loss, dy


class NeverMoves(Registered):
    def mobility(self, u):
        return 0.0 * u


MADE_IN = os.environ.setdefault("DYNSIM_TEST_MADE_IN", str(os.getpid()))


class DiesElsewhere(Registered):
    @classmethod
    def from_recipe(cls, plain, arrays):
        if str(os.getpid()) != MADE_IN:
            os.abort()
        return super().from_recipe(plain, arrays)


class OtherElsewhere(Registered):
    @classmethod
    def from_recipe(cls, plain, arrays):
        print("not an answer")
        return super().from_recipe({**plain, "hold": None if str(os.getpid()) == MADE_IN else "pp"}, arrays)
