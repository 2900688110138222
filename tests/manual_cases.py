"""One case for each layer of manual/: how it is made and called, and what goes in."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_rnn.manual as manual

# ---------------------------------------------------------------------- one case for each layer


@dataclass
class Case:
    """A layer and all that its derivative depends on; `inputs` are the arrays with a gradient."""

    params: list
    inputs: list
    make: Callable  # (*params) -> layer
    forward: Callable = lambda layer, *inputs: layer.forward(*inputs)  # -> output or outputs
    backward: Callable = lambda layer, *douts: layer.backward(*douts)  # -> one per input
    complex_step: bool = True


CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def recurrent(a, s, k):
    return [a(s.D, k * s.H), a(s.H, k * s.H), a(k * s.H)]


@case
def MatMul(s, a, rng):
    return Case([a(s.D, s.H)], [a(s.N, s.D)], manual.MatMul)


@case
def Affine(s, a, rng):
    return Case([a(s.D, s.H), a(s.H)], [a(s.N, s.D)], manual.Affine)


@case
def Softmax(s, a, rng):
    return Case([], [a(s.N, s.V)], manual.Softmax)


@case
def SoftmaxWithLoss(s, a, rng):
    t = rng.integers(s.V, size=s.N)
    if rng.random() < 0.5:
        t = np.eye(s.V, dtype=int)[t]
    return Case([], [a(s.N, s.V)], manual.SoftmaxWithLoss, lambda layer, x: layer.forward(x, t))


@case
def Sigmoid(s, a, rng):
    return Case([], [a(s.N, s.D)], manual.Sigmoid)


@case
def SigmoidWithLoss(s, a, rng):
    t = rng.integers(2, size=s.N)
    forward = lambda layer, x: layer.forward(x, t)  # noqa: E731
    return Case([], [a(s.N)], manual.SigmoidWithLoss, forward, complex_step=False)


@case
def Dropout(s, a, rng):
    seed, ratio, train = rng.integers(1000), rng.random(), bool(rng.random() < 0.7)
    make = lambda: manual.Dropout(ratio, rng=np.random.default_rng(seed))  # noqa: E731
    return Case([], [a(s.N, s.D)], make, lambda layer, x: layer.forward(x, train))


@case
def Embedding(s, a, rng):
    ids = rng.integers(s.V, size=s.N)
    return Case(
        [a(s.V, s.D)],
        [],
        manual.Embedding,
        lambda layer: layer.forward(ids),
        lambda layer, dout: none_is_empty(layer.backward(dout)),
    )


@case
def RNN(s, a, rng):
    return Case(recurrent(a, s, 1), [a(s.N, s.D), a(s.N, s.H)], manual.RNN)


@case
def LSTM(s, a, rng):
    return Case(recurrent(a, s, 4), [a(s.N, s.D), a(s.N, s.H), a(s.N, s.H)], manual.LSTM)


@case
def GRU(s, a, rng):
    return Case(recurrent(a, s, 3), [a(s.N, s.D), a(s.N, s.H)], manual.GRU)


def run_from(layer, xs, *state):
    layer.set_state(*state)
    return layer.forward(xs)


@case
def TimeRNN(s, a, rng):
    return Case(
        recurrent(a, s, 1),
        [a(s.N, s.T, s.D), a(s.N, s.H)],
        lambda *params: manual.TimeRNN(*params, stateful=bool(rng.random() < 0.5)),
        run_from,
        lambda layer, dhs: (layer.backward(dhs), layer.dh),
    )


@case
def TimeGRU(s, a, rng):
    return Case(
        recurrent(a, s, 3),
        [a(s.N, s.T, s.D), a(s.N, s.H)],
        lambda *params: manual.TimeGRU(*params, stateful=bool(rng.random() < 0.5)),
        run_from,
        lambda layer, dhs: (layer.backward(dhs), layer.dh),
    )


@case
def TimeLSTM(s, a, rng):
    return Case(
        recurrent(a, s, 4),
        [a(s.N, s.T, s.D), a(s.N, s.H), a(s.N, s.H)],
        lambda *params: manual.TimeLSTM(*params, stateful=bool(rng.random() < 0.5)),
        run_from,
        lambda layer, dhs: (layer.backward(dhs), layer.dh, layer.dc),
    )


@case
def TimeBiLSTM(s, a, rng):
    def forward(layer, xs, h1, c1, h2, c2):
        layer.forward_lstm.set_state(h1, c1)
        layer.backward_lstm.set_state(h2, c2)
        return layer.forward(xs)

    def backward(layer, dhs):
        dxs, one, two = layer.backward(dhs), layer.forward_lstm, layer.backward_lstm
        return dxs, one.dh, one.dc, two.dh, two.dc

    params = recurrent(a, s, 4) + recurrent(a, s, 4)
    inputs = [a(s.N, s.T, s.D)] + [a(s.N, s.H) for _ in range(4)]
    return Case(params, inputs, manual.TimeBiLSTM, forward, backward)


@case
def TimeEmbedding(s, a, rng):
    ids = rng.integers(s.V, size=(s.N, s.T))
    return Case(
        [a(s.V, s.D)],
        [],
        manual.TimeEmbedding,
        lambda layer: layer.forward(ids),
        lambda layer, dout: none_is_empty(layer.backward(dout)),
    )


@case
def TimeAffine(s, a, rng):
    return Case([a(s.D, s.H), a(s.H)], [a(s.N, s.T, s.D)], manual.TimeAffine)


@case
def TimeSoftmaxWithLoss(s, a, rng):
    ts = rng.integers(-1, s.V, size=(s.N, s.T))
    if rng.random() < 0.3:
        ts = np.eye(s.V, dtype=int)[ts]
    forward = lambda layer, xs: layer.forward(xs, ts)  # noqa: E731
    return Case([], [a(s.N, s.T, s.V)], manual.TimeSoftmaxWithLoss, forward)


@case
def TimeSigmoidWithLoss(s, a, rng):
    ts = rng.integers(2, size=(s.N, s.T))
    forward = lambda layer, xs: layer.forward(xs, ts)  # noqa: E731
    return Case([], [a(s.N, s.T)], manual.TimeSigmoidWithLoss, forward, complex_step=False)


@case
def TimeDropout(s, a, rng):
    seed, ratio, train = rng.integers(1000), rng.random(), bool(rng.random() < 0.7)

    def make():
        layer = manual.TimeDropout(ratio, rng=np.random.default_rng(seed))
        layer.train_flg = train
        return layer

    return Case([], [a(s.N, s.T, s.D)], make)


@case
def WeightSum(s, a, rng):
    return Case([], [a(s.N, s.T, s.H), a(s.N, s.T)], manual.WeightSum)


@case
def AttentionWeight(s, a, rng):
    return Case([], [a(s.N, s.T, s.H), a(s.N, s.H)], manual.AttentionWeight)


@case
def Attention(s, a, rng):
    return Case([], [a(s.N, s.T, s.H), a(s.N, s.H)], manual.Attention)


@case
def TimeAttention(s, a, rng):
    return Case([], [a(s.N, s.T, s.H), a(s.N, s.D, s.H)], manual.TimeAttention)


def none_is_empty(dx):
    assert dx is None
    return ()


def as_tuple(out):
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def cotangent(rng, y):
    """A random one like y. That of a loss is a plain float, as a caller would write it."""
    if np.ndim(y) == 0:
        return float(rng.standard_normal())
    return rng.standard_normal(y.shape).astype(y.dtype)


# Sizes that all differ find layers that are right only when D = H; 1 and small sizes that repeat
# find the layers that squeeze or broadcast by accident.
SIZES = st.builds(
    lambda ns: SimpleNamespace(**dict(zip("NTDHV", ns, strict=True))),
    st.lists(st.integers(1, 6), min_size=5, max_size=5, unique=True)
    | st.lists(st.integers(1, 2), min_size=5, max_size=5),
)
SEEDS = st.integers(0, 2**32 - 1)
# 0 finds the derivative at the joint of a piecewise formula, 30 saturates.
SCALES = st.sampled_from([0.0, 0.3, 1.0, 3.0, 30.0])

each_layer = pytest.mark.parametrize("name", sorted(CASES))


def draw(name, sizes, seed, scale, dtype=np.float64):
    rng = np.random.default_rng(seed)
    array = lambda *shape: (scale * rng.standard_normal(shape)).astype(dtype)  # noqa: E731
    return CASES[name](sizes, array, rng), rng


class Duck(np.lib.mixins.NDArrayOperatorsMixin):
    """Wraps an array, answers to NumPy's protocols only, and cannot be turned into an array."""

    def __init__(self, array):
        self.array = array
        self.shape, self.ndim, self.size = array.shape, array.ndim, array.size
        self.dtype = array.dtype

    @property
    def T(self):
        return Duck(self.array.T)

    def __array__(self, *args, **kwargs):
        raise AssertionError("a forward pass turned its data into a plain array")

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        assert method == "__call__" and "out" not in kwargs, f"{ufunc.__name__}: {method} {kwargs}"
        return self._wrap(ufunc(*map(bare, args), **kwargs))

    def __array_function__(self, func, types, args, kwargs):
        assert "out" not in kwargs, func.__name__
        return self._wrap(func(*map(bare, args), **{k: bare(v) for k, v in kwargs.items()}))

    def __getitem__(self, index):
        return Duck(self.array[index])

    def reshape(self, *shape):
        return Duck(self.array.reshape(*shape))

    @staticmethod
    def _wrap(y):
        return Duck(np.asarray(y)) if y.dtype.kind == "f" else y


def bare(x):
    if isinstance(x, tuple | list):
        return type(x)(map(bare, x))
    return x.array if isinstance(x, Duck) else x
