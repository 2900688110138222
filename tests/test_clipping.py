"""Gradients clipped by norm and by value, and averages of weights, against formulas and PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaves import number
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, optim

# --- clipping -------------------------------------------------------------------------------------


def with_grads(*arrays):
    ps = [Tensor(np.zeros_like(a), requires_grad=True) for a in arrays]
    for p, a in zip(ps, arrays, strict=True):
        p.grad = Tensor(a)
    return ps


@pytest.mark.parametrize("order", [0.5, 1, 2, 3, math.inf])
@given(seed=st.integers(0, 2**32 - 1), limit=st.floats(0.1, 20))
def test_norms_of_every_order(order, seed, limit):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in ((2, 3), (4,), (0,))]
    every = np.abs(np.concatenate([a.ravel() for a in arrays]))
    wanted = every.max() if order == math.inf else (every**order).sum() ** (1 / order)
    ps = with_grads(*arrays)
    assert_allclose(optim.clip_grad_norm_(ps, limit, order), wanted, rtol=1e-12)
    for p, a in zip(ps, arrays, strict=True):
        assert_allclose(p.grad.numpy(), a * min(1, limit / (wanted + 1e-6)), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_clipping_is_pytorch_s(order):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    for scale in (0.1, 10.0, math.inf, math.nan):
        arrays = [rng.normal(size=s).astype("f") for s in ((2, 3), (4,))]
        arrays[1][2] *= scale
        ps, ts = with_grads(*arrays), [torch.zeros(a.shape) for a in arrays]
        for t, a in zip(ts, arrays, strict=True):
            t.grad = torch.tensor(a)
        with np.errstate(invalid="ignore"):
            norm = optim.clip_grad_norm_(ps, 1.0, order)
        assert_allclose(norm, torch.nn.utils.clip_grad_norm_(ts, 1.0, order).item(), rtol=1e-6)
        for p, t in zip(ps, ts, strict=True):
            assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=1e-6)
        with np.errstate(invalid="ignore"):
            if not math.isfinite(scale):
                with pytest.raises(RuntimeError, match="clip_grad_norm_: the norm of order"):
                    optim.clip_grad_norm_(with_grads(*arrays), 1.0, order, error_if_nonfinite=True)


def test_float16_gradients_are_clipped_by_their_true_norm():
    (p,) = with_grads(np.array([300, 400], "f2"))
    assert optim.clip_grad_norm_([p], 1.0) == 500
    assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-3)
    assert p.grad.dtype == np.float16


def test_values_are_clipped_and_nan_stays():
    p, unused = with_grads(np.array([-3.0, -0.5, 2.0, math.nan]), np.zeros(1))
    unused.grad = None
    held = p.grad
    optim.clip_grad_value_([p, unused], 1.5)
    assert p.grad is held
    np.testing.assert_array_equal(p.grad.numpy(), [-1.5, -0.5, 1.5, math.nan])


# --- averages -------------------------------------------------------------------------------------


@given(st.lists(number, min_size=1, max_size=5), st.floats(0, 0.999), st.booleans())
def test_averages_of_weights(values, decay, debias):
    p = Tensor([7.0, 8.0], requires_grad=True)
    ema = optim.EMA([p], decay, debias)
    average = None
    for v in values:
        p.data[...] = v
        ema.update()
        average = v if average is None else average + (1 - decay) * (v - average)
    if debias:
        average = np.average(values, weights=[decay**i for i in range(len(values))][::-1])
    with pytest.raises(ZeroDivisionError), ema.averaged():
        assert_allclose(p.tolist(), [average] * 2, rtol=1e-12, atol=1e-14)
        1 / 0  # noqa: B018
    assert p.tolist() == [values[-1]] * 2
    other = optim.EMA([p], 0.5)
    saved = ema.state_dict()
    other.load_state_dict(saved)
    assert (other.decay, other.steps) == (decay, len(values))
    assert other.averages[0].tolist() == ema.averages[0].tolist()
    saved["averages"][0] += 1
    assert other.averages[0].tolist() == ema.averages[0].tolist()
    with pytest.raises(ValueError, match=r"EMA.load_state_dict: an average of shape \(3,\)"):
        other.load_state_dict(saved | {"averages": [np.zeros(3)]})
    assert other.steps == len(values)


@pytest.mark.parametrize("most", [-1.0, float("nan")])
def test_no_norm_turns_gradients_round(most):
    p = Tensor([1.0], requires_grad=True)
    p.grad = [2.0]
    with pytest.raises(ValueError, match="clip_grad_norm_: max_norm"):
        optim.clip_grad_norm_([p], most)
    assert p.grad.item() == 2.0
