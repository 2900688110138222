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
    if width[0] == "{" and np.lib.NumpyVersion(np.__version__) < "2.2.0":  # which began with dicts
        width = "2"
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


def calculus(d):
    shape = d.shape(d.number(1, 3))
    shape = tuple(n + 2 for n in shape)
    ndim, arrays = len(shape), {"x": d.array(shape), "h": np.array(0.8)}
    axis = d.axis(ndim)
    n = shape[axis]
    arrays["c"] = np.cumsum(d.rng.uniform(0.3, 1, n))
    arrays["q"] = d.array(tuple(2 if i == axis % ndim else m for i, m in enumerate(shape)))
    edge, steps = d.one("", ", edge_order=2"), [0.0, 1.5, 2.0, 4.0, 7.0, 7.5][:n]
    return d.one(
        f"np.gradient(x, {d.one('c', 'h', '2', steps)}, axis={axis}{edge})",
        f"np.gradient(x, axis={d.one(None, (axis,))}{edge})",
        f"np.gradient(x, {', '.join(d.one('h', '0.5') for _ in shape)}{edge})",
        f"np.diff(x, {d.number(0, 3)}, {axis}{d.one(', prepend=q', ', append=h', ', q, h', '')})",
        f"np.ediff1d(x{d.one(', to_end=q', ', to_begin=h', ', [1.0, 2.0], 0.5', '')})",
        f"np.trapezoid(x{d.one(', c', ', dx=h', '')}, axis={axis})", "np.polyval(c, x)",
        f"np.trapezoid(x, np.cumsum(x * x, {axis}), axis={axis})", "np.polyint(c, 2, h)",
        "np.polyint(c, 2, k=[1.0, 2.0])", f"np.unwrap(9 * x, axis={axis}, period=5.0)",
        "np.polyder(c, 2)", "np.polymul(c, x.ravel()[:3])", "np.polysub(c, x.ravel()[:2])",
        "np.cov(c, ddof=0)",
        f"np.cumulative_prod(x, axis={axis}, include_initial=True)",
    ), arrays  # fmt: skip


def choosing(d):
    shape = d.shape(d.number(1, 3))
    ndim, arrays = len(shape), {"x": d.array(shape), "y": d.array(d.stretched(shape)),
                                "h": np.array(0.8), "m": d.rng.random(shape) < 0.5}  # fmt: skip
    axis = d.axis(ndim)
    n = shape[axis]
    arrays["k"] = d.rng.random(d.stretched(shape)) < 0.5
    mode = d.one("raise", "wrap", "clip")
    arrays["i"] = d.rng.integers(0, 3, d.stretched(shape)) * (1 if mode == "raise" else 3) - (
        0 if mode == "raise" else 4)
    some = [d.number(0, n - 1) * (1 if mode == "raise" else 3) for _ in range(3)]
    lines = [d.one(True, False) for _ in range(n)]
    return d.one(
        f"np.choose(i, [x, y, {d.one('0.5', 'x * y')}], mode={mode!r})",
        f"np.select([m, k], [x, {d.one('y', '0.3', 'h')}]{d.one('', ', default=h', ', -1.5')})",
        f"np.take(x, {some}, {axis}, mode={mode!r})", f"np.compress({lines}, x, axis={axis})",
        "np.extract(m, x)", "np.compress(m.ravel(), x)", f"np.delete(x, {some[0] % n}, {axis})",
        f"np.delete(x, np.array({lines}), {axis})", f"np.delete(x, slice(0, None, 2), {axis})",
        "np.piecewise(x, [m], [lambda t: t * t, 0.5])", "np.piecewise(x, [m], [np.sin])",
        "np.piecewise(x, [m, ~m], [lambda t, k: t * k, 2.0], 3.0)",
        f"np.apply_along_axis(lambda row, b=1: np.outer(row, row) * b, {axis}, x, b=2)",
        f"np.apply_over_axes(np.sum, x, {d.one(axis, [axis], list(range(ndim)))})",
        f"np.bincount([2, 0, 2], weights=x.ravel()[[0, 0, 0]], minlength={d.number(0, 5)})",
        f"np.sort(x, {d.one(None, axis)})", f"np.average(x, {axis}, weights=x * x + 1)",
        f"np.average(x, {axis}, np.arange(1.0, {n + 1}), returned=True, keepdims=True)",
        f"np.append(x, x, {d.one(None, axis)})", "np.trim_zeros(np.where(m, x, 0).ravel())",
        "np.unique(x, return_index=True, return_counts=True)", "np.clip(x, h, x + 1)",
        "np.clip(x, None, h)", "np.clip(x, min=h)", "np.nan_to_num(np.where(m, x, np.nan), nan=h)",
    ), arrays  # fmt: skip


