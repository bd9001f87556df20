"""Steps of LSODA (reduced/lsoda.py): prediction, correction, test of the error, and the choice of step, order and method.

`advance` goes on until it needs dy/dt or a Jacobian, returns what it asks for, and is called again with the answer: the function
that is integrated may be any. As Python it compiles only what it needs; in a kernel it is compiled with it. What it keeps between
calls stands in arrays, whose elements have the names below: x (real numbers), n (whole ones), rows (vectors); in history (orders
+ 2, n), h^j / j! times the j-th derivative of y (Nordsieck); and the methods' coefficients in table, by method and order: three
constants of error tests, then how much of a correction each row of the history gets. pace (n,): see lsoda.LSODA.
"""

import numpy as np
from numba.extending import register_jitable

from dynsim.reduced.kernels.simd import borrowed
from dynsim.reduced.kernels.solvers import (
    clear,
    copy,
    correct,
    factorise,
    faster,
    iterate,
    multiply,
    newton,
    norm,
    predict,
    rescale,
    retract,
    root,
    set_weights,
    subtract,
)

ADAMS, BDF = 0, 1
ORDERS = 12, 5  # at most
STABLE = (0.5, 0.575, 0.55, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.025)  # h x Lipschitz constant of Adams' methods
UNIT = 2.0**-52
ITERATIONS = 3  # of the corrector, at most
FAILURES = 10  # in a row, after which the solver gives up
OLD = 50  # steps after which a Jacobian is formed anew
DRIFT = 0.3  # relative change of h x leading coefficient x pace after which its matrix is factorised anew
WAIT = 20  # steps between two looks at the other method

# what `advance` returns
(
    DONE,  # a step
    SLOPE,  # it asks for dy/dt at time x[AT] and state rows[TRIAL]
    JACOBIAN,  # and for the Jacobian there
    DIVERGES,  # corrections do not converge
    FAILS,  # the error is too large
) = range(5)

# n[NEXT], where it goes on
(
    NEW_STEP,
    PREDICTED,  # with dy/dt as predicted
    FORMED,  # with the Jacobian there
    CORRECTED,  # with dy/dt as corrected
    AFRESH,  # with dy/dt where the step starts, after several errors
) = range(5)

ROWS = (
    WEIGHT,  # one over the error allowed
    ATOL,
    Y,  # the state reached
    TRIAL,  # the state to try
    FOUND,  # what corrections have added to h dy/dt
    SPARE,  # the last of these before the order may rise
    CHANGE,  # the difference of both
    PACE_THEN,  # where the matrix was factorised
    PACE_FORMED,  # where the Jacobian was formed
) = tuple(range(9))

REALS = (
    T,
    T_OLD,  # before the last step
    H,
    H_USED,  # in the last step
    AT,
    RTOL,
    AWAY,  # change of pace after which a Jacobian is formed anew
    DEARER,  # by how much steps of backward differentiation must be longer, as they cost more
    SCALE,  # h x leading coefficient where the matrix was factorised
    RATIO,  # the same now, over that
    SHARE,  # of a correction, what is taken
    TRUSTED,  # rate of convergence
    RATE,  # as seen in this step
    BEFORE,  # change by the last iteration
    SIZE,  # norm of the prediction
    MOST,  # by which the step may grow
    LIPSCHITZ,  # constant in the last steps
    SEEN,  # since the order changed
    NORM,  # of the Jacobian
) = tuple(range(19))

COUNTS = (
    METHOD,
    ORDER,
    ORDER_USED,  # in the last step
    WAITING,  # steps until the order may change
    STEPS,
    LOW,  # steps after which the order was one
    FORMED_AT,  # steps when the Jacobian was formed
    LOOK,  # steps until a look at the other method
    HELD,  # whether stability holds the step
    STALE,  # whether the matrix is to be factorised anew
    MISSING,  # whether its Jacobian is to be formed first
    FRESH,  # whether it was, in this step
    GIVEN,  # whether the caller has one
    ITERATION,
    FAILED,  # times that corrections did not converge in this step
    ERRORS,  # times that its error was too large
    NEXT,
) = tuple(range(17))

