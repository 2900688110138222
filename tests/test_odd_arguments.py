"""Axes, numbers and masks as nobody writes them: refused where NumPy refuses, and else its result.

What NumPy takes may be refused here, too (a float as an axis): an error is no wrong number.
"""

import itertools

import numpy as np
import pytest

from tinygrad_rnn import Tensor

rng = np.random.default_rng(0)
ARRAYS = {"x": rng.normal(size=(3, 3)), "z": rng.normal(size=(3, 3, 3)), "v": rng.normal(size=3)}
PLAIN = {"i": np.array([[0, 1, 2]] * 3), "np": np}
ODD = [
    0, [0], True, False, (0,), 1.0, np.int64(1), np.array(1), np.array([1]), "0", (0, 1), [0, 1],
    (True,), np.True_, None, np.float64(1), (0, 0), 5, -2, [[0]],
]  # fmt: skip
AXES = """
np.sum(x, axis=o) | np.prod(x, axis=o) | np.mean(x, axis=o) | np.max(x, axis=o) | x.min(o)
np.std(x, axis=o) | np.var(x, axis=o) | np.ptp(x, axis=o) | np.median(x, axis=o) | x.mean(o)
np.quantile(x, 0.3, axis=o) | np.nanmedian(x, axis=o) | np.nansum(x, axis=o) | x.prod(axis=o)
np.nanmax(x, axis=o) | np.nanmean(x, axis=o) | np.nanvar(x, axis=o) | np.cumsum(x, axis=o)
np.cumprod(x, axis=o) | np.nancumsum(x, axis=o) | np.cumulative_sum(x, axis=o) | np.sort(x, axis=o)
np.cumulative_prod(x, axis=o, include_initial=True) | np.partition(x, 1, axis=o) | x.std(o)
np.average(x, axis=o) | np.average(x, axis=o, weights=v * v) | np.cross(x, x, axis=o)
np.cross(x, v, axisa=o) | np.cross(v, x, axisb=o) | np.cross(x, v, axisc=o) | x.cumsum(o)
np.linalg.cross(x, x, axis=o) | np.linalg.norm(x, axis=o) | np.linalg.norm(x, 2, axis=o)
np.linalg.norm(z, "fro", axis=o) | np.linalg.vector_norm(x, axis=o) | np.linalg.vecdot(x, x, axis=o)
np.insert(x, 1, 2.0, axis=o) | np.delete(x, 1, axis=o) | np.append(x, x, axis=o) | x.repeat(2, o)
np.fft.fftshift(x, axes=o) | np.fft.ifftshift(x, axes=o) | np.take(x, [0], axis=o) | x.take([0], o)
np.take_along_axis(x, i, axis=o) | np.put_along_axis(x * 1, i, 0.0, axis=o) | np.flip(x, axis=o)
np.repeat(x, 2, axis=o) | np.roll(x, 1, axis=o) | np.rot90(x, axes=(o, 0)) | np.rollaxis(x, o)
np.rollaxis(x, 1, o) | np.moveaxis(x, o, 0) | np.moveaxis(x, 0, o) | np.swapaxes(x, o, 0)
np.expand_dims(x, o) | np.squeeze(x[None], o) | np.split(x, 3, axis=o) | x.swapaxes(o, 0)
np.array_split(x, 2, axis=o) | np.concatenate([x, x], axis=o) | np.stack([x, x], axis=o)
np.unstack(x, axis=o) | np.diff(x, axis=o) | np.diff(x, axis=o, prepend=0.0) | np.unwrap(x, axis=o)
np.gradient(x, axis=o) | np.trapezoid(x, axis=o) | np.trapezoid(x, x, axis=o)
np.compress([True], x, axis=o) | np.apply_along_axis(np.sum, o, x) | x.compress([True], o)
np.apply_over_axes(np.sum, x, o) | np.linspace(x, 1.0, 3, axis=o) | np.logspace(x, 1.0, 3, axis=o)
np.geomspace(x * x, 1.0, 3, axis=o) | np.unique(x, axis=o) | np.diagonal(x, 0, o, 1)
np.trace(x, 0, 0, o) | np.tensordot(x, x, o) | np.tensordot(x, x, (o, 1)) | np.add.reduce(x, axis=o)
np.add.accumulate(x, axis=o) | np.maximum.accumulate(x, axis=o) | np.hypot.reduce(x, axis=o)
np.add.reduceat(x, [0, 1], axis=o) | np.hypot.reduceat(x, [0, 1], axis=o) | x.squeeze(o)
np.logaddexp.accumulate(x, axis=o) | np.lib.stride_tricks.sliding_window_view(x, 2, axis=o)
x.transpose(o, 0) | np.transpose(x, (o, 0)) | np.linalg.tensorsolve(x, v, axes=o) | x.trace(0, o, 1)
x.diagonal(0, o, 1) | np.argsort(x, axis=o) | np.any(x, axis=o) | np.argmax(x, axis=o)
""".replace("\n", "|").strip(" |").split("|")
NUMBERS = """
np.resize(x, o) | np.roll(x, o) | np.diag(x, o) | np.tril(x, o) | np.triu(x, o) | np.diagflat(x, o)
np.diff(x, o) | np.rot90(x, o) | np.round(x, o) | np.vander(v, o) | np.linalg.matrix_power(x, o)
np.linspace(v, 1.0, o) | np.polyder(v, o) | np.polyint(v, o) | np.broadcast_to(v, o) | x.reshape(o)
np.linalg.tensorinv(x, o) | np.linalg.diagonal(x, offset=o) | np.linalg.trace(x, offset=o)
np.array_split(x, o) | np.split(x, o) | np.repeat(x, o) | np.pad(x, o) | np.insert(x, o, 1.0)
np.delete(x, o) | np.take(x, o) | x[o] | np.bincount([0, 1], v[:2], o) | np.cov(x, ddof=o)
np.sum(x, keepdims=o) | np.polyfit(v, v, o) | np.partition(v, o)
np.ldexp(x, o) | np.choose(o, [x, x]) | np.compress(o, x) | np.tile(x, o) | np.trace(x, o)
""".replace("\n", "|").strip(" |").split("|")
MASKS = """
np.take(v, m) | np.take_along_axis(v, m, 0) | np.delete(v, m) | np.insert(v, m, 9.0) | v[m]
np.delete(v, m[:2]) | np.delete(x, m[None]) | np.repeat(v, m) | np.compress(m, v) | np.extract(m, v)
np.choose(m, [v, v * 2]) | np.put_along_axis(v * 1, m, 1.0, 0) | np.select([m], [v])
np.select([i[0]], [v]) | np.take(v, [True, False]) | np.put_along_axis(x * 1, i, 1.0, None)
np.bincount([-1, 0, 2], v) | np.bincount([True, False, True], v) | np.where(m, v, 0)
np.piecewise(v, [m], [1]) | np.put_along_axis(v * 1, i[0] - 3, 1.0, None) | np.add.reduceat(v, m)
""".replace("\n", "|").strip(" |").split("|")


