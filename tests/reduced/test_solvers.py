"""LSODA and DOP853 with sums in a fixed order: against SciPy's, exact solutions, and LAPACK."""

import numpy as np
import pytest
from scipy import integrate

from dynsim.reduced import dop853, lsoda
from dynsim.reduced.kernels import multistep, simd, solvers

pytestmark = pytest.mark.kernel

DRAW = np.random.default_rng(2)


def circle(t, y):
    return np.array([y[1], -y[0]])


def relaxation(t, y):
    """y follows cos t within 1e-5 of a unit of time, and a slow one follows y."""
    return np.array([-1e5 * (y[0] - np.cos(t)), y[0] - y[1]])


def reaction(t, y):
    """Robertson's: rates from 1e-2 to 1e7."""
    a, b, c = y
    slow, fast, back = 0.04 * a, 3e7 * b * b, 1e4 * b * c
    return np.array([back - slow, slow - fast - back, fast])


def integrated(solver, fun, y0, end, rtol, **options):
    """(y at the end, the solver)."""
    run = solver(fun, 0.0, np.array(y0, dtype=float), np.inf, rtol=rtol, atol=1e-3 * rtol, **options)
    while run.t < end:
        assert run.step() is None
    return run.dense_output()(end), run


@pytest.mark.parametrize(
    "fun, y0, end, stiff", [(circle, [0, 1], 20.0, False), (relaxation, [2, 0], 5.0, True), (reaction, [1, 0, 0], 1e5, True)],
    ids=["circle", "relaxation", "reaction"],
)
def test_lsoda_against_scipys_radau(fun, y0, end, stiff):
    exact = integrate.solve_ivp(fun, (0, end), y0, "Radau", rtol=1e-10, atol=1e-14).y[:, -1]
    y, run = integrated(lsoda.LSODA, fun, y0, end, 1e-8)
    theirs = integrate.solve_ivp(fun, (0, end), y0, "LSODA", rtol=1e-8, atol=1e-11)
    # errors of a step add up, by a few hundred where nothing damps them
    np.testing.assert_allclose(y, exact, rtol=3e-6, atol=3e-6 * np.abs(exact).max())
    assert run.method == (lsoda.BDF if stiff else lsoda.ADAMS)  # the right method was found
    assert run.nfev < 1.25 * theirs.nfev  # at no more cost than where the method comes from
    loose = integrated(lsoda.LSODA, fun, y0, end, 1e-4)[0]
    assert np.abs(loose - exact).max() > 3 * np.abs(y - exact).max()  # control: the tolerance counts


def stiffening(t, y):
    """y follows cos t ever more closely."""
    return np.array([-np.exp(t) * (y[0] - np.cos(t)), y[0] - y[1]])


def test_lsoda_turns_to_the_stiff_method_where_scipys_does(monkeypatch):
    def turn(solver, method):
        run = solver(stiffening, 0.0, np.array([2.0, 0.0]), np.inf, rtol=1e-6, atol=1e-6)
        while method(run) == 1:
            run.step()
        return run.t

    theirs = turn(integrate.LSODA, lambda run: run._lsoda_solver._integrator.iwork[19] or 1)  # 1: Adams, 2: BDF; 0 before a step
    np.testing.assert_allclose(turn(lsoda.LSODA, lambda run: run.method + 1), theirs, rtol=1e-6)
    monkeypatch.setattr(lsoda, "DEARER", (2, 2))
    assert turn(lsoda.LSODA, lambda run: run.method + 1) < 0.99 * theirs  # control: what decides


def test_a_jacobian_that_is_given_is_used():
    def slope(t, y, scale=1.0):
        asked.append(t)
        return np.array([[-1e5 * scale, 0.0], [1.0, -1.0]])

    asked = []
    with_it, run = integrated(lsoda.LSODA, relaxation, [2, 0], 5.0, 1e-8, jac=slope)
    assert asked
    without, by_differences = integrated(lsoda.LSODA, relaxation, [2, 0], 5.0, 1e-8)
    np.testing.assert_allclose(with_it, without, rtol=1e-6)
    wrong = integrated(lsoda.LSODA, relaxation, [2, 0], 5.0, 1e-8, jac=lambda t, y: slope(t, y, 2.0))[1]
    assert run.nfev < 1.1 * by_differences.nfev < 0.7 * wrong.nfev  # control: a wrong one makes steps shorter


