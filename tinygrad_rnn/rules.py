"""The table of derivatives: NumPy callable -> one rule per argument.

    rule(np.tanh,     lambda g, y, _x: g * (1 - y * y))
    rule(np.multiply, lambda g, _y, _a, b: g * b,
                      lambda g, _y, a, _b: g * a)

A rule is the vector-Jacobian product (vjp) of one argument. It gets the cotangent ``g`` of the
output, the output ``y``, the inputs, and the metadata (axis, shape, ...) by keyword, and returns
the cotangent of its argument. It is plain NumPy: on arrays it computes; on Tensors the same line
records its own graph, and so gives the next order of derivative.

- **A name that starts with ``_`` is not read**: only its ``shape`` and ``dtype`` are there. The
  names are looked up once, here; the engine keeps nothing alive that no rule reads.
- Broadcasting is undone in the engine, in one place, never in a rule.
- Parameters without a default are arrays; those with a default, or after ``*``, are metadata.
- ``None`` stands for an argument that has no derivative (a condition, an index).

Functions that need no rule, because they can be said in terms of others, stand in ``derived.py``;
those whose result has no derivative and is a plain array, in ``PLAIN`` below. Whatever is in none
of these raises a TypeError.

Conventions where the derivative does not exist: ``sign``, ``floor`` and ``abs`` at 0 have
derivative 0; ties of ``max``, ``min``, ``maximum``, ``minimum`` share the cotangent equally;
``clip`` passes it on at its bounds; ``linalg.norm`` at 0 has derivative 0; the unused branch of
``where`` gets exactly 0 (but 0 times an infinite derivative further up is NaN, as everywhere:
make the argument safe before the function, not its result after it).
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

Function: TypeAlias = Callable[..., Any]
# The rules that run, whether one reads the output, and which inputs they read.
Plan: TypeAlias = tuple[list[tuple[int, Function]] | None, bool, Iterable[bool] | None]

RULES: dict[Function, "Primitive"] = {}  # callable -> Primitive
PLAIN: set[Function] = set()  # callables whose result carries no derivative


class Primitive:
    """A callable with its rules, and what of its inputs and output those rules read."""

    def __init__(self, fn: Function, vjps: tuple[Function | None, ...],
                 call: Function | None = None, sequence: bool = False) -> None:
        self.fn, self.name = fn, fn.__name__
        self.call = call or fn  # runs it on positional arrays
        self.vjps = vjps
        self.sequence = sequence  # NumPy takes the arrays as one list; one rule answers for all
        self.reads: list[Any] = [vjp and _reads(vjp) for vjp in vjps]
        self.arity, self.metadata = _signature(next(filter(None, vjps)))
        self.plans: dict[int, Plan] = {}

    def plan(self, needs: int) -> Plan:
        """What happens when the arguments in ``needs`` (bit i for argument i) want a gradient:
        the rules that run, whether one of them reads the output, and for each input whether they
        read it (None: they read none)."""
        if self.sequence:
            (reads_y, reads_all), = self.reads
            plan: Plan = None, reads_y, itertools.repeat(True) if reads_all[0] else None
        else:
            wanted = [(i, vjp) for i, vjp in enumerate(self.vjps) if vjp and needs >> i & 1]
            reads = [self.reads[i] for i, _ in wanted]
            inputs = [any(column) for column in zip(*(inputs for _, inputs in reads), strict=True)]
            plan = (
                wanted,
                any(reads_y for reads_y, _ in reads),
                inputs if any(inputs) else None,
            )
        self.plans[needs] = plan
        return plan


def _reads(vjp: Function) -> tuple[bool, list[bool]]:
    """Whether a rule reads the output, and which of the inputs: told by their names."""
    code = vjp.__code__
    arrays = list(code.co_varnames[: code.co_argcount - len(vjp.__defaults__ or ())])
    if code.co_flags & 0x04:  # *inputs
        arrays.append(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
    _, y, *inputs = (not name.startswith("_") for name in arrays)
    return y, inputs


def _signature(vjp: Function) -> tuple[int, tuple[str, ...]]:
    """How many arrays the function takes, and the names of its metadata."""
    code = vjp.__code__
    arrays = code.co_argcount - len(vjp.__defaults__ or ())
    return arrays - 2, code.co_varnames[arrays : code.co_argcount + code.co_kwonlyargcount]


def rule(fn: Function, *vjps: Function | None,
         call: Function | None = None) -> None:
    """Register one rule per argument of ``fn`` (None: it has no derivative)."""
    RULES[fn] = Primitive(fn, vjps, call)


def rule_of_sequence(fn: Function, vjp: Function) -> None:
    """Register a function of one list of arrays; its rule returns all their cotangents."""
    RULES[fn] = Primitive(fn, (vjp,), lambda *xs, **meta: fn(xs, **meta), sequence=True)


def own_function(fn: Function, checks: bool = False) -> Function:
    """Let a NumPy function of ours be a primitive: Tensors take it to the table, as they take
    NumPy's own through the protocols. ``checks``: it is there to raise, also in a replay."""

    @functools.wraps(fn)
    def dispatching(*args: Any, **meta: Any) -> Any:
        for a in args:
            if hasattr(a, "__primitive__"):
                return a.__primitive__(dispatching, *args, **meta)
        return fn(*args, **meta)

    vars(dispatching)["checks"] = checks
    return dispatching


