"""Forms of NumPy's calls that lie at the edge of a derivation: value and gradient."""

import itertools
import re
import zlib

import numpy as np
import pytest
from forms import FORMS as MORE
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_rnn import Tensor, grad

rng = np.random.default_rng(0)
SHAPES = {"x": (3, 4), "y": (4, 3), "z": (2, 3, 4), "v": (4,), "w": (4,)}
ARRAYS = {k: rng.normal(size=shape) for k, shape in SHAPES.items()}
FORMS = [
    "x.transpose((1, 0))", "z.transpose(2, 0, 1)", "z.transpose([0, 2, 1])", "x.reshape((4, 3))",
    "np.linalg.multi_dot([x, y])", "np.linalg.multi_dot([v, y])", "np.linalg.multi_dot([x, y, x])",
    "np.average(z, axis=(2, 0), weights=y[:, :2] ** 2)", "np.average(z, axis=-1, weights=w ** 2)",
    "np.average(z, axis=(-3, -1), weights=np.exp(x[:2]))", "np.polyder(v, 0)", "np.polyder(v, 2)",
    "np.polyint(v, 0)", "np.block([v, w])", "np.block([[x, x], [z[0], x]])", "np.block(v)",
    "np.block([[v], [w]])", "np.linalg.matrix_power(x @ y, 0) + 0 * (x @ y)", "np.diff(v, 0)",
    "np.linalg.matrix_power(x @ y, 1)", "np.roll(x, 0)", "np.rot90(x, 0)", "np.tile(v, ())",
    "np.repeat(v, 1)", "np.moveaxis(z, (), ())", "np.sum(z, ())", "np.mean(z, (0, -1))",
    "np.gradient(z)[0]", "np.gradient(z)[1]", "np.gradient(z)[2]", "np.gradient(z, axis=1)",
    "np.gradient(z, axis=(2, 0))[0]", "np.insert(v, -1, 2.0)", "np.insert(x, [-1, 0], 1.0, axis=1)",
    "np.insert(v, [-1, -3], w[:2])", "np.delete(x, -1, 1)", "np.delete(v, [-1, -4])",
    "np.linalg.tensorsolve(v[:1], w[:1])", "np.linalg.tensorsolve(x[:1, None, :1], y[:1, :1])",
    "np.linalg.tensorsolve(x[:, :3] @ x[:, :3].T, v[:3])", "np.linalg.cond(x, -2)",
    "np.interp(v, w, x[0], period=1.7)", "np.interp(v, w, x[0], period=-2.3)",
    "np.interp(v, [-9.0, 0.1, 0.1, 9.0], w)", "np.interp(v, [-9.0, 9.0], w[:2])",
    "np.interp(v, [0.1], w[:1])", "np.convolve(v, w, 1)", "np.convolve(v, 2)",
    "np.convolve(v, v[0])", "np.convolve(w[1], v, 'same')",
    "np.convolve(v, w[:2], 0)",
    "np.logspace(v, 1.5, 3, base=w ** 2 + 1, axis=1)", "np.nanstd(x, axis=1, mean=0.1)",
    "np.geomspace(v[:2], 3 * v[:2], 4, axis=1)", "np.copysign(v, w) * 2", "np.polyadd(v, w[:2])",
    "np.take(v, (0, 0, 1))", "x[(0, 0, 1),]", "x[:, (0, 0)]", "np.logaddexp.reduce(x, None)",
    "np.logaddexp.reduce(x, axis=1, where=np.eye(3, 4) < 1)", "np.hypot.reduce(x[:, :1], axis=1)",
    "np.linalg.norm(x, 3, axis=1)", "np.linalg.vector_norm(v, ord=0.5)", "np.linalg.trace(z)",
    "np.linalg.diagonal(z, offset=1)", "np.linalg.diagonal(z)", "np.linalg.trace(z, offset=-1)",
    "np.tensordot(x, y, 1)", "np.tensordot(x, y, ([1], [0]))", "np.einsum(z, [..., 1], v, [1])",
    "np.tensordot(z, x, ((-1, 1), (1, 0)))", "np.tensordot(v, w, 0)", "np.tensordot(x, v, (1, 0))",
    "np.einsum(x, [0, 1], y, [1, 2])", "np.einsum(x, [0, 1], y, [1, 2], [2, 0])",
    "np.max(x, axis=1, where=np.eye(3, 4) < 1, initial=-9.0)", "np.sum(x, where=np.eye(3, 4) < 1)",
    "np.min(x, axis=0, where=np.eye(3, 4) < 1, initial=9.0)", "np.prod(x, 1, where=x.shape > (0,))",
    "np.tril(x, 1)", "np.triu(z, -1)", "np.logaddexp2(v, w)", "np.repeat(x, [1, 2, 0], axis=0)",
    "np.fft.fftshift(v)", "np.fft.ifftshift(x[:, :3], 1)", "v ** (2, 0, 1, 3)", "(2, 3, 1, 4) ** v",
    "np.insert(x, 1, y[:, :3], axis=1)", "np.unique(np.concatenate([x, x]), axis=0)", "np.triu(v)",
    "np.tril(v, 1)", "np.pad(v, 2, 'reflect', reflect_type='odd')",
    "np.add.reduce(x, where=np.eye(3, 4) < 1)", "np.pad(x, 3, 'symmetric', reflect_type='odd')",
    "np.multiply.reduce(x, initial=2.0)",
    "np.maximum.reduce(x, axis=1, where=np.eye(3, 4) < 1, initial=-9.0, keepdims=True)",
    "np.polyfit(v, y, 1, w=w ** 2 + 1)", "np.polyfit(v, w, 2, w=x[0] ** 2 + 1)",
    "np.trim_zeros(np.concatenate([0 * v, v, 0 * w]))", "np.inner(x, 2)", "np.average(x, axis=[0])",
    "np.average(x, 1, weights=[1, 2, 3, 4])", "np.stack([v, w], dtype='f8', casting='unsafe')",
    "np.concatenate(np.array_split(v, [3, 1]))", "np.add(x, 0, out=np.zeros_like(x))",
    "np.concatenate(np.array_split(x, [2, 1, 4], axis=1), axis=1)",
    "np.einsum('ij->i', x, dtype='f8')", "np.linalg.cond(x @ y, 1)", "np.linalg.cond(z)",
    "np.linalg.cond(z, -2)",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS + MORE)
