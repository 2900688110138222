"""The protocol idea: the forward pass of every hand-written layer, handed Tensors, is
differentiable as it stands, and gives the gradients of its own backward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import Tensor, manual

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}


class Case:
    """Sizes that all differ, or are 1, and arrays of one dtype."""

    def __init__(self, draw):
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.dtype = draw(st.sampled_from([np.float64, np.float64, np.float32]))
        sizes = draw(st.permutations([2, 3, 4, 5, 6]))
        self.N, self.T, self.D, self.H, self.V = (1 if draw(st.booleans()) else n for n in sizes)
        self.V += 1
        self.draw = draw

    def array(self, *shape):
        return self.rng.normal(size=shape).astype(self.dtype)

    def weights(self, k, D=None):
        D = D or self.D
        return self.array(D, k * self.H), self.array(self.H, k * self.H), self.array(k * self.H)

    def ids(self, n, *shape):
        return self.rng.integers(0, n, shape)

    def distribution(self, *shape):
        a = np.exp(self.array(*shape))
        return a / a.sum(-1, keepdims=True)


cases = st.composite(Case)()
# each: class, constructor arrays, float inputs, arrays that are not differentiated
LAYERS = {
    "MatMul": lambda c: ([c.array(c.D, c.H)], [c.array(c.N, c.D)], []),
    "Affine": lambda c: ([c.array(c.D, c.H), c.array(c.H)], [c.array(c.N, c.D)], []),
    "Softmax": lambda c: ([], [c.array(c.N, c.V)], []),
    "Sigmoid": lambda c: ([], [c.array(c.N, c.D)], []),
    "SoftmaxWithLoss": lambda c: ([], [c.array(c.N, c.V)], [c.ids(c.V, c.N)]),
    "SigmoidWithLoss": lambda c: ([], [c.array(c.N)], [c.ids(2, c.N)]),
    "Embedding": lambda c: ([c.array(c.V, c.D)], [], [c.ids(c.V, 2 * c.N)]),
    "TimeEmbedding": lambda c: ([c.array(c.V, c.D)], [], [c.ids(c.V, c.N, c.T)]),
    "TimeAffine": lambda c: ([c.array(c.D, c.H), c.array(c.H)], [c.array(c.N, c.T, c.D)], []),
    "TimeSoftmaxWithLoss": lambda c: ([], [c.array(c.N, c.T, c.V)], [c.ids(c.V + 1, c.N, c.T) - 1]),
    "TimeSigmoidWithLoss": lambda c: ([], [c.array(c.N, c.T)], [c.ids(2, c.N, c.T)]),
    "RNN": lambda c: (c.weights(1), [c.array(c.N, c.D), c.array(c.N, c.H)], []),
    "LSTM": lambda c: (c.weights(4), [c.array(c.N, c.D), c.array(c.N, c.H), c.array(c.N, c.H)], []),
    "GRU": lambda c: (c.weights(3), [c.array(c.N, c.D), c.array(c.N, c.H)], []),
    "TimeRNN": lambda c: (c.weights(1), [c.array(c.N, c.T, c.D)], []),
    "TimeLSTM": lambda c: (c.weights(4), [c.array(c.N, c.T, c.D)], []),
    "TimeGRU": lambda c: (c.weights(3), [c.array(c.N, c.T, c.D)], []),
    "TimeBiLSTM": lambda c: (c.weights(4) + c.weights(4), [c.array(c.N, c.T, c.D)], []),
    "WeightSum": lambda c: ([], [c.array(c.N, c.T, c.H), c.distribution(c.N, c.T)], []),
    "AttentionWeight": lambda c: ([], [c.array(c.N, c.T, c.H), c.array(c.N, c.H)], []),
    "Attention": lambda c: ([], [c.array(c.N, c.T, c.H), c.array(c.N, c.H)], []),
    "TimeAttention": lambda c: ([], [c.array(c.N, c.T, c.H), c.array(c.N, c.V, c.H)], []),
    "Dropout": lambda c: ([], [c.array(c.N, c.D)], []),
    "TimeDropout": lambda c: ([], [c.array(c.N, c.T, c.D)], []),
}  # fmt: skip


def make(name, arrays, seed=0):
    if "Dropout" in name:
        return getattr(manual, name)(0.4, rng=np.random.default_rng(seed))
    return getattr(manual, name)(*arrays)


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def assert_close(actual, expected, dtype, what):
    assert actual.shape == expected.shape and actual.dtype == dtype, what
    scale = max(1.0, np.abs(expected).max(initial=0))
    error = np.abs(actual - expected).max(initial=0) / scale
    assert error <= TOLERANCE[dtype], f"{what}: relative error {error:.1e}"


def backward_of(outputs, cotangents):
    """Reverse mode from several outputs at once."""
    sum((y * Tensor(g)).sum() for y, g in zip(outputs, cotangents, strict=True)).backward()


def test_every_layer_is_here():
    assert set(LAYERS) == set(manual.__all__)


@pytest.mark.parametrize("name", LAYERS)
@given(c=cases)
def test_forward_on_tensors_gives_the_gradients_of_the_hand_derived_backward(name, c):
    params, inputs, fixed = LAYERS[name](c)
    layer = make(name, params)
    outputs = as_tuple(layer.forward(*inputs, *fixed))
    cotangents = [np.asarray(c.array(*np.shape(y))) for y in outputs]
    dinputs = layer.backward(*(g if g.ndim else float(g) for g in cotangents))
    if "WithLoss" in name:
        cotangents = [np.asarray(float(g), c.dtype) for g in cotangents]

    tparams = [Tensor(p, requires_grad=True) for p in params]
    tinputs = [Tensor(x, requires_grad=True) for x in inputs]
    twin = make(name, tparams)
    touts = as_tuple(twin.forward(*tinputs, *fixed))
    for t, y in zip(touts, outputs, strict=True):
        assert_close(t.detach().numpy(), np.asarray(y), c.dtype, f"{name} forward")
    if any(t.requires_grad for t in touts):
        backward_of(touts, cotangents)
    for i, (t, g) in enumerate(zip(tparams, layer.grads, strict=True)):
        assert_close(t.grad.numpy(), g, c.dtype, f"{name} params[{i}]")
    if inputs:
        for i, (t, g) in enumerate(zip(tinputs, as_tuple(dinputs), strict=True)):
            actual = t.grad.numpy() if t.grad is not None else np.zeros_like(g)
            assert_close(actual, g, c.dtype, f"{name} input {i}")


@pytest.mark.parametrize("name, k", [("TimeRNN", 1), ("TimeLSTM", 4), ("TimeGRU", 3)])
@given(c=cases)
def test_initial_states_and_truncated_bptt(name, k, c):
    """Several stateful calls: values carry over, gradients stop at the border of a call."""
    params = c.weights(k)
    layer = getattr(manual, name)(*params, stateful=True)
    tparams = [Tensor(p, requires_grad=True) for p in params]
    twin = getattr(manual, name)(*tparams, stateful=True)
    states = [c.array(c.N, c.H) for _ in range(2 if name == "TimeLSTM" else 1)]
    for _ in range(3):
        for p in tparams:
            p.grad = None
        tstates = [Tensor(s, requires_grad=True) for s in states]
        layer.set_state(*states)
        twin.set_state(*tstates)
        xs = c.array(c.N, c.T, c.D)
        hs = layer.forward(xs)
        g = c.array(*hs.shape)
        dxs = layer.backward(g)
        txs = Tensor(xs, requires_grad=True)
        twin.forward(txs).backward(g)
        assert_close(txs.grad.numpy(), dxs, c.dtype, "xs")
        for p, expected in zip(tparams, layer.grads, strict=True):
            assert_close(p.grad.numpy(), expected, c.dtype, "params")
        dstates = [layer.dh, layer.dc] if name == "TimeLSTM" else [layer.dh]
        for s, expected in zip(tstates, dstates, strict=True):
            assert_close(s.grad.numpy(), expected, c.dtype, "state")
        states = [layer.h, layer.c] if name == "TimeLSTM" else [layer.h]
