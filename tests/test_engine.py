"""What the engine promises beside right numbers: gradients that are the caller's own, clear errors,
and random graphs against a naive engine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from leaves import leaf, seeds
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, no_grad

# --- after every backward ------------------------------------------------------------------------


@given(seeds, st.sampled_from([np.float32, np.float64]), st.booleans())
def test_gradients_are_owned_writable_and_of_the_dtype_of_their_tensor(seed, dtype, retain):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s).astype(dtype) for s in [(2, 3), (3, 4), (4,), (2, 3)]]
    kept = [a.copy() for a in arrays]
    x, W, b, z = (Tensor(a, requires_grad=True) for a in arrays)
    y = np.concatenate([(x + z) @ W + b, (x - z)[:, :2]], axis=1)
    y = y + 0
    cotangent = rng.normal(size=y.shape).astype(dtype)
    original = cotangent.copy()
    y.backward(cotangent, retain_graph=retain)
    gradients = [t.grad._held for t in (x, W, b, z)]
    for i, g in enumerate(gradients):
        assert g.flags.writeable and g.dtype == dtype and g.shape == arrays[i].shape
        for other in (*gradients[:i], cotangent, *arrays):
            assert not np.shares_memory(g, other)
    assert all(map(np.array_equal, arrays, kept)) and np.array_equal(cotangent, original)
    if retain:
        first = [g.copy() for g in gradients]
        y.backward(cotangent)
        assert_allclose(x.grad.numpy(), 2 * first[0])
    with pytest.raises(RuntimeError, match="an earlier backward has freed this graph"):
        y.backward(cotangent)


@given(seeds, st.integers(1, 66), st.booleans(), st.booleans())
def test_a_matrix_used_both_ways_up_and_looked_up(seed, N, lookup_first, create_graph):
    """Weight tying: products with W and with its transpose, and look-ups, meet in one sum."""
    rng = np.random.default_rng(seed)
    x, W = rng.normal(size=(N, 70)), Tensor(rng.normal(size=(66, 70)), requires_grad=True)
    ids, (g, h, k) = rng.integers(0, 66, N), rng.normal(size=(3, N, 70))
    x = Tensor(x, requires_grad=True)
    picked = W[ids] if lookup_first else None
    once, again = x @ W.T, (x * 2) @ W.T
    picked = W[ids] if picked is None else picked
    loss = np.sum((once @ W) * h) + np.sum(picked * g) + np.sum(again[:, :3] * k[:, :3])
    got = tg.grad(loss, [x, W], create_graph=create_graph)
    wide = np.zeros((N, 66))
    wide[:, :3] = k[:, :3]
    back = h @ W.numpy().T
    dW = wide.T @ (2 * x.numpy()) + back.T @ x.numpy() + once.numpy().T @ h
    np.add.at(dW, ids, g)
    assert_allclose(got[0].numpy(), (back + 2 * wide) @ W.numpy(), rtol=1e-10, atol=1e-10)
    assert_allclose(got[1].numpy(), dW, rtol=1e-10, atol=1e-10)
    loss = np.sum((x @ W.T) ** 2)
    loss.backward()
    assert W.grad.numpy().flags.c_contiguous and x.grad.numpy().flags.c_contiguous
    y = x.numpy() @ W.numpy().T
    assert_allclose(W.grad.numpy(), 2 * y.T @ x.numpy(), rtol=1e-10, atol=1e-10)
    assert_allclose(x.grad.numpy(), 2 * y @ W.numpy(), rtol=1e-10, atol=1e-10)


@given(seeds, st.sampled_from([(700, 9), (20, 35, 9), (9, 2, 3, 100)]), st.booleans(),
       st.sampled_from([np.float32, np.float64]))
def test_a_bias_of_many_rows(seed, shape, strided, dtype):
    rng = np.random.default_rng(seed)
    b = Tensor(np.zeros(shape[-1], dtype), requires_grad=True)
    g = rng.normal(size=shape).astype(dtype)
    x = rng.normal(size=shape[::-1]).astype(dtype).T if strided else np.ones(shape, dtype)
    (gb,) = tg.grad(np.sum((x + b) * g * x), [b], create_graph=True)
    assert gb.dtype == dtype
    expected = np.sum((g * x).astype(np.float64), axis=tuple(range(len(shape) - 1)))
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    assert_allclose(gb.numpy(), expected, rtol=rtol, atol=100 * rtol)


def test_the_gradient_of_a_transpose_may_be_asked_for():
    x, W = leaf(3, 4), leaf(5, 4, seed=1)
    across = W.T
    g, h = tg.grad(np.sum(x @ across * np.arange(5.0)), [across, W])
    expected = np.sum(x.numpy(), 0)[:, None] * np.arange(5.0)
    assert_allclose(g.numpy(), expected)
    assert_allclose(h.numpy(), expected.T)


def test_gradients_of_the_same_cotangent_do_not_alias():
    a, b = leaf(3), leaf(3, seed=1)
    (a + b).backward(g := np.ones(3))
    a.grad.data[0] = 9
    assert b.grad.tolist() == [1, 1, 1] and g.tolist() == [1, 1, 1]
    x = leaf(2)
    x.backward(g := np.ones(2))
    x.grad.data[:] = 5
    assert g.tolist() == [1, 1]
    first, second = tg.grad((a * 2).sum(), [a, a])
    assert not np.shares_memory(first.data, second.data)


def test_the_gradient_of_what_was_written_into_is_not_erased_on_the_way():
    x, v = leaf(3), leaf(1, seed=1)
    t = x * 2
    t[:1] = v
    # added up in one buffer
    y = np.sum(t[:2] * Tensor([3.0, 4.0])) + np.sum(t[1:] * Tensor([5.0, 6.0]))
    by_t, by_v, by_x = tg.grad(y, [t, v, x])
    assert by_t.tolist() == [3, 9, 6] and by_v.tolist() == [3] and by_x.tolist() == [0, 18, 12]


def test_grad_stores_nothing_and_reaches_intermediates():
    x = leaf(3)
    h = np.tanh(x)
    y = (h * h).sum()
    (gh,) = tg.grad(y, [h])
    assert x.grad is None
    assert_allclose(gh.numpy(), 2 * h.detach().numpy())
    with pytest.raises(RuntimeError, match="input 0 of shape \\(3,\\) was not used"):
        tg.grad((x * 2).sum(), leaf(3))
    assert tg.grad((x * 2).sum(), leaf(3), allow_unused=True) is None


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, error, words", [
    (lambda x: x @ np.ones((4, 2)), ValueError, r"matmul: \(2, 3\) @ \(4, 2\): inner sizes 3"),
    (lambda x: x[None] @ np.ones((4, 2)), ValueError,
     r"matmul: \(1, 2, 3\) @ \(4, 2\): inner sizes 3 and 4"),
    (lambda x: x[0] @ np.ones(4), ValueError, r"matmul: \(3,\) @ \(4,\): inner sizes 3 and 4"),
    (lambda x: x + np.ones(2), ValueError, r"add: \(2, 3\) and \(2,\)"),
    (lambda x: x[5], IndexError, r"getitem: \(2, 3\)"),
    (lambda x: x.reshape(5), ValueError, r"reshape: \(2, 3\), shape="),
    (lambda x: np.concatenate([x, x[0]]), ValueError, r"concatenate: \(2, 3\) and \(3,\)"),
    (lambda x: x.backward(), RuntimeError, r"backward: a Tensor of shape \(2, 3\) is no scalar"),
    (lambda x: x.backward(np.ones(3)), ValueError, r"backward: cotangent of shape \(3,\)"),
    (lambda x: x.detach().backward(), RuntimeError, "does not require grad"),
    (lambda x: x.item(), ValueError, r"item: one element .*\(2, 3\)"),
    (lambda x: np.einsum("ij,jk->ik", x, x), ValueError, "einsum: .2, 3. and .2, 3."),
])  # fmt: skip
def test_errors_name_operation_and_shapes_and_change_nothing(call, error, words):
    x = leaf(2, 3)
    before = x.numpy().copy()
    with pytest.raises(error, match=words):
        call(x)
    assert x.grad is None and np.array_equal(x.numpy(), before)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [[2.0] * 3] * 2


# --- what a Tensor is made of --------------------------------------------------------------------


def test_a_matrix_is_an_array_and_a_mask_is_not_lost():
    with pytest.warns(PendingDeprecationWarning):
        m = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    p = tg.nn.Parameter(m)
    assert type(p.data) is np.ndarray
    (p * p).sum().backward()
    assert p.grad.tolist() == [[2, 4], [6, 8]]
    with pytest.raises(TypeError, match="masked array"):
        Tensor(np.ma.masked_array([1.0, 2.0], [True, False]))


def test_the_package_shows_what_users_may_use():
    assert set(dir(tg)) == {*tg.__all__, "__version__"}
    assert all(getattr(tg, name) is not None for name in dir(tg))


# --- random graphs against a naive engine --------------------------------------------------------


class Naive:
    """Reverse mode in a few lines: a value, and (parent, vjp) pairs; recursive, no sharing."""

    def __init__(self, value, parents=()):
        self.value, self.parents, self.grad = value, parents, 0.0

    def back(self, g):
        if not self.parents:
            self.grad = self.grad + g
        for parent, vjp in self.parents:
            parent.back(vjp(g))


class Graphs(RuleBasedStateMachine):
    """Leaves and expressions of shape (4,), built in both engines."""

    @initialize(seed=seeds)
    def start(self, seed):
        self.rng = np.random.default_rng(seed)
        values = [self.rng.normal(size=4) for _ in range(2)]
        self.leaves = [(Tensor(v, requires_grad=True), Naive(v)) for v in values]
        self.made = list(self.leaves)

    def pick(self, i):
        return self.made[i % len(self.made)]

    def keep(self, tensor, naive):
        assert_allclose(tensor.detach().numpy(), naive.value)
        self.made.append((tensor, naive))

    @rule(i=st.integers(0, 99), j=st.integers(0, 99), op=st.sampled_from("+-*"))
    def binary(self, i, j, op):
        (t, a), (u, b) = self.pick(i), self.pick(j)
        if op == "+":
            self.keep(t + u, Naive(a.value + b.value, [(a, lambda g: g), (b, lambda g: g)]))
        elif op == "-":
            self.keep(t - u, Naive(a.value - b.value, [(a, lambda g: g), (b, lambda g: -g)]))
        else:
            pairs = [(a, lambda g: g * b.value), (b, lambda g: g * a.value)]
            self.keep(np.tanh(t * u), self.tanh(Naive(a.value * b.value, pairs)))

    def tanh(self, a):
        y = np.tanh(a.value)
        return Naive(y, [(a, lambda g: g * (1 - y * y))])

    @rule(i=st.integers(0, 99), k=st.integers(1, 3))
    def split_and_join(self, i, k):
        t, a = self.pick(i)
        pieces = np.split(t, [k])
        joined = np.concatenate(pieces[::-1])
        self.keep(joined, Naive(np.roll(a.value, -k), [(a, lambda g: np.roll(g, k))]))

    @rule(i=st.integers(0, 99), j=st.integers(0, 99), k=st.integers(0, 3))
    def write(self, i, j, k):
        (t, a), (u, b) = self.pick(i), self.pick(j)
        new = t * 1.0
        new[k] = u[k]
        value, one = a.value.copy(), np.eye(4)[k]
        value[k] = b.value[k]
        self.keep(new, Naive(value, [(a, lambda g: g * (1 - one)), (b, lambda g: g * one)]))

    @rule(i=st.integers(0, 99))
    def gather(self, i):
        t, a = self.pick(i)
        ids = self.rng.integers(0, 4, 4)

        def back(g):
            out = np.zeros(4)
            np.add.at(out, ids, g)
            return out

        self.keep(t[ids], Naive(a.value[ids], [(a, back)]))

    @rule(i=st.integers(0, 99))
    def detach(self, i):
        t, a = self.pick(i)
        self.keep(t.detach(), Naive(a.value))

    @rule(i=st.integers(0, 99))
    def without_grad(self, i):
        t, a = self.pick(i)
        with no_grad():
            self.keep(t * 2.0, Naive(a.value * 2.0))

    @rule()
    def zero(self):
        for t, a in self.leaves:
            t.grad, a.grad = None, 0.0

    @precondition(lambda self: len(self.made) > 3)
    @rule(i=st.integers(0, 99))
    def backward(self, i):
        t, a = self.pick(i)
        if not t.requires_grad:
            return
        g = self.rng.normal(size=4)
        t.backward(g, retain_graph=True)
        a.back(g)
        for t, a in self.leaves:
            actual = t.grad.numpy() if t.grad is not None else 0.0
            scale = max(1.0, float(np.abs(a.grad).max()))
            assert_allclose(actual, np.broadcast_to(a.grad, np.shape(actual)), atol=1e-10 * scale)


TestGraphs = Graphs.TestCase
TestGraphs.settings = settings(stateful_step_count=20)
