"""Calls with parameters drawn at random: NumPy's value, shape and dtype, and the right gradient.

Each function below draws an expression of NumPy and the arrays that it names. Elements of an array
lie apart, so that no difference steps over a tie.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, grad


class Draw:
    """Random choices by a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one(self, *options):
        return options[self.rng.integers(len(options))]

    def number(self, low, high):  # both may come
        return int(self.rng.integers(low, high + 1))

    def shape(self, ndim, high=4):
        return tuple(self.number(1, high) for _ in range(ndim))

    def array(self, shape):
        n = int(np.prod(shape))
        apart = (self.rng.permutation(n) - n / 2 + 0.3) * 0.37 + self.rng.uniform(-0.05, 0.05, n)
        a = apart.reshape(shape)
        return np.asarray(a.T.copy().T) if self.rng.random() < 0.5 else a

    def stretched(self, shape):
        """A shape that is broadcast to this one."""
        return tuple(n if self.rng.random() < 0.6 else 1 for n in shape)

    def axis(self, ndim):
        return self.number(-ndim, ndim - 1)

    def axes(self, ndim):
        some = self.rng.permutation(ndim)[: self.number(0, ndim)]
        return tuple(int(i) - ndim * self.number(0, 1) for i in some)


def pad(d):
    x, mode = d.array(d.shape(d.number(1, 3))), d.one(
        "constant", "edge", "linear_ramp", "maximum", "mean", "median", "minimum", "reflect",
        "symmetric", "wrap")  # fmt: skip
    width = d.one("2", "(1, 2)", "{-1: (1, 3)}", "np.array([[1, 0]])", "0", f"({d.number(0, 5)},)")
    more = {
        "constant": d.one("", ", constant_values=c", ", constant_values=(0.3, c)"),
        "linear_ramp": d.one("", ", end_values=c", ", end_values=[(c, 0.2)]"),
        **dict.fromkeys(("reflect", "symmetric"), d.one("", ", reflect_type='odd'")),
        **dict.fromkeys(("maximum", "mean", "median"), d.one("", ", stat_length=2")),
    }.get(mode, "")
    return f"np.pad(x, {width}, {mode!r}{more})", {"x": x, "c": np.array(0.7)}


def insert(d):
    shape = d.shape(d.number(1, 3))
    axis = d.axis(len(shape))
    n = shape[axis]
    place = d.one(d.number(-n, n), [d.number(-n, n)], [d.number(-n, n), d.number(0, n)])
    values = list(shape)
    values[axis] = len(place) if isinstance(place, list) else 1
    v = d.array(d.one((), tuple(values)))
    if not isinstance(place, list) and v.ndim:  # their first axis is what is inserted
        v = np.moveaxis(v, axis, 0)
    return f"np.insert(x, {place}, v, axis={axis})", {"x": d.array(shape), "v": v}


def interp(d):
    n = d.number(1, 5)
    xp = 0.37 * (np.cumsum(d.rng.integers(1, 4, n)) - 3.95)  # at none of the elements of x
    options = d.one(", left=p", "") + d.one(", right=p", ", right=0.3", "")
    arrays = {"x": d.array(d.shape(2)), "xp": xp, "fp": d.array((n,)), "p": np.array(2.3)}
    return f"np.interp(x, xp, fp{options})", arrays


METHODS = [
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf",
    "hazen", "weibull", "linear", "median_unbiased", "normal_unbiased", "lower", "higher",
    "midpoint", "nearest",
]  # fmt: skip


def quantile(d):
    shape = d.shape(d.number(1, 3))
    name, scale = d.one(("quantile", 1), ("percentile", 100), ("nanquantile", 1),
                        ("nanpercentile", 100))  # fmt: skip
    q = d.one(0.3 * scale, 0, scale, [0.25 * scale, 0.8 * scale], [0, 1])
    axis = d.one(None, d.axis(len(shape)), d.axes(len(shape)))
    options = d.one("", ", keepdims=True") + f", method={d.one(*METHODS)!r}"
    return f"np.{name}(x, {q}, axis={axis}{options})", {"x": d.array(shape)}


def reduction_of_a_ufunc(d):
    shape = d.shape(d.number(1, 3))
    ufunc = d.one("logaddexp", "hypot", "fmax", "maximum", "add", "subtract", "logaddexp2")
    ndim, arrays = len(shape), {"x": d.array(shape), "i": np.array(0.4)}
    if d.one(True, False):
        where = ufunc in ("logaddexp", "hypot", "add")
        arrays["m"] = d.rng.random(d.stretched(shape)) < 0.7
        axis = d.axis(ndim) if ufunc == "subtract" else d.one(None, d.axis(ndim), d.axes(ndim))
        options = d.one("", ", keepdims=True") + d.one("", ", initial=i", ", initial=2.5") + d.one(
            "", ", where=m" if where else "")  # fmt: skip
        return f"np.{ufunc}.reduce(x, axis={axis}{options})", arrays
    axis = d.axis(ndim)
    ids = [d.number(0, shape[axis] - 1) for _ in range(3)]
    return d.one(f"np.{ufunc}.accumulate(x, axis={axis})",
                 f"np.{ufunc}.reduceat(x, np.array({ids}, np.uint8), axis={axis})"), arrays


