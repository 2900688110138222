"""The hand-derived layers, against derivatives of their own forward and against their formulas.

Nothing here uses the autograd engine: the derivative of a forward pass is taken by complex step,
Im f(x + i h v) / h, which has no cancellation and is exact to rounding; by central differences
where a forward is not defined for complex numbers.
"""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn.manual as manual
from tinygrad_rnn.manual.layers import sigmoid, softmax


@pytest.fixture(scope="module", autouse=True)
def strict_floats():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


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


def test_every_name_of_the_design_has_a_case():
    assert sorted(manual.__all__) == sorted(CASES)
    assert len(CASES) == 24


def test_imports_numpy_and_nothing_of_this_project():
    for path in Path(manual.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert [name.name for name in node.names] == ["numpy"]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 or node.module == "typing"


# ------------------------------------------------------------------ gradients, and how they come


def derivative(f, x, v, complex_step):
    """d/dh f(x + h v) at h = 0, for an f that gives one number."""
    if complex_step:
        return f(x + 1e-30j * v).imag / 1e-30
    return (f(x + 1e-5 * v) - f(x - 1e-5 * v)) / 2e-5


@each_layer
@settings(max_examples=150, deadline=None)
@given(SIZES, SEEDS, SCALES)
def test_backward_is_the_derivative_of_forward(name, sizes, seed, scale):
    case, rng = draw(name, sizes, seed, scale)
    layer = case.make(*case.params)
    outs = as_tuple(case.forward(layer, *case.inputs))
    douts = [cotangent(rng, y) for y in outs]
    dinputs = as_tuple(case.backward(layer, *douts))
    arrays = case.params + case.inputs
    grads = [g.copy() for g in layer.grads] + list(dinputs)
    assert len(grads) == len(arrays)

    def loss(*arrays):
        params, inputs = arrays[: len(case.params)], arrays[len(case.params) :]
        ys = as_tuple(case.forward(case.make(*params), *inputs))
        return sum(np.sum(dy * y) for dy, y in zip(douts, ys, strict=True))

    tolerance = 1e-10 if case.complex_step else 1e-6
    # 1 - y^2 of a saturated y is off by an ulp of 1, however small it is; in a GRU three products
    # with arrays of size `scale` (Wh, h_prev, x) carry that on.
    rounding = 1e-13 * max(1.0, scale) ** 3
    for i, (array, grad) in enumerate(zip(arrays, grads, strict=True)):
        assert grad.shape == array.shape and grad.dtype == array.dtype
        v = rng.standard_normal(array.shape)
        along = lambda x, i=i: loss(*arrays[:i], x, *arrays[i + 1 :])  # noqa: E731
        truth = derivative(along, array, v, case.complex_step)
        error = abs(np.sum(grad * v) - truth)
        bound = np.linalg.norm(grad) * np.linalg.norm(v)
        if not case.complex_step:
            bound += abs(loss(*arrays))  # the rounding of a difference of two losses
        assert error <= tolerance * bound + rounding


@each_layer
@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS, SCALES)
def test_float32_stays_float32(name, sizes, seed, scale):
    case, rng = draw(name, sizes, seed, scale, np.float32)
    layer = case.make(*case.params)
    outs = as_tuple(case.forward(layer, *case.inputs))
    grads = as_tuple(case.backward(layer, *[cotangent(rng, y) for y in outs]))
    assert {y.dtype for y in (*outs, *grads, *layer.grads)} == {np.dtype(np.float32)}


# NEP 50: np.float64 * float32 array is float64, Python float * float32 array is not.


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if name.endswith("Loss")])
def test_a_numpy_scalar_as_cotangent_widens_nothing(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0, np.float32)
    layer = case.make()
    case.forward(layer, *case.inputs)
    assert layer.backward(np.float64(2)).dtype == np.float32


@pytest.mark.parametrize("layer", [manual.Dropout, manual.TimeDropout])
def test_a_numpy_scalar_as_dropout_ratio_widens_nothing(layer):
    x = np.ones((2, 3, 4), np.float32)
    layer = layer(np.float64(0.5))
    assert layer.forward(x).dtype == layer.backward(x).dtype == np.float32