# --- symbolic cotangents: kept as what they are for as long as that is cheaper ------------------


class Product:
    """The cotangent ``leftᵀ @ right`` of a weight. A weight used at T time steps gets T of these,
    and one matrix product over the stacked operands in place of T products and T sums."""

    __slots__ = ("left", "right")

    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right


class Scatter:
    """The cotangent ``g`` of ``x[index]``: zero but at ``index``. Added in place into one buffer,
    so that T slices do not cost T arrays of the full size."""

    __slots__ = ("g", "index")

    def __init__(self, g, index):
        self.g, self.index = g, index


class Erase:
    """The cotangent of an array of which ``index`` was overwritten: ``g``, with zeros there."""

    __slots__ = ("g", "index")

    def __init__(self, g, index):
        self.g, self.index = g, index


def _is_basic(index):
    """Whether an index names no element twice, so that ``x[index] += g`` adds all of ``g``."""
    if isinstance(index, tuple):
        return all(map(_is_basic, index))
    return (
        index is None
        or index is Ellipsis
        or isinstance(index, (slice, int, np.bool_))
        or getattr(index, "dtype", None) == np.bool_
    )


@own_function
def add_at(buffer, index, g):
    """``buffer[index] += g`` in place, where elements named twice are added twice."""
    if _is_basic(index):
        buffer[index] += g
    elif isinstance(index, tuple) or buffer.ndim == 1 or index.size == 0:
        np.add.at(buffer, index, g)
    else:  # rows of a matrix: sorted segments take a tenth of the time of np.add.at
        ids = index.ravel() % len(buffer)
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        rows = g.reshape(ids.shape + buffer.shape[1:])[order]
        buffer[ids[starts]] += np.add.reduceat(rows, starts, axis=0)


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


@own_function
def contract(a, b, *, subscripts):
    """An einsum of two operands, no letter twice in one operand, the output written out."""
    return np.einsum(subscripts, a, b)


# --- helpers of the rules -----------------------------------------------------------------------


def _zero(g, _y, _x):
    return np.zeros_like(g)


