"""What NumPy refuses is refused, and every error is a sentence that names the call.

No insides reach the user: no names of our own functions, none of Python's complaints about them.
"""

import re

import numpy as np
import pytest

from tinygrad_rnn import Tensor

INSIDES = re.compile(
    r"<lambda>|^_|\(\) (got|takes|missing)|object (is not|has no)|positional argument|NoneType"
    r"|setting an array element|_NoValue|division by zero|modulo by zero|not subscriptable|kwargs="
)
rng = np.random.default_rng(0)
ARRAYS = {
    "x": rng.normal(size=(3, 4)), "z": rng.normal(size=(2, 3, 4)), "v": rng.normal(size=4),
    "w": rng.normal(size=3), "A": rng.normal(size=(3, 3)), "s": np.array(0.7),
}  # fmt: skip


def run(expression, requires_grad=None):
    names = dict(ARRAYS) if requires_grad is None else {
        k: Tensor(a, requires_grad) for k, a in ARRAYS.items()}  # fmt: skip
    array = np.array if requires_grad is None else Tensor
    return eval(expression, {"np": np, "array": array, **names})


# NumPy refuses these
REFUSED_BY_NUMPY = """
np.split(x, 2) | np.split(v, 3) | np.split(v, 0) | np.hsplit(s, 2) | np.vsplit(v, 2)
np.hsplit(v, 0) | np.dsplit(x, 2) | np.diff(x, n=-1) | np.diff(s) | np.clip(x, -1)
np.clip(x, 0, 1, min=0) | np.concatenate([]) | np.stack([x, v]) | np.concatenate([x, z])
np.block([[x], [w]]) | np.max(x[:0]) | np.max(x, axis=1, where=x > 0) | np.sum(x, axis=2)
np.mean(x, axis=7) | np.reshape(x, (5, 2)) | np.reshape(x, (3, 5), order="F")
np.transpose(x, (0, 0)) | np.expand_dims(x, 5) | np.squeeze(x, 0) | np.swapaxes(x, 0, 7)
np.tile(x, -1) | np.repeat(x, -1) | np.full_like(x, w) | np.take(v, [9])
np.take_along_axis(x, np.array([0]), 1) | np.insert(v, 9, 1.0) | np.delete(v, 9)
np.append(x, v, axis=0) | np.pad(x, -1) | np.pad(x, 1, mode="no such mode") | np.rot90(v)
np.diag(z) | np.vander(x) | np.resize(x, (-1, 2)) | np.meshgrid(v, w, indexing="no")
np.matmul(x, x) | np.dot(x, x) | x @ s | np.tensordot(x, x, 1) | np.cross(v, v)
np.convolve(x, w) | np.einsum("ij,jk->iz", x, x) | np.einsum("ij", v) | np.einsum("ij,jk", x)
np.einsum("ii", x) | np.linalg.inv(x) | np.linalg.det(x) | np.linalg.solve(A, v)
np.linalg.cholesky(-A @ A.T) | np.linalg.matrix_power(x, 2) | np.linalg.norm(v, "fro")
np.linalg.norm(z, 2) | np.linalg.norm(x, 5) | np.linalg.multi_dot([A])
np.linalg.tensorinv(A, 0) | np.linalg.qr(A, "no") | np.linalg.svd(v) | np.percentile(x, 130)
np.quantile(x, -0.1) | np.quantile(x, 0.5, method="no") | np.cov(z) | np.average(x, weights=v)
np.interp(w, v, w) | np.gradient(v, 1.0, 2.0) | np.gradient(v[:1])
np.gradient(v, edge_order=3) | np.trapezoid(v, w) | np.polyder(v, -1)
np.select([x > 0], [x, x]) | np.choose(np.array([5]), [v, v])
np.piecewise(x, [x > 0], [1, 2, 3]) | np.add.reduceat(v, [9]) | np.linspace(s, 1.0, -1)
np.cumulative_sum(x) | np.sum(v, where=x > 0) | np.bincount([0], v)
np.std(x, ddof=1, correction=1) | np.sort(x, axis=5) | np.partition(v, 9) | np.unwrap(s) | x[5]
x[0, 0, 0] | x["a"] | x[0.5] | x + w | np.maximum(x, w) | np.add(x, w)
np.broadcast_to(x, (2,)) | np.add(x, x, dtype=int) | np.geomspace(-s, s)
np.apply_along_axis(np.sum, 5, x) | np.lexsort(s)
np.median(x, axis=2) | np.quantile(x, 0.5, axis=-3) | np.percentile(x, 30, axis=(0, 5))
np.nanmedian(x, axis=(0, 0)) | np.nanquantile(x, 0.3, axis=(0, -2)) | np.diff(x, axis=2)
np.diff(x, axis=-3, prepend=0.0) | np.take(x, [0], axis=2) | x.take([0], -3) | x.repeat(2, 5)
np.repeat(x, 2, axis=-3) | np.take_along_axis(x, np.array([[0]]), 2) | np.rollaxis(x, 2)
np.put_along_axis(x * 1.0, np.array([[0]]), 1.0, 5) | np.compress([True], x, axis=2)
np.rollaxis(x, 0, -3) | np.rollaxis(x, 0, 3) | np.tensordot(x, x, (2, 2))
np.logaddexp.reduce(x, axis=2) | np.hypot.reduce(x, axis=(0, -2))
np.add.accumulate(x, axis=None)
np.subtract.reduce(x, axis=(0, 1)) | np.maximum.accumulate(x, 2) | np.gradient(x, axis=(0, -2))
np.fmod.reduce(v[:0]) | np.linalg.norm(x, axis=()) | np.linalg.norm(z, axis=(0, 1, 2))
np.linalg.norm(x, axis=(0, -2)) | np.rot90(x, 0, (0, 5)) | np.vander(v, -1) | np.round(x, 1.5)
np.linspace(s, 1.0, 1.5) | np.insert(v, 1.0, 2.0) | np.delete(v, [0.5]) | np.cov(x, ddof=1.5)
np.bincount([0, 1], w[:1]) | np.pad(x[:0], 1, mode="mean") | np.pad(x[:0], 1, mode="maximum")
np.add(x, x, dtype=np.float32, casting="safe") | np.hstack([v, v], dtype=int)
np.take(x, [0], axis=True) | np.repeat(x, 2, axis=True) | np.cumprod(x, axis=True)
np.cumprod(x, axis=(1,)) | np.take_along_axis(x, np.array([[0]]), [1]) | np.repeat(x, 2, [1])
np.apply_along_axis(np.sum, (1,), x) | np.trapezoid(x, axis=[1]) | np.max(x, dtype=int)
np.add(v, 1.5, out=np.zeros(4, int)) | np.multiply(v, 1.5, out=array([1, 2, 3, 4]))
np.copyto(array([1, 2]), 1.5) | np.copyto(array([True]), 1) | np.copyto(array([1]), w[:1])
np.round(array([True]), 1) | np.quantile(array([True, False]), 0.3)
np.linalg.tensorinv(A[:1, :1], 0) | np.linalg.tensorinv(A[:1, :1], -1) | np.polyint(v, -1)
np.interp(s, [0, 1, 2], w[:2]) | np.interp(s, [0, 1], w) | np.select([], [], s)
np.choose([0, 2, 1, 1], [v, v])
np.linalg.matrix_power(x, 1) | np.linalg.matrix_power(z, 1)
np.copyto(array([1.0]).astype("f4"), w[:1], casting="safe")
np.cov(z[:, :2, :2]) | np.cross(w, w[:1])
np.gradient(v, w[:2]) | np.gradient(v[:2], edge_order=2) | np.gradient(x[:, :1])
np.interp(v, w, w, period=0) | np.interp(v, w[:0], w[:0]) | np.interp(v, A, A) | np.block([])
np.block([[v], [w, [w]]]) | np.block([[], [v]]) | np.put(v * 1, [4], 1.0)
np.put(v * 1, [-5], 1.0)
np.fill_diagonal(v * 1, 1.0) | np.fill_diagonal(z * 1, 1.0) | np.hsplit(v, [[1]])
np.vsplit(v, 1)
np.dsplit(A, 1) | np.choose([0, 2, 1, -1], [v, v]) | np.select([x > 0], [x, x])
np.select([], [])
np.piecewise(v, [v > 0, v < 0], [1]) | np.linalg.matrix_power(x, 0) | np.linalg.matrix_power(v, 1)
np.linalg.multi_dot([]) | np.linalg.norm(x, axis=(0, 1, 1)) | np.linalg.norm(v, "nuc", axis=0)
np.linalg.norm(z, "fro") | np.linalg.norm(z, 1) | np.linalg.norm(x, 0)
np.linalg.norm(x, 3, (0, 1))
np.linalg.vecdot(v, w) | np.tensordot(x, x, ([0, 1], [1, 0])) | np.tensordot(x, v, ([0], [0]))
np.einsum("ij,k", x) | np.einsum("ij->ii", x) | np.einsum("ii->i", x)
np.einsum("ij->ik", x) | np.cov(x, ddof=0.5) | np.cov(z[0], z) | np.average(x, weights=w)
np.average(x, 0, weights=v) | np.average(v, weights=v * 0) | np.max(v[:0]) | np.min(x[:, :0], 1)
np.min(v, where=v > 0) | np.var(x, ddof=1, correction=2) | np.cumulative_prod(x)
np.repeat(v, [1, 2])
np.tile(v, (-1, 2)) | np.vander(s) | np.meshgrid(v, indexing="yx") | np.diag(s)
np.rot90(x, 1, (0, 0))
np.rot90(x, 1, (0,)) | np.diff(v, -2) | np.linspace(s, 1.0, -3) | np.geomspace(0 * s, s)
np.lib.stride_tricks.sliding_window_view(v, 5) | np.lib.stride_tricks.sliding_window_view(v, -1)
np.lib.stride_tricks.sliding_window_view(x, (2, 2, 2)) | np.add.reduceat(v, [-1])
np.put(v * 1, 9, 1)
np.hypot.reduceat(v, [1, 4]) | np.bincount([-1, 0, 1], w) | np.take_along_axis(v, v > 0, 0)
np.delete(v, v[:2] > 0) | np.ldexp(v, 0.5) | np.select([[1, 0, 1, 0]], [v])
np.cross(x[:, :3], w, axis=[1])
np.average(x, axis=2, weights=v) | np.lib.stride_tricks.sliding_window_view(x, 2, axis=2)
""".replace("\n", "|").strip(" |").split("|")  # fmt: skip


