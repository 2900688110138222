"""What the engine promises beside right numbers: memory, depth, safety of values, clear errors."""

import asyncio
import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, no_grad

seeds = st.integers(0, 2**32 - 1)


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True)


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
    gradients = [t.grad._data for t in (x, W, b, z)]
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


# --- memory and depth ----------------------------------------------------------------------------


def test_long_chains_backpropagate_and_are_freed():
    x = leaf()
    y = x
    for _ in range(200_000):
        y = y * 1.0
    node = weakref.ref(y)
    y.backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(200_000):  # and without a backward
        y = y + 1.0
    del y
    assert node() is None


def test_a_recurrence_of_100_000_steps():
    w, h = Tensor(np.eye(1) * 0.5, requires_grad=True), Tensor(np.zeros((1, 1)))
    for _ in range(100_000):
        h = np.tanh(h @ w + 0.1)
    h.sum().backward()
    value = h.item()
    assert_allclose(w.grad.item(), value * (1 - value**2) / (1 - 0.5 * (1 - value**2)), rtol=1e-9)


def test_the_collector_does_not_walk_a_growing_graph_and_is_left_as_it_was():
    cell = tg.nn.RNNCell(2, 3)
    layer, collections = tg.nn.RNN(cell), []
    note = lambda phase, info: collections.append(phase)  # noqa: E731
    xs = np.zeros((1, 2_000, 2), "f")
    states = []
    for wanted in (gc.enable, gc.disable):
        gc.collect()
        wanted()
        gc.callbacks.append(note)
        try:
            hs, _ = layer(xs)
            cell.step = lambda *_: 1 / 0
            with pytest.raises(ZeroDivisionError):
                layer(xs)
        finally:
            gc.callbacks.remove(note)
            states.append(gc.isenabled())
            gc.enable()
            del cell.step, hs
    assert states == [True, False]
    assert len(collections) < 8  # 2,000 steps make about 20,000 objects, one collection for 700


@pytest.mark.parametrize("kind", ["trained", "no backward", "failed"])
def test_memory_does_not_grow_without_the_garbage_collector(kind):
    model, rng = tg.nn.LSTM(5, 6, 2), np.random.default_rng(0)
    optimizer = tg.optim.Adam(model.parameters())
    xs = rng.normal(size=(4, 7, 5)).astype("f")

    def step():
        hs, _ = model(xs)
        if kind == "failed":
            with pytest.raises(ValueError):
                hs @ np.ones((2, 2))
        elif kind == "trained":
            (hs * hs).mean().backward()
            tg.optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(800):  # Python's free lists of small tuples fill up to their bound first
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            step()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    assert grown < 5_000


def test_what_no_rule_reads_is_freed_at_once():
    x = leaf(50, 50)
    product = x * 2.0
    array = weakref.ref(product._data)
    y = product + x
    del product
    assert array() is None and y.requires_grad


# --- values are safe -----------------------------------------------------------------------------


def edit_source(x, a):
    a[...] = 100


def edit_data(x, a):
    x.data[...] = 100


def edit_in_place(x, a):
    x.data *= 3


def edit_numpy(x, a):
    x.numpy()[...] = 100


def edit_detached(x, a):
    x.detach().data[...] = 100


def edit_view(x, a):
    x[1:].data[...] = 100


def replace(x, a):
    x.data = np.full(x.shape, 7.0)


@pytest.mark.parametrize("edit", [edit_source, edit_data, edit_in_place, edit_numpy, edit_detached,
                                  edit_view, replace])  # fmt: skip
@given(seeds)
def test_edits_never_reach_a_graph(edit, seed):
    a = np.random.default_rng(seed).normal(size=3)
    original = a.copy()
    x = Tensor(a, requires_grad=True)
    y = (x * x).sum()
    edit(x, a)
    y.backward()
    assert_allclose(x.grad.numpy(), 2 * original)


@given(seeds)
def test_edits_through_an_alias_that_was_taken_before(seed):
    x = Tensor(np.random.default_rng(seed).normal(size=3), requires_grad=True)
    alias, part = x.data, x.data[1:]
    original = alias.copy()
    y = (x * x).sum()
    alias[0], part[1] = 100, 200
    y.backward()
    assert_allclose(x.grad.numpy(), 2 * original)
    assert x.data.tolist() == [100, original[1], 200]  # the alias is still the data


def test_raw_operands_and_ids_may_be_edited_after_the_call():
    x, mask, ids = leaf(3), np.ones(3), np.array([0, 1])
    y = (x * mask).sum() + x[ids].sum()
    mask[:], ids[:] = 5, 2
    y.backward()
    assert x.grad.tolist() == [2, 2, 1]


def test_an_update_between_forward_and_backward_leaves_the_graph_its_values():
    x = leaf(3)
    before = x.detach().numpy().copy()
    y = (x * x).sum()
    x.grad = Tensor(np.ones(3))
    tg.optim.SGD([x], 1.0).step()
    x.grad = None
    y.backward()
    assert_allclose(x.grad.numpy(), 2 * before)
    assert_allclose(x.detach().numpy(), before - 1)


