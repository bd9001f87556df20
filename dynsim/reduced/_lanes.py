"""What kernels need and numba lacks: several neighbouring numbers as one value, and counters that threads share.

Queries do not know of each other, so a kernel can be written for one of them and run on several at once: `x` below holds one
number for each, +, -, *, / act lane by lane, and the compiler keeps it in vector registers. There are two widths. Every function
here is defined by its body, which is what runs with NUMBA_DISABLE_JIT=1 (x is then an array); under @njit LLVM code of the
same meaning takes its place. Nothing is reordered or fused but by `fma`: a lane's bits depend neither on its neighbours, nor on
how many there are, nor on what else is compiled with it.

Tables are C-contiguous arrays, in which rows follow each other as wide as x is. Indices are not checked, nor counted from the
end when negative. `like`: any x, for its width.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

WIDE, NARROW = 16, 8  # two registers of AVX-512, four of AVX2: enough independent work to hide latencies; and half of that


def wide(value):
    """`value` in WIDE lanes."""
    return np.full(WIDE, value)


def narrow(value):
    """`value` in NARROW lanes."""
    return np.full(NARROW, value)


def width(like):
    """How many lanes x has."""
    return like.size


def fma(a, b, c):
    """a b + c, rounded once where the processor can."""
    return a * b + c


def times_power(x, shifted):
    """x 2^k, k the whole number in the low bits of `shifted`; x of either sign, x and the result normal numbers."""
    return (x.view(np.int64) + (shifted.view(np.int64) << 52)).view(np.float64)


def maximum(x, y):
    """The larger; x where either is NaN."""
    return np.where(x < y, y, x)


def clamped(x, low, high):
    """x, or the bound that it passes; NaN stays."""
    x = np.where(x < low, low, x)
    return np.where(x > high, high, x)


def where_equal(x, value, a, b):
    """a where x = value, else b."""
    return np.where(x == value, a, b)


def any_less(x, y):
    """Whether x < y in any lane."""
    return bool(np.any(x < y))


def span(array, first, like):
    """Neighbours in an array of doubles, or of bytes taken as numbers, from its element `first` on."""
    return array.reshape(-1)[first : first + like.size].astype(np.float64)


def put_span(array, first, x):
    """Write x there."""
    array.reshape(-1)[first : first + x.size] = x


def count_up(counter, i):
    """counter[i], which goes up by one: every thread that asks is told another number, and sees what others wrote before."""
    value = int(counter[i])
    counter[i] += 1
    return value


def count(counter, i):
    """counter[i] as it is now, with all that others wrote before they changed it."""
    return int(counter[i])


def change(counter, i, old, new):
    """Whether counter[i] was `old`; then it is `new` from here on."""
    if counter[i] != old:
        return False
    counter[i] = new
    return True


@njit(cache=True, nogil=True)
def at(array, i):
    """array[i] for i >= 0, which the compiler is not told otherwise: it would provide for counting from the end."""
    return array[np.uintp(i)]


@njit(cache=True, nogil=True)
def row(table, i, like):
    """Row i of a table."""
    return span(table, i * width(like), like)


@njit(cache=True, nogil=True)
def put(table, i, x):
    """Write x to row i of a table."""
    put_span(table, i * width(x), x)


@njit(cache=True, nogil=True)
def new_table(rows):
    """An uninitialised table of so many wide rows that starts at a cache line."""
    space = np.empty(rows * WIDE + 7)
    skip = 7 - (space.ctypes.data // 8 + 7) % 8
    return space[skip : skip + rows * WIDE].reshape(rows, WIDE)


@njit(cache=True, nogil=True)
def columns(array, r, p0, like, spare):
    """array[r, p0..], zero beyond its end; spare: a table of one row."""
    if p0 + width(like) <= array.shape[1]:
        return span(array, r * array.shape[1] + p0, like)
    for v in range(width(like)):
        spare[0, v] = array[r, p0 + v] if p0 + v < array.shape[1] else 0.0
    return row(spare, 0, like)


@njit(cache=True, nogil=True)
def put_columns(array, r, p0, x, spare):
    """Write x to array[r, p0..], as far as there are columns."""
    if p0 + width(x) <= array.shape[1]:
        put_span(array, r * array.shape[1] + p0, x)
    else:
        put(spare, 0, x)
        for v in range(array.shape[1] - p0):
            array[r, p0 + v] = spare[0, v]


# ---- the same as LLVM code


class LanesType(types.Type):
    """Type of x in compiled code."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Lanes({width})")


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """x is an LLVM vector."""

    def __init__(self, manager: Any, kind: LanesType) -> None:
        super().__init__(manager, kind, _vector(ir.DoubleType(), kind))


def _vector(element: ir.Type, kind: LanesType) -> ir.VectorType:
    return ir.VectorType(element, kind.width)


def _common(*args: types.Type) -> types.Type | None:
    """Of arguments that are numbers or have lanes, all of one width, and one at least has: that type."""
    found = {a for a in args if isinstance(a, LanesType)}
    fit = all(isinstance(a, (LanesType, types.Number)) for a in args)
    return found.pop() if fit and len(found) == 1 else None


def _is_table(array: types.Type) -> bool:
    return isinstance(array, types.Array) and array.layout == "C" and array.dtype in (types.float64, types.uint8)


def _compiled(function: Callable, typing: Callable, *kinds: Any) -> Callable:
    """Decorator: code(context, builder, sig, args) is `function` in compiled code, where typing(*types) gives its type or
    its signature."""

    def register(code: Callable) -> Callable:
        class Template(AbstractTemplate):
            key = function

            def generic(self, args: tuple, kws: dict) -> Any:
                result = typing(*args)
                return signature(result, *args) if isinstance(result, types.Type) else result

        infer_global(function)(Template)
        lower_builtin(function, *kinds)(code)
        return code

    return register