def split(d):
    shape = d.shape(d.number(1, 3))
    axis = d.axis(len(shape))
    n = shape[axis]
    return f"np.array_split(x, {[d.number(-n - 1, n + 1) for _ in range(3)]}, axis={axis})", {
        "x": d.array(shape)}  # fmt: skip


def grid_of_numbers(d):
    a, b = np.abs(d.array(d.shape(d.number(0, 2)))) + 0.5, np.abs(d.array(())) + 2
    call = d.one("linspace", "geomspace", "logspace")
    options = d.one("", ", base=b", ", base=a") if call == "logspace" else ""
    options += d.one("", ", endpoint=False") + f", axis={d.number(-a.ndim - 1, a.ndim)}"
    options += d.one("", ", retstep=True") if call == "linspace" else ""
    return f"np.{call}(a, b, {d.number(0, 4)}{options})", {"a": a, "b": b}


def taking(d):
    shape = d.shape(d.number(1, 3))
    axis = d.axis(len(shape))
    n = shape[axis]
    some = tuple(d.number(-n, n - 1) for _ in range(3))
    first = tuple(d.number(0, shape[0] - 1) for _ in range(3))
    return d.one(
        f"np.take(x, {some}, axis={axis})", f"x[{first},]", f"x.take({list(some)}, {axis})",
        f"x[{first}, ...]", f"np.repeat(x, 2, axis={axis})", f"np.diff(x, 2, {axis}, prepend=0.5)",
        "np.unique(x, return_inverse=True)", f"np.resize(x, {d.shape(2)})",
    ), {"x": d.array(shape)}  # fmt: skip


def einsum(d):
    sizes = {c: d.number(1, 3) for c in "ijkl"}
    names = ["".join(d.one(*"ijkl") for _ in range(d.number(0, 3))) for _ in range(d.number(1, 3))]
    arrays = {f"x{k}": d.array(tuple(sizes[c] for c in name)) for k, name in enumerate(names)}
    out = "->" + "".join(c for c in "ljki" if c in "".join(names) and d.rng.random() < 0.5)
    options = d.one("", ", optimize=True", ", order='F'", ", casting='safe'")
    return f"np.einsum({','.join(names) + d.one('', out)!r}, {', '.join(arrays)}{options})", arrays


def flat(results):
    if isinstance(results, (list, tuple)):
        return [r for result in results for r in flat(result)]
    return [results]


@pytest.mark.parametrize("kind", [
    pad, insert, interp, quantile, reduction_of_a_ufunc, split, grid_of_numbers, taking, einsum,
])  # fmt: skip
@given(seed=st.integers(0, 2**32 - 1))
def test_value_and_gradient(kind, seed):
    d = Draw(seed)
    expression, arrays = kind(d)
    arrays = {k: a for k, a in arrays.items() if k in expression}
    floats = [k for k, a in arrays.items() if a.dtype.kind == "f"]

    def results(**given):
        with np.errstate(all="ignore"):
            return flat(eval(expression, {"np": np, **arrays, **given}))

    leaves = {k: Tensor(arrays[k], requires_grad=True) for k in floats}
    wants, gots = results(), results(**leaves)
    assert len(wants) == len(gots)
    cotangents = [d.rng.normal(size=np.shape(w)) for w in wants]
    total = Tensor(0.0)
    for want, got, g in zip(wants, gots, cotangents, strict=True):
        want = np.asarray(want)
        assert (np.shape(got), np.result_type(got)) == (want.shape, want.dtype)
        assert_allclose(got.detach() if isinstance(got, Tensor) else got, want, rtol=1e-9,
                        atol=1e-12)  # fmt: skip
        if isinstance(got, Tensor) and got.requires_grad:
            total = total + np.sum(np.where(np.isfinite(want), got * g, 0))
    to, step = {k: d.rng.normal(size=arrays[k].shape) for k in floats}, 1e-5

    def end(s):
        moved = results(**{k: arrays[k] + s * step * to[k] for k in floats})
        return sum(np.sum(g * np.where(np.isfinite(r), r, 0))
                   for g, r in zip(cotangents, moved, strict=True) if np.asarray(r).dtype == float)

    slopes = grad(total, [leaves[k] for k in floats], allow_unused=True) if (
        total.requires_grad) else []  # fmt: skip
    slope = sum(np.sum(c.numpy() * to[k]) for k, c in zip(floats, slopes, strict=False)
                if c is not None)  # fmt: skip
    assert_allclose(slope, (end(1) - end(-1)) / (2 * step), rtol=1e-5, atol=1e-5)
