"""Lines of a program as one native call: what NumPy does, wherever arrays lie."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg

native = pytest.importorskip("tinygrad_rnn.jit.native")
table = importlib.import_module("tinygrad_rnn.jit.table")


def laid(draw, rng, *shape):
    """An array of this shape that lies in some way in a larger one."""
    axes = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 2, -1])) for _ in shape]
    lies = [shape[a] * abs(steps[a]) + draw(st.integers(0, 2)) for a in axes]
    whole = rng.normal(size=lies).astype(np.float32)
    x = whole.transpose(np.argsort(axes))
    return x[tuple(slice(None, n * s, s) if s > 0 else slice(n - 1, None, -1)
                   for n, s in zip(shape, steps, strict=True))]


def done(fn, *args, **kwargs):
    """Whether it is done natively."""
    ops = table.op_of(fn, args, dict(kwargs))
    if ops is not None:
        space: dict = {}
        tables = table.Tables(space, {}, np.empty(0, np.uint8), None)
        text = tables.table([(ops, None)])
        exec(text, tables.space)
    return ops is not None


sizes = st.integers(1, 5)


@given(st.data(), sizes, sizes, sizes, st.integers(0, 2), st.integers(0, 99))
def test_products(data, n, k, m, stacked, seed):
    rng = np.random.default_rng(seed)
    before = (2, 3)[:stacked]
    a = laid(data.draw, rng, *before, n, k)
    b = laid(data.draw, rng, *before[data.draw(st.integers(0, stacked)) :], k, m)
    if not stacked and data.draw(st.booleans()):
        a = a[0]
    if b.ndim == 2 and data.draw(st.booleans()):
        b = b[:, 0]
    out = np.full(np.matmul(a, b).shape, np.nan, np.float32)
    if done(np.matmul, a, b, out):
        assert_allclose(out, a @ b, rtol=1e-4, atol=1e-5)


@given(st.data(), st.lists(sizes, min_size=1, max_size=3), st.integers(0, 99))
def test_sums(data, shape, seed):
    x = laid(data.draw, np.random.default_rng(seed), *shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    out = np.empty(np.add.reduce(x, axis=axis, keepdims=True).shape, np.float32)
    if done(np.add.reduce, x, axis=axis, keepdims=True, out=out):
        assert_allclose(out, np.add.reduce(x, axis=axis, keepdims=True), rtol=1e-5, atol=1e-6)


@given(st.data(), sizes, sizes, st.sampled_from(native.FUNCTIONS), st.integers(0, 99))
def test_elementwise_calls(data, n, m, fn, seed):
    rng = np.random.default_rng(seed)
    args = [laid(data.draw, rng, *shape) for shape in (
        (n, m), data.draw(st.sampled_from([(n, m), (n, 1), (m,)])))][: fn.nin]
    for x in args:
        x[...] = np.abs(x) + 0.5
    out = laid(data.draw, rng, n, m)
    assert done(fn, *args, out)
    assert_array_equal(out, fn(*args))


def test_what_lies_row_by_row_is_native():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    assert done(np.add.reduce, a, axis=0, out=np.empty(4, np.float32))
    for x, y in ((a, b), (a[:1], b), (a[0], b), (a, b[:, :1]), (a, b[:, 0]), (a.T[0], b.T.T[:3])):
        out = np.empty(np.matmul(x, y).shape, np.float32)
        assert done(np.matmul, x, y, out) == table.products_are_native()


def test_nan_is_what_it_is_in_numpy():
    a, b = np.float32([np.nan, 1, np.nan, 2]), np.float32([1, np.nan, np.nan, 3])
    for fn in (np.minimum, np.maximum):
        out = np.empty(4, np.float32)
        assert done(fn, a, b, out)
        assert_array_equal(out, fn(a, b))


def test_what_overlaps_is_left_to_numpy():
    x = np.arange(6, dtype=np.float32)
    assert not done(np.add, x[::-1], 1, x)
    assert not done(np.copyto, x[1:], x[:-1])
    square = np.ones((3, 3), np.float32)
    for part in (square[:1], square[:, :1], square[:1, :1]):  # the same place, and less of it
        assert not done(np.subtract, square, part, square)
    assert done(np.add, x, 1, x)
    assert_array_equal(x, np.arange(1, 7))


@pytest.mark.parametrize("part", [np.s_[:1], np.s_[:, :1], np.s_[:1, :1]])
def test_an_array_less_a_part_of_itself(part):
    def f(held, x):
        held -= held[part]
        x /= x[part]
        return x * held

    step = tg.jit(f)
    mine, held = (np.arange(1, 13, dtype=np.float32).reshape(3, 4) for _ in range(2))
    for k in range(4):
        x = np.random.default_rng(k).normal(size=(3, 4)).astype(np.float32) + 3
        assert_allclose(step(mine, x.copy()), f(held, x.copy()), rtol=1e-5)
        assert_array_equal(mine, held)
        mine += 1
        held += 1


def stepped():
    """A step of gradient descent, and its weight."""
    weight = tg.nn.Parameter(np.full((6, 6), 0.1, np.float32))

    def step(x):
        h = x[:, 0]
        for t in range(x.shape[1]):
            h = np.tanh(h @ weight + x[:, t])
        loss = np.sum(h * h)
        loss.backward()
        weight.data -= np.float32(0.1) * weight.grad.data
        weight.grad = None
        return loss

    return step, weight


@pytest.mark.parametrize("T", [4, 120])
def test_arrays_in_other_places_are_found(T):
    rng = np.random.default_rng(0)
    (step, weight), (eager, other) = stepped(), stepped()
    jitted = tg.jit(step)
    for turn in range(6):
        x = rng.normal(size=(8, T, 6)).astype(np.float32)
        if turn > 2:  # the same numbers, elsewhere
            weight.data = np.array(weight.data)
        assert_allclose(jitted(x).item(), eager(x).item(), rtol=2e-4)
    assert_allclose(weight.numpy(), other.numpy(), rtol=1e-3, atol=1e-5)


def test_what_is_read_only_is_not_written_to():
    step, weight = stepped()
    jitted, x = tg.jit(step), np.ones((8, 4, 6), np.float32)
    for _ in range(3):
        jitted(x)
    kept = weight.numpy().copy()
    weight.data.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        jitted(x)
    assert_array_equal(weight.numpy(), kept)
    weight.data.flags.writeable = True
    x[:, 0] = 0.5
    again = np.array(x)
    with pytest.raises(ValueError, match="read-only"):
        weight.data.flags.writeable = False
        jitted(again)
    weight.data.flags.writeable = True
    x[...] = np.nan  # which is not the argument any more
    assert np.isfinite(jitted(again).item())


@pytest.mark.usefixtures("eager_to_fuse")
def test_an_input_that_is_broadcast_is_no_constant():
    row = np.ones(6, np.float32)
    step = tg.jit(lambda s, x: np.tanh(np.broadcast_to(s, x.shape) * x + row) * 2)
    rng = np.random.default_rng(0)
    for k in range(4):
        x = rng.normal(size=(40, 6)).astype(np.float32)
        expected = np.tanh((k + 1) * x + 1) * 2
        assert_allclose(step(np.array(k + 1, np.float32), x), expected, rtol=1e-5, atol=1e-6)


def test_constants_that_each_time_step_has_of_its_own_are_kept():
    half = np.eye(8, dtype=np.float32) / 2

    def f(x):
        z = np.reshape(np.reshape(x, (-1, 8)) @ half, x.shape)
        a = z[0] * 1
        for t in range(len(x)):
            a = np.minimum((a @ half) * np.full(8, 1 / (t + 2), np.float32) + z[t], 1)
        return a

    step = tg.jit(f)
    for k in range(4):
        x = np.random.default_rng(k).normal(size=(100, 4, 8)).astype(np.float32)
        assert_allclose(step(x), f(x), rtol=1e-5, atol=1e-6)
        others = [np.full(8, np.nan, np.float32) for _ in range(1000)]  # in memory that is free
    assert len(others) == 1000 and step._last.program.loops


def test_without_a_known_blas_products_are_numpys(monkeypatch):
    monkeypatch.setattr(native, "blas", lambda name: 0)
    (step, _), (eager, _) = stepped(), stepped()
    jitted, x = tg.jit(step), np.ones((8, 4, 6), np.float32)
    for _ in range(3):
        assert_allclose(jitted(x).item(), eager(x).item(), rtol=1e-5)
    assert "products are calls of NumPy" in jitted.explain()


def test_a_copy_is_written_to_its_place_at_once():
    """Few rows times a transposed weight, which the engine does as (W @ rows.T).T, copied."""
    rng = np.random.default_rng(0)
    W = tg.Tensor(rng.normal(size=(80, 80)).astype(np.float32) / 9, requires_grad=True)
    x = tg.Tensor(rng.normal(size=(8, 80)).astype(np.float32), requires_grad=True)

    def step():
        np.sum((np.tanh(x @ W) @ W) ** 2).backward()
        grads, x.grad, W.grad = (x.grad.data, W.grad.data), None, None
        return grads

    right, recorded = step(), tg.jit(step)
    for _ in range(4):
        found = recorded()
    for grad, other in zip(found, right, strict=True):
        assert_allclose(grad, other, rtol=1e-4, atol=1e-5)
    program = recorded._last.program
    assert any(call.fn is np.copy for call in program.tape.calls)
    assert not any(x is np.copy for x in program.space.values())