def writing(d):
    shape = d.shape(d.number(2, 3))
    size, arrays = int(np.prod(shape)), {"x": d.array(shape), "m": d.rng.random(shape) < 0.5}
    arrays["v"], arrays["y"] = d.array(d.shape(1)), d.array(d.stretched(shape))
    mode, axis = d.one("raise", "wrap", "clip"), d.axis(len(shape))
    v, most = d.one("v", "v", "0.4", "[1.0, 2.0]"), size * (1 if mode == "raise" else 2)
    ids, n = [d.number(-most, most - 1) for _ in range(4)], shape[0]
    some = np.array([d.number(-n, n - 1) for _ in range(3)])
    ufunc = d.one("add", "subtract", "multiply", "maximum", "hypot", "logaddexp")
    along = tuple(d.number(1, 3) if i == axis % len(shape) else n for i, n in enumerate(shape))
    arrays["i"] = d.rng.integers(-shape[axis], shape[axis], along)
    square = ", wrap=True" if len(shape) == 2 else ""
    what = d.one(
        f"np.put(z, {ids}, {v}, mode={mode!r})", f"np.putmask(z, m, {v})", f"np.place(z, m, {v})",
        "np.copyto(z, y, where=m)", "np.copyto(z, 0.3, where=m)", "np.copyto(z, y)",
        f"np.put_along_axis(z, i, 0.5, axis={axis})",
        f"np.put_along_axis(z, i, np.cumsum(i * 1.0, {axis}), axis={axis})",
        f"np.fill_diagonal(z{'' if len(shape) == 2 else '[0]'}, {v}{square})",
        f"np.{ufunc}.at(z, {some.tolist()}, {d.one('x[:1]', '0.7', f'x[{some.tolist()}] + 5')})",
        f"np.{ufunc}.at(z, ([0, 0, -1], [0, 0, -1]), 1.5)", f"np.{ufunc}.at(z, m, 2.5)",
        "np.negative.at(z, [0, 0, -1])", f"np.add.at(z, (slice(None), [0, 0]), {d.one('1.5')})",
        f"np.{ufunc}(z, y, out=z, where=m)", "np.tanh(z, z)", "np.cumsum(x, 0, out=z)",
    )  # fmt: skip
    if what.startswith("np.fill_diagonal(z[0]"):
        arrays["x"], what = d.array((3, 3, 3)), f"np.fill_diagonal(z, {v})"
    return f"[z := x * 1, {what}][0]", arrays


def algebra(d):
    n, m, lead = d.number(1, 3), d.number(1, 3), d.shape(d.number(0, 2), 3)
    a = d.rng.normal(size=(*lead, n, n)) + 3 * np.eye(n)
    arrays = {"a": a, "r": d.rng.normal(size=(*lead, n, m)), "b": d.rng.normal(size=(n, 2)),
              "v": d.rng.normal(size=n)}  # fmt: skip
    order = d.one(None, 1, -1, 2, -2, np.inf, -np.inf, "'fro'", "'nuc'")
    power = d.one(None, 1, 2, 3, 0.5, -1, np.inf, -np.inf, 0)
    order, power = (str(o).replace("inf", "np.inf") for o in (order, power))
    keep, k = d.one("", ", keepdims=True"), d.number(-2, 2)
    pair = d.one((-2, -1), (-1, -2), (len(lead), -1))
    return d.one(
        "np.linalg.solve(a, r)", "np.linalg.solve(a, b)", "np.linalg.solve(a, v)",
        "np.linalg.inv(a)", "np.linalg.det(a)", "np.linalg.slogdet(a)[1]", "np.linalg.pinv(r)",
        f"np.linalg.norm(r, {order}, {pair}{keep})", f"np.linalg.cond(a, {order})",
        f"np.linalg.norm(r, {power}, {d.one(-1, -2)}{keep})", f"np.linalg.matrix_norm(r{keep})",
        f"np.linalg.matrix_norm(r, ord={order if order != 'None' else 2})",
        f"np.linalg.vector_norm(r, axis={d.axes(len(lead) + 2) or None}{keep})",
        f"np.linalg.trace(r, offset={k})", f"np.linalg.diagonal(r, offset={k})",
        f"np.linalg.matrix_power(a, {d.number(-3, 5)})", "np.linalg.svdvals(r)",
        f"np.linalg.cholesky(a @ np.swapaxes(a, -1, -2){d.one('', ', upper=True')})",
        f"np.linalg.eigvalsh(a, UPLO={d.one('U', 'L', 'u', 'l')!r})", "np.linalg.qr(a, mode='r')",
        "np.linalg.pinv(a + np.swapaxes(a, -1, -2), hermitian=True)",
        "np.linalg.multi_dot([b.T, b, b.T, b])",
        f"np.linalg.lstsq(a[{(0,) * len(lead)}], v)[0]",
        "np.linalg.matmul(a, r)", "np.linalg.vecdot(r, r)", "np.linalg.outer(v, v)",
        "np.linalg.tensordot(a, b, axes=([-1], [0]))",
    ), arrays  # fmt: skip