@pytest.mark.filterwarnings("ignore:Polyfit may be poorly conditioned")
def test_value_and_gradient(form):
    want = eval(form, {"np": np, **ARRAYS})
    leaves = {k: Tensor(a, requires_grad=True) for k, a in ARRAYS.items()}
    got = eval(form, {"np": np, **leaves})
    assert got.shape == np.shape(want)
    assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
    rng = np.random.default_rng(zlib.crc32(form.encode()))  # whichever tests run before
    g, step = rng.normal(size=np.shape(want)), 1e-5
    to = {k: rng.normal(size=a.shape) for k, a in ARRAYS.items()}
    near, far, back, behind = [
        np.sum(g * eval(form, {"np": np, **{k: a + s * step * to[k] for k, a in ARRAYS.items()}}))
        for s in (1, 2, -1, -2)]  # fmt: skip
    slopes = grad(got, list(leaves.values()), g, allow_unused=True)
    slope = sum(np.sum(c.numpy() * to[k]) for k, c in zip(leaves, slopes, strict=True)
                if c is not None)  # fmt: skip
    seen = (8 * (near - back) - (far - behind)) / (12 * step)  # exact to the fourth order
    assert_allclose(slope, seen, rtol=1e-6, atol=1e-8)


VALUES = r"""
np.linspace(v, w, 1, retstep=True)[1] | np.geomspace(v ** 2, 3.0, 4, dtype="f4")
np.linalg.norm(np.maximum(v, 0), 0)
np.linalg.vector_norm(np.maximum(x, 0), ord=0, axis=1) | np.linalg.lstsq(x, v[:3], None)[1]
np.logspace(v, 3.0, 4, dtype="f4") | np.linspace(v, w, 3, dtype="f4")
np.linspace(v, w, 3, dtype=int)
[a := x * 1, np.put(a, [13, -2, 25], v, mode="wrap")][0] | [a := v * 1, np.put(a, [-4, 3], w)][0]
[a := x * 1, np.put(a, [13, -2, 25], v, mode="clip")][0]
[a := x * 1, np.place(a, x > 0, [1.0, 2.0, 3.0])][0]
[a := x * 1, np.copyto(a, v, where=False)][0]
[a := x.astype("f4"), np.copyto(a, 2.5, casting="safe")][0]
[a := x * 1, np.copyto(a, v, where=x > 0)][0] | [a := x * 1, np.putmask(a, x > 0, [1.0, 2.0])][0]
[a := np.tile(v, (9, 1)), np.fill_diagonal(a, w, wrap=True)][0]
[a := np.tile(v, (9, 1)), np.fill_diagonal(a, w)][0]
[a := np.tile(v, (1, 3))[:, :9], np.fill_diagonal(a, [1.0, 2.0], wrap=True)][0]
[a := z[:, :2, :2] * 1, np.fill_diagonal(a, w)][0]
np.cov(x, dtype="f4") | np.reshape(x, (2, 6), copy=True) | np.diagonal(x, 9)
np.diagonal(x, -3) | np.vander(v, 0) | np.lib.stride_tricks.sliding_window_view(v, 0)
np.average(x, 0, returned=True)[1]
np.setxor1d(np.concatenate([v, v[:1]]), w, True)
np.corrcoef(x, dtype="f4") | np.mean(x, dtype=int)
np.var(9 * x, dtype=int) | np.sum(9 * x, 0, dtype="i4")
np.std(x, 1, dtype="f4") | np.prod(x, dtype="f4")
np.clip(x, np.nan, 0.5) | np.clip(x, -0.5, [np.nan, 0.1, 0.2, np.nan]) | np.clip(v, w * np.nan, 1)
np.clip(np.where(v > 0, np.nan, v), -0.1, 0.1) | np.gradient(np.where(v == v[1], np.nan, v))
np.geomspace(np.where(v > 0, np.nan, 1.0), 2.0, 3)
""".replace("\n", " | ").strip(" |").split(" | ")  # fmt: skip


