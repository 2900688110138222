"""Sums, moments, norms, and running ones."""

import numpy as np

from ..rules import count, exclusive_products
from .table import derive

derive(np.cumprod)(lambda a, axis=None: _cumprod(a, axis))
derive(np.diff)(lambda a, n=1, axis=-1: _diff(a, n, axis))
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