def expand(g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """Put the axes back that a reduction over ``axis`` of an array of ``shape`` took away."""
    if keepdims:
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
    hit = (x == expand(y, x.shape, axis, keepdims)).astype(x.dtype)
    return expand(g, x.shape, axis, keepdims) * (hit / np.sum(hit, axis=axis, keepdims=True))


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
    b_or_one = np.where(b == 0, 1, b)  # 0 ** 0 is 1, and its slope 0, not 0 * 0 ** -1
    return g * np.where(b == 0, 0, b * a ** (b_or_one - 1))


def _power_exponent(g, y, a, _b):
    if isinstance(a, (int, float)):
        return g * (y * math.log(a)) if a else np.zeros_like(g)
    return g * (y * np.log(np.where(a == 0, 1, a)))  # 0 ** b stays 0 for all b > 0


def _softplus_slope(g, y, a):
    """g * exp(a - y), where both may be -inf."""
    return g * np.exp(a - np.where(np.isfinite(y), y, 0))


def _rows(x):
    """All leading axes folded into one (said in full: -1 cannot be told from a size of 0)."""
    return np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _matmul(a, b):
    """np.matmul; but rows in any arrangement times a weight are one product, not a stack of them
    (2 to 4 times faster)."""
    if getattr(b, "ndim", 0) == 2 and getattr(a, "ndim", 0) > 2:
        return (_rows(a) @ b).reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(a, b)


FEW_ROWS = 64


def _matmul_left(g, _y, _a, b):
    if len(b.shape) == 1:
        return np.expand_dims(g, -1) * b
    if len(_a.shape) == 1:
        return np.squeeze(np.expand_dims(g, -2) @ np.swapaxes(b, -1, -2), -2)
    if len(b.shape) == 2 and len(_a.shape) > 2:  # a weight: all leading axes are batch
        return np.reshape(_rows(g) @ np.transpose(b), _a.shape)
    if len(b.shape) == 2 and 1 < g.shape[0] <= FEW_ROWS < min(b.shape):
        # as (b @ g.T).T: BLAS packs the weight anew at each product, and reads it along its rows
        return np.copy(np.transpose(b @ np.transpose(g)), order="C")
    return g @ np.swapaxes(b, -1, -2)


def _matmul_right(g, _y, a, _b):
    if len(a.shape) == 1:
        return np.expand_dims(a, -1) * np.expand_dims(g, -2) if len(_b.shape) > 1 else g * a
    if len(_b.shape) == 1:
        return np.reshape(g, (-1,)) @ _rows(a)
    if len(_b.shape) == 2:
        return Product(_rows(a), _rows(g))
    return np.swapaxes(a, -1, -2) @ g


def _contract_operand(g, other, subscripts, shape, k):
    """Cotangent of operand ``k``, of ``shape``, of an einsum of two operands."""
    operands, out = subscripts.split("->")
    names = operands.split(",")
    mine, theirs = names[k], names[1 - k]
    alone = [i for i, name in enumerate(mine) if name not in out + theirs]  # summed over alone
    kept = "".join(name for i, name in enumerate(mine) if i not in alone)
    g = np.expand_dims(np.einsum(f"{out},{theirs}->{kept}", g, other), tuple(alone))
    return np.broadcast_to(g, tuple(shape[i] if i in alone else n for i, n in enumerate(g.shape)))


def _concatenate(g, _y, *_xs, axis=0):
    sizes = [math.prod(x.shape) if axis is None else x.shape[axis] for x in _xs]
    pieces = np.split(g, list(itertools.accumulate(sizes[:-1])), axis or 0)
    if axis is None:
        return [np.reshape(piece, x.shape) for piece, x in zip(pieces, _xs, strict=True)]
    return pieces


# --- the table ----------------------------------------------------------------------------------

# arithmetic
rule(np.add, lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)
rule(np.subtract, lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g)
rule(np.multiply, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)
rule(np.divide, lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -g * (y / b))
rule(np.power, _power_base, _power_exponent)
rule(np.remainder, lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * np.floor(a / b))
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
rule(np.logaddexp, lambda g, y, a, _b: _softplus_slope(g, y, a),
                   lambda g, y, _a, b: _softplus_slope(g, y, b))  # fmt: skip

# trigonometric and hyperbolic functions
rule(np.sin, lambda g, _y, x: g * np.cos(x))
rule(np.cos, lambda g, _y, x: -g * np.sin(x))
rule(np.tan, lambda g, y, _x: g * (1 + y * y))
rule(np.arcsin, lambda g, _y, x: g / np.sqrt(1 - x * x))
rule(np.arccos, lambda g, _y, x: -g / np.sqrt(1 - x * x))
rule(np.arctan, lambda g, _y, x: g / (1 + x * x))
rule(np.arctan2, lambda g, _y, a, b: g * b / (a * a + b * b),
                 lambda g, _y, a, b: -g * a / (a * a + b * b))  # fmt: skip
rule(np.hypot, lambda g, y, a, _b: g * a / y, lambda g, y, _a, b: g * b / y)
rule(np.sinh, lambda g, _y, x: g * np.cosh(x))
rule(np.cosh, lambda g, _y, x: g * np.sinh(x))
rule(np.tanh, lambda g, y, _x: g * (1 - y * y))
rule(np.arcsinh, lambda g, _y, x: g / np.sqrt(x * x + 1))
rule(np.arccosh, lambda g, _y, x: g / np.sqrt(x * x - 1))
rule(np.arctanh, lambda g, _y, x: g / (1 - x * x))

# choices
rule(np.maximum, lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a > b, g, 0)),
                 lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a < b, g, 0)))  # fmt: skip
