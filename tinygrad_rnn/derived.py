"""NumPy functions without a rule of their own: each is said in terms of those in ``rules.py``.

    derive(np.fliplr)(lambda m: np.flip(m, 1))

Called on Tensors these lines record the calls that they are made of, and so have derivatives of
every order.
"""

import itertools
import math
import string
from collections.abc import Callable

import numpy as np

from .rules import Function, contract, count, exclusive_products

DERIVED: dict[Function, Function] = {}  # callable -> the same function in terms of others


def derive(*fns: Function) -> Callable[[Function], Function]:
    """Say what ``fns`` are in terms of functions that have rules."""

    def register(same: Function) -> Function:
        DERIVED.update(dict.fromkeys(fns, same))
        return same

    return register


derive(np.vstack)(lambda tup: np.concatenate([np.atleast_2d(x) for x in tup], 0))
derive(np.dstack)(lambda tup: np.concatenate([np.atleast_3d(x) for x in tup], 2))
derive(np.hsplit)(lambda ary, n: np.split(ary, n, min(1, ary.ndim - 1)))
derive(np.vsplit)(lambda ary, n: np.split(ary, n, 0))
derive(np.fliplr)(lambda m: np.flip(m, 1))
derive(np.flipud)(lambda m: np.flip(m, 0))
derive(np.matrix_transpose)(lambda x: np.swapaxes(x, -1, -2))
derive(np.tril)(lambda m, k=0: np.where(np.tri(m.shape[-2], m.shape[-1], k, dtype=bool), m, 0))
derive(np.triu)(lambda m, k=0: np.where(np.tri(m.shape[-2], m.shape[-1], k - 1, dtype=bool), 0, m))
derive(np.cumprod)(lambda a, axis=None: _cumprod(a, axis))
derive(np.outer)(lambda a, b: np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1)))
derive(np.vdot)(lambda a, b: np.reshape(a, (-1,)) @ np.reshape(b, (-1,)))
derive(np.inner)(lambda a, b: np.tensordot(a, b, (-1, -1)) if np.ndim(a) and np.ndim(b) else a * b)
derive(np.trace)(lambda a, offset=0, axis1=0, axis2=1: np.sum(
    np.diagonal(a, offset, axis1, axis2), axis=-1))  # fmt: skip
derive(np.diff)(lambda a, n=1, axis=-1: _diff(a, n, axis))
derive(np.sort)(lambda a, axis=-1: np.take_along_axis(a, np.argsort(a, axis=axis), axis))
derive(np.std)(lambda a, axis=None, ddof=0, keepdims=False: np.sqrt(
    np.var(a, axis=axis, ddof=ddof, keepdims=keepdims)))  # fmt: skip


@derive(np.var)
def _var(a, axis=None, ddof=0, keepdims=False):
    d = a - np.mean(a, axis=axis, keepdims=True)
    return np.sum(d * d, axis=axis, keepdims=keepdims) / (count(a.shape, axis) - ddof)


@derive(np.clip)
def _clip(a, a_min=None, a_max=None, *, min=None, max=None):
    low, high = a_min if min is None else min, a_max if max is None else max
    a = np.copy(a) if low is None else np.where(a < low, low, a)
    return a if high is None else np.where(a > high, high, a)


@derive(np.linalg.norm)
def _norm(x, ord=None, axis=None, keepdims=False):
    if (axis is None and x.ndim > 1) or isinstance(axis, tuple) or ord not in (1, 2, np.inf):
        raise TypeError(f"linalg.norm: ord={ord!r}, axis={axis!r} has no rule (vectors: 1, 2, inf;"
                        " any array: None, the root of the sum of all squares)")
    if ord == 2:
        return np.linalg.norm(x, axis=axis, keepdims=keepdims)
    reduce = np.sum if ord == 1 else np.max
    return reduce(np.abs(x), axis=axis, keepdims=keepdims)


def _cumprod(a, axis):
    a, axis = (np.reshape(a, (-1,)), -1) if axis is None else (a, axis)
    last = np.moveaxis(a, axis, -1)
    return np.moveaxis(exclusive_products(last) * last, -1, axis)