@pytest.mark.parametrize("expression", [e.strip() for e in REFUSED_BY_NUMPY if e.strip()])
def test_what_numpy_refuses(expression):
    with pytest.raises(Exception) as theirs:
        run(expression)
    for requires_grad in (True, False):
        with pytest.raises((TypeError, ValueError, IndexError)) as ours:
            run(expression, requires_grad)
        text = str(ours.value)
        assert not INSIDES.search(text) or text == str(theirs.value), text
        if isinstance(theirs.value, np.linalg.LinAlgError):
            assert isinstance(ours.value, np.linalg.LinAlgError)


# NumPy computes these; there is no gradient, or none is lost in silence
REFUSED_BY_US = """
np.roots(v) | np.linalg.eig(A) | np.linalg.eigvals(A) | np.fft.fft(v) | np.i0(x)
np.sort_complex(v) | np.linalg.svd(x) | np.linalg.svd(z) | np.linalg.qr(x.T, "complete")
np.ravel(x, "K") | np.clip(x, 0, 1, where=x > 0) | np.clip(x, min_val=0)
np.reshape(x, 12, order="A") | np.quantile(v, 0.3, weights=np.ones(4), method="inverted_cdf")
np.quantile(v, s) | np.exp(x, where=x > 0)
np.add(x, x, out=np.zeros((3, 4))) | x * 2j | np.sum(x, axis=0, out=np.zeros(4))
np.nan_to_num(x, copy=False) | x.astype(complex) | x.view(int)
np.fmin.reduce(x, where=x > 0, initial=9.0) | x << 1 | 2 >> x | 1 & x | 2 ^ x
w * np.ma.array([1.0, 2, 3])
np.matrix([[1.0, 2, 3]]) @ x | w * np.matrix([[1.0, 2, 3]])
np.frompyfunc(abs, 1, 1)(x) | np.concatenate([v, np.ma.array([1.0])]) | x.astype(str)
x.byteswap() | x.resize((4, 3)) | np.histogram([0.5, 1, 2, 3], 2, None, None, v)
np.histogram(v, weights=v) | np.histogram2d(w, w, weights=w) | np.histogramdd(x, weights=w)
x.setflags(write=False) | x.getfield(np.float32) | x.view(3, 4) | x.view((3, 4))
""".replace("\n", "|").strip(" |").split("|")  # fmt: skip


