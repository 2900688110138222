"""Differences, sums over a grid, interpolation, polynomials, grids of numbers."""

import operator
from typing import Any

import numpy as np

from .table import array, axes_of, axis_of, before, beside, derive, require, together, value


def _along(axis, ndim, part):
    return (*before(axis, ndim), part)


@derive(np.diff)
def _diff(a, n=1, axis=-1, prepend=None, append=None):
    if n < 0:
        raise ValueError(f"diff: n={n}: a number from 0 on is wanted")
    a = array(a)
    if not a.ndim:
        raise ValueError("diff: an array with an axis is wanted, one without came")
    ends: list[list[Any]] = []
    for end in (prepend, append):
        if end is None:
            ends.append([])
            continue
        end = array(end, a)
        shape = tuple(1 if i in axes_of(axis, a.ndim) else m for i, m in enumerate(a.shape))
        ends.append([end if end.ndim else np.broadcast_to(end, shape)])
    if n and (ends[0] or ends[1]):
        a = np.concatenate([*ends[0], a, *ends[1]], axis)
    for _ in range(n):
        a = a[_along(axis, a.ndim, slice(1, None))] - a[_along(axis, a.ndim, slice(None, -1))]
    return a


@derive(np.ediff1d)
def _ediff1d(ary, to_end=None, to_begin=None):
    ary = np.ravel(ary)
    ends = [[] if x is None else [np.ravel(array(x, ary)).astype(ary.dtype)]
            for x in (to_begin, to_end)]  # fmt: skip
    return np.concatenate([*ends[0], ary[1:] - ary[:-1], *ends[1]])


@derive(np.gradient)
def _gradient(f, *varargs, axis=None, edge_order=1):
    """Second order inside, of ``edge_order`` at the ends; see ``np.gradient`` for the formulas."""
    f = array(f)
    axes = axes_of(axis, f.ndim)
    spacings = list(varargs) if len(varargs) > 1 else (list(varargs) or [1.0]) * len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"np.gradient: {len(varargs)} spacings for {len(axes)} axes; one for all,"
                        " or one for each axis is wanted")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order={edge_order}: 1 or 2 is wanted")
    slopes = []
    for i, h in zip(axes, spacings, strict=True):
        h = array(h, f).astype(f.dtype)
        if f.shape[i] < edge_order + 1:
            raise ValueError(f"gradient: {edge_order + 1} elements or more are wanted along axis"
                             f" {i}, shape {f.shape} came")
        if h.ndim and h.shape != (f.shape[i],):
            raise ValueError(f"gradient: coordinates of shape {h.shape} for {f.shape[i]} elements")
        slope = _slope(np.moveaxis(f, i, -1), h, edge_order)
        slopes.append(np.moveaxis(slope, -1, i))
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _slope(f, h, edge_order):
    """Along the last axis; h is the distance of all neighbours, or the coordinates."""
    steps = h[1:] - h[:-1] if h.ndim else np.broadcast_to(h, (f.shape[-1] - 1,))
    rise = (f[..., 1:] - f[..., :-1]) / steps
    if h.ndim:
        a, b = steps[:-1], steps[1:]
        middle = f[..., 1:-1]
        unread = np.all(steps == steps[:1]) & ~np.isfinite(middle)
        middle = np.where(unread, 0, (b - a) / (a * b) * middle)
        both = a + b
        inner = -b / (a * both) * f[..., :-2] + middle + a / (b * both) * f[..., 2:]
    else:  # what is in the middle is not read: it may be NaN
        inner = (f[..., 2:] - f[..., :-2]) / (2 * h)
    first, last = rise[..., :1], rise[..., -1:]
    if edge_order == 2:
        first = first - (rise[..., 1:2] - first) * steps[0] / (steps[0] + steps[1])
        last = last + (last - rise[..., -2:-1]) * steps[-1] / (steps[-1] + steps[-2])
    return np.concatenate([first, inner, last], -1)


@derive(np.trapezoid)
def _trapezoid(y, x=None, dx=1.0, axis=-1):
    y = array(y)
    y = np.moveaxis(y, axis_of(axis, y.ndim), -1)
    if x is not None:
        x = array(x, y)
        dx = np.diff(x if x.ndim == 1 else np.moveaxis(x, axis, -1), axis=-1)
    return np.sum(dx * (y[..., 1:] + y[..., :-1]) / 2, axis=-1)


@derive(np.interp)
def _interp(x, xp, fp, left=None, right=None, period=None):
    x, xp, fp = (v.astype(float) for v in together((x, xp, fp)))
    if xp.ndim != 1 or xp.shape != fp.shape or not len(xp):
        raise ValueError(f"interp: points of shape {xp.shape} with values of shape {fp.shape}; one"
                         " axis of the same length is wanted")
    if period is not None:
        if not period:
            raise ValueError("interp: a period other than 0 is wanted")
        period, left, right = abs(period), None, None
        x, xp = x % period, xp % period
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    low, high = x < xp[0], x > xp[-1]
    at = np.maximum(np.searchsorted(xp, x, side="right") - 1, 0)
    x = np.where(low | high, xp[at], x)  # infinity there reaches no gradient
    i = np.minimum(at, max(len(xp) - 2, 0))
    j = np.minimum(i + 1, len(xp) - 1)  # of one point: i
    width = xp[j] - xp[i]
    slope = (fp[j] - fp[i]) / np.where(width == 0, 1, width)
    y = slope * (x - xp[at]) + fp[at]
    other = slope * (x - xp[j]) + fp[j]  # beside infinity, in NumPy's order
    other = np.where(np.isnan(other) & (fp[i] == fp[j]) | (x == xp[at]), fp[at], other)
    y = np.where(np.isnan(x), x, np.where(np.isnan(y), other, y))
    y = np.where(low, fp[0] if left is None else left, y)
    return np.where(high, fp[-1] if right is None else right, y)