def test_a_jacobian_at_pace_one_serves_while_the_pace_changes():
    """y' = 1e4 e^t (c(t) - y): the solution follows c whatever the pace; a Jacobian whose pace is not known does not last."""
    pace, formed = np.ones(3), []

    def rate(t, y):
        pace[:] = np.exp(t)
        return pace * 1e4 * (np.sin(t + np.arange(3)) - y)

    def slope(t, y):
        formed.append(t)
        return -1e4 * np.eye(3)

    def run(**options):
        formed.clear()
        solver = lsoda.LSODA(rate, 0.0, np.sin(np.arange(3)), np.inf, rtol=1e-6, atol=1e-6, **options)
        while solver.t < 30.0:
            assert solver.step() is None
        np.testing.assert_allclose(solver.y, np.sin(solver.t + np.arange(3)), atol=1e-5)
        return len(formed), solver.nfev

    known = run(jac=slope, pace=pace)
    unknown = run(jac=lambda t, y: np.exp(t) * slope(t, y))
    assert known[0] < 0.5 * unknown[0] and known[1] < unknown[1]


def test_a_jacobian_is_formed_anew_where_the_pace_is_another(monkeypatch):
    """fun = e^10t x 100 e^-10t (sin t - y): a matrix at today's pace of a Jacobian of long ago is too large, as is the error."""
    pace = np.ones(1)

    def rate(t, y):
        pace[:] = np.exp(10 * t)
        return 100 * (np.sin(t) - y)

    def error():
        solver = lsoda.LSODA(
            rate, 0.0, np.zeros(1), np.inf, rtol=1e-6, atol=1e-6, jac=lambda t, y: np.array([[-100 * np.exp(-10 * t)]]), pace=pace
        )
        while solver.t < 30.0:
            assert solver.step() is None
        return abs(solver.y[0] - (1e4 * np.sin(solver.t) - 100 * np.cos(solver.t)) / (1e4 + 1))

    assert error() < 1e-4
    monkeypatch.setattr(lsoda, "AWAY", np.inf)
    assert error() > 1.0  # control


def test_a_correction_begins_anew_with_another_jacobian(monkeypatch):
    """Rates jump, and the old matrix does not serve: the next one is given nothing of what the old one has found."""

    def rate(t, y):
        return np.array([-(1e3 if t < 1.0 else 1e6) * (y[0] - np.cos(t)), y[0] - y[1]])

    def formed():
        asked = []

        def slope(t, y):
            asked.append(t)
            return np.array([[-1e3 if t < 1.0 else -1e6, 0.0], [1.0, -1.0]])

        integrated(lsoda.LSODA, rate, [1, 0], 3.0, 1e-6, jac=slope)
        return len(asked)

    with_it = formed()
    monkeypatch.setattr(multistep, "clear", lambda out: None)
    assert with_it < formed()  # control


def in_turns(fun, most):
    """What LSODA is given to evaluate `fun` itself, over `most` steps of its own at every call of `step`."""
    left = [most]

    def advance(solver, y, f):
        evaluations, pace = 0, np.ones(f.size)
        while True:
            asked = multistep.advance(solver, pace, f)
            left[0] -= asked == multistep.DONE
            if asked == multistep.SLOPE:
                f[:] = fun(solver[0][multistep.AT], y)
                evaluations += 1
            elif asked != multistep.DONE or left[0] == 0:
                left[0] = left[0] or most
                return asked, evaluations

    return advance


@pytest.mark.parametrize("fun, y0, end", [(relaxation, [2, 0], 5.0), (reaction, [1, 0, 0], 1e4), (circle, [0, 1], 20.0)])
def test_many_steps_at_once_are_the_same_steps(fun, y0, end):
    _, run = integrated(lsoda.LSODA, fun, y0, end, 1e-8)
    steps = int(run.counts[multistep.STEPS])
    _, before = integrated(lsoda.LSODA, fun, y0, 1e-3 * end, 1e-8, advance=in_turns(fun, steps - 1))
    assert before.made == steps - 1 and before.t < end <= run.t
    _, after = integrated(lsoda.LSODA, fun, y0, 1e-3 * end, 1e-8, advance=in_turns(fun, steps))
    assert after.t == run.t and (after.y == run.y).all() and after.nfev == run.nfev and after.lowest < after.made
    dense, of_one = after.dense_output(), run.dense_output()
    assert dense.t_old == of_one.t_old == before.t and (dense(end) == of_one(end)).all()


def test_where_many_steps_fail_the_last_one_that_did_not_is_kept():
    one, many = (
        lsoda.LSODA(lambda t, y: y * y, 0.0, np.ones(1), np.inf, rtol=1e-8, atol=1e-8, advance=advance)
        for advance in (None, in_turns(lambda t, y: y * y, 10**6))
    )
    with np.errstate(all="ignore"):
        while one.status == "running":
            one.step()
        message = many.step()
    assert many.status == "failed" and message in lsoda.FAILS.values()
    assert many.t == one.t and many.y == one.y and many.made == one.counts[multistep.STEPS]


