"""Rows that are looked up in a table, in compiled loops: what is done to them is done to it."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jit_worlds import kernels
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import functional as F
from tinygrad_rnn import nn, optim
from tinygrad_rnn.jit.rows import added_rows, looked_up, moved_rows

pytest.importorskip("numba", reason="numba is not installed: pip install numba")


class CharModel:
    """A recurrent network over looked-up rows, which are turned, cut and used in drawn ways."""

    def __init__(self, seed, V, D, H, turned, cut, more):
        draw = np.random.default_rng(seed).normal
        self.turned, self.cut, self.more = turned, cut, more
        for name, shape in [("E", (V, D)), ("E2", (V, D)), ("W", (D, 2 * H)), ("b", 2 * H),
                            ("U", (H, 2 * H)), ("W2", (D, 2 * H))]:  # fmt: skip
            # small: rounding is not to grow from step to step
            setattr(self, name, nn.Parameter(draw(scale=0.4, size=shape).astype(np.float32)))

    def parameters(self):
        return [self.E, self.E2, self.W, self.b, self.U, self.W2]

    def rows(self, table, ids, turned):
        x = table[ids]
        x = np.swapaxes(x, 0, 1) if turned else x
        return x[::-1] if self.cut == "backwards" else x[1:] if self.cut == "first" else x

    def __call__(self, ids):
        for p in self.parameters():
            p.grad = None
        x = self.rows(self.E, ids, self.turned)
        T, N, D = x.shape
        a = np.reshape(x, (T * N, D)) @ self.W + self.b
        if self.more == "another table":  # whose gradients are those of the first
            a = a + np.reshape(self.rows(self.E2, -1 - ids, self.turned), (T * N, D)) @ self.W2
        elif self.more == "another order":
            a = a + np.reshape(self.rows(self.E, ids, not self.turned), (T * N, D)) @ self.W2
        z = np.reshape(a, (T, N, -1))
        H = len(self.U)
        h = np.zeros_like(z, shape=(N, H))
        for t in range(T):
            a = z[t] + h @ self.U
            h = np.tanh(a[:, :H]) * a[:, H:]
            if self.more == "rows too":
                h = h + np.sum(x[t], axis=1, keepdims=True)
        loss = np.sum(h * h)
        loss.backward()
        return [loss, z if self.more == "products too" else h, *(p.grad for p in
                self.parameters() if p.grad is not None)]  # fmt: skip


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, st.integers(2, 5), st.integers(1, 4), st.booleans(),
       st.sampled_from([None, "first", "backwards"]),
       st.sampled_from([None, "another table", "another order", "rows too", "products too"]))
@example(0, 3, 2, True, None, "another order")
def test_what_is_done_to_looked_up_rows_is_done_to_the_table(seed, V, H, turned, cut, more):
    rng = np.random.default_rng(seed)
    eager, recorded = (CharModel(seed, V, 3, H, turned, cut, more) for _ in range(2))
    jitted = tg.jit(recorded.__call__)
    for _ in range(2):
        ids = rng.integers(-V, V, (5, 5))
        for a, e in zip(jitted(ids), eager(ids), strict=True):
            assert_allclose(a.numpy(), e.numpy(), rtol=1e-5, atol=1e-5 * np.abs(e.numpy()).max())
    calls = jitted._last.program.tape.calls
    rows = 20 if cut == "first" else 25
    summed = [c for c in calls if c.fn is added_rows and c.args[0].shape == (V, 2 * H)]
    assert bool(summed) == (rows >= 4 * V)
    if summed and more != "products too":
        assert not any(call.fn is looked_up for call in calls)  # but inside of the loops
    if summed and cut is more is None:  # no product has a row for each id
        assert rows not in [call.args[0].shape[0] for call in calls if call.fn is np.matmul]


def test_rows_that_are_not_looked_up_are_not_computed_with():
    E, W = (nn.Parameter(np.ones(s, np.float32)) for s in [(5, 2), (2, 3)])
    E.data[4] = np.nan

    @tg.jit
    def step(ids):
        E.grad = W.grad = None
        np.sum(E[ids] @ W).backward()
        return E.grad, W.grad

    for _ in range(3):
        table, weight = step(np.arange(40) % 4)
        assert_array_equal(table.numpy(), [[30, 30]] * 4 + [[0, 0]])
        assert_array_equal(weight.numpy(), np.full((2, 3), 40))


@pytest.mark.usefixtures("eager_to_fuse")
@pytest.mark.parametrize("wrong", [7, -8])
def test_loops_refuse_ids_that_are_no_rows(wrong):
    E, W = (nn.Parameter(np.ones(s, np.float32)) for s in [(7, 3), (3, 4)])
    look = tg.jit(lambda ids: np.tanh(E[ids] @ W) * 2)

    @tg.jit
    def step(ids):
        loss = np.sum(E[ids] @ W)
        loss.backward()
        for p in (E, W):
            p.data -= 0.1 * p.grad.data
            p.grad = None

    ids = np.zeros(40, int)
    for f in (look, step) * 3:  # once it is proven, nothing but the replay looks at ids
        f(ids)
    assert kernels(look)
    assert added_rows in [call.fn for call in step._last.program.tape.calls]
    before = E.numpy().copy(), W.numpy().copy()
    ids[3] = wrong
    for f in (look, step):
        with pytest.raises(IndexError, match=f"index {wrong} is out of bounds .* with size 7"):
            f(ids)
    assert_array_equal(E.numpy(), before[0])
    assert_array_equal(W.numpy(), before[1])


@pytest.mark.parametrize("at", [0, slice(1, 3), (slice(None), 1), (slice(None), 1, slice(3))])
def test_a_part_of_looked_up_rows_is_looked_up_alone(at):
    rng = np.random.default_rng(0)
    E, W = (nn.Parameter(rng.normal(size=(n, 16)).astype(np.float32)) for n in (20, 16))

    def step(ids):
        loss = np.sum(np.tanh((E[ids] @ W)[at] + 1))
        loss.backward()
        slopes = E.grad, W.grad
        E.grad = W.grad = None
        return loss, *slopes

    recorded = tg.jit(step)
    for _ in range(2):
        ids = rng.integers(0, 20, (40, 5))
        for got, want in zip(recorded(ids), step(ids), strict=True):
            assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4)
    found = [call.out.shape for call in recorded._last.program.tape.calls if call.fn is looked_up]
    assert found == [np.ones((40, 5, 16))[at].shape]


class Words:
    """A table, a loss of its rows that are looked up, and one step of gradient descent."""

    def __init__(self, seed, V, form):
        rng = np.random.default_rng(seed)
        self.E = nn.Parameter(rng.normal(size=(V, 3)).astype(np.float32))
        self.form, self.v = form, np.zeros((V, 3), np.float32)

    def __call__(self, ids, y, lr, limit):
        loss = np.sum((self.E[ids] * y) ** 2)
        if self.form == "looked up twice":
            loss = loss + np.sum(self.E[ids * 0])
        self.E.grad = None
        loss.backward()
        norm = optim.clip_grad_norm_([self.E], limit)
        g, p = self.E.grad.data, self.E.data
        if self.form == "momentum":
            self.v *= 0.9
            self.v += g
            g = self.v
        elif self.form == "decay":
            g = g + 0.1 * p
        p -= lr * g
        if self.form != "gradient kept":
            self.E.grad = None
        return norm


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, st.integers(8, 60), st.sampled_from([(2,), (3, 4), (6, 1)]),
       st.sampled_from([None, "gradient kept", "momentum", "decay", "looked up twice"]),
       st.sampled_from([0.1, 10.0]), st.sampled_from([0.5, np.inf, np.nan]))
@example(0, 24, (6, 1), None, 0.1, np.inf)
def test_gradient_descent_moves_only_rows_that_were_looked_up(seed, V, shape, form, limit, lr):
    rng = np.random.default_rng(seed)
    eager, recorded = Words(seed, V, form), Words(seed, V, form)
    jitted = tg.jit(recorded.__call__)
    for rate in (0.1, lr, 0.2):
        ids = rng.integers(-V, V, shape)
        y = rng.normal(size=(*shape, 3)).astype(np.float32)
        with np.errstate(invalid="ignore"):
            norms = [f(ids, y, np.float32(rate), limit) for f in (eager, jitted)]
        if form != "gradient":
            assert_allclose(norms[1], norms[0], rtol=1e-5)
        assert_allclose(recorded.E.numpy(), eager.E.numpy(), rtol=1e-5, atol=1e-6)
    moved = [call for call in jitted._last.program.tape.calls if call.fn is moved_rows]
    assert bool(moved) == (form is None and math.prod(shape) * 4 <= V)
    for call in moved:  # in the table itself
        assert jitted._last.program.memory.how[call.out] == "home"


@pytest.mark.parametrize("shape", [(0,), (0, 5)])
def test_no_ids_at_all(shape):
    words = Words(0, 60, None)
    before = words.E.numpy().copy()
    step = tg.jit(words.__call__)
    for _ in range(3):
        step(np.zeros(shape, int), np.ones((*shape, 3), np.float32), np.float32(0.1), 1.0)
    assert moved_rows in [call.fn for call in step._last.program.tape.calls]
    assert_array_equal(words.E.numpy(), before)


@pytest.mark.usefixtures("eager_to_fuse")
def test_a_table_that_is_also_read_as_it_is():
    rng = np.random.default_rng(0)
    for V in (1, 4):
        E, W = (nn.Parameter(rng.normal(size=s).astype(np.float32)) for s in [(V, 6), (6, 40)])
        step = tg.jit(lambda ids, E=E, W=W: np.tanh(E[ids] @ W + E @ W) * 0.5)
        for _ in range(3):
            ids = rng.integers(0, V, 16 if V == 1 else 4)
            expected = np.tanh(E.numpy()[ids] @ W.numpy() + E.numpy() @ W.numpy()) * 0.5
            assert_allclose(step(ids).numpy(), expected, rtol=1e-5, atol=1e-6)
        assert V > 1 or kernels(step)


@pytest.mark.parametrize("fast", [False, True])
def test_ids_that_are_made_under_way_are_there_until_they_are_read(fast):
    """What checks them gives the same array, whose memory is not free before."""
    rng = np.random.default_rng(0)
    E, W = (nn.Parameter(rng.normal(size=(n, 4)).astype(np.float32)) for n in (3, 4))

    def f(ids):
        z = F.embedding(E, ids % 3) @ W
        E.grad = W.grad = None
        np.sum(z * z).backward()
        return z, E.grad, W.grad

    step = tg.jit(f, fast=fast)
    for _ in range(3):
        ids = rng.integers(0, 9, size=(5, 24))
        for one, other in zip(step(ids), f(ids), strict=True):
            assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("turned", [(2, 1, 0), (0, 2, 1)])
def test_rows_that_are_turned_over_are_no_longer_rows(turned):
    """As many ids as a row has elements: the shapes are those of rows, what is in them is not."""
    draw = np.random.default_rng(0)
    E, W = (nn.Parameter(draw.normal(size=s).astype(np.float32)) for s in ((9, 6), (6, 4)))

    def f(ids):
        x = np.transpose(E[ids], turned)
        loss = np.sum(np.tanh(np.reshape(x, (-1, 6)) @ W) ** 2)
        loss.backward()
        gradients, E.grad, W.grad = (E.grad, W.grad), None, None
        return loss, *gradients

    recorded = tg.jit(f)
    for _ in range(4):
        ids = draw.integers(0, 9, (6, 6))
        for a, b in zip(f(ids), recorded(ids), strict=True):
            assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5)


def test_only_a_row_of_ones_sums_what_a_table_sums():
    """Beside the product that is done with the table, rows of other numbers by the same matrix."""
    draw = np.random.default_rng(0)
    table = draw.normal(size=(3, 4)).astype(np.float32)

    def f(table, ids, g, row):
        ones, halves = np.ones_like(row), np.full_like(row, 0.5)
        return table[ids].T @ g, ones @ g, halves @ g, row @ g, np.stack([ones, ones]) @ g

    recorded = tg.jit(f)
    for _ in range(3):
        ids = draw.integers(0, 3, 24)
        g, row = (draw.normal(size=s).astype(np.float32) for s in ((24, 5), 24))
        for a, b in zip(*(h(table, ids, g, row) for h in (f, recorded)), strict=True):
            assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    calls = recorded._last.program.tape.calls
    assert [c.args[0].shape for c in calls if c.fn is np.matmul and c.out.shape == (5,)].count(
        (3,)) == 1
