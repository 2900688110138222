"""Taking, choosing and writing.

What NumPy writes into an array (``np.put``, ``np.copyto``, ``np.add.at``) makes a new version of a
Tensor, as ``t[i] = v`` does: graphs made before keep the old one.
"""

import itertools
import math

import numpy as np

from ..rules import scatter
from .table import along, array, axis_of, before, constant, derive, require, together

# --- taking ---------------------------------------------------------------------------------------


@derive(np.take)
def _take(a, indices, axis=None, mode="raise"):
    a, axis = along(a, axis)
    if mode == "wrap":
        indices = np.mod(indices, a.shape[axis])
    elif mode == "clip":
        indices = np.clip(indices, 0, a.shape[axis] - 1)
    indices = array(indices)
    if indices.dtype == bool:  # no mask: 0 and 1
        indices = indices.astype(int)
    return a[(*before(axis, a.ndim), indices)]


def _grid(shape, indices, axis):
    """The index of ``take_along_axis``."""
    if np.ndim(indices) != len(shape):
        raise ValueError(f"take_along_axis: indices of {np.ndim(indices)} axes for an array of"
                         f" {len(shape)}")
    if array(indices).dtype.kind not in "iu":
        raise IndexError("take_along_axis: indices are integers, no mask")
    grid = [np.reshape(np.arange(n), (-1,) + (1,) * (len(shape) - 1 - i))
            for i, n in enumerate(shape)]  # fmt: skip
    return (*grid[:axis], indices, *grid[axis + 1 :])


@derive(np.take_along_axis)
def _take_along_axis(arr, indices, axis=-1):
    arr, axis = along(arr, axis)
    return arr[_grid(arr.shape, indices, axis)]


@derive(np.compress)
def _compress(condition, a, axis=None):
    if np.ndim(condition) != 1:
        raise ValueError(f"compress: a condition of one axis is wanted, {condition} came")
    return np.take(a, np.flatnonzero(condition), axis)


@derive(np.extract)
def _extract(condition, arr):
    return np.ravel(arr)[np.flatnonzero(condition)]


# --- choosing -------------------------------------------------------------------------------------


@derive(np.choose)
def _choose(a, choices, mode="raise"):
    a, n = array(constant(a, "np.choose: a")), len(choices)
    if mode == "raise":
        require((a >= 0) & (a < n), message=f"choose: an index beyond the {n} choices")
    a = a % n if mode == "wrap" else np.clip(a, 0, n - 1)
    kind = np.result_type(*choices)
    a, *choices = np.broadcast_arrays(
        a, *(x.astype(kind) for x in together(choices)))
    return np.take_along_axis(np.stack(choices), a[None], 0)[0]


@derive(np.select)
def _select(condlist, choicelist, default=0):
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"select: {len(condlist)} conditions and {len(choicelist)} choices; as"
                         " many of both are wanted")
    if any(array(condition).dtype != bool for condition in condlist):
        raise TypeError("select: conditions of booleans are wanted")
    kind = np.result_type(*choicelist, default)
    y = array(default)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        y = np.where(condition, choice, y)
    shape = np.broadcast_shapes(y.shape, *map(np.shape, condlist))
    return np.broadcast_to(y, shape).astype(kind)


@derive(np.piecewise)
def _piecewise(x, condlist, funclist, *args, **kw):
    """Each function sees the elements of its own condition and no others."""
    conditions = condlist
    if np.isscalar(condlist) or (np.ndim(x) and not np.ndim(condlist[0])):
        conditions = [condlist]
    conditions = np.astype(array(conditions), bool)
    if len(funclist) == len(conditions) + 1:
        conditions = np.concatenate([conditions, ~np.any(conditions, axis=0, keepdims=True)])
    if len(funclist) != len(conditions):
        raise ValueError(f"piecewise: {len(conditions)} conditions and {len(funclist)} functions;"
                         " as many of both are wanted, or one function more")
    y = np.zeros_like(x)
    for condition, f in zip(conditions, funclist, strict=True):
        part = x[condition] if callable(f) else None
        if part is None or part.size:  # of no elements no function is asked
            y[condition] = f if part is None else f(part, *args, **kw)
    return y


