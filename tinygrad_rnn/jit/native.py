"""Loops for numba, written by hand: those of what is no chain of elementwise calls.

Imported only where numba is installed (the extra [fast]). Everything is float32. A loop is
vectorised where each round stands alone; sums and largest elements, which do not, say how.
``run`` works off a table of calls (table.py), of which each has its arguments as words of 64 bits:
numbers and addresses.
"""

import contextlib
import ctypes
import importlib
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from .loops import spared

__all__ = ["FUNCTIONS", "add_rows", "address", "blas", "elementwise", "in_turn", "pause", "product",
           "run", "serve", "side_by_side", "softmax_rows", "subtract_rows", "sum_rows", "sums",
           "works"]  # fmt: skip

f = np.float32
LANES = 128  # largest elements that are sought side by side


def compiled(function, freely=()):
    """``function`` compiled, and kept on disk where there is a place to write."""
    options: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", *freely}}
    try:
        return spared(njit(cache=True, **options)(function))
    except RuntimeError:  # numba finds none
        return njit(**options)(function)


@compiled
def exp(u):
    """e^u for u <= 0, within one unit of the last place; 0 below -87, where float32 nearly ends.
    Cody and Waite's reduction to |r| <= ln(2)/2, polynomial of the Cephes library."""
    least = f(-87)
    small = u < least
    u = least if small else u
    n = np.floor(u * f(1.44269504) + f(0.5))
    r = u - n * f(0.693359375) + n * f(2.12194440e-4)
    p = f(1.9875691500e-4)
    p = p * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    p = p * r * r + r + f(1)
    p *= np.int32((np.int32(n) + 127) << 23).view(f)  # times 2^n
    return f(0) if small else p


def _exp_row(x, n, m):
    """exp(x - m) in the place of row n; its sum, in whatever order is fast."""
    s = f(0)
    for j in range(x.shape[1]):
        e = exp(x[n, j] - m)
        x[n, j] = e
        s += e
    return s


exp_row = compiled(_exp_row, {"reassoc"})


@compiled
def bias_row(x, n, bias, lanes):
    """Add the bias to row n; its largest element."""
    lanes[:] = f(-np.inf)
    C = x.shape[1]
    whole = C - C % LANES
    for i in range(0, whole, LANES):
        for j in range(LANES):
            z = x[n, i + j] + bias[i + j]
            x[n, i + j] = z
            lanes[j] = z if z > lanes[j] else lanes[j]
    m = f(-np.inf)
    for j in range(whole, C):
        x[n, j] += bias[j]
        m = max(m, x[n, j])
    if whole:
        for j in range(LANES):
            m = max(m, lanes[j])
    return m


@compiled
def softmax_rows(x, bias, targets, scale, slope, y, total):
    """``blocks.softmax_nll`` of some rows, in place of x; ``slope``: whether scale counts;
    ``total`` (V,), or (0,) if it is not asked for."""
    lanes = np.empty(LANES, f)
    R, C = x.shape
    for n in range(R):
        m = bias_row(x, n, bias, lanes)
        target = x[n, targets[n]] - m
        s = exp_row(x, n, m)
        y[n] = np.log(s) - target
        s = scale[n] / s if slope else f(1) / s
        for j in range(C):
            x[n, j] *= s
        if slope:
            x[n, targets[n]] -= scale[n]
            if scale[n] == 0:  # it does not count, whatever is in it
                x[n] = 0
        for j in range(len(total)):
            total[j] += x[n, j]


@compiled
def add_rows(table, ids, g):
    """``table[ids[n]] += g[n]`` for each n, one after the other."""
    for n in range(len(ids)):
        i = ids[n]
        for j in range(table.shape[1]):
            table[i, j] += g[n, j]


@compiled
def sum_rows(ids, g, place, sums):
    """``rows.summed_rows``; ``place`` is -1 for each id."""
    sums[:] = f(0)
    for n in range(len(ids)):
        i = ids[n]
        if place[i] < 0:
            place[i] = n
        first = place[i]
        for j in range(g.shape[1]):
            sums[first, j] += g[n, j]


@compiled
def subtract_rows(table, ids, step, moved):
    """``table[ids[n]] -= step[n]`` for the first n of each id, which is ``moved`` then."""
    for n in range(len(ids)):
        i = ids[n]
        if not moved[i]:
            moved[i] = True
            for j in range(table.shape[1]):
                table[i, j] -= step[n, j]


# ---- calls by address ----

INT, LONG, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()


def pointer(kind):
    """A function in compiled code: an address as a pointer to numbers of this kind."""

    @intrinsic
    def of(typing, at):
        def code(context, builder, signature, values):
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), code

    return of


floats, doubles, longs, bools = map(pointer, (types.float32, types.float64, types.int64,
                                              types.boolean))