OPERATORS = "multiply", "matmul", "_shift", "bitwise_", "matrix"


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of np.matrix
@pytest.mark.parametrize("expression", [e.strip() for e in REFUSED_BY_US])
def test_what_has_no_gradient(expression):
    name = re.findall(r"\.([a-z_0-9]+)", expression)
    with pytest.raises(TypeError) as error:
        run(expression, True)
    text = str(error.value)
    assert not INSIDES.search(text) and any(n in text for n in [*name, *OPERATORS]), text


@pytest.mark.parametrize("expression", [
    "np.linalg.svd(x)", "np.linalg.svd(z)", "np.linalg.qr(x.T, 'complete')", "np.ravel(x, 'K')",
    "np.reshape(x, 12, order='A')", "np.hypot.reduce(x, where=x > 0)", "np.linalg.qr(x, 'raw')",
    # of no elements
    "np.linalg.norm(x[:, :0], 1)", "np.linalg.norm(x[:0], np.inf)", "np.linalg.norm(x[:0], 2)",
    "np.linalg.tensorsolve(A[:0, :0], w[:0])", "np.piecewise(v, [v > 9], [lambda x: 1 / len(x)])",
])  # fmt: skip
def test_where_no_gradient_is_wanted_numpy_computes(expression):
    try:
        wanted = run(expression)
    except ValueError:  # of no elements, in an older NumPy
        pytest.skip(f"NumPy {np.__version__} refuses it")
    got = run(expression, False)
    for ours, theirs in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, wanted)),
                            strict=True):
        assert isinstance(ours, Tensor) and ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("expression", [
    "np.array([s, s])", "np.asarray([x, x])", "np.array([[s, 1.0]])", "np.sum([x, x])",
    "np.array(x)", "np.full(3, s)", "np.vectorize(abs)(x)",
    "np.ma.log(x)", "np.ma.where(x > 0, x, 1.0)", "np.ma.array([1.0, 2, 3], mask=[0, 1, 0]) * w",
])  # fmt: skip
def test_a_list_of_tensors_is_joined_by_stack(expression):
    with pytest.raises(RuntimeError, match=r"np\.stack"):
        run(expression, True)


