"""SIMD vectors and atomic counters for numba kernels.

Queries are independent, so a kernel is written for one query and runs on a vector of neighbouring queries: `x` below holds one
double for each, +, -, *, / and the minus sign act elementwise, and the compiler keeps it in vector registers. There are two
vector widths; `fma`, `times_power` and `clamp` also take numbers, for functions that are written once for both. Every
function is defined by its Python body, which runs with NUMBA_DISABLE_JIT=1 (x is then an array); under @njit, LLVM code of the
same meaning takes its place. Nothing is reordered or fused but by `fma`: the bits of an element depend neither on the other
elements, nor on the width, nor on what else is compiled with it.

Tables are C-contiguous arrays whose rows are as wide as a vector. Indices are not checked and never negative. `like`: any
vector, for its width.
"""

import operator
import platform
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_jitable, register_model

HAS_PAUSE = platform.machine() in ("x86_64", "AMD64")
WIDTH, HALF_WIDTH = 16, 8  # doubles: two registers of AVX-512 or four of AVX2 hide the latency of an fma; and half of that


def broadcast(value):
    """A vector of WIDTH elements, all `value`."""
    return np.full(WIDTH, value)


def broadcast_half(value):
    """A vector of HALF_WIDTH elements, all `value`."""
    return np.full(HALF_WIDTH, value)


def width(like):
    """Elements of a vector."""
    return like.size


def fma(a, b, c):
    """a b + c, rounded once where the processor can."""
    return a * b + c


def times_power(x, shifted):
    """x 2^k, k the whole number in the low bits of `shifted`; x of either sign, x and the result normal numbers."""
    return (np.float64(x).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)).view(np.float64)


def maximum(x, y):
    """The larger; x where either is NaN."""
    return np.where(x < y, y, x)


def clamp(x, low, high):
    """x, or the bound that it passes; NaN stays."""
    x = np.where(x < low, low, x)
    return np.where(x > high, high, x)


def select_equal(x, value, a, b):
    """a where x = value, else b."""
    return np.where(x == value, a, b)


def any_less(x, y):
    """Whether x < y for any element."""
    return bool(np.any(x < y))