@derive(np.apply_along_axis)
def _apply_along_axis(func1d, axis, arr, *args, **kwargs):
    arr = array(arr)
    axis = axis_of(axis, arr.ndim)
    last = np.moveaxis(arr, axis, -1)
    lead = last.shape[:-1]
    results = [array(func1d(row, *args, **kwargs))
               for row in np.reshape(last, (math.prod(lead), last.shape[-1]))]  # fmt: skip
    y = np.reshape(np.stack(results), lead + results[0].shape)
    ends = range(len(lead), y.ndim)
    return np.moveaxis(y, list(ends), [axis + i for i in range(len(ends))])


@derive(np.apply_over_axes)
def _apply_over_axes(func, a, axes):
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        y = func(a, axis)
        a = y if y.ndim == a.ndim else np.expand_dims(y, axis)
    return a


@derive(np.bincount)
def _bincount(x, weights=None, minlength=0):
    x = array(constant(x, "np.bincount: x"), weights)
    if weights is None:
        return np.bincount(x, minlength=minlength)
    n = np.bincount(x, minlength=minlength).size
    weights = array(weights)
    if weights.shape != x.shape:
        raise ValueError(f"bincount: weights of shape {weights.shape} for {x.shape}")
    return scatter(weights.astype(float), x, shape=(n,))


# --- writing --------------------------------------------------------------------------------------


def _refilled(values, size, like):
    """The first ``size`` of the values, again and again."""
    return np.resize(array(values, like), size)


@derive(np.copyto)
def _copyto(dst, src, casting="same_kind", where=True):
    weak = type(src) in (bool, int, float)
    src = src if weak else array(src)
    kind = np.result_type(dst.dtype, src) if weak else src.dtype
    if not np.can_cast(kind, dst.dtype, casting):
        raise TypeError(f"copyto: {kind} into {dst.dtype} with casting={casting!r}")
    dst[...] = src if where is True else np.where(where, src, dst)


@derive(np.put)
def _put(a, ind, v, mode="raise"):
    ind = np.ravel(constant(ind, "np.put: ind"))
    if mode == "wrap":
        ind = ind % a.size
    elif mode == "clip":
        ind = np.clip(ind, 0, a.size - 1)
    if np.any((ind < -a.size) | (ind >= a.size)):
        raise IndexError(f"put: an index beyond the {a.size} elements")
    a[np.unravel_index(ind % a.size, a.shape)] = _refilled(v, ind.size, a)


@derive(np.putmask)
def _putmask(a, mask, values):
    a[...] = np.where(mask, np.reshape(_refilled(values, a.size, a), a.shape), a)


@derive(np.place)
def _place(arr, mask, vals):
    """The n-th element that is chosen gets the n-th value."""
    mask = array(mask) != 0
    nth = np.reshape(np.maximum(np.cumsum(mask) - 1, 0), mask.shape)
    vals = np.ravel(array(vals, arr))
    arr[...] = np.where(mask, vals[nth % vals.size], arr)


@derive(np.put_along_axis)
def _put_along_axis(arr, indices, values, axis):
    if axis is None:
        arr.flat[_grid((arr.size,), indices, 0)] = values
    else:
        arr[_grid(arr.shape, indices, along(arr, axis)[1])] = values


@derive(np.fill_diagonal)
def _fill_diagonal(a, val, wrap=False):
    if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) != 1):
        raise ValueError(f"fill_diagonal: a matrix, or axes of equal length: shape {a.shape} came")
    step = 1 + sum(itertools.accumulate(a.shape[:0:-1], lambda p, n: p * n))
    end = a.shape[1] ** 2 if a.ndim == 2 and not wrap else a.size
    places = np.arange(0, min(end, a.size), step)
    a[np.unravel_index(places, a.shape)] = _refilled(val, len(places), a)