@pytest.mark.parametrize("form", VALUES)
def test_value(form):
    want = eval(form, {"np": np, **ARRAYS})
    got = eval(form, {"np": np, **{k: Tensor(a, requires_grad=True) for k, a in ARRAYS.items()}})
    got = got.detach().numpy() if isinstance(got, Tensor) else got
    assert np.result_type(got) == np.result_type(want) and np.shape(got) == np.shape(want)
    assert_allclose(got, want, rtol=1e-6 if np.result_type(want) == np.float32 else 1e-12)


SINGLE = {k: a.astype(np.float32) for k, a in ARRAYS.items()}


@pytest.mark.filterwarnings("ignore:Polyfit may be poorly conditioned")
def test_dtypes_of_float32():
    for form in FORMS + MORE:
        want = eval(form, {"np": np, **SINGLE})
        leaves = {k: Tensor(a, requires_grad=True) for k, a in SINGLE.items()}
        got = eval(form, {"np": np, **leaves})
        assert got.dtype == np.result_type(want), form
        for g in grad(np.sum(got), list(leaves.values()), allow_unused=True):
            assert g is None or g.dtype == np.float32, form


@pytest.mark.parametrize("call", [
    lambda x: np.split(x, 1)[0],
    lambda x: np.insert(x, len(x), x[0]),
    lambda x: np.insert(x, -len(x), x[0]),
    lambda x: np.delete(x, -len(x)),
])  # fmt: skip
def test_the_first_and_the_last_position_are_positions(call):
    x = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    assert call(x).tolist() == call(x.numpy()).tolist()


@pytest.mark.parametrize(("x", "want"), [(1.0, 3.0), (1.5, 7.0), (0.0, 1.0), (-1.0, -5.0)])
def test_interpolation_at_a_step_at_the_end_and_beyond(x, want):
    at, steps, values = Tensor(x, requires_grad=True), [0.0, 1.0, 1.0], [1.0, 2.0, 3.0]
    y = np.interp(at, steps, values, left=-5.0, right=7.0)
    assert y.item() == want == np.interp(x, steps, values, left=-5.0, right=7.0)
    assert np.isfinite(grad(y, at).item())