NO_SOLVER = (
    np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros((0, 0)), tuple(np.zeros((len(ROWS), 0))), np.zeros((0, 0, 0)),
    np.zeros((0, 0)), np.zeros(0, dtype=np.int64), np.zeros((0, 0)), np.zeros(0, dtype=np.int64),
)  # for functions that also serve without one


@register_jitable(nogil=True, error_model="numpy")
def advance(solver, pace, f):
    """Go on with a step; returns what is asked for, or how it ended.

    solver: x, n, history, rows, table; the columns of the Jacobian at pace one that are not zero, (m, n in whole vectors), and
    which these are, (m,); room for factors (m, m in whole vectors) and pivots (m,). f (n,): dy/dt where it was asked for;
    overwritten."""
    x, n, history, rows, table, J, columns, factors, pivots = borrowed(solver)
    pace, f = borrowed(pace), borrowed(f)
    if n[NEXT] == NEW_STEP:
        n[FAILED], n[ERRORS] = 0, 0
        set_weights(history[0], x[RTOL], rows[ATOL], rows[WEIGHT])
    elif n[NEXT] == AFRESH:
        multiply(f, x[H], history[1])
        take(n[METHOD], 1, x, n, table)
    else:
        if n[NEXT] == PREDICTED and not has_jacobian(x, n, rows, pace):
            return JACOBIAN
        asked, change = corrected(x, n, history, rows, table, pace, f, J, columns, factors, pivots)
        if asked == SLOPE:
            return SLOPE
        error = change / table[n[METHOD], n[ORDER], 1]
        done, errors = asked == DONE and error <= 1.0, 0
        if not done:
            retract(history, n[ORDER])
            x[MOST] = 2.0
        if asked == DIVERGES:
            n[FAILED] += 1
            if n[FAILED] == FAILURES or not np.isfinite(x[H]) or x[T] + 0.25 * x[H] == x[T]:
                return DIVERGES
            n[STALE] = n[METHOD] == BDF
            lengthen(0.25, x, n, history)
        elif not done:
            n[ERRORS] += 1
            errors = n[ERRORS]
            if errors == FAILURES or x[T] + 0.1 * x[H] == x[T]:
                return FAILS
            if errors > 2:
                x[H] *= 0.1
                copy(history[0], rows[TRIAL])
                x[AT], n[STALE], n[MISSING], n[WAITING], n[NEXT] = x[T], n[METHOD] == BDF, 1, 5, AFRESH
                return SLOPE
        if (done and accepted(error, x, n, history, rows, table)) or errors:
            change_order(error, errors, x, n, history, rows, table)
        if done:
            n[LOW] += n[ORDER] == 1
            return DONE
    if n[METHOD] == BDF and n[STEPS] >= n[FORMED_AT] + OLD:
        n[STALE], n[MISSING] = 1, 1
    x[SIZE] = predict(history, n[ORDER], rows[WEIGHT], rows[TRIAL], rows[FOUND])
    x[AT], n[NEXT] = x[T] + x[H], PREDICTED
    return SLOPE


@register_jitable(nogil=True, error_model="numpy")
def has_jacobian(x, n, rows, pace):
    """Begin to correct a prediction; whether the Jacobian serves, where a matrix is to be factorised."""
    n[FRESH], n[ITERATION], x[RATE], x[BEFORE], x[SHARE] = 0, 0, 0.0, 0.0, 1.0
    if n[METHOD] == ADAMS:
        return True
    ratio = x[RATIO] * faster(pace, rows[PACE_THEN])
    if not n[STALE] and abs(ratio - 1.0) <= DRIFT:
        if n[GIVEN]:
            x[SHARE] = 2.0 / (1.0 + ratio)
        return True
    n[NEXT] = FORMED
    if not n[MISSING] and 1.0 / x[AWAY] < faster(pace, rows[PACE_FORMED]) < x[AWAY]:
        return True
    n[FRESH], n[MISSING], n[FORMED_AT] = 1, 0, n[STEPS]
    copy(pace, rows[PACE_FORMED])
    return False


