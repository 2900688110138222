"""Ufuncs in terms of others, and functions of one number each."""

import math
import operator

import numpy as np

from .table import array, derive, value

derive(np.fabs)(lambda x: np.absolute(x))
derive(np.deg2rad, np.radians)(lambda x: x * (math.pi / 180))
derive(np.rad2deg, np.degrees)(lambda x: x * (180 / math.pi))
derive(np.logaddexp2)(lambda x1, x2: np.logaddexp(
    x1 * math.log(2), x2 * math.log(2)) / math.log(2))  # fmt: skip
derive(np.copysign)(lambda x1, x2: np.astype(np.where(
    np.signbit(x1) == np.signbit(x2), x1, -x1), np.result_type(x1, x2, np.float16)))  # fmt: skip
derive(np.heaviside)(lambda x1, x2: np.where(
    x1 == 0, x2, np.where(np.isnan(x1), np.nan, np.sign(x1) * 0.5 + 0.5)))  # fmt: skip
derive(np.fmax)(lambda x1, x2: _other_than_nan(np.maximum, x1, x2))
derive(np.fmin)(lambda x1, x2: _other_than_nan(np.minimum, x1, x2))
derive(np.float_power)(lambda x1, x2: np.power(array(x1).astype(float), array(x2).astype(float)))
derive(np.modf)(lambda x: (np.copysign(np.where(np.isinf(x), 0, x - np.trunc(x)), x), np.trunc(x)))
derive(np.divmod)(lambda x1, x2: (np.floor_divide(x1, x2), np.remainder(x1, x2)))
derive(np.frexp)(lambda x: _frexp(x))
derive(np.ldexp)(lambda x1, x2: _ldexp(array(x1), array(x2)))


def _other_than_nan(choose, a, b):
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, choose(a, b)))


def _ldexp(x, n):
    if n.dtype.kind not in "iub":
        raise TypeError(f"ldexp: whole numbers are wanted as powers of 2, {n.dtype} came")
    half = n // 2  # the whole power may leave the range where the product does not
    return x * np.exp2(half.astype(x.dtype)) * np.exp2((n - half).astype(x.dtype))


def _frexp(x):
    _, exponent = np.frexp(value(x))
    return np.ldexp(x, -exponent), exponent


@derive(np.round, np.around)
def _round(a, decimals=0):
    """A step function: its derivative is 0."""
    a, decimals = array(a), operator.index(decimals)
    if not decimals:
        return np.rint(a)
    tens = 10.0 ** abs(decimals)
    return np.rint(a * tens) / tens if decimals > 0 else np.rint(a / tens) * tens


derive(np.fix)(lambda x: np.trunc(x))
derive(np.angle)(lambda z, deg=False: np.arctan2(np.zeros_like(z), z) * (
    180 / math.pi if deg else 1))  # fmt: skip


@derive(np.sinc)
def _sinc(x):
    """By its series near 0, so that derivatives of every order are right there."""
    y = math.pi * array(x)
    small = np.abs(y) < 1e-2
    square = np.where(small, y * y, 0)
    safe = np.where(small, 1, y)
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    return np.where(small, series, np.sin(safe) / safe)


@derive(np.nan_to_num)
def _nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None):
    if not copy:
        raise TypeError("np.nan_to_num: copy=False edits the array: for a Tensor, t[...] ="
                        " np.nan_to_num(t)")
    x = array(x)
    largest = np.finfo(x.dtype)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.isposinf(x), largest.max if posinf is None else posinf, x)
    return np.where(np.isneginf(x), largest.min if neginf is None else neginf, x)


@derive(np.clip)
def _clip(a, a_min=np._NoValue, a_max=np._NoValue, *, min=np._NoValue, max=np._NoValue):
    if (a_min is np._NoValue) != (a_max is np._NoValue):
        raise TypeError("clip: a_min and a_max are wanted together (None: no bound), or min=, max=")
    if a_min is not np._NoValue and (min is not np._NoValue or max is not np._NoValue):
        raise ValueError("clip: a_min and a_max, or min= and max= are wanted, not both")
    low, high = a_min if min is np._NoValue else min, a_max if max is np._NoValue else max
    low, high = (None if x is np._NoValue else x for x in (low, high))
    a = np.copy(a) if low is None else np.where((a >= low) | np.isnan(a), a, low)
    return a if high is None else np.where((a <= high) | np.isnan(a), a, high)
