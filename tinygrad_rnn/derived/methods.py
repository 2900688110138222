"""Methods of ufuncs: ``np.add.reduce``, ``np.maximum.accumulate``, ``np.add.at`` and the rest.

Sums, products and extrema have rules. For any other ufunc of two arguments NumPy's definition is
carried out, step by step along the axis.
"""

import functools
import itertools

import numpy as np

from ..primitive import Function
from ..rules import scatter
from .reductions import as_one_axis
from .table import NoDerivative, array, before, beside, constant, value

_REDUCTIONS: dict[np.ufunc, Function] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
}  # fmt: skip
_RUNNING: dict[np.ufunc, Function] = {np.add: np.cumsum, np.multiply: np.cumprod}


def reduce(ufunc, a, axis=0, keepdims=False, initial=None, where=True):
    if ufunc in _REDUCTIONS:
        form = {"axis": axis, "keepdims": keepdims}
        form |= {} if initial is None else {"initial": initial}
        form |= {} if where is True else {"where": where}
        return _REDUCTIONS[ufunc](a, **form)
    if where is not True:
        if ufunc.identity is None:
            raise NoDerivative(f"np.{ufunc.__name__}.reduce: no derivative with where=")
        a = np.where(where, a, ufunc.identity)
    flat, kept = as_one_axis(array(a), axis)
    if kept.count(1) > 1:
        ufunc.reduce(np.ones(kept), axis=axis)  # NumPy knows for which ones the order is free
    steps = list(np.unstack(flat, axis=-1))
    if initial is None and len(steps) < 2:  # of two or more it changes nothing
        initial = ufunc.identity
    if initial is not None:
        steps.insert(0, initial if steps else np.full_like(flat, initial, shape=flat.shape[:-1]))
    y = functools.reduce(ufunc, steps)
    return np.reshape(y, kept) if keepdims else y


def accumulate(ufunc, array_, axis=0):
    before(axis, array_.ndim)  # one axis that is there
    if ufunc in _RUNNING:
        return _RUNNING[ufunc](array_, axis=axis)
    if not array_.shape[axis]:
        return np.copy(array_)
    return np.stack(list(itertools.accumulate(np.unstack(array_, axis=axis), ufunc)), axis)


def reduceat(ufunc, array_, indices, axis=0):
    n = array_.shape[axis]
    starts = np.asarray(constant(indices, f"np.{ufunc.__name__}.reduceat: indices")).tolist()
    if any(not 0 <= i < n for i in starts):
        raise IndexError(f"{ufunc.__name__}.reduceat: indices {starts} for {n} elements")
    first = before(axis, array_.ndim)

    def put_together(part):
        if ufunc in _REDUCTIONS:
            return ufunc.reduce(part, axis=axis)
        return functools.reduce(ufunc, np.unstack(part, axis=axis))

    return np.stack([
        array_[(*first, i)] if i >= j else put_together(array_[(*first, slice(i, j))])
        for i, j in zip(starts, [*starts[1:], n], strict=True)
    ], axis)  # fmt: skip


def outer(ufunc, A, B):
    A, B = array(A), array(B)
    return ufunc(np.reshape(A, A.shape + (1,) * B.ndim), B)


def at(ufunc, a, indices, *b):
    """An element that is named n times is changed n times: in n rounds, where there is no sum."""
    indices = _arrays(constant(indices, f"np.{ufunc.__name__}.at: indices"), a)
    if ufunc in (np.add, np.subtract):
        shape = value(a)[indices].shape
        a[...] = ufunc(a, scatter(np.broadcast_to(array(b[0]), shape), indices, shape=a.shape))
        return
    places = beside(np.arange(a.size).reshape(a.shape), a)[indices]
    flat = np.ravel(places)
    others = [np.ravel(np.broadcast_to(array(x), places.shape)) for x in b]
    order = np.argsort(flat, kind="stable")
    named = flat[order]
    turn = np.empty_like(flat)  # the how-manieth naming of its element each one is
    turn[order] = beside(np.arange(flat.size), a) - np.searchsorted(named, named)
    for k in range(int(np.max(turn)) + 1 if flat.size else 0):
        now = np.flatnonzero(turn == k)
        index = np.unravel_index(flat[now], a.shape)
        a[index] = ufunc(a[index], *(x[now] for x in others))


def _arrays(index, like):
    if isinstance(index, tuple):
        return tuple(_arrays(i, like) for i in index)
    return array(index, like) if isinstance(index, list) else index


METHODS = {f.__name__: f for f in (reduce, accumulate, reduceat, outer, at)}