def products(d):
    n, arrays = d.number(1, 3), {}
    x, y = d.one(((n,), (n,)), ((2, n), (n,)), ((n,), (n, 3)), ((2, n), (2, n, 3)), ((), (n, 2)))
    arrays = {"x": d.array(x), "y": d.array(y), "u": d.array(d.shape(1)), "v": d.array(d.shape(1)),
              "s": d.array((2, 3)), "t": d.array((4, 1, 3)), "w": d.rng.uniform(0.5, 2, 4),
              "p": d.rng.normal(size=(2, 4)), "q": d.rng.normal(size=(3, 4)),
              "f": d.rng.integers(1, 4, 4)}  # fmt: skip
    mode = d.one("", ", 'same'", ", 'valid'", ", mode='full'", ", 1", ", 2")
    axes = d.one("0", "([1], [2])", "([-1], [-1])", "(1, 2)")
    more = d.one("", ", bias=True", ", ddof=0", ", aweights=w", ", fweights=f",
                 ", fweights=f, aweights=w")  # fmt: skip
    return d.one(
        "np.dot(x, y)", "np.kron(s, t)", "np.kron(u, s)", f"np.tensordot(s, t, {axes})",
        "np.inner(s, t)", "np.cross(s, t)", "np.cross(s.T, s.T, axisa=0, axisb=0, axisc=0)",
        "np.cross(s.T, s.T, axis=0)", f"np.convolve(u, v{mode})", "np.outer(s, u)",
        f"np.correlate(u, v{mode if mode[-1:] not in '12' else ''})", "np.vdot(s, s * s)",
        f"np.cov(p{d.one('', ', q', ', q[0]')}{more})", f"np.cov(p.T, rowvar=False{more})",
        f"np.corrcoef(p{d.one('', ', q')})", "np.corrcoef(p.T, rowvar=False)", "np.corrcoef(w)",
        "np.vecdot(s, t)" if hasattr(np, "vecdot") else "np.vdot(s, s)",
        "np.add.outer(s, u)", "np.matmul(t, s.T)", "np.polyfit(np.arange(4.0), q.T, 1, w=w)",
    ), arrays  # fmt: skip


def shapes(d):
    shape = d.shape(d.number(2, 3))
    ndim, k = len(shape), d.number(-3, 3)
    one, two = map(int, d.rng.permutation(ndim)[:2])
    one -= ndim * d.number(0, 1)
    arrays = {"x": d.array(shape), "v": d.array(d.shape(1)), "u": d.array(d.shape(1)),
              "h": np.array(0.7)}  # fmt: skip
    reps = d.one("2", "(2, 1)", "(1, 2, 3)", "0", "()", "[2, 3]")
    return d.one(
        f"np.rot90(x, {k}, ({one}, {two}))", f"np.rollaxis(x, {one}, {d.number(-ndim, ndim)})",
        f"np.diagonal(x, {k}, {one}, {two})", f"np.trace(x, {k}, {one}, {two})",
        f"np.tile(x, {reps})", f"np.tril(x, {k})", f"np.triu(x, {k})", f"np.diag(v, {k})",
        f"np.diagflat(x, {k})", f"np.vander(v, {d.one(None, 0, 1, 3)}, increasing={k > 0})",
        f"np.meshgrid(v, u, h, indexing={d.one('xy', 'ij')!r}, sparse={k > 0})", "np.block([v, h])",
        "np.block([[x, x], [x, x * x]])", f"np.repeat(x, {d.number(0, 3)}, {one})",
        f"np.repeat(v, {d.number(1, 3)})", f"np.reshape(x, {shape[::-1]}, order='F')",
        f"x.reshape({shape[::-1]})", "x.ravel('F')", "x.flatten()", "np.atleast_3d(v)",
        "np.atleast_3d(x)", "np.atleast_2d(v)", "np.atleast_1d(h)", f"np.flip(x, ({one}, {two}))",
        f"np.roll(x, ({k}, 1), ({one}, {two}))", f"np.roll(x, {k}, {one})", f"np.roll(x, {k})",
        f"np.moveaxis(x, [{one}, {two}], [{two}, {one}])",
        f"np.full_like(x, h, shape=(2, {k + 3}))",
        f"np.lib.stride_tricks.sliding_window_view(x, {min(shape)}, axis={one})",
        f"np.expand_dims(x, ({one}, {ndim + 1}))" if one >= 0 else "np.matrix_transpose(x)",
        f"np.fft.ifftshift(x, {one})", "np.fft.fftshift(x)", "np.dstack([v, v])",
        "np.hstack([h, v])", "np.column_stack([v, v])", "np.hsplit(v, [1])", "np.vstack([x, x])",
        "np.broadcast_arrays(x, h)",
    ), arrays  # fmt: skip


def flat(results):
    if isinstance(results, (list, tuple)):
        return [r for result in results for r in flat(result)]
    return [results]


@pytest.mark.parametrize("kind", [
    pad, insert, interp, quantile, reduction_of_a_ufunc, split, grid_of_numbers, taking, einsum,
    calculus, choosing, writing, algebra, products, shapes,
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