def _diff(a, n, axis):
    for _ in range(n):
        before = (slice(None),) * (axis % a.ndim)
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


@derive(np.ravel)
def _ravel(a):
    return np.reshape(a, (-1,))


@derive(np.atleast_1d)
def _atleast_1d(a, *more):
    if more:
        return tuple(map(np.atleast_1d, (a, *more)))
    return a if a.ndim else np.reshape(a, (1,))


@derive(np.atleast_2d)
def _atleast_2d(a, *more):
    if more:
        return tuple(map(np.atleast_2d, (a, *more)))
    return a if a.ndim > 1 else np.reshape(a, (1, -1))


@derive(np.atleast_3d)
def _atleast_3d(a, *more):
    if more:
        return tuple(map(np.atleast_3d, (a, *more)))
    return a if a.ndim > 2 else np.expand_dims(np.atleast_2d(a), -1 if a.ndim else 0)


@derive(np.hstack)
def _hstack(tup):
    tup = [np.atleast_1d(x) for x in tup]
    return np.concatenate(tup, 0 if tup[0].ndim == 1 else 1)


@derive(np.column_stack)
def _column_stack(tup):
    return np.concatenate([np.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tup], 1)


@derive(np.split)
def _split(ary, indices_or_sections, axis=0):
    n = indices_or_sections
    if isinstance(n, int) and ary.shape[axis] % n:
        raise ValueError(f"split: {ary.shape[axis]} elements along axis {axis} are not divisible"
                         f" by {n}")
    return np.array_split(ary, n, axis)


@derive(np.tile)
def _tile(A, reps):
    reps = tuple(reps) if np.ndim(reps) else (reps,)
    ndim = max(len(reps), A.ndim)
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - A.ndim) + A.shape
    each = tuple(itertools.chain.from_iterable(zip(reps, shape, strict=True)))
    single = tuple(itertools.chain.from_iterable((1, n) for n in shape))
    whole = tuple(r * n for r, n in zip(reps, shape, strict=True))
    return np.reshape(np.broadcast_to(np.reshape(A, single), each), whole)


@derive(np.repeat)
def _repeat(a, repeats, axis=None):
    if axis is None:
        a, axis = np.reshape(a, (-1,)), 0
    axis %= a.ndim
    if np.ndim(repeats):
        return np.take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)
    repeats = int(repeats)
    shape = a.shape
    a = np.expand_dims(a, axis + 1)
    a = np.broadcast_to(a, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    return np.reshape(a, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))


@derive(np.pad)
def _pad(array, pad_width, mode="constant", constant_values=0):
    widths = np.broadcast_to(pad_width, (array.ndim, 2)).tolist()
    if mode == "constant":
        shape = tuple(n + sum(w) for n, w in zip(array.shape, widths, strict=True))
        padded = np.full_like(array, constant_values, shape=shape)
        inside = (slice(w[0], w[0] + n) for n, w in zip(array.shape, widths, strict=True))
        padded[tuple(inside)] = array
        return padded
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise TypeError(f"pad: mode {mode!r} has no derivative rule")
    for axis, width in enumerate(widths):
        array = np.take(array, np.pad(np.arange(array.shape[axis]), width, mode), axis)
    return array


@derive(np.take)
def _take(a, indices, axis=None, mode="raise"):
    if axis is None:
        a, axis = np.reshape(a, (-1,)), 0
    if mode == "wrap":
        indices = np.mod(indices, a.shape[axis])
    elif mode == "clip":
        indices = np.clip(indices, 0, a.shape[axis] - 1)
    return a[(*(slice(None),) * (axis % a.ndim), indices)]


@derive(np.take_along_axis)
def _take_along_axis(arr, indices, axis=-1):
    if axis is None:
        arr, axis = np.reshape(arr, (-1,)), 0
    axis %= arr.ndim
    if np.ndim(indices) != arr.ndim:
        raise ValueError(f"take_along_axis: indices of {np.ndim(indices)} axes for an array of"
                         f" {arr.ndim}")
    grid = [
        np.reshape(np.arange(n), (-1,) + (1,) * (arr.ndim - 1 - i))
        for i, n in enumerate(arr.shape)
    ]
    return arr[(*grid[:axis], indices, *grid[axis + 1 :])]


