"""The table of derivatives: NumPy callable -> one rule per argument.

    rule(np.tanh, lambda g, y, _x: g * (1 - y * y))

``primitive.py`` says how a rule reads: the cotangent ``g`` of the output, the output ``y``, the
inputs; a name that starts with ``_`` is not read. First the table; the few formulas that do not
fit on its lines stand before it.

Functions that need no rule, because they can be said in terms of others, stand in ``derived/``;
those whose result has no derivative and is a plain array, in ``derived/plain.py``. Whatever is in
none of these raises a TypeError.

Conventions where the derivative does not exist: ``sign``, ``floor`` and ``abs`` at 0 have
derivative 0; ties of ``max``, ``min``, ``maximum``, ``minimum`` share the cotangent equally;
``clip`` passes it on at its bounds; ``norm``, ``std``, ``hypot`` and ``arctan2`` at 0 have
derivative 0; the unused branch of ``where`` gets exactly 0 (but 0 times an infinite derivative
further up is NaN, as everywhere: make the argument safe before the function, not its result after
it). Where PyTorch and JAX differ: at NaN, ``maximum`` and ``minimum`` pass the cotangent to both
arguments (PyTorch; 0 in JAX), and ``abs`` has derivative NaN (0 in PyTorch); of two infinite
arguments ``logaddexp`` gives each half at inf and nothing at -inf (NaN in PyTorch); no rule squares
what could leave the range of its dtype. tests/test_special_values.py holds every rule to this.
"""

import itertools
import math
import operator
from typing import Any

import numpy as np

from .primitive import Erase, Product, Scatter, own_function, rule, rule_of_sequence
from .speed import add_at, matmul, names_nothing_twice, rows, split, times_transposed, unstack

# --- functions of ours that the table needs beside NumPy's ---------------------------------------


@own_function
def scatter(g, index, *, shape):
    """Zeros of ``shape`` with ``g`` added at ``index``: the transpose of ``x[index]``."""
    buffer = np.zeros_like(g, shape=shape)
    add_at(buffer, index, g)
    return buffer


@own_function
def write(value, array, index):
    """A copy of ``array`` with ``value`` written at ``index``."""
    array = array.copy()
    array[index] = value
    return array


# --- helpers of the rules -----------------------------------------------------------------------


def _zero(g, _y, _x):
    return np.zeros_like(g)


def expand(g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """Put the axes back that a reduction over ``axis`` of an array of ``shape`` took away."""
    if keepdims or not shape:
        return g
    if axis is None:
        return np.reshape(g, (1,) * len(shape))
    return np.expand_dims(g, axis)


def count(shape, axis):
    """How many elements a reduction over ``axis`` puts together."""
    if axis is None:
        return math.prod(shape)
    return math.prod(shape[i] for i in (axis if isinstance(axis, tuple) else (axis,)))


def _share(g, y, x, axis=None, keepdims=False):
    """The rule of max and min: equal shares for all elements that reach the extremum."""
    hit = (x == expand(y, x.shape, axis, keepdims)) | np.isnan(x)
    ties = np.sum(hit, axis=axis, keepdims=True).astype(np.result_type(x.dtype, np.float32))
    return np.where(hit, expand(g, x.shape, axis, keepdims) / ties, 0)


def _over(g, n):
    """g / n, also where n leaves the range of float16."""
    return g / n if n < 2**15 else g / (n / 2**15) / 2**15


def exclusive_products(x):
    """Along the last axis, the product of all elements before each one (log n vector steps; no
    division, so zeros are right)."""
    n = x.shape[-1]
    y = np.concatenate([np.ones_like(x[..., :1]), x[..., :-1]], -1)
    shift = 1
    while shift < n:
        y = np.concatenate([y[..., :shift], y[..., shift:] * y[..., :-shift]], -1)
        shift *= 2
    return y


def _rest(x):
    """The product of all *other* elements along the last axis."""
    return exclusive_products(x) * np.flip(exclusive_products(np.flip(x, -1)), -1)


def _prod(g, _y, x, axis=None, keepdims=False):
    if not x.shape:
        return g
    axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % len(x.shape) for a in axes)
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(x, axes, last)
    flat = np.reshape(moved, (*moved.shape[: len(x.shape) - len(axes)], count(x.shape, axes)))
    rest = np.moveaxis(np.reshape(_rest(flat), moved.shape), last, axes)
    return expand(g, x.shape, axis, keepdims) * rest


def _power_base(g, _y, a, b):
    if isinstance(b, (int, float)):
        return g * (b * a ** (b - 1)) if b else np.zeros_like(g)
    zero = np.equal(b, 0)  # 0 ** 0 is 1, and its slope 0; not b == 0: b may be a tuple
    return g * np.where(zero, 0, b * a ** (np.where(zero, 1, b) - 1))


