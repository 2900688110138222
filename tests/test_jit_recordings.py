"""tg.jit: recordings by signature and by object, within others, in shared memory, after errors."""

import copy
import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from jit_worlds import V, X
from numpy.testing import assert_allclose, assert_array_equal
from steps import step_of

import tinygrad_rnn as tg
from models import Rnnlm
from tinygrad_rnn import nn, optim


def test_recordings_are_kept_by_signature_up_to_a_number():
    jitted = tg.jit(lambda x, k: x * k, cache_size=3)
    with pytest.warns(UserWarning, match="for 4 signatures.*, then") as said:
        for k in range(5):
            for n in (2, 3):
                assert_array_equal(jitted(np.ones(n), k), np.full(n, float(k)))
    assert len(said) == 1 and said[0].filename == __file__
    assert len(jitted.recordings) == 3
    single = jitted(np.ones(2, np.float32), 2)
    assert single.dtype == np.float32


def test_an_error_in_a_replay_leaves_everything_as_it_was():
    model = Rnnlm(V, 3, 4)
    optimizer = optim.Adam(model.parameters())

    step = tg.jit(step_of(model, optimizer))
    good, bad = np.ones((2, 3), int), np.full((2, 3), V)
    for _ in range(3):
        step(good, good)
    weights, steps = model.state_dict(), optimizer.steps
    with pytest.raises(IndexError, match=f"ids from {V} to {V}"):
        step(bad, bad)
    assert optimizer.steps == steps
    for name, array in model.state_dict().items():
        assert_array_equal(array, weights[name])
    assert np.isfinite(step(good, good)[0].item())
    with pytest.raises(IndexError):  # also while recording
        tg.jit(lambda xs: model.loss(xs, xs))(bad)
    assert isinstance(model.embed.W.data, np.ndarray)


def test_what_is_updated_may_be_returned_too():
    p, state = nn.Parameter(np.ones(3)), [np.ones(3)]

    @tg.jit
    def step(x):
        p.data -= x
        state[0] *= 2
        return p.data, state[0], p

    for i in range(1, 3):
        data, array, same = step(np.full(3, 2.0))
        assert_array_equal(data, np.full(3, 1 - 2.0 * i))
        assert_array_equal(array, np.full(3, 2.0**i))
        assert same is p and data is p.data and array is state[0]


def test_recordings_of_one_function_share_memory():
    layer = nn.LSTM(3, 8, stateful=True, dtype=np.float64, rng=np.random.default_rng(0))
    f = tg.jit(lambda xs: layer(xs)[0] * 2)
    rng = np.random.default_rng(1)
    outs = [f(rng.normal(size=(4, 5, 3))) for _ in range(3)]
    kept = [out.numpy().copy() for out in outs]
    first, second = f.recordings.values()
    assert first.program.memory.block is second.program.memory.block
    layer.reset_state()
    f(rng.normal(size=(4, 5, 3)))
    results = {}

    def work(seed, T):
        xs = np.random.default_rng(seed).normal(size=(10, 4, T, 3))
        results[seed] = [(f2(x).numpy(), twin(x)[0].numpy() * 2) for x in xs]

    plain, twin = (nn.LSTM(3, 8, dtype=np.float64, rng=np.random.default_rng(0)) for _ in range(2))
    f2 = tg.jit(lambda xs: plain(xs)[0] * 2)
    threads = [threading.Thread(target=work, args=(T, T)) for T in (9, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for pairs in results.values():
        for got, expected in pairs:
            assert_allclose(got, expected, rtol=1e-12)
    for out, before in zip(outs, kept, strict=True):
        assert_array_equal(out.numpy(), before)


def test_planned_memory_is_at_most_that_of_eager():
    model = Rnnlm(400, 32, 32)
    optimizer = optim.SGD(model.parameters(), 0.1)
    xs = np.random.default_rng(0).integers(0, 400, (8, 20))

    step = step_of(model, optimizer)
    jitted = tg.jit(step)
    for _ in range(2):
        jitted(xs, xs)
    planned = jitted._last.program.nbytes
    step(xs, xs)
    tracemalloc.start()
    step(xs, xs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert planned <= peak


def test_recordings_within_recordings():
    def world(wrap):
        w = nn.Parameter(np.ones((4, 4)))

        @wrap
        def inner(x):
            loss = np.sum(np.tanh(x @ w) ** 2)
            loss.backward()
            w.data -= 0.1 * w.grad.data
            w.grad = None
            return loss

        return wrap(lambda x: inner(x) + inner(x * 2)), w

    (f, w), (g, v) = world(lambda f: f), world(tg.jit)
    for x in X:
        assert_allclose(g(x).item(), f(x).item(), rtol=1e-12)
        assert_allclose(v.numpy(), w.numpy(), rtol=1e-12)


class Trained:
    def __init__(self, seed):
        self.layer = nn.Linear(4, 2, dtype=np.float64, rng=np.random.default_rng(seed))
        self.other = tg.jit(lambda x: x @ self.layer.W)

    @tg.jit
    def step(self, x, rate=0.1):
        """One step."""
        loss = np.sum(self.layer(x) ** 2)
        loss.backward()
        for p in self.layer.parameters():
            p.data -= rate * p.grad.data
        self.layer.zero_grad()
        return loss


def test_a_method_is_recorded_for_all_objects_of_its_kind():
    one, two, twin = Trained(0), Trained(1), Trained(0)
    for x in X:
        loss = one.step(x, 0.01)
        two.step(x, 0.02)
        assert_allclose(loss.item(), Trained.step.f(twin, x, 0.01).item(), rtol=1e-12)
        assert_allclose(one.layer.W.numpy(), twin.layer.W.numpy(), rtol=1e-12)
    assert len(Trained.step.recordings) == 1 and Trained.step.__doc__ == "One step."


def test_what_holds_a_recorded_function_can_be_copied():
    one = nn.Linear(4, 4, dtype=np.float64)
    one.step = tg.jit(one.forward)
    one.step(X[0])
    two = copy.deepcopy(one)
    two.W.data[...] = 0
    assert_array_equal(two.step(X[0]).numpy(), np.zeros((3, 4)) + two.b.numpy())
    assert one.step(X[0]).numpy().any() and len(one.step.recordings) == 1


def test_without_the_garbage_collector_memory_does_not_grow():
    jitted = tg.jit(Trained(0).layer.forward)
    batches = [X[0].copy() for _ in range(300)]
    for x in batches[:10]:
        jitted(x)
    kept = [weakref.ref(x) for x in batches]
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(100):  # until the free lists of Python are full
            jitted(batches.pop())
        before, _ = tracemalloc.get_traced_memory()
        while batches:
            jitted(batches.pop())
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        gc.enable()
    assert after - before < 2_000
    del x
    assert sum(x() is not None for x in kept) <= 1  # that of the last call, for explain()