@intrinsic
def call(typing, function, words):
    def code(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [LONG])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [values[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def sgemm(typing, function, across, down, m, n, k, a, lda, b, ldb, c, ldc):
    """cblas_sgemm of arrays that lie row by row: c = a b."""

    def code(context, builder, signature, values):
        function, across, down, m, n, k, a, lda, b, ldb, c, ldc = values
        kind = ir.FunctionType(ir.VoidType(), [INT] * 3 + [LONG] * 3 + [FLOAT] + [LONG] * 4
                               + [FLOAT] + [LONG] * 2)
        builder.call(builder.inttoptr(function, kind.as_pointer()), [
            INT(101), builder.trunc(across, INT), builder.trunc(down, INT), m, n, k, FLOAT(1),
            a, lda, b, ldb, FLOAT(0), c, ldc])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), code


@intrinsic
def sgemv(typing, function, turned, m, n, a, lda, x, incx, y, incy):
    """cblas_sgemv of an array (m, n) that lies row by row: y = a x, or y = x a."""

    def code(context, builder, signature, values):
        function, turned, m, n, a, lda, x, incx, y, incy = values
        kind = ir.FunctionType(ir.VoidType(), [INT] * 2 + [LONG] * 2 + [FLOAT] + [LONG] * 4
                               + [FLOAT] + [LONG] * 2)
        builder.call(builder.inttoptr(function, kind.as_pointer()), [
            INT(101), builder.trunc(turned, INT), m, n, FLOAT(1), a, lda, x, incx, FLOAT(0),
            y, incy])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), code


@cache
def blas(name: str) -> int:
    """The address of a function of NumPy's own OpenBLAS, or 0: another library is not asked."""
    with contextlib.suppress(Exception):  # other names, another library, another system
        numpy = importlib.import_module("numpy._core._multiarray_umath")
        function = getattr(ctypes.CDLL(numpy.__file__), f"scipy_cblas_{name}64_")
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


@cache
def address(function) -> int:
    """Of the machine code of ``function``, whose one argument is the address of its words."""
    made = CFunc(function, ((types.int64,), types.void), {}, {
        "nopython": True, "error_model": "numpy", "fastmath": {"contract"}})
    with contextlib.suppress(RuntimeError):  # nowhere to keep it
        made.enable_caching()
        spared(made)
    made.compile()
    _alive.append(made)
    return made.address or 0


_alive: list[Any] = []  # whose machine code is in use


@compiled
def run(calls):
    """Each of the calls (n, 2): a function, and where its words are."""
    for i in range(len(calls)):
        call(calls[i, 0], calls[i, 1])  # type: ignore[call-arg]  # typing is numba's


def works(at):
    """``run`` as one of the calls: how many there are, and where."""
    p = longs(at)
    calls = longs(p[1])
    for i in range(p[0]):
        call(calls[2 * i], calls[2 * i + 1])  # type: ignore[call-arg]


def in_turn(at):
    """How many calls; of each the function, and how far behind ``at`` its words are; the words."""
    p = longs(at)
    for i in range(p[0]):
        call(p[2 * i + 1], at + p[2 * i + 2])  # type: ignore[call-arg]


# ---- calls side by side (team.py) ----


@intrinsic
def load(typing, at):
    """What is at this address; what its writer did before is seen too."""

    def code(context, builder, signature, values):
        return builder.load_atomic(builder.inttoptr(values[0], LONG.as_pointer()), "acquire", 8)

    return types.int64(types.int64), code


@intrinsic
def store(typing, at, value):
    """Put it there; who sees it sees what this thread did before."""

    def code(context, builder, signature, values):
        place = builder.inttoptr(values[0], LONG.as_pointer())
        builder.store_atomic(values[1], place, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def turn(typing, at, before, after):
    """Whether this thread, and no other, has turned what is there from ``before`` to ``after``."""

    def code(context, builder, signature, values):
        place = builder.inttoptr(values[0], LONG.as_pointer())
        pair = builder.cmpxchg(place, values[1], values[2], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), code


@intrinsic
def give_way(typing, pause):
    """Let another thread have this core, if one wants it."""

    def code(context, builder, signature, values):
        kind = ir.FunctionType(INT, [])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), code


@cache
def pause() -> int:
    """The address of the system's sched_yield, or 0."""
    with contextlib.suppress(Exception):
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    return 0


FREE, POSTED, TAKEN, DONE, CLOSED = range(5)  # what a desk says first
LOOKS = 1000  # at a closed desk: some tenths of a millisecond


@compiled
def serve(at, pause):
    """Do what is posted at a desk until it is closed, and is not opened again soon. There lie what
    it says, a function, its words, and the process of who serves."""
    desk = longs(at)
    looks = 0
    while looks < LOOKS:
        says: Any = load(at)  # type: ignore[call-arg]
        looks = looks + 1 if says == CLOSED else 0
        if says == POSTED and turn(at, POSTED, TAKEN):  # type: ignore[call-arg]
            call(desk[1], desk[2])  # type: ignore[call-arg]
            store(at, DONE)  # type: ignore[call-arg]
        else:
            give_way(pause)  # type: ignore[call-arg]
    store(at + 24, 0)  # type: ignore[call-arg]