def result(expression, names):
    before = {k: getattr(a, "copy", lambda a=a: a)() for k, a in names.items()}
    with np.errstate(all="ignore"):
        got = eval(expression.strip(), {**PLAIN, **before})
    return got if isinstance(got, (list, tuple)) else [got]


def held_to_numpy(expression, **more):
    try:
        want = result(expression, ARRAYS | more)
    except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
        want = None
    try:
        got = result(expression, {k: Tensor(a, True) for k, a in ARRAYS.items()} | more)
    except (TypeError, ValueError, IndexError, AttributeError, RuntimeError):
        return
    assert want is not None, f"NumPy refuses {expression} {more}"
    for p, q in zip(got, want, strict=True):
        if q is not None:
            p = p.detach() if isinstance(p, Tensor) else p
            assert (np.shape(p), np.result_type(p)) == (np.shape(q), np.result_type(q)), expression
            np.testing.assert_allclose(p, q, rtol=1e-12, atol=1e-14, err_msg=f"{expression} {more}")


@pytest.mark.parametrize("forms", [AXES, NUMBERS])
@pytest.mark.filterwarnings("ignore")  # NumPy's, of what it will refuse one day
def test_what_numpy_refuses_as_an_axis_or_a_number(forms):
    for form, odd in itertools.product(forms, ODD):
        held_to_numpy(form, o=odd)


@pytest.mark.filterwarnings("ignore")
def test_masks_in_the_place_of_indices_and_indices_in_the_place_of_masks():
    for form, mask in itertools.product(MASKS, itertools.product((False, True), repeat=3)):
        held_to_numpy(form, m=np.array(mask))