@register_jitable(nogil=True, error_model="numpy")
def corrected(x, n, history, rows, table, pace, f, J, columns, factors, pivots):
    """One iteration of the corrector: (DONE, the size of all corrections), or SLOPE or DIVERGES."""
    m, method, found, weight = n[ITERATION], n[METHOD], rows[FOUND], rows[WEIGHT]
    known = table[method, n[ORDER]]
    first, test = known[3], known[1]
    if n[NEXT] == FORMED:
        n[STALE], x[RATIO], x[TRUSTED], x[SCALE] = 0, 1.0, 0.7, x[H] * first
        copy(pace, rows[PACE_THEN])
        if not factorise(J, columns, pace, x[SCALE], factors, pivots):
            return DIVERGES, 0.0
    if method == BDF:
        matrix = J, columns, rows[PACE_THEN], x[SCALE], factors, pivots
        change = newton(history, first, x[H], f, found, rows[TRIAL], weight, matrix, x[SHARE])
    else:
        change = iterate(history, first, x[H], f, found, rows[TRIAL], weight)
    done = change <= 100 * x[SIZE] * UNIT
    if not done and (m > 0 or method == BDF):
        if m > 0:
            rate = change / x[BEFORE] if change <= 1024 * x[BEFORE] else 1024.0
            x[RATE], x[TRUSTED] = max(x[RATE], rate), max(0.2 * x[TRUSTED], rate)
        done = change * min(1.0, 1.5 * x[TRUSTED]) <= test * 0.5 / (n[ORDER] + 2)
        if done:
            x[SEEN] = max(x[SEEN], x[RATE] / abs(x[H] * first))
            if x[SEEN] > 0.0:
                x[LIPSCHITZ] = x[SEEN]
    if done:
        return DONE, change if m == 0 else norm(found, weight)
    if m + 1 < ITERATIONS and (m == 0 or change <= 2 * x[BEFORE]):
        n[ITERATION], x[BEFORE], n[NEXT] = m + 1, change, CORRECTED
        return SLOPE, 0.0
    if method == ADAMS or n[FRESH]:
        return DIVERGES, 0.0
    n[STALE], n[MISSING], n[NEXT] = 1, 1, PREDICTED
    copy(history[0], rows[TRIAL])
    clear(found)
    return SLOPE, 0.0


@register_jitable(nogil=True, error_model="numpy")
def accepted(error, x, n, history, rows, table):
    """Take a step; whether the order is to be chosen for the next."""
    x[T_OLD] = x[T]
    x[T] += x[H]
    n[STEPS] += 1
    x[H_USED], n[ORDER_USED], n[NEXT] = x[H], n[ORDER], NEW_STEP
    correct(history, n[ORDER], table[n[METHOD], n[ORDER]], 3, rows[FOUND])
    copy(history[0], rows[Y])
    n[LOOK] -= 1
    if n[LOOK] < 0 and turned(error, x, n, history, table):
        x[MOST] = 10.0
        return False
    n[WAITING] -= 1
    if n[WAITING] == 1 and n[ORDER] < ORDERS[n[METHOD]]:
        copy(rows[FOUND], rows[SPARE])
    return n[WAITING] == 0


@register_jitable(nogil=True, error_model="numpy")
def take(method, order, x, n, table):
    """Another method or order."""
    x[RATIO] *= table[method, order, 3] / table[n[METHOD], n[ORDER], 3]
    n[METHOD], n[ORDER] = method, order


@register_jitable(nogil=True, error_model="numpy")
def lengthen(factor, x, n, history):
    """Take a step longer by a factor, as far as it may grow, and Adams' method stays stable."""
    factor = min(factor, x[MOST])
    if n[METHOD] == ADAMS:
        n[HELD] = 0
        stiff = max(abs(x[H]) * x[LIPSCHITZ], 1e-6)
        if factor * stiff * 1.00001 >= STABLE[n[ORDER] - 1]:
            factor, n[HELD] = STABLE[n[ORDER] - 1] / stiff, 1
    rescale(history, n[ORDER], factor)
    x[H] *= factor
    x[RATIO] *= factor
    n[WAITING] = n[ORDER] + 1


