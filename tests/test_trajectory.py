"""Which steps are kept, and what a Trajectory insists on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsim import InputError, Trajectory
from dynsim.trajectory import steps_to_keep


@given(st.integers(0, 10**6))
def test_default_is_log_spaced(steps):
    kept = steps_to_keep(steps)
    assert kept[0] == 0 and kept[-1] == steps and (np.diff(kept) > 0).all() and len(kept) <= 61 and kept.dtype == np.int64
    # neighbours keep their ratio steps^(1/59); rounding moves each by half a step
    ratio = max(1, steps) ** (1 / 59)
    assert (kept[2:] <= ratio * (kept[1:-1] + 0.5) + 0.5 + 1e-6).all()


@pytest.mark.parametrize(
    "steps, keep, expected",
    [
        (0, None, [0]),
        (1, None, [0, 1]),
        (5, 1, [0, 1, 2, 3, 4, 5]),
        (5, 2, [0, 2, 4, 5]),
        (5, 9, [0, 5]),
        (5, [], [0, 5]),
        (5, [3, 1, 3], [0, 1, 3, 5]),
        (5, np.array([5, 0]), [0, 5]),
        (5, range(2, 4), [0, 2, 3, 5]),
        (np.int64(3), np.int32(3), [0, 3]),
    ],
)
def test_kept_steps(steps, keep, expected):
    np.testing.assert_array_equal(steps_to_keep(steps, keep), expected)


@pytest.mark.parametrize(
    "steps, keep, rule",
    [
        (-1, None, "steps must be .* got -1: take"),
        (1.5, None, "steps must be .* got 1.5: take"),
        (True, None, "steps must be .* got True: take"),
        (None, None, "steps must be .* got None: take"),
        (5, 0, "keep must be .* got 0: take"),
        (5, -2, "keep must be .* got -2: take"),
        (5, 1.5, "keep must be .* got 1.5: take"),
        (5, np.nan, "keep must be .* got nan: take"),
        (5, "a", "keep must be .* got 'a': take"),
        (5, True, "keep must be .* got True: take"),
        (5, [6], r"from 0 to steps=5, got \[6\]: drop"),
        (5, [-1], r"from 0 to steps=5, got \[-1\]: drop"),
        (5, [1.5], r"from 0 to steps=5, got \[1.5\]: drop"),
    ],
)
def test_bad_input_is_named(steps, keep, rule):
    with pytest.raises(InputError, match=rule):
        steps_to_keep(steps, keep)


def arrays(T):
    return np.arange(T), np.arange(T), np.ones(T), np.ones((T, 3, 4)), np.ones((T, 3, 3)), np.ones((T, 3, 4))


def test_time_leads_every_array():
    assert len(Trajectory(*arrays(5))) == 5
    for i, name in enumerate(("step", "loss", "fp", "pp", "attention"), start=1):
        broken = list(arrays(5))
        broken[i] = broken[i][:4]
        with pytest.raises(InputError, match=f"time leads every array: {name} has 4 entries for 5 times"):
            Trajectory(*broken)


def test_is_frozen():
    traj = Trajectory(*arrays(2))
    with pytest.raises(AttributeError):
        traj.loss = 0
    with pytest.raises(ValueError, match="read-only"):
        traj.fp[0] = 1
    assert traj.meta == {} and traj.meta is not Trajectory(*arrays(2)).meta


def test_arrays_of_the_caller_stay_as_they_were():
    arrays = [np.zeros(2), np.arange(2), np.ones(2), *(np.zeros((2, 1, 3)) for _ in range(3))]
    run = Trajectory(*arrays)
    arrays[2][0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        run.loss[0] = 1.0