def _power_exponent(g, y, a, _b):
    if isinstance(a, (int, float)):
        log = math.log(a) if a > 0 else math.nan
        return g * (y * log) if a else np.zeros_like(g)
    # 0 ** b stays 0 for all b > 0; a negative number has a power at whole numbers alone
    return g * (y * np.log(np.where(np.equal(a, 0), 1, np.where(np.less(a, 0), math.nan, a))))


def _softmax_of_two(a, b):
    """exp(a) / (exp(a) + exp(b)), for numbers of any size."""
    tie = (a == b) & np.isinf(a)  # of two infinite ones there is no difference
    d = np.where(tie, 0, b) - np.where(tie, 0, a)
    d = np.where(tie & np.equal(a, -math.inf), math.inf, d)
    return np.exp(-np.logaddexp(0, d))


def _length(a, b):
    r = np.hypot(a, b)
    return np.where(r == 0, 1, r)


def _cosine(a, b):
    """a / hypot(a, b), and 0 at the origin."""
    return a / _length(a, b)


def _matmul_left(g, _y, _a, b):
    if len(b.shape) == 1:
        return np.expand_dims(g, -1) * b
    if len(_a.shape) == 1:
        return np.squeeze(np.expand_dims(g, -2) @ np.swapaxes(b, -1, -2), -2)
    if len(b.shape) == 2 and len(_a.shape) > 2:  # a weight: all leading axes are batch
        return np.reshape(rows(g) @ np.transpose(b), _a.shape)
    if len(b.shape) == 2:
        return times_transposed(g, b)
    return g @ np.swapaxes(b, -1, -2)


def _matmul_right(g, _y, a, _b):
    if len(a.shape) == 1:
        return np.expand_dims(a, -1) * np.expand_dims(g, -2) if len(_b.shape) > 1 else g * a
    if len(_b.shape) == 1:
        return np.reshape(g, (-1,)) @ rows(a)
    if len(_b.shape) == 2:
        return Product(rows(a), rows(g))
    return np.swapaxes(a, -1, -2) @ g


def _written(g, _y, _v, _x, index):
    c = np.copy(g[index])
    if not names_nothing_twice(index):  # of what is written twice, the last stands
        turn = np.reshape(np.cumsum(np.ones_like(c, dtype=int)), c.shape)
        turns = np.zeros_like(g, dtype=turn.dtype)
        turns[index] = turn
        c = np.where(turns[index] == turn, c, 0)
    return np.reshape(c, (1,) * (len(_v.shape) - len(c.shape)) + c.shape)


def _concatenate(g, _y, *_xs, axis=0):
    shapes = [np.shape(x) for x in _xs]  # one that wants no gradient may be a list
    sizes = [math.prod(shape) if axis is None else shape[axis] for shape in shapes]
    pieces = np.split(g, list(itertools.accumulate(sizes[:-1])), axis or 0)
    if axis is None:
        return [np.reshape(*each) for each in zip(pieces, shapes, strict=True)]
    return pieces


def _joined(g, _y, _x, *, indices_or_sections, axis=0):
    c = np.concatenate(g, axis)
    if c.shape == _x.shape:  # otherwise pieces overlap
        return c
    places = np.concatenate(np.array_split(np.arange(_x.shape[axis]), indices_or_sections))
    return scatter(c, (*(slice(None),) * (axis % len(_x.shape)), places), shape=_x.shape)


# --- the table ----------------------------------------------------------------------------------

# arithmetic
rule(np.add, lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)
rule(np.subtract, lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g)
rule(np.multiply, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)
rule(np.divide, lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -g * (y / b))
rule(np.power, _power_base, _power_exponent)
rule(np.remainder, lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * np.floor_divide(a, b))
rule(np.fmod, lambda g, _y, _a, _b: g, lambda g, y, a, b: -g * np.rint((a - y) / b))
rule(np.floor_divide, *[lambda g, _y, _a, _b: np.zeros_like(g)] * 2)
rule(np.nextafter, lambda g, _y, _a, _b: g, None)
rule(np.negative, lambda g, _y, _x: -g)
rule(np.positive, lambda g, _y, _x: g)
rule(np.absolute, lambda g, _y, x: g * np.sign(x))
rule(np.square, lambda g, _y, x: 2 * g * x)
rule(np.sqrt, lambda g, y, _x: 0.5 * g / y)
rule(np.cbrt, lambda g, y, _x: g / (3 * y * y))
rule(np.reciprocal, lambda g, y, _x: -g * y * y)
for _step in (np.sign, np.floor, np.ceil, np.rint, np.trunc):
    rule(_step, _zero)

# exponentials and logarithms
rule(np.exp, lambda g, y, _x: g * y)
rule(np.exp2, lambda g, y, _x: g * y * math.log(2))
rule(np.expm1, lambda g, y, _x: g * (y + 1))
rule(np.log, lambda g, _y, x: g / x)
rule(np.log2, lambda g, _y, x: g / (x * math.log(2)))
rule(np.log10, lambda g, _y, x: g / (x * math.log(10)))
rule(np.log1p, lambda g, _y, x: g / (1 + x))
rule(np.logaddexp, lambda g, _y, a, b: g * _softmax_of_two(a, b),
                   lambda g, _y, a, b: g * _softmax_of_two(b, a))  # fmt: skip

