"""The hand-derived layers forward, number by number, and over time: each is its formula, and a
recurrent layer its cell step by step."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manual_cases import (
    SEEDS,
    SIZES,
    Duck,
    as_tuple,
    cotangent,
    draw,
)

import tinygrad_rnn.manual as manual

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