@given(seeds, st.integers(1, 4), st.booleans())
def test_buffers_filled_step_by_step(seed, T, read_between):
    rng = np.random.default_rng(seed)
    x, w = Tensor(rng.normal(size=(2, T)), requires_grad=True), rng.normal(size=(2, T))
    buffer = np.empty_like(x, shape=(2, T))
    total = 0.0
    for t in range(T):
        buffer[:, t] = x[:, t] * x[:, t]
        if read_between:
            total = total + (buffer[:, t] * 3.0).sum()
    buffer[:, 0] = 1.0  # overwritten: what stood there has no gradient from here on
    ((buffer * w).sum() + total).backward()
    expected = 2 * x.detach().numpy() * (w + 3.0 * read_between)
    expected[:, 0] = 2 * x.detach().numpy()[:, 0] * 3.0 * read_between
    assert_allclose(x.grad.numpy(), expected)


def test_writing_makes_a_new_version():
    x = leaf(3)
    t = x * 1.0
    old = t * t
    t[0] = 5.0
    (old.sum() + t.sum()).backward()
    assert_allclose(x.grad.numpy(), 2 * x.detach().numpy() + [0, 1, 1])
    u = leaf(2, 3)
    v = np.zeros_like(u)
    v[...] = u[0]  # broadcast
    v.backward(g := np.arange(6.0).reshape(2, 3))
    assert_allclose(u.grad.numpy(), [g.sum(0), np.zeros(3)])
    with pytest.raises(RuntimeError, match="leaf that requires grad"):
        u[0] = 1.0


def test_nothing_is_detached_in_silence():
    x = leaf(2)
    array = np.zeros(2)
    for cut in (lambda: np.asarray(x), lambda: float(x[0]), lambda: array.__setitem__(0, x[0])):
        with pytest.raises((RuntimeError, ValueError), match=r"cut the graph|sequence"):
            cut()
    with pytest.raises(TypeError, match=r"add: the array .* cannot hold a gradient"):
        array += x
    with pytest.raises(TypeError, match="add: the array"):
        np.add(x, 1, out=array)
    assert array.tolist() == [0, 0]
    out = np.zeros_like(x)
    assert np.add(x, 1, out=out) is out and out.requires_grad
    assert np.asarray(x.detach()).tolist() == x.numpy().tolist()


def test_integers_are_never_differentiable():
    for wrong in ([1, 2], [True]):
        with pytest.raises(TypeError, match=r"requires_grad: (int64|bool) has no derivative"):
            Tensor(wrong, requires_grad=True)
    assert not leaf(2).astype(int).requires_grad
    with pytest.raises(TypeError, match="complex"):
        Tensor([1j])


# --- no_grad -------------------------------------------------------------------------------------


def recorded():
    return (leaf(1) * 2).requires_grad


def test_no_grad_nests_overlaps_and_ends_with_exceptions():
    with no_grad():
        with no_grad():
            assert not recorded()
        assert not recorded()
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert recorded()
    first, second = no_grad(), no_grad()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not recorded()
    second.__exit__(None, None, None)
    assert recorded()
    assert not no_grad()(recorded)() and recorded()


def test_no_grad_is_of_one_thread_and_one_task():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(recorded()))
        thread.start()
        thread.join()
    assert seen == [True]

    async def task(off, results):
        if off:
            with no_grad():
                await asyncio.sleep(0.01)
                results.append(recorded())
        else:
            await asyncio.sleep(0.005)
            results.append(recorded())

    async def both():
        results = []
        await asyncio.gather(task(True, results), task(False, results))
        return results

    assert asyncio.run(both()) == [True, False]


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, error, words", [
    (lambda x: x @ np.ones((4, 2)), ValueError, r"matmul: \(2, 3\) @ \(4, 2\): inner sizes 3"),
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


# --- no_grad -------------------------------------------------------------------------------------


def test_no_grad_decorates_generators_between_their_items():
    x = leaf(2)

    @no_grad()
    def halves(n):
        for _ in range(n):
            got = yield x * 0.5
            if got == "raise":
                raise ValueError(got)
        return "end"

    items = halves(2)
    assert halves.__name__ == "halves"
    assert not next(items).requires_grad
    assert (x * 2).requires_grad  # the block is not open between two items
    assert not items.send("more").requires_grad
    with pytest.raises(StopIteration, match="end"):
        next(items)
    items = halves(1)
    next(items)
    with pytest.raises(ValueError, match="raise"):
        items.send("raise")
    assert (x * 2).requires_grad
    closed = []

    @no_grad()
    def holding():
        try:
            yield x * 2
        except KeyError:
            yield x * 3
        finally:
            closed.append(not (x * 2).requires_grad or not x.requires_grad)

    items = holding()
    next(items)
    assert items.throw(KeyError()).tolist() == (x * 3).tolist()
    items.close()
    assert len(closed) == 1 and (x * 2).requires_grad


def test_no_grad_decorates_coroutines():
    x = leaf(2)

    @no_grad()
    async def half():
        first = x * 0.5
        await asyncio.sleep(0)
        return first.requires_grad or (x * 0.5).requires_grad

    async def beside():
        await asyncio.sleep(0)
        return (x * 2).requires_grad

    async def both():
        return await asyncio.gather(half(), beside())

    assert asyncio.run(both()) == [False, True]
    with pytest.raises(TypeError, match="asynchronous generator"):
        @no_grad()
        async def items():
            yield 1


def test_leaving_a_block_twice_is_leaving_it_once():
    block = no_grad()
    block.__enter__()
    block.__exit__(None, None, None)
    block.__exit__(None, None, None)
    x = leaf(2)
    assert (x * 2).requires_grad
    with no_grad():
        assert not (x * 2).requires_grad


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
