"""Sums, means, extrema, quantiles: all of a kind, and with ``where=`` and ``initial=``.

What NumPy leaves out (``where=``) is replaced before it is computed with, by what changes nothing:
so no NaN that stands there gets into a gradient.
"""

import math

import numpy as np

from ..rules import count, exclusive_products
from .table import DERIVED, along, array, axes_of, beside, constant, derive, require, value


def _reduction(reduce, join, neutral):
    """A reduction with ``initial=`` and ``where=``, in terms of the one without."""

    @derive(reduce)
    def reduction(a, axis=None, keepdims=False, initial=None, where=True):
        a = array(a)
        if where is not True:
            if neutral is None and initial is None:
                raise ValueError(f"{reduce.__name__}: where= wants initial=, for where nothing is"
                                 " left")
            lowest = -np.inf if reduce is np.max else np.inf
            a = np.where(np.broadcast_to(where, a.shape), a,
                         lowest if neutral is None else neutral).astype(a.dtype)  # fmt: skip
        if initial is None:
            return reduce(a, axis=axis, keepdims=keepdims)
        if not count(a.shape, axis):
            shape = np.sum(np.zeros(a.shape), axis=axis, keepdims=keepdims).shape
            return np.full_like(a, initial, shape=shape)
        return join(reduce(a, axis=axis, keepdims=keepdims), initial)

    return reduction


_reduction(np.sum, np.add, 0)
_reduction(np.prod, np.multiply, 1)
_reduction(np.max, np.maximum, None)
_reduction(np.min, np.minimum, None)
derive(np.amax)(DERIVED[np.max])
derive(np.amin)(DERIVED[np.min])
derive(np.ptp)(lambda a, axis=None, keepdims=False: np.max(
    a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims))  # fmt: skip


def _how_many(a, axis, where, keepdims):
    """The number of elements that are put together; an array of them if ``where`` is one."""
    if where is True:
        return count(a.shape, axis)
    chosen = np.broadcast_to(where, a.shape)
    return np.sum(chosen, axis=axis, keepdims=keepdims).astype(a.dtype)


@derive(np.mean)
def _mean(a, axis=None, keepdims=False, where=True):
    a = array(a)
    if where is True:
        return np.mean(a, axis=axis, keepdims=keepdims)
    total = np.sum(a, axis=axis, keepdims=keepdims, where=where)
    return total / _how_many(a, axis, where, keepdims)


def _deviations(a, axis, where, mean):
    a = array(a)
    if mean is None:
        mean = np.mean(a, axis=axis, keepdims=True, where=where)
    return a - mean if where is True else np.where(where, a - mean, 0)


def _freedom(a, axis, where, keepdims, ddof, correction):
    if correction is not None and ddof:
        raise ValueError(f"ddof={ddof} and correction={correction}: only one of the two is wanted")
    left = _how_many(array(a), axis, where, keepdims) - (ddof if correction is None else correction)
    return np.maximum(left, 0)


@derive(np.var)
def _var(a, axis=None, ddof=0, keepdims=False, where=True, mean=None, correction=None):
    total = np.sum(np.square(_deviations(a, axis, where, mean)), axis=axis, keepdims=keepdims)
    return total / _freedom(a, axis, where, keepdims, ddof, correction).astype(total.dtype)


@derive(np.std)
def _std(a, axis=None, ddof=0, keepdims=False, where=True, mean=None, correction=None):
    """The length of the deviations: so that its derivative is 0 where it is 0, as that of norm."""
    d = _deviations(a, axis, where, mean)
    length = np.linalg.vector_norm(d, axis=axis, keepdims=keepdims)
    return length / np.sqrt(_freedom(a, axis, where, keepdims, ddof, correction)).astype(d.dtype)


@derive(np.average)
def _average(a, axis=None, weights=None, returned=False, keepdims=False):
    a, axis = array(a), axis if axis is None else axes_of(axis, np.ndim(a))
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        total = np.zeros_like(mean) + count(a.shape, axis)
    else:
        weights = array(weights, a)
        weights = weights.astype(np.result_type(a, weights))
        if weights.shape != a.shape:
            axes = axes_of(axis, a.ndim)
            if axis is None or weights.shape != tuple(a.shape[i] for i in axes):
                raise ValueError(f"average: weights of shape {weights.shape} for an array of shape"
                                 f" {a.shape} and axis={axis}")
            order = np.argsort(axes).tolist()
            others = [i for i in range(a.ndim) if i not in axes]
            weights = np.expand_dims(np.transpose(weights, order), tuple(others))
        total = np.sum(np.broadcast_to(weights, a.shape), axis=axis, keepdims=keepdims)
        require(total != 0, message="average: the weights sum up to zero")
        mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, np.broadcast_to(total, mean.shape)) if returned else mean


# --- quantiles ------------------------------------------------------------------------------------