@pytest.mark.parametrize("call", [
    lambda x: np.median(x), lambda x: np.nanmedian(x, axis=1), lambda x: np.nanquantile(x, 0.3),
    lambda x: np.hypot.reduce(x, axis=1), lambda x: np.logaddexp.reduce(x, axis=1, initial=0.4),
    lambda x: np.logaddexp.accumulate(x, axis=1), lambda x: np.resize(x, (2, 3)),
    lambda x: np.fmin.reduce(x, axis=1, keepdims=True, initial=2.5),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_of_no_elements(call):
    x = np.zeros((3, 0), np.float32)
    with np.errstate(all="ignore"):  # NumPy divides by 0 to find the median
        got, want = call(Tensor(x, requires_grad=True)), call(x)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got.detach(), want)


@pytest.mark.parametrize("call", [
    lambda x: np.quantile(x, 0.3), lambda x: np.quantile(x, [0, 1]),
    lambda x: np.quantile(x, np.float32(0.3)),  # of np.float64(0.3) NumPy 2.1 made float32
    lambda x: np.quantile(x, [0.3]), lambda x: np.percentile(x, 30), lambda x: np.median(x),
    lambda x: np.percentile(x, [30]), lambda x: np.nanquantile(x, 0.3, method="lower"),
    lambda x: np.copysign(x, np.ones(3)), lambda x: np.copysign(x, -1.0),
    lambda x: np.logspace(x, 2.0, 3, dtype=np.float32), lambda x: np.hypot.reduce(x, initial=2.0),
    lambda x: np.pad(x, 2, "reflect", reflect_type="odd"), lambda x: np.nanvar(x),
    lambda x: np.linspace(x, 1.0, 2, retstep=True)[1], lambda x: np.geomspace(x, 2.0, 3),
])  # fmt: skip
def test_float32_beside_numbers_and_float64(call):
    x = np.array([0.5, 1.5, 0.7], np.float32)
    assert np.result_type(call(Tensor(x, requires_grad=True))) == call(x).dtype


NOTHING = """
np.add.reduce(x, where=False) | np.hypot.reduce(x[None, :, :0], 2, initial=2.0)
np.mean(x, where=False) | np.var(x, where=False) | np.std(x, 1, where=False)
np.sum(x, where=False) | np.prod(x, 0, where=False) | np.max(x, initial=2, where=False)
np.nanmean(x, where=False)
np.nanvar(x, where=False) | np.var(x, 1, ddof=4) | np.std(x, ddof=19) | np.var(x, 0, correction=3)
np.nanvar(x, 1, ddof=4) | np.nanmax(n, axis=1) | np.nanmin(n, axis=1) | np.nanmax(n, 1, initial=1)
np.nanmean(n, axis=1) | np.nanmedian(n, axis=1) | np.nansum(n, 1) | np.nanstd(n, axis=1)
np.median(n, 1) | np.max(n, 1)
np.linspace(x, 2.0, 0) | np.nanmin(n, 1, initial=1) | np.ptp(n, axis=1) | np.nanprod(n, 1)
""".replace("\n", " | ").strip(" |").split(" | ")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of slices of nothing
def test_of_nothing_at_all_and_of_nan_alone():
    n = np.array([[np.nan, np.nan, np.nan], [1.0, np.nan, 3.0]])
    for form in NOTHING:
        with np.errstate(all="ignore"):
            want = eval(form, {"np": np, "x": ARRAYS["x"], "n": n})
            got = eval(form, {"np": np, "x": Tensor(ARRAYS["x"], True), "n": Tensor(n, True)})
        assert_allclose(got.detach(), want, rtol=1e-12, err_msg=form)


@pytest.mark.parametrize("f", [
    np.unique_values, np.unique_counts, np.unique_inverse, np.unique_all, np.unique,
    lambda x: np.unique(x, equal_nan=False), lambda x: np.unique(x, True, True, True),
])  # fmt: skip
def test_nans_are_one_or_several(f):
    x = np.array([2.0, np.nan, 1.0, np.nan, 2.0])
    got, want = f(Tensor(x, requires_grad=True)), f(x)
    assert type(got) is type(want) or not isinstance(want, tuple)
    for p, q in zip(*([r] if not isinstance(r, tuple) else r for r in (got, want)), strict=True):
        np.testing.assert_array_equal(p.detach() if isinstance(p, Tensor) else p, q)


def test_a_covariance_with_as_many_freedoms_as_numbers_is_infinite():
    x = np.array([[1.0, 2.0, 4.0], [2.0, 1.0, 0.0]])
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        want = np.cov(x, ddof=3)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.cov(Tensor(x), ddof=3), want)


