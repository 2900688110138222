"""Every rule of a ufunc at infinities, NaN, signed zeros, the largest and the smallest numbers.

Held against PyTorch and JAX where they are installed. Where the two differ, or where both lose
digits that can be had, what is right here stands in ``CONVENTIONS``, with the reason.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from samplers import METHODS, SAMPLERS
from samplers.cases import away

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor

LARGE, SMALL = np.finfo(float).max, np.finfo(float).tiny
POINTS = np.array([-np.inf, -LARGE, -1e200, -2.5, -1.0, -1e-200, -SMALL, -0.0, 0.0, SMALL, 1e-200,
                   0.5, 1.0, 1e200, LARGE, np.inf, np.nan])  # fmt: skip
UNARY = (
    "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "ceil",
    "cos", "cosh", "deg2rad", "exp", "exp2", "expm1", "fabs", "floor", "log", "log10", "log1p",
    "log2", "nan_to_num", "negative", "positive", "rad2deg", "reciprocal", "rint", "sign", "sin",
    "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
)  # fmt: skip
BINARY = (
    "add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "arctan2", "hypot",
    "logaddexp", "logaddexp2", "remainder",
)  # fmt: skip
IN_TORCH = {"rint": "round", "absolute": "abs", "fabs": "abs", "divide": "div", "power": "pow",
            "arctan2": "atan2"}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def slopes(name, *xs):
    leaves = [Tensor(x, requires_grad=True) for x in xs]
    gs = tg.grad(np.sum(getattr(np, name)(*leaves)), leaves, allow_unused=True)
    return [np.zeros_like(x) if g is None else g.numpy() for g, x in zip(gs, xs, strict=True)]


def in_torch(name, *xs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    f = getattr(torch, IN_TORCH.get(name, name), None)
    if f is None:
        return None
    leaves = [torch.tensor(x, requires_grad=True) for x in xs]
    gs = torch.autograd.grad(f(*leaves).sum(), leaves, allow_unused=True)
    return [np.zeros_like(x) if g is None else g.numpy() for g, x in zip(gs, xs, strict=True)]


def in_jax(name, *xs):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else (
            jax.experimental.enable_x64()):  # fmt: skip
        f = getattr(jax.numpy, name)
        gs = jax.vmap(jax.grad(f, argnums=tuple(range(len(xs)))))(*map(jax.numpy.asarray, xs))
        return [np.asarray(g) for g in gs]


def equal(a, b):
    close = np.abs(a - b) <= 1e-9 * np.maximum(np.abs(a), np.abs(b))
    return (a == b) | (np.isnan(a) & np.isnan(b)) | close


# name -> (where PyTorch and JAX say something else, what is right there)
CONVENTIONS = {
    # 0 at 0, and NaN for NaN
    "absolute": (lambda x: (x == 0) | np.isnan(x), np.sign),
    "fabs": (lambda x: (x == 0) | np.isnan(x), np.sign),
    # where the function is NaN, its derivative is; and no square of x, which leaves the range
    "arccosh": (lambda x: (x < 1) | (x > 1e150), lambda x: np.where(x < 1, np.nan, 1 / x)),
    "arcsinh": (lambda x: np.abs(x) > 1e150, lambda x: 1 / np.abs(x)),
    # numbers below the smallest normal one are not flushed to 0
    **{name: (lambda x: np.abs(x) == LARGE, lambda x, b=b: 1 / (x * b))
       for name, b in (("log", 1), ("log1p", 1), ("log2", np.log(2)), ("log10", np.log(10)))},
    # by its series near 0; and as exact far away as the cosine is
    "sinc": (lambda x: (np.abs(x) < 1e-100) | (np.abs(x) > 1e100) & np.isfinite(x), lambda x:
             np.where(np.abs(x) < 1, -np.pi**2 / 3 * x, np.cos(np.pi * x) / x)),
}  # fmt: skip


@pytest.mark.parametrize("peer", [in_torch, in_jax])
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, peer):
    theirs = peer(name, POINTS)
    if theirs is None:
        return  # the other peer has it
    (ours,) = slopes(name, POINTS)
    elsewhere, right = CONVENTIONS.get(name, (lambda x: np.zeros(x.shape, bool), np.zeros_like))
    chosen = elsewhere(POINTS)
    assert np.all(equal(ours, theirs[0]) | chosen), POINTS[~(equal(ours, theirs[0]) | chosen)]
    assert_allclose(ours[chosen], right(POINTS)[chosen], rtol=1e-9)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    """At least one of the two peers says the same, but for the conventions of the next test."""
    a, b = (x.ravel() for x in np.meshgrid(POINTS, POINTS))
    both_infinite = np.isinf(a) & np.isinf(b)
    origin = (a == 0) & (b == 0)
    with np.errstate(all="ignore"):
        far = np.hypot(a, b) > 1e150
        near = np.hypot(a, b) < 1e-150
    chosen = {"logaddexp": both_infinite, "logaddexp2": both_infinite, "hypot": origin | far | near,
              "arctan2": origin | far | near}.get(name, np.zeros(a.shape, bool))  # fmt: skip
    peers = [theirs for peer in (in_torch, in_jax) if (theirs := peer(name, a, b)) is not None]
    for k, ours in enumerate(slopes(name, a, b)):
        agree = np.any([equal(ours, theirs[k]) for theirs in peers], axis=0)
        wrong = ~(agree | chosen)
        assert not np.any(wrong), (k, a[wrong], b[wrong], ours[wrong])


def test_conventions_of_two_arguments():
    for a, b, first, second in ((1e-200, 1e-200, 5e199, -5e199), (1e200, 1e200, 5e-201, -5e-201),
                                (0.0, 0.0, 0.0, 0.0)):  # fmt: skip
        (p,), (q,) = slopes("arctan2", np.array([a]), np.array([b]))
        assert_allclose([p, q], [first, second], rtol=1e-12)
    for a, b, first, second in ((0.0, 0.0, 0.0, 0.0), (3e200, 4e200, 0.6, 0.8),
                                (3e-200, -4e-200, 0.6, -0.8)):  # fmt: skip
        (p,), (q,) = slopes("hypot", np.array([a]), np.array([b]))
        assert_allclose([p, q], [first, second], rtol=1e-12)
    for a, b, first, second in ((5.0, np.inf, 0, 1), (np.inf, 5.0, 1, 0), (5.0, -np.inf, 1, 0),
                                (np.inf, np.inf, 0.5, 0.5), (-np.inf, -np.inf, 0, 0),
                                (1000.0, -1000.0, 1, 0)):  # fmt: skip
        (p,), (q,) = slopes("logaddexp", np.array([a]), np.array([b]))
        assert (p, q) == (first, second)


def test_logaddexp_of_equal_numbers_has_its_second_derivative():
    x = Tensor([0.7, -3.0], requires_grad=True)
    (first,) = tg.grad(np.sum(np.logaddexp(x, x.detach())), [x], create_graph=True)
    assert_allclose(first.detach(), 0.5)
    assert_allclose(tg.grad(np.sum(first), x).numpy(), 0.25)


def test_nan_goes_on_through_maximum_and_minimum():
    for name in ("maximum", "minimum"):
        for a, b in ((np.nan, 1.0), (1.0, np.nan)):
            gs = slopes(name, np.array([a]), np.array([b]))
            assert [g[0] for g in gs] == [1, 1]  # as in PyTorch: whose NaN it is cannot be told
    x = Tensor([1.0, np.nan, 3.0], requires_grad=True)
    assert tg.grad(np.max(x), x).tolist() == [0, 1, 0]


def test_a_negative_base_has_powers_at_whole_numbers_alone():
    x = Tensor([2.0, 3.0], requires_grad=True)
    for base in (-2.0, np.array(-2.0), np.array([-2.0, -2.0])):
        y = base**x
        assert y.tolist() == [4, -8]
        assert np.all(np.isnan(tg.grad(np.sum(y), x).numpy()))
    assert tg.grad(np.sum(0.0**x), x).tolist() == [0, 0]


def test_what_a_remainder_takes_away_is_what_its_slope_says():
    a, b = np.array([1.0, 7.0, -1.0, 5.5]), np.array([0.1, -0.7, 0.3, 1e300])
    for name in ("remainder", "fmod"):
        _, slope = slopes(name, a, b)
        assert_allclose(a + slope * b, getattr(np, name)(a, b), atol=1e-12)


@pytest.mark.parametrize("name, x, right", [
    ("arctan", 300.0, 1 / 90001), ("arcsinh", 300.0, 1 / 300), ("arctanh", 0.9995, 1024.25),
    ("arcsin", 0.9995, 31.63), ("arccosh", 30000.0, 1 / 30000),
])  # fmt: skip
def test_squares_that_leave_the_range_of_float16(name, x, right):
    (slope,) = slopes(name, np.array([x], dtype=np.float16))
    x = float(np.float16(x))
    (exact,) = slopes(name, np.array([x]))
    assert slope.dtype == np.float16
    assert_allclose(slope.astype(float), exact, rtol=2e-2)
    assert_allclose(exact, right, rtol=2e-2)


def test_float16_over_many_elements():
    n = 65_520  # as a float16 it is inf
    x = Tensor(np.ones(n, dtype=np.float16), requires_grad=True)
    assert_allclose(tg.grad(np.mean(x), x).numpy().astype(float), 1 / n, rtol=5e-3)
    assert_allclose(tg.grad(np.max(x), x).numpy().astype(float), 1 / n, rtol=5e-3)
    bias = Tensor(np.zeros(2, dtype=np.float16), requires_grad=True)
    total = np.ones((4096, 2), dtype=np.float16) + bias
    assert tg.grad(total, bias, np.ones((4096, 2), dtype=np.float16)).tolist() == [4096, 4096]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_ids_of_small_integers_reach_every_row(dtype):
    rows = np.iinfo(dtype).max + 1 if dtype != np.int16 else 300
    table = Tensor(np.ones((rows, 2)), requires_grad=True)
    ids = np.array([0, rows - 1, rows - 1], dtype=dtype)
    slope = tg.grad(np.sum(table[ids]), table).numpy()
    assert slope[0, 0] == 1 and slope[-1, 1] == 2 and slope.sum() == 6


def test_the_standard_deviation_has_slope_0_where_it_is_0():
    """As PyTorch has it, and as the norm at 0; JAX gives NaN."""
    x = Tensor(np.full((2, 3), 2.5), requires_grad=True)
    for y in (np.std(x), np.sum(np.std(x, axis=1)), np.sum(x.std(0, ddof=1))):
        assert y.item() == 0
        assert np.all(tg.grad(y, x).numpy() == 0)
    assert tg.grad(np.std(x[0, 0]), x).numpy().sum() == 0


@pytest.mark.parametrize("order", range(9))
def test_derivatives_of_sinc_at_0(order):
    x = Tensor(0.0, requires_grad=True)
    y = np.sinc(x)
    for _ in range(order):
        y = tg.grad(y, x, create_graph=True)
    want = 0.0 if order % 2 else (-1) ** (order // 2) * np.pi**order / (order + 1)
    np.testing.assert_allclose(y.item(), want, rtol=1e-12, atol=1e-12)


def test_a_function_of_a_matrix_where_an_eigenvalue_occurs_twice():
    """What is said without its vectors is right, and what is said with them is NaN, not a number
    that might be wrong."""
    a, g = Tensor(np.diag([2.0, 2.0, 5.0]), requires_grad=True), np.arange(9.0).reshape(3, 3) + 1
    inverse = np.diag([0.5, 0.5, 0.2])
    want = -inverse @ g @ inverse
    np.testing.assert_allclose(tg.grad(np.linalg.pinv(a), a, g).numpy(), want, atol=1e-14)
    lower = np.tril(want + want.T) - np.diag(np.diag(want))
    got = tg.grad(np.linalg.pinv(a, hermitian=True), a, g)
    np.testing.assert_allclose(got.numpy(), lower, atol=1e-14)
    for values in (np.linalg.eigvalsh(a), np.linalg.svd(a, compute_uv=False)[::-1]):
        got = tg.grad(np.sum(values**3), a).numpy()
        np.testing.assert_allclose(got, 3 * np.square(a.detach().numpy()), atol=1e-14)
    w, v = np.linalg.eigh(a)
    assert np.isnan(tg.grad((v * w) @ v.T, a, g).numpy()).any()
    u, s, vh = np.linalg.svd(a)
    assert np.isnan(tg.grad((u * s) @ vh, a, g).numpy()).any()
    np.testing.assert_allclose(tg.grad(np.linalg.eigh(a)[0], a, [1.0, 1.0, 1.0]).numpy(), np.eye(3))
    s = np.linalg.svd(a, full_matrices=False).S
    np.testing.assert_allclose(tg.grad(s, a, [1.0, 1.0, 1.0]).numpy(), np.eye(3), atol=1e-14)


def test_weights_that_leave_no_freedom_make_a_covariance_infinite():
    x, w = np.array([[1.0, 2.0, 4.0], [2.0, 1.0, 0.0]]), np.array([1.0, 0.1, 0.1])
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        want = np.cov(x, aweights=w, ddof=2)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.cov(Tensor(x), aweights=w, ddof=2), want)


def test_a_geometric_row_from_0_is_refused_also_where_numpy_does_not_warn():
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="geomspace"):
        np.geomspace(Tensor(0.0, requires_grad=True), 1.0)


@pytest.mark.parametrize("reduce", [
    np.sum, np.mean, np.prod, np.var, np.std, lambda x, where: np.max(x, initial=0, where=where),
    lambda x, where: np.min(x, initial=9, where=where), np.nanvar, np.nanmean,
])  # fmt: skip
@pytest.mark.parametrize("nobodys", [np.nan, np.inf, -np.inf])
def test_what_a_reduction_leaves_out_reaches_no_gradient(reduce, nobodys):
    x = Tensor([1.0, nobodys, 4.0, 2.0], requires_grad=True)
    where, others = np.array([True, False, True, True]), Tensor([1.0, 4.0, 2.0], True)
    y, want = reduce(x, where=where), reduce(others, where=np.True_)
    np.testing.assert_allclose(y.item(), want.item())
    (g,), (wanted,) = tg.grad(y, [x]), tg.grad(want, [others])
    np.testing.assert_allclose(g.numpy()[where], wanted.numpy())
    assert g.numpy()[1] == 0


@pytest.mark.parametrize("q, wanted, slope", [(0, 1, [0, 1, 0]), (0.5, 2, [1, 0, 0]),
                                              (1, np.inf, [0, 0, 1])])  # fmt: skip
def test_a_quantile_that_is_an_element_is_that_element(q, wanted, slope):
    x = Tensor([2.0, 1.0, np.inf], requires_grad=True)
    y = np.quantile(x, q)
    y.backward()
    assert y.item() == wanted and x.grad.tolist() == slope


MASKED = {
    **{f: {} for f in (np.sum, np.mean, np.var, np.std, np.prod, np.add.reduce, np.multiply.reduce,
                       np.logaddexp.reduce, np.nansum, np.nanmean, np.nanvar, np.nanstd,
                       np.nanprod)},
    **{f: {"initial": -9.0} for f in (np.max, np.nanmax, np.maximum.reduce)},
    **{f: {"initial": 9.0} for f in (np.min, np.nanmin, np.minimum.reduce)},
}  # fmt: skip


@pytest.mark.parametrize("fn", MASKED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_nothing_is_computed_with_what_where_leaves_out(fn, hidden, axis):
    rng = np.random.default_rng(0)
    a, where = rng.normal(size=(3, 4)), rng.random((3, 4)) < 0.6
    where[0], where[:, 0] = True, True
    options = {"axis": axis, "where": where, **MASKED[fn]}
    with np.errstate(invalid="ignore"):
        want = fn(a, **options)
    g = rng.normal(size=np.shape(want))
    slopes = []
    for x in (a, np.where(where, a, hidden)):
        x = Tensor(x, requires_grad=True)
        y = fn(x, **options)
        assert_allclose(y.detach(), want, rtol=1e-12)
        slopes.append(tg.grad(y, x, g).numpy())
    assert_allclose(slopes[1], slopes[0], rtol=1e-12)
    assert not np.any(slopes[0][~where])


# Which of the smaller numbers comes first is free, and three factors are multiplied in pairs; a
# quantile that is an element is that element.
OF_ITS_OWN = {np.partition, np.einsum, np.quantile, np.percentile, np.median, np.nanquantile,
              np.nanpercentile, np.nanmedian}  # fmt: skip


def named(fn):
    return f"{getattr(fn, '__module__', None)}.{fn.__name__}"


@pytest.mark.parametrize("fn", [f for f in [*SAMPLERS, None] if f not in OF_ITS_OWN and
                                "linalg" not in str(getattr(f, "__module__", ""))],
                         ids=lambda f: named(f) if f else "methods of ufuncs")  # fmt: skip
def test_every_function_says_of_special_numbers_what_numpy_says(fn):
    for case, shapes, (low, high, kink) in SAMPLERS.get(fn, METHODS):
        for seed, special in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0, 1e100, 1e-300, 5e-324)):
            rng = np.random.default_rng(seed)
            xs = [rng.uniform(low, high, shape) for shape in shapes]
            xs = [np.where(rng.random(x.shape) < 0.4, special, away(x) if kink else x) for x in xs]
            try:
                want = case(*map(np.copy, xs))
            except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                continue  # NumPy refuses it
            got = case(*[Tensor(x, requires_grad=True) for x in xs])
            assert_allclose(value(got), want, rtol=1e-9, atol=1e88 if special == 1e100 else 1e-323)


def value(y):
    return [value(v) for v in y] if isinstance(y, (list, tuple)) else getattr(y, "data", y)


def test_beyond_the_points_of_an_interpolation_infinity_reaches_no_gradient():
    fp = Tensor([1.0, 3.0, 2.0], requires_grad=True)
    for left, right, slopes in ((None, None, [2, 0, 1]), (0.0, None, [0, 0, 1])):
        y = np.interp(np.array([-np.inf, -5.0, np.inf]), [0.0, 1.0, 2.0], fp, left, right)
        assert tg.grad(np.sum(y), fp).tolist() == slopes