def as_one_axis(a, axis):
    """The axes of a reduction as one, the last; and how the result gets them back (keepdims)."""
    axes = axes_of(axis, a.ndim)
    rest = [i for i in range(a.ndim) if i not in axes]
    n = math.prod(a.shape[i] for i in axes)
    flat = np.reshape(np.transpose(a, (*rest, *axes)), (*(a.shape[i] for i in rest), n))
    return flat, tuple(1 if i in axes else a.shape[i] for i in range(a.ndim))


def _ranks(q, n, method):
    """Where quantiles stand among n sorted elements: as NumPy finds them among 0, 1, 2, ..."""
    return np.quantile(np.arange(float(n)), q, method=method)


def _quantile(fn, a, q, kind, axis, method, keepdims):
    """Quantiles ``q`` (an array, of 1), in the dtype ``kind``. One that is an element is that
    element, also beside infinity, where NumPy takes inf - inf and has NaN."""
    skip_nan = fn in (np.nanquantile, np.nanpercentile, np.nanmedian)
    flat, kept = as_one_axis(a, axis)
    lead, n = flat.shape[:-1], flat.shape[-1]
    if not n and fn not in (np.quantile, np.percentile):  # that of no elements
        flat, n = np.full_like(flat, np.nan, shape=(*lead, 1), dtype=kind), 1
    ordered = np.sort(flat, -1)  # NaNs come last
    if skip_nan:
        have = n - np.sum(np.isnan(flat), axis=-1)
        ranks = np.reshape(beside(q, a), q.shape + (1,) * len(lead)) * np.maximum(have - 1, 0)
        ranks = ranks[...]  # of one number NumPy makes no array
        if method != "linear":
            for m in np.unique(have):
                ranks[..., have == m] = beside(_ranks(q, max(int(m), 1), method)[..., None], a)
    else:
        ranks = beside(np.asarray(_ranks(q, n, method)), a)
        ranks = np.broadcast_to(np.reshape(ranks, q.shape + (1,) * len(lead)), (*q.shape, *lead))
    ranks = np.reshape(ranks, (q.size, *lead))
    low, part = np.floor(ranks).astype(int), ranks - np.floor(ranks)
    below, above = (
        np.take_along_axis(ordered[None], i[..., None], -1)[..., 0]
        for i in (low, np.where(part > 0, low + 1, low))
    )
    part = part.astype(kind)
    y = np.where(part > 0, below * (1 - part) + above * part, below)
    if not skip_nan:
        last = ordered[..., -1]
        y = np.where(np.isnan(last), last, y)
    return np.reshape(y, q.shape + (kept if keepdims else lead)).astype(kind)


def _quantile_of(fn, scale):
    @derive(fn)
    def quantile(a, q, axis=None, overwrite_input=False, method="linear", keepdims=False):
        a, q = array(a), constant(q, "np.quantile: q")
        kind = np.asarray(fn(np.ones(1, a.dtype), q, method=method)).dtype
        return _quantile(fn, a, np.asarray(np.asarray(q) / scale), kind, axis, method, keepdims)


def _median_of(fn):
    @derive(fn)
    def median(a, axis=None, overwrite_input=False, keepdims=False):
        a = array(a)
        kind = fn(np.ones(1, a.dtype)).dtype
        return _quantile(fn, a, np.array(0.5), kind, axis, "linear", keepdims)


_quantile_of(np.quantile, 1)
_quantile_of(np.percentile, 100)
_quantile_of(np.nanquantile, 1)
_quantile_of(np.nanpercentile, 100)
_median_of(np.median)
_median_of(np.nanmedian)


# --- without the NaNs -----------------------------------------------------------------------------


def _without_nan(fn, reduce):
    @derive(fn)
    def reduction(a, axis=None, keepdims=False, initial=None, where=True):
        a = array(a)
        given = {} if initial is None else {"initial": initial}
        return reduce(a, axis=axis, keepdims=keepdims, where=where & ~np.isnan(a), **given)

    return reduction


_without_nan(np.nansum, np.sum)
_without_nan(np.nanprod, np.prod)


def _extremum_without_nan(fn, reduce, neutral):
    @derive(fn)
    def extremum(a, axis=None, keepdims=False, initial=None, where=True):
        a = array(a)
        missing = np.isnan(a)
        given = {} if initial is None else {"initial": initial}
        if where is not True:
            given["where"] = where
        y = reduce(np.where(missing, neutral, a), axis=axis, keepdims=keepdims, **given)
        return y if given else np.where(np.all(missing, axis=axis, keepdims=keepdims), np.nan, y)

    return extremum


_extremum_without_nan(np.nanmax, np.max, -np.inf)
_extremum_without_nan(np.nanmin, np.min, np.inf)
derive(np.nanmean)(lambda a, axis=None, keepdims=False, where=True: np.mean(
    a, axis=axis, keepdims=keepdims, where=where & ~np.isnan(a)))  # fmt: skip


