"""Weights of Keras: against Keras itself where it is installed, and against its equations."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.interop import from_keras, to_keras

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(*[st.integers(1, 4)] * 4)
KINDS = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
needs_keras = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("keras", "torch")),
    reason="Keras, or PyTorch to run it on, is not installed: pip install keras torch")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def steps(kind, reset_after, xs, Wx, Wh, bias):
    """The equations of keras.layers, step by step: the output at every step."""
    N, T, _ = xs.shape
    h = c = np.zeros((N, len(Wh)))
    hs = []
    for t in range(T):
        x = xs[:, t]
        if kind == "SimpleRNN":
            h = np.tanh(x @ Wx + bias + h @ Wh)
        elif kind == "LSTM":
            i, f, g, o = np.split(x @ Wx + h @ Wh + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif reset_after:
            xz, xr, xh = np.split(x @ Wx + bias[0], 3, axis=1)
            hz, hr, hh = np.split(h @ Wh + bias[1], 3, axis=1)
            z, r = sigmoid(xz + hz), sigmoid(xr + hr)
            h = z * h + (1 - z) * np.tanh(xh + r * hh)
        else:
            xz, xr, xh = np.split(x @ Wx + bias, 3, axis=1)
            Wz, Wr, Wn = np.split(Wh, 3, axis=1)
            z, r = sigmoid(xz + h @ Wz), sigmoid(xr + h @ Wr)
            h = z * h + (1 - z) * np.tanh(xh + (r * h) @ Wn)
        hs.append(h)
    return np.stack(hs, axis=1)


def draw(rng, kind, D, H, reset_after):
    k = KINDS[kind] * H
    both = kind == "GRU" and reset_after
    return [rng.normal(size=s) for s in ((D, k), (H, k), (2, k) if both else (k,))]


@pytest.mark.parametrize("kind", KINDS)
@given(seeds, sizes, st.booleans(), st.booleans())
def test_layouts_of_keras(kind, seed, sizes, reset_after, bidirectional):
    rng, (N, T, D, H) = np.random.default_rng(seed), sizes
    xs = rng.normal(size=(N, T, D))
    weights = draw(rng, kind, D, H, reset_after)
    expected = steps(kind, reset_after, xs, *weights)
    if bidirectional:
        weights += draw(rng, kind, D, H, reset_after)
        backward = steps(kind, reset_after, xs[:, ::-1], *weights[3:])[:, ::-1]
        expected = np.concatenate([expected, backward], axis=-1)
    layer = from_keras(kind, weights, reset_after, bidirectional)
    assert_allclose(layer(Tensor(xs))[0].detach().numpy(), expected, atol=1e-12)
    for a, b in zip(to_keras(layer), weights, strict=True):
        assert a.flags.c_contiguous
        if a.shape[0] == 2 and a.ndim == 2 and kind == "GRU" and a.shape[1] == 3 * H:
            a, b = a.sum(0), b.sum(0)  # two biases that add up are kept in one
        assert_allclose(a, b, atol=1e-12)


@given(seeds, sizes, st.sampled_from(["before", "after"]), st.sampled_from(["new", "old"]))
def test_every_form_of_the_gru_reaches_keras(seed, sizes, reset, update):
    rng, (N, T, D, H) = np.random.default_rng(seed), sizes
    layer = nn.GRU(D, H, reset=reset, update=update, recurrent_bias=reset == "after",
                   dtype=np.float64)  # fmt: skip
    for p in layer.parameters():
        p.data = rng.normal(size=p.shape)
    xs = rng.normal(size=(N, T, D))
    expected = steps("GRU", reset == "after", xs, *to_keras(layer))
    assert_allclose(layer(Tensor(xs))[0].detach().numpy(), expected, atol=1e-12)


@needs_keras
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "options"), [
    ("SimpleRNN", {}), ("LSTM", {}), ("LSTM", {"use_bias": False}), ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}), ("GRU", {"use_bias": False}),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_keras_itself(kind, options, bidirectional, monkeypatch):
    """Outputs and gradients in float64, outputs in float32, and back again."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # read at the first import
    import keras
    import torch

    rng = np.random.default_rng(0)
    xs, g = rng.normal(size=(5, 7, 3)), rng.normal(size=(5, 7, 8 if bidirectional else 4))

    def make(weights, dtype):
        keras.config.set_floatx(dtype)  # dtype= does not reach all that a layer computes
        keras.config.set_dtype_policy(dtype)  # which the first layer of a process has fixed
        layer = getattr(keras.layers, kind)(4, return_sequences=True, **options)
        layer = keras.layers.Bidirectional(layer) if bidirectional else layer
        layer.build(xs.shape)
        layer.set_weights(weights or [rng.normal(size=w.shape) for w in layer.get_weights()])
        return layer

    # Keras multiplies matrices of float64 in float32 (keras.ops.matmul), and is exact only where it
    # calls a whole layer of PyTorch; for the others the truth is in the equations above.
    fused = kind == "LSTM" or (kind == "GRU" and options.get("reset_after", True))
    exact = {"rtol": 0, "atol": 1e-12} if fused else {"rtol": 1e-4, "atol": 1e-5}

    def imported(layer):
        return from_keras(kind, layer.get_weights(), options.get("reset_after", True))

    theirs = make(None, "float64")
    ours = imported(theirs)
    x, y = Tensor(xs, requires_grad=True), torch.from_numpy(xs).requires_grad_()
    hs, expected = ours(x)[0], theirs(y)
    assert_allclose(hs.detach().numpy(), expected.detach(), **exact)
    (hs * g).sum().backward()
    (expected * torch.from_numpy(g)).sum().backward()
    assert_allclose(x.grad.numpy(), y.grad, **exact)
    ours.load_state_dict({name: p.grad.numpy() for name, p in ours.named_parameters()})
    gradients = [w.value.grad.numpy() for w in theirs.weights]
    for a, b in zip(to_keras(ours), gradients, strict=options.get("use_bias", True)):
        if a.shape == (2, 12):  # one bias stands for both of z and r: it has the gradient of either
            a[1, :8] = a[0, :8]
        if a.shape == b.shape:
            assert_allclose(a, b, **exact)

    single = make(theirs.get_weights(), "float32")
    expected = single(torch.from_numpy(xs.astype(np.float32))).detach()
    layer = imported(single)
    hs = layer(Tensor(xs.astype(np.float32)))[0].detach().numpy()
    assert_allclose(hs, expected, rtol=0, atol=1e-6)
    if options.get("use_bias", True):
        again = make(to_keras(layer), "float32")
        expected = again(torch.from_numpy(xs.astype(np.float32))).detach()
        assert_allclose(hs, expected, rtol=0, atol=1e-6)


KERNEL, RECURRENT, BIAS = np.zeros((2, 9)), np.zeros((3, 9)), np.zeros(9)
REFUSED = [
    (lambda: from_keras("ConvLSTM", []), ValueError, "kind='ConvLSTM', wanted 'SimpleRNN'"),
    (lambda: from_keras("LSTM", [KERNEL]), ValueError, r"arrays \[\(2, 9\)\], wanted kernel"),
    (lambda: from_keras("LSTM", [KERNEL, RECURRENT]), ValueError, r"\(3, 9\).*wanted \(\(2, 12\)"),
    (lambda: from_keras("GRU", [KERNEL, RECURRENT, BIAS]), ValueError, "reset_after=True"),
    (lambda: from_keras("GRU", [KERNEL, RECURRENT, np.zeros((2, 9))], reset_after=False),
     ValueError, "reset_after=False"),
    (lambda: to_keras(nn.LSTM(2, 3, 2)), ValueError, "LSTM of 2 layers"),
    (lambda: to_keras(nn.LSTM(3, 3, residual=True)), ValueError, "residual=True"),
    (lambda: to_keras(nn.LSTM([nn.Linear(2, 2)])), TypeError, "to_keras: a layer of Linear"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