def _spread(context: Any, builder: ir.IRBuilder, value: ir.Value, kind: types.Type, wanted: Any) -> ir.Value:
    """A number in every lane; what has lanes as it is."""
    if isinstance(kind, LanesType):
        return value
    nothing = ir.Constant(_vector(ir.DoubleType(), wanted), ir.Undefined)
    number = context.cast(builder, value, kind, types.float64)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_vector(ir.IntType(32), wanted), [0] * wanted.width))


def _lanewise(function: Callable, count: int, typing: Callable = _common) -> Callable:
    """Decorator: code(builder, *vectors) is `function` of `count` arguments, each of them spread."""

    def register(code: Callable) -> Callable:
        @_compiled(function, typing, *[types.Any] * count)
        def spread(context, builder, sig, args):
            wanted = _common(*sig.args)
            pairs = zip(args, sig.args, strict=True)
            return code(builder, *[_spread(context, builder, value, kind, wanted) for value, kind in pairs])

        return code

    return register


def _maker(function: Callable, kind: LanesType) -> None:
    @_compiled(function, lambda value: kind if isinstance(value, types.Number) else None, types.Number)
    def make(context, builder, sig, args):
        return _spread(context, builder, args[0], sig.args[0], kind)


def _address(context: Any, builder: ir.IRBuilder, sig: Any, args: tuple) -> ir.Value:
    """The address of element args[1] of the array args[0]."""
    first = context.cast(builder, args[1], sig.args[1], types.intp)
    return builder.gep(context.make_array(sig.args[0])(context, builder, args[0]).data, [first])


def _counter(function: Callable, result: types.Type, code: Callable) -> None:
    """`function` of an array of integers, a place in it, and integers."""

    def typing(counter, *numbers):
        fit = isinstance(counter, types.Array) and counter.dtype == types.intp
        return signature(result, counter, *[types.intp] * len(numbers)) if fit else None

    @_compiled(function, typing, types.Array, *[types.intp] * (code.__code__.co_argcount - 1))
    def atomic(context, builder, sig, args):
        return code(builder, _address(context, builder, sig, args), *args[2:])


_ONE = ir.Constant(ir.IntType(64), 1)
_maker(wide, LanesType(WIDE))
_maker(narrow, LanesType(NARROW))
_lanewise(operator.add, 2)(lambda builder, a, b: builder.fadd(a, b))
_lanewise(operator.sub, 2)(lambda builder, a, b: builder.fsub(a, b))
_lanewise(operator.mul, 2)(lambda builder, a, b: builder.fmul(a, b))
_lanewise(operator.truediv, 2)(lambda builder, a, b: builder.fdiv(a, b))
_counter(count_up, types.intp, lambda builder, place: builder.atomic_rmw("add", place, _ONE, "acq_rel"))
_counter(count, types.intp, lambda builder, place: builder.load_atomic(place, "acquire", 8))
_counter(
    change,
    types.boolean,
    lambda builder, place, old, new: builder.extract_value(builder.cmpxchg(place, old, new, "acq_rel", "acquire"), 1),
)


@_compiled(
    span, lambda array, i, like: like if _is_table(array) and isinstance(like, LanesType) else None,
    types.Array, types.Integer, LanesType,
)
def _span(context, builder, sig, args):
    array, _, like = sig.args
    kind = _vector(context.get_data_type(array.dtype), like)
    address = builder.bitcast(_address(context, builder, sig, args), kind.as_pointer())
    x = builder.load(address, align=array.dtype.bitwidth // 8)
    return x if array.dtype == types.float64 else builder.uitofp(x, _vector(ir.DoubleType(), like))


@_compiled(
    put_span, lambda array, i, x: types.none if _is_table(array) and array.dtype == types.float64 and _common(x) else None,
    types.Array, types.Integer, LanesType,
)
def _put_span(context, builder, sig, args):
    builder.store(args[2], builder.bitcast(_address(context, builder, sig, args), args[2].type.as_pointer()), align=8)
    return context.get_dummy_value()


@_compiled(width, lambda like: types.intp if isinstance(like, LanesType) else None, LanesType)
def _width(context, builder, sig, args):
    return context.get_constant(types.intp, sig.args[0].width)


@_lanewise(fma, 3)
def _fma(builder, a, b, c):
    name = f"llvm.fmuladd.v{a.type.count}f64"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@_lanewise(times_power, 2)
def _times_power(builder, x, shifted):
    bits = ir.VectorType(ir.IntType(64), x.type.count)
    power = builder.shl(builder.bitcast(shifted, bits), ir.Constant(bits, [52] * x.type.count))
    return builder.bitcast(builder.add(builder.bitcast(x, bits), power), x.type)


@_lanewise(maximum, 2)
def _maximum(builder, x, y):
    return builder.select(builder.fcmp_ordered("<", x, y), y, x)


@_lanewise(clamped, 3)
def _clamped(builder, x, low, high):
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


@_lanewise(where_equal, 4)
def _where_equal(builder, x, value, a, b):
    return builder.select(builder.fcmp_ordered("==", x, value), a, b)


@_lanewise(any_less, 2, lambda x, y: types.boolean if _common(x, y) else None)
def _any_less(builder, x, y):
    found = builder.bitcast(builder.fcmp_ordered("<", x, y), ir.IntType(x.type.count))
    return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0))
