"""Loops for numba, written by hand: those of what is no chain of elementwise calls.

Imported only where numba is installed (the extra [fast]). Everything is float32. A loop is
vectorised where each round stands alone; sums and largest elements, which do not, say how.
"""

from typing import Any

import numpy as np
from numba import njit

from .loops import spared

__all__ = ["add_rows", "softmax_rows", "subtract_rows", "sum_rows"]

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