@derive(np.unwrap)
def _unwrap(p, discont=None, axis=-1, *, period=2 * np.pi):
    """The multiples of the period that are added have no derivative."""
    p = array(p)
    values = value(p)
    first, rest = _along(axis, p.ndim, slice(1)), _along(axis, p.ndim, slice(1, None))
    more = (values - np.unwrap(values, discont, axis, period=period))[rest]
    return np.concatenate([p[first], p[rest] - more], axis)


# --- grids of numbers -----------------------------------------------------------------------------


@derive(np.linspace)
def _linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    if operator.index(num) < 0:
        raise ValueError(f"linspace: num={num}: a number from 0 on is wanted")
    kind = np.result_type(start, stop)
    kind = kind if kind.kind == "f" else np.dtype(float)
    start, stop = (x.astype(kind) for x in together((start, stop)))
    parts = num - 1 if endpoint else num
    width = stop - start
    i = beside(np.arange(num, dtype=width.dtype), width)
    i, step = np.reshape(i, (-1,) + (1,) * width.ndim), width / max(parts, 1)
    y = np.where(step == 0, i / max(parts, 1) * width, i * step) + start
    if endpoint and parts > 0:
        y = np.concatenate([y[:-1], np.broadcast_to(stop, width.shape)[None]])
    y = np.moveaxis(y, 0, axis)
    if dtype is not None:
        y = (y if np.dtype(dtype).kind == "f" else np.floor(y)).astype(dtype)
    return (y, step if parts > 0 else np.nan) if retstep else y


@derive(np.logspace)
def _logspace(start, stop, num=50, endpoint=True, base=10.0, dtype=None, axis=0):
    if np.ndim(base):
        start, stop, base = np.broadcast_arrays(start, stop, base)
        base = np.expand_dims(base, axis)
    y = np.power(base, np.linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else y.astype(dtype)


@derive(np.geomspace)
def _geomspace(start, stop, num=50, endpoint=True, dtype=None, axis=0):
    kind = np.result_type(start, stop, np.float64)
    start, stop = np.broadcast_arrays(*(x.astype(kind) for x in together((start, stop))))
    sign = np.sign(start)
    require(~(sign * np.sign(stop) <= 0), message="geomspace: two numbers of the same sign, and"
            " none that is 0, are wanted")  # fmt: skip
    inner = np.logspace(np.log10(start * sign), np.log10(stop * sign), num, endpoint)
    y = np.concatenate([start[None], sign * inner[1:]])[:num]  # the ends are as they were given
    if endpoint and num > 1:
        y = np.concatenate([y[:-1], stop[None] * np.abs(sign)])  # NaN if start is
    y = np.moveaxis(y, 0, axis)
    return y if dtype is None else y.astype(dtype)


# --- polynomials ----------------------------------------------------------------------------------


@derive(np.polyval)
def _polyval(p, x):
    p, x = array(p), array(x)
    y = np.zeros_like(x)
    for coefficient in p:
        y = y * x + coefficient
    return y


def _of_equal_length(a1, a2):
    a1, a2 = np.atleast_1d(array(a1)), np.atleast_1d(array(a2))
    n = max(len(a1), len(a2))
    return (np.pad(a, (n - len(a), 0)) for a in (a1, a2))


derive(np.polyadd)(lambda a1, a2: np.add(*_of_equal_length(a1, a2)))
derive(np.polysub)(lambda a1, a2: np.subtract(*_of_equal_length(a1, a2)))
derive(np.polymul)(lambda a1, a2: np.convolve(_from_its_degree_on(a1), _from_its_degree_on(a2)))


def _from_its_degree_on(a):
    """A polynomial without zeros ahead; one of zeros alone is its last."""
    a = np.atleast_1d(array(a))
    places = np.flatnonzero(a)
    return a[places[0] if len(places) else -1:]


@derive(np.polyder)
def _polyder(p, m=1):
    if m < 0:
        raise ValueError(f"polyder: m={m}: a number from 0 on is wanted")
    for _ in range(m):
        p = p[:-1] * beside(np.arange(len(p) - 1, 0, -1), p)
    return p


@derive(np.polyint)
def _polyint(p, m=1, k=None):
    if m < 0:
        raise ValueError(f"polyint: m={m}: a number from 0 on is wanted")
    k = np.broadcast_to(array(0.0 if k is None else k), (m,))
    for i in range(m):
        p = np.concatenate([p / beside(np.arange(len(p), 0, -1), p), beside(k[i : i + 1], p)])
    return p


@derive(np.polyfit)
def _polyfit(x, y, deg, rcond=None, w=None):
    """Least squares with columns of equal length, as NumPy solves it."""
    x, y = array(x) * 1.0, array(y) * 1.0
    left = np.vander(x, deg + 1)
    if w is not None:
        w = array(w)
        left, y = left * w[:, None], y * (w[:, None] if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(left * left, axis=0))
    rcond = len(x) * np.finfo(left.dtype).eps if rcond is None else rcond
    c = np.linalg.pinv(left / scale, rcond) @ y
    c = np.where(np.any(np.isinf(y)), np.nan, c)  # as LAPACK has it, which scales all of y
    return np.transpose(np.transpose(c) / scale)
