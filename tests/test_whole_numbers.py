"""Of whole numbers and truth values every function gives what NumPy gives, in NumPy's dtype."""

import numpy as np
import pytest

from tinygrad_rnn import Tensor, grad

rng = np.random.default_rng(0)
CALLS = """
np.median(v) | np.nanmedian(v) | np.quantile(v, 0.3) | np.percentile(x, [30], axis=1) | np.mean(x)
np.quantile(v, 0.3, method="lower") | np.quantile(v, 1) | np.mean(x, where=mask)
np.std(x, mean=1) | np.var(x, where=mask) | np.nanmean(x, axis=0) | np.nanstd(x) | np.nanmax(x)
np.nanmin(x, initial=9) | np.average(x, weights=x * 0 + 1) | np.average(x, 1, weights=[1, 2, 3, 4])
np.max(x[:0], initial=1) | np.cumprod(x) | np.cumulative_prod(v) | np.nancumprod(x, axis=1)
np.multiply.accumulate(x) | np.round(x) | np.round(x, 1) | np.round(x, -1) | x.round() | np.fabs(x)
np.modf(x) | np.frexp(x) | np.deg2rad(x) | np.heaviside(x, 1) | np.nan_to_num(x)
np.logaddexp2(x, x) | np.copysign(x, 1) | np.angle(x) | np.sinc(x) | np.ldexp(x, 2)
np.clip(x, 0, 1) | np.clip(x, 0.5, None) | np.fmax(x, 1) | np.gradient(v) | np.gradient(v, 0.5)
np.gradient(x, axis=0) | np.diff(v) | np.diff(x, prepend=0) | np.trapezoid(v)
np.interp(v, [0, 1], [3, 4]) | np.polyval(v, 2) | np.polyfit([0, 1, 2, 3], v, 1) | np.polymul(v, v)
np.linspace(v, 7, 3) | np.linspace(v, 7, 3, dtype=int) | np.vander(v) | np.pad(v, 2, "mean")
np.pad(v, 2, "linear_ramp") | np.pad(v, 2, "median") | np.tril(x) | np.triu(v)
np.einsum("ij,ij", x, x) | np.einsum("ii->i", x[:, :3]) | np.dot(x, v) | np.inner(x, 2)
np.kron(v, v) | np.linalg.norm(x) | np.linalg.norm(x, axis=1) | np.linalg.norm(x, 1)
np.linalg.norm(v, np.inf) | np.linalg.norm(v, 0) | np.linalg.vector_norm(x, ord=1)
np.linalg.vecdot(v, v) | np.cov(x) | np.linalg.pinv(x[:, :3] * x[:, :3].T, hermitian=True)
np.linalg.svd(x) | np.linalg.qr(x.T, "complete") | np.add.reduce(x) | np.logaddexp.reduce(x)
np.subtract.reduce(x * 1) | np.maximum.reduce(x, initial=1) | np.add.reduceat(v, [0, 2])
np.multiply.outer(v, v) | np.add.at(x, [0, 0], 1); x | ~x | np.put(x, [0], 1); x
np.copyto(x, True); x | np.fill_diagonal(x, 1); x | np.unique(x, axis=0) | np.ptp(x * 1)
np.sort(x, axis=True) | np.trim_zeros(v) | np.where(mask, x, 0.5) | np.sum(x, dtype="f4")
""".replace("\n", " | ").strip(" |").split(" | ")


def run(call, leaves):
    *before, last = call.split("; ")
    names = {"np": np, "mask": np.arange(12).reshape(3, 4) % 3 > 0, **leaves}
    for line in before:
        exec(line, names)
    return eval(last, names)


def flat(result):
    return [p for r in result for p in flat(r)] if isinstance(result, (list, tuple)) else [result]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_and_dtypes_are_numpys(dtype):
    arrays = {"x": rng.integers(0, 60, (3, 4)).astype(dtype), "v": np.array([3, 0, 7, 0], dtype)}
    for call in CALLS:
        with np.errstate(all="ignore"):
            try:
                want = run(call, {k: a.copy() for k, a in arrays.items()})
            except (TypeError, ValueError):
                with pytest.raises((TypeError, ValueError)):
                    run(call, {k: Tensor(a) for k, a in arrays.items()})
                continue
            got = run(call, {k: Tensor(a) for k, a in arrays.items()})
        assert type(got) is type(want) or isinstance(got, (Tensor, np.ndarray)), call
        for p, q in zip(flat(got), flat(want), strict=True):
            assert (p.shape, p.dtype) == (q.shape, q.dtype), call
            np.testing.assert_array_equal(np.asarray(p), q, call)


def test_a_part_that_comes_back_is_a_value():
    ids = Tensor(np.arange(6))
    first, second = np.split(ids, 2)
    ids[:] = 9
    second[0] = 7
    np.testing.assert_array_equal(first, [0, 1, 2])
    np.testing.assert_array_equal(second, [7, 4, 5])
    np.testing.assert_array_equal(ids, [9] * 6)


def test_a_function_of_whole_numbers_may_read_weights():
    weights = Tensor(rng.normal(size=(4, 2)), requires_grad=True)
    ids = Tensor(np.array([[0, 1], [1, 3]]))
    y = np.apply_along_axis(lambda row: np.sum(weights[row]), 1, ids)
    g = rng.normal(size=2)
    want = np.zeros((4, 2))
    np.add.at(want, np.asarray(ids), np.broadcast_to(g[:, None, None], (2, 2, 2)))
    np.testing.assert_allclose(grad(y, weights, g).numpy(), want)
