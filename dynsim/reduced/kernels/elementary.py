"""Elementary functions of dynsim's own: the same bits whatever the processor, the C library, and NumPy's choice of instructions.

All is +, -, *, /, fma and shifts of exponents, in a fixed order. `exp` and `power` take vectors (simd.py) and numbers,
`expm1_of_vector` vectors, the others numbers. Errors are those with fused multiply-add, against exact values
(tests/reduced/test_elementary.py).
"""

import math

from numba import njit

from dynsim.reduced.kernels.simd import clamp, fma, times_power

LOG2E = 1.4426950408889634
LN2_HI = 6.93147180369123816490e-01  # ln 2 in two parts (Cody and Waite): the first has 21 zero bits at its end
LN2_LO = 1.90821492927058770002e-10
EXP_LEAST, EXP_MOST = -708.0, 709.0
POWER_LEAST, POWER_MOST = -1021.0, 1022.0
ROUND = 6755399441055744.0  # 1.5 x 2^52: adding it rounds to an integer, which then stands in the low bits
ROOT_HALF = 0.7071067811865476
INVERSE_FACTORIALS = tuple(1.0 / math.factorial(k) for k in range(15, 1, -1))


@njit(cache=True, nogil=True, error_model="numpy")
def two_to(r, shifted):
    """2^(k + r) for abs(r) <= 1/2, k in the low bits of `shifted`."""
    return times_power(fma(slope_of_two_to(r), r, 1.0), shifted)


@njit(cache=True, nogil=True, error_model="numpy")
def slope_of_two_to(r):
    """h(r) in 2^r = 1 + r h(r) for abs(r) <= 1/2, interpolated at eleven Chebyshev nodes (relative error of 2^r: 2e-17)."""
    h = fma(r, 4.4549605981865356e-10, 7.072585949269256e-09)
    h = fma(h, r, 1.0178062445845774e-07)
    h = fma(h, r, 1.321544258792169e-06)
    h = fma(h, r, 1.525273382983612e-05)
    h = fma(h, r, 1.540353044173605e-04)
    h = fma(h, r, 1.3333558146416936e-03)
    h = fma(h, r, 9.618129107606888e-03)
    h = fma(h, r, 5.55041086648216e-02)
    h = fma(h, r, 2.4022650695910097e-01)
    return fma(h, r, 6.931471805599453e-01)


@njit(cache=True, nogil=True, error_model="numpy")
def exp(x):
    """exp(x) to 1.25 ulp (1.5 without fused multiply-add) for x in [-708, 709], the value at the edge beyond it, NaN for NaN."""
    x = clamp(x, EXP_LEAST, EXP_MOST)
    shifted = fma(x, LOG2E, ROUND)
    k = shifted - ROUND
    r = fma(k, -LN2_LO, fma(k, -LN2_HI, x))
    return two_to(r * LOG2E, shifted)


@njit(cache=True, nogil=True, error_model="numpy")
def power(z, x):
    """2^(z x) for z x in [-1021, 1022], to one rounding of z x, NaN for NaN."""
    shifted = fma(z, x, ROUND)
    return two_to(fma(z, x, ROUND - shifted), shifted)


@njit(cache=True, nogil=True, error_model="numpy")
def log(x):
    """log(x) to 1 ulp for a number x > 0; minus infinity for 0, NaN below it.

    With x = 2^k (1 + f), f about zero, and s = f / (2 + f): log(1 + f) = 2 artanh(s) = f - f^2 / 2 + s (f^2 / 2 + R),
    R = 2 (s^2 / 3 + s^4 / 5 + ..)."""
    if not x > 0.0:
        return -math.inf if x == 0.0 else math.nan
    if x == math.inf:
        return x
    m, k = math.frexp(x)
    if m < ROOT_HALF:
        m, k = 2.0 * m, k - 1
    f = m - 1.0
    s = f / (2.0 + f)
    t = s * s
    R = fma(t, 2.0 / 23.0, 2.0 / 21.0)
    R = fma(R, t, 2.0 / 19.0)
    R = fma(R, t, 2.0 / 17.0)
    R = fma(R, t, 2.0 / 15.0)
    R = fma(R, t, 2.0 / 13.0)
    R = fma(R, t, 2.0 / 11.0)
    R = fma(R, t, 2.0 / 9.0)
    R = fma(R, t, 2.0 / 7.0)
    R = fma(R, t, 2.0 / 5.0)
    R = fma(R, t, 2.0 / 3.0) * t
    half = 0.5 * f * f
    return fma(float(k), LN2_HI, f - (half - fma(s, half + R, k * LN2_LO)))


@njit(cache=True, nogil=True, error_model="numpy")
def log1p(x):
    """log(1 + x) to 2 ulp for a number x > -1; as log(1 + x) elsewhere."""
    u = 1.0 + x
    if not 0.0 < u < math.inf:
        return log(u)
    lost = x - (u - 1.0) if x < 1.0 else 1.0 - (u - x)  # by rounding u; exact
    return log(u) + lost / u


@njit(cache=True, nogil=True, error_model="numpy")
def expm1(x):
    """exp(x) - 1 to 4 ulp for a number x in [-708, 709], the value at the edge beyond it, NaN for NaN."""
    if abs(x) >= 0.5 or x != x:
        return exp(x) - 1.0
    h = 1.0 / 20922789888000.0  # 1 / 16!
    for k in INVERSE_FACTORIALS:
        h = fma(h, x, k)
    return fma(h * x, x, x)


@njit(cache=True, nogil=True, error_model="numpy")
def expm1_of_vector(x):
    """exp(x) - 1 = 2^k (2^r - 1) + (2^k - 1) to 4 ulp for a vector in [-708, 709], as at the edge beyond it, NaN for NaN."""
    x = clamp(x, EXP_LEAST, EXP_MOST)
    shifted = fma(x, LOG2E, ROUND)
    k = shifted - ROUND
    r = fma(k, -LN2_LO, fma(k, -LN2_HI, x)) * LOG2E
    scale = times_power(x * 0.0 + 1.0, shifted)
    return fma(scale, r * slope_of_two_to(r), scale - 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _lost(x):
    """x^2 - 1 - 2^-29: of x = 1 + 2^-30 only a fused multiply-add keeps 2^-60."""
    return fma(x, x, -1.0 - 2.0**-29)


def is_fused():
    """Whether fma rounds once."""
    return _lost(1.0 + 2.0**-30) != 0.0