def side_by_side(at):
    """sched_yield, how many calls; of each the function, how far behind ``at`` its words are, and
    the desk, which the first one has none of; the words."""
    p = longs(at)
    pause, many = p[0], p[1]
    for i in range(1, many):
        where = p[3 * i + 4]
        desk = longs(where)
        desk[1], desk[2] = p[3 * i + 2], at + p[3 * i + 3]
        store(where, POSTED)  # type: ignore[call-arg]
    call(p[2], at + p[3])  # type: ignore[call-arg]
    for i in range(1, many):
        where = p[3 * i + 4]
        if turn(where, POSTED, FREE):  # type: ignore[call-arg]  # nobody came
            call(p[3 * i + 2], at + p[3 * i + 3])  # type: ignore[call-arg]
        else:
            while load(where) != DONE:  # type: ignore[call-arg]
                give_way(pause)  # type: ignore[call-arg]
            store(where, FREE)  # type: ignore[call-arg]


def product(at):
    """How many, and how far apart a, b and c of each are, twice; then what sgemm is told."""
    p = longs(at)
    for i in range(p[0]):
        for j in range(p[4]):
            a, b, c = (p[14] + i * p[1] + j * p[5], p[16] + i * p[2] + j * p[6],
                       p[18] + i * p[3] + j * p[7])
            sgemm(p[8], p[9], p[10], p[11], p[12], p[13],  # type: ignore[call-arg]
                  a, p[15], b, p[17], c, p[19])


def vector_product(at):
    """How many, and how far apart matrix, x and y of each are, twice; then what sgemv is told. Of
    one row, sgemm takes up to ten times as long."""
    p = longs(at)
    for i in range(p[0]):
        for j in range(p[4]):
            a, x, y = (p[12] + i * p[1] + j * p[5], p[14] + i * p[2] + j * p[6],
                       p[16] + i * p[3] + j * p[7])
            sgemv(p[8], p[9], p[10], p[11], a, p[13], x, p[15], y, p[17])  # type: ignore[call-arg]


# what ``elementwise`` does, by number
FUNCTIONS = (np.positive, np.negative, np.sqrt, np.add, np.subtract, np.multiply, np.divide,
             np.minimum, np.maximum)  # fmt: skip


def elementwise(at):
    """y = function(a, b), or of a alone, over two axes: the number of the function, rows, columns;
    y, a, b, each with its two steps."""
    p = longs(at)
    what, R, C = p[0], p[1], p[2]
    y, yn, yj, a, an, aj, b, bn, bj = (floats(p[3]), p[4], p[5], floats(p[6]), p[7], p[8],
                                       floats(p[9]), p[10], p[11])
    for n in range(R):
        if what == 0 and yj == aj == 1:  # several elements at a time
            for j in range(C):
                y[n * yn + j] = a[n * an + j]
        elif what == 0:
            for j in range(C):
                y[n * yn + j * yj] = a[n * an + j * aj]
        elif what == 1:
            for j in range(C):
                y[n * yn + j * yj] = -a[n * an + j * aj]
        elif what == 2:
            for j in range(C):
                y[n * yn + j * yj] = np.sqrt(a[n * an + j * aj])
        elif what == 3:
            for j in range(C):
                y[n * yn + j * yj] = a[n * an + j * aj] + b[n * bn + j * bj]
        elif what == 4:
            for j in range(C):
                y[n * yn + j * yj] = a[n * an + j * aj] - b[n * bn + j * bj]
        elif what == 5:
            for j in range(C):
                y[n * yn + j * yj] = a[n * an + j * aj] * b[n * bn + j * bj]
        elif what == 6:
            for j in range(C):
                y[n * yn + j * yj] = a[n * an + j * aj] / b[n * bn + j * bj]
        else:
            for j in range(C):
                u, v = a[n * an + j * aj], b[n * bn + j * bj]
                first = u != u or (u < v if what == 7 else u > v)
                y[n * yn + j * yj] = u if first else v


def sums(at):
    """y[j] = sum of a[i, j]: rows, columns, y and its step, a and its steps."""
    p = longs(at)
    R, C, y, step, a, down, across = p[0], p[1], floats(p[2]), p[3], floats(p[4]), p[5], p[6]
    if across == 1 and step == 1:  # one row after the other, as NumPy does
        for j in range(C):
            y[j] = a[j]
        for i in range(1, R):
            for j in range(C):
                y[j] += a[i * down + j]
        return
    for j in range(C):
        y[j * step] = sum_of(a, j * across, down, R)


def _sum_of(a, at, step, n):
    total = f(0)
    for i in range(n):
        total += a[at + i * step]
    return total


sum_of = compiled(_sum_of, {"reassoc"})