@register_jitable(nogil=True, error_model="numpy")
def longer(error, order, margin):
    """By how much a step may grow where the error grows with its power `order`."""
    return 1.0 / (margin * root(error, order) + margin * 1e-6)


@register_jitable(nogil=True, error_model="numpy")
def change_order(error, errors, x, n, history, rows, table):
    """Choose the order that allows the longest step; errors: how many tests have failed."""
    q, highest, known, weight = n[ORDER], ORDERS[n[METHOD]], table[n[METHOD], n[ORDER]], rows[WEIGHT]
    same, up, down = longer(error, q + 1, 1.2), 0.0, 0.0
    if errors == 0 and q < highest:
        subtract(rows[FOUND], rows[SPARE], rows[CHANGE])
        up = longer(norm(rows[CHANGE], weight) / known[2], q + 2, 1.4)
    if q > 1:
        down = longer(norm(history[q], weight) / known[0], q, 1.3)
    stiff = max(abs(x[H]) * x[LIPSCHITZ], 1e-6)
    if n[METHOD] == ADAMS:
        if q < highest:
            up = min(up, STABLE[q] / stiff)
        same = min(same, STABLE[q - 1] / stiff)
        if q > 1:
            down = min(down, STABLE[q - 2] / stiff)
        x[SEEN] = 0.0
    if up > max(same, down):
        if up < 1.1:
            n[WAITING] = 3
            return
        multiply(rows[FOUND], known[3 + q] / (q + 1), history[q + 1])
        order, factor = q + 1, up
    else:
        order, factor = (q, same) if same >= down else (q - 1, min(down, 1.0) if errors else down)
        bound = n[METHOD] == ADAMS and factor * stiff * 1.00001 >= STABLE[order - 1]
        if errors == 0 and not bound and factor < 1.1:
            n[WAITING] = 3
            return
        if errors >= 2:
            factor = min(factor, 0.2)
    if order != q:
        take(n[METHOD], order, x, n, table)
    lengthen(factor, x, n, history)
    if errors == 0:
        x[MOST] = 10.0


@register_jitable(nogil=True, error_model="numpy")
def turned(error, x, n, history, table):
    """Turn to the other method where it allows much longer steps."""
    q = n[ORDER]
    if q > ORDERS[BDF]:
        return False
    # constants of the errors of a step: of the correction, in units of the last row of the history
    adams_error, bdf_error = table[ADAMS, q, 1] * table[ADAMS, q, 3 + q], table[BDF, q, 1] * table[BDF, q, 3 + q]
    if n[METHOD] == ADAMS:
        if error > 100 * x[SIZE] * UNIT and x[SEEN] > 0.0:
            here = adams_step(longer(error, q + 1, 1.2), x[LIPSCHITZ], x, n)
            factor = longer(error * adams_error / bdf_error, q + 1, 1.2)
            if factor < x[DEARER] * here:
                return False
        elif n[HELD]:
            factor = 2.0
        else:
            return False
        method = BDF
    else:
        if x[NORM] * abs(x[H]) > 1.0:
            return False  # Adams' steps could be at most .575 times this one, the next is at least 1 / 1.2 times it
        scaled = error * bdf_error / adams_error
        factor = adams_step(longer(scaled, q + 1, 1.2), x[NORM], x, n)
        if factor < longer(error, q + 1, 1.2):
            return False
        if root(max(1e-3, factor), q + 1) * scaled <= 1000 * UNIT * x[SIZE]:
            return False
        method = ADAMS
    n[LOOK], x[LIPSCHITZ] = WAIT, 0.0
    take(method, q, x, n, table)
    lengthen(factor, x, n, history)
    n[STALE], n[MISSING], n[WAITING] = method == BDF, 1, q + 1
    return True


@register_jitable(nogil=True, error_model="numpy")
def adams_step(factor, lipschitz, x, n):
    """A factor of the step, as far as Adams' method stays stable."""
    stiff = lipschitz * abs(x[H])
    bound = STABLE[n[ORDER] - 1] / stiff if stiff * factor > 1e-5 else 2 * factor
    return min(factor, bound)