def multiplications(y):
    """How many the products take that a Tensor was made with."""
    total, nodes = 0, [y._node]
    while nodes:
        node = nodes.pop()
        if node.fn is np.matmul:
            (n, inner), (_, m) = (a.shape for a in node.args)
            total += n * inner * m
        nodes += [parent for parent in node.parents or () if parent is not None]
    return total


@pytest.mark.parametrize("sizes", [
    (10, 100, 5, 50), (5, 50, 100, 10), (30, 35, 15, 5, 10, 20, 25), (3, 2, 9, 1, 7), (2, 3, 4),
])  # fmt: skip
def test_multi_dot_takes_the_order_with_the_fewest_multiplications(sizes):
    def fewest(i, j):
        return min((fewest(i, k) + fewest(k, j) + sizes[i] * sizes[k] * sizes[j]
                    for k in range(i + 1, j)), default=0)  # fmt: skip

    chain = [Tensor(np.ones(pair), requires_grad=True) for pair in itertools.pairwise(sizes)]
    assert multiplications(np.linalg.multi_dot(chain)) == fewest(0, len(sizes) - 1)


def test_a_position_behind_the_last_element_cannot_be_deleted():
    x = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
    for position in (3, -4):
        with pytest.raises(IndexError):
            np.delete(x, position)
        with pytest.raises(IndexError):
            np.insert(x, 4 if position > 0 else position, 0.0)


# Where a zero is a sum of others, its sign is told by the order of the sum.
SUMS = re.compile(r"interp|inner|linspace|polyfit|odd|median|reduceat|initial=v|percentile|quantil"
                  "|qr")


def test_a_zero_that_is_moved_keeps_its_sign():
    arrays = {k: np.full(shape, -0.0) for k, shape in SHAPES.items()}
    told = 0
    for form in [form for form in FORMS + MORE + VALUES if not SUMS.search(form)]:
        try:
            with np.errstate(all="ignore"):
                want = eval(form, {"np": np, **{k: a.copy() for k, a in arrays.items()}})
        except (ValueError, ZeroDivisionError):  # singular, of weight 0
            continue
        with np.errstate(all="ignore"):
            got = eval(form, {"np": np, **{k: Tensor(a, requires_grad=True)
                                           for k, a in arrays.items()}})
        got = got.detach().numpy() if isinstance(got, Tensor) else np.asarray(got)
        assert_allclose(got, want, rtol=1e-12, atol=1e-12, err_msg=form)
        signs = np.signbit(want) if np.asarray(want).dtype.kind == "f" else None
        assert signs is None or np.all((np.signbit(got) == signs) | np.isnan(want)), form
        told += 1
    assert told > 400


@pytest.mark.parametrize("p", [None, 1, -1, 2, -2, np.inf, -np.inf, "fro"])
def test_the_condition_of_a_singular_matrix_is_infinite(p):
    a = np.stack([np.zeros((2, 2)), np.diag([3.0, 0.0]), [[2.0, 1.0], [0.5, 3.0]]])
    x = Tensor(a, requires_grad=True)
    y = np.linalg.cond(x, p)
    assert_allclose(y.detach(), np.linalg.cond(a, p), rtol=1e-12)
    z = Tensor(a[2], requires_grad=True)
    assert_allclose(grad(y[2], x)[2], grad(np.linalg.cond(z, p), z), rtol=1e-12)


@pytest.mark.parametrize("a, b", [([0.0, 2, 1], [3.0, 4]), ([0.0, 0, 0, 2], [0.0, 0, 1, 2]),
                                  ([0.0, 0], [1.0, 2]), (0.0, [0.0, 3])])  # fmt: skip
def test_a_product_of_polynomials_has_its_degree(a, b):
    x = Tensor(a, requires_grad=True)
    y = np.polymul(x, b)
    assert_array_equal(y.detach(), np.polymul(a, b))
    assert grad(y[-1], x).shape == x.shape