def test_dop853_is_scipys_up_to_rounding():
    found, run = integrated(dop853.DOP853, circle, [0, 1], 20.0, 1e-9)
    theirs, reference = integrated(integrate.DOP853, circle, [0, 1], 20.0, 1e-9)
    assert abs(run.nfev - reference.nfev) <= 12 + 1  # at most one step apart
    np.testing.assert_allclose(found, theirs, atol=1e-8)
    np.testing.assert_allclose(found, [np.sin(20.0), np.cos(20.0)], atol=1e-7)
    assert run.dense_output()(np.array([19.9, 20.0])).shape == (2, 2)


@pytest.mark.parametrize("solver", [lsoda.LSODA, dop853.DOP853])
def test_a_solution_that_ends_fails(solver):
    """y' = y^2 from 1 has a pole at t = 1."""
    run = solver(lambda t, y: y * y, 0.0, np.ones(1), np.inf, rtol=1e-8, atol=1e-8)
    with np.errstate(all="ignore"):
        for _ in range(5000):
            if run.status != "running":
                break
            run.step()
    assert run.status == "failed" and run.t == pytest.approx(1.0, abs=1e-3)


def test_coefficients_of_low_orders():
    assert lsoda.coefficients(lsoda.ADAMS, 1) == ((1.0, 1.0), (0.0, 2.0, 12.0))
    assert lsoda.coefficients(lsoda.ADAMS, 2)[0] == (0.5, 1.0, 0.5)  # the trapezoidal rule
    assert lsoda.coefficients(lsoda.ADAMS, 3)[0] == (5 / 12, 1.0, 3 / 4, 1 / 6)  # Adams and Moulton's (5, 8, -1) / 12
    assert lsoda.coefficients(lsoda.BDF, 2)[0] == (2 / 3, 1.0, 1 / 3)
    for method, most in zip((lsoda.ADAMS, lsoda.BDF), lsoda.ORDERS, strict=True):
        for order in range(1, most + 1):
            weights, tests = lsoda.coefficients(method, order)
            assert len(weights) == order + 1 and weights[1] == 1.0 and min(tests[1:]) > 0


def by_column(J, columns):
    """Some columns of a matrix as kernels.solvers takes them."""
    return np.pad(J[:, columns].T, ((0, 0), (0, simd.whole_vectors(len(J), simd.WIDTH) - len(J))))


@pytest.mark.parametrize("n, m", [(1, 1), (2, 2), (15, 15), (16, 16), (17, 17), (50, 50), (50, 17), (20, 1), (5, 0)])
def test_newtons_correction_is_lapacks(n, m):
    """Of a matrix all of whose columns but m are zero, (1 - h first J) x = h f - history[1] - found."""
    J, (f, found, slope), pace = np.zeros((n, n)), DRAW.normal(size=(3, n)), DRAW.uniform(0.5, 2.0, n)
    columns = np.sort(DRAW.choice(n, m, replace=False))
    J[:, columns] = DRAW.normal(size=(n, m))
    factors, pivots = np.zeros((m, simd.whole_vectors(m, simd.WIDTH))), np.zeros(m, dtype=np.int64)
    held = by_column(J, columns)
    assert solvers.factorise(held, columns, pace, 0.7, factors, pivots)
    matrix = np.eye(n) - 0.7 * pace[:, None] * J
    expected = np.linalg.solve(matrix, 2.0 * f - slope - found)
    history, y, before, weight = np.array([DRAW.normal(size=n), slope]), np.empty(n), found.copy(), np.ones(n)
    of_all = held, columns, pace, 0.7, factors, pivots
    size = solvers.newton(history, 0.35, 2.0, f, found, y, weight, of_all, 0.9)
    np.testing.assert_allclose(found - before, 0.9 * expected, rtol=0, atol=1e-14 * n * np.linalg.cond(matrix))
    np.testing.assert_allclose(y, history[0] + 0.35 * found, rtol=1e-14)
    assert size == pytest.approx(0.9 * np.abs(expected).max(), rel=1e-12 * np.linalg.cond(matrix))
    singular, room = by_column(np.eye(n), np.arange(n)), np.zeros((n, simd.whole_vectors(n, simd.WIDTH)))  # control
    assert not solvers.factorise(singular, np.arange(n), np.ones(n), 1.0, room, np.arange(n))