@each_layer
@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS)
def test_backward_repeats_edits_nothing_and_shares_nothing(name, sizes, seed):
    case, rng = draw(name, sizes, seed, 1.0)
    layer = case.make(*case.params)
    slots = list(layer.grads)
    before = [x.copy() for x in case.params + case.inputs]
    outs = as_tuple(case.forward(layer, *case.inputs))
    kept = [np.array(y) for y in outs]
    douts = [cotangent(rng, y) for y in outs]
    douts_before = [np.array(dy) for dy in douts]

    first = as_tuple(case.backward(layer, *douts))
    first_kept = [np.array(g) for g in (*first, *layer.grads)]
    for g in layer.grads:
        g[...] = np.nan  # a backward that adds to what is there does not repeat
    second = as_tuple(case.backward(layer, *douts))

    for a, b in zip(first_kept, (*second, *layer.grads), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first_kept, first, strict=False):
        np.testing.assert_array_equal(a, b)  # the second call did not overwrite the first's
    for a, b in zip(before + kept + douts_before, case.params + case.inputs + [*outs, *douts],
                    strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(a is b for a, b in zip(slots, layer.grads, strict=True))
    mine = [*first, *layer.grads]
    others = [*case.params, *case.inputs, *(dy for dy in douts if np.ndim(dy))]
    for i, g in enumerate(mine):
        assert g.flags.writeable
        assert not any(np.shares_memory(g, other) for other in mine[i + 1 :] + others)


@each_layer
def test_an_empty_batch_goes_through(name):
    case, rng = draw(name, SimpleNamespace(N=0, T=3, D=4, H=5, V=6), 0, 1.0)
    layer = case.make(*case.params)
    outs = as_tuple(case.forward(layer, *case.inputs))
    assert all(y.size == 0 or y == 0 for y in outs)
    grads = as_tuple(case.backward(layer, *[cotangent(rng, y) for y in outs]))
    assert [g.shape for g in grads] == [x.shape for x in case.inputs]
    assert all(not g.any() for g in layer.grads)


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


@each_layer
def test_forward_takes_any_array_that_has_numpys_protocols(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    plain = as_tuple(case.forward(case.make(*case.params), *case.inputs))
    ducks = [Duck(x) for x in case.params], [Duck(x) for x in case.inputs]
    # One side may stay plain: weights under training and fixed inputs, or the other way round.
    for params, inputs in [ducks, (ducks[0], case.inputs), (case.params, ducks[1])]:
        if not any(isinstance(x, Duck) for x in params + inputs):
            continue
        outs = as_tuple(case.forward(case.make(*params), *inputs))
        for y, truth in zip(outs, plain, strict=True):
            assert isinstance(y, Duck)
            np.testing.assert_array_equal(y.array, truth)


# ------------------------------------------------------------- forward, number by number


def s_(x):
    return 1 / (1 + math.exp(-x))


def preactivations(x, h, Wx, Wh, b):
    """x Wx + h Wh + b of one row, without any matrix product of NumPy."""
    return [
        sum(x[d] * Wx[d, k] for d in range(len(x)))
        + sum(h[j] * Wh[j, k] for j in range(len(h)))
        + b[k]
        for k in range(len(b))
    ]


@settings(deadline=None)
@given(SIZES, SEEDS)
def test_cells_are_their_formulas(sizes, seed):
    for name in ("RNN", "LSTM", "GRU"):
        case, _ = draw(name, sizes, seed, 1.0)
        outs = as_tuple(case.forward(case.make(*case.params), *case.inputs))
        Wx, Wh, b = case.params
        H = sizes.H
        for n in range(sizes.N):
            x, h, *c = [array[n] for array in case.inputs]
            A = preactivations(x, h, Wx, Wh, b)
            for j in range(H):
                if name == "RNN":
                    want = [math.tanh(A[j])]
                elif name == "LSTM":
                    f, g, i, o = A[j], A[H + j], A[2 * H + j], A[3 * H + j]
                    c_next = s_(f) * c[0][j] + s_(i) * math.tanh(g)
                    want = [s_(o) * math.tanh(c_next), c_next]
                else:
                    u = [s_(A[H + k]) * h[k] for k in range(H)]
                    h_hat = math.tanh(preactivations(x, u, Wx, Wh, b)[2 * H + j])
                    want = [(1 - s_(A[j])) * h[j] + s_(A[j]) * h_hat]
                np.testing.assert_allclose([y[n, j] for y in outs], want, rtol=1e-12, atol=1e-13)


@settings(deadline=None)
@given(SIZES, SEEDS)
def test_losses_are_their_formulas(sizes, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal((sizes.N, sizes.V)), rng.integers(sizes.V, size=sizes.N)
    p = [math.exp(row[k]) / sum(map(math.exp, row)) for row, k in zip(x, t, strict=True)]
    want = -sum(map(math.log, p)) / len(p)
    assert math.isclose(manual.SoftmaxWithLoss().forward(x, t), want, abs_tol=1e-12)
    assert math.isclose(
        manual.SoftmaxWithLoss().forward(x, np.eye(sizes.V)[t]), want, abs_tol=1e-12
    )
    x, t = x[:, 0], rng.integers(2, size=sizes.N)
    want = -np.mean([math.log(s_(a) if k else 1 - s_(a)) for a, k in zip(x, t, strict=True)])
    assert math.isclose(manual.SigmoidWithLoss().forward(x, t), want, abs_tol=1e-12)


@settings(deadline=None)
@given(SIZES, SEEDS)
def test_attention_is_its_formula(sizes, seed):
    rng = np.random.default_rng(seed)
    hs = rng.standard_normal((sizes.N, sizes.T, sizes.H))
    h = rng.standard_normal((sizes.N, sizes.H))
    layer = manual.Attention()
    context = layer.forward(hs, h)
    for n in range(sizes.N):
        e = [math.exp(sum(hs[n, t, k] * h[n, k] for k in range(sizes.H))) for t in range(sizes.T)]
        a = [e_t / sum(e) for e_t in e]
        np.testing.assert_allclose(layer.attention_weight[n], a, rtol=1e-12)
        np.testing.assert_allclose(context[n], sum(a[t] * hs[n, t] for t in range(sizes.T)))


# ------------------------------------------------------------------- over time


@settings(deadline=None)
@given(SIZES, SEEDS, st.sampled_from(["RNN", "LSTM", "GRU"]))
def test_a_recurrent_layer_is_its_cell_step_by_step(sizes, seed, name):
    case, rng = draw("Time" + name, sizes, seed, 1.0)
    xs, *start = case.inputs
    layer = case.make(*case.params)
    hs = case.forward(layer, xs, *start)
    dhs = cotangent(rng, hs)
    dxs, *dstart = case.backward(layer, dhs)
    assert len(layer.layers) == sizes.T

    cells = [getattr(manual, name)(*case.params) for _ in range(sizes.T)]
    state = start
    for t, cell in enumerate(cells):
        state = as_tuple(cell.forward(xs[:, t], *state))
        np.testing.assert_array_equal(hs[:, t], state[0])
    np.testing.assert_array_equal(layer.h, state[0])
    if name == "LSTM":
        np.testing.assert_array_equal(layer.c, state[1])

    dstate = [np.zeros_like(h) for h in start]
    for t in reversed(range(sizes.T)):
        dx, *dstate = cells[t].backward(dhs[:, t] + dstate[0], *dstate[1:])
        np.testing.assert_allclose(dxs[:, t], dx, rtol=1e-12, atol=1e-13)
    for got, want in zip(dstart, dstate, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)
    for i, grad in enumerate(layer.grads):
        want = sum(cell.grads[i] for cell in cells)
        np.testing.assert_allclose(grad, want, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(SIZES, SEEDS, st.sampled_from(["TimeRNN", "TimeLSTM", "TimeGRU"]), st.data())
def test_stateful_calls_are_one_long_call_forward_and_truncated_backward(sizes, seed, name, data):
    case, rng = draw(name, sizes, seed, 1.0)
    xs = case.inputs[0]
    new = lambda stateful: getattr(manual, name)(*case.params, stateful=stateful)  # noqa: E731
    whole = new(False).forward(xs)
    cuts = sorted(data.draw(st.sets(st.integers(1, sizes.T - 1)))) if sizes.T > 1 else []

    layer = new(True)
    for start, stop in zip([0, *cuts], [*cuts, sizes.T], strict=True):
        state = [layer.h, layer.c] if name == "TimeLSTM" else [layer.h]
        part = layer.forward(xs[:, start:stop])
        np.testing.assert_allclose(part, whole[:, start:stop], rtol=1e-12, atol=1e-13)

        alone = new(False)
        alone.set_state(*state)
        alone.forward(xs[:, start:stop])
        dhs = cotangent(rng, part)
        np.testing.assert_array_equal(layer.backward(dhs), alone.backward(dhs))
        for a, b in zip(layer.grads, alone.grads, strict=True):
            np.testing.assert_array_equal(a, b)

    layer.reset_state()
    np.testing.assert_array_equal(layer.forward(xs), whole)


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU", "TimeBiLSTM"])
def test_a_call_of_a_layer_that_is_not_stateful_forgets_the_call_before(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    xs = case.inputs[0]
    layer = getattr(manual, name)(*case.params)
    first = layer.forward(xs)
    np.testing.assert_array_equal(layer.forward(xs), first)
    layer = getattr(manual, name)(*case.params, stateful=True)
    np.testing.assert_array_equal(layer.forward(xs), first)
    assert not np.array_equal(layer.forward(xs), first)
    layer.reset_state()
    np.testing.assert_array_equal(layer.forward(xs), first)


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU", "TimeBiLSTM"])
def test_the_state_of_zeros_is_of_the_kind_of_the_input(name):
    sizes = SimpleNamespace(N=2, T=3, D=4, H=5, V=6)
    case, _ = draw(name, sizes, 0, 1.0, np.float32)
    layer = getattr(manual, name)(*case.params)
    hs = layer.forward(case.inputs[0])
    assert hs.dtype == layer.backward(hs).dtype == np.float32
    hs_duck = getattr(manual, name)(*case.params).forward(Duck(case.inputs[0]))
    np.testing.assert_array_equal(hs_duck.array, hs)


def test_an_lstm_that_is_given_h_only_starts_with_c_of_zeros():
    case, _ = draw("TimeLSTM", SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    xs, h, c = case.inputs
    layer = manual.TimeLSTM(*case.params, stateful=True)
    layer.set_state(h, c)
    layer.forward(xs)
    layer.set_state(h)
    hs = layer.forward(xs)
    layer.set_state(h, np.zeros_like(c))
    np.testing.assert_array_equal(layer.forward(xs), hs)


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU"])
def test_a_state_that_was_set_starts_each_call_until_it_is_reset(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    xs, h = case.inputs[:2]
    layer = getattr(manual, name)(*case.params)
    zero = layer.forward(xs)
    layer.set_state(h)
    first = layer.forward(xs)
    assert not np.array_equal(first, zero)
    np.testing.assert_array_equal(layer.forward(xs), first)
    layer.reset_state()
    np.testing.assert_array_equal(layer.forward(xs), zero)


@settings(deadline=None)
@given(SIZES, SEEDS)
def test_bilstm_is_two_lstms_one_on_the_reversed_input(sizes, seed):
    case, _ = draw("TimeBiLSTM", sizes, seed, 1.0)
    xs = case.inputs[0]
    hs = manual.TimeBiLSTM(*case.params).forward(xs)
    one = manual.TimeLSTM(*case.params[:3]).forward(xs)
    two = manual.TimeLSTM(*case.params[3:]).forward(xs[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(hs[..., : sizes.H], one)
    np.testing.assert_array_equal(hs[..., sizes.H :], two)


@settings(deadline=None)
@given(SIZES, SEEDS)
def test_layers_without_recurrence_are_their_single_steps(sizes, seed):
    T = sizes.T
    for name, single in [("TimeAffine", manual.Affine), ("TimeEmbedding", manual.Embedding)]:
        case, rng = draw(name, sizes, seed, 1.0)
        ids = rng.integers(sizes.V, size=(sizes.N, T))
        xs = case.inputs[0] if case.inputs else ids
        layer, steps = case.make(*case.params), [single(*case.params) for _ in range(T)]
        ys = layer.forward(xs)
        dys = cotangent(rng, ys)
        dxs = layer.backward(dys)
        for t, step in enumerate(steps):
            np.testing.assert_allclose(ys[:, t], step.forward(xs[:, t]), rtol=1e-12, atol=1e-13)
            dx = step.backward(dys[:, t])
            if dx is not None:
                np.testing.assert_allclose(dxs[:, t], dx, rtol=1e-12, atol=1e-13)
        for i, grad in enumerate(layer.grads):
            want = sum(step.grads[i] for step in steps)
            np.testing.assert_allclose(grad, want, rtol=1e-12, atol=1e-12)

    rng = np.random.default_rng(seed)
    xs, ts = rng.standard_normal((sizes.N, T, sizes.V)), rng.integers(sizes.V, size=(sizes.N, T))
    steps = [manual.SoftmaxWithLoss().forward(xs[:, t], ts[:, t]) for t in range(T)]
    assert math.isclose(manual.TimeSoftmaxWithLoss().forward(xs, ts), sum(steps) / T,
                        rel_tol=1e-12, abs_tol=1e-13)
    xs, ts = xs[..., 0], rng.integers(2, size=(sizes.N, T))
    steps = [manual.SigmoidWithLoss().forward(xs[:, t], ts[:, t]) for t in range(T)]
    assert math.isclose(manual.TimeSigmoidWithLoss().forward(xs, ts), sum(steps) / T,
                        rel_tol=1e-12)

    case, _ = draw("TimeAttention", sizes, seed, 1.0)
    enc, dec = case.inputs
    layer = manual.TimeAttention()
    contexts = layer.forward(enc, dec)
    assert len(layer.attention_weights) == dec.shape[1]
    for t, weights in enumerate(layer.attention_weights):
        step = manual.Attention()
        np.testing.assert_array_equal(contexts[:, t], step.forward(enc, dec[:, t]))
        np.testing.assert_array_equal(weights, step.attention_weight)


# --------------------------------------------------------------- ids, labels, masks, extremes


@settings(deadline=None)
@given(SIZES, SEEDS, st.booleans())
def test_embedding_is_a_product_with_one_hot_rows_also_for_repeated_ids(sizes, seed, over_time):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((sizes.V, sizes.D))
    ids = rng.integers(min(sizes.V, 2), size=(sizes.N, sizes.T) if over_time else sizes.N)
    layer = manual.TimeEmbedding(W) if over_time else manual.Embedding(W)
    dy = cotangent(rng, layer.forward(ids))
    layer.backward(dy)
    one_hot = np.eye(sizes.V)[ids.ravel()]
    np.testing.assert_allclose(layer.grads[0], one_hot.T @ dy.reshape(-1, sizes.D), atol=1e-12)


@settings(deadline=None)
@given(SIZES, SEEDS, st.data())
def test_ignored_labels_count_for_nothing(sizes, seed, data):
    rng = np.random.default_rng(seed)
    xs = rng.standard_normal((sizes.N, sizes.T, sizes.V))
    ts = rng.integers(sizes.V, size=(sizes.N, sizes.T))
    bits = st.lists(st.booleans(), min_size=ts.size, max_size=ts.size)
    ignored = np.array(data.draw(bits)).reshape(ts.shape)
    layer = manual.TimeSoftmaxWithLoss()
    layer.ignore_label = data.draw(st.sampled_from([-1, -100, 0]))
    if layer.ignore_label == 0:
        ignored = ts == 0
    ts[ignored] = layer.ignore_label
    # -1 indexes the last class: were it looked up, the loss would be infinite.
    xs[ignored, -1] = -np.inf if sizes.V > 1 else 0
    loss, dxs = layer.forward(xs, ts), layer.backward(2.0)

    single = manual.SoftmaxWithLoss()
    assert math.isclose(loss, single.forward(xs[~ignored], ts[~ignored]), rel_tol=1e-12,
                        abs_tol=1e-13)
    np.testing.assert_allclose(dxs[~ignored], single.backward(2.0), rtol=1e-12, atol=1e-14)
    assert not dxs[ignored].any()


def test_a_batch_of_ignored_labels_has_loss_and_gradient_0():
    layer = manual.TimeSoftmaxWithLoss()
    assert layer.forward(np.ones((2, 3, 4)), np.full((2, 3), -1)) == 0
    dxs = layer.backward()
    assert dxs.shape == (2, 3, 4) and not dxs.any()


def test_labels_that_are_none_are_refused():
    x = np.zeros((1, 2))
    with pytest.raises(IndexError, match=r"SoftmaxWithLoss: labels -1 to -1, wanted 0 to 1"):
        manual.SoftmaxWithLoss().forward(x, np.array([-1]))
    with pytest.raises(IndexError, match=r"labels 2 to 2"):
        manual.TimeSoftmaxWithLoss().forward(x[None], np.array([[2]]))
    with pytest.raises(TypeError, match=r"labels are float64"):
        manual.SoftmaxWithLoss().forward(x, np.array([0.0]))
    with pytest.raises(ValueError, match=r"labels \(1,\), wanted the shape of x \(1, 2\)"):
        manual.SigmoidWithLoss().forward(x, np.array([0]))


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU", "TimeBiLSTM"])
def test_no_time_steps_are_refused(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    with pytest.raises(ValueError, match=r"xs \(2, 0, 4\), wanted \(N, T, D\) with at least one"):
        getattr(manual, name)(*case.params).forward(np.zeros((2, 0, 4)))


@given(SEEDS, st.floats(0, 1), st.booleans())
def test_dropout_scales_in_evaluation(seed, ratio, other_first):
    x = np.random.default_rng(seed).standard_normal((3, 4))
    layer = manual.Dropout(ratio, rng=np.random.default_rng(seed))
    y = layer.forward(x)
    np.testing.assert_array_equal(y, x * layer.mask)
    np.testing.assert_array_equal(layer.backward(x), y)
    again = manual.Dropout(ratio, rng=np.random.default_rng(seed))
    if other_first:
        again.forward(x, train_flg=False)  # takes nothing from the generator
    np.testing.assert_array_equal(again.forward(x), y)
    np.testing.assert_array_equal(layer.forward(x, train_flg=False), x * (1 - ratio))
    np.testing.assert_array_equal(layer.backward(x), x * (1 - ratio))


@given(SEEDS, st.floats(0, 0.99))
def test_time_dropout_scales_in_training(seed, ratio):
    xs = np.random.default_rng(seed).standard_normal((2, 3, 4))
    layer = manual.TimeDropout(ratio, rng=np.random.default_rng(seed))
    ys = layer.forward(xs)
    kept = layer.mask != 0
    np.testing.assert_allclose(ys, np.where(kept, xs / (1 - ratio), 0), rtol=1e-12)
    np.testing.assert_array_equal(layer.backward(xs), ys)
    layer.train_flg = False
    np.testing.assert_array_equal(layer.forward(xs), xs)
    np.testing.assert_array_equal(layer.backward(xs), xs)


@pytest.mark.parametrize("layer", [manual.Dropout, manual.TimeDropout])
def test_dropout_keeps_the_share_it_should(layer):
    x = np.ones((200, 200))
    kept = layer(0.3, rng=np.random.default_rng(0)).forward(x) != 0
    assert abs(kept.mean() - 0.7) < 0.01  # four standard deviations
    for ratio in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"dropout_ratio {ratio} is not in"):
            layer(ratio)


def test_sigmoid_keeps_its_tails():
    x = np.array([-1000.0, -700.0, -40.0, -0.0, 0.0, 40.0, 1000.0])
    want = [0.0, math.exp(-700), 4.248354255291589e-18, 0.5, 0.5, 1.0, 1.0]
    np.testing.assert_allclose(sigmoid(x), want, rtol=1e-15)
    np.testing.assert_allclose(sigmoid(x.astype(np.float32)), want, rtol=1e-6, atol=1e-45)
    assert np.isnan(sigmoid(np.array([np.nan]))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(dtype):
    x = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -np.inf]], dtype)
    np.testing.assert_array_equal(softmax(x), [[1, 0, 0], [0.5, 0.5, 0]])
    layer = manual.SoftmaxWithLoss()
    loss = layer.forward(x, np.array([1, 0]))
    assert math.isclose(loss, (2e4 + math.log(2)) / 2, rel_tol=1e-6)
    np.testing.assert_array_equal(layer.backward(), [[0.5, -0.5, 0], [-0.25, 0.25, 0]])

    layer = manual.SigmoidWithLoss()
    x = np.array([1000.0, 1000.0, -1000.0, -1000.0], dtype)
    assert layer.forward(x, np.array([0, 1, 0, 1])) == 500
    np.testing.assert_array_equal(layer.backward(), [0.25, 0, 0, -0.25])
    tail = layer.forward(np.array([40.0, -40.0], dtype), np.array([1, 0]))
    assert math.isclose(tail, math.exp(-40), rel_tol=1e-5)


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU", "TimeAttention"])
def test_saturated_networks_have_finite_gradients(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1e3)
    layer = case.make(*case.params)
    grads = as_tuple(case.backward(layer, np.ones_like(case.forward(layer, *case.inputs))))
    assert all(np.isfinite(g).all() for g in (*grads, *layer.grads))