def _spread_without_nan(fn, spread):
    @derive(fn)
    def without(a, axis=None, ddof=0, keepdims=False, where=True, mean=None, correction=None):
        where = where & ~np.isnan(a)
        few = _freedom(a, axis, where, keepdims, ddof, correction) == 0
        y = spread(a, axis, ddof, keepdims, where, mean, correction)
        return np.where(few, np.nan, y)  # where np.var gives inf

    return without


_spread_without_nan(np.nanvar, _var)
_spread_without_nan(np.nanstd, _std)


# --- running sums and products --------------------------------------------------------------------


@derive(np.cumprod)
def _cumprod(a, axis=None):
    a, axis = along(a, axis)
    last = np.moveaxis(a, axis, -1)
    return np.moveaxis(exclusive_products(last) * last, -1, axis)


derive(np.nancumsum)(lambda a, axis=None: np.cumsum(np.where(np.isnan(a), 0, a), axis=axis))
derive(np.nancumprod)(lambda a, axis=None: np.cumprod(np.where(np.isnan(a), 1, a), axis=axis))


def _cumulative(fn, run, first):
    @derive(fn)
    def cumulative(x, axis=None, include_initial=False):
        if axis is None and x.ndim > 1:
            raise ValueError(f"{fn.__name__}: an array of shape {x.shape} wants axis=")
        axis = 0 if axis is None else axis
        y = run(x, axis=axis)
        if not include_initial:
            return y
        shape = [1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
        return np.concatenate([np.full_like(x, first, shape=tuple(shape)), y], axis)

    return cumulative


_cumulative(np.cumulative_sum, np.cumsum, 0)
_cumulative(np.cumulative_prod, np.cumprod, 1)


# --- order ----------------------------------------------------------------------------------------


@derive(np.sort)
def _sort(a, axis=-1, kind=None, stable=None):
    a, axis = along(a, axis)
    if stable and kind is None:
        kind, stable = "stable", None  # which every library knows by that name
    given = {k: v for k, v in (("kind", kind), ("stable", stable)) if v is not None}
    return np.take_along_axis(a, np.argsort(a, axis=axis, **given), axis)


@derive(np.partition)
def _partition(a, kth, axis=-1):
    a, axis = along(a, axis)
    return np.take_along_axis(a, np.argpartition(a, kth, axis=axis), axis)


@derive(np.unique)
def _unique(ar, return_index=False, return_inverse=False, return_counts=False, axis=None,
            equal_nan=True, sorted=True):  # fmt: skip
    ar = array(ar)
    _, index, *more = np.unique(value(ar), return_index=True, return_inverse=return_inverse,
                                return_counts=return_counts, axis=axis, equal_nan=equal_nan)
    results = (np.take(ar, index, axis), *([index] if return_index else []), *more)
    return results if len(results) > 1 else results[0]


derive(np.unique_values)(lambda x: np.unique(x, equal_nan=False))
derive(np.unique_counts)(lambda x: type(np.unique_counts([0]))(
    *np.unique(x, return_counts=True, equal_nan=False)))  # fmt: skip
derive(np.unique_inverse)(lambda x: type(np.unique_inverse([0]))(
    *np.unique(x, return_inverse=True, equal_nan=False)))  # fmt: skip
derive(np.unique_all)(lambda x: type(np.unique_all([0]))(
    *np.unique(x, True, True, True, equal_nan=False)))  # fmt: skip


@derive(np.intersect1d)
def _intersect1d(ar1, ar2, assume_unique=False):
    values = np.unique(ar1)
    return values[np.flatnonzero(np.isin(values, ar2))]


@derive(np.setdiff1d)
def _setdiff1d(ar1, ar2, assume_unique=False):
    values = np.ravel(ar1) if assume_unique else np.unique(ar1)
    return values[np.flatnonzero(~np.isin(values, ar2))]


@derive(np.setxor1d)
def _setxor1d(ar1, ar2, assume_unique=False):
    once = np.ravel if assume_unique else np.unique
    both = np.concatenate([once(ar1), once(ar2)])
    values, n = np.unique(both, return_counts=True, equal_nan=False)
    return values[np.flatnonzero(n == 1)]


derive(np.union1d)(lambda ar1, ar2: np.unique(np.concatenate([np.ravel(ar1), np.ravel(ar2)])))


@derive(np.trim_zeros)
def _trim_zeros(filt, trim="fb", axis=None):
    part, trim = [slice(None)] * filt.ndim, trim.lower()
    for i in axes_of(axis, filt.ndim):
        places = np.argwhere(filt)[:, i]
        start, stop = places.min(initial=filt.shape[i]), places.max(initial=-1) + 1
        part[i] = slice(start if "f" in trim else None, stop if "b" in trim else None)
    return filt[tuple(part)]