def total(x):
    """Sum of the elements: the second half is added to the first, until one is left."""
    while x.size > 1:
        x = x[: x.size // 2] + x[x.size // 2 :]
    return float(x[0])


def load_at(array, first, like):
    """Load a vector from consecutive elements of an array of doubles, or of bytes converted to doubles, starting at `first`."""
    return array.reshape(-1)[first : first + like.size].astype(np.float64)


def load_head(array, first, count, like, fill):
    """Load the next `count` elements of an array of doubles, or as many as a vector has; where they end, `fill`."""
    x = np.full(like.size, fill)
    head = array.reshape(-1)[first : first + max(0, min(count, like.size))]
    x[: head.size] = head
    return x


def store_at(array, first, x):
    """Store a vector to consecutive elements, starting at `first`."""
    array.reshape(-1)[first : first + x.size] = x


def fetch_add(counter, i):
    """Atomic fetch-and-add of one to counter[i] (acquire-release): the value before."""
    value = int(counter[i])
    counter[i] += 1
    return value


def atomic_load(counter, i):
    """Atomic load of counter[i] (acquire)."""
    return int(counter[i])


def waiting_load(counter, i):
    """The same in a loop that waits: after a pause, in which a core is left to its other thread, where it has two."""
    return int(counter[i])


def compare_exchange(counter, i, old, new):
    """Atomic compare-and-exchange of counter[i] (acquire-release): whether it was `old` and is now `new`."""
    if counter[i] != old:
        return False
    counter[i] = new
    return True


def borrowed(arrays):
    """An argument of a kernel, an array or a tuple of arrays, numbers and tuples, as it is.

    Compiled code does not count who uses it and its views, which takes an atomic operation for each. The argument lives
    as long as the call, as whoever calls keeps it. Not for arrays that the kernel makes itself."""
    return arrays


@register_jitable
def whole_vectors(count, width):
    """Numbers in as many vectors of `width` elements as `count` numbers take."""
    return -(-count // width) * width


@njit(cache=True, nogil=True)
def element(array, i):
    """array[i] for i >= 0, without the branch for negative indices that the compiler would add."""
    return array[np.uintp(i)]


@njit(cache=True, nogil=True)
def load(table, i, like):
    """Load row i of a table."""
    return load_at(table, i * width(like), like)


@njit(cache=True, nogil=True)
def store(table, i, x):
    """Store x to row i of a table."""
    store_at(table, i * width(x), x)


@njit(cache=True, nogil=True)
def new_table(rows):
    """An uninitialised table (rows, WIDTH), aligned to a cache line."""
    space = np.empty(rows * WIDTH + 7)
    skip = 7 - (space.ctypes.data // 8 + 7) % 8
    return space[skip : skip + rows * WIDTH].reshape(rows, WIDTH)


@njit(cache=True, nogil=True)
def load_columns(array, r, p0, like, spare):
    """Load array[r, p0..], zero beyond the end of the row; spare: a table of one row."""
    if p0 + width(like) <= array.shape[1]:
        return load_at(array, r * array.shape[1] + p0, like)
    for v in range(width(like)):
        spare[0, v] = array[r, p0 + v] if p0 + v < array.shape[1] else 0.0
    return load(spare, 0, like)


@njit(cache=True, nogil=True)
def store_columns(array, r, p0, x, spare):
    """Store x to array[r, p0..], as far as the row goes."""
    if p0 + width(x) <= array.shape[1]:
        store_at(array, r * array.shape[1] + p0, x)
    else:
        store(spare, 0, x)
        for v in range(array.shape[1] - p0):
            array[r, p0 + v] = spare[0, v]


# ---- LLVM code of the functions above


class SimdType(types.Type):
    """Numba type of a vector."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Simd({width})")


@register_model(SimdType)
class SimdModel(models.PrimitiveModel):
    """A vector is an LLVM vector value."""

    def __init__(self, manager: Any, kind: SimdType) -> None:
        super().__init__(manager, kind, _vector(ir.DoubleType(), kind))


def _vector(element: ir.Type, kind: SimdType) -> ir.VectorType:
    return ir.VectorType(element, kind.width)


def _common(*args: types.Type) -> types.Type | None:
    """The vector type of arguments that are scalars or vectors of one width, at least one of them a vector; else None."""
    found = {a for a in args if isinstance(a, SimdType)}
    fit = all(isinstance(a, (SimdType, types.Number)) for a in args)
    return found.pop() if fit and len(found) == 1 else None


def _number_or_common(*args: types.Type) -> types.Type | None:
    """The same; float64 where all arguments are numbers."""
    return types.float64 if all(isinstance(a, types.Number) for a in args) else _common(*args)


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


def _broadcast(context: Any, builder: ir.IRBuilder, value: ir.Value, kind: types.Type, wanted: Any) -> ir.Value:
    """A scalar broadcast to a vector, or cast to float64 where that is wanted; a vector as it is."""
    if isinstance(kind, SimdType):
        return value
    if wanted == types.float64:
        return context.cast(builder, value, kind, wanted)
    nothing = ir.Constant(_vector(ir.DoubleType(), wanted), ir.Undefined)
    number = context.cast(builder, value, kind, types.float64)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_vector(ir.IntType(32), wanted), [0] * wanted.width))


def _elementwise(function: Callable, count: int, typing: Callable = _common) -> Callable:
    """Decorator: code(builder, *vectors) is `function` of `count` arguments, scalars broadcast."""

    def register(code: Callable) -> Callable:
        @_compiled(function, typing, *[types.Any] * count)
        def broadcasting(context, builder, sig, args):
            wanted = _number_or_common(*sig.args)
            pairs = zip(args, sig.args, strict=True)
            return code(builder, *[_broadcast(context, builder, value, kind, wanted) for value, kind in pairs])

        return code

    return register


def _length(x: ir.Value) -> str:
    """v8 for vectors of eight, as in the names of LLVM's intrinsics; nothing for a number."""
    return f"v{x.type.count}" if isinstance(x.type, ir.VectorType) else ""


def _maker(function: Callable, kind: SimdType) -> None:
    @_compiled(function, lambda value: kind if isinstance(value, types.Number) else None, types.Number)
    def make(context, builder, sig, args):
        return _broadcast(context, builder, args[0], sig.args[0], kind)


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


def _load_after_pause(builder: ir.IRBuilder, place: ir.Value) -> ir.Value:
    if HAS_PAUSE:
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
    return builder.load_atomic(place, "acquire", 8)


_ONE = ir.Constant(ir.IntType(64), 1)
_maker(broadcast, SimdType(WIDTH))
_maker(broadcast_half, SimdType(HALF_WIDTH))
_elementwise(operator.add, 2)(lambda builder, a, b: builder.fadd(a, b))
_elementwise(operator.sub, 2)(lambda builder, a, b: builder.fsub(a, b))
_elementwise(operator.mul, 2)(lambda builder, a, b: builder.fmul(a, b))
_elementwise(operator.truediv, 2)(lambda builder, a, b: builder.fdiv(a, b))
_elementwise(operator.neg, 1)(lambda builder, a: builder.fneg(a))
_counter(fetch_add, types.intp, lambda builder, place: builder.atomic_rmw("add", place, _ONE, "acq_rel"))
_counter(atomic_load, types.intp, lambda builder, place: builder.load_atomic(place, "acquire", 8))
_counter(waiting_load, types.intp, _load_after_pause)
_counter(
    compare_exchange,
    types.boolean,
    lambda builder, place, old, new: builder.extract_value(builder.cmpxchg(place, old, new, "acq_rel", "acquire"), 1),
)


@_compiled(
    load_at, lambda array, i, like: like if _is_table(array) and isinstance(like, SimdType) else None,
    types.Array, types.Integer, SimdType,
)
def _load_at(context, builder, sig, args):
    array, _, like = sig.args
    kind = _vector(context.get_data_type(array.dtype), like)
    address = builder.bitcast(_address(context, builder, sig, args), kind.as_pointer())
    x = builder.load(address, align=array.dtype.bitwidth // 8)
    return x if array.dtype == types.float64 else builder.uitofp(x, _vector(ir.DoubleType(), like))


@_compiled(
    load_head,
    lambda array, i, count, like, fill: like if _is_table(array) and array.dtype == types.float64 and _common(like) else None,
    types.Array, types.Integer, types.Integer, SimdType, types.Number,
)
def _load_head(context, builder, sig, args):
    array, _, kind, like, number = sig.args
    x, whole, bits = _vector(ir.DoubleType(), like), _vector(ir.IntType(64), like), _vector(ir.IntType(1), like)
    address = builder.bitcast(_address(context, builder, sig, args), x.as_pointer())
    count = context.cast(builder, args[2], kind, types.intp)
    first = builder.insert_element(ir.Constant(whole, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
    counts = builder.shuffle_vector(first, first, ir.Constant(_vector(ir.IntType(32), like), [0] * like.width))
    wanted = builder.icmp_signed("<", ir.Constant(whole, list(range(like.width))), counts)
    kinds = ir.FunctionType(x, [address.type, ir.IntType(32), bits, x])
    load = cgutils.get_or_insert_function(builder.module, kinds, f"llvm.masked.load.v{like.width}f64.p0")
    rest = _broadcast(context, builder, args[4], number, like)
    return builder.call(load, [address, ir.Constant(ir.IntType(32), 8), wanted, rest])


@_compiled(
    store_at, lambda array, i, x: types.none if _is_table(array) and array.dtype == types.float64 and _common(x) else None,
    types.Array, types.Integer, SimdType,
)
def _store_at(context, builder, sig, args):
    builder.store(args[2], builder.bitcast(_address(context, builder, sig, args), args[2].type.as_pointer()), align=8)
    return context.get_dummy_value()


@_compiled(borrowed, lambda kind: kind if isinstance(kind, (types.Array, types.BaseTuple)) else None, types.Any)
def _borrowed(context, builder, sig, args):
    def code(kind: Any, value: ir.Value) -> ir.Value:
        if isinstance(kind, types.BaseTuple):
            parts: Any = kind
            items = [code(part, builder.extract_value(value, i)) for i, part in enumerate(parts)]
            return context.make_tuple(builder, kind, items)
        if not isinstance(kind, types.Array):
            return value
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()

    return code(sig.args[0], args[0])


@_compiled(width, lambda like: types.intp if isinstance(like, SimdType) else None, SimdType)
def _width(context, builder, sig, args):
    return context.get_constant(types.intp, sig.args[0].width)


@_elementwise(fma, 3, _number_or_common)
def _fma(builder, a, b, c):
    name = f"llvm.fmuladd.{_length(a)}f64"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@_elementwise(times_power, 2, _number_or_common)
def _times_power(builder, x, shifted):
    bits: ir.Type = ir.IntType(64)
    if _length(x):
        bits = ir.VectorType(bits, x.type.count)
    places = ir.Constant(bits, [52] * x.type.count if _length(x) else 52)
    power = builder.shl(builder.bitcast(shifted, bits), places)
    return builder.bitcast(builder.add(builder.bitcast(x, bits), power), x.type)


@_elementwise(maximum, 2)
def _maximum(builder, x, y):
    return builder.select(builder.fcmp_ordered("<", x, y), y, x)


@_elementwise(clamp, 3, _number_or_common)
def _clamped(builder, x, low, high):
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


@_elementwise(select_equal, 4)
def _where_equal(builder, x, value, a, b):
    return builder.select(builder.fcmp_ordered("==", x, value), a, b)


@_elementwise(any_less, 2, lambda x, y: types.boolean if _common(x, y) else None)
def _any_less(builder, x, y):
    found = builder.bitcast(builder.fcmp_ordered("<", x, y), ir.IntType(x.type.count))
    return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0))


@_compiled(total, lambda x: types.float64 if isinstance(x, SimdType) else None, SimdType)
def _total(context, builder, sig, args):
    x, count = args[0], sig.args[0].width
    while count > 1:
        count //= 2
        halves = [ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(i, i + count))) for i in (0, count)]
        nothing = ir.Constant(x.type, ir.Undefined)
        x = builder.fadd(*(builder.shuffle_vector(x, nothing, half) for half in halves))
    return builder.extract_element(x, ir.Constant(ir.IntType(32), 0))