# trigonometric and hyperbolic functions
rule(np.sin, lambda g, _y, x: g * np.cos(x))
rule(np.cos, lambda g, _y, x: -g * np.sin(x))
rule(np.tan, lambda g, y, _x: g * (1 + y * y))
rule(np.arcsin, lambda g, _y, x: g / np.sqrt((1 - x) * (1 + x)))
rule(np.arccos, lambda g, _y, x: -g / np.sqrt((1 - x) * (1 + x)))
rule(np.arctan, lambda g, _y, x: g / np.hypot(1, x) / np.hypot(1, x))  # no square of x: inf
rule(np.arctan2, lambda g, _y, a, b: g * _cosine(b, a) / _length(a, b),
                 lambda g, _y, a, b: -g * _cosine(a, b) / _length(a, b))  # fmt: skip
rule(np.hypot, lambda g, _y, a, b: g * _cosine(a, b), lambda g, _y, a, b: g * _cosine(b, a))
rule(np.sinh, lambda g, _y, x: g * np.cosh(x))
rule(np.cosh, lambda g, _y, x: g * np.sinh(x))
rule(np.tanh, lambda g, y, _x: g * (1 - y * y))
rule(np.arcsinh, lambda g, _y, x: g / np.hypot(1, x))
rule(np.arccosh, lambda g, _y, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
rule(np.arctanh, lambda g, _y, x: g / ((1 - x) * (1 + x)))

# choices
rule(np.maximum, lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a < b, 0, g)),
                 lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a > b, 0, g)))  # fmt: skip
rule(np.minimum, lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a > b, 0, g)),
                 lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a < b, 0, g)))  # fmt: skip
rule(np.where, None, lambda g, _y, c, _a, _b: np.where(c, g, 0),
                     lambda g, _y, c, _a, _b: np.where(c, 0, g))  # fmt: skip

# reductions and running sums
rule(np.sum, lambda g, _y, _x, axis=None, keepdims=False: np.broadcast_to(
    expand(g, _x.shape, axis, keepdims), _x.shape))  # fmt: skip
rule(np.mean, lambda g, _y, _x, axis=None, keepdims=False: np.broadcast_to(
    expand(_over(g, count(_x.shape, axis)), _x.shape, axis, keepdims), _x.shape))  # fmt: skip
rule(np.prod, _prod)
rule(np.max, _share)
rule(np.min, _share)
rule(np.cumsum, lambda g, _y, _x, axis=None: np.reshape(
    np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis), _x.shape))  # fmt: skip

# shapes
rule(np.reshape, lambda g, _y, _x, *, shape: np.reshape(g, _x.shape),
     call=lambda x, *, shape: np.reshape(x, shape))  # CuPy has another name for it
rule(np.transpose, lambda g, _y, _x, axes=None: np.transpose(
    g, None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]))))  # fmt: skip
rule(np.swapaxes, lambda g, _y, _x, *, axis1, axis2: np.swapaxes(g, axis1, axis2))
rule(np.moveaxis, lambda g, _y, _x, *, source, destination: np.moveaxis(g, destination, source))
rule(np.expand_dims, lambda g, _y, _x, *, axis: np.reshape(g, _x.shape))
rule(np.squeeze, lambda g, _y, _x, axis=None: np.reshape(g, _x.shape))
rule(np.broadcast_to, lambda g, _y, _x, *, shape: g)
rule(np.flip, lambda g, _y, _x, axis=None: np.flip(g, axis))
rule(np.roll, lambda g, _y, _x, *, shift, axis=None: np.roll(
    g, tuple(-s for s in shift) if np.ndim(shift) else -shift, axis))  # fmt: skip
rule(np.copy, lambda g, _y, _x, order="K": g)
rule(np.astype, lambda g, _y, _x, *, dtype: np.astype(g, _x.dtype),
     call=lambda x, *, dtype: np.astype(x, dtype))

# joining and splitting
rule_of_sequence(np.concatenate, _concatenate)
rule_of_sequence(np.stack, lambda g, _y, *_xs, axis=0: unstack(g, axis))
for _split in (np.split, np.array_split):
    rule(_split, _joined, call=lambda x, _fn=_split, **meta: split(_fn, x, **meta))
rule(np.unstack, lambda g, _y, _x, axis=0: np.stack(g, axis), call=unstack)

# indexing
rule(operator.getitem, lambda g, _y, _x, index: Scatter(g, index))
rule(scatter, lambda g, _y, _x, index, *, shape: g[index])
rule(write, _written,
            lambda g, _y, _v, _x, index: Erase(g, index) if _x.shape else write(
                0.0, np.copy(g), index))  # fmt: skip

# products
rule(np.matmul, _matmul_left, _matmul_right, call=matmul)