def test_a_tensor_among_numbers_in_an_array_says_what_to_do():
    for call in (lambda: np.zeros(3).__setitem__(0, run("s", True)),
                 lambda: np.fromiter(run("v", True), float)):  # fmt: skip
        with pytest.raises(ValueError) as error:  # NumPy's own words, with ours as their cause
            call()
        assert re.search(r"np\.zeros_like\(t\).*np\.stack", str(error.value.__cause__))


@pytest.mark.parametrize(("name", "here"), [
    ("ctypes", r"t\.numpy\(\)\.ctypes"), ("clone", r"t\.copy"), ("ptp", r"np\.ptp\(t\)"),
    ("to", "astype"),
    ("det", r"np\.linalg\.det"), ("softmax", r"functional\.softmax"), ("zero_", r"t \+= value"),
])  # fmt: skip
def test_what_other_arrays_have_is_told_by_its_name_here(name, here):
    with pytest.raises(AttributeError, match=rf"^Tensor\.{name}: .*; here it is .*{here}"):
        getattr(Tensor(ARRAYS["x"]), name)


def test_an_attribute_that_nobody_knows_is_no_attribute():
    x = Tensor(ARRAYS["x"])
    assert not hasattr(x, "shap") and not hasattr(x, "__array_interface__")
    with pytest.raises(AttributeError, match=r"^Tensor\.shap: no such attribute$"):
        x.shap  # noqa: B018