def test_norms_and_steps():
    v, weight = DRAW.normal(size=37), DRAW.random(37)
    assert solvers.norm(v, weight) == np.abs(v * weight).max()
    assert np.isnan(solvers.norm(np.array([1.0, np.nan, 2.0]), np.ones(3)))
    assert solvers.rms(v, weight) == pytest.approx(np.sqrt(((v * weight) ** 2).mean()), rel=1e-14)
    J = DRAW.normal(size=(37, 37))
    pace, before = DRAW.random((2, 37))
    expected, columns = ((np.abs(J) / weight).sum(axis=1) * weight * pace).max(), np.arange(37)
    assert solvers.matrix_norm(by_column(J, columns), columns, pace, weight) == pytest.approx(expected, rel=1e-13)
    J[:, ::2] = 0.0
    few = solvers.matrix_norm(by_column(J, columns[1::2]), columns[1::2], pace, weight)
    assert few == pytest.approx(((np.abs(J) / weight).sum(axis=1) * weight * pace).max(), rel=1e-13) and few < expected
    assert solvers.faster(pace, before) == pace.max() / before.max()
    slopes, weights = DRAW.normal(size=(13, 37)), DRAW.normal(size=13)
    np.testing.assert_allclose(solvers.step(v, 0.3, slopes, weights, 12), v + 0.3 * (weights[:12] @ slopes[:12]), atol=1e-14)
    assert solvers.root(81.0, 4) == pytest.approx(3.0, rel=1e-15) and solvers.root(0.0, 3) < 1e-100


def test_copies_multiples_differences():
    v, w = DRAW.normal(size=(2, 37))
    for kernel, given, expected in (
        (solvers.copy, (v,), v), (solvers.multiply, (v, 0.3), 0.3 * v), (solvers.subtract, (v, w), v - w),
        (solvers.clear, (), 0 * v),
    ):
        out = np.full(37, np.nan)
        kernel(*given, out)
        assert (out == expected).all()


def test_prediction_is_taylors_and_goes_back():
    history = DRAW.normal(size=(7, 5))
    kept = history.copy()
    y, found = np.empty(5), np.ones(5)
    assert solvers.predict(history, 4, np.ones(5), y, found) == np.abs(history[0]).max()
    np.testing.assert_allclose(history[0], kept[:5].sum(axis=0), rtol=1e-13)
    assert (y == history[0]).all() and not found.any()
    np.testing.assert_allclose(history[1], (kept[1:5] * np.arange(1, 5)[:, None]).sum(axis=0), rtol=1e-13)
    solvers.retract(history, 4)
    np.testing.assert_allclose(history, kept, atol=1e-14)
    solvers.rescale(history, 4, 0.5)
    np.testing.assert_allclose(history[:5], kept[:5] * 0.5 ** np.arange(5)[:, None], atol=1e-14)
    before, corrections = history.copy(), DRAW.normal(size=5)
    solvers.correct(history, 4, np.append(np.nan, corrections), 1, y)
    np.testing.assert_allclose(history[:5], before[:5] + corrections[:, None] * y, rtol=1e-13)
    assert (history[5:] == before[5:]).all()  # control: rows beyond the order stay


def test_a_rate_on_the_clock():
    Y, limit = np.array([3.0, -0.5, -9.0, 1.0, 0.25]), 2.0
    assert solvers.within(Y, limit).tolist() == [2.0, -0.5, -2.0, 1.0, 0.25] and Y[0] == 3.0
    assert solvers.largest(Y) == 9.0 and np.isnan(solvers.largest(np.array([1.0, np.nan, 5.0])))
    v, speed, t0, tau = DRAW.normal(size=4), 0.7, 0.01, 3.0
    dY = np.append(v, np.nan)
    solvers.on_clock(dY, speed, t0, tau)
    dt = 1.0 / (speed + 1.0 / (t0 * np.exp(tau)))  # dt/ds; t + t0 = t0 exp(tau)
    np.testing.assert_allclose(dY, np.append(v * dt, dt / (t0 * np.exp(tau))), rtol=1e-14)


def test_a_step_is_interpolated_from_rows_of_two_lengths():
    """The Taylor polynomial of h^j / j! times the derivatives, where the last row is of a longer step: to rounding."""
    derivatives, h, longer, ahead = np.array([[1.0, -2.0], [0.5, 3.0], [-4.0, 1.0], [2.0, -6.0]]), 1e-3, 0.7, -0.6
    factorials = np.array([1.0, 1.0, 2.0, 6.0])
    lengths = np.array([h, h, h, longer])
    history = derivatives * (lengths ** np.arange(4) / factorials)[:, None]
    expected = (ahead ** np.arange(4) / factorials) @ derivatives
    np.testing.assert_allclose(solvers.interpolate(history, lengths, ahead), expected, rtol=1e-13)
    assert np.abs(solvers.interpolate(history, np.full(4, h), ahead) - expected).max() > 1e3  # control: one length for all