@derive(np.diagonal)
def _diagonal(a, offset=0, axis1=0, axis2=1):
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows = np.arange(max(0, min(a.shape[-2] + min(offset, 0), a.shape[-1] - max(offset, 0))))
    return a[..., rows - min(offset, 0), rows + max(offset, 0)]


@derive(np.dot)
def _dot(a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return np.matmul(a, b) if np.ndim(b) <= 2 else np.tensordot(a, b, (-1, -2))


@derive(np.tensordot)
def _tensordot(a, b, axes=2):
    if isinstance(axes, int):
        axes = tuple(range(np.ndim(a) - axes, np.ndim(a))), tuple(range(axes))
    summed = [
        [i % np.ndim(x) for i in ((n,) if isinstance(n, int) else n)]
        for x, n in zip((a, b), axes, strict=True)
    ]
    both = list(zip((a, b), summed, strict=True))
    free = [[i for i in range(np.ndim(x)) if i not in s] for x, s in both]
    inner = [[x.shape[i] for i in s] for x, s in both]
    if inner[0] != inner[1]:
        raise ValueError(f"tensordot: {a.shape} and {b.shape} summed over axes {axes}: sizes"
                         f" {inner[0]} and {inner[1]} differ")
    n = math.prod(inner[0])
    rows = math.prod(a.shape[i] for i in free[0])
    columns = math.prod(b.shape[i] for i in free[1])
    left = np.reshape(np.transpose(a, free[0] + summed[0]), (rows, n))
    right = np.reshape(np.transpose(b, summed[1] + free[1]), (n, columns))
    shape = [a.shape[i] for i in free[0]] + [b.shape[i] for i in free[1]]
    return np.reshape(left @ right, shape)


@derive(np.einsum)
def _einsum(subscripts, *operands, optimize=False):
    """Pairs of operands, from left to right (so ``optimize`` has nothing to choose)."""
    names, out = _einsum_names(subscripts, operands)
    xs, names = map(list, zip(*map(_einsum_diagonal, operands, names), strict=True))
    while len(xs) > 1:
        (a, b), (p, q) = xs[:2], names[:2]
        later = out + "".join(names[2:])
        kept = "".join(dict.fromkeys(c for c in p + q if c in later)) if len(names) > 2 else out
        xs[:2] = [contract(a, b, subscripts=f"{p},{q}->{kept}")]
        names[:2] = [kept]
    (x,), (name,) = xs, names
    x = np.sum(x, axis=tuple(i for i, c in enumerate(name) if c not in out))
    name = [c for c in name if c in out]
    return np.transpose(x, [name.index(c) for c in out])


def _einsum_names(subscripts, operands):
    """One letter per axis, with the ellipsis and the output written out."""
    if not isinstance(subscripts, str):
        raise TypeError("einsum: subscripts are wanted as a string, such as 'ij,jk->ik'")
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    names = inputs.split(",")
    if len(names) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(names)} operands,"
                         f" {len(operands)} came")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    longest = ""
    for i, (name, x) in enumerate(zip(names, operands, strict=True)):
        if "..." in name:
            extra = "".join(spare[: np.ndim(x) - len(name) + 3])[::-1]  # aligned at the right
            longest = max(longest, extra, key=len)
            names[i] = name.replace("...", extra)
        if len(names[i]) != np.ndim(x):
            raise ValueError(f"einsum: {name!r} of {subscripts!r} for an array of shape"
                             f" {np.shape(x)}")
    if not arrow:
        every = "".join(names)
        single = sorted(c for c in set(every) if every.count(c) == 1 and c not in longest)
        return names, longest + "".join(single)
    return names, out.replace("...", longest)


def _einsum_diagonal(x, name):
    for c in dict.fromkeys(name):
        while name.count(c) > 1:
            i = name.index(c)
            j = name.index(c, i + 1)
            x = np.diagonal(x, 0, i, j)
            name = name[:i] + name[i + 1 : j] + name[j + 1 :] + c
    return x, name