rule(np.minimum, lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a < b, g, 0)),
                 lambda g, _y, a, b: np.where(a == b, 0.5 * g, np.where(a > b, g, 0)))  # fmt: skip
rule(np.where, None, lambda g, _y, c, _a, _b: np.where(c, g, 0),
                     lambda g, _y, c, _a, _b: np.where(c, 0, g))  # fmt: skip

# reductions and running sums
rule(np.sum, lambda g, _y, _x, axis=None, keepdims=False: np.broadcast_to(
    expand(g, _x.shape, axis, keepdims), _x.shape))  # fmt: skip
rule(np.mean, lambda g, _y, _x, axis=None, keepdims=False: np.broadcast_to(
    expand(g / count(_x.shape, axis), _x.shape, axis, keepdims), _x.shape))  # fmt: skip
rule(np.prod, _prod)
rule(np.max, _share)
rule(np.min, _share)
rule(np.cumsum, lambda g, _y, _x, axis=None: np.reshape(
    np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis), _x.shape))  # fmt: skip
rule(np.linalg.norm, lambda g, y, x, axis=None, keepdims=False:
     expand(g / np.where(y == 0, 1, y), x.shape, axis, keepdims) * x)  # fmt: skip

# shapes
rule(np.reshape, lambda g, _y, _x, *, shape: np.reshape(g, _x.shape))
rule(np.transpose, lambda g, _y, _x, axes=None: np.transpose(
    g, None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]))))  # fmt: skip
rule(np.swapaxes, lambda g, _y, _x, *, axis1, axis2: np.swapaxes(g, axis1, axis2))
rule(np.moveaxis, lambda g, _y, _x, *, source, destination: np.moveaxis(g, destination, source))
rule(np.expand_dims, lambda g, _y, _x, *, axis: np.reshape(g, _x.shape))
rule(np.squeeze, lambda g, _y, _x, axis=None: np.reshape(g, _x.shape))
rule(np.broadcast_to, lambda g, _y, _x, *, shape: g)
rule(np.flip, lambda g, _y, _x, axis=None: np.flip(g, axis))
rule(np.roll, lambda g, _y, _x, *, shift, axis=None: np.roll(
    g, tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis))  # fmt: skip
rule(np.copy, lambda g, _y, _x, order="K": g)
rule(np.astype, lambda g, _y, _x, *, dtype: np.astype(g, _x.dtype),
     call=lambda x, *, dtype: np.astype(x, dtype))

# joining and splitting
rule_of_sequence(np.concatenate, _concatenate)
rule_of_sequence(np.stack, lambda g, _y, *_xs, axis=0: np.unstack(g, axis=axis))
rule(np.array_split, lambda g, _y, _x, *, indices_or_sections, axis=0: np.concatenate(g, axis))
rule(np.unstack, lambda g, _y, _x, axis=0: np.stack(g, axis))

# indexing
rule(operator.getitem, lambda g, _y, _x, index: Scatter(g, index))
rule(scatter, lambda g, _y, _x, index, *, shape: g[index])
rule(write, lambda g, _y, _v, _x, index: np.copy(g[index]),
            lambda g, _y, _v, _x, index: Erase(g, index))  # fmt: skip

# products
rule(np.matmul, _matmul_left, _matmul_right, call=_matmul)
rule(contract,
     lambda g, _y, _a, b, *, subscripts: _contract_operand(g, b, subscripts, _a.shape, 0),
     lambda g, _y, a, _b, *, subscripts: _contract_operand(g, a, subscripts, _b.shape, 1))


# --- functions whose result carries no derivative ------------------------------------------------

PLAIN.update((
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isnan, np.isinf, np.isfinite, np.signbit, np.isclose, np.allclose, np.array_equal,
    np.argmax, np.argmin, np.argsort, np.argpartition, np.searchsorted, np.nonzero,
    np.flatnonzero, np.argwhere, np.count_nonzero, np.any, np.all, np.where,
    np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj,
    np.shares_memory, np.may_share_memory, np.array_repr, np.array_str, np.array2string,
))