def test_a_tensor_is_on_its_device():
    x = Tensor(ARRAYS["x"], requires_grad=True)
    x.to_device("cpu").backward(ARRAYS["x"])
    np.testing.assert_array_equal(x.grad.numpy(), ARRAYS["x"])
    with pytest.raises(ValueError, match="to_device: 'gpu'"):
        x.to_device("gpu")


@pytest.mark.parametrize(("name", "here"), [("shape", "reshape"), ("dtype", "astype")])
def test_shape_and_dtype_stay(name, here):
    with pytest.raises(AttributeError, match=here):
        setattr(Tensor(ARRAYS["x"]), name, None)


@pytest.mark.parametrize("expression", ["x.exp(2)", "x.reshape(size=3)", "x.swapaxes(1)"])
def test_of_arguments_that_a_method_does_not_take_python_tells_with_its_name(expression):
    with pytest.raises(TypeError, match=rf"^Tensor\.{expression[2:5]}"):
        run(expression, True)


def in_place(t, name, other):
    t = np.positive(t)
    return getattr(t, f"__i{name}__")(other)


@pytest.mark.parametrize("name", [
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul",
])  # fmt: skip
def test_what_is_changed_in_place_keeps_its_shape_and_dtype(name):
    a, b = abs(rng.normal(size=(3, 3))) + 1, abs(rng.normal(size=(3, 3))) + 1
    single, double = Tensor(a.astype(np.float32), requires_grad=True), Tensor(b)
    want = getattr(a.astype(np.float32), f"__i{name}__")(b)
    got = in_place(single, name, double)
    assert got.dtype == np.float32 and got.requires_grad
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    with pytest.raises(ValueError, match=r"does not fit|inner sizes"):
        in_place(single, name, np.ones((2, 3, 3)))
    if name not in ("floordiv", "mod"):
        with pytest.raises(TypeError, match="does not fit"):
            in_place(Tensor(np.arange(9).reshape(3, 3)), name, b)


def test_a_list_beside_tensors_may_want_no_gradient():
    v = Tensor(ARRAYS["v"], requires_grad=True)
    g = rng.normal(size=7)
    np.concatenate([[1.0, 2.0], v, (3,)]).backward(g)
    np.testing.assert_array_equal(v.grad.numpy(), g[2:6])


def test_del_and_writing_values_down(tmp_path):
    x = Tensor(ARRAYS["x"], requires_grad=True)
    with pytest.raises(ValueError, match=r"np\.delete"):
        del x[0]
    x.tofile(tmp_path / "x")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "x"), ARRAYS["x"].ravel())
    np.savez(tmp_path / "x.npz", x=x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["x"], ARRAYS["x"])
    assert x.base is None and x.device == "cpu" and x.__array_namespace__() is np
    assert (x.argmax(1, keepdims=True) == ARRAYS["x"].argmax(1, keepdims=True)).all()
